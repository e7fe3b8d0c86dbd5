//! What happens in the demo, day by day: visits, sales, refunds, runs, payments, closed months.

use std::collections::BTreeMap;

use http::Method;
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Value, json};
use shared::period::{Month, day_of, days_after, start_of};

use super::Made;
use super::cast::{SENDERS, SHOPS, Sender, Shop};
use super::client::{Client, Refused};

const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0";
const ROBOT: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

/// Numbers that look random and are the same every time (SplitMix64, Steele et al. 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below `sides`.
    fn below(&mut self, sides: u64) -> u64 {
        self.roll() % sides
    }
}

#[derive(Default)]
struct Counts {
    clicks: u64,
    robots: u64,
    conversions: u64,
    again: u64,
    refused: u64,
    unattributed: u64,
    reversals: u64,
    payouts: u64,
    settled: u64,
}

/// A refund that a customer is going to ask for.
struct Refund {
    shop: usize,
    order_id: String,
    /// None: all of it.
    amount: Option<String>,
}

pub struct Season {
    client: Client,
    until: Timestamp,
    dice: Dice,
    counts: Counts,
    /// By shop.
    tokens: Vec<String>,
    links: Vec<(usize, usize, String)>,
    refunds: BTreeMap<Date, Vec<Refund>>,
    orders: u64,
    second_person: Option<Client>,
    closed: Vec<Value>,
}

fn decimal(minor: u64) -> String {
    format!("{}.{:02}", minor / 100, minor % 100)
}

fn text(json: &Value, name: &str) -> String {
    json[name].as_str().unwrap_or_default().to_owned()
}

impl Season {
    pub fn new(client: Client, until: Timestamp) -> Self {
        Self {
            client,
            until,
            dice: Dice(1997),
            counts: Counts::default(),
            tokens: Vec::new(),
            links: Vec::new(),
            refunds: BTreeMap::new(),
            orders: 0,
            second_person: None,
            closed: Vec::new(),
        }
    }

    /// All of it; `progress` is told of days done and of how many there are.
    pub fn play(mut self, mut progress: impl FnMut(u64, u64)) -> Result<Made, Refused> {
        self.set_up()?;
        let (first, last) = (day_of(super::begins(self.until)), day_of(self.until));
        let days: Vec<Date> = first
            .series(jiff::ToSpan::day(1))
            .take_while(|day| *day < last)
            .collect();
        let all = u64::try_from(days.len()).unwrap_or(u64::MAX);
        for (done, day) in days.into_iter().enumerate() {
            progress(u64::try_from(done).unwrap_or(all), all);
            self.day(day)?;
        }
        if self.until > start_of(last) {
            self.client.turn_to(self.until)?;
        }
        progress(all, all);
        self.summary(first, last)
    }

    fn set_up(&mut self) -> Result<(), Refused> {
        for shop in &SHOPS {
            let made = self
                .client
                .post("merchants", &json!({"id": shop.id, "name": shop.name}))?;
            self.tokens.push(text(&made["secret"], "postback_token"));
            let rules: Value = serde_json::from_str(shop.commission).unwrap_or_default();
            let program = json!({
                "id": shop.program, "merchant": shop.id, "name": shop.program_name,
                "currency": shop.currency, "hold_days": shop.hold_days, "approval": shop.approval,
                "destination": format!("https://{}.example/?ref={{affiliate}}", &shop.id[5..]),
                "join": "open", "commission": rules,
            });
            self.client.post("programs", &program)?;
        }
        for sender in &SENDERS {
            self.client.post("affiliates", &affiliate(sender))?;
        }
        for (s, sender) in SENDERS.iter().enumerate() {
            for (p, shop) in SHOPS.iter().enumerate() {
                if works_for(s, p) {
                    let slug = format!("{}-{}", &sender.id[5..], &shop.program[5..]);
                    let link =
                        json!({"slug": slug, "program": shop.program, "affiliate": sender.id});
                    self.client.post("links", &link)?;
                    self.links.push((s, p, slug));
                }
            }
        }
        let clara = json!({"role": "finance", "person": "demo-clara", "name": "closes months"});
        let key = text(&self.client.post("keys", &clara)?, "key");
        self.second_person = Some(self.client.as_other(&key));
        for shop in 0..SHOPS.len() {
            self.launch(shop)?;
        }
        Ok(())
    }

    /// A test conversion first, as the launch gate has it.
    fn launch(&mut self, shop: usize) -> Result<(), Refused> {
        let program = SHOPS[shop].program;
        let test = json!({
            "token": self.tokens[shop], "order_id": "demo-test", "program": program,
            "amount": "1", "test": true,
        });
        self.client
            .done(Method::POST, "/postback", &[], Some(&test))?;
        self.client.patch(
            &format!("programs/{program}"),
            1,
            &json!({"status": "active"}),
        )?;
        Ok(())
    }

