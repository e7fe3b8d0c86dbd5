//! What is refused: with which code, and that the corrected claim is credited.

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tests::{World, answer, click_id};

const START: &str = "2026-07-01T10:00:00Z";

async fn check(world: &World, body: serde_json::Value, expected: (u16, &str)) {
    let given = body.to_string();
    let answer = world.postback(body).await;
    let word = answer.body["result"]
        .as_str()
        .or(answer.body["code"].as_str());
    assert_eq!(
        (answer.status, word.unwrap_or("?")),
        expected,
        "{given}: {answer:?}"
    );
}

#[tokio::test]
async fn a_claim_that_is_refused_never_takes_the_orders_place() {
    let world = World::with_shop(START).await;
    let good = world.click("anna-shoes").await;
    let robot = click_id(&world.visit("anna-shoes", "curl/8.14.1").await);
    let mut forged = good.clone();
    forged.replace_range(40..41, if &good[40..41] == "A" { "B" } else { "A" });

    let sale = |click: &str| json!({"click_id": click, "order_id": "A-1", "amount": "10"});
    check(&world, sale(&forged), (422, "click_forged")).await;
    check(&world, sale(&robot), (422, "invalid_traffic")).await;
    let mut other = sale(&good);
    other["program"] = json!("hats");
    check(&world, other, (422, "program_mismatch")).await;
    let mut dollars = sale(&good);
    dollars["currency"] = json!("USD");
    check(&world, dollars, (422, "currency_mismatch")).await;
    check(
        &world,
        json!({"click_id": good, "order_id": "A-1"}),
        (422, "amount_required"),
    )
    .await;
    check(&world, sale(&good), (200, "created")).await;
    // Whatever click it brings now: the order is done, and other content is another order's.
    check(&world, sale(&robot), (200, "recorded_before")).await;
    let mut other = sale(&robot);
    other["amount"] = json!("11");
    check(&world, other, (409, "order_conflict")).await;

    world.turn_to("2026-07-31T10:00:01Z").await;
    let late = json!({"click_id": good, "order_id": "A-2", "amount": "10"});
    check(&world, late.clone(), (422, "window_closed")).await;
    check(&world, sale(&good), (200, "recorded_before")).await;
    let mut in_time = late;
    in_time["occurred_at"] = json!("2026-07-31T10:00:00Z");
    check(&world, in_time, (200, "created")).await;
}

