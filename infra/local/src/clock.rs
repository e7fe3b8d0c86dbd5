//! The clock that every function sees: it may be moved forward, and never goes back.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use shared::http_types::parse_instant;

/// A clock that runs on in real seconds from wherever it was set.
#[derive(Debug)]
pub struct Clock {
    set: Mutex<(Timestamp, Instant)>,
    /// Where it is kept over a restart.
    file: Option<PathBuf>,
}

/// The clock was asked to go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the clock goes forward only")]
pub struct GoesBack;

impl Clock {
    /// Starts at `at`, or at what the file remembers if that is later.
    #[must_use]
    pub fn starting(at: Timestamp, file: Option<PathBuf>) -> Self {
        let kept = file
            .as_ref()
            .and_then(|file| fs::read_to_string(file).ok())
            .and_then(|text| parse_instant(text.trim()));
        let at = kept.map_or(at, |kept| kept.max(at));
        Self {
            set: Mutex::new((at, Instant::now())),
            file,
        }
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        let (at, since) = *self.set.lock().expect("nobody panics while holding it");
        let passed = i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX);
        at.checked_add(jiff::SignedDuration::from_millis(passed))
            .unwrap_or(Timestamp::MAX)
    }

    /// Moves it forward.
    ///
    /// # Errors
    /// [`GoesBack`] where `to` is earlier than now.
    pub fn move_to(&self, to: Timestamp) -> Result<(), GoesBack> {
        if to < self.now() {
            return Err(GoesBack);
        }
        *self.set.lock().expect("nobody panics while holding it") = (to, Instant::now());
        Ok(())
    }

    /// Writes what time it is to its file, so that a restart does not go back.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep(&self) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let new = file.with_extension("new");
        fs::write(&new, self.now().to_string())?;
        fs::rename(new, file)
    }

    /// Keeps the time again and again, for as long as the stack runs.
    pub async fn keep_on(&self) {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if let Err(error) = self.keep() {
                tracing::warn!(error = %error, "could not keep the clock");
            }
        }
    }
}
