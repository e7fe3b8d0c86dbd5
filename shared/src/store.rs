//! The two tables: what is asked of them and written to them, through the real SDK.

mod adjustments;
mod amendments;
mod approvals;
mod booking;
mod budget_lanes;
mod caps;
mod click_caps;
mod clicks;
mod conversion_rows;
mod conversions;
mod counters;
mod crediting;
mod customers;
mod erasures;
mod lines;
mod marks;
mod months;
mod payouts;
mod periods;
mod pockets;
mod programs;
mod records;
mod refusals;
mod reversals;
mod runs;
mod schema;
mod transaction;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::civil::Date;

use crate::ledger::Pocket;
use programs::KnownPrograms;

pub use adjustments::{Adjusted, Adjustment};
pub use amendments::{Amended, Amendment, KnownAmendment};
pub use approvals::DueApproval;
pub use booking::Entry;
pub use clicks::{ClickRecord, Visit};
pub use conversions::{ConversionsOf, Moved};
pub use counters::Counted;
pub use crediting::{Besides, DecidedClaim, MEMBERS_OF_EACH, Recorded, TRANSACTION_MOST};
pub use customers::{FirstCredit, KnownCustomer};
pub use months::MonthRow;
pub use payouts::{MovedPayout, Payout, PayoutsOf, Step};
pub use periods::{Period, Stage};
pub use records::{Audit, Created, Replaced, Versioned};
pub use refusals::{Refused, Refusing};
pub use reversals::{ListedReversal, Reversal, Reversed, WHOLE_REST, Waiting, Waits};
pub use runs::{Begun, Bucket, Outcome as SettleOutcome, State as BucketState};
pub use schema::{CORE_INDEXES, Damaged, EXPIRES_AT, Key, Row};

/// The names of the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    pub core: String,
    /// Entries only.
    pub ledger: String,
}

/// What the table could not do. Nothing is known of the outcome of a write; repeating the same
/// one is safe.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the table did not answer: {0}")]
    Unavailable(String),
    #[error("an item cannot be read: {0}")]
    Damaged(#[from] Damaged),
    /// Others kept changing the same items.
    #[error("the same items were changed by others again and again")]
    Contended,
    /// What was to be in force from that day on was not changed: the run of the day reads what was in
    /// force at its end, and may have read it.
    #[error("the run of {0} has begun: what is changed now is in force from the next day on")]
    RunBegun(Date),
}

impl<E, R> From<SdkError<E, R>> for StoreError
where
    E: std::error::Error + 'static,
    R: std::fmt::Debug,
{
    fn from(error: SdkError<E, R>) -> Self {
        Self::Unavailable(crate::lambda::whole(&error))
    }
}

/// The tables of one installation. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    client: Client,
    tables: Tables,
    /// Pockets that are known to be noted.
    noted: Arc<Mutex<HashSet<Pocket>>>,
    programs: KnownPrograms,
}

impl Store {
    #[must_use]
    pub fn new(client: Client, tables: Tables) -> Self {
        Self {
            client,
            tables,
            noted: Arc::default(),
            programs: KnownPrograms::default(),
        }
    }

    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// One item of the core table, as it is now.
    async fn read(&self, key: &Key) -> Result<Option<Row>, StoreError> {
        self.read_item(key, None).await
    }

    /// Some attributes of one item, separated by commas.
    async fn read_parts(&self, key: &Key, parts: &str) -> Result<Option<Row>, StoreError> {
        self.read_item(key, Some(parts.to_owned())).await
    }

    async fn read_item(&self, key: &Key, parts: Option<String>) -> Result<Option<Row>, StoreError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.tables.core)
            .set_key(Some(key.attributes()))
            .set_projection_expression(parts)
            .consistent_read(true)
            .send()
            .await?;
        Ok(answer.item.map(Row::of))
    }

    /// All items of a partition whose sort key is between two texts, both included, in order.
    async fn read_between(
        &self,
        table: &str,
        pk: &str,
        from: &str,
        to: &str,
    ) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        if to < from {
            // Nothing lies there, and the table takes the question for a mistake.
            return Ok(rows);
        }
        let mut start: Option<HashMap<String, AttributeValue>> = None;
        loop {
            let answer = self
                .client
                .query()
                .table_name(table)
                .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
                .expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()))
                .expression_attribute_values(":from", AttributeValue::S(from.to_owned()))
                .expression_attribute_values(":to", AttributeValue::S(to.to_owned()))
                .consistent_read(true)
                .set_exclusive_start_key(start)
                .send()
                .await?;
            rows.extend(answer.items.unwrap_or_default().into_iter().map(Row::of));
            start = answer.last_evaluated_key;
            if start.is_none() {
                return Ok(rows);
            }
        }
    }
}
