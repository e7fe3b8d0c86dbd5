//! What people and servers do in a world, each step until it is answered for good.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use http::Method;
use serde_json::{Value, json};
use tests::{Answer, BROWSER};

use crate::cast::{PROGRAMS, Program, TERMS, basket, customer};
use crate::history::{DAY, History, Part, Step};
use crate::world::{
    BATCH_LINES, Function, Trouble, World, affiliate_id, coupon, decimal, instant, minor,
    program_json, slug, terms_json,
};

const ROBOT: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
/// How often somebody looks whether what they wait for is there.
const LOOKS: u32 = 40;
/// How many lanes a change of terms gives an affiliate at most.
const LANES_MOST: u64 = 4;

/// What a shop says of an order.
#[derive(Debug, Clone, Copy)]
struct Sale {
    order: usize,
    click: Option<usize>,
    /// The affiliate's whose coupon it is.
    coupon: Option<usize>,
    content: usize,
    /// When it was made, in milliseconds since 1970.
    at: i64,
}

/// A visit that got an id.
#[derive(Debug, Clone)]
pub struct Click {
    pub id: String,
    pub visitor: usize,
    pub program: usize,
    pub affiliate: usize,
    pub is_human: bool,
    /// Milliseconds since 1970, as the id says.
    pub at: i64,
}

/// What a sender was told for good.
#[derive(Debug, Clone)]
pub struct Posted {
    pub click: Option<usize>,
    /// The affiliate whose coupon it brought.
    pub coupon: Option<usize>,
    pub content: usize,
    pub at: i64,
    /// When that was, in milliseconds since 1970.
    pub answered: i64,
    pub answer: Answer,
}

/// What a bank did with a payout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payment {
    pub times: u32,
    pub amount: i64,
    pub came_back: bool,
}

/// A try to change an affiliate's terms, from when to when in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    pub under_way: (i64, i64),
    pub terms: usize,
    pub was_done: bool,
}

/// A try to give a program its version of that number, from when to when in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct NewVersion {
    pub number: i64,
    pub under_way: (i64, i64),
    pub was_done: bool,
}

