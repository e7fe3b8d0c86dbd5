//! Who comes first, where many come at once: senders, credits, approvals, and the day's close.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use clickledger::embedded::{Cut, Fault, Faults, Passing};
use jiff::civil::{Date, date};
use serde_json::{Value, json};
use shared::ids::{AffiliateId, PayerId};
use shared::lambda::Schedule;
use shared::ledger::Pocket;
use shared::money::Currency;
use tests::{Answer, World};
use tokio::sync::Barrier;

const START: &str = "2026-07-01T10:00:00Z";

/// Enough for any of the faults below: whoever asks so often asks for something that hangs.
const TRIES_MOST: usize = 40;

/// What one sender learns: the answer, and whether an earlier one was "outcome unknown".
struct Told {
    answer: Answer,
    was_unknown: bool,
}

impl Told {
    fn is_created(&self) -> bool {
        self.answer.body["result"] == "created"
    }
}

/// Sends the same again for as long as the outcome is unknown.
async fn until_known<F: Future<Output = Answer>>(send: impl Fn() -> F) -> Told {
    let mut was_unknown = false;
    for _ in 0..TRIES_MOST {
        let answer = send().await;
        if answer.status != 503 {
            assert_eq!(answer.status, 200, "{answer:?}");
            return Told {
                answer,
                was_unknown,
            };
        }
        was_unknown = true;
    }
    panic!("the outcome stays unknown");
}

async fn post_until_known(world: &World, sale: &Value) -> Told {
    until_known(|| world.postback(sale.clone())).await
}

async fn ask_until_known(world: &World, path: &str, body: &Value) -> Value {
    let told = until_known(|| world.post(path, body.clone())).await;
    told.answer.body
}

fn cents(amount: &Value) -> i64 {
    let text = amount.as_str().unwrap_or_else(|| panic!("{amount}"));
    text.replace('.', "").parse().unwrap()
}

fn move_clock(world: &World, now: &str) {
    world.stack.clock.move_to(now.parse().unwrap()).unwrap();
}

async fn with_affiliate(world: &World, name: &str, payout: Value) {
    let affiliate = json!({
        "id": name, "name": name, "email": "x@example.com", "country": "DE", "payout": payout,
    });
    world.made("affiliates", affiliate).await;
    for program in ["shoes", "hats"] {
        let slug = format!("{name}-{program}");
        let link = json!({"slug": slug, "program": program, "affiliate": name});
        if world.get(&format!("programs/{program}")).await.status == 200 {
            world.made("links", link).await;
        }
    }
}

fn pocket(affiliate: &str) -> Pocket {
    Pocket {
        payer: PayerId::house(),
        affiliate: AffiliateId::parse(affiliate).unwrap(),
        currency: Currency::parse("EUR").unwrap(),
    }
}

/// What the ledger's own lines of an affiliate come to, and how many orders they are of.
async fn ledger(world: &World, affiliate: &str) -> (i64, usize) {
    let pocket = pocket(affiliate);
    let lines = world.stack.app.store.entries(&pocket, 1, ..).await.unwrap();
    let earned = lines.iter().filter(|line| line.is_conversion());
    let sources: Vec<&str> = earned.map(|line| line.source.as_str()).collect();
    let different: BTreeSet<&&str> = sources.iter().collect();
    assert_eq!(different.len(), sources.len(), "an order has two lines");
    let sum = lines.iter().map(|line| line.effect.minor()).sum();
    (sum, sources.len())
}

