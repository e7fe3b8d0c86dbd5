//! From a click to a payout, and back.

use std::sync::Arc;

use clickledger::embedded::{Fault, Faults};
use serde_json::{Value, json};
use tests::{Answer, World};
use tokio::sync::Barrier;

const START: &str = "2026-07-01T10:00:00Z";

fn brief(balance: &Value) -> [&str; 4] {
    ["on_hold", "payable", "in_payout", "reversed"].map(|name| balance[name].as_str().unwrap())
}

fn result(answer: &Answer) -> (u16, &str) {
    let word = answer.body["result"]
        .as_str()
        .or(answer.body["code"].as_str());
    (answer.status, word.unwrap_or("?"))
}

async fn run(world: &World, day: &str) -> Value {
    let run = world.post("payout-runs", json!({ "day": day })).await;
    assert_eq!(run.status, 200, "{run:?}");
    run.body
}

#[tokio::test]
async fn a_click_becomes_a_sale_a_commission_and_a_payout() {
    let world = World::with_shop(START).await;
    let click_id = world.click("anna-shoes").await;
    let sale = json!({"click_id": click_id, "order_id": "A-1", "amount": "49.99"});

    let first = world.postback(sale.clone()).await;
    assert_eq!(result(&first), (200, "created"));
    assert_eq!(first.body["status"], "approved");
    assert_eq!(
        first.body["commissions"],
        json!([{"affiliate": "anna", "amount": "5.00", "currency": "EUR"}])
    );
    let again = world.postback(sale).await;
    assert_eq!(result(&again), (200, "recorded_before"));
    assert_eq!(again.body["commissions"], first.body["commissions"]);
    let other = json!({"click_id": click_id, "order_id": "A-1", "amount": "50.00"});
    assert_eq!(
        result(&world.postback(other).await),
        (409, "order_conflict")
    );
    assert_eq!(
        brief(&world.balance("anna").await),
        ["5.00", "0.00", "0.00", "0.00"]
    );

    world.turn_to("2026-07-02T01:00:00Z").await;
    assert_eq!(
        brief(&world.balance("anna").await),
        ["0.00", "0.00", "5.00", "0.00"]
    );
    let expected = json!({
        "day": "2026-07-01", "state": "done", "buckets": 1, "payouts": 1, "carried": 0, "held": 0,
        "total": [{"payer": "house", "currency": "EUR", "amount": "5.00"}],
    });
    assert_eq!(run(&world, "2026-07-01").await, expected);
}

