//! Budgets: what a program pays at most, in all or for each affiliate or customer.

use std::sync::Arc;

use clickledger::embedded::{Fault, Faults};
use serde_json::{Value, json};
use tests::World;
use tokio::sync::Barrier;

const START: &str = "2026-07-01T10:00:00Z";

#[tokio::test]
async fn a_budget_is_never_overshot_however_many_orders_come_at_once() {
    let world = World::with_shop(START).await;
    let caps = json!({"caps": [{"per": "program", "period": "day", "amount": "12.50"}]});
    assert_eq!(world.patch("programs/shoes", 1, caps).await.status, 200);
    let click = world.click("anna-shoes").await;
    let world = Arc::new(world);
    let barrier = Arc::new(Barrier::new(64));
    let mut senders = Vec::new();
    for order in 0..64 {
        let (world, barrier, click) = (world.clone(), barrier.clone(), click.clone());
        senders.push(tokio::spawn(async move {
            barrier.wait().await;
            let sale = json!({"click_id": click, "order_id": format!("A-{order}"), "amount": "10"});
            loop {
                let answer = world.postback(sale.clone()).await;
                if answer.status != 503 {
                    return answer.body["code"].as_str().unwrap_or("created").to_owned();
                }
            }
        }));
    }
    let mut answers = Vec::new();
    for sender in senders {
        answers.push(sender.await.unwrap());
    }
    let of = |word: &str| answers.iter().filter(|answer| *answer == word).count();
    assert_eq!((of("created"), of("cap_reached")), (12, 52));
    assert_eq!(world.balance("anna").await["on_hold"], "12.00");

    // What was recorded stays so, and the rest of the budget takes what still fits.
    let taken = world.get("conversions?affiliate=anna").await.body["items"][0]["order_id"].clone();
    let again = json!({"click_id": click, "order_id": taken, "amount": "10"});
    assert_eq!(world.earns(again).await, "1.00");
    let small = json!({"click_id": click, "order_id": "B-1", "amount": "5"});
    assert_eq!(world.earns(small).await, "0.50");
    let refusals = world.get("refusals?affiliate=anna&limit=200").await;
    assert_eq!(refusals.body["items"].as_array().unwrap().len(), 52);
    world.turn_to("2026-07-02T09:00:00Z").await;
    let next_day = json!({"click_id": click, "order_id": "B-2", "amount": "10"});
    assert_eq!(world.earns(next_day).await, "1.00");
}

/// Orders by one click, each with its amount and what it is to earn, or why it earns nothing.
async fn earn_in_turn(world: &World, click: &str, orders: &[(&str, &str, &str)]) {
    for (order, amount, expected) in orders {
        let sale = json!({"click_id": click, "order_id": order, "amount": amount});
        assert_eq!(world.earns(sale).await, *expected, "{order}");
    }
}

#[tokio::test]
async fn a_budget_is_used_up_to_its_last_cent_whatever_the_orders_sizes() {
    let world = World::with_shop(START).await;
    let caps = json!({"caps": [{"amount": "10.00", "count": 9}]});
    assert_eq!(world.patch("programs/shoes", 1, caps).await.status, 200);
    let click = world.click("anna-shoes").await;
    let sale =
        |order: &str, amount: &str| json!({"click_id": click, "order_id": order, "amount": amount});
    // No lane of the budget has as much as the first of these by itself.
    earn_in_turn(
        &world,
        &click,
        &[
            ("A-1", "61", "6.10"),
            ("A-2", "40", "cap_reached"),
            ("A-2", "38.90", "3.89"),
            ("A-3", "0.20", "cap_reached"),
            ("A-3", "0.10", "0.01"),
            ("A-4", "0.10", "cap_reached"),
            ("A-5", "0", "0.00"),
        ],
    )
    .await;
    // Of orders too: four were taken, and five are left wherever they come.
    for order in 0..5 {
        let order = format!("B-{order}");
        assert_eq!(world.earns(sale(&order, "0")).await, "0.00", "{order}");
    }
    assert_eq!(world.earns(sale("B-9", "0")).await, "cap_reached");
    // Less than was taken leaves nothing, more leaves the difference.
    for (version, amount, order, expected) in [
        (2, "5.00", "C-1", "cap_reached"),
        (3, "10.50", "C-1", "0.50"),
        (4, "10.50", "C-2", "cap_reached"),
    ] {
        let caps = json!({"caps": [{"amount": amount}]});
        let changed = world.patch("programs/shoes", version, caps).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        assert_eq!(world.earns(sale(order, "5")).await, expected, "{amount}");
    }
}

