//! What the tests share: a stack to talk to and a clock to turn.
