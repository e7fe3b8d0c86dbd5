//! The days and months of the books, which are UTC.

use std::fmt;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// A text that is no month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a month like `2026-07`")]
pub struct NotAMonth;

/// One month of the books. Sorts by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    /// Always the 1st, and never the calendar's first or last month, so that both neighbours exist.
    first: Date,
}

impl Month {
    /// Reads `YYYY-MM`, years 0001 to 9998.
    ///
    /// # Errors
    /// [`NotAMonth`] for every other text.
    pub fn parse(text: &str) -> Result<Self, NotAMonth> {
        let first = crate::http_types::parse_day(&format!("{text}-01")).ok_or(NotAMonth)?;
        if (1..=9998).contains(&first.year()) {
            Ok(Self { first })
        } else {
            Err(NotAMonth)
        }
    }

    /// The month that a day is in.
    #[must_use]
    pub fn of(day: Date) -> Self {
        Self {
            first: day.first_of_month(),
        }
    }

    #[must_use]
    pub fn first_day(self) -> Date {
        self.first
    }

    #[must_use]
    pub fn last_day(self) -> Date {
        self.first.last_of_month()
    }

    #[must_use]
    pub fn next(self) -> Self {
        Self {
            first: self.first.saturating_add(1.month()),
        }
    }

    #[must_use]
    pub fn previous(self) -> Self {
        Self {
            first: self.first.saturating_sub(1.month()),
        }
    }

    #[must_use]
    pub fn contains(self, day: Date) -> bool {
        Self::of(day) == self
    }

    /// All its days, in order.
    pub fn days(self) -> impl Iterator<Item = Date> {
        self.first
            .series(1.day())
            .take_while(move |day| self.contains(*day))
    }

    /// The first instant that is not in it any more.
    #[must_use]
    pub fn end(self) -> Timestamp {
        start_of(self.next().first)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.first.year(), self.first.month())
    }
}

/// The day of the books that an instant is in.
#[must_use]
pub fn day_of(instant: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(instant).date()
}

/// The first instant of a day.
#[must_use]
pub fn start_of(day: Date) -> Timestamp {
    instant_of(day.to_datetime(jiff::civil::Time::midnight()))
}

/// The last instant of a day, to the nanosecond.
#[must_use]
pub fn last_instant_of(day: Date) -> Timestamp {
    instant_of(day.to_datetime(jiff::civil::Time::MAX))
}

/// `day + days`, staying in the calendar.
#[must_use]
pub fn days_after(day: Date, days: u32) -> Date {
    day.saturating_add(i64::from(days).days())
}

/// How far ahead of us a sender's clock may be.
const AHEAD_MS: i64 = 300_000;

/// Whether an instant that a sender names lies further ahead than clocks differ.
#[must_use]
pub fn is_ahead(instant: Timestamp, now: Timestamp) -> bool {
    instant.as_millisecond() > now.as_millisecond() + AHEAD_MS
}

fn instant_of(datetime: DateTime) -> Timestamp {
    // The last day of the year 9999 is partly beyond what an instant can be.
    TimeZone::UTC
        .to_timestamp(datetime)
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn month(text: &str) -> Month {
        Month::parse(text).unwrap()
    }

    #[test]
    fn a_month_knows_its_edges_and_neighbours() {
        for (text, last, next, previous) in [
            ("2024-02", 29, "2024-03", "2024-01"),
            ("2026-02", 28, "2026-03", "2026-01"),
            ("2026-12", 31, "2027-01", "2026-11"),
            ("2026-01", 31, "2026-02", "2025-12"),
        ] {
            let month = month(text);
            assert_eq!(month.to_string(), text);
            assert_eq!(month.first_day().to_string(), format!("{text}-01"));
            assert_eq!(month.last_day().day(), last);
            assert_eq!(
                (month.next().to_string(), month.previous().to_string()),
                (next.into(), previous.into())
            );
            assert_eq!(month.days().count(), usize::try_from(last).unwrap());
        }
    }

    #[test]
    fn a_senders_clock_may_be_300_seconds_ahead_to_the_millisecond() {
        let now: Timestamp = "2026-07-01T10:00:00.500Z".parse().unwrap();
        for (instant, expected) in [
            ("2026-07-01T10:05:00.500Z", false),
            ("2026-07-01T10:05:00.501Z", true),
            ("2026-07-01T10:05:00.999Z", true),
            ("2026-07-01T09:00:00Z", false),
        ] {
            assert_eq!(
                is_ahead(instant.parse().unwrap(), now),
                expected,
                "{instant}"
            );
        }
    }

    #[test]
    fn a_month_contains_its_first_and_last_day_and_no_other() {
        let month = month("2026-07");
        assert!(month.contains(date(2026, 7, 1)) && month.contains(date(2026, 7, 31)));
        assert!(
            !month.contains(date(2026, 6, 30))
                && !month.contains(date(2026, 8, 1))
                && !month.contains(date(2025, 7, 1))
        );
        assert_eq!(month.end().to_string(), "2026-08-01T00:00:00Z");
    }

    #[test]
    fn other_texts_are_no_months() {
        for text in [
            "",
            "2026",
            "2026-7",
            "2026-13",
            "2026-00",
            "2026-07-01",
            "26-07",
            "2026/07",
            "0000-01",
            "9999-12",
            "+026-07",
            "２０26-07",
        ] {
            assert_eq!(Month::parse(text), Err(NotAMonth), "{text}");
        }
    }

    #[test]
    fn a_day_ends_at_midnight_in_utc() {
        let at = |text: &str| day_of(text.parse().unwrap());
        assert_eq!(at("2026-07-01T23:59:59.999999999Z"), date(2026, 7, 1));
        assert_eq!(at("2026-07-02T00:00:00Z"), date(2026, 7, 2));
        assert_eq!(
            start_of(date(2026, 7, 1)).to_string(),
            "2026-07-01T00:00:00Z"
        );
        assert_eq!(
            last_instant_of(date(2026, 7, 1)).to_string(),
            "2026-07-01T23:59:59.999999999Z"
        );
        assert_eq!(day_of(last_instant_of(date(2026, 7, 1))), date(2026, 7, 1));
    }

    #[test]
    fn days_after_stay_in_the_calendar() {
        assert_eq!(days_after(date(2026, 7, 1), 30), date(2026, 7, 31));
        assert_eq!(days_after(date(2026, 7, 1), 0), date(2026, 7, 1));
        assert_eq!(days_after(Date::MAX, 1), Date::MAX);
    }
}
