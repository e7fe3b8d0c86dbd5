//! The clock that every function sees: it may be moved forward, and never goes back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use shared::http_types::parse_instant;

/// How often the time is kept.
const KEPT_EVERY: Duration = Duration::from_secs(1);
/// What is kept is so much later than now: whoever dies before the next time has told nobody of a
/// later instant than that.
const AHEAD: SignedDuration = SignedDuration::from_secs(2);

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

/// The file that keeps the clock says no time.
#[derive(Debug, thiserror::Error)]
#[error("the clock's file `{}` holds no instant: write one into it, like 2026-01-01T00:00:00Z", .0.display())]
pub struct Damaged(PathBuf);

/// The time in the file; none where there is no file yet.
fn kept(file: &Path) -> Result<Option<Timestamp>, Damaged> {
    let damaged = || Damaged(file.to_owned());
    match fs::read_to_string(file) {
        Ok(text) => parse_instant(text.trim()).map(Some).ok_or_else(damaged),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(_) => Err(damaged()),
    }
}

impl Clock {
    /// Starts at `at`, or at what the file remembers if that is later.
    ///
    /// # Errors
    /// [`Damaged`], since a clock without its file may go back.
    pub fn starting(at: Timestamp, file: Option<PathBuf>) -> Result<Self, Damaged> {
        let kept = match &file {
            Some(file) => kept(file)?,
            None => None,
        };
        let at = kept.map_or(at, |kept| kept.max(at));
        Ok(Self {
            set: Mutex::new((at, Instant::now())),
            file,
        })
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        Self::read(*self.set.lock().expect("nobody panics while holding it"))
    }

    fn read((at, since): (Timestamp, Instant)) -> Timestamp {
        let passed = i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX);
        at.checked_add(SignedDuration::from_millis(passed))
            .unwrap_or(Timestamp::MAX)
    }

    /// Moves it forward, in its file before anybody sees it.
    ///
    /// # Errors
    /// [`GoesBack`] where `to` is earlier than now.
    pub fn move_to(&self, to: Timestamp) -> Result<(), GoesBack> {
        let mut set = self.set.lock().expect("nobody panics while holding it");
        if to < Self::read(*set) {
            return Err(GoesBack);
        }
        if let Err(error) = self.write(to) {
            not_kept(&error);
        }
        *set = (to, Instant::now());
        Ok(())
    }

    /// Writes what time it is to its file, so that a restart does not go back.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep(&self) -> io::Result<()> {
        // Held until it is written: nobody moves the clock meanwhile.
        let set = self.set.lock().expect("nobody panics while holding it");
        self.write(Self::read(*set))
    }

    fn write(&self, now: Timestamp) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let ahead = now.checked_add(AHEAD).unwrap_or(Timestamp::MAX);
        let new = file.with_extension("new");
        fs::write(&new, ahead.to_string())?;
        fs::rename(new, file)
    }

    /// Keeps the time again and again, for as long as the stack runs.
    pub async fn keep_on(&self) {
        loop {
            if let Err(error) = self.keep() {
                not_kept(&error);
            }
            tokio::time::sleep(KEPT_EVERY).await;
        }
    }
}

fn not_kept(error: &io::Error) {
    tracing::warn!(error = %error, "could not keep the clock");
}
