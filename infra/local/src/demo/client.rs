//! Requests to the front, one after the other.

use http::{Method, Request};
use serde_json::Value;

/// Something that the front did not do.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{method} {path} was answered {status}: {body}")]
    Answer {
        method: Method,
        path: String,
        status: u16,
        body: String,
    },
    #[error("{method} {path} was not answered: {why}")]
    NoAnswer {
        method: Method,
        path: String,
        why: String,
    },
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// Somebody who speaks to the front.
pub struct Client {
    agent: ureq::Agent,
    url: String,
    key: String,
}

impl Client {
    pub fn new(url: &str, key: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .build();
        Self {
            agent: config.into(),
            url: url.to_owned(),
            key: key.to_owned(),
        }
    }

    /// The same front, with another key.
    pub fn as_other(&self, key: &str) -> Self {
        Self {
            agent: self.agent.clone(),
            url: self.url.clone(),
            key: key.to_owned(),
        }
    }

    pub fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, Refused> {
        let no_answer = |why: String| Refused::NoAnswer {
            method: method.clone(),
            path: path.to_owned(),
            why,
        };
        let mut request = Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sent = match body {
            Some(body) => {
                let request = request
                    .header("content-type", "application/json")
                    .body(body.to_string());
                self.agent
                    .run(request.map_err(|error| no_answer(error.to_string()))?)
            }
            None => {
                let request = request.body(());
                self.agent
                    .run(request.map_err(|error| no_answer(error.to_string()))?)
            }
        };
        let mut response = sent.map_err(|error| no_answer(error.to_string()))?;
        let location = response.headers().get("location");
        let location = location
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let body = response.body_mut().read_to_vec();
        Ok(Answer {
            status: response.status().as_u16(),
            location,
            body: body.map_err(|error| no_answer(error.to_string()))?,
        })
    }

    /// A request that must be done.
    pub fn done(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, Refused> {
        let answer = self.send(method.clone(), path, headers, body)?;
        if answer.status < 300 {
            return Ok(answer);
        }
        Err(Refused::Answer {
            method,
            path: path.to_owned(),
            status: answer.status,
            body: String::from_utf8_lossy(&answer.body).into_owned(),
        })
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.key)
    }

    pub fn get(&self, path: &str) -> Result<Value, Refused> {
        Ok(self.get_bytes(path)?.json())
    }

    pub fn get_bytes(&self, path: &str) -> Result<Answer, Refused> {
        let bearer = self.bearer();
        let path = format!("/api/v1/{path}");
        self.done(Method::GET, &path, &[("authorization", &bearer)], None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Result<Value, Refused> {
        let bearer = self.bearer();
        let path = format!("/api/v1/{path}");
        let headers = [("authorization", bearer.as_str())];
        Ok(self.done(Method::POST, &path, &headers, Some(body))?.json())
    }

    pub fn patch(&self, path: &str, version: u32, body: &Value) -> Result<Value, Refused> {
        let (bearer, etag) = (self.bearer(), format!("\"{version}\""));
        let path = format!("/api/v1/{path}");
        let headers = [("authorization", bearer.as_str()), ("if-match", &etag)];
        Ok(self
            .done(Method::PATCH, &path, &headers, Some(body))?
            .json())
    }

    pub fn turn_to(&self, now: jiff::Timestamp) -> Result<(), Refused> {
        let body = serde_json::json!({ "now": now.to_string() });
        self.done(Method::POST, "/dev/clock", &[], Some(&body))?;
        Ok(())
    }
}
