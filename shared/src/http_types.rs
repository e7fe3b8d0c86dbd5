//! What comes in and what goes out at the edge, and how parameters are read strictly.

mod fields;
mod macros;
mod page;
mod problem;
mod strict_json;
mod wire;

pub use fields::{Fields, Invalid, is_note};
pub use page::Page;
pub use problem::Problem;
pub use strict_json::{MAX_DEPTH, parse_json};
pub use wire::{Cursor, Span, parse_day, parse_instant, parse_span};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};

/// One HTTP request, whichever front it came through.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: Method,
    /// As sent, still percent-encoded.
    pub path: String,
    /// As sent, still percent-encoded, without the `?`.
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// When the front received it. Nothing below reads a clock.
    pub now: Timestamp,
    /// Whether the visitor's side of the connection is https.
    pub https: bool,
    /// ISO 3166-1 alpha-2, if the front knows it.
    pub country: Option<String>,
}

impl Request {
    /// A header's text; none if absent, repeated or not visible ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        if values.next().is_some() {
            None
        } else {
            Some(value)
        }
    }

    /// The key of `Authorization: Bearer <key>`; the scheme's case does not matter.
    #[must_use]
    pub fn bearer(&self) -> Option<&str> {
        let (scheme, key) = self.header("authorization")?.split_once(' ')?;
        let key = key.trim();
        (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
    }

    /// The path's segments, percent-decoded; none if one of them is not UTF-8.
    ///
    /// `/a/b%2Fc` is `["a", "b/c"]`. An empty segment stays, so that `/a/` is not `/a`.
    #[must_use]
    pub fn segments(&self) -> Option<Vec<String>> {
        self.path
            .strip_prefix('/')?
            .split('/')
            .map(|part| {
                percent_encoding::percent_decode_str(part)
                    .decode_utf8()
                    .ok()
                    .map(|text| text.into_owned())
            })
            .collect()
    }

    /// The segments below `/api/v1`, percent-decoded.
    ///
    /// # Errors
    /// 404 for every other path.
    pub fn api_segments(&self) -> Result<Vec<String>, Problem> {
        let mut segments = self.segments().ok_or_else(Problem::not_found)?;
        if !matches!(segments.as_slice(), [api, version, ..] if api == "api" && version == "v1") {
            return Err(Problem::not_found());
        }
        Ok(segments.split_off(2))
    }

    /// Refuses every other method.
    ///
    /// # Errors
    /// 405; `allow` lists the methods that would do.
    pub fn only(&self, method: Method, allow: &'static str) -> Result<(), Problem> {
        if self.method == method {
            Ok(())
        } else {
            Err(Problem::method_not_allowed(allow))
        }
    }

    /// The query's parameters.
    ///
    /// # Errors
    /// 422 for a repeated name and for what is not UTF-8.
    pub fn query_fields(&self) -> Result<Fields, Invalid> {
        Fields::from_form(self.query.as_bytes())
    }

    /// The body as JSON, whatever the content type says.
    ///
    /// # Errors
    /// 422 for what is not JSON and for a repeated key at any depth.
    pub fn json(&self) -> Result<Value, Invalid> {
        parse_json(&self.body)
    }

    /// Query and body together: a GET's query, or a POST's query and form or JSON object.
    ///
    /// # Errors
    /// 415 for another content type; 422 for a name that stands twice, in either place or in both.
    pub fn fields(&self) -> Result<Fields, Problem> {
        let query = self.query_fields()?;
        if self.body.is_empty() {
            return Ok(query);
        }

        let body = match self.spelling() {
            Some(Spelling::Json) => Fields::from_json(&self.body)?,
            Some(Spelling::Form) => Fields::from_form(&self.body)?,
            None => {
                return Err(Problem::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "content_type_unsupported",
                ));
            }
        };
        Ok(query.and(body)?)
    }

    /// The value of a parameter that stands once in the query, or in the query and a form's body
    /// together, whatever is wrong with the other parameters.
    #[must_use]
    pub fn once(&self, name: &str, with_body: bool) -> Option<String> {
        let mut values = Fields::values_in(self.query.as_bytes(), name);
        if with_body && self.spelling() == Some(Spelling::Form) {
            values.extend(Fields::values_in(&self.body, name));
        }
        values.pop().flatten().filter(|_| values.is_empty())
    }

    /// How the body is spelt by its content type, or by its looks where it has none, or has one that `curl`
    /// gives to whatever it sends: no form begins like JSON.
    fn spelling(&self) -> Option<Spelling> {
        let content_type = self.header("content-type").unwrap_or_default();
        let media_type = content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let looks_like_json =
            self.body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        match media_type.as_str() {
            "application/json" => Some(Spelling::Json),
            "application/x-www-form-urlencoded" | "" if looks_like_json => Some(Spelling::Json),
            "application/x-www-form-urlencoded" => Some(Spelling::Form),
            "" => Some(Spelling::Form),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Json,
    Form,
}

/// One HTTP answer.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Response {
    /// An answer without a body. Nothing here may be cached unless the caller says so.
    #[must_use]
    pub fn empty(status: StatusCode) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Self {
            status,
            headers,
            body: Bytes::new(),
        }
    }

    /// An answer with a body of the given content type: for whoever asked, not for a browser to guess
    /// at, to run, to frame, or to tell other sites of.
    #[must_use]
    pub fn bytes(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            ..Self::empty(status)
        }
        .with(header::CONTENT_TYPE, content_type)
        .with(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .with(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        )
        .with(header::REFERRER_POLICY, "no-referrer")
    }

    #[must_use]
    pub fn json(status: StatusCode, value: &Value) -> Self {
        Self::bytes(status, "application/json", value.to_string())
    }

    /// Part of a list, and where it goes on.
    #[must_use]
    pub fn list(items: &[Value], next: Option<&Cursor>) -> Self {
        let next = next.map(Cursor::to_string);
        Self::json(StatusCode::OK, &json!({"items": items, "next": next}))
    }

    /// NDJSON, an answer for each line of a request in its order: `line`, counted from 1, `http`, and
    /// what a request of its own would get. 200 if every line did, else 207.
    #[must_use]
    pub fn lines(answers: Vec<Result<Value, Problem>>) -> Self {
        let all_did = answers.iter().all(Result::is_ok);
        let mut body = String::new();
        for (index, answer) in answers.into_iter().enumerate() {
            let (http, mut answer) = match answer {
                Ok(answer) => (StatusCode::OK, answer),
                Err(problem) => (problem.status, problem.to_json()),
            };
            answer["line"] = json!(index + 1);
            answer["http"] = json!(http.as_u16());
            body.push_str(&answer.to_string());
            body.push('\n');
        }
        let status = if all_did {
            StatusCode::OK
        } else {
            StatusCode::MULTI_STATUS
        };
        Self::bytes(status, "application/x-ndjson", body)
    }

    /// Sends the visitor on, with a 302. A location that cannot stand in a header sends nobody
    /// anywhere, which the caller rules out by building it with the `url` crate.
    #[must_use]
    pub fn redirect(location: &str) -> Self {
        Self::empty(StatusCode::FOUND).with(header::LOCATION, location)
    }

    /// Sets a header, replacing what it was. A text that cannot stand in a header leaves it out.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => drop(self.headers.insert(name, value)),
            Err(_) => drop(self.headers.remove(name)),
        }
        self
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        problem.to_response()
    }
}

