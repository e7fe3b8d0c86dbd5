//! The redirect function.
