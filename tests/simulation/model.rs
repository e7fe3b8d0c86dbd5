//! What ought to come of a world, reckoned by hand: it knows nothing of the product but its
//! promises.

use std::collections::BTreeMap;

use crate::cast::{Commission, Program, SHOE, Terms, basket};
use crate::history::DAY;

/// What an order of this amount may earn: one of these, by the step it stands on.
pub fn commissions(program: &Program, amount: i64) -> Vec<i64> {
    match program.commission {
        Commission::Steps { first, then, .. } => vec![first, then],
        Commission::Flat(flat) => vec![flat],
        Commission::Share(thousandths) => vec![share(program, amount, thousandths)],
        Commission::Ending { first, then, .. } => {
            vec![share(program, amount, first), share(program, amount, then)]
        }
        Commission::Lines { .. } => {
            let lines = by_line(program, amount);
            vec![lines.iter().map(|(_, _, earned)| earned).sum()]
        }
    }
}

fn share(program: &Program, amount: i64, thousandths: i64) -> i64 {
    let product = i128::from(amount) * i128::from(thousandths);
    rounded(program.rounding, product, 100_000)
}

/// Each line of an order's basket: its sku, what it comes to, and what it earns, rounded by itself.
fn by_line(program: &Program, amount: i64) -> Vec<(&'static str, i64, i64)> {
    let Commission::Lines { shoes, rest } = program.commission else {
        return Vec::new();
    };
    let lines = basket(amount).into_iter().map(|(sku, of_line)| {
        let thousandths = if sku == SHOE { shoes } else { rest };
        (sku, of_line, share(program, of_line, thousandths))
    });
    lines.collect()
}

/// What so many orders of an affiliate earn by steps, the least first; none where there are none.
pub fn by_steps(program: &Program, orders: usize) -> Option<Vec<i64>> {
    let Commission::Steps { first, from, then } = program.commission else {
        return None;
    };
    Some(
        (1..=orders)
            .map(|number| if number < from { first } else { then })
            .collect(),
    )
}

/// What is given back of a commission once this much of an order was taken back.
pub fn given_back(program: &Program, commission: i64, refunded: i64, amount: i64) -> i64 {
    let product = i128::from(commission) * i128::from(refunded);
    rounded(program.rounding, product, i128::from(amount))
}

/// The same where lines were taken back by their sku: the earlier of two lines first, each at what
/// it earned.
pub fn given_back_of_lines(
    program: &Program,
    amount: i64,
    taken: &BTreeMap<&'static str, i64>,
) -> i64 {
    let mut taken = taken.clone();
    let lines = by_line(program, amount).into_iter();
    let parts = lines.map(|(sku, of_line, earned)| {
        let left = taken.entry(sku).or_default();
        let part = of_line.min(*left);
        *left -= part;
        if part == 0 {
            return 0;
        }
        given_back(program, earned, part, of_line)
    });
    parts.sum()
}

/// What each of several touches gets of a commission that they share alike: what is left over goes
/// to the first of them, a unit each.
pub fn split(commission: i64, touches: usize) -> Vec<i64> {
    let count = i64::try_from(touches).expect("a journey is short");
    (0..count)
        .map(|place| commission / count + i64::from(place < commission % count))
        .collect()
}

fn rounded(rounding: &str, numerator: i128, denominator: i128) -> i64 {
    let (whole, rest) = (numerator / denominator, numerator % denominator);
    let up = match (rounding, (rest * 2).cmp(&denominator)) {
        ("down", _) | (_, std::cmp::Ordering::Less) => false,
        (_, std::cmp::Ordering::Greater) => true,
        ("half_up", _) => true,
        _ => whole % 2 == 1,
    };
    i64::try_from(whole + i128::from(up)).expect("an order of a world is small")
}

/// A change of what is owed, booked on a day (days since 1970).
#[derive(Debug, Clone, Copy)]
pub struct Line {
    pub day: i64,
    pub effect: i64,
}

/// An affiliate's terms from an instant on (milliseconds since 1970).
#[derive(Debug, Clone, Copy)]
pub struct Since {
    pub at: i64,
    pub terms: Terms,
}

/// The payouts that runs from `first` to `last` make of a pocket's lines (those that payouts
/// made themselves left out), each with its day; and what is carried after the last one.
pub fn payouts(
    lines: &[Line],
    terms: &[Since],
    currency: &str,
    days: (i64, i64),
) -> (Vec<(i64, i64)>, i64) {
    let mut carry = 0;
    let mut paid = Vec::new();
    for day in days.0..=days.1 {
        carry += lines
            .iter()
            .filter(|line| line.day == day)
            .map(|line| line.effect)
            .sum::<i64>();
        let end = (day + 1) * DAY;
        let in_force = terms
            .iter()
            .rev()
            .find(|since| since.at < end)
            .or_else(|| terms.first());
        let Some(Since { terms, .. }) = in_force else {
            continue;
        };
        let is_due = terms.is_active
            && terms.currency == currency
            && carry > 0
            && carry >= terms.minimum
            && is_pay_day(terms.schedule, day);
        if is_due {
            paid.push((day, carry));
            carry = 0;
        }
    }
    (paid, carry)
}

/// By the calendar: 1970-01-01 was a Thursday.
fn is_pay_day(schedule: &str, day: i64) -> bool {
    match schedule {
        "daily" => true,
        "weekly" => (day + 4) % 7 == 0,
        _ => MONTH_ENDS.contains(&day),
    }
}

/// 2026-05-31 and 2026-06-30.
const MONTH_ENDS: [i64; 2] = [20_604, 20_634];
