//! Much in one call on Lambda, until its time is over: a daily run of many accounts, side by side, and
//! lists of many lines.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use jiff::{SignedDuration, Timestamp};
use payout::RunError;
use serde_json::{Value, json};
use shared::app::App;
use shared::http_types::{Request, Response};
use shared::lambda::{Schedule, Watch};
use tests::World;

const AFFILIATES: u64 = 40;
const DUE: &str = "2026-07-02T01:00:00Z";
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Forty affiliates, each with a bonus that the run of the day pays.
async fn forty() -> World {
    let world = World::with_shop("2026-07-01T10:00:00Z").await;
    for number in 0..AFFILIATES {
        let id = format!("a{number:02}");
        let affiliate = json!({
            "id": id, "name": id, "email": "x@example.com", "country": "DE",
            "payout": {"currency": "EUR", "method": "manual", "schedule": "daily"},
        });
        world.made("affiliates", affiliate).await;
        let bonus = json!({
            "id": id, "affiliate": id, "kind": "bonus", "currency": "EUR", "amount": "1",
            "reason": "a test",
        });
        world.made("adjustments", bonus).await;
    }
    world.stack.table.clear_calls();
    world
}

fn due() -> Timestamp {
    DUE.parse().unwrap()
}

/// How many payouts were written since the calls were cleared.
fn paid(world: &World) -> u64 {
    let is_entry = |(action, table): &(&str, String)| {
        *action == "PutItem" && *table == clickledger::tables::names().ledger
    };
    let calls = world.stack.table.calls();
    let paid = calls
        .iter()
        .filter(|call| call.actions.iter().any(is_entry));
    u64::try_from(paid.count()).unwrap()
}

async fn scheduled(world: &World, watch: Watch<'_>) -> Result<Value, RunError> {
    scheduled_by(&world.stack.app, watch).await
}

async fn scheduled_by(app: &App, watch: Watch<'_>) -> Result<Value, RunError> {
    let schedule = Schedule {
        day: None,
        scheduled_time: due(),
    };
    payout::scheduled(app, &schedule, watch).await
}

async fn asked_for(world: &World, watch: Watch<'_>) -> Response {
    asked_of(&world.stack.app, world, watch).await
}

