//! The key ring in force: one for good, or one that is read again while a function stays warm.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::keys::KeyRing;
use crate::lambda::whole;
use crate::parameter::{Parameter, ParameterError};

/// How often a parameter is read, by the process's clock, and how long anybody waits for it.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The longest that a function waits when it starts.
    pub start: Duration,
    /// A ring younger than this is not read again.
    pub fresh: Duration,
    /// The longest that an event waits; then the last good ring goes on.
    pub wait: Duration,
    /// After a reading that failed, the next one waits for as long as this.
    pub pause: Duration,
}

impl Pace {
    /// A key is refused within 60 s of its revocation, also if some readings in a row fail.
    ///
    /// A visitor is sent on within 300 ms: what this leaves is for the click's record.
    pub const USUAL: Self = Self {
        start: Duration::from_secs(5),
        fresh: Duration::from_secs(30),
        wait: Duration::from_millis(200),
        pause: Duration::from_secs(5),
    };
}

/// The longest that an event waits for a ring with a key that it cannot do without.
const WAIT_FOR_MISSED: Duration = Duration::from_secs(2);

/// The ring could not be read that a key may stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a ring with the missing key could not be read")]
pub struct KeyMissed;

/// The ring that signs and verifies now.
#[derive(Debug)]
pub struct Keys {
    held: Mutex<Held>,
    /// Whoever misses a key waits here for the one who reads.
    missing: tokio::sync::Mutex<()>,
    source: Option<(Parameter, Pace)>,
}

#[derive(Debug)]
struct Held {
    ring: Arc<KeyRing>,
    read_at: Instant,
    read_again_at: Instant,
    /// When a ring was last read for a key that was missing, and in vain.
    missed_at: Option<Instant>,
}

impl Keys {
    /// One ring for as long as the process lives.
    #[must_use]
    pub fn fixed(ring: KeyRing) -> Self {
        Self::holding(ring, Duration::ZERO, None)
    }

    /// The ring of a parameter, read now and again later.
    ///
    /// # Errors
    /// [`ParameterError`]: without a first ring there is nothing to go on with.
    pub async fn of(parameter: Parameter, pace: Pace) -> Result<Self, ParameterError> {
        let ring = parameter.read_within(pace.start).await?;
        Ok(Self::holding(ring, pace.fresh, Some((parameter, pace))))
    }

    fn holding(ring: KeyRing, fresh: Duration, source: Option<(Parameter, Pace)>) -> Self {
        let now = Instant::now();
        let held = Held {
            ring: Arc::new(ring),
            read_at: now,
            read_again_at: now + fresh,
            missed_at: None,
        };
        Self {
            held: Mutex::new(held),
            missing: tokio::sync::Mutex::default(),
            source,
        }
    }

    /// The ring in force.
    #[must_use]
    pub fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.held().ring)
    }

    /// Reads the ring again if it is time to. Belongs at the start of an event: Lambda stands
    /// still between events, so a task in the background would sleep when it should read.
    pub async fn refresh(&self) {
        let Some((parameter, pace)) = &self.source else {
            return;
        };
        if !self.takes_its_turn(pace.pause) {
            return;
        }
        match parameter.read_within(pace.wait).await {
            Ok(ring) => self.take_up(ring, pace),
            Err(error) => not_read(parameter, &error),
        }
    }

    /// The ring to judge by what bears this number. One that does not know it may be older than the
    /// key: it is read again first, unless it has just been. So whoever makes numbers up costs a
    /// reading in each pause, and no more.
    ///
    /// # Errors
    /// [`KeyMissed`]: nobody can say yet whether there is such a key.
    pub async fn with(&self, number: u8) -> Result<Arc<KeyRing>, KeyMissed> {
        let ring = self.ring();
        let Some((parameter, pace)) = self.source.as_ref().filter(|_| !ring.knows(number)) else {
            return Ok(ring);
        };
        let _turn = self.missing.lock().await;
        let is_over = |at: Instant| pace.pause <= at.elapsed();
        {
            let held = self.held();
            if held.ring.knows(number) || !is_over(held.read_at) {
                return Ok(Arc::clone(&held.ring));
            }
            if held.missed_at.is_some_and(|at| !is_over(at)) {
                return Err(KeyMissed);
            }
        }
        match parameter.read_within(WAIT_FOR_MISSED).await {
            Ok(ring) => {
                self.take_up(ring, pace);
                Ok(self.ring())
            }
            Err(error) => {
                not_read(parameter, &error);
                self.held().missed_at = Some(Instant::now());
                Err(KeyMissed)
            }
        }
    }

    fn take_up(&self, ring: KeyRing, pace: &Pace) {
        let mut held = self.held();
        let now = Instant::now();
        held.ring = Arc::new(ring);
        held.read_at = now;
        held.read_again_at = now + pace.fresh;
    }

    /// Whether the caller is to read; until it has, or for a pause, nobody else is.
    fn takes_its_turn(&self, pause: Duration) -> bool {
        let mut held = self.held();
        let now = Instant::now();
        let is_due = held.read_again_at <= now;
        if is_due {
            held.read_again_at = now + pause;
        }
        is_due
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nobody panics while holding it")
    }
}

fn not_read(parameter: &Parameter, error: &ParameterError) {
    let (name, why) = (parameter.name(), whole(error));
    tracing::error!(
        keys.parameter = name,
        error = why,
        "the last good keys of `{name}` go on"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_key_is_refused_within_a_minute_though_four_readings_fail() {
        let Pace {
            fresh, wait, pause, ..
        } = Pace::USUAL;
        assert!(fresh + (pause + wait) * 4 < Duration::from_secs(60));
    }

    #[test]
    fn one_caller_reads_and_the_others_go_on() {
        let (ring, _) = KeyRing::generate("test", [7; 32]).unwrap();
        let keys = Keys::holding(ring, Duration::ZERO, None);
        let pause = Duration::from_secs(3600);
        assert!(keys.takes_its_turn(pause));
        assert!(!keys.takes_its_turn(pause));
    }
}