/// Gives the program other budgets.
async fn budget(world: &World, version: u32, caps: Value) {
    let changed = world.patch("programs/shoes", version, json!({ "caps": caps }));
    let changed = changed.await;
    assert_eq!(changed.status, 200, "{changed:?}");
}

/// How many of the orders `<name>-0` to `<name>-15` are taken, which meet every lane; the others
/// find no room.
async fn taken_of_sixteen(world: &World, click: &str, name: &str, amount: &str) -> usize {
    let mut taken = 0;
    for number in 0..16 {
        let order = format!("{name}-{number}");
        let sale = json!({"click_id": click, "order_id": order, "amount": amount});
        match world.earns(sale).await.as_str() {
            "cap_reached" => {}
            earned => {
                assert!(earned.contains('.'), "{order}: {earned}");
                taken += 1;
            }
        }
    }
    taken
}

/// A program that had 10.00, of which one order took 6.10: what several lanes had.
async fn with_most_taken() -> (World, String) {
    let world = World::with_shop(START).await;
    budget(&world, 1, json!([{"id": "c1", "amount": "10.00"}])).await;
    let click = world.click("anna-shoes").await;
    earn_in_turn(&world, &click, &[("A-1", "61", "6.10")]).await;
    (world, click)
}

#[tokio::test]
async fn a_budget_that_is_lowered_gives_what_it_has_left_and_no_more() {
    let (world, click) = with_most_taken().await;
    budget(&world, 2, json!([{"amount": "8.00"}])).await;
    assert_eq!(taken_of_sixteen(&world, &click, "B", "5.00").await, 3);
    assert_eq!(taken_of_sixteen(&world, &click, "C", "4.10").await, 0);
    assert_eq!(taken_of_sixteen(&world, &click, "D", "0.10").await, 16);
    assert_eq!(taken_of_sixteen(&world, &click, "E", "2.50").await, 0);
    assert_eq!(taken_of_sixteen(&world, &click, "F", "2.40").await, 1);
    assert_eq!(taken_of_sixteen(&world, &click, "G", "0.10").await, 0);
    assert_eq!(world.balance("anna").await["on_hold"], "8.00");
}

#[tokio::test]
async fn a_budget_that_is_lowered_below_what_it_gave_gives_nothing_until_it_is_raised_above() {
    let (world, click) = with_most_taken().await;
    budget(&world, 2, json!([{"amount": "5.00"}])).await;
    assert_eq!(taken_of_sixteen(&world, &click, "B", "6.00").await, 0);
    assert_eq!(taken_of_sixteen(&world, &click, "B", "0.10").await, 0);
    // What earns nothing takes nothing.
    assert_eq!(taken_of_sixteen(&world, &click, "C", "0").await, 16);
    budget(&world, 3, json!([{"amount": "6.00"}])).await;
    assert_eq!(taken_of_sixteen(&world, &click, "D", "0.10").await, 0);
    budget(&world, 4, json!([{"amount": "6.50"}])).await;
    assert_eq!(taken_of_sixteen(&world, &click, "E", "3.00").await, 1);
    assert_eq!(taken_of_sixteen(&world, &click, "F", "1.10").await, 0);
    assert_eq!(taken_of_sixteen(&world, &click, "G", "1.00").await, 1);
    budget(&world, 5, json!([{"amount": "11.00"}])).await;
    assert_eq!(taken_of_sixteen(&world, &click, "H", "10.00").await, 4);
    assert_eq!(taken_of_sixteen(&world, &click, "I", "5.10").await, 0);
    assert_eq!(taken_of_sixteen(&world, &click, "J", "5.00").await, 1);
    assert_eq!(world.balance("anna").await["on_hold"], "11.00");
}

#[tokio::test]
async fn a_budget_of_orders_is_lowered_and_raised_as_one_of_money() {
    let world = World::with_shop(START).await;
    let click = world.click("anna-shoes").await;
    budget(&world, 1, json!([{"count": 40}])).await;
    for order in ["A-1", "A-2", "A-3", "A-4"] {
        earn_in_turn(&world, &click, &[(order, "1", "0.10")]).await;
    }
    for (version, caps, name, taken) in [
        (2, json!([{"count": 4}]), "B", 0),
        (3, json!([{"count": 3}]), "C", 0),
        (4, json!([{"count": 7, "amount": "0.60"}]), "D", 2),
        (5, json!([{"count": 7}]), "E", 1),
        (6, json!([{"amount": "0.90"}]), "F", 2),
        (7, json!([{"count": 12}]), "G", 3),
    ] {
        budget(&world, version, caps).await;
        let came = taken_of_sixteen(&world, &click, name, "1").await;
        assert_eq!(came, taken, "{name}");
    }
    // A program that changes in other ways goes on where it was.
    let other = json!({"name": "Boots"});
    assert_eq!(world.patch("programs/shoes", 8, other).await.status, 200);
    assert_eq!(taken_of_sixteen(&world, &click, "H", "1").await, 0);
}

