//! Holds the matcher of robots against two public lists that it was not made from.
//!
//! ```sh
//! folder=$(mktemp -d) && npm install --silent --no-save --prefix "$folder" crawler-user-agents@1.60.0 user-agents@2.1.198 \
//!   && cargo run -p tests --bin agents -- "$folder/node_modules"
//! ```
//!
//! `crawler-user-agents` (MIT) names what robots send, `user-agents` (BSD-2-Clause) what browsers do.
//! No pattern comes from either, and neither is kept here.

use std::path::Path;
use std::process::ExitCode;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use shared::traffic::{Class, class};

/// Of the robots' user agents, in ten thousandths.
const RECALL_LEAST: usize = 9_850;

fn is_robot(user_agent: &str) -> bool {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(user_agent) {
        headers.insert(USER_AGENT, value);
    }
    class(&headers) == Class::Invalid
}

fn texts(modules: &Path, file: &str, of: impl Fn(&Value) -> Vec<String>) -> Vec<String> {
    let path = modules.join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let list: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let mut texts: Vec<String> = list.as_array().into_iter().flatten().flat_map(of).collect();
    texts.sort_unstable();
    texts.dedup();
    assert!(
        texts.len() >= 500,
        "{path:?} holds only {} user agents",
        texts.len()
    );
    texts
}

fn main() -> ExitCode {
    let Some(modules) = std::env::args_os().nth(1) else {
        eprintln!("usage: agents <folder with the two npm packages>");
        return ExitCode::from(2);
    };
    let modules = Path::new(&modules);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let robots = texts(
        modules,
        "crawler-user-agents/crawler-user-agents.json",
        |entry| {
            entry["instances"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(text)
                .collect()
        },
    );
    let browsers = texts(modules, "user-agents/dist/user-agents.json", |entry| {
        text(&entry["userAgent"]).into_iter().collect()
    });

    let missed: Vec<&String> = robots.iter().filter(|agent| !is_robot(agent)).collect();
    let flagged: Vec<&String> = browsers.iter().filter(|agent| is_robot(agent)).collect();
    for agent in &missed {
        println!("a robot taken for a browser: {agent}");
    }
    for agent in &flagged {
        println!("a browser taken for a robot: {agent}");
    }
    let recall = (robots.len() - missed.len()) * 10_000 / robots.len();
    println!(
        "{} of {} robots known ({}.{:02} %), {} of {} browsers taken for robots",
        robots.len() - missed.len(),
        robots.len(),
        recall / 100,
        recall % 100,
        flagged.len(),
        browsers.len(),
    );
    if recall < RECALL_LEAST || !flagged.is_empty() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