#[tokio::test]
async fn a_request_that_is_wrong_names_the_field() {
    let world = World::with_shop(START).await;
    let click = world.click("anna-shoes").await;
    for (member, value, code) in [
        ("order_id", json!(""), "parameter_missing"),
        ("order_id", json!("{order_id}"), "macro_unreplaced"),
        ("order_id", json!("x".repeat(129)), "order_id_invalid"),
        ("amount", json!(10), "type_wrong"),
        ("amount", json!("-1"), "amount_invalid"),
        ("amount", json!("1,5"), "amount_invalid"),
        ("amount", json!("1.005"), "amount_invalid"),
        ("goal", json!("lead"), "goal_unknown"),
        ("currency", json!("eur"), "currency_invalid"),
        ("colour", json!("red"), "parameter_unknown"),
        (
            "occurred_at",
            json!("2026-07-01T10:10:00Z"),
            "occurred_at_future",
        ),
        ("occurred_at", json!("2026-01-01T10:00:00Z"), "too_late"),
        ("items", json!([{"sku": "a", "amount": "9"}]), "items_total"),
    ] {
        let mut sale = json!({"click_id": click, "order_id": "A-1", "amount": "10"});
        sale[member] = value;
        let answer = world.postback(sale).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (422, &json!(code)),
            "{member}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn nobody_to_credit_is_no_refusal_and_is_credited_once_later() {
    let world = World::with_shop(START).await;
    let click = world.click("anna-shoes").await;
    let bare = json!({"order_id": "A-1", "amount": "10", "program": "shoes", "coupon": "NONE"});
    let first = world.postback(bare).await;
    assert_eq!(first.body["status"], "unattributed");
    assert_eq!(first.body["ignored"], json!(["coupon"]));
    let named = json!({"click_id": click, "order_id": "A-1", "amount": "10"});
    check(&world, named.clone(), (200, "created")).await;
    check(&world, named, (200, "recorded_before")).await;
    assert_eq!(world.balance("anna").await["on_hold"], "1.00");
}

#[tokio::test]
async fn who_is_not_authentic_learns_nothing() {
    let world = World::with_shop(START).await;
    let mut answers = Vec::new();
    for path in [
        "/postback?order_id=1&amount=1",
        "/postback?order_id=1&amount=1&token=pb.shop.s1.x",
        "/postback/shop?order_id=1",
        "/postback/nobody?order_id=1",
        "/postback/reversal?order_id=1",
    ] {
        let response = world.send(Method::GET, path, &[], Bytes::new()).await;
        assert_eq!(response.status, 401, "{path}");
        answers.push(response.body);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);

    // A wrong scheme of authorisation, or a body that nobody can read, is nobody's word either.
    let response = world
        .send(
            Method::POST,
            "/postback",
            &[("content-type", "application/json")],
            "{".into(),
        )
        .await;
    assert_eq!(response.status, 401);
}

#[tokio::test]
async fn a_batch_answers_line_by_line() {
    let world = World::with_shop(START).await;
    let click = world.click("anna-shoes").await;
    let lines = [
        json!({"type": "conversion", "click_id": click, "order_id": "B-1", "amount": "10"}),
        json!({"type": "conversion", "click_id": click, "order_id": "B-2"}),
        json!({"type": "reversal", "order_id": "B-1"}),
    ];
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let bearer = format!("Bearer {}", world.token);
    let headers = [("authorization", bearer.as_str())];
    let response = world
        .send(Method::POST, "/postback/batch", &headers, body.into())
        .await;
    assert_eq!(response.status, 207);
    let text = String::from_utf8(response.body.to_vec()).unwrap();
    let answers: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let brief: Vec<_> = answers
        .iter()
        .map(|answer| {
            (
                answer["line"].as_u64().unwrap(),
                answer["http"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(brief, [(1, 200), (2, 422), (3, 200)]);
    let many = "{}\n".repeat(1_001);
    let response = world
        .send(Method::POST, "/postback/batch", &headers, many.into())
        .await;
    assert_eq!(answer(&response).body["code"], "too_large");
}

#[tokio::test]
async fn a_refund_of_an_order_that_nobody_was_credited_with_is_not_forgotten() {
    let world = World::with_shop(START).await;
    let click = world.click("anna-shoes").await;
    for (order, taken) in [("A-1", json!("4")), ("A-2", json!(null))] {
        let bare = json!({"order_id": order, "amount": "10", "program": "shoes"});
        check(&world, bare, (200, "created")).await;
        let mut refund = json!({"order_id": order});
        if !taken.is_null() {
            refund["reversal_id"] = json!("r");
            refund["amount"] = taken;
        }
        assert_eq!(world.reversal(refund).await.body["reversed"], json!([]));
        let named = json!({"click_id": click, "order_id": order, "amount": "10"});
        check(&world, named, (200, "created")).await;
    }
    // Six tenths of the first order's commission, and nothing of the second's.
    assert_eq!(world.balance("anna").await["on_hold"], "0.60");
    assert_eq!(world.reversal(json!({"order_id": "A-1"})).await.status, 200);
    assert_eq!(world.balance("anna").await["on_hold"], "0.00");
}

#[tokio::test]
async fn long_names_are_taken_or_refused_and_never_called_a_failure() {
    let world = World::with_shop(START).await;
    let click = world.click("anna-shoes").await;
    let longest = "\u{1f45f}".repeat(128);
    let sale = json!({"click_id": click, "order_id": longest, "amount": "10"});
    check(&world, sale.clone(), (200, "created")).await;
    check(&world, sale, (200, "recorded_before")).await;
    let refund = json!({"order_id": longest, "reversal_id": longest, "amount": "4"});
    for result in ["created", "recorded_before"] {
        let answer = world.reversal(refund.clone()).await;
        assert_eq!(
            (answer.status, &answer.body["result"]),
            (200, &json!(result))
        );
    }
    let bonus = json!({
        "id": longest, "affiliate": "anna", "kind": "bonus", "currency": "EUR", "amount": "1",
        "reason": "a test",
    });
    world.made("adjustments", bonus).await;
    assert_eq!(world.balance("anna").await["on_hold"], "1.60");

    let no_goal = "x".repeat(2_000);
    let forged = json!({"click_id": "x", "order_id": "A-1", "goal": no_goal, "amount": "10"});
    check(&world, forged, (422, "goal_unknown")).await;
    for resource in ["merchants", "payouts", "adjustments"] {
        let answer = world.get(&format!("{resource}/{no_goal}")).await;
        assert_eq!(answer.status, 404, "{resource}");
    }
}
