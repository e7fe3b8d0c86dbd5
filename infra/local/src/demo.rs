//! The demo: three shops, a dozen affiliates and a season of business, made through the HTTP
//! front and the dev clock alone.

mod cast;
mod client;
mod season;

use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;
use shared::ids::PayerId;
use shared::setup::{Affiliate, Merchant, Payer, Program, Record};
use shared::store::{Store, StoreError};

pub use client::Refused;

/// In the data folder while the demo is being made: whatever is there then is half a demo.
const MAKING: &str = "demo-unfinished";
/// In the data folder once it is made: what it came to.
const MADE: &str = "demo.json";

/// What the demo came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Counts and sums, by name.
    pub summary: Value,
    /// The raw CSV of the last month that was closed.
    pub report: Vec<u8>,
    pub report_month: String,
    /// For trying things out: a tracked link, and a merchant's token.
    pub link: String,
    pub token: String,
}

/// When the demo begins: with the month two before, so that two whole months can be closed.
#[must_use]
pub fn begins(now: Timestamp) -> Timestamp {
    let month = shared::period::Month::of(shared::period::day_of(now));
    shared::period::start_of(month.previous().previous().first_day())
}

/// Makes it through the front at `url`, up to `until`. Blocks: to be called off the runtime.
///
/// # Errors
/// What the front refused.
pub fn make(
    url: &str,
    admin_key: &str,
    until: Timestamp,
    progress: impl FnMut(u64, u64),
) -> Result<Made, Refused> {
    season::Season::new(client::Client::new(url, admin_key), until).play(progress)
}

/// Whether a folder holds a table already; half a demo that somebody cut is thrown away.
///
/// # Errors
/// What the file system says.
pub fn is_new(folder: &Path) -> std::io::Result<bool> {
    if folder.join(MAKING).exists() {
        let lock = std::fs::File::create(folder.join("lock"))?;
        if lock.try_lock().is_err() {
            // Somebody is making it right now; who opens the table will say so.
            return Ok(false);
        }
        forget(folder)?;
        std::fs::remove_file(folder.join(MAKING))?;
    }
    Ok(!folder.join("tables.sqlite").exists())
}

/// Says that what a folder holds from here on is half a demo.
///
/// # Errors
/// What the file system says.
pub fn begin(folder: &Path) -> std::io::Result<()> {
    std::fs::write(folder.join(MAKING), "")
}

/// Says that the demo is whole, and keeps what it came to; answers where the report is.
///
/// # Errors
/// What the file system says.
pub fn finish(folder: &Path, made: &Made) -> std::io::Result<std::path::PathBuf> {
    let report = folder.join(format!("payouts-house-{}.csv", made.report_month));
    std::fs::write(&report, &made.report)?;
    let mut kept = made.summary.clone();
    kept["link"] = made.link.as_str().into();
    kept["token"] = made.token.as_str().into();
    crate::stack::write_secret(&folder.join(MADE), &kept.to_string())?;
    std::fs::remove_file(folder.join(MAKING))?;
    Ok(report)
}

/// A tracked link of the demo that a folder holds, as a path, and a token to post its sales with.
#[must_use]
pub fn kept(folder: &Path) -> Option<(String, String)> {
    let kept = std::fs::read_to_string(folder.join(MADE)).ok()?;
    let kept: Value = serde_json::from_str(&kept).ok()?;
    let text = |name: &str| kept[name].as_str().map(str::to_owned);
    text("link").zip(text("token"))
}

/// What is in the way of removing a demo.
#[derive(Debug, thiserror::Error)]
pub enum NotRemoved {
    #[error("`{0}` holds no demo")]
    NoDemo(String),
    #[error("`{0}` is in use by another process")]
    InUse(String),
    #[error(
        "something else was made beside the demo (the {0}), and entries are never taken out of a ledger; begin in another folder"
    )]
    More(String),
    #[error(transparent)]
    File(#[from] std::io::Error),
    #[error("{0}")]
    Table(String),
}