/// Two hundred orders, each told of by eight senders at once, on four threads, with one answer in
/// ten lost after the write.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_order_of_many_is_created_once_however_many_tell_of_it() {
    const ORDERS: usize = 200;
    const SENDERS: usize = 8;
    let world = Arc::new(World::with_shop(START).await);
    let click_id = world.click("anna-shoes").await;
    world.stack.table.record(false);
    world.stack.table.set_faults(
        Faults::seeded(11)
            .with(Fault::AnswerLost, 100)
            .with(Fault::Conflict, 30),
    );
    let barrier = Arc::new(Barrier::new(ORDERS * SENDERS));
    let mut senders = Vec::new();
    for number in 0..ORDERS * SENDERS {
        let order = number % ORDERS;
        let sale = json!({"click_id": click_id, "order_id": format!("A-{order}"), "amount": "10"});
        let (world, barrier) = (Arc::clone(&world), Arc::clone(&barrier));
        senders.push(tokio::spawn(async move {
            barrier.wait().await;
            (order, post_until_known(&world, &sale).await)
        }));
    }
    let mut told: BTreeMap<usize, Vec<Told>> = BTreeMap::new();
    for sender in senders {
        let (order, answer) = sender.await.unwrap();
        told.entry(order).or_default().push(answer);
    }
    let injected = world.stack.table.faults_injected();
    assert!(injected[&Fault::AnswerLost] > 1_000, "{injected:?}");
    world.stack.table.set_faults(Faults::none());

    for (order, told) in &told {
        let created = told.iter().filter(|told| told.is_created()).count();
        // Whoever made the order may have had no answer in all of our own repeats; then its 503
        // said so, and its next post finds the order recorded.
        let is_lost = told.iter().any(|told| told.was_unknown);
        assert!(
            created == 1 || (created == 0 && is_lost),
            "{order}: {created}"
        );
        let commissions: BTreeSet<String> = told
            .iter()
            .map(|told| told.answer.body["commissions"].to_string())
            .collect();
        assert_eq!(commissions.len(), 1, "{order}: {commissions:?}");
    }
    assert_eq!(ledger(&world, "anna").await, (20_000, ORDERS));
    assert_eq!(world.balance("anna").await["on_hold"], "200.00");
}

/// The first post knew nobody to credit; then the clicks of two affiliates come at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_order_that_nobody_was_credited_with_is_credited_to_one_of_two() {
    const ORDERS: i64 = 12;
    let world = Arc::new(World::with_shop(START).await);
    let daily = json!({"currency": "EUR", "method": "manual", "schedule": "daily"});
    with_affiliate(&world, "bert", daily).await;
    let clicks = [
        world.click("anna-shoes").await,
        world.click("bert-shoes").await,
    ];
    for order in 0..ORDERS {
        let bare = json!({"order_id": order.to_string(), "program": "shoes", "amount": "10"});
        assert_eq!(world.postback(bare).await.body["status"], "unattributed");
    }
    world.stack.table.set_faults(
        Faults::seeded(3)
            .with(Fault::AnswerLost, 30)
            .with(Fault::Conflict, 100),
    );
    let barrier = Arc::new(Barrier::new(8));
    let mut created = 0;
    for order in 0..ORDERS {
        let senders: Vec<_> = (0..8)
            .map(|number| {
                let (world, barrier) = (Arc::clone(&world), Arc::clone(&barrier));
                let click = &clicks[number % 2];
                let sale =
                    json!({"click_id": click, "order_id": order.to_string(), "amount": "10"});
                tokio::spawn(async move {
                    barrier.wait().await;
                    post_until_known(&world, &sale).await
                })
            })
            .collect();
        let mut credits = BTreeSet::new();
        for sender in senders {
            let told = sender.await.unwrap();
            created += i64::from(told.is_created());
            credits.insert(told.answer.body["commissions"].to_string());
            assert_eq!(told.answer.body["status"], "approved");
        }
        assert_eq!(credits.len(), 1, "order {order}: {credits:?}");
    }
    world.stack.table.set_faults(Faults::none());
    assert_eq!(created, ORDERS);
    let mut sum = 0;
    for affiliate in ["anna", "bert"] {
        let (earned, orders) = ledger(&world, affiliate).await;
        assert_eq!(usize::try_from(earned).unwrap(), 100 * orders);
        // Nothing at all where the other one always came first.
        if orders > 0 {
            let balance = world.balance(affiliate).await;
            assert_eq!(cents(&balance["on_hold"]), earned);
        }
        sum += earned;
    }
    assert_eq!(sum, 100 * ORDERS);
}

