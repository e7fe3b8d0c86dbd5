//! What a visitor, an affiliate, a merchant and a finance clerk see, on the one-machine stack.
#![expect(
    clippy::unwrap_used,
    reason = "a test's steps around its assertions fail it as well as they do"
)]

mod attribution;
mod budgets;
mod canaries;
mod claims;
mod cut;
mod deadline;
mod edges;
mod finance;
mod generated;
mod lifecycle;
mod links;
mod marks;
mod money;
mod overload;
mod privacy;
mod races;
mod refunds;
mod refusals;
mod roles;
mod rules;
mod schedule;
mod security;
mod setup;
mod silence;
mod standing;
mod threats;
