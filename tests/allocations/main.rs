//! What a postback costs, counted in allocations: the same on every machine, unlike its time.
//!
//! The function and the SDK are counted, the table below them is not.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::pin::Pin;
use std::task::{Context, Poll};

use allocation_counter::{measure, opt_out};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use shared::app::App;
use shared::http_types::Request;
use shared::store::Store;
use tests::{BROWSER, World};
use tokio::runtime::Runtime;

const START: &str = "2026-07-01T10:00:00Z";

/// The way to the table, on which nothing is counted.
#[derive(Debug, Clone)]
struct Uncounted<T>(T);

impl HttpClient for Uncounted<SharedHttpClient> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let below = self.0.http_connector(settings, components);
        SharedHttpConnector::new(Uncounted(below))
    }
}

impl HttpConnector for Uncounted<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let below = Uncounted(Box::pin(self.0.call(request)));
        HttpConnectorFuture::new(below)
    }
}

impl Future for Uncounted<Pin<Box<HttpConnectorFuture>>> {
    type Output = Result<HttpResponse, ConnectorError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut polled = Poll::Pending;
        opt_out(|| polled = self.0.as_mut().poll(context));
        polled
    }
}

/// A shop whose postbacks are counted.
struct Counted {
    world: World,
    app: App,
    runtime: Runtime,
}

impl Counted {
    fn shop() -> Self {
        // Everything in one thread, whose allocations are counted.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let world = runtime.block_on(World::with_shop(START));
        let client = world.stack.table.client("postback");
        let below = client.config().http_client().unwrap();
        let config = client.config().to_builder().http_client(Uncounted(below));
        let client = aws_sdk_dynamodb::Client::from_conf(config.build());
        let app = App {
            store: Store::new(client, world.stack.app.store.tables().clone()),
            ..world.stack.app.clone()
        };
        Self {
            world,
            app,
            runtime,
        }
    }

    /// How many allocations a sale of 10.00 takes.
    fn sale(&self, sale: &Value) -> u64 {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let bearer = format!("Bearer {}", self.world.token);
        headers.insert("authorization", HeaderValue::from_str(&bearer).unwrap());
        let request = Request {
            method: Method::POST,
            path: "/postback".to_owned(),
            query: String::new(),
            headers,
            body: sale.to_string().into(),
            now: self.world.stack.clock.now(),
            https: true,
            country: None,
        };
        let mut answer = None;
        let counted = measure(|| {
            let response = self.runtime.block_on(postback::handle(&self.app, request));
            answer = Some(response);
        });
        let answer = tests::answer(&answer.unwrap());
        assert_eq!(answer.body["result"], "created", "{answer:?}");
        counted.count_total
    }
}

/// A postback of a warm function, in a program of so many rules of which the last one pays.
fn with_rules(rules: usize) -> u64 {
    let shop = Counted::shop();
    let mut commission: Vec<Value> = (1..rules)
        .map(|number| {
            json!({"type": "percent", "percent": "1", "when": {"sku": format!("S-{number}")}})
        })
        .collect();
    commission.push(json!({"type": "percent", "percent": "10"}));
    let click = shop.runtime.block_on(async {
        let patch = json!({"commission": commission});
        let changed = shop.world.patch("programs/shoes", 1, patch).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        shop.world.click("anna-shoes").await
    });
    let sale =
        |order: &str| shop.sale(&json!({"click_id": click, "order_id": order, "amount": "10"}));
    sale("A-1");
    sale("A-2")
}

#[test]
fn a_postback_among_five_hundred_rules_costs_what_it_costs_with_one() {
    let (one, many) = (with_rules(1), with_rules(500));
    println!("{one} allocations with one rule, {many} with 500");
    assert!(many * 10 <= one * 11, "{one} and {many}");
}

/// A postback of a visitor who came so many times before, whose last visit is credited.
fn with_touches(touches: usize) -> u64 {
    let shop = Counted::shop();
    let click = shop.runtime.block_on(async {
        let mut cookie = String::new();
        let mut click = String::new();
        for _ in 0..touches {
            let headers = [("user-agent", BROWSER), ("cookie", cookie.as_str())];
            let path = "/r/anna-shoes";
            let visit = shop.world.send(Method::GET, path, &headers, Bytes::new());
            let visit = visit.await;
            click = tests::click_id(&visit);
            if let Some(set) = visit.headers.get("set-cookie") {
                let set = set.to_str().unwrap();
                set.split(';').next().unwrap().clone_into(&mut cookie);
            }
        }
        click
    });
    let sale =
        |order: &str| shop.sale(&json!({"click_id": click, "order_id": order, "amount": "10"}));
    sale("A-1");
    sale("A-2")
}

#[test]
fn what_a_touch_adds_to_a_postback_does_not_grow_with_their_number() {
    let [few, some, many] = [10, 50, 90].map(with_touches);
    println!("{few} allocations with 10 touches, {some} with 50, {many} with 90");
    let (first, second) = (some - few, many - some);
    assert!(second * 10 <= first * 11, "{first} and then {second}");
}
