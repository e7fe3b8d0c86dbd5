//! The lines of an affiliate's statement.

use jiff::civil::Date;
use serde_json::{Value, json};

use super::csv::{guarded, people};
use crate::ledger::Kind;
use crate::money::Money;

/// A line of the ledger, as an affiliate sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementLine {
    /// The day of the run that took it in.
    pub day: Date,
    pub kind: Kind,
    /// What it changes: negative for what was taken back or paid.
    pub amount: Money,
    pub program: Option<String>,
    pub conversion: Option<String>,
    pub payout: Option<String>,
    pub reason: Option<String>,
}

impl StatementLine {
    /// As the statement shows it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "day": self.day.to_string(),
            "kind": self.kind.as_str(),
            "currency": self.amount.currency().code(),
            "amount": self.amount.to_string(),
            "program": self.program,
            "conversion": self.conversion,
            "payout": self.payout,
            "reason": self.reason,
        })
    }
}

/// The lines for a spreadsheet: UTF-8 with a byte order mark, lines end in CR LF, and no text
/// can be taken for a formula.
#[must_use]
pub fn statement_csv(lines: &[StatementLine]) -> Vec<u8> {
    let in_memory = "writing to memory does not fail";
    let mut writer = people();
    let columns = [
        "day",
        "kind",
        "currency",
        "amount",
        "program",
        "conversion",
        "payout",
        "reason",
    ];
    writer.write_record(columns).expect(in_memory);
    for line in lines {
        let text = |text: &Option<String>| guarded(text.as_deref().unwrap_or_default());
        let cells = [
            line.day.to_string(),
            line.kind.to_string(),
            line.amount.currency().code().to_owned(),
            line.amount.to_string(),
            text(&line.program),
            text(&line.conversion),
            text(&line.payout),
            text(&line.reason),
        ];
        writer.write_record(cells).expect(in_memory);
    }
    writer.into_inner().expect(in_memory)
}
