//! Overload: postbacks at many times the rate that the one-machine stack answers, among visitors.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::client::{Answer, Asked, Client};
use crate::stack::{self, Stack};
use crate::times::Times;

/// So many senders, each of whom waits for its answer, find out what is sustainable.
const MEASURING: u64 = 8;
/// So many have more than enough to be answered late.
const SENDERS: u64 = 512;
const VISITORS: u64 = 4;
/// Each visitor's links, one after the other.
const VISIT_EVERY: Duration = Duration::from_millis(100);
/// In time, whoever was turned away last must have been answered so long after it is over.
const RECOVERED_WITHIN: Duration = Duration::from_secs(10);
/// Whoever sends from the same two cores may fall behind its pace by so many of a hundred.
const BEHIND_MOST: u64 = 10;
/// What is taken at a time is bounded, so memory is: some 20 MiB idle, as much again for the table's
/// own cache, and 64 KiB for each of 512 connections make 72; more than this would be a queue.
const MEMORY_MOST_KIB: u64 = 128 * 1024;

#[derive(Debug, Args)]
pub struct Options {
    /// How long it lasts
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    seconds: u64,
    /// How many times the sustainable rate is sent
    #[arg(long, value_name = "N", default_value_t = 10)]
    times: u64,
    /// How long the sustainable rate is measured before
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    measure: u64,
}

/// What everybody shares.
struct Shop {
    url: String,
    token: String,
    click_id: String,
    is_over: AtomicBool,
    sent: AtomicU64,
}

