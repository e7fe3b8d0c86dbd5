//! Clickledger's domain: nouns first, the world (`app`, `edge`, `store`) last.
//!
//! Without the feature `world` nothing here reads a clock, an environment or a table.

pub mod attribution;
pub mod claim;
pub mod click;
pub mod commission;
pub mod conversion;
pub mod customer;
pub mod erasure;
pub mod http_types;
pub mod ids;
pub mod keys;
pub mod ledger;
pub mod money;
pub mod payout;
pub mod period;
pub mod report;
pub mod rights;
pub mod setup;
pub mod signature;
pub mod traffic;
pub mod visitor;

#[cfg(feature = "world")]
pub mod app;
#[cfg(feature = "world")]
pub mod config;
#[cfg(feature = "world")]
pub mod lambda;
#[cfg(feature = "world")]
pub mod parameter;
#[cfg(feature = "world")]
pub mod reckoning;
#[cfg(feature = "world")]
pub mod reversing;
#[cfg(feature = "world")]
pub mod store;