#[tokio::test]
async fn orders_of_older_terms_have_what_a_newer_budget_has_once_it_was_dealt() {
    let (world, click) = with_most_taken().await;
    world.turn_to("2026-07-01T12:00:00Z").await;
    budget(&world, 2, json!([{"amount": "7.00"}])).await;
    let of = |order: &str, amount: &str, at: &str| json!({"click_id": click, "order_id": order, "amount": amount, "occurred_at": at});
    let (first, second) = ("2026-07-01T11:00:00Z", "2026-07-01T12:00:00Z");
    for (order, amount, at, earned) in [
        ("B-1", "5", first, "0.50"),
        ("B-2", "3", second, "0.30"),
        ("B-3", "5", first, "cap_reached"),
        ("B-4", "1", first, "0.10"),
        ("B-5", "0.10", second, "cap_reached"),
        ("B-6", "0.10", first, "cap_reached"),
    ] {
        assert_eq!(world.earns(of(order, amount, at)).await, earned, "{order}");
    }
    world.turn_to("2026-07-01T14:00:00Z").await;
    budget(&world, 3, json!([{"amount": "7.50"}])).await;
    let third = "2026-07-01T14:00:00Z";
    for (order, amount, at, earned) in [
        ("C-1", "1", second, "cap_reached"),
        ("C-2", "1", third, "0.10"),
        ("C-3", "1", second, "0.10"),
        ("C-4", "3", first, "0.30"),
        ("C-5", "0.10", second, "cap_reached"),
        ("C-6", "0.10", third, "cap_reached"),
    ] {
        assert_eq!(world.earns(of(order, amount, at)).await, earned, "{order}");
    }
}

/// Sends all of these at once, each again for as long as nothing is known of it; how many are taken.
async fn taken_at_once(world: World, sales: Vec<Value>) -> (World, usize) {
    let world = Arc::new(world);
    let barrier = Arc::new(Barrier::new(sales.len()));
    let senders: Vec<_> = sales
        .into_iter()
        .map(|sale| {
            let (world, barrier) = (world.clone(), barrier.clone());
            tokio::spawn(async move {
                barrier.wait().await;
                for _ in 0..40 {
                    let answer = world.postback(sale.clone()).await;
                    if answer.status == 503 {
                        continue;
                    }
                    let is_taken = answer.body["code"] != "cap_reached";
                    assert!(!is_taken || answer.status == 200, "{answer:?}");
                    return usize::from(is_taken);
                }
                panic!("{sale}: the outcome stays unknown");
            })
        })
        .collect();
    let mut taken = 0;
    for sender in senders {
        taken += sender.await.unwrap();
    }
    (Arc::into_inner(world).unwrap(), taken)
}

