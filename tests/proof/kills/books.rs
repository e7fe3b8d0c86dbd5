//! The clerk who turns the clock, asks for runs and closes months; and what the tables say at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::Method;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use shared::click::Click;
use shared::keys::KeyRing;
use shared::period::{Month, day_of, days_after, start_of};
use shared::report::sha256;

use super::line::{CLOSE, Line, RUN, Told, balance};
use super::sender::Order;
use super::{PROGRAMS, affiliates};
use crate::client::{Asked, Client, cents, decimal};
use crate::stack::{ADMIN, START};

/// How often a month's steps are taken from the first on.
const CLOSINGS_MOST: u32 = 5;
/// Most days that the clock goes on by at a time.
const DAYS_ON: u32 = 11;

#[derive(Debug)]
pub struct Bookkeeper {
    line: Arc<Line>,
    second_person: String,
    /// What the run of a day said.
    runs: BTreeMap<Date, Value>,
    /// The digest of each month that was closed.
    closed: BTreeMap<String, String>,
}

impl Bookkeeper {
    pub fn new(line: Arc<Line>, second_person: &str) -> Self {
        Self {
            line,
            second_person: second_person.to_owned(),
            runs: BTreeMap::new(),
            closed: BTreeMap::new(),
        }
    }

    pub fn told(&self) -> String {
        let (runs, months) = (self.runs.len(), self.closed.len());
        format!("{runs} runs asked for again and again, {months} months closed")
    }

    pub fn keep_until_stopped(&mut self) {
        let start: Timestamp = START.parse().expect("the start is an instant");
        let mut today = day_of(start);
        while !self.line.is_stopped() {
            let month = Month::of(today);
            let next_month = days_after(month.last_day(), 1);
            today = days_after(today, DAYS_ON).min(next_month);
            self.turn_to(today);
            if let Ok(yesterday) = today.yesterday() {
                self.run(yesterday);
            }
            if let Some(day) = self.runs.keys().next().copied() {
                self.run(day);
            }
            if today == next_month {
                self.close(month);
            }
        }
    }

    fn turn_to(&self, day: Date) {
        let now = start_of(day).checked_add(SignedDuration::from_hours(2));
        let now = now.unwrap_or(Timestamp::MAX).to_string();
        let told = self.line.until_known(RUN, &Asked::turn(&now));
        let body = told.answer.json();
        // Whoever was not heard is told the second time that it is later already.
        let is_late = told.was_unknown && body["code"] == "clock_backwards";
        if told.answer.status == 200 {
            self.line.saw_clock(&body);
        } else if !is_late {
            self.wrong("the clock was not turned", &told);
        }
    }

    fn run(&mut self, day: Date) {
        let asked = json!({"day": day.to_string()});
        let asked = Asked::api(Method::POST, "payout-runs", ADMIN, Some(asked));
        let told = self.line.until_known(RUN, &asked);
        let said = told.answer.json();
        let first = self.runs.entry(day).or_insert_with(|| said.clone()).clone();
        if told.answer.status != 200 || said["state"] != "done" {
            self.wrong("a day was not run", &told);
        } else if first != said {
            self.line
                .wrong(format!("the run of {day} said {first}, and then {said}"));
        }
    }

    fn close(&mut self, month: Month) {
        for _ in 0..CLOSINGS_MOST {
            let step = |step: &str, key: &str| {
                let path = format!("periods/{month}/{step}");
                let asked = Asked::api(Method::POST, &path, key, None);
                self.line.until_known(CLOSE, &asked)
            };
            let prepared = step("prepare", ADMIN);
            let approved = step("approve", &self.second_person);
            let closed = step("close", ADMIN);
            let all = [&prepared, &approved, &closed];
            if all.iter().any(|told| told.answer.status == 409) {
                continue;
            }
            let body = closed.answer.json();
            match body["sha256"].as_str() {
                Some(sha256) if body["state"] == "closed" => {
                    self.closed.insert(month.to_string(), sha256.to_owned());
                }
                _ => self.wrong("a month was not closed", &closed),
            }
            return;
        }
        self.line.wrong(format!("{month} cannot be closed"));
    }

    fn wrong(&self, what: &str, told: &Told) {
        let body = String::from_utf8_lossy(&told.answer.body);
        let status = told.answer.status;
        self.line.wrong(format!("{what}: {status} {body}"));
    }

