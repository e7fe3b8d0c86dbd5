//! Rules that remember: steps that an affiliate climbs, and customers whom a rule pays for a while.

use std::sync::Arc;

use serde_json::{Value, json};
use tests::World;
use tokio::sync::Barrier;

const START: &str = "2026-07-01T10:00:00Z";

async fn shop(commission: Value) -> World {
    let world = World::with_shop(START).await;
    let change = json!({ "commission": commission });
    assert_eq!(world.patch("programs/shoes", 1, change).await.status, 200);
    world
}

#[tokio::test]
async fn steps_are_climbed_once_by_each_order_and_begin_anew_each_month() {
    let steps = json!([{"from": "0", "percent": "5"}, {"from": "100", "percent": "10"}]);
    let world = shop(json!([
        {"type": "tiered", "tiers": {"by": "amount", "period": "month", "steps": steps}},
    ]))
    .await;
    let click = world.click("anna-shoes").await;
    let sale =
        |order: &str, amount: &str| json!({"click_id": click, "order_id": order, "amount": amount});
    assert_eq!(world.earns(sale("A-1", "80")).await, "4.00");
    assert_eq!(world.earns(sale("A-1", "80")).await, "4.00");
    assert_eq!(world.earns(sale("A-2", "40")).await, "3.00");
    assert_eq!(world.earns(sale("A-3", "10")).await, "1.00");

    // What was paid is never rated again: a refund gives back the step's own rates, and a later
    // order does not fall below where the first ones had come to.
    let taken = world.reversal(json!({"order_id": "A-2"})).await;
    assert_eq!(taken.body["reversed"][0]["amount"], "3.00");
    assert_eq!(world.earns(sale("A-4", "10")).await, "1.00");

    // An amendment begins where its order began.
    let first = world.postback(sale("A-1", "80")).await;
    let path = format!(
        "conversions/{}/amend",
        first.body["conversion"].as_str().unwrap()
    );
    let up = json!({"id": "up", "amount": "120", "reason": "a test"});
    let amended = world.post(&path, up).await;
    assert_eq!(amended.body["commissions"][0]["amount"], "7.00");
    let shown = world
        .get(&format!(
            "conversions/{}",
            first.body["conversion"].as_str().unwrap()
        ))
        .await;
    assert_eq!(
        shown.body["explain"]["arithmetic"],
        json!(["80.00 EUR x 5 % -> 4.00 half_even"])
    );
    let amendments = &shown.body["explain"]["amendments"];
    assert_eq!(
        (&amendments[0]["id"], &amendments[0]["amount"]),
        (&json!("up"), &json!("120.00"))
    );
    assert_eq!(
        amendments[0]["arithmetic"],
        json!(["100.00 EUR x 5 % + 20.00 EUR x 10 % -> 7.00 half_even"])
    );
    // The program's first rule was of another kind.
    assert_eq!(amendments[0]["credits"][0]["rules"], json!(["r1v2"]));

    world.turn_to("2026-07-20T10:00:00Z").await;
    let mut late = sale("A-5", "10");
    late["occurred_at"] = json!("2026-07-19T10:00:00Z");
    assert_eq!(world.earns(late).await, "1.00");
    world.turn_to("2026-08-01T09:00:00Z").await;
    let click = world.click("anna-shoes").await;
    let august = json!({"click_id": click, "order_id": "A-6", "amount": "10"});
    assert_eq!(world.earns(august).await, "0.50");
}

