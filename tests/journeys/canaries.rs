//! Secrets and personal values, planted wherever somebody may bring them, and looked for afterwards
//! where they have no business: in logs, in refusals, in exports, and in the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use clickledger::embedded::Cut;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use shared::signature;
use tests::{Answer, World, answer, click_id};

const START: &str = "2026-07-30T10:00:00Z";

/// What is planted as it is. The rest is made on the way: keys, tokens, ids, the cookie.
const PLANTED: [(&str, &str); 42] = [
    ("address of the visitor", "203.0.113.77"),
    ("network of the visitor", "203.0.113."),
    ("user agent", "Vendor/ua-7781"),
    ("referrer", "referrer-canary.example"),
    ("second language", "tlh-Latn"),
    ("cookie of somebody else", "cookie-canary-1"),
    ("sub id", "sub-canary-1"),
    ("campaign", "utm-canary-1"),
    ("ad click id", "gclid-canary-1"),
    ("parameter of a link", "query-canary-1"),
    ("query of a deep link", "deep-canary-1"),
    ("customer's id", "kunde-canary-4711"),
    ("customer's address", "eva.canary@kunden.example"),
    (
        "customer's digest",
        "5a1f0c3e9b7d24868acd11c05e6f7a8890b1c2d3e4f5061728394a5b6c7d8e9f",
    ),
    ("meta1", "meta-canary-1"),
    ("meta2", "meta-canary-2"),
    ("meta3", "meta-canary-3"),
    ("meta4", "meta-canary-4"),
    ("meta5", "meta-canary-5"),
    ("affiliate's name", "Anna Canary Limited"),
    ("affiliate's address", "anna.canary@affiliates.example"),
    ("affiliate's IBAN", "DE89370400440532013000"),
    ("affiliate's holder", "Holder Canary"),
    ("affiliate's PayPal", "paypal.canary@pay.example"),
    ("payer's name", "Payer Canary GmbH"),
    ("payer's street", "Canary Street 7"),
    ("payer's town", "Canarytown"),
    ("payer's tax number", "DE-CANARY-TAX-1"),
    ("merchant's name", "Merchant Canary AG"),
    ("person", "Person Canary"),
    ("name of a key", "Laptop Canary"),
    ("reason of a launch", "Launch Canary"),
    ("note of a claim", "Note Canary"),
    ("reason of a decline", "Decline Canary"),
    ("reason of a rejection", "Reject Canary"),
    ("reason of an amendment", "Amend Canary"),
    ("reason of an adjustment", "Adjust Canary"),
    ("reference of a payout", "Reference Canary"),
    ("reason of a return", "Return Canary"),
    (
        "wrong API key",
        "ck_k0123456789abcdef_wrong-canary-0123456789-0123456789",
    ),
    (
        "wrong postback token",
        "pb.shop.s0123456789abcdef.wrong-canary-0123456789",
    ),
    (
        "forged click id",
        "forged-canary-0123456789-0123456789-0123456789-0123456789-012345",
    ),
];

/// What the tables keep on purpose, where, and why.
const KEPT: [(&str, &[&str], &str); 27] = [
    (
        "sub id",
        &["C facts", "J tags"],
        "the affiliate's own tag, for its figures; till it is erased",
    ),
    (
        "campaign",
        &["C facts", "J tags"],
        "the merchant's own tag, for its figures; till it is erased",
    ),
    (
        "meta1",
        &["C facts"],
        "the merchant's own notes on its order; till its customer is erased",
    ),
    ("meta2", &["C facts"], "the same"),
    ("meta3", &["C facts"], "the same"),
    ("meta4", &["C facts"], "the same"),
    ("meta5", &["C facts"], "the same"),
    (
        "affiliate's name",
        &["M sealed", "affiliate doc"],
        "whom money is paid to, for ever in closed months",
    ),
    (
        "affiliate's address",
        &["affiliate doc"],
        "whom to write to; an order of its own is known by it",
    ),
    (
        "affiliate's IBAN",
        &["affiliate doc"],
        "where money is paid to",
    ),
    ("affiliate's holder", &["affiliate doc"], "the same"),
    ("affiliate's PayPal", &["affiliate doc"], "the same"),
    ("payer's name", &["payer doc"], "whose money it is"),
    ("payer's street", &["payer doc"], "the same"),
    ("payer's town", &["payer doc"], "the same"),
    ("payer's tax number", &["payer doc"], "the same"),
    ("merchant's name", &["merchant doc"], "who sells"),
    (
        "person",
        &[
            "ADJ person",
            "AUDIT person",
            "P history",
            "PER steps",
            "key doc",
        ],
        "who decided about money",
    ),
    (
        "name of a key",
        &["key doc"],
        "by which an admin tells keys apart",
    ),
    (
        "reason of a launch",
        &["AUDIT reason"],
        "what people say they decided by",
    ),
    ("note of a claim", &["claim doc"], "the same"),
    (
        "reason of a decline",
        &["AUDIT reason", "claim doc"],
        "the same",
    ),
    ("reason of a rejection", &["AUDIT reason"], "the same"),
    (
        "reason of an amendment",
        &["AUDIT reason", "C#M reason"],
        "the same",
    ),
    (
        "reason of an adjustment",
        &["ADJ reason", "AUDIT reason", "E because"],
        "the same",
    ),
    (
        "reason of a return",
        &["AUDIT reason", "E because", "P history"],
        "the same",
    ),
    (
        "reference of a payout",
        &["P history"],
        "by which the bank's statement is compared",
    ),
];

