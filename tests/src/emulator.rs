//! A small Lambda Runtime API: it starts a function's own binary and feeds it events.
//!
//! Paths and headers are those of the Lambda Developer Guide, "Using the Lambda runtime API for
//! custom runtimes", version 2018-06-01.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path as Segments, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc, oneshot};

type Answer = Result<Value, Value>;

/// A function's variables, with the keys as its ring is written and the table at an address.
#[must_use]
pub fn environment(keys: String, endpoint: String) -> [(&'static str, String); 8] {
    let names = clickledger::tables::names();
    [
        ("TABLE_NAME", names.core),
        ("LEDGER_TABLE_NAME", names.ledger),
        ("KEYS", keys),
        ("PUBLIC_URL", "https://go.example".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "local".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
        ("AWS_ENDPOINT_URL_DYNAMODB", endpoint),
    ]
}

/// The deadline of whoever does not look at it: far in the future.
const DEADLINE_MS: u64 = 9_999_999_999_999;

#[derive(Debug)]
struct Sent {
    id: String,
    deadline_ms: u64,
    event: Value,
}

#[derive(Debug)]
struct Shared {
    events: Mutex<mpsc::UnboundedReceiver<Sent>>,
    waiting: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
    /// Why the function could not start, as it reported it.
    init_error: Mutex<Option<Value>>,
}

/// A function that runs as it would on Lambda. It ends when this is dropped.
#[derive(Debug)]
pub struct Emulated {
    shared: Arc<Shared>,
    events: mpsc::UnboundedSender<Sent>,
    child: Mutex<Child>,
}

impl Emulated {
    /// Starts a binary with this environment and nothing else of the process's own.
    pub async fn start(binary: &Path, environment: &[(&str, String)]) -> Self {
        Self::start_with_log(binary, environment, Stdio::null()).await
    }

    /// The same, and its log goes there.
    pub async fn start_with_log(
        binary: &Path,
        environment: &[(&str, String)],
        log: impl Into<Stdio>,
    ) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            events: Mutex::new(receiver),
            waiting: Mutex::new(HashMap::new()),
            init_error: Mutex::new(None),
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route(
                "/2018-06-01/runtime/invocation/{id}/response",
                post(response),
            )
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            // As Lambda: 6 MiB of answer and what surrounds them.
            .layer(DefaultBodyLimit::max(7 * 1024 * 1024))
            .with_state(Arc::clone(&shared));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port is free");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        tokio::spawn(async move { axum::serve(listener, router).await });

        let mut command = Command::new(binary);
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "under-test")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "group")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "stream")
            .stdout(log)
            .kill_on_drop(true);
        for (name, value) in environment {
            command.env(name, value);
        }
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        Self {
            shared,
            events: sender,
            child: Mutex::new(child),
        }
    }

    /// Hands one event over; what the function answers, or the error that it reports.
    ///
    /// # Errors
    /// The error report of the function, also where it could not start.
    pub async fn invoke(&self, event: Value) -> Answer {
        self.invoke_until(event, DEADLINE_MS).await
    }

    /// The same, with an instant (Unix time in milliseconds) at which Lambda would end it.
    ///
    /// # Errors
    /// As [`Emulated::invoke`].
    pub async fn invoke_until(&self, event: Value, deadline_ms: u64) -> Answer {
        let id = format!("{:032x}", u128::from_be_bytes(shared::app::random()));
        let (answer, answered) = oneshot::channel();
        self.shared.waiting.lock().await.insert(id.clone(), answer);
        self.events
            .send(Sent {
                id,
                deadline_ms,
                event,
            })
            .expect("the emulator lives as long as this");
        let mut child = self.child.lock().await;
        tokio::select! {
            answer = answered => answer.expect("every event is answered once"),
            status = child.wait() => match self.shared.init_error.lock().await.take() {
                Some(error) => Err(error),
                None => panic!("the function ended instead of answering: {status:?}"),
            },
        }
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    let Some(sent) = shared.events.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let event = sent.event;
    let headers = [
        ("lambda-runtime-aws-request-id", sent.id),
        ("lambda-runtime-deadline-ms", sent.deadline_ms.to_string()),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:us-east-1:123456789012:function:under-test".to_owned(),
        ),
        (
            "lambda-runtime-trace-id",
            "Root=1-00000000-000000000000000000000000".to_owned(),
        ),
    ];
    (headers, event.to_string()).into_response()
}

async fn answered(shared: &Shared, id: &str, answer: Answer) -> StatusCode {
    match shared.waiting.lock().await.remove(id) {
        Some(waiting) => {
            drop(waiting.send(answer));
            StatusCode::ACCEPTED
        }
        None => StatusCode::BAD_REQUEST,
    }
}

async fn response(
    State(shared): State<Arc<Shared>>,
    Segments(id): Segments<String>,
    body: Bytes,
) -> StatusCode {
    let value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    answered(&shared, &id, Ok(value)).await
}

async fn error(
    State(shared): State<Arc<Shared>>,
    Segments(id): Segments<String>,
    body: Bytes,
) -> StatusCode {
    let value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    answered(&shared, &id, Err(value)).await
}

async fn init_error(State(shared): State<Arc<Shared>>, body: Bytes) -> StatusCode {
    let value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    *shared.init_error.lock().await = Some(value);
    StatusCode::ACCEPTED
}

/// An event as a Function URL sends it (payload version 2.0).
#[must_use]
pub fn function_url_event(
    method: &str,
    path_and_query: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
    epoch_ms: i64,
) -> Value {
    let (path, query) = path_and_query
        .split_once('?')
        .unwrap_or((path_and_query, ""));
    let (cookies, headers): (Vec<_>, Vec<_>) = headers
        .iter()
        .partition(|(name, _)| name.eq_ignore_ascii_case("cookie"));
    let cookies: Vec<&str> = cookies
        .iter()
        .flat_map(|(_, value)| value.split("; "))
        .collect();
    let headers: serde_json::Map<String, Value> = headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), json!(value)))
        .collect();
    let mut event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query, "headers": headers,
        "requestContext": {
            "accountId": "anonymous", "apiId": "url", "domainName": "url.lambda-url.us-east-1.on.aws", "domainPrefix": "url",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7", "userAgent": "test"},
            "requestId": "id", "routeKey": "$default", "stage": "$default", "time": "", "timeEpoch": epoch_ms,
        },
        "isBase64Encoded": false,
    });
    if !cookies.is_empty() {
        event["cookies"] = json!(cookies);
    }
    if let Some(body) = body {
        event["body"] = json!(body);
    }
    event
}
