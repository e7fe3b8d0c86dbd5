//! The report function.
