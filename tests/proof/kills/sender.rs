//! A shop's server with its visitors: it keeps what it was told, and sends again what it was not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;

use super::line::{CLICK, Line, POSTBACK, REVERSAL, Told};
use super::{PROGRAMS, affiliates};
use crate::client::{Asked, cents, decimal};

/// An order that was acknowledged, in minor units.
#[derive(Debug, Clone)]
pub struct Order {
    pub program: usize,
    pub affiliate: usize,
    pub amount: i64,
    pub reversed: i64,
    asked: Asked,
}

impl Order {
    /// A tenth, and nothing to round: all amounts end with 0.
    pub fn commission(&self) -> i64 {
        self.amount / 10
    }
}

/// An id that a visitor was sent on with.
#[derive(Debug)]
struct Click {
    id: String,
    program: usize,
    affiliate: usize,
}

#[derive(Debug)]
pub struct Sender {
    number: u64,
    line: Arc<Line>,
    token: String,
    rng: Rng,
    /// The id of everyone who was sent on.
    visits: Vec<String>,
    /// Without an order until the end.
    kept: Vec<Click>,
    orders: BTreeMap<String, Order>,
    reversals: u64,
}

/// All orders by their ids.
pub fn orders(senders: &[Sender]) -> BTreeMap<String, Order> {
    let all = senders.iter().flat_map(|sender| sender.orders.clone());
    all.collect()
}

/// The ids of all visitors who were sent on.
pub fn visits(senders: &[Sender]) -> Vec<String> {
    let all = senders.iter().flat_map(|sender| sender.visits.clone());
    all.collect()
}

impl Sender {
    pub fn new(number: u64, line: Arc<Line>, token: String, rng: Rng) -> Self {
        Self {
            number,
            line,
            token,
            rng,
            visits: Vec::new(),
            kept: Vec::new(),
            orders: BTreeMap::new(),
            reversals: 0,
        }
    }

    pub fn send_until_stopped(&mut self) {
        while !self.line.is_stopped() {
            let click = self.click();
            // Some visitors buy long after.
            match click {
                Some(click) if self.rng.u8(..3) == 0 => self.kept.push(click),
                Some(click) => self.order(&click),
                None => {}
            }
            if self.rng.bool() {
                self.repeat();
            }
            if self.rng.bool() {
                self.reverse();
            }
            thread::sleep(Duration::from_millis(self.rng.u64(..60)));
        }
    }

    /// Every id that was given out earns.
    pub fn claim_the_rest(&mut self) {
        for click in std::mem::take(&mut self.kept) {
            self.order(&click);
        }
    }

    fn click(&mut self) -> Option<Click> {
        let (program, affiliate) = (
            self.rng.usize(..PROGRAMS.len()),
            self.rng.usize(..affiliates().len()),
        );
        let slug = format!("a{affiliate}-{}", PROGRAMS[program].0);
        let told = self.line.until_known(CLICK, &Asked::visit(&slug));
        let Some(id) = told.answer.click_id() else {
            self.wrong("a visitor was not sent on", &told);
            return None;
        };
        self.visits.push(id.clone());
        Some(Click {
            id,
            program,
            affiliate,
        })
    }

    fn order(&mut self, click: &Click) {
        let id = format!("{}-{}", self.number, self.orders.len());
        let amount = 10 * self.rng.i64(10..2_000);
        let asked = Asked::post(
            "/postback",
            json!({
                "token": self.token, "click_id": click.id, "order_id": id,
                "amount": decimal(amount),
            }),
        );
        let order = Order {
            program: click.program,
            affiliate: click.affiliate,
            amount,
            reversed: 0,
            asked,
        };
        let commission = order.commission();
        self.line
            .owe(click.affiliate, |owed| owed.maybe_earned += commission);
        let told = self.line.until_known(POSTBACK, &order.asked);
        self.line.owe(click.affiliate, |owed| {
            owed.maybe_earned -= commission;
            owed.earned += commission;
        });
        self.is_recorded(&told, &order, told.was_unknown, true);
        self.orders.insert(id, order);
    }

    /// Recorded once, now or earlier, with the commission of its affiliate.
    fn is_recorded(&self, told: &Told, order: &Order, may_be_before: bool, may_be_new: bool) {
        let body = told.answer.json();
        let is_result = match body["result"].as_str() {
            Some("created") => may_be_new,
            Some("recorded_before") => may_be_before,
            _ => false,
        };
        let expected = json!([{
            "affiliate": format!("a{}", order.affiliate), "amount": decimal(order.commission()),
            "currency": "EUR",
        }]);
        if told.answer.status != 200 || !is_result || body["commissions"] != expected {
            self.wrong("an order was answered otherwise", told);
        }
    }

    fn known(&mut self) -> Option<String> {
        let most = self.orders.len();
        let number = (most > 0).then(|| self.rng.usize(..most))?;
        self.orders.keys().nth(number).cloned()
    }

    /// An order that was acknowledged is told of again.
    fn repeat(&mut self) {
        let Some(id) = self.known() else { return };
        let order = &self.orders[&id];
        let told = self.line.until_known(POSTBACK, &order.asked);
        self.is_recorded(&told, order, true, false);
    }

    /// A part of an order, or all that is left of it.
    fn reverse(&mut self) {
        let Some(id) = self.known() else { return };
        let order = self.orders[&id].clone();
        let left = order.amount - order.reversed;
        if left == 0 {
            return;
        }
        let part = 10 * self.rng.i64(1..=left / 10);
        self.reversals += 1;
        let asked = Asked::post(
            "/postback/reversal",
            json!({
                "token": self.token, "program": PROGRAMS[order.program].0, "order_id": id,
                "reversal_id": format!("r-{}", self.reversals), "amount": decimal(part),
            }),
        );
        self.line
            .owe(order.affiliate, |owed| owed.maybe_reversed += part / 10);
        let told = self.line.until_known(REVERSAL, &asked);
        self.line.owe(order.affiliate, |owed| {
            owed.maybe_reversed -= part / 10;
            owed.reversed += part / 10;
        });
        if let Some(order) = self.orders.get_mut(&id) {
            order.reversed += part;
        }
        let body = told.answer.json();
        let result = body["result"].as_str().unwrap_or_default();
        let is_result = result == "created" || told.was_unknown && result == "recorded_before";
        let given_back = cents(&body["reversed"][0]["amount"]);
        if told.answer.status != 200 || !is_result || given_back != Ok(part / 10) {
            self.wrong("a reversal was answered otherwise", &told);
        }
        if self.rng.bool() {
            let again = self.line.until_known(REVERSAL, &asked);
            if again.answer.json()["result"] != "recorded_before" {
                self.wrong("a reversal was made twice", &again);
            }
        }
    }

    fn wrong(&self, what: &str, told: &Told) {
        let body = String::from_utf8_lossy(&told.answer.body);
        let status = told.answer.status;
        self.line.wrong(format!("{what}: {status} {body}"));
    }
}
