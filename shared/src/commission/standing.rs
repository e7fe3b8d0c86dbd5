//! What earlier orders leave behind for a rule: how many there were, and how much.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use crate::http_types::{Fields, Invalid};
use crate::ids::RuleId;
use crate::money::Money;
use crate::period::Month;

/// Something that a rule counts, for each affiliate by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// Orders under a tiered rule, in the month of their own time or ever.
    Tier { rule: RuleId, month: Option<Month> },
    /// One customer's orders under a recurring rule.
    Customer { rule: RuleId },
}

/// How far a counter has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Orders.
    pub count: i64,
    /// Their value, as far as it was the rule's, in minor units.
    pub sum: i64,
}

/// The counters that are known, as they were before the order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standings(pub BTreeMap<Counter, Standing>);

impl Standings {
    pub(super) fn get(&self, counter: &Counter) -> Option<Standing> {
        self.0.get(counter).copied()
    }
}

/// What an order adds to a counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    pub counter: Counter,
    pub before: Standing,
    /// Of one order.
    pub value: Money,
}

/// What is known of whoever bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buyer {
    /// The sender does not say.
    Unnamed,
    /// A customer, and since when it is one: none until its first credit.
    Named { since: Option<Timestamp> },
}

/// For how long a rule pays for the same customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recurring {
    /// Orders, the first one included.
    pub max_count: Option<u32>,
    /// Calendar months from the customer's first credit, which is included; their end is not.
    pub max_months: Option<u32>,
}

/// A century of months: more is no end.
const MONTHS_MOST: u64 = 1_200;

impl Recurring {
    pub(super) fn read(mut fields: Fields) -> Result<Self, Invalid> {
        let mut number = |name: &str| match fields.whole(name)? {
            None => Ok(None),
            Some(number) if (1..=MONTHS_MOST).contains(&number) => Ok(u32::try_from(number).ok()),
            Some(_) => Err(fields.invalid(name, "number_invalid")),
        };
        let recurring = Self {
            max_count: number("max_count")?,
            max_months: number("max_months")?,
        };
        if recurring.max_count.is_none() && recurring.max_months.is_none() {
            return Err(fields.invalid("max_count", "parameter_missing"));
        }
        fields.finish()?;
        Ok(recurring)
    }

    pub(super) fn to_json(self) -> Value {
        let mut json = json!({});
        for (name, number) in [
            ("max_count", self.max_count),
            ("max_months", self.max_months),
        ] {
            if let Some(number) = number {
                json[name] = json!(number);
            }
        }
        json
    }

    /// Whether it still pays, at `at`, after so many orders of a customer known since `since`.
    pub(super) fn goes_on(self, before: Standing, since: Option<Timestamp>, at: Timestamp) -> bool {
        let has_orders_left = self
            .max_count
            .is_none_or(|most| before.count < i64::from(most));
        let end = |since: Timestamp, months: u32| {
            let months = i64::from(months).months();
            let end = since.to_zoned_datetime(TimeZone::UTC).checked_add(months);
            end.map_or(Timestamp::MAX, |end| end.timestamp())
        };
        let is_in_time = match (self.max_months, since) {
            (Some(months), Some(since)) => at < end(since, months),
            _ => true,
        };
        has_orders_left && is_in_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_goes_on_for_so_many_orders_and_so_many_calendar_months() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let since = Some(at("2026-01-31T10:00:00Z"));
        let after = |count| Standing { count, sum: 0 };
        let by_count = Recurring {
            max_count: Some(2),
            max_months: None,
        };
        for (count, goes_on) in [(0, true), (1, true), (2, false), (9, false)] {
            assert_eq!(
                by_count.goes_on(after(count), since, at("2036-01-01T00:00:00Z")),
                goes_on
            );
        }
        let by_month = Recurring {
            max_count: None,
            max_months: Some(1),
        };
        for (time, goes_on) in [
            ("2026-01-31T10:00:00Z", true),
            ("2026-02-28T09:59:59.999Z", true),
            ("2026-02-28T10:00:00Z", false),
        ] {
            assert_eq!(
                by_month.goes_on(after(99), since, at(time)),
                goes_on,
                "{time}"
            );
            assert!(by_month.goes_on(after(0), None, at(time)));
        }
    }
}
