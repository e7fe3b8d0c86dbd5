//! Orders whose merchant let the time for a decision pass: the day's run approves them first.

use jiff::Timestamp;
use jiff::civil::Date;
use shared::app::App;
use shared::conversion::Status;
use shared::lambda::Watch;
use shared::ledger::SHARDS;
use shared::period::last_instant_of;
use shared::store::{Audit, DueApproval, Moved, StoreError};

use crate::run::{RunError, each_in_time};

/// How often an order is tried while others change it.
const RACES_MOST: u32 = 8;

/// Approves what was due on a day or before it and still waits, as at the day's last instant: its
/// gates must be open. What comes too late for that is on the next day's list.
pub async fn approve_due(app: &App, day: Date, watch: Watch<'_>) -> Result<(), RunError> {
    let at = last_instant_of(day);
    for shard in 0..SHARDS {
        let due = app.store.approvals_due(day, shard).await?;
        each_in_time(due, day, watch, |due| approve(app, due, at)).await?;
    }
    Ok(())
}

/// Whoever has decided meanwhile is not overruled.
async fn approve(app: &App, due: DueApproval, at: Timestamp) -> Result<(), StoreError> {
    let audit = Audit {
        key: "run".to_owned(),
        person: "approve_after".to_owned(),
        what: "approve conversion".to_owned(),
        reason: Some(format!("nobody decided by the end of {}", due.day)),
    };
    for _ in 0..RACES_MOST {
        let found = app.store.conversion(&due.order).await?;
        let still_waits = found
            .filter(|found| found.status == Status::Pending && found.approves_on == Some(due.day));
        let Some(seen) = still_waits else {
            return app.store.forget_approval(&due).await;
        };
        let moved = app
            .store
            .decide_conversion(&seen, Status::Approved, at, &audit)
            .await?;
        if let Moved::Done(_) = moved {
            return app.store.forget_approval(&due).await;
        }
    }
    Err(StoreError::Contended)
}
