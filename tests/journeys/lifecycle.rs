//! What becomes of orders by themselves: approved in time, taken back for a reason; and on which
//! terms an affiliate came in.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tests::{BROWSER, Person, World, click_id};

const START: &str = "2026-07-01T10:00:00Z";

async fn status(world: &World, conversion: &str) -> (String, Value) {
    let found = world.get(&format!("conversions/{conversion}")).await.body;
    let status = found["status"].as_str().unwrap().to_owned();
    (status, found["approves_on"].clone())
}

#[tokio::test]
async fn what_nobody_decides_is_approved_by_the_run_of_its_day_and_by_none_before() {
    let world = World::with_shop(START).await;
    let terms = json!({"approval": "manual", "approve_after": "48h"});
    assert_eq!(world.patch("programs/shoes", 1, terms).await.status, 200);
    let good = world.click("anna-shoes").await;
    let framed = [("user-agent", BROWSER), ("sec-fetch-dest", "iframe")];
    let path = "/r/anna-shoes";
    let framed = click_id(&world.send(Method::GET, path, &framed, Bytes::new()).await);
    let mut ids = Vec::new();
    for (order, click) in [
        ("waits", &good),
        ("approved", &good),
        ("rejected", &good),
        ("reopened", &good),
        ("taken back", &good),
        ("odd", &framed),
    ] {
        let sale = json!({"click_id": click, "order_id": order, "amount": "10"});
        let answer = world.postback(sale).await.body;
        assert_eq!(answer["status"], "pending", "{order}");
        ids.push(answer["conversion"].as_str().unwrap().to_owned());
    }
    let decide = async |place: usize, decision: &str| {
        let path = format!("conversions/{}/{decision}", ids[place]);
        let decided = world.post(&path, json!({"reason": "a test"})).await;
        assert_eq!(decided.status, 200, "{decision}: {decided:?}");
    };
    let approve = format!("conversions/{}/approve", ids[1]);
    assert_eq!(world.post(&approve, json!({})).await.status, 200);
    decide(2, "reject").await;
    decide(3, "reject").await;
    decide(3, "reopen").await;
    let part = json!({"order_id": "taken back", "reversal_id": "r", "amount": "4"});
    assert_eq!(world.reversal(part).await.status, 200);

    let due = json!("2026-07-03");
    let pending = ("pending".to_owned(), due.clone());
    assert_eq!(status(&world, &ids[0]).await, pending);
    // The run of the day before, on the third, leaves it alone.
    world.turn_to("2026-07-03T23:59:59Z").await;
    assert_eq!(status(&world, &ids[0]).await, pending);
    world.turn_to("2026-07-04T01:00:00Z").await;
    for (place, expected) in [
        "approved", "approved", "rejected", "pending", "approved", "pending",
    ]
    .into_iter()
    .enumerate()
    {
        let found = status(&world, &ids[place]).await;
        assert_eq!(found, (expected.to_owned(), Value::Null), "{place}");
    }
    // 1.00 + 1.00 + 0.60, of which the second was paid two days before. What the run approved it
    // paid as well: both are of its day.
    let balance = world.balance("anna").await;
    assert_eq!(
        (&balance["in_payout"], &balance["pending"]),
        (&json!("2.60"), &json!("2.00"))
    );
    let payouts = world.get("payouts?affiliate=anna").await.body;
    let paid: Vec<_> = payouts["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|payout| (payout["day"].as_str().unwrap(), payout["amount"].as_str()))
        .collect();
    assert_eq!(
        paid,
        [("2026-07-01", Some("1.00")), ("2026-07-03", Some("1.60"))]
    );
    let run = json!({"day": "2026-07-03"});
    let run = world.post("payout-runs", run).await.body;
    assert_eq!(run["total"][0]["amount"], "1.60", "{run}");
    // What was odd waits for a person however long it takes.
    world.turn_to("2026-09-01T01:00:00Z").await;
    assert_eq!(status(&world, &ids[5]).await.0, "pending");
    assert_eq!(world.get("reports/reconciliation").await.status, 200);
}

#[tokio::test]
async fn what_is_taken_back_whole_while_it_waits_is_reversed_and_waits_again_if_it_is_raised() {
    let world = World::with_shop(START).await;
    let terms = json!({"approval": "manual", "approve_after": "48h"});
    assert_eq!(world.patch("programs/shoes", 1, terms).await.status, 200);
    let click = world.click("anna-shoes").await;
    let mut ids = Vec::new();
    for order in ["raised", "approved", "left"] {
        let sale =
            json!({"click_id": click, "customer_id": order, "order_id": order, "amount": "10"});
        let answer = world.postback(sale).await.body;
        ids.push(answer["conversion"].as_str().unwrap().to_owned());
        let back = world.reversal(json!({"order_id": order})).await.body;
        assert_eq!(back["reversed"][0]["amount"], "1.00", "{order}");
    }
    let orders_that_are = async |status: &str| {
        let found = world.get(&format!("conversions?status={status}")).await;
        let items = found.body["items"].as_array().unwrap().clone();
        let orders = items.iter().map(|item| item["order_id"].as_str().unwrap());
        orders.collect::<Vec<_>>().join(" ")
    };
    let decide = async |place: usize, decision: &str| {
        let path = format!("conversions/{}/{decision}", ids[place]);
        let body = json!({"reason": "a test"});
        let body = if decision == "approve" {
            json!({})
        } else {
            body
        };
        let answer = world.post(&path, body).await;
        let word = answer.body["status"].as_str().map(str::to_owned);
        (
            answer.status,
            answer.body["code"]
                .as_str()
                .map_or(word, |code| Some(code.to_owned()))
                .unwrap(),
        )
    };
    let amend = async |place: usize, amount: &str| {
        let path = format!("conversions/{}/amend", ids[place]);
        let amend = json!({"id": amount, "amount": amount, "reason": "a test"});
        let amended = world.post(&path, amend).await;
        assert_eq!(amended.status, 200, "{amended:?}");
        amended.body["status"].clone()
    };
    let stands = async |place: usize| {
        let found = world.get(&format!("conversions/{}", ids[place])).await;
        found.body["commissions"][0]["status"].clone()
    };
    let reversed = ("reversed".to_owned(), Value::Null);
    assert_eq!(status(&world, &ids[0]).await, reversed);
    assert_eq!(stands(0).await, "reversed");
    assert_eq!(orders_that_are("reversed").await, "raised approved left");
    assert_eq!(orders_that_are("pending").await, "");
    assert_eq!(decide(0, "reject").await, (409, "not_pending".to_owned()));
    // Its customer was not brought.
    let next =
        json!({"program": "shoes", "customer_id": "raised", "order_id": "next", "amount": "10"});
    let next = world.postback(next).await.body;
    assert_eq!(next["status"], "unattributed");

    // Approving it books nothing, and leaves it what it is; but then a raise is earned at once.
    for _ in 0..2 {
        assert_eq!(decide(1, "approve").await, (200, "reversed".to_owned()));
    }
    assert_eq!(world.balance("anna").await["earned"], "0.00");
    assert_eq!(amend(1, "30").await, json!("approved"));
    assert_eq!(world.balance("anna").await["earned"], "2.00");
    assert_eq!(stands(1).await, "on_hold");

    // What nobody decided about waits again for what was added, until its time is over.
    assert_eq!(amend(0, "20").await, json!("pending"));
    let balance = world.balance("anna").await;
    assert_eq!(
        (&balance["pending"], &balance["earned"]),
        (&json!("1.00"), &json!("2.00"))
    );
    assert_eq!(orders_that_are("pending").await, "raised");
    let pending = ("pending".to_owned(), json!("2026-07-03"));
    assert_eq!(status(&world, &ids[0]).await, pending);
    world.turn_to("2026-07-10T01:00:00Z").await;
    assert_eq!(orders_that_are("approved").await, "raised approved");
    assert_eq!(orders_that_are("reversed").await, "left");
    let balance = world.balance("anna").await;
    assert_eq!(
        (&balance["pending"], &balance["earned"]),
        (&json!("0.00"), &json!("3.00"))
    );
    assert_eq!(amend(2, "11").await, json!("approved"));
    assert_eq!(world.balance("anna").await["earned"], "3.10");
    assert_eq!(world.get("reports/reconciliation").await.status, 200);
}

#[tokio::test]
async fn time_for_a_decision_is_given_where_a_decision_is_asked_for() {
    let world = World::with_shop(START).await;
    let patch = world.patch("programs/shoes", 1, json!({"approve_after": "2d"}));
    let refused = patch.await.body;
    assert_eq!(
        (&refused["code"], &refused["field"]),
        (&json!("approval_not_manual"), &json!("approve_after"))
    );
}

#[tokio::test]
async fn chargebacks_are_found_by_their_reason_each_side_its_own() {
    let world = World::with_shop(START).await;
    let bob = json!({"id": "bob", "name": "Bob", "email": "bob@example.com", "country": "DE"});
    world.made("affiliates", bob).await;
    let link = json!({"slug": "bob-shoes", "program": "shoes", "affiliate": "bob"});
    world.made("links", link).await;
    let linear = json!({"attribution": {"model": "linear"}});
    assert_eq!(world.patch("programs/shoes", 1, linear).await.status, 200);
    // One visitor comes by both links.
    let first = world.visit("anna-shoes", BROWSER).await;
    let set = first.headers["set-cookie"].to_str().unwrap();
    let headers = [
        ("user-agent", BROWSER),
        ("cookie", set.split(';').next().unwrap()),
    ];
    let path = "/r/bob-shoes";
    let shared = click_id(&world.send(Method::GET, path, &headers, Bytes::new()).await);
    let alone = world.click("anna-shoes").await;
    for (order, click) in [("A-1", &shared), ("A-2", &alone), ("A-3", &alone)] {
        let sale = json!({"click_id": click, "order_id": order, "amount": "10"});
        assert_eq!(world.postback(sale).await.body["result"], "created");
    }
    for (order, id, amount, reason) in [
        ("A-1", "cb-1", "10", "chargeback"),
        ("A-2", "r-2", "4", "returned"),
        ("A-2", "cb-2", "6", "chargeback"),
    ] {
        let taken =
            json!({"order_id": order, "reversal_id": id, "amount": amount, "reason": reason});
        assert_eq!(world.reversal(taken).await.body["result"], "created");
    }
    assert_eq!(world.reversal(json!({"order_id": "A-3"})).await.status, 200);

    let brief = |body: &Value| -> Vec<String> {
        let items = body["items"].as_array().unwrap();
        let items = items.iter();
        items
            .map(|item| {
                let parts = item["reversed"].as_array().unwrap().iter();
                let parts: Vec<_> = parts
                    .map(|part| {
                        format!(
                            "{} {}",
                            part["affiliate"].as_str().unwrap(),
                            part["amount"].as_str().unwrap()
                        )
                    })
                    .collect();
                format!(
                    "{} {} {}: {}",
                    item["order_id"].as_str().unwrap(),
                    item["reversal_id"].as_str().unwrap_or("rest"),
                    item["amount"].as_str().unwrap(),
                    parts.join(", ")
                )
            })
            .collect()
    };
    let found = world.get("reversals?reason=chargeback").await;
    assert_eq!(
        brief(&found.body),
        [
            "A-1 cb-1 10.00: anna 0.50, bob 0.50",
            "A-2 cb-2 6.00: anna 0.60"
        ]
    );
    let all = world
        .get("reversals?merchant=shop&program=shoes&from=2026-07-01&to=2026-07-02")
        .await;
    assert_eq!(brief(&all.body).len(), 4);
    assert_eq!(
        brief(&world.get("reversals?order_id=A-3").await.body),
        ["A-3 rest 10.00: anna 1.00"]
    );
    let later = world.get("reversals?from=2026-07-02").await;
    assert!(brief(&later.body).is_empty());

    let bob = Person::affiliate(&world, "bob").await;
    assert_eq!(
        brief(&bob.get("reversals?reason=chargeback").await.body),
        ["A-1 cb-1 10.00: bob 0.50"]
    );
    assert!(!bob.get("reversals").await.body.to_string().contains("anna"));
    // What both had is explained line by line still.
    let shared = found.body["items"][0]["conversion"].as_str().unwrap();
    let shown = world.get(&format!("conversions/{shared}")).await;
    let lines = shown.body["explain"]["entries"].as_array().map(Vec::len);
    assert_eq!((shown.status, lines), (200, Some(4)), "{shown:?}");
    let made = world.post("merchants", json!({"id": "other", "name": "Other"}));
    assert_eq!(made.await.status, 201);
    let other = Person::merchant(&world, "other").await;
    assert!(brief(&other.get("reversals").await.body).is_empty());
    let unknown = world.get("conversions?reason=chargeback").await;
    assert_eq!(unknown.body["code"], "parameter_unknown");
}

#[tokio::test]
async fn of_an_order_worth_nothing_nothing_is_shown_as_taken_back() {
    let world = World::with_shop(START).await;
    let flat = json!({"commission": [{"type": "flat", "amount": "2"}]});
    assert_eq!(world.patch("programs/shoes", 1, flat).await.status, 200);
    let click = world.click("anna-shoes").await;
    let free = json!({"click_id": click, "order_id": "free", "amount": "0"});
    let unsaid = json!({"click_id": click, "order_id": "unsaid"});
    let cent = json!({"click_id": click, "order_id": "cent", "amount": "0.01"});
    for sale in [free, unsaid, cent] {
        assert_eq!(world.postback(sale).await.body["result"], "created");
    }
    for (order, amount) in [
        ("free", json!("0.00")),
        ("unsaid", Value::Null),
        ("cent", json!("0.01")),
    ] {
        let taken = world.reversal(json!({"order_id": order})).await;
        assert_eq!(taken.body["reversed"][0]["amount"], "2.00", "{order}");
        let listed = world.get(&format!("reversals?order_id={order}")).await;
        assert_eq!(listed.body["items"][0]["amount"], amount, "{order}");
    }
}

#[tokio::test]
async fn an_enrolment_says_which_terms_were_agreed_to() {
    let world = World::with_shop(START).await;
    let open = json!({"join": "open", "terms_text": "No bidding on our name."});
    assert_eq!(world.patch("programs/shoes", 1, open).await.status, 200);
    // By the link that was made for her, on the terms of that time.
    let anna = world.get("enrolments/shoes.anna").await.body;
    assert_eq!(anna["terms_version"], 1);

    let bob = json!({"id": "bob", "name": "Bob", "email": "bob@example.com", "country": "DE"});
    world.made("affiliates", bob).await;
    let bob = Person::affiliate(&world, "bob").await;
    let join =
        |version: Value| json!({"program": "shoes", "affiliate": "bob", "terms_version": version});
    for version in [json!(1), json!(3), json!(0)] {
        let refused = bob.post("enrolments", join(version.clone())).await;
        assert_eq!(
            (refused.status, &refused.body["code"]),
            (422, &json!("terms_version_unknown")),
            "{version}"
        );
    }
    let joined = bob.post("enrolments", join(json!(2))).await;
    assert_eq!(
        (joined.status, &joined.body["terms_version"]),
        (201, &json!(2))
    );

    // Newer terms are not agreed to by themselves.
    let newer = json!({"terms_text": "No bidding on our name, nor on others'."});
    assert_eq!(world.patch("programs/shoes", 2, newer).await.status, 200);
    let again = json!({"program": "shoes", "affiliate": "bob"});
    let again = bob.post("enrolments", again).await;
    assert_eq!(
        (again.status, &again.body["terms_version"]),
        (200, &json!(2))
    );
    let path = "enrolments/shoes.bob";
    let agree = bob.patch(path, 1, json!({"terms_version": 3})).await;
    assert_eq!(
        (agree.status, &agree.body["terms_version"]),
        (200, &json!(3))
    );
    // And that is all that he may change.
    for change in [json!({"hold_days": 0}), json!({"status": "ended"})] {
        let refused = bob.patch(path, 2, change).await;
        assert_eq!(refused.status, 403, "{refused:?}");
    }
    let foreign = bob.patch("enrolments/shoes.anna", 1, json!({"terms_version": 3}));
    assert_eq!(foreign.await.status, 404);
}

#[tokio::test]
async fn whoever_is_out_of_a_program_brings_it_nobody_any_more() {
    let world = World::with_shop(START).await;
    let sale = |order: &str| json!({"program": "shoes", "customer_id": "c-1", "order_id": order, "amount": "10"});
    let clicked = |order: &str, click: &str| {
        let mut sale = sale(order);
        sale["click_id"] = json!(click);
        sale
    };
    let earlier = world.click("anna-shoes").await;
    let first = world.postback(clicked("A-1", &earlier)).await.body;
    assert_eq!(first["status"], "approved");
    let path = "enrolments/shoes.anna";
    for (version, out) in [(1, "ended"), (3, "declined")] {
        let changed = world.patch(path, version, json!({"status": out})).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        // Without a page for such visitors there is none.
        let visit = world.visit("anna-shoes", BROWSER).await;
        assert_eq!(visit.status, 404, "{out}");
        let order = format!("{out} by a customer");
        let nobody = world.postback(sale(&order)).await.body;
        assert_eq!(nobody["status"], "unattributed", "{out}");
        let id = nobody["conversion"].as_str().unwrap();
        let shown = world.get(&format!("conversions/{id}")).await.body;
        let reason = &shown["explain"]["candidates"][0]["reason"];
        assert_eq!(reason, "not_enrolled", "{out}");
        // What was clicked before counts.
        let order = format!("{out} by a click");
        let before = world.postback(clicked(&order, &earlier)).await.body;
        assert_eq!(before["status"], "approved", "{out}");

        let back = world.patch(path, version + 1, json!({"status": "active"}));
        assert_eq!(back.await.status, 200);
        let order = format!("after {out}");
        let again = world.postback(sale(&order)).await.body;
        assert_eq!(again["status"], "approved", "{out}");
    }
    let fallback = json!({"fallback": "https://shop.example/closed"});
    assert_eq!(world.patch("programs/shoes", 1, fallback).await.status, 200);
    let ended = world.patch(path, 5, json!({"status": "ended"})).await;
    assert_eq!(ended.status, 200);
    let visit = world.visit("anna-shoes", BROWSER).await;
    let location = visit.headers["location"].to_str().unwrap();
    assert!(
        location.starts_with("https://shop.example/closed"),
        "{location}"
    );
    let worthless = world.postback(clicked("A-2", &click_id(&visit))).await;
    assert_eq!(worthless.body["code"], "program_paused");
}

#[tokio::test]
async fn a_coupon_earns_while_its_owner_is_in_the_program() {
    let world = World::with_shop(START).await;
    let coupon = json!({"program": "shoes", "affiliate": "anna", "code": "ANNA10"});
    world.made("coupons", coupon).await;
    let mut version = 1;
    for status in ["ended", "declined", "pending"] {
        for (status, expected) in [(status, "unattributed"), ("active", "approved")] {
            let place = json!({ "status": status });
            let changed = world.patch("enrolments/shoes.anna", version, place).await;
            assert_eq!(changed.status, 200, "{changed:?}");
            version += 1;
            let sale = json!({
                "program": "shoes", "coupon": "anna10", "order_id": format!("A-{version}"), "amount": "10",
            });
            let sold = world.postback(sale).await.body;
            assert_eq!(sold["status"], expected, "{status}");
            if expected == "unattributed" {
                let id = sold["conversion"].as_str().unwrap();
                let shown = world.get(&format!("conversions/{id}")).await.body;
                let candidate = &shown["explain"]["candidates"][0];
                assert_eq!(candidate["reason"], "not_enrolled", "{status}");
            }
        }
    }
    assert_eq!(world.balance("anna").await["earned"], "3.00");
}

#[tokio::test]
async fn whoever_is_given_a_coupon_or_a_link_is_in_and_an_old_request_lets_nobody_back() {
    let world = World::with_shop(START).await;
    let bob = json!({"id": "bob", "name": "Bob", "email": "bob@example.com", "country": "DE"});
    world.made("affiliates", bob).await;
    let bob = Person::affiliate(&world, "bob").await;
    let shop = Person::merchant(&world, "shop").await;
    let asks = json!({"program": "shoes", "affiliate": "bob", "status": "pending"});
    assert_eq!(bob.post("enrolments", asks).await.status, 201);
    let terms = json!({"terms_text": "No bidding on our name."});
    assert_eq!(shop.patch("programs/shoes", 1, terms).await.status, 200);

    // Instead of a yes he is given a coupon.
    let coupon = json!({"id": "bobs", "program": "shoes", "affiliate": "bob", "code": "BOB10"});
    let made = shop.post("coupons", coupon.clone()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let sale = |order: &str| json!({"program": "shoes", "coupon": "BOB10", "order_id": order, "amount": "10"});
    assert_eq!(world.earns(sale("A-1")).await, "1.00");
    let path = "enrolments/shoes.bob";
    let place = world.get(path).await.body;
    assert_eq!(
        (&place["status"], &place["terms_version"]),
        (&json!("active"), &json!(2))
    );

    let mut version = 2;
    let mut put_out = async |status: &str, at: &str| {
        world.turn_to(at).await;
        let out = shop.patch(path, version, json!({ "status": status })).await;
        assert_eq!(out.status, 200, "{out:?}");
        version += 2;
    };
    let stands = async || world.get(path).await.body["status"].clone();
    put_out("ended", "2026-07-01T11:00:00Z").await;
    // Neither the request of then nor a change of what he has lets him in again,
    assert_eq!(shop.post("coupons", coupon).await.status, 200);
    let dates = json!({"valid_to": "2027-01-01T00:00:00Z"});
    assert_eq!(shop.patch("coupons/bobs", 1, dates).await.status, 200);
    assert_eq!(stands().await, "ended");
    // but a new link does, and a coupon that is handed on to him.
    let link = json!({"slug": "bob-shoes", "program": "shoes", "affiliate": "bob"});
    assert_eq!(shop.post("links", link).await.status, 201);
    assert_eq!(stands().await, "active");
    put_out("declined", "2026-07-01T12:00:00Z").await;
    let coupon = json!({"id": "annas", "program": "shoes", "affiliate": "anna", "code": "ANNA10"});
    world.made("coupons", coupon).await;
    assert_eq!(stands().await, "declined");
    let handed = shop.patch("coupons/annas", 1, json!({"affiliate": "bob"}));
    assert_eq!(handed.await.status, 200);
    assert_eq!(stands().await, "active");
    assert_eq!(world.earns(sale("A-2")).await, "1.00");
}

#[tokio::test]
async fn an_affiliate_comes_in_without_a_word_as_far_as_the_program_lets_it() {
    let world = World::with_shop(START).await;
    world.rival().await;
    let open = json!({"join": "open"});
    assert_eq!(world.patch("programs/hats", 1, open).await.status, 200);
    let bob = json!({"id": "bob", "name": "Bob", "email": "bob@example.com", "country": "DE"});
    world.made("affiliates", bob).await;
    let bob = Person::affiliate(&world, "bob").await;
    let ask = async |program: &str, status: Value, expected: (u16, &str)| {
        let body = json!({"program": program, "affiliate": "bob", "status": status});
        let answer = bob.post("enrolments", body).await;
        let code = answer.body["code"].as_str();
        let word = code.or(answer.body["status"].as_str());
        assert_eq!((answer.status, word.unwrap_or("?")), expected, "{program}");
    };
    ask("shoes", json!("active"), (403, "forbidden")).await;
    ask("shoes", json!(null), (201, "pending")).await;
    ask("hats", json!(""), (201, "active")).await;
    ask("caps", json!(null), (422, "program_unknown")).await;
    // Asked again, it is as it was, though the program has changed.
    let open = json!({"join": "open"});
    assert_eq!(world.patch("programs/shoes", 1, open).await.status, 200);
    ask("shoes", json!(null), (200, "pending")).await;
    ask("hats", json!(null), (200, "active")).await;
}
