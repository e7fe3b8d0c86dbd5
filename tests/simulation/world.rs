//! One world: instances of every function over one table, a clock, and a network that fails.

mod stage;

pub use stage::{Stages, program_json};

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use clickledger::embedded::{Embedded, Fault, Faults};
use clickledger::tables;
use fastrand::Rng;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use redirect::Redirect;
use serde_json::{Value, json};
use shared::app::{App, Keys};
use shared::http_types::{Request, Response};
use shared::keys::KeyRing;
use shared::lambda::{Schedule, Watch};
use shared::signature;
use shared::store::Store;
use tokio::time::Instant;

use crate::cast::{TERMS, Terms};
use crate::history::{DAY, History, SECOND};
use crate::plants::{Plant, Told};

/// How far an instance's clock may be off, in milliseconds.
pub const SKEW: i64 = 2 * SECOND;
/// How long a function may take: then it is stopped.
pub const TIMEOUT: Duration = Duration::from_millis(TIMEOUT_MS.unsigned_abs());
/// The same in milliseconds.
pub const TIMEOUT_MS: i64 = 900 * SECOND;
/// How often a delivery is repeated before the world counts as stuck.
const REPEATS_MOST: u32 = 400;
/// As on AWS: how long after its gates closed a day's buckets are listed again.
const SECOND_LISTING: Duration = Duration::from_secs(60);
const INSTANCES: usize = 2;
/// Of a call to the table.
const LATENCY_MS: u64 = 4;
/// How long people and servers are given for what they do in a moment.
const MOMENT: Duration = Duration::from_secs(60);

pub const CLOSED_UNDER_WAY: &str = "months closed while more happened";
pub const BY_COUPON: &str = "orders by a coupon";
pub const BY_OLD_TERMS: &str = "orders by terms that were not the last";
pub const AFTER_AN_END: &str = "orders after their rule had ended";
pub const LEADS: &str = "leads";
pub const BATCH_LINES: &str = "lines of batches";
pub const NEW_VERSIONS: &str = "new versions of programs";
pub const OVER_BUDGET: &str = "posts that a budget refused";

/// What is counted where it is looked at; a thousand worlds without any of it would be too tame.
const MET: [&str; 8] = [
    CLOSED_UNDER_WAY,
    BY_COUPON,
    BY_OLD_TERMS,
    AFTER_AN_END,
    LEADS,
    BATCH_LINES,
    NEW_VERSIONS,
    OVER_BUDGET,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    Redirect,
    Postback,
    Payout,
    Report,
    Console,
}

/// Trouble outside the table's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    Death,
    AnswerNotHeard,
    Duplicate,
    Resent,
    Skewed,
}

impl Trouble {
    pub const KINDS: [Self; 5] = [
        Self::Death,
        Self::AnswerNotHeard,
        Self::Duplicate,
        Self::Resent,
        Self::Skewed,
    ];
}

struct Instance {
    app: App,
    redirect: Redirect,
    skew: i64,
    /// How many changes its keys had seen.
    ring: u32,
}

pub struct World {
    pub table: Embedded,
    pub rng: RefCell<Rng>,
    pub admin: String,
    pub auditor: String,
    /// By merchant: what it shows, and what it signs with.
    pub tokens: Vec<String>,
    pub secrets: Vec<String>,
    /// The affiliates' own keys.
    pub affiliates: Vec<String>,
    /// The keys, and how often they changed.
    ring: RefCell<(u32, KeyRing)>,
    instances: RefCell<BTreeMap<usize, Rc<Instance>>>,
    /// The moment's instant, and when the runtime came to it.
    moment: Cell<(i64, Instant)>,
    is_rough: Cell<bool>,
    /// How many functions are at work.
    at_work: Cell<u32>,
    told: Told,
    clients: [aws_sdk_dynamodb::Client; 5],
    pub troubles: RefCell<BTreeMap<Trouble, u64>>,
    /// What is no trouble, and yet has to be met, as often as it was.
    met: RefCell<BTreeMap<&'static str, u64>>,
    /// What must not be, in the order in which it was seen.
    pub wrongs: RefCell<Vec<(&'static str, String)>>,
}

/// Until the end, or until it was polled this often: then it is dropped where it stands.
struct Mortal<F> {
    life: Option<Pin<Box<F>>>,
    polls: u32,
}

impl<F: Future> Future for Mortal<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            self.life = None;
        }
        self.polls = self.polls.saturating_sub(1);
        match &mut self.life {
            None => Poll::Ready(None),
            Some(life) => life.as_mut().poll(context).map(Some),
        }
    }
}

