//! Sales that an affiliate misses, and decisions by the list.

use bytes::Bytes;
use clickledger::embedded::Cut;
use http::Method;
use serde_json::{Value, json};
use tests::{Answer, Person, World};

const START: &str = "2026-07-01T10:00:00Z";

fn brief(answer: &Answer) -> (u16, &str) {
    let word = answer.body["status"]
        .as_str()
        .filter(|_| answer.status < 300);
    (
        answer.status,
        word.or(answer.body["code"].as_str()).unwrap_or("?"),
    )
}

#[tokio::test]
async fn a_missing_sale_is_claimed_accepted_and_paid_once() {
    let world = World::with_shop(START).await;
    let anna = Person::new(
        &world,
        json!({"role": "affiliate", "affiliate": "anna", "person": "Anna"}),
    )
    .await;
    let shop = Person::new(
        &world,
        json!({"role": "merchant", "merchant": "shop", "person": "Sam"}),
    )
    .await;
    let click = world.click("anna-shoes").await;
    // The shop's server lost the click id on the way.
    let bare = json!({"program": "shoes", "order_id": "A-1", "amount": "49.99"});
    assert_eq!(
        world.postback(bare.clone()).await.body["status"],
        "unattributed"
    );

    let claim = json!({
        "program": "shoes", "order_id": "A-1", "occurred_at": "2026-07-01T10:00:00Z",
        "click_id": click, "note": "The visitor wrote to me about it.",
    });
    let made = anna.post("claims", claim.clone()).await;
    assert_eq!(brief(&made), (201, "open"), "{made:?}");
    assert!(!made.body.to_string().contains(&click));
    assert_eq!(anna.post("claims", claim.clone()).await.status, 200);
    let id = made.body["id"].as_str().unwrap().to_owned();
    for (member, value, code) in [
        ("program", json!("hats"), "program_unknown"),
        (
            "occurred_at",
            json!("2027-01-01T00:00:00Z"),
            "occurred_at_future",
        ),
        ("occurred_at", json!("2025-01-01T00:00:00Z"), "too_late"),
        ("click_id", json!("x"), "click_forged"),
        ("amount", json!("1,5"), "amount_invalid"),
        ("note", json!(""), "parameter_missing"),
        ("goal", json!("lead"), "goal_unknown"),
        ("status", json!("accepted"), "parameter_unknown"),
    ] {
        let mut wrong = claim.clone();
        wrong[member] = value;
        assert_eq!(
            brief(&anna.post("claims", wrong).await),
            (422, code),
            "{member}"
        );
    }
    assert_eq!(
        brief(&anna.post(&format!("claims/{id}/accept"), json!({})).await),
        (403, "forbidden")
    );

    assert_eq!(shop.get("claims").await.body["items"][0]["order_id"], "A-1");
    let path = format!("claims/{id}/accept");
    for _ in 0..2 {
        let accepted = shop.send(Method::POST, &path, None).await;
        assert_eq!(brief(&accepted), (200, "accepted"));
    }
    assert_eq!(world.balance("anna").await["on_hold"], "5.00");
    let found = anna.get(&format!("claims/{id}")).await;
    let conversion = found.body["conversion"].as_str().unwrap();
    let explain = anna.get(&format!("conversions/{conversion}")).await.body["explain"].clone();
    assert_eq!(
        (&explain["decided_by"], &explain["rule"]["id"]),
        (&json!("claim"), &json!("r1"))
    );
    assert!(
        explain["text"].to_string().contains("anna's claim of"),
        "{explain}"
    );
    let again = world.postback(bare).await;
    assert_eq!(
        (&again.body["result"], &again.body["status"]),
        (&json!("recorded_before"), &json!("approved"))
    );
    assert_eq!(
        brief(
            &shop
                .post(&format!("claims/{id}/decline"), json!({"reason": "no"}))
                .await
        ),
        (409, "not_open")
    );
}

