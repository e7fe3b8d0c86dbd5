//! What is fuzzed: each target by the name of its corpus, and the sentence that it proves.

use crate::spoilt::Input;
use crate::{decisions, forms, posts, rules, set_up, texts, visits};

/// Whether an input was taken or refused. Panics where something does not hold.
pub type Check = Box<dyn Fn(&Input) -> bool>;

/// One thing that reads what others send.
pub struct Target {
    /// Also of its file in `corpus`.
    pub name: &'static str,
    pub proves: &'static str,
    /// So many under `cargo test`.
    pub inputs: usize,
    /// Sets up what the check needs.
    pub stage: fn() -> Check,
}

/// The slow ones first, so that none is left alone at the end.
pub const TARGETS: [Target; 15] = [
    Target {
        name: "posts",
        proves: "an order by query, form, JSON and batch is answered alike, and as the contract allows",
        inputs: 100,
        stage: posts::stage,
    },
    Target {
        name: "batches",
        proves: "a batch's lines are answered as each would be alone, and raw bytes as the contract allows",
        inputs: 100,
        stage: forms::batches,
    },
    Target {
        name: "programs",
        proves: "a program that is taken takes sales, and never fails one",
        inputs: 100,
        stage: set_up::programs,
    },
    Target {
        name: "decisions",
        proves: "decisions as CSV and as NDJSON are read alike, each line as a second reader reads it",
        inputs: 200,
        stage: decisions::stage,
    },
    Target {
        name: "claims",
        proves: "a claim is taken once or refused by the contract",
        inputs: 200,
        stage: set_up::claims,
    },
    Target {
        name: "visits",
        proves: "a visitor arrives, byte for byte with what the visit brought, and no header is forged",
        inputs: 500,
        stage: visits::stage,
    },
    Target {
        name: "rules",
        proves: "rules print as they are read, and pay what a second reader of their JSON reckons",
        inputs: 2_000,
        stage: rules::stage,
    },
    Target {
        name: "items",
        proves: "an order's lines are read and added up as by `serde_json` and `rust_decimal`",
        inputs: 2_000,
        stage: || Box::new(texts::items),
    },
    Target {
        name: "clicks",
        proves: "a click id is taken in its one spelling, and by its maker's hand alone",
        inputs: 2_000,
        stage: || Box::new(texts::click),
    },
    Target {
        name: "signatures",
        proves: "a signature is taken where an HMAC made by hand agrees, and nowhere else",
        inputs: 2_000,
        stage: || Box::new(texts::signature),
    },
    Target {
        name: "forms",
        proves: "a query or a form reads as the URL standard's own reader reads it",
        inputs: 10_000,
        stage: || Box::new(forms::form),
    },
    Target {
        name: "amounts",
        proves: "an amount reads as `rust_decimal` reads it, and prints as it reads",
        inputs: 10_000,
        stage: || Box::new(texts::amount),
    },
    Target {
        name: "percents",
        proves: "a percent reads as `rust_decimal` reads it, and takes the share that it reckons",
        inputs: 10_000,
        stage: || Box::new(texts::percent),
    },
    Target {
        name: "times",
        proves: "instants, days and months are those that `jiff` and a plain calendar know",
        inputs: 10_000,
        stage: || Box::new(texts::time),
    },
    Target {
        name: "spans",
        proves: "a length of time is up to six digits and a unit, at most 36,500 days",
        inputs: 10_000,
        stage: || Box::new(texts::span),
    },
];