/// What reports and statements tell on purpose: whom money was paid to, and why it was changed.
const TOLD: [&str; 3] = [
    "affiliate's name",
    "reason of a return",
    "reason of an adjustment",
];

/// What finance reads on purpose; an admin reads what keys are called besides.
const FINANCE_READS: [&str; 23] = [
    "affiliate's IBAN",
    "affiliate's PayPal",
    "affiliate's address",
    "affiliate's holder",
    "affiliate's name",
    "campaign",
    "merchant's name",
    "meta1",
    "meta2",
    "meta3",
    "meta4",
    "meta5",
    "note of a claim",
    "payer's name",
    "payer's street",
    "payer's tax number",
    "payer's town",
    "person",
    "reason of a decline",
    "reason of a return",
    "reason of an adjustment",
    "reference of a payout",
    "sub id",
];

/// What each role reads on purpose, of all that it may ask for: nobody what came with a visit or names
/// a customer, nobody a secret, and nobody another affiliate's accounts or a rival at all.
const READ_BY: [(&str, &[&str]); 5] = [
    ("admin", &FINANCE_READS),
    ("finance", &FINANCE_READS),
    (
        "the merchant",
        &[
            "affiliate's name",
            "campaign",
            "merchant's name",
            "meta1",
            "meta2",
            "meta3",
            "meta4",
            "meta5",
            "note of a claim",
            "reason of a decline",
            "sub id",
        ],
    ),
    (
        "the affiliate",
        &[
            "affiliate's IBAN",
            "affiliate's address",
            "affiliate's holder",
            "affiliate's name",
            "campaign",
            "note of a claim",
            "reason of a decline",
            "reason of a return",
            "reason of an adjustment",
            "reference of a payout",
            "sub id",
        ],
    ),
    ("another affiliate", &["affiliate's PayPal"]),
];

/// A writer that keeps all.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// All spellings of some bytes that a careless hand might leave: hexadecimal, and base64 wherever in
/// a longer text they stand.
fn spellings(bytes: &[u8]) -> Vec<String> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut spellings = vec![hex.to_uppercase(), hex];
    for (shift, begun) in [(0, 0), (1, 2), (2, 3)] {
        let mut shifted = vec![0; shift];
        shifted.extend_from_slice(bytes);
        // The last character may hold bits of what comes after.
        let whole = shifted.len() * 8 / 6;
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            spellings.push(engine.encode(&shifted)[begun..whole].to_owned());
        }
    }
    spellings
}

struct Canary {
    name: &'static str,
    spellings: Vec<String>,
}

impl Canary {
    fn new(name: &'static str, text: &str) -> Self {
        let mut spellings = spellings(text.as_bytes());
        spellings.push(utf8_percent_encode(text, NON_ALPHANUMERIC).to_string());
        spellings.push(text.to_owned());
        Self { name, spellings }
    }

    /// One that spells bytes, which might be kept in another spelling.
    fn of_bytes(name: &'static str, text: &str) -> Self {
        let bytes = URL_SAFE_NO_PAD.decode(text);
        let bytes = bytes.or_else(|_| STANDARD_NO_PAD.decode(text.trim_end_matches('=')));
        let mut canary = Self::new(name, text);
        canary.spellings.extend(spellings(&bytes.unwrap()));
        canary
    }

