//! The embedded DynamoDB: what stands under the AWS SDK on one machine and in every test.
//!
//! The SDK's HTTP client hands each request to an engine in the same process, so keys,
//! expressions, conditions and the SDK's own retries are the code that runs in production.
//! On its way a request may be recorded, lost, repeated, refused, or cut off for good.

mod calls;
mod engine;
mod faults;

pub use calls::Call;
pub use faults::{Cut, Fault, Faults};

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_sdk_dynamodb::config::retry::{RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use serde_json::Value;

use engine::{Answer, Asked};
use faults::{Network, Reply};

/// The embedded DynamoDB. Cheap to clone; clones share the data, the faults and the record.
#[derive(Clone)]
pub struct Embedded {
    inner: Arc<Inner>,
}

struct Inner {
    database: dynoxide::Database,
    network: Mutex<Network>,
    record: Mutex<Record>,
    keeps_tokens: AtomicBool,
    meddler: Mutex<Option<Meddler>>,
    /// What reads that may lag were answered last, while some lag.
    said: Mutex<BTreeMap<String, Bytes>>,
    /// Held for as long as a clone lives; the system lets go of it when the process dies.
    _lock: Option<File>,
}

/// A call on its way, for something that changes what is asked or what is answered: a planted
/// bug looks like this from the table's side.
#[derive(Debug)]
pub enum Passing<'a> {
    /// Before it is applied. A body that is handed back is the answer, and nobody else is asked.
    Asked {
        function: &'static str,
        operation: &'static str,
        request: &'a mut Value,
    },
    /// As it was applied. What is handed back counts for nothing here.
    Answered {
        operation: &'static str,
        request: &'a Value,
        status: u16,
        answer: &'a mut Value,
    },
}

/// Whether somebody wants to see a call, by operation and body.
type LooksAt = Box<dyn Fn(&str, &[u8]) -> bool + Send>;

struct Meddler {
    looks_at: LooksAt,
    hand: Box<dyn FnMut(Passing<'_>) -> Option<Value> + Send>,
}

struct Record {
    on: bool,
    calls: Vec<Call>,
}

/// Why a folder does not open as a table.
#[derive(Debug)]
pub enum EmbeddedError {
    /// Another process, or another `Embedded` in this one, has the folder open.
    InUse { folder: PathBuf },
    /// The file is not one the engine wrote, or part of it is gone.
    Damaged {
        file: PathBuf,
        source: dynoxide::DynoxideError,
    },
    /// Of tables that were made here nothing is left.
    Emptied { file: PathBuf },
    /// The folder can not be made or written to.
    Folder {
        folder: PathBuf,
        source: std::io::Error,
    },
}

/// Makes a data folder that is not there. It is its owner's alone, since tables hold e-mail addresses
/// and accounts; one that is there already stays as open as somebody wanted it.
///
/// # Errors
/// What the file system says.
pub fn make_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;

    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder)
}

/// A folder in which it stands held tables once.
const MADE: &str = "tables.made";

/// Whether a folder held tables when it was open the last time.
pub fn was_made(folder: &Path) -> bool {
    folder.join(MADE).exists()
}

/// Says that a folder holds tables from here on.
///
/// # Errors
/// What the file system says.
pub fn note_made(folder: &Path) -> std::io::Result<()> {
    std::fs::write(folder.join(MADE), "")
}

impl Embedded {
    /// A fresh, empty engine that is gone with its last clone.
    pub fn in_memory() -> Self {
        let database = dynoxide::Database::memory().expect("SQLite opens in memory");
        Embedded::over(database, None)
    }