/// A claim is decided with its order: whoever stops anywhere leaves both, or neither.
#[tokio::test]
async fn a_claim_whose_acceptance_was_cut_is_either_open_or_paid() {
    for call in 1.. {
        let world = World::with_shop(START).await;
        let anna = Person::affiliate(&world, "anna").await;
        let claim = json!({
            "program": "shoes", "order_id": "A-1", "occurred_at": START, "amount": "40",
            "note": "mine",
        });
        let id = anna.post("claims", claim).await.body["id"].clone();
        let path = |word: &str| format!("claims/{}/{word}", id.as_str().unwrap());
        world.stack.table.cut_at(call, Cut::After);
        let cut = world.post(&path("accept"), json!({})).await;
        if !world.stack.table.mend() {
            assert_eq!(brief(&cut), (200, "accepted"));
            assert!(call > 8, "{call}");
            break;
        }
        let declined = world.post(&path("decline"), json!({"reason": "no"})).await;
        let earned = world.get("affiliates/anna/balances").await.body["items"][0]["earned"].clone();
        match brief(&declined) {
            (200, "declined") => {
                assert!(earned.is_null() || earned == "0.00", "{call}: {earned}");
            }
            (409, "not_open") => assert_eq!(earned, "4.00", "{call}"),
            other => panic!("{call}: {other:?}"),
        }
    }
}

/// Accepting is paying: of an order that came to nothing, or of another value, it is neither.
#[tokio::test]
async fn a_claim_of_what_came_to_nothing_or_of_another_value_is_not_accepted() {
    let world = World::with_shop(START).await;
    let manual = json!({"approval": "manual"});
    assert_eq!(world.patch("programs/shoes", 1, manual).await.status, 200);
    let click = world.click("anna-shoes").await;
    let anna = Person::affiliate(&world, "anna").await;
    let claim = |order: &str| json!({"program": "shoes", "order_id": order, "occurred_at": START, "note": "mine"});
    let accept = async |order: &str, body: Value| {
        let made = anna.post("claims", claim(order)).await;
        let path = format!("claims/{}/accept", made.body["id"].as_str().unwrap());
        world.post(&path, body).await
    };
    let sale = json!({"click_id": click, "order_id": "A-1", "amount": "40"});
    let conversion = world.postback(sale).await.body["conversion"].clone();
    let path = format!("conversions/{}/reject", conversion.as_str().unwrap());
    let rejected = world.post(&path, json!({"reason": "fake"})).await;
    assert_eq!(rejected.status, 200);
    assert_eq!(brief(&accept("A-1", json!({})).await), (409, "order_void"));

    let bare = json!({"program": "shoes", "order_id": "A-2", "amount": "40"});
    assert_eq!(world.postback(bare).await.body["status"], "unattributed");
    let more = accept("A-2", json!({"amount": "400"})).await;
    assert_eq!(brief(&more), (409, "order_conflict"));
    let same = accept("A-2", json!({"amount": "40.0"})).await;
    assert_eq!(brief(&same), (200, "accepted"));
    assert_eq!(world.balance("anna").await["earned"], "4.00");
}

