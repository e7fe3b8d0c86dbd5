//! The shop of the rule on a stack: set up, its orders posted, its months closed.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use jiff::civil::Date;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use super::requests::{Door, Unexpected};
use super::rule::{self, Dealt, Hour, PROGRAMS, Refund, Rounding, Schedule};
use crate::stack::{Stack, Start};

/// How many orders of a day are on their way at once: their money only adds up.
const AT_ONCE: usize = 16;
/// How many refused posts are kept as they came back.
const REFUSED_MOST: usize = 20;

/// What the shop's posts were answered.
#[derive(Debug, Default)]
pub struct Answers {
    pub created: u64,
    /// Of these, orders of 0.00.
    pub worth_nothing: u64,
    pub recorded_before: u64,
    pub reversals: u64,
    pub reversals_before: u64,
    pub refused: u64,
    /// The first of them, in words.
    pub refusals: Vec<String>,
    /// By order id: what was said to be earned, and what each refund took back.
    pub orders: BTreeMap<String, Value>,
    pub given_back: BTreeMap<String, Vec<Value>>,
}

/// The shop, its staff and its stack.
#[derive(Debug)]
pub struct Shop {
    door: Arc<Door>,
    /// The postback token of each merchant.
    tokens: Arc<BTreeMap<&'static str, String>>,
    /// The key of the person who approves what the admin prepares.
    second: String,
    pub answers: Answers,
}

/// A month's seal.
#[derive(Debug)]
pub struct Sealed {
    pub payer: &'static str,
    pub month: Date,
    pub sha256: String,
}

impl Shop {
    /// Sets everything up on a stack in memory on the first day of the orders.
    ///
    /// # Errors
    /// What went wrong, for the operator.
    pub async fn open(first: Date) -> Result<Self, super::ReplayError> {
        let start = Start {
            folder: None,
            now: format!("{first}T00:00:00Z")
                .parse()
                .expect("a day has a midnight"),
            public_url: "http://127.0.0.1:8787",
            admin_key: None,
            has_schedule: true,
            // An oracle of its own proves the outcome; a year of days would be added up every day.
            reconciles: false,
        };
        let (stack, admin) = Stack::start(&start)
            .await
            .map_err(|error| super::ReplayError::Start(error.to_string()))?;
        stack.table.record(false);
        stack.table.keep_tokens(false);
        let door = Door { stack, admin };
        let tokens = set_up(&door).await?;
        let second = json!({"role": "finance", "person": "the second person"});
        let second = door.make("keys", second).await?;
        Ok(Self {
            door: Arc::new(door),
            tokens: Arc::new(tokens),
            second: text(&second["key"]),
            answers: Answers::default(),
        })
    }

    /// Turns the clock; on the way the runs that are due are made.
    ///
    /// # Errors
    /// [`Unexpected`]
    pub async fn turn_to(&self, day: Date, hour: Hour) -> Result<(), Unexpected> {
        let time = match hour {
            Hour::Night => "00:30",
            Hour::Noon => "12:00",
        };
        self.door.turn_to(&format!("{day}T{time}:00Z")).await
    }

    /// Posts a day's orders: first those that stand there for the first time, many at once.
    ///
    /// # Errors
    /// [`Unexpected`]
    pub async fn post_orders(&mut self, orders: &[&Dealt]) -> Result<(), Unexpected> {
        for is_repeat in [false, true] {
            let wave = orders
                .iter()
                .filter(|dealt| dealt.order.is_repeat == is_repeat);
            let wave: Vec<Dealt> = wave.map(|dealt| (*dealt).clone()).collect();
            let (door, tokens) = (Arc::clone(&self.door), Arc::clone(&self.tokens));
            let answered = at_once(wave, move |dealt| {
                let (door, tokens) = (Arc::clone(&door), Arc::clone(&tokens));
                async move {
                    let slug = slug(dealt.affiliate, dealt.program);
                    let click_id = door.click(&slug).await?;
                    let body = json!({
                        "token": tokens[dealt.program.merchant],
                        "click_id": click_id,
                        "order_id": dealt.order.id,
                        "amount": decimal(dealt.order.cents),
                        "currency": "USD",
                    });
                    Ok((door.post("/postback", &body).await, dealt))
                }
            });
            for (answer, dealt) in answered.await? {
                let order = &dealt.order;
                match (answer.status, answer.result()) {
                    (200, "recorded_before") if order.is_repeat || !answer.is_repeated => {
                        self.answers.recorded_before += 1;
                    }
                    // Before an answer that never came.
                    (200, "created" | "recorded_before") => {
                        self.answers.created += 1;
                        self.answers.worth_nothing += u64::from(order.cents == 0);
                        let commissions = answer.body["commissions"].clone();
                        self.answers.orders.insert(order.id.clone(), commissions);
                    }
                    _ => self
                        .answers
                        .refuse(answer.unexpected(format!("order `{}`", order.id))),
                }
            }
        }
        Ok(())
    }

