//! Who is credited: journeys, coupons, customers, and what both sides are told of it.

use bytes::Bytes;
use clickledger::embedded::{Fault, Faults, Passing};
use http::Method;
use serde_json::{Value, json};
use tests::{Answer, BROWSER, Person, World, answer, click_id};

const START: &str = "2026-07-01T10:00:00Z";

/// A visitor with a browser that keeps its cookie.
struct Visitor(Option<String>);

impl Visitor {
    fn new() -> Self {
        Self(None)
    }

    /// Follows a link, and keeps the cookie.
    async fn click(&mut self, world: &World, slug: &str, user_agent: &str) -> String {
        let cookie = self.0.clone().unwrap_or_default();
        let headers = [("user-agent", user_agent), ("cookie", &cookie)];
        let path = format!("/r/{slug}");
        let response = world.send(Method::GET, &path, &headers, Bytes::new()).await;
        assert_eq!(response.status, 302, "{slug}");
        if let Some(set) = response.headers.get("set-cookie") {
            let pair = set.to_str().unwrap().split(';').next().unwrap();
            self.0 = Some(pair.to_owned());
        }
        click_id(&response)
    }
}

/// The shop with two more affiliates, and the program's attribution as it is given.
async fn shop(attribution: Value) -> World {
    let world = World::with_shop(START).await;
    for name in ["bob", "cyd"] {
        world
            .made(
                "affiliates",
                json!({
                    "id": name, "name": name, "email": format!("{name}@example.com"), "country": "DE",
                    "payout": {"currency": "EUR", "method": "manual", "schedule": "daily"},
                }),
            )
            .await;
        let link = json!({"slug": format!("{name}-shoes"), "program": "shoes", "affiliate": name});
        world.made("links", link).await;
    }
    let change = json!({ "attribution": attribution });
    assert_eq!(world.patch("programs/shoes", 1, change).await.status, 200);
    world
}

/// `anna 5.00, bob 5.00`, or the code of a refusal, or the status of what nobody is credited with.
fn brief(answer: &Answer) -> String {
    if let Some(code) = answer.body["code"].as_str() {
        return code.to_owned();
    }
    let parts: Vec<String> = answer.body["commissions"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer:?}"))
        .iter()
        .map(|part| {
            let text = |name: &str| part[name].as_str().unwrap().to_owned();
            format!("{} {}", text("affiliate"), text("amount"))
        })
        .collect();
    if parts.is_empty() {
        return answer.body["status"].as_str().unwrap().to_owned();
    }
    parts.join(", ")
}

async fn explained(world: &World, answer: &Answer) -> Value {
    let id = answer.body["conversion"].as_str().unwrap();
    let shown = world.get(&format!("conversions/{id}")).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    shown.body["explain"].clone()
}

#[tokio::test]
async fn a_journey_is_shared_by_all_models_and_every_share_is_booked() {
    for (model, expected) in [
        ("last_click", "cyd 10.00"),
        ("first_click", "anna 10.00"),
        ("linear", "anna 3.34, bob 3.33, cyd 3.33"),
        ("position_based", "anna 4.00, bob 2.00, cyd 4.00"),
    ] {
        let world = shop(json!({ "model": model })).await;
        let mut visitor = Visitor::new();
        visitor.click(&world, "anna-shoes", BROWSER).await;
        world.turn_to("2026-07-01T10:05:00Z").await;
        visitor.click(&world, "bob-shoes", BROWSER).await;
        world.turn_to("2026-07-01T10:10:00Z").await;
        let last = visitor.click(&world, "cyd-shoes", BROWSER).await;
        let sale = json!({"click_id": last, "order_id": "A-1", "amount": "100"});
        let first = world.postback(sale.clone()).await;
        assert_eq!(brief(&first), expected, "{model}");
        let again = world.postback(sale).await;
        assert_eq!(
            (brief(&again), &again.body["result"]),
            (expected.to_owned(), &json!("recorded_before"))
        );
        for part in expected.split(", ") {
            let (affiliate, amount) = part.split_once(' ').unwrap();
            assert_eq!(world.balance(affiliate).await["on_hold"], amount, "{model}");
            let own = world
                .get(&format!("conversions?affiliate={affiliate}"))
                .await;
            assert_eq!(
                own.body["items"][0]["order_id"], "A-1",
                "{model} {affiliate}"
            );
        }
    }
}

/// Of what lags there may be less than there is, and of what cannot be read nobody knows what it was.
#[tokio::test]
async fn a_journey_that_cannot_be_read_whole_gives_nobody_the_others_part() {
    let world = shop(json!({"model": "linear"})).await;
    let mut visitor = Visitor::new();
    visitor.click(&world, "anna-shoes", BROWSER).await;
    let last = visitor.click(&world, "bob-shoes", BROWSER).await;
    let sale = |order: &str| json!({"click_id": last, "order_id": order, "amount": "100"});

    let lagging = Faults::seeded(1).with(Fault::Stale, 1_000);
    world.stack.table.set_faults(lagging);
    assert_eq!(
        brief(&world.postback(sale("A-1")).await),
        "anna 5.00, bob 5.00"
    );
    world.stack.table.set_faults(Faults::none());

    let is_journey = |operation: &str, body: &[u8]| {
        operation == "Query" && std::str::from_utf8(body).is_ok_and(|body| body.contains("\"J#"))
    };
    // No answer that anybody understands.
    let spoil = |passing: Passing<'_>| {
        matches!(passing, Passing::Asked { .. }).then(|| json!({"Items": 0}))
    };
    world.stack.table.meddle(is_journey, spoil);
    assert_eq!(world.postback(sale("A-2")).await.status, 503);
    world.stack.table.meddle(|_, _| false, |_| None);
    assert_eq!(
        brief(&world.postback(sale("A-2")).await),
        "anna 5.00, bob 5.00"
    );
}

/// A telephone's name and another's cookie may hold any letter.
#[tokio::test]
async fn an_accent_in_a_header_makes_nobody_a_robot_nor_a_stranger() {
    let world = shop(json!({"model": "linear"})).await;
    let browser = format!("{BROWSER} Café");
    let mut visitor = Visitor::new();
    visitor.click(&world, "anna-shoes", &browser).await;
    visitor.0 = visitor.0.map(|own| format!("name=Zoë; {own}"));
    let last = visitor.click(&world, "bob-shoes", &browser).await;
    let sale = json!({"click_id": last, "order_id": "A-1", "amount": "100"});
    assert_eq!(brief(&world.postback(sale).await), "anna 5.00, bob 5.00");
}