    /// The engine over a file in this folder. A write that was answered survives `kill -9`.
    pub fn in_folder(folder: &Path) -> Result<Self, EmbeddedError> {
        let failed = |source| EmbeddedError::Folder {
            folder: folder.to_owned(),
            source,
        };
        make_folder(folder).map_err(failed)?;
        let lock = File::create(folder.join("lock")).map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => EmbeddedError::InUse {
                folder: folder.to_owned(),
            },
            TryLockError::Error(source) => failed(source),
        })?;

        let file = folder.join("tables.sqlite");
        let database = dynoxide::Database::new(&file.to_string_lossy())
            .and_then(|database| {
                // Reads every page that holds items (not the indexes over them), so that a hole
                // shows now and not on pay day.
                database.table_stats()?;
                Ok(database)
            })
            .map_err(|source| EmbeddedError::Damaged {
                file: file.clone(),
                source,
            })?;
        // SQLite takes a file that was emptied, or lost what stood beside it, for a new one.
        if was_made(folder) && database.table_count().is_ok_and(|count| count == 0) {
            return Err(EmbeddedError::Emptied { file });
        }
        Ok(Embedded::over(database, Some(lock)))
    }

    /// A client for one function; every call is recorded under its name.
    ///
    /// It retries like the SDK's standard, three attempts in all, but waits about a millisecond
    /// between them, and has its own retry budget. The SDK's default budget is one for the
    /// process: tests that run beside each other would decide whether a call is repeated. Nothing
    /// is signed: nobody would look at it.
    pub fn client(&self, function: &'static str) -> aws_sdk_dynamodb::Client {
        static CLIENTS: AtomicU64 = AtomicU64::new(0);
        let number = CLIENTS.fetch_add(1, Ordering::Relaxed);
        let budget = RetryPartition::custom(format!("embedded-{number}"))
            .token_bucket(TokenBucket::unlimited())
            .build();
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .allow_no_auth()
            .endpoint_url("http://embedded")
            .retry_partition(budget)
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(3)
                    .with_initial_backoff(Duration::from_millis(1))
                    .with_max_backoff(Duration::from_millis(2)),
            )
            .http_client(Connector {
                embedded: self.clone(),
                function,
            })
            .build();
        aws_sdk_dynamodb::Client::from_conf(config)
    }

    /// From now on these faults are injected; `Faults::none()` turns them off.
    ///
    /// A repeat that is still under way then arrives all the same.
    pub fn set_faults(&self, faults: Faults) {
        self.network().set_faults(faults);
    }

    /// How often each fault was injected, since this engine was made.
    pub fn faults_injected(&self) -> BTreeMap<Fault, u64> {
        self.network().injected()
    }

    /// How many pages were made to end before they held all, since this engine was made.
    pub fn short_pages(&self) -> u64 {
        self.network().short_pages()
    }

    /// All that is still on its way arrives now: DynamoDB takes no request that was signed more
    /// than a few minutes ago.
    pub fn arrive(&self) {
        let late = self.network().late();
        for asked in late {
            engine::answer(&self.inner.database, &asked);
        }
    }

    /// Cuts the line at the call with this number, counted from now and from 0. That call and
    /// all later ones fail, on every client, until [`mend`](Embedded::mend).
    pub fn cut_at(&self, call: u64, when: Cut) {
        self.network().cut_at(call, when);
    }

    /// Ends a cut. True if a call had reached it.
    pub fn mend(&self) -> bool {
        self.network().mend()
    }

    /// How many calls were made since this engine was made, repeats by the SDK and calls that
    /// failed included, recorded or not.
    pub fn call_count(&self) -> u64 {
        self.network().call_count()
    }

    /// What was called while recording was on, in the order in which the calls ended.
    pub fn calls(&self) -> Vec<Call> {
        self.record_kept().calls.clone()
    }

    /// Forgets the recorded calls.
    pub fn clear_calls(&self) {
        self.record_kept().calls.clear();
    }

    /// Turns recording on or off. It is on at first.
    pub fn record(&self, on: bool) {
        self.record_kept().on = on;
    }

    /// Whether the engine remembers the `ClientRequestToken`s of transactions. It does at first.
    ///
    /// It walks through all of the last ten minutes' at every transaction, so in a long row of
    /// transactions each costs more than the one before; none of ours needs them to happen once.
    pub fn keep_tokens(&self, on: bool) {
        self.inner.keeps_tokens.store(on, Ordering::Relaxed);
    }

    /// From now on every call of every client that it wants to look at, by operation and body,
    /// goes through this one's hands.
    pub fn meddle(
        &self,
        looks_at: impl Fn(&str, &[u8]) -> bool + Send + 'static,
        hand: impl FnMut(Passing<'_>) -> Option<Value> + Send + 'static,
    ) {
        *self.meddler() = Some(Meddler {
            looks_at: Box::new(looks_at),
            hand: Box::new(hand),
        });
    }

    /// The engine below, past faults and records: for sweeping expired items and reading streams.
    pub fn engine(&self) -> &dynoxide::Database {
        &self.inner.database
    }

    /// Serves the same tables over HTTP, for binaries in other processes, until it is dropped.
    ///
    /// What arrives here is neither recorded nor given faults.
    pub async fn serve(&self, listener: tokio::net::TcpListener) -> std::io::Result<()> {
        let database = self.inner.database.clone();
        dynoxide::server::serve_with_shutdown(listener, database, std::future::pending())
            .await
            .map_err(std::io::Error::other)
    }

    fn over(database: dynoxide::Database, lock: Option<File>) -> Self {
        let record = Record {
            on: true,
            calls: Vec::new(),
        };
        Embedded {
            inner: Arc::new(Inner {
                database,
                network: Mutex::new(Network::default()),
                record: Mutex::new(record),
                keeps_tokens: AtomicBool::new(true),
                meddler: Mutex::new(None),
                said: Mutex::new(BTreeMap::new()),
                _lock: lock,
            }),
        }
    }

    async fn call(
        &self,
        function: &'static str,
        mut asked: Asked,
    ) -> Result<HttpResponse, ConnectorError> {
        let operation = asked.operation;
        asked.keeps_token = self.inner.keeps_tokens.load(Ordering::Relaxed);
        let is_looked_at = self.is_looked_at(&asked);
        if is_looked_at {
            let mut request = tree(&asked.body);
            if let Some(meddler) = self.meddler().as_mut()
                && let Some(body) = (meddler.hand)(Passing::Asked {
                    function,
                    operation,
                    request: &mut request,
                })
            {
                return Ok(response(200, text(&body)));
            }
            asked.body = text(&request);
        }
        let plan = self.network().next(&mut asked);
        if let Some(wait) = plan.wait {
            tokio::time::sleep(wait).await;
        }
        // The engine never waits, so without this two tasks would run one after the other.
        for _ in 0..plan.yields {
            tokio::task::yield_now().await;
        }
        for late in plan.repeats {
            engine::answer(&self.inner.database, &late);
        }

        let recording = self.record_kept().on;
        let mut call = recording.then(|| {
            let mut request = tree(&asked.body);
            let call = Call::of(function, operation, &request);
            calls::ask_for_units(operation, &mut request);
            asked.body = text(&request);
            call
        });
        let lags = matches!(plan.reply, Reply::Stale) || self.network().is_lagging(&asked);
        let applied = plan
            .applied
            .then(|| engine::answer(&self.inner.database, &asked));
        let cut_short = applied.as_ref().filter(|_| asked.page.is_some());
        if cut_short.is_some_and(|answer| has_next_page(&answer.body)) {
            self.network().count_short_page();
        }
        if let (Some(call), Some(answer)) = (&mut call, &applied) {
            call.units_tenths = calls::units_tenths(&tree(&answer.body));
        }
        self.record_kept().calls.extend(call);
        // The SDK writes the same question with its members in any order.
        let question = lags.then(|| tree(&asked.body).to_string());
        if let (Some(question), Some(answer)) = (&question, &applied) {
            self.said().insert(question.clone(), answer.body.clone());
        }

        let mut answer = match (plan.reply, applied) {
            (Reply::Lost, _) => return Err(ConnectorError::io("the request was lost".into())),
            (Reply::TimedOut, _) => {
                return Err(ConnectorError::timeout("the answer was lost".into()));
            }
            (Reply::Never, _) => return std::future::pending().await,
            (Reply::Stale, _) => Answer {
                status: 200,
                body: question
                    .and_then(|question| self.said().get(&question).cloned())
                    .unwrap_or_else(|| nothing(operation)),
            },
            (Reply::Refused(answer), _) | (Reply::Engine, Some(answer)) => answer,
            (Reply::Engine, None) => unreachable!("only an applied call is answered by the engine"),
        };
        if is_looked_at && let Some(meddler) = self.meddler().as_mut() {
            let mut body = tree(&answer.body);
            (meddler.hand)(Passing::Answered {
                operation,
                request: &tree(&asked.body),
                status: answer.status,
                answer: &mut body,
            });
            answer.body = text(&body);
        }
        Ok(response(answer.status, answer.body))
    }

    fn is_looked_at(&self, asked: &Asked) -> bool {
        let meddler = self.meddler();
        let meddler = meddler.as_ref();
        meddler.is_some_and(|meddler| (meddler.looks_at)(asked.operation, &asked.body))
    }

    fn meddler(&self) -> MutexGuard<'_, Option<Meddler>> {
        self.inner
            .meddler
            .lock()
            .expect("no code panics while it holds the meddler")
    }

    fn said(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.inner
            .said
            .lock()
            .expect("no code panics while it holds what was said")
    }

    fn network(&self) -> MutexGuard<'_, Network> {
        self.inner
            .network
            .lock()
            .expect("no code panics while it holds the network")
    }

    fn record_kept(&self) -> MutexGuard<'_, Record> {
        self.inner
            .record
            .lock()
            .expect("no code panics while it holds the record")
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Embedded")
    }
}

