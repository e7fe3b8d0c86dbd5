//! Requests to the stack, as a browser, a shop's server and the staff send them.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::http_types::{Request, Response};

use crate::stack::Stack;

const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0";
/// How often a request is repeated whose outcome is unknown.
const REPEATS_MOST: u32 = 100;
const REPEAT_AFTER: Duration = Duration::from_millis(5);

/// An answer that nothing can be done with.
#[derive(Debug, thiserror::Error)]
#[error("{what} was answered {status}: {body}")]
pub struct Unexpected {
    pub what: String,
    pub status: u16,
    pub body: String,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    /// Some attempt before this answer had an unknown outcome.
    pub is_repeated: bool,
}

impl Answer {
    /// `created`, `recorded_before`, or the code of what was refused.
    #[must_use]
    pub fn result(&self) -> &str {
        let word = self.body["result"].as_str().or(self.body["code"].as_str());
        word.unwrap_or_default()
    }

    #[must_use]
    pub fn unexpected(&self, what: String) -> Unexpected {
        Unexpected {
            what,
            status: self.status,
            body: self.body.to_string(),
        }
    }
}

/// The stack, without a socket.
#[derive(Debug)]
pub struct Door {
    pub stack: Stack,
    pub admin: String,
}

impl Door {
    /// Sends a request, again and again while its outcome is unknown.
    async fn send(
        &self,
        method: Method,
        path_and_query: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> (Response, u32) {
        let (path, query) = path_and_query
            .split_once('?')
            .unwrap_or((path_and_query, ""));
        let mut repeats = 0;
        loop {
            let request = Request {
                method: method.clone(),
                path: path.to_owned(),
                query: query.to_owned(),
                headers: headers.clone(),
                body: body.clone(),
                // The stack sets its own clock's.
                now: Timestamp::UNIX_EPOCH,
                https: false,
                country: None,
            };
            let response = self.stack.handle(request).await;
            let is_unknown = response.status == http::StatusCode::SERVICE_UNAVAILABLE;
            if !is_unknown || repeats == REPEATS_MOST {
                return (response, repeats);
            }
            repeats += 1;
            tokio::time::sleep(REPEAT_AFTER).await;
        }
    }

    /// Follows a link as a browser does; answers the click id that the shop gets.
    ///
    /// # Errors
    /// [`Unexpected`]
    pub async fn click(&self, slug: &str) -> Result<String, Unexpected> {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(BROWSER));
        let path = format!("/r/{slug}");
        let (response, _) = self.send(Method::GET, &path, &headers, Bytes::new()).await;
        let location = response.headers.get(header::LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        match location.and_then(|location| location.rsplit_once("click_id=")) {
            Some((_, id)) => Ok(id.to_owned()),
            None => Err(answer(&response, 0).unexpected(path)),
        }
    }

    /// Tells of a result or takes one back, as a shop's server does.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        let body = body.to_string().into();
        let (response, repeats) = self.send(Method::POST, path, &HeaderMap::new(), body).await;
        answer(&response, repeats)
    }

    /// Turns the clock, and so makes every run that falls due.
    ///
    /// # Errors
    /// [`Unexpected`]
    pub async fn turn_to(&self, now: &str) -> Result<(), Unexpected> {
        let answer = self.post("/dev/clock", &json!({ "now": now })).await;
        match answer.status {
            200 => Ok(()),
            _ => Err(answer.unexpected(format!("turning the clock to {now}"))),
        }
    }

    /// One request to the API, which must do what it asks for; answers the bytes.
    ///
    /// # Errors
    /// [`Unexpected`]
    pub async fn bytes(
        &self,
        key: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Bytes, Unexpected> {
        let mut headers = HeaderMap::new();
        let bearer = HeaderValue::from_str(&format!("Bearer {key}"));
        headers.insert(
            header::AUTHORIZATION,
            bearer.expect("a key is visible ASCII characters"),
        );
        if method == Method::PATCH {
            // What is changed here was made here, and changes once.
            headers.insert(header::IF_MATCH, HeaderValue::from_static("\"1\""));
        }
        let bytes = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let what = format!("{method} /api/v1/{path}");
        let (response, repeats) = self
            .send(method, &format!("/api/v1/{path}"), &headers, bytes)
            .await;
        if response.status.is_success() {
            Ok(response.body)
        } else {
            Err(answer(&response, repeats).unexpected(what))
        }
    }

    async fn json(
        &self,
        key: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Unexpected> {
        let bytes = self.bytes(key, method, path, body).await?;
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// # Errors
    /// [`Unexpected`]
    pub async fn get(&self, path: &str) -> Result<Value, Unexpected> {
        self.json(&self.admin, Method::GET, path, None).await
    }

    /// # Errors
    /// [`Unexpected`]
    pub async fn make(&self, resource: &str, body: Value) -> Result<Value, Unexpected> {
        self.json(&self.admin, Method::POST, resource, Some(&body))
            .await
    }

    /// # Errors
    /// [`Unexpected`]
    pub async fn change(&self, path: &str, body: Value) -> Result<Value, Unexpected> {
        self.json(&self.admin, Method::PATCH, path, Some(&body))
            .await
    }

    /// A request without a body, under somebody's key.
    ///
    /// # Errors
    /// [`Unexpected`]
    pub async fn ask(&self, key: &str, path: &str) -> Result<Value, Unexpected> {
        self.json(key, Method::POST, path, None).await
    }
}

fn answer(response: &Response, repeats: u32) -> Answer {
    Answer {
        status: response.status.as_u16(),
        body: serde_json::from_slice(&response.body).unwrap_or_default(),
        is_repeated: repeats > 0,
    }
}
