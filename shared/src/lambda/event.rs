//! The events themselves: Function URL and HTTP API (payload 2.0), and EventBridge Scheduler.

use std::io::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Map, Value, json};

use crate::http_types::{Problem, Request, Response, parse_day, parse_instant};

/// A body of more bytes is compressed where that is taken. One of so many fits, however it is escaped.
const LARGE: usize = 1_000_000;
/// An answer of more than 6,291,556 bytes becomes the platform's own 502: with room for all that is not
/// its body.
const BODY_MOST: usize = 6_000_000;

/// What Lambda hands to a function.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "one lives at a time, and is moved once"
)]
pub(super) enum Event {
    /// A Function URL or an HTTP API was called.
    Http(Request),
    /// EventBridge Scheduler fired, or somebody invoked the function by hand.
    Schedule(Schedule),
}

/// A run by schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The day to run; without it, the UTC day before `scheduled_time`.
    pub day: Option<Date>,
    /// When the schedule meant to fire, however often and late it is delivered.
    pub scheduled_time: Timestamp,
}

/// Why an event is not served. Names fields, never their values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotAnEvent {
    #[error(
        "the event is no HTTP request (payload version 2.0) and no schedule of `day` and `scheduled_time`"
    )]
    Unknown,
    #[error("this function serves HTTP requests only and has no schedule")]
    Unscheduled,
    #[error("the event's `{0}` is missing or not as Lambda sends it")]
    Field(&'static str),
}

impl Event {
    /// Reads one event. `now` is asked only where a schedule leaves out its time.
    pub(super) fn read(event: Value, now: impl FnOnce() -> Timestamp) -> Result<Self, NotAnEvent> {
        match event {
            Value::Object(event) if event.contains_key("requestContext") => {
                http(event).map(Self::Http)
            }
            Value::Object(event) => schedule(&event, now).map(Self::Schedule),
            _ => Err(NotAnEvent::Unknown),
        }
    }
}

fn http(mut event: Map<String, Value>) -> Result<Request, NotAnEvent> {
    let context = &event["requestContext"];
    let method = context["http"]["method"]
        .as_str()
        .and_then(|method| method.parse::<Method>().ok())
        .ok_or(NotAnEvent::Field("requestContext.http.method"))?;
    let now = context["timeEpoch"]
        .as_i64()
        .and_then(|milliseconds| Timestamp::from_millisecond(milliseconds).ok())
        .ok_or(NotAnEvent::Field("requestContext.timeEpoch"))?;
    let stage = context["stage"].as_str().unwrap_or("$default").to_owned();
    let path = event
        .get("rawPath")
        .and_then(Value::as_str)
        .ok_or(NotAnEvent::Field("rawPath"))?;

    let headers = headers(&event);
    let visible = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    Ok(Request {
        method,
        path: without_stage(path, &stage).to_owned(),
        query: event
            .get("rawQueryString")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        now,
        // Both fronts speak https only; the header is for a proxy that somebody puts before them.
        https: visible("x-forwarded-proto") != Some("http"),
        country: visible("cloudfront-viewer-country")
            .filter(|country| is_country(country))
            .map(str::to_owned),
        body: body(&mut event)?,
        headers,
    })
}

/// An HTTP API puts the name of a stage, unless it is `$default`, before every path.
fn without_stage<'a>(path: &'a str, stage: &str) -> &'a str {
    path.strip_prefix('/')
        .and_then(|path| path.strip_prefix(stage))
        .filter(|rest| rest.starts_with('/'))
        .unwrap_or(path)
}

fn is_country(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// The headers, which come as one value each, joined by commas; cookies come in a list of their own.
///
/// What cannot stand in a header is left out: a visitor with a strange header still arrives.
fn headers(event: &Map<String, Value>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in event
        .get("headers")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let name = HeaderName::from_bytes(name.as_bytes()).ok();
        let value = value
            .as_str()
            .and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok());
        if let (Some(name), Some(value)) = (name, value) {
            headers.insert(name, value);
        }
    }

    let cookies: Vec<&str> = event
        .get("cookies")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if let Ok(cookies) = HeaderValue::from_bytes(cookies.join("; ").as_bytes())
        && !cookies.is_empty()
    {
        headers.insert(header::COOKIE, cookies);
    }
    headers
}