#[tokio::test]
async fn orders_that_come_at_once_stand_on_one_step_each() {
    let steps = json!([{"from": 0, "amount": "1"}, {"from": 9, "amount": "2"}, {"from": 17, "amount": "5"}]);
    let world = shop(json!([
        {"type": "tiered", "tiers": {"by": "count", "period": "lifetime", "steps": steps}},
    ]))
    .await;
    let click = world.click("anna-shoes").await;
    let world = Arc::new(world);
    let barrier = Arc::new(Barrier::new(24));
    let mut senders = Vec::new();
    for order in 0..24 {
        let (world, barrier, click) = (world.clone(), barrier.clone(), click.clone());
        senders.push(tokio::spawn(async move {
            barrier.wait().await;
            let sale = json!({"click_id": click, "order_id": format!("A-{order}")});
            loop {
                let answer = world.postback(sale.clone()).await;
                if answer.status != 503 {
                    return answer.body["commissions"][0]["amount"]
                        .as_str()
                        .unwrap()
                        .to_owned();
                }
            }
        }));
    }
    let mut paid = Vec::new();
    for sender in senders {
        paid.push(sender.await.unwrap());
    }
    let of = |amount: &str| paid.iter().filter(|paid| *paid == amount).count();
    assert_eq!((of("1.00"), of("2.00"), of("5.00")), (8, 8, 8), "{paid:?}");
    assert_eq!(world.balance("anna").await["on_hold"], "64.00");
}

#[tokio::test]
async fn a_rule_pays_for_a_customer_as_often_and_as_long_as_it_says() {
    let world = shop(json!([
        {"type": "flat", "amount": "10", "recurring": {"max_count": 2}},
        {"type": "percent", "percent": "1"},
    ]))
    .await;
    let click = world.click("anna-shoes").await;
    let sale = |order: &str| json!({"click_id": click, "order_id": order, "amount": "100"});
    assert_eq!(world.earns(sale("A-1")).await, "customer_id_required");
    let by = |order: &str, customer: &str| {
        let mut sale = sale(order);
        sale["customer_id"] = json!(customer);
        sale
    };
    for (order, customer, paid) in [
        ("A-1", "c-1", "10.00"),
        ("A-2", "c-2", "10.00"),
        ("A-3", "c-1", "10.00"),
        ("A-4", "c-1", "1.00"),
        ("A-5", "c-2", "10.00"),
        ("A-4", "c-1", "1.00"),
    ] {
        assert_eq!(world.earns(by(order, customer)).await, paid, "{order}");
    }
    // Whoever else brings the same customer brings no new one.
    let bob = json!({"id": "bob", "name": "Bob", "email": "bob@example.com", "country": "DE"});
    world.made("affiliates", bob).await;
    let link = json!({"slug": "bob-shoes", "program": "shoes", "affiliate": "bob"});
    world.made("links", link).await;
    let mut by_bob = by("A-6", "c-1");
    by_bob["click_id"] = json!(world.click("bob-shoes").await);
    assert_eq!(world.earns(by_bob).await, "1.00");

    let until =
        json!({"commission": [{"type": "flat", "amount": "7", "recurring": {"max_months": 1}}]});
    assert_eq!(world.patch("programs/shoes", 2, until).await.status, 200);
    let renewal = |order: &str| json!({"program": "shoes", "customer_id": "c-1", "order_id": order, "amount": "5"});
    world.turn_to("2026-08-01T09:59:50Z").await;
    assert_eq!(world.earns(renewal("B-1")).await, "7.00");
    world.turn_to("2026-08-01T10:00:10Z").await;
    assert_eq!(world.earns(renewal("B-2")).await, "no_rule");
}

