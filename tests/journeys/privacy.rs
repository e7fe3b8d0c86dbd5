//! Who is forgotten and what stays: erasure of a customer and of a visitor, and what has expired.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use clickledger::embedded::{Cut, Fault, Faults, Passing};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use shared::click::Click;
use shared::customer::CustomerId;
use shared::http_types::{Request, Response};
use shared::ids::MerchantId;
use tests::{Answer, BROWSER, World, answer, click_id};

const START: &str = "2026-06-29T10:00:00Z";
const EVA: &str = "eva@customers.example";
const UTE: &str = "ute@customers.example";

/// A visitor in Germany with a browser that keeps its cookie.
#[derive(Default)]
struct Browser {
    cookie: Option<HeaderValue>,
}

impl Browser {
    async fn visit(&mut self, world: &World, path: &str) -> Response {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut headers = HeaderMap::new();
        headers.insert("user-agent", HeaderValue::from_static(BROWSER));
        if let Some(cookie) = &self.cookie {
            headers.insert("cookie", cookie.clone());
        }
        let request = Request {
            method: Method::GET,
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            body: Bytes::new(),
            now: jiff::Timestamp::UNIX_EPOCH,
            https: false,
            country: Some("DE".to_owned()),
        };
        for _ in 0..50 {
            let response = world.stack.handle(request.clone()).await;
            if response.status == 503 {
                continue;
            }
            if let Some(set) = response.headers.get("set-cookie") {
                let pair = set.to_str().unwrap().split(';').next().unwrap();
                self.cookie = Some(pair.parse().unwrap());
            }
            return response;
        }
        panic!("{path} answers 503 again and again");
    }

    async fn click(&mut self, world: &World, slug: &str) -> String {
        let response = self.visit(world, &format!("/r/{slug}")).await;
        assert_eq!(response.status, 302, "{slug}");
        click_id(&response)
    }

    /// What stands in the cookie.
    fn name(&self) -> String {
        let cookie = self.cookie.as_ref().unwrap().to_str().unwrap();
        cookie.split_once('=').unwrap().1.to_owned()
    }
}

/// The shop, with a second affiliate, on these terms.
async fn shop(terms: Value) -> World {
    let world = World::with_shop(START).await;
    let bob = json!({
        "id": "bob", "name": "Bob", "email": "bob@example.com", "country": "DE",
        "payout": {"currency": "EUR", "method": "manual", "schedule": "daily"},
    });
    world.made("affiliates", bob).await;
    let link = json!({"slug": "bob-shoes", "program": "shoes", "affiliate": "bob"});
    world.made("links", link).await;
    assert_eq!(world.patch("programs/shoes", 1, terms).await.status, 200);
    world
}

async fn erase(world: &World, whom: Value) -> Answer {
    let erased = world.post("erasures", whom.clone()).await;
    assert_eq!(erased.status, 200, "{whom}: {erased:?}");
    erased
}

/// Everything that anybody reckons with, as it is sent; and what a shop is told that repeats itself.
async fn figures(world: &World, orders: &[Value]) -> Vec<(String, String)> {
    let bearer = format!("Bearer {}", world.admin);
    let headers = [("authorization", bearer.as_str())];
    let mut figures = Vec::new();
    for path in [
        "affiliates/anna/balances",
        "affiliates/bob/balances",
        "affiliates/anna/entries",
        "affiliates/bob/entries",
        "payouts",
        "periods/2026-06",
        "reports/payouts/2026-06",
        "reports/payouts/2026-06?format=csv",
        "reports/payouts/2026-07?format=csv&raw=1",
        "reports/reconciliation",
        "statements/anna/2026-06?format=csv",
        "statements/bob/2026-06",
    ] {
        let full = format!("/api/v1/{path}");
        let sent = world.send(Method::GET, &full, &headers, Bytes::new()).await;
        let text = String::from_utf8(sent.body.to_vec()).unwrap();
        assert_eq!(sent.status, 200, "{path}: {text}");
        figures.push((path.to_owned(), text));
    }
    let all = json!({"from": "2026-06-01", "to": "2026-08-01"});
    let replayed = world.post("programs/shoes/rules:replay", all).await;
    assert_eq!(replayed.body["difference"], "0.00", "{replayed:?}");
    figures.push(("rules:replay".to_owned(), replayed.body.to_string()));
    for order in orders {
        let again = world.postback(order.clone()).await;
        assert_eq!(again.body["result"], "recorded_before", "{again:?}");
        figures.push((order["order_id"].to_string(), again.body.to_string()));
    }
    figures
}

