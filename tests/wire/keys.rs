//! Keys on AWS: made by an operator, read by functions, revoked under their feet.

use std::net::Ipv4Addr;
use std::process::{Command, Output};
use std::time::Duration;

use clickledger::embedded::Embedded;
use clickledger::tables;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use redirect::Redirect;
use serde_json::{Value, json};
use shared::app::{App, Pace};
use shared::click::{Click, ClickRefused};
use shared::config::Config;
use shared::http_types::Request;
use shared::ids::{MerchantId, SecretId};
use shared::keys::KeyRing;
use shared::setup::Secret;
use tests::emulator::{Emulated, function_url_event};
use tests::ssm::{Mood, Ssm};
use tests::{Answer, BROWSER, answer, click_id};
use tokio::net::TcpListener;

use crate::{NOW_MS, binary, body};

const PARAMETER: &str = "/clickledger/keys";

/// Every event reads the parameter.
const EAGER: Pace = Pace {
    start: Duration::from_secs(60),
    fresh: Duration::ZERO,
    wait: Duration::from_secs(60),
    pause: Duration::ZERO,
};
const NEVER: Duration = Duration::from_secs(1_000_000);

type Environment = Vec<(&'static str, String)>;

/// An account of its own: an empty parameter store, and tables without a record.
struct Account {
    ssm: Ssm,
    environment: Environment,
}

impl Account {
    async fn new() -> Self {
        let (ssm, ssm_address) = Ssm::start().await;
        let table = Embedded::in_memory();
        let names = tables::names();
        tables::create(&table.client("setup"), &names)
            .await
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let table_address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { table.serve(listener).await });
        let environment = vec![
            ("TABLE_NAME", names.core),
            ("LEDGER_TABLE_NAME", names.ledger),
            ("KEYS_PARAMETER", PARAMETER.to_owned()),
            ("PUBLIC_URL", "https://go.example".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "local".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
            ("AWS_ENDPOINT_URL_DYNAMODB", table_address),
            ("AWS_ENDPOINT_URL_SSM", ssm_address),
        ];
        Self { ssm, environment }
    }

    fn ring(&self) -> KeyRing {
        KeyRing::parse(&self.ssm.value(PARAMETER).unwrap()).unwrap()
    }

    /// What a function on Lambda would share among its events, at another pace.
    async fn app(&self, pace: Pace) -> App {
        let config = Config::read(|name| {
            let mut variables = self.environment.iter();
            let found = variables.find(|(given, _)| *given == name);
            found.map(|(_, value)| value.clone())
        });
        App::of(config.unwrap(), pace).await.unwrap()
    }

    /// `clickledger keys ...`, as the operator would type it.
    async fn keys(&self, arguments: &str) -> Output {
        let mut command = Command::new(binary("clickledger"));
        command.arg("keys").args(arguments.split(' '));
        self.output(command).await
    }

    async fn output(&self, mut command: Command) -> Output {
        command
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }
}

/// Functions that stay warm, each started once and with keys of its own.
struct Warm {
    redirect: Redirect,
    postback: App,
    console: App,
    admin: String,
    token: String,
}

impl Warm {
    /// With shop `shop`, program `shoes` and affiliate `anna`, whose link is `go`.
    async fn start(account: &Account, pace: Pace) -> Self {
        account.keys("init --parameter /clickledger/keys").await;
        let made = account
            .keys("create --role admin --table clickledger-core")
            .await;
        let mut warm = Self {
            redirect: Redirect::new(account.app(pace).await),
            postback: account.app(pace).await,
            console: account.app(pace).await,
            admin: text(&made.stdout).trim_end().to_owned(),
            token: String::new(),
        };
        let shop = json!({"id": "shop", "name": "Shop"});
        let shop = warm.made("merchants", shop).await;
        let token = shop["secret"]["postback_token"].as_str();
        warm.token = token.unwrap().to_owned();
        let shoes = json!({
            "id": "shoes", "merchant": "shop", "name": "Shoes", "currency": "EUR", "destination": "https://shop.example/",
            "status": "active", "override": "a test", "commission": [{"type": "percent", "percent": "10"}],
        });
        warm.made("programs", shoes).await;
        let anna =
            json!({"id": "anna", "name": "Anna", "email": "anna@example.com", "country": "DE"});
        warm.made("affiliates", anna).await;
        let go = json!({"slug": "go", "program": "shoes", "affiliate": "anna"});
        warm.made("links", go).await;
        warm
    }

    async fn made(&self, resource: &str, body: Value) -> Value {
        let path = format!("/api/v1/{resource}");
        let bearer = format!("Bearer {}", self.admin);
        let request = request(Method::POST, &path, &[("authorization", &bearer)], &body);
        let made = answer(&console::handle(&self.console, request).await);
        assert_eq!(made.status, 201, "{made:?}");
        made.body
    }

    /// The click id that the shop gets; again where a loaded machine was too slow for the link.
    async fn click(&self) -> String {
        for _ in 0..50 {
            let visit = request(Method::GET, "/r/go", &[("user-agent", BROWSER)], &json!({}));
            let response = redirect::handle(&self.redirect, visit).await;
            if response.status != 503 {
                assert_eq!(response.status, 302);
                return click_id(&response);
            }
        }
        panic!("the redirect answers 503 again and again");
    }

    async fn sale(&self, order: &str, click: &str) -> Answer {
        let body =
            json!({"token": self.token, "order_id": order, "amount": "12.30", "click_id": click});
        let request = request(Method::POST, "/postback", &[], &body);
        answer(&postback::handle(&self.postback, request).await)
    }

    async fn is_paid(&self, order: &str, click: &str) {
        let answer = self.sale(order, click).await;
        assert_eq!(
            (answer.status, &answer.body["result"]),
            (200, &json!("created")),
            "{answer:?}"
        );
    }

    async fn is_refused(&self, order: &str, click: &str) {
        let answer = self.sale(order, click).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (422, &json!("click_forged")),
            "{answer:?}"
        );
    }
}