impl fmt::Display for EmbeddedError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EmbeddedError::InUse { folder } => {
                write!(
                    formatter,
                    "`{}` is in use by another process",
                    folder.display()
                )
            }
            EmbeddedError::Damaged { file, .. } => {
                write!(formatter, "`{}` is damaged", file.display())
            }
            EmbeddedError::Emptied { file } => {
                write!(
                    formatter,
                    "`{}` is empty and was not: put it back with the files beside it, or take another folder",
                    file.display()
                )
            }
            EmbeddedError::Folder { folder, .. } => {
                write!(formatter, "`{}` can not be used", folder.display())
            }
        }
    }
}

impl std::error::Error for EmbeddedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            EmbeddedError::InUse { .. } | EmbeddedError::Emptied { .. } => None,
            EmbeddedError::Damaged { source, .. } => Some(source),
            EmbeddedError::Folder { source, .. } => Some(source),
        }
    }
}

/// One function's line to the engine.
#[derive(Debug, Clone)]
struct Connector {
    embedded: Embedded,
    function: &'static str,
}

impl HttpClient for Connector {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Connector { embedded, function } = self.clone();
        HttpConnectorFuture::new(async move {
            let asked = asked(&request).map_err(ConnectorError::user)?;
            embedded.call(function, asked).await
        })
    }
}

