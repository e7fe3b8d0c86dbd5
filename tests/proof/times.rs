//! How long many requests took.

use std::fmt;
use std::time::Duration;

#[derive(Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How many took no longer.
    pub fn within(&self, most: Duration) -> usize {
        self.0.iter().filter(|took| **took <= most).count()
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let per_mille = |share: usize| {
            let place = (sorted.len() * share / 1_000).min(sorted.len().saturating_sub(1));
            sorted.get(place).map_or(0, Duration::as_millis)
        };
        write!(
            f,
            "half within {} ms, 99 % within {} ms, all within {} ms",
            per_mille(500),
            per_mille(990),
            per_mille(1_000)
        )
    }
}
