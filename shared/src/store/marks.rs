//! Accounts that differ from their ledger: marked, and paid nothing, until they agree again.

use jiff::Timestamp;

use super::months::{NAMED, name_values};
use super::runs::account_key;
use super::transaction::{Outcome, Write, text};
use super::{Store, StoreError};
use crate::ledger::Pocket;
use crate::period::{day_of, days_after};

/// How many days' runs may have begun before a mark is taken away.
const RUNS_MOST: u32 = 4;
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

    /// Lets an account be paid again that was seen to be marked since an instant; a newer mark, which
    /// somebody set since, stays. A run that has not begun yet looks at it, today's at first: it may have
    /// no other reason to.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn unmark(
        &self,
        pocket: &Pocket,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut day = day_of(now);
        for _ in 0..RUNS_MOST {
            // Before, and then only while no run of that day has begun: it may look once only.
            self.wake(pocket, day).await?;
            let unmark = Write::Change {
                table: self.core(),
                key: account_key(pocket),
                set: format!("REMOVE {MARK}"),
                condition: format!("{MARK} = :since"),
                values: vec![(":since".into(), text(since.to_string()))],
            };
            let writes = [unmark, self.gate_is_open(day, pocket.shard())];
            match self.transact(&writes).await? {
                Outcome::Failed(reasons) if reasons.get(1).is_some_and(Option::is_some) => {
                    day = days_after(day, 1);
                }
                Outcome::Done | Outcome::Failed(_) => return Ok(()),
            }
        }
        Err(StoreError::RunBegun(day))
    }
}