/// Rules and budgets that are sent without ids stay what they are, wherever they stand in their list.
#[tokio::test]
async fn what_is_counted_stays_counted_when_a_list_is_sent_anew() {
    let steps = json!([{"from": 1, "amount": "1"}, {"from": 3, "amount": "5"}]);
    let tiered = json!({
        "type": "tiered", "tiers": {"by": "count", "period": "month", "steps": steps},
    });
    let world = shop(json!([tiered])).await;
    let click = world.click("anna-shoes").await;
    let sale = |order: &str| json!({"click_id": click, "order_id": order, "amount": "10"});
    assert_eq!(world.earns(sale("A-1")).await, "1.00");
    assert_eq!(world.earns(sale("A-2")).await, "1.00");

    // Another rule before it, and its second step pays more: it still counts from where it stood.
    let spring = json!({"type": "percent", "percent": "50", "when": {"coupon": "SPRING"}});
    let mut more = tiered.clone();
    more["tiers"]["steps"][1]["amount"] = json!("6");
    let rules = json!({"commission": [spring, more], "caps": [{"amount": "20"}]});
    assert_eq!(world.patch("programs/shoes", 2, rules).await.status, 200);
    assert_eq!(world.earns(sale("A-3")).await, "6.00");

    // Of a budget the same: one that stands second now is no new one.
    let caps = json!({"caps": [{"per": "affiliate", "count": 100}, {"amount": "13"}]});
    assert_eq!(world.patch("programs/shoes", 3, caps).await.status, 200);
    assert_eq!(world.earns(sale("A-4")).await, "6.00");
    assert_eq!(world.earns(sale("A-5")).await, "cap_reached");

    // Taken away and made anew it is another one, and has all that it says.
    for (version, caps) in [(4, json!([])), (5, json!([{"amount": "6.50"}]))] {
        let caps = json!({ "caps": caps });
        let changed = world.patch("programs/shoes", version, caps).await;
        assert_eq!(changed.status, 200);
    }
    assert_eq!(world.earns(sale("A-6")).await, "6.00");
    assert_eq!(world.earns(sale("A-7")).await, "cap_reached");
}

/// An order and all that it counts are booked together, and that has an end.
#[tokio::test]
async fn an_order_that_meets_more_steps_than_it_can_be_booked_with_is_refused_for_good() {
    let steps = json!([{"from": 1, "percent": "10"}]);
    let rules = |more: Value| -> Value {
        let rule = |number: usize| {
            let mut rule = json!({
                "type": "tiered", "tiers": {"by": "count", "period": "month", "steps": steps},
                "when": {"sku": format!("s{number}")},
            });
            rule["recurring"] = more.clone();
            rule
        };
        (1..=97).map(rule).collect()
    };
    let world = shop(rules(Value::Null)).await;
    let click = world.click("anna-shoes").await;
    let bare = |order: &str, lines: usize| {
        let item = |number: usize| json!({"sku": format!("s{number}"), "amount": "1"});
        let items: Vec<Value> = (1..=lines).map(item).collect();
        json!({"program": "shoes", "order_id": order, "items": items})
    };
    let sale = |order: &str, lines: usize, customer: &str| {
        let mut sale = bare(order, lines);
        sale["click_id"] = json!(click);
        sale["customer_id"] = json!(customer);
        sale
    };
    // The order, its entry, a bucket and a gate are four of 100 members.
    assert_eq!(world.earns(sale("A-1", 97, "")).await, "too_many_counters");
    let refusals = world.get("refusals?affiliate=anna").await;
    assert_eq!(refusals.body["items"][0]["code"], "too_many_counters");
    assert_eq!(world.earns(sale("A-1", 96, "")).await, "9.60");
    // That it is its customer's first is one more.
    assert_eq!(
        world.earns(sale("A-2", 96, "c-1")).await,
        "too_many_counters"
    );
    assert_eq!(world.earns(sale("A-2", 95, "c-1")).await, "9.50");
    assert_eq!(world.earns(sale("A-3", 96, "c-1")).await, "9.60");

    // Nor can a person's word book it.
    let nobodys = world.postback(bare("A-4", 97)).await.body;
    assert_eq!(nobodys["status"], "unattributed");
    let path = format!(
        "conversions/{}/credit",
        nobodys["conversion"].as_str().unwrap()
    );
    let give = json!({"affiliate": "anna", "reason": "they showed the invoice"});
    let claim = json!({
        "program": "shoes", "affiliate": "anna", "order_id": "A-4", "occurred_at": START, "note": "mine",
    });
    let claim = world.made("claims", claim).await;
    let accept = format!("claims/{}/accept", claim["id"].as_str().unwrap());
    for (path, body) in [(path, give), (accept, json!({}))] {
        let refused = world.post(&path, body).await;
        assert_eq!(
            (refused.status, &refused.body["code"]),
            (422, &json!("too_many_counters")),
            "{path}"
        );
    }

    // A rule that ends for its customer counts twice.
    let ends = json!({"commission": rules(json!({"max_count": 9}))});
    assert_eq!(world.patch("programs/shoes", 2, ends).await.status, 200);
    assert_eq!(
        world.earns(sale("A-5", 48, "c-2")).await,
        "too_many_counters"
    );
    assert_eq!(world.earns(sale("A-5", 47, "c-2")).await, "4.70");
}

