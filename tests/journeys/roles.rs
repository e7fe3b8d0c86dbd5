//! What each function asks of the tables: written down, for the template's roles to be held against.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tests::World;

/// One history that goes wherever a function reads or writes.
#[tokio::test]
async fn every_call_of_every_function_is_written_down() {
    let world = World::with_shop("2026-07-01T10:00:00Z").await;
    let click_id = world.click("anna-shoes").await;
    let sale = |order: &str| json!({"click_id": click_id, "order_id": order, "amount": "30"});
    assert_eq!(world.postback(sale("A-0")).await.status, 200);
    let manual = json!({"approval": "manual", "approve_after": "0d"});
    assert_eq!(world.patch("programs/shoes", 1, manual).await.status, 200);
    let pending = world.postback(sale("A-1")).await.body;
    // One is decided by the run of its day, the other by hand.
    assert_eq!(world.postback(sale("A-1b")).await.body["status"], "pending");
    let few = json!({
        "slug": "anna-few", "program": "shoes", "affiliate": "anna", "click_cap": {"count": 1},
    });
    world.made("links", few).await;
    world.click("anna-few").await;
    let approve = format!(
        "conversions/{}/approve",
        pending["conversion"].as_str().unwrap()
    );
    assert_eq!(world.post(&approve, json!({})).await.status, 200);
    assert_eq!(
        world
            .patch(
                "programs/shoes",
                2,
                json!({"approval": "auto", "approve_after": null})
            )
            .await
            .status,
        200
    );
    for order in ["A-2", "A-3"] {
        assert_eq!(world.postback(sale(order)).await.body["status"], "approved");
    }
    assert_eq!(world.reversal(json!({"order_id": "A-3"})).await.status, 200);
    world
        .postback(json!({"click_id": "x", "order_id": "A-4", "amount": "1"}))
        .await;
    let signed = [
        ("webhook-id", "m"),
        ("webhook-timestamp", "1"),
        ("webhook-signature", "v1,x"),
    ];
    let refused = world
        .send(Method::POST, "/postback/shop", &signed, Bytes::new())
        .await;
    assert_eq!(refused.status, 401);

    // A reversal that waits for its sale, lists, a coupon's order of a customer, amended, and a claim.
    let early = json!({"order_id": "A-5", "program": "shoes", "reversal_id": "r-1", "amount": "1"});
    assert_eq!(world.reversal(early).await.status, 404);
    let coupon = json!({"program": "shoes", "affiliate": "anna", "code": "SAVE10"});
    world.made("coupons", coupon).await;
    let by_coupon = json!({
        "order_id": "A-5", "program": "shoes", "coupon": "SAVE10", "customer_id": "c-2", "amount": "30",
        "items": [{"sku": "a", "amount": "30"}],
    });
    let sold = world.postback(by_coupon).await.body;
    assert_eq!(sold["status"], "approved", "{sold}");
    let amend = format!("conversions/{}/amend", sold["conversion"].as_str().unwrap());
    let more = json!({
        "id": "am-1", "amount": "40", "items": [{"sku": "a", "amount": "40"}], "reason": "a test",
    });
    assert_eq!(world.post(&amend, more).await.status, 200);
    let batch = format!("/postback/batch?token={}", world.token);
    let line =
        json!({"type": "conversion", "click_id": click_id, "order_id": "A-6", "amount": "30"});
    let told = world
        .send(Method::POST, &batch, &[], Bytes::from(line.to_string()))
        .await;
    assert_eq!(told.status, 200);
    let claim = json!({
        "program": "shoes", "affiliate": "anna", "order_id": "A-7", "amount": "30", "note": "a test",
        "occurred_at": "2026-07-01T10:00:00Z",
    });
    let claim = world.made("claims", claim).await;
    let accept = format!("claims/{}/accept", claim["id"].as_str().unwrap());
    assert_eq!(world.post(&accept, json!({})).await.status, 200);
    for list in ["conversions", "refusals", "reversals", "claims", "keys"] {
        assert_eq!(world.get(list).await.status, 200, "{list}");
    }
    let decisions = json!({"order_id": "A-6", "action": "approve"}).to_string();
    let admin = format!("Bearer {}", world.admin);
    let decided = world
        .send(
            Method::POST,
            "/api/v1/conversions/decisions?merchant=shop",
            &[("authorization", &admin)],
            Bytes::from(decisions),
        )
        .await;
    assert!(decided.status.is_success(), "{decided:?}");

    // Carry with a pay day ahead makes a wake-up, and a change of the affiliate another.
    let monthly = json!({"payout": {"schedule": "monthly"}});
    assert_eq!(world.patch("affiliates/anna", 1, monthly).await.status, 200);
    world.turn_to("2026-07-02T01:00:00Z").await;
    assert_eq!(
        world
            .patch("affiliates/anna", 2, json!({"name": "Anna B."}))
            .await
            .status,
        200
    );
    world.turn_to("2026-08-01T01:00:00Z").await;
    let balance = world.balance("anna").await;
    assert_eq!(balance["in_payout"], "21.90");
    for list in [
        "merchants",
        "merchants/shop/secrets",
        "payouts?affiliate=anna",
        "adjustments",
    ] {
        assert_eq!(world.get(list).await.status, 200);
    }
    let payouts = world.get("payouts").await.body;
    let payout = format!("payouts/{}", payouts["items"][0]["id"].as_str().unwrap());
    assert_eq!(world.get(&payout).await.status, 200);
    let cancel = world
        .post(&format!("{payout}/cancel"), json!({"reason": "a test"}))
        .await;
    assert_eq!(cancel.status, 200);
    let bonus = json!({
        "id": "b-1", "affiliate": "anna", "kind": "bonus", "currency": "EUR", "amount": "1",
        "reason": "a test",
    });
    assert_eq!(world.post("adjustments", bonus).await.status, 201);
    assert_eq!(world.get("payers/house").await.status, 200);
    let off = world
        .patch("payers/house", 1, json!({"four_eyes": "off"}))
        .await;
    assert_eq!(off.status, 200);
    for step in ["prepare", "approve", "close"] {
        let answer = world
            .post(&format!("periods/2026-07/{step}"), json!({}))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    for report in [
        "reports/payouts/2026-07",
        "reports/payouts/2026-08",
        "periods",
    ] {
        assert_eq!(world.get(report).await.status, 200);
    }

    // An account that differs is marked by the day's reconciliation, and let go by the next.
    for (change, day) in [(1, "2026-08-02T01:00:00Z"), (-1, "2026-08-03T01:00:00Z")] {
        world.tamper("A#anna", "house#EUR", "sent", change).await;
        world.turn_to(day).await;
    }

    for whom in [
        json!({"merchant": "shop", "customer_id": "c-1"}),
        json!({"program": "shoes", "click_id": click_id}),
    ] {
        assert_eq!(world.post("erasures", whom).await.status, 200);
    }

    let mut recorded: BTreeMap<&str, BTreeSet<Vec<String>>> = BTreeMap::new();
    for call in world.stack.table.calls() {
        if call.function == "setup" {
            continue;
        }
        for (action, place) in call.actions {
            let place = place.replace("clickledger-", "");
            let mut grant = vec![format!("dynamodb:{action}")];
            grant.extend(place.split("/index/").map(str::to_owned));
            recorded.entry(call.function).or_default().insert(grant);
        }
    }
    let functions: Vec<&str> = recorded.keys().copied().collect();
    assert_eq!(
        functions,
        ["console", "payout", "postback", "redirect", "report"]
    );
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(
        target.join("recorded-actions.json"),
        json!(recorded).to_string(),
    )
    .unwrap();
}