fn asked(request: &HttpRequest) -> Result<Asked, Box<dyn std::error::Error + Send + Sync>> {
    let target = request.headers().get("x-amz-target").unwrap_or_default();
    let operation = target
        .strip_prefix("DynamoDB_20120810.")
        .and_then(engine::operation)
        .ok_or_else(|| format!("the embedded table does not know `{target}`"))?;
    let body = request.body().bytes().ok_or("the body is a stream")?;
    Ok(Asked {
        operation,
        body: Bytes::copy_from_slice(body),
        page: None,
        keeps_token: true,
    })
}

fn tree(body: &[u8]) -> Value {
    serde_json::from_slice(body).expect("the SDK and the engine write JSON")
}

fn text(tree: &Value) -> Bytes {
    tree.to_string().into()
}

/// What a read finds where nothing is.
fn has_next_page(body: &[u8]) -> bool {
    let body = std::str::from_utf8(body).unwrap_or_default();
    body.contains(r#""LastEvaluatedKey""#)
}

fn nothing(operation: &str) -> Bytes {
    match operation {
        "Query" => Bytes::from_static(br#"{"Items":[],"Count":0,"ScannedCount":0}"#),
        _ => Bytes::from_static(b"{}"),
    }
}

fn response(status: u16, body: Bytes) -> HttpResponse {
    let status = status
        .try_into()
        .expect("the engine answers with a status of HTTP");
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    response
        .headers_mut()
        .insert("content-type", "application/x-amz-json-1.0");
    response
}

#[cfg(test)]
mod tests;
