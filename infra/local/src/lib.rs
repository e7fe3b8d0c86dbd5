//! Clickledger on one machine: all functions behind one front, on an embedded table.

pub mod clock;
pub mod demo;
pub mod embedded;
pub mod front;
mod lanes;
pub mod reconcile;
pub mod replay;
pub mod stack;
pub mod tables;
