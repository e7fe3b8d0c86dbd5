//! What the edge tells browsers, whom it lets in, and what a wrong guess costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use clickledger::embedded::{Fault, Faults};
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use shared::http_types::{Cursor, Request, Response};
use shared::signature;
use tests::{BROWSER, Person, World};

const START: &str = "2026-07-01T10:00:00Z";

async fn with_key(world: &World, key: &str, method: Method, path: &str, body: Value) -> Response {
    let bearer = format!("Bearer {key}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("origin", "https://evil.example"),
    ];
    let body = match body {
        Value::Null => Bytes::new(),
        body => body.to_string().into(),
    };
    world.send(method, path, &headers, body).await
}

fn text<'a>(response: &'a Response, name: &str) -> &'a str {
    let value = response.headers.get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn no_answer_is_kept_guessed_at_framed_or_told_to_other_sites() {
    let world = World::with_shop(START).await;
    let admin = world.admin.clone();
    let merchant = json!({"id": "other", "name": "Other"});
    let program = json!({"id": "shoes"});
    let key = json!({"role": "finance", "person": "Fin"});
    let key = world.made("keys", key).await;
    let end = format!("/api/v1/keys/{}", key["id"].as_str().unwrap());
    let decisions = json!({"order_id": "none", "action": "approve"});
    for (expected, method, path, body) in [
        (201, Method::POST, "/api/v1/merchants", merchant.clone()),
        (200, Method::POST, "/api/v1/merchants", merchant),
        (200, Method::GET, "/api/v1/merchants", Value::Null),
        (422, Method::POST, "/api/v1/programs", program),
        (404, Method::GET, "/api/v1/merchants/nobody", Value::Null),
        (405, Method::PUT, "/api/v1/merchants", Value::Null),
        (
            428,
            Method::PATCH,
            "/api/v1/merchants/shop",
            json!({"name": "x"}),
        ),
        (204, Method::DELETE, end.as_str(), Value::Null),
        (
            207,
            Method::POST,
            "/api/v1/conversions/decisions?merchant=shop",
            decisions,
        ),
        (200, Method::GET, "/api/v1/payouts", Value::Null),
        (
            200,
            Method::GET,
            "/api/v1/reports/payouts/2026-07",
            Value::Null,
        ),
        (
            200,
            Method::GET,
            "/api/v1/reports/payouts/2026-07?format=csv",
            Value::Null,
        ),
        (
            200,
            Method::GET,
            "/api/v1/statements/anna/2026-07?format=csv",
            Value::Null,
        ),
        (401, Method::GET, "/postback?order_id=1", Value::Null),
        (404, Method::GET, "/nothing", Value::Null),
        (200, Method::GET, "/i/anna-shoes.gif", Value::Null),
    ] {
        let answer = with_key(&world, &admin, method, path, body).await;
        assert_eq!(answer.status, expected, "{path}: {answer:?}");
        assert_eq!(text(&answer, "cache-control"), "no-store", "{path}");
        if answer.body.is_empty() {
            continue;
        }
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            (
                "content-security-policy",
                "default-src 'none'; frame-ancestors 'none'",
            ),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(text(&answer, name), value, "{path} {name}");
        }
    }
}

/// A shop may want to know where a visitor comes from, so the redirect leaves that as it is.
#[tokio::test]
async fn a_visitor_is_sent_on_with_a_cookie_that_no_script_and_no_other_host_gets() {
    let world = World::with_shop(START).await;
    let mut headers = HeaderMap::new();
    headers.insert("user-agent", BROWSER.parse().unwrap());
    let request = Request {
        method: Method::GET,
        path: "/r/anna-shoes".to_owned(),
        query: String::new(),
        headers,
        body: Bytes::new(),
        now: jiff::Timestamp::UNIX_EPOCH,
        https: true,
        country: None,
    };
    let mut sent = world.stack.handle(request.clone()).await;
    while sent.status == 503 {
        sent = world.stack.handle(request.clone()).await;
    }
    assert_eq!(
        (sent.status.as_u16(), text(&sent, "cache-control")),
        (302, "no-store")
    );
    assert_eq!(text(&sent, "referrer-policy"), "");
    let cookie: Vec<&str> = text(&sent, "set-cookie").split("; ").collect();
    assert!(cookie[0].starts_with("__Host-clv="), "{cookie:?}");
    assert_eq!(
        cookie[1..],
        [
            "Path=/",
            "Max-Age=31536000",
            "HttpOnly",
            "SameSite=Lax",
            "Secure"
        ]
    );
}

