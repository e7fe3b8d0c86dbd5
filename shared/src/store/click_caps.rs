//! How many clicks of a link with a bound were taken.

use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use jiff::{Timestamp, ToSpan as _};

use super::schema::EXPIRES_AT;
use super::transaction::number;
use super::{Key, Store, StoreError};
use crate::click::LinkId;
use crate::setup::{CapPeriod, ClickCap};

/// A visitor waits for the count no longer than this.
const WAIT: Duration = Duration::from_millis(120);
/// A month's count is of no use a month later.
const KEPT_DAYS: i64 = 62;

impl Store {
    /// Counts a click, if there is room for it. Whether there was.
    ///
    /// # Errors
    /// [`StoreError`] after one attempt of 120 ms: a second one might count the click twice.
    pub async fn count_click(
        &self,
        link: LinkId,
        cap: ClickCap,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let key = Key::new(format!("QC#{link}"), format!("{}#", cap.period.name_at(at)));
        let mut set = "ADD #count :one".to_owned();
        let mut update = self
            .client
            .update_item()
            .table_name(&self.tables.core)
            .set_key(Some(key.attributes()))
            .condition_expression("attribute_not_exists(#count) OR #count < :most")
            .expression_attribute_names("#count", "count")
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":most", number(i64::from(cap.count)));
        if cap.period != CapPeriod::Lifetime {
            let until = at.saturating_add((KEPT_DAYS * 24).hours()).unwrap_or(at);
            set.push_str(&format!(" SET {EXPIRES_AT} = :until"));
            update = update.expression_attribute_values(":until", number(until.as_second()));
        }
        let update = update.update_expression(set).customize().config_override(
            aws_sdk_dynamodb::Config::builder().retry_config(RetryConfig::disabled()),
        );
        match tokio::time::timeout(WAIT, update.send()).await {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(error)) => match error.as_service_error() {
                Some(refused) if refused.is_conditional_check_failed_exception() => Ok(false),
                _ => Err(error.into()),
            },
            Err(_) => Err(StoreError::Unavailable(
                "no answer within 120 ms".to_owned(),
            )),
        }
    }
}
