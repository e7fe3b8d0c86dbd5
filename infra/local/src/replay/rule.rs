//! The rule: what an order's id decides about who sent the customer and what is sent back.

use jiff::ToSpan as _;
use jiff::civil::Date;
use sha2::{Digest as _, Sha256};

use super::orders::Order;

/// The rule in words, for whoever wants to recompute a line.
pub const RULE: &str = "\
What the orders do not say is decided by the SHA-256 of the order id
(printf %s 00001-19970101-1-11.77 | sha256sum), whose bytes are counted from 0:

  affiliate  byte 0 modulo 24: a00 to a23
  program    byte 1 modulo 4:
               0, 1   music    7.5 %, 30 days on hold, halves to the even cent, payer house
               2      video    12.5 %, 14 days on hold, rounded down, payer house
               3      imports  6.25 %, no hold, halves up, payer label
  refund     where byte 2 modulo 11 is 0:
               byte 3 modulo 45, plus 1   that many days after the order
               byte 4 even                at 12:00 UTC, after the orders of that day
               byte 4 odd                 at 00:30 UTC, before the run of the day before
               byte 5 modulo 3            0: all of it; 1: a third, cut to the cent;
                                          2: that third, and the rest 7 days after it
               a third of 0.00            all of it instead
               byte 6 modulo 4 is 0       each is posted twice

Each order is a click and a postback at 12:00 UTC of its day; one that stands in the file twice is
posted twice. Affiliate N is paid daily, weekly or monthly as N modulo 3 is 0, 1 or 2, from 0.00,
50.00 or 250.00 up as N divided by 3, modulo 3, is 0, 1 or 2. a23 never says where to be paid, and
a22 only 90 days after the first order. Nothing that is paid is ever sent. The clock goes on for
52 days after the last order, and to the end of that month.";

pub const AFFILIATES: u8 = 24;
/// Whose money it is.
pub const PAYERS: [&str; 2] = ["house", "label"];
/// The affiliate that never says where to be paid.
pub const SILENT: u8 = 23;
/// The affiliate that says so late, and how late.
pub const LATE: u8 = 22;
const LATE_DAYS: i64 = 90;

const REFUND_ONE_IN: u8 = 11;
const REFUND_DAYS_MOST: u8 = 45;
const REST_DAYS: i64 = 7;

/// How a part of a cent is lost or made whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    HalfEven,
    HalfUp,
    Down,
}

/// What a merchant offers.
#[derive(Debug, PartialEq, Eq)]
pub struct Program {
    pub id: &'static str,
    pub merchant: &'static str,
    pub payer: &'static str,
    /// Hundredths of a percent.
    pub basis_points: i64,
    pub hold_days: u8,
    pub rounding: Rounding,
}

pub static PROGRAMS: [Program; 3] = [
    Program {
        id: "music",
        merchant: "cdnow",
        payer: "house",
        basis_points: 750,
        hold_days: 30,
        rounding: Rounding::HalfEven,
    },
    Program {
        id: "video",
        merchant: "cdnow",
        payer: "house",
        basis_points: 1_250,
        hold_days: 14,
        rounding: Rounding::Down,
    },
    Program {
        id: "imports",
        merchant: "cdnow-imports",
        payer: "label",
        basis_points: 625,
        hold_days: 0,
        rounding: Rounding::HalfUp,
    },
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    Daily,
    /// Sundays.
    Weekly,
    /// The month's last day.
    Monthly,
}

/// An order with what the rule makes of it.
#[derive(Debug, Clone)]
pub struct Dealt {
    pub order: Order,
    pub affiliate: u8,
    pub program: &'static Program,
    /// In the order in which they are posted; none of an order that stands there again.
    pub refunds: Vec<Refund>,
}

/// Something taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    pub day: Date,
    pub hour: Hour,
    /// In cents of the order's value; none is all that is left.
    pub third: Option<i64>,
    pub is_posted_twice: bool,
}

/// When on a day something is posted. Sorts by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hour {
    /// 00:30, before the run of the day before.
    Night,
    /// 12:00.
    Noon,
}

/// The days that are replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub first: Date,
    /// Always the last of a month.
    pub last: Date,
}

impl Dealt {
    #[must_use]
    pub fn of(order: Order) -> Self {
        let digest: [u8; 32] = Sha256::digest(&order.id).into();
        let program = match digest[1] % 4 {
            0 | 1 => &PROGRAMS[0],
            2 => &PROGRAMS[1],
            _ => &PROGRAMS[2],
        };
        let is_refunded = digest[2].is_multiple_of(REFUND_ONE_IN) && !order.is_repeat;
        let refunds = if is_refunded {
            refunds(&order, &digest)
        } else {
            Vec::new()
        };
        Self {
            affiliate: digest[0] % AFFILIATES,
            program,
            refunds,
            order,
        }
    }
}

fn refunds(order: &Order, digest: &[u8; 32]) -> Vec<Refund> {
    let part = |days: i64, third: Option<i64>| Refund {
        day: days_after(order.day, days),
        hour: if digest[4].is_multiple_of(2) {
            Hour::Noon
        } else {
            Hour::Night
        },
        third,
        is_posted_twice: digest[6].is_multiple_of(4),
    };
    let days = i64::from(digest[3] % REFUND_DAYS_MOST) + 1;
    let third = order.cents / 3;
    match digest[5] % 3 {
        1 if third > 0 => vec![part(days, Some(third))],
        2 if third > 0 => vec![part(days, Some(third)), part(days + REST_DAYS, None)],
        _ => vec![part(days, None)],
    }
}

