//! One transaction, repeated until its outcome is known.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem, Update,
};

use super::{Key, Row, Store, StoreError};

/// How often the same bytes are sent while nothing is known of the outcome.
const ATTEMPTS: u32 = 8;
/// Full jitter below this, doubled by every attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// One member of a transaction.
#[derive(Debug, Clone)]
pub(super) enum Write {
    /// Puts the row if nothing stands under its key.
    Add { table: String, row: Row },
    /// Changes an item under a condition.
    Change {
        table: String,
        key: Key,
        set: String,
        condition: String,
        values: Vec<(String, AttributeValue)>,
    },
    /// Puts a row over the one that is there, under a condition.
    Replace {
        table: String,
        row: Row,
        condition: String,
        values: Vec<(String, AttributeValue)>,
    },
    /// Removes an item, if it is there; with an attribute and its text only the item that has it.
    Remove {
        table: String,
        key: Key,
        only: Option<(&'static str, String)>,
    },
    /// Asks for a condition only.
    Check {
        table: String,
        key: Key,
        condition: String,
        values: Vec<(String, AttributeValue)>,
    },
}

/// What became of a transaction, as far as conditions go.
#[derive(Debug)]
pub(super) enum Outcome {
    Done,
    /// By the members' order: none where it held, else what stands there (if anything does).
    Failed(Vec<Option<Held>>),
}

/// What stood where a condition did not hold.
pub(super) type Held = Option<Row>;

pub(super) fn number(value: impl Into<i128>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(super) fn texts(values: &[String]) -> AttributeValue {
    AttributeValue::L(values.iter().map(text).collect())
}

impl Store {
    pub(super) fn core(&self) -> String {
        self.tables.core.clone()
    }

    pub(super) fn ledger(&self) -> String {
        self.tables.ledger.clone()
    }

    /// Sends the same bytes until the table says what became of them. A conflict, a throttle, a
    /// lost answer say nothing; a condition that failed says it all.
    pub(super) async fn transact(&self, writes: &[Write]) -> Result<Outcome, StoreError> {
        let items: Vec<TransactWriteItem> = writes.iter().map(member).collect();
        let token = format!("{:032x}", u128::from_be_bytes(crate::app::random()));
        let mut last = None;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                pause(attempt).await;
            }
            let sent = self
                .client
                .transact_write_items()
                .set_transact_items(Some(items.clone()))
                .client_request_token(&token)
                .send()
                .await;
            match sent {
                Ok(_) => return Ok(Outcome::Done),
                Err(error) => match failed_conditions(&error) {
                    Some(reasons) => return Ok(Outcome::Failed(reasons)),
                    None if is_final(&error) => return Err(error.into()),
                    None => last = Some(error),
                },
            }
        }
        Err(last.map_or(StoreError::Contended, StoreError::from))
    }
}

/// The reasons, if every one of them is about a condition: only then is the outcome known and
/// due to what stands in the table.
fn failed_conditions<R>(error: &SdkError<TransactWriteItemsError, R>) -> Option<Vec<Option<Held>>> {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
        error.as_service_error()
    else {
        return None;
    };
    let reasons = cancelled.cancellation_reasons();
    let any_failed = reasons
        .iter()
        .any(|reason| reason.code() == Some("ConditionalCheckFailed"));
    let all_known = reasons.iter().all(|reason| {
        matches!(
            reason.code(),
            None | Some("None" | "ConditionalCheckFailed")
        )
    });
    (any_failed && all_known).then(|| {
        reasons
            .iter()
            .map(|reason| {
                (reason.code() == Some("ConditionalCheckFailed")).then(|| {
                    reason
                        .item()
                        .cloned()
                        .filter(|item| !item.is_empty())
                        .map(Row::of)
                })
            })
            .collect()
    })
}

/// What repeating cannot mend: a request that the table does not understand.
fn is_final<R>(error: &SdkError<TransactWriteItemsError, R>) -> bool {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => cancelled
            .cancellation_reasons()
            .iter()
            .any(|reason| reason.code() == Some("ValidationError")),
        Some(other) => other.meta().code() == Some("ValidationException"),
        None => matches!(error, SdkError::ConstructionFailure(_)),
    }
}

fn member(write: &Write) -> TransactWriteItem {
    let old = ReturnValuesOnConditionCheckFailure::AllOld;
    let some = |values: &Vec<(String, AttributeValue)>| {
        (!values.is_empty()).then(|| values.iter().cloned().collect())
    };
    let item = TransactWriteItem::builder();
    match write {
        Write::Add { table, row } => {
            let put = Put::builder()
                .table_name(table)
                .set_item(Some(row.clone().into_item()))
                .condition_expression("attribute_not_exists(pk)")
                .return_values_on_condition_check_failure(old)
                .build();
            item.put(put.expect("table and item are set"))
        }
        Write::Replace {
            table,
            row,
            condition,
            values,
        } => {
            let put = Put::builder()
                .table_name(table)
                .set_item(Some(row.clone().into_item()))
                .condition_expression(condition)
                .set_expression_attribute_names(names(&[condition]))
                .set_expression_attribute_values(some(values))
                .return_values_on_condition_check_failure(old)
                .build();
            item.put(put.expect("table and item are set"))
        }
        Write::Change {
            table,
            key,
            set,
            condition,
            values,
        } => {
            let update = Update::builder()
                .table_name(table)
                .set_key(Some(key.attributes()))
                .update_expression(set)
                .condition_expression(condition)
                .set_expression_attribute_names(names(&[set, condition]))
                .set_expression_attribute_values(some(values))
                .return_values_on_condition_check_failure(old)
                .build();
            item.update(update.expect("table, key and expression are set"))
        }
        Write::Remove { table, key, only } => {
            let delete = Delete::builder()
                .table_name(table)
                .set_key(Some(key.attributes()))
                .return_values_on_condition_check_failure(old);
            let delete = match only {
                None => delete,
                Some((name, seen)) => delete
                    .condition_expression(format!("attribute_not_exists(pk) OR {name} = :seen"))
                    .expression_attribute_values(":seen", text(seen)),
            };
            item.delete(delete.build().expect("table and key are set"))
        }
        Write::Check {
            table,
            key,
            condition,
            values,
        } => {
            let check = ConditionCheck::builder()
                .table_name(table)
                .set_key(Some(key.attributes()))
                .condition_expression(condition)
                .set_expression_attribute_names(names(&[condition]))
                .set_expression_attribute_values(some(values))
                .return_values_on_condition_check_failure(old)
                .build();
            item.condition_check(check.expect("table, key and condition are set"))
        }
    }
    .build()
}

/// `#state` stands for `state`, and so on: some of our names are words of the language.
fn names(expressions: &[&String]) -> Option<HashMap<String, String>> {
    let names: HashMap<String, String> = expressions
        .iter()
        .flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '#' && c != '_'))
        .filter_map(|word| Some((word.to_owned(), word.strip_prefix('#')?.to_owned())))
        .collect();
    (!names.is_empty()).then_some(names)
}

/// Waits anything up to the attempt's bound, so that those who collided do not meet again.
pub(super) async fn pause(attempt: u32) {
    let bound = FIRST_PAUSE * 2_u32.saturating_pow(attempt.min(6));
    let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
    tokio::time::sleep(Duration::from_micros(fastrand::u64(..=micros))).await;
}
