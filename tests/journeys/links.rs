//! What a visitor gets while a warm redirect function knows a link from before.

use std::time::Duration;

use bytes::Bytes;
use clickledger::embedded::{Fault, Faults};
use futures_util::future::{join, join_all};
use http::{HeaderMap, HeaderValue, Method, header};
use redirect::{Pace, Redirect};
use serde_json::json;
use shared::app::App;
use shared::http_types::Request;
use tests::{BROWSER, World};

const OLD: &str = "https://shop.example/?";
const NEW: &str = "https://shop.example/new?";
const HOUR: Duration = Duration::from_secs(3600);

/// As soon as it is read, a link is old enough to be read again, but an hour long not too old.
const STALE: Pace = Pace {
    fresh: Duration::ZERO,
    stale: HOUR,
};

fn warm(world: &World, pace: Pace) -> Redirect {
    let app = App {
        is_one_machine: false,
        ..world.stack.app.clone()
    };
    Redirect::at(app, pace)
}

async fn visit(redirect: &Redirect, slug: &str) -> String {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(BROWSER));
    let request = Request {
        method: Method::GET,
        path: format!("/r/{slug}"),
        query: String::new(),
        headers,
        body: Bytes::new(),
        now: "2026-07-01T10:00:00Z".parse().unwrap(),
        https: true,
        country: None,
    };
    let response = redirect::handle(redirect, request).await;
    assert_eq!(response.status, 302, "{slug}");
    let location = response.headers[header::LOCATION].to_str().unwrap();
    let (destination, _) = location.split_once("click_id=").unwrap();
    destination.to_owned()
}

async fn move_shop(world: &World) {
    let moved = json!({"destination": NEW.trim_end_matches('?')});
    assert_eq!(world.patch("programs/shoes", 1, moved).await.status, 200);
    world.stack.table.clear_calls();
}

/// Lets the tasks beside the visitors come to their end; how many links they and others read.
async fn links_read(world: &World) -> usize {
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    let calls = world.stack.table.calls();
    let is_link = |prefix: &str| prefix == "link#";
    calls
        .iter()
        .filter(|call| is_link(&call.key_prefix))
        .count()
}

#[tokio::test]
async fn a_stale_link_is_answered_at_once_and_read_once_beside() {
    let world = World::with_shop("2026-07-01T10:00:00Z").await;
    let redirect = warm(&world, STALE);
    assert_eq!(visit(&redirect, "anna-shoes").await, OLD);
    move_shop(&world).await;

    let both = join(
        visit(&redirect, "anna-shoes"),
        visit(&redirect, "anna-shoes"),
    )
    .await;
    assert_eq!(both, (OLD.to_owned(), OLD.to_owned()));
    assert_eq!(links_read(&world).await, 1);
    assert_eq!(visit(&redirect, "anna-shoes").await, NEW);
}

#[tokio::test]
async fn a_link_too_old_is_read_first_and_a_fresh_one_not_at_all() {
    let world = World::with_shop("2026-07-01T10:00:00Z").await;
    let pace = |fresh, stale| Pace { fresh, stale };
    let old = warm(&world, pace(Duration::ZERO, Duration::ZERO));
    let fresh = warm(&world, pace(HOUR, HOUR));
    for redirect in [&old, &fresh] {
        assert_eq!(visit(redirect, "anna-shoes").await, OLD);
    }
    move_shop(&world).await;
    assert_eq!(visit(&fresh, "anna-shoes").await, OLD);
    assert_eq!(links_read(&world).await, 0);
    assert_eq!(visit(&old, "anna-shoes").await, NEW);
    assert!(Pace::USUAL.stale < Duration::from_secs(60));
}