#[tokio::test]
async fn refunds_before_and_after_payment_are_taken_back_to_the_cent() {
    let world = World::with_shop(START).await;
    let click_id = world.click("anna-shoes").await;
    let sale = json!({"click_id": click_id, "order_id": "A-1", "amount": "0.99"});
    assert_eq!(
        world.postback(sale).await.body["commissions"][0]["amount"],
        "0.10"
    );

    // Three thirds of an order that earned ten cents.
    let mut taken = Vec::new();
    for third in ["1", "2", "3"] {
        let part = json!({"order_id": "A-1", "reversal_id": third, "amount": "0.33"});
        let first = world.reversal(part.clone()).await;
        assert_eq!(result(&first), (200, "created"), "{first:?}");
        assert_eq!(
            result(&world.reversal(part).await),
            (200, "recorded_before")
        );
        taken.push(
            first.body["reversed"][0]["amount"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
        if third == "2" {
            world.turn_to("2026-07-02T01:00:00Z").await;
        }
    }
    assert_eq!(taken, ["0.03", "0.04", "0.03"]);
    let over = json!({"order_id": "A-1", "reversal_id": "4", "amount": "0.01"});
    assert_eq!(
        result(&world.reversal(over).await),
        (422, "reversal_exceeds")
    );
    let other = json!({"order_id": "A-1", "reversal_id": "1", "amount": "0.10"});
    assert_eq!(
        result(&world.reversal(other).await),
        (409, "reversal_conflict")
    );

    // Three cents were paid on the first day, and are now owed.
    assert_eq!(
        brief(&world.balance("anna").await),
        ["-0.03", "0.00", "0.03", "0.10"]
    );
    world.turn_to("2026-07-03T01:00:00Z").await;
    assert_eq!(
        brief(&world.balance("anna").await),
        ["0.00", "-0.03", "0.03", "0.10"]
    );

    // Later earnings pay the debt first.
    let sale = json!({"click_id": click_id, "order_id": "A-2", "amount": "1.00"});
    world.postback(sale).await;
    world.turn_to("2026-07-04T01:00:00Z").await;
    assert_eq!(
        brief(&world.balance("anna").await),
        ["0.00", "0.00", "0.10", "0.10"]
    );
}

#[tokio::test]
async fn what_waits_for_approval_is_booked_when_it_is_approved_and_once() {
    let world = World::with_shop(START).await;
    let manual = world
        .patch("programs/shoes", 1, json!({"approval": "manual"}))
        .await;
    assert_eq!(manual.status, 200, "{manual:?}");
    let click_id = world.click("anna-shoes").await;
    let sale = |order: &str| json!({"click_id": click_id, "order_id": order, "amount": "30"});
    let first = world.postback(sale("A-1")).await.body;
    assert_eq!(first["status"], "pending");
    let balance = world.balance("anna").await;
    assert_eq!(
        (balance["pending"].as_str(), balance["earned"].as_str()),
        (Some("3.00"), Some("0.00"))
    );

    // A refund lowers what approval books.
    let refund = json!({"order_id": "A-1", "reversal_id": "r", "amount": "10"});
    assert_eq!(
        world.reversal(refund).await.body["reversed"][0]["amount"],
        "1.00"
    );
    world.turn_to("2026-07-05T09:00:00Z").await;
    let approve = format!(
        "conversions/{}/approve",
        first["conversion"].as_str().unwrap()
    );
    for _ in 0..2 {
        assert_eq!(
            world.post(&approve, json!({})).await.body["status"],
            "approved"
        );
    }
    assert_eq!(world.balance("anna").await["on_hold"], "2.00");
    let reject = format!(
        "conversions/{}/reject",
        first["conversion"].as_str().unwrap()
    );
    let late = world.post(&reject, json!({"reason": "fraud"})).await;
    assert_eq!(result(&late), (409, "not_pending"));
    world.turn_to("2026-07-06T01:00:00Z").await;
    assert_eq!(world.balance("anna").await["in_payout"], "2.00");

    let second = world.postback(sale("A-2")).await.body;
    let at = |what: &str| {
        format!(
            "conversions/{}/{what}",
            second["conversion"].as_str().unwrap()
        )
    };
    let why = json!({"reason": "duplicate"});
    assert_eq!(
        world.post(&at("reject"), why.clone()).await.body["status"],
        "rejected"
    );
    assert_eq!(
        world.post(&at("reopen"), why).await.body["status"],
        "pending"
    );
}

#[tokio::test]
async fn money_waits_for_its_hold_its_minimum_and_its_pay_day() {
    let world = World::with_shop(START).await;
    let hold = json!({"hold_days": 10});
    assert_eq!(world.patch("programs/shoes", 1, hold).await.status, 200);
    let terms = json!({"payout": {"minimum": {"EUR": "5"}, "schedule": "monthly"}});
    assert_eq!(world.patch("affiliates/anna", 1, terms).await.status, 200);
    let click_id = world.click("anna-shoes").await;
    let sale = |order: &str, amount: &str| json!({"click_id": click_id, "order_id": order, "amount": amount});
    world.postback(sale("A-1", "49.90")).await;

    world.turn_to("2026-07-11T02:00:00Z").await;
    assert_eq!(
        brief(&world.balance("anna").await),
        ["4.99", "0.00", "0.00", "0.00"]
    );
    world.turn_to("2026-07-12T02:00:00Z").await;
    let balance = world.balance("anna").await;
    assert_eq!(balance["payable"], "4.99");
    assert_eq!(
        balance["held"],
        json!([{"reason": "below_minimum", "amount": "4.99"}])
    );

    // One cent more reaches the minimum; it is paid by the run of the month's last day, though
    // nothing else comes.
    world.postback(sale("A-2", "0.10")).await;
    world.turn_to("2026-07-30T23:00:00Z").await;
    assert_eq!(world.balance("anna").await["next_payout"], "2026-07-31");
    // On the pay day itself nothing holds it, and after midnight its run is still to be made.
    world.turn_to("2026-07-31T22:00:00Z").await;
    assert_eq!(world.balance("anna").await["held"], json!([]));
    for now in ["2026-07-31T23:00:00Z", "2026-08-01T00:30:00Z"] {
        world.turn_to(now).await;
        let balance = world.balance("anna").await;
        assert_eq!(balance["payable"], "5.00", "{now}");
        assert_eq!(balance["next_payout"], "2026-07-31", "{now}");
    }
    world.turn_to("2026-08-01T01:00:00Z").await;
    let balance = world.balance("anna").await;
    assert_eq!(brief(&balance), ["0.00", "0.00", "5.00", "0.00"]);
    assert_eq!(balance["next_payout"], "2026-08-31");
}

#[tokio::test]
async fn details_that_come_late_set_free_what_was_carried() {
    let world = World::with_shop(START).await;
    let none = json!({"payout": null});
    assert_eq!(world.patch("affiliates/anna", 1, none).await.status, 200);
    let click_id = world.click("anna-shoes").await;
    world
        .postback(json!({"click_id": click_id, "order_id": "A-1", "amount": "100"}))
        .await;
    world.turn_to("2026-07-04T02:00:00Z").await;
    let balance = world.balance("anna").await;
    assert_eq!(
        balance["held"],
        json!([{"reason": "no_payout_details", "amount": "10.00"}])
    );

    let details = json!({"payout": {"currency": "EUR", "method": "manual", "schedule": "daily"}});
    assert_eq!(world.patch("affiliates/anna", 2, details).await.status, 200);
    world.turn_to("2026-07-05T02:00:00Z").await;
    assert_eq!(world.balance("anna").await["in_payout"], "10.00");
}

/// The details come while the run that brings the money is still to be made.
#[tokio::test]
async fn details_that_come_before_a_late_run_set_free_what_it_carries() {
    let world = World::with_shop(START).await;
    let none = json!({"payout": null});
    assert_eq!(world.patch("affiliates/anna", 1, none).await.status, 200);
    let click_id = world.click("anna-shoes").await;
    world
        .postback(json!({"click_id": click_id, "order_id": "A-1", "amount": "100"}))
        .await;
    // Half an hour after midnight: the run is due at one.
    let day = &START[..10];
    let next: jiff::civil::Date = day.parse().unwrap();
    let next = next.tomorrow().unwrap();
    world.turn_to(&format!("{next}T00:30:00Z")).await;
    let details = json!({"payout": {"currency": "EUR", "method": "manual", "schedule": "daily"}});
    assert_eq!(world.patch("affiliates/anna", 2, details).await.status, 200);
    world.turn_to(&format!("{next}T02:00:00Z")).await;
    assert_eq!(world.balance("anna").await["payable"], "10.00");
    let day_after = next.tomorrow().unwrap();
    world.turn_to(&format!("{day_after}T02:00:00Z")).await;
    assert_eq!(world.balance("anna").await["in_payout"], "10.00");
}

/// Somebody changes its name again and again, by a program of its own.
#[tokio::test]
async fn an_affiliate_with_hundreds_of_versions_is_settled_by_a_few_reads() {
    let world = World::with_shop(START).await;
    let click_id = world.click("anna-shoes").await;
    let sale = |order: &str| json!({"click_id": click_id, "order_id": order, "amount": "100"});
    let mut version = 0;
    let mut change = async |patch: Value| {
        version += 1;
        let made = world.patch("affiliates/anna", version, patch).await;
        assert_eq!(made.status, 200, "{made:?}");
    };
    // What the run reads of its affiliates, in read units.
    let units = async |day: &str| {
        world.stack.table.clear_calls();
        let done = run(&world, day).await;
        let calls = world.stack.table.calls().into_iter();
        let reads = calls.filter(|call| call.key_prefix == "affiliate#");
        (done, reads.map(|call| call.units_tenths).sum::<u64>() / 10)
    };

    world.postback(sale("A-1")).await;
    for number in 0..300 {
        change(json!({"name": format!("Anna {number}")})).await;
    }
    world.turn_to("2026-07-02T00:00:00Z").await;
    change(json!({"name": "Anna"})).await;
    let (done, reads) = units("2026-07-01").await;
    assert_eq!((&done["payouts"], reads), (&json!(1), 2), "{done}");

    // Suspended at the day's end, and a hundred changes later active again.
    world.postback(sale("A-2")).await;
    change(json!({"status": "suspended"})).await;
    world.turn_to("2026-07-03T00:00:00Z").await;
    for number in 0..100 {
        change(json!({"status": "active", "name": format!("Anna {number}")})).await;
    }
    let (done, reads) = units("2026-07-02").await;
    assert_eq!(done["held"], 1, "{done}");
    assert!(reads < 20, "{reads}");
}

/// A hundred tasks, four threads, one barrier, and one answer in ten lost after the write.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_posts_at_once_pay_once() {
    let world = Arc::new(World::with_shop(START).await);
    let click_id = world.click("anna-shoes").await;
    world.stack.table.set_faults(
        Faults::seeded(7)
            .with(Fault::AnswerLost, 100)
            .with(Fault::Conflict, 50),
    );
    let barrier = Arc::new(Barrier::new(100));
    let mut tasks = Vec::new();
    for _ in 0..100 {
        let (world, barrier, click_id) =
            (Arc::clone(&world), Arc::clone(&barrier), click_id.clone());
        tasks.push(tokio::spawn(async move {
            barrier.wait().await;
            let sale = json!({"click_id": click_id, "order_id": "A-1", "amount": "10"});
            loop {
                let answer = world.postback(sale.clone()).await;
                if answer.status != 503 {
                    return answer;
                }
            }
        }));
    }
    let mut created = 0;
    for task in tasks {
        let answer = task.await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        created += usize::from(answer.body["result"] == "created");
    }
    let injected = world.stack.table.faults_injected();
    assert!(
        injected[&Fault::AnswerLost] > 0 && injected[&Fault::Conflict] > 0,
        "{injected:?}"
    );
    world.stack.table.set_faults(Faults::none());
    assert_eq!(created, 1);
    assert_eq!(
        brief(&world.balance("anna").await),
        ["1.00", "0.00", "0.00", "0.00"]
    );
    world.turn_to("2026-07-02T01:00:00Z").await;
    assert_eq!(world.balance("anna").await["in_payout"], "1.00");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn refunds_at_once_never_take_back_more_than_the_order() {
    let world = Arc::new(World::with_shop(START).await);
    let click_id = world.click("anna-shoes").await;
    world
        .postback(json!({"click_id": click_id, "order_id": "A-1", "amount": "10"}))
        .await;
    let barrier = Arc::new(Barrier::new(8));
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let (world, barrier) = (Arc::clone(&world), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait().await;
                let part =
                    json!({"order_id": "A-1", "reversal_id": number.to_string(), "amount": "3"});
                loop {
                    let answer = world.reversal(part.clone()).await;
                    if answer.status != 503 {
                        return answer.status;
                    }
                }
            })
        })
        .collect();
    let mut statuses = Vec::new();
    for task in tasks {
        statuses.push(task.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 422, 422, 422, 422, 422]);
    assert_eq!(
        brief(&world.balance("anna").await),
        ["0.10", "0.00", "0.00", "0.90"]
    );
}

