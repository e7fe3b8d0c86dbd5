//! Real kills: the stack's process ends by SIGKILL with requests in flight, and starts again.

mod books;
mod line;
mod sender;

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Args;
use fastrand::Rng;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::client::Client;
use crate::stack::{self, Stack};
use books::Bookkeeper;
use line::{KINDS, Line};
use sender::Sender;

/// In fewer kills chance decides which kinds of work are met.
const MANY: u64 = 100;
/// How long a request of the wanted kind is waited for.
const WAIT_MOST: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
pub struct Options {
    /// How many kills with at least one request in flight
    #[arg(long, value_name = "N", default_value_t = 200)]
    count: u64,
    /// Decides what is sent and where in a request it is killed, as far as threads let it
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many shops' servers send at the same time, besides the one who runs days and closes months
    #[arg(long, value_name = "N", default_value_t = 4)]
    senders: u64,
}

const PROGRAMS: [(&str, u16); 2] = [("shoes", 0), ("hats", 5)];

/// Paid daily, weekly, monthly, from an amount on, or not at all.
fn affiliates() -> Vec<(String, Value)> {
    let paid = |schedule, minimum| {
        json!({
            "currency": "EUR", "method": "manual", "schedule": schedule, "minimum": {"EUR": minimum},
        })
    };
    [
        paid("daily", "0"),
        paid("daily", "0"),
        paid("weekly", "0"),
        paid("monthly", "0"),
        paid("daily", "50"),
        Value::Null,
    ]
    .into_iter()
    .enumerate()
    .map(|(number, payout)| (format!("a{number}"), payout))
    .collect()
}

pub fn prove(options: &Options) -> Result<(), String> {
    let folder = stack::build(&["clickledger"])?;
    let mut stack = Stack::new(folder.join("clickledger"))?;
    stack.start()?;
    let client = Client::new(&stack.url());
    let token = stack::set_up(&client, &PROGRAMS, &affiliates())?;
    let key = json!({"role": "finance", "person": "clara"});
    let second = client.made("keys", &key)?["key"].clone();

    let line = Arc::new(Line::new(client.clone(), affiliates().len()));
    let senders: Vec<JoinHandle<Sender>> = (0..options.senders)
        .map(|number| {
            let rng = Rng::with_seed(options.seed.wrapping_mul(1_000).wrapping_add(number));
            let mut sender = Sender::new(number, Arc::clone(&line), token.clone(), rng);
            thread::spawn(move || {
                sender.send_until_stopped();
                sender
            })
        })
        .collect();
    let mut bookkeeper = Bookkeeper::new(Arc::clone(&line), second.as_str().unwrap_or_default());
    let bookkeeper = thread::spawn(move || {
        bookkeeper.keep_until_stopped();
        bookkeeper
    });

    let began = Instant::now();
    let kills = kill_often(options, &mut stack, &line)?;
    // Everybody sends again what was not acknowledged, and then stops.
    line.open();
    line.stop();
    let senders: Result<Vec<Sender>, _> = senders.into_iter().map(JoinHandle::join).collect();
    let mut senders = senders.map_err(|_| "a sender panicked")?;
    let bookkeeper = bookkeeper.join().map_err(|_| "the bookkeeper panicked")?;
    for sender in &mut senders {
        sender.claim_the_rest();
    }
    line.wrongs()?;

    println!("{kills}");
    println!("{line}");
    let (orders, visits) = (sender::orders(&senders), sender::visits(&senders));
    println!("{} clicks, {} orders", visits.len(), orders.len());
    println!("{}", bookkeeper.told());
    books::check(&client, &orders, &line)?;
    bookkeeper.check(&client)?;
    let (errors, last) = stack.errors();
    println!("{errors} errors in the log {last}");
    println!("{}", stack.reconcile()?);
    let (keys, recorded) = (stack.keys()?, stack.recorded_clicks()?);
    let told = books::check_visits(&visits, &keys, &recorded, stack.lost_clicks());
    println!("{}", told?);
    println!(
        "nothing acknowledged is lost, nothing is doubled; {} s",
        began.elapsed().as_secs()
    );
    Ok(())
}

/// What was going on when it was killed.
#[derive(Debug, Default)]
struct Kills {
    count: u64,
    /// With nothing in flight, so not counted.
    idle: u64,
    during: [u64; KINDS.len()],
    in_flight: usize,
    in_flight_most: usize,
}

impl std::fmt::Display for Kills {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} kills, {} requests in flight, {} at most at once; {} more with none in flight",
            self.count, self.in_flight, self.in_flight_most, self.idle
        )?;
        for (kind, kills) in KINDS.iter().zip(self.during) {
            writeln!(f, "  during {kind:<12} {kills:>4}")?;
        }
        Ok(())
    }
}

fn kill_often(options: &Options, stack: &mut Stack, line: &Line) -> Result<Kills, String> {
    let mut rng = Rng::with_seed(options.seed);
    let mut kills = Kills::default();
    let progress = ProgressBar::new(options.count);
    while kills.count < options.count {
        line.open();
        // In turn, so that each kind of work is met.
        let kind = usize::try_from(kills.count).unwrap_or(0) % KINDS.len();
        let began = Instant::now();
        while !line.is_in_flight(kind) && began.elapsed() < WAIT_MOST {
            line.wrongs()?;
            thread::sleep(Duration::from_micros(200));
        }
        thread::sleep(line.usual(kind) * rng.u32(..=100) / 100);
        if stack.has_ended() {
            return Err(format!(
                "the stack ended by itself after {} kills",
                kills.count
            ));
        }
        line.shut();
        stack.kill();
        let cut = line.cut_off();
        let in_flight: usize = cut.iter().sum();
        if in_flight == 0 {
            kills.idle += 1;
        } else {
            kills.count += 1;
            kills.in_flight += in_flight;
            kills.in_flight_most = kills.in_flight_most.max(in_flight);
            for (during, cut) in kills.during.iter_mut().zip(cut) {
                *during += u64::from(cut > 0);
            }
        }
        stack.start()?;
        line.check_after_restart()?;
        progress.set_position(kills.count);
    }
    progress.finish_and_clear();
    let rare = kills
        .during
        .iter()
        .position(|during| during * 20 < kills.count);
    if let Some(kind) = rare
        && MANY <= options.count
    {
        return Err(format!("hardly any kills during {}: {kills}", KINDS[kind]));
    }
    Ok(kills)
}