    fn day(&mut self, day: Date) -> Result<(), Refused> {
        let at = |hours: i64| {
            start_of(day)
                .checked_add(jiff::SignedDuration::from_hours(hours))
                .unwrap_or(Timestamp::MAX)
        };
        self.client.turn_to(at(2))?;
        if let Ok(yesterday) = day.yesterday()
            && yesterday >= day_of(super::begins(self.until))
        {
            let run = self
                .client
                .post("payout-runs", &json!({"day": yesterday.to_string()}))?;
            self.counts.payouts += run["payouts"].as_u64().unwrap_or(0);
        }
        self.finance(day)?;
        for visit_hour in [9, 15, 20] {
            self.client.turn_to(at(visit_hour))?;
            for place in 0..self.links.len() {
                self.visits(place, day)?;
            }
        }
        for refund in self.refunds.remove(&day).unwrap_or_default() {
            self.refund(&refund)?;
        }
        if day.day() % 7 == 0 {
            self.approve()?;
        }
        Ok(())
    }

    fn visits(&mut self, place: usize, day: Date) -> Result<(), Refused> {
        let (sender, shop, slug) = self.links[place].clone();
        let visits = self.dice.below(SENDERS[sender].clicks + 1) / 2;
        for _ in 0..visits {
            let is_robot = self.dice.below(12) == 0;
            let channel =
                ["mail", "blog", "video"][usize::try_from(self.dice.below(3)).unwrap_or(0)];
            let click_id = self.click(&format!("{slug}?sub1={channel}"), is_robot)?;
            let buys = self.dice.below(100) < 11;
            if buys || (is_robot && self.dice.below(6) == 0) {
                self.sale(shop, &click_id, day)?;
            }
        }
        Ok(())
    }

    /// The redirect has a time limit: a machine that is too slow for it is asked again.
    fn click(&mut self, slug: &str, is_robot: bool) -> Result<String, Refused> {
        let user_agent = if is_robot { ROBOT } else { BROWSER };
        let path = format!("/r/{slug}");
        let headers = [("user-agent", user_agent), ("accept-language", "en")];
        for _ in 0..100 {
            let answer = self.client.send(Method::GET, &path, &headers, None)?;
            if let Some(location) = answer.location {
                self.counts.clicks += 1;
                self.counts.robots += u64::from(is_robot);
                let id = location
                    .rsplit_once("click_id=")
                    .map(|(_, id)| id.to_owned());
                return Ok(id.unwrap_or_default());
            }
        }
        Err(Refused::Answer {
            method: Method::GET,
            path,
            status: 503,
            body: String::new(),
        })
    }

    fn sale(&mut self, shop: usize, click_id: &str, day: Date) -> Result<(), Refused> {
        let Shop {
            order_value: (from, to),
            ..
        } = SHOPS[shop];
        self.orders += 1;
        let order_id = format!("{}-{:05}", &SHOPS[shop].id[5..], self.orders);
        let value = from + self.dice.below(to - from);
        let customer = if self.dice.below(3) == 0 {
            "new"
        } else {
            "returning"
        };
        let mut sale = json!({
            "token": self.tokens[shop], "click_id": click_id, "order_id": order_id,
            "amount": decimal(value), "customer": customer,
        });
        // Now and then a shop loses the click id.
        if self.dice.below(40) == 0 {
            sale.as_object_mut().map(|sale| sale.remove("click_id"));
            sale["program"] = json!(SHOPS[shop].program);
        }
        let posts = if self.dice.below(9) == 0 { 2 } else { 1 };
        for _ in 0..posts {
            let answer = self
                .client
                .send(Method::POST, "/postback", &[], Some(&sale))?
                .json();
            match (answer["result"].as_str(), answer["status"].as_str()) {
                (Some("created"), Some("unattributed")) => self.counts.unattributed += 1,
                (Some("created"), _) => self.counts.conversions += 1,
                (Some(_), _) => self.counts.again += 1,
                (None, _) => self.counts.refused += 1,
            }
        }
        if self.dice.below(12) == 0 {
            let part = (self.dice.below(2) == 0).then(|| decimal(value / 3));
            let on = days_after(day, 2 + u32::try_from(self.dice.below(24)).unwrap_or(0));
            self.refunds.entry(on).or_default().push(Refund {
                shop,
                order_id,
                amount: part,
            });
        }
        Ok(())
    }

    fn refund(&mut self, refund: &Refund) -> Result<(), Refused> {
        let mut body = json!({
            "token": self.tokens[refund.shop], "order_id": refund.order_id, "reason": "returned",
        });
        if let Some(amount) = &refund.amount {
            body["reversal_id"] = json!("part");
            body["amount"] = json!(amount);
        }
        let answer = self
            .client
            .send(Method::POST, "/postback/reversal", &[], Some(&body))?;
        self.counts.reversals += u64::from(answer.status == 200);
        Ok(())
    }