#[tokio::test]
async fn every_goal_at_once_passes_over_what_is_taken_back_already() {
    let world = World::with_shop(START).await;
    let goals = json!({"goals": [{"name": "sale"}, {"name": "renewal"}]});
    assert_eq!(world.patch("programs/shoes", 1, goals).await.status, 200);
    let click_id = world.click("anna-shoes").await;
    for goal in ["sale", "renewal"] {
        let result = json!({"click_id": click_id, "order_id": "A-1", "goal": goal, "amount": "10"});
        assert_eq!(world.postback(result).await.status, 200);
    }
    let unclear = world.reversal(json!({"order_id": "A-1"})).await;
    assert_eq!(result(&unclear), (422, "goal_required"));
    let sale = json!({"order_id": "A-1", "goal": "sale", "reversal_id": "r", "amount": "10"});
    assert_eq!(world.reversal(sale).await.status, 200);
    let all = world
        .reversal(json!({"order_id": "A-1", "goal": "*"}))
        .await;
    assert_eq!(result(&all), (200, "created"));
    assert_eq!(all.body["reversed"].as_array().unwrap().len(), 1);
    assert_eq!(all.body["remaining"], "0.00");
    assert_eq!(
        brief(&world.balance("anna").await),
        ["0.00", "0.00", "0.00", "2.00"]
    );
}