/// Cyd's page shows her picture again and again, and calls her link as no visitor does.
#[tokio::test]
async fn no_flood_of_views_tests_and_robots_pushes_a_click_out_of_its_journey() {
    let world = shop(json!({"model": "linear"})).await;
    let views = json!({"view_window": "1d"});
    assert_eq!(world.patch("programs/shoes", 2, views).await.status, 200);
    let mut visitor = Visitor::new();
    visitor.click(&world, "anna-shoes", BROWSER).await;
    let last = visitor.click(&world, "bob-shoes", BROWSER).await;
    let cookie = visitor.0.clone().unwrap();
    for _ in 0..110 {
        for (path, agent) in [
            ("/i/cyd-shoes.gif", BROWSER),
            ("/r/cyd-shoes?test=1", BROWSER),
            ("/r/cyd-shoes", "curl/8.14.1"),
        ] {
            let headers = [("user-agent", agent), ("cookie", cookie.as_str())];
            let seen = world.send(Method::GET, path, &headers, Bytes::new()).await;
            assert!(seen.status.as_u16() < 400, "{path}: {seen:?}");
        }
    }
    let sale = json!({"click_id": last, "order_id": "A-1", "amount": "100"});
    let shared = world.postback(sale).await;
    assert_eq!(brief(&shared), "anna 5.00, bob 5.00");
    let words = explained(&world, &shared).await["text"].to_string();
    for reason in [
        "it was a test",
        "it was a robot",
        "a later view comes before it",
    ] {
        assert!(words.contains(reason), "{reason}: {words}");
    }
}

/// So many times a visitor's browser loads a picture that an affiliate is named in.
async fn views(world: &World, visitor: &Visitor, path: &str, times: usize) {
    let cookie = visitor.0.clone().unwrap();
    for _ in 0..times {
        let headers = [("user-agent", BROWSER), ("cookie", cookie.as_str())];
        let seen = world.send(Method::GET, path, &headers, Bytes::new()).await;
        assert_eq!(seen.status.as_u16(), 200, "{path}: {seen:?}");
    }
}

#[tokio::test]
async fn a_burst_is_one_however_many_views_follow() {
    let world = shop(json!({"model": "last_click"})).await;
    let mut visitor = Visitor::new();
    let click = visitor.click(&world, "anna-shoes", BROWSER).await;
    views(&world, &visitor, "/i/anna-shoes.gif", 12).await;
    world.turn_to("2026-07-01T10:05:00Z").await;
    views(&world, &visitor, "/i/anna-shoes.gif", 25).await;
    world.turn_to("2026-07-01T10:10:00Z").await;
    let sale = json!({"click_id": click, "order_id": "A-1", "amount": "100"});
    let sale = world.postback(sale).await;
    assert_eq!(sale.body["status"], "pending", "{sale:?}");
}

#[tokio::test]
async fn a_view_counts_however_many_come_after_the_order() {
    let world = shop(json!({"model": "last_click"})).await;
    let days = json!({"view_window": "1d"});
    assert_eq!(world.patch("programs/shoes", 2, days).await.status, 200);
    let mut visitor = Visitor::new();
    // A robot's id names the journey, and earns nothing.
    let robot = visitor.click(&world, "cyd-shoes", "curl/8.14.1").await;
    views(&world, &visitor, "/i/anna-shoes.gif", 1).await;
    world.turn_to("2026-07-01T10:12:00Z").await;
    views(&world, &visitor, "/i/bob-shoes.gif", 25).await;
    let sale = json!({
        "click_id": robot, "order_id": "A-1", "amount": "100", "occurred_at": "2026-07-01T10:10:00Z",
    });
    assert_eq!(brief(&world.postback(sale).await), "anna 10.00");
}

#[tokio::test]
async fn a_shared_sale_is_taken_back_and_amended_in_proportion() {
    let world = shop(json!({"model": "linear"})).await;
    let mut visitor = Visitor::new();
    visitor.click(&world, "anna-shoes", BROWSER).await;
    world.turn_to("2026-07-01T10:05:00Z").await;
    visitor.click(&world, "bob-shoes", BROWSER).await;
    world.turn_to("2026-07-01T10:10:00Z").await;
    let last = visitor.click(&world, "cyd-shoes", BROWSER).await;
    let sale = json!({"click_id": last, "order_id": "A-1", "amount": "0.30"});
    let first = world.postback(sale).await;
    assert_eq!(brief(&first), "anna 0.01, bob 0.01, cyd 0.01");

    // The same value again changes nothing, though three cents could be split otherwise.
    let id = first.body["conversion"].as_str().unwrap();
    let amend =
        |name: &str, amount: &str| json!({"id": name, "amount": amount, "reason": "a test"});
    let path = format!("conversions/{id}/amend");
    for (name, amount, expected) in [("one", "0.30", "0.01"), ("two", "60", "2.00")] {
        assert_eq!(world.post(&path, amend(name, amount)).await.status, 200);
        for affiliate in ["anna", "bob", "cyd"] {
            assert_eq!(
                world.balance(affiliate).await["on_hold"],
                expected,
                "{affiliate}"
            );
        }
    }
    // Each sees how its own part of the new value was reckoned, and nobody else's.
    let bob = Person::affiliate(&world, "bob").await;
    let seen = bob.get(&format!("conversions/{id}")).await.body;
    let amendments = seen["explain"]["amendments"].as_array().unwrap();
    assert_eq!(
        (
            amendments.len(),
            &amendments[1]["id"],
            &amendments[1]["amount"]
        ),
        (2, &json!("two"), &json!("60.00"))
    );
    let arithmetic = json!([
        "60.00 EUR x 10 % = 6 -> 6.00 half_even",
        "6.00 EUR x 1/3 -> 2.00 largest_remainder"
    ]);
    assert_eq!(amendments[1]["arithmetic"], arithmetic);
    let all = world.get(&format!("conversions/{id}")).await.body;
    let credits = all["explain"]["amendments"][1]["credits"].as_array();
    assert_eq!(credits.map(Vec::len), Some(3));
    assert!(!seen.to_string().contains("anna"), "{seen}");
    let half = json!({"order_id": "A-1", "reversal_id": "r1", "amount": "30"});
    let taken = world.reversal(half).await;
    let each: Vec<&Value> = (0..3)
        .map(|place| &taken.body["reversed"][place]["amount"])
        .collect();
    assert_eq!(each, ["1.00", "1.00", "1.00"]);
    assert_eq!(world.reversal(json!({"order_id": "A-1"})).await.status, 200);
    for affiliate in ["anna", "bob", "cyd"] {
        let balance = world.balance(affiliate).await;
        assert_eq!(
            (&balance["on_hold"], &balance["earned"]),
            (&json!("0.00"), &json!("2.00"))
        );
    }
    let entries = explained(&world, &first).await["entries"].clone();
    let lines: Vec<String> = entries
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["affiliate"] == "bob")
        .map(|line| {
            format!(
                "{} {}",
                line["kind"].as_str().unwrap(),
                line["amount"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "earned 0.01",
            "earned 1.99",
            "reversed -1.00",
            "reversed -1.00"
        ]
    );
}

#[tokio::test]
async fn what_cannot_earn_is_left_out_with_its_reason() {
    let world = shop(json!({"model": "linear"})).await;
    let mut visitor = Visitor::new();
    visitor.click(&world, "anna-shoes", BROWSER).await;
    world.turn_to("2026-07-20T10:00:00Z").await;
    visitor.click(&world, "bob-shoes", BROWSER).await;
    let robot = visitor.click(&world, "cyd-shoes", "curl/8.14.1").await;
    visitor.click(&world, "cyd-shoes?test=1", BROWSER).await;
    world.turn_to("2026-08-01T10:00:00Z").await;
    // The sender names the robot's click: its visitor's good click is credited all the same.
    let sale = json!({"click_id": robot, "order_id": "A-1", "amount": "100"});
    let credited = world.postback(sale).await;
    assert_eq!(brief(&credited), "bob 10.00");
    let explain = explained(&world, &credited).await;
    let reasons: Vec<(&str, &str)> = explain["candidates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|candidate| {
            let reason = candidate["reason"].as_str().unwrap_or("in");
            (candidate["affiliate"].as_str().unwrap(), reason)
        })
        .collect();
    let mut sorted = reasons.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        [
            ("anna", "window_closed"),
            ("bob", "in"),
            ("cyd", "invalid_traffic"),
            ("cyd", "test")
        ]
    );
    assert_eq!(
        (&explain["decided_by"], &explain["model"]),
        (&json!("journey"), &json!("linear"))
    );
    assert_eq!(explain["rule"], json!({"id": "r1", "version": 2}));
    assert_eq!(
        explain["arithmetic"],
        json!(["100.00 EUR x 10 % = 10 -> 10.00 half_even"])
    );
    let words = explain["text"].to_string();
    assert!(
        words.contains("is left out: the window for clicks is 30d."),
        "{words}"
    );
    assert!(words.contains("bob earns 10.00"), "{words}");

    // Alone the robot's click is refused, as ever.
    let lonely = click_id(&world.visit("cyd-shoes", "curl/8.14.1").await);
    let sale = json!({"click_id": lonely, "order_id": "A-2", "amount": "100"});
    assert_eq!(brief(&world.postback(sale).await), "invalid_traffic");
    let refusals = world.get("refusals?affiliate=cyd").await;
    let explain = &refusals.body["items"][0]["explain"];
    assert_eq!(explain["candidates"][0]["reason"], "invalid_traffic");
    assert_eq!(explain["decided_by"], json!(null));
}

