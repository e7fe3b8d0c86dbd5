//! A small parameter store, over HTTP, for one parameter after the other.
//!
//! Actions, members and errors are those of the AWS Systems Manager API Reference, "GetParameter"
//! and "PutParameter", as AWS JSON 1.1.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The store. It serves until the runtime of the test ends.
#[derive(Debug, Clone, Default)]
pub struct Ssm(Arc<Kept>);

/// How the store takes a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Answers,
    /// Every request gets an error.
    Fails,
    /// No request gets an answer.
    Hangs,
}

#[derive(Debug, Default)]
struct Kept {
    values: Mutex<HashMap<String, String>>,
    readings: AtomicUsize,
    mood: Mutex<Mood>,
}

impl Ssm {
    /// An empty store, and its address.
    pub async fn start() -> (Self, String) {
        let ssm = Self::default();
        let router = Router::new()
            .route("/", post(answer))
            .with_state(ssm.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port is free");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        (ssm, format!("http://{address}"))
    }

    /// The text of a parameter.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<String> {
        self.values().get(name).cloned()
    }

    /// Puts a text there, whatever stood there.
    pub fn set(&self, name: &str, value: &str) {
        self.values().insert(name.to_owned(), value.to_owned());
    }

    /// How often a parameter was asked for.
    #[must_use]
    pub fn readings(&self) -> usize {
        self.0.readings.load(Ordering::SeqCst)
    }

    /// How it takes requests from now on.
    pub fn turn(&self, mood: Mood) {
        *self.mood() = mood;
    }

    fn mood(&self) -> MutexGuard<'_, Mood> {
        self.0.mood.lock().expect("nobody panics while holding it")
    }

    fn values(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.0
            .values
            .lock()
            .expect("nobody panics while holding it")
    }

    fn get(&self, asked: &Value) -> Result<Value, &'static str> {
        if asked["WithDecryption"] != true {
            return Err("ValidationException");
        }
        let name = asked["Name"].as_str().ok_or("ValidationException")?;
        let value = self.value(name).ok_or("ParameterNotFound")?;
        Ok(json!({"Parameter": {"Name": name, "Type": "SecureString", "Value": value}}))
    }

    fn put(&self, asked: &Value) -> Result<Value, &'static str> {
        let text = |name: &str| asked[name].as_str().ok_or("ValidationException");
        if text("Type")? != "SecureString" {
            return Err("UnsupportedParameterType");
        }
        let (name, value) = (text("Name")?, text("Value")?);
        if self.value(name).is_some() && asked["Overwrite"] != true {
            return Err("ParameterAlreadyExists");
        }
        self.set(name, value);
        Ok(json!({"Tier": "Standard", "Version": 1}))
    }
}

async fn answer(State(ssm): State<Ssm>, headers: HeaderMap, body: String) -> Response {
    let target = headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok());
    if target == Some("AmazonSSM.GetParameter") {
        ssm.0.readings.fetch_add(1, Ordering::SeqCst);
    }
    let mood = *ssm.mood();
    if mood == Mood::Hangs {
        return std::future::pending().await;
    }
    let asked: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
    let answered = match target {
        _ if mood == Mood::Fails => Err("ValidationException"),
        Some("AmazonSSM.GetParameter") => ssm.get(&asked),
        Some("AmazonSSM.PutParameter") => ssm.put(&asked),
        _ => Err("UnknownOperationException"),
    };
    let (status, body) = match answered {
        Ok(body) => (StatusCode::OK, body),
        Err(kind) => (StatusCode::BAD_REQUEST, json!({"__type": kind})),
    };
    let kind = [("content-type", "application/x-amz-json-1.1")];
    (status, kind, body.to_string()).into_response()
}