/// What was seen from outside, by everybody together.
#[derive(Debug, Default)]
pub struct Seen {
    pub clicks: BTreeMap<usize, Option<Click>>,
    /// Visits whose answer nobody heard, without an id: they may be recorded, and a link that takes so
    /// many clicks may take no other one then.
    pub unheard: Vec<Click>,
    /// Links that somebody was told do not exist, by affiliate and program.
    pub unknown_links: BTreeSet<(usize, usize)>,
    pub posts: BTreeMap<usize, Vec<Posted>>,
    /// By order and decision: the answers' statuses.
    pub decisions: BTreeMap<(usize, &'static str), Vec<u16>>,
    /// By order and part: the answers' statuses.
    pub reversals: BTreeMap<(usize, Option<usize>), Vec<u16>>,
    pub adjustments: BTreeMap<usize, Vec<Answer>>,
    /// By order and name: the new value in minor units, and the answers' statuses.
    pub amendments: BTreeMap<(usize, usize), (i64, Vec<u16>)>,
    /// By order and affiliate: whoever was said to have it, by claim or by hand.
    pub given: BTreeSet<(usize, usize)>,
    /// Customers of merchants who were forgotten.
    pub forgotten: BTreeSet<(usize, usize)>,
    /// Visitors of programs who were forgotten.
    pub forgotten_visitors: BTreeSet<(usize, usize)>,
    /// By order: from when to when something was under way that may credit somebody with it, in
    /// milliseconds since 1970.
    pub dealings: BTreeMap<usize, Vec<(i64, i64)>>,
    /// By affiliate: each try to change its terms.
    pub changes: BTreeMap<usize, Vec<Change>>,
    /// By program: each try to give it a new version.
    pub versions: BTreeMap<usize, Vec<NewVersion>>,
    /// What a run of a day said, each time.
    pub runs: Vec<Value>,
    pub bank: BTreeMap<String, Payment>,
    pub cancelled: Vec<String>,
    /// A closed month's bytes by payer, when it was closed.
    pub closed: BTreeMap<&'static str, (String, Vec<u8>)>,
}

pub struct People {
    pub world: Rc<World>,
    pub history: History,
    pub seen: RefCell<Seen>,
}

impl Seen {
    /// All that got an id, or may have got one that nobody heard.
    pub fn visits(&self) -> impl Iterator<Item = &Click> {
        self.clicks.values().flatten().chain(&self.unheard)
    }
}

impl People {
    pub async fn take(self: Rc<Self>, step: Step, at: i64, number: usize) {
        match step {
            Step::Click {
                click,
                visitor,
                program,
                affiliate,
                is_human,
            } => {
                self.visit(click, visitor, program, affiliate, is_human)
                    .await;
            }
            Step::Post { .. } => self.post(sale(&step, at)).await,
            Step::Batch {
                merchant, lines, ..
            } => self.batch(merchant, &lines, at).await,
            Step::Reverse {
                order, part, wait, ..
            } => {
                tokio::time::sleep(Duration::from_millis(wait)).await;
                let answer = self.reverse(order, part).await;
                self.reversed(order, part, &answer);
            }
            Step::Approve { order, .. } => self.decide(order, "approve").await,
            Step::Reject { order } => self.decide(order, "reject").await,
            Step::Reopen { order } => self.decide(order, "reopen").await,
            Step::Decisions { merchant, lines } => self.decide_all(merchant, &lines).await,
            Step::Amend {
                order, id, amount, ..
            } => self.amend(order, id, amount).await,
            Step::Claim {
                order,
                affiliate,
                is_accepted,
            } => self.claim(order, affiliate, is_accepted, at).await,
            Step::Credit {
                order,
                affiliate,
                another,
            } => self.credit(order, affiliate, another).await,
            Step::Forget { order } => self.forget(order).await,
            Step::ForgetVisitor { click } => self.forget_visitor(click).await,
            Step::Reconcile => self.world.reconcile(at).await,
            Step::Adjust {
                id,
                affiliate,
                program,
                amount,
                in_days,
                ..
            } => {
                self.adjust(id, affiliate, program, amount, at + in_days * DAY)
                    .await;
            }
            Step::Terms { affiliate, terms } => self.change(affiliate, terms).await,
            Step::Version { program } => self.next_version(program).await,
            Step::Run { back, .. } => self.run(at - back).await,
            Step::Bank { seed, .. } => {
                let number = u64::try_from(number).unwrap_or(0);
                self.teller(Rng::with_seed(seed.wrapping_add(number)), number)
                    .await;
            }
            Step::Close { payer } => {
                self.close(payer).await;
            }
            Step::Rotate => self.world.rotate(),
            Step::Restart => self.world.restart(),
        }
    }

    async fn visit(
        &self,
        click: usize,
        visitor: usize,
        program: usize,
        affiliate: usize,
        is_human: bool,
    ) {
        let path = format!("/r/{}", slug(affiliate, PROGRAMS[program].id));
        let agent = if is_human { BROWSER } else { ROBOT };
        let browser = json!([agent, cookie(visitor)]);
        for _ in 0..LOOKS {
            let at = self.world.millis();
            let visited = self
                .world
                .call(Function::Redirect, Method::GET, &path, "", &browser)
                .await;
            let Some(response) = visited else {
                self.world.count(Trouble::Resent);
                self.seen.borrow_mut().unheard.push(Click {
                    id: String::new(),
                    visitor,
                    program,
                    affiliate,
                    is_human,
                    at,
                });
                continue;
            };
            let found = match response.status.as_u16() {
                302 => {
                    let id = tests::click_id(&response);
                    let at = clicked_at(&id);
                    Some(Click {
                        id,
                        visitor,
                        program,
                        affiliate,
                        is_human,
                        at,
                    })
                }
                404 => {
                    let mut seen = self.seen.borrow_mut();
                    seen.unknown_links.insert((affiliate, program));
                    None
                }
                503 => {
                    self.world.pause(Duration::from_secs(1)).await;
                    continue;
                }
                status => {
                    self.world.wrong(
                        "answers",
                        format!("a visit of {path} was answered {status}"),
                    );
                    None
                }
            };
            self.seen.borrow_mut().clicks.insert(click, found);
            return;
        }
        self.seen.borrow_mut().clicks.insert(click, None);
    }

