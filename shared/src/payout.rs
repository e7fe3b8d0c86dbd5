//! When money leaves: what the run of a day makes of an affiliate's carry and its day's sums,
//! and the states of a payout.

mod state;

pub use state::{Move, State};

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};

use crate::ledger::{Kind, Sums};
use crate::money::{Currency, Money};
use crate::period::{Month, days_after};
use crate::setup::{Affiliate, AffiliateStatus, PayoutDetails, Schedule};

/// What an affiliate has with one payer in one currency, after some day's run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub currency: Currency,
    /// Not paid yet, in minor units; negative where more was taken back than there was.
    pub carry: i128,
    /// All that runs have taken in and sent, since the first day.
    pub lifetime: Sums,
    /// The last day whose run touched it.
    pub through: Option<Date>,
    /// Changes with every settle.
    pub ver: i64,
    /// Of all payouts: what is sent or settled, in minor units.
    pub sent: i128,
    /// The day whose run made the last payout.
    pub last_payout: Option<Date>,
    /// Since when it differs from the ledger; none where both agreed when they were last compared.
    pub differs_since: Option<Timestamp>,
}

impl Account {
    /// One that no run has touched.
    #[must_use]
    pub fn new(currency: Currency) -> Self {
        Self {
            currency,
            carry: 0,
            lifetime: Sums::default(),
            through: None,
            ver: 0,
            sent: 0,
            last_payout: None,
            differs_since: None,
        }
    }

    /// The carry as an amount; none where it is more than one can be.
    fn amount(&self) -> Option<Money> {
        let minor = i64::try_from(self.carry).ok()?;
        Some(Money::new(minor, self.currency))
    }

    /// Why its carry stays on a day; nothing holds what is not there.
    #[must_use]
    pub fn held(&self, day: Date, affiliate: &Affiliate) -> Option<Held> {
        if self.differs_since.is_some() && self.carry > 0 {
            return Some(Held::BooksDiffer);
        }
        held(self.carry, self.currency, day, affiliate)
    }
}

/// Why a positive carry does not leave on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Held {
    /// What is to be paid does not follow from the ledger.
    BooksDiffer,
    /// It is more than one payout can be.
    TooLarge,
    /// The affiliate has not said where to.
    NoDetails,
    /// The affiliate is paid in another currency, and nothing is converted.
    OtherCurrency,
    /// The affiliate is pending, suspended or closed.
    NotActive,
    BelowMinimum,
    /// Another day is pay day.
    WaitsForSchedule,
}

impl Held {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::BooksDiffer => "books_differ",
            Self::TooLarge => "amount_too_large",
            Self::NoDetails => "no_payout_details",
            Self::OtherCurrency => "other_currency",
            Self::NotActive => "affiliate_not_active",
            Self::BelowMinimum => "below_minimum",
            Self::WaitsForSchedule => "schedule",
        }
    }

    /// Whether somebody must do something: below a minimum or before a pay day it only waits.
    #[must_use]
    pub fn is_a_hold(self) -> bool {
        matches!(
            self,
            Self::BooksDiffer
                | Self::TooLarge
                | Self::NoDetails
                | Self::OtherCurrency
                | Self::NotActive
        )
    }
}

/// What becomes of an account on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    pub account: Account,
    pub payout: Option<Money>,
    pub held: Option<Held>,
    /// The day on which the carry is to be looked at again, though nothing else may come.
    pub wake_on: Option<Date>,
}

/// Whether the run of this day pays under a schedule.
#[must_use]
pub fn is_pay_day(schedule: Schedule, day: Date) -> bool {
    match schedule {
        Schedule::Daily => true,
        Schedule::Weekly => day.weekday() == Weekday::Sunday,
        Schedule::Monthly => day == Month::of(day).last_day(),
    }
}

/// The first pay day after a day.
#[must_use]
pub fn next_pay_day(schedule: Schedule, day: Date) -> Date {
    let tomorrow = days_after(day, 1);
    match schedule {
        Schedule::Daily => tomorrow,
        Schedule::Weekly => (0..7)
            .map(|days| days_after(tomorrow, days))
            .find(|day| is_pay_day(schedule, *day))
            .unwrap_or(tomorrow),
        Schedule::Monthly => Month::of(tomorrow).last_day(),
    }
}