#[tokio::test]
async fn a_claim_never_names_a_rival_and_takes_nothing_from_one() {
    let world = World::with_shop(START).await;
    let bob = json!({"id": "bob", "name": "Bob", "email": "bob@example.com", "country": "DE"});
    world.made("affiliates", bob).await;
    world
        .made(
            "links",
            json!({"slug": "bob-shoes", "program": "shoes", "affiliate": "bob"}),
        )
        .await;
    let anna = Person::new(
        &world,
        json!({"role": "affiliate", "affiliate": "anna", "person": "Anna"}),
    )
    .await;
    let shop = Person::new(
        &world,
        json!({"role": "merchant", "merchant": "shop", "person": "Sam"}),
    )
    .await;
    let click = world.click("bob-shoes").await;
    let sale = json!({"click_id": click, "order_id": "A-1", "amount": "10"});
    assert_eq!(world.postback(sale).await.status, 200);

    let claim = |order: &str| json!({"program": "shoes", "order_id": order, "occurred_at": START, "note": "mine", "amount": "20"});
    let made = anna.post("claims", claim("A-1")).await;
    let id = made.body["id"].as_str().unwrap();
    assert_eq!(
        brief(&shop.post(&format!("claims/{id}/accept"), json!({})).await),
        (409, "order_credited")
    );
    let declined = shop
        .post(
            &format!("claims/{id}/decline"),
            json!({"reason": "another click came first"}),
        )
        .await;
    assert_eq!(brief(&declined), (200, "declined"));
    let seen = anna.get(&format!("claims/{id}")).await;
    assert_eq!(seen.body["reason"], "another click came first");
    assert!(!seen.body.to_string().contains("bob"));
    let stranger = Person::new(
        &world,
        json!({"role": "affiliate", "affiliate": "bob", "person": "Bob"}),
    )
    .await;
    assert_eq!(stranger.get(&format!("claims/{id}")).await.status, 404);
    let foreign = json!({"program": "shoes", "affiliate": "anna", "order_id": "A-9", "occurred_at": START, "note": "x"});
    assert_eq!(stranger.post("claims", foreign).await.status, 404);

    // Of an order that nobody told us of the merchant says the value; a refund that waited is applied.
    let refund = json!({"order_id": "A-2", "reversal_id": "r", "amount": "10"});
    assert_eq!(world.reversal(refund).await.status, 404);
    let made = anna.post("claims", claim("A-2")).await;
    let id = made.body["id"].as_str().unwrap();
    let accepted = shop
        .post(&format!("claims/{id}/accept"), json!({"amount": "40"}))
        .await;
    assert_eq!(brief(&accepted), (200, "accepted"), "{accepted:?}");
    let balance = world.balance("anna").await;
    assert_eq!(
        (&balance["earned"], &balance["on_hold"]),
        (&json!("4.00"), &json!("3.00"))
    );
    // An empty text is none.
    let mut bare = claim("A-3");
    bare["click_id"] = json!("");
    let made = anna.post("claims", bare).await;
    assert_eq!(brief(&made), (201, "open"), "{made:?}");
    let late = json!({"program": "shoes", "order_id": "A-2", "amount": "40"});
    assert_eq!(world.postback(late).await.body["result"], "recorded_before");
}

#[tokio::test]
async fn an_order_that_nobody_has_is_given_by_a_persons_word_once() {
    let world = World::with_shop(START).await;
    let bob = json!({"id": "bob", "name": "Bob", "email": "bob@example.com", "country": "DE"});
    world.made("affiliates", bob).await;
    let bare = json!({"program": "shoes", "order_id": "A-1", "items": [{"sku": "a", "amount": "10"}, {"sku": "b", "amount": "30"}]});
    let posted = world.postback(bare).await;
    let id = posted.body["conversion"].as_str().unwrap();
    let path = format!("conversions/{id}/credit");
    let give =
        |affiliate: &str| json!({"affiliate": affiliate, "reason": "they showed the invoice"});
    assert_eq!(
        brief(&world.post(&path, json!({"affiliate": "anna"})).await),
        (422, "parameter_missing")
    );
    for _ in 0..2 {
        let given = world.post(&path, give("anna")).await;
        assert_eq!(
            (given.status, &given.body["commissions"][0]["amount"]),
            (200, &json!("4.00"))
        );
    }
    assert_eq!(
        brief(&world.post(&path, give("bob")).await),
        (409, "order_credited")
    );
    let back =
        json!({"order_id": "A-1", "reversal_id": "r", "items": [{"sku": "a", "amount": "10"}]});
    assert_eq!(
        world.reversal(back).await.body["reversed"][0]["amount"],
        "1.00"
    );
}

