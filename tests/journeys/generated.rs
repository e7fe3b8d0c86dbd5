//! Ten thousand requests a handler (fewer to the reports), well formed and nearly so, from one
//! fixed seed: each is answered as the contract allows, none with a failure, and none tells what it
//! should not.

mod changes;
mod requests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use shared::http_types::{Request, Response};
use tests::{Person, World};

use changes::Draft;
use requests::Known;

const REQUESTS: usize = 10_000;
/// As each of them may read a whole month, partition by partition.
const REPORTS: usize = 3_000;
/// So many are shown before the test gives up.
const SHOWN_MOST: usize = 12;
/// How often a visit is repeated where a loaded machine was too slow for its time limit.
const VISITS_MOST: usize = 50;

/// What the contract allows a handler to answer.
struct Allowed {
    statuses: &'static [u16],
    codes: &'static [&'static str],
}

const REDIRECT: Allowed = Allowed {
    statuses: &[302, 404, 405, 503],
    codes: &["not_found", "method_not_allowed"],
};

const POSTBACK: Allowed = Allowed {
    statuses: &[200, 207, 401, 404, 405, 409, 413, 415, 422],
    codes: &[
        "amount_invalid",
        "amount_required",
        "amount_too_large",
        "click_forged",
        "click_unknown",
        "content_type_unsupported",
        "currency_invalid",
        "currency_mismatch",
        "customer_invalid",
        "day_invalid",
        "flag_invalid",
        "goal_required",
        "goal_unknown",
        "instant_invalid",
        "invalid_traffic",
        "items_total",
        "json_invalid",
        "macro_unreplaced",
        "method_not_allowed",
        "no_rule",
        "not_a_list",
        "not_an_object",
        "not_found",
        "not_supported",
        "number_invalid",
        "occurred_at_future",
        "order_conflict",
        "order_id_invalid",
        "order_unknown",
        "parameter_missing",
        "parameter_repeated",
        "parameter_unknown",
        "program_mismatch",
        "program_paused",
        "program_unknown",
        "reversal_conflict",
        "reversal_exceeds",
        "reversal_id_invalid",
        "reversal_id_required",
        "text_invalid",
        "too_large",
        "too_late",
        "type_wrong",
        "unauthorised",
        "utf8_invalid",
        "window_closed",
        "word_unknown",
    ],
};

const CONSOLE: Allowed = Allowed {
    statuses: &[200, 201, 204, 401, 403, 404, 405, 409, 412, 422, 428],
    codes: &[
        "address_invalid",
        "affiliate_invalid",
        "affiliate_unknown",
        "amount_invalid",
        "browser_only_converts",
        "click_forged",
        "click_unknown",
        "country_invalid",
        "currency_invalid",
        "cursor_invalid",
        "duration_invalid",
        "email_invalid",
        "etag_mismatch",
        "exists",
        "flag_invalid",
        "forbidden",
        "goal_invalid",
        "hold_days_invalid",
        "host_invalid",
        "host_not_allowed",
        "id_invalid",
        "if_match_missing",
        "immutable",
        "instant_invalid",
        "json_invalid",
        "lanes_invalid",
        "length_invalid",
        "limit_invalid",
        "macro_in_host",
        "macro_unknown",
        "merchant_unknown",
        "method_not_allowed",
        "not_a_list",
        "not_an_object",
        "not_enrolled",
        "not_found",
        "not_pending",
        "not_rejected",
        "not_supported",
        "number_invalid",
        "parameter_missing",
        "parameter_name_invalid",
        "parameter_repeated",
        "parameter_unknown",
        "payer_unknown",
        "percent_invalid",
        "program_unknown",
        "role_mismatch",
        "rule_type_unknown",
        "rule_unreachable",
        "slug_invalid",
        "test_conversion_missing",
        "text_invalid",
        "type_wrong",
        "unauthorised",
        "utf8_invalid",
        "visitor_invalid",
        "word_unknown",
    ],
};

