//! How a good request is spoilt: one field, one header, one byte at a time.

use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::{Just, any, prop};
use proptest::prop_oneof;
use proptest::strategy::{BoxedStrategy, Strategy};
use serde_json::{Value, json};

/// A request as it is sent.
#[derive(Clone)]
pub struct Draft {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Texts put into it that no answer may repeat.
    pub odd: Vec<String>,
}

/// A good request before it is spelt out.
#[derive(Debug, Clone)]
pub struct Form {
    pub method: Method,
    pub path: String,
    /// A name and its value in JSON.
    pub fields: Vec<(String, String)>,
    pub spelling: Spelling,
    pub headers: Vec<(&'static str, String)>,
}

/// Where the fields stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    Query,
    Form,
    Json,
    /// A JSON value a line, without names.
    Lines,
}

impl Form {
    pub fn new(method: Method, path: impl Into<String>, fields: Value, spelling: Spelling) -> Self {
        let Value::Object(fields) = fields else {
            panic!("fields are an object: {fields}");
        };
        let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
        Self {
            method,
            path: path.into(),
            fields: fields
                .map(|(name, value)| (name, value.to_string()))
                .collect(),
            spelling,
            headers: Vec::new(),
        }
    }

    pub fn get(path: impl Into<String>, fields: Value) -> Self {
        Self::new(Method::GET, path, fields, Spelling::Query)
    }

