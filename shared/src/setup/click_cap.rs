//! How many clicks a link takes before it leads to its program's fallback.

use serde_json::{Value, json};

use super::Invalid;
use super::caps::CapPeriod;
use super::text::put;
use crate::http_types::Fields;

/// A bound on a link's clicks: robots and tests do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClickCap {
    /// At least 1.
    pub count: u32,
    /// When counting begins anew, in UTC.
    pub period: CapPeriod,
}

impl ClickCap {
    pub(super) fn read(mut fields: Fields) -> Result<Self, Invalid> {
        let count = fields
            .whole("count")?
            .ok_or_else(|| fields.invalid("count", "parameter_missing"))?;
        let cap = Self {
            count: u32::try_from(count)
                .ok()
                .filter(|count| *count > 0)
                .ok_or_else(|| fields.invalid("count", "number_invalid"))?,
            period: CapPeriod::take(&mut fields, "period")?.unwrap_or(CapPeriod::Lifetime),
        };
        fields.finish()?;
        Ok(cap)
    }

    pub(super) fn put_on(cap: Option<Self>, json: &mut Value) {
        let cap = cap.map(|cap| json!({"count": cap.count, "period": cap.period.as_str()}));
        put(json, "click_cap", cap);
    }
}