const PAYOUT: Allowed = Allowed {
    statuses: &[200, 201, 207, 401, 403, 404, 405, 409, 422],
    codes: &[
        "affiliate_unknown",
        "amount_invalid",
        "currency_invalid",
        "cursor_invalid",
        "day_invalid",
        "day_not_over",
        "exists",
        "forbidden",
        "id_invalid",
        "json_invalid",
        "limit_invalid",
        "method_not_allowed",
        "month_invalid",
        "not_a_list",
        "not_an_object",
        "not_found",
        "parameter_missing",
        "parameter_repeated",
        "parameter_unknown",
        "payer_unknown",
        "payout_state",
        "program_unknown",
        "sign_wrong",
        "text_invalid",
        "type_wrong",
        "unauthorised",
        "utf8_invalid",
        "word_unknown",
    ],
};

const REPORT: Allowed = Allowed {
    statuses: &[200, 401, 403, 404, 405, 409, 422],
    codes: &[
        "cursor_invalid",
        "days_open",
        "earlier_month_open",
        "flag_invalid",
        "format_unknown",
        "four_eyes",
        "json_invalid",
        "limit_invalid",
        "method_not_allowed",
        "not_an_object",
        "not_approved",
        "not_found",
        "not_prepared",
        "parameter_repeated",
        "parameter_unknown",
        "payer_required",
        "payer_unknown",
        "unauthorised",
        "utf8_invalid",
    ],
};

const HOSTS: [&str; 4] = [
    "shop.example",
    "www.shop.example",
    "hats.example",
    "sorry.example",
];

#[tokio::test]
async fn whatever_comes_to_the_redirect_the_visitor_arrives_where_the_merchant_allows() {
    let (world, known) = requests::world().await;
    check(&world, &known, &requests::visits(), &REDIRECT).await;
}

#[tokio::test]
async fn whatever_comes_to_the_postback_is_answered_by_the_contract() {
    let (world, known) = requests::world().await;
    check(&world, &known, &requests::postbacks(&known), &POSTBACK).await;

    // What was taken can be paid: no post has spoilt the day for all.
    let day = json!({"day": "2026-07-01"});
    move_clock(&world, "2026-07-02T00:00:00Z");
    let run = world.post("payout-runs", day).await;
    assert_eq!(run.status, 200, "{run:?}");
    for affiliate in ["anna", "bert"] {
        world.balance(affiliate).await;
    }
}

#[tokio::test]
async fn whatever_comes_to_the_console_is_answered_by_the_contract() {
    let (world, known) = requests::world().await;
    check(&world, &known, &requests::set_ups(&known), &CONSOLE).await;
}

#[tokio::test]
async fn whatever_comes_to_the_payout_function_is_answered_by_the_contract() {
    let (world, mut known) = requests::world().await;
    for day in ["2026-07-02", "2026-07-03"] {
        for affiliate in ["anna", "bert"] {
            let click_id = world.click(&format!("{affiliate}-shoes")).await;
            let name = format!("{day} {affiliate}");
            let sale = json!({"click_id": click_id, "order_id": name, "amount": "50"});
            assert_eq!(world.postback(sale).await.status, 200);
        }
        move_clock(&world, &format!("{day}T00:00:00Z"));
        let yesterday = day
            .parse::<jiff::civil::Date>()
            .unwrap()
            .yesterday()
            .unwrap();
        let run = json!({"day": yesterday.to_string()});
        assert_eq!(world.post("payout-runs", run).await.status, 200);
    }
    let payouts = world.get("payouts").await.body;
    let ids = payouts["items"].as_array().unwrap().iter();
    known.payouts = ids
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(known.payouts.len(), 4);
    check(&world, &known, &requests::payouts(&known), &PAYOUT).await;
    for affiliate in ["anna", "bert"] {
        world.balance(affiliate).await;
    }
}