#[tokio::test]
async fn an_order_without_an_amount_has_to_bring_one_unless_some_rule_pays_without() {
    let world = World::with_shop(START).await;
    let bare = |order: &str| json!({"program": "shoes", "order_id": order});
    let worth = |order: &str, amount: &str| json!({"program": "shoes", "order_id": order, "amount": amount});
    let refused = world.postback(bare("A-1")).await;
    assert_eq!(brief(&refused), (422, "amount_required"));
    assert_eq!(refused.body["field"], "amount");
    let refusals = world.get("refusals").await;
    assert_eq!(refusals.body["items"][0]["code"], "amount_required");
    let corrected = world.postback(worth("A-1", "10")).await;
    assert_eq!(brief(&corrected), (200, "unattributed"));

    let rules = json!({"commission": [
        {"type": "flat", "amount": "3", "when": {"affiliate": "bob"}},
        {"type": "percent", "percent": "10"},
    ]});
    assert_eq!(world.patch("programs/shoes", 1, rules).await.status, 200);
    let mut paths = Vec::new();
    for order in ["A-2", "A-3", "A-4", "A-5"] {
        let posted = world.postback(bare(order)).await;
        assert_eq!(brief(&posted), (200, "unattributed"), "{order}");
        let id = posted.body["conversion"].as_str().unwrap();
        paths.push(format!("conversions/{id}/credit"));
    }
    // Whoever gives it to somebody who earns a share says what it was worth.
    let give =
        |amount: &str| json!({"affiliate": "anna", "amount": amount, "reason": "the invoice"});
    for (amount, expected) in [
        ("", (422, "amount_required")),
        ("1,5", (422, "amount_invalid")),
        ("40", (200, "approved")),
        ("40", (200, "approved")),
        ("", (200, "approved")),
        ("41", (409, "order_conflict")),
    ] {
        let given = world.post(&paths[0], give(amount)).await;
        assert_eq!(brief(&given), expected, "{amount}");
    }
    assert_eq!(world.balance("anna").await["earned"], "4.00");
    // As it was posted it stays the same order.
    let again = world.postback(bare("A-2")).await;
    assert_eq!(again.body["result"], "recorded_before");
    let other = world.postback(worth("A-2", "40")).await;
    assert_eq!(brief(&other), (409, "order_conflict"));

    let anna = Person::affiliate(&world, "anna").await;
    let claim =
        json!({"program": "shoes", "order_id": "A-3", "occurred_at": START, "note": "mine"});
    let claim = anna.post("claims", claim).await;
    let accept = format!("claims/{}/accept", claim.body["id"].as_str().unwrap());
    let accepted = world.post(&accept, json!({})).await;
    assert_eq!(brief(&accepted), (422, "amount_required"));
    let accepted = world.post(&accept, json!({"amount": "20"})).await;
    assert_eq!(brief(&accepted), (200, "accepted"));
    assert_eq!(world.balance("anna").await["earned"], "6.00");

    // What was taken back whole stays so, whatever it was worth.
    let back = world.reversal(json!({"order_id": "A-4"})).await;
    assert_eq!(back.status, 200, "{back:?}");
    let given = world.post(&paths[2], give("40")).await;
    assert_eq!(brief(&given), (200, "reversed"), "{given:?}");
    assert_eq!(given.body["remaining"], "0.00");
    assert_eq!(world.balance("anna").await["on_hold"], "6.00");

    // What was recorded once is told again under whatever terms.
    let rules = json!({"commission": [{"type": "percent", "percent": "10"}]});
    assert_eq!(world.patch("programs/shoes", 2, rules).await.status, 200);
    let again = world.postback(bare("A-5")).await;
    assert_eq!(again.body["result"], "recorded_before");
    assert_eq!(
        brief(&world.postback(bare("A-6")).await),
        (422, "amount_required")
    );
}

/// One answer a line: its number, its status, and its result or code.
fn lines(body: &[u8]) -> Vec<(u64, u64, String)> {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let answers = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    answers
        .map(|answer| {
            let word = answer["result"]
                .as_str()
                .or(answer["code"].as_str())
                .unwrap();
            (
                answer["line"].as_u64().unwrap(),
                answer["http"].as_u64().unwrap(),
                word.to_owned(),
            )
        })
        .collect()
}

fn line(number: u64, http: u64, word: &str) -> (u64, u64, String) {
    (number, http, word.to_owned())
}