    pub fn post(path: impl Into<String>, fields: Value) -> Self {
        Self::new(Method::POST, path, fields, Spelling::Json)
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn spelt(&self) -> (String, Vec<u8>) {
        let pairs = || {
            let pair = |(name, value): &(String, String)| {
                format!("{}={}", encoded(name), encoded(&as_text(value)))
            };
            self.fields.iter().map(pair).collect::<Vec<_>>().join("&")
        };
        match self.spelling {
            Spelling::Query => (pairs(), Vec::new()),
            Spelling::Form => (String::new(), pairs().into_bytes()),
            Spelling::Lines => {
                let lines: Vec<&str> = self.fields.iter().map(|(_, line)| line.as_str()).collect();
                (String::new(), lines.join("\n").into_bytes())
            }
            Spelling::Json if self.method == Method::GET => (String::new(), Vec::new()),
            Spelling::Json => {
                let member = |(name, value): &(String, String)| format!("{}:{value}", json!(name));
                let members: Vec<String> = self.fields.iter().map(member).collect();
                (
                    String::new(),
                    format!("{{{}}}", members.join(",")).into_bytes(),
                )
            }
        }
    }
}

/// A JSON text without its quotes; other JSON as it is.
fn as_text(value: &str) -> String {
    serde_json::from_str::<String>(value).unwrap_or_else(|_| value.to_owned())
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// What one request has wrong with it.
#[derive(Debug, Clone)]
pub enum Change {
    Nothing,
    Text(prop::sample::Index, String),
    Json(prop::sample::Index, &'static str),
    Gone(prop::sample::Index),
    Twice(prop::sample::Index),
    Extra(&'static str, String),
    Method(Method),
    /// Into the query or the body as it is spelt.
    Bytes(prop::sample::Index, &'static [u8]),
    Cut(prop::sample::Index),
    Path(String),
    Header(&'static str, String),
    NoHeader(prop::sample::Index),
}

const TEXTS: [&str; 66] = [
    "",
    " ",
    "\0",
    "a\0b",
    "\r\nset-cookie: a=b",
    "\u{1b}[31m",
    "\u{7f}",
    "\u{85}",
    "\u{202e}abc",
    "\u{feff}",
    "{click_id}",
    "{order_id",
    "[[order]]",
    "#ORDER#",
    "${AMOUNT}",
    "{}",
    "%%amount%%",
    "{{a}}",
    "-1",
    "+1",
    "-0",
    "0",
    "00",
    "0.0",
    "1e5",
    "1E400",
    "0x10",
    "1,000.00",
    "1.000,00",
    "1 000",
    ".5",
    "5.",
    "١٢",
    "１２",
    "NaN",
    "Infinity",
    "0.1",
    "12.345",
    "0.0000000000000000000000000001",
    "99999999999999999999999999",
    "9223372036854775807",
    "10000000000000",
    "10000000000000.00",
    "10000000000000.01",
    "USD",
    "JPY",
    "KWD",
    "eur",
    "XXX",
    "EU",
    "true",
    "null",
    "sale",
    "SALE",
    "lead",
    "*",
    "other",
    "new",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "' OR 1=1 --",
    "javascript:alert(1)",
    "//evil.example/",
    "https://evil.example/",
    "https://shop.example@evil.example/",
    "é",
];

const TIMES: [&str; 14] = [
    "2026-07-01",
    "2026-07-01T10:00:00Z",
    "2026-07-01T10:04:59Z",
    "2026-07-01T10:30:00Z",
    "2026-06-01T10:00:00Z",
    "2026-01-01T00:00:00Z",
    "2026-02-30",
    "2026-13-01T00:00:00Z",
    "0000-00-00",
    "0001-01-01",
    "9999-12-31",
    "9999-12-31T23:59:59Z",
    "2026-07-01T10:00:00+02:00",
    "1782907200",
];

const JSONS: [&str; 18] = [
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1.5",
    "1e999",
    "123456789012345678901234567890",
    "[]",
    "{}",
    "[[]]",
    "[null]",
    "[1]",
    "[\"a\"]",
    "[{}]",
    "{\"a\":{\"a\":1}}",
    "[{\"sku\":\"a\",\"amount\":\"1\"}]",
    "[{\"sku\":\"a\",\"amount\":\"1e2\",\"sku\":\"b\"}]",
];

const BYTES: [&[u8]; 16] = [
    b"%00",
    b"%ff",
    b"%",
    b"%zz",
    b"&&",
    b"==",
    b";",
    b"+",
    b"\0",
    b"\n",
    b"\xff",
    b"\"",
    b"{",
    b"}",
    b"\\u0000",
    b"\xed\xa0\x80",
];

/// Any text that a sender could put anywhere.
pub fn text() -> BoxedStrategy<String> {
    let repeated = |text: &'static str, times: usize| Just(text.repeat(times));
    prop_oneof![
        20 => prop::sample::select(&TEXTS[..]).prop_map(str::to_owned),
        4 => prop::sample::select(&TIMES[..]).prop_map(str::to_owned),
        3 => any::<String>(),
        2 => repeated("a", 33),
        2 => repeated("😀", 128),
        1 => repeated("\"", 129),
        2 => repeated("a", 1_500),
        1 => repeated("ä", 20_000),
    ]
    .boxed()
}

fn json_value() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&JSONS[..])
}

pub fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    let methods = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::HEAD,
        Method::OPTIONS,
    ];
    let extras = [
        "colour",
        "token",
        "amount",
        "a b",
        "",
        "__proto__",
        "sub11",
        "url",
        "<b>",
        "id",
    ];
    let headers = [
        "content-type",
        "authorization",
        "cookie",
        "user-agent",
        "sec-purpose",
        "if-match",
        "webhook-signature",
        "webhook-timestamp",
        "sec-gpc",
    ];
    let header_values = [
        "",
        "text/plain",
        "application/json",
        "application/x-www-form-urlencoded",
        "Bearer x",
        "Bearer ck_k0000000000000000_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "Basic YTpi",
        "prefetch;prerender",
        "\"1\"",
        "*",
        "W/\"1\"",
        "clv=AAAAAAAAAAAAAAAAAAAAAA",
        "clv=\u{e4}; clv=%",
        "v1,AAAA",
        "1",
        "\t",
    ];
    prop_oneof![
        12 => Just(Change::Nothing),
        16 => (index(), text()).prop_map(|(at, text)| Change::Text(at, text)),
        6 => (index(), json_value()).prop_map(|(at, json)| Change::Json(at, json)),
        3 => index().prop_map(Change::Gone),
        2 => index().prop_map(Change::Twice),
        3 => (prop::sample::select(extras.to_vec()), text()).prop_map(|(name, text)| Change::Extra(name, text)),
        2 => prop::sample::select(methods.to_vec()).prop_map(Change::Method),
        4 => (index(), prop::sample::select(&BYTES[..])).prop_map(|(at, bytes)| Change::Bytes(at, bytes)),
        2 => index().prop_map(Change::Cut),
        3 => text().prop_map(Change::Path),
        3 => (prop::sample::select(headers.to_vec()), prop::sample::select(header_values.to_vec()))
            .prop_map(|(name, value)| Change::Header(name, value.to_owned())),
        1 => Just(Change::Header("content-type", "text/csv".to_owned())),
        1 => Just(Change::Header("sec-purpose", "prefetch".to_owned())),
        1 => index().prop_map(Change::NoHeader),
    ]
}

/// The form as it is sent, with that change.
pub fn changed(mut form: Form, change: Change) -> Draft {
    let mut odd = Vec::new();
    let put = |fields: &mut Vec<(String, String)>, at: prop::sample::Index, json: String| {
        if !fields.is_empty() {
            let place = at.index(fields.len());
            fields[place].1 = json;
        }
    };
    match &change {
        Change::Text(at, text) => {
            put(&mut form.fields, *at, json!(text).to_string());
            odd.push(text.clone());
        }
        Change::Json(at, json) => put(&mut form.fields, *at, (*json).to_owned()),
        Change::Gone(at) if !form.fields.is_empty() => {
            form.fields.remove(at.index(form.fields.len()));
        }
        Change::Twice(at) if !form.fields.is_empty() => {
            let again = form.fields[at.index(form.fields.len())].clone();
            form.fields.push(again);
        }
        Change::Extra(name, text) => {
            form.fields
                .push(((*name).to_owned(), json!(text).to_string()));
            odd.push(text.clone());
        }
        Change::Method(method) => form.method = method.clone(),
        Change::Path(text) => form.path = spoilt_path(&form.path, text),
        Change::Header(name, value) => {
            form.headers.retain(|(own, _)| own != name);
            form.headers.push((name, value.clone()));
        }
        Change::NoHeader(at) if !form.headers.is_empty() => {
            form.headers.remove(at.index(form.headers.len()));
        }
        _ => {}
    }
    let (mut query, mut body) = form.spelt();
    match change {
        Change::Bytes(at, bytes) if body.is_empty() => {
            // A query is text by the time that it comes to a handler.
            let mut spliced = query.into_bytes();
            let place = at.index(spliced.len() + 1);
            spliced.splice(place..place, bytes.iter().copied());
            query = String::from_utf8_lossy(&spliced).into_owned();
        }
        Change::Bytes(at, bytes) => {
            let place = at.index(body.len() + 1);
            body.splice(place..place, bytes.iter().copied());
        }
        Change::Cut(at) if body.is_empty() => query.truncate(at.index(query.len() + 1)),
        Change::Cut(at) => body.truncate(at.index(body.len() + 1)),
        _ => {}
    }
    // Short ones and words stand in answers of their own right.
    odd.retain(|text| text.len() >= 8 && text.contains(|c: char| !c.is_ascii_alphanumeric()));
    Draft {
        method: form.method,
        path: form.path,
        query,
        headers: form.headers,
        body,
        odd,
    }
}

/// The text in place of the path's last part, or after it.
fn spoilt_path(path: &str, text: &str) -> String {
    let text = encoded(text);
    match path.rsplit_once('/') {
        Some((before, _)) if text.len().is_multiple_of(2) => format!("{before}/{text}"),
        _ => format!("{path}/{text}"),
    }
}
