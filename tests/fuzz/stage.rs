//! A shop with something of everything, and handlers that are asked at one and the same instant.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use shared::http_types::{Request, Response};
use tests::{World, click_id};
use tokio::runtime::{Builder, Runtime};

pub struct Stage {
    runtime: Runtime,
    pub world: World,
    /// Good ones of several kinds; a text names them `@0@`, `@1@`, ...
    clicks: Vec<String>,
}

/// A request without what is the same for all.
#[derive(Debug)]
pub struct Ask<'a> {
    pub method: Method,
    pub path: &'a str,
    pub query: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: Vec<u8>,
}

impl Stage {
    /// Two programs of one merchant and one of another, of which one waits for approval and has
    /// several goals; two affiliates.
    pub fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        let (world, clicks) = runtime.block_on(Box::pin(set_up()));
        world.stack.table.record(false);
        world.stack.table.keep_tokens(false);
        Self {
            runtime,
            world,
            clicks,
        }
    }

    pub fn now() -> Timestamp {
        "2026-07-01T10:00:00Z".parse().expect("an instant")
    }

    /// The text with the clicks that it names.
    pub fn filled(&self, text: &str) -> String {
        let clicks = self.clicks.iter().enumerate();
        clicks.fold(text.to_owned(), |text, (number, click)| {
            text.replace(&format!("@{number}@"), click)
        })
    }

    pub fn postback(&self, ask: &Ask<'_>) -> Response {
        let app = &self.world.stack.app;
        self.run(postback::handle(app, request(ask)))
    }

    pub fn console(&self, ask: &Ask<'_>) -> Response {
        let app = &self.world.stack.app;
        self.run(console::handle(app, request(ask)))
    }

    /// One post of JSON by the admin.
    pub fn post(&self, path: &str, body: Vec<u8>) -> Response {
        let bearer = format!("Bearer {}", self.world.admin);
        self.console(&Ask {
            method: Method::POST,
            path,
            query: "",
            headers: &[("authorization", &bearer)],
            body,
        })
    }

    pub fn run<T>(&self, answer: impl Future<Output = T>) -> T {
        self.runtime.block_on(Box::pin(answer))
    }
}

pub fn request(ask: &Ask<'_>) -> Request {
    let mut headers = HeaderMap::new();
    for (name, value) in ask.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        // What no server would hand on is left out.
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            headers.append(name, value);
        }
    }
    Request {
        method: ask.method.clone(),
        path: ask.path.to_owned(),
        query: ask.query.to_owned(),
        headers,
        body: Bytes::from(ask.body.clone()),
        now: Stage::now(),
        https: true,
        country: Some("DE".to_owned()),
    }
}

async fn set_up() -> (World, Vec<String>) {
    let world = World::with_shop("2026-07-01T08:00:00Z").await;
    let other = json!({"id": "other", "name": "Other"});
    world.made("merchants", other).await;
    for (id, merchant, more) in [
        (
            "boots",
            "shop",
            json!({
                "approval": "manual", "click_window": "1d", "attribution": {"model": "linear"},
                "goals": [{"name": "sale"}, {"name": "lead", "payable": false}, {"name": "call"}],
                "commission": [
                    {"type": "percent", "percent": "7.5", "when": {"category": "shoes"}},
                    {"type": "tiered", "goal": "sale", "tiers": {"by": "amount", "period": "month",
                        "steps": [{"from": "0", "percent": "5"}, {"from": "100", "percent": "10"}]}},
                    {"type": "flat", "goal": "call", "amount": "1200", "recurring": {"max_count": 2}},
                ],
            }),
        ),
        (
            "caps",
            "other",
            json!({"commission": [{"type": "flat", "amount": "3"}]}),
        ),
    ] {
        let mut program = json!({
            "id": id, "merchant": merchant, "name": id, "currency": "EUR", "status": "active",
            "override": "a test", "destination": "https://shop.example/", "hold_days": 0,
        });
        for (name, value) in more.as_object().expect("terms are an object") {
            program[name] = value.clone();
        }
        world.made("programs", program).await;
    }
    let bert = json!({"id": "bert", "name": "Bert", "email": "b@example.com", "country": "FR"});
    world.made("affiliates", bert).await;
    for (slug, program, affiliate) in [
        ("bert-shoes", "shoes", "bert"),
        ("anna-boots", "boots", "anna"),
        ("bert-boots", "boots", "bert"),
        ("anna-caps", "caps", "anna"),
    ] {
        let link = json!({"slug": slug, "program": program, "affiliate": affiliate});
        world.made("links", link).await;
    }
    let deep = json!({
        "slug": "anna-deep", "program": "shoes", "affiliate": "anna",
        "destination": "https://shop.example/{program}/{sub1}?a={affiliate}&s={sub2}&c={click_id}#top",
    });
    world.made("links", deep).await;
    let coupon = json!({"program": "shoes", "affiliate": "bert", "code": "SAVE10"});
    world.made("coupons", coupon).await;

    let mut clicks = Vec::new();
    for slug in [
        "anna-shoes",
        "bert-shoes",
        "anna-boots",
        "bert-boots",
        "anna-caps",
    ] {
        clicks.push(world.click(slug).await);
    }
    clicks.push(click_id(&world.visit("anna-shoes", "curl/8.14.1").await));
    (world, clicks)
}

/// Holds an answer against what every one must be, and tells its body.
pub fn judged(response: &Response, allowed: &[u16]) -> Value {
    let status = response.status.as_u16();
    let text = String::from_utf8_lossy(&response.body);
    assert!(allowed.contains(&status), "answered {status} {text}");
    let is_clean = |value: &HeaderValue| value.as_bytes().iter().all(|b| (0x20..0x7f).contains(b));
    assert!(
        response.headers.values().all(is_clean),
        "{:?}",
        response.headers
    );
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    if status >= 400 {
        let content_type = response.headers.get("content-type");
        assert_eq!(content_type.expect("a type"), "application/problem+json");
        judged_problem(&body, status);
    }
    body
}

/// What a batch's line was answered, held against what it may be.
pub fn judged_line(answer: &Value, allowed: &[u16]) -> u16 {
    let http = answer["http"].as_u64();
    let http = http.and_then(|http| u16::try_from(http).ok());
    let http = http.expect("a line says its status");
    assert!(allowed.contains(&http), "{answer}");
    if http >= 400 {
        judged_problem(answer, http);
    }
    http
}

/// A problem has all its members.
pub fn judged_problem(body: &Value, status: u16) {
    let is_whole = body["status"] == status
        && ["type", "title", "code"]
            .iter()
            .all(|name| body[*name].is_string());
    assert!(is_whole, "a problem without all its members: {body}");
}

pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