/// Affiliates with every kind of carry, and a program whose commissions wait for approval.
async fn busy_shop(now: &str) -> World {
    let world = World::with_shop(now).await;
    let hats = json!({
        "id": "hats", "merchant": "shop", "name": "Hats", "currency": "EUR", "hold_days": 0,
        "destination": "https://shop.example/", "status": "active", "override": "a test",
        "approval": "manual", "commission": [{"type": "percent", "percent": "7"}],
    });
    world.made("programs", hats).await;
    let anna = json!({"slug": "anna-hats", "program": "hats", "affiliate": "anna"});
    world.made("links", anna).await;
    for (name, minimum, schedule) in [
        ("bert", "0", "daily"),
        ("cleo", "50", "daily"),
        ("dora", "0", "monthly"),
    ] {
        let payout = json!({
            "currency": "EUR", "method": "manual", "schedule": schedule,
            "minimum": {"EUR": minimum},
        });
        with_affiliate(&world, name, payout).await;
    }
    with_affiliate(&world, "emil", Value::Null).await;
    world
}

const AFFILIATES: [&str; 5] = ["anna", "bert", "cleo", "dora", "emil"];

/// What becomes of an order after its first post.
#[derive(Clone, Copy)]
enum Fate {
    Booked,
    /// Told of days after it happened: its payable day is past.
    ToldLate,
    Approved,
    /// Left waiting: somebody else approves it while the next day closes.
    ApprovedLate,
    RefundedInPart,
}

const FATES: [Fate; 5] = [
    Fate::Booked,
    Fate::ToldLate,
    Fate::Approved,
    Fate::ApprovedLate,
    Fate::RefundedInPart,
];

/// What an affiliate gets from one order, in cents, once the sender knows it.
struct Earned {
    affiliate: &'static str,
    cents: i64,
    /// Where it is approved, if it still waits for that.
    waits: Option<String>,
}

async fn order(
    world: &World,
    affiliate: &'static str,
    clicks: &BTreeMap<String, String>,
    name: &str,
    fate: Fate,
) -> Earned {
    let program = match fate {
        Fate::Approved | Fate::ApprovedLate => "hats",
        _ => "shoes",
    };
    let click = &clicks[&format!("{affiliate}-{program}")];
    let mut sale = json!({"click_id": click, "order_id": name, "amount": "9.99"});
    if matches!(fate, Fate::ToldLate) {
        sale["occurred_at"] = json!("2026-07-01T00:30:00Z");
    }
    let told = post_until_known(world, &sale).await.answer.body;
    let mut earned = Earned {
        affiliate,
        cents: cents(&told["commissions"][0]["amount"]),
        waits: None,
    };
    let conversion = told["conversion"].as_str().unwrap();
    let approve = format!("conversions/{conversion}/approve");
    match fate {
        Fate::Booked | Fate::ToldLate => {}
        Fate::Approved => drop(ask_until_known(world, &approve, &json!({})).await),
        Fate::ApprovedLate => earned.waits = Some(approve),
        Fate::RefundedInPart => {
            let part = json!({"order_id": name, "reversal_id": "part", "amount": "3.33"});
            let reversed = until_known(|| world.reversal(part.clone())).await;
            earned.cents += -cents(&reversed.answer.body["reversed"][0]["amount"]);
        }
    }
    earned
}

/// Asks for a day's run again until it is done.
async fn run(world: &World, day: &str) -> Value {
    ask_until_known(world, "payout-runs", &json!({ "day": day })).await
}

/// Midnight strikes, and the run of the day that is over is made; answers the day that begins.
async fn close(world: &World, today: Date) -> Date {
    let tomorrow = today.tomorrow().unwrap();
    move_clock(world, &format!("{tomorrow}T00:00:00Z"));
    run(world, &today.to_string()).await;
    tomorrow
}