#[tokio::test]
async fn visitors_are_sent_on_for_as_long_as_the_table_fails() {
    let world = World::with_shop("2026-07-01T10:00:00Z").await;
    let stale = warm(&world, STALE);
    let too_old = warm(
        &world,
        Pace {
            fresh: Duration::ZERO,
            stale: Duration::ZERO,
        },
    );
    for redirect in [&stale, &too_old] {
        visit(redirect, "anna-shoes").await;
    }
    move_shop(&world).await;
    world
        .stack
        .table
        .set_faults(Faults::seeded(7).with(Fault::RequestLost, 1000));
    for _ in 0..5 {
        for redirect in [&stale, &too_old] {
            assert_eq!(visit(redirect, "anna-shoes").await, OLD);
        }
    }
    links_read(&world).await;
    world.stack.table.set_faults(Faults::none());
    assert_eq!(visit(&too_old, "anna-shoes").await, NEW);
    // A reading that failed is no reason not to read again.
    visit(&stale, "anna-shoes").await;
    links_read(&world).await;
    assert_eq!(visit(&stale, "anna-shoes").await, NEW);
}

/// A table that takes up to a second for each reading, which is longer than a visitor waits.
#[tokio::test(start_paused = true)]
async fn a_link_too_old_that_is_read_slowly_is_read_on_beside_its_visitor() {
    let world = World::with_shop("2026-07-01T10:00:00Z").await;
    let redirect = warm(&world, Pace::USUAL);
    assert_eq!(visit(&redirect, "anna-shoes").await, OLD);
    move_shop(&world).await;
    tokio::time::sleep(Pace::USUAL.stale).await;
    let slow = Faults::seeded(7).with_latency(1_000);
    world.stack.table.set_faults(slow);
    assert_eq!(visit(&redirect, "anna-shoes").await, OLD);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(visit(&redirect, "anna-shoes").await, NEW);
}

#[tokio::test]
async fn no_more_than_sixteen_links_are_read_beside_the_visitors() {
    let world = World::with_shop("2026-07-01T10:00:00Z").await;
    let redirect = warm(&world, STALE);
    let slugs: Vec<String> = (0..40).map(|number| format!("l-{number}")).collect();
    for slug in &slugs {
        let link = json!({"slug": slug, "program": "shoes", "affiliate": "anna"});
        world.made("links", link).await;
        visit(&redirect, slug).await;
    }
    links_read(&world).await;
    world.stack.table.clear_calls();
    join_all(slugs.iter().map(|slug| visit(&redirect, slug))).await;
    assert_eq!(links_read(&world).await, 16);
}

#[tokio::test]
async fn visitors_are_led_by_country_device_and_language_while_the_link_is_open() {
    let world = World::with_shop("2026-07-01T10:00:00Z").await;
    let link = json!({
        "slug": "anna-world", "program": "shoes", "affiliate": "anna", "destination": "https://shop.example/all",
        "starts_at": "2026-07-01T09:00:00Z", "ends_at": "2026-07-01T11:00:00Z",
        "routes": [
            {"country": "DE", "device": "mobile", "destination": "https://shop.example/de/mobile"},
            {"country": "DE", "destination": "https://shop.example/de"},
            {"language": "fr", "destination": "https://shop.example/fr"},
            {"country": "unknown", "destination": "https://shop.example/world"},
        ],
    });
    world.made("links", link).await;
    let redirect = warm(&world, Pace::USUAL);
    let phone = "Mozilla/5.0 (Linux; Android 16; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36";
    let visit = async |now: &str, country: Option<&str>, agent: &str, language: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_str(agent).unwrap());
        headers.insert(
            header::ACCEPT_LANGUAGE,
            HeaderValue::from_str(language).unwrap(),
        );
        let request = Request {
            method: Method::GET,
            path: "/r/anna-world".to_owned(),
            query: String::new(),
            headers,
            body: Bytes::new(),
            now: format!("2026-07-01T{now}Z").parse().unwrap(),
            https: true,
            country: country.map(str::to_owned),
        };
        let response = redirect::handle(&redirect, request).await;
        let location = response.headers.get(header::LOCATION);
        let path = location.map(|location| {
            let location = location.to_str().unwrap();
            let (path, _) = location.split_once('?').unwrap();
            path.trim_start_matches("https://shop.example/").to_owned()
        });
        (response.status.as_u16(), path.unwrap_or_default())
    };
    for (country, agent, language, leads_to) in [
        (Some("DE"), phone, "de-DE,de", "de/mobile"),
        (Some("DE"), BROWSER, "fr", "de"),
        (Some("FR"), BROWSER, "fr-CH, fr;q=0.9", "fr"),
        (None, BROWSER, "en", "world"),
        (Some("US"), BROWSER, "en", "all"),
    ] {
        let found = visit("10:00:00", country, agent, language).await;
        assert_eq!(found, (302, leads_to.to_owned()), "{country:?} {language}");
    }
    // Before and after its dates it leads where a paused program's links do: nowhere, here.
    for now in ["08:59:59.999", "11:00:00"] {
        assert_eq!(visit(now, Some("DE"), BROWSER, "de").await.0, 404, "{now}");
    }
}