#[tokio::test]
async fn a_line_is_taken_back_at_its_own_rate() {
    let world = shop(json!([
        {"type": "percent", "percent": "20", "when": {"sku": "boots"}},
        {"type": "percent", "percent": "5", "when": {"category": "socks"}},
    ]))
    .await;
    let click = world.click("anna-shoes").await;
    let sale = |order: &str| {
        json!({"click_id": click, "order_id": order, "items": [
            {"sku": "boots", "amount": "100"},
            {"sku": "wool", "category": "socks", "quantity": 2, "amount": "40"},
            {"sku": "card", "amount": "10"},
        ]})
    };
    assert_eq!(world.earns(sale("A-1")).await, "22.00");
    let take = |order: &str, name: &str, items: Value| json!({"order_id": order, "reversal_id": name, "items": items});
    let code = |answer: &tests::Answer| answer.body["code"].as_str().unwrap_or("?").to_owned();
    for (items, expected) in [
        (json!([{"sku": "hat", "amount": "1"}]), "sku_unknown"),
        (
            json!([{"sku": "wool", "amount": "40.01"}]),
            "reversal_exceeds",
        ),
        (json!([{"sku": "wool", "amount": "1,5"}]), "amount_invalid"),
        (json!([{"sku": "wool"}]), "parameter_missing"),
    ] {
        assert_eq!(
            code(&world.reversal(take("A-1", "r0", items)).await),
            expected
        );
    }
    let mut unnamed = take("A-1", "r0", json!([{"sku": "wool", "amount": "1"}]));
    unnamed.as_object_mut().unwrap().remove("reversal_id");
    assert_eq!(code(&world.reversal(unnamed).await), "reversal_id_required");

    // The socks at 5 %, the card at nothing, and half of the boots at 20 %.
    for (name, items, back, remaining) in [
        (
            "r1",
            json!([{"sku": "wool", "amount": "20"}]),
            "1.00",
            "130.00",
        ),
        (
            "r2",
            json!([{"sku": "card", "amount": "10"}]),
            "0.00",
            "120.00",
        ),
        (
            "r3",
            json!([{"sku": "boots", "amount": "50"}, {"sku": "wool", "amount": "20"}]),
            "11.00",
            "50.00",
        ),
    ] {
        let taken = world.reversal(take("A-1", name, items.clone())).await;
        assert_eq!(
            (
                &taken.body["reversed"][0]["amount"],
                &taken.body["remaining"]
            ),
            (&json!(back), &json!(remaining))
        );
        let again = world.reversal(take("A-1", name, items)).await;
        assert_eq!(again.body["result"], "recorded_before");
    }
    let other = world
        .reversal(take("A-1", "r3", json!([{"sku": "boots", "amount": "50"}])))
        .await;
    assert_eq!(other.status, 409);
    // What is left is half of the boots, whatever way it is taken.
    let rest = world.reversal(json!({"order_id": "A-1"})).await;
    assert_eq!(rest.body["reversed"][0]["amount"], "10.00");
    assert_eq!(world.balance("anna").await["on_hold"], "0.00");

    // A refund of lines may come before its sale, and by an amount beside them that must be theirs.
    let mut early = take("A-2", "r1", json!([{"sku": "boots", "amount": "25"}]));
    early["amount"] = json!("25.00");
    assert_eq!(world.reversal(early).await.status, 404);
    assert_eq!(world.earns(sale("A-2")).await, "22.00");
    assert_eq!(world.balance("anna").await["on_hold"], "17.00");
    let mut wrong = take("A-2", "r2", json!([{"sku": "boots", "amount": "25"}]));
    wrong["amount"] = json!("26");
    assert_eq!(code(&world.reversal(wrong).await), "items_total");

    // Of an amount alone every line gives its part: of 125.00 that still earn 17.00.
    let part = json!({"order_id": "A-2", "reversal_id": "r3", "amount": "62.50"});
    assert_eq!(
        world.reversal(part).await.body["reversed"][0]["amount"],
        "8.50"
    );
}