fn body(event: &mut Map<String, Value>) -> Result<Bytes, NotAnEvent> {
    let encoded = event
        .get("isBase64Encoded")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    match event.remove("body") {
        None | Some(Value::Null) => Ok(Bytes::new()),
        Some(Value::String(text)) if encoded => STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(|_| NotAnEvent::Field("body")),
        Some(Value::String(text)) => Ok(text.into()),
        Some(_) => Err(NotAnEvent::Field("body")),
    }
}

fn schedule(
    event: &Map<String, Value>,
    now: impl FnOnce() -> Timestamp,
) -> Result<Schedule, NotAnEvent> {
    // A misspelt `day` must not run yesterday instead.
    if event
        .keys()
        .any(|key| !matches!(key.as_str(), "day" | "scheduled_time"))
    {
        return Err(NotAnEvent::Unknown);
    }
    let day = match event.get("day") {
        None => None,
        Some(day) => Some(
            day.as_str()
                .and_then(parse_day)
                .ok_or(NotAnEvent::Field("day"))?,
        ),
    };
    let scheduled_time = match event.get("scheduled_time") {
        None => now(),
        Some(time) => time
            .as_str()
            .and_then(parse_instant)
            .ok_or(NotAnEvent::Field("scheduled_time"))?,
    };
    Ok(Schedule {
        day,
        scheduled_time,
    })
}

/// Whether whoever asked takes an answer that is compressed.
pub(super) fn takes_gzip(request: &Request) -> bool {
    let accepted = request.header("accept-encoding").unwrap_or_default();
    let accepted = accepted.to_ascii_lowercase();
    let weight_of = |wanted: &str| {
        accepted.split(',').find_map(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
            (name.trim() == wanted).then_some(weight)
        })
    };
    let weight = weight_of("gzip").or_else(|| weight_of("*"));
    // `q=0` says no, and so does `q=0.000`.
    weight.is_some_and(|weight| weight.bytes().any(|byte| matches!(byte, b'1'..=b'9')))
}

/// An answer as both fronts take it, and no larger than Lambda hands on: a large body goes compressed
/// to whoever takes that. The `ETag` stays that of the bytes it is unpacked to.
pub(super) fn answer(response: &Response, takes_gzip: bool) -> Value {
    if response.body.len() <= LARGE {
        return handed_over(response);
    }
    let answer = match takes_gzip.then(|| gzipped(response)) {
        Some(gzipped) => handed_over(&gzipped),
        None => handed_over(response),
    };
    // With its quotes and line ends escaped, a text is longer than it is.
    let length = answer["body"].to_string().len();
    if length <= BODY_MOST {
        return answer;
    }
    let problem = Problem::new(StatusCode::NOT_ACCEPTABLE, "answer_too_large").explained(
        "more than 6 MB cannot be sent at once: accept gzip (`Accept-Encoding: gzip`), or ask for less",
    );
    handed_over(&problem.into())
}

fn gzipped(response: &Response) -> Response {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let body = gzip.write_all(&response.body).and_then(|()| gzip.finish());
    Response {
        body: body.expect("a vector takes all that is written").into(),
        ..response.clone()
    }
    .with(header::CONTENT_ENCODING, "gzip")
}