#[tokio::test]
async fn a_list_of_decisions_is_tried_first_and_sent_twice_without_harm() {
    let world = World::with_shop(START).await;
    assert_eq!(
        world
            .patch("programs/shoes", 1, json!({"approval": "manual"}))
            .await
            .status,
        200
    );
    let click = world.click("anna-shoes").await;
    for order in 1..=5 {
        let sale = json!({"click_id": click, "order_id": format!("A-{order}"), "amount": "100"});
        assert_eq!(world.postback(sale).await.body["status"], "pending");
    }
    let shop = Person::new(
        &world,
        json!({"role": "merchant", "merchant": "shop", "person": "Sam"}),
    )
    .await;
    let send = async |path: &str, kind: &str, body: &str| {
        let headers = [
            ("authorization", shop.bearer.as_str()),
            ("content-type", kind),
        ];
        let path = format!("/api/v1/conversions/decisions{path}");
        world
            .send(Method::POST, &path, &headers, Bytes::from(body.to_owned()))
            .await
    };
    let csv = "order_id,goal,action,amount,reason\r\n\
               A-1,,approve,,\r\n\
               A-2,sale,reject,,\"fake, by phone\"\r\n\
               A-3,,approve,,\r\n\
               A-3,,amend,50,fewer shoes\r\n\
               A-3,,reverse,20,returned\r\n\
               A-9,,approve,,\r\n\
               A-4,,reject,,\r\n\
               A-5,,pay,,\r\n";
    let tried = send("?dry_run=1", "text/csv", csv).await;
    assert_eq!(tried.status, 207);
    let would: Vec<_> = lines(&tried.body);
    assert_eq!(
        would[..5]
            .iter()
            .map(|(_, _, word)| word.as_str())
            .collect::<Vec<_>>(),
        ["would_change"; 5]
    );
    let list = world.get("conversions?status=pending").await;
    assert_eq!(list.body["items"].as_array().unwrap().len(), 5);

    let first = send("", "text/csv; charset=utf-8", &format!("\u{feff}{csv}")).await;
    assert_eq!(
        lines(&first.body),
        [
            line(1, 200, "changed"),
            line(2, 200, "changed"),
            line(3, 200, "changed"),
            line(4, 200, "changed"),
            line(5, 200, "changed"),
            line(6, 404, "order_unknown"),
            line(7, 422, "parameter_missing"),
            line(8, 422, "word_unknown"),
        ]
    );
    // 10.00, and of 5.00 for 50.00 what is left after 20.00 came back.
    assert_eq!(world.balance("anna").await["on_hold"], "13.00");
    let again = send("", "text/csv", csv).await;
    assert_eq!(
        lines(&again.body)[..3],
        [
            line(1, 200, "unchanged"),
            line(2, 200, "unchanged"),
            line(3, 200, "unchanged")
        ]
    );
    assert_eq!(lines(&again.body)[4], line(5, 200, "unchanged"));
    assert_eq!(world.balance("anna").await["on_hold"], "13.00");

    let ndjson = "{\"order_id\": \"A-4\", \"action\": \"approve\"}\n\n{\"order_id\": \"A-4\", \"action\": \"reverse\"}\n{}\n";
    let more = send("", "application/x-ndjson", ndjson).await;
    assert_eq!(
        lines(&more.body),
        [
            line(1, 200, "changed"),
            line(2, 200, "changed"),
            line(3, 422, "parameter_missing")
        ]
    );
    assert_eq!(world.balance("anna").await["on_hold"], "13.00");
    let unknown = send("", "text/csv", "order_id,colour\nA-1,red\n").await;
    assert_eq!(unknown.status, 422);
    let other = send("?merchant=mart", "text/csv", csv).await;
    assert_eq!(other.status, 404);
}

#[tokio::test]
async fn an_order_of_one_program_is_not_claimed_by_the_terms_of_another() {
    let world = World::with_shop(START).await;
    let dollars = json!({
        "id": "hats", "merchant": "shop", "name": "Hats", "currency": "USD",
        "destination": "https://shop.example/", "hold_days": 0, "status": "active",
        "override": "a test of its own", "commission": [{"type": "percent", "percent": "50"}],
    });
    world.made("programs", dollars).await;
    let link = json!({"slug": "anna-hats", "program": "hats", "affiliate": "anna"});
    world.made("links", link).await;
    let bare = json!({"program": "shoes", "order_id": "A-1", "amount": "10"});
    assert_eq!(world.postback(bare).await.body["status"], "unattributed");
    let claim = json!({
        "program": "hats", "affiliate": "anna", "order_id": "A-1", "occurred_at": START, "note": "mine",
    });
    let made = world.made("claims", claim).await;
    let path = format!("claims/{}/accept", made["id"].as_str().unwrap());
    let refused = world.post(&path, json!({})).await;
    assert_eq!(brief(&refused), (422, "program_mismatch"));
    let balances = world.get("affiliates/anna/balances").await;
    assert!(!balances.body.to_string().contains("5.00"), "{balances:?}");
}

