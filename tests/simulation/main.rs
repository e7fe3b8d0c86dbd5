//! Simulated worlds: production handlers, store and SDK over a table whose network fails by a
//! seed, among people and servers that repeat, come late and overtake each other.

mod checks;
mod history;
mod model;
mod people;
mod plants;
mod world;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::task::{JoinSet, LocalSet};

use history::{History, Step};
use people::{MOMENT, People};
use plants::Plant;
use world::{Trouble, World};

#[derive(Debug, Parser)]
#[command(about = "Simulates worlds and checks that no cent is lost, doubled or moved")]
struct Options {
    /// How many worlds
    #[arg(long, default_value_t = 20)]
    worlds: u64,
    /// The first world's seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What came of a world.
struct Outcome {
    wrongs: Vec<String>,
    troubles: BTreeMap<String, u64>,
    calls: u64,
}

fn live(history: &History, plant: Option<Plant>) -> Outcome {
    fastrand::seed(history.seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime starts");
    runtime.block_on(LocalSet::new().run_until(Box::pin(world(history, plant))))
}

async fn world(history: &History, plant: Option<Plant>) -> Outcome {
    let world = World::new(history, plant).await;
    let people = Rc::new(People {
        world: Rc::clone(&world),
        history: history.clone(),
        seen: std::cell::RefCell::default(),
    });
    let mut tasks = JoinSet::new();
    let mut number = 0;
    for moment in &history.moments {
        world.go_to(moment.at);
        for step in &moment.steps {
            let copies = match step {
                Step::Post { copies, .. }
                | Step::Reverse { copies, .. }
                | Step::Approve { copies, .. }
                | Step::Adjust { copies, .. }
                | Step::Run { copies } => *copies,
                Step::Bank { tellers, .. } => *tellers,
                _ => 1,
            };
            for copy in 0..copies {
                if copy > 0 {
                    world.count(Trouble::Duplicate);
                }
                number += 1;
                let (people, step, at) = (Rc::clone(&people), step.clone(), moment.at);
                tasks.spawn_local(async move {
                    people.world.pause(Duration::from_millis(80)).await;
                    Box::pin(people.take(step, at, number)).await;
                });
            }
        }
        tokio::time::sleep(MOMENT).await;
        while tasks.try_join_next().is_some() {}
    }
    world.calm();
    while let Some(ended) = tasks.join_next().await {
        if ended.is_err() {
            world.wrong("a function panicked");
        }
    }
    Box::pin(checks::all(&people)).await;
    let mut troubles: BTreeMap<String, u64> = BTreeMap::new();
    for (fault, count) in world.table.faults_injected() {
        troubles.insert(format!("{fault:?}"), count);
    }
    for (trouble, count) in world.troubles.borrow().iter() {
        troubles.insert(format!("{trouble:?}"), *count);
    }
    Outcome {
        wrongs: world.wrongs.borrow().clone(),
        troubles,
        calls: world.table.call_count(),
    }
}

fn main() {
    let options = Options::parse();
    let start = Instant::now();
    let mut troubles: BTreeMap<String, u64> = BTreeMap::new();
    let (mut bad, mut calls) = (0, 0);
    for seed in options.seed..options.seed + options.worlds {
        let history = History::of(seed);
        let outcome = live(&history, None);
        calls += outcome.calls;
        for (name, count) in outcome.troubles {
            *troubles.entry(name).or_default() += count;
        }
        if !outcome.wrongs.is_empty() {
            bad += 1;
            println!("seed {seed}: {:#?}", outcome.wrongs);
        }
    }
    println!("{} worlds, {bad} bad, {calls} calls, {:?}", options.worlds, start.elapsed());
    println!("{troubles:#?}");
}