/// The same without the instants: two worlds live at different moments.
fn timeless(figures: Vec<(String, String)>) -> Vec<(String, Value)> {
    fn without(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.retain(|name, _| name != "at" && !name.ends_with("_at"));
                members.values_mut().for_each(without);
            }
            Value::Array(items) => items.iter_mut().for_each(without),
            _ => {}
        }
    }
    let figures = figures.into_iter();
    figures
        .map(|(name, text)| {
            let mut value = serde_json::from_str(&text).unwrap_or(Value::String(text));
            without(&mut value);
            (name, value)
        })
        .collect()
}

/// How many items of the tables hold a text.
async fn holding(world: &World, text: &str) -> usize {
    let items = world.items().await;
    let holds = |item: &&_| {
        let item: &std::collections::BTreeMap<String, String> = item;
        item.values().any(|value| value.contains(text))
    };
    items.iter().filter(holds).count()
}

fn pseudonym(world: &World, customer: &str) -> String {
    let merchant = MerchantId::parse("shop").unwrap();
    let customer = CustomerId::parse(customer).unwrap();
    customer.pseudonym(&merchant, &world.stack.app.keys())
}

async fn conversion(world: &World, order: &str) -> Value {
    let found = world.get(&format!("conversions?order_id={order}")).await;
    let id = found.body["items"][0]["id"].as_str().unwrap().to_owned();
    world.get(&format!("conversions/{id}")).await.body
}

fn paid(answer: &Answer) -> &str {
    let amount = &answer.body["commissions"][0]["amount"];
    amount.as_str().unwrap_or_else(|| panic!("{answer:?}"))
}

/// Two customers over a month's end: paid for by a rule that ends and one that asks for a country,
/// within a budget, refunded, amended, waiting; and the closed month.
async fn two_customers() -> (World, Vec<Value>) {
    let world = shop(json!({
        "commission": [
            {"type": "flat", "amount": "3", "when": {"country": "DE"}, "recurring": {"max_count": 2}},
            {"type": "percent", "percent": "10", "when": {"country": "DE"}},
        ],
        "caps": [{"per": "customer", "period": "month", "count": 5}],
    }))
    .await;
    let (mut eva, mut ute) = (Browser::default(), Browser::default());
    let of_eva = eva.click(&world, "anna-shoes?sub1=campaign-e").await;
    let of_ute = ute.click(&world, "bob-shoes?sub1=campaign-u").await;
    let sale = |click: &str, customer: &str, order: &str| {
        json!({
            "click_id": click, "customer_id": customer, "order_id": order, "customer": "new",
            "meta1": format!("gift for {customer}"),
            "items": [{"sku": "boots", "amount": "80"}, {"sku": "socks", "amount": "20"}],
        })
    };
    let mut orders = Vec::new();
    for (click, customer, order, expected) in [
        (&of_eva, EVA, "E-1", "3.00"),
        (&of_ute, UTE, "U-1", "3.00"),
        (&of_eva, EVA, "E-2", "3.00"),
        (&of_eva, EVA, "E-3", "10.00"),
    ] {
        let order = sale(click, customer, order);
        assert_eq!(paid(&world.postback(order.clone()).await), expected);
        orders.push(order);
    }
    let part =
        json!({"order_id": "E-3", "reversal_id": "r", "items": [{"sku": "socks", "amount": "10"}]});
    assert_eq!(world.reversal(part).await.status, 200);
    let manual = json!({"approval": "manual"});
    assert_eq!(world.patch("programs/shoes", 2, manual).await.status, 200);
    let waiting = sale(&of_eva, EVA, "E-4");
    let waits = world.postback(waiting.clone()).await;
    assert_eq!(waits.body["status"], "pending");
    orders.push(waiting);
    let auto = json!({"approval": "auto"});
    assert_eq!(world.patch("programs/shoes", 3, auto).await.status, 200);

    let off = json!({"four_eyes": "off"});
    world.get("payers").await;
    assert_eq!(world.patch("payers/house", 1, off).await.status, 200);
    world.turn_to("2026-07-02T10:00:00Z").await;
    for step in ["prepare", "approve", "close"] {
        let done = world
            .post(&format!("periods/2026-06/{step}"), json!({}))
            .await;
        assert_eq!(done.status, 200, "{done:?}");
    }
    let last = sale(&of_ute, UTE, "U-2");
    assert_eq!(paid(&world.postback(last.clone()).await), "3.00");
    orders.push(last);
    (world, orders)
}