impl World {
    /// The stage of that day, each affiliate's terms as the history has them; then the network
    /// turns as rough as it says.
    pub async fn new(history: &History, plant: Option<Plant>, stages: &Stages) -> Rc<Self> {
        let at = history.moments[0].at - 5 * SKEW;
        let stage = stages.of(at).await;
        fastrand::seed(history.seed);
        let table = Embedded::in_memory();
        let snapshot = stage.snapshot.to_string_lossy();
        table
            .engine()
            .restore_from(&snapshot)
            .expect("a stage is a snapshot of the engine");
        let mut world = Self::over(table, at, history.seed);
        world.tokens.clone_from(&stage.tokens);
        world.secrets.clone_from(&stage.secrets);
        world.affiliates.clone_from(&stage.affiliates);
        for (number, terms) in history.terms.iter().enumerate() {
            world.gets_terms(number, TERMS[*terms]).await;
        }
        Plant::put_into(plant, &world.table, &world.told, history.seed);
        let mut faults = Faults::seeded(history.seed)
            .with_latency(LATENCY_MS)
            .with_short_pages();
        if history.roughness > 0 {
            for kind in Faults::KINDS {
                // There are few reads that may lag, and few writes that may conflict.
                let often = match kind {
                    Fault::Stale => 8,
                    Fault::Conflict | Fault::AppliedLater | Fault::Delayed => 2,
                    _ => 1,
                };
                faults = faults.with(kind, history.roughness * often);
            }
        }
        world.table.set_faults(faults);
        world.is_rough.set(history.roughness > 0);
        Rc::new(world)
    }

    fn over(table: Embedded, at: i64, seed: u64) -> Self {
        table.keep_tokens(false);
        table.record(false);
        let (ring, _) = KeyRing::generate("sim", [7; 32]).expect("a ring is made of 32 bytes");
        Self {
            rng: RefCell::new(Rng::with_seed(seed ^ 0x5EED)),
            admin: "an-admin-of-a-simulated-world-00".to_owned(),
            auditor: "another-person-of-that-world-000".to_owned(),
            tokens: Vec::new(),
            secrets: Vec::new(),
            affiliates: Vec::new(),
            ring: RefCell::new((0, ring)),
            instances: RefCell::default(),
            moment: Cell::new((at, Instant::now())),
            is_rough: Cell::new(false),
            at_work: Cell::new(0),
            told: Told::default(),
            clients: ["redirect", "postback", "payout", "report", "console"]
                .map(|name| table.client(name)),
            troubles: RefCell::default(),
            met: RefCell::new(MET.map(|name| (name, 0)).into()),
            wrongs: RefCell::default(),
            table,
        }
    }

    fn instance(&self, function: Function) -> Rc<Instance> {
        let place = function as usize * INSTANCES + self.rng.borrow_mut().usize(..INSTANCES);
        if let Some(instance) = self.instances.borrow().get(&place) {
            return Rc::clone(instance);
        }
        let (change, ring) = self.ring.borrow().clone();
        let app = App {
            store: Store::new(self.clients[function as usize].clone(), tables::names()),
            keys: Arc::new(Keys::fixed(ring)),
            public_url: "https://go.example".to_owned(),
            fallback_url: None,
            is_one_machine: false,
            second_listing_after: SECOND_LISTING,
        };
        let skew = if self.is_rough.get() {
            self.count(Trouble::Skewed);
            self.rng.borrow_mut().i64(-SKEW..=SKEW)
        } else {
            0
        };
        let instance = Rc::new(Instance {
            redirect: Redirect::new(app.clone()),
            app,
            skew,
            ring: change,
        });
        self.instances
            .borrow_mut()
            .insert(place, Rc::clone(&instance));
        instance
    }