    /// The click of a number, once its visit is over.
    async fn click(&self, number: Option<usize>) -> Option<Click> {
        let number = number?;
        for look in 0..LOOKS {
            if let Some(click) = self.seen.borrow().clicks.get(&number) {
                return click.clone();
            }
            // Most buy at once, so that orders of the same letter meet.
            let longest = if look < LOOKS / 2 { 20 } else { 20_000 };
            self.world.pause(Duration::from_millis(longest)).await;
        }
        None
    }

    /// What an order is called.
    pub fn order_id(&self, order: usize) -> String {
        format!("o{}", self.history.orders[order].id)
    }

    /// What a shop says of an order, once it knows the click.
    async fn sale_json(&self, sale: &Sale) -> Value {
        let Sale { order, content, .. } = *sale;
        let terms = &self.history.orders[order];
        let program = PROGRAMS[terms.program];
        let mut body = json!({
            "order_id": self.order_id(order), "program": program.id,
            "amount": decimal(terms.amounts[content], program.currency),
            "occurred_at": instant(sale.at).to_string(),
        });
        if program.lead.is_some() {
            body["goal"] = json!(terms.goal);
        }
        if program.knows_customers {
            body["customer_id"] = json!(format!("customer {}", customer(order)));
        }
        if let Some(click) = self.click(sale.click).await {
            body["click_id"] = json!(click.id);
        }
        if let Some(affiliate) = sale.coupon {
            body["coupon"] = json!(coupon(affiliate, program.id));
        }
        if program.has_basket() {
            body["items"] = lines(&program, terms.amounts[content]);
        }
        body
    }

    async fn post(&self, sale: Sale) {
        let mut body = self.sale_json(&sale).await;
        let merchant = PROGRAMS[self.history.orders[sale.order].program].merchant;
        body["token"] = json!(self.world.tokens[merchant]);
        let from = self.world.millis();
        let answer = self
            .world
            .deliver(Function::Postback, Method::POST, "/postback", "", &body)
            .await;
        self.dealt(sale.order, from);
        self.posted(&sale, body["click_id"].is_string(), answer);
    }

    fn posted(&self, sale: &Sale, names_click: bool, answer: Answer) {
        let posted = Posted {
            click: sale.click.filter(|_| names_click),
            coupon: sale.coupon,
            content: sale.content,
            at: sale.at,
            answered: self.world.millis(),
            answer,
        };
        let mut seen = self.seen.borrow_mut();
        seen.posts.entry(sale.order).or_default().push(posted);
    }

    /// Posts and reversals, a line each, until each is answered for good. Every second shop signs what it
    /// sends, the others show their token.
    async fn batch(&self, merchant: usize, steps: &[Step], at: i64) {
        let mut bodies = Vec::new();
        for step in steps {
            let (mut body, kind) = match step {
                Step::Reverse { order, part, .. } => {
                    (self.reversal_json(*order, *part), "reversal")
                }
                step => (self.sale_json(&sale(step, at)).await, "conversion"),
            };
            body["type"] = json!(kind);
            bodies.push(body);
        }
        let list: Vec<String> = bodies.iter().map(Value::to_string).collect();
        let list = Value::String(list.join("\n"));
        let (path, secret) = if merchant == 0 {
            let token = &self.world.tokens[merchant];
            (format!("/postback/batch?token={token}"), "")
        } else {
            let secret = self.world.secrets[merchant].as_str();
            (format!("/postback/m{merchant}/batch"), secret)
        };
        let from = self.world.millis();
        for _ in 0..LOOKS {
            let answers = self
                .lines(Function::Postback, &path, secret, &list, bodies.len())
                .await;
            for (place, answer) in answers.iter().enumerate() {
                let status = answer.status;
                if !matches!(status, 200 | 404 | 409 | 422 | 503) {
                    let what = format!("a line of a batch was answered {answer:?}");
                    self.world.wrong("answers", what);
                }
                self.world.meets(BATCH_LINES, 1);
                match &steps[place] {
                    _ if status == 503 => {}
                    Step::Reverse { order, part, .. } => self.reversed(*order, *part, answer),
                    step => {
                        let sale = sale(step, at);
                        self.dealt(sale.order, from);
                        let names_click = bodies[place]["click_id"].is_string();
                        self.posted(&sale, names_click, answer.clone());
                    }
                }
            }
            if !answers.is_empty() && answers.iter().all(|answer| answer.status < 500) {
                return;
            }
            self.world.count(Trouble::Resent);
            self.world.pause(Duration::from_secs(60)).await;
        }
        self.world
            .wrong("answers", "a batch was never answered for good");
    }