/// All that was earned is carried or paid, to the cent, and nothing waits for a run that was.
async fn check_nothing_is_stranded(world: &World, expected: &BTreeMap<&str, i64>) {
    for (affiliate, expected) in expected {
        let balance = world.balance(affiliate).await;
        let [on_hold, payable, in_payout] =
            ["on_hold", "payable", "in_payout"].map(|name| cents(&balance[name]));
        assert_eq!(on_hold, 0, "{affiliate}: {balance}");
        assert_eq!(payable + in_payout, *expected, "{affiliate}: {balance}");
        let list = format!("payouts?affiliate={affiliate}&limit=200");
        let payouts = world.get(&list).await.body;
        let paid: i64 = payouts["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|payout| cents(&payout["amount"]))
            .sum();
        assert_eq!(paid, in_payout, "{affiliate}");
        // The ledger's lines hold what was paid too.
        assert_eq!(ledger(world, affiliate).await.0, payable, "{affiliate}");
    }
}

/// Sales, late sales, approvals and refunds go on while a day ends and three clerks ask for its
/// run; every call may meet trouble.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bookings_that_race_the_close_of_a_day_strand_nothing() {
    const ORDERS: usize = 50;
    let world = Arc::new(busy_shop("2026-07-01T00:00:00Z").await);
    world.stack.table.record(false);
    let mut clicks = BTreeMap::new();
    for affiliate in AFFILIATES {
        for program in ["shoes", "hats"] {
            let slug = format!("{affiliate}-{program}");
            clicks.insert(slug.clone(), world.click(&slug).await);
        }
    }
    let clicks = Arc::new(clicks);
    let mut expected: BTreeMap<&str, i64> = BTreeMap::new();
    let mut waiting: Vec<String> = Vec::new();
    for day in 1..=4_u64 {
        let (today, tomorrow) = (
            format!("2026-07-{day:02}"),
            format!("2026-07-{:02}", day + 1),
        );
        move_clock(&world, &format!("{today}T23:00:00Z"));
        world.stack.table.set_faults(
            Faults::seeded(day)
                .with(Fault::AnswerLost, 20)
                .with(Fault::RequestLost, 20)
                .with(Fault::LateRepeat, 20)
                .with(Fault::Conflict, 20)
                .with(Fault::ServerError, 10),
        );
        let barrier = Arc::new(Barrier::new(ORDERS + waiting.len() + 4));
        let mut approvals = Vec::new();
        for approve in waiting.drain(..) {
            let (world, barrier) = (Arc::clone(&world), Arc::clone(&barrier));
            approvals.push(tokio::spawn(async move {
                barrier.wait().await;
                ask_until_known(&world, &approve, &json!({})).await
            }));
        }
        let mut orders = Vec::new();
        for number in 0..ORDERS {
            let (world, barrier, clicks) = (
                Arc::clone(&world),
                Arc::clone(&barrier),
                Arc::clone(&clicks),
            );
            orders.push(tokio::spawn(async move {
                barrier.wait().await;
                let affiliate = AFFILIATES[number % AFFILIATES.len()];
                let fate = FATES[number / AFFILIATES.len() % FATES.len()];
                order(&world, affiliate, &clicks, &format!("{day}-{number}"), fate).await
            }));
        }
        let mut clerks = Vec::new();
        for number in 0..3 {
            let (world, barrier) = (Arc::clone(&world), Arc::clone(&barrier));
            let (today, tomorrow) = (today.clone(), tomorrow.clone());
            clerks.push(tokio::spawn(async move {
                barrier.wait().await;
                // Others go first for a moment; then the first clerk's clock strikes midnight.
                for _ in 0..200 * day {
                    tokio::task::yield_now().await;
                }
                if number == 0 {
                    move_clock(&world, &format!("{tomorrow}T00:00:00Z"));
                }
                while !world.stack.clock.now().to_string().starts_with(&tomorrow) {
                    tokio::task::yield_now().await;
                }
                run(&world, &today).await
            }));
        }
        barrier.wait().await;
        for order in orders {
            let earned = order.await.unwrap();
            *expected.entry(earned.affiliate).or_default() += earned.cents;
            waiting.extend(earned.waits);
        }
        for approval in approvals {
            assert_eq!(approval.await.unwrap()["status"], "approved");
        }
        let mut answers = BTreeSet::new();
        for clerk in clerks {
            answers.insert(clerk.await.unwrap().to_string());
        }
        world.stack.table.set_faults(Faults::none());
        answers.insert(run(&world, &today).await.to_string());
        assert_eq!(answers.len(), 1, "{answers:#?}");
    }
    let injected = world.stack.table.faults_injected();
    assert_eq!(injected.len(), 5, "{injected:?}");

    assert_eq!(waiting.len(), ORDERS / FATES.len());
    for approve in waiting {
        ask_until_known(&world, &approve, &json!({})).await;
    }
    move_clock(&world, "2026-07-06T00:00:00Z");
    run(&world, "2026-07-05").await;
    check_nothing_is_stranded(&world, &expected).await;
}

