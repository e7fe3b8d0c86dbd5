//! The same targets, led by the code that each input reaches: see `tests/README.md`.

#![no_main]

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

use std::cell::OnceCell;

use libfuzzer_sys::fuzz_target;
use spoilt::Spoilt;
use targets::{Check, TARGETS};

thread_local! {
    static RUNNING: OnceCell<(Spoilt, Check)> = const { OnceCell::new() };
}

/// The target that the last argument names, once its seeds held; libFuzzer is told to pass over it.
fn wanted() -> (Spoilt, Check) {
    let name = std::env::args().next_back().unwrap_or_default();
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.expect("the last argument names a target");
    let (spoilt, check) = (Spoilt::of(target.name), (target.stage)());
    let taken = spoilt.seeds().filter(|input| check(input)).count();
    println!(
        "{}: {taken} seeds are taken; `cargo test` makes {} inputs",
        target.proves, target.inputs
    );
    (spoilt, check)
}

fuzz_target!(|choices: &[u8]| {
    RUNNING.with(|running| {
        let (spoilt, check) = running.get_or_init(wanted);
        check(&spoilt.input(choices));
    });
});
