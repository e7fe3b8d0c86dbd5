//! The books: whose money it is, what kind of line, and the sums that lines add up to.

use std::fmt;
use std::ops::Add;

use jiff::Timestamp;
use jiff::civil::Date;
use sha2::{Digest as _, Sha256};

use crate::ids::{AffiliateId, PayerId};
use crate::money::{Currency, Money};

/// A day's buckets are spread over this many partitions: for as long as a table lives.
///
/// The feature `few-shards` is for simulated worlds, which are small and very many.
pub const SHARDS: u8 = if cfg!(feature = "few-shards") { 3 } else { 64 };

/// Why money moved. What is owed to an affiliate rises by `earned` and `returned` and falls by
/// `reversed`, `withheld` and `paid`; an adjustment goes either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Earned,
    Reversed,
    Adjustment,
    Withheld,
    Paid,
    Returned,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Earned,
        Self::Reversed,
        Self::Adjustment,
        Self::Withheld,
        Self::Paid,
        Self::Returned,
    ];

    /// The word on the wire and in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Earned => "earned",
            Self::Reversed => "reversed",
            Self::Adjustment => "adjustment",
            Self::Withheld => "withheld",
            Self::Paid => "paid",
            Self::Returned => "returned",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One affiliate's money of one payer in one currency: nothing is netted across two of these.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pocket {
    pub payer: PayerId,
    pub affiliate: AffiliateId,
    pub currency: Currency,
}

impl Pocket {
    /// The partition of its buckets within a day.
    #[must_use]
    pub fn shard(&self) -> u8 {
        let [first, ..] = self.digest("shard");
        first % SHARDS
    }

    /// The id of the payout that the run of a day makes: the same however often it is run.
    #[must_use]
    pub fn payout_id(&self, day: Date) -> String {
        let [a, b, c, d, e, f, g, h, ..] = self.digest("payout");
        let name = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let (year, month, day) = (day.year(), day.month(), day.day());
        format!("p{year:04}{month:02}{day:02}-{name:016x}")
    }

    // OK because neither an id nor a currency holds a slash.
    fn digest(&self, what: &str) -> [u8; 32] {
        let (payer, affiliate, currency) = (&self.payer, &self.affiliate, self.currency);
        Sha256::digest(format!("{what}/{payer}/{affiliate}/{currency}")).into()
    }
}

/// The lane of an order: always the same one, so that its lines meet in one bucket.
#[must_use]
pub fn lane_of(order: &str, lanes: u8) -> u8 {
    let digest: [u8; 32] = Sha256::digest(order).into();
    digest[0] % lanes.max(1)
}

/// A line to be booked: it finds its day when it meets an open bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    pub pocket: Pocket,
    pub lane: u8,
    pub kind: Kind,
    /// What is owed changes by this: negative for `reversed`, `withheld` and `paid`.
    pub effect: Money,
    /// The day the money becomes payable, or the bucket that a reversal belongs into.
    pub payable_on: Date,
    /// The business fact behind it, unique together with the leg's number.
    pub source: String,
    pub number: u8,
    pub recorded_at: Timestamp,
    /// What explains it: merchant, program and version, rule, order, reason.
    pub because: serde_json::Value,
}

/// Sums by kind, as effects in minor units: as wide as the table keeps them, so that no number of
/// lines, whatever a merchant's rules pay, leaves the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums([i128; Kind::ALL.len()]);

impl Sums {
    /// The sums of one line.
    #[must_use]
    pub fn of(kind: Kind, effect: impl Into<i128>) -> Self {
        let mut sums = Self::default();
        sums.0[kind as usize] = effect.into();
        sums
    }

    #[must_use]
    pub fn get(&self, kind: Kind) -> i128 {
        self.0[kind as usize]
    }

    /// What all of it changes.
    #[must_use]
    pub fn total(&self) -> i128 {
        self.0.iter().sum()
    }
}

impl Add for Sums {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs; // OK because it takes 10^19 lines of 10^19 to fill an `i128`.
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn pocket(affiliate: &str) -> Pocket {
        Pocket {
            payer: PayerId::parse("house").unwrap(),
            affiliate: AffiliateId::parse(affiliate).unwrap(),
            currency: Currency::parse("EUR").unwrap(),
        }
    }

    #[test]
    fn every_kind_is_read_by_its_word() {
        let words = Kind::ALL.map(Kind::as_str);
        assert_eq!(
            words,
            [
                "earned",
                "reversed",
                "adjustment",
                "withheld",
                "paid",
                "returned"
            ]
        );
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
            assert_eq!(kind.to_string(), kind.as_str());
        }
        assert_eq!(Kind::parse("Paid"), None);
    }

    /// Reckoned apart from this code: buckets and payouts of years ago must stay where they are.
    #[test]
    fn where_a_pocket_is_kept_and_what_its_payouts_are_called_never_changes() {
        let anna = pocket("anna");
        assert_eq!(anna.shard(), 32 % SHARDS);
        assert_eq!(
            anna.payout_id(date(2026, 7, 1)),
            "p20260701-5b340bbe3361c0ec"
        );
        let lanes = |most: u8| ["A-1", "A-2", "A-3", "A-4"].map(|order| lane_of(order, most));
        assert_eq!(lanes(16), [12, 10, 13, 14]);
        assert_eq!(lanes(4), [0, 2, 1, 2]);
        assert_eq!((lanes(1), lanes(0)), ([0; 4], [0; 4]));
    }

    #[test]
    fn sums_add_up_by_kind_and_are_wider_than_any_amount() {
        let earned = Sums::of(Kind::Earned, 500) + Sums::of(Kind::Reversed, -120);
        let both = earned + Sums::of(Kind::Earned, 7);
        let each = Kind::ALL.map(|kind| both.get(kind));
        assert_eq!((each, both.total()), ([507, -120, 0, 0, 0, 0], 387));
        let most = Sums::of(Kind::Paid, i64::MAX);
        let far = most + most + Sums::of(Kind::Earned, i64::MAX);
        assert_eq!(far.get(Kind::Paid), i128::from(i64::MAX) * 2);
        assert_eq!(far.total(), i128::from(i64::MAX) * 3);
    }
}