/// Goes on with a task for so many steps: every call to the table is one at least.
async fn go_on<F: Future>(mut task: std::pin::Pin<&mut F>, steps: usize) -> Option<F::Output> {
    for _ in 0..steps {
        let step = poll_fn(|context| Poll::Ready(task.as_mut().poll(context))).await;
        if let Poll::Ready(output) = step {
            return Some(output);
        }
        // What it waits for wakes it only when others have their turn.
        tokio::task::yield_now().await;
    }
    None
}

/// A post stops at its n-th step, late in the evening, and goes on when the day's run is done,
/// whether the day has a bucket for it or none yet.
#[tokio::test]
async fn a_post_that_is_overtaken_by_its_days_run_is_booked_on_the_next_day() {
    let world = World::with_shop("2026-07-01T00:00:00Z").await;
    let mut today = date(2026, 7, 1);
    let mut orders = 0;
    let mut was_done = false;
    for steps in 0.. {
        for has_bucket in [false, true] {
            // Of its own: the days pass, and a click's window with them.
            let click_id = world.click("anna-shoes").await;
            let sale = |number: usize| json!({"click_id": click_id, "order_id": number.to_string(), "amount": "10"});
            if has_bucket {
                post_until_known(&world, &sale(orders)).await;
                orders += 1;
            } else {
                // The post before may have gone into today's; the next day has none.
                today = close(&world, today).await;
            }
            move_clock(&world, &format!("{today}T23:00:00Z"));
            let mut post = pin!(world.postback(sale(orders)));
            orders += 1;
            let done = go_on(post.as_mut(), steps).await;
            was_done = done.is_some();

            today = close(&world, today).await;
            let answer = match done {
                Some(answer) => answer,
                None => post.await,
            };
            assert_eq!(
                answer.body["result"], "created",
                "{steps} steps: {answer:?}"
            );
        }
        if was_done {
            break;
        }
    }
    assert!(orders > 20, "{orders}");
    close(&world, today).await;
    let earned = 100 * i64::try_from(orders).unwrap();
    check_nothing_is_stranded(&world, &BTreeMap::from([("anna", earned)])).await;
}

/// A post is cut off at its n-th call, late in the evening; the sender repeats it on the next
/// day, while the run of the day before is made.
#[tokio::test]
async fn a_retry_over_midnight_is_booked_once_and_paid() {
    let world = World::with_shop("2026-07-01T00:00:00Z").await;
    let click_id = world.click("anna-shoes").await;
    let sale = |click_id: &str, name: String| json!({"click_id": click_id, "order_id": name, "amount": "10"});
    let before = world.stack.table.call_count();
    post_until_known(&world, &sale(&click_id, "first".to_owned())).await;
    let calls = world.stack.table.call_count() - before;
    assert!(calls > 8, "{calls}");

    let mut orders = 1;
    let mut day = 1;
    for call in 0..calls {
        for when in [Cut::Before, Cut::After] {
            let today = date(2026, 7, 1).saturating_add(jiff::Span::new().days(day - 1));
            let tomorrow = today.tomorrow().unwrap();
            // Not the last minute: the clock runs on while the post is repeated inside.
            move_clock(&world, &format!("{today}T23:00:00Z"));
            let click_id = world.click("anna-shoes").await;
            world.stack.table.cut_at(call, when);
            let sale = sale(&click_id, format!("{call} {when:?}"));
            let cut = world.postback(sale.clone()).await;
            assert!(matches!(cut.status, 200 | 503), "{cut:?}");
            world.stack.table.mend();

            move_clock(&world, &format!("{tomorrow}T00:00:00Z"));
            world.stack.table.set_faults(Faults::seeded(call));
            let today = today.to_string();
            tokio::join!(post_until_known(&world, &sale), run(&world, &today));
            world.stack.table.set_faults(Faults::none());
            orders += 1;
            day += 1;
        }
    }
    let last = date(2026, 7, 1).saturating_add(jiff::Span::new().days(day - 1));
    close(&world, last).await;
    let (_, lines) = ledger(&world, "anna").await;
    assert_eq!(lines, orders);
    let earned = 100 * i64::try_from(orders).unwrap();
    check_nothing_is_stranded(&world, &BTreeMap::from([("anna", earned)])).await;
}

