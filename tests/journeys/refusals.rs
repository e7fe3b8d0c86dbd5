//! What is refused: with which code, and that the corrected claim is credited.

use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tests::{BROWSER, Person, World, answer, click_id};

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

/// Whoever reads a browser's secret out of a page makes up as many claims on an order as they like.
#[tokio::test]
async fn no_number_of_refused_claims_makes_an_order_dear_to_record_or_to_take_back() {
    let world = World::with_shop(START).await;
    let click = world.click("anna-shoes").await;
    let asked = async |order: &str| -> Vec<(String, u64)> {
        world.stack.table.clear_calls();
        let sale = json!({"click_id": click, "order_id": order, "amount": "10"});
        check(&world, sale, (200, "created")).await;
        let taken = world.reversal(json!({"order_id": order})).await;
        assert_eq!(taken.body["result"], "created");
        let list = "conversions/decisions?merchant=shop";
        let line = json!({"order_id": order, "action": "approve"});
        assert_eq!(world.post(list, line).await.status, 200);
        let calls = world.stack.table.calls().into_iter();
        calls
            .map(|call| (call.key_prefix, call.units_tenths))
            .collect()
    };
    asked("A-0").await;
    let alone = asked("A-1").await;

    let pixel = json!({"label": "pixel", "scope": "convert", "kind": "browser"});
    let pixel = world.made("merchants/shop/secrets", pixel).await;
    for number in 0..300 {
        let claim = json!({
            "token": pixel["postback_token"], "click_id": "x", "order_id": "A-2",
            "amount": number.to_string(),
        });
        let refused = world.json("/postback", &claim).await;
        assert_eq!(refused.body["code"], "click_forged");
    }
    assert_eq!(asked("A-2").await, alone);
}

/// Refused claims stood with their order once.
#[tokio::test]
async fn a_refusal_of_before_is_listed_and_its_order_is_recorded_and_taken_back() {
    let world = World::with_shop(START).await;
    let click = world.click("anna-shoes").await;
    for (order, times) in [("A-1", 1), ("A-2", 2)] {
        for _ in 0..times {
            let forged = json!({"click_id": "x", "order_id": order, "amount": "10"});
            check(&world, forged, (422, "click_forged")).await;
        }
    }
    let client = world.stack.table.client("setup");
    let table = clickledger::tables::names().core;
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let apart = client.query().table_name(&table).limit(1);
    let apart = apart.key_condition_expression("pk = :pk");
    let apart = apart.expression_attribute_values(":pk", text("XC#shop#A-2"));
    let mut old = apart.send().await.unwrap().items.unwrap().remove(0);
    world.lose("XC#shop#A-2", old["sk"].as_s().unwrap()).await;
    old.insert("pk".to_owned(), text("C#shop#A-2"));
    let put = client.put_item().table_name(&table).set_item(Some(old));
    put.send().await.unwrap();

    let seen = [
        "A-1 click_forged 1 times for nobody",
        "A-2 click_forged 2 times for nobody",
    ];
    assert_eq!(listed(&world.get("refusals").await), seen);
    let sale = json!({"click_id": click, "order_id": "A-2", "amount": "10"});
    check(&world, sale, (200, "created")).await;
    let taken = world.reversal(json!({"order_id": "A-2"})).await;
    assert_eq!(taken.body["reversed"][0]["amount"], "1.00");
}

/// A program of a merchant's, with a link of anna's: `anna-<program>`.
async fn another_program(world: &World, merchant: &str, program: &str) {
    world
        .made(
            "programs",
            json!({
                "id": program, "merchant": merchant, "name": program, "currency": "EUR",
                "destination": "https://shop.example/", "status": "active", "override": "a test",
                "commission": [{"type": "percent", "percent": "10"}],
            }),
        )
        .await;
    let slug = format!("anna-{program}");
    let link = json!({"slug": slug, "program": program, "affiliate": "anna"});
    world.made("links", link).await;
}