/// A page of another site can send what a browser adds by itself, and nothing else: none of that
/// lets anybody in, so no request needs a token against forgery.
#[tokio::test]
async fn nothing_that_a_browser_sends_by_itself_lets_anybody_in() {
    let world = World::with_shop(START).await;
    let (admin, token) = (world.admin.clone(), world.token.clone());
    let cookies = format!(
        "authorization=Bearer {admin}; Authorization={admin}; key={admin}; token={token}; \
         clv=BwcHBwcHBwcHBwcHBwcHBw; __Host-clv=BwcHBwcHBwcHBwcHBwcHBw"
    );
    let basic = format!("Basic {admin}");
    let merchant = json!({"id": "evil", "name": "Evil"}).to_string();
    let api = format!("/api/v1/merchants?key={admin}&access_token={admin}&token={admin}");
    let postback = "/postback?program=shoes&order_id=1&amount=1";
    for (method, path, body) in [
        (Method::GET, "/api/v1/merchants", ""),
        (Method::POST, "/api/v1/merchants", &merchant),
        (Method::POST, api.as_str(), &merchant),
        (Method::GET, postback, ""),
        (Method::POST, postback, ""),
        (Method::POST, "/postback/batch", "{}"),
        (Method::POST, "/postback/shop/reversal", "order_id=1"),
    ] {
        for scheme in [None, Some(basic.as_str()), Some("Bearer "), Some(&admin)] {
            for media_type in [
                "text/plain",
                "application/x-www-form-urlencoded",
                "application/json",
            ] {
                let mut headers = vec![
                    ("cookie", cookies.as_str()),
                    ("origin", "https://evil.example"),
                    ("content-type", media_type),
                ];
                headers.extend(scheme.map(|scheme| ("authorization", scheme)));
                let body = Bytes::copy_from_slice(body.as_bytes());
                let answer = world.send(method.clone(), path, &headers, body).await;
                assert_eq!(
                    answer.status, 401,
                    "{method} {path} {scheme:?} {media_type}"
                );
            }
        }
    }
    assert_eq!(world.get("merchants/evil").await.status, 404);
}

#[tokio::test]
async fn no_other_sites_script_may_ask_or_read() {
    let world = World::with_shop(START).await;
    let admin = world.admin.clone();
    let preflight = [
        ("origin", "https://evil.example"),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization,content-type",
        ),
    ];
    for path in [
        "/api/v1/merchants",
        "/api/v1/erasures",
        "/api/v1/payouts",
        "/api/v1/reports/payouts/2026-07",
        "/postback",
        "/postback/shop",
        "/r/anna-shoes",
        "/i/anna-shoes.gif",
    ] {
        let asked = world
            .send(Method::OPTIONS, path, &preflight, Bytes::new())
            .await;
        let read = with_key(&world, &admin, Method::GET, path, Value::Null).await;
        assert!(!asked.status.is_success(), "{path}: {asked:?}");
        for answer in [asked, read] {
            let names = answer.headers.keys();
            let opened: Vec<_> = names
                .filter(|name| name.as_str().starts_with("access-control-"))
                .collect();
            assert!(opened.is_empty(), "{path}: {opened:?}");
        }
    }
}

