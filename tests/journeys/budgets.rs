//! Budgets: what a program pays at most, in all or for each affiliate or customer.

use std::sync::Arc;

use serde_json::{Value, json};
use tests::World;
use tokio::sync::Barrier;

const START: &str = "2026-07-01T10:00:00Z";

/// What an order earns, or why it does not.
async fn earns(world: &World, order: Value) -> String {
    let answer = world.postback(order).await;
    let amount = &answer.body["commissions"][0]["amount"];
    let code = &answer.body["code"];
    let text = amount.as_str().or(code.as_str());
    text.unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

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
    assert_eq!(earns(&world, again).await, "1.00");
    let small = json!({"click_id": click, "order_id": "B-1", "amount": "5"});
    assert_eq!(earns(&world, small).await, "0.50");
    let refusals = world.get("refusals?affiliate=anna&limit=200").await;
    assert_eq!(refusals.body["items"].as_array().unwrap().len(), 52);
    world.turn_to("2026-07-02T09:00:00Z").await;
    let next_day = json!({"click_id": click, "order_id": "B-2", "amount": "10"});
    assert_eq!(earns(&world, next_day).await, "1.00");
}

/// Orders by one click, each with its amount and what it is to earn, or why it earns nothing.
async fn earn_in_turn(world: &World, click: &str, orders: &[(&str, &str, &str)]) {
    for (order, amount, expected) in orders {
        let sale = json!({"click_id": click, "order_id": order, "amount": amount});
        assert_eq!(earns(world, sale).await, *expected, "{order}");
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
        assert_eq!(earns(&world, sale(&order, "0")).await, "0.00", "{order}");
    }
    assert_eq!(earns(&world, sale("B-9", "0")).await, "cap_reached");
    // Less than was taken leaves nothing, more leaves the difference.
    for (version, amount, order, expected) in [
        (2, "5.00", "C-1", "cap_reached"),
        (3, "10.50", "C-1", "0.50"),
        (4, "10.50", "C-2", "cap_reached"),
    ] {
        let caps = json!({"caps": [{"amount": amount}]});
        let changed = world.patch("programs/shoes", version, caps).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        assert_eq!(earns(&world, sale(order, "5")).await, expected, "{amount}");
    }
}

#[tokio::test]
async fn what_a_budget_gave_before_it_had_lanes_is_not_given_again() {
    let world = World::with_shop(START).await;
    let caps = json!({"caps": [{"id": "c1", "amount": "10.00"}]});
    assert_eq!(world.patch("programs/shoes", 1, caps).await.status, 200);
    // 9.00 for three orders, in the one item that there was.
    for (attribute, taken) in [("used", 900), ("count", 3)] {
        world.tamper("Q#shoes#c1#", "#", attribute, taken).await;
    }
    let click = world.click("anna-shoes").await;
    earn_in_turn(
        &world,
        &click,
        &[
            ("A-1", "10.10", "cap_reached"),
            ("A-1", "10", "1.00"),
            ("A-2", "0.10", "cap_reached"),
        ],
    )
    .await;
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
            earns(&world, sale(click, order, customer)).await,
            expected,
            "{order} {customer}"
        );
    }
    let unnamed = json!({"click_id": bob, "order_id": "A-9", "amount": "20"});
    assert_eq!(earns(&world, unnamed).await, "customer_id_required");
    let much = json!({"click_id": bob, "customer_id": "c-9", "order_id": "A-9", "amount": "30.01"});
    assert_eq!(earns(&world, much).await, "3.00");
    let more = json!({"click_id": bob, "customer_id": "c-8", "order_id": "A-8", "amount": "31"});
    assert_eq!(earns(&world, more).await, "cap_reached");
}
