//! What the tests share: a stack to talk to and a clock to turn.

pub mod emulator;
pub mod ssm;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use clickledger::stack::{Stack, Start};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::http_types::{Request, Response};

/// A browser of today.
pub const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0";

/// One shop, one program, one affiliate, on a stack of its own.
pub struct World {
    pub stack: Stack,
    pub admin: String,
    pub token: String,
}

/// What came back: the status and the body, if it is JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl World {
    /// A stack in memory that starts at this instant and runs days when asked to.
    pub async fn empty(now: &str) -> Self {
        Self::on(None, now).await
    }

    /// A stack on the tables of a folder; their clock does not go back.
    pub async fn in_folder(folder: &Path, now: &str) -> Self {
        Self::on(Some(folder), now).await
    }

    async fn on(folder: Option<&Path>, now: &str) -> Self {
        let start = Start {
            folder,
            now: now.parse().expect("the test names an instant"),
            public_url: "http://127.0.0.1:8787",
            admin_key: None,
            has_schedule: true,
            reconciles: true,
        };
        let (stack, admin) = Stack::start(&start).await.expect("a stack starts");
        Self {
            stack,
            admin,
            token: String::new(),
        }
    }

    /// Shop `shop`, program `shoes` (10 %, no hold, EUR, active), affiliate `anna` with link
    /// `anna-shoes`, paid daily.
    pub async fn with_shop(now: &str) -> Self {
        Self::empty(now).await.stocked().await
    }

    /// The same shop in a world that is empty.
    pub async fn stocked(mut self) -> Self {
        let world = &mut self;
        let shop = world
            .post("merchants", json!({"id": "shop", "name": "Shop"}))
            .await;
        assert_eq!(shop.status, 201, "{shop:?}");
        world.token = shop.body["secret"]["postback_token"]
            .as_str()
            .expect("a new merchant has a token")
            .to_owned();
        world
            .made(
                "programs",
                json!({
                    "id": "shoes", "merchant": "shop", "name": "Shoes", "currency": "EUR",
                    "destination": "https://shop.example/", "hold_days": 0, "status": "active",
                    "override": "a test of its own", "commission": [{"type": "percent", "percent": "10"}],
                }),
            )
            .await;
        world
            .made(
                "affiliates",
                json!({
                    "id": "anna", "name": "Anna", "email": "anna@example.com", "country": "DE",
                    "payout": {"currency": "EUR", "method": "manual", "schedule": "daily"},
                }),
            )
            .await;
        let link = json!({"slug": "anna-shoes", "program": "shoes", "affiliate": "anna"});
        world.made("links", link).await;
        self
    }

    /// One request, as the front would hand it on.
    pub async fn send(
        &self,
        method: Method,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Response {
        let (path, query) = path_and_query
            .split_once('?')
            .unwrap_or((path_and_query, ""));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).expect("the test names a header"),
                HeaderValue::from_str(value).expect("the test gives a header's value"),
            );
        }
        let request = Request {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            headers: map,
            body,
            now: Timestamp::UNIX_EPOCH,
            https: false,
            country: None,
        };
        self.stack.handle(request).await
    }

    async fn api(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let bearer = format!("Bearer {}", self.admin);
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        answer(
            &self
                .send(method, &format!("/api/v1/{path}"), &all, body)
                .await,
        )
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.api(Method::GET, path, &[], None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.api(Method::POST, path, &[], Some(body)).await
    }

    pub async fn patch(&self, path: &str, version: u32, body: Value) -> Answer {
        let etag = format!("\"{version}\"");
        self.api(Method::PATCH, path, &[("if-match", &etag)], Some(body))
            .await
    }

    /// Makes something, which must be new.
    pub async fn made(&self, resource: &str, body: Value) -> Value {
        let made = self.post(resource, body).await;
        assert_eq!(made.status, 201, "{resource}: {made:?}");
        made.body
    }

    /// Turns the clock, and makes every run that falls due.
    pub async fn turn_to(&self, now: &str) {
        let body = json!({ "now": now }).to_string().into();
        let turned = self.send(Method::POST, "/dev/clock", &[], body).await;
        assert_eq!(turned.status, 200, "{now}");
    }

    /// Follows a link as a browser does, and answers the click id that the shop gets.
    pub async fn click(&self, slug: &str) -> String {
        let response = self.visit(slug, BROWSER).await;
        assert_eq!(response.status, 302, "{slug}");
        click_id(&response)
    }

    /// Follows a link, again where a loaded machine was too slow for the redirect's time limit.
    pub async fn visit(&self, path: &str, user_agent: &str) -> Response {
        let headers = [("user-agent", user_agent)];
        let path = format!("/r/{path}");
        for _ in 0..50 {
            let response = self.send(Method::GET, &path, &headers, Bytes::new()).await;
            if response.status != 503 {
                return response;
            }
        }
        panic!("{path} answers 503 again and again");
    }

    /// Tells of a result, as a shop's server does.
    pub async fn postback(&self, mut body: Value) -> Answer {
        body["token"] = json!(self.token);
        self.json("/postback", &body).await
    }

    /// What an order earns, or why it does not.
    pub async fn earns(&self, order: Value) -> String {
        let answer = self.postback(order).await;
        let amount = &answer.body["commissions"][0]["amount"];
        let code = &answer.body["code"];
        let text = amount.as_str().or(code.as_str());
        text.unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    /// Another merchant with a program of its own, `hats`: as it was made, with its secret.
    pub async fn rival(&self) -> Value {
        self.rival_that_is(json!({"id": "rival", "name": "Rival"}))
            .await
    }

    /// The same, of a merchant of one's own.
    pub async fn rival_that_is(&self, merchant: Value) -> Value {
        let rival = self.made("merchants", merchant).await;
        let hats = json!({
            "id": "hats", "merchant": rival["id"], "name": "Hats", "currency": "EUR", "status": "active",
            "override": "a test", "destination": "https://shop.example/",
            "commission": [{"type": "flat", "amount": "2"}],
        });
        self.made("programs", hats).await;
        rival
    }

    /// Takes something back.
    pub async fn reversal(&self, mut body: Value) -> Answer {
        body["token"] = json!(self.token);
        self.json("/postback/reversal", &body).await
    }

    /// One request with a JSON body and no key.
    pub async fn json(&self, path: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        answer(
            &self
                .send(Method::POST, path, &headers, body.to_string().into())
                .await,
        )
    }

    /// The only balance of an affiliate; the identity must hold.
    pub async fn balance(&self, affiliate: &str) -> Value {
        let answer = self.get(&format!("affiliates/{affiliate}/balances")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let balance = answer.body["items"][0].clone();
        let cents = |name: &str| -> i64 {
            let text = balance[name]
                .as_str()
                .unwrap_or_else(|| panic!("no {name} in {balance}"));
            text.replace('.', "").parse().expect("an amount is digits")
        };
        assert_eq!(
            cents("on_hold") + cents("payable") + cents("in_payout") + cents("paid"),
            cents("earned") - cents("reversed") + cents("adjustments") - cents("withheld"),
            "{balance}"
        );
        balance
    }
}

impl World {
    /// All items of both tables, attribute by attribute, as text.
    pub async fn items(&self) -> Vec<BTreeMap<String, String>> {
        let client = self.stack.table.client("setup");
        let names = clickledger::tables::names();
        let mut items = Vec::new();
        for table in [names.core, names.ledger] {
            let mut start = None;
            loop {
                let page = client
                    .scan()
                    .table_name(&table)
                    .set_exclusive_start_key(start)
                    .send()
                    .await
                    .expect("the embedded table is read through");
                let page_of = page.items.unwrap_or_default().into_iter();
                items.extend(page_of.map(|item| {
                    let attributes = item.into_iter();
                    attributes
                        .map(|(name, value)| (name, text_of(&value)))
                        .collect::<BTreeMap<_, _>>()
                }));
                start = page.last_evaluated_key;
                if start.is_none() {
                    break;
                }
            }
        }
        items
    }

    /// Changes a number of an item in the core table behind everybody's back.
    pub async fn tamper(&self, pk: &str, sk: &str, attribute: &str, change: i64) {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        self.stack
            .table
            .client("setup")
            .update_item()
            .table_name(clickledger::tables::names().core)
            .key("pk", text(pk))
            .key("sk", text(sk))
            .update_expression("ADD #attribute :change")
            .expression_attribute_names("#attribute", attribute)
            .expression_attribute_values(":change", AttributeValue::N(change.to_string()))
            .send()
            .await
            .expect("the embedded table changes an item");
    }

    /// Loses an item of the core table behind everybody's back.
    pub async fn lose(&self, pk: &str, sk: &str) {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        self.stack
            .table
            .client("setup")
            .delete_item()
            .table_name(clickledger::tables::names().core)
            .key("pk", text(pk))
            .key("sk", text(sk))
            .send()
            .await
            .expect("the embedded table loses an item");
    }

    /// Books an account's only line `times` times with another effect, behind everybody's back.
    pub async fn multiply(&self, affiliate: &str, effect: i64, times: u8) {
        let items = self.items().await;
        let is_line = |item: &&BTreeMap<String, String>| {
            item["pk"].starts_with("E#") && item["affiliate"] == affiliate
        };
        let line = items.iter().find(is_line).expect("there is a line");
        for number in 0..times {
            let mut copy: HashMap<String, AttributeValue> = line
                .iter()
                .map(|(name, value)| (name.clone(), AttributeValue::S(value.clone())))
                .collect();
            let sk = format!("{}{number}", line["sk"]);
            copy.insert("sk".to_owned(), AttributeValue::S(sk));
            let effect = AttributeValue::N(effect.to_string());
            copy.insert("effect".to_owned(), effect);
            self.stack
                .table
                .client("setup")
                .put_item()
                .table_name(clickledger::tables::names().ledger)
                .set_item(Some(copy))
                .send()
                .await
                .expect("the embedded table takes an item");
        }
        let bucket = |item: &&BTreeMap<String, String>| {
            item["pk"].starts_with("B#") && item.get("affiliate").is_some_and(|id| id == affiliate)
        };
        let bucket = items.iter().find(bucket).expect("there is a bucket");
        for _ in 0..times {
            self.tamper(&bucket["pk"], &bucket["sk"], &line["kind"], effect)
                .await;
        }
    }
}

/// Somebody with a key of their own.
pub struct Person<'a> {
    world: &'a World,
    /// What its `Authorization` header says.
    pub bearer: String,
}

impl<'a> Person<'a> {
    /// With the key that an admin makes by this request.
    pub async fn new(world: &'a World, key: Value) -> Self {
        let key = world.made("keys", key).await;
        let key = key["key"].as_str().expect("a new key is shown");
        let bearer = format!("Bearer {key}");
        Self { world, bearer }
    }

    /// An affiliate.
    pub async fn affiliate(world: &'a World, id: &str) -> Self {
        Self::new(
            world,
            json!({"role": "affiliate", "affiliate": id, "person": id}),
        )
        .await
    }

    /// Somebody of a merchant's.
    pub async fn merchant(world: &'a World, id: &str) -> Self {
        Self::new(
            world,
            json!({"role": "merchant", "merchant": id, "person": id}),
        )
        .await
    }

    /// One request to the API.
    pub async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.send_with(method, path, &[], body).await
    }

    async fn send_with(
        &self,
        method: Method,
        path: &str,
        more: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let mut headers = vec![("authorization", self.bearer.as_str())];
        headers.extend_from_slice(more);
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let path = format!("/api/v1/{path}");
        answer(&self.world.send(method, &path, &headers, body).await)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, version: u32, body: Value) -> Answer {
        let etag = format!("\"{version}\"");
        let headers = [("if-match", etag.as_str())];
        self.send_with(Method::PATCH, path, &headers, Some(body))
            .await
    }
}

fn text_of(value: &AttributeValue) -> String {
    match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.clone(),
        other => format!("{other:?}"),
    }
}

/// The status and the JSON of an answer.
#[must_use]
pub fn answer(response: &Response) -> Answer {
    Answer {
        status: response.status.as_u16(),
        body: serde_json::from_slice(&response.body).unwrap_or(Value::Null),
    }
}

/// The click id at the end of a redirect's location.
#[must_use]
pub fn click_id(response: &Response) -> String {
    let location = response.headers["location"]
        .to_str()
        .expect("a location is ASCII");
    let (_, id) = location
        .rsplit_once("click_id=")
        .expect("the id comes last");
    id.to_owned()
}
