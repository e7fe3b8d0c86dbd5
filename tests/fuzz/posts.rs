//! What a merchant's server tells, in four spellings to four shops that are alike: the first line
//! of an input is `conversion` or `reversal`, the others are `name=value`.

use std::cell::Cell;

use http::Method;
use serde_json::{Value, json};
use shared::http_types::parse_json;

use crate::spoilt::Input;
use crate::stage::{Ask, Stage, encoded, judged, judged_line};
use crate::targets::Check;

const ALLOWED: [u16; 5] = [200, 401, 404, 409, 422];

/// After so many inputs the four shops' books are compared.
const COMPARED_EVERY: usize = 50;

/// Fields whose texts are read as JSON in a query and a form: what is wrong with one may have
/// another name in a body that is JSON itself.
const JSON_FIELDS: [&str; 2] = ["items", "test"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Query,
    Form,
    Json,
    Batch,
}

pub fn stage() -> Check {
    let spellings = [
        Spelling::Query,
        Spelling::Form,
        Spelling::Json,
        Spelling::Batch,
    ];
    let shops = spellings.map(|spelling| (spelling, Stage::new()));
    let count = Cell::new(0);
    Box::new(move |input| {
        count.set(count.get() + 1);
        let is_taken = check(&shops, input, count.get());
        if count.get().is_multiple_of(COMPARED_EVERY) {
            compare_books(&shops);
        }
        is_taken
    })
}

fn check(shops: &[(Spelling, Stage); 4], input: &Input, count: usize) -> bool {
    let text = input.text().replace("@new@", &format!("N-{count}"));
    let (kind, fields) = text.split_once('\n').unwrap_or((&text, ""));
    let kind = if kind == "reversal" {
        kind
    } else {
        "conversion"
    };
    // The sender is told by its key, and a line's kind by its own member.
    let fields: Vec<(&str, &str)> = fields
        .split('\n')
        .map(|line| line.split_once('=').unwrap_or((line, "")))
        .filter(|(name, _)| !["token", "type"].contains(name))
        .collect();
    let answers = shops
        .iter()
        .map(|(spelling, shop)| (*spelling, told(shop, *spelling, kind, &fields)));
    let answers: Vec<(Spelling, Value)> = answers.collect();
    let (_, first) = &answers[0];
    for (spelling, answer) in &answers {
        assert!(
            is_alike(first, answer),
            "by query {first}, by {spelling:?} {answer}"
        );
    }
    first["http"] == 200
}

/// The answer with its status as `http`.
fn told(shop: &Stage, spelling: Spelling, kind: &str, fields: &[(&str, &str)]) -> Value {
    // A name may be told again, so it is the same for all.
    let filled = |(name, value): &(&str, &str)| ((*name).to_owned(), shop.filled(value));
    let fields: Vec<(String, String)> = fields.iter().map(filled).collect();
    let pairs = fields
        .iter()
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    let pairs = pairs.collect::<Vec<_>>().join("&");
    let kind_of_line = (spelling == Spelling::Batch).then(|| format!(r#""type":"{kind}""#));
    let members = fields
        .iter()
        .map(|(name, value)| format!("{}:{}", json!(name), as_json(name, value)));
    let members: Vec<String> = kind_of_line.into_iter().chain(members).collect();
    let object = format!("{{{}}}", members.join(","));

    let path = match (spelling, kind) {
        (Spelling::Batch, _) => "/postback/batch",
        (_, "reversal") => "/postback/reversal",
        _ => "/postback",
    };
    let (method, content_type, body) = match spelling {
        Spelling::Query => (Method::GET, "", String::new()),
        Spelling::Form => (
            Method::POST,
            "application/x-www-form-urlencoded",
            pairs.clone(),
        ),
        Spelling::Json => (Method::POST, "application/json", object),
        Spelling::Batch => (Method::POST, "application/x-ndjson", object),
    };
    let bearer = format!("Bearer {}", shop.world.token);
    let response = shop.postback(&Ask {
        method,
        path,
        query: if spelling == Spelling::Query {
            &pairs
        } else {
            ""
        },
        headers: &[("authorization", &bearer), ("content-type", content_type)],
        body: body.into_bytes(),
    });
    if spelling != Spelling::Batch {
        let mut answer = judged(&response, &ALLOWED);
        answer["http"] = json!(response.status.as_u16());
        return answer;
    }
    let mut answer = judged(&response, &[200, 207]);
    judged_line(&answer, &ALLOWED);
    let members = answer.as_object_mut().expect("an answer is an object");
    assert_eq!(members.remove("line"), Some(json!(1)));
    answer
}

/// As a sender of JSON spells it.
fn as_json(name: &str, value: &str) -> String {
    match (name, value) {
        ("test", "true" | "1") => "true".to_owned(),
        ("test", "false" | "0") => "false".to_owned(),
        ("items", _) if parse_json(value.as_bytes()).is_ok_and(|json| json.is_array()) => {
            value.to_owned()
        }
        _ => json!(value).to_string(),
    }
}

fn is_alike(first: &Value, answer: &Value) -> bool {
    let is_of_json = |answer: &Value| {
        let field = answer["field"].as_str().unwrap_or_default();
        JSON_FIELDS.iter().any(|name| field.starts_with(name))
    };
    let may_be_named_otherwise = answer["http"] == 422 && is_of_json(first) && is_of_json(answer);
    first == answer || (first["http"] == answer["http"] && may_be_named_otherwise)
}

/// What every affiliate of the four shops has.
fn compare_books(shops: &[(Spelling, Stage); 4]) {
    for affiliate in ["anna", "bert"] {
        let balances = shops.iter().map(|(_, shop)| {
            let path = format!("affiliates/{affiliate}/balances");
            shop.run(shop.world.get(&path)).body
        });
        let balances: Vec<Value> = balances.collect();
        for other in &balances {
            assert_eq!(balances[0], *other);
        }
    }
}