    /// A list is sent once, a line each. None where nobody heard so many answers.
    async fn lines(
        &self,
        function: Function,
        path: &str,
        bearer: &str,
        list: &Value,
        count: usize,
    ) -> Vec<Answer> {
        let world = &self.world;
        let heard = world.call(function, Method::POST, path, bearer, list).await;
        let answers: Vec<Answer> = heard
            .iter()
            .flat_map(|response| response.body.split(|byte| *byte == b'\n'))
            .filter_map(|line| serde_json::from_slice(line).ok())
            .map(|body: Value| Answer {
                status: body["http"]
                    .as_u64()
                    .and_then(|status| u16::try_from(status).ok())
                    .unwrap_or(503),
                body,
            })
            .collect();
        if answers.len() == count {
            answers
        } else {
            Vec::new()
        }
    }

    /// What began then, and is answered now, may have credited somebody with this order.
    fn dealt(&self, order: usize, from: i64) {
        let mut seen = self.seen.borrow_mut();
        let of_order = seen.dealings.entry(order).or_default();
        of_order.push((from, self.world.millis()));
    }

    fn reversal_json(&self, order: usize, part: Option<Part>) -> Value {
        let terms = &self.history.orders[order];
        let program = PROGRAMS[terms.program];
        let mut body = json!({"order_id": self.order_id(order)});
        if program.lead.is_some() {
            body["goal"] = json!(terms.goal);
        }
        if let Some(part) = part {
            let amount = decimal(part.amount, program.currency);
            body["reversal_id"] = json!(format!("r{}", part.id));
            match part.sku {
                None => body["amount"] = json!(amount),
                Some(sku) => body["items"] = json!([{"sku": sku, "amount": amount}]),
            }
        }
        body
    }

    pub async fn reverse(&self, order: usize, part: Option<Part>) -> Answer {
        let merchant = PROGRAMS[self.history.orders[order].program].merchant;
        let mut body = self.reversal_json(order, part);
        body["token"] = json!(self.world.tokens[merchant]);
        self.world
            .deliver(
                Function::Postback,
                Method::POST,
                "/postback/reversal",
                "",
                &body,
            )
            .await
    }

    fn reversed(&self, order: usize, part: Option<Part>, answer: &Answer) {
        let mut seen = self.seen.borrow_mut();
        let key = (order, part.map(|part| part.id));
        seen.reversals.entry(key).or_default().push(answer.status);
    }

    /// The id of an order's conversion, as its sender was told.
    pub fn conversion(&self, order: usize) -> Option<String> {
        let seen = self.seen.borrow();
        let posts = seen.posts.get(&order)?;
        posts
            .iter()
            .find_map(|posted| Some(posted.answer.body["conversion"].as_str()?.to_owned()))
    }

    /// The id of an order's conversion, once its sender was told; none if that takes too long.
    async fn told_conversion(&self, order: usize) -> Option<String> {
        for _ in 0..LOOKS {
            if let Some(id) = self.conversion(order) {
                return Some(id);
            }
            self.world.pause(Duration::from_secs(30)).await;
        }
        None
    }

    async fn decide(&self, order: usize, decision: &'static str) {
        let Some(id) = self.told_conversion(order).await else {
            return;
        };
        let body = match decision {
            "approve" => json!({}),
            _ => json!({"reason": "a world"}),
        };
        let path = format!("conversions/{id}/{decision}");
        let answer = self.world.api(Method::POST, &path, &body).await;
        let mut seen = self.seen.borrow_mut();
        seen.decisions
            .entry((order, decision))
            .or_default()
            .push(answer.status);
    }