    /// Posts refunds, many at once; one that is posted twice is posted again after it was answered.
    ///
    /// # Errors
    /// [`Unexpected`]
    pub async fn post_refunds(&mut self, refunds: Vec<(&Dealt, Refund)>) -> Result<(), Unexpected> {
        let (door, tokens) = (Arc::clone(&self.door), Arc::clone(&self.tokens));
        let refunds = refunds.into_iter().map(|(dealt, refund)| {
            let mut body = json!({
                "token": tokens[dealt.program.merchant],
                "order_id": dealt.order.id,
                "reason": "returned",
            });
            if let Some(third) = refund.third {
                body["reversal_id"] = json!("third");
                body["amount"] = json!(decimal(third));
            }
            (dealt.order.id.clone(), refund, body)
        });
        let answered = at_once(refunds.collect(), move |(order_id, refund, body)| {
            let door = Arc::clone(&door);
            async move {
                let first = door.post("/postback/reversal", &body).await;
                let again = if refund.is_posted_twice {
                    Some(door.post("/postback/reversal", &body).await)
                } else {
                    None
                };
                Ok((order_id, first, again))
            }
        });
        for (order_id, first, again) in answered.await? {
            let is_new = first.result() == "created"
                || (first.result() == "recorded_before" && first.is_repeated);
            if is_new {
                self.answers.reversals += 1;
                let given_back = self.answers.given_back.entry(order_id.clone());
                given_back.or_default().push(first.body["reversed"].clone());
            } else {
                self.answers
                    .refuse(first.unexpected(format!("a refund of `{order_id}`")));
            }
            match again {
                None => {}
                Some(again) if again.result() == "recorded_before" => {
                    self.answers.reversals_before += 1;
                }
                Some(again) => self
                    .answers
                    .refuse(again.unexpected(format!("a refund of `{order_id}`, again"))),
            }
        }
        Ok(())
    }

    /// The late affiliate says where to be paid.
    ///
    /// # Errors
    /// [`Unexpected`]
    pub async fn say_where_to(&self, affiliate: u8) -> Result<(), Unexpected> {
        let path = format!("affiliates/{}", rule::affiliate_id(affiliate));
        let change = json!({ "payout": details(affiliate) });
        self.door.change(&path, change).await.map(drop)
    }

    /// What the run of a day came to: the same answer, however often it is asked for.
    ///
    /// # Errors
    /// [`Unexpected`]
    pub async fn run_of(&self, day: Date) -> Result<Value, Unexpected> {
        let day = json!({ "day": day.to_string() });
        self.door.make("payout-runs", day).await
    }

    /// Closes a payer's month: one person prepares it, another approves it.
    ///
    /// # Errors
    /// [`Unexpected`]
    pub async fn close(&self, payer: &'static str, month: Date) -> Result<Sealed, Unexpected> {
        let path = |step: &str| format!("periods/{}/{step}?payer={payer}", name_of(month));
        self.door.ask(&self.door.admin, &path("prepare")).await?;
        self.door.ask(&self.second, &path("approve")).await?;
        let closed = self.door.ask(&self.door.admin, &path("close")).await?;
        Ok(Sealed {
            payer,
            month,
            sha256: text(&closed["sha256"]),
        })
    }

    /// The report of a payer's month, and the SHA-256 of its CSV for machines.
    ///
    /// # Errors
    /// [`Unexpected`]
    pub async fn report(&self, payer: &str, month: Date) -> Result<(Value, String), Unexpected> {
        let path = format!("reports/payouts/{}?payer={payer}", name_of(month));
        let report = self.door.get(&format!("{path}&format=json")).await?;
        let csv = format!("{path}&format=csv&raw=1");
        let admin = &self.door.admin;
        let csv = self.door.bytes(admin, Method::GET, &csv, None).await?;
        let digest = Bytes::copy_from_slice(&Sha256::digest(&csv));
        Ok((report, format!("{digest:x}")))
    }