/// A shop whose affiliate has earned 1.00 on the first day.
async fn with_a_sale() -> World {
    let world = World::with_shop(START).await;
    let click_id = world.click("anna-shoes").await;
    let sale = json!({"click_id": click_id, "order_id": "A-1", "amount": "10"});
    post_until_known(&world, &sale).await;
    world
}

/// Goes on with a task for so many steps, makes the run of the world's first day, and lets the task end:
/// what came of it, whether that was before the run, and the day that begins.
async fn overtaken<F: Future>(
    world: &World,
    mut task: std::pin::Pin<&mut F>,
    steps: usize,
) -> (F::Output, bool, Date) {
    let early = go_on(task.as_mut(), steps).await;
    let was_done = early.is_some();
    let next = close(world, date(2026, 7, 1)).await;
    let output = match early {
        Some(output) => output,
        None => task.await,
    };
    (output, was_done, next)
}

/// The sale of [`with_a_sale`] is paid.
async fn check_paid(world: &World, steps: usize) {
    let balance = world.balance("anna").await;
    assert_eq!(
        balance["in_payout"], "1.00",
        "after {steps} steps: {balance}"
    );
}

/// An affiliate's details stop at their n-th step, late in the evening, and go on when the day's run is
/// done: that run paid by them, or they are made again and the next one does.
#[tokio::test]
async fn details_that_are_overtaken_by_their_days_run_set_free_what_it_carried() {
    let mut refused = 0;
    for steps in 0.. {
        let world = with_a_sale().await;
        let none = json!({"payout": null});
        assert_eq!(world.patch("affiliates/anna", 1, none).await.status, 200);

        move_clock(&world, "2026-07-01T23:59:59Z");
        let daily = json!({"currency": "EUR", "method": "manual", "schedule": "daily"});
        let details = json!({ "payout": daily });
        let mut patch = pin!(world.patch("affiliates/anna", 2, details.clone()));
        let (made, was_done, next) = overtaken(&world, patch.as_mut(), steps).await;
        if made.status == 503 {
            refused += 1;
            let again = world.patch("affiliates/anna", 2, details).await;
            assert_eq!(again.status, 200, "{again:?}");
        } else {
            assert_eq!(made.status, 200, "{made:?}");
        }
        close(&world, next).await;
        check_paid(&world, steps).await;
        if was_done {
            break;
        }
    }
    assert!(refused > 0);
}