    /// A deployment: whatever runs goes on, whatever comes meets new instances.
    pub fn restart(&self) {
        self.instances.borrow_mut().clear();
    }

    /// In two steps: a new key verifies, and once every instance knows it, it signs. Some that know the
    /// step before go on beside those that know this one.
    pub fn rotate(&self) {
        let (change, ring) = self.ring.borrow().clone();
        let next = match ring.waiting_number() {
            Some(number) => ring.signed_by(number),
            None => ring.extended([ring.newest_number() + 8; 32]),
        };
        // A ring holds so many keys and no more.
        let Ok(next) = next else {
            return;
        };
        *self.ring.borrow_mut() = (change + 1, next);
        let mut rng = self.rng.borrow_mut();
        self.instances
            .borrow_mut()
            .retain(|_, instance| instance.ring == change && rng.bool());
    }

    /// Milliseconds since 1970, by a clock that is right.
    pub fn millis(&self) -> i64 {
        let (at, since) = self.moment.get();
        at + i64::try_from(since.elapsed().as_millis()).unwrap_or(0)
    }

    /// Time goes on to the next moment. Where that is far, whatever is at work ends before: a
    /// function is stopped after its time, and what it sent is taken by then or never.
    pub async fn go_to(&self, at: i64) {
        let left = Duration::from_millis(u64::try_from(at - self.millis()).unwrap_or(0));
        if left <= TIMEOUT {
            tokio::time::sleep(left).await;
        } else {
            tokio::time::sleep(MOMENT).await;
            while self.at_work.get() > 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            self.table.arrive();
        }
        let at = at.max(self.millis());
        self.told.today.store(at / DAY, Ordering::Relaxed);
        self.moment.set((at, Instant::now()));
    }

    /// From here on nothing fails any more.
    pub fn calm(&self) {
        self.is_rough.set(false);
        self.table.set_faults(Faults::none());
    }

    /// `promise` is the one that is broken.
    pub fn wrong(&self, promise: &'static str, what: impl Into<String>) {
        self.wrongs.borrow_mut().push((promise, what.into()));
    }

    pub fn count(&self, trouble: Trouble) {
        *self.troubles.borrow_mut().entry(trouble).or_default() += 1;
    }

    /// Something of [`MET`].
    pub fn meets(&self, what: &'static str, times: usize) {
        let times = u64::try_from(times).unwrap_or(u64::MAX);
        *self.met.borrow_mut().entry(what).or_default() += times;
    }

    /// Once in `of` times, while the network is rough.
    pub fn happens(&self, of: u32) -> bool {
        self.is_rough.get() && self.rng.borrow_mut().u32(0..of) == 0
    }

