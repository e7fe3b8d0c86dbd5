//! The functions side by side, on one table and one clock.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::error::BoxError;
use http::{Method, StatusCode, header};
use jiff::Timestamp;
use jiff::civil::Date;
use redirect::Redirect;
use serde_json::json;
use shared::app::{App, Keys};
use shared::http_types::{Fields, Problem, Request, Response};
use shared::keys::KeyRing;
use shared::lambda::{Schedule, Watch};
use shared::period::{day_of, days_after, start_of};
use shared::rights::{ApiKey, KeyText, Role};
use shared::store::{Audit, Created, Store};
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::embedded::{self, Embedded};
use crate::lanes::Lanes;
use crate::tables;

/// At this hour (UTC) the run of the day before is due.
const DUE_HOUR: i64 = 1;

/// What goes to the payout function, and what to the report function; see `template.yaml`.
const PAYOUT: [&str; 3] = [
    "/api/v1/payout-runs",
    "/api/v1/payouts",
    "/api/v1/adjustments",
];
const REPORT: [&str; 3] = ["/api/v1/reports", "/api/v1/periods", "/api/v1/statements"];

/// Every function, as Lambda would run it, without Lambda.
#[derive(Debug)]
pub struct Stack {
    pub table: Embedded,
    pub clock: Clock,
    pub app: App,
    /// Where requests from the socket wait.
    pub(crate) lanes: Lanes,
    redirect: Redirect,
    postback: App,
    payout: App,
    report: App,
    console: App,
    /// Off: daily runs are asked for.
    has_schedule: bool,
    reconciles: bool,
    /// One at a time: the clock's jumps and the daily runs that fall due by themselves.
    schedule: Mutex<Timestamp>,
}

/// How a stack is started.
#[derive(Debug)]
pub struct Start<'a> {
    /// None: in memory.
    pub folder: Option<&'a Path>,
    pub now: Timestamp,
    pub public_url: &'a str,
    pub admin_key: Option<&'a str>,
    pub has_schedule: bool,
    /// Whether all books are added up after the daily runs, and what has expired is taken out.
    pub reconciles: bool,
}