#[tokio::test]
async fn what_remains_of_every_goal_is_told_in_the_currencys_digits() {
    let world = World::with_shop(START).await;
    for (program, currency, amount, part, left) in [
        ("euros", "EUR", "10", "4", ["12.00", "0.00"]),
        ("yen", "JPY", "1000", "400", ["1200", "0"]),
        ("dinars", "KWD", "1", "0.4", ["1.200", "0.000"]),
    ] {
        let made = json!({
            "id": program, "merchant": "shop", "name": program, "currency": currency,
            "destination": "https://shop.example/", "status": "active", "override": "a test",
            "goals": [{"name": "sale"}, {"name": "renewal"}],
            "commission": [{"type": "percent", "percent": "10"}],
        });
        world.made("programs", made).await;
        let link = json!({"slug": program, "program": program, "affiliate": "anna"});
        world.made("links", link).await;
        let click_id = world.click(program).await;
        for goal in ["sale", "renewal"] {
            let result = json!({
                "click_id": click_id, "order_id": program, "goal": goal, "amount": amount,
            });
            assert_eq!(world.postback(result).await.status, 200);
        }
        let part = json!({"order_id": program, "goal": "*", "reversal_id": "r", "amount": part});
        let rest = json!({"order_id": program, "goal": "*"});
        for (reversal, left) in [
            (&part, left[0]),
            (&part, left[0]),
            (&rest, left[1]),
            (&rest, left[1]),
        ] {
            let answer = world.reversal(reversal.clone()).await;
            assert_eq!(
                (answer.status, &answer.body["remaining"]),
                (200, &json!(left)),
                "{answer:?}"
            );
        }
    }
}