    /// # Errors
    /// [`Unexpected`]
    pub async fn balances(&self, affiliate: u8) -> Result<Value, Unexpected> {
        let id = rule::affiliate_id(affiliate);
        let path = format!("affiliates/{id}/balances");
        self.door.get(&path).await
    }
}

impl Answers {
    fn refuse(&mut self, what: Unexpected) {
        self.refused += 1;
        if self.refusals.len() < REFUSED_MOST {
            self.refusals.push(what.to_string());
        }
    }
}

async fn set_up(door: &Door) -> Result<BTreeMap<&'static str, String>, Unexpected> {
    let label = json!({
        "id": "label", "legal_name": "Imports Label Inc.",
        "address": {"town": "Fort Washington", "country": "US"},
    });
    door.make("payers", label).await?;
    let mut tokens = BTreeMap::new();
    for program in &PROGRAMS {
        if !tokens.contains_key(program.merchant) {
            let merchant =
                json!({"id": program.merchant, "name": program.merchant, "payer": program.payer});
            let made = door.make("merchants", merchant).await?;
            let token = text(&made["secret"]["postback_token"]);
            tokens.insert(program.merchant, token);
        }
        let body = json!({
            "id": program.id, "merchant": program.merchant, "name": program.id, "currency": "USD",
            "destination": "https://cdnow.example/", "status": "active",
            "override": "its orders were made long ago", "hold_days": program.hold_days,
            "rounding": match program.rounding {
                Rounding::HalfEven => "half_even",
                Rounding::HalfUp => "half_up",
                Rounding::Down => "down",
            },
            "commission": [{"type": "percent", "percent": decimal(program.basis_points)}],
        });
        door.make("programs", body).await?;
    }
    for affiliate in 0..rule::AFFILIATES {
        let id = rule::affiliate_id(affiliate);
        let mut body = json!({
            "id": id, "name": id, "email": format!("{id}@example.com"), "country": "US",
        });
        let says_later = [rule::LATE, rule::SILENT].contains(&affiliate);
        if !says_later {
            body["payout"] = details(affiliate);
        }
        door.make("affiliates", body).await?;
        for program in &PROGRAMS {
            let slug = slug(affiliate, program);
            let link = json!({"slug": slug, "program": program.id, "affiliate": id});
            door.make("links", link).await?;
        }
    }
    Ok(tokens)
}

fn details(affiliate: u8) -> Value {
    json!({
        "currency": "USD", "method": "manual",
        "minimum": {"USD": decimal(rule::minimum(affiliate))},
        "schedule": match rule::schedule(affiliate) {
            Schedule::Daily => "daily",
            Schedule::Weekly => "weekly",
            Schedule::Monthly => "monthly",
        },
    })
}

fn slug(affiliate: u8, program: &rule::Program) -> String {
    format!("{}-{}", rule::affiliate_id(affiliate), program.id)
}

/// Does something with each of many, some at a time; the first error ends it.
async fn at_once<T, A, F>(
    all: Vec<T>,
    what: impl Fn(T) -> F + Clone + Send + 'static,
) -> Result<Vec<A>, Unexpected>
where
    T: Send + 'static,
    A: Send + 'static,
    F: Future<Output = Result<A, Unexpected>> + Send,
{
    let mut hands: Vec<Vec<T>> = std::iter::repeat_with(Vec::new).take(AT_ONCE).collect();
    for (place, one) in all.into_iter().enumerate() {
        hands[place % AT_ONCE].push(one);
    }
    let mut tasks = JoinSet::new();
    for hand in hands.into_iter().filter(|hand| !hand.is_empty()) {
        let what = what.clone();
        tasks.spawn(async move {
            let mut answers = Vec::with_capacity(hand.len());
            for one in hand {
                answers.push(what(one).await?);
            }
            Ok(answers)
        });
    }
    let mut answers = Vec::new();
    while let Some(hand) = tasks.join_next().await {
        answers.extend(hand.expect("a task that panics ends the replay")?);
    }
    Ok(answers)
}

/// A month as `1997-01`.
#[must_use]
pub fn name_of(month: Date) -> String {
    format!("{:04}-{:02}", month.year(), month.month())
}

/// Hundredths as a decimal number.
fn decimal(hundredths: i64) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