impl Stack {
    /// Opens or makes the table, the keys and the first admin's key, which is answered.
    ///
    /// # Errors
    /// One line for the operator.
    pub async fn start(start: &Start<'_>) -> Result<(Self, String), BoxError> {
        let table = match start.folder {
            None => Embedded::in_memory(),
            Some(folder) => Embedded::in_folder(folder)?,
        };
        let names = tables::names();
        tables::create(&table.client("setup"), &names).await?;
        let keys = Arc::new(Keys::fixed(key_ring(start.folder)?));
        let app = |function: &'static str| App {
            store: Store::new(table.client(function), names.clone()),
            keys: Arc::clone(&keys),
            public_url: start.public_url.to_owned(),
            fallback_url: None,
            is_one_machine: true,
            // The embedded engine does one thing at a time: a listing sees all that was done.
            second_listing_after: Duration::ZERO,
        };
        let file = start.folder.map(|folder| folder.join("clock"));
        let clock = Clock::starting(start.now, file)?;
        let admin_key = admin_key(&app("setup"), start, clock.now()).await?;
        if let Some(folder) = start.folder {
            embedded::note_made(folder)?;
        }
        let next_day = app("setup").store.next_day_to_run().await?;
        let stack = Self {
            app: app("setup"),
            lanes: Lanes::new(),
            redirect: Redirect::new(app("redirect")),
            postback: app("postback"),
            payout: app("payout"),
            report: app("report"),
            console: app("console"),
            has_schedule: start.has_schedule,
            reconciles: start.reconciles,
            schedule: Mutex::new(scheduled_from(clock.now(), next_day)),
            table,
            clock,
        };
        Ok((stack, admin_key))
    }

    /// Answers one request; its `now` is the clock's.
    pub async fn handle(&self, mut request: Request) -> Response {
        request.now = self.clock.now();
        let path = request.path.clone();
        let is_under = |root: &str| is_under(&path, root);
        if is_under("/dev") {
            return self.dev(&request).await.into();
        }
        // Boxed: all functions in one future are too much for a test thread's stack.
        if is_under("/r") || is_under("/i") {
            Box::pin(redirect::handle(&self.redirect, request)).await
        } else if is_under("/postback") {
            Box::pin(postback::handle(&self.postback, request)).await
        } else if PAYOUT.into_iter().any(is_under) {
            Box::pin(payout::handle(
                &self.payout,
                request,
                Watch::without_deadline(),
            ))
            .await
        } else if REPORT.into_iter().any(is_under) {
            Box::pin(report::handle(&self.report, request)).await
        } else {
            Box::pin(console::handle(&self.console, request)).await
        }
    }

    async fn dev(&self, request: &Request) -> Result<Response, Problem> {
        // There is no key here. A browser says where a page comes from that asks by script.
        let origin = request.headers.get(header::ORIGIN);
        if origin.is_some_and(|origin| *origin != *self.app.public_url) {
            return Err(Problem::forbidden("forbidden"));
        }
        match (&request.method, request.path.as_str()) {
            (&Method::GET, "/dev/health") => Ok(self.health()),
            (&Method::GET, "/dev/clock") => Ok(self.time()),
            (&Method::POST, "/dev/clock") => {
                let mut fields = Fields::from_json(&request.body)?;
                let now = fields
                    .instant("now")?
                    .ok_or_else(|| Problem::invalid("parameter_missing", "now"))?;
                fields.finish()?;
                self.move_to(now).await?;
                Ok(self.time())
            }
            (_, "/dev/health") => Err(Problem::method_not_allowed("GET")),
            (_, "/dev/clock") => Err(Problem::method_not_allowed("GET, POST")),
            _ => Err(Problem::not_found()),
        }
    }

    /// What was lost and refused is counted from the start of the process.
    fn health(&self) -> Response {
        let health = json!({
            "status": "ready",
            "lost_clicks": self.redirect.lost_clicks(),
            "turned_away": self.lanes.turned_away(),
        });
        Response::json(StatusCode::OK, &health)
    }

    fn time(&self) -> Response {
        let now = self.clock.now().to_string();
        Response::json(StatusCode::OK, &json!({ "now": now }))
    }

    /// Moves the clock, and on the way makes every run that falls due, in order.
    async fn move_to(&self, to: Timestamp) -> Result<(), Problem> {
        let mut seen = self.schedule.lock().await;
        if to < self.clock.now() {
            return Err(Problem::invalid("clock_backwards", "now"));
        }
        if self.has_schedule {
            self.run_due(*seen, to).await?;
        }
        *seen = to;
        self.forward(to);
        Ok(())
    }

    /// While runs were made time went on, so it may be later than that already.
    fn forward(&self, to: Timestamp) {
        if self.clock.move_to(to).is_err() {
            tracing::debug!(to = %to, "the clock is past this instant already");
        }
    }

    /// Makes the runs that fall due as real time passes, for as long as the stack runs.
    pub async fn keep_schedule(&self) {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut seen = self.schedule.lock().await;
            let now = self.clock.now();
            if self.has_schedule && self.run_due(*seen, now).await.is_ok() {
                *seen = now;
            }
        }
    }

    /// The runs due after `from`, up to and including `to`; after the last of them the reconciliation,
    /// and what has expired goes.
    async fn run_due(&self, from: Timestamp, to: Timestamp) -> Result<(), Problem> {
        let mut day = day_of(from);
        let mut last = None;
        loop {
            let due = start_of(day)
                .checked_add(jiff::SignedDuration::from_hours(DUE_HOUR))
                .unwrap_or(Timestamp::MAX);
            if to < due {
                break;
            }
            if from < due {
                self.forward(due);
                let schedule = Schedule {
                    day: None,
                    scheduled_time: due,
                };
                let run = payout::scheduled(&self.payout, &schedule, Watch::without_deadline());
                if let Err(error) = run.await {
                    tracing::error!(error = %error, "a daily run failed");
                    return Err(Problem::unavailable());
                }
                last = Some(schedule);
            }
            day = days_after(day, 1);
        }
        if let Some(schedule) = last
            && self.reconciles
        {
            let made = Box::pin(report::scheduled(&self.report, &schedule)).await;
            made.map_err(|_| Problem::unavailable())?;
            match tables::sweep(&self.table, self.clock.now()).await {
                Ok(swept) => tracing::debug!(swept, "took out what has expired"),
                // It counts for nothing all the same, and the next day's sweep finds it.
                Err(error) => tracing::warn!(error, "could not take out what has expired"),
            }
        }
        Ok(())
    }
}