/// The days to replay for some orders, which are not none.
#[must_use]
pub fn span(dealt: &[Dealt]) -> Span {
    let days = || dealt.iter().map(|dealt| dealt.order.day);
    let (first, last) = (days().min(), days().max());
    let (first, last) = first.zip(last).expect("no orders are an error of reading");
    let rest = i64::from(REFUND_DAYS_MOST) + REST_DAYS;
    Span {
        first,
        last: days_after(last, rest).last_of_month(),
    }
}

#[must_use]
pub fn affiliate_id(number: u8) -> String {
    format!("a{number:02}")
}

#[must_use]
pub fn schedule(affiliate: u8) -> Schedule {
    match affiliate % 3 {
        0 => Schedule::Daily,
        1 => Schedule::Weekly,
        _ => Schedule::Monthly,
    }
}

/// What must have come together before an affiliate is paid, in cents.
#[must_use]
pub fn minimum(affiliate: u8) -> i64 {
    [0, 5_000, 25_000][usize::from(affiliate / 3 % 3)]
}

/// The first day on whose end it is known where an affiliate is paid; none for never.
#[must_use]
pub fn details_from(affiliate: u8, first: Date) -> Option<Date> {
    match affiliate {
        SILENT => None,
        LATE => Some(days_after(first, LATE_DAYS)),
        _ => Some(first),
    }
}

/// `day + days`, staying in the calendar.
#[must_use]
pub fn days_after(day: Date, days: i64) -> Date {
    day.saturating_add(days.days())
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn dealt(id: &str, cents: i64, is_repeat: bool) -> Dealt {
        Dealt::of(Order {
            id: id.to_owned(),
            day: date(1997, 1, 1),
            cents,
            is_repeat,
        })
    }

    #[test]
    fn an_order_is_dealt_by_the_bytes_of_its_hash() {
        // printf %s 00001-19970101-1-11.77 | sha256sum: fb cd ec d0
        let first = dealt("00001-19970101-1-11.77", 1_177, false);
        assert_eq!((first.affiliate, first.program.id), (11, "music"));
        assert_eq!(first.refunds, []);

        // 30 a9 4d 3c a2 92 e1
        let id = "00019-19970101-10-163.35";
        let refunded = dealt(id, 16_335, false);
        assert_eq!((refunded.affiliate, refunded.program.id), (0, "music"));
        let part = |day, third| Refund {
            day,
            hour: Hour::Noon,
            third,
            is_posted_twice: false,
        };
        let parts = [
            part(date(1997, 1, 17), Some(5_445)),
            part(date(1997, 1, 24), None),
        ];
        assert_eq!(refunded.refunds, parts);
        let whole = [part(date(1997, 1, 17), None)];
        assert_eq!(dealt(id, 2, false).refunds, whole);
        assert_eq!(dealt(id, 16_335, true).refunds, []);

        // d6 e3 16 02 52 f1 f3
        let third = dealt("00017-19970101-5-73.22", 7_322, false);
        assert_eq!((third.affiliate, third.program.id), (22, "imports"));
        assert_eq!(third.refunds, [part(date(1997, 1, 4), Some(2_440))]);
        // 4b 0d 6e 3f 65: 19 days later, at night.
        let night = &dealt("05196-19970128-1-0.00", 0, false).refunds[0];
        assert_eq!((night.day, night.hour), (date(1997, 1, 20), Hour::Night));
        // 0d f7 00 27 14 86 04: 40 days later, twice.
        let twice = &dealt("01186-19970105-1-0.00", 0, false).refunds[0];
        assert_eq!(
            (twice.day, twice.is_posted_twice),
            (date(1997, 2, 10), true)
        );
    }

    #[test]
    fn the_rule_in_words_names_what_is_done() {
        for program in &PROGRAMS {
            let percent = program.basis_points;
            let percent = format!("{}.{:02}", percent / 100, percent % 100);
            let percent = percent.trim_end_matches('0');
            let line = RULE.lines().find(|line| line.contains(program.id)).unwrap();
            assert!(line.contains(&format!(" {percent} %")), "{line}");
            assert!(
                line.ends_with(&format!("payer {}", program.payer)),
                "{line}"
            );
            let hold = match program.hold_days {
                0 => "no hold".to_owned(),
                days => format!("{days} days on hold"),
            };
            assert!(line.contains(&hold), "{line}");
        }
        for text in [
            format!("a00 to {}", affiliate_id(AFFILIATES - 1)),
            format!("byte 2 modulo {REFUND_ONE_IN} is 0"),
            format!("byte 3 modulo {REFUND_DAYS_MOST}, plus 1"),
            format!("the rest {REST_DAYS} days after it"),
            format!("{} never says", affiliate_id(SILENT)),
            format!("{} only {LATE_DAYS} days", affiliate_id(LATE)),
            format!(
                "{} days after the last order",
                i64::from(REFUND_DAYS_MOST) + REST_DAYS
            ),
        ] {
            assert!(RULE.contains(&text), "{text}");
        }
    }

    #[test]
    fn affiliates_differ_in_when_and_from_what_they_are_paid() {
        let terms = |number| (schedule(number), minimum(number));
        assert_eq!(terms(0), (Schedule::Daily, 0));
        assert_eq!(terms(4), (Schedule::Weekly, 5_000));
        assert_eq!(terms(8), (Schedule::Monthly, 25_000));
        assert_eq!(terms(22), (Schedule::Weekly, 5_000));
        let from = |number| details_from(number, date(1997, 1, 1));
        assert_eq!(from(0), Some(date(1997, 1, 1)));
        assert_eq!(from(22), Some(date(1997, 4, 1)));
        assert_eq!(from(23), None);
    }
}
