use std::collections::BTreeSet;

use super::*;

/// Of the first week all that is odd (nothing, twice the same, half a cent), and a few others.
fn some_orders() -> Vec<Order> {
    let part = Part {
        days: Some(7),
        rows: None,
    };
    let mut orders = orders::read(None, part).unwrap();
    let repeated = orders.iter().filter(|order| order.is_repeat);
    let repeated: BTreeSet<String> = repeated.map(|order| order.id.clone()).collect();
    let is_half = |order: &Order| {
        let percent = Dealt::of(order.clone()).program.basis_points;
        order.cents * percent % 10_000 == 5_000
    };
    let mut place = 0;
    orders.retain(|order| {
        place += 1;
        let is_odd = order.cents == 0 || repeated.contains(&order.id) || is_half(order);
        is_odd || place % 12 == 0
    });
    orders
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oracle_foretells_what_real_orders_come_to() {
    let outcome = replay_of(some_orders()).await.unwrap();
    assert_eq!(outcome.differences, [], "{outcome}");
    let answers = &outcome.answers;
    assert!(answers.recorded_before > 0 && answers.worth_nothing > 0);
    assert!(answers.reversals_before > 0 && outcome.payouts > 0);
    // January and February, each for two payers.
    assert_eq!(outcome.sealed.len(), 4);
}