#[tokio::test]
async fn a_customer_is_forgotten_and_every_figure_stays() {
    let (world, orders) = two_customers().await;
    let (eva, ute) = (pseudonym(&world, EVA), pseudonym(&world, UTE));
    // Two orders of one rule, a budget of one month, the first credit, and four orders.
    assert_eq!(holding(&world, &eva).await, 7);
    let of_ute = holding(&world, &ute).await;
    let before = figures(&world, &orders).await;
    let whom = json!({"merchant": "shop", "customer_id": format!(" {EVA} ")});
    let first = erase(&world, whom.clone()).await;
    let expected = json!({"erased": "customer", "merchant": "shop", "next": null});
    assert_eq!(first.body, expected);
    assert_eq!(figures(&world, &orders).await, before);

    // Nothing leads to her any more, and all to the other.
    for gone in [eva.as_str(), EVA, "campaign-e"] {
        let left: usize = match gone {
            // The click waits for its visitor's own word, or for its last day.
            "campaign-e" => 1,
            _ => 0,
        };
        assert_eq!(holding(&world, gone).await, left, "{gone}");
    }
    assert_eq!(holding(&world, &ute).await, of_ute);
    let hers = conversion(&world, "E-1").await;
    assert_eq!(
        (&hers["meta"], &hers["click"]),
        (&json!({}), &json!({"class": "human", "link": "anna-shoes"}))
    );
    assert_eq!(hers["amount"], "100.00");
    let candidate = &hers["explain"]["candidates"][0];
    assert_eq!(
        (&candidate["click"], &candidate["link"]),
        (&Value::Null, &json!("anna-shoes"))
    );
    let other = conversion(&world, "U-1").await;
    assert_eq!(other["click"]["tags"]["sub1"], "campaign-u");
    assert_eq!(other["meta"]["meta1"], format!("gift for {UTE}"));

    // The same again finds nothing to do, and says the same.
    let items = world.items().await.len();
    assert_eq!(erase(&world, whom).await, first);
    assert_eq!(world.items().await.len(), items + 1);

    // She is new again: nobody brought her, the rule begins anew, and so does the budget.
    let unclicked =
        json!({"program": "shoes", "customer_id": EVA, "order_id": "E-5", "amount": "10"});
    let unclicked = world.postback(unclicked).await;
    assert_eq!(
        (&unclicked.body["status"], &unclicked.body["ignored"]),
        (&json!("unattributed"), &json!(["customer_id"]))
    );
    let click = Browser::default().click(&world, "bob-shoes").await;
    for (order, expected) in [("E-6", "3.00"), ("E-7", "3.00"), ("E-8", "10.00")] {
        let sale =
            json!({"click_id": click, "customer_id": EVA, "order_id": order, "amount": "100"});
        assert_eq!(paid(&world.postback(sale).await), expected, "{order}");
    }
}

#[tokio::test]
async fn what_is_decided_after_an_erasure_comes_to_the_same() {
    let mut lives = Vec::new();
    for is_erased in [false, true] {
        let (world, orders) = two_customers().await;
        if is_erased {
            erase(&world, json!({"merchant": "shop", "customer_id": EVA})).await;
        }
        let id_of = async |order: &str| {
            let found = conversion(&world, order).await;
            found["id"].as_str().unwrap().to_owned()
        };
        let approve = format!("conversions/{}/approve", id_of("E-4").await);
        assert_eq!(world.post(&approve, json!({})).await.status, 200);
        for (order, boots, amount, expected) in [
            ("E-1", "150", "170", "3.00"),
            ("E-3", "120", "140", "14.00"),
        ] {
            let items = [("boots", boots), ("socks", "20")];
            let items = items.map(|(sku, amount)| json!({"sku": sku, "amount": amount}));
            let amended = json!({"id": "m", "amount": amount, "items": items, "reason": "a swap"});
            let path = format!("conversions/{}/amend", id_of(order).await);
            let amended = world.post(&path, amended).await;
            assert_eq!(paid(&amended), expected, "{amended:?}");
        }
        let rest = json!({"order_id": "E-3", "reversal_id": "rest"});
        assert_eq!(world.reversal(rest).await.status, 200);
        world.turn_to("2026-07-05T10:00:00Z").await;
        lives.push(timeless(figures(&world, &orders).await));
    }
    let erased = lives.pop().unwrap();
    for (one, other) in erased.iter().zip(&lives[0]) {
        assert_eq!(one, other);
    }
}

