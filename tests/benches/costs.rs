//! What the hot paths cost on the embedded table: a click id, a redirect, a postback, a day's run.
#![expect(
    clippy::unwrap_used,
    reason = "a step that fails ends the measurement, as it should"
)]

use std::cell::Cell;
use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use criterion::Criterion;
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use redirect::Redirect;
use serde_json::json;
use shared::app::App;
use shared::click::{Click, Clicking, LinkId, Visitor};
use shared::http_types::Request;
use shared::ids::ProgramId;
use shared::keys::KeyRing;
use shared::traffic::{Class, objection};
use tests::{BROWSER, World};
use tokio::runtime::Runtime;

const START: &str = "2026-07-01T10:00:00Z";
const ROBOT: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
const AFFILIATES: usize = 10_000;
/// So many are enough to see that the run still works.
const AFFILIATES_IN_A_TEST: usize = 100;

fn main() {
    // As on Lambda: one thread.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut criterion = Criterion::default().configure_from_args();
    click_id(&mut criterion);
    robots(&mut criterion);
    redirect(&mut criterion, &runtime);
    postback(&mut criterion, &runtime);
    criterion.final_summary();

    // Tens of seconds to prepare, so it is measured once.
    let is_test = std::env::args().any(|argument| argument == "--test");
    runtime.block_on(settle(if is_test {
        AFFILIATES_IN_A_TEST
    } else {
        AFFILIATES
    }));
}

fn click_id(criterion: &mut Criterion) {
    let (keys, _) = KeyRing::generate("bench", [7; 32]).unwrap();
    let clicking = Clicking {
        link: LinkId::of("anna-shoes"),
        visitor: Visitor::of(&[1; 16], &ProgramId::parse("shoes").unwrap(), &keys),
        now: START.parse().unwrap(),
        random: [3; 8],
        class: Class::Human,
        is_view: false,
        is_test: false,
        is_consent_denied: false,
        is_program_paused: false,
    };
    let click = Click::mint(&clicking, &keys);
    criterion.bench_function("mint", |bencher| {
        bencher.iter(|| Click::mint(black_box(&clicking), &keys));
    });
    criterion.bench_function("verify", |bencher| {
        bencher.iter(|| Click::verify(black_box(click.id().as_str()), &keys).unwrap());
    });
}

/// Whether a person or a robot asks: a browser is looked through to the end, a robot often is not.
fn robots(criterion: &mut Criterion) {
    for (name, agent) in [("browser", BROWSER), ("robot", ROBOT)] {
        let mut headers = HeaderMap::new();
        headers.insert("user-agent", HeaderValue::from_static(agent));
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| objection(black_box(&headers)));
        });
    }
}

/// The link is cached, as in a warm function: what remains is the id and one write.
fn redirect(criterion: &mut Criterion, runtime: &Runtime) {
    let world = runtime.block_on(World::with_shop(START));
    world.stack.table.record(false);
    let app = App {
        is_one_machine: false,
        ..world.stack.app.clone()
    };
    let redirect = Redirect::new(app);
    let mut headers = HeaderMap::new();
    headers.insert("user-agent", HeaderValue::from_static(BROWSER));
    let request = Request {
        method: Method::GET,
        path: "/r/anna-shoes".to_owned(),
        query: "sub1=mail&utm_source=letter".to_owned(),
        headers,
        body: Bytes::new(),
        now: START.parse::<Timestamp>().unwrap(),
        https: true,
        country: None,
    };
    criterion.bench_function("redirect", |bencher| {
        bencher.to_async(runtime).iter(|| async {
            let response = redirect::handle(&redirect, request.clone()).await;
            assert_eq!(response.status, 302);
        });
    });
}

/// A new order each time, credited and booked.
fn postback(criterion: &mut Criterion, runtime: &Runtime) {
    let world = runtime.block_on(World::with_shop(START));
    world.stack.table.record(false);
    let click_id = runtime.block_on(world.click("anna-shoes"));
    let orders = Cell::new(0_u64);
    criterion.bench_function("postback", |bencher| {
        bencher.to_async(runtime).iter(|| async {
            let order = orders.replace(orders.get() + 1);
            let name = format!("A-{order}");
            let sale = json!({"click_id": click_id, "order_id": name, "amount": "49.99"});
            let answer = world.postback(sale).await;
            assert_eq!(answer.body["result"], "created");
        });
    });
}

/// One day's run over as many affiliates, each with one bucket that one booking made; all are paid.
async fn settle(affiliates: usize) {
    let world = World::with_shop(START).await;
    world.stack.table.record(false);
    for number in 0..affiliates {
        let name = format!("a{number}");
        let affiliate = json!({
            "id": name, "name": name, "email": "x@example.com", "country": "DE",
            "payout": {"currency": "EUR", "method": "manual", "schedule": "daily"},
        });
        world.made("affiliates", affiliate).await;
        let bonus = json!({
            "id": name, "affiliate": name, "kind": "bonus", "currency": "EUR", "amount": "1",
            "reason": "a bench",
        });
        world.made("adjustments", bonus).await;
    }
    let tomorrow = "2026-07-02T01:00:00Z".parse().unwrap();
    world.stack.clock.move_to(tomorrow).unwrap();

    let start = Instant::now();
    let run = world
        .post("payout-runs", json!({"day": "2026-07-01"}))
        .await;
    let taken = start.elapsed();
    assert_eq!(run.body["payouts"], affiliates, "{run:?}");
    let each = taken / u32::try_from(affiliates).unwrap();
    println!(
        "settle                  time:   [{taken:.2?}] for {affiliates} buckets, {each:.1?} each"
    );
}
