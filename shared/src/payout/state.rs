//! The states of a payout, and which moves lead from one to another.

/// Where a payout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Waits for somebody's approval.
    Created,
    /// May be sent.
    Approved,
    /// Stands in a payment file.
    Exported,
    /// Left the payer's account, as far as is known.
    Sent,
    /// Nobody knows whether it left; never sent again by itself.
    Unknown,
    /// Arrived.
    Settled,
    /// Never left; its money was credited again.
    Failed,
    /// Was not to leave; its money was credited again.
    Cancelled,
    /// Left and came back; its money was credited again.
    Returned,
}

impl State {
    const ALL: [Self; 9] = [
        Self::Created,
        Self::Approved,
        Self::Exported,
        Self::Sent,
        Self::Unknown,
        Self::Settled,
        Self::Failed,
        Self::Cancelled,
        Self::Returned,
    ];

    /// The word on the wire and in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Approved => "approved",
            Self::Exported => "exported",
            Self::Sent => "sent",
            Self::Unknown => "unknown",
            Self::Settled => "settled",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Returned => "returned",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether the money counts as paid: sent, and not known to have come back.
    #[must_use]
    pub fn is_sent(self) -> bool {
        matches!(self, Self::Sent | Self::Settled)
    }

    /// Whether the money was credited again.
    #[must_use]
    pub fn is_credited_again(self) -> bool {
        matches!(self, Self::Failed | Self::Cancelled | Self::Returned)
    }

    fn is_in_transit(self) -> bool {
        !self.is_sent() && !self.is_credited_again()
    }
}

/// A step from one state to another that somebody may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    pub from: State,
    pub to: State,
}

impl Move {
    /// The step, if there is one.
    #[must_use]
    pub fn new(from: State, to: State) -> Option<Self> {
        use State::{
            Approved, Cancelled, Created, Exported, Failed, Returned, Sent, Settled, Unknown,
        };

        let is_allowed = match to {
            Created | Exported => false,
            Approved => from == Created,
            Sent => matches!(from, Approved | Exported | Unknown),
            Unknown => matches!(from, Exported | Sent),
            Settled => matches!(from, Sent | Unknown),
            Failed => matches!(from, Exported | Sent | Unknown),
            Cancelled => matches!(from, Created | Approved),
            Returned => matches!(from, Sent | Settled),
        };
        is_allowed.then_some(Self { from, to })
    }

    /// By how many times its amount the step changes what counts as paid: -1, 0 or 1.
    #[must_use]
    pub fn sent(self) -> i64 {
        i64::from(self.to.is_sent()) - i64::from(self.from.is_sent())
    }

    /// By how many times its amount the step takes it out of what is in a payout: -1, 0 or 1.
    #[must_use]
    pub fn left(self) -> i64 {
        i64::from(self.from.is_in_transit()) - i64::from(self.to.is_in_transit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_in_the_table_and_no_other() {
        let steps: Vec<String> = State::ALL
            .into_iter()
            .map(|from| {
                let to: Vec<&str> = State::ALL
                    .into_iter()
                    .filter(|to| Move::new(from, *to).is_some())
                    .map(State::as_str)
                    .collect();
                format!("{} -> {}", from.as_str(), to.join(" "))
            })
            .collect();
        assert_eq!(
            steps,
            [
                "created -> approved cancelled",
                "approved -> sent cancelled",
                "exported -> sent unknown failed",
                "sent -> unknown settled failed returned",
                "unknown -> sent settled failed",
                "settled -> returned",
                "failed -> ",
                "cancelled -> ",
                "returned -> ",
            ]
        );
    }

    #[test]
    fn every_state_is_read_by_its_word() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        for text in ["", "Sent", "paid"] {
            assert_eq!(State::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_was_sent_counts_as_paid_until_it_comes_back() {
        let counts = State::ALL.map(|state| match (state.is_sent(), state.is_credited_again()) {
            (false, false) => "waits",
            (true, false) => "paid",
            (false, true) => "credited",
            (true, true) => "twice",
        });
        assert_eq!(
            counts,
            [
                "waits", "waits", "waits", "paid", "waits", "paid", "credited", "credited",
                "credited"
            ]
        );
    }

    #[test]
    fn money_is_in_a_payout_paid_or_credited_again_and_never_in_two_of_these() {
        for from in State::ALL {
            for to in State::ALL {
                if let Some(step) = Move::new(from, to) {
                    let back = i64::from(to.is_credited_again());
                    assert_eq!(step.left(), step.sent() + back, "{step:?}");
                }
            }
        }
    }
}
