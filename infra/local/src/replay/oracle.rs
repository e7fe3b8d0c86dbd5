//! What the books must come to, reckoned from the orders and the rule alone.
//!
//! It shares neither code nor types with what it judges: cents, days and roundings are its own,
//! and it looks at every account on every day instead of keeping buckets, gates and wake-ups.

use std::collections::BTreeMap;

use jiff::civil::{Date, Weekday};

use super::rule::{self, Dealt, Hour, Refund, Rounding, Schedule, Span};

/// All that a replay must show.
#[derive(Debug, Default)]
pub struct Prediction {
    /// By order id.
    pub orders: BTreeMap<String, Worth>,
    /// By day; days without payouts are not there.
    pub runs: BTreeMap<Date, Run>,
    /// By payer and the month's first day. Every month of the span is there, with a row for each
    /// affiliate that has any figure.
    pub months: BTreeMap<(&'static str, Date), BTreeMap<String, Row>>,
}

/// The payouts that the run of a day makes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Run {
    pub payouts: u64,
    /// Their sums in cents, by payer.
    pub sums: BTreeMap<String, i128>,
}

/// What an order brings its affiliate, in cents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worth {
    pub affiliate: String,
    pub commission: i128,
    /// What each refund takes back of it, in the order of the refunds.
    pub given_back: Vec<i128>,
}

/// An affiliate's line of a month, in cents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row {
    pub opening: i128,
    pub earned: i128,
    pub reversed: i128,
    pub adjustments: i128,
    pub withheld: i128,
    pub paid: i128,
    pub returned: i128,
    pub closing: i128,
    pub in_payout: i128,
    pub on_hold: i128,
    pub unapproved: i128,
    /// Whole conversions, not cents.
    pub conversions: i128,
    pub payouts: Vec<(Date, i128)>,
}

