//! The line to a stack that is killed: what is in flight, what was cut off, what was acknowledged.

use std::array;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{Answer, Asked, Client, cents};

/// What a request is about.
pub const KINDS: [&str; 5] = [
    "clicks",
    "postbacks",
    "reversals",
    "daily runs",
    "month closes",
];
pub const CLICK: usize = 0;
pub const POSTBACK: usize = 1;
pub const REVERSAL: usize = 2;
pub const RUN: usize = 3;
pub const CLOSE: usize = 4;

/// How long a closed line, or a stack that cannot say, is left alone.
const PAUSE: Duration = Duration::from_millis(5);

/// The answer, and whether an earlier one was not heard.
#[derive(Debug)]
pub struct Told {
    pub answer: Answer,
    pub was_unknown: bool,
}

/// What an affiliate must have in the books by what its shops were told, in minor units.
#[derive(Debug, Clone, Copy, Default)]
pub struct Owed {
    pub earned: i64,
    pub reversed: i64,
    /// Sent and not yet acknowledged: in the books or not.
    pub maybe_earned: i64,
    pub maybe_reversed: i64,
}

#[derive(Debug)]
pub struct Line {
    client: Client,
    is_open: AtomicBool,
    is_stopped: AtomicBool,
    in_flight: [AtomicUsize; KINDS.len()],
    cut: [AtomicUsize; KINDS.len()],
    /// In microseconds, of the last one that was answered.
    took: [AtomicU64; KINDS.len()],
    acknowledged: AtomicU64,
    cut_off: AtomicU64,
    unknown: AtomicU64,
    owed: Mutex<Vec<Owed>>,
    clock: Mutex<jiff::Timestamp>,
    wrongs: Mutex<Vec<String>>,
}

impl Line {
    pub fn new(client: Client, affiliates: usize) -> Self {
        let counters = || array::from_fn(|_| AtomicUsize::new(0));
        Self {
            client,
            is_open: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
            in_flight: counters(),
            cut: counters(),
            took: array::from_fn(|_| AtomicU64::new(0)),
            acknowledged: AtomicU64::new(0),
            cut_off: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            owed: Mutex::new(vec![Owed::default(); affiliates]),
            clock: Mutex::new(jiff::Timestamp::UNIX_EPOCH),
            wrongs: Mutex::default(),
        }
    }

    pub fn open(&self) {
        self.is_open.store(true, Ordering::SeqCst);
    }

    /// From now on nothing is sent.
    pub fn shut(&self) {
        self.is_open.store(false, Ordering::SeqCst);
    }