#[tokio::test]
async fn an_affiliate_sees_its_own_part_and_no_rivals_name() {
    let world = shop(json!({"model": "linear"})).await;
    let mut visitor = Visitor::new();
    visitor
        .click(&world, "anna-shoes?sub1=anna-tag", BROWSER)
        .await;
    world.turn_to("2026-07-01T10:05:00Z").await;
    let last = visitor
        .click(&world, "bob-shoes?sub1=bob-tag", BROWSER)
        .await;
    let sale = json!({"click_id": last, "order_id": "A-1", "amount": "100"});
    let shared = world.postback(sale).await;
    assert_eq!(brief(&shared), "anna 5.00, bob 5.00");

    let key = json!({"role": "affiliate", "affiliate": "anna", "person": "Anna"});
    let key = world.made("keys", key).await;
    let bearer = format!("Bearer {}", key["key"].as_str().unwrap());
    let id = shared.body["conversion"].as_str().unwrap();
    let headers = [("authorization", bearer.as_str())];
    let path = format!("/api/v1/conversions/{id}");
    let shown = answer(&world.send(Method::GET, &path, &headers, Bytes::new()).await);
    assert_eq!(shown.status, 200);
    assert!(!shown.body.to_string().contains("bob"), "{}", shown.body);
    assert_eq!(shown.body["commissions"][0]["amount"], "5.00");
    assert_eq!(shown.body["click"]["tags"]["sub1"], "anna-tag");
    assert_eq!(
        shown.body["explain"]["candidates"][1]["affiliate"],
        "another affiliate"
    );
    assert_eq!(
        shown.body["explain"]["entries"].as_array().unwrap().len(),
        1
    );
    let arithmetic = json!([
        "100.00 EUR x 10 % = 10 -> 10.00 half_even",
        "10.00 EUR x 1/2 -> 5.00 largest_remainder"
    ]);
    assert_eq!(shown.body["explain"]["arithmetic"], arithmetic);
    let whole = world.get(&format!("conversions/{id}")).await;
    assert_eq!(whole.body["click"]["tags"]["sub1"], "bob-tag");
}

#[tokio::test]
async fn each_shares_by_its_own_terms() {
    let world = shop(json!({"model": "linear"})).await;
    let rules = json!({"commission": [
        {"type": "percent", "percent": "20", "when": {"affiliate": "bob"}},
        {"type": "percent", "percent": "10", "when": {"affiliate": "anna"}},
    ]});
    assert_eq!(world.patch("programs/shoes", 2, rules).await.status, 200);
    let mut visitor = Visitor::new();
    visitor.click(&world, "anna-shoes", BROWSER).await;
    world.turn_to("2026-07-01T10:05:00Z").await;
    let second = visitor.click(&world, "bob-shoes", BROWSER).await;
    world.turn_to("2026-07-01T10:10:00Z").await;
    let third = visitor.click(&world, "cyd-shoes", BROWSER).await;
    let sale =
        |click: &str, order: &str| json!({"click_id": click, "order_id": order, "amount": "90"});
    assert_eq!(
        brief(&world.postback(sale(&third, "A-1")).await),
        "anna 3.00, bob 6.00, cyd 0.00"
    );
    let mut early = sale(&second, "A-2");
    early["occurred_at"] = json!("2026-07-01T10:06:00Z");
    assert_eq!(brief(&world.postback(early).await), "anna 4.50, bob 9.00");
    let nobody = world.click("cyd-shoes").await;
    assert_eq!(
        brief(&world.postback(sale(&nobody, "A-3")).await),
        "no_rule"
    );
}

