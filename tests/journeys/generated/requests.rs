//! Good requests of every handler, to a world that has something of everything.

use http::Method;
use jiff::Timestamp;
use proptest::prelude::{Just, prop};
use proptest::prop_oneof;
use proptest::strategy::{BoxedStrategy, Strategy};
use serde_json::{Value, json};
use tests::{BROWSER, World, click_id};

use super::changes::{Draft, Form, Spelling, change, changed};

/// A header's value that stands for the body's signature.
const SIGN: &str = "sign";

/// What is known of the world: names to ask for, and secrets that no answer may tell.
#[derive(Debug, Clone, Default)]
pub struct Known {
    tokens: Vec<String>,
    signing_secret: String,
    admin: String,
    /// Of finance, both merchants and an affiliate.
    keys: Vec<String>,
    clicks: Vec<String>,
    conversions: Vec<String>,
    pub payouts: Vec<String>,
    /// A key and a secret that nobody needs.
    spare_key: String,
    spare_secret: String,
}

impl Known {
    pub fn secret_in(&self, text: &str) -> bool {
        let secrets = self.tokens.iter().chain(&self.keys);
        let mut secrets = secrets.chain([&self.signing_secret, &self.admin]);
        secrets.any(|secret| text.contains(secret.as_str()))
    }
}

fn text_of(made: &Value, name: &str) -> String {
    made[name].as_str().unwrap().to_owned()
}

/// Two merchants, four programs, three affiliates, and a click of every kind.
pub async fn world() -> (World, Known) {
    let world = World::with_shop("2026-07-01T08:00:00Z").await;
    let other = world
        .made("merchants", json!({"id": "other", "name": "Other"}))
        .await;
    let hosts = json!({"allowed_hosts": ["shop.example", "www.shop.example"]});
    assert_eq!(world.patch("programs/shoes", 1, hosts).await.status, 200);
    for (id, merchant, more) in [
        (
            "hats",
            "shop",
            json!({"status": "active", "fallback": "https://sorry.example/gone?x=1#y"}),
        ),
        (
            "caps",
            "other",
            json!({"status": "active", "destination": "https://hats.example/caps"}),
        ),
        (
            "boots",
            "shop",
            json!({
                "status": "active", "click_window": "1h", "approval": "manual", "currency": "JPY",
                "goals": [{"name": "sale"}, {"name": "lead", "payable": false}, {"name": "call"}],
                "commission": [{"goal": "sale", "type": "percent", "percent": "7.5"}],
            }),
        ),
    ] {
        let mut program = json!({
            "id": id, "merchant": merchant, "name": id, "currency": "EUR", "override": "a test",
            "destination": "https://shop.example/", "commission": [{"type": "flat", "amount": "3"}],
        });
        for (name, value) in more.as_object().unwrap() {
            program[name] = value.clone();
        }
        world.made("programs", program).await;
    }
    for id in ["bert", "cleo"] {
        let affiliate = json!({
            "id": id, "name": id, "email": "x@example.com", "country": "FR",
            "payout": {"currency": "EUR", "method": "manual", "schedule": "daily"},
        });
        world.made("affiliates", affiliate).await;
    }
    for (slug, program, affiliate, more) in [
        ("bert-shoes", "shoes", "bert", json!({})),
        ("cleo-shoes", "shoes", "cleo", json!({})),
        ("anna-hats", "hats", "anna", json!({})),
        ("anna-caps", "caps", "anna", json!({})),
        ("anna-boots", "boots", "anna", json!({})),
        ("anna-test", "shoes", "anna", json!({"test": true})),
        (
            "anna-deep",
            "shoes",
            "anna",
            json!({"destination": "https://www.shop.example/{program}/{sub1}?a={affiliate}&s={sub2}&c={click_id}#top"}),
        ),
    ] {
        let mut link = json!({"slug": slug, "program": program, "affiliate": affiliate});
        for (name, value) in more.as_object().unwrap() {
            link[name] = value.clone();
        }
        world.made("links", link).await;
    }

    let mut known = Known {
        tokens: vec![
            world.token.clone(),
            text_of(&other["secret"], "postback_token"),
        ],
        admin: world.admin.clone(),
        ..Known::default()
    };
    let secret = json!({"label": "signs", "scope": "all", "kind": "server"});
    let secret = world.made("merchants/shop/secrets", secret).await;
    known.signing_secret = text_of(&secret, "signing_secret");
    let browser = json!({"label": "page", "scope": "convert", "kind": "browser"});
    let browser = world.made("merchants/shop/secrets", browser).await;
    known.tokens.push(text_of(&browser, "postback_token"));
    known.spare_secret = text_of(&browser, "id");
    for owner in [
        json!({"role": "finance"}),
        json!({"role": "merchant", "merchant": "shop"}),
        json!({"role": "merchant", "merchant": "other"}),
        json!({"role": "affiliate", "affiliate": "anna"}),
    ] {
        let mut key = owner;
        key["person"] = json!("somebody");
        known
            .keys
            .push(text_of(&world.made("keys", key).await, "key"));
    }
    let spare = json!({"role": "finance", "person": "nobody"});
    known.spare_key = text_of(&world.made("keys", spare).await, "id");

    known.clicks.push(world.click("anna-boots").await);
    let now = "2026-07-01T10:00:00Z";
    world.stack.clock.move_to(now.parse().unwrap()).unwrap();
    for slug in [
        "anna-shoes",
        "bert-shoes",
        "anna-boots",
        "anna-caps",
        "anna-test",
    ] {
        known.clicks.push(world.click(slug).await);
    }
    known
        .clicks
        .push(click_id(&world.visit("anna-shoes", "curl/8.14.1").await));
    let suspended = json!({"status": "suspended"});
    assert_eq!(
        world.patch("affiliates/cleo", 1, suspended).await.status,
        200
    );
    let paused = json!({"status": "paused"});
    assert_eq!(world.patch("programs/hats", 1, paused).await.status, 200);
    known.clicks.push(world.click("anna-hats").await);
    let good = known.clicks[1].clone();
    known.clicks.push(good[..63].to_owned());
    known.clicks.push(format!("{}A", &good[..63]));
    known.clicks.push(format!("{good}="));
    for (order, click) in [("known-1", 1), ("known-2", 3), ("known-3", 3)] {
        let sale = json!({"click_id": known.clicks[click], "order_id": order, "amount": "100"});
        let made = world.postback(sale).await;
        assert_eq!(made.status, 200, "{made:?}");
        known.conversions.push(text_of(&made.body, "conversion"));
    }
    (world, known)
}

