//! How long an event may be worked at.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

/// What one line of a list may take at a table that is slow.
const NEARLY: SignedDuration = SignedDuration::from_secs(2);

/// The process's own clock, and the instant by it at which the process may be stopped. It says
/// nothing about `now`, which comes with the event.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    pub clock: &'a (dyn Fn() -> Timestamp + Sync),
    pub deadline: Timestamp,
}

impl Watch<'static> {
    /// Nobody stops the process.
    #[must_use]
    pub fn without_deadline() -> Self {
        Self {
            clock: &now,
            deadline: Timestamp::MAX,
        }
    }

    /// Lambda's deadline, in milliseconds of Unix time.
    pub(super) fn until(milliseconds: u64) -> Self {
        let deadline = i64::try_from(milliseconds)
            .ok()
            .and_then(|milliseconds| Timestamp::from_millisecond(milliseconds).ok());
        Self {
            clock: &now,
            deadline: deadline.unwrap_or(Timestamp::MAX),
        }
    }
}

impl Watch<'_> {
    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The time that is left; below zero where the deadline is past.
    #[must_use]
    pub fn left(&self) -> SignedDuration {
        self.deadline.duration_since(self.now())
    }

    /// Whether too little time is left to begin the next one of many things.
    #[must_use]
    pub fn is_nearly_over(&self) -> bool {
        self.left() < NEARLY
    }

    /// The same, and no more than so long from now on.
    #[must_use]
    pub fn within(self, most: SignedDuration) -> Self {
        let latest = self.now().checked_add(most).unwrap_or(Timestamp::MAX);
        Self {
            deadline: self.deadline.min(latest),
            ..self
        }
    }
}

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch until {}", self.deadline)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the edge: deadlines are by the process's clock, and a schedule by hand may leave out its time"
)]
pub(super) fn now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_of_two_deadlines_counts() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let clock = || at(1_000);
        let watch = Watch {
            clock: &clock,
            deadline: at(1_900),
        };
        let within = |seconds| watch.within(SignedDuration::from_secs(seconds)).left();
        assert_eq!(watch.left(), SignedDuration::from_secs(900));
        assert_eq!(within(55), SignedDuration::from_secs(55));
        assert_eq!(within(901), SignedDuration::from_secs(900));
        assert_eq!(Watch::until(1_900_000).deadline, at(1_900));
    }
}