async fn entries(world: &World) -> Vec<String> {
    let list = world.get("affiliates/anna/entries").await;
    assert_eq!(list.status, 200, "{list:?}");
    let items = list.body["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| {
            let text = |name: &str| item[name].as_str().unwrap();
            format!("{} {} {}", text("day"), text("kind"), text("amount"))
        })
        .collect()
}

#[tokio::test]
async fn lines_of_no_day_at_all_are_none() {
    let world = World::with_shop(START).await;
    let click_id = world.click("anna-shoes").await;
    let sale = json!({"click_id": click_id, "order_id": "A-1", "amount": "10"});
    assert_eq!(world.postback(sale).await.status, 200);
    for (from, to, count) in [
        ("2026-07-01", "2026-07-02", 1),
        ("2026-07-01", "2026-07-01", 0),
        ("2026-08-01", "2026-07-01", 0),
    ] {
        let list = world
            .get(&format!("affiliates/anna/entries?from={from}&to={to}"))
            .await;
        assert_eq!(list.status, 200, "{from} {to}: {list:?}");
        assert_eq!(list.body["items"].as_array().unwrap().len(), count);
    }
}

/// Half an hour after midnight yesterday's bucket still takes lines, and days without a bucket
/// would take one. Whoever counted the days before has counted them for good.
#[tokio::test]
async fn what_became_payable_in_the_past_is_booked_today() {
    let world = World::with_shop(START).await;
    let click_id = world.click("anna-shoes").await;
    let sale = |order: &str| json!({"click_id": click_id, "order_id": order, "amount": "10"});
    assert_eq!(world.postback(sale("A-1")).await.status, 200);
    let manual = json!({"approval": "manual"});
    assert_eq!(world.patch("programs/shoes", 1, manual).await.status, 200);
    let pending = world.postback(sale("A-0")).await.body;
    let auto = json!({"approval": "auto"});
    assert_eq!(world.patch("programs/shoes", 2, auto).await.status, 200);
    world.turn_to("2026-07-02T00:30:00Z").await;

    let approve = format!(
        "conversions/{}/approve",
        pending["conversion"].as_str().unwrap()
    );
    assert_eq!(world.post(&approve, json!({})).await.status, 200);
    let mut late = sale("A-2");
    late["occurred_at"] = json!("2026-07-01T23:00:00Z");
    assert_eq!(result(&world.postback(late).await), (200, "created"));
    let booked = [
        "2026-07-01 earned 1.00",
        "2026-07-02 earned 1.00",
        "2026-07-02 earned 1.00",
    ];
    assert_eq!(entries(&world).await, booked);
    for (id, payable_on) in [("b-1", "2026-07-01"), ("b-2", "2026-06-20")] {
        let bonus = json!({
            "id": id, "affiliate": "anna", "kind": "bonus", "currency": "EUR", "amount": "2",
            "reason": "a test", "payable_on": payable_on,
        });
        let made = world.made("adjustments", bonus).await;
        assert_eq!(made["payable_on"], "2026-07-02");
    }
}