/// Answers are lost, and some of what was given up is applied when others have gone on.
fn troubles(seed: u64) -> Faults {
    Faults::seeded(seed)
        .with(Fault::AnswerLost, 60)
        .with(Fault::AppliedLater, 40)
        .with(Fault::LateRepeat, 40)
        .with(Fault::Conflict, 60)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn orders_that_come_at_once_after_a_change_have_all_that_is_left_and_no_more() {
    for (seed, amount, fit, earned) in [
        (1, "8.10", 8, "8.10"),
        (2, "5.00", 0, "6.10"),
        (3, "12.10", 24, "12.10"),
    ] {
        let (world, click) = with_most_taken().await;
        budget(&world, 2, json!([{ "amount": amount }])).await;
        world.stack.table.set_faults(troubles(seed));
        let sale = |number| json!({"click_id": click, "order_id": format!("B-{number}"), "amount": "2.50"});
        let (world, taken) = taken_at_once(world, (0..32).map(sale).collect()).await;
        world.stack.table.set_faults(Faults::none());
        assert_eq!(taken, fit, "{amount}");
        assert_eq!(world.balance("anna").await["on_hold"], earned);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn orders_of_two_versions_at_once_all_come_to_an_end_and_overshoot_neither_budget() {
    for (seed, is_dealt) in [(1, true), (2, false)] {
        let (world, click) = with_most_taken().await;
        world.turn_to("2026-07-01T12:00:00Z").await;
        budget(&world, 2, json!([{"amount": "8.10"}])).await;
        if is_dealt {
            earn_in_turn(&world, &click, &[("A-2", "2.50", "0.25")]).await;
        }
        world.stack.table.set_faults(troubles(seed));
        let sale = |number: usize| {
            let at = ["2026-07-01T11:00:00Z", "2026-07-01T12:00:00Z"][number % 2];
            json!({"click_id": click, "order_id": format!("B-{number}"), "amount": "2.50", "occurred_at": at})
        };
        let (world, taken) = taken_at_once(world, (0..32).map(sale).collect()).await;
        world.stack.table.set_faults(Faults::none());
        // 2.00 by the newer terms; by the older ones up to 3.90, while these are all that was dealt.
        let fit = if is_dealt { 7..=7 } else { 8..=15 };
        assert!(fit.contains(&taken), "{taken}");
        let (_, more) = taken_at_once(world, (32..48).map(sale).collect()).await;
        assert_eq!(more, 0);
    }
}

#[tokio::test]
async fn what_a_budget_gave_before_it_had_lanes_is_not_given_again() {
    let world = World::with_shop(START).await;
    budget(&world, 1, json!([{"id": "c1", "amount": "10.00"}])).await;
    // 9.00 for three orders, in the one item that there was.
    for (attribute, taken) in [("used", 900), ("count", 3)] {
        world.tamper("Q#shoes#c1#", "#", attribute, taken).await;
    }
    let click = world.click("anna-shoes").await;
    assert_eq!(taken_of_sixteen(&world, &click, "A", "10.10").await, 0);
    assert_eq!(taken_of_sixteen(&world, &click, "B", "3").await, 3);
    assert_eq!(taken_of_sixteen(&world, &click, "C", "1.10").await, 0);
    assert_eq!(taken_of_sixteen(&world, &click, "D", "1").await, 1);
    assert_eq!(taken_of_sixteen(&world, &click, "E", "0.10").await, 0);
}

#[tokio::test]
async fn what_an_older_release_takes_beside_us_is_not_given_again() {
    let (world, click) = with_most_taken().await;
    // 3.00 for two orders, which ask nothing of the lanes' room.
    for (attribute, taken) in [("used", 300), ("count", 2)] {
        world.tamper("Q#shoes#c1#", "#3", attribute, taken).await;
    }
    earn_in_turn(
        &world,
        &click,
        &[("B-1", "9.10", "cap_reached"), ("B-2", "9", "0.90")],
    )
    .await;
    assert_eq!(taken_of_sixteen(&world, &click, "C", "0.10").await, 0);
}

#[tokio::test]
async fn budgets_are_kept_for_each_affiliate_and_customer() {
    let world = World::with_shop(START).await;
    let bob = json!({"id": "bob", "name": "Bob", "email": "bob@example.com", "country": "DE"});
    world.made("affiliates", bob).await;
    world
        .made(
            "links",
            json!({"slug": "bob-shoes", "program": "shoes", "affiliate": "bob"}),
        )
        .await;
    let caps = json!({"caps": [
        {"per": "affiliate", "count": 2},
        {"per": "customer", "period": "month", "amount": "3.00"},
    ]});
    assert_eq!(world.patch("programs/shoes", 1, caps).await.status, 200);
    let (anna, bob) = (
        world.click("anna-shoes").await,
        world.click("bob-shoes").await,
    );
    let sale = |click: &str, order: &str, customer: &str| json!({"click_id": click, "customer_id": customer, "order_id": order, "amount": "20"});
    for (click, order, customer, expected) in [
        (&anna, "A-1", "c-1", "2.00"),
        (&anna, "A-2", "c-1", "cap_reached"),
        (&anna, "A-2", "c-2", "2.00"),
        (&anna, "A-3", "c-3", "cap_reached"),
        (&bob, "A-3", "c-3", "2.00"),
        (&anna, "A-1", "c-1", "2.00"),
    ] {
        assert_eq!(
            world.earns(sale(click, order, customer)).await,
            expected,
            "{order} {customer}"
        );
    }
    let unnamed = json!({"click_id": bob, "order_id": "A-9", "amount": "20"});
    assert_eq!(world.earns(unnamed).await, "customer_id_required");
    let much = json!({"click_id": bob, "customer_id": "c-9", "order_id": "A-9", "amount": "30.01"});
    assert_eq!(world.earns(much).await, "3.00");
    let more = json!({"click_id": bob, "customer_id": "c-8", "order_id": "A-8", "amount": "31"});
    assert_eq!(world.earns(more).await, "cap_reached");
}