#[tokio::test]
async fn a_visitor_is_forgotten_and_its_old_click_id_finds_no_journey() {
    let world = shop(json!({"attribution": {"model": "linear"}})).await;
    let mut browser = Browser::default();
    browser.click(&world, "anna-shoes?sub1=campaign-7").await;
    world.turn_to("2026-06-29T10:05:00Z").await;
    let last = browser.click(&world, "bob-shoes?sub1=campaign-7").await;
    let sale = |order: &str| json!({"click_id": last, "order_id": order, "amount": "100"});
    let shared = world.postback(sale("A-1")).await;
    assert_eq!(shared.body["commissions"].as_array().unwrap().len(), 2);
    // Refused, as the click came after the order.
    let mut early = sale("A-2");
    early["occurred_at"] = json!("2026-06-29T09:00:00Z");
    assert_eq!(world.postback(early).await.body["code"], "window_closed");
    world.turn_to("2026-07-02T10:00:00Z").await;

    let click = Click::verify(&last, &world.stack.app.keys()).unwrap();
    let journey = format!("J#shoes#{}", click.visitor());
    assert_eq!(holding(&world, &journey).await, 2);
    // Of the click the order and the refusal, of the tags the order and both clicks.
    assert_eq!(holding(&world, &click.random()).await, 3);
    assert_eq!(holding(&world, "campaign-7").await, 3);
    let orders = [sale("A-1")];
    let before = figures(&world, &orders).await;
    let whom = json!({"program": "shoes", "click_id": last});
    let first = erase(&world, whom.clone()).await;
    let expected = json!({"erased": "visitor", "program": "shoes", "known": true, "next": null});
    assert_eq!(first.body, expected);
    assert_eq!(figures(&world, &orders).await, before);
    assert_eq!(erase(&world, whom).await, first);

    for gone in [journey.as_str(), &click.random(), "campaign-7"] {
        assert_eq!(holding(&world, gone).await, 0, "{gone}");
    }
    let kept = conversion(&world, "A-1").await;
    assert_eq!(
        kept["click"],
        json!({"class": "human", "link": "bob-shoes"})
    );
    let candidates = kept["explain"]["candidates"].as_array().unwrap().iter();
    let candidates: Vec<&Value> = candidates
        .map(|candidate| &candidate["affiliate"])
        .collect();
    assert_eq!(candidates, ["anna", "bob"]);
    let refusals = world.get("refusals?merchant=shop").await.body;
    assert_eq!(
        (
            &refusals["items"][0]["code"],
            &refusals["items"][0]["times"]
        ),
        (&json!("window_closed"), &json!(1))
    );

    // The id speaks for itself still, and for nobody else.
    let again = world.postback(sale("A-3")).await;
    let parts = again.body["commissions"].as_array().unwrap();
    assert_eq!(
        (parts.len(), &parts[0]["affiliate"], paid(&again)),
        (1, &json!("bob"), "10.00")
    );

    // By its cookie too, also where it has come back meanwhile.
    let back = browser.click(&world, "anna-shoes").await;
    let sale = json!({"click_id": back, "order_id": "B-1", "amount": "100"});
    assert_eq!(world.postback(sale).await.status, 200);
    assert_eq!(holding(&world, &journey).await, 1);
    erase(
        &world,
        json!({"program": "shoes", "visitor": browser.name()}),
    )
    .await;
    assert_eq!(holding(&world, &journey).await, 0);
    let kept = conversion(&world, "B-1").await;
    assert_eq!(
        kept["click"],
        json!({"class": "human", "link": "anna-shoes"})
    );

    let logged: BTreeSet<String> = world
        .items()
        .await
        .into_iter()
        .filter(|item| item["pk"].starts_with("AUDIT#") && item["what"].contains("erase"))
        .map(|item| format!("{} {} {}", item["person"], item["what"], item["about"]))
        .collect();
    let expected = "operator erase visitor program#shoes#2".to_owned();
    assert_eq!(logged, BTreeSet::from([expected]));
}

#[tokio::test(start_paused = true)]
async fn an_erasure_that_dies_anywhere_is_finished_by_the_same_call() {
    let world = shop(json!({
        "commission": [
            {"type": "flat", "amount": "3", "recurring": {"max_count": 2}},
            {"type": "percent", "percent": "10"},
        ],
        "caps": [{"per": "customer", "count": 5}],
    }))
    .await;
    let mut cuts = 0;
    for when in [Cut::Before, Cut::After] {
        for call in 0.. {
            let mut browser = Browser::default();
            let click = browser.click(&world, "anna-shoes?sub1=campaign-7").await;
            let customer = format!("eva-{when:?}-{call}");
            let order = format!("A-{when:?}-{call}");
            let sale = json!({"click_id": click, "customer_id": customer, "order_id": order, "amount": "100"});
            assert_eq!(world.postback(sale).await.status, 200);
            let known = pseudonym(&world, &customer);
            assert_eq!(holding(&world, &known).await, 4);
            let mut were_cut = false;
            for whom in [
                json!({"merchant": "shop", "customer_id": customer}),
                json!({"program": "shoes", "click_id": click}),
            ] {
                world.stack.table.cut_at(call, when);
                let died = world.post("erasures", whom.clone()).await;
                if world.stack.table.mend() {
                    assert_eq!(died.status, 503, "{when:?} {call}");
                    were_cut = true;
                }
                erase(&world, whom).await;
            }
            for gone in [known.as_str(), "campaign-7"] {
                assert_eq!(holding(&world, gone).await, 0, "{when:?} {call} {gone}");
            }
            if !were_cut {
                cuts += call;
                break;
            }
        }
    }
    assert!(16 <= cuts, "{cuts}");
    let books = world.get("reports/reconciliation").await.body;
    assert_eq!(books["differences"], json!([]), "{books}");
}