fn request(method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> Request {
    let json = [("content-type", "application/json")];
    let headers = json.iter().chain(headers).map(|(name, value)| {
        (
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        )
    });
    Request {
        method,
        path: path.to_owned(),
        query: String::new(),
        headers: HeaderMap::from_iter(headers),
        body: body.to_string().into(),
        now: Timestamp::from_millisecond(NOW_MS).unwrap(),
        https: true,
        country: None,
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The only line on stderr of a command that was refused.
fn refusal(output: &Output) -> &str {
    let line = text(&output.stderr);
    assert_eq!(
        (output.status.code(), line.lines().count()),
        (Some(2), 1),
        "{output:?}"
    );
    line.trim_end()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_keys_are_made_once_and_never_printed() {
    let account = Account::new().await;
    let init = "init --parameter /clickledger/keys --environment staging";
    let made = account.keys(init).await;
    assert!(made.status.success(), "{made:?}");
    let kept = account.ssm.value(PARAMETER).unwrap();
    let ring = KeyRing::parse(&kept).unwrap();
    assert_eq!((ring.environment(), ring.signing_number()), ("staging", 1));
    let secret = kept.split('"').find(|part| part.len() == 43).unwrap();
    assert!(!text(&made.stdout).contains(secret) && !text(&made.stderr).contains(secret));
    assert!(text(&made.stdout).contains("clickledger keys create --role admin"));

    let again = account.keys(init).await;
    assert_eq!(
        refusal(&again),
        "clickledger: the parameter `/clickledger/keys` exists already, and stays as it is"
    );
    assert_eq!(account.ssm.value(PARAMETER).unwrap(), kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_made_by_the_operator_opens_the_api() {
    let account = Account::new().await;
    account.keys("init --parameter /clickledger/keys").await;
    let made = account
        .keys("create --role admin --person Pat --table clickledger-core")
        .await;
    assert!(made.status.success(), "{made:?}");
    let key = text(&made.stdout).trim_end();
    assert!(key.starts_with("ck_") && key.len() == 64, "{key}");

    let console = Emulated::start(&binary("console"), &account.environment).await;
    let get = async |key: &str| {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str())];
        let event = function_url_event("GET", "/api/v1/keys", &headers, None, NOW_MS);
        console.invoke(event).await.unwrap()
    };
    let listed = get(key).await;
    assert_eq!(listed["statusCode"], 200, "{listed}");
    let item = &body(&listed)["items"][0];
    assert_eq!(
        (&item["role"], &item["person"]),
        (&json!("admin"), &json!("Pat"))
    );
    assert_eq!(get(&key.replace("ck_", "ck_x")).await["statusCode"], 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_operator_asks_for_in_vain_is_one_line() {
    let account = Account::new().await;
    for (arguments, line) in [
        (
            "rotate --parameter /clickledger/keys",
            "there is no parameter `/clickledger/keys`: make it with `clickledger keys init --parameter /clickledger/keys`",
        ),
        (
            "init --parameter /clickledger/keys --environment ä",
            "`environment` of the keys is not 1 to 64 characters of `[A-Za-z0-9._-]`",
        ),
        (
            "create --role merchant --table clickledger-core",
            "`--merchant` cannot be taken: parameter_missing",
        ),
        (
            "create --role merchant --merchant shop --table clickledger-core",
            "the table `clickledger-core` has no such merchant",
        ),
        (
            "create --role admin --affiliate anna --table clickledger-core",
            "`--affiliate` cannot be taken: role_mismatch",
        ),
    ] {
        let output = account.keys(arguments).await;
        assert_eq!(refusal(&output), format!("clickledger: {line}"));
    }
    assert_eq!(account.ssm.value(PARAMETER), None);
    let nowhere = account.keys("create --role admin --table nowhere").await;
    let line = refusal(&nowhere);
    assert!(line.contains("ResourceNotFoundException"), "{line}");

    let mut stranger = Account::new().await;
    stranger
        .environment
        .retain(|(name, _)| *name != "AWS_SECRET_ACCESS_KEY");
    let output = stranger.keys("init --parameter /clickledger/keys").await;
    assert_eq!(
        refusal(&output),
        "clickledger: the environment variable `AWS_SECRET_ACCESS_KEY` is missing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_without_usable_keys_ends_with_one_line() {
    let account = Account::new().await;
    let start = async || {
        let mut command = Command::new(binary("redirect"));
        // Nobody listens there: a function that gets so far as to ask for events fails otherwise.
        command.env("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9");
        let output = account.output(command).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        text(&output.stderr).to_owned()
    };
    assert_eq!(
        start().await,
        "could not start: there is no parameter `/clickledger/keys`: \
         make it with `clickledger keys init --parameter /clickledger/keys`\n"
    );
    account.ssm.set(PARAMETER, "{}");
    assert_eq!(
        start().await,
        "could not start: the parameter `/clickledger/keys` holds no usable keys: \
         the keys have a field `environment` that is unknown, missing, or there twice\n"
    );
    account.ssm.turn(Mood::Fails);
    let line = start().await;
    assert!(
        line.contains("`/clickledger/keys` cannot be read") && line.contains("ValidationException"),
        "{line}"
    );
    assert_eq!(line.lines().count(), 1, "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_verifies_first_then_signs_and_the_old_one_is_revoked_last() {
    let account = Account::new().await;
    account.keys("init --parameter /clickledger/keys").await;
    let signs = account
        .keys("revoke --parameter /clickledger/keys --key 1")
        .await;
    assert_eq!(
        refusal(&signs),
        "clickledger: key 1 signs: rotate first, then revoke it"
    );

    // As an operator leaves it who gave up waiting.
    let extended = account.ring().extended([8; 32]).unwrap();
    account.ssm.set(PARAMETER, &extended.to_json());
    let rotate = "rotate --parameter /clickledger/keys --wait 0";
    for signing in [2, 3] {
        let rotated = account.keys(rotate).await;
        assert!(rotated.status.success(), "{rotated:?}");
        let ring = account.ring();
        assert_eq!(
            (ring.signing_number(), ring.newest_number()),
            (signing, signing)
        );
    }

    let revoked = account
        .keys("revoke --parameter /clickledger/keys --key 1")
        .await;
    assert!(revoked.status.success(), "{revoked:?}");
    assert!(account.ring().is_revoked(1));
    let unknown = account
        .keys("revoke --parameter /clickledger/keys --key 9")
        .await;
    assert_eq!(refusal(&unknown), "clickledger: there is no key 9");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_function_takes_up_a_changed_ring_and_keeps_the_last_good_one() {
    let account = Account::new().await;
    let warm = Warm::start(&account, EAGER).await;
    let old = warm.click().await;
    account
        .keys("rotate --parameter /clickledger/keys --wait 0")
        .await;
    let new = warm.click().await;
    warm.is_paid("A-1", &old).await;

    account
        .keys("revoke --parameter /clickledger/keys --key 1")
        .await;
    let ring = account.ring();
    assert_eq!(Click::verify(&old, &ring), Err(ClickRefused::Revoked));
    assert!(Click::verify(&new, &ring).is_ok());
    warm.is_refused("A-2", &old).await;
    warm.is_paid("A-2", &new).await;
    let kiosk = warm
        .made("merchants", json!({"id": "kiosk", "name": "Kiosk"}))
        .await;
    let id = SecretId::parse(kiosk["secret"]["id"].as_str().unwrap()).unwrap();
    let derived = ring.webhook_secret(2, &MerchantId::parse("kiosk").unwrap(), &id);
    assert_eq!(
        kiosk["secret"]["signing_secret"],
        Secret::signing_text(&derived.unwrap())
    );

    account.ssm.turn(Mood::Fails);
    let readings = account.ssm.readings();
    warm.is_paid("A-3", &new).await;
    warm.is_refused("A-4", &old).await;
    warm.is_paid("A-4", &warm.click().await).await;
    assert!(readings + 4 <= account.ssm.readings());

    account.ssm.turn(Mood::Answers);
    account.ssm.set(PARAMETER, "{}");
    warm.is_paid("A-5", &new).await;
    let back = ring.rotated([9; 32]).unwrap().revoked(2).unwrap();
    account.ssm.set(PARAMETER, &back.to_json());
    warm.is_refused("A-6", &new).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_is_read_again_only_when_it_is_not_fresh() {
    let account = Account::new().await;
    let pace = Pace {
        fresh: NEVER,
        ..EAGER
    };
    let mut warm = Warm::start(&account, pace).await;
    let click = warm.click().await;
    warm.is_paid("A-1", &click).await;
    assert_eq!(account.ssm.readings(), 3, "one for each function's start");

    let pace = Pace {
        pause: NEVER,
        ..EAGER
    };
    warm.postback = account.app(pace).await;
    warm.is_paid("A-2", &click).await;
    warm.is_paid("A-3", &click).await;
    assert_eq!(account.ssm.readings(), 3 + 1 + 2);
}

/// The redirect has read the ring since it was rotated, the postback has not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_click_under_a_key_that_a_function_missed_is_no_forgery() {
    let account = Account::new().await;
    let mut warm = Warm::start(&account, EAGER).await;
    let pace = |fresh, pause| Pace {
        fresh,
        pause,
        ..EAGER
    };
    warm.postback = account.app(pace(NEVER, Duration::ZERO)).await;
    let has_just_read = account.app(pace(NEVER, NEVER)).await;
    account
        .keys("rotate --parameter /clickledger/keys --wait 0")
        .await;
    let click = warm.click().await;

    account.ssm.turn(Mood::Fails);
    let late = warm.sale("A-1", &click).await;
    assert_eq!(late.status, 503, "{late:?}");
    account.ssm.turn(Mood::Answers);
    warm.is_paid("A-1", &click).await;
    let readings = account.ssm.readings();
    warm.is_paid("A-2", &click).await;
    assert_eq!(account.ssm.readings(), readings);

    // A number that no ring has is a forgery, whoever asks how often.
    let forged = format!("H{}", &click[1..]);
    warm.is_refused("A-3", &forged).await;
    assert_eq!(account.ssm.readings(), readings + 1);
    warm.postback = has_just_read;
    for order in ["A-3", "A-4"] {
        warm.is_refused(order, &forged).await;
    }
    assert_eq!(account.ssm.readings(), readings + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parameter_store_that_hangs_holds_up_one_visitor_and_not_for_long() {
    let account = Account::new().await;
    let mut warm = Warm::start(&account, EAGER).await;
    let pace = Pace {
        wait: Pace::USUAL.wait,
        pause: NEVER,
        ..EAGER
    };
    warm.redirect = Redirect::new(account.app(pace).await);
    account.ssm.turn(Mood::Hangs);
    let readings = account.ssm.readings();
    let two_clicks = async { (warm.click().await, warm.click().await) };
    let clicks = tokio::time::timeout(Duration::from_secs(20), two_clicks).await;
    assert!(clicks.is_ok(), "the visitor waits for the parameter store");
    assert!(account.ssm.readings() <= readings + 1);
}
