//! The answer to a request that is not done: `application/problem+json` with a stable code.

use std::fmt;

use http::{HeaderValue, StatusCode, header};
use jiff::civil::Date;
use serde_json::json;

use super::{Invalid, Response};

/// Why a request was not done. Nothing the sender wrote is ever repeated in it, except the
/// *name* of a field, and that only if it looks like one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub status: StatusCode,
    /// Stable; programs branch on it.
    pub code: &'static str,
    pub field: Option<String>,
    pub detail: Option<String>,
    /// The days it is about.
    pub days: Vec<Date>,
    /// Seconds.
    pub retry_after: Option<u32>,
    /// The methods of a 405's `Allow`.
    pub allow: Option<&'static str>,
}

impl Problem {
    /// A problem; its title on the wire is the status's own.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str) -> Self {
        Self {
            status,
            code,
            field: None,
            detail: None,
            days: Vec::new(),
            retry_after: None,
            allow: None,
        }
    }

    /// 422: a field that cannot be taken as it is.
    #[must_use]
    pub fn invalid(code: &'static str, field: impl Into<String>) -> Self {
        Self::refused(code).about(field)
    }

    /// 422 about the whole request.
    #[must_use]
    pub fn refused(code: &'static str) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code)
    }

    /// 404, the same bytes for what does not exist and what this key may not see.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found")
    }

    /// 403, for something the key does see.
    #[must_use]
    pub fn forbidden(code: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, code)
    }

    /// 401, the same bytes for every cause.
    #[must_use]
    pub fn unauthorised() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorised")
    }

    /// 405; `allow` lists the methods that would do, such as `GET, HEAD`.
    #[must_use]
    pub fn method_not_allowed(allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
        }
    }

    /// 409.
    #[must_use]
    pub fn conflict(code: &'static str) -> Self {
        Self::new(StatusCode::CONFLICT, code)
    }

    /// 503: the outcome is unknown, and sending the same again is safe.
    #[must_use]
    pub fn unavailable() -> Self {
        Self {
            retry_after: Some(1),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable")
        }
        .explained("the outcome is unknown; repeat the same request")
    }

    /// 413: nothing of it was done.
    #[must_use]
    pub fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large")
    }

    /// Names the field it is about, if that can be a field's name at all.
    #[must_use]
    pub fn about(mut self, field: impl Into<String>) -> Self {
        let field = field.into();
        let looks_like_a_name = field.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'[' | b']')
        });
        self.field = (looks_like_a_name && (1..=80).contains(&field.len())).then_some(field);
        self
    }

    /// A sentence for people. It must not repeat anything the sender wrote.
    #[must_use]
    pub fn explained(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The JSON members alone, for an answer line of a batch.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let mut body = json!({
            "type": format!("urn:clickledger:problem:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("Problem"),
            "status": self.status.as_u16(),
            "code": self.code,
        });
        if let Some(field) = &self.field {
            body["field"] = json!(field);
        }
        if let Some(detail) = &self.detail {
            body["detail"] = json!(detail);
        }
        if !self.days.is_empty() {
            body["days"] = self.days.iter().map(Date::to_string).collect();
        }
        body
    }

    pub(super) fn to_response(&self) -> Response {
        let mut response = Response::bytes(
            self.status,
            "application/problem+json",
            self.to_json().to_string(),
        );
        if let Some(seconds) = self.retry_after {
            response
                .headers
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = self.allow {
            response
                .headers
                .insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status.as_u16(), self.code)
    }
}

impl std::error::Error for Problem {}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        Self::invalid(invalid.code, invalid.field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_be_seen_looks_like_what_does_not_exist() {
        let response = Response::from(Problem::not_found());
        assert_eq!(response.status, 404);
        assert_eq!(
            response.body,
            r#"{"code":"not_found","status":404,"title":"Not Found","type":"urn:clickledger:problem:not_found"}"#
        );
    }

    #[test]
    fn a_field_is_named_only_if_it_can_be_a_name() {
        assert_eq!(
            Problem::invalid("x", "items[0].sku").field.as_deref(),
            Some("items[0].sku")
        );
        for field in ["", "a b", "<script>", "ä", &"a".repeat(81)] {
            assert_eq!(Problem::invalid("x", field).field, None, "{field}");
        }
    }

    #[test]
    fn headers_say_what_a_program_may_do_next() {
        assert_eq!(
            Response::from(Problem::unavailable()).headers["retry-after"],
            "1"
        );
        assert_eq!(
            Response::from(Problem::unauthorised()).headers["www-authenticate"],
            "Bearer"
        );
        assert_eq!(
            Response::from(Problem::method_not_allowed("GET, HEAD")).headers["allow"],
            "GET, HEAD"
        );
    }
}
