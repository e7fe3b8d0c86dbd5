//! The edge on AWS: what Lambda sends, as requests and schedules; answers, as Lambda takes them.

mod event;
mod front;
mod watch;

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use jiff::SignedDuration;
use lambda_runtime::layers::TracingLayer;
use lambda_runtime::{Diagnostic, LambdaEvent, Runtime, service_fn};
use serde_json::Value;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::http_types::{Request, Response};

pub use event::Schedule;
use event::{Event, NotAnEvent};
pub use front::Front;
pub use watch::Watch;

/// Those that may tell details.
const OUR_CRATES: [&str; 7] = [
    "shared",
    "redirect",
    "postback",
    "payout",
    "report",
    "console",
    "clickledger",
];

/// CloudFront gives a function that makes runs up after 60 s without an answer.
const RUN_WITHIN: SignedDuration = SignedDuration::from_secs(55);
/// And any other after 30 s.
const ANSWERED_WITHIN: SignedDuration = SignedDuration::from_secs(28);

/// Serves a function that answers HTTP only, until Lambda ends the process. Each request comes with
/// the time until which it must be answered.
///
/// `init` runs once, before the first event: it builds what every event shares. If it fails, the
/// process says why in one line on stderr and ends, and Lambda tries again with the next event.
pub fn serve<S, E, I, H>(init: I, http: H) -> ExitCode
where
    E: Error,
    I: AsyncFnOnce() -> Result<S, E>,
    H: AsyncFn(&S, Request, Watch<'static>) -> Response,
{
    run(init, async |state: &S, event, watch| match event {
        Event::Http(request) => {
            let watch = watch.within(ANSWERED_WITHIN);
            let takes_gzip = event::takes_gzip(&request);
            let response = http(state, request, watch).await;
            Ok(event::answer(&response, takes_gzip))
        }
        Event::Schedule(_) => Err(Failure::new("UnknownEvent", &NotAnEvent::Unscheduled)),
    })
}

/// Serves a function that answers HTTP and also runs by schedule, and may need long for both: it
/// is told until when it may work.
///
/// A run that fails is an error for Lambda, which repeats it and then keeps it in the dead-letter
/// queue. A successful answer that says "failed" would be thrown away.
pub fn serve_scheduled<S, E, F, I, H, R>(init: I, http: H, run_once: R) -> ExitCode
where
    E: Error,
    F: Error,
    I: AsyncFnOnce() -> Result<S, E>,
    H: AsyncFn(&S, Request, Watch<'static>) -> Response,
    R: AsyncFn(&S, Schedule, Watch<'static>) -> Result<Value, F>,
{
    run(init, async |state: &S, event, watch| match event {
        Event::Http(request) => {
            let watch = watch.within(RUN_WITHIN);
            let takes_gzip = event::takes_gzip(&request);
            let response = http(state, request, watch).await;
            Ok(event::answer(&response, takes_gzip))
        }
        Event::Schedule(schedule) => run_once(state, schedule, watch)
            .await
            .map_err(|error| Failure::new("ScheduledRunFailed", &error)),
    })
}

/// Sends the logs to stdout (where Lambda looks for them) or stderr, one JSON object a line, with
/// `timestamp` and `level`. `filter` is a level or a list like `warn,shared=debug`.
pub fn logs<W>(filter: &str, to: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    log_lines(filter, to).init();
}

/// The same, before it takes up anybody's lines. Whatever the filter says, of others' crates it takes
/// only what they tell at `info` and above: below, the SDK prints whole items as they come and go.
pub fn log_lines<W>(filter: &str, to: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_writer(to)
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_ansi(false)
        .finish()
        .with(filter_fn(|of| {
            *of.level() <= Level::INFO
                || OUR_CRATES
                    .iter()
                    .any(|ours| Some(*ours) == of.target().split("::").next())
        }))
}

fn run<S, E, I, H>(init: I, handle: H) -> ExitCode
where
    E: Error,
    I: AsyncFnOnce() -> Result<S, E>,
    H: AsyncFn(&S, Event, Watch<'static>) -> Result<Value, Failure>,
{
    // One thread: an instance serves one event at a time, and a second thread doubles what a
    // write costs in CPU.
    let tokio = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(tokio) => tokio,
        Err(error) => return could_not("start", &error),
    };
    tokio.block_on(async {
        let state = match init().await {
            Ok(state) => state,
            Err(error) => return could_not("start", &error),
        };
        let (state, handle) = (&state, &handle);
        let service = service_fn(move |event: LambdaEvent<Value>| async move {
            let event_deadline = event.context.deadline;
            let event = Event::read(event.payload, watch::now)
                .map_err(|error| Failure::new("UnknownEvent", &error))?;
            handle(state, event, Watch::until(event_deadline)).await
        });
        match Runtime::new(service).layer(TracingLayer::new()).run().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => could_not("go on", error.as_ref()),
        }
    })
}

fn could_not(go: &str, error: &dyn Error) -> ExitCode {
    eprintln!("could not {go}: {}", whole(error));
    ExitCode::FAILURE
}

/// An error with its causes, in one line.
#[must_use]
pub fn whole(error: &dyn Error) -> String {
    std::iter::successors(error.source(), |&cause| cause.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// What the runtime logs once, as it is, and reports to Lambda.
struct Failure {
    kind: &'static str,
    message: String,
}

impl Failure {
    fn new(kind: &'static str, error: &dyn Error) -> Self {
        Self {
            kind,
            message: whole(error),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl From<Failure> for Diagnostic {
    fn from(failure: Failure) -> Self {
        Self {
            error_type: failure.kind.to_owned(),
            error_message: failure.message,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn at_any_level_others_tell_no_details() {
        let lines = Lines::default();
        let kept = lines.clone();
        tracing::subscriber::with_default(log_lines("trace", move || kept.clone()), || {
            tracing::trace!(target: "aws_smithy_runtime::client", "a whole item");
            tracing::debug!(target: "lambda_runtime", "a whole event");
            tracing::info!(target: "lambda_runtime", "an instance");
            tracing::trace!(target: "shared::store", "a detail");
        });
        let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let told: Vec<&str> = ["a whole item", "a whole event", "an instance", "a detail"]
            .into_iter()
            .filter(|text| lines.contains(text))
            .collect();
        assert_eq!(told, ["an instance", "a detail"]);
    }
}