    pub async fn pause(&self, longest: Duration) {
        let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        let millis = self.rng.borrow_mut().u64(1..=longest);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// A life that may end at any await; none if it did, or if nobody heard the answer.
    async fn live<T>(&self, function: Function, life: impl Future<Output = T>) -> Option<T> {
        let polls = if self.happens(7) {
            // Most calls are over soon; a run or a close is not.
            let mut rng = self.rng.borrow_mut();
            let most = [90, 90, 1_500][rng.usize(..3)];
            rng.u32(1..most)
        } else {
            u32::MAX
        };
        self.at_work.set(self.at_work.get() + 1);
        let life = Mortal {
            life: Some(Box::pin(life)),
            polls,
        };
        let lived = tokio::time::timeout(TIMEOUT, life).await.unwrap_or(None);
        self.at_work.set(self.at_work.get() - 1);
        if lived.is_none() {
            self.count(Trouble::Death);
            let places = function as usize * INSTANCES..(function as usize + 1) * INSTANCES;
            self.instances
                .borrow_mut()
                .retain(|place, _| !places.contains(place));
        } else if self.happens(30) {
            self.count(Trouble::AnswerNotHeard);
            return None;
        }
        lived
    }

    /// One request to one instance. None: the caller hears nothing.
    pub async fn call(
        &self,
        function: Function,
        method: Method,
        path_and_query: &str,
        bearer: &str,
        body: &Value,
    ) -> Option<Response> {
        let instance = self.instance(function);
        let now = instant(self.millis() + instance.skew);
        let request = request(method, path_and_query, bearer, body, now);
        match function {
            Function::Redirect => {
                self.live(function, redirect::handle(&instance.redirect, request))
                    .await
            }
            Function::Postback => {
                self.live(function, postback::handle(&instance.app, request))
                    .await
            }
            Function::Payout => {
                let clock = self.clock(instance.skew);
                let watch = watch(&clock, now);
                self.live(function, payout::handle(&instance.app, request, watch))
                    .await
            }
            Function::Report => {
                self.live(function, report::handle(&instance.app, request))
                    .await
            }
            Function::Console => {
                self.live(function, console::handle(&instance.app, request))
                    .await
            }
        }
    }

    /// The schedule's event of that time, in milliseconds since 1970, for the day before it. None: it
    /// failed, or nobody heard.
    pub async fn fire(&self, time: i64) -> Option<Value> {
        let instance = self.instance(Function::Payout);
        let now = instant(self.millis() + instance.skew);
        let schedule = Schedule {
            day: None,
            scheduled_time: instant(time),
        };
        let clock = self.clock(instance.skew);
        let run = payout::scheduled(&instance.app, &schedule, watch(&clock, now));
        self.live(Function::Payout, run).await.and_then(Result::ok)
    }

    /// The schedule's reconciliation of that time, as often as it takes.
    pub async fn reconcile(&self, time: i64) {
        for _ in 0..REPEATS_MOST {
            let instance = self.instance(Function::Report);
            let schedule = Schedule {
                day: None,
                scheduled_time: instant(time),
            };
            let reconciled = report::scheduled(&instance.app, &schedule);
            if let Some(Ok(_)) = self.live(Function::Report, reconciled).await {
                return;
            }
            self.count(Trouble::Resent);
            self.pause(Duration::from_secs(120)).await;
        }
        self.wrong("answers", "the books were never reconciled");
    }

    /// A clock that is off by so much; good until time jumps.
    fn clock(&self, skew: i64) -> impl Fn() -> Timestamp + Sync + use<> {
        let (at, since) = self.moment.get();
        move || instant(at + skew + i64::try_from(since.elapsed().as_millis()).unwrap_or(0))
    }

    /// The same request again and again until it is answered for good.
    pub async fn deliver(
        &self,
        function: Function,
        method: Method,
        path_and_query: &str,
        bearer: &str,
        body: &Value,
    ) -> tests::Answer {
        for attempt in 0..REPEATS_MOST {
            if attempt > 0 {
                self.count(Trouble::Resent);
                self.pause(Duration::from_secs(150)).await;
            }
            let heard = self
                .call(function, method.clone(), path_and_query, bearer, body)
                .await;
            let Some(answer) = heard.as_ref().map(tests::answer) else {
                continue;
            };
            match answer.status {
                503 | 429 => {}
                500.. => self.wrong("answers", format!("{path_and_query} answered {answer:?}")),
                _ => return answer,
            }
        }
        self.wrong("answers", format!("{path_and_query} was never answered"));
        tests::Answer {
            status: 0,
            body: Value::Null,
        }
    }

    /// What happened besides, by name.
    pub fn sights(&self) -> BTreeMap<&'static str, u64> {
        let (changes, _) = *self.ring.borrow();
        let mut sights = self.met.borrow().clone();
        sights.extend([
            ("pages cut short", self.table.short_pages()),
            (
                "items that a list missed",
                self.told.missed.load(Ordering::Relaxed),
            ),
            ("steps of a key's rotation", u64::from(changes)),
        ]);
        sights
    }

    pub async fn api(&self, method: Method, path: &str, body: &Value) -> tests::Answer {
        let function = function_of(path);
        let path = format!("/api/v1/{path}");
        self.deliver(function, method, &path, &self.admin, body)
            .await
    }