/// Orders, refunds and erasures of one customer at once, over a table that conflicts and loses
/// answers: what is forgotten is never money.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_erasure_among_orders_and_refunds_loses_none_of_them() {
    let world = shop(json!({
        "commission": [{"type": "percent", "percent": "10", "recurring": {"max_count": 1000}}],
        "caps": [{"per": "customer", "count": 1000}],
    }))
    .await;
    let click = world.click("anna-shoes").await;
    world.stack.table.set_faults(
        Faults::seeded(7)
            .with(Fault::Conflict, 30)
            .with(Fault::AnswerLost, 30)
            .with(Fault::LateRepeat, 30),
    );
    let world = Arc::new(world);
    let mut senders = Vec::new();
    for sender in 0..4 {
        let (world, click) = (Arc::clone(&world), click.clone());
        senders.push(tokio::spawn(async move {
            for number in 0..8 {
                let order = format!("A-{sender}-{number}");
                let sale = json!({"click_id": click, "customer_id": EVA, "order_id": order, "amount": "100"});
                let refund = json!({"order_id": order, "reversal_id": "r", "amount": "40"});
                while world.postback(sale.clone()).await.status != 200 {}
                while world.reversal(refund.clone()).await.status != 200 {}
            }
        }));
    }
    let whom = json!({"merchant": "shop", "customer_id": EVA});
    let mut erasures = 0;
    while !senders.iter().all(tokio::task::JoinHandle::is_finished) {
        let erased = world.post("erasures", whom.clone()).await;
        assert!([200, 503].contains(&erased.status), "{erased:?}");
        erasures += 1;
        tokio::task::yield_now().await;
    }
    for sender in senders {
        sender.await.unwrap();
    }
    world.stack.table.set_faults(Faults::none());
    world.stack.table.arrive();
    erase(&world, whom).await;
    println!("{erasures} erasures among 32 orders");

    // A shop's late repeat may have told of her again; she is forgotten all the same.
    assert_eq!(holding(&world, &pseudonym(&world, EVA)).await, 0);
    assert_eq!(world.balance("anna").await["on_hold"], "192.00");
    let books = world.get("reports/reconciliation").await.body;
    assert_eq!(books["differences"], json!([]), "{books}");
}

/// A sale that only its customer could be credited for is recorded, the function dies, and the
/// customer is forgotten: what was taken back before the sale came is not forgotten with her.
#[tokio::test]
async fn what_waited_for_a_sale_is_applied_though_its_customer_is_forgotten() {
    const CUTS: u64 = 30;
    let world = shop(json!({"click_window": "1d"})).await;
    let click = world.click("anna-shoes").await;
    let customer = |cut| format!("customer-{cut}@customers.example");
    for cut in 0..CUTS {
        let order = format!("A-{cut}");
        let sale = json!({"click_id": click, "customer_id": customer(cut), "order_id": order, "amount": "100"});
        assert_eq!(world.postback(sale).await.status, 200);
    }
    world.turn_to("2026-07-03T10:00:00Z").await;
    let mut recorded_and_cut = 0;
    for cut in 0..CUTS {
        let order = format!("B-{cut}");
        let back = json!({"order_id": order, "reversal_id": "r", "amount": "40"});
        assert_eq!(world.reversal(back.clone()).await.status, 404);
        let sale = json!({"click_id": click, "customer_id": customer(cut), "order_id": order, "amount": "100"});
        world.stack.table.cut_at(cut, Cut::After);
        let first = world.postback(sale.clone()).await.status;
        assert_eq!(world.stack.table.mend(), first != 200);
        erase(
            &world,
            json!({"merchant": "shop", "customer_id": customer(cut)}),
        )
        .await;
        let again = world.postback(sale).await;
        if again.status == 422 {
            assert_eq!(again.body["code"], "window_closed");
            continue;
        }
        assert_eq!(again.body["result"], "recorded_before", "{again:?}");
        recorded_and_cut += u64::from(first != 200);
        let taken_back = world.reversal(back).await;
        assert_eq!(taken_back.body["result"], "recorded_before", "{cut}");
    }
    assert!(recorded_and_cut > 2, "{recorded_and_cut}");
}

