//! From when to when something leads visitors on.

use jiff::Timestamp;
use serde_json::Value;

use super::Invalid;
use super::text::put;
use crate::http_types::Fields;

/// Two instants, either of which may be left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dates {
    /// Included.
    pub starts_at: Option<Timestamp>,
    /// Excluded.
    pub ends_at: Option<Timestamp>,
}

impl Dates {
    pub(super) fn take(fields: &mut Fields) -> Result<Self, Invalid> {
        let dates = Self {
            starts_at: fields.instant("starts_at")?,
            ends_at: fields.instant("ends_at")?,
        };
        match (dates.starts_at, dates.ends_at) {
            (Some(from), Some(to)) if to <= from => {
                Err(fields.invalid("ends_at", "validity_empty"))
            }
            _ => Ok(dates),
        }
    }

    pub(super) fn put_on(self, json: &mut Value) {
        put(json, "starts_at", self.starts_at.map(|at| at.to_string()));
        put(json, "ends_at", self.ends_at.map(|at| at.to_string()));
    }

    /// Whether an instant lies between them.
    #[must_use]
    pub fn hold(self, at: Timestamp) -> bool {
        self.starts_at.is_none_or(|from| from <= at) && self.ends_at.is_none_or(|to| at < to)
    }
}