    /// The keys as they are now.
    pub fn keys(&self) -> KeyRing {
        self.ring.borrow().1.clone()
    }

    /// The store, as nobody's instance has it.
    pub fn store(&self) -> Store {
        Store::new(self.table.client("check"), tables::names())
    }
}

fn watch(clock: &(dyn Fn() -> Timestamp + Sync), now: Timestamp) -> Watch<'_> {
    let deadline = now
        .checked_add(TIMEOUT)
        .expect("a world's time is near ours");
    Watch { clock, deadline }
}

pub fn function_of(path: &str) -> Function {
    let first = path.split(['/', '?']).next().unwrap_or_default();
    match first {
        "payout-runs" | "payouts" | "adjustments" => Function::Payout,
        "reports" | "periods" | "statements" => Function::Report,
        _ => Function::Console,
    }
}

pub fn instant(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).expect("a world's time is near ours")
}

pub fn affiliate_id(number: usize) -> String {
    format!("a{number}")
}

pub fn slug(affiliate: usize, program: &str) -> String {
    format!("a{affiliate}-{program}")
}

/// The code of an affiliate's coupon for a program.
pub fn coupon(affiliate: usize, program: &str) -> String {
    format!("{program}-OF-A{affiliate}")
}

/// Minor units as the wire has them.
pub fn decimal(minor: i64, currency: &str) -> String {
    match currency {
        "JPY" => minor.to_string(),
        _ => {
            let sign = if minor < 0 { "-" } else { "" };
            format!("{sign}{}.{:02}", minor.abs() / 100, minor.abs() % 100)
        }
    }
}

/// The minor units of an amount with all its digits.
pub fn minor(amount: &Value) -> i64 {
    let text = amount.as_str().unwrap_or("no amount");
    text.replace('.', "").parse().unwrap_or(i64::MIN)
}

pub fn terms_json(terms: Terms) -> Value {
    let minimum = json!({terms.currency: decimal(terms.minimum, terms.currency)});
    json!({
        "status": if terms.is_active { "active" } else { "suspended" },
        "payout": {
            "currency": terms.currency, "method": "manual", "schedule": terms.schedule, "minimum": minimum,
        },
    })
}

fn request(
    method: Method,
    path_and_query: &str,
    bearer: &str,
    body: &Value,
    now: Timestamp,
) -> Request {
    let (path, query) = path_and_query
        .split_once('?')
        .unwrap_or((path_and_query, ""));
    let mut headers = HeaderMap::new();
    let mut header = |name: &'static str, value: &str| {
        let value = HeaderValue::from_str(value).expect("a world's headers are ASCII");
        headers.insert(HeaderName::from_static(name), value);
    };
    match (bearer, body) {
        // A visitor's browser, or a robot.
        ("", Value::Array(browser)) => {
            header("user-agent", browser[0].as_str().unwrap_or_default());
            header("cookie", browser[1].as_str().unwrap_or_default());
        }
        ("", _) => header("content-type", "application/json"),
        (secret, Value::String(lines)) if secret.starts_with("whsec_") => {
            let key = signature::parse_whsec(secret).expect("a secret as it was shown");
            header("webhook-id", "a batch");
            header("webhook-timestamp", &now.as_second().to_string());
            let signed = signature::sign("a batch", now, lines.as_bytes(), &key);
            header("webhook-signature", &signed);
        }
        (bearer, _) => header("authorization", &format!("Bearer {bearer}")),
    }
    if let Some(version) = body.get("if-match").and_then(Value::as_str) {
        header("if-match", version);
    }
    let mut body = body.clone();
    if let Some(members) = body.as_object_mut() {
        members.remove("if-match");
    }
    let is_body = body.as_object().is_some_and(|members| !members.is_empty());
    let lines = body.as_str();
    Request {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: match lines {
            Some(lines) => lines.to_owned().into(),
            None if is_body => body.to_string().into(),
            None => Bytes::new(),
        },
        now,
        https: true,
        country: None,
    }
}
