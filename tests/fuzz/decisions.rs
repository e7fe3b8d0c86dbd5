//! Decisions by the list. `@order@` in an input is an order that was made just now and waits.

use std::cell::Cell;

use http::Method;
use serde_json::{Value, json};
use shared::http_types::parse_json;

use crate::spoilt::Input;
use crate::stage::{Ask, Stage, judged, judged_problem};
use crate::targets::Check;

const ALLOWED: [u16; 5] = [200, 207, 413, 422, 404];

const COLUMNS: [&str; 6] = ["order_id", "goal", "action", "amount", "reason", "id"];

pub fn stage() -> Check {
    let stage = Stage::new();
    let count = Cell::new(0);
    Box::new(move |input| {
        count.set(count.get() + 1);
        check(&stage, input, count.get())
    })
}

fn check(stage: &Stage, input: &Input, count: usize) -> bool {
    let order = format!("O-{count}");
    let sale = json!({
        "order_id": order, "program": "boots", "click_id": stage.filled("@2@"), "amount": "80",
    });
    assert_eq!(
        stage.run(stage.world.postback(sale)).body["status"],
        "pending"
    );
    let text = input.text().replace("@order@", &order);
    let as_csv = decided(stage, "text/csv", &text, "&dry_run=1");
    let lines = lines_by_csv(&text);
    assert_eq!(as_csv.as_ref().map(Vec::len), lines.as_ref().map(Vec::len));
    if let (Some(answers), Some(lines)) = (&as_csv, &lines) {
        let as_json = lines.iter().map(|line| match line {
            Some(line) => line.to_string(),
            None => "no line".to_owned(),
        });
        let as_json = as_json.collect::<Vec<_>>().join("\n");
        let others = decided(stage, "application/x-ndjson", &as_json, "&dry_run=1");
        for ((answer, other), line) in answers.iter().zip(others.unwrap_or_default()).zip(lines) {
            match line {
                Some(_) => assert_eq!(*answer, other),
                None => assert_eq!(answer["code"], "csv_invalid"),
            }
        }
    }

    let dry = decided(stage, "application/x-ndjson", &text, "&dry_run=1").unwrap_or_default();
    let given = text
        .split('\n')
        .filter(|line| !line.trim_ascii().is_empty());
    let given: Vec<&str> = given.collect();
    if given.len() <= 1_000 {
        assert_eq!(dry.len(), given.len());
    }
    for (answer, line) in dry.iter().zip(&given) {
        let second: Option<Value> = serde_json::from_str(line).ok();
        match second {
            // A key may stand twice before the place where it ceases to be JSON.
            None if answer["code"] == "parameter_repeated" => {}
            None => assert_eq!(answer["code"], "json_invalid", "{line}"),
            Some(_) if parse_json(line.as_bytes()).is_err() => {
                assert_eq!(answer["code"], "parameter_repeated", "{line}");
            }
            Some(value) if !value.is_object() => {
                assert_eq!(answer["code"], "not_an_object", "{line}");
            }
            Some(_) => assert_ne!(answer["code"], "json_invalid", "{line}"),
        }
    }

    // What would come of the first line comes of it: nothing stands before it.
    let kind = if as_csv.is_some() {
        "text/csv"
    } else {
        "application/x-ndjson"
    };
    let dry = as_csv.unwrap_or(dry);
    let real = decided(stage, kind, &text, "").unwrap_or_default();
    assert_eq!(dry.len(), real.len());
    if let (Some(dry), Some(real)) = (dry.first(), real.first()) {
        assert_eq!(dry["http"], real["http"], "{dry} {real}");
        assert_eq!(dry["code"], real["code"], "{dry} {real}");
        if dry["result"] == "unchanged" {
            assert_eq!(real["result"], "unchanged");
        }
    }
    // And nothing more of the same again.
    for answer in decided(stage, kind, &text, "").unwrap_or_default() {
        assert_ne!(answer["result"], "changed", "{answer}");
    }
    real.iter().any(|answer| answer["result"] == "changed")
}

/// A line's answer each; none where the whole list is refused.
fn decided(stage: &Stage, content_type: &str, text: &str, query: &str) -> Option<Vec<Value>> {
    let bearer = format!("Bearer {}", stage.world.admin);
    let response = stage.console(&Ask {
        method: Method::POST,
        path: "/api/v1/conversions/decisions",
        query: &format!("merchant=shop{query}"),
        headers: &[("authorization", &bearer), ("content-type", content_type)],
        body: text.as_bytes().to_vec(),
    });
    judged(&response, &ALLOWED);
    if response.status.as_u16() >= 400 {
        return None;
    }
    let body = String::from_utf8_lossy(&response.body).into_owned();
    let answers = body.lines().enumerate().map(|(number, line)| {
        let answer: Value = serde_json::from_str(line).expect("a line is JSON");
        assert_eq!(answer["line"], number + 1);
        let http = answer["http"]
            .as_u64()
            .and_then(|http| u16::try_from(http).ok());
        match http.expect("a line says its status") {
            200 => {}
            http @ (404 | 409 | 422) => judged_problem(&answer, http),
            _ => panic!("{answer}"),
        }
        answer
    });
    Some(answers.collect())
}

/// What the `csv` crate reads: none where there is nothing that could be a list, and for each line
/// the members that it gives, or none where it is none.
fn lines_by_csv(text: &str) -> Option<Vec<Option<Value>>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = csv::ReaderBuilder::new();
    let mut reader = reader.flexible(true).from_reader(text.as_bytes());
    let columns = reader.headers().ok()?.clone();
    if !columns.iter().all(|name| COLUMNS.contains(&name)) {
        return None;
    }
    let lines = reader.records().map(|record| {
        let record = record.ok().filter(|record| record.len() <= columns.len())?;
        let members = columns
            .iter()
            .zip(&record)
            .filter(|(_, text)| !text.is_empty());
        Some(
            members
                .map(|(name, text)| (name.to_owned(), json!(text)))
                .collect(),
        )
    });
    Some(lines.collect())
}
