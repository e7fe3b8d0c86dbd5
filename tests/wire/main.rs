//! The functions' own binaries, over the Lambda Runtime API, with the table over HTTP.
#![expect(
    clippy::unwrap_used,
    reason = "a test's steps around its assertions fail it as well as they do"
)]

mod demo;
mod keys;
mod process;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use clickledger::embedded::Embedded;
use clickledger::tables;
use serde_json::{Value, json};
use shared::keys::KeyRing;
use shared::rights::{ApiKey, KeyText};
use shared::store::{Audit, Store};
use tests::BROWSER;
use tests::emulator::{self, Emulated, function_url_event};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

const ADMIN: &str = "wire-test-admin-key-0123456789-abcdef";
const ORIGIN_SECRET: &str = "what-cloudfront-is-known-by-0123456789";
/// 2026-07-01T10:00:00Z
const NOW_MS: i64 = 1_782_900_000_000;

/// The binary that is built now, of what stands here; or where BINARIES is `sam` the one that `sam build`
/// made, which only whoever has just called that may say: nobody sees of what it was made.
#[expect(
    clippy::disallowed_methods,
    reason = "what is tested is said by whoever calls"
)]
fn binary(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is in the repository")
        .to_owned();
    // The one-machine stack is none of SAM's.
    if std::env::var("BINARIES").is_ok_and(|whose| whose == "sam") && name != "clickledger" {
        let mut logical = name.to_owned();
        logical[..1].make_ascii_uppercase();
        let by_sam = root.join(format!(".aws-sam/build/{logical}/bootstrap"));
        assert!(by_sam.exists(), "{} was not built", by_sam.display());
        return by_sam;
    }
    BUILT.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(&root).arg("build").arg("--locked");
        for name in [
            "redirect",
            "postback",
            "payout",
            "report",
            "console",
            "clickledger",
        ] {
            cargo.arg("--bin").arg(name);
        }
        assert!(cargo.status().expect("cargo starts").success());
    });
    let target = std::env::current_exe().expect("the test is a file");
    let folder = target
        .ancestors()
        .nth(2)
        .expect("target/<profile>/deps/<test>");
    folder.join(name)
}

fn body(answer: &Value) -> Value {
    serde_json::from_str(answer["body"].as_str().unwrap_or("null")).unwrap_or(Value::Null)
}

/// A function's variables, with the table there.
fn environment(endpoint: String) -> Vec<(&'static str, String)> {
    let (_, keys) = KeyRing::generate("wire", [7; 32]).unwrap();
    let mut environment = emulator::environment(keys, endpoint).to_vec();
    // The embedded engine shows what was written at once.
    environment.push(("SECOND_LISTING_SECONDS", "0".to_owned()));
    environment.push(("ORIGIN_SECRET", ORIGIN_SECRET.to_owned()));
    environment
}

