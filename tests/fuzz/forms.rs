//! Bytes as they arrive: a query or a form against the URL standard's own reader, and a batch against
//! its lines one by one.

use std::cell::Cell;
use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};
use shared::http_types::{Fields, Response};
use url::form_urlencoded;

use crate::spoilt::Input;
use crate::stage::{Ask, Stage, judged, judged_line};
use crate::targets::Check;

const ALLOWED: [u16; 5] = [200, 401, 404, 409, 422];

/// After so many inputs the two shops' books are compared.
const COMPARED_EVERY: usize = 50;

pub fn form(input: &Input) -> bool {
    let second: Vec<(String, String)> = form_urlencoded::parse(&input.0).into_owned().collect();
    let names: BTreeSet<&str> = second.iter().map(|(name, _)| name.as_str()).collect();
    match Fields::from_form(&input.0) {
        Ok(mut fields) => {
            assert_eq!(fields.names(), names.iter().copied().collect::<Vec<_>>());
            assert_eq!(names.len(), second.len());
            for (name, value) in &second {
                let told = fields.text(name).expect("a text of a form is a text");
                assert_eq!(told.unwrap_or_default(), *value, "{name}");
            }
            fields.finish().expect("all was taken");
            true
        }
        Err(invalid) => {
            // The other reader writes U+FFFD for what is no UTF-8.
            let may_be_spoilt = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
            let has_spoilt = second
                .iter()
                .any(|(name, value)| may_be_spoilt(name) || may_be_spoilt(value));
            match invalid.code {
                "parameter_repeated" => assert!(names.len() < second.len()),
                "utf8_invalid" => assert!(has_spoilt),
                code => panic!("refused as {code}"),
            }
            false
        }
    }
}

pub fn batches() -> Check {
    let (whole, one_by_one, raw) = (Stage::new(), Stage::new(), Stage::new());
    let count = Cell::new(0_usize);
    Box::new(move |input| {
        count.set(count.get() + 1);
        let new = format!("N-{}", count.get());
        let is_taken = check(&whole, &one_by_one, &new, input);
        arrives_raw(&raw, &new, input);
        if count.get().is_multiple_of(COMPARED_EVERY) {
            for affiliate in ["anna", "bert"] {
                let path = format!("affiliates/{affiliate}/balances");
                let books = [&whole, &one_by_one].map(|shop| shop.run(shop.world.get(&path)).body);
                assert_eq!(books[0], books[1]);
            }
        }
        is_taken
    })
}

fn check(whole: &Stage, one_by_one: &Stage, new: &str, input: &Input) -> bool {
    let answers = answers(&told(whole, filled(whole, new, input)));
    let body = filled(one_by_one, new, input);
    let lines = body.split_inclusive(|byte| *byte == b'\n');
    let mut has_taken = false;
    let mut lines_told = 0;
    for (number, line) in lines.enumerate() {
        // Without its end an empty line alone would be none.
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let alone = [line, b"\n"].concat();
        let mut alone = self::answers(&told(one_by_one, alone));
        assert_eq!(alone.len(), 1);
        alone[0]["line"] = json!(number + 1);
        assert_eq!(answers.get(number), Some(&alone[0]));
        has_taken |= alone[0]["http"] == 200;
        lines_told += 1;
    }
    assert_eq!(answers.len(), lines_told);
    has_taken
}

/// The same bytes at the doors that take one result.
fn arrives_raw(shop: &Stage, new: &str, input: &Input) {
    let bearer = format!("Bearer {}", shop.world.token);
    for content_type in ["application/json", "application/x-www-form-urlencoded"] {
        let response = shop.postback(&Ask {
            method: Method::POST,
            path: "/postback",
            query: "",
            headers: &[("authorization", &bearer), ("content-type", content_type)],
            body: filled(shop, new, input),
        });
        judged(&response, &ALLOWED);
    }
}

/// The input's bytes, whatever they are, with what its words stand for.
fn filled(shop: &Stage, new: &str, input: &Input) -> Vec<u8> {
    let each: String = input.0.iter().map(|byte| char::from(*byte)).collect();
    let filled = shop.filled(&each.replace("@new@", new));
    let byte = |own| u8::try_from(own).expect("each character was a byte");
    filled.chars().map(byte).collect()
}

fn told(shop: &Stage, body: Vec<u8>) -> Response {
    let bearer = format!("Bearer {}", shop.world.token);
    shop.postback(&Ask {
        method: Method::POST,
        path: "/postback/batch",
        query: "",
        headers: &[
            ("authorization", &bearer),
            ("content-type", "application/x-ndjson"),
        ],
        body,
    })
}

fn answers(response: &Response) -> Vec<Value> {
    let text = String::from_utf8_lossy(&response.body);
    let answers: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("an answer is JSON"))
        .collect();
    let statuses = answers.iter().map(|answer| judged_line(answer, &ALLOWED));
    let statuses: Vec<u16> = statuses.collect();
    let are_all_taken = statuses.iter().all(|http| *http < 400);
    let expected = if are_all_taken { 200 } else { 207 };
    assert_eq!(response.status.as_u16(), expected, "{text}");
    answers
}