/// Takes a day's sums into an account and pays what is due. The whole carry leaves or none of
/// it; a minimum is reached at `>=`.
#[must_use]
pub fn settle(account: &Account, sums: Sums, day: Date, affiliate: &Affiliate) -> Settled {
    let mut account = Account {
        carry: account.carry + sums.total(),
        lifetime: account.lifetime + sums,
        through: Some(day),
        ver: account.ver + 1,
        ..*account
    };

    let held = account.held(day, affiliate);
    let due = account.amount().filter(|carry| carry.minor() > 0);
    let payout = due.filter(|_| held.is_none());
    if let Some(payout) = payout {
        let paid = -i128::from(payout.minor());
        account.lifetime = account.lifetime + Sums::of(Kind::Paid, paid);
        account.carry = 0;
        account.last_payout = Some(day);
    }
    let wake_on = match (held, &affiliate.payout) {
        (Some(Held::WaitsForSchedule), Some(details)) => Some(next_pay_day(details.schedule, day)),
        _ => None,
    };
    Settled {
        account,
        payout,
        held,
        wake_on,
    }
}

/// Why a carry, in minor units, stays on a day by itself or by the affiliate's own terms; nothing
/// holds what is not there.
#[must_use]
pub fn held(carry: i128, currency: Currency, day: Date, affiliate: &Affiliate) -> Option<Held> {
    if carry <= 0 {
        return None;
    }
    let Ok(minor) = i64::try_from(carry) else {
        return Some(Held::TooLarge);
    };
    let Some(details) = &affiliate.payout else {
        return Some(Held::NoDetails);
    };
    if affiliate.status != AffiliateStatus::Active {
        return Some(Held::NotActive);
    }
    waits(Money::new(minor, currency), day, details)
}