/// Whoever gets a code that was anybody's earns by it from then on, and nothing of what was sold before.
#[tokio::test]
async fn a_coupon_earns_nothing_of_what_was_sold_before_it_was_made() {
    let world = World::with_shop(START).await;
    let old = |order: &str, at: &str| json!({"program": "shoes", "coupon": "spring", "order_id": order, "amount": "10", "occurred_at": at});
    let backlog = old("A-1", "2026-06-26T10:00:00Z");
    assert_eq!(
        world.postback(backlog.clone()).await.body["status"],
        "unattributed"
    );
    let coupon = json!({"program": "shoes", "affiliate": "anna", "code": "SPRING"});
    world.made("coupons", coupon).await;
    let again = world.postback(backlog).await;
    let found = world
        .get(&format!(
            "conversions/{}",
            again.body["conversion"].as_str().unwrap()
        ))
        .await;
    assert_eq!(found.body["status"], "unattributed");
    // A shop's clock may be behind.
    let before = world.postback(old("A-2", "2026-07-01T09:50:00Z")).await;
    assert_eq!(before.body["status"], "unattributed");
    assert_eq!(
        world.earns(old("A-3", "2026-07-01T09:58:00Z")).await,
        "1.00"
    );
}

#[tokio::test]
async fn a_coupon_earns_for_whoever_owned_it_when_the_order_was_made() {
    let world = shop(json!({})).await;
    let coupon = json!({"program": "shoes", "affiliate": "anna", "code": " Anna10 "});
    let made = world.made("coupons", coupon.clone()).await;
    let id = made["id"].as_str().unwrap();
    assert_eq!(world.post("coupons", coupon).await.status, 200);
    let taken = json!({"program": "shoes", "affiliate": "bob", "code": "ANNA10"});
    assert_eq!(world.post("coupons", taken).await.body["code"], "exists");

    let sale = |order: &str| json!({"program": "shoes", "coupon": "anna10", "order_id": order, "amount": "10"});
    assert_eq!(brief(&world.postback(sale("A-1")).await), "anna 1.00");
    world.turn_to("2026-07-05T10:00:00Z").await;
    let path = format!("coupons/{id}");
    assert_eq!(
        world
            .patch(&path, 1, json!({"affiliate": "bob"}))
            .await
            .status,
        200
    );
    assert_eq!(brief(&world.postback(sale("A-2")).await), "bob 1.00");
    let mut earlier = sale("A-3");
    earlier["occurred_at"] = json!("2026-07-05T09:59:59.999Z");
    assert_eq!(brief(&world.postback(earlier).await), "anna 1.00");

    // A click comes before a coupon, unless the program says otherwise.
    let click = world.click("cyd-shoes").await;
    let mut both = sale("A-4");
    both["click_id"] = json!(click);
    let answer = world.postback(both.clone()).await;
    assert_eq!(
        (brief(&answer), answer.body.get("ignored")),
        ("cyd 1.00".to_owned(), None)
    );
    let first = json!({"attribution": {"priority": ["coupon", "click_id"]}});
    assert_eq!(world.patch("programs/shoes", 2, first).await.status, 200);
    both["order_id"] = json!("A-5");
    assert_eq!(brief(&world.postback(both).await), "bob 1.00");

    // Out of its dates, of a suspended affiliate, or unknown, it leads to nobody.
    let ended = json!({"valid_to": "2026-07-05T10:00:00Z"});
    assert_eq!(world.patch(&path, 2, ended).await.status, 200);
    let out = world.postback(sale("A-6")).await;
    assert_eq!(brief(&out), "unattributed");
    assert_eq!(
        explained(&world, &out).await["candidates"][0]["reason"],
        "not_valid_then"
    );
    assert_eq!(
        world
            .patch(&path, 3, json!({"valid_to": null}))
            .await
            .status,
        200
    );
    assert_eq!(
        world
            .patch("affiliates/bob", 1, json!({"status": "suspended"}))
            .await
            .status,
        200
    );
    let out = world.postback(sale("A-7")).await;
    assert_eq!(brief(&out), "unattributed");
    assert_eq!(
        explained(&world, &out).await["candidates"][0]["reason"],
        "suspended"
    );
    let mut unknown = sale("A-8");
    unknown["coupon"] = json!("NOBODYS");
    assert_eq!(
        world.postback(unknown).await.body["ignored"],
        json!(["coupon"])
    );

    // Whoever lost the credit may still get it: the corrected claim is judged afresh, once.
    let mut corrected = sale("A-8");
    corrected["click_id"] = json!(click);
    let credited = world.postback(corrected).await;
    assert_eq!(
        (brief(&credited), &credited.body["result"]),
        ("cyd 1.00".to_owned(), &json!("created"))
    );

    let list = world.get("coupons").await;
    assert_eq!(list.body["items"][0]["affiliate"], "bob");
}

#[tokio::test]
async fn a_customer_who_was_brought_once_is_known_ever_after() {
    let world = shop(json!({})).await;
    let click = world.click("anna-shoes").await;
    let sale = |order: &str, customer: &str| json!({"program": "shoes", "customer_id": customer, "order_id": order, "amount": "10"});
    let unknown = world.postback(sale("A-0", "c-1")).await;
    assert_eq!(
        (brief(&unknown), &unknown.body["ignored"]),
        ("unattributed".to_owned(), &json!(["customer_id"]))
    );
    let mut first = sale("A-1", "c-1");
    first["click_id"] = json!(click);
    assert_eq!(brief(&world.postback(first).await), "anna 1.00");

    // Two months later, without a click; and another affiliate's click comes before it.
    world.turn_to("2026-09-01T10:00:00Z").await;
    let renewed = world.postback(sale("A-2", "c-1")).await;
    assert_eq!(brief(&renewed), "anna 1.00");
    assert_eq!(explained(&world, &renewed).await["decided_by"], "customer");
    let mut clicked = sale("A-3", "c-1");
    clicked["click_id"] = json!(world.click("bob-shoes").await);
    assert_eq!(brief(&world.postback(clicked).await), "bob 1.00");
    assert_eq!(
        brief(&world.postback(sale("A-4", "c-1")).await),
        "anna 1.00"
    );
    assert_eq!(
        brief(&world.postback(sale("A-5", "c-2")).await),
        "unattributed"
    );

    // An order that came to nothing brought nobody: whoever comes next has the customer.
    assert_eq!(world.reversal(json!({"order_id": "A-1"})).await.status, 200);
    let out = world.postback(sale("A-6", "c-1")).await;
    assert_eq!(brief(&out), "unattributed");
    assert_eq!(
        explained(&world, &out).await["candidates"][0]["reason"],
        "first_order_void"
    );
    let mut next = sale("A-7", "c-1");
    next["click_id"] = json!(world.click("cyd-shoes").await);
    assert_eq!(brief(&world.postback(next).await), "cyd 1.00");
    assert_eq!(brief(&world.postback(sale("A-8", "c-1")).await), "cyd 1.00");
}

