//! What a visitor, an affiliate, a merchant and a finance clerk see, on the one-machine stack.

mod money;
mod refusals;
mod roles;
mod setup;