/// What was sent in time may arrive after the customer has come back: she keeps what is new.
#[tokio::test]
async fn an_erasure_that_lands_late_takes_nothing_new_with_it() {
    let world = shop(json!({})).await;
    let click = world.click("anna-shoes").await;
    let sale = |order: &str| json!({"click_id": click, "customer_id": EVA, "order_id": order, "amount": "100"});
    assert_eq!(world.postback(sale("A-1")).await.status, 200);
    let sent: Arc<Mutex<Vec<Value>>> = Arc::default();
    let removals = Arc::clone(&sent);
    let is_write = |operation: &str, _: &[u8]| operation == "TransactWriteItems";
    world.stack.table.meddle(is_write, move |passing| {
        if let Passing::Asked { request, .. } = passing
            && !request["TransactItems"][0]["Delete"].is_null()
        {
            removals.lock().unwrap().push(request.clone());
        }
        None
    });
    erase(&world, json!({"merchant": "shop", "customer_id": EVA})).await;
    assert_eq!(world.postback(sale("A-2")).await.status, 200);
    let mut late = sent.lock().unwrap().pop().unwrap();
    late.as_object_mut().unwrap().remove("ClientRequestToken");
    let late = serde_json::from_value(late).unwrap();
    drop(world.stack.table.engine().transact_write_items(late));

    let renewed =
        json!({"program": "shoes", "customer_id": EVA, "order_id": "A-3", "amount": "100"});
    assert_eq!(paid(&world.postback(renewed).await), "10.00");
}

#[tokio::test]
async fn whoever_may_not_erase_is_told_no_more_than_of_anything_else() {
    let world = shop(json!({})).await;
    world.rival().await;
    let link = json!({"slug": "anna-hats", "program": "hats", "affiliate": "anna"});
    world.made("links", link).await;
    let of_hats = world.click("anna-hats").await;
    let mut keys = Vec::new();
    for role in [
        json!({"role": "affiliate", "affiliate": "anna", "person": "Anna"}),
        json!({"role": "finance", "person": "Fin"}),
        json!({"role": "merchant", "merchant": "shop", "person": "Pat"}),
    ] {
        let key = world.made("keys", role).await;
        keys.push(format!("Bearer {}", key["key"].as_str().unwrap()));
    }
    let ask = async |key: &str, method: Method, whom: &Value| {
        let headers = [("authorization", key)];
        let body = whom.to_string().into();
        world.send(method, "/api/v1/erasures", &headers, body).await
    };
    let customer = |merchant: &str| json!({"merchant": merchant, "customer_id": EVA});
    let nowhere = ask(&keys[2], Method::POST, &customer("nobody")).await;
    assert_eq!(nowhere.status, 404);
    for (key, whom, expected) in [
        (0, customer("shop"), 404),
        (1, customer("shop"), 403),
        (2, customer("rival"), 404),
        (2, json!({"program": "hats", "click_id": of_hats}), 404),
        (2, json!({"program": "none", "click_id": of_hats}), 404),
        (2, customer("shop"), 200),
    ] {
        let answer = ask(&keys[key], Method::POST, &whom).await;
        assert_eq!(answer.status, expected, "{whom}");
        if expected == 404 {
            assert_eq!(answer.body, nowhere.body, "{whom}");
        }
    }
    assert_eq!(ask(&keys[2], Method::GET, &json!({})).await.status, 405);
    let known = world.click("anna-shoes").await;
    for (whom, code) in [
        (json!({"merchant": "shop"}), "parameter_missing"),
        (json!({"program": "shoes"}), "parameter_missing"),
        (
            json!({"merchant": "shop", "customer_id": "\n"}),
            "text_invalid",
        ),
        (
            json!({"merchant": "shop", "customer_id": EVA, "click_id": known}),
            "parameter_unknown",
        ),
        (
            json!({"program": "shoes", "click_id": of_hats}),
            "click_unknown",
        ),
        (json!({"program": "shoes", "click_id": "x"}), "click_forged"),
        (
            json!({"program": "shoes", "visitor": "x"}),
            "visitor_invalid",
        ),
        (
            json!({"program": "shoes", "click_id": known, "visitor": "BwcHBwcHBwcHBwcHBwcHBw"}),
            "parameter_repeated",
        ),
        (
            json!({"merchant": "shop", "customer_id": EVA, "cursor": "*"}),
            "cursor_invalid",
        ),
        (
            json!({"merchant": "shop", "customer_id": EVA, "cursor": "eA"}),
            "cursor_invalid",
        ),
    ] {
        let refused = answer(&ask(&keys[2], Method::POST, &whom).await);
        assert_eq!(
            (refused.status, refused.body["code"].as_str()),
            (422, Some(code)),
            "{whom}"
        );
    }
}