#[tokio::test]
async fn what_a_customer_bought_before_it_was_brought_is_nobodys() {
    let world = shop(json!({})).await;
    let click = world.click("anna-shoes").await;
    world.turn_to("2026-07-05T10:00:00Z").await;
    let sale = |order: &str, customer: &str, at: &str| {
        json!({
            "program": "shoes", "customer_id": customer, "order_id": order, "amount": "10",
            "occurred_at": at,
        })
    };
    let mut first = sale("A-1", "c-1", "2026-07-03T10:00:00Z");
    first["click_id"] = json!(click);
    assert_eq!(brief(&world.postback(first).await), "anna 1.00");
    let before = sale("A-2", "c-1", "2026-07-03T09:59:59.999Z");
    let before = world.postback(before).await;
    assert_eq!(brief(&before), "unattributed");
    let explain = explained(&world, &before).await;
    assert_eq!(explain["candidates"][0]["reason"], "after_conversion");
    let words = explain["text"].to_string();
    assert!(
        words.contains("anna's first order of this customer of 2026-07-03T10:00:00Z is left out: it came after the order."),
        "{words}"
    );
    let same = sale("A-3", "c-1", "2026-07-03T10:00:00Z");
    assert_eq!(brief(&world.postback(same).await), "anna 1.00");

    // A shop that tells of old orders in their order is believed: their own times count.
    let mut first = sale("B-1", "c-2", "2026-07-02T10:00:00Z");
    first["click_id"] = json!(click);
    assert_eq!(brief(&world.postback(first).await), "anna 1.00");
    for (order, at) in [
        ("B-2", "2026-07-02T11:00:00Z"),
        ("B-3", "2026-07-04T10:00:00Z"),
    ] {
        let later = sale(order, "c-2", at);
        assert_eq!(brief(&world.postback(later).await), "anna 1.00", "{order}");
    }
}

#[tokio::test]
async fn nobody_is_paid_for_an_order_of_their_own() {
    let world = shop(json!({})).await;
    let click = world.click("anna-shoes").await;
    let hashed = "f7d54c22dda5b1780276601cd005909b70543fc4a6ba72d735b4cb9bbb611f01";
    for customer in ["anna@example.com", hashed] {
        let own =
            json!({"click_id": click, "customer_id": customer, "order_id": "A-1", "amount": "10"});
        assert_eq!(brief(&world.postback(own).await), "self_referral");
    }
    let coupon = json!({"program": "shoes", "affiliate": "anna", "code": "anna10"});
    world.made("coupons", coupon).await;
    let own = json!({"program": "shoes", "coupon": "anna10", "customer_id": hashed, "order_id": "A-1", "amount": "10"});
    assert_eq!(brief(&world.postback(own).await), "self_referral");
    // The affiliate sees both, by click and by coupon.
    let refused = world.get("refusals?affiliate=anna").await;
    let codes = refused.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["code"].as_str().unwrap());
    assert_eq!(codes.collect::<Vec<_>>(), ["self_referral"; 2]);
    let another = json!({"click_id": click, "customer_id": "eve@example.com", "order_id": "A-1", "amount": "10"});
    assert_eq!(brief(&world.postback(another).await), "anna 1.00");

    let review = json!({"self_referral": "review"});
    assert_eq!(world.patch("programs/shoes", 2, review).await.status, 200);
    let own = json!({"click_id": click, "customer_id": hashed, "order_id": "A-2", "amount": "10"});
    let waits = world.postback(own).await;
    assert_eq!(
        (brief(&waits), &waits.body["status"]),
        ("anna 1.00".to_owned(), &json!("pending"))
    );
    assert_eq!(
        explained(&world, &waits).await["review"],
        json!(["self_referral"])
    );
}

#[tokio::test]
async fn a_visitor_who_asks_not_to_be_followed_has_no_journey() {
    let world = shop(json!({"model": "linear"})).await;
    let mut visitor = Visitor::new();
    visitor.click(&world, "anna-shoes", BROWSER).await;
    let cookie = visitor.0.clone().unwrap();
    let headers = [
        ("user-agent", BROWSER),
        ("cookie", cookie.as_str()),
        ("sec-gpc", "1"),
    ];
    let response = world
        .send(Method::GET, "/r/bob-shoes", &headers, Bytes::new())
        .await;
    let alone = json!({"click_id": click_id(&response), "order_id": "A-1", "amount": "10"});
    assert_eq!(brief(&world.postback(alone).await), "bob 1.00");
}

#[tokio::test]
async fn a_rule_may_ask_for_the_visitors_country_and_the_coupon() {
    let world = shop(json!({})).await;
    let rules = json!({"commission": [
        {"type": "percent", "percent": "30", "when": {"coupon": "VIP"}},
        {"type": "percent", "percent": "10"},
    ]});
    assert_eq!(world.patch("programs/shoes", 2, rules).await.status, 200);
    let click = world.click("anna-shoes").await;
    let sale = json!({"click_id": click, "coupon": " vip", "order_id": "A-1", "amount": "10"});
    let first = world.postback(sale).await;
    assert_eq!(brief(&first), "anna 3.00");
    let id = first.body["conversion"].as_str().unwrap();
    let amend = json!({"id": "up", "amount": "20", "reason": "a test"});
    assert_eq!(
        world
            .post(&format!("conversions/{id}/amend"), amend)
            .await
            .status,
        200
    );
    assert_eq!(world.balance("anna").await["on_hold"], "6.00");
}

#[tokio::test]
async fn what_has_a_name_of_its_own_is_found_by_it_and_no_other_gets_it() {
    let world = shop(json!({})).await;
    let coupon = json!({"id": "spring", "program": "shoes", "affiliate": "anna", "code": "anna10"});
    world.made("coupons", coupon.clone()).await;
    assert_eq!(world.get("coupons/spring").await.body, coupon);
    let other = json!({"id": "spring", "program": "shoes", "affiliate": "anna", "code": "anna20"});
    assert_eq!(world.post("coupons", other).await.body["code"], "exists");
    let link =
        json!({"id": "front", "slug": "front-page", "program": "shoes", "affiliate": "anna"});
    world.made("links", link).await;
    assert_eq!(world.get("links/front").await.body["slug"], "front-page");
}

