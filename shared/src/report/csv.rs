//! The report as CSV (RFC 4180), in a fixed order of columns.

use ::csv::{QuoteStyle, Terminator, Writer, WriterBuilder};

use super::{Report, Row};
use crate::money::sum_text;

const COLUMNS: [&str; 20] = [
    "payer",
    "month",
    "affiliate",
    "legal_name",
    "country",
    "currency",
    "opening",
    "earned",
    "reversed",
    "adjustments",
    "withheld",
    "paid",
    "returned",
    "closing",
    "in_payout",
    "on_hold",
    "unapproved",
    "conversions",
    "held_reason",
    "payout_ids",
];
/// What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection").
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];
const BYTE_ORDER_MARK: &str = "\u{feff}";

pub(super) fn raw(report: &Report) -> Vec<u8> {
    let writer = WriterBuilder::new()
        .terminator(Terminator::Any(b'\n'))
        .from_writer(Vec::new());
    write(report, writer, str::to_owned)
}

pub(super) fn for_people(report: &Report) -> Vec<u8> {
    write(report, people(), guarded)
}

/// A file that begins as spreadsheets like it.
pub(super) fn people() -> Writer<Vec<u8>> {
    WriterBuilder::new()
        .terminator(Terminator::CRLF)
        .quote_style(QuoteStyle::Necessary)
        .from_writer(BYTE_ORDER_MARK.as_bytes().to_vec())
}

/// A text that a spreadsheet shows and never runs.
pub(super) fn guarded(text: &str) -> String {
    if text.starts_with(FORMULA) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

fn write(report: &Report, mut writer: Writer<Vec<u8>>, text: fn(&str) -> String) -> Vec<u8> {
    let in_memory = "writing to memory does not fail";
    writer.write_record(COLUMNS).expect(in_memory);
    for row in &report.rows {
        let cells = cells(report, row, text);
        writer.write_record(cells).expect(in_memory);
    }
    writer.into_inner().expect(in_memory)
}

fn cells(report: &Report, row: &Row, text: fn(&str) -> String) -> Vec<String> {
    let mut cells = vec![
        text(report.payer.as_str()),
        report.month.to_string(),
        text(row.affiliate.as_str()),
        text(&row.legal_name),
        text(&row.country),
        row.currency.code().to_owned(),
    ];
    for (_, minor) in row.figures.columns() {
        cells.push(sum_text(minor, row.currency));
    }
    let ids: Vec<&str> = row
        .figures
        .payouts
        .iter()
        .map(|payout| payout.id.as_str())
        .collect();
    cells.push(row.figures.conversions.to_string());
    cells.push(row.held_reason.clone().unwrap_or_default());
    cells.push(ids.join(" "));
    cells
}