/// Rated without its lines an order would earn by other rules, and no line could be taken back.
#[tokio::test]
async fn an_order_with_lines_is_amended_by_its_lines() {
    let world = shop(json!([
        {"type": "percent", "percent": "20", "when": {"sku": "boots"}},
        {"type": "percent", "percent": "5"},
    ]))
    .await;
    let click = world.click("anna-shoes").await;
    let items = json!([{"sku": "boots", "amount": "100"}]);
    let sale = json!({"click_id": click, "order_id": "A-1", "items": items});
    let id = world.postback(sale).await.body["conversion"].clone();
    let path = format!("conversions/{}/amend", id.as_str().unwrap());
    let missing = |answer: &tests::Answer| {
        let body = &answer.body;
        let (code, field) = (body["code"].clone(), body["field"].clone());
        (code, field) == (json!("items_required"), json!("items"))
    };
    for items in [json!(null), json!([])] {
        let same = json!({"id": "a", "amount": "100", "items": items, "reason": "a test"});
        let refused = world.post(&path, same).await;
        assert!(refused.status == 422 && missing(&refused), "{refused:?}");
    }
    for dry_run in ["", "&dry_run=1"] {
        let line =
            json!({"order_id": "A-1", "action": "amend", "amount": "100", "reason": "a test"});
        let list = format!("conversions/decisions?merchant=shop{dry_run}");
        let refused = world.post(&list, line).await;
        assert!(refused.status == 207 && missing(&refused), "{refused:?}");
        assert_eq!(refused.body["http"], 422);
    }
    assert_eq!(world.balance("anna").await["on_hold"], "20.00");

    let items = json!([{"sku": "boots", "amount": "80"}]);
    let down = json!({"id": "a", "amount": "80", "items": items, "reason": "a test"});
    let amended = world.post(&path, down).await;
    assert_eq!(amended.body["commissions"][0]["amount"], "16.00");
    let part =
        json!({"order_id": "A-1", "reversal_id": "r", "items": [{"sku": "boots", "amount": "10"}]});
    assert_eq!(
        world.reversal(part).await.body["reversed"][0]["amount"],
        "2.00"
    );
}