impl From<Result<Response, Problem>> for Response {
    fn from(result: Result<Response, Problem>) -> Self {
        result.unwrap_or_else(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, query: &str, content_type: &str, body: &'static str) -> Request {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        }
        Request {
            method: method.parse().unwrap(),
            path: "/postback".into(),
            query: query.into(),
            headers,
            body: Bytes::from_static(body.as_bytes()),
            now: Timestamp::UNIX_EPOCH,
            https: true,
            country: None,
        }
    }

    #[test]
    fn query_form_and_json_read_alike() {
        for request in [
            request("GET", "order_id=A%201&token=t", "", ""),
            request(
                "POST",
                "token=t",
                "application/x-www-form-urlencoded",
                "order_id=A+1",
            ),
            request(
                "POST",
                "token=t",
                "application/json; charset=utf-8",
                r#"{"order_id": "A 1"}"#,
            ),
            request("POST", "", "", r#" {"order_id": "A 1", "token": "t"}"#),
        ] {
            let mut fields = request.fields().unwrap();
            assert_eq!(fields.required("order_id").unwrap(), "A 1");
            assert_eq!(fields.text("token").unwrap(), Some("t".into()));
            assert_eq!(fields.text("goal").unwrap(), None);
            fields.finish().unwrap();
        }
    }

    #[test]
    fn a_name_in_query_and_body_stands_twice() {
        let problem = request("POST", "token=t", "application/json", r#"{"token": "t"}"#)
            .fields()
            .unwrap_err();
        assert_eq!(
            (
                problem.status.as_u16(),
                problem.code,
                problem.field.as_deref()
            ),
            (422, "parameter_repeated", Some("token"))
        );
    }

    #[test]
    fn other_bodies_are_not_read() {
        let problem = request("POST", "", "text/csv", "a").fields().unwrap_err();
        assert_eq!(problem.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }

    #[test]
    fn a_bearer_key_is_what_follows_the_scheme() {
        let mut request = request("GET", "", "", "");
        assert_eq!(request.bearer(), None);
        for (header, key) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Basic abc", None),
            ("Bearer ", None),
        ] {
            request
                .headers
                .insert(header::AUTHORIZATION, header.parse().unwrap());
            assert_eq!(request.bearer(), key, "{header}");
        }
    }

    #[test]
    fn a_path_is_cut_before_it_is_decoded() {
        let mut request = request("GET", "", "", "");
        request.path = "/api/v1/payers/a%2Fb/".into();
        assert_eq!(
            request.segments().unwrap(),
            ["api", "v1", "payers", "a/b", ""]
        );
        request.path = "/%ff".into();
        assert_eq!(request.segments(), None);
    }
}
