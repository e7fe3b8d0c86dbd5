//! Accounts that differ from their ledger: marked, and paid nothing, until they agree again.

use jiff::Timestamp;

use super::months::{NAMED, name_values};
use super::runs::account_key;
use super::transaction::{Write, text};
use super::{Store, StoreError};
use crate::ledger::Pocket;
use crate::period::day_of;

/// Since when, on the account's own item: a settle that pays is conditioned on its absence.
pub(super) const MARK: &str = "differs_since";

impl Store {
    /// Stops an account's payouts. One that is marked keeps its mark.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn mark(&self, pocket: &Pocket, now: Timestamp) -> Result<(), StoreError> {
        let mut values = name_values(pocket);
        values.push((":now".into(), text(now.to_string())));
        let mark = Write::Change {
            table: self.core(),
            key: account_key(pocket),
            set: format!("SET {NAMED}, {MARK} = :now"),
            condition: format!("attribute_not_exists({MARK})"),
            values,
        };
        self.transact(&[mark]).await?;
        Ok(())
    }

    /// Lets an account be paid again. Today's run looks at it first: it may have no other reason to.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn unmark(&self, pocket: &Pocket, now: Timestamp) -> Result<(), StoreError> {
        self.wake(pocket, day_of(now)).await?;
        let unmark = Write::Change {
            table: self.core(),
            key: account_key(pocket),
            set: format!("REMOVE {MARK}"),
            condition: format!("attribute_exists({MARK})"),
            values: Vec::new(),
        };
        self.transact(&[unmark]).await?;
        Ok(())
    }
}