    /// Until each line is answered for good: the same list again changes nothing.
    async fn decide_all(&self, merchant: usize, lines: &[(usize, bool)]) {
        let list: Vec<String> = lines
            .iter()
            .map(|(order, is_approved)| {
                let action = if *is_approved { "approve" } else { "reject" };
                json!({
                    "order_id": self.order_id(*order), "goal": self.history.orders[*order].goal,
                    "action": action, "reason": "a world",
                })
                .to_string()
            })
            .collect();
        let list = Value::String(list.join("\n"));
        let path = format!("/api/v1/conversions/decisions?merchant=m{merchant}");
        for _ in 0..LOOKS {
            let admin = &self.world.admin;
            let answers = self
                .lines(Function::Console, &path, admin, &list, lines.len())
                .await;
            if !answers.is_empty() && answers.iter().all(|answer| answer.status < 500) {
                let mut seen = self.seen.borrow_mut();
                for ((order, is_approved), answer) in lines.iter().zip(&answers) {
                    let decision = if *is_approved { "approve" } else { "reject" };
                    let statuses = seen.decisions.entry((*order, decision)).or_default();
                    statuses.push(answer.status);
                }
                return;
            }
            self.world.count(Trouble::Resent);
            self.world.pause(Duration::from_secs(60)).await;
        }
        self.world
            .wrong("answers", "a list of decisions was never answered");
    }

    pub async fn amend(&self, order: usize, id: usize, amount: i64) {
        let Some(conversion) = self.told_conversion(order).await else {
            return;
        };
        let program = PROGRAMS[self.history.orders[order].program];
        let mut body = json!({
            "id": format!("am{id}"), "amount": decimal(amount, program.currency), "reason": "a world",
        });
        if program.has_basket() {
            body["items"] = lines(&program, amount);
        }
        let path = format!("conversions/{conversion}/amend");
        let answer = self.world.api(Method::POST, &path, &body).await;
        let code = answer.body["code"].as_str();
        if !matches!(
            (answer.status, code),
            (200, _) | (409, Some("not_amendable")) | (422, Some("amend_below_reversed"))
        ) {
            let what = format!("an amendment of o{order} was answered {answer:?}");
            self.world.wrong("answers", what);
        }
        let mut seen = self.seen.borrow_mut();
        let (_, statuses) = seen
            .amendments
            .entry((order, id))
            .or_insert((amount, Vec::new()));
        statuses.push(answer.status);
    }

    async fn claim(&self, order: usize, affiliate: usize, is_accepted: bool, at: i64) {
        let world = &self.world;
        let program = PROGRAMS[self.history.orders[order].program].id;
        let body = json!({
            "program": program, "order_id": self.order_id(order), "note": "a world",
            "goal": self.history.orders[order].goal, "occurred_at": instant(at).to_string(),
        });
        let key = &world.affiliates[affiliate];
        let path = "/api/v1/claims";
        let made = world
            .deliver(Function::Console, Method::POST, path, key, &body)
            .await;
        let Some(id) = made.body["id"].as_str().filter(|_| made.status < 300) else {
            let what = format!("a claim of o{order} was answered {made:?}");
            world.wrong("answers", what);
            return;
        };
        world.pause(Duration::from_secs(40)).await;
        let (word, body) = if is_accepted {
            ("accept", json!({}))
        } else {
            ("decline", json!({"reason": "a world"}))
        };
        let path = format!("claims/{id}/{word}");
        let from = world.millis();
        let answer = world.api(Method::POST, &path, &body).await;
        self.dealt(order, from);
        let code = answer.body["code"].as_str();
        let is_known = match answer.status {
            200 => true,
            409 => matches!(code, Some("order_credited" | "order_void")),
            422 => matches!(code, Some("amount_required" | "cap_reached")),
            _ => false,
        };
        if !is_known {
            let what = format!("{word} of a claim of o{order} was answered {answer:?}");
            world.wrong("answers", what);
        }
        if is_accepted && answer.status == 200 {
            self.seen.borrow_mut().given.insert((order, affiliate));
        }
    }

    async fn credit(&self, order: usize, affiliate: usize, another: Option<usize>) {
        let Some(id) = self.told_conversion(order).await else {
            return;
        };
        futures_util::join!(self.give(&id, order, affiliate), async {
            if let Some(another) = another {
                self.give(&id, order, another).await;
            }
        });
    }

    async fn give(&self, id: &str, order: usize, affiliate: usize) {
        let body = json!({"affiliate": affiliate_id(affiliate), "reason": "a world"});
        let path = format!("conversions/{id}/credit");
        let from = self.world.millis();
        let answer = self.world.api(Method::POST, &path, &body).await;
        self.dealt(order, from);
        match (answer.status, answer.body["code"].as_str()) {
            (200, _) => {
                self.seen.borrow_mut().given.insert((order, affiliate));
            }
            (409, Some("order_credited")) | (422, Some("cap_reached")) => {}
            _ => {
                let what = format!("o{order} credited by hand was answered {answer:?}");
                self.world.wrong("answers", what);
            }
        }
    }