/// An affiliate's first money with a payer arrives late in the evening and is booked after midnight,
/// while new details stop at their n-th step: the run of the day that is over holds it, and the next
/// one pays it, though the details did not know of it.
#[tokio::test]
async fn details_that_are_given_while_first_money_is_booked_set_it_free() {
    for steps in 0.. {
        let world = World::with_shop(START).await;
        let none = json!({"payout": null});
        assert_eq!(world.patch("affiliates/anna", 1, none).await.status, 200);
        let click_id = world.click("anna-shoes").await;

        move_clock(&world, "2026-07-01T23:59:59Z");
        let sale = json!({"click_id": click_id, "order_id": "A-1", "amount": "10"});
        let mut post = pin!(world.postback(sale));
        assert!(go_on(post.as_mut(), 1).await.is_none());

        move_clock(&world, "2026-07-02T00:00:00Z");
        let daily = json!({"currency": "EUR", "method": "manual", "schedule": "daily"});
        let mut patch = pin!(world.patch("affiliates/anna", 2, json!({ "payout": daily })));
        let early = go_on(patch.as_mut(), steps).await;
        let was_done = early.is_some();
        assert_eq!(post.await.body["result"], "created");
        run(&world, "2026-07-01").await;
        let balance = world.balance("anna").await;
        assert_eq!(balance["in_payout"], "0.00", "{balance}");

        let made = match early {
            Some(made) => made,
            None => patch.await,
        };
        assert_eq!(made.status, 200, "after {steps} steps: {made:?}");
        close(&world, date(2026, 7, 2)).await;
        check_paid(&world, steps).await;
        if was_done {
            break;
        }
    }
}

/// The reconciliation finds that an account agrees again and stops at its n-th step, late in the
/// evening; when it goes on the day's run has left the account alone, or has paid it.
#[tokio::test]
async fn an_account_that_agrees_again_while_its_days_run_is_made_is_paid_by_a_later_one() {
    // Every call to the table takes two steps or more.
    for steps in (0..).step_by(2) {
        let world = with_a_sale().await;
        let schedule = Schedule {
            day: None,
            scheduled_time: "2026-07-01T23:59:59Z".parse().unwrap(),
        };
        let reconcile = || report::scheduled(&world.stack.app, &schedule);
        let bucket = format!("B#2026-07-01#{:02}", pocket("anna").shard());
        let lane = "house#anna#EUR#00";
        world.tamper(&bucket, lane, "earned", 1).await;
        assert_eq!(reconcile().await.unwrap()["marked"], 1);
        world.tamper(&bucket, lane, "earned", -1).await;

        move_clock(&world, "2026-07-01T23:59:59Z");
        let mut agrees = pin!(reconcile());
        let (made, was_done, next) = overtaken(&world, agrees.as_mut(), steps).await;
        assert_eq!(made.unwrap()["marked"], 0, "after {steps} steps");
        close(&world, next).await;
        check_paid(&world, steps).await;
        if was_done {
            break;
        }
    }
}

/// The next list that has such an item misses it; whether that has come to pass.
fn miss_once(world: &World, is_missed: fn(&Value) -> bool) -> Arc<AtomicBool> {
    let missed = Arc::new(AtomicBool::new(false));
    let once = Arc::clone(&missed);
    world.stack.table.meddle(
        |operation, _| operation == "Query",
        move |passing| {
            if let Passing::Answered { answer, .. } = passing
                && let Some(items) = answer["Items"].as_array_mut()
                && items.iter().any(is_missed)
                && !once.swap(true, Ordering::Relaxed)
            {
                items.retain(|item| !is_missed(item));
            }
            None
        },
    );
    missed
}

/// Of an affiliate's lanes the run's first list shows one; the other was made by a transaction that had
/// just ended.
#[tokio::test]
async fn a_lane_that_a_list_misses_is_settled_with_the_others() {
    let world = World::with_shop(START).await;
    let two = json!({"lanes": 2});
    assert_eq!(world.patch("affiliates/anna", 1, two).await.status, 200);
    let click_id = world.click("anna-shoes").await;
    for order in ["A-1", "A-3"] {
        let sale = json!({"click_id": click_id, "order_id": order, "amount": "10"});
        post_until_known(&world, &sale).await;
    }

    move_clock(&world, "2026-07-02T00:00:00Z");
    let missed = miss_once(&world, |item| item["sk"]["S"] == "house#anna#EUR#01");
    let done = run(&world, "2026-07-01").await;
    assert!(missed.load(Ordering::Relaxed));
    assert_eq!(done["buckets"], 2, "{done}");
    assert_eq!(done["total"][0]["amount"], "2.00", "{done}");
    let balance = world.balance("anna").await;
    assert_eq!(balance["in_payout"], "2.00", "{balance}");
}