#[tokio::test]
async fn a_view_earns_within_its_window_where_nobody_clicked() {
    let world = shop(json!({})).await;
    assert_eq!(
        world
            .patch("programs/shoes", 2, json!({"view_window": "1d"}))
            .await
            .status,
        200
    );
    let pixel = json!({"label": "pixel", "scope": "convert", "kind": "browser"});
    let pixel = world.made("merchants/shop/secrets", pixel).await;
    let token = pixel["postback_token"].as_str().unwrap();

    // An image on a page of another site: the cookie has to come back from there.
    let headers = [
        ("user-agent", BROWSER),
        ("x-forwarded-proto", "https"),
        ("sec-fetch-dest", "image"),
        ("sec-fetch-mode", "no-cors"),
        ("sec-fetch-site", "cross-site"),
    ];
    let seen = world
        .send(
            Method::GET,
            "/i/anna-shoes.gif?sub1=banner",
            &headers,
            Bytes::new(),
        )
        .await;
    assert_eq!(
        (seen.status.as_u16(), &seen.headers["content-type"]),
        (200, &"image/gif".parse().unwrap())
    );
    assert_eq!(&seen.headers["cache-control"], "no-store");
    assert!(seen.body.starts_with(b"GIF89a") && seen.body.len() == 43);
    let unknown = world
        .send(Method::GET, "/i/nobody.gif", &headers, Bytes::new())
        .await;
    assert_eq!(unknown.status, 404);

    // The stack's own front says which connections are https; here the cookie is the plain one.
    let set = seen.headers["set-cookie"].to_str().unwrap();
    let cookie = set.split(';').next().unwrap().to_owned();
    let buy =
        |order: &str| format!("/postback?token={token}&program=shoes&order_id={order}&amount=10");
    let shopper = [("user-agent", BROWSER), ("cookie", cookie.as_str())];
    let bought = answer(
        &world
            .send(Method::GET, &buy("A-1"), &shopper, Bytes::new())
            .await,
    );
    assert_eq!(
        (brief(&bought), &bought.body["status"]),
        ("anna 1.00".to_owned(), &json!("pending"))
    );
    let explain = explained(&world, &bought).await;
    assert_eq!(
        (&explain["candidates"][0]["view"], &explain["decided_by"]),
        (&json!(true), &json!("journey"))
    );
    let shown = world.get("conversions?affiliate=anna").await;
    assert_eq!(shown.body["items"][0]["click"]["tags"]["sub1"], "banner");

    // Another browser, one that asks not to be followed, and the shop's own server have no journey.
    let other = [("user-agent", BROWSER)];
    let nobody = answer(
        &world
            .send(Method::GET, &buy("A-2"), &other, Bytes::new())
            .await,
    );
    assert_eq!(brief(&nobody), "unattributed");
    let private = [
        ("user-agent", BROWSER),
        ("cookie", cookie.as_str()),
        ("sec-gpc", "1"),
    ];
    let nobody = answer(
        &world
            .send(Method::GET, &buy("A-3"), &private, Bytes::new())
            .await,
    );
    assert_eq!(brief(&nobody), "unattributed");
    let server = json!({"program": "shoes", "order_id": "A-4", "amount": "10"});
    assert_eq!(brief(&world.postback(server).await), "unattributed");

    // A click comes before any view, and a day later the view is too old.
    world.turn_to("2026-07-01T12:00:00Z").await;
    let mut visitor = Visitor(Some(cookie.clone()));
    visitor.click(&world, "bob-shoes", BROWSER).await;
    let clicked = answer(
        &world
            .send(Method::GET, &buy("A-5"), &shopper, Bytes::new())
            .await,
    );
    assert_eq!(brief(&clicked), "bob 1.00");
    let explain = explained(&world, &clicked).await;
    assert_eq!(explain["candidates"][0]["reason"], "behind_clicks");
    world.turn_to("2026-07-02T10:00:02Z").await;
    let later = answer(
        &world
            .send(Method::GET, &buy("A-6"), &shopper, Bytes::new())
            .await,
    );
    assert_eq!(
        explained(&world, &later).await["candidates"][0]["reason"],
        "window_closed"
    );
}

#[tokio::test]
async fn the_journey_of_a_browser_that_names_no_click_has_its_own_turn() {
    let world =
        shop(json!({"model": "linear", "priority": ["click_id", "coupon", "journey"]})).await;
    let coupon = json!({"program": "shoes", "affiliate": "cyd", "code": "cyd10"});
    world.made("coupons", coupon).await;
    let pixel = json!({"label": "pixel", "scope": "convert", "kind": "browser"});
    let pixel = world.made("merchants/shop/secrets", pixel).await;
    let token = pixel["postback_token"].as_str().unwrap();
    let mut visitor = Visitor::new();
    visitor.click(&world, "anna-shoes", BROWSER).await;
    let named = visitor.click(&world, "bob-shoes", BROWSER).await;
    let robots = visitor.click(&world, "cyd-shoes", "curl/8.14.1").await;
    let cookie = visitor.0.clone().unwrap();
    let buys = async |order: &str, more: &str| {
        let headers = [("user-agent", BROWSER), ("cookie", cookie.as_str())];
        let path =
            format!("/postback?token={token}&program=shoes&order_id={order}&amount=10{more}");
        answer(&world.send(Method::GET, &path, &headers, Bytes::new()).await)
    };
    let shared = "anna 0.50, bob 0.50";
    assert_eq!(brief(&buys("A-1", "&coupon=cyd10").await), "cyd 1.00");
    assert_eq!(brief(&buys("A-2", "").await), shared);
    // A click that is named, good or not, stands for its journey.
    for click in [named, robots] {
        let more = format!("&coupon=cyd10&click_id={click}");
        assert_eq!(brief(&buys(&click, &more).await), shared);
    }

    let only_named = json!({"attribution": {"model": "linear", "priority": ["click_id"]}});
    let changed = world.patch("programs/shoes", 2, only_named).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(brief(&buys("A-3", "").await), "unattributed");
}