    async fn forget(&self, order: usize) {
        let merchant = PROGRAMS[self.history.orders[order].program].merchant;
        let who = customer(order);
        // From the first try on: it may have been half done.
        self.seen.borrow_mut().forgotten.insert((merchant, who));
        let body = json!({
            "merchant": format!("m{merchant}"), "customer_id": format!("customer {who}"),
        });
        let answer = self.world.api(Method::POST, "erasures", &body).await;
        if answer.status != 200 {
            let what = format!("an erasure was answered {answer:?}");
            self.world.wrong("answers", what);
        }
    }

    async fn forget_visitor(&self, click: usize) {
        let Some(click) = self.click(Some(click)).await else {
            return;
        };
        // From the first try on, as with customers.
        let who = (click.visitor, click.program);
        self.seen.borrow_mut().forgotten_visitors.insert(who);
        self.erase_click(&click).await;
    }

    /// Forgets whoever made this click.
    pub async fn erase_click(&self, click: &Click) {
        let body = json!({"program": PROGRAMS[click.program].id, "click_id": click.id});
        let answer = self.world.api(Method::POST, "erasures", &body).await;
        if answer.status != 200 || !answer.body["next"].is_null() {
            let what = format!("an erasure of a visitor was answered {answer:?}");
            self.world.wrong("answers", what);
        }
    }

    async fn adjust(&self, id: usize, affiliate: usize, program: usize, amount: i64, on: i64) {
        let program = PROGRAMS[program];
        let day = shared::period::day_of(instant(on));
        let body = json!({
            "id": format!("adj{id}"), "payer": program.payer, "affiliate": affiliate_id(affiliate),
            "kind": "correction", "currency": program.currency,
            "amount": decimal(amount, program.currency), "reason": "a world",
            "payable_on": day.to_string(),
        });
        let answer = self.world.api(Method::POST, "adjustments", &body).await;
        self.seen
            .borrow_mut()
            .adjustments
            .entry(id)
            .or_default()
            .push(answer);
    }

    /// A record as it stands, with its version's tag; none if nobody heard.
    async fn found(&self, path: &str) -> Option<(String, Value)> {
        let path = format!("/api/v1/{path}");
        let world = &self.world;
        let heard = world
            .call(
                Function::Console,
                Method::GET,
                &path,
                &world.admin,
                &json!({}),
            )
            .await?;
        let etag = heard.headers.get("etag")?.to_str().ok()?.to_owned();
        Some((etag, serde_json::from_slice(&heard.body).ok()?))
    }

    /// Other terms, and a lane more.
    async fn change(&self, affiliate: usize, terms: usize) {
        let path = format!("affiliates/{}", affiliate_id(affiliate));
        for _ in 0..LOOKS {
            let Some((etag, seen)) = self.found(&path).await else {
                self.world.pause(Duration::from_secs(60)).await;
                continue;
            };
            let lanes = seen["lanes"].as_u64().unwrap_or(1);
            let mut body = terms_json(TERMS[terms]);
            body["lanes"] = json!((lanes + 1).min(LANES_MOST));
            body["if-match"] = json!(etag);
            let from = self.world.millis();
            let answer = self.world.api(Method::PATCH, &path, &body).await;
            let change = Change {
                under_way: (from, self.world.millis()),
                terms,
                was_done: answer.status == 200,
            };
            let mut seen = self.seen.borrow_mut();
            seen.changes.entry(affiliate).or_default().push(change);
            drop(seen);
            if change.was_done {
                return;
            }
        }
        self.world.wrong(
            "answers",
            format!("the terms of {path} could not be changed"),
        );
    }