    /// The school looks through what waits once a week, and turns one in eight down.
    fn approve(&mut self) -> Result<(), Refused> {
        let mut path = "conversions?merchant=demo-lingua&limit=200".to_owned();
        loop {
            let list = self.client.get(&path)?;
            for item in list["items"].as_array().into_iter().flatten() {
                if item["status"] == "pending" {
                    let id = text(item, "id");
                    if self.dice.below(8) == 0 {
                        let reason = json!({"reason": "not a new student"});
                        self.client
                            .post(&format!("conversions/{id}/reject"), &reason)?;
                    } else {
                        self.client
                            .post(&format!("conversions/{id}/approve"), &json!({}))?;
                    }
                }
            }
            match list["next"].as_str() {
                Some(cursor) => {
                    path = format!("conversions?merchant=demo-lingua&limit=200&cursor={cursor}");
                }
                None => return Ok(()),
            }
        }
    }

    /// Mondays the approved payouts are sent and what was sent before has arrived; on the third
    /// of a month the one before is closed.
    fn finance(&mut self, day: Date) -> Result<(), Refused> {
        if day.weekday() == jiff::civil::Weekday::Monday {
            for (from, to) in [("sent", "settled"), ("approved", "sent")] {
                self.move_all(from, to, day)?;
            }
        }
        let first = Month::of(day_of(super::begins(self.until)));
        let before = Month::of(day).previous();
        if day.day() == 3 && before >= first {
            self.close(before)?;
        }
        Ok(())
    }

    fn move_all(&mut self, from: &str, to: &str, day: Date) -> Result<(), Refused> {
        let mut ids = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("payouts?status={from}&limit=200{cursor}");
            let list = self.client.get(&path)?;
            for payout in list["items"].as_array().into_iter().flatten() {
                ids.push(payout["id"].clone());
            }
            match list["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        for ids in ids.chunks(200) {
            let mut decision = json!({"ids": ids, "to": to});
            if to == "sent" {
                decision["reference"] = json!(format!("transfer of {day}"));
            } else {
                self.counts.settled += u64::try_from(ids.len()).unwrap_or(0);
            }
            self.client.post("payouts/decisions", &decision)?;
        }
        Ok(())
    }

    fn close(&mut self, month: Month) -> Result<(), Refused> {
        let second = self.second_person.as_ref().unwrap_or(&self.client);
        self.client
            .post(&format!("periods/{month}/prepare"), &json!({}))?;
        second.post(&format!("periods/{month}/approve"), &json!({}))?;
        let closed = self
            .client
            .post(&format!("periods/{month}/close"), &json!({}))?;
        self.closed.push(closed);
        Ok(())
    }

    fn summary(&self, first: Date, last: Date) -> Result<Made, Refused> {
        let mut totals: BTreeMap<String, BTreeMap<&str, i64>> = BTreeMap::new();
        let mut month = Month::of(first);
        while month <= Month::of(last) {
            let report = self.client.get(&format!("reports/payouts/{month}"))?;
            for total in report["totals"].as_array().into_iter().flatten() {
                let sums = totals.entry(text(total, "currency")).or_default();
                for name in ["earned", "reversed", "paid", "closing", "on_hold"] {
                    let minor = text(total, name).replace('.', "").parse().unwrap_or(0);
                    let sum = sums.entry(name).or_insert(0);
                    // Flows add up; what stands is the last month's.
                    *sum = if matches!(name, "closing" | "on_hold") {
                        minor
                    } else {
                        *sum + minor
                    };
                }
            }
            month = month.next();
        }
        let totals: Vec<Value> = totals
            .into_iter()
            .map(|(currency, sums)| {
                let mut total = json!({"currency": currency});
                for (name, minor) in sums {
                    let sign = if minor < 0 { "-" } else { "" };
                    total[name] = json!(format!("{sign}{}", decimal(minor.unsigned_abs())));
                }
                total
            })
            .collect();
        let counts = &self.counts;
        let report_month = self
            .closed
            .last()
            .map_or_else(String::new, |closed| text(closed, "month"));
        let report = format!("reports/payouts/{report_month}?format=csv&raw=1");
        Ok(Made {
            report: self.client.get_bytes(&report)?.body,
            report_month,
            link: format!("/r/{}", self.links[0].2),
            token: self.tokens[0].clone(),
            summary: json!({
                "from": first.to_string(), "to": last.to_string(), "clicks": counts.clicks,
                "robots": counts.robots, "conversions": counts.conversions, "again": counts.again,
                "refused": counts.refused, "unattributed": counts.unattributed,
                "reversals": counts.reversals, "payouts": counts.payouts,
                "settled": counts.settled, "totals": totals, "periods": self.closed,
            }),
        })
    }
}

/// Nobody works for everybody.
fn works_for(sender: usize, shop: usize) -> bool {
    match SENDERS[sender].currency {
        Some("USD") => shop == 2,
        _ => shop < 2 && (sender + shop) % 3 != 2,
    }
}

fn affiliate(sender: &Sender) -> Value {
    let mut affiliate = json!({
        "id": sender.id, "name": sender.name, "country": sender.country,
        "email": format!("{}@example.com", &sender.id[5..]),
    });
    if let Some(currency) = sender.currency {
        affiliate["payout"] = json!({
            "currency": currency, "method": "manual", "schedule": sender.schedule,
            "minimum": {currency: sender.minimum},
        });
    }
    affiliate
}
