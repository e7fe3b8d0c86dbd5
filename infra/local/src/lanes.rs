//! How many requests are worked at side by side, and which are turned away before they cost anything.

use std::sync::atomic::{AtomicU64, Ordering};

use shared::http_types::Problem;
use tokio::sync::Semaphore;

use crate::stack::is_under;

/// So many requests of one kind are taken; the next is turned away.
const TAKEN_MOST: usize = 256;
/// Of these, so many are worked at. The table does one thing at a time: more would only come
/// between a visitor and the four calls of a visit.
const WORKED_AT_MOST: usize = 8;

/// Visitors have no lane: nobody of them is turned away, and nobody's queue is theirs.
#[derive(Debug)]
pub struct Lanes {
    postbacks: Lane,
    others: Lane,
    turned_away: AtomicU64,
}

/// The places of one kind of request.
#[derive(Debug)]
pub struct Lane {
    /// A place for each request that is taken, its body included.
    pub places: Semaphore,
    /// A turn for each that is worked at.
    pub turns: Semaphore,
}

impl Lane {
    fn new() -> Self {
        Self {
            places: Semaphore::new(TAKEN_MOST),
            turns: Semaphore::new(WORKED_AT_MOST),
        }
    }
}

impl Lanes {
    #[must_use]
    pub fn new() -> Self {
        Self {
            postbacks: Lane::new(),
            others: Lane::new(),
            turned_away: AtomicU64::new(0),
        }
    }

    /// Where a request of this path waits; none for visitors, and for whoever asks how the stack is.
    #[must_use]
    pub fn of(&self, path: &str) -> Option<&Lane> {
        if is_under(path, "/postback") {
            Some(&self.postbacks)
        } else if is_under(path, "/r") || is_under(path, "/i") || path == "/dev/health" {
            None
        } else {
            Some(&self.others)
        }
    }

    /// The answer to a request that is not taken.
    pub fn turn_away(&self) -> Problem {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
        Problem {
            code: "overloaded",
            ..Problem::unavailable()
        }
        .explained("nothing of it was done; repeat the same request")
    }

    /// How many were turned away.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }
}

impl Default for Lanes {
    fn default() -> Self {
        Self::new()
    }
}