    /// The program's next version, of the terms that its number has.
    async fn next_version(&self, program: usize) {
        let path = format!("programs/{}", PROGRAMS[program].id);
        for _ in 0..LOOKS {
            let Some((etag, _)) = self.found(&path).await else {
                self.world.pause(Duration::from_secs(60)).await;
                continue;
            };
            let number = 1 + etag.trim_matches('"').parse().unwrap_or(0);
            let mut body = program_json(&PROGRAMS[program].of_version(number));
            body["if-match"] = json!(etag);
            let from = self.world.millis();
            let answer = self.world.api(Method::PATCH, &path, &body).await;
            let made = NewVersion {
                number,
                under_way: (from, self.world.millis()),
                was_done: answer.status == 200,
            };
            let mut seen = self.seen.borrow_mut();
            seen.versions.entry(program).or_default().push(made);
            drop(seen);
            match answer.status {
                200 => return,
                412 => {}
                _ => {
                    let what = format!("a new version of {path} was answered {answer:?}");
                    self.world.wrong("answers", what);
                }
            }
        }
        self.world
            .wrong("answers", format!("{path} could not be changed"));
    }

    /// As a schedule does: a few times, with the event's own time, and then the next day's run must do.
    async fn run(&self, time: i64) {
        for _ in 0..3 {
            if let Some(said) = self.world.fire(time).await {
                self.seen.borrow_mut().runs.push(said);
                return;
            }
            self.world.pause(Duration::from_secs(120)).await;
        }
    }

    /// Takes payouts to the bank: whoever is told that it is theirs to send pays it, once.
    async fn teller(&self, mut rng: Rng, number: u64) {
        for payer in ["house", "agency"] {
            let path = format!("payouts?payer={payer}&status=approved");
            let listed = self.world.api(Method::GET, &path, &json!({})).await;
            for payout in listed.body["items"].as_array().cloned().unwrap_or_default() {
                let id = payout["id"].as_str().unwrap_or_default().to_owned();
                match rng.u8(0..8) {
                    0 => {}
                    1 => {
                        let answer = self.step(&id, "cancel", json!({"reason": "a world"})).await;
                        if answer.status == 200 {
                            self.seen.borrow_mut().cancelled.push(id);
                        }
                    }
                    _ => self.send(&mut rng, &id, number).await,
                }
            }
        }
    }

    async fn step(&self, id: &str, word: &str, body: Value) -> Answer {
        let answer = self
            .world
            .api(Method::POST, &format!("payouts/{id}/{word}"), &body)
            .await;
        if answer.status != 200 && answer.status != 409 {
            self.world.wrong(
                "answers",
                format!("{word} of payout {id} was answered {answer:?}"),
            );
        }
        answer
    }

    /// Often two people press the same button: one of them may pay.
    async fn send(&self, rng: &mut Rng, id: &str, number: u64) {
        let by = rng.u32(..);
        let press = |who: &str| {
            let reference = json!({"reference": format!("{who} {number} of {by}")});
            self.step(id, "sent", reference)
        };
        let (sent, by_another) = if rng.bool() {
            let (sent, by_another) = futures_util::join!(press("teller"), press("colleague"));
            (sent, Some(by_another))
        } else {
            (press("teller").await, None)
        };
        let pays = |sent: &Answer| {
            let amount = minor(&sent.body["amount"]);
            let mut seen = self.seen.borrow_mut();
            let payment = seen.bank.entry(id.to_owned()).or_insert(Payment {
                times: 0,
                amount,
                came_back: false,
            });
            payment.times += 1;
        };
        if let Some(theirs) = by_another.filter(|theirs| theirs.status == 200) {
            pays(&theirs);
        }
        if sent.status != 200 {
            return;
        }
        match rng.u8(0..10) {
            0 => {
                self.step(id, "failed", json!({"reason": "no such account"}))
                    .await;
            }
            outcome @ (1 | 2) => {
                // The bank's line broke before or after it paid; somebody looks later.
                if outcome == 1 {
                    pays(&sent);
                }
                self.step(id, "unknown", json!({})).await;
                self.world.pause(Duration::from_secs(200)).await;
                if outcome == 1 {
                    self.step(id, "settled", json!({})).await;
                } else {
                    self.step(id, "failed", json!({"reason": "never left"}))
                        .await;
                }
            }
            outcome => {
                pays(&sent);
                if outcome > 3 {
                    self.step(id, "settled", json!({})).await;
                }
                if outcome == 9 || outcome == 3 {
                    self.world.pause(Duration::from_secs(400)).await;
                    let back = self
                        .step(id, "returned", json!({"reason": "account closed"}))
                        .await;
                    if back.status == 200
                        && let Some(payment) = self.seen.borrow_mut().bank.get_mut(id)
                    {
                        payment.came_back = true;
                    }
                }
            }
        }
    }

