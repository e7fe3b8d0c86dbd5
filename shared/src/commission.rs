//! commission