impl Shop {
    fn order(&self, id: &str) -> Asked {
        let body = json!({
            "token": self.token, "click_id": self.click_id, "order_id": id, "amount": "10",
        });
        Asked::post("/postback", body)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// What a sender was told.
#[derive(Default)]
struct Told {
    orders: BTreeSet<String>,
    /// Of these, how many were acknowledged before it was over.
    in_time: u64,
    turned_away: u64,
    unanswered: u64,
    without_retry_after: u64,
}

pub fn prove(options: &Options) -> Result<(), String> {
    let folder = stack::build(&["clickledger"])?;
    let mut stack = Stack::new(folder.join("clickledger"))?;
    stack.start()?;
    let client = Client::new(&stack.url());
    let daily = json!({"currency": "EUR", "method": "manual", "schedule": "daily"});
    let affiliates = [("anna".to_owned(), daily)];
    let token = stack::set_up(&client, &[("shoes", 0)], &affiliates)?;
    let visit = client.send(&Asked::visit("anna-shoes"));
    let visit = visit.map_err(|error| error.to_string())?;
    let shop = Arc::new(Shop {
        url: stack.url(),
        token,
        click_id: visit.click_id().ok_or("the first visitor is sent on")?,
        is_over: AtomicBool::new(false),
        sent: AtomicU64::new(0),
    });
    let idle_kib = stack.resident_kib().unwrap_or(0);

    let measured = Duration::from_secs(options.measure);
    let calm = go(&shop, &stack, MEASURING, None, measured)?;
    let mut orders = calm.told.orders;
    let rate = u64::try_from(orders.len()).unwrap_or(0) / options.measure.max(1);
    println!(
        "sustainable: {rate} postbacks a second by {MEASURING} senders, each waiting for its answer"
    );
    println!("  visitors   {}", calm.visits);
    let calm_visits = calm.visits.times.count();
    if rate == 0 || calm.told.turned_away + calm.told.unanswered > 0 {
        return Err("the stack is overloaded before it is".to_owned());
    }

    let lasting = Duration::from_secs(options.seconds);
    let wanted = rate * options.times;
    shop.sent.store(0, Ordering::Relaxed);
    let Seen {
        told,
        visits,
        most_kib,
        recovered,
    } = go(&shop, &stack, SENDERS, Some(wanted), lasting)?;
    let sent = shop.sent.load(Ordering::Relaxed) / options.seconds.max(1);
    println!(
        "overload: {sent} postbacks a second for {} s ({wanted} were wanted)",
        options.seconds
    );
    println!(
        "  answered   {} created or recorded before",
        told.orders.len()
    );
    println!(
        "  goodput    {} orders a second acknowledged while it lasted",
        told.in_time / options.seconds.max(1)
    );
    println!(
        "  turned away {} with 503 and Retry-After",
        told.turned_away
    );
    println!(
        "  broke off  {} connections, and their senders sent again",
        told.unanswered
    );
    println!("  visitors   {visits}");
    println!(
        "  memory     {} MiB idle, {} MiB while measuring, {} MiB at most in overload, {} MiB after",
        idle_kib / 1024,
        calm.most_kib / 1024,
        most_kib / 1024,
        stack.resident_kib().unwrap_or(0) / 1024
    );
    println!(
        "  recovered  all {SENDERS} senders acknowledged {} ms after it was over",
        recovered.as_millis()
    );
    orders.extend(told.orders);
    let health = client.done(&Asked::health())?.json();
    println!("  health     {health}");
    check(&client, &orders)?;
    println!("{} orders, each once; {}", orders.len(), stack.reconcile()?);
    let sent_on = 1 + calm_visits + visits.times.count();
    let (recorded, lost) = (stack.recorded_clicks()?.len(), stack.lost_clicks());
    println!("{sent_on} visitors sent on, {recorded} recorded, the log counts {lost} as lost");

    if told.unanswered + told.without_retry_after > 0 {
        let (unanswered, bare) = (told.unanswered, told.without_retry_after);
        return Err(format!(
            "{unanswered} not answered, {bare} without Retry-After"
        ));
    }
    if told.turned_away == 0 || sent * 100 < wanted * (100 - BEHIND_MOST) {
        return Err(format!(
            "that was no overload: {sent} postbacks a second, and {wanted} were wanted"
        ));
    }
    if most_kib == 0 || MEMORY_MOST_KIB < most_kib {
        return Err(format!(
            "{most_kib} KiB of memory, and {MEMORY_MOST_KIB} would do"
        ));
    }
    if recorded + lost < sent_on || health["lost_clicks"] != lost {
        return Err(format!(
            "of {sent_on} visitors {recorded} are recorded and {lost} counted as lost"
        ));
    }
    if visits.failed > 0 || RECOVERED_WITHIN < recovered {
        return Err("visitors were not sent on, or it does not recover".to_owned());
    }
    Ok(())
}

/// What visitors saw.
#[derive(Default)]
struct Visits {
    times: Times,
    failed: u64,
}

impl std::fmt::Display for Visits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sent_on, failed) = (self.times.count(), self.failed);
        write!(f, "{sent_on} sent on, {failed} not; {}", self.times)
    }
}

/// What came of some time.
struct Seen {
    told: Told,
    visits: Visits,
    most_kib: u64,
    /// Until the last sender was acknowledged.
    recovered: Duration,
}

/// Senders and visitors for a while.
fn go(
    shop: &Arc<Shop>,
    stack: &Stack,
    senders: u64,
    rate: Option<u64>,
    lasting: Duration,
) -> Result<Seen, String> {
    shop.is_over.store(false, Ordering::Relaxed);
    let begin = Instant::now();
    let posting: Vec<JoinHandle<Told>> = (0..senders)
        .map(|number| {
            let shop = Arc::clone(shop);
            let pace =
                rate.map(|rate| Duration::from_secs(senders) / u32::try_from(rate).unwrap_or(1));
            let first = begin
                + pace.unwrap_or_default() * u32::try_from(number).unwrap_or(0)
                    / u32::try_from(senders).unwrap_or(1);
            thread::spawn(move || post(&shop, &format!("{senders}-{number}"), first, pace))
        })
        .collect();
    let visiting: Vec<JoinHandle<Visits>> = (0..VISITORS)
        .map(|_| {
            let shop = Arc::clone(shop);
            thread::spawn(move || visit(&shop))
        })
        .collect();

    let progress = ProgressBar::new(lasting.as_secs());
    let mut most_kib = 0;
    while begin.elapsed() < lasting {
        thread::sleep(Duration::from_millis(500));
        most_kib = most_kib.max(stack.resident_kib().unwrap_or(0));
        progress.set_position(begin.elapsed().as_secs());
    }
    progress.finish_and_clear();
    shop.is_over.store(true, Ordering::Relaxed);
    let over = Instant::now();
    let (mut told, mut visits) = (Told::default(), Visits::default());
    for sender in posting {
        let one = sender.join().map_err(|_| "a sender panicked")?;
        told.orders.extend(one.orders);
        told.in_time += one.in_time;
        told.turned_away += one.turned_away;
        told.unanswered += one.unanswered;
        told.without_retry_after += one.without_retry_after;
    }
    let recovered = over.elapsed();
    for visitor in visiting {
        let one = visitor.join().map_err(|_| "a visitor panicked")?;
        visits.times.extend(one.times);
        visits.failed += one.failed;
    }
    Ok(Seen {
        told,
        visits,
        most_kib,
        recovered,
    })
}