fn pick<T: Clone + std::fmt::Debug + 'static>(all: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(all.to_vec())
}

/// One of the values, or none at all so often as `absent` says beside them.
fn perhaps(absent: u32, all: &[&'static str]) -> impl Strategy<Value = Value> + use<> {
    prop_oneof![
        absent => Just(Value::Null),
        1 => pick(all).prop_map(|text| json!(text)),
    ]
}

fn drafts(forms: impl Strategy<Value = Form> + 'static) -> BoxedStrategy<Draft> {
    (forms, change())
        .prop_map(|(form, change)| changed(form, change))
        .boxed()
}

pub fn visits() -> BoxedStrategy<Draft> {
    let slugs = [
        "anna-shoes",
        "anna-shoes",
        "anna-deep",
        "anna-deep",
        "anna-deep",
        "bert-shoes",
        "bert-shoes",
        "anna-hats",
        "anna-caps",
        "anna-test",
        "cleo-shoes",
        "Anna-Shoes",
        "nobody",
    ];
    let deep_links = [
        "https://shop.example/a?b=c#d",
        "https://www.shop.example/",
        "https://shop.example:8443/",
        "http://shop.example/",
        "https://shop.example.evil.example/",
        "https://evil.example/https://shop.example/",
        "//evil.example/",
        "https://shop.example@evil.example/",
        "https://evil.example\\@shop.example/",
        "https:\\\\evil.example/",
        "https://shop.example\\.evil.example/",
        "https://user:pass@shop.example/",
        "https:///evil.example/",
        "javascript:alert(1)",
        "data:text/html,a",
        "https://SHOP.example/A",
        "https://shop.example./",
        "https://sh\u{f8}p.example/",
        "https://shop.example%2eevil.example/",
        "https://[::1]/",
        " https://shop.example/ b",
        "https://evil.example#https://shop.example/",
        "https://shop.example/\r\nset-cookie: a=b",
        "ht\ttps://shop.example/",
    ];
    let tags = [
        "a",
        "A.b_c~d-e",
        "ä",
        "a b",
        "a&b=c",
        "%",
        "",
        "'",
        "{sub1}",
    ];
    let agents = [
        BROWSER,
        BROWSER,
        BROWSER,
        "curl/8.14.1",
        "Googlebot/2.1",
        "",
        "Mozilla/5.0",
        "\u{e4}",
    ];
    let tags = move || perhaps(3, &tags);
    let fields = (
        perhaps(1, &deep_links),
        (tags(), tags(), tags()),
        perhaps(3, &["abc", "a%20b", "ü", "\"<>'", "a#b", "a b"]),
        perhaps(3, &["mail", "a#b", "x\ny", "'"]),
        perhaps(9, &["1", "0", "x"]),
        perhaps(9, &["stolen"]),
    );
    let forms = (
        pick(&slugs),
        fields,
        pick(&agents),
        pick(&[Method::GET, Method::GET, Method::GET, Method::HEAD]),
    );
    drafts(forms.prop_map(|(slug, (url, subs, gclid, utm, test, id), agent, method)| {
        let fields = json!({
            "sub1": subs.0, "sub2": subs.1, "sub10": subs.2, "gclid": gclid, "utm_source": utm, "url": url,
            "test": test, "click_id": id,
        });
        let form = Form::new(method, format!("/r/{slug}"), fields, Spelling::Query);
        form.with("user-agent", agent)
    }))
}

/// Most names are short, and some are as long as a name may be.
fn names(letter: &'static str, count: u32) -> impl Strategy<Value = String> {
    (0..count).prop_map(move |number| match number % 20 {
        0 => format!("{number:03}{}", "\u{1f45f}".repeat(125)),
        _ => format!("{letter}-{number}"),
    })
}

fn conversion(known: &Known) -> impl Strategy<Value = Value> + use<> {
    let clicks: Vec<&str> = known.clicks.iter().map(String::as_str).collect();
    // The good ones more often than the others.
    let clicks = [
        &clicks[..],
        &clicks[1..4].repeat(4),
        &clicks[1..3].repeat(4),
    ]
    .concat();
    let clicks: Vec<Value> = clicks.into_iter().map(|click| json!(click)).collect();
    let items = [
        json!([{"sku": "a", "amount": "4"}, {"sku": "b", "category": "c", "quantity": 2, "amount": "6.00"}]),
        json!([{"sku": "a", "amount": "10"}]),
        json!([{"sku": "a", "amount": "9"}]),
        json!([{"sku": "a"}]),
        json!([]),
    ];
    (
        prop_oneof![1 => Just(Value::Null), 9 => pick(&clicks)],
        names("A", 700),
        prop_oneof![1 => Just(Value::Null), 15 => pick(&["10", "10.00", "49.99", "0", "9999999999999"]).prop_map(|text| json!(text))],
        perhaps(12, &["EUR", "EUR", "JPY", "USD"]),
        perhaps(5, &["sale", "Sale", "lead", "call"]),
        prop_oneof![8 => Just(Value::Null), 1 => pick(&items)],
        perhaps(8, &["2026-07-01T10:00:00Z", "2026-07-01T09:59:59.999Z", "2026-04-01T00:00:00Z", "2026-06-30T00:00:00Z"]),
        perhaps(9, &["2026-07-05", "2025-07-05", "9999-12-31"]),
        perhaps(8, &["shoes", "boots", "hats", "caps", "nothing"]),
        perhaps(12, &["1", "0", "true"]),
        (perhaps(9, &["SAVE10"]), perhaps(9, &["customer-1"]), perhaps(9, &["new", "returning"]), perhaps(9, &["free text"])),
    )
        .prop_map(|(click, order, amount, currency, goal, items, at, service, program, test, more)| {
            json!({
                "click_id": click, "order_id": order, "amount": amount, "currency": currency,
                "goal": goal, "items": items, "occurred_at": at, "service_date": service, "program": program,
                "test": test, "coupon": more.0, "customer_id": more.1, "customer": more.2, "meta1": more.3,
            })
        })
}

fn reversal() -> impl Strategy<Value = Value> {
    (
        names("A", 700),
        prop_oneof![1 => Just(None), 1 => names("r", 22).prop_map(Some)],
        perhaps(1, &["1", "0.01", "10", "0", "50"]),
        perhaps(3, &["sale", "*", "lead", "call"]),
        perhaps(5, &["returned", "fraud"]),
        perhaps(5, &["EUR", "USD"]),
        perhaps(5, &["shoes"]),
    )
        .prop_map(|(order, id, amount, goal, reason, currency, program)| {
            json!({
                "order_id": order, "reversal_id": id, "amount": amount, "goal": goal,
                "reason": reason, "currency": currency, "program": program,
            })
        })
}

/// A line of a batch: not one field of a request but all of them.
fn line(mut body: Value, kind: &str) -> Value {
    body["type"] = json!(kind);
    let members = body.as_object_mut().unwrap();
    members.retain(|_, value| !value.is_null());
    body
}

pub fn postbacks(known: &Known) -> BoxedStrategy<Draft> {
    let token = known.tokens[0].clone();
    let credentials: Vec<Option<String>> = [0; 30]
        .into_iter()
        .chain([1, 2])
        .map(|at| Some(known.tokens[at].clone()))
        .chain([None])
        .collect();
    let spellings = [
        (Method::GET, Spelling::Query),
        (Method::POST, Spelling::Query),
        (Method::POST, Spelling::Form),
        (Method::POST, Spelling::Json),
    ];
    let single = (
        prop_oneof![
            3 => conversion(known).prop_map(|body| ("", body)),
            1 => reversal().prop_map(|body| ("/reversal", body)),
        ],
        pick(&spellings),
        pick(&credentials),
        pick(&["", "", "/shop", "/shop"]),
        (0..4_u8),
    )
        .prop_map(|((path, body), (method, spelling), token, merchant, how)| {
            let form = Form::new(method, format!("/postback{merchant}{path}"), body, spelling);
            let form = match spelling {
                Spelling::Form => form.with("content-type", "application/x-www-form-urlencoded"),
                Spelling::Json => form.with("content-type", "application/json"),
                Spelling::Query | Spelling::Lines => form,
            };
            if how == 0 && merchant == "/shop" && spelling != Spelling::Query {
                return signed(form);
            }
            match token {
                Some(token) if how == 1 => form.with("authorization", format!("Bearer {token}")),
                Some(token) => {
                    let mut form = form;
                    form.fields
                        .push(("token".to_owned(), json!(token).to_string()));
                    form
                }
                None => form,
            }
        });
    let lines = prop::collection::vec(
        prop_oneof![
            2 => conversion(known).prop_map(|body| line(body, "conversion")),
            1 => reversal().prop_map(|body| line(body, "reversal")),
            1 => Just(json!({"type": "other"})),
        ],
        0..4,
    );
    let lines = prop_oneof![40 => lines, 1 => Just(vec![json!({}); 1_001])];
    let batch = lines.prop_map(move |lines| {
        let mut form = Form::new(Method::POST, "/postback/batch", json!({}), Spelling::Lines);
        form.fields = lines
            .iter()
            .map(|line| (String::new(), line.to_string()))
            .collect();
        form.with("authorization", format!("Bearer {token}"))
    });
    let secret = shared::signature::parse_whsec(&known.signing_secret).unwrap();
    drafts(prop_oneof![12 => single, 1 => batch])
        .prop_map(move |draft| with_signature(draft, &secret))
        .boxed()
}

fn signed(form: Form) -> Form {
    let now: Timestamp = "2026-07-01T10:01:00Z".parse().unwrap();
    form.with("webhook-id", "msg-1")
        .with("webhook-timestamp", now.as_second().to_string())
        .with("webhook-signature", SIGN)
}

/// Signed as it is sent, whatever was changed before.
fn with_signature(mut draft: Draft, secret: &[u8]) -> Draft {
    let stamp = draft
        .headers
        .iter()
        .find(|(name, _)| *name == "webhook-timestamp");
    let second = stamp
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or_default();
    let now = Timestamp::from_second(second).unwrap();
    let signature = shared::signature::sign("msg-1", now, &draft.body, secret);
    for (name, value) in &mut draft.headers {
        if *name == "webhook-signature" && value == SIGN {
            *value = signature.clone();
        }
    }
    draft
}

/// Whoever asks, mostly somebody who may.
fn asked_by(known: &Known, forms: impl Strategy<Value = Form> + 'static) -> BoxedStrategy<Draft> {
    let mut keys = vec![known.admin.clone(); 24];
    keys.extend(known.keys.iter().cloned());
    keys.extend(known.keys.iter().cloned());
    keys.push(known.admin[..40].to_owned());
    let forms = (forms, pick(&keys))
        .prop_map(|(form, key)| form.with("authorization", format!("Bearer {key}")));
    drafts(forms)
}

fn list(path: &'static str) -> impl Strategy<Value = Form> {
    let limits = perhaps(1, &["1", "3", "200", "0", "201", "1e1"]);
    let cursors = perhaps(3, &["MDAwMDE3ODI4OTI4MDAwMDAjYWFh", "fn5-", "IQ", "*"]);
    (limits, cursors).prop_map(move |(limit, cursor)| {
        Form::get(
            format!("/api/v1/{path}"),
            json!({"limit": limit, "cursor": cursor}),
        )
    })
}

fn of_shop() -> impl Strategy<Value = Form> {
    list("conversions").prop_map(|mut form| {
        form.fields
            .push(("merchant".to_owned(), json!("shop").to_string()));
        form
    })
}

fn creations() -> impl Strategy<Value = Form> {
    let ids = ["aa", "bb", "cc", "anna", "shop", "shoes", "A", "-a"];
    let rules = [
        json!([{"type": "percent", "percent": "10"}]),
        json!([{"type": "flat", "amount": "3", "when": {"affiliate": "anna"}}, {"type": "percent", "percent": "5"}]),
        json!([{"type": "flat", "amount": "3"}, {"type": "percent", "percent": "5"}]),
        json!([{"type": "percent", "percent": "101"}]),
        json!([{"type": "share"}]),
        json!([{"type": "percent", "percent": "1", "when": {"affiliate": "A B"}}]),
    ];
    let destinations = [
        "https://shop.example/",
        "http://shop.example/",
        "https://{sub1}.example/",
        "https://shop.example/{sub11}",
        "ftp://shop.example/",
        "https://shop.example/?a={sub1}",
    ];
    let names = (
        perhaps(1, &ids),
        pick(&[
            "merchants",
            "payers",
            "affiliates",
            "enrolments",
            "links",
            "programs",
        ]),
    );
    let parts = (
        perhaps(1, &["shop", "shop", "other", "nobody"]),
        perhaps(0, &["shoes", "caps", "nothing"]),
        perhaps(0, &["anna", "bert", "nobody"]),
        perhaps(0, &destinations),
        pick(&rules),
        perhaps(2, &["active", "draft", "pending"]),
        perhaps(5, &["30d", "1h", "1m", "-1d"]),
        pick(&[
            json!(null),
            json!(null),
            json!(0),
            json!(30),
            json!(181),
            json!("30"),
        ]),
        perhaps(3, &["new-slug", "anna-shoes", "a b"]),
    );
    (names, parts).prop_map(|((id, resource), (merchant, program, affiliate, destination, rules, status, span, hold, slug))| {
        let fields = match resource {
            "merchants" => json!({"id": id, "name": "M", "order_scope": "merchant"}),
            "payers" => json!({
                "id": id, "legal_name": "Payer Ltd", "address": {"town": "Bonn", "country": "DE"}, "accounts": [],
                "four_eyes": "on",
            }),
            "affiliates" => json!({
                "id": id, "name": "A", "email": "a@example.com", "country": "DE", "status": status, "lanes": hold,
                "payout": {"currency": "EUR", "method": "manual", "minimum": {"EUR": "5"}},
            }),
            "enrolments" => json!({"program": program, "affiliate": affiliate, "status": status, "hold_days": hold}),
            "links" => json!({"slug": slug, "program": program, "affiliate": affiliate, "destination": destination}),
            _ => json!({
                "id": id, "merchant": merchant, "name": "P", "currency": "EUR", "destination": destination,
                "status": status, "commission": rules, "click_window": span, "hold_days": hold,
            }),
        };
        Form::post(format!("/api/v1/{resource}"), fields)
    })
}

fn one(known: &Known) -> impl Strategy<Value = Form> + use<> {
    let mut paths: Vec<String> = [
        "merchants/shop",
        "merchants/nobody",
        "programs/shoes",
        "programs/caps",
        "affiliates/anna",
        "affiliates/cleo",
        "affiliates/anna/balances",
        "links/anna-shoes",
        "links/nothing",
        "payers/house",
        "payers/nobody",
        "keys/x",
        "enrolments/shoes.anna",
        "merchants/shop/secrets",
        "nothing/here",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.extend(
        known
            .conversions
            .iter()
            .map(|id| format!("conversions/{id}")),
    );
    pick(&paths).prop_map(|path| Form::get(format!("/api/v1/{path}"), json!({})))
}

fn patches() -> impl Strategy<Value = Form> {
    let changes = [
        (
            "programs/shoes",
            json!({"name": "Shoes again", "hold_days": 5}),
        ),
        ("programs/shoes", json!({"currency": "USD"})),
        ("programs/shoes", json!({"goals": [{"name": "a b"}]})),
        (
            "programs/shoes",
            json!({"allowed_hosts": ["shop.example", "a b"]}),
        ),
        ("programs/shoes", json!({"click_id_param": "a b"})),
        ("programs/boots", json!({"status": "ended"})),
        (
            "affiliates/anna",
            json!({"email": "other@example.com", "payout": null}),
        ),
        ("affiliates/anna", json!({"status": "closed"})),
        (
            "links/anna-shoes",
            json!({"destination": "https://shop.example/new"}),
        ),
        (
            "links/anna-shoes",
            json!({"destination": "https://evil.example/"}),
        ),
        ("payers/house", json!({"four_eyes": "off"})),
        ("merchants/other", json!({"require_signature": true})),
    ];
    (pick(&changes), pick(&["\"1\"", "\"2\"", "\"3\"", "1"])).prop_map(|((path, fields), etag)| {
        Form::new(
            Method::PATCH,
            format!("/api/v1/{path}"),
            fields,
            Spelling::Json,
        )
        .with("if-match", etag)
    })
}

fn decisions(known: &Known) -> impl Strategy<Value = Form> + use<> {
    let words = [
        ("approve", json!({})),
        ("reject", json!({"reason": "fraud"})),
        ("reopen", json!({"reason": "mistake"})),
    ];
    (pick(&known.conversions), pick(&words)).prop_map(|(id, (word, fields))| {
        Form::post(format!("/api/v1/conversions/{id}/{word}"), fields)
    })
}

fn credentials(known: &Known) -> impl Strategy<Value = Form> + use<> {
    let key = (
        pick(&["admin", "finance", "merchant", "affiliate", "king"]),
        perhaps(1, &["shop", "nobody"]),
        perhaps(1, &["anna", "nobody"]),
    )
        .prop_map(|(role, merchant, affiliate)| {
            let fields = json!({
                "role": role, "merchant": merchant, "affiliate": affiliate, "person": "p",
                "expires_at": "2027-01-01T00:00:00Z",
            });
            Form::post("/api/v1/keys", fields)
        });
    let secret = (
        pick(&["convert", "reverse", "all"]),
        pick(&["server", "browser"]),
    )
        .prop_map(|(scope, kind)| {
            let fields = json!({"label": "l", "scope": scope, "kind": kind, "programs": ["shoes"]});
            Form::post("/api/v1/merchants/shop/secrets", fields)
        });
    let ends = [
        format!("/api/v1/keys/{}", known.spare_key),
        "/api/v1/keys/k0".to_owned(),
        format!("/api/v1/merchants/shop/secrets/{}", known.spare_secret),
        "/api/v1/merchants/shop/secrets/s0".to_owned(),
    ];
    let end =
        pick(&ends).prop_map(|path| Form::new(Method::DELETE, path, json!({}), Spelling::Query));
    prop_oneof![key, secret, end]
}

fn erasures(known: &Known) -> impl Strategy<Value = Form> + use<> {
    let customer = (
        perhaps(1, &["shop", "other", "nobody", "A"]),
        perhaps(1, &["c-1", " ", "eva@example.com"]),
    )
        .prop_map(|(merchant, customer)| json!({"merchant": merchant, "customer_id": customer}));
    let cookies = ["BwcHBwcHBwcHBwcHBwcHBw", "BwcHBw", "*"];
    let visitor = (
        perhaps(1, &["shoes", "boots", "caps", "nothing"]),
        pick(&known.clicks),
        perhaps(8, &cookies),
    )
        .prop_map(|(program, click, cookie)| {
            let click = Some(click).filter(|_| cookie.is_null());
            json!({"program": program, "click_id": click, "visitor": cookie})
        });
    let cursor = perhaps(8, &["bzA", "cjA", "eA", "*"]);
    (prop_oneof![customer, visitor], cursor).prop_map(|(mut whom, cursor)| {
        whom["cursor"] = cursor;
        Form::post("/api/v1/erasures", whom)
    })
}

pub fn set_ups(known: &Known) -> BoxedStrategy<Draft> {
    let lists = prop_oneof![
        list("merchants"),
        list("programs"),
        list("affiliates"),
        list("links"),
        list("enrolments"),
        list("keys"),
        list("payers"),
        of_shop(),
        list("merchants/shop/secrets"),
    ];
    let forms = prop_oneof![
        6 => creations(),
        2 => lists,
        4 => one(known),
        4 => patches(),
        2 => decisions(known),
        2 => credentials(known),
        2 => erasures(known),
    ];
    asked_by(known, forms)
}

pub fn payouts(known: &Known) -> BoxedStrategy<Draft> {
    let mut ids = known.payouts.clone();
    ids.push("p20260701-0000000000000000".to_owned());
    let runs = pick(&[
        "2026-06-30",
        "2026-07-01",
        "2026-07-02",
        "2026-07-03",
        "2026-08-01",
        "0001-01-01",
        "9999-12-31",
    ])
    .prop_map(|day| Form::post("/api/v1/payout-runs", json!({"day": day})));
    let lists = (
        list("payouts"),
        perhaps(2, &["anna", "bert", "nobody", "A"]),
        perhaps(2, &["approved", "sent", "good"]),
        perhaps(2, &["2026-07", "2026-13"]),
        perhaps(3, &["house", "nobody", "H"]),
    )
        .prop_map(|(mut form, affiliate, status, month, payer)| {
            let filters =
                json!({"affiliate": affiliate, "status": status, "month": month, "payer": payer});
            form.fields.extend(Form::get("", filters).fields);
            form
        });
    let one = pick(&ids).prop_map(|id| Form::get(format!("/api/v1/payouts/{id}"), json!({})));
    let words = [
        "approve", "sent", "settled", "failed", "returned", "cancel", "unknown", "exported",
    ];
    let step = (pick(&ids), pick(&words)).prop_map(|(id, word)| {
        let fields = match word {
            "sent" => json!({"reference": "bank 1"}),
            "approve" | "settled" | "unknown" => json!({}),
            _ => json!({"reason": "wrong account"}),
        };
        Form::post(format!("/api/v1/payouts/{id}/{word}"), fields)
    });
    let states = [
        "approved",
        "sent",
        "settled",
        "failed",
        "returned",
        "cancelled",
        "unknown",
        "exported",
        "created",
    ];
    let many = (
        prop::collection::vec(pick(&ids), 0..4),
        pick(&states),
        perhaps(0, &["bank 1", "bank 2"]),
        perhaps(0, &["wrong"]),
    )
        .prop_map(|(ids, to, reference, reason)| {
            let (reference, reason) = match to {
                "sent" => (reference, Value::Null),
                "failed" | "returned" | "cancelled" => (Value::Null, reason),
                _ => (Value::Null, Value::Null),
            };
            let fields = json!({"ids": ids, "to": to, "reference": reference, "reason": reason});
            Form::post("/api/v1/payouts/decisions", fields)
        });
    let adjustment = (
        names("b", 200),
        pick(&["anna", "bert", "nobody"]),
        pick(&["bonus", "fee", "correction", "write_off", "gift"]),
        pick(&["12.5", "-12.5", "0", "9999999999999", "1.234"]),
        pick(&["EUR", "EUR", "JPY", "eur"]),
        perhaps(3, &["2026-07-10", "2020-01-01", "9999-12-31"]),
        perhaps(3, &["shoes", "nothing"]),
    )
        .prop_map(|(id, affiliate, kind, amount, currency, payable_on, program)| {
            let fields = json!({
                "id": id, "affiliate": affiliate, "kind": kind, "amount": amount,
                "currency": currency, "payable_on": payable_on, "program": program, "reason": "best of June",
            });
            Form::post("/api/v1/adjustments", fields)
        });
    let adjusted =
        (0..200_u32).prop_map(|id| Form::get(format!("/api/v1/adjustments/b-{id}"), json!({})));
    let forms = prop_oneof![
        2 => runs,
        12 => lists,
        12 => one,
        20 => step,
        10 => many,
        20 => adjustment,
        5 => adjusted,
        5 => list("adjustments"),
    ];
    asked_by(known, forms)
}

pub fn reports(known: &Known) -> BoxedStrategy<Draft> {
    let months = ["2026-06", "2026-07", "2026-07", "2026-07", "2026-08"].repeat(3);
    let months = [&months[..], &["2026-09", "2026-7", "9999-12"]].concat();
    let payers = [&["house"; 12][..], &["network", "network", "nobody", "H"]].concat();
    let payer =
        || prop_oneof![1 => Just(Value::Null), 12 => pick(&payers).prop_map(|id| json!(id))];
    let of_payer = |payer: Value| json!({ "payer": payer });
    let report = (
        pick(&months),
        perhaps(1, &["json", "csv", "csv", "csv", "xlsx"]),
        perhaps(2, &["1", "1", "0", "yes"]),
        payer(),
    )
        .prop_map(|(month, format, raw, payer)| {
            let fields = json!({"format": format, "raw": raw, "payer": payer});
            Form::get(format!("/api/v1/reports/payouts/{month}"), fields)
        });
    let statement = (
        pick(&["anna", "anna", "bert", "cleo", "nobody", "A"]),
        pick(&months),
        perhaps(1, &["json", "csv", "csv", "pdf"]),
        payer(),
    )
        .prop_map(|(affiliate, month, format, payer)| {
            let fields = json!({"format": format, "payer": payer});
            Form::get(format!("/api/v1/statements/{affiliate}/{month}"), fields)
        });
    let reconciliation =
        payer().prop_map(move |payer| Form::get("/api/v1/reports/reconciliation", of_payer(payer)));
    let listed = (list("periods"), payer()).prop_map(move |(mut form, payer)| {
        form.fields.extend(Form::get("", of_payer(payer)).fields);
        form
    });
    let one = (pick(&months), payer()).prop_map(move |(month, payer)| {
        Form::get(format!("/api/v1/periods/{month}"), of_payer(payer))
    });
    // Whose month it is stands in the query; a body says nothing.
    let step = (
        pick(&months),
        pick(&[
            "prepare", "prepare", "approve", "approve", "close", "close", "reopen",
        ]),
        payer(),
        pick(&[Spelling::Query, Spelling::Query, Spelling::Json]),
    )
        .prop_map(move |(month, word, payer, spelling)| {
            let fields = if spelling == Spelling::Json {
                json!({})
            } else {
                of_payer(payer)
            };
            let path = format!("/api/v1/periods/{month}/{word}");
            Form::new(Method::POST, path, fields, spelling)
        });
    let forms = prop_oneof![
        4 => report,
        4 => statement,
        1 => reconciliation,
        2 => listed,
        2 => one,
        6 => step,
    ];
    asked_by(known, forms)
}
