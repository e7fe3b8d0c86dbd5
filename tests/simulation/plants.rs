//! Bugs that are planted: what the table is asked is changed on its way, as if our code did so.

use clickledger::embedded::Embedded;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    BucketUnconditional,
}

impl Plant {
    pub fn put_into(self, _table: &Embedded) {}
}