/// A visitor waits 150 ms for a link, and not for names and connections too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_redirect_calls_the_table_before_its_first_visitor_and_starts_though_none_answers() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let redirect = Emulated::start(&binary("redirect"), &environment(endpoint)).await;
    let called = async {
        let (mut connection, _) = silent.accept().await.unwrap();
        let mut asked = Vec::new();
        while !String::from_utf8_lossy(&asked).contains("DynamoDB_20120810.GetItem") {
            assert_ne!(connection.read_buf(&mut asked).await.unwrap(), 0);
        }
        connection
    };
    let called = tokio::time::timeout(Duration::from_secs(20), called).await;
    let _unanswered = called.expect("the table is called though no event has come");
    let headers = [("user-agent", BROWSER)];
    let visit = function_url_event("GET", "/r/go", &headers, None, NOW_MS);
    let sent = redirect.invoke(visit).await.unwrap();
    assert_eq!(sent["statusCode"], 503, "{sent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_click_becomes_a_payout_and_a_closed_month_through_the_real_binaries() {
    let table = Embedded::in_memory();
    let names = tables::names();
    let client = table.client("setup");
    tables::create(&client, &names).await.unwrap();
    let store = Store::new(client, names.clone());
    let audit = Audit {
        key: "start".into(),
        person: "operator".into(),
        what: "create key".into(),
        reason: None,
    };
    let now = jiff::Timestamp::from_millisecond(NOW_MS).unwrap();
    let key = ApiKey::admin(&KeyText::given(ADMIN).unwrap(), "operator");
    store.create(&key, now, &audit).await.unwrap();

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { table.serve(listener).await });
    let environment = environment(endpoint);
    let console = Emulated::start(&binary("console"), &environment).await;
    let redirect = Emulated::start(&binary("redirect"), &environment).await;
    let postback = Emulated::start(&binary("postback"), &environment).await;
    let payout = Emulated::start(&binary("payout"), &environment).await;

    let report = Emulated::start(&binary("report"), &environment).await;

    let bearer = format!("Bearer {ADMIN}");
    let api = async |method: &str, path: &str, given: Value| {
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        let text = given.to_string();
        let event = function_url_event(
            method,
            &format!("/api/v1/{path}"),
            &headers,
            Some(&text),
            NOW_MS,
        );
        console.invoke(event).await.unwrap()
    };
    let merchant = api("POST", "merchants", json!({"id": "shop", "name": "Shop"})).await;
    assert_eq!(merchant["statusCode"], 201, "{merchant}");
    let token = body(&merchant)["secret"]["postback_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let program = json!({
        "id": "shoes", "merchant": "shop", "name": "Shoes", "currency": "EUR", "destination": "https://shop.example/",
        "hold_days": 0, "status": "active", "override": "a test", "commission": [
            {"type": "percent", "percent": "10", "when": {"country": "CH"}},
            {"type": "percent", "percent": "1"},
        ],
    });
    assert_eq!(api("POST", "programs", program).await["statusCode"], 201);
    let affiliate = json!({
        "id": "anna", "name": "Anna", "email": "anna@example.com", "country": "DE",
        "payout": {"currency": "EUR", "method": "manual", "schedule": "daily"},
    });
    assert_eq!(
        api("POST", "affiliates", affiliate).await["statusCode"],
        201
    );
    let link = json!({"slug": "go", "program": "shoes", "affiliate": "anna"});
    assert_eq!(api("POST", "links", link).await["statusCode"], 201);

    let visit = async |front: &str| {
        let headers = [
            ("user-agent", BROWSER),
            ("cloudfront-viewer-country", "CH"),
            ("x-origin-secret", front),
        ];
        // A loaded machine may be too slow for the redirect's time limit: then the visitor asks again.
        let visit = function_url_event("GET", "/r/go?sub1=x", &headers, None, NOW_MS);
        let mut sent = redirect.invoke(visit.clone()).await.unwrap();
        for _ in 0..50 {
            if sent["statusCode"] == 503 {
                sent = redirect.invoke(visit.clone()).await.unwrap();
            }
        }
        assert_eq!(sent["statusCode"], 302, "{sent}");
        sent
    };
    // Whoever calls the function's own address says nothing of where a visitor is.
    for front in ["", &ORIGIN_SECRET[1..]] {
        let sent = visit(front).await;
        let location = sent["headers"]["location"].as_str().unwrap();
        let click_id = location.rsplit_once("click_id=").unwrap().1;
        let path = format!(
            "/postback?token={token}&order_id=T-{}&amount=50&click_id={click_id}",
            front.len()
        );
        let event = function_url_event("GET", &path, &[], None, NOW_MS + 60_000);
        let answer = body(&postback.invoke(event).await.unwrap());
        assert_eq!(answer["commissions"][0]["amount"], "0.50", "{answer}");
        let path = format!(
            "/postback/reversal?token={token}&order_id=T-{}",
            front.len()
        );
        let event = function_url_event("GET", &path, &[], None, NOW_MS + 61_000);
        assert_eq!(postback.invoke(event).await.unwrap()["statusCode"], 200);
    }
    let sent = visit(ORIGIN_SECRET).await;
    assert!(
        sent["cookies"][0]
            .as_str()
            .unwrap()
            .starts_with("__Host-clv=")
    );
    let location = sent["headers"]["location"].as_str().unwrap();
    let click_id = location.rsplit_once("click_id=").unwrap().1;

    let path = format!("/postback?token={token}&order_id=A-1&amount=49.99&click_id={click_id}");
    for expected in ["created", "recorded_before"] {
        let answer = postback
            .invoke(function_url_event("GET", &path, &[], None, NOW_MS + 60_000))
            .await
            .unwrap();
        assert_eq!(
            (&answer["statusCode"], &body(&answer)["result"]),
            (&json!(200), &json!(expected)),
            "{answer}"
        );
    }

    let scheduled = json!({"scheduled_time": "2026-07-02T01:00:00Z"});
    for _ in 0..2 {
        let run = payout.invoke(scheduled.clone()).await.unwrap();
        assert_eq!(
            (&run["day"], &run["payouts"]),
            (&json!("2026-07-01"), &json!(1)),
            "{run}"
        );
        assert_eq!(run["total"][0]["amount"], "5.00");
    }
    let balances = api("GET", "affiliates/anna/balances", json!({})).await;
    assert_eq!(body(&balances)["items"][0]["in_payout"], "5.00");

    // The month is over: one run catches up on all its days, and two people close it.
    let later = json!({"scheduled_time": "2026-08-01T01:00:00Z"});
    // An instance that is about to be ended says so instead of beginning.
    let ended = payout.invoke_until(later.clone(), 1_000).await.unwrap_err();
    let why = ended["errorMessage"].as_str().unwrap();
    assert!(why.contains("the run of 2026-07-02"), "{ended}");
    assert_eq!(payout.invoke(later).await.unwrap()["state"], "done");
    let key = json!({"role": "finance", "person": "clara"});
    let key = body(&api("POST", "keys", key).await)["key"].clone();
    let of_clara = format!("Bearer {}", key.as_str().unwrap());
    const AUGUST_MS: i64 = NOW_MS + 31 * 86_400_000;
    let ask = async |method: &str, path: &str, bearer: &str| {
        let headers = [("authorization", bearer)];
        let event = function_url_event(method, path, &headers, None, AUGUST_MS);
        let answer = report.invoke(event).await.unwrap();
        assert_eq!(answer["statusCode"], 200, "{path}: {answer}");
        answer
    };
    for (step, who) in [
        ("prepare", &bearer),
        ("approve", &of_clara),
        ("close", &bearer),
    ] {
        let path = format!("/api/v1/periods/2026-07/{step}");
        body(&ask("POST", &path, who).await);
    }
    let scheduled = json!({"scheduled_time": "2026-08-01T03:00:00Z"});
    let books = report.invoke(scheduled).await.unwrap();
    assert_eq!(books, json!({"accounts": 1, "marked": 0}));
    let july = ask("GET", "/api/v1/reports/payouts/2026-07", &bearer).await;
    let july = body(&july);
    assert_eq!(
        (&july["state"], &july["rows"][0]["paid"]),
        (&json!("closed"), &json!("5.00"))
    );
    let raw = ask(
        "GET",
        "/api/v1/reports/payouts/2026-07?format=csv&raw=1",
        &bearer,
    )
    .await;
    let etag = format!("\"{}\"", july["sha256"].as_str().unwrap());
    assert_eq!(raw["headers"]["etag"], etag);

    // An event that is none of ours is an error for Lambda, which keeps it; nothing is guessed.
    assert!(payout.invoke(json!({"dya": "2026-07-01"})).await.is_err());
}