fn waits(carry: Money, day: Date, details: &PayoutDetails) -> Option<Held> {
    if details.currency != carry.currency() {
        Some(Held::OtherCurrency)
    } else if carry.minor() < details.minimum(carry.currency()).minor() {
        Some(Held::BelowMinimum)
    } else if !is_pay_day(details.schedule, day) {
        Some(Held::WaitsForSchedule)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use serde_json::json;

    use super::*;
    use crate::setup::Record as _;

    fn affiliate(status: &str, schedule: &str, currency: &str) -> Affiliate {
        Affiliate::parse(&json!({
            "id": "anna", "name": "Anna", "email": "anna@example.com", "country": "DE", "status": status,
            "payout": {"currency": currency, "method": "manual", "minimum": {"EUR": "50"}, "schedule": schedule},
        }))
        .unwrap()
    }

    fn check(
        carry: i128,
        earned: i64,
        day: Date,
        affiliate: &Affiliate,
    ) -> (i128, Option<i64>, Option<Held>, Option<Date>) {
        let euro = Currency::parse("EUR").unwrap();
        let account = Account {
            carry,
            ..Account::new(euro)
        };
        let kind = if earned < 0 {
            Kind::Reversed
        } else {
            Kind::Earned
        };
        let settled = settle(&account, Sums::of(kind, earned), day, affiliate);
        let payout = settled.payout.map(Money::minor);
        assert_eq!(
            settled.account.carry,
            carry + settled.account.lifetime.total()
        );
        (settled.account.carry, payout, settled.held, settled.wake_on)
    }

    #[test]
    fn the_whole_carry_leaves_on_a_pay_day_from_the_minimum_up() {
        let daily = affiliate("active", "daily", "EUR");
        let day = date(2026, 7, 1);
        assert_eq!(check(0, 5_000, day, &daily), (0, Some(5_000), None, None));
        assert_eq!(
            check(0, 4_999, day, &daily),
            (4_999, None, Some(Held::BelowMinimum), None)
        );
        assert_eq!(
            check(-2_000, 4_500, day, &daily),
            (2_500, None, Some(Held::BelowMinimum), None)
        );
        assert_eq!(
            check(1_000, -3_000, day, &daily),
            (-2_000, None, None, None)
        );
    }

    #[test]
    fn before_its_pay_day_money_waits_and_is_looked_at_again() {
        let monthly = affiliate("active", "monthly", "EUR");
        let wait = Some(Held::WaitsForSchedule);
        assert_eq!(
            check(0, 6_000, date(2026, 7, 30), &monthly),
            (6_000, None, wait, Some(date(2026, 7, 31)))
        );
        assert_eq!(
            check(6_000, 0, date(2026, 7, 31), &monthly),
            (0, Some(6_000), None, None)
        );
        let weekly = affiliate("active", "weekly", "EUR");
        assert_eq!(
            check(0, 6_000, date(2026, 7, 6), &weekly),
            (6_000, None, wait, Some(date(2026, 7, 12)))
        );
        assert_eq!(
            next_pay_day(Schedule::Monthly, date(2026, 7, 31)),
            date(2026, 8, 31)
        );
        assert_eq!(
            next_pay_day(Schedule::Weekly, date(2026, 7, 12)),
            date(2026, 7, 19)
        );
    }

    #[test]
    fn what_somebody_must_mend_is_held() {
        let day = date(2026, 7, 31);
        let suspended = affiliate("suspended", "daily", "EUR");
        assert_eq!(check(0, 6_000, day, &suspended).2, Some(Held::NotActive));
        let dollars = affiliate("active", "daily", "USD");
        assert_eq!(check(0, 6_000, day, &dollars).2, Some(Held::OtherCurrency));
        let unknown = Affiliate {
            payout: None,
            ..dollars
        };
        assert_eq!(
            check(0, 6_000, day, &unknown),
            (6_000, None, Some(Held::NoDetails), None)
        );
    }

    #[test]
    fn more_than_a_payout_can_be_is_held_until_it_is_less() {
        let daily = affiliate("active", "daily", "EUR");
        let day = date(2026, 7, 1);
        let most = i128::from(i64::MAX);
        assert_eq!(check(most, 0, day, &daily), (0, Some(i64::MAX), None, None));
        assert_eq!(
            check(most, 1, day, &daily),
            (most + 1, None, Some(Held::TooLarge), None)
        );
        assert_eq!(
            check(most + 1, -1, day, &daily),
            (0, Some(i64::MAX), None, None)
        );
        assert_eq!(
            check(-most - 9, 0, day, &daily),
            (-most - 9, None, None, None)
        );
    }

    #[test]
    fn an_account_that_differs_from_its_books_is_held_as_far_as_there_is_money() {
        let daily = affiliate("active", "daily", "EUR");
        let day = date(2026, 7, 1);
        let euro = Currency::parse("EUR").unwrap();
        for (carry, differs, held) in [
            (6_000, true, Some(Held::BooksDiffer)),
            (1, true, Some(Held::BooksDiffer)),
            (0, true, None),
            (-1, true, None),
            (6_000, false, None),
            (1, false, Some(Held::BelowMinimum)),
        ] {
            let account = Account {
                carry,
                differs_since: differs.then_some(Timestamp::UNIX_EPOCH),
                ..Account::new(euro)
            };
            assert_eq!(account.held(day, &daily), held, "{carry} {differs}");
        }
    }

    #[test]
    fn a_settle_is_noted_with_its_day_and_a_number_of_its_own() {
        let daily = affiliate("active", "daily", "EUR");
        let euro = Currency::parse("EUR").unwrap();
        let account = Account {
            ver: 7,
            ..Account::new(euro)
        };
        let noted = |earned, day| {
            let settled = settle(&account, Sums::of(Kind::Earned, earned), day, &daily);
            let account = settled.account;
            (
                settled.payout,
                account.ver,
                account.through,
                account.last_payout,
            )
        };
        let day = date(2026, 7, 1);
        let paid = Some(Money::new(5_000, euro));
        assert_eq!(noted(5_000, day), (paid, 8, Some(day), Some(day)));
        // Of nothing there is no payout, though nothing holds it.
        assert_eq!(noted(0, day), (None, 8, Some(day), None));
    }

    #[test]
    fn some_reasons_are_for_somebody_to_mend_and_some_pass() {
        let all = [
            (Held::BooksDiffer, "books_differ", true),
            (Held::TooLarge, "amount_too_large", true),
            (Held::NoDetails, "no_payout_details", true),
            (Held::OtherCurrency, "other_currency", true),
            (Held::NotActive, "affiliate_not_active", true),
            (Held::BelowMinimum, "below_minimum", false),
            (Held::WaitsForSchedule, "schedule", false),
        ];
        for (held, code, is_a_hold) in all {
            assert_eq!((held.code(), held.is_a_hold()), (code, is_a_hold));
        }
    }
}