    /// Nobody begins anything new.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
    }

    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::SeqCst)
    }

    pub fn is_in_flight(&self, kind: usize) -> bool {
        self.in_flight[kind].load(Ordering::SeqCst) > 0
    }

    /// How long a request of this kind took last time.
    pub fn usual(&self, kind: usize) -> Duration {
        Duration::from_micros(self.took[kind].load(Ordering::SeqCst))
    }

    /// Of the requests that were in flight when it was killed, how many were cut off, by kind.
    pub fn cut_off(&self) -> [usize; KINDS.len()] {
        while (0..KINDS.len()).any(|kind| self.is_in_flight(kind)) {
            thread::sleep(Duration::from_micros(200));
        }
        array::from_fn(|kind| self.cut[kind].swap(0, Ordering::SeqCst))
    }

    /// Sends the same until it is answered.
    pub fn until_known(&self, kind: usize, asked: &Asked) -> Told {
        let mut was_unknown = false;
        loop {
            while !self.is_open.load(Ordering::SeqCst) {
                thread::sleep(PAUSE);
            }
            self.in_flight[kind].fetch_add(1, Ordering::SeqCst);
            let began = Instant::now();
            let sent = self.client.send(asked);
            // Whoever was not let in any more was not in flight.
            if let Err(error) = &sent
                && !is_refused(error)
            {
                self.cut[kind].fetch_add(1, Ordering::SeqCst);
                self.cut_off.fetch_add(1, Ordering::Relaxed);
            }
            self.in_flight[kind].fetch_sub(1, Ordering::SeqCst);
            match sent {
                Ok(answer) if answer.status != 503 => {
                    let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(0);
                    self.took[kind].store(took, Ordering::SeqCst);
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                    return Told {
                        answer,
                        was_unknown,
                    };
                }
                Ok(_) => {
                    self.unknown.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(PAUSE);
                }
                Err(_) => {}
            }
            was_unknown = true;
        }
    }

    /// One of the affiliates' debts, changed while nobody else looks.
    pub fn owe(&self, affiliate: usize, change: impl FnOnce(&mut Owed)) {
        change(&mut self.all_owed()[affiliate]);
    }

    pub fn owed(&self) -> Vec<Owed> {
        self.all_owed().clone()
    }

    fn all_owed(&self) -> MutexGuard<'_, Vec<Owed>> {
        self.owed.lock().expect("nobody panics while holding it")
    }

    /// What the stack said last that it was.
    pub fn saw_clock(&self, now: &Value) {
        if let Some(now) = now["now"].as_str().and_then(|now| now.parse().ok()) {
            *self.clock.lock().expect("nobody panics while holding it") = now;
        }
    }

    pub fn wrong(&self, how: String) {
        let mut wrongs = self.wrongs.lock().expect("nobody panics while holding it");
        wrongs.push(how);
    }

    /// # Errors
    /// The first things that were wrong.
    pub fn wrongs(&self) -> Result<(), String> {
        let wrongs = self.wrongs.lock().expect("nobody panics while holding it");
        if wrongs.is_empty() {
            return Ok(());
        }
        Err(wrongs
            .iter()
            .take(3)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n"))
    }

    /// While nothing is sent: the clock did not go back, and each affiliate has in the books what
    /// was acknowledged, and no more than that and what was in flight.
    pub fn check_after_restart(&self) -> Result<(), String> {
        let now = self.client.done(&Asked::clock())?.json();
        let before = *self.clock.lock().expect("nobody panics while holding it");
        self.saw_clock(&now);
        if *self.clock.lock().expect("nobody panics while holding it") < before {
            return Err(format!("the clock went back from {before} to {now}"));
        }
        for (affiliate, owed) in self.owed().into_iter().enumerate() {
            let balance = balance(&self.client, &format!("a{affiliate}"))?;
            let is_between =
                |found: i64, known: i64, maybe: i64| known <= found && found <= known + maybe;
            if !is_between(balance.earned, owed.earned, owed.maybe_earned)
                || !is_between(balance.reversed, owed.reversed, owed.maybe_reversed)
            {
                return Err(format!(
                    "a{affiliate} was told {owed:?} and has {balance:?}"
                ));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        write!(
            f,
            "{} requests acknowledged; sent again: {} cut off by a kill, {} answered 503",
            number(&self.acknowledged),
            number(&self.cut_off),
            number(&self.unknown)
        )
    }
}

fn is_refused(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        ureq::Error::ConnectionFailed => true,
        _ => false,
    }
}

/// What an affiliate has, in minor units.
#[derive(Debug, Clone, Copy, Default)]
pub struct Balance {
    pub earned: i64,
    pub reversed: i64,
    /// In payouts, sent or not.
    pub paid_out: i64,
}

/// The only balance of an affiliate; the identity must hold.
pub fn balance(client: &Client, affiliate: &str) -> Result<Balance, String> {
    let balances = client.get(&format!("affiliates/{affiliate}/balances"))?;
    let Some(balance) = balances["items"].as_array().and_then(|items| items.first()) else {
        return Ok(Balance::default());
    };
    let of = |name: &str| cents(&balance[name]);
    let (earned, reversed) = (of("earned")?, of("reversed")?);
    let has = of("on_hold")? + of("payable")? + of("in_payout")? + of("paid")?;
    if has != earned - reversed + of("adjustments")? - of("withheld")? {
        return Err(format!(
            "the balance of {affiliate} does not add up: {balance}"
        ));
    }
    Ok(Balance {
        earned,
        reversed,
        paid_out: of("in_payout")? + of("paid")?,
    })
}