#[tokio::test]
async fn what_a_browser_tells_of_brings_no_customer_and_climbs_no_step() {
    let world = shop(json!({})).await;
    let steps = json!([{"from": 1, "percent": "10"}, {"from": 2, "percent": "20"}]);
    let terms = json!({
        "commission": [{"type": "tiered", "tiers": {"by": "count", "period": "month", "steps": steps}}],
    });
    assert_eq!(world.patch("programs/shoes", 2, terms).await.status, 200);
    let pixel = json!({"label": "pixel", "scope": "convert", "kind": "browser"});
    let pixel = world.made("merchants/shop/secrets", pixel).await;
    let click = world.click("anna-shoes").await;
    let told = |order: &str| json!({"token": pixel["postback_token"], "click_id": click, "customer_id": "c-1", "order_id": order, "amount": "10"});
    for order in ["P-1", "P-2"] {
        let waits = world.json("/postback", &told(order)).await;
        assert_eq!(
            (brief(&waits), &waits.body["status"]),
            ("anna 1.00".to_owned(), &json!("pending"))
        );
    }

    // The shop's own server knows the customer, and nobody has brought it.
    let sale = |order: &str| json!({"program": "shoes", "customer_id": "c-1", "order_id": order, "amount": "10"});
    let later = world.postback(sale("A-1")).await;
    assert_eq!(brief(&later), "unattributed");
    let clicked = |order: &str, click: &str| json!({"click_id": click, "customer_id": "c-1", "order_id": order, "amount": "10"});
    let bob = world.click("bob-shoes").await;
    assert_eq!(
        brief(&world.postback(clicked("A-2", &bob)).await),
        "bob 1.00"
    );
    assert_eq!(brief(&world.postback(sale("A-3")).await), "bob 2.00");
    // Anna's first order that counts is the first that her shop's server tells of.
    for (order, earned) in [("A-4", "anna 1.00"), ("A-5", "anna 2.00")] {
        let sale = clicked(order, &click);
        assert_eq!(brief(&world.postback(sale).await), earned);
    }
}

#[tokio::test]
async fn a_customers_orders_wait_while_the_first_one_waits_for_a_person() {
    let world = shop(json!({})).await;
    let framed = [("user-agent", BROWSER), ("sec-fetch-dest", "iframe")];
    let path = "/r/anna-shoes";
    let odd = click_id(&world.send(Method::GET, path, &framed, Bytes::new()).await);
    let first = json!({"click_id": odd, "customer_id": "c-1", "order_id": "A-1", "amount": "10"});
    let first = world.postback(first).await;
    assert_eq!(first.body["status"], "pending");
    let sale = |order: &str| json!({"program": "shoes", "customer_id": "c-1", "order_id": order, "amount": "10"});
    let waits = world.postback(sale("A-2")).await;
    assert_eq!(
        (brief(&waits), &waits.body["status"]),
        ("anna 1.00".to_owned(), &json!("pending"))
    );
    let explain = explained(&world, &waits).await;
    assert_eq!(explain["review"], json!(["first_order_pending"]));
    let words = explain["text"].to_string();
    assert!(
        words.contains("as the customer's first order waits too."),
        "{words}"
    );

    let id = first.body["conversion"].as_str().unwrap();
    let approve = format!("conversions/{id}/approve");
    assert_eq!(world.post(&approve, json!({})).await.status, 200);
    assert_eq!(world.postback(sale("A-3")).await.body["status"], "approved");

    // Where time decides, it decides about both.
    let terms = json!({"approval": "manual", "approve_after": "48h"});
    assert_eq!(world.patch("programs/shoes", 2, terms).await.status, 200);
    let click = world.click("bob-shoes").await;
    let first = json!({"click_id": click, "customer_id": "c-2", "order_id": "B-1", "amount": "10"});
    assert_eq!(brief(&world.postback(first).await), "bob 1.00");
    let mut next = sale("B-2");
    next["customer_id"] = json!("c-2");
    let waits = world.postback(next).await;
    assert_eq!(
        explained(&world, &waits).await["review"],
        json!(["manual_approval"])
    );
}

#[tokio::test]
async fn a_program_may_want_no_cookie_and_a_link_may_say_that_consent_was_denied() {
    let world = shop(json!({"model": "linear"})).await;
    for path in ["/r/anna-shoes?consent=denied", "/r/anna-shoes?consent=0"] {
        let headers = [("user-agent", BROWSER)];
        let response = world.send(Method::GET, path, &headers, Bytes::new()).await;
        assert_eq!(
            (response.status.as_u16(), response.headers.get("set-cookie")),
            (302, None)
        );
        let sale = json!({"click_id": click_id(&response), "order_id": path, "amount": "10"});
        assert_eq!(brief(&world.postback(sale).await), "anna 1.00");
    }
    assert_eq!(
        world
            .patch("programs/shoes", 2, json!({"visitor_cookie": "off"}))
            .await
            .status,
        200
    );
    let mut visitor = Visitor::new();
    visitor.click(&world, "anna-shoes", BROWSER).await;
    assert_eq!(visitor.0, None);
}

