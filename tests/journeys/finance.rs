//! What a finance clerk sees: payouts from state to state, months closed, figures that stand.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use clickledger::embedded::{Fault, Faults};
use http::Method;
use serde_json::{Value, json};
use tests::{Answer, World};

const START: &str = "2026-06-28T10:00:00Z";

async fn sale(world: &World, slug: &str, order: &str, amount: &str) {
    let click_id = world.click(slug).await;
    let sale = json!({"click_id": click_id, "order_id": order, "amount": amount});
    let answer = world.postback(sale).await;
    assert_eq!(answer.body["result"], "created", "{answer:?}");
}

fn code(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["code"].as_str().unwrap_or("-"))
}

/// The columns of an affiliate's row, in the report's order.
fn columns(report: &Value, affiliate: &str) -> String {
    let row = report["rows"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["affiliate"] == affiliate)
        .unwrap_or_else(|| panic!("no row of {affiliate} in {report}"));
    let names = [
        "opening",
        "earned",
        "reversed",
        "adjustments",
        "withheld",
        "paid",
        "returned",
        "closing",
        "in_payout",
        "on_hold",
        "unapproved",
    ];
    let cells: Vec<&str> = names
        .iter()
        .map(|name| row[name].as_str().unwrap())
        .collect();
    format!("{} n={}", cells.join(" "), row["conversions"])
}

