//! The postback function.