/// Removes the demo and nothing else: a folder in which somebody works, by merchants, programs,
/// affiliates or payers of their own, stays. What stays in any case are the signing keys and the
/// first admin's key; the other API keys are items of the table.
///
/// # Errors
/// [`NotRemoved`]
pub async fn remove(folder: &Path) -> Result<(), NotRemoved> {
    let shown = folder.display().to_string();
    let is_demo = folder.join(MADE).exists() || folder.join(MAKING).exists();
    if !is_demo {
        return Err(NotRemoved::NoDemo(shown));
    }
    let lock = std::fs::File::create(folder.join("lock"))?;
    lock.try_lock().map_err(|_| NotRemoved::InUse(shown))?;
    drop(lock);
    if let Some(other) = others(folder).await? {
        return Err(NotRemoved::More(other));
    }
    forget(folder)?;
    for file in [MADE, MAKING] {
        if folder.join(file).exists() {
            std::fs::remove_file(folder.join(file))?;
        }
    }
    Ok(())
}

/// Something that is not the demo's: a kind and an id.
async fn others(folder: &Path) -> Result<Option<String>, NotRemoved> {
    let failed = |error: &dyn std::fmt::Display| NotRemoved::Table(error.to_string());
    let table = crate::embedded::Embedded::in_folder(folder).map_err(|error| failed(&error))?;
    let store = Store::new(table.client("setup"), crate::tables::names());
    let shops = cast::SHOPS.map(|shop| shop.id);
    let programs = cast::SHOPS.map(|shop| shop.program);
    let senders = cast::SENDERS.map(|sender| sender.id);
    let found = [
        other_than::<Merchant>(&store, &shops).await,
        other_than::<Program>(&store, &programs).await,
        other_than::<Affiliate>(&store, &senders).await,
        other_than::<Payer>(&store, &[PayerId::house().as_str()]).await,
    ];
    let found: Result<Vec<_>, _> = found.into_iter().collect();
    let found = found.map_err(|error| failed(&error))?;
    Ok(found.into_iter().flatten().next())
}

/// The first record of a kind that is none of these.
async fn other_than<R: Record>(store: &Store, ours: &[&str]) -> Result<Option<String>, StoreError> {
    let records = store.all_records::<R>(None).await?.into_iter();
    let mut ids = records.map(|found| found.record.id());
    let other = ids.find(|id| !ours.contains(&id.as_str()));
    Ok(other.map(|id| format!("{} `{id}`", R::KIND)))
}

/// Takes away the table and the clock.
fn forget(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_report = name.starts_with("payouts-house-");
        if name.starts_with("tables.") || name == "clock" || is_report {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What the demo came to, for the terminal.
#[must_use]
pub fn told(summary: &Value) -> String {
    let text = |name: &str| {
        summary[name]
            .as_str()
            .map_or_else(|| summary[name].to_string(), str::to_owned)
    };
    let mut lines = vec![
        format!("The demo, {} to {}:", text("from"), text("to")),
        format!(
            "  clicks       {:>10}   (robots' among them: {})",
            text("clicks"),
            text("robots")
        ),
        format!(
            "  conversions  {:>10}   (posted again: {}, refused: {}, without a click: {})",
            text("conversions"),
            text("again"),
            text("refused"),
            text("unattributed")
        ),
        format!("  reversals    {:>10}", text("reversals")),
    ];
    for total in summary["totals"].as_array().into_iter().flatten() {
        let of = |name: &str| total[name].as_str().unwrap_or("").to_owned();
        lines.push(format!(
            "  {}  earned {:>10}  reversed {:>9}  paid {:>10}  carried {:>9}  on hold {:>9}",
            of("currency"),
            of("earned"),
            of("reversed"),
            of("paid"),
            of("closing"),
            of("on_hold")
        ));
    }
    lines.push(format!(
        "  payouts      {:>10}   sent and settled: {}",
        text("payouts"),
        text("settled")
    ));
    for period in summary["periods"].as_array().into_iter().flatten() {
        let of = |name: &str| period[name].as_str().unwrap_or("").to_owned();
        lines.push(format!(
            "  {} is closed, sha256 {}",
            of("month"),
            of("sha256")
        ));
    }
    lines.join("\n")
}