#[tokio::test]
async fn lists_are_narrowed_by_what_people_look_for() {
    let world = shop(json!({})).await;
    let other = world
        .made("merchants", json!({"id": "mart", "name": "Mart"}))
        .await;
    world
        .made(
            "programs",
            json!({
                "id": "hats", "merchant": "mart", "name": "Hats", "currency": "EUR",
                "destination": "https://mart.example/", "hold_days": 0, "status": "active",
                "override": "a test of its own", "approval": "manual",
                "commission": [{"type": "percent", "percent": "10"}],
            }),
        )
        .await;
    world
        .made(
            "links",
            json!({"slug": "anna-hats", "program": "hats", "affiliate": "anna"}),
        )
        .await;
    let (shoes, hats) = (
        world.click("anna-shoes").await,
        world.click("anna-hats").await,
    );
    let mart = other["secret"]["postback_token"].as_str().unwrap();
    for order in 0..5 {
        let day = order + 1;
        world.turn_to(&format!("2026-07-0{day}T12:00:00Z")).await;
        let sale = json!({"click_id": shoes, "order_id": format!("S-{order}"), "amount": "10"});
        assert_eq!(world.postback(sale).await.status, 200);
        let sale = json!({"token": mart, "click_id": hats, "order_id": format!("H-{order}"), "amount": "10"});
        assert_eq!(world.json("/postback", &sale).await.status, 200);
    }
    let bob = world.click("bob-shoes").await;
    let sale = json!({"click_id": bob, "order_id": "S-9", "amount": "10"});
    assert_eq!(world.postback(sale).await.status, 200);

    for (query, expected) in [
        ("", "H-0 S-0 H-1 S-1 H-2 S-2 H-3 S-3 H-4 S-4 S-9"),
        ("?merchant=mart", "H-0 H-1 H-2 H-3 H-4"),
        ("?program=shoes", "S-0 S-1 S-2 S-3 S-4 S-9"),
        ("?affiliate=bob", "S-9"),
        ("?affiliate=anna&program=hats", "H-0 H-1 H-2 H-3 H-4"),
        ("?status=pending&from=2026-07-02&to=2026-07-04", "H-1 H-2"),
        ("?order_id=S-3", "S-3"),
        ("?from=2026-07-05T12:00:00Z&status=approved", "S-4 S-9"),
        ("?to=2026-07-01", ""),
    ] {
        for limit in ["", "1", "3"] {
            // A page at a time, to the end.
            let mut orders = Vec::new();
            let mut cursor = String::new();
            loop {
                let joint = if query.is_empty() { "?" } else { "&" };
                let limited = if limit.is_empty() {
                    String::new()
                } else {
                    format!("&limit={limit}")
                };
                let path = format!("conversions{query}{joint}{limited}{cursor}");
                let page = world.get(&path.replace("?&", "?")).await;
                assert_eq!(page.status, 200, "{path}: {page:?}");
                let items = page.body["items"].as_array().unwrap();
                orders.extend(
                    items
                        .iter()
                        .map(|item| item["order_id"].as_str().unwrap().to_owned()),
                );
                match page.body["next"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            // Two of the same instant stand there in either order.
            let in_pairs = |orders: &[String]| {
                let mut orders = orders.to_vec();
                orders.sort_by_key(|order| (order[2..].to_owned(), order.clone()));
                orders.join(" ")
            };
            assert_eq!(in_pairs(&orders), expected, "{query} {limit}");
        }
    }
    let unknown = world.get("conversions?status=gone").await;
    assert_eq!(unknown.body["code"], "word_unknown");
}

#[tokio::test]
async fn a_burst_of_clicks_waits_for_the_merchant() {
    let world = shop(json!({})).await;
    let mut visitor = Visitor::new();
    let mut last = String::new();
    for clicks in 1..=10 {
        last = visitor.click(&world, "anna-shoes", BROWSER).await;
        let sale = json!({"click_id": last, "order_id": format!("A-{clicks}"), "amount": "10"});
        let status = if clicks < 10 { "approved" } else { "pending" };
        assert_eq!(
            world.postback(sale).await.body["status"],
            status,
            "{clicks}"
        );
    }
    let sale = json!({"click_id": last, "order_id": "A-10", "amount": "10"});
    let waits = world.postback(sale).await;
    assert_eq!(
        explained(&world, &waits).await["review"],
        json!(["suspect_traffic"])
    );
    // Ten visitors with one address are ten people.
    for order in 0..12 {
        let click = world.click("bob-shoes").await;
        let sale = json!({"click_id": click, "order_id": format!("B-{order}"), "amount": "10"});
        assert_eq!(world.postback(sale).await.body["status"], "approved");
    }
}

/// A visitor follows the links of 22 affiliates, `aff01` to `aff22`; the last click's id.
async fn clicks_of_many(world: &World) -> String {
    let mut visitor = Visitor::new();
    let mut last = String::new();
    for number in 1..=22 {
        let id = format!("aff{number:02}");
        let affiliate =
            json!({"id": id, "name": id, "email": format!("{id}@example.com"), "country": "DE"});
        world.made("affiliates", affiliate).await;
        world
            .made(
                "links",
                json!({"slug": id, "program": "shoes", "affiliate": id}),
            )
            .await;
        world
            .turn_to(&format!(
                "2026-07-01T{:02}:{:02}:00Z",
                11 + number / 10,
                number % 10 * 5
            ))
            .await;
        last = visitor.click(world, &id, BROWSER).await;
    }
    last
}

#[tokio::test]
async fn twenty_affiliates_share_one_order_in_one_transaction() {
    let world = shop(json!({"model": "linear"})).await;
    let last = clicks_of_many(&world).await;
    let sale = json!({"click_id": last, "order_id": "A-1", "amount": "100"});
    let shared = world.postback(sale).await;
    assert_eq!(shared.status, 200, "{shared:?}");
    let commissions = shared.body["commissions"].as_array().unwrap();
    assert_eq!(commissions.len(), 20);
    for (place, commission) in commissions.iter().enumerate() {
        let affiliate = format!("aff{:02}", place + 3);
        assert_eq!(
            (&commission["affiliate"], &commission["amount"]),
            (&json!(affiliate), &json!("0.50"))
        );
        assert_eq!(world.balance(&affiliate).await["on_hold"], "0.50");
    }
    assert_eq!(world.reversal(json!({"order_id": "A-1"})).await.status, 200);
    let candidates = explained(&world, &shared).await["candidates"].clone();
    assert_eq!(candidates[0]["reason"], "too_many_affiliates");
}

#[tokio::test]
async fn fewer_share_an_order_that_counters_and_budgets_count() {
    let world = shop(json!({"model": "linear"})).await;
    let steps = json!([{"from": 1, "percent": "10"}, {"from": 2, "percent": "20"}]);
    let terms = json!({
        "commission": [{"type": "tiered", "tiers": {"by": "count", "period": "month", "steps": steps}}],
        "caps": [{"per": "affiliate", "count": 5}, {"per": "program", "count": 5}],
    });
    assert_eq!(world.patch("programs/shoes", 2, terms).await.status, 200);
    let last = clicks_of_many(&world).await;
    // 98 of a transaction's members are left for them, and each takes six.
    let sale = json!({"click_id": last, "customer_id": "c-1", "order_id": "A-1", "amount": "160"});
    let shared = world.postback(sale).await;
    assert_eq!(shared.status, 200, "{shared:?}");
    let commissions = shared.body["commissions"].as_array().unwrap();
    assert_eq!(
        (commissions.len(), &commissions[0]["affiliate"]),
        (16, &json!("aff07"))
    );
    assert!(
        commissions
            .iter()
            .all(|commission| commission["amount"] == "1.00")
    );
}

#[tokio::test]
async fn what_was_agreed_with_others_takes_no_room_of_a_shared_order() {
    let world = shop(json!({"model": "linear"})).await;
    let steps = json!([{"from": 1, "percent": "10"}, {"from": 2, "percent": "20"}]);
    let agreed = |number: usize| {
        json!({
            "type": "tiered", "tiers": {"by": "count", "period": "month", "steps": steps},
            "when": {"affiliate": format!("aff{number:02}")},
        })
    };
    let rules: Vec<Value> = (1..=46).map(agreed).collect();
    let terms = json!({ "commission": rules });
    assert_eq!(world.patch("programs/shoes", 2, terms).await.status, 200);
    let last = clicks_of_many(&world).await;
    // 99 of a transaction's members are left for them, and each takes five.
    let sale = json!({"click_id": last, "customer_id": "c-1", "order_id": "A-1", "amount": "190"});
    let shared = world.postback(sale).await;
    assert_eq!(shared.status, 200, "{shared:?}");
    let commissions = shared.body["commissions"].as_array().unwrap();
    assert_eq!(
        (commissions.len(), &commissions[0]["affiliate"]),
        (19, &json!("aff04"))
    );
    assert!(
        commissions
            .iter()
            .all(|commission| commission["amount"] == "1.00")
    );
}