/// A shop with more orders than one call looks through is told where to go on.
#[tokio::test]
async fn a_long_list_is_looked_through_call_by_call() {
    let world = shop(json!({})).await;
    let click = world.click("anna-shoes").await;
    let sale = |order: &str| {
        let mut sale =
            json!({"program": "shoes", "order_id": order, "amount": "1", "customer_id": EVA});
        sale["click_id"] = json!(click);
        sale
    };
    assert_eq!(world.postback(sale("first")).await.status, 200);
    let lines: Vec<String> = (0..1_000)
        .map(|number| {
            json!({"type": "conversion", "program": "shoes", "order_id": format!("A-{number}"), "amount": "1"})
                .to_string()
        })
        .collect();
    let path = format!("/postback/batch?token={}", world.token);
    let sent = world
        .send(Method::POST, &path, &[], lines.join("\n").into())
        .await;
    assert_eq!(sent.status, 200);
    assert_eq!(world.postback(sale("last")).await.status, 200);

    let known = pseudonym(&world, EVA);
    let mut whom = json!({"merchant": "shop", "customer_id": EVA});
    let mut left = vec![holding(&world, &known).await];
    loop {
        let erased = erase(&world, whom.clone()).await;
        left.push(holding(&world, &known).await);
        match erased.body["next"].as_str() {
            Some(next) => whom["cursor"] = json!(next),
            None => break,
        }
    }
    // Both orders and the first credit; then without the first order; then nothing.
    assert_eq!(left, [3, 2, 0]);
}

/// Orders keep no visitor, only the names of their clicks.
#[tokio::test]
async fn a_cookie_whose_journey_has_ended_is_told_to_be_unknown_and_a_click_id_still_leads_on() {
    let world = shop(json!({"click_window": "1d"})).await;
    let mut browser = Browser::default();
    let click = browser.click(&world, "anna-shoes?sub1=campaign-7").await;
    let sale = json!({"click_id": click, "order_id": "A-1", "amount": "100"});
    assert_eq!(world.postback(sale).await.status, 200);
    world.turn_to("2026-07-29T10:00:00Z").await;
    assert_eq!(visits(&world).await, 0);

    let by_cookie = json!({"program": "shoes", "visitor": browser.name()});
    let by_click = json!({"program": "shoes", "click_id": click});
    for (whom, is_known) in [(by_cookie, false), (by_click, true)] {
        let erased = erase(&world, whom).await;
        assert_eq!(erased.body["known"], is_known);
        let kept = conversion(&world, "A-1").await;
        let nameless = json!({"class": "human", "link": "anna-shoes"});
        assert_eq!(kept["click"] == nameless, is_known, "{kept}");
    }
}

/// On one machine the sweep comes after the runs of a day, by the stack's own clock.
#[tokio::test]
async fn a_visit_stays_for_its_window_and_seven_days_and_is_gone_after_the_next_run() {
    let world = shop(json!({"click_window": "1d"})).await;
    let click = world.click("anna-shoes").await;
    let sale = json!({"click_id": click, "order_id": "A-1", "amount": "100"});
    assert_eq!(world.postback(sale).await.status, 200);
    let first = visits(&world).await;
    world.turn_to("2026-07-07T09:00:00Z").await;
    world.click("anna-shoes").await;
    let both = visits(&world).await;
    assert!(0 < first && first < both);
    for (now, left) in [
        // The first one has expired, and no run fell due since.
        ("2026-07-07T11:00:00Z", both),
        ("2026-07-08T00:59:00Z", both),
        ("2026-07-08T01:00:00Z", both - first),
        ("2026-07-15T01:00:00Z", both - first),
        ("2026-07-16T01:00:00Z", 0),
    ] {
        world.turn_to(now).await;
        assert_eq!(visits(&world).await, left, "{now}");
    }
    assert_eq!(conversion(&world, "A-1").await["remaining"], "100.00");
}

/// How many visits the table holds.
async fn visits(world: &World) -> usize {
    let items = world.items().await.into_iter();
    items.filter(|item| item["pk"].starts_with("J#")).count()
}