#[tokio::test]
async fn whatever_comes_to_the_report_function_is_answered_by_the_contract() {
    let (world, known) = requests::world().await;
    let network = json!({
        "id": "network", "legal_name": "Network", "address": {"town": "Bonn", "country": "DE"},
    });
    world.made("payers", network).await;
    world.turn_to("2026-08-02T10:00:00Z").await;
    let july = "reports/payouts/2026-07?payer=house";
    let rows = world.get(july).await.body["rows"].clone();
    assert_eq!(rows.as_array().map(Vec::len), Some(2));
    check_some(&world, &known, &requests::reports(&known), &REPORT, REPORTS).await;

    // Whatever was asked, and in whatever order, July is closed as it was, by two people.
    let fin = json!({"role": "finance", "person": "Fin"});
    let fin = Person::new(&world, fin).await;
    for step in ["prepare", "approve", "close"] {
        let path = format!("periods/2026-07/{step}?payer=house");
        let moved = match step {
            "approve" => fin.post(&path, json!({})).await,
            _ => world.post(&path, json!({})).await,
        };
        assert_eq!(moved.status, 200, "{step}: {moved:?}");
    }
    let july = world.get(july).await.body;
    assert_eq!((&july["state"], &july["rows"]), (&json!("closed"), &rows));
}

fn move_clock(world: &World, now: &str) {
    world.stack.clock.move_to(now.parse().unwrap()).unwrap();
}

async fn check(
    world: &World,
    known: &Known,
    drafts: &impl Strategy<Value = Draft>,
    allowed: &Allowed,
) {
    check_some(world, known, drafts, allowed, REQUESTS).await;
}

/// Sends so many, and holds each answer against what is allowed. Every status that is listed must
/// have been seen: where all requests were refused alike, nothing would be proved.
async fn check_some(
    world: &World,
    known: &Known,
    drafts: &impl Strategy<Value = Draft>,
    allowed: &Allowed,
    requests: usize,
) {
    world.stack.table.record(false);
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut seen: BTreeMap<(u16, String), usize> = BTreeMap::new();
    let mut complaints: Vec<String> = Vec::new();
    for number in 0..requests {
        let draft = drafts.new_tree(&mut runner).unwrap().current();
        let response = AssertUnwindSafe(answer(world, &draft)).catch_unwind().await;
        let verdict = match response {
            Err(_) => Err("it panics".to_owned()),
            Ok(response) => judge(known, &draft, &response, allowed).map(|codes| {
                for code in codes {
                    let kind = (response.status.as_u16(), code);
                    *seen.entry(kind).or_default() += 1;
                }
            }),
        };
        if let Err(complaint) = verdict {
            complaints.push(format!("request {number}: {complaint}\n{draft:?}"));
        }
        if complaints.len() >= SHOWN_MOST {
            break;
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));

    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    for ((status, code), times) in &seen {
        println!("{status} {code:<24} {times:>6}");
        *counts.entry(*status).or_default() += times;
    }
    println!("{counts:?}");
    let statuses: BTreeSet<u16> = counts.into_keys().collect();
    assert_eq!(statuses, allowed.statuses.iter().copied().collect());
}

/// A visit's 503 that is no prefetch's can only be the time limit on a loaded machine, which
/// holds for one visit and not for fifty.
async fn answer(world: &World, draft: &Draft) -> Response {
    let is_visit = draft.path.starts_with("/r/");
    for _ in 0..VISITS_MOST {
        let response = world.stack.handle(request(draft)).await;
        let is_too_slow = is_visit && response.status == 503 && !response.body.is_empty();
        if !is_too_slow {
            return response;
        }
    }
    panic!("503 again and again");
}

fn request(draft: &Draft) -> Request {
    let headers = draft.headers.iter().map(|(name, value)| {
        let value =
            HeaderValue::from_bytes(value.as_bytes()).expect("a draft's header can be sent");
        (HeaderName::from_static(name), value)
    });
    Request {
        method: draft.method.clone(),
        path: draft.path.clone(),
        query: draft.query.clone(),
        headers: headers.collect(),
        body: draft.body.clone().into(),
        now: Timestamp::UNIX_EPOCH,
        https: false,
        country: None,
    }
}