/// Cookies apart, and base64 only for what is not text.
fn handed_over(response: &Response) -> Value {
    let mut headers: Map<String, Value> = Map::new();
    let mut cookies = Vec::new();
    for (name, value) in &response.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        if name == header::SET_COOKIE {
            cookies.push(value.into_owned());
        } else if let Some(Value::String(first)) = headers.get_mut(name.as_str()) {
            first.push_str(", ");
            first.push_str(&value);
        } else {
            headers.insert(name.to_string(), value.into());
        }
    }

    // Both fronts speak https only. Other hosts of the owner's domain are not ours to speak for.
    headers.insert(
        header::STRICT_TRANSPORT_SECURITY.to_string(),
        "max-age=31536000".into(),
    );
    let (body, encoded) = match std::str::from_utf8(&response.body) {
        Ok(text) => (text.to_owned(), false),
        Err(_) => (STANDARD.encode(&response.body), true),
    };
    json!({
        "statusCode": response.status.as_u16(),
        "headers": headers,
        "cookies": cookies,
        "body": body,
        "isBase64Encoded": encoded,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// As a Function URL sends it: every field that the platform fills in.
    fn function_url() -> Value {
        json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": "/r/spring%20sale",
            "rawQueryString": "sub1=a%2Fb&sub1=c",
            "cookies": ["v=1", "w=2"],
            "headers": {
                "x-amzn-trace-id": "Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e",
                "x-forwarded-proto": "https",
                "x-forwarded-port": "443",
                "x-forwarded-for": "205.255.255.176",
                "host": "id.lambda-url.eu-central-1.on.aws",
                "user-agent": "Mozilla/5.0",
                "cookie": "v=1; w=2",
            },
            "queryStringParameters": {"sub1": "a/b,c"},
            "requestContext": {
                "accountId": "anonymous",
                "apiId": "id",
                "domainName": "id.lambda-url.eu-central-1.on.aws",
                "domainPrefix": "id",
                "http": {
                    "method": "GET",
                    "path": "/r/spring%20sale",
                    "protocol": "HTTP/1.1",
                    "sourceIp": "205.255.255.176",
                    "userAgent": "Mozilla/5.0",
                },
                "requestId": "e1506fd5-9e7b-434f-bd42-4f8fa224b599",
                "routeKey": "$default",
                "stage": "$default",
                "time": "01/Jul/2026:12:00:00 +0000",
                "timeEpoch": 1_782_907_200_123_i64,
            },
            "isBase64Encoded": false,
        })
    }

    fn read(event: Value) -> Result<Event, NotAnEvent> {
        Event::read(event, || "2026-07-02T00:30:00Z".parse().unwrap())
    }

    fn request(event: Value) -> Request {
        match read(event) {
            Ok(Event::Http(request)) => request,
            other => panic!("no request: {other:?}"),
        }
    }

    #[test]
    fn a_function_url_event_is_a_request_as_it_was_sent() {
        let request = request(function_url());
        assert_eq!(request.method, Method::GET);
        assert_eq!(request.path, "/r/spring%20sale");
        assert_eq!(request.query, "sub1=a%2Fb&sub1=c");
        assert_eq!(request.headers["user-agent"], "Mozilla/5.0");
        assert_eq!(request.headers["cookie"], "v=1; w=2");
        assert_eq!(request.now.to_string(), "2026-07-01T12:00:00.123Z");
        assert_eq!((request.https, request.country), (true, None));
        assert!(request.body.is_empty());
    }

    #[test]
    fn a_body_comes_as_text_or_as_base64() {
        let mut event = function_url();
        event["body"] = "order_id=ä".into();
        assert_eq!(request(event.clone()).body, "order_id=ä");
        event["isBase64Encoded"] = true.into();
        assert_eq!(read(event.clone()).unwrap_err(), NotAnEvent::Field("body"));
        event["body"] = "AP+A".into();
        assert_eq!(request(event.clone()).body.as_ref(), [0, 255, 128]);
        event["body"] = Value::Null;
        assert!(request(event).body.is_empty());
    }

    #[test]
    fn a_named_stage_is_no_part_of_the_path() {
        for (stage, path, read) in [
            ("$default", "/r/a", "/r/a"),
            ("live", "/live/r/a", "/r/a"),
            ("live", "/r/a", "/r/a"),
            ("live", "/lively/a", "/lively/a"),
            ("r", "/r/r/a", "/r/a"),
        ] {
            let mut event = function_url();
            event["requestContext"]["stage"] = stage.into();
            event["rawPath"] = path.into();
            assert_eq!(request(event).path, read, "{stage} {path}");
        }
    }

    #[test]
    fn the_country_is_what_cloudfront_says() {
        for (said, country) in [
            ("DE", Some("DE")),
            ("de", None),
            ("DEU", None),
            ("", None),
            ("D1", None),
        ] {
            let mut event = function_url();
            event["headers"]["cloudfront-viewer-country"] = said.into();
            assert_eq!(request(event).country.as_deref(), country, "{said}");
        }
    }

    #[test]
    fn a_strange_header_is_left_out_and_the_visitor_arrives() {
        let mut event = function_url();
        event["headers"] = json!({"a b": "1", "c": "two\nlines", "d": 5, "e": "ä", "f": ""});
        event["cookies"] = json!(["x=\u{1}"]);
        let names: Vec<String> = request(event)
            .headers
            .keys()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["e", "f"]);
    }

    #[test]
    fn a_schedule_says_its_day_or_its_time() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        for (event, day, time) in [
            (
                json!({"scheduled_time": "2026-07-02T01:00:00Z"}),
                None,
                "2026-07-02T01:00:00Z",
            ),
            (
                json!({"day": "2026-06-30", "scheduled_time": "2026-07-02T01:00:00Z"}),
                Some("2026-06-30"),
                "2026-07-02T01:00:00Z",
            ),
            (
                json!({"day": "2026-06-30"}),
                Some("2026-06-30"),
                "2026-07-02T00:30:00Z",
            ),
            (json!({}), None, "2026-07-02T00:30:00Z"),
        ] {
            let Ok(Event::Schedule(schedule)) = read(event.clone()) else {
                panic!("no schedule: {event}")
            };
            assert_eq!(
                schedule.day.map(|day| day.to_string()).as_deref(),
                day,
                "{event}"
            );
            assert_eq!(schedule.scheduled_time, at(time), "{event}");
        }
    }

    #[test]
    fn what_is_no_event_is_named_and_never_guessed() {
        let mut version_1 = function_url();
        version_1.as_object_mut().unwrap().remove("rawPath");
        let mut timeless = function_url();
        timeless["requestContext"]["timeEpoch"] = "1782907200123".into();
        let mut methodless = function_url();
        methodless["requestContext"]["http"] = Value::Null;
        for (event, error) in [
            (json!({"Records": []}), NotAnEvent::Unknown),
            (json!({"Day": "2026-06-30"}), NotAnEvent::Unknown),
            (json!(null), NotAnEvent::Unknown),
            (json!([]), NotAnEvent::Unknown),
            (json!({"day": "2026-02-30"}), NotAnEvent::Field("day")),
            (json!({"day": null}), NotAnEvent::Field("day")),
            (
                json!({"scheduled_time": "<aws.scheduler.scheduled-time>"}),
                NotAnEvent::Field("scheduled_time"),
            ),
            (
                json!({"requestContext": 5}),
                NotAnEvent::Field("requestContext.http.method"),
            ),
            (version_1, NotAnEvent::Field("rawPath")),
            (timeless, NotAnEvent::Field("requestContext.timeEpoch")),
            (methodless, NotAnEvent::Field("requestContext.http.method")),
        ] {
            assert_eq!(read(event.clone()).unwrap_err(), error, "{event}");
        }
    }

    #[test]
    fn an_answer_keeps_cookies_apart_and_joins_what_repeats() {
        let mut response = Response::redirect("https://shop.example/?a=1");
        for (name, value) in [
            ("set-cookie", "v=1; Secure"),
            ("set-cookie", "w=2"),
            ("vary", "Origin"),
            ("vary", "Sec-Purpose"),
        ] {
            response
                .headers
                .append(name, HeaderValue::from_static(value));
        }
        assert_eq!(
            answer(&response, true),
            json!({
                "statusCode": 302,
                "headers": {
                    "cache-control": "no-store",
                    "location": "https://shop.example/?a=1",
                    "strict-transport-security": "max-age=31536000",
                    "vary": "Origin, Sec-Purpose",
                },
                "cookies": ["v=1; Secure", "w=2"],
                "body": "",
                "isBase64Encoded": false,
            })
        );
    }

    #[test]
    fn an_answer_is_base64_only_where_it_is_no_text() {
        let body_of = |body: &'static [u8]| {
            let response = Response {
                status: StatusCode::OK,
                headers: HeaderMap::new(),
                body: Bytes::from_static(body),
            };
            let answer = answer(&response, true);
            (
                answer["body"].as_str().unwrap().to_owned(),
                answer["isBase64Encoded"].clone(),
            )
        };
        assert_eq!(body_of("ä\n".as_bytes()), ("ä\n".to_owned(), json!(false)));
        assert_eq!(body_of(&[0, 255, 128]), ("AP+A".to_owned(), json!(true)));
    }

    /// A month's report with a row for each of 13,000 affiliates: 7 MB.
    fn report() -> Response {
        let row = json!({"affiliate": "a", "currency": "EUR", "note": "x".repeat(520)});
        let rows: Vec<&Value> = std::iter::repeat_n(&row, 13_000).collect();
        Response::json(StatusCode::OK, &json!({ "rows": rows })).with(header::ETAG, "\"digest\"")
    }

    #[test]
    fn an_answer_that_is_too_large_for_lambda_leaves_it_compressed() {
        let report = report();
        assert!(7_000_000 < report.body.len());
        let answer = answer(&report, true);
        assert!(answer.to_string().len() < 1_000_000);
        assert_eq!(answer["headers"]["content-encoding"], "gzip");
        assert_eq!(answer["headers"]["etag"], "\"digest\"");
        assert_eq!(answer["isBase64Encoded"], true);
        let body = STANDARD.decode(answer["body"].as_str().unwrap()).unwrap();
        let mut unpacked = Vec::new();
        let mut gzip = flate2::read::GzDecoder::new(body.as_slice());
        gzip.read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == report.body);
    }

    #[test]
    fn whoever_takes_nothing_compressed_is_told_what_a_large_answer_needs() {
        let large = answer(&report(), false);
        assert_eq!(large["statusCode"], 406);
        let body = large["body"].as_str().unwrap();
        assert!(body.contains("answer_too_large"), "{body}");

        // What no compression makes small enough.
        let mut noise = vec![0; 5_000_000];
        fastrand::Rng::with_seed(7).fill(&mut noise);
        let noise = Response::bytes(StatusCode::OK, "text/plain", noise);
        assert_eq!(answer(&noise, true)["statusCode"], 406);
    }

    #[test]
    fn an_answer_that_fits_goes_as_it_is_to_whoever_takes_nothing_compressed() {
        for length in [LARGE, LARGE + 1, BODY_MOST - 2] {
            let body = "x".repeat(length);
            let response = Response::bytes(StatusCode::OK, "text/plain", body.clone());
            let answer = answer(&response, false);
            assert_eq!(answer["statusCode"], 200, "{length}");
            assert!(answer["body"] == body, "{length}");
        }
        // Each quote is two bytes of an event.
        let quotes = "\"".repeat(BODY_MOST / 2);
        let quotes = Response::bytes(StatusCode::OK, "text/plain", quotes);
        assert_eq!(answer(&quotes, false)["statusCode"], 406);
        let small = Response::bytes(StatusCode::OK, "text/plain", "x".repeat(LARGE));
        assert_eq!(answer(&small, true)["isBase64Encoded"], false);
    }

    #[test]
    fn compressed_is_what_the_header_says() {
        for (accepted, takes) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("deflate, *", true),
            ("*;q=0, gzip", true),
            ("", false),
            ("identity, br", false),
            ("gzip;q=0", false),
            ("gzip; q=0.000, *", false),
            ("br, *;q=0", false),
        ] {
            let mut event = function_url();
            event["headers"]["accept-encoding"] = accepted.into();
            assert_eq!(takes_gzip(&request(event)), takes, "{accepted}");
        }
        assert!(!takes_gzip(&request(function_url())));
    }
}
