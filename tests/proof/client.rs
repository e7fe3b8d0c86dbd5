//! Requests to the one-machine stack over HTTP, by a thread that waits for each answer.

use std::time::Duration;

use http::{Method, Request};
use serde_json::Value;
use tests::BROWSER;

use crate::stack::ADMIN;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    pub retry_after: Option<String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The click id at the end of where a visitor is sent.
    pub fn click_id(&self) -> Option<String> {
        let (_, id) = self.location.as_ref()?.rsplit_once("click_id=")?;
        (self.status == 302).then(|| id.to_owned())
    }
}

/// A request that can be sent again as it is.
#[derive(Debug, Clone)]
pub struct Asked {
    method: Method,
    path: String,
    key: Option<String>,
    body: Option<Value>,
}

impl Asked {
    pub fn visit(slug: &str) -> Self {
        Self::bare(&format!("/r/{slug}"))
    }

    /// Of a shop's server.
    pub fn post(path: &str, body: Value) -> Self {
        Self {
            method: Method::POST,
            path: path.to_owned(),
            key: None,
            body: Some(body),
        }
    }

    /// Of somebody with a key.
    pub fn api(method: Method, path: &str, key: &str, body: Option<Value>) -> Self {
        Self {
            method,
            path: format!("/api/v1/{path}"),
            key: Some(key.to_owned()),
            body,
        }
    }

    pub fn get(path: &str) -> Self {
        Self::api(Method::GET, path, ADMIN, None)
    }

    pub fn clock() -> Self {
        Self::bare("/dev/clock")
    }

    pub fn health() -> Self {
        Self::bare("/dev/health")
    }

    fn bare(path: &str) -> Self {
        Self {
            method: Method::GET,
            path: path.to_owned(),
            key: None,
            body: None,
        }
    }

    pub fn turn(now: &str) -> Self {
        Self::post("/dev/clock", serde_json::json!({ "now": now }))
    }
}

/// Somebody who speaks to the stack.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    url: String,
}

impl Client {
    /// Every request has a connection of its own: none that was there before a kill is used after it.
    pub fn new(url: &str) -> Self {
        Self::keeping(url, 0)
    }

    /// With so many connections that are used again.
    pub fn keeping(url: &str, connections: usize) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections)
            .timeout_global(Some(Duration::from_secs(120)))
            .build();
        Self {
            agent: config.into(),
            url: url.to_owned(),
        }
    }

    pub fn send(&self, asked: &Asked) -> Result<Answer, ureq::Error> {
        let mut request = Request::builder()
            .method(asked.method.clone())
            .uri(format!("{}{}", self.url, asked.path))
            .header("user-agent", BROWSER);
        if let Some(key) = &asked.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = match &asked.body {
            Some(body) => {
                let request = request.header("content-type", "application/json");
                self.agent.run(request.body(body.to_string())?)?
            }
            None if asked.method == Method::GET => self.agent.run(request.body(())?)?,
            None => self.agent.run(request.body(String::new())?)?,
        };
        let header = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let (location, retry_after) = (header("location"), header("retry-after"));
        Ok(Answer {
            status: response.status().as_u16(),
            location,
            retry_after,
            body: response.body_mut().read_to_vec()?,
        })
    }

    /// A request that must be answered, and with success.
    pub fn done(&self, asked: &Asked) -> Result<Answer, String> {
        let answer = self
            .send(asked)
            .map_err(|error| format!("{}: {error}", asked.path))?;
        if answer.status < 300 {
            return Ok(answer);
        }
        let body = String::from_utf8_lossy(&answer.body);
        Err(format!(
            "{} was answered {}: {body}",
            asked.path, answer.status
        ))
    }

    pub fn made(&self, resource: &str, body: &Value) -> Result<Value, String> {
        let asked = Asked::api(Method::POST, resource, ADMIN, Some(body.clone()));
        Ok(self.done(&asked)?.json())
    }

    pub fn get(&self, path: &str) -> Result<Value, String> {
        Ok(self.done(&Asked::get(path))?.json())
    }
}

/// Whole minor units of an amount with two decimals.
pub fn cents(amount: &Value) -> Result<i64, String> {
    let text = amount.as_str().unwrap_or_default();
    let digits = text.replace('.', "").parse();
    digits.map_err(|_| format!("`{amount}` is no amount"))
}

/// The other way round, for amounts that are not negative.
pub fn decimal(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}