impl Row {
    /// The figures under the names they have in a report.
    #[must_use]
    pub fn figures(&self) -> [(&'static str, i128); 12] {
        [
            ("opening", self.opening),
            ("earned", self.earned),
            ("reversed", self.reversed),
            ("adjustments", self.adjustments),
            ("withheld", self.withheld),
            ("paid", self.paid),
            ("returned", self.returned),
            ("closing", self.closing),
            ("in_payout", self.in_payout),
            ("on_hold", self.on_hold),
            ("unapproved", self.unapproved),
            ("conversions", self.conversions),
        ]
    }
}

/// One line of an account: what is owed changes by `cents`.
#[derive(Debug, Clone, Copy)]
struct Line {
    is_earned: bool,
    cents: i128,
    posted_on: Date,
    /// The run of this day takes it in.
    day: Date,
}

/// Predicts what the days of a span bring.
#[must_use]
pub fn predict(dealt: &[Dealt], span: Span) -> Prediction {
    let mut prediction = Prediction::default();
    let mut accounts: BTreeMap<(&'static str, u8), Vec<Line>> = BTreeMap::new();
    for dealt in dealt.iter().filter(|dealt| !dealt.order.is_repeat) {
        let worth = worth(dealt);
        let account = (dealt.program.payer, dealt.affiliate);
        let lines = accounts.entry(account).or_default();
        lines.extend(lines_of(dealt, &worth));
        prediction.orders.insert(dealt.order.id.clone(), worth);
    }

    for payer in rule::PAYERS {
        let mut month = span.first.first_of_month();
        while month <= span.last {
            prediction.months.insert((payer, month), BTreeMap::new());
            month = rule::days_after(month.last_of_month(), 1);
        }
    }
    for ((payer, affiliate), lines) in &accounts {
        let months = months_of(*affiliate, lines, span);
        for (month, row) in months {
            for (day, cents) in &row.payouts {
                let run = prediction.runs.entry(*day).or_default();
                run.payouts += 1;
                *run.sums.entry((*payer).to_owned()).or_default() += cents;
            }
            if row != Row::default() {
                let rows = prediction.months.entry((payer, month)).or_default();
                rows.insert(rule::affiliate_id(*affiliate), row);
            }
        }
    }
    prediction
}

fn worth(dealt: &Dealt) -> Worth {
    let (amount, program) = (i128::from(dealt.order.cents), dealt.program);
    let percent = i128::from(program.basis_points);
    let commission = divided(amount * percent, 10_000, program.rounding);

    // An order of 0.00 is whole or taken back, and brings nothing either way.
    let (mut taken, mut back) = (0, 0);
    let given_back = dealt.refunds.iter().map(|refund| {
        taken = refund
            .third
            .map_or(amount, |third| taken + i128::from(third));
        let before = back;
        back = divided(commission * taken, amount.max(1), program.rounding);
        back - before
    });
    let given_back = given_back.collect();
    Worth {
        affiliate: rule::affiliate_id(dealt.affiliate),
        commission,
        given_back,
    }
}

/// `numerator ÷ denominator`, neither below zero, as a whole number.
fn divided(numerator: i128, denominator: i128, rounding: Rounding) -> i128 {
    let (down, twice_the_rest) = (numerator / denominator, numerator % denominator * 2);
    let is_up = match rounding {
        Rounding::Down => false,
        Rounding::HalfUp => twice_the_rest >= denominator,
        Rounding::HalfEven if twice_the_rest == denominator => down % 2 == 1,
        Rounding::HalfEven => twice_the_rest > denominator,
    };
    down + i128::from(is_up)
}

fn lines_of(dealt: &Dealt, worth: &Worth) -> Vec<Line> {
    let ordered_on = dealt.order.day;
    let payable_on = rule::days_after(ordered_on, i64::from(dealt.program.hold_days));
    let earned = Line {
        is_earned: true,
        cents: worth.commission,
        posted_on: ordered_on,
        day: payable_on,
    };
    let back = dealt.refunds.iter().zip(&worth.given_back);
    let back = back.map(|(refund, cents)| Line {
        is_earned: false,
        cents: -cents,
        posted_on: refund.day,
        day: taken_in_on(refund, payable_on),
    });
    std::iter::once(earned).chain(back).collect()
}

/// What is taken back meets its commission on its day if the run of that day is still to come,
/// and is taken from today's money if it is not.
fn taken_in_on(refund: &Refund, payable_on: Date) -> Date {
    let first_open = match refund.hour {
        Hour::Night => rule::days_after(refund.day, -1),
        Hour::Noon => refund.day,
    };
    if first_open <= payable_on {
        payable_on
    } else {
        refund.day
    }
}

/// An account from the first to the last day. By the month's first day.
fn months_of(affiliate: u8, lines: &[Line], span: Span) -> BTreeMap<Date, Row> {
    let mut by_day: BTreeMap<Date, Vec<Line>> = BTreeMap::new();
    for line in lines {
        by_day.entry(line.day).or_default().push(*line);
    }
    let details_from = rule::details_from(affiliate, span.first);

    let mut months: BTreeMap<Date, Row> = BTreeMap::new();
    let (mut carry, mut in_payout) = (0, 0);
    let mut day = span.first;
    while day <= span.last {
        let row = months.entry(day.first_of_month()).or_insert_with(|| Row {
            opening: carry,
            ..Row::default()
        });
        for line in by_day.get(&day).into_iter().flatten() {
            carry += line.cents;
            if line.is_earned {
                row.earned += line.cents;
                row.conversions += 1;
            } else {
                row.reversed -= line.cents;
            }
        }
        let has_details = details_from.is_some_and(|from| from <= day);
        let is_enough = 0 < carry && i128::from(rule::minimum(affiliate)) <= carry;
        if has_details && is_enough && is_pay_day(rule::schedule(affiliate), day) {
            row.payouts.push((day, carry));
            row.paid += carry;
            in_payout += carry;
            carry = 0;
        }
        row.closing = carry;
        row.in_payout = in_payout;
        day = rule::days_after(day, 1);
    }

    for line in lines {
        // On hold at the end of every month from its posting on, up to its day.
        let mut month = line.posted_on.first_of_month();
        while month.last_of_month() < line.day {
            months.entry(month).or_default().on_hold += line.cents;
            month = rule::days_after(month.last_of_month(), 1);
        }
    }
    months
}

fn is_pay_day(schedule: Schedule, day: Date) -> bool {
    match schedule {
        Schedule::Daily => true,
        Schedule::Weekly => day.weekday() == Weekday::Sunday,
        Schedule::Monthly => day == day.last_of_month(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::super::orders::Order;
    use super::super::rule::PROGRAMS;
    use super::*;

    /// An order of 1997-01-`day` under one of the programs.
    fn order(program: usize, affiliate: u8, day: i8, cents: i64, refunds: &[Refund]) -> Dealt {
        let day = date(1997, 1, day);
        Dealt {
            order: Order {
                id: format!("{program}-{affiliate}-{day}-{cents}"),
                day,
                cents,
                is_repeat: false,
            },
            affiliate,
            program: &PROGRAMS[program],
            refunds: refunds.to_vec(),
        }
    }

    fn refund(month: i8, day: i8, hour: Hour, third: Option<i64>) -> Refund {
        Refund {
            day: date(1997, month, day),
            hour,
            third,
            is_posted_twice: false,
        }
    }

    fn check_worth(program: usize, cents: i64, third: Option<i64>, expected: (i128, &[i128])) {
        let third = third.map(|third| refund(1, 2, Hour::Noon, Some(third)));
        let rest = refund(1, 9, Hour::Noon, None);
        let refunds: Vec<Refund> = third.into_iter().chain([rest]).collect();
        let worth = worth(&order(program, 0, 1, cents, &refunds));
        assert_eq!(
            (worth.commission, worth.given_back.as_slice()),
            expected,
            "{cents} under {}",
            PROGRAMS[program].id
        );
    }

    #[test]
    fn a_commission_is_rounded_once_and_given_back_to_the_cent() {
        // 7.5 % of 0.20 is 1.5 cents, of 0.60 4.5, of 1.00 7.5: halves go to the even cent.
        check_worth(0, 20, None, (2, &[2]));
        check_worth(0, 60, None, (4, &[4]));
        check_worth(0, 100, Some(33), (8, &[3, 5]));
        // 8 cents × 1/16 is half a cent: none.
        check_worth(0, 112, Some(7), (8, &[0, 8]));
        // 12.5 % of 0.63 is 7.875 cents; 7 × 21/63 is 2 1/3.
        check_worth(1, 63, Some(21), (7, &[2, 5]));
        // 6.25 % of 0.08 is half a cent: one, and half of that is one again.
        check_worth(2, 8, Some(4), (1, &[1, 0]));
        check_worth(2, 7, None, (0, &[0]));
        check_worth(1, 0, None, (0, &[0]));
    }

    const SPAN: Span = Span {
        first: date(1997, 1, 1),
        last: date(1997, 3, 31),
    };

    fn rows(dealt: &[Dealt], payer: &'static str) -> Vec<Row> {
        let months = predict(dealt, SPAN).months;
        let of_payer = months.into_iter().filter(|((of, _), _)| *of == payer);
        of_payer
            .map(|(_, rows)| rows.into_values().next().unwrap_or_default())
            .collect()
    }

    #[test]
    fn money_is_on_hold_until_its_day_and_leaves_on_a_pay_day() {
        // a00: daily, from nothing up. 7.5 % of 100.00 on January 10th is payable on February 9th.
        let [january, february, march] = &rows(&[order(0, 0, 10, 10_000, &[])], "house")[..] else {
            panic!("three months");
        };
        let on_hold = Row {
            on_hold: 750,
            ..Row::default()
        };
        assert_eq!(*january, on_hold);
        let paid = Row {
            earned: 750,
            paid: 750,
            in_payout: 750,
            conversions: 1,
            payouts: vec![(date(1997, 2, 9), 750)],
            ..Row::default()
        };
        assert_eq!(*february, paid);
        let sent_never = Row {
            in_payout: 750,
            ..Row::default()
        };
        assert_eq!(*march, sent_never);
    }

    fn check_payouts(affiliate: u8, earned: &[(i8, i64)], expected: &[(i8, i8, i128)]) {
        let orders: Vec<Dealt> = earned
            .iter()
            .map(|(day, cents)| order(1, affiliate, *day, cents * 8, &[]))
            .collect();
        let found: Vec<_> = rows(&orders, "house")
            .into_iter()
            .flat_map(|row| row.payouts)
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(month, day, cents)| (date(1997, *month, *day), *cents))
            .collect();
        assert_eq!(found, expected, "a{affiliate:02}");
    }

    #[test]
    fn a_schedule_and_a_minimum_decide_when() {
        // Payable 14 days later: the 1st on the 15th, a Wednesday; the 5th on the 19th, a Sunday.
        check_payouts(0, &[(1, 1), (2, 2)], &[(1, 15, 1), (1, 16, 2)]);
        check_payouts(1, &[(1, 300), (5, 50), (6, 7)], &[(1, 19, 350), (1, 26, 7)]);
        check_payouts(2, &[(17, 3), (18, 4)], &[(1, 31, 3), (2, 28, 4)]);
        // 50.00 is reached at 50.00, and 250.00 not below.
        check_payouts(3, &[(1, 4_999), (3, 1)], &[(1, 17, 5_000)]);
        check_payouts(8, &[(1, 24_999)], &[]);
        check_payouts(8, &[(1, 24_999), (31, 1)], &[(2, 28, 25_000)]);
        // a22 says where to on April 1st, a23 never.
        check_payouts(22, &[(1, 6_000)], &[]);
        check_payouts(23, &[(1, 60_000)], &[]);
    }

    fn check_refund(refund: Refund, expected: [(i128, i128, i128); 3]) {
        // 12.5 % of 80.00 of January 17th is payable on the 31st.
        let found = rows(&[order(1, 0, 17, 8_000, &[refund])], "house");
        let found: Vec<_> = found
            .iter()
            .map(|row| (row.reversed, row.paid, row.closing))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_refund_meets_its_commission_until_the_run_of_its_day() {
        let all = [(1_000, 0, 0), (0, 0, 0), (0, 0, 0)];
        check_refund(refund(1, 20, Hour::Noon, None), all);
        check_refund(refund(1, 31, Hour::Noon, None), all);
        check_refund(refund(2, 1, Hour::Night, None), all);
        // The run of the 31st is at 01:00 of the 1st.
        let late = [(0, 1_000, 0), (1_000, 0, -1_000), (0, 0, -1_000)];
        check_refund(refund(2, 1, Hour::Noon, None), late);
        check_refund(refund(2, 2, Hour::Night, None), late);
        let third = Some(2_666);
        check_refund(
            refund(3, 1, Hour::Noon, third),
            [(0, 1_000, 0), (0, 0, 0), (333, 0, -333)],
        );
    }

    #[test]
    fn what_is_on_hold_at_a_months_end_knows_the_refunds_until_then() {
        // Payable on February 9th.
        let on_hold = |refund| rows(&[order(0, 0, 10, 10_000, &[refund])], "house")[0].on_hold;
        assert_eq!(on_hold(refund(1, 31, Hour::Noon, None)), 0);
        assert_eq!(on_hold(refund(2, 1, Hour::Night, None)), 750);
        // What is payable on the month's last day is taken in by that day's run.
        let last_day = &rows(&[order(1, 0, 17, 8_000, &[])], "house")[0];
        assert_eq!((last_day.on_hold, last_day.earned), (0, 1_000));
    }

    #[test]
    fn nothing_is_netted_across_payers_and_an_order_posted_again_brings_nothing() {
        let mut again = order(2, 0, 1, 1_600, &[]);
        again.order.is_repeat = true;
        let dealt = [
            order(1, 0, 1, 800, &[refund(2, 1, Hour::Noon, None)]),
            order(2, 0, 1, 1_600, &[]),
            again,
        ];
        let house = &rows(&dealt, "house")[1];
        assert_eq!((house.reversed, house.closing), (100, -100));
        let label = &rows(&dealt, "label")[0];
        assert_eq!(
            (label.payouts.as_slice(), label.conversions),
            (&[(date(1997, 1, 1), 100)][..], 1)
        );
        let runs = predict(&dealt, SPAN).runs;
        let run = Run {
            payouts: 1,
            sums: BTreeMap::from([("label".to_owned(), 100)]),
        };
        assert_eq!(runs[&date(1997, 1, 1)], run);
    }
}