/// Keys and tokens have 256 bits. Guessing is bounded by that, and each guess by what it may cost:
/// one read, of a signature two, no write, the same answer.
#[tokio::test]
async fn a_wrong_secret_costs_two_reads_at_most_and_tells_nothing() {
    let world = World::with_shop(START).await;
    for _ in 0..3 {
        let more = json!({"label": "l", "scope": "all", "kind": "server"});
        world.made("merchants/shop/secrets", more).await;
    }
    let cut = |text: &str| text[..text.len() - 1].to_owned();
    let (id, other) = ("k0123456789abcdef", "A".repeat(43));
    let stamp = world.stack.clock.now().as_second().to_string();
    let signed = [
        ("webhook-id", "m"),
        ("webhook-timestamp", stamp.as_str()),
        (
            "webhook-signature",
            "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ),
    ];
    let api = "/api/v1/merchants";
    let order = "/postback?order_id=1&program=shoes";
    for (path, key, reads) in [
        (api, cut(&world.admin), 1),
        (api, format!("ck_{id}_{other}"), 1),
        (api, format!("{other}{other}"), 1),
        (api, "short".to_owned(), 0),
        (
            order,
            format!("{}.{other}", world.token.rsplit_once('.').unwrap().0),
            1,
        ),
        (order, format!("pb.shop.s0123456789abcdef.{other}"), 1),
        (order, format!("pb.nobody.s0123456789abcdef.{other}"), 1),
        (order, other.clone(), 0),
        ("/postback/shop", String::new(), 2),
        ("/postback/nobody", String::new(), 2),
    ] {
        world.stack.table.clear_calls();
        let answer = if key.is_empty() {
            world.send(Method::POST, path, &signed, "{}".into()).await
        } else {
            with_key(&world, &key, Method::GET, path, Value::Null).await
        };
        let unknown = world.send(Method::GET, path, &[], Bytes::new()).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body),
            (401, &unknown.body),
            "{path}"
        );
        let calls = world.stack.table.calls();
        assert_eq!(calls.len(), reads, "{path} {key}: {calls:?}");
        for (action, _) in calls.iter().flat_map(|call| &call.actions) {
            assert!(["GetItem", "Query"].contains(action), "{path}: {action}");
        }
    }
}

#[tokio::test]
async fn a_merchant_that_wants_signatures_takes_nothing_else() {
    let world = World::with_shop(START).await;
    let other = json!({"id": "other", "name": "Other", "require_signature": true});
    let made = world.rival_that_is(other).await;
    let secret = made["secret"].clone();
    let key = signature::parse_whsec(secret["signing_secret"].as_str().unwrap()).unwrap();
    let token = secret["postback_token"].as_str().unwrap();
    let order = json!({"program": "hats", "order_id": "1"}).to_string();
    let with_token = json!({"program": "hats", "order_id": "1", "token": token}).to_string();
    let now = world.stack.clock.now();
    let second = now.as_second().to_string();
    let send = async |path: &str, signed: Option<&str>, bearer: Option<&str>, body: &str| {
        let bearer = bearer.map(|bearer| format!("Bearer {bearer}"));
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        if let Some(signature) = signed {
            headers.push(("webhook-id", "m"));
            headers.push(("webhook-timestamp", &second));
            headers.push(("webhook-signature", signature));
        }
        let body = Bytes::copy_from_slice(body.as_bytes());
        let answer = world.send(Method::POST, path, &headers, body).await;
        answer.status.as_u16()
    };
    let sign = |body: &str| signature::sign("m", now, body.as_bytes(), &key);
    let good = sign(&order);
    for (path, signed, bearer, body, expected) in [
        ("/postback", None, None, &with_token, 401),
        ("/postback/other", None, Some(token), &order, 401),
        ("/postback/other?a=1", Some(&good), None, &order, 401),
        ("/postback/shop", Some(&good), None, &order, 401),
        ("/postback", Some(&good), None, &order, 401),
        ("/postback/other", Some(&good), None, &with_token, 401),
        ("/postback/other", Some(&good), None, &order, 200),
    ] {
        let status = send(path, signed.map(String::as_str), bearer, body).await;
        assert_eq!(status, expected, "{path} {bearer:?} {body}");
    }
    // A secret that was ended signs nothing any more.
    let path = format!(
        "/api/v1/merchants/other/secrets/{}",
        secret["id"].as_str().unwrap()
    );
    let admin = world.admin.clone();
    let ended = with_key(&world, &admin, Method::DELETE, &path, Value::Null).await;
    assert_eq!(ended.status, 204);
    assert_eq!(
        send("/postback/other", Some(&good), None, &order).await,
        401
    );
}