async fn report(world: &World, month: &str) -> Value {
    let answer = world.get(&format!("reports/payouts/{month}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

async fn raw(world: &World, month: &str) -> (Vec<u8>, String) {
    let bearer = format!("Bearer {}", world.admin);
    let path = format!("/api/v1/reports/payouts/{month}?format=csv&raw=1");
    let headers = [("authorization", bearer.as_str())];
    let response = world.send(Method::GET, &path, &headers, "".into()).await;
    let etag = response.headers["etag"].to_str().unwrap().to_owned();
    (response.body.to_vec(), etag)
}

/// Nothing differs from the ledger.
async fn reconciled(world: &World) -> Value {
    let books = world.get("reports/reconciliation").await;
    assert_eq!(books.status, 200, "{books:?}");
    assert_eq!(books.body["differences"], json!([]));
    books.body
}

async fn only_payout(world: &World) -> Value {
    let payouts = world.get("payouts").await;
    assert_eq!(payouts.status, 200, "{payouts:?}");
    payouts.body["items"][0].clone()
}

#[tokio::test]
async fn a_payout_is_sent_arrives_comes_back_and_is_paid_again() {
    let world = World::with_shop(START).await;
    sale(&world, "anna-shoes", "A-1", "50").await;
    sale(&world, "anna-shoes", "A-2", "30").await;
    world.turn_to("2026-06-29T01:00:00Z").await;

    let payout = only_payout(&world).await;
    assert_eq!(
        (payout["status"].as_str(), payout["amount"].as_str()),
        (Some("approved"), Some("8.00"))
    );
    let path = format!("payouts/{}", payout["id"].as_str().unwrap());
    let lines = world.get(&path).await.body["lines"].clone();
    assert_eq!(lines.as_array().unwrap().len(), 2);
    let step = |word: &str| format!("{path}/{word}");

    assert_eq!(
        code(&world.post(&step("settled"), json!({})).await),
        (409, "payout_state")
    );
    assert_eq!(
        code(&world.post(&step("sent"), json!({})).await),
        (422, "parameter_missing")
    );
    let reference = json!({"reference": "bank 17"});
    for _ in 0..2 {
        let sent = world.post(&step("sent"), reference.clone()).await;
        assert_eq!(
            (sent.status, sent.body["status"].as_str()),
            (200, Some("sent"))
        );
    }
    let other = world
        .post(&step("sent"), json!({"reference": "bank 18"}))
        .await;
    assert_eq!(code(&other), (409, "payout_state"));
    let balance = world.balance("anna").await;
    assert_eq!(
        (balance["paid"].as_str(), balance["in_payout"].as_str()),
        (Some("8.00"), Some("0.00"))
    );
    world.post(&step("unknown"), json!({})).await;
    let balance = world.balance("anna").await;
    assert_eq!(
        (balance["paid"].as_str(), balance["in_payout"].as_str()),
        (Some("0.00"), Some("8.00"))
    );
    // Somebody who thinks that it is still to be sent must not send it a second time.
    let second = world
        .post(&step("sent"), json!({"reference": "bank 18"}))
        .await;
    assert_eq!(code(&second), (409, "payout_state"));
    assert_eq!(world.post(&step("settled"), json!({})).await.status, 200);

    let back = json!({"reason": "account closed"});
    for _ in 0..2 {
        assert_eq!(
            world.post(&step("returned"), back.clone()).await.body["status"],
            "returned"
        );
    }
    let balance = world.balance("anna").await;
    assert_eq!(
        ["on_hold", "in_payout", "paid"].map(|name| balance[name].as_str().unwrap()),
        ["8.00", "0.00", "0.00"]
    );
    world.turn_to("2026-06-30T01:00:00Z").await;
    let payouts = world
        .get("payouts?month=2026-06&status=approved")
        .await
        .body;
    assert_eq!(payouts["items"].as_array().unwrap().len(), 1);
    assert_eq!(payouts["items"][0]["amount"], "8.00");
    assert_eq!(world.balance("anna").await["in_payout"], "8.00");
    world.turn_to("2026-07-01T01:00:00Z").await;
    reconciled(&world).await;
    assert_eq!(
        columns(&report(&world, "2026-06").await, "anna"),
        "0.00 8.00 0.00 0.00 0.00 16.00 8.00 0.00 8.00 0.00 0.00 n=2"
    );
}

#[tokio::test]
async fn many_payouts_are_moved_at_once_and_each_answers_for_itself() {
    let world = World::with_shop(START).await;
    sale(&world, "anna-shoes", "A-1", "50").await;
    world.turn_to("2026-06-29T01:00:00Z").await;
    let id = only_payout(&world).await["id"].clone();
    let decision = json!({"ids": [id, "p-unknown"], "to": "cancelled", "reason": "wrong account"});
    let answer = world.post("payouts/decisions", decision).await;
    assert_eq!(answer.status, 207);
    assert_eq!(answer.body["items"][0]["status"], "cancelled");
    assert_eq!(answer.body["items"][1]["http"], 404);
    assert_eq!(world.balance("anna").await["on_hold"], "5.00");
}

#[tokio::test]
async fn adjustments_are_booked_once_under_their_name() {
    let world = World::with_shop(START).await;
    let bonus = json!({
        "id": "b-1", "affiliate": "anna", "kind": "bonus", "currency": "EUR", "amount": "12.5",
        "reason": "best of June",
    });
    let first = world.post("adjustments", bonus.clone()).await;
    assert_eq!(
        (first.status, first.body["amount"].as_str()),
        (201, Some("12.50"))
    );
    let again = world.post("adjustments", bonus.clone()).await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    let mut other = bonus.clone();
    other["amount"] = json!("13");
    assert_eq!(
        code(&world.post("adjustments", other).await),
        (409, "exists")
    );
    let mut wrong = bonus.clone();
    wrong["kind"] = json!("fee");
    wrong["id"] = json!("f-1");
    assert_eq!(
        code(&world.post("adjustments", wrong.clone()).await),
        (422, "sign_wrong")
    );
    wrong["amount"] = json!("-2.5");
    wrong["payable_on"] = json!("2026-07-02");
    let fee = world.post("adjustments", wrong).await;
    assert_eq!(
        (fee.status, fee.body["payable_on"].as_str()),
        (201, Some("2026-07-02"))
    );

    let balance = world.balance("anna").await;
    assert_eq!(
        (balance["on_hold"].as_str(), balance["adjustments"].as_str()),
        (Some("10.00"), Some("10.00"))
    );
    world.turn_to("2026-07-01T01:00:00Z").await;
    assert_eq!(
        columns(&report(&world, "2026-06").await, "anna"),
        "0.00 0.00 0.00 12.50 0.00 12.50 0.00 0.00 12.50 -2.50 0.00 n=0"
    );
}

#[tokio::test]
async fn a_debt_is_written_off_and_later_money_is_paid_whole() {
    let world = World::with_shop(START).await;
    sale(&world, "anna-shoes", "A-1", "50").await;
    world.turn_to("2026-06-29T01:00:00Z").await;
    let id = only_payout(&world).await["id"].as_str().unwrap().to_owned();
    let sent = json!({"reference": "bank 17"});
    let sent = world.post(&format!("payouts/{id}/sent"), sent).await;
    assert_eq!(sent.status, 200, "{sent:?}");
    assert_eq!(world.reversal(json!({"order_id": "A-1"})).await.status, 200);
    world.turn_to("2026-06-30T01:00:00Z").await;
    assert_eq!(world.balance("anna").await["payable"], "-5.00");

    let write_off = json!({
        "id": "w-1", "affiliate": "anna", "kind": "write_off", "currency": "EUR", "amount": "5",
        "reason": "the shop bears it",
    });
    for status in [201, 200] {
        let made = world.post("adjustments", write_off.clone()).await;
        assert_eq!(
            (made.status, &made.body["kind"], &made.body["amount"]),
            (status, &json!("write_off"), &json!("5.00"))
        );
    }
    // The other way it takes what nobody is owed any more.
    let mut dust = write_off;
    dust["id"] = json!("w-2");
    dust["amount"] = json!("-0.02");
    world.made("adjustments", dust).await;
    sale(&world, "anna-shoes", "A-2", "30").await;
    world.turn_to("2026-07-01T01:00:00Z").await;
    let balance = world.balance("anna").await;
    assert_eq!(
        ["adjustments", "payable", "in_payout", "paid"].map(|name| balance[name].as_str().unwrap()),
        ["4.98", "0.00", "2.98", "5.00"]
    );
    assert_eq!(
        columns(&report(&world, "2026-06").await, "anna"),
        "0.00 8.00 5.00 4.98 0.00 7.98 0.00 0.00 2.98 0.00 0.00 n=2"
    );
    reconciled(&world).await;
}

#[tokio::test]
async fn money_in_another_currency_than_its_affiliate_is_paid_in_is_held_and_says_so() {
    let world = World::with_shop(START).await;
    let paid_in = |currency: &str| json!({"payout": {"currency": currency}});
    let dollars = world.patch("affiliates/anna", 1, paid_in("USD")).await;
    assert_eq!(dollars.status, 200, "{dollars:?}");
    sale(&world, "anna-shoes", "A-1", "50").await;
    world.turn_to("2026-07-01T01:00:00Z").await;
    let run = json!({"day": "2026-06-28"});
    let run = world.post("payout-runs", run).await.body;
    assert_eq!(
        (&run["payouts"], &run["held"]),
        (&json!(0), &json!(1)),
        "{run}"
    );
    let balance = world.balance("anna").await;
    let held = json!([{"reason": "other_currency", "amount": "5.00"}]);
    assert_eq!(
        (&balance["payable"], &balance["held"]),
        (&json!("5.00"), &held)
    );
    let june = report(&world, "2026-06").await;
    assert_eq!(june["rows"][0]["held_reason"], "other_currency");
    let (csv, _) = raw(&world, "2026-06").await;
    let csv = String::from_utf8(csv).unwrap();
    assert!(csv.ends_with(",1,other_currency,\n"), "{csv}");

    let euros = world.patch("affiliates/anna", 2, paid_in("EUR")).await;
    assert_eq!(euros.status, 200, "{euros:?}");
    world.turn_to("2026-07-02T01:00:00Z").await;
    let balance = world.balance("anna").await;
    assert_eq!(
        (&balance["in_payout"], &balance["held"]),
        (&json!("5.00"), &json!([]))
    );
}

/// A network has people to pay before it has a merchant.
#[tokio::test]
async fn a_bonus_from_before_the_first_merchant_is_paid_and_its_month_can_be_closed() {
    let world = World::empty(START).await;
    let anna = json!({
        "id": "anna", "name": "Anna", "email": "anna@example.com", "country": "DE",
        "payout": {"currency": "EUR", "method": "manual", "schedule": "daily"},
    });
    world.made("affiliates", anna).await;
    for (id, payable_on, booked_on) in [
        ("now", json!(null), "2026-06-28"),
        ("past", json!("2026-06-01"), "2026-06-28"),
        ("future", json!("2026-07-01"), "2026-07-01"),
    ] {
        let bonus = json!({
            "id": id, "affiliate": "anna", "kind": "bonus", "currency": "EUR", "amount": "5",
            "reason": "to begin with", "payable_on": payable_on,
        });
        let made = world.made("adjustments", bonus).await;
        assert_eq!(made["payable_on"], booked_on, "{id}");
    }
    world.turn_to("2026-06-30T10:00:00Z").await;
    world
        .made("merchants", json!({"id": "shop", "name": "Shop"}))
        .await;
    world.turn_to("2026-07-02T02:00:00Z").await;

    let payouts = world.get("payouts").await.body;
    let paid = [0, 1].map(|place| {
        let payout = &payouts["items"][place];
        ["day", "amount"].map(|name| payout[name].as_str().unwrap_or("-"))
    });
    assert_eq!(paid, [["2026-06-28", "10.00"], ["2026-07-01", "5.00"]]);
    reconciled(&world).await;
    closed(&world, "2026-06").await;
}

#[tokio::test]
async fn whose_money_an_adjustment_is_stands_in_the_query_or_in_the_body() {
    let world = World::with_shop(START).await;
    let acme = json!({
        "id": "acme", "legal_name": "Acme", "address": {"town": "Bonn", "country": "DE"},
    });
    world.made("payers", acme).await;
    for (query, id, payer, expected) in [
        ("?payer=acme", "b-1", None, (201, "-")),
        ("", "b-1", Some("acme"), (200, "-")),
        (
            "?payer=acme",
            "b-2",
            Some("acme"),
            (422, "parameter_repeated"),
        ),
        ("?payer=nobody", "b-2", None, (422, "payer_unknown")),
        ("?amount=7", "b-2", Some("acme"), (422, "parameter_unknown")),
        ("", "b-2", None, (422, "payer_required")),
    ] {
        let mut bonus = json!({
            "id": id, "affiliate": "anna", "kind": "bonus", "currency": "EUR", "amount": "5",
            "reason": "best of June",
        });
        if let Some(payer) = payer {
            bonus["payer"] = json!(payer);
        }
        let answer = world.post(&format!("adjustments{query}"), bonus).await;
        assert_eq!(code(&answer), expected, "{query} {id}");
        if answer.status < 300 {
            assert_eq!(answer.body["payer"], "acme");
        }
    }
}

/// A list may lag: nothing that it does not show yet is booked as `house`'s.
#[tokio::test]
async fn a_second_payer_is_known_from_the_moment_it_is_made() {
    let world = World::with_shop(START).await;
    let bonus = json!({
        "id": "b-1", "affiliate": "anna", "kind": "bonus", "currency": "EUR", "amount": "5",
        "reason": "best of June",
    });
    let faults = Faults::seeded(1).with(Fault::Stale, 1000);
    world.stack.table.set_faults(faults);
    let acme = json!({
        "id": "acme", "legal_name": "Acme", "address": {"town": "Bonn", "country": "DE"},
    });
    world.made("payers", acme).await;
    let unnamed = world.post("adjustments", bonus.clone()).await;
    assert_eq!(code(&unnamed), (422, "payer_required"));

    // As a table of before has it.
    world.stack.table.set_faults(Faults::none());
    world.lose("SEVERAL#payer", "CUR").await;
    let unnamed = world.post("adjustments", bonus).await;
    assert_eq!(code(&unnamed), (422, "payer_required"));
}

/// Copies of an only payout, one for each of so many days before it.
async fn copied(world: &World, id: &str, days: i64) {
    let client = world.stack.table.client("setup");
    let table = clickledger::tables::names().core;
    let text = |text: String| AttributeValue::S(text);
    let payout = client
        .get_item()
        .table_name(&table)
        .key("pk", text(format!("P#{id}")))
        .key("sk", text("CUR".to_owned()))
        .send()
        .await
        .expect("the embedded table reads an item")
        .item
        .expect("there is a payout");
    let first = jiff::civil::date(2026, 6, 28);
    let copies: Vec<HashMap<String, AttributeValue>> = (1..=days)
        .map(|before| {
            let day = first.saturating_sub(jiff::Span::new().days(before));
            let mut copy = payout.clone();
            for (name, value) in [
                ("pk", format!("P#copy-{before}")),
                ("id", format!("copy-{before}")),
                ("day", day.to_string()),
                ("owner_sk", format!("{day}#copy-{before}")),
                ("affiliate_sk", format!("{day}#copy-{before}")),
            ] {
                copy.insert(name.to_owned(), text(value));
            }
            copy
        })
        .collect();
    for part in copies.chunks(25) {
        let puts = part.iter().map(|item| {
            let put = PutRequest::builder().set_item(Some(item.clone()));
            let put = put.build().expect("the item is set");
            WriteRequest::builder().put_request(put).build()
        });
        client
            .batch_write_item()
            .request_items(&table, puts.collect())
            .send()
            .await
            .expect("the embedded table takes items");
    }
}

/// Years of daily payouts, and the only one that was cancelled is the last.
#[tokio::test]
async fn a_filtered_list_of_payouts_is_looked_through_in_parts() {
    let world = World::with_shop(START).await;
    sale(&world, "anna-shoes", "A-1", "50").await;
    world.turn_to("2026-06-29T01:00:00Z").await;
    let id = only_payout(&world).await["id"].as_str().unwrap().to_owned();
    copied(&world, &id, 2_300).await;
    let cancel = json!({"reason": "wrong account"});
    let cancelled = world.post(&format!("payouts/{id}/cancel"), cancel).await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");

    let mut found = Vec::new();
    let mut path = "payouts?status=cancelled&limit=1".to_owned();
    let mut calls = 0;
    loop {
        calls += 1;
        world.stack.table.clear_calls();
        let list = world.get(&path).await;
        assert_eq!(list.status, 200, "{list:?}");
        let asked = world.stack.table.calls().into_iter();
        let asked = asked.filter(|call| call.key_prefix == "L#").count();
        assert!(asked <= 12, "{asked}");
        found.extend(list.body["items"].as_array().unwrap().clone());
        match list.body["next"].as_str() {
            Some(next) => path = format!("payouts?status=cancelled&limit=1&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((calls, found.len()), (2, 1));
    assert_eq!(found[0]["id"], id.as_str());

    // Whoever is not after few gets each of them once, page by page.
    let mut seen = 0;
    let mut path = "payouts?status=approved&limit=200".to_owned();
    loop {
        let list = world.get(&path).await.body;
        seen += list["items"].as_array().unwrap().len();
        match list["next"].as_str() {
            Some(next) => path = format!("payouts?status=approved&limit=200&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, 2_300);
}

/// June with everything in it: paid, on hold, waiting for approval, in debt.
async fn june() -> World {
    let world = World::with_shop(START).await;
    let slow = json!({
        "id": "hats", "merchant": "shop", "name": "Hats", "currency": "EUR", "hold_days": 30,
        "destination": "https://shop.example/", "status": "active", "override": "a test",
        "approval": "manual", "commission": [{"type": "flat", "amount": "3"}],
    });
    world.made("programs", slow).await;
    world
        .made(
            "links",
            json!({"slug": "anna-hats", "program": "hats", "affiliate": "anna"}),
        )
        .await;
    sale(&world, "anna-shoes", "A-1", "50").await;
    sale(&world, "anna-hats", "H-1", "9").await;
    sale(&world, "anna-hats", "H-2", "9").await;
    world.turn_to("2026-06-29T02:00:00Z").await;
    let list = world.get("conversions?merchant=shop&limit=200").await.body;
    let hat = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["order_id"] == "H-2")
        .unwrap()["id"]
        .clone();
    let approve = format!("conversions/{}/approve", hat.as_str().unwrap());
    assert_eq!(world.post(&approve, json!({})).await.status, 200);
    assert_eq!(world.reversal(json!({"order_id": "A-1"})).await.status, 200);
    world
}

#[tokio::test]
async fn a_month_is_prepared_by_one_approved_by_another_closed_and_never_moves() {
    let world = june().await;
    assert_eq!(
        columns(&report(&world, "2026-06").await, "anna"),
        "0.00 5.00 0.00 0.00 0.00 5.00 0.00 0.00 5.00 -2.00 3.00 n=1"
    );
    assert_eq!(world.get("reports/payouts/9998-12").await.status, 404);
    let open = world.post("periods/2026-06/close", json!({})).await;
    assert_eq!(code(&open), (409, "days_open"));
    assert_eq!(open.body["days"], json!(["2026-06-29", "2026-06-30"]));

    world.turn_to("2026-07-01T01:00:00Z").await;
    let expected = "0.00 5.00 5.00 0.00 0.00 5.00 0.00 -5.00 5.00 3.00 3.00 n=1";
    assert_eq!(columns(&report(&world, "2026-06").await, "anna"), expected);
    let key = json!({"role": "finance", "person": "clara"});
    let clara = world.made("keys", key).await["key"]
        .as_str()
        .unwrap()
        .to_owned();

    assert_eq!(
        code(&world.post("periods/2026-06/close", json!({})).await),
        (409, "not_approved")
    );
    let prepared = world.post("periods/2026-06/prepare", json!({})).await;
    assert_eq!(
        (prepared.status, prepared.body["state"].as_str()),
        (200, Some("prepared"))
    );
    let same_person = world.post("periods/2026-06/approve", json!({})).await;
    assert_eq!(code(&same_person), (403, "four_eyes"));
    let bearer = format!("Bearer {clara}");
    let approved = tests::answer(
        &world
            .send(
                Method::POST,
                "/api/v1/periods/2026-06/approve",
                &[("authorization", &bearer)],
                "".into(),
            )
            .await,
    );
    assert_eq!(
        (approved.status, approved.body["four_eyes"].as_str()),
        (200, Some("on"))
    );
    // What comes between the preparer's look and the close is July's.
    sale(&world, "anna-shoes", "A-2", "80").await;
    let closed = world.post("periods/2026-06/close", json!({})).await;
    assert_eq!(
        (closed.status, closed.body["state"].as_str()),
        (200, Some("closed")),
        "{closed:?}"
    );
    assert_eq!(closed.body["sha256"], prepared.body["sha256"]);
    assert_eq!(world.post("periods/2026-06/close", json!({})).await, closed);

    let (bytes, etag) = raw(&world, "2026-06").await;
    assert_eq!(
        etag,
        format!("\"{}\"", closed.body["sha256"].as_str().unwrap())
    );
    let june = report(&world, "2026-06").await;
    assert_eq!(
        (june["state"].as_str(), june["preliminary"].as_bool()),
        (Some("closed"), Some(false))
    );
    assert_eq!(columns(&june, "anna"), expected);
    assert_eq!(june["by_merchant"][0]["earned"], "5.00");

    // Late events, of every kind.
    let id = only_payout(&world).await["id"].as_str().unwrap().to_owned();
    world
        .post(&format!("payouts/{id}/sent"), json!({"reference": "1"}))
        .await;
    world
        .post(
            &format!("payouts/{id}/returned"),
            json!({"reason": "closed"}),
        )
        .await;
    for number in 0..1_000 {
        let order = format!("late-{number}");
        let click_id = world.click("anna-shoes").await;
        let late = json!({
            "click_id": click_id, "order_id": order, "amount": "10",
            "occurred_at": "2026-07-01T00:59:00Z",
        });
        assert_eq!(world.postback(late).await.status, 200);
    }
    world.turn_to("2026-07-03T01:00:00Z").await;
    let books = reconciled(&world).await;
    assert_eq!(books["conversions"], 1_003);
    assert_eq!(raw(&world, "2026-06").await, (bytes, etag));
    assert_eq!(report(&world, "2026-06").await, june);
    assert_eq!(
        columns(&report(&world, "2026-07").await, "anna"),
        "-5.00 1008.00 0.00 0.00 0.00 1008.00 5.00 0.00 1008.00 3.00 3.00 n=1001"
    );
}

#[tokio::test]
async fn months_are_closed_in_order_and_by_one_person_where_the_payer_says_so() {
    let world = june().await;
    let house = world.get("payers/house").await;
    assert_eq!(house.status, 200, "{house:?}");
    let off = world
        .patch("payers/house", 1, json!({"four_eyes": "off"}))
        .await;
    assert_eq!(off.status, 200, "{off:?}");
    world.turn_to("2026-08-01T01:00:00Z").await;
    for step in ["prepare", "approve"] {
        assert_eq!(
            world
                .post(&format!("periods/2026-07/{step}"), json!({}))
                .await
                .status,
            200
        );
    }
    let early = world.post("periods/2026-07/close", json!({})).await;
    assert_eq!(code(&early), (409, "earlier_month_open"));
    for (month, steps) in [
        ("2026-06", ["prepare", "approve", "close"].as_slice()),
        ("2026-07", &["close"]),
    ] {
        for step in steps {
            let answer = world
                .post(&format!("periods/{month}/{step}"), json!({}))
                .await;
            assert_eq!(answer.status, 200, "{month} {step}: {answer:?}");
        }
    }
    let periods = world.get("periods").await.body;
    let states: Vec<&str> = periods["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|period| period["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["closed", "closed"]);
    assert_eq!(periods["items"][0]["four_eyes"], "off");
    let statement = world.get("statements/anna/2026-06").await.body;
    assert_eq!(statement["state"], "closed");
    assert_eq!(statement["rows"][0]["closing"], "-5.00");
    let lines: Vec<&str> = statement["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["amount"].as_str().unwrap())
        .collect();
    assert_eq!(lines, ["5.00", "-5.00", "-5.00"]);
    // Carry without traffic stands in every month's report.
    assert_eq!(
        columns(&report(&world, "2026-07").await, "anna"),
        "-5.00 3.00 0.00 0.00 0.00 0.00 0.00 -2.00 5.00 0.00 3.00 n=1"
    );
}

#[tokio::test]
async fn an_open_month_before_is_seen_by_one_line_of_it() {
    let world = World::with_shop(START).await;
    for number in 0..30 {
        sale(&world, "anna-shoes", &format!("A-{number}"), "10").await;
    }
    let off = json!({"four_eyes": "off"});
    assert_eq!(world.get("payers/house").await.status, 200);
    assert_eq!(world.patch("payers/house", 1, off).await.status, 200);
    world.turn_to("2026-08-01T01:00:00Z").await;
    for step in ["prepare", "approve"] {
        let path = format!("periods/2026-07/{step}");
        assert_eq!(world.post(&path, json!({})).await.status, 200);
    }
    world.stack.table.clear_calls();
    let early = world.post("periods/2026-07/close", json!({})).await;
    assert_eq!(code(&early), (409, "earlier_month_open"));
    let calls = world.stack.table.calls();
    let units: Vec<u64> = calls
        .iter()
        .filter(|call| call.key_prefix == "E#")
        .map(|call| call.units_tenths)
        .collect();
    assert_eq!(units, [10], "one strongly consistent read of up to 4 KiB");
}

#[tokio::test]
async fn whoever_is_not_of_finance_sees_no_report_and_moves_no_payout() {
    let world = World::with_shop(START).await;
    sale(&world, "anna-shoes", "A-1", "50").await;
    world.turn_to("2026-06-29T01:00:00Z").await;
    let id = only_payout(&world).await["id"].as_str().unwrap().to_owned();
    for (role, owner, expected) in [
        (
            "merchant",
            json!({"merchant": "shop"}),
            [404, 404, 404, 404, 404, 404, 404],
        ),
        (
            "affiliate",
            json!({"affiliate": "anna"}),
            [404, 404, 200, 403, 404, 200, 404],
        ),
    ] {
        let mut key = owner.clone();
        key["role"] = json!(role);
        key["person"] = json!("somebody");
        let key = world.made("keys", key).await["key"]
            .as_str()
            .unwrap()
            .to_owned();
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str())];
        let nothing = "/api/v1/nothing/of/the/kind";
        let nothing = world.send(Method::GET, nothing, &headers, "".into()).await;
        let mut statuses = Vec::new();
        for (method, path) in [
            (Method::GET, "reports/payouts/2026-06".to_owned()),
            (Method::POST, "periods/2026-06/prepare".to_owned()),
            (Method::GET, format!("payouts/{id}")),
            (Method::POST, format!("payouts/{id}/settled")),
            (Method::POST, "adjustments".to_owned()),
            (Method::GET, "statements/anna/2026-06?format=csv".to_owned()),
            (Method::GET, "statements/other/2026-06".to_owned()),
        ] {
            let path = format!("/api/v1/{path}");
            let response = world.send(method, &path, &headers, "{}".into()).await;
            statuses.push(response.status.as_u16());
            if response.status == 404 {
                let told = (&response.headers, &response.body);
                assert_eq!(told, (&nothing.headers, &nothing.body), "{role} {path}");
            }
        }
        assert_eq!(statuses, expected, "{role}");
    }
}

#[tokio::test]
async fn a_cent_that_is_not_in_the_ledger_is_found_and_keeps_the_month_open() {
    let world = june().await;
    world.turn_to("2026-07-01T01:00:00Z").await;
    reconciled(&world).await;
    for (pk, sk, attribute, found) in [
        ("A#anna", "house#EUR", "carry", vec!["carry"]),
        ("A#anna", "house#EUR", "sent", vec!["payouts sent"]),
        (
            "B#2026-07-28#",
            "house#anna#EUR#00",
            "earned",
            vec!["bucket of 2026-07-28 earned"],
        ),
        (
            "M#house#2026-06#",
            "anna#EUR",
            "reversed",
            vec!["2026-06 reversed"],
        ),
        ("C#shop#H-2", "sale", "refunded", vec!["conversion"]),
    ] {
        let pocket = shared::ledger::Pocket {
            payer: shared::ids::PayerId::house(),
            affiliate: shared::ids::AffiliateId::parse("anna").unwrap(),
            currency: shared::money::Currency::parse("EUR").unwrap(),
        };
        let pk = match pk.strip_suffix('#') {
            Some(_) => format!("{pk}{:02}", pocket.shard()),
            None => pk.to_owned(),
        };
        let by = if attribute == "refunded" { 300 } else { 1 };
        for change in [by, -by] {
            world.tamper(&pk, sk, attribute, change).await;
            if change < 0 {
                continue;
            }
            let books = world.get("reports/reconciliation").await.body;
            let differences = books["differences"].as_array().unwrap();
            let named: Vec<&str> = differences
                .iter()
                .map(|difference| difference["what"].as_str().unwrap())
                .collect();
            assert_eq!(named.len(), found.len(), "{pk} {attribute}: {books}");
            assert!(named[0].starts_with(found[0]), "{pk} {attribute}: {books}");
            if attribute == "reversed" {
                let refused = world.post("periods/2026-06/prepare", json!({})).await;
                assert_eq!(code(&refused), (409, "books_differ"));
            }
        }
        reconciled(&world).await;
    }
}

/// One person takes a month all the way.
async fn closed(world: &World, month: &str) {
    let house = world.get("payers/house").await.body;
    if house["four_eyes"] == "on" {
        let off = json!({"four_eyes": "off"});
        assert_eq!(world.patch("payers/house", 1, off).await.status, 200);
    }
    for step in ["prepare", "approve", "close"] {
        let path = format!("periods/{month}/{step}");
        let answer = world.post(&path, json!({})).await;
        assert_eq!(answer.status, 200, "{month} {step}: {answer:?}");
    }
}

#[tokio::test]
async fn a_closed_months_statement_keeps_the_name_that_its_report_has() {
    let world = june().await;
    world.turn_to("2026-07-01T01:00:00Z").await;
    closed(&world, "2026-06").await;
    let statement = world.get("statements/anna/2026-06").await;
    assert_eq!(statement.body["state"], "closed", "{statement:?}");

    let married = json!({"name": "Anna Bell"});
    let renamed = world.patch("affiliates/anna", 1, married).await;
    assert_eq!(renamed.status, 200, "{renamed:?}");
    assert_eq!(world.get("statements/anna/2026-06").await, statement);
    let names = |statement: &Value| {
        let row = &statement["rows"][0];
        [&statement["legal_name"], &row["legal_name"]].map(|name| name.as_str().unwrap().to_owned())
    };
    assert_eq!(names(&statement.body), ["Anna", "Anna"]);
    let july = world.get("statements/anna/2026-07").await.body;
    assert_eq!(names(&july), ["Anna Bell", "Anna Bell"]);
}

#[tokio::test]
async fn a_month_with_nothing_but_a_refund_worth_nothing_is_closed() {
    let world = World::with_shop(START).await;
    sale(&world, "anna-shoes", "A-1", "50").await;
    world.turn_to("2026-06-29T01:00:00Z").await;
    let id = only_payout(&world).await["id"].as_str().unwrap().to_owned();
    let sent = world
        .post(&format!("payouts/{id}/sent"), json!({"reference": "1"}))
        .await;
    assert_eq!(sent.status, 200, "{sent:?}");

    world.turn_to("2026-07-02T10:00:00Z").await;
    let refund = json!({"order_id": "A-1", "reversal_id": "r-1", "amount": "0.01"});
    let refund = world.reversal(refund).await;
    assert_eq!(refund.body["reversed"][0]["amount"], "0.00", "{refund:?}");

    world.turn_to("2026-08-01T01:00:00Z").await;
    closed(&world, "2026-06").await;
    closed(&world, "2026-07").await;
    let july = report(&world, "2026-07").await;
    assert_eq!(
        (&july["rows"], &july["by_merchant"]),
        (&json!([]), &json!([]))
    );
}

/// A shop whose second affiliate has nothing but an order that waits for the merchant; its id.
async fn waiting() -> (World, String) {
    let world = june().await;
    let bob = json!({"id": "bob", "name": "Bob", "email": "bob@example.com", "country": "DE"});
    world.made("affiliates", bob).await;
    let link = json!({"slug": "bob-hats", "program": "hats", "affiliate": "bob"});
    world.made("links", link).await;
    sale(&world, "bob-hats", "B-1", "9").await;
    let list = world.get("conversions?affiliate=bob").await.body;
    let id = list["items"][0]["id"].as_str().unwrap().to_owned();
    (world, id)
}

const WAITS: &str = "0.00 0.00 0.00 0.00 0.00 0.00 0.00 0.00 0.00 0.00 3.00 n=0";

#[tokio::test]
async fn an_affiliate_whose_only_order_waits_stands_in_the_report_until_it_is_approved() {
    let (world, order) = waiting().await;
    world.turn_to("2026-07-01T01:00:00Z").await;
    assert_eq!(columns(&report(&world, "2026-06").await, "bob"), WAITS);
    world.get("payers/house").await;
    let off = json!({"four_eyes": "off"});
    assert_eq!(world.patch("payers/house", 1, off).await.status, 200);
    for step in ["prepare", "approve"] {
        let path = format!("periods/2026-06/{step}");
        assert_eq!(world.post(&path, json!({})).await.status, 200);
    }

    // Approved between the preparation and the close: June is still what was prepared.
    let approve = format!("conversions/{order}/approve");
    assert_eq!(world.post(&approve, json!({})).await.status, 200);
    let close = world.post("periods/2026-06/close", json!({})).await;
    assert_eq!(close.status, 200, "{close:?}");
    assert_eq!(columns(&report(&world, "2026-06").await, "bob"), WAITS);
    world.turn_to("2026-08-01T01:00:00Z").await;
    let july = report(&world, "2026-07").await;
    assert!(
        columns(&july, "bob").ends_with(" 0.00 n=1"),
        "nothing waits any more: {july}"
    );
}

#[tokio::test]
async fn an_order_that_waited_before_its_account_was_noted_stands_in_the_report_too() {
    let (world, _) = waiting().await;
    world.turn_to("2026-07-01T01:00:00Z").await;
    // As a table of before has it.
    let bob = shared::ledger::Pocket {
        payer: shared::ids::PayerId::house(),
        affiliate: shared::ids::AffiliateId::parse("bob").unwrap(),
        currency: shared::money::Currency::parse("EUR").unwrap(),
    };
    let of_payer = format!("N#house#{:02}", bob.shard());
    world.lose(&of_payer, "bob#EUR").await;
    world.lose("A#bob", "!house#EUR").await;
    assert_eq!(columns(&report(&world, "2026-06").await, "bob"), WAITS);
    let statement = world.get("statements/bob/2026-06").await.body;
    assert_eq!(columns(&statement, "bob"), WAITS);
    assert_eq!(statement["rows"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_account_beyond_every_amount_is_held_and_everybody_else_is_paid() {
    let world = World::with_shop(START).await;
    let bob = json!({
        "id": "bob", "name": "Bob", "email": "bob@example.com", "country": "DE",
        "payout": {"currency": "EUR", "method": "manual", "schedule": "daily"},
    });
    world.made("affiliates", bob).await;
    let link = json!({"slug": "bob-shoes", "program": "shoes", "affiliate": "bob"});
    world.made("links", link).await;
    sale(&world, "bob-shoes", "B-1", "50").await;
    let bonus = json!({
        "id": "b-1", "affiliate": "anna", "kind": "bonus", "currency": "EUR", "amount": "0",
        "reason": "what everybody gets",
    });
    world.made("adjustments", bonus).await;
    // Each line fits, and their sum does not.
    let most = 1_000_000_000_000_000_000;
    world.multiply("anna", most, 10).await;

    world.turn_to("2026-06-29T01:00:00Z").await;
    let day = json!({"day": "2026-06-28"});
    let run = world.post("payout-runs", day.clone()).await;
    assert_eq!(run.status, 200, "{run:?}");
    assert_eq!(
        (
            &run.body["payouts"],
            &run.body["held"],
            &run.body["carried"]
        ),
        (&json!(1), &json!(1), &json!(0)),
        "{run:?}"
    );
    assert_eq!(world.post("payout-runs", day).await, run);
    assert_eq!(world.balance("bob").await["in_payout"], "5.00");

    let sum = "100000000000000000.00";
    let balance = world.get("affiliates/anna/balances").await;
    assert_eq!(balance.status, 200, "{balance:?}");
    let balance = &balance.body["items"][0];
    let held = json!([{"reason": "amount_too_large", "amount": sum}]);
    assert_eq!(
        (&balance["payable"], &balance["held"]),
        (&json!(sum), &held)
    );
    reconciled(&world).await;
    world.turn_to("2026-08-01T01:00:00Z").await;
    reconciled(&world).await;
    closed(&world, "2026-06").await;
    let opened = format!("{sum} 0.00 0.00 0.00 0.00 0.00 0.00 {sum} 0.00 0.00 0.00 n=0");
    assert_eq!(columns(&report(&world, "2026-07").await, "anna"), opened);
    closed(&world, "2026-07").await;
}
