//! Clicks: one write each, within a visitor's journey.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::schema::escaped;
use super::{Key, Row, Store, StoreError};
use crate::click::Click;
use crate::ids::{AffiliateId, ProgramId};

/// A click waits for its record no longer than this, twice.
const ATTEMPT: Duration = Duration::from_millis(120);
/// The longest text of a dimension that is kept: a whole item stays below 1,024 bytes.
const DIMENSION_MOST: usize = 32;

/// What statistics and the decision's trail know of a click beyond its id. No address, no user
/// agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClickRecord {
    pub program: ProgramId,
    pub affiliate: AffiliateId,
    pub slug: String,
    /// What spoke against it, by code.
    pub reason: Option<&'static str>,
    /// `sub1` to `sub10`, `utm_*`: those that were there.
    pub tags: BTreeMap<String, String>,
    pub country: Option<String>,
    pub device: &'static str,
    pub browser: &'static str,
    pub language: Option<String>,
    /// The host that the visitor was sent to.
    pub landing: String,
}

fn cut(text: &str) -> String {
    text.chars().take(DIMENSION_MOST).collect()
}

impl Store {
    /// Records a click: one write of at most 1,024 bytes, which the table drops after
    /// `expires_at`.
    ///
    /// # Errors
    /// [`StoreError`] after two attempts of 120 ms. The click's id carries the claim all the same.
    pub async fn record_click(
        &self,
        click: &Click,
        record: &ClickRecord,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let key = Key::new(
            format!("J#{}#{}", escaped(record.program.as_str()), click.visitor()),
            format!(
                "{:013}#{}",
                click.clicked_at().as_millisecond(),
                click.random()
            ),
        );
        // Sub ids come first: where there are more tags than fit, the rest is left out.
        let mut tags: BTreeMap<&str, String> = BTreeMap::new();
        let mut room = 420_usize;
        for (name, value) in &record.tags {
            let value = cut(value);
            room = room.saturating_sub(name.len() + value.len() + 6);
            if room > 0 {
                tags.insert(name, value);
            }
        }
        let row = Row::new(&key)
            .number("expires_at", expires_at.as_second())
            .text("affiliate", record.affiliate.as_str())
            .text("slug", &record.slug)
            .text("class", click.class().as_str())
            .number("test", i64::from(click.is_test()))
            .text_if("reason", record.reason)
            .text_if("country", record.country.as_deref().map(cut))
            .text("device", record.device)
            .text("browser", record.browser)
            .text_if("language", record.language.as_deref().map(cut))
            .text("landing", cut(&record.landing))
            .json("tags", &json!(tags));
        let mut last = StoreError::Contended;
        for _ in 0..2 {
            let put = self
                .client
                .put_item()
                .table_name(&self.tables.core)
                .set_item(Some(row.clone().into_item()));
            match tokio::time::timeout(ATTEMPT, put.send()).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => last = error.into(),
                Err(_) => last = StoreError::Unavailable("no answer within 120 ms".to_owned()),
            }
        }
        Err(last)
    }
}
