//! What the contract and the README promise in half a sentence.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use shared::http_types::{Request, Response};
use shared::signature;
use tests::{Answer, BROWSER, World, answer};

const START: &str = "2026-07-01T10:00:00Z";

/// A request over https.
fn request(method: &Method, path: &str, headers: &[(&'static str, &str)]) -> Request {
    let headers = headers.iter().map(|(name, value)| {
        let value = HeaderValue::from_str(value).unwrap();
        (HeaderName::from_static(name), value)
    });
    Request {
        method: method.clone(),
        path: path.to_owned(),
        query: String::new(),
        headers: headers.collect(),
        body: Bytes::new(),
        now: Timestamp::UNIX_EPOCH,
        https: true,
        country: None,
    }
}

/// A visit or view, again where a loaded machine was too slow for the redirect's time limit.
async fn visit(
    world: &World,
    method: &Method,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Response {
    for _ in 0..50 {
        let request = request(method, path, headers);
        let response = world.stack.handle(request).await;
        if response.status != 503 {
            return response;
        }
    }
    panic!("{path} answers 503 again and again");
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    let value = response.headers.get(name)?;
    Some(value.to_str().unwrap())
}

fn word(answer: &Answer) -> (u16, &str) {
    let body = &answer.body;
    let word = body["result"].as_str().or(body["code"].as_str());
    (answer.status, word.unwrap_or("?"))
}

#[tokio::test]
async fn a_tracked_address_is_kept_by_no_cache_and_listed_by_no_search_engine() {
    let world = World::with_shop(START).await;
    world.rival().await;
    let link = json!({"slug": "anna-hats", "program": "hats", "affiliate": "anna"});
    world.made("links", link).await;
    let paused = json!({"status": "paused", "fallback": "https://shop.example/sorry"});
    assert_eq!(world.patch("programs/hats", 1, paused).await.status, 200);
    for (method, path, agent, status) in [
        (Method::GET, "/r/anna-shoes", BROWSER, 302),
        (Method::HEAD, "/r/anna-shoes", BROWSER, 302),
        (Method::GET, "/r/anna-shoes", "Googlebot/2.1", 302),
        // To the fallback.
        (Method::GET, "/r/anna-hats", BROWSER, 302),
        (Method::GET, "/i/anna-shoes.gif", BROWSER, 200),
    ] {
        let response = visit(&world, &method, path, &[("user-agent", agent)]).await;
        assert_eq!(response.status, status, "{method} {path}");
        for (name, value) in [("cache-control", "no-store"), ("x-robots-tag", "noindex")] {
            let found = header(&response, name);
            assert_eq!(found, Some(value), "{method} {path} {agent}");
        }
    }
}

/// A picture is shown on other sites' pages, and from there a cookie is sent only as `None`.
#[tokio::test]
async fn a_cookie_comes_from_other_sites_only_where_views_count_and_whoever_asks_has_none() {
    let world = World::with_shop(START).await;
    let same_site = async |path: &str, gpc: &str| {
        let headers = [("user-agent", BROWSER), ("sec-gpc", gpc)];
        let response = visit(&world, &Method::GET, path, &headers).await;
        let (_, policy) = header(&response, "set-cookie")?.split_once("SameSite=")?;
        Some(policy.trim_end_matches("; Secure").to_owned())
    };
    for (version, window, policy) in [(1, "0d", "Lax"), (2, "1d", "None"), (3, "0d", "Lax")] {
        let views = json!({ "view_window": window });
        let changed = world.patch("programs/shoes", version, views).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        for path in ["/r/anna-shoes", "/i/anna-shoes.gif"] {
            for (gpc, expected) in [("0", Some(policy)), ("1", None)] {
                let set = same_site(path, gpc).await;
                assert_eq!(set.as_deref(), expected, "{window} {path} {gpc}");
            }
        }
    }
}

#[tokio::test]
async fn a_hold_begins_when_the_service_is_given() {
    let world = World::with_shop("2026-03-20T10:00:00Z").await;
    let hold = json!({"hold_days": 5});
    assert_eq!(world.patch("programs/shoes", 1, hold).await.status, 200);
    let click = world.click("anna-shoes").await;
    for (order, given_on, payable_on) in [
        ("A-1", json!(null), "2026-03-25"),
        ("A-2", json!("2026-04-01"), "2026-04-06"),
        // What was over before it was booked is payable on the day that it is booked.
        ("A-3", json!("2026-03-15"), "2026-03-20"),
        ("A-4", json!("2026-03-14"), "2026-03-20"),
        ("A-5", json!("2026-03-16"), "2026-03-21"),
    ] {
        let mut sale = json!({"click_id": click, "order_id": order, "amount": "10"});
        if !given_on.is_null() {
            sale["service_date"] = given_on;
        }
        let sold = world.postback(sale).await.body;
        let path = format!("conversions/{}", sold["conversion"].as_str().unwrap());
        let commission = world.get(&path).await.body["commissions"][0].clone();
        assert_eq!(commission["payable_on"], payable_on, "{order}");
    }
    for (now, in_payout) in [
        ("2026-04-06T23:00:00Z", "4.00"),
        ("2026-04-07T01:00:00Z", "5.00"),
    ] {
        world.turn_to(now).await;
        assert_eq!(world.balance("anna").await["in_payout"], in_payout, "{now}");
    }
}

#[tokio::test]
async fn where_each_program_counts_its_orders_one_number_is_an_order_of_each() {
    let world = World::with_shop(START).await;
    let rival = json!({"id": "rival", "name": "Rival", "order_scope": "program"});
    let rival = world.rival_that_is(rival).await;
    let token = &rival["secret"]["postback_token"];
    let caps = json!({
        "id": "caps", "merchant": "rival", "name": "Caps", "currency": "EUR", "status": "active",
        "override": "a test", "destination": "https://shop.example/",
        "commission": [{"type": "percent", "percent": "10"}],
    });
    world.made("programs", caps).await;
    for program in ["hats", "caps"] {
        let link = json!({"slug": program, "program": program, "affiliate": "anna"});
        world.made("links", link).await;
    }
    let (hats, caps) = (world.click("hats").await, world.click("caps").await);
    let send = async |path: &str, mut body: Value| {
        body["token"] = token.clone();
        world.json(path, &body).await
    };
    let sale =
        |click: &str, amount: &str| json!({"click_id": click, "order_id": "1", "amount": amount});
    for (click, amount, expected) in [
        (&hats, "10", (200, "created")),
        (&caps, "30", (200, "created")),
        (&hats, "10", (200, "recorded_before")),
        (&caps, "30", (200, "recorded_before")),
        (&hats, "30", (409, "order_conflict")),
        (&caps, "10", (409, "order_conflict")),
    ] {
        let told = send("/postback", sale(click, amount)).await;
        assert_eq!(word(&told), expected, "{amount}: {told:?}");
    }
    let listed = world.get("conversions?merchant=rival&order_id=1").await;
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 2);
    assert_eq!(world.balance("anna").await["earned"], "5.00");

    let unnamed = send("/postback/reversal", json!({"order_id": "1"})).await;
    assert_eq!(word(&unnamed), (422, "parameter_missing"));
    assert_eq!(unnamed.body["field"], "program");
    for (program, reversed) in [("caps", "3.00"), ("hats", "5.00")] {
        let refund = json!({"order_id": "1", "program": program});
        for expected in ["created", "recorded_before"] {
            let back = send("/postback/reversal", refund.clone()).await;
            assert_eq!(word(&back), (200, expected), "{program}");
            assert_eq!(
                world.balance("anna").await["reversed"],
                reversed,
                "{program}"
            );
        }
    }
}

#[tokio::test]
async fn an_event_is_a_goal_by_another_name() {
    let world = World::with_shop(START).await;
    let goals = json!({
        "goals": [{"name": "sale"}, {"name": "Lead"}],
        "commission": [{"type": "flat", "amount": "3", "goal": "lead"}, {"type": "percent", "percent": "10"}],
    });
    assert_eq!(world.patch("programs/shoes", 1, goals).await.status, 200);
    let click = world.click("anna-shoes").await;
    let told = async |names: Value| {
        let mut result = json!({"click_id": click, "order_id": "A-1", "amount": "10"});
        for (name, value) in names.as_object().unwrap() {
            result[name] = value.clone();
        }
        world.postback(result).await
    };
    for (names, expected) in [
        (json!({"event": "LEAD"}), (200, "created")),
        (json!({"goal": "lead"}), (200, "recorded_before")),
        (
            json!({"goal": "", "event": "lead"}),
            (200, "recorded_before"),
        ),
        (json!({"event": "sale"}), (200, "created")),
        (json!({}), (200, "recorded_before")),
        (json!({"event": "call"}), (422, "goal_unknown")),
        (
            json!({"goal": "lead", "event": "lead"}),
            (422, "parameter_repeated"),
        ),
    ] {
        let answer = told(names.clone()).await;
        assert_eq!(word(&answer), expected, "{names}: {answer:?}");
    }
    let query = format!(
        "/postback?token={}&click_id={click}&order_id=A-2&event=lead",
        world.token
    );
    let asked = world.send(Method::GET, &query, &[], Bytes::new()).await;
    let asked = answer(&asked);
    assert_eq!(word(&asked), (200, "created"));
    assert_eq!(asked.body["commissions"][0]["amount"], "3.00");
    assert_eq!(world.balance("anna").await["earned"], "7.00");
}

#[tokio::test]
async fn of_a_batch_that_is_too_large_nothing_is_recorded() {
    let world = World::with_shop(START).await;
    let click = world.click("anna-shoes").await;
    let sale = json!({"type": "conversion", "click_id": click, "order_id": "A-1", "amount": "10"});
    let sale = sale.to_string();
    let path = format!("/postback/batch?token={}", world.token);
    let send = async |body: String| world.send(Method::POST, &path, &[], body.into()).await;
    let mebibyte = 1_024 * 1_024;
    let of_bytes = |bytes: usize| sale.clone() + &" ".repeat(bytes - sale.len());
    let of_lines = |lines: usize| format!("{sale}\n{}", "{}\n".repeat(lines - 1));
    for body in [of_bytes(mebibyte + 1), of_lines(1_001)] {
        let refused = answer(&send(body).await);
        assert_eq!(word(&refused), (413, "too_large"));
        let listed = world.get("conversions?merchant=shop").await;
        assert_eq!(listed.body["items"], json!([]));
    }
    for (body, result) in [
        (of_bytes(mebibyte), (200, "created")),
        (of_lines(1_000), (207, "recorded_before")),
    ] {
        let sent = send(body).await;
        let text = String::from_utf8(sent.body.to_vec()).unwrap();
        let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let found = (sent.status.as_u16(), first["result"].as_str().unwrap());
        assert_eq!(found, result);
    }
    assert_eq!(world.balance("anna").await["earned"], "1.00");
}

#[tokio::test]
async fn a_signed_post_may_be_sent_again_for_five_minutes_and_pays_once() {
    let world = World::with_shop(START).await;
    let secret = json!({"label": "signs", "scope": "all", "kind": "server"});
    let secret = world.made("merchants/shop/secrets", secret).await;
    let key = signature::parse_whsec(secret["signing_secret"].as_str().unwrap()).unwrap();
    let click = world.click("anna-shoes").await;
    let body = json!({"click_id": click, "order_id": "A-1", "amount": "10"}).to_string();
    let signed_at: Timestamp = "2026-07-01T10:10:00Z".parse().unwrap();
    let signed = signature::sign("m", signed_at, body.as_bytes(), &key);
    let stamp = signed_at.as_second().to_string();
    let headers = [
        ("content-type", "application/json"),
        ("webhook-id", "m"),
        ("webhook-timestamp", stamp.as_str()),
        ("webhook-signature", signed.as_str()),
    ];
    for (millis, expected) in [
        // From a sender whose clock is ahead.
        (-301_000, (401, "unauthorised")),
        (-300_000, (200, "created")),
        (0, (200, "recorded_before")),
        (300_999, (200, "recorded_before")),
        (301_000, (401, "unauthorised")),
    ] {
        let mut request = request(&Method::POST, "/postback/shop", &headers);
        request.now = signed_at + SignedDuration::from_millis(millis);
        request.body = body.clone().into();
        let told = postback::handle(&world.stack.app, request).await;
        assert_eq!(word(&answer(&told)), expected, "after {millis} ms");
    }
    assert_eq!(world.balance("anna").await["earned"], "1.00");
}

#[tokio::test]
async fn the_clock_of_one_machine_is_not_turned_back() {
    let world = World::with_shop(START).await;
    world.turn_to("2026-07-02T10:00:00Z").await;
    let turn = async |now: &str| {
        let body = json!({ "now": now }).to_string();
        let turned = world
            .send(Method::POST, "/dev/clock", &[], body.into())
            .await;
        answer(&turned)
    };
    for earlier in ["2026-07-02T09:59:59.999Z", START, "1970-01-01T00:00:00Z"] {
        let refused = turn(earlier).await;
        assert_eq!(word(&refused), (422, "clock_backwards"), "{earlier}");
        assert_eq!(refused.body["field"], "now");
    }
    let turned_to: Timestamp = "2026-07-02T10:00:00Z".parse().unwrap();
    assert!(turned_to <= world.stack.clock.now());
    assert_eq!(turn("2026-07-03T10:00:00Z").await.status, 200);
}

/// The texts between two marks.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> Vec<&'a str> {
    let parts = text.split(begin).skip(1);
    parts.map(|part| part.split_once(end).unwrap().0).collect()
}

#[tokio::test]
async fn what_the_readme_sets_up_is_taken_as_it_stands() {
    let readme = include_str!("../../README.md");
    let world = World::empty(START).await;
    for resource in ["merchants", "programs", "affiliates", "links"] {
        let bodies = between(readme, &format!("$A/{resource} -d '"), "'");
        assert!(!bodies.is_empty(), "{resource}");
        for body in bodies {
            let body = serde_json::from_str(body).unwrap();
            world.made(resource, body).await;
        }
    }
    // A list is of rules, and an object an answer.
    let shown = between(readme, "```json\n", "```").into_iter();
    let shown = shown.map(|block| serde_json::from_str::<Value>(block).unwrap());
    let lists: Vec<Value> = shown.filter(Value::is_array).collect();
    assert!(!lists.is_empty());
    for (number, rules) in lists.into_iter().enumerate() {
        let program = json!({
            "id": format!("rules-{number}"), "merchant": "shop", "name": "As shown", "currency": "EUR",
            "destination": "https://shop.example/", "commission": rules,
        });
        world.made("programs", program).await;
    }
}

/// Senders spell the same in many ways, and versions are asked for in those that HTTP has.
#[tokio::test]
async fn what_is_meant_is_taken_by_each_of_its_spellings() {
    let world = World::with_shop(START).await;
    let click = world.click("anna-shoes").await;
    let of_curl = [("content-type", "application/x-www-form-urlencoded")];
    let send = async |path: &str, body: Value| {
        let body = body.to_string().into();
        tests::answer(&world.send(Method::POST, path, &of_curl, body).await)
    };
    let token = world.token.clone();
    let sale = json!({"token": token, "click_id": click, "order_id": "A-1", "amount": "10"});
    let sold = send("/postback", sale).await;
    assert_eq!(
        (sold.status, &sold.body["result"]),
        (200, &json!("created"))
    );
    let back = json!({"token": token, "order_id": "A-1", "event": "SALE"});
    let back = send("/postback/reversal", back).await;
    assert_eq!(
        (back.status, &back.body["remaining"]),
        (200, &json!("0.00"))
    );
    let both = json!({"token": token, "order_id": "A-1", "event": "sale", "goal": "sale"});
    assert_eq!(send("/postback/reversal", both).await.status, 422);
    for test in [json!("1"), json!("true"), json!(true)] {
        let tried = json!({"token": token, "program": "shoes", "order_id": "T-1", "test": test});
        assert_eq!(send("/postback", tried).await.body["status"], "test");
    }

    let refused = json!({"token": token, "click_id": "x", "order_id": "A-2", "amount": "10"});
    for _ in 0..2 {
        assert_eq!(send("/postback", refused.clone()).await.status, 422);
    }
    let refusal = world.get("refusals").await.body["items"][0].clone();
    assert_eq!(
        (&refusal["reason"], &refusal["count"]),
        (&json!("click_forged"), &json!(2))
    );

    let bearer = format!("Bearer {}", world.admin);
    let patch = async |tag: &str, name: &str| {
        let headers = [("authorization", bearer.as_str()), ("if-match", tag)];
        let body = json!({ "name": name }).to_string().into();
        let path = "/api/v1/programs/shoes";
        let sent = world.send(Method::PATCH, path, &headers, body).await;
        sent.status.as_u16()
    };
    assert_eq!(patch("\"1\"", "a").await, 200);
    assert_eq!(patch("\"1\"", "b").await, 412);
    assert_eq!(patch("\"1\", \"2\"", "c").await, 200);
    assert_eq!(patch("*", "d").await, 200);
    for id in ["batch", "reversal"] {
        let made = world.post("merchants", json!({"id": id, "name": id})).await;
        assert_eq!((made.status, &made.body["field"]), (422, &json!("id")));
    }
}