/// A new order after each that is acknowledged, the same one after each that is not; at a pace, or
/// as fast as answers come. The last one is sent until it is acknowledged.
fn post(shop: &Shop, name: &str, mut next: Instant, pace: Option<Duration>) -> Told {
    let client = Client::keeping(&shop.url, 1);
    let mut told = Told::default();
    loop {
        let id = format!("{name}-{}", told.orders.len());
        let asked = shop.order(&id);
        loop {
            thread::sleep(next.saturating_duration_since(Instant::now()));
            shop.sent.fetch_add(1, Ordering::Relaxed);
            let answer = client.send(&asked);
            match (pace, shop.is_over()) {
                (Some(pace), false) => next += pace,
                (Some(_), true) => next = Instant::now() + Duration::from_secs(1),
                (None, _) => {}
            }
            match answer {
                Ok(answer) if is_acknowledged(&answer) => break,
                Ok(answer) => {
                    told.turned_away += 1;
                    told.without_retry_after += u64::from(!is_to_be_repeated(&answer));
                }
                Err(_) => told.unanswered += 1,
            }
        }
        told.orders.insert(id);
        if shop.is_over() {
            return told;
        }
        told.in_time += 1;
    }
}

fn is_acknowledged(answer: &Answer) -> bool {
    answer.status == 200 && answer.json()["commissions"][0]["amount"] == "1.00"
}

fn is_to_be_repeated(answer: &Answer) -> bool {
    matches!(answer.status, 429 | 503) && answer.retry_after.is_some()
}

fn visit(shop: &Shop) -> Visits {
    let client = Client::keeping(&shop.url, 1);
    let mut visits = Visits::default();
    while !shop.is_over() {
        let began = Instant::now();
        let is_sent_on = client
            .send(&Asked::visit("anna-shoes"))
            .is_ok_and(|answer| answer.click_id().is_some());
        if is_sent_on {
            visits.times.add(began.elapsed());
        } else {
            visits.failed += 1;
        }
        thread::sleep(VISIT_EVERY.saturating_sub(began.elapsed()));
    }
    visits
}

/// What was acknowledged is there, once, and nothing else.
fn check(client: &Client, orders: &BTreeSet<String>) -> Result<(), String> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("conversions?limit=200{cursor}"))?;
        let items = page["items"].as_array().into_iter().flatten();
        found.extend(items.map(|item| item["order_id"].as_str().unwrap_or_default().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let different: BTreeSet<String> = found.iter().cloned().collect();
    if found.len() != orders.len() || different != *orders {
        let (found, known) = (found.len(), orders.len());
        return Err(format!("{found} conversions of {known} orders"));
    }
    let balance: Value = client.get("affiliates/anna/balances")?;
    let earned = format!("{}.00", orders.len());
    if balance["items"][0]["earned"] != earned.as_str() {
        return Err(format!(
            "{earned} were acknowledged, and the balance is {balance}"
        ));
    }
    Ok(())
}