/// A shop that changes its secret signs with both for a while.
#[tokio::test]
async fn of_two_signatures_the_one_whose_secret_may_do_it_counts() {
    let world = World::with_shop(START).await;
    let path = "merchants/shop/secrets";
    let narrow = json!({"label": "n", "scope": "convert", "kind": "server"});
    let wide = json!({"label": "w", "scope": "all", "kind": "server"});
    let secrets = [
        world.made(path, narrow).await,
        world.made(path, wide.clone()).await,
        world.made(path, wide).await,
    ];
    let send = async |path: &str, body: Value| {
        let body = body.to_string();
        let now = world.stack.clock.now();
        let second = now.as_second().to_string();
        let signed = secrets.iter().map(|secret| {
            let key = signature::parse_whsec(secret["signing_secret"].as_str().unwrap());
            signature::sign("m", now, body.as_bytes(), &key.unwrap())
        });
        let signed = signed.collect::<Vec<_>>().join(" ");
        let headers = [
            ("content-type", "application/json"),
            ("webhook-id", "m"),
            ("webhook-timestamp", second.as_str()),
            ("webhook-signature", signed.as_str()),
        ];
        let sent = world.send(Method::POST, path, &headers, body.into()).await;
        sent.status.as_u16()
    };
    let order = |id: &str| json!({"program": "shoes", "order_id": id, "amount": "10"});
    let back = |id: &str| json!({"program": "shoes", "order_id": id});
    assert_eq!(send("/postback/shop", order("A-1")).await, 200);
    assert_eq!(send("/postback/shop/reversal", back("A-1")).await, 200);
    let end = async |place: usize| {
        let id = secrets[place]["id"].as_str().unwrap();
        let path = format!("/api/v1/{path}/{id}");
        let admin = world.admin.clone();
        let ended = with_key(&world, &admin, Method::DELETE, &path, Value::Null).await;
        assert_eq!(ended.status, 204);
    };
    end(1).await;
    assert_eq!(send("/postback/shop/reversal", back("A-1")).await, 200);
    end(2).await;
    assert_eq!(send("/postback/shop/reversal", back("A-1")).await, 401);
    assert_eq!(send("/postback/shop", order("A-2")).await, 200);
    end(0).await;
    assert_eq!(send("/postback/shop", order("A-2")).await, 401);
}

/// Of an index that lags, every list is what it was before, or empty.
#[tokio::test]
async fn a_secret_signs_from_the_moment_that_it_is_made() {
    let world = World::with_shop(START).await;
    let lagging = Faults::seeded(1).with(Fault::Stale, 1_000);
    world.stack.table.set_faults(lagging);
    let send = async |secret: &Value, order: &str| {
        let key = signature::parse_whsec(secret["signing_secret"].as_str().unwrap()).unwrap();
        let body = json!({"program": "shoes", "order_id": order, "amount": "10"}).to_string();
        let now = world.stack.clock.now();
        let (second, signed) = (
            now.as_second().to_string(),
            signature::sign("m", now, body.as_bytes(), &key),
        );
        let headers = [
            ("content-type", "application/json"),
            ("webhook-id", "m"),
            ("webhook-timestamp", second.as_str()),
            ("webhook-signature", signed.as_str()),
        ];
        let path = "/postback/shop";
        let sent = world.send(Method::POST, path, &headers, body.into()).await;
        sent.status.as_u16()
    };
    let path = "merchants/shop/secrets";
    let asked = json!({"label": "l", "scope": "all", "kind": "server"});
    let first = world.made(path, asked.clone()).await;
    assert_eq!(send(&first, "A-1").await, 200);
    let second = world.made(path, asked).await;
    for (secret, order) in [(&first, "A-2"), (&second, "A-3")] {
        assert_eq!(send(secret, order).await, 200, "{order}");
    }
    let end = format!("/api/v1/{path}/{}", second["id"].as_str().unwrap());
    let admin = world.admin.clone();
    let ended = with_key(&world, &admin, Method::DELETE, &end, Value::Null).await;
    assert_eq!(ended.status, 204);
    assert_eq!(send(&second, "A-4").await, 401);

    // One of before is in the list alone.
    world.stack.table.set_faults(Faults::none());
    for secret in [&first, &second] {
        let id = secret["id"].as_str().unwrap();
        world.lose("OWN#secret#shop", &format!("shop/{id}")).await;
    }
    assert_eq!(send(&first, "A-5").await, 200);
}