    fn is_in(&self, text: &str) -> bool {
        self.spellings
            .iter()
            .any(|spelling| text.contains(spelling))
    }
}

/// A world whose every request bears a visitor's headers, and is kept for later.
struct Probe {
    world: World,
    sent: Vec<String>,
    refusals: Vec<String>,
}

impl Probe {
    async fn send(
        &mut self,
        expected: u16,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> shared::http_types::Response {
        let mut all = vec![
            (
                "user-agent",
                "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0 Vendor/ua-7781",
            ),
            ("referer", "https://referrer-canary.example/page"),
            ("accept-language", "de-AT,tlh-Latn;q=0.5"),
            ("x-forwarded-for", "203.0.113.77, 10.0.0.1"),
            ("forwarded", "for=203.0.113.77"),
            ("cloudfront-viewer-address", "203.0.113.77:4711"),
            ("true-client-ip", "203.0.113.77"),
        ];
        all.extend_from_slice(headers);
        self.sent.push(format!("{method} {path} {all:?} {body}"));
        let body = Bytes::copy_from_slice(body.as_bytes());
        let mut response = self
            .world
            .send(method.clone(), path, &all, body.clone())
            .await;
        // A loaded machine may be too slow for the redirect's time limit.
        while expected == 302 && response.status == 503 {
            response = self
                .world
                .send(method.clone(), path, &all, body.clone())
                .await;
        }
        let told = String::from_utf8_lossy(&response.body).into_owned();
        assert_eq!(response.status, expected, "{method} {path}: {told}");
        if expected >= 400 {
            self.refusals.push(format!("{:?} {told}", response.headers));
        }
        response
    }

    async fn ask(
        &mut self,
        expected: u16,
        key: &str,
        method: Method,
        path: &str,
        body: Value,
    ) -> Answer {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str()), ("if-match", "\"1\"")];
        let path = format!("/api/v1/{path}");
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        answer(&self.send(expected, method, &path, &headers, &body).await)
    }

    async fn make(&mut self, path: &str, body: Value) -> Value {
        let admin = self.world.admin.clone();
        self.ask(201, &admin, Method::POST, path, body).await.body
    }

    /// A new key as it is shown once.
    async fn key(&mut self, of: Value) -> String {
        text(&self.make("keys", of).await["key"])
    }

    async fn act(&mut self, expected: u16, path: &str, body: Value) -> Value {
        let admin = self.world.admin.clone();
        self.ask(expected, &admin, Method::POST, path, body)
            .await
            .body
    }

    async fn post(&mut self, expected: u16, path: &str, body: &Value) -> Value {
        let headers = [("content-type", "application/json")];
        answer(
            &self
                .send(expected, Method::POST, path, &headers, &body.to_string())
                .await,
        )
        .body
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

/// Where an attribute stands: the kind of its item, and its name.
fn place(item: &BTreeMap<String, String>, attribute: &str) -> String {
    let kind = item["pk"].split('#').next().unwrap();
    let part = item["sk"].split('#').nth(1).filter(|_| kind == "C");
    let part = part.map_or(String::new(), |part| format!("#{part}"));
    format!("{kind}{part} {attribute}")
}

#[tokio::test]
async fn no_secret_and_nobodys_data_leave_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let lines = Lines::default();
    let kept = lines.clone();
    let log = shared::lambda::log_lines("trace", move || kept.clone());
    // Where there is but one subscriber, a line that a thread without any meets first is silent for all.
    let other = shared::lambda::log_lines("trace", std::io::sink);
    let _other = tracing::Dispatch::new(other);
    let _logging = tracing::subscriber::set_default(log);
    let mut probe = Probe {
        world: World::in_folder(folder.path(), START).await,
        sent: Vec::new(),
        refusals: Vec::new(),
    };
    let mut canaries: Vec<Canary> = PLANTED
        .iter()
        .map(|(name, text)| Canary::new(name, text))
        .collect();
    let ring: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("keys.json")).unwrap()).unwrap();
    canaries.push(Canary::of_bytes(
        "signing key",
        &text(&ring["keys"][0]["secret"]),
    ));
    let admin = probe.world.admin.clone();
    canaries.push(Canary::of_bytes(
        "admin's API key",
        admin.splitn(3, '_').nth(2).unwrap(),
    ));

    // ------------------------------------------------------------------------------- set-up
    let address = json!({"street": "Canary Street 7", "town": "Canarytown", "country": "AT"});
    probe
        .make(
            "payers",
            json!({
                "id": "agency", "legal_name": "Payer Canary GmbH", "address": address,
                "tax_id": "DE-CANARY-TAX-1",
            }),
        )
        .await;
    let shop = probe
        .make(
            "merchants",
            json!({"id": "shop", "name": "Merchant Canary AG", "payer": "agency"}),
        )
        .await;
    let token = text(&shop["secret"]["postback_token"]);
    let whsec = text(&shop["secret"]["signing_secret"]);
    canaries.push(Canary::of_bytes(
        "postback token",
        token.rsplit_once('.').unwrap().1,
    ));
    canaries.push(Canary::of_bytes(
        "signing secret",
        whsec.strip_prefix("whsec_").unwrap(),
    ));
    probe
        .make("programs", json!({
            "id": "shoes", "merchant": "shop", "name": "Shoes", "currency": "EUR", "hold_days": 0,
            "destination": "https://shop.example/", "status": "active", "override": "Launch Canary",
            "commission": [
                {"type": "flat", "amount": "1", "recurring": {"max_count": 1}},
                {"type": "percent", "percent": "10"},
            ],
            "caps": [{"per": "customer", "count": 9}],
        }))
        .await;
    for (id, name, email, account) in [
        (
            "anna",
            "Anna Canary Limited",
            "anna.canary@affiliates.example",
            json!({"currency": "EUR", "method": "sepa", "schedule": "daily",
                "iban": "DE89370400440532013000", "holder": "Holder Canary"}),
        ),
        (
            "bob",
            "Bob",
            "bob@example.com",
            json!({"currency": "EUR", "method": "paypal", "receiver": "paypal.canary@pay.example"}),
        ),
    ] {
        probe
            .make(
                "affiliates",
                json!({
                    "id": id, "name": name, "email": email, "country": "DE", "payout": account,
                }),
            )
            .await;
        probe
            .make(
                "links",
                json!({"slug": format!("{id}-shoes"), "program": "shoes", "affiliate": id}),
            )
            .await;
    }
    let finance = probe
        .key(json!({"role": "finance", "person": "Person Canary", "name": "Laptop Canary"}))
        .await;
    canaries.push(Canary::of_bytes(
        "finance's API key",
        finance.splitn(3, '_').nth(2).unwrap(),
    ));
    let of_anna = json!({"role": "affiliate", "affiliate": "anna", "person": "Anna"});
    let of_anna = probe.key(of_anna).await;
    let of_bob = json!({"role": "affiliate", "affiliate": "bob", "person": "Bob"});
    let of_bob = probe.key(of_bob).await;
    let of_shop = json!({"role": "merchant", "merchant": "shop", "person": "Sam"});
    let of_shop = probe.key(of_shop).await;

    // ------------------------------------------------------------------------------- visits
    let query = "sub1=sub-canary-1&utm_campaign=utm-canary-1&gclid=gclid-canary-1\
        &email=query-canary-1&url=https%3A%2F%2Fshop.example%2Fp%3Fsecret%3Ddeep-canary-1";
    let link = format!("/r/anna-shoes?{query}");
    let first = probe.send(302, Method::GET, &link, &[], "").await;
    let set = first.headers["set-cookie"].to_str().unwrap();
    let pair = set.split(';').next().unwrap().to_owned();
    canaries.push(Canary::of_bytes(
        "visitor's cookie",
        pair.strip_prefix("clv=").unwrap(),
    ));
    let cookies = format!("session=cookie-canary-1; {pair}");
    let cookie = [("cookie", cookies.as_str())];
    let visit = probe.send(302, Method::GET, &link, &cookie, "").await;
    let location = visit.headers["location"].to_str().unwrap();
    assert!(location.contains("deep-canary-1") && location.contains("gclid-canary-1"));
    let click = click_id(&visit);
    canaries.push(Canary::of_bytes("click id", &click));
    let tag = &URL_SAFE_NO_PAD.decode(&click).unwrap()[32..];
    canaries.push(Canary {
        name: "tag of a click id",
        spellings: spellings(tag),
    });
    probe
        .send(200, Method::GET, "/i/anna-shoes.gif", &cookie, "")
        .await;
    let ahead = [("sec-purpose", "prefetch"), ("cookie", cookies.as_str())];
    probe.send(503, Method::GET, &link, &ahead, "").await;
    // A click whose record is lost: the table goes once the link is read.
    probe.world.stack.table.cut_at(3, Cut::Before);
    probe.send(302, Method::GET, &link, &cookie, "").await;
    assert!(probe.world.stack.table.mend());

    // ------------------------------------------------------------------------------- orders
    let sale = |order: &str, customer: &str| {
        json!({
            "token": token, "click_id": click, "order_id": order, "amount": "100", "customer_id": customer,
            "meta1": "meta-canary-1", "meta2": "meta-canary-2", "meta3": "meta-canary-3",
            "meta4": "meta-canary-4", "meta5": "meta-canary-5",
        })
    };
    let mut conversions = Vec::new();
    for (order, customer) in [
        ("A-1", "kunde-canary-4711"),
        ("A-2", "eva.canary@kunden.example"),
        (
            "A-3",
            "5a1f0c3e9b7d24868acd11c05e6f7a8890b1c2d3e4f5061728394a5b6c7d8e9f",
        ),
    ] {
        for word in ["created", "recorded_before"] {
            let told = probe.post(200, "/postback", &sale(order, customer)).await;
            assert_eq!(
                (&told["result"], &told["status"]),
                (&json!(word), &json!("approved"))
            );
            conversions.push(text(&told["conversion"]));
        }
    }
    let body = sale("A-4", "kunde-canary-4711");
    let mut signed = body.clone();
    signed.as_object_mut().unwrap().remove("token");
    let (signed, now) = (signed.to_string(), probe.world.stack.clock.now());
    let secret = signature::parse_whsec(&whsec).unwrap();
    let second = now.as_second().to_string();
    let by_hand = signature::sign("message-1", now, signed.as_bytes(), &secret);
    canaries.push(Canary::new(
        "webhook signature",
        by_hand.strip_prefix("v1,").unwrap(),
    ));
    let headers = [
        ("content-type", "application/json"),
        ("webhook-id", "message-1"),
        ("webhook-timestamp", &second),
        ("webhook-signature", &by_hand),
    ];
    probe
        .send(200, Method::POST, "/postback/shop", &headers, &signed)
        .await;

    // Refused, each for what it brings; one as nobody can be credited with what was before the click.
    let mut early = sale("A-5", "");
    early["occurred_at"] = json!("2026-07-29T10:00:00Z");
    let refused = |name: &str, value: Value| {
        let mut refused = sale("A-5", "kunde-canary-4711");
        refused[name] = value;
        refused
    };
    for (expected, body) in [
        (
            401,
            refused(
                "token",
                json!("pb.shop.s0123456789abcdef.wrong-canary-0123456789"),
            ),
        ),
        (
            422,
            refused(
                "click_id",
                json!("forged-canary-0123456789-0123456789-0123456789-0123456789-012345"),
            ),
        ),
        (422, refused("amount", json!("12,meta-canary-1"))),
        (422, refused("currency", json!("kunde-canary-4711"))),
        (
            422,
            refused("occurred_at", json!("eva.canary@kunden.example")),
        ),
        (422, refused("customer_id", json!("kunde-canary-4711\n"))),
        (422, refused("email", json!("eva.canary@kunden.example"))),
        (422, refused("meta1", json!("{meta-canary-1}"))),
        (422, early),
        (
            422,
            refused(
                "items",
                json!([{"sku": "kunde-canary-4711", "amount": "x"}]),
            ),
        ),
        (
            409,
            sale("A-1", "kunde-canary-4711")
                .as_object()
                .map(|sale| {
                    let mut sale = sale.clone();
                    sale.insert("amount".into(), json!("101"));
                    Value::Object(sale)
                })
                .unwrap(),
        ),
    ] {
        probe.post(expected, "/postback", &body).await;
    }
    let path = format!(
        "/postback?token={token}&order_id=A-6&customer_id=eva.canary%40kunden.example&meta9=meta-canary-1"
    );
    probe.send(422, Method::GET, &path, &[], "").await;
    let broken = format!("{{\"token\": \"{token}\", \"customer_id\": \"kunde-canary-4711\"");
    let json_type = [("content-type", "application/json")];
    probe
        .send(401, Method::POST, "/postback", &json_type, &broken)
        .await;
    let lines_of = sale("A-7", "kunde-canary-4711").to_string() + "\n{eva.canary@kunden.example";
    let path = format!("/postback/batch?token={token}");
    let told = probe.send(207, Method::POST, &path, &[], &lines_of).await;
    probe
        .refusals
        .push(String::from_utf8_lossy(&told.body).into_owned());
    let wrong = "ck_k0123456789abcdef_wrong-canary-0123456789-0123456789";
    probe
        .ask(401, wrong, Method::GET, "merchants", Value::Null)
        .await;
    let iban = json!({"payout": {"iban": "DE89370400440532013001", "holder": "Holder Canary"}});
    probe
        .ask(422, &admin, Method::PATCH, "affiliates/anna", iban)
        .await;
    let person = json!({"role": "Person Canary", "person": "Person Canary"});
    probe.act(422, "keys", person).await;

    // ---------------------------------------------------------------------- people's words
    let claim = json!({
        "program": "shoes", "order_id": "C-1", "occurred_at": START, "note": "Note Canary", "click_id": click,
    });
    let claim = probe
        .ask(201, &of_anna, Method::POST, "claims", claim)
        .await
        .body;
    let decline = format!("claims/{}/decline", text(&claim["id"]));
    probe
        .act(200, &decline, json!({"reason": "Decline Canary"}))
        .await;
    let manual = json!({"approval": "manual"});
    probe
        .ask(200, &admin, Method::PATCH, "programs/shoes", manual)
        .await;
    let waiting = probe
        .post(200, "/postback", &sale("A-8", "kunde-canary-4711"))
        .await;
    let reject = format!("conversions/{}/reject", text(&waiting["conversion"]));
    probe
        .act(200, &reject, json!({"reason": "Reject Canary"}))
        .await;
    let amend = format!("conversions/{}/amend", conversions[0]);
    let amended = json!({"id": "m", "amount": "120", "reason": "Amend Canary"});
    probe.act(200, &amend, amended).await;
    let bonus = json!({
        "id": "b-1", "payer": "agency", "affiliate": "anna", "kind": "bonus", "currency": "EUR",
        "amount": "1", "reason": "Adjust Canary",
    });
    probe
        .ask(201, &finance, Method::POST, "adjustments", bonus)
        .await;
    probe.world.turn_to("2026-07-31T01:00:00Z").await;
    let payouts = probe
        .ask(
            200,
            &finance,
            Method::GET,
            "payouts?payer=agency",
            Value::Null,
        )
        .await;
    let payout = format!("payouts/{}", text(&payouts.body["items"][0]["id"]));
    for (step, body) in [
        ("sent", json!({"reference": "Reference Canary"})),
        ("returned", json!({"reason": "Return Canary"})),
    ] {
        let path = format!("{payout}/{step}");
        probe.ask(200, &finance, Method::POST, &path, body).await;
    }

    // ---------------------------------------------------------------------- a table that fails
    for when in [Cut::Before, Cut::After] {
        probe.world.stack.table.cut_at(5, when);
        probe
            .post(503, "/postback", &sale("A-9", "kunde-canary-4711"))
            .await;
        assert!(probe.world.stack.table.mend());
        probe.world.stack.table.cut_at(1, when);
        let name = json!({"name": "Anna Canary Limited"});
        probe
            .ask(503, &admin, Method::PATCH, "affiliates/anna", name)
            .await;
        assert!(probe.world.stack.table.mend());
    }
    probe.world.tamper("A#anna", "agency#EUR", "sent", 1).await;
    probe.world.turn_to("2026-08-01T01:00:00Z").await;

    // ---------------------------------------------------------------------- a closed month
    probe.world.tamper("A#anna", "agency#EUR", "sent", -1).await;
    probe.world.turn_to("2026-08-02T10:00:00Z").await;
    for (key, step) in [
        (&finance, "prepare"),
        (&admin, "approve"),
        (&finance, "close"),
    ] {
        let path = format!("periods/2026-07/{step}?payer=agency");
        probe.ask(200, key, Method::POST, &path, Value::Null).await;
    }

    // -------------------------------------------------------------------------------- exports
    let mut told = BTreeSet::new();
    for path in [
        "reports/payouts/2026-07?payer=agency",
        "reports/payouts/2026-07?payer=agency&format=csv",
        "reports/payouts/2026-07?payer=agency&format=csv&raw=1",
        "reports/reconciliation?payer=agency",
        "statements/anna/2026-07?payer=agency",
        "statements/anna/2026-07?payer=agency&format=csv",
        "affiliates/anna/balances",
        "affiliates/anna/entries",
    ] {
        let bearer = format!("Bearer {finance}");
        let headers = [("authorization", bearer.as_str())];
        let path = format!("/api/v1/{path}");
        let export = probe.send(200, Method::GET, &path, &headers, "").await;
        let export = String::from_utf8_lossy(&export.body).into_owned();
        let seen = canaries.iter().filter(|canary| canary.is_in(&export));
        told.extend(seen.map(|canary| canary.name));
    }

    // ------------------------------------------------------------------ whatever else is asked for
    let sold = format!("conversions/{}", conversions[0]);
    let whole = [
        "payers",
        "payers/agency",
        "merchants",
        "merchants/shop",
        "merchants/shop/secrets",
        "programs",
        "programs/shoes",
        "affiliates",
        "affiliates/anna",
        "affiliates/anna/balances",
        "affiliates/anna/entries",
        "enrolments",
        "coupons",
        "links",
        "links/anna-shoes",
        "claims",
        "conversions",
        &sold,
        "refusals",
        "reversals",
        "keys",
        "adjustments?payer=agency",
        "payouts?payer=agency",
        &payout,
        "periods?payer=agency",
        "periods/2026-07?payer=agency",
        "reports/payouts/2026-07?payer=agency",
        "reports/reconciliation?payer=agency",
        "statements/anna/2026-07?payer=agency",
    ];
    let mut read = BTreeMap::new();
    for (role, key) in READ_BY
        .map(|(role, _)| role)
        .into_iter()
        .zip([&admin, &finance, &of_shop, &of_anna, &of_bob])
    {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str())];
        let mut seen = BTreeSet::new();
        let mut answered = 0;
        for path in whole {
            let path = format!("/api/v1/{path}");
            let answer = probe
                .world
                .send(Method::GET, &path, &headers, Bytes::new())
                .await;
            let status = answer.status.as_u16();
            assert!([200, 403, 404].contains(&status), "{path}: {status}");
            answered += usize::from(status == 200);
            let answer = format!(
                "{:?} {}",
                answer.headers,
                String::from_utf8_lossy(&answer.body)
            );
            let brought = canaries.iter().filter(|canary| canary.is_in(&answer));
            seen.extend(brought.map(|canary| canary.name));
        }
        assert!(answered >= 8, "{role} may read {answered} of all");
        read.insert(role, seen);
    }

    // -------------------------------------------------------------------------------- findings
    let names: BTreeSet<&str> = canaries.iter().map(|canary| canary.name).collect();
    assert_eq!(names.len(), canaries.len());
    for canary in &canaries {
        // Nobody sends what ids and signatures are made with; those were accepted.
        let is_made_with = ["signing key", "signing secret"].contains(&canary.name);
        let is_used = probe.sent.iter().any(|sent| canary.is_in(sent));
        assert!(is_used || is_made_with, "{} was never brought", canary.name);
    }
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for line in [
        "could not record a click",
        "the table failed a request",
        "was loaded in advance",
        "books",
    ] {
        assert!(log.contains(line), "no `{line}` was logged");
    }
    for canary in &canaries {
        let logged = log.lines().find(|line| canary.is_in(line));
        assert_eq!(logged, None, "the log holds the {}", canary.name);
        let refusal = probe.refusals.iter().find(|refusal| canary.is_in(refusal));
        assert_eq!(refusal, None, "a refusal holds the {}", canary.name);
    }
    assert_eq!(told, TOLD.into());
    let on_purpose = READ_BY.map(|(role, names)| (role, names.iter().copied().collect()));
    let mut on_purpose: BTreeMap<&str, BTreeSet<&str>> = on_purpose.into();
    on_purpose.get_mut("admin").unwrap().insert("name of a key");
    assert_eq!(read, on_purpose);
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for item in probe.world.items().await {
        for (attribute, value) in &item {
            for canary in canaries.iter().filter(|canary| canary.is_in(value)) {
                let places = found.entry(canary.name).or_default();
                places.insert(place(&item, attribute));
            }
        }
    }
    let places = |places: &[&str]| places.iter().map(|place| (*place).to_owned()).collect();
    let on_purpose = KEPT.iter().map(|(name, kept, _)| (*name, places(kept)));
    assert_eq!(found, on_purpose.collect());
}