    /// Each run says the same again, closed months have their bytes, and all months add up.
    pub fn check(&self, client: &Client) -> Result<(), String> {
        for (day, said) in &self.runs {
            let asked = json!({"day": day.to_string()});
            let asked = Asked::api(Method::POST, "payout-runs", ADMIN, Some(asked));
            let again = client.done(&asked)?.json();
            if again != *said {
                return Err(format!("the run of {day} said {said}, and now {again}"));
            }
        }
        for (month, digest) in &self.closed {
            let path = format!("reports/payouts/{month}");
            let raw = client.done(&Asked::get(&format!("{path}?format=csv&raw=1")))?;
            if sha256(&raw.body) != *digest {
                return Err(format!("the bytes of {month} are not {digest} any more"));
            }
            adds_up(&client.get(&path)?)?;
        }
        Ok(())
    }
}

fn adds_up(report: &Value) -> Result<(), String> {
    let lines = |name: &str| report[name].as_array().cloned().unwrap_or_default();
    for line in lines("rows").iter().chain(&lines("totals")) {
        let of = |name: &str| cents(&line[name]);
        let closing = of("opening")? + of("earned")? - of("reversed")? + of("adjustments")?
            - of("withheld")?
            - of("paid")?
            + of("returned")?;
        if closing != of("closing")? {
            return Err(format!("a line of a report does not add up: {line}"));
        }
    }
    Ok(())
}

/// Each order has one conversion of the amounts that were acknowledged, and no other is there;
/// balances and payouts are what these come to.
pub fn check(client: &Client, orders: &BTreeMap<String, Order>, line: &Line) -> Result<(), String> {
    let conversions = all(client, "conversions?")?;
    if conversions.len() != orders.len() {
        let (found, known) = (conversions.len(), orders.len());
        return Err(format!("{found} conversions of {known} orders"));
    }
    for conversion in &conversions {
        let id = conversion["order_id"].as_str().unwrap_or_default();
        let order = orders
            .get(id)
            .ok_or_else(|| format!("nobody told of {conversion}"))?;
        let commission = &conversion["commissions"][0];
        let is_as_told = conversion["program"] == PROGRAMS[order.program].0
            && conversion["amount"] == decimal(order.amount)
            && conversion["remaining"] == decimal(order.amount - order.reversed)
            && conversion["commissions"].as_array().map(Vec::len) == Some(1)
            && commission["affiliate"] == format!("a{}", order.affiliate)
            && commission["amount"] == decimal(order.commission())
            && commission["reversed"] == decimal(order.reversed / 10);
        if !is_as_told {
            return Err(format!("told was {order:?}, found is {conversion}"));
        }
    }
    let payouts = all(client, "payouts?")?;
    for (number, owed) in line.owed().iter().enumerate() {
        let affiliate = &affiliates()[number].0;
        let has = balance(client, affiliate)?;
        let of_affiliate = orders.values().filter(|order| order.affiliate == number);
        let told = of_affiliate.fold((0, 0), |(earned, reversed), order| {
            (earned + order.commission(), reversed + order.reversed / 10)
        });
        let mut paid_out = 0;
        for payout in &payouts {
            if payout["affiliate"] == affiliate.as_str() {
                paid_out += cents(&payout["amount"])?;
            }
        }
        if told != (owed.earned, owed.reversed)
            || told != (has.earned, has.reversed)
            || paid_out != has.paid_out
        {
            return Err(format!(
                "{affiliate} was told {told:?} and payouts of {paid_out}, and has {has:?}"
            ));
        }
    }
    Ok(())
}

/// A list from its first page to its last.
fn all(client: &Client, path: &str) -> Result<Vec<Value>, String> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("{path}limit=200{cursor}"))?;
        items.extend(page["items"].as_array().cloned().unwrap_or_default());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(items),
        }
    }
}

/// Whoever was sent on has a record, or is counted in the log as lost: an id earns without its
/// record, so no order tells.
pub fn check_visits(
    visits: &[String],
    keys: &str,
    recorded: &BTreeSet<String>,
    lost: usize,
) -> Result<String, String> {
    let keys = KeyRing::parse(keys).map_err(|error| error.to_string())?;
    let mut missing = 0;
    for id in visits {
        let click = Click::verify(id, &keys).map_err(|error| format!("`{id}` is {error}"))?;
        missing += usize::from(!recorded.contains(&click.random()));
    }
    if lost < missing {
        return Err(format!(
            "of {} visitors who were sent on {missing} have no record, and the log counts {lost} as lost",
            visits.len()
        ));
    }
    let kept = visits.len() - missing;
    Ok(format!(
        "{kept} of {} visitors have a record, the log counts {lost} as lost",
        visits.len()
    ))
}