/// A program pays another share from eleven and another from twelve; an order of half past eleven comes
/// later, and a list of those versions would miss the one it was made by.
#[tokio::test]
async fn an_order_earns_by_its_version_of_the_program_though_a_list_misses_it() {
    let world = World::with_shop(START).await;
    let click_id = world.click("anna-shoes").await;
    for (version, at, percent) in [
        (1, "2026-07-01T11:00:00Z", "20"),
        (2, "2026-07-01T12:00:00Z", "30"),
    ] {
        move_clock(&world, at);
        let share = json!({"commission": [{"type": "percent", "percent": percent}]});
        let made = world.patch("programs/shoes", version, share).await;
        assert_eq!(made.status, 200, "{made:?}");
    }
    move_clock(&world, "2026-07-01T12:30:00Z");
    let missed = miss_once(&world, |item| item["ver"]["N"] == "2");
    let sale = json!({"click_id": click_id, "order_id": "A-1", "amount": "10",
        "occurred_at": "2026-07-01T11:30:00Z"});
    post_until_known(&world, &sale).await;
    assert!(!missed.load(Ordering::Relaxed), "no list is asked");
    assert_eq!(world.balance("anna").await["earned"], "2.00");
}

/// An affiliate is suspended in the evening and active again after midnight; a list of those versions
/// would miss the suspension.
#[tokio::test]
async fn a_version_that_a_list_misses_is_in_force_all_the_same() {
    let world = with_a_sale().await;
    let status = |status: &str| json!({ "status": status });
    for (version, at, now) in [
        (1, "2026-07-01T23:00:00Z", "suspended"),
        (2, "2026-07-02T00:00:00Z", "active"),
    ] {
        move_clock(&world, at);
        let made = world.patch("affiliates/anna", version, status(now)).await;
        assert_eq!(made.status, 200, "{made:?}");
    }
    let missed = miss_once(&world, |item| item["ver"]["N"] == "2");
    let done = run(&world, "2026-07-01").await;
    assert!(!missed.load(Ordering::Relaxed), "no list is asked");
    assert_eq!(
        (&done["payouts"], &done["held"]),
        (&json!(0), &json!(1)),
        "{done}"
    );
}

/// One clerk's run is overtaken by another's, and that one dies on its way, a little later each
/// day. Whoever is left must not call the day done while an account waits to be settled.
#[tokio::test]
async fn a_run_that_overtakes_another_and_dies_strands_nothing() {
    let world = busy_shop("2026-07-01T00:00:00Z").await;
    world.stack.table.record(false);
    let mut expected: BTreeMap<&str, i64> = BTreeMap::new();
    let first = date(2026, 7, 1);
    let days = 40;
    for number in 0..days {
        let today = first.saturating_add(jiff::Span::new().days(number));
        for affiliate in AFFILIATES {
            let click_id = world.click(&format!("{affiliate}-shoes")).await;
            let name = format!("{today} {affiliate}");
            let sale = json!({"click_id": click_id, "order_id": name, "amount": "10"});
            post_until_known(&world, &sale).await;
            *expected.entry(affiliate).or_default() += 100;
        }
        let tomorrow = today.tomorrow().unwrap();
        move_clock(&world, &format!("{tomorrow}T00:00:00Z"));

        let day = json!({"day": today.to_string()});
        let mut slow = pin!(world.post("payout-runs", day.clone()));
        assert!(go_on(slow.as_mut(), 12).await.is_none());
        {
            let overtaking = pin!(world.post("payout-runs", day.clone()));
            let steps = usize::try_from(number).unwrap() * 8;
            go_on(overtaking, steps).await;
        }
        let slow = slow.await;
        assert!(matches!(slow.status, 200 | 503), "{slow:?}");
        let done = run(&world, &today.to_string()).await;
        assert_eq!(done["buckets"], 5, "{done}");
        if slow.status == 200 {
            assert_eq!(slow.body, done);
        }
    }
    check_nothing_is_stranded(&world, &expected).await;
}