#[tokio::test]
async fn a_list_of_decisions_needs_neither_the_only_merchants_name_nor_its_own_kind() {
    let world = World::with_shop(START).await;
    let click = world.click("anna-shoes").await;
    let sale = json!({"click_id": click, "order_id": "A-1", "amount": "100"});
    assert_eq!(world.postback(sale).await.status, 200);
    let bearer = format!("Bearer {}", world.admin);
    let send = async |path: &str, kind: Option<&str>, body: &str| {
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(kind.map(|kind| ("content-type", kind)));
        let path = format!("/api/v1/conversions/decisions?dry_run=1{path}");
        world
            .send(Method::POST, &path, &headers, Bytes::from(body.to_owned()))
            .await
    };
    let (csv, ndjson) = (
        "order_id,action\nA-1,reverse\n",
        " \n{\"order_id\": \"A-1\", \"action\": \"reverse\"}\n",
    );
    for (kind, body) in [
        (Some("text/csv"), csv),
        (Some("Text/CSV; charset=utf-8"), csv),
        (Some("application/x-www-form-urlencoded"), csv),
        (None, csv),
        (None, ndjson),
        (Some("application/x-www-form-urlencoded"), ndjson),
        (Some("application/json"), ndjson),
    ] {
        let would = lines(&send("", kind, body).await.body);
        assert_eq!(would, [line(1, 200, "would_change")], "{kind:?} {body}");
    }
    // What says that it is JSON is read as that.
    let wrong = lines(&send("", Some("application/json"), "A-1").await.body);
    assert_eq!(wrong, [line(1, 422, "json_invalid")]);

    world
        .made("merchants", json!({"id": "mart", "name": "Mart"}))
        .await;
    let unnamed = send("", None, csv).await;
    assert_eq!(unnamed.status, 422);
    let named = lines(&send("&merchant=shop", None, csv).await.body);
    assert_eq!(named, [line(1, 200, "would_change")]);
}

#[tokio::test]
async fn a_list_of_decisions_keeps_to_its_program_and_takes_reasons_that_a_person_could_give() {
    let world = World::with_shop(START).await;
    let manual = json!({"approval": "manual"});
    assert_eq!(world.patch("programs/shoes", 1, manual).await.status, 200);
    let hats = json!({
        "id": "hats", "merchant": "shop", "name": "Hats", "currency": "EUR",
        "destination": "https://shop.example/", "status": "active", "override": "a test",
        "commission": [{"type": "percent", "percent": "10"}],
    });
    world.made("programs", hats).await;
    let click = world.click("anna-shoes").await;
    for order in ["A-1", "A-2"] {
        let sale = json!({"click_id": click, "order_id": order, "amount": "100"});
        assert_eq!(world.postback(sale).await.body["status"], "pending");
    }
    let shop = Person::merchant(&world, "shop").await;
    let send = async |query: &str, body: &[Value]| {
        let headers = [("authorization", shop.bearer.as_str())];
        let path = format!("/api/v1/conversions/decisions?{query}");
        let body: Vec<String> = body.iter().map(Value::to_string).collect();
        let body = Bytes::from(body.join("\n"));
        lines(&world.send(Method::POST, &path, &headers, body).await.body)
    };
    // By `hats` alone no order of `shoes` is meant, though the shop counts its orders over both.
    let approve = json!({"order_id": "A-1", "action": "approve"});
    for dry in ["", "&dry_run=1"] {
        let query = format!("program=hats{dry}");
        let answers = send(&query, std::slice::from_ref(&approve)).await;
        assert_eq!(answers, [line(1, 404, "order_unknown")]);
    }
    let long = "x".repeat(501);
    let mut bad = Vec::new();
    for action in ["reject", "reverse", "amend"] {
        for reason in [" ", "a\u{7}b", &long] {
            let decision =
                json!({"order_id": "A-1", "action": action, "amount": "50", "reason": reason});
            bad.push(decision);
        }
    }
    for query in ["dry_run=1", "program=shoes"] {
        for (_, http, word) in send(query, &bad).await {
            assert_eq!((http, word.as_str()), (422, "text_invalid"));
        }
    }
    let reject = json!({"order_id": "A-2", "action": "reject", "reason": "fake, by phone"});
    let answers = send("program=shoes", &[approve, reject]).await;
    assert_eq!(answers, [line(1, 200, "changed"), line(2, 200, "changed")]);
    assert_eq!(world.balance("anna").await["on_hold"], "10.00");
}