/// From when on runs are due at a start: from now on, or since a day that was left without its run
/// by a process that ended before or in it.
fn scheduled_from(now: Timestamp, next_day: Option<Date>) -> Timestamp {
    next_day.map_or(now, |day| start_of(days_after(day, 1)).min(now))
}

/// Whether a path is this one, or leads on from it.
pub(crate) fn is_under(path: &str, root: &str) -> bool {
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The keys in the folder; new ones are readable by their owner alone.
fn key_ring(folder: Option<&Path>) -> Result<KeyRing, BoxError> {
    let Some(folder) = folder else {
        return Ok(KeyRing::generate("local", shared::app::random())?.0);
    };
    let file = folder.join("keys.json");
    if file.exists() {
        return Ok(KeyRing::parse(&std::fs::read_to_string(file)?)?);
    }
    if embedded::was_made(folder) {
        return Err(format!(
            "`{}` is missing, and signed what stands here",
            file.display()
        )
        .into());
    }
    let (ring, text) = KeyRing::generate("local", shared::app::random())?;
    write_secret(&file, &text)?;
    Ok(ring)
}

/// The first admin's key: the one that is given, else the folder's, else a new one.
async fn admin_key(app: &App, start: &Start<'_>, now: Timestamp) -> Result<String, BoxError> {
    let file = start.folder.map(|folder| folder.join("admin-key"));
    let kept = file
        .as_ref()
        .and_then(|file| std::fs::read_to_string(file).ok())
        // One that was cut off when it was written is none.
        .filter(|kept| KeyText::given(kept).is_some());
    let new = || KeyText::new(&shared::app::random()).text;
    let mut text = match (start.admin_key, &kept) {
        (Some(given), _) => given.to_owned(),
        (None, Some(kept)) => kept.clone(),
        (None, None) => new(),
    };
    if !opens(app, &text, now).await? {
        if start.admin_key.is_some() {
            return Err("the key that --admin-key gives was ended, or is no admin's".into());
        }
        // Whoever may read the folder is its admin: one that was ended has a successor.
        text = new();
        opens(app, &text, now).await?;
    }
    if let Some(file) = file
        && kept.as_ref() != Some(&text)
    {
        write_secret(&file, &text)?;
    }
    Ok(text)
}

/// Whether this is an admin's key from here on: made now if it is unknown.
async fn opens(app: &App, text: &str, now: Timestamp) -> Result<bool, BoxError> {
    let key =
        KeyText::given(text).ok_or("the admin key must be 32 to 128 visible ASCII characters")?;
    let audit = Audit {
        key: "start".to_owned(),
        person: "operator".to_owned(),
        what: "create key".to_owned(),
        reason: None,
    };
    let key = ApiKey::admin(&key, "operator");
    let (Created::New(key) | Created::Exists(key)) = app.store.create(&key, now, &audit).await?;
    let caller = key.record.admits(text, now);
    Ok(caller.is_some_and(|caller| caller.role == Role::Admin))
}

/// Writes a file that only its owner can read, whole: whoever dies meanwhile leaves the old one.
///
/// # Errors
/// What the file system says.
pub fn write_secret(file: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    let new = file.with_extension("new");
    // What was left there by a start that died may be open to others.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    let mut written = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    written.write_all(text.as_bytes())?;
    written.sync_all()?;
    std::fs::rename(new, file)
}