#[tokio::test]
async fn a_recorded_order_is_recorded_whatever_click_it_brings_now() {
    let world = World::with_shop(START).await;
    let soon = json!({"accept_late": "1d"});
    assert_eq!(world.patch("programs/shoes", 1, soon).await.status, 200);
    let made_at = "2026-07-01T10:01:00Z";
    world.turn_to(made_at).await;
    let other = json!({"id": "other", "name": "Other"});
    assert_eq!(world.post("merchants", other).await.status, 201);
    another_program(&world, "shop", "hats").await;
    another_program(&world, "other", "socks").await;
    let good = world.click("anna-shoes").await;
    let mut forged = good.clone();
    forged.replace_range(40..41, if &good[40..41] == "A" { "B" } else { "A" });
    let refused = [
        (forged.clone(), "click_forged"),
        (world.click("anna-hats").await, "program_mismatch"),
        // Another merchant's click is not told of, though a program is named.
        (world.click("anna-socks").await, "click_unknown"),
    ];
    let sale = |click: &str, amount: &str| json!({"click_id": click, "program": "shoes", "order_id": "A-1", "amount": amount, "occurred_at": made_at});
    let bare = json!({"program": "shoes", "order_id": "A-1", "amount": "10"});
    for (click, code) in &refused {
        check(&world, sale(click, "10"), (422, code)).await;
    }
    // Nor does it help a claim that the order is known, while nobody is credited with it.
    check(&world, bare, (200, "created")).await;
    for (click, code) in &refused {
        check(&world, sale(click, "10"), (422, code)).await;
    }
    check(&world, sale(&good, "10"), (200, "created")).await;
    for (click, _) in &refused {
        check(&world, sale(click, "10"), (200, "recorded_before")).await;
        check(&world, sale(click, "11"), (409, "order_conflict")).await;
    }
    let without_program = json!({"click_id": forged, "order_id": "A-1", "amount": "10"});
    check(&world, without_program, (200, "recorded_before")).await;
    let mut dollars = sale(&good, "10");
    dollars["currency"] = json!("USD");
    check(&world, dollars, (409, "order_conflict")).await;
    let mut test = sale(&forged, "10");
    test["test"] = json!(true);
    check(&world, test, (422, "click_forged")).await;

    // A repeated order is never too late.
    world.turn_to("2026-07-02T10:01:01Z").await;
    check(&world, sale(&good, "10"), (200, "recorded_before")).await;
    check(&world, sale(&good, "11"), (409, "order_conflict")).await;
    let mut new = sale(&good, "10");
    new["order_id"] = json!("A-2");
    check(&world, new, (422, "too_late")).await;
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

/// Who sends is known by the query alone; what is wrong with the rest is then said.
#[tokio::test]
async fn what_cannot_be_read_is_refused_by_name_where_the_query_says_who_sends() {
    let world = World::with_shop(START).await;
    let (json, form) = ("application/json", "application/x-www-form-urlencoded");
    let sale = "order_id=A-1&amount=10&program=shoes";
    for (method, more, kind, body, expected) in [
        (
            "GET",
            "&amount=1&amount=2",
            "",
            "",
            (422, "parameter_repeated"),
        ),
        ("GET", "&order_id=%ff", "", "", (422, "utf8_invalid")),
        ("POST", "", json, "{", (422, "json_invalid")),
        ("POST", "", json, "[]", (422, "not_an_object")),
        (
            "POST",
            "",
            json,
            r#"{"order_id": "1", "order_id": "2"}"#,
            (422, "parameter_repeated"),
        ),
        (
            "POST",
            "&order_id=1",
            json,
            r#"{"order_id": "1"}"#,
            (422, "parameter_repeated"),
        ),
        (
            "POST",
            "",
            form,
            "amount=1&amount=2",
            (422, "parameter_repeated"),
        ),
        (
            "POST",
            "",
            "text/csv",
            sale,
            (415, "content_type_unsupported"),
        ),
        (
            "POST",
            "&amount=1&amount=2",
            json,
            r#"{"order_id": "1", "token": "x"}"#,
            (422, "parameter_repeated"),
        ),
        // Two tokens are nobody's, in whichever place.
        ("GET", "&token=x", "", "", (401, "unauthorised")),
        (
            "POST",
            "",
            form,
            "order_id=1&token=x",
            (401, "unauthorised"),
        ),
        (
            "POST",
            "",
            json,
            r#"{"order_id": "1", "token": "x"}"#,
            (401, "unauthorised"),
        ),
        (
            "POST",
            "",
            json,
            r#"{"token": "x", "token": "y"}"#,
            (401, "unauthorised"),
        ),
    ] {
        for path in ["/postback", "/postback/shop", "/postback/reversal"] {
            for (token, expected) in [
                (world.token.as_str(), expected),
                ("pb.shop.s1.x", (401, "unauthorised")),
            ] {
                let path = format!("{path}?token={token}{more}");
                let headers = [("content-type", kind)];
                let headers = if kind.is_empty() { &[] } else { &headers[..] };
                let sent = world.send(method.parse().unwrap(), &path, headers, body.into());
                let told = answer(&sent.await);
                assert_eq!(
                    (told.status, told.body["code"].as_str().unwrap()),
                    expected,
                    "{method} {path} {body}"
                );
            }
        }
    }
    // A form says it as well as the query; a body of JSON that cannot be read does not.
    for (kind, body, expected) in [
        (form, format!("token={}&x=1&x=2", world.token), 422),
        (
            form,
            format!("token={0}&x=1&x=2&token={0}", world.token),
            401,
        ),
        (
            json,
            format!(r#"{{"token": "{}", "x": 1, "x": 2}}"#, world.token),
            401,
        ),
    ] {
        let headers = [("content-type", kind)];
        let sent = world.send(Method::POST, "/postback", &headers, body.clone().into());
        assert_eq!(sent.await.status, expected, "{body}");
    }
    let batch = format!("/postback/batch?token={}", world.token);
    for (more, expected) in [
        ("&x=1&x=2", (422, "parameter_repeated")),
        ("&token=x", (401, "unauthorised")),
    ] {
        let path = format!("{batch}{more}");
        let told = answer(&world.send(Method::POST, &path, &[], Bytes::new()).await);
        assert_eq!((told.status, told.body["code"].as_str().unwrap()), expected);
    }
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

    // A list goes on after the longest name as after any other.
    let click = world.click("anna-shoes").await;
    let after = json!({"click_id": click, "order_id": "after", "amount": "10"});
    check(&world, after, (200, "created")).await;
    let first = world.get("conversions?limit=1").await;
    let next = first.body["next"].as_str().unwrap();
    let second = world
        .get(&format!("conversions?limit=1&cursor={next}"))
        .await;
    assert_eq!(
        (second.status, &second.body["items"][0]["order_id"]),
        (200, &json!("after"))
    );

    let no_goal = "x".repeat(2_000);
    let forged = json!({"click_id": "x", "order_id": "A-1", "goal": no_goal, "amount": "10"});
    check(&world, forged, (422, "goal_unknown")).await;
    for resource in ["merchants", "payouts", "adjustments"] {
        let answer = world.get(&format!("{resource}/{no_goal}")).await;
        assert_eq!(answer.status, 404, "{resource}");
    }
}

/// One way to be refused: what the program says besides, what is wrong with a sale of 10.00 that
/// names a good click, and what makes it right.
struct Case {
    code: &'static str,
    terms: Value,
    wrong: Value,
    right: Value,
    /// What it earns then.
    earns: &'static str,
    /// Whether it can be told whose affiliate's click it was.
    is_known: bool,
}

impl Case {
    fn new(code: &'static str, terms: Value, wrong: Value, right: Value) -> Self {
        Self {
            code,
            terms,
            wrong,
            right,
            earns: "1.00",
            is_known: true,
        }
    }
}

fn with(sale: &Value, changes: &Value) -> Value {
    let mut sale = sale.clone();
    for (name, value) in changes.as_object().unwrap() {
        sale[name] = value.clone();
    }
    sale
}

/// What the list of refusals says to somebody.
fn listed(answer: &tests::Answer) -> Vec<String> {
    let items = answer.body["items"].as_array().unwrap().iter();
    items
        .map(|item| {
            format!(
                "{} {} {} times for {}",
                item["order_id"].as_str().unwrap(),
                item["code"].as_str().unwrap(),
                item["times"],
                item["affiliate"].as_str().unwrap_or("nobody")
            )
        })
        .collect()
}

async fn refused_then_credited(case: &Case, clicks: impl AsyncFn(&World) -> [String; 2]) {
    let code = case.code;
    let world = World::with_shop(START).await;
    let bob = json!({"id": "bob", "name": "Bob", "email": "bob@example.com", "country": "DE"});
    world.made("affiliates", bob).await;
    let changed = world.patch("programs/shoes", 1, case.terms.clone()).await;
    assert_eq!(changed.status, 200, "{code}: {changed:?}");
    let [bad, good] = clicks(&world).await;
    let sale = json!({"order_id": "A-1", "amount": "10"});
    let wrong = with(&with(&sale, &json!({"click_id": bad})), &case.wrong);
    let right = with(&with(&sale, &json!({"click_id": good})), &case.right);

    // The merchant's server is told what is wrong, each time, and nothing of what it sent.
    for _ in 0..2 {
        let answer = world.postback(wrong.clone()).await;
        assert_eq!(
            (answer.status, answer.body["code"].as_str()),
            (422, Some(code)),
            "{answer:?}"
        );
        assert!(!answer.body.to_string().contains(&bad), "{code}");
    }
    // Both sides see it, counted once; nobody else does.
    let anna = Person::affiliate(&world, "anna").await;
    let shop = Person::merchant(&world, "shop").await;
    let bob = Person::affiliate(&world, "bob").await;
    let whose = if case.is_known { "anna" } else { "nobody" };
    let seen = vec![format!("A-1 {code} 2 times for {whose}")];
    assert_eq!(listed(&shop.get("refusals").await), seen);
    let own = if case.is_known { seen } else { Vec::new() };
    assert_eq!(listed(&anna.get("refusals").await), own, "{code}");
    assert!(listed(&bob.get("refusals").await).is_empty(), "{code}");
    let none = world.get("conversions").await.body;
    assert_eq!(none["items"], json!([]), "{code}");

    // The corrected claim takes the order as if nothing had been.
    let credited = world.postback(right.clone()).await.body;
    assert_eq!(
        (
            &credited["result"],
            &credited["commissions"][0]["affiliate"],
            &credited["commissions"][0]["amount"]
        ),
        (&json!("created"), &json!("anna"), &json!(case.earns)),
        "{code}: {credited}"
    );
    let again = world.postback(right).await.body;
    assert_eq!(again["result"], "recorded_before", "{code}");
    let balance = anna.get("affiliates/anna/balances").await.body;
    assert_eq!(balance["items"][0]["earned"], case.earns, "{code}");
}

#[tokio::test]
async fn every_refusal_is_seen_by_both_sides_and_gives_way_to_the_corrected_claim() {
    let none = || json!({});
    let basket = |skus: &[&str]| {
        let items: Vec<Value> = skus
            .iter()
            .map(|sku| json!({"sku": sku, "amount": "10"}))
            .collect();
        json!({"items": items, "amount": ""})
    };
    let only_socks =
        json!({"commission": [{"type": "percent", "percent": "10", "when": {"sku": "SOCKS"}}]});
    let ends = json!({"commission": [{"type": "percent", "percent": "10", "recurring": {"max_count": 1}}]});
    let cap = json!({"caps": [{"amount": "0.99"}]});
    let cases = [
        Case::new(
            "currency_mismatch",
            none(),
            json!({"currency": "USD"}),
            none(),
        ),
        Case::new("amount_required", none(), json!({"amount": ""}), none()),
        Case::new(
            "self_referral",
            none(),
            json!({"customer_id": "anna@example.com"}),
            json!({"customer_id": "c-1"}),
        ),
        Case::new("no_rule", only_socks, basket(&["HAT"]), basket(&["SOCKS"])),
        Case::new(
            "customer_id_required",
            ends,
            none(),
            json!({"customer_id": "c-1"}),
        ),
        Case {
            earns: "0.99",
            ..Case::new("cap_reached", cap, none(), json!({"amount": "9.90"}))
        },
        Case::new(
            "program_mismatch",
            none(),
            json!({"program": "hats"}),
            json!({"program": "shoes"}),
        ),
        Case::new(
            "window_closed",
            json!({"min_conversion_seconds": 60}),
            json!({"occurred_at": "2026-05-01T10:00:00Z"}),
            json!({"occurred_at": "2026-07-01T10:02:00Z"}),
        ),
    ];
    for case in &cases {
        refused_then_credited(case, async |world| {
            let click = world.click("anna-shoes").await;
            [click.clone(), click]
        })
        .await;
    }
}

#[tokio::test]
async fn a_click_that_cannot_earn_gives_way_to_one_that_can() {
    let none = || json!({});
    let case = |code| Case::new(code, none(), none(), none());
    refused_then_credited(&case("invalid_traffic"), async |world| {
        let robot = click_id(&world.visit("anna-shoes", "curl/8.14.1").await);
        [robot, world.click("anna-shoes").await]
    })
    .await;

    let fallback = json!({"fallback": "https://shop.example/closed"});
    let paused = Case::new("program_paused", fallback, none(), none());
    refused_then_credited(&paused, async |world| {
        let status = async |version: u32, status: &str| {
            let change = json!({"status": status});
            let changed = world.patch("programs/shoes", version, change).await;
            assert_eq!(changed.status, 200, "{changed:?}");
        };
        status(2, "paused").await;
        let closed = world.click("anna-shoes").await;
        status(3, "active").await;
        [closed, world.click("anna-shoes").await]
    })
    .await;

    let forged = Case {
        is_known: false,
        ..case("click_forged")
    };
    refused_then_credited(&forged, async |world| {
        let good = world.click("anna-shoes").await;
        let mut bad = good.clone();
        bad.replace_range(40..41, if &good[40..41] == "A" { "B" } else { "A" });
        [bad, good]
    })
    .await;

    // A real click, but of another merchant's: neither it nor its affiliate is told of.
    let foreign = Case {
        is_known: false,
        ..case("click_unknown")
    };
    refused_then_credited(&foreign, async |world| {
        let other = json!({"id": "other", "name": "Other"});
        assert_eq!(world.post("merchants", other).await.status, 201);
        world
            .made(
                "programs",
                json!({
                    "id": "hats", "merchant": "other", "name": "Hats", "currency": "EUR",
                    "destination": "https://hats.example/", "status": "active", "override": "a test",
                    "commission": [{"type": "percent", "percent": "10"}],
                }),
            )
            .await;
        let link = json!({"slug": "anna-hats", "program": "hats", "affiliate": "anna"});
        world.made("links", link).await;
        [
            world.click("anna-hats").await,
            world.click("anna-shoes").await,
        ]
    })
    .await;
}

#[tokio::test]
async fn a_refund_of_more_than_its_sale_is_seen_by_both_sides_and_gives_way_to_the_right_one() {
    let world = World::with_shop(START).await;
    let click = world.click("anna-shoes").await;
    let refund =
        |id: &str, amount: &str| json!({"order_id": "A-1", "reversal_id": id, "amount": amount});
    let early = world.reversal(refund("r-1", "20")).await;
    assert_eq!(early.body["code"], "order_unknown");
    let sale = json!({"click_id": click, "order_id": "A-1", "amount": "10"});
    check(&world, sale, (200, "created")).await;
    let seen = ["A-1 reversal_exceeds 1 times for anna"];
    let (shop, anna) = (
        Person::merchant(&world, "shop").await,
        Person::affiliate(&world, "anna").await,
    );
    assert_eq!(listed(&shop.get("refusals").await), seen);
    assert_eq!(listed(&anna.get("refusals").await), seen);
    assert_eq!(world.balance("anna").await["reversed"], "0.00");
    let right = world.reversal(refund("r-2", "10")).await;
    assert_eq!(right.body["result"], "created");
    assert_eq!(world.balance("anna").await["reversed"], "1.00");
}

#[tokio::test]
async fn the_largest_order_that_is_taken_can_be_recorded_and_a_larger_one_is_refused() {
    let world = World::with_shop(START).await;
    let names: Vec<String> = (0..20).map(|number| format!("a{number:031}")).collect();
    for name in &names {
        let affiliate =
            json!({"id": name, "name": name, "email": "x@example.com", "country": "DE"});
        world.made("affiliates", affiliate).await;
        let link = json!({"slug": name, "program": "shoes", "affiliate": name});
        world.made("links", link).await;
    }
    // Every text that is kept is as long as it may be, and twice as long where it is quoted.
    let long = "\"".repeat(126);
    let skus: Vec<String> = (0..200)
        .map(|number| format!("{}{number:02x}", long))
        .collect();
    let rules: Vec<Value> = skus
        .iter()
        .enumerate()
        .map(|(place, sku)| {
            json!({"id": format!("r{place:031}"), "type": "percent", "percent": "0.45", "when": {"sku": sku}})
        })
        .collect();
    let terms = json!({"commission": rules, "attribution": {"model": "linear"}});
    let changed = world.patch("programs/shoes", 1, terms).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let mut cookie = String::new();
    let mut click = String::new();
    let subs: Vec<String> = (1..=8)
        .map(|number| format!("sub{number}={}", "s".repeat(64)))
        .collect();
    // As many clicks as a journey may have, and no burst of them: the order is booked at once.
    for (place, name) in names.iter().cycle().take(100).enumerate() {
        if place % 5 == 0 {
            let minute = place / 5;
            world
                .turn_to(&format!("2026-07-01T10:{minute:02}:10Z"))
                .await;
        }
        let headers = [("user-agent", BROWSER), ("cookie", cookie.as_str())];
        let path = format!("/r/{name}?{}", subs.join("&"));
        let visit = world.send(Method::GET, &path, &headers, Bytes::new()).await;
        click = click_id(&visit);
        if let Some(set) = visit.headers.get("set-cookie") {
            let set = set.to_str().unwrap();
            set.split(';').next().unwrap().clone_into(&mut cookie);
        }
    }
    let most = "9999999999999.99";
    let sale = |order: &str, lines: usize| {
        let items: Vec<Value> = skus
            .iter()
            .cycle()
            .take(lines)
            .map(|sku| json!({"sku": sku, "category": long, "amount": most}))
            .collect();
        let mut sale = json!({
            "click_id": click, "order_id": order, "items": items, "coupon": "\"".repeat(128),
        });
        for meta in ["meta1", "meta2", "meta3", "meta4", "meta5"] {
            sale[meta] = json!("\u{1f600}".repeat(256));
        }
        sale
    };
    // The table takes 400 KB; one of the widest orders has room to grow as it changes.
    let size = async || -> usize {
        let items = world.items().await;
        let order = items
            .iter()
            .find(|item| item["pk"] == "C#shop#A-1" && item["sk"] == "sale");
        let attributes = order.expect("the order is recorded").iter();
        attributes.map(|(name, text)| name.len() + text.len()).sum()
    };
    check(&world, sale("A-1", 201), (422, "too_many")).await;
    let answer = world.postback(sale("A-1", 200)).await;
    let affiliates = answer.body["commissions"].as_array().map(Vec::len);
    assert_eq!((answer.status, affiliates), (200, Some(20)), "{answer:?}");
    assert_eq!(answer.body["status"], "approved");
    assert!(
        (200_000..300_000).contains(&size().await),
        "{}",
        size().await
    );
    let shown = world.get("conversions?order_id=A-1").await.body["items"][0].clone();
    let path = format!("conversions/{}", shown["id"].as_str().unwrap());
    let explain = world.get(&path).await.body["explain"].clone();
    let candidates = explain["candidates"].as_array().map(Vec::len);
    assert_eq!(
        (candidates, &explain["rule"]["version"]),
        (Some(100), &json!(2))
    );
    let credit = &explain["credits"][0];
    let named = credit["rules"].as_array().unwrap().len();
    let left_off = credit["rules_left_off"].as_u64().unwrap();
    assert_eq!((named as u64 + left_off, 0 < named), (200, true));
    let arithmetic = credit["arithmetic"].to_string();
    assert!(arithmetic.contains("more lines -> "), "{arithmetic:.500}");

    // What waits for its sale has the same bounds, and taking all of it back changes every line.
    let lines: Vec<Value> = skus
        .iter()
        .map(|sku| json!({"sku": sku, "amount": most}))
        .collect();
    for (order, status) in [("A-1", 200), ("A-9", 404)] {
        let refund = json!({"order_id": order, "reversal_id": "r", "items": lines});
        let taken = world.reversal(refund).await;
        assert_eq!(taken.status, status, "{taken:?}");
    }
    assert!(size().await < 300_000, "{}", size().await);
}

#[tokio::test]
async fn an_order_earns_no_more_than_an_amount_may_be() {
    let world = World::with_shop(START).await;
    let gold = json!({
        "id": "gold", "merchant": "shop", "name": "Gold", "currency": "EUR", "hold_days": 0,
        "destination": "https://shop.example/", "status": "active", "override": "a test",
        "commission": [{"type": "percent", "percent": "1", "min": "10000000000000.00"}],
    });
    world.made("programs", gold).await;
    let link = json!({"slug": "anna-gold", "program": "gold", "affiliate": "anna"});
    world.made("links", link).await;
    let click = world.click("anna-gold").await;
    let line = |sku: &str| json!({"sku": sku, "amount": "1"});
    let two = json!([line("a"), line("b")]);
    let sale = |items: Value| json!({"click_id": click, "order_id": "G-1", "items": items});
    check(&world, sale(two), (422, "amount_too_large")).await;
    let one = json!([line("a")]);
    check(&world, sale(one), (200, "created")).await;
}