#[tokio::test]
async fn a_refund_that_comes_before_its_sale_waits_for_it() {
    let world = World::with_shop(START).await;
    for (order, refund) in [
        ("A-1", json!({"order_id": "A-1"})),
        (
            "A-2",
            json!({"order_id": "A-2", "goal": "sale", "reversal_id": "r", "amount": "4"}),
        ),
        (
            "A-3",
            json!({"order_id": "A-3", "reversal_id": "r", "amount": "11"}),
        ),
    ] {
        for _ in 0..2 {
            assert_eq!(
                result(&world.reversal(refund.clone()).await),
                (404, "order_unknown")
            );
        }
        let click_id = world.click("anna-shoes").await;
        let sale = json!({"click_id": click_id, "order_id": order, "amount": "10"});
        for word in ["created", "recorded_before"] {
            assert_eq!(result(&world.postback(sale.clone()).await), (200, word));
        }
        let known = if order == "A-3" {
            (422, "reversal_exceeds")
        } else {
            (200, "recorded_before")
        };
        assert_eq!(result(&world.reversal(refund).await), known, "{order}");
    }
    // 0.00 of the first order, 0.60 of the second, 1.00 of the third.
    assert_eq!(
        brief(&world.balance("anna").await),
        ["1.60", "0.00", "0.00", "1.40"]
    );
    let refusals = world.get("refusals?merchant=shop").await.body;
    assert_eq!(refusals["items"].as_array().unwrap().len(), 1);
    assert_eq!(refusals["items"][0]["code"], "reversal_exceeds");
    assert_eq!(refusals["items"][0]["affiliate"], "anna");
}