#[tokio::test]
async fn rules_are_tried_before_they_are_saved_and_over_past_orders() {
    let steps = json!([{"from": "0", "percent": "5"}, {"from": "100", "percent": "10"}]);
    let rules = json!([
        {"type": "percent", "percent": "20", "when": {"category": "boots"}},
        {"type": "tiered", "tiers": {"by": "amount", "period": "lifetime", "steps": steps}},
    ]);
    let world = shop(rules.clone()).await;
    let preview = |body: Value| world.post("programs/shoes/rules:preview", body);
    let items =
        json!([{"sku": "b", "category": "boots", "amount": "10"}, {"sku": "x", "amount": "120"}]);
    let tried = preview(json!({"affiliate": "anna", "items": items})).await;
    assert_eq!(
        (tried.status, &tried.body["amount"]),
        (200, &json!("9.00")),
        "{tried:?}"
    );
    assert_eq!(
        tried.body["lines"][1]["arithmetic"],
        "100.00 EUR x 5 % + 20.00 EUR x 10 % -> 7.00 half_even"
    );
    let draft = json!({"affiliate": "anna", "amount": "50", "commission": [{"type": "flat", "amount": "3"}]});
    assert_eq!(preview(draft).await.body["amount"], "3.00");
    for (body, code) in [
        (json!({"amount": "5"}), "parameter_missing"),
        (
            json!({"affiliate": "nobody", "amount": "5"}),
            "affiliate_unknown",
        ),
        (json!({"affiliate": "anna"}), "amount_required"),
        (json!({"affiliate": "anna", "goal": "lead"}), "goal_unknown"),
        (
            json!({"affiliate": "anna", "amount": "5", "commission": [{"type": "flat"}]}),
            "parameter_missing",
        ),
    ] {
        assert_eq!(preview(body.clone()).await.body["code"], code, "{body}");
    }

    // Orders of each kind: with lines, shared out over a step, amended, and by counters.
    let click = world.click("anna-shoes").await;
    for (order, body) in [
        ("A-1", json!({"items": items})),
        ("A-2", json!({"amount": "33.33"})),
        (
            "A-3",
            json!({"items": [{"sku": "b", "category": "boots", "amount": "7.77"}]}),
        ),
        ("A-4", json!({"amount": "0.10"})),
    ] {
        let mut sale = body;
        sale["click_id"] = json!(click);
        sale["order_id"] = json!(order);
        assert_eq!(world.postback(sale).await.status, 200);
    }
    let first = world.get("conversions?order_id=A-2").await.body["items"][0]["id"].clone();
    let amend = json!({"id": "m", "amount": "40", "reason": "a test"});
    let path = format!("conversions/{}/amend", first.as_str().unwrap());
    assert_eq!(world.post(&path, amend).await.status, 200);
    let before = world.balance("anna").await;

    let replay = |body: Value| {
        let mut body = body;
        body["from"] = json!("2026-07-01");
        body["to"] = json!("2026-08-01");
        world.post("programs/shoes/rules:replay", body)
    };
    for same in [
        json!({}),
        json!({"version": 2}),
        json!({ "commission": rules }),
    ] {
        let answer = replay(same.clone()).await;
        assert_eq!(
            (answer.status, &answer.body["conversions"]),
            (200, &json!(4)),
            "{answer:?}"
        );
        assert_eq!(
            (&answer.body["changed"], &answer.body["difference"]),
            (&json!(0), &json!("0.00")),
            "{same}"
        );
        assert_eq!(answer.body["before"], before["earned"]);
    }
    // Boots at 30 % instead of 20: 1.00 more of 10.00, and 0.78 more of 7.77 (2.331 for 1.554).
    let mut more = rules.clone();
    more[0]["percent"] = json!("30");
    let answer = replay(json!({ "commission": more })).await;
    assert_eq!(
        (&answer.body["changed"], &answer.body["difference"]),
        (&json!(2), &json!("1.78"))
    );
    assert_eq!(
        (
            &answer.body["items"][1]["before"],
            &answer.body["items"][1]["after"]
        ),
        (&json!("1.55"), &json!("2.33"))
    );
    // The terms of before: 10 % of all.
    let first = replay(json!({"version": 1})).await;
    assert_eq!(first.body["after"], json!("17.79"));
    let lead = json!({"commission": [{"type": "flat", "amount": "1", "goal": "lead"}]});
    assert_eq!(replay(lead).await.body["items"][0]["code"], "no_rule");
    assert_eq!(
        replay(json!({"version": 9})).await.body["code"],
        "version_unknown"
    );
    assert_eq!(world.balance("anna").await, before);
}
