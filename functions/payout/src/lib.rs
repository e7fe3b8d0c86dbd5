//! The payout function.