#[tokio::test]
async fn a_link_takes_as_many_clicks_as_it_may_and_then_leads_to_the_fallback() {
    let world = World::with_shop("2026-07-01T10:00:00Z").await;
    let fallback = json!({"fallback": "https://shop.example/full"});
    let changed = world.patch("programs/shoes", 1, fallback).await;
    assert_eq!(changed.status, 200);
    let cap = json!({
        "slug": "anna-few", "program": "shoes", "affiliate": "anna",
        "click_cap": {"count": 2, "period": "day"},
    });
    world.made("links", cap).await;
    let leads_to = async |path: &str, agent: &str| {
        let response = world.visit(path, agent).await;
        let location = response.headers[header::LOCATION].to_str().unwrap();
        let (path, _) = location.split_once('?').unwrap();
        path.trim_start_matches("https://shop.example/").to_owned()
    };
    // Neither a robot nor a test counts.
    for (path, agent) in [
        ("anna-few", "curl/8.14.1"),
        ("anna-few?test=1", BROWSER),
        ("anna-few", BROWSER),
        ("anna-few", BROWSER),
    ] {
        assert_eq!(leads_to(path, agent).await, "", "{path} {agent}");
    }
    let good = world.click("anna-shoes").await;
    let late = world.click("anna-few").await;
    assert_eq!(leads_to("anna-few", BROWSER).await, "full");
    for (click, word) in [(&late, "program_paused"), (&good, "created")] {
        let sale = json!({"click_id": click, "order_id": "A-1", "amount": "10"});
        let answer = world.postback(sale).await.body;
        let found = answer["result"].as_str().or(answer["code"].as_str());
        assert_eq!(found, Some(word));
    }
    // The next day, and while the count cannot be had, it leads on.
    world.turn_to("2026-07-02T00:00:00Z").await;
    for _ in 0..2 {
        assert_eq!(leads_to("anna-few", BROWSER).await, "");
    }
    assert_eq!(leads_to("anna-few", BROWSER).await, "full");
}

#[tokio::test]
async fn a_program_leads_on_between_its_dates_and_honours_the_clicks_of_that_time() {
    let world = World::with_shop("2026-07-01T10:00:00Z").await;
    let dates = json!({"starts_at": "2026-07-01T11:00:00Z", "ends_at": "2026-07-01T12:00:00Z"});
    assert_eq!(world.patch("programs/shoes", 1, dates).await.status, 200);
    let visit = async || world.visit("anna-shoes", BROWSER).await.status.as_u16();
    assert_eq!(visit().await, 404);
    world.turn_to("2026-07-01T11:00:00Z").await;
    let click = world.click("anna-shoes").await;
    world.turn_to("2026-07-01T12:00:00Z").await;
    assert_eq!(visit().await, 404);
    let sale = json!({"click_id": click, "order_id": "A-1", "amount": "10"});
    assert_eq!(world.postback(sale).await.body["result"], "created");
}