#[tokio::test]
async fn a_waiting_refund_is_of_one_goal_and_of_thirty_days() {
    let world = World::with_shop(START).await;
    let goals = json!({"goals": [{"name": "sale"}, {"name": "renewal"}]});
    assert_eq!(world.patch("programs/shoes", 1, goals).await.status, 200);
    world.reversal(json!({"order_id": "A-1"})).await;
    world.reversal(json!({"order_id": "old"})).await;
    for (goal, left) in [("sale", "0.00"), ("renewal", "1.00")] {
        let click_id = world.click("anna-shoes").await;
        let sale = json!({"click_id": click_id, "order_id": "A-1", "goal": goal, "amount": "10"});
        assert_eq!(world.postback(sale).await.status, 200);
        assert_eq!(brief(&world.balance("anna").await)[0], left, "{goal}");
    }
    world.turn_to("2026-08-01T10:00:00Z").await;
    let click_id = world.click("anna-shoes").await;
    let sale = json!({"click_id": click_id, "order_id": "old", "amount": "10"});
    assert_eq!(world.postback(sale).await.status, 200);
    assert_eq!(brief(&world.balance("anna").await)[0], "1.00");
}

#[tokio::test]
async fn an_order_is_amended_up_and_down_at_the_terms_it_was_made_under() {
    let world = World::with_shop(START).await;
    let click_id = world.click("anna-shoes").await;
    let sale = json!({"click_id": click_id, "order_id": "A-1", "amount": "50", "meta1": "note"});
    let id = world.postback(sale.clone()).await.body["conversion"].clone();
    let path = format!("conversions/{}", id.as_str().unwrap());
    assert_eq!(world.get(&path).await.body["meta"]["meta1"], "note");
    let percent = json!({"commission": [{"type": "percent", "percent": "50"}]});
    assert_eq!(world.patch("programs/shoes", 1, percent).await.status, 200);
    world.turn_to("2026-07-02T01:00:00Z").await;

    let amend = format!("{path}/amend");
    let up = json!({"id": "a-1", "amount": "80", "reason": "one more pair"});
    for _ in 0..2 {
        let amended = world.post(&amend, up.clone()).await;
        assert_eq!(
            (amended.status, amended.body["amount"].as_str()),
            (200, Some("80.00"))
        );
    }
    let mut other = up.clone();
    other["amount"] = json!("81");
    assert_eq!(result(&world.post(&amend, other).await), (409, "exists"));
    assert_eq!(
        world
            .reversal(json!({"order_id": "A-1", "reversal_id": "r", "amount": "20"}))
            .await
            .status,
        200
    );
    let below = json!({"id": "a-2", "amount": "19.99", "reason": "x"});
    assert_eq!(
        result(&world.post(&amend, below).await),
        (422, "amend_below_reversed")
    );
    let down = json!({"id": "a-3", "amount": "30", "reason": "returned in the shop"});
    assert_eq!(world.post(&amend, down).await.status, 200);
    // 10 % of the 10.00 that are left; paid were 5.00.
    let seen = entries(&world).await;
    assert_eq!(
        seen,
        [
            "2026-07-01 earned 5.00",
            "2026-07-01 paid -5.00",
            "2026-07-02 reversed -2.00",
            "2026-07-02 earned 3.00",
            "2026-07-02 reversed -5.00",
        ]
    );
    assert_eq!(
        brief(&world.balance("anna").await),
        ["-4.00", "0.00", "5.00", "7.00"]
    );
    // The merchant's repeated post is still the order that it was.
    assert_eq!(
        result(&world.postback(sale).await),
        (200, "recorded_before")
    );
}