#[tokio::test]
async fn a_made_up_cursor_leads_into_nobody_elses_list() {
    let world = World::with_shop(START).await;
    let rival = world.rival().await;
    let order = json!({"program": "shoes", "order_id": "of-shop", "amount": "1"});
    assert_eq!(world.postback(order).await.status, 200);
    let token = &rival["secret"]["postback_token"];
    let order = json!({"program": "hats", "order_id": "of-rival", "token": token});
    assert_eq!(world.json("/postback", &order).await.status, 200);
    let key = json!({"role": "merchant", "merchant": "shop", "person": "Pat"});
    let key = world.made("keys", key).await;
    let key = key["key"].as_str().unwrap();
    // DynamoDB refuses what asks for a key of more than 1,024 bytes; the embedded engine does not.
    let asked = Arc::new(AtomicUsize::new(0));
    let most = Arc::clone(&asked);
    let look = move |_: &str, body: &[u8]| {
        let request: Value = serde_json::from_slice(body).unwrap();
        let after = request["ExpressionAttributeValues"][":after"]["S"].as_str();
        most.fetch_max(after.map_or(0, str::len), Ordering::Relaxed);
        false
    };
    world.stack.table.meddle(look, |_| None);
    let (longer, longest) = ("1".repeat(1_025), "\u{e9}".repeat(544));
    for place in [
        longer.as_str(),
        longest.as_str(),
        "0",
        "!",
        "L#conversion#rival",
        "C#rival#of-rival",
        "L#conversion",
        "1",
    ] {
        let cursor = Cursor::after(place);
        for list in [
            "conversions",
            "refusals",
            "programs",
            "links",
            "claims",
            "merchants",
        ] {
            for more in ["", "&merchant=rival", "&program=hats"] {
                let more = if list == "conversions" { more } else { "" };
                let path = format!("/api/v1/{list}?cursor={cursor}{more}");
                let answer = with_key(&world, key, Method::GET, &path, Value::Null).await;
                assert_eq!(answer.status, 200, "{path}");
                let told = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(
                    !told.contains("rival") && !told.contains("hats"),
                    "{path}: {told}"
                );
            }
        }
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1_024);
    let path = format!("/api/v1/conversions?cursor={}", Cursor::after("0"));
    let own = with_key(&world, key, Method::GET, &path, Value::Null).await;
    assert!(String::from_utf8_lossy(&own.body).contains("of-shop"));
}