/// A spreadsheet that saves a list again spells its amounts in its own way.
#[tokio::test]
async fn a_list_that_was_saved_again_takes_nothing_back_twice() {
    let world = World::with_shop(START).await;
    let click = world.click("anna-shoes").await;
    let sale = json!({"click_id": click, "order_id": "A-1", "amount": "100"});
    assert_eq!(world.postback(sale).await.status, 200);
    let shop = Person::merchant(&world, "shop").await;
    let send = async |query: &str, list: &str| {
        let headers = [
            ("authorization", shop.bearer.as_str()),
            ("content-type", "text/csv"),
        ];
        let path = format!("/api/v1/conversions/decisions{query}");
        let list = Bytes::from(list.to_owned());
        world.send(Method::POST, &path, &headers, list).await
    };
    let list = |back: &str, value: &str| {
        format!(
            "order_id,action,amount,reason\nA-1,reverse,{back},returned\nA-1,amend,{value},fewer\n"
        )
    };
    for (query, back, value, word) in [
        ("?dry_run=1", "20", "90", "would_change"),
        ("", "20", "90", "changed"),
        ("", "20.00", "90.0", "unchanged"),
        ("?dry_run=1", "20.0", "90.00", "unchanged"),
    ] {
        let sent = send(query, &list(back, value)).await;
        let expected = [line(1, 200, word), line(2, 200, word)];
        assert_eq!(lines(&sent.body), expected, "{query} {back}");
    }
    assert_eq!(world.balance("anna").await["reversed"], "3.00");

    // Without its first line its orders are no names of columns, and are not told as such.
    let headless = send("", "A-1,reverse,20,returned\n").await;
    let told: Value = serde_json::from_slice(&headless.body).unwrap();
    assert_eq!(
        (&told["code"], &told["field"]),
        (&json!("parameter_missing"), &json!("order_id"))
    );
}

#[tokio::test]
async fn what_was_sold_or_clicked_before_an_affiliate_left_is_claimed_after() {
    let world = World::with_shop(START).await;
    let anna = Person::affiliate(&world, "anna").await;
    let click = world.click("anna-shoes").await;
    world.turn_to("2026-07-02T10:00:00Z").await;
    let path = "enrolments/shoes.anna";
    let ended = world.patch(path, 1, json!({"status": "ended"})).await;
    assert_eq!(ended.status, 200, "{ended:?}");
    world.turn_to("2026-07-03T10:00:00Z").await;

    let claim = |order: &str, at: &str, click: Value| {
        json!({
            "program": "shoes", "order_id": order, "occurred_at": at, "amount": "10",
            "note": "mine", "click_id": click,
        })
    };
    let (before, after) = ("2026-07-02T09:00:00Z", "2026-07-02T11:00:00Z");
    for (order, at, click, expected) in [
        ("A-1", before, json!(null), (201, "open")),
        ("A-2", after, json!(null), (422, "program_unknown")),
        ("A-2", after, json!("x"), (422, "program_unknown")),
        ("A-2", after, json!(click), (201, "open")),
        ("A-3", "yesterday", json!(null), (422, "program_unknown")),
    ] {
        let made = anna.post("claims", claim(order, at, click)).await;
        assert_eq!(brief(&made), expected, "{order} {at}");
    }
    let claims = world.get("claims").await.body;
    for claim in claims["items"].as_array().unwrap() {
        let path = format!("claims/{}/accept", claim["id"].as_str().unwrap());
        let accepted = world.post(&path, json!({})).await;
        assert_eq!(brief(&accepted), (200, "accepted"));
    }
    assert_eq!(world.balance("anna").await["earned"], "2.00");
}
