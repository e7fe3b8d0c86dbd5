//! `clickledger reconcile`: every payer's books in a data folder against their ledger.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use jiff::Timestamp;
use serde_json::Value;
use shared::http_types::Request;

use crate::stack::{Stack, Start};

/// Prints what was looked at and every difference; whether there is none.
///
/// # Errors
/// One line for the operator.
pub async fn reconcile(folder: &Path, now: Timestamp) -> Result<bool, String> {
    if !folder.join("tables.sqlite").exists() {
        return Err(format!("`{}` holds no table", folder.display()));
    }
    let start = Start {
        folder: Some(folder),
        now,
        public_url: "http://127.0.0.1",
        admin_key: None,
        has_schedule: false,
        reconciles: false,
    };
    let (stack, key) = Stack::start(&start)
        .await
        .map_err(|error| error.to_string())?;
    let mut agrees = true;
    for payer in payers(&stack, &key).await? {
        let query = format!("payer={payer}");
        let books = get(&stack, &key, "/api/v1/reports/reconciliation", &query).await?;
        println!(
            "{payer}: {} entries of {} pockets, {} conversions, {} payouts",
            books["entries"], books["pockets"], books["conversions"], books["payouts"]
        );
        for difference in books["differences"].as_array().into_iter().flatten() {
            agrees = false;
            let text = |name: &str| difference[name].as_str().unwrap_or_default();
            println!(
                "  {} {} {}: the ledger says {}, found is {}",
                text("affiliate"),
                text("currency"),
                text("what"),
                text("ledger"),
                text("found")
            );
        }
    }
    println!(
        "{}",
        if agrees {
            "all agrees"
        } else {
            "the books differ"
        }
    );
    Ok(agrees)
}

/// All of them, in order; the house is there from the start, listed or not.
async fn payers(stack: &Stack, key: &str) -> Result<BTreeSet<String>, String> {
    let mut payers = BTreeSet::from(["house".to_owned()]);
    let mut query = String::new();
    loop {
        let listed = get(stack, key, "/api/v1/payers", &query).await?;
        for payer in listed["items"].as_array().into_iter().flatten() {
            payers.extend(payer["id"].as_str().map(str::to_owned));
        }
        let Some(next) = listed["next"].as_str() else {
            return Ok(payers);
        };
        query = format!("cursor={next}");
    }
}

async fn get(stack: &Stack, key: &str, path: &str, query: &str) -> Result<Value, String> {
    let mut headers = HeaderMap::new();
    let bearer =
        HeaderValue::from_str(&format!("Bearer {key}")).map_err(|error| error.to_string())?;
    headers.insert(header::AUTHORIZATION, bearer);
    let request = Request {
        method: Method::GET,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: Bytes::new(),
        now: stack.clock.now(),
        https: false,
        country: None,
    };
    let response = stack.handle(request).await;
    if response.status != http::StatusCode::OK {
        return Err(format!("GET {path} was answered {}", response.status));
    }
    serde_json::from_slice(&response.body).map_err(|error| error.to_string())
}