async fn asked_of(app: &App, world: &World, watch: Watch<'_>) -> Response {
    let mut headers = HeaderMap::new();
    let bearer = HeaderValue::from_str(&format!("Bearer {}", world.admin)).unwrap();
    headers.insert(header::AUTHORIZATION, bearer);
    let request = Request {
        method: Method::POST,
        path: "/api/v1/payout-runs".to_owned(),
        query: String::new(),
        headers,
        body: Bytes::from_static(br#"{"day": "2026-07-01"}"#),
        now: due(),
        https: true,
        country: None,
    };
    payout::handle(app, request, watch).await
}

#[tokio::test]
async fn a_run_whose_time_is_over_stops_in_good_order_and_the_next_call_goes_on() {
    let world = forty().await;
    let begun = world.stack.table.call_count();
    // An hour passes at the two hundredth call.
    let clock = || {
        if world.stack.table.call_count() < begun + 200 {
            due()
        } else {
            due() + HOUR
        }
    };
    let watch = Watch {
        clock: &clock,
        deadline: due() + HOUR,
    };
    let stopped = scheduled(&world, watch).await;
    assert!(
        matches!(&stopped, Err(RunError::OutOfTime(day, _)) if day.to_string() == "2026-07-01"),
        "{stopped:?}"
    );
    let first = paid(&world);
    assert!(0 < first && first < AFFILIATES, "{first}");

    // No time at all: nothing is begun, and the sender is told to repeat.
    world.stack.table.clear_calls();
    let refused = asked_for(&world, watch).await;
    assert_eq!((refused.status.as_u16(), paid(&world)), (503, 0));
    assert!(refused.headers.contains_key(header::RETRY_AFTER));

    let done = asked_for(&world, Watch::without_deadline()).await;
    assert_eq!(
        (done.status.as_u16(), paid(&world)),
        (200, AFFILIATES - first)
    );
    let done: Value = serde_json::from_slice(&done.body).unwrap();
    assert_eq!(
        (&done["payouts"], &done["total"][0]["amount"]),
        (&json!(40), &json!("40.00"))
    );
    let again = scheduled(&world, watch).await.unwrap();
    assert_eq!(again, done);
}

#[tokio::test]
async fn accounts_settle_side_by_side_and_sixteen_at_most() {
    let world = forty().await;
    scheduled(&world, Watch::without_deadline()).await.unwrap();
    let (mut under_way, mut most) = (0, 0);
    for call in world.stack.table.calls() {
        let names: Vec<&str> = call.actions.iter().map(|(action, _)| *action).collect();
        match (call.key_prefix.as_str(), names.as_slice()) {
            // A bucket is closed, and later drained together with all that its settle writes.
            ("B#", ["UpdateItem"]) => under_way += 1,
            ("B#", ["UpdateItem", ..]) => under_way -= 1,
            _ => {}
        }
        most = most.max(under_way);
    }
    assert_eq!((under_way, most), (0, 16));
}

/// On AWS a listing may miss what a transaction wrote that was under way when the gates closed.
/// Here a bucket is taken out for as long as it is not to be seen.
#[tokio::test]
async fn buckets_are_listed_again_a_minute_after_the_gates_closed_and_nobody_waits_twice() {
    let world = forty().await;
    let minute = Duration::from_secs(60);
    let app = App {
        second_listing_after: minute,
        ..world.stack.app.clone()
    };
    let client = world.stack.table.client("setup");
    let core = clickledger::tables::names().core;
    let pocket = shared::ledger::Pocket {
        payer: shared::ids::PayerId::house(),
        affiliate: shared::ids::AffiliateId::parse("a07").unwrap(),
        currency: shared::money::Currency::parse("EUR").unwrap(),
    };
    let key = |pk: String, sk: &str| {
        let text = AttributeValue::S;
        [("pk", text(pk)), ("sk", text(sk.to_owned()))]
            .map(|(name, value)| (name.to_owned(), value))
    };
    let key = key(
        format!("B#2026-07-01#{:02}", pocket.shard()),
        "house#a07#EUR#00",
    );
    let taken_out = client
        .delete_item()
        .table_name(&core)
        .set_key(Some(key.into()))
        .return_values(aws_sdk_dynamodb::types::ReturnValue::AllOld)
        .send()
        .await
        .unwrap();
    assert!(taken_out.attributes.is_some());

    let passed = AtomicI64::new(0);
    let clock = || due() + SignedDuration::from_secs(passed.load(Ordering::Relaxed));
    let watch = |deadline: i64| Watch {
        clock: &clock,
        deadline: due() + SignedDuration::from_secs(deadline),
    };
    // As an invocation by HTTP has it: too little time to wait in.
    let stopped = asked_of(&app, &world, watch(55)).await;
    assert_eq!(
        (stopped.status.as_u16(), paid(&world)),
        (503, AFFILIATES - 1)
    );
    assert_eq!(stopped.headers[header::RETRY_AFTER], "60");
    passed.store(59, Ordering::Relaxed);
    let stopped = scheduled_by(&app, watch(59 + 10)).await;
    let again_after = SignedDuration::from_secs(1);
    assert!(
        matches!(stopped, Err(RunError::OutOfTime(_, after)) if after == again_after),
        "{stopped:?}"
    );

    client
        .put_item()
        .table_name(&core)
        .set_item(taken_out.attributes)
        .send()
        .await
        .unwrap();
    passed.store(60, Ordering::Relaxed);
    let done = scheduled_by(&app, watch(60 + 11)).await.unwrap();
    assert_eq!(
        (&done["payouts"], paid(&world)),
        (&json!(AFFILIATES), AFFILIATES)
    );
}

#[tokio::test]
async fn a_run_that_has_the_time_waits_by_itself() {
    let world = forty().await;
    let wait = Duration::from_millis(200);
    let app = App {
        second_listing_after: wait,
        ..world.stack.app.clone()
    };
    let begun = Instant::now();
    scheduled_by(&app, Watch::without_deadline()).await.unwrap();
    assert!(wait <= begun.elapsed());
    assert_eq!(paid(&world), AFFILIATES);
}

/// One call with a list, which goes on until so many more calls of the table were made.
async fn list_of(world: &World, path: &str, lines: &[Value], calls: u64) -> Vec<(u64, Value)> {
    let mut headers = HeaderMap::new();
    let bearer = if path.starts_with("/postback") {
        &world.token
    } else {
        &world.admin
    };
    let bearer = HeaderValue::from_str(&format!("Bearer {bearer}")).unwrap();
    headers.insert(header::AUTHORIZATION, bearer);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    let request = Request {
        method: Method::POST,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: lines.join("\n").into(),
        now: due(),
        https: true,
        country: None,
    };
    let begun = world.stack.table.call_count();
    // So near to its end that no other line is begun.
    let clock = || {
        if world.stack.table.call_count() < begun + calls {
            due()
        } else {
            due() + SignedDuration::from_millis(28_001)
        }
    };
    let watch = Watch {
        clock: &clock,
        deadline: due() + SignedDuration::from_secs(30),
    };
    let app = &world.stack.app;
    let response = if path.starts_with("/postback") {
        postback::handle_until(app, request, watch).await
    } else {
        console::handle_until(app, request, watch).await
    };
    let answers = response.body.split(|byte| *byte == b'\n');
    let answers = answers.filter(|line| !line.is_empty()).map(|line| {
        let line: Value = serde_json::from_slice(line).unwrap();
        let what = if line["http"] == 200 {
            line["result"].clone()
        } else {
            line["code"].clone()
        };
        (line["http"].as_u64().unwrap(), what)
    });
    answers.collect()
}

/// How many lines had the first answer, before as many as are left had the second.
fn cut(answers: &[(u64, Value)], first: (u64, &str), second: (u64, &str)) -> usize {
    let is = |answer: &(u64, Value), told: (u64, &str)| answer.0 == told.0 && answer.1 == told.1;
    let firsts = answers.iter().take_while(|answer| is(answer, first));
    let firsts = firsts.count();
    assert!(
        answers[firsts..].iter().all(|answer| is(answer, second)),
        "{answers:?}"
    );
    firsts
}

#[tokio::test]
async fn lines_that_no_time_is_left_for_are_answered_so_and_done_when_they_come_again() {
    let world = World::with_shop("2026-07-01T10:00:00Z").await;
    let terms = json!({"approval": "manual"});
    assert_eq!(world.patch("programs/shoes", 1, terms).await.status, 200);
    let click = world.click("anna-shoes").await;
    let orders = (0..40).map(|number| format!("A-{number}"));
    let sales: Vec<Value> = orders
        .clone()
        .map(|order| {
            json!({"type": "conversion", "order_id": order, "amount": "1", "click_id": click})
        })
        .collect();
    let unavailable = (503, "unavailable");
    let (created, before) = ((200, "created"), (200, "recorded_before"));
    let answers = list_of(&world, "/postback/batch", &sales, 50).await;
    let done = cut(&answers, created, unavailable);
    assert!(0 < done && done < 40 && answers.len() == 40, "{done}");
    let answers = list_of(&world, "/postback/batch", &sales, u64::MAX / 2).await;
    assert_eq!(cut(&answers, before, created), done);

    let path = "/api/v1/conversions/decisions?merchant=shop";
    let decisions: Vec<Value> = orders
        .map(|order| json!({"order_id": order, "action": "approve"}))
        .collect();
    let (changed, unchanged) = ((200, "changed"), (200, "unchanged"));
    let answers = list_of(&world, path, &decisions, 50).await;
    let done = cut(&answers, changed, unavailable);
    assert!(0 < done && done < 40 && answers.len() == 40, "{done}");
    let answers = list_of(&world, path, &decisions, u64::MAX / 2).await;
    assert_eq!(cut(&answers, unchanged, changed), done);
}