/// More orders than one call looks through, all of them of another merchant's.
#[tokio::test]
async fn a_merchant_that_asks_for_an_affiliates_orders_is_led_through_its_own_only() {
    let world = World::with_shop(START).await;
    let rival = world.rival().await;
    let link = json!({"slug": "anna-hats", "program": "hats", "affiliate": "anna"});
    world.made("links", link).await;
    let click = world.click("anna-hats").await;
    for batch in 0..2 {
        let sales = (0..1_000).map(|number| {
            let order = format!("secret-{batch}-{number}");
            json!({"type": "conversion", "order_id": order, "click_id": click}).to_string()
        });
        let sales = sales.collect::<Vec<_>>().join("\n");
        let token = rival["secret"]["postback_token"].as_str().unwrap();
        let path = format!("/postback/batch?token={token}");
        let sent = world.send(Method::POST, &path, &[], sales.into()).await;
        assert_eq!(sent.status, 200);
    }
    let click = world.click("anna-shoes").await;
    let sale = json!({"click_id": click, "order_id": "own", "amount": "10"});
    assert_eq!(world.postback(sale).await.status, 200);
    let refund = json!({"order_id": "own", "reversal_id": "one", "amount": "4"});
    assert_eq!(world.reversal(refund).await.status, 200);
    let wrong = json!({"click_id": click, "order_id": "wrong", "amount": "1", "currency": "USD"});
    assert_eq!(world.postback(wrong).await.status, 422);

    let pat = Person::merchant(&world, "shop").await;
    let listed = async |query: &str| {
        let answer = pat.get(query).await;
        assert_eq!((answer.status, &answer.body["next"]), (200, &Value::Null));
        answer.body["items"].as_array().unwrap().len()
    };
    for list in ["conversions", "reversals", "refusals"] {
        let none = format!("{list}?affiliate=anna&order_id=none&limit=200");
        assert_eq!(listed(&none).await, 0, "{list}");
        assert_eq!(listed(&format!("{list}?affiliate=anna")).await, 1, "{list}");
        assert_eq!(listed(&format!("{list}?affiliate=bob")).await, 0, "{list}");
    }
}

/// What exists and may not be seen is answered like what does not exist.
#[tokio::test]
async fn an_affiliate_cannot_tell_a_hidden_program_or_payer_from_none() {
    let world = World::with_shop(START).await;
    let bob = json!({"id": "bob", "name": "Bob", "email": "b@example.com", "country": "DE"});
    world.made("affiliates", bob).await;
    let payer = json!({
        "id": "network", "legal_name": "Network", "four_eyes": "on",
        "address": {"town": "Bonn", "country": "DE"}, "accounts": [],
    });
    world.made("payers", payer).await;
    let bob = Person::affiliate(&world, "bob").await;
    let link = async |program: &str, destination: &str| {
        let link = json!({
            "slug": "bobs", "program": program, "affiliate": "bob", "destination": destination,
        });
        bob.post("links", link).await
    };
    for destination in ["https://shop.example/a", "https://elsewhere.example/"] {
        let hidden = link("shoes", destination).await;
        assert_eq!(hidden, link("nothing", destination).await);
        assert_eq!(hidden.body["code"], "program_unknown");
    }
    // It asked for a place itself, so that there is such a program is no news.
    let asked = json!({"program": "shoes", "affiliate": "bob", "status": "pending"});
    assert_eq!(bob.post("enrolments", asked).await.status, 201);
    let early = link("shoes", "https://shop.example/a").await;
    assert_eq!(early.body["code"], "not_enrolled");

    for path in ["payouts", "statements/bob/2026-07"] {
        let hidden = bob.get(&format!("{path}?payer=network")).await;
        let none = bob.get(&format!("{path}?payer=nothing")).await;
        assert_eq!(hidden, none, "{path}");
    }
}

#[tokio::test]
async fn no_other_sites_page_turns_the_clock_of_one_machine() {
    let world = World::with_shop(START).await;
    let turn = async |origin: Option<&str>| {
        let headers: Vec<_> = origin
            .map(|origin| ("origin", origin))
            .into_iter()
            .collect();
        let body = json!({"now": "2027-01-01T00:00:00Z"}).to_string();
        let path = "/dev/clock";
        let turned = world.send(Method::POST, path, &headers, body.into()).await;
        turned.status.as_u16()
    };
    for page in ["https://evil.example", "null", "http://127.0.0.1:1", ""] {
        assert_eq!(turn(Some(page)).await, 403, "{page}");
    }
    assert!(world.stack.clock.now() < "2026-07-02T00:00:00Z".parse().unwrap());
    let own = world.stack.app.public_url.clone();
    let health = [("origin", own.as_str())];
    let health = world
        .send(Method::GET, "/dev/health", &health, Bytes::new())
        .await;
    assert_eq!(health.status, 200);
}
