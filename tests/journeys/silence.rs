//! A table that takes every call and answers none, for a minute of the runtime's time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clickledger::embedded::{Fault, Faults};
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Method, header};
use redirect::Redirect;
use serde_json::json;
use shared::app::App;
use shared::http_types::Request;
use tests::{BROWSER, World, click_id};
use tokio::time::{Instant, sleep, sleep_until};

const START: &str = "2026-07-01T10:00:00Z";
const MINUTE: Duration = Duration::from_secs(60);
const VISITORS: u32 = 300;
const MOST: Duration = Duration::from_millis(300);

/// The click id that a visitor of the cached link gets, and how long that took.
async fn visit(redirect: &Redirect) -> (String, Duration) {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(BROWSER));
    let request = Request {
        method: Method::GET,
        path: "/r/anna-shoes".to_owned(),
        query: String::new(),
        headers,
        body: Bytes::new(),
        now: START.parse().unwrap(),
        https: true,
        country: None,
    };
    let began = Instant::now();
    let response = redirect::handle(redirect, request).await;
    assert_eq!(response.status, 302);
    (click_id(&response), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn visitors_of_a_silent_table_are_sent_on_in_time_counted_and_credited_afterwards() {
    let world = World::with_shop(START).await;
    let app = App {
        is_one_machine: false,
        ..world.stack.app.clone()
    };
    let redirect = Arc::new(Redirect::new(app));
    visit(&redirect).await;
    assert_eq!(redirect.lost_clicks(), 0);

    world
        .stack
        .table
        .set_faults(Faults::seeded(7).with(Fault::Hang, 1000));
    let began = Instant::now();
    let visits = join_all((0..VISITORS).map(|number| {
        let redirect = Arc::clone(&redirect);
        async move {
            sleep_until(began + MINUTE * number / VISITORS).await;
            visit(&redirect).await
        }
    }))
    .await;
    for (number, (_, took)) in visits.iter().enumerate() {
        assert!(*took < MOST, "visitor {number} waited {took:?}");
    }
    assert_eq!(redirect.lost_clicks(), u64::from(VISITORS));
    // What lies between this and the next visit is no part of the trouble.
    sleep(MINUTE).await;

    world.stack.table.set_faults(Faults::none());
    visit(&redirect).await;
    assert_eq!(redirect.lost_clicks(), u64::from(VISITORS));
    for (number, (click_id, _)) in visits.iter().enumerate() {
        let sale = json!({"click_id": click_id, "order_id": number.to_string(), "amount": "10"});
        let answer = world.postback(sale).await;
        assert_eq!(answer.body["result"], "created", "{answer:?}");
        assert_eq!(answer.body["commissions"][0]["amount"], "1.00");
    }
    assert_eq!(world.balance("anna").await["on_hold"], "300.00");
}