/// No run falls due between the expiry and the look: whatever has expired still stands in the table.
#[tokio::test]
async fn what_has_expired_is_gone_whether_the_table_has_swept_it_or_not() {
    let world = shop(json!({
        "attribution": {"model": "linear"}, "click_window": "1d", "view_window": "1d",
    }))
    .await;
    let mut browser = Browser::default();
    browser.click(&world, "anna-shoes").await;
    let mut viewer = Browser::default();
    assert_eq!(viewer.visit(&world, "/i/anna-shoes.gif").await.status, 200);
    let waits = json!({"order_id": "late", "reversal_id": "r"});
    assert_eq!(world.reversal(waits).await.status, 404);

    // These are all the kinds of items that end, and none of them is money.
    let kinds: BTreeSet<String> = world
        .items()
        .await
        .into_iter()
        .filter(|item| item.contains_key("expires_at"))
        .map(|item| {
            let is_waiting = item["sk"].starts_with("#W#");
            let kind = item["pk"].split('#').next().unwrap();
            let is_view = item.get("view").is_some_and(|view| view == "1");
            format!("{kind} waiting {is_waiting} view {is_view}")
        })
        .collect();
    let expected = [
        "C waiting true view false",
        "J waiting false view false",
        "J waiting false view true",
    ];
    assert_eq!(kinds, expected.map(str::to_owned).into());

    // With windows that would let them count, seven days after those in which they were made.
    let wide = json!({"click_window": "60d", "view_window": "60d"});
    assert_eq!(world.patch("programs/shoes", 2, wide).await.status, 200);
    for (now, candidates) in [("2026-07-07T09:59:00Z", 2), ("2026-07-07T10:01:00Z", 1)] {
        world.turn_to(now).await;
        for visitor in [&mut browser, &mut viewer] {
            let mut visitor = Browser {
                cookie: visitor.cookie.clone(),
            };
            let click = visitor.click(&world, "bob-shoes").await;
            let order = format!("A-{now}-{}", visitor.name());
            let sale = json!({"click_id": click, "order_id": order, "amount": "10"});
            let id = world.postback(sale).await.body["conversion"].clone();
            let path = format!("conversions/{}", id.as_str().unwrap());
            let explain = world.get(&path).await.body["explain"].clone();
            let of_anna = explain["candidates"].as_array().unwrap().iter();
            let of_anna = of_anna.filter(|candidate| candidate["affiliate"] == "anna");
            assert_eq!(of_anna.count() + 1, candidates, "{now}: {explain}");
        }
    }

    world.turn_to("2026-07-29T10:01:00Z").await;
    let click = world.click("anna-shoes").await;
    let late = json!({"click_id": click, "order_id": "late", "amount": "10"});
    assert_eq!(world.postback(late).await.status, 200);
    assert_eq!(conversion(&world, "late").await["remaining"], "10.00");
}

/// Many rules may end for each customer, and an order may ask all of them.
#[tokio::test]
async fn a_customer_of_many_rules_is_forgotten_too() {
    let world = World::with_shop("2026-07-01T10:00:00Z").await;
    let mut rules: Vec<Value> = (0..120)
        .map(|sku| json!({"type": "flat", "amount": "1", "when": {"sku": format!("s{sku}")}, "recurring": {"max_count": 1}}))
        .collect();
    rules.push(json!({"type": "flat", "amount": "0.10"}));
    let rules = json!({ "commission": rules });
    assert_eq!(world.patch("programs/shoes", 1, rules).await.status, 200);
    let click = world.click("anna-shoes").await;
    let lines = |skus: std::ops::Range<usize>| -> Vec<Value> {
        skus.map(|sku| json!({"sku": format!("s{sku}"), "amount": "2"}))
            .collect()
    };
    for (order, skus) in [
        ("A-1", 0..45),
        ("A-2", 45..90),
        ("A-3", 90..120),
        ("A-4", 0..120),
    ] {
        let sale = json!({
            "click_id": click, "order_id": order, "customer_id": "c-1", "items": lines(skus),
        });
        let sold = world.postback(sale).await;
        assert_eq!(sold.status, 200, "{order}: {sold:?}");
    }
    let who = json!({"merchant": "shop", "customer_id": "c-1"});
    let erased = world.post("erasures", who).await;
    assert_eq!(erased.status, 200, "{erased:?}");
    let again = json!({
        "click_id": click, "order_id": "B-1", "customer_id": "c-1", "items": lines(0..1),
    });
    assert_eq!(world.earns(again).await, "1.00");
}