/// What is wrong with an answer, or the codes that it bears: of a batch, one for each line.
fn judge(
    known: &Known,
    draft: &Draft,
    response: &Response,
    allowed: &Allowed,
) -> Result<Vec<String>, String> {
    let status = response.status.as_u16();
    let text = String::from_utf8_lossy(&response.body);
    must(allowed.statuses.contains(&status), || {
        format!("{status} {text}")
    })?;
    for (name, value) in &response.headers {
        let is_clean = value
            .as_bytes()
            .iter()
            .all(|byte| (0x20..0x7f).contains(byte));
        must(is_clean, || format!("{name}: {value:?}"))?;
        let told = known.secret_in(&String::from_utf8_lossy(value.as_bytes()));
        must(!told, || format!("{name} tells a secret"))?;
    }
    must(!known.secret_in(&text), || {
        format!("the body tells a secret: {text}")
    })?;

    let content_type = response.headers.get("content-type");
    let content_type = content_type.map_or("", |value| value.to_str().unwrap_or("?"));
    if status == 302 {
        let location = response.headers.get("location");
        let location = location.map_or("", |value| value.to_str().unwrap_or("?"));
        must(leads_to_an_allowed_host(location), || location.to_owned())?;
        return Ok(vec![String::new()]);
    }
    let is_prefetch = status == 503 && text.is_empty() && response.headers.contains_key("vary");
    if is_prefetch {
        return Ok(vec![String::new()]);
    }
    if content_type == "application/x-ndjson" {
        return text
            .lines()
            .map(|line| line_of_a_batch(line, allowed))
            .collect();
    }
    if status < 400 {
        let fits = status == 204
            || content_type == "application/json"
            || content_type == "text/csv; charset=utf-8";
        must(fits, || format!("{content_type}: {text}"))?;
        return Ok(vec![String::new()]);
    }
    must(content_type == "application/problem+json", || {
        content_type.to_owned()
    })?;
    let body: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let echoed = draft.odd.iter().find(|odd| text.contains(odd.as_str()));
    must(echoed.is_none(), || format!("echoes {echoed:?}: {text}"))?;
    problem(&body, status, allowed).map(|code| vec![code])
}

fn must(holds: bool, complaint: impl Fn() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(complaint()) }
}

/// Read as the most forgiving browser reads it: a backslash ends a host too, and what stands
/// before an `@` is no host. A port of an allowed host's is on that host.
fn leads_to_an_allowed_host(location: &str) -> bool {
    let host = location
        .strip_prefix("https://")
        .and_then(|rest| rest.split(['/', '?', '#', '\\']).next());
    let Some(host) = host else { return false };
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    HOSTS.contains(&name) && port.parse::<u16>().is_ok()
}

fn line_of_a_batch(line: &str, allowed: &Allowed) -> Result<String, String> {
    let body: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let http = body["http"]
        .as_u64()
        .and_then(|http| u16::try_from(http).ok());
    match http {
        Some(200) => Ok(String::new()),
        Some(http) if allowed.statuses.contains(&http) => problem(&body, http, allowed),
        _ => Err(format!("a line's answer: {line}")),
    }
}

/// The code of a problem that has all its members.
fn problem(body: &Value, status: u16, allowed: &Allowed) -> Result<String, String> {
    let code = body["code"].as_str().unwrap_or_default();
    let is_whole =
        body["status"] == status && body["type"].is_string() && body["title"].is_string();
    must(is_whole && allowed.codes.contains(&code), || {
        body.to_string()
    })?;
    Ok(code.to_owned())
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |text: &str| -> String {
            let end = text.chars().take(300).collect::<String>();
            format!("{end:?} ({} bytes)", text.len())
        };
        writeln!(f, "{} {}", self.method, short(&self.path))?;
        writeln!(f, "query {}", short(&self.query))?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {}", short(value))?;
        }
        write!(f, "body {}", short(&String::from_utf8_lossy(&self.body)))
    }
}