    /// Two people close May, if all its days are done. Whether it is closed.
    pub async fn close(&self, payer: &'static str) -> bool {
        let world = &self.world;
        for (word, person) in [
            ("prepare", &world.admin),
            ("approve", &world.auditor),
            ("close", &world.admin),
        ] {
            let path = format!("/api/v1/periods/2026-05/{word}?payer={payer}");
            let answer = world
                .deliver(Function::Report, Method::POST, &path, person, &json!({}))
                .await;
            if answer.status == 200 && word == "close" {
                self.keep_closed(payer, &answer.body).await;
                return true;
            }
            match (answer.status, answer.body["code"].as_str()) {
                (200, _) => {}
                // What was on its way came in between, or others prepared it anew meanwhile: it is
                // tried again the next time.
                (409, Some("days_open" | "books_differ" | "not_prepared" | "not_approved")) => {
                    return false;
                }
                _ => {
                    world.wrong(
                        "answers",
                        format!("{word} of {payer}'s May was answered {answer:?}"),
                    );
                    return false;
                }
            }
        }
        false
    }

    async fn keep_closed(&self, payer: &'static str, period: &Value) {
        let digest = period["sha256"].as_str().unwrap_or_default().to_owned();
        let bytes = self.report(payer).await;
        let mut seen = self.seen.borrow_mut();
        let before = seen.closed.insert(payer, (digest.clone(), bytes.clone()));
        drop(seen);
        if before.is_some_and(|before| before != (digest, bytes)) {
            self.world
                .wrong("closed month", format!("{payer}'s closed May moved"));
        }
    }

    /// May's raw CSV.
    pub async fn report(&self, payer: &str) -> Vec<u8> {
        let path = format!("/api/v1/reports/payouts/2026-05?payer={payer}&format=csv&raw=1");
        for _ in 0..LOOKS {
            let world = &self.world;
            let heard = world
                .call(
                    Function::Report,
                    Method::GET,
                    &path,
                    &world.admin,
                    &json!({}),
                )
                .await;
            match heard {
                Some(response) if response.status.as_u16() == 200 => return response.body.to_vec(),
                _ => self.world.pause(Duration::from_secs(60)).await,
            }
        }
        self.world
            .wrong("answers", format!("{payer}'s May has no report"));
        Vec::new()
    }
}

/// What a step says of an order, at that moment.
fn sale(step: &Step, at: i64) -> Sale {
    match step {
        Step::Post {
            order,
            click,
            coupon,
            content,
            back,
            ..
        } => Sale {
            order: *order,
            click: *click,
            coupon: *coupon,
            content: *content,
            at: at - back,
        },
        other => unreachable!("{other:?} tells of no order"),
    }
}

/// The lines of an order of so much.
fn lines(program: &Program, amount: i64) -> Value {
    let line = |(sku, of_line)| json!({"sku": sku, "amount": decimal(of_line, program.currency)});
    json!(basket(amount).map(line))
}

/// The cookie that a visitor has had from the beginning.
fn cookie(visitor: usize) -> String {
    use base64::Engine as _;
    let value = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(cookie_bytes(visitor));
    format!("__Host-clv={value}")
}

/// What a visitor's cookie spells.
pub fn cookie_bytes(visitor: usize) -> [u8; 16] {
    let digits = format!("{visitor:016}").into_bytes();
    digits.try_into().expect("sixteen digits")
}

/// The instant in a click id, as the design lays it out: 6 bytes after the first two.
fn clicked_at(id: &str) -> i64 {
    let time = bytes_of(id, 2..8);
    time.iter()
        .fold(0, |millis, byte| millis << 8 | i64::from(*byte))
}

/// What a trail calls a click: the id's last 8 bytes before its tag.
pub fn click_name(id: &str) -> String {
    let name = bytes_of(id, 24..32);
    name.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of(id: &str, range: std::ops::Range<usize>) -> Vec<u8> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(id);
    bytes
        .unwrap_or_default()
        .get(range)
        .unwrap_or_default()
        .to_vec()
}
