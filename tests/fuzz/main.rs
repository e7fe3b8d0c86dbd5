//! Whatever comes, spoilt from good examples: each reader holds against a second one, and each
//! handler answers as the contract allows.

mod decisions;
mod forms;
mod posts;
mod rules;
mod set_up;
mod spoilt;
mod stage;
mod targets;
mod tariff;
mod texts;
mod visits;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;

use spoilt::{Input, Spoilt};
use targets::{Check, TARGETS, Target};

/// The choices behind one input are so many bytes at most.
const CHOICES_MOST: usize = 160;

/// So often a failing input is tried with fewer choices.
const TRIES_MOST: usize = 400;

/// Every seed of the corpus as it is, then spoilt ones. The same seed number, the same inputs.
#[derive(Debug, Parser)]
#[command(about = "Spoils good inputs and checks what comes of them")]
struct Options {
    /// For so long each target, instead of a fixed number of inputs
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Where chance begins
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// One target only
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// What `cargo test NAME` asks for: run only if it is in the name of this test
    #[arg(hide = true)]
    filters: Vec<String>,
}

/// An input that does not hold, and what was said.
struct Failure {
    input: Input,
    said: String,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let is_asked_for = |filter: &String| "fuzz".contains(filter.as_str());
    if !options.filters.is_empty() && !options.filters.iter().any(is_asked_for) {
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&Target> = TARGETS
        .iter()
        .filter(|target| options.only.as_ref().is_none_or(|only| only == target.name))
        .collect();
    if wanted.is_empty() {
        println!("there is no such target");
        return ExitCode::from(2);
    }

    // What is said by an input that fails is printed once it is as short as can be.
    std::panic::set_hook(Box::new(|_| {}));
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(target) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let is_bad = !run(target, &options);
                    failed.fetch_add(usize::from(is_bad), Ordering::Relaxed);
                }
            });
        }
    });
    let failed = failed.into_inner();
    println!("{} passed, {failed} failed", wanted.len() - failed);
    ExitCode::from(u8::from(failed > 0))
}

/// Whether every input held.
fn run(target: &Target, options: &Options) -> bool {
    let spoilt = Spoilt::of(target.name);
    let check = (target.stage)();
    let mut seeds = spoilt.seeds();
    let mut failure = seeds.find_map(|input| held(&check, input).err());
    let mut chance = fastrand::Rng::with_seed(options.seed);
    let began = Instant::now();
    let is_over = |made: usize| match options.seconds {
        Some(seconds) => began.elapsed() >= Duration::from_secs(seconds),
        None => made >= target.inputs,
    };
    let (mut made, mut taken) = (0, 0);
    while failure.is_none() && !is_over(made) {
        let choices: Vec<u8> = (0..chance.usize(1..=CHOICES_MOST))
            .map(|_| chance.u8(..))
            .collect();
        match held(&check, spoilt.input(&choices)) {
            Ok(is_taken) => taken += usize::from(is_taken),
            Err(first) => failure = Some(shortened(&check, &spoilt, choices, first)),
        }
        made += 1;
    }
    let (name, proves) = (target.name, target.proves);
    let Some(Failure { input, said }) = failure else {
        println!("{name:<10} {made:>9} inputs, {taken:>9} taken: {proves}");
        // Where all were refused alike, nothing would be proved; in a short time that may be chance.
        return options.seconds.is_some() || (1..made).contains(&taken);
    };
    println!("{name:<10} FAILED after {made} inputs: {proves}\n{input:?}\n{said}");
    false
}

fn held(check: &Check, input: Input) -> Result<bool, Failure> {
    let checked = catch_unwind(AssertUnwindSafe(|| check(&input)));
    checked.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let said = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Failure {
            input,
            said: said.unwrap_or_default(),
        }
    })
}

/// The failure with the fewest choices that is found by leaving some out, or making them zero.
fn shortened(check: &Check, spoilt: &Spoilt, mut choices: Vec<u8>, first: Failure) -> Failure {
    let mut shortest = first;
    let mut place = choices.len();
    for _ in 0..TRIES_MOST {
        let Some(before) = place.checked_sub(1) else {
            break;
        };
        place = before;
        let mut without = choices.clone();
        without.remove(place);
        let mut zeroed = choices.clone();
        zeroed[place] = 0;
        for fewer in [without, zeroed] {
            if fewer == choices {
                continue;
            }
            if let Err(failure) = held(check, spoilt.input(&fewer)) {
                shortest = failure;
                choices = fewer;
                break;
            }
        }
    }
    shortest
}