/// A shop that asks again gets the first answer again, whatever was decided and taken back since;
/// and whoever decided is named in the log of changes, with the reason.
#[tokio::test]
async fn the_first_answer_is_repeated_for_ever_and_decisions_are_logged() {
    let world = World::with_shop(START).await;
    let manual = json!({"approval": "manual"});
    assert_eq!(world.patch("programs/shoes", 1, manual).await.status, 200);
    let click_id = world.click("anna-shoes").await;
    let sale = json!({"click_id": click_id, "order_id": "A-1", "amount": "100"});
    let mut first = world.postback(sale.clone()).await;
    assert_eq!(first.body["status"], "pending");
    first.body["result"] = json!("recorded_before");

    let id = first.body["conversion"].as_str().unwrap();
    let step = |word: &str| format!("conversions/{id}/{word}");
    for (word, body) in [
        ("reject", json!({"reason": "looks odd"})),
        ("reopen", json!({"reason": "is fine"})),
        ("approve", json!({})),
        (
            "amend",
            json!({"id": "m", "amount": "50", "reason": "half came back"}),
        ),
    ] {
        let done = world.post(&step(word), body).await;
        assert_eq!(done.status, 200, "{word}: {done:?}");
        assert_eq!(world.postback(sale.clone()).await, first, "{word}");
    }
    world.reversal(json!({"order_id": "A-1"})).await;
    assert_eq!(world.postback(sale.clone()).await, first);

    let client = world.stack.table.client("setup");
    let core = clickledger::tables::names().core;
    let lines = client.scan().table_name(core).send().await.unwrap();
    let mut logged: Vec<String> = lines
        .items
        .unwrap()
        .iter()
        .filter(|item| item["pk"].as_s().unwrap().starts_with("AUDIT#"))
        .filter(|item| item["about"].as_s().unwrap().contains("A-1"))
        .map(|item| {
            let reason = item.get("reason").map_or("", |text| text.as_s().unwrap());
            format!("{} {reason}", item["what"].as_s().unwrap())
        })
        .collect();
    logged.sort();
    assert_eq!(
        logged,
        [
            "amend conversion half came back",
            "approve conversion ",
            "reject conversion looks odd",
            "reopen conversion is fine",
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refund_and_its_sale_that_arrive_at_once_always_meet() {
    let world = Arc::new(World::with_shop(START).await);
    let orders = 60;
    let mut tasks = Vec::new();
    for number in 0..orders {
        let order = format!("A-{number}");
        let click_id = world.click("anna-shoes").await;
        let barrier = Arc::new(Barrier::new(2));
        let sale = json!({"click_id": click_id, "order_id": order, "amount": "10"});
        let refund = json!({"order_id": order, "reversal_id": "r", "amount": "10"});
        for (is_sale, body) in [(true, sale), (false, refund)] {
            let (world, barrier) = (Arc::clone(&world), Arc::clone(&barrier));
            tasks.push(tokio::spawn(async move {
                barrier.wait().await;
                loop {
                    let answer = if is_sale {
                        world.postback(body.clone()).await
                    } else {
                        world.reversal(body.clone()).await
                    };
                    if answer.status != 503 {
                        return answer.status;
                    }
                }
            }));
        }
    }
    let mut unknown = 0;
    for task in tasks {
        let status = task.await.unwrap();
        assert!(matches!(status, 200 | 404), "{status}");
        unknown += usize::from(status == 404);
    }
    println!("{unknown} of {orders} refunds came before their sale");
    assert_eq!(
        brief(&world.balance("anna").await),
        ["0.00", "0.00", "0.00", "60.00"]
    );
}

#[tokio::test]
async fn an_order_without_credit_is_not_amended_and_is_credited_as_it_was_posted() {
    let world = World::with_shop(START).await;
    let mut sale = json!({"order_id": "A-1", "program": "shoes", "amount": "50"});
    let id = world.postback(sale.clone()).await.body["conversion"].clone();
    let amend = format!("conversions/{}/amend", id.as_str().unwrap());
    let up = json!({"id": "a-1", "amount": "80", "reason": "one more pair"});
    assert_eq!(
        result(&world.post(&amend, up.clone()).await),
        (409, "not_amendable")
    );
    assert_eq!(
        world
            .reversal(json!({"order_id": "A-1", "reversal_id": "r", "amount": "20"}))
            .await
            .status,
        200
    );
    sale["click_id"] = json!(world.click("anna-shoes").await);
    assert_eq!(result(&world.postback(sale).await), (200, "created"));
    assert_eq!(
        brief(&world.balance("anna").await),
        ["3.00", "0.00", "0.00", "0.00"]
    );
    assert_eq!(world.post(&amend, up).await.status, 200);
    assert_eq!(
        brief(&world.balance("anna").await),
        ["6.00", "0.00", "0.00", "0.00"]
    );
}
