//! Orders of a shop: read from a file, or the CDNOW set that the binary carries.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use jiff::ToSpan as _;
use jiff::civil::Date;
use serde::Deserialize;

/// In the binary, not looked for beside it: an installed one has no clone around it.
const CDNOW: &[u8] = include_bytes!("../../../../tests/fixtures/cdnow/orders.csv.gz");
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// One row of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub id: String,
    pub day: Date,
    /// What it is worth, in cents; never negative.
    pub cents: i64,
    /// It stands there before, on the same or an earlier day: same id, same value.
    pub is_repeat: bool,
}

/// How much of a file is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Part {
    /// The orders of this many days from the first on.
    pub days: Option<u32>,
    /// Of these, the first rows.
    pub rows: Option<usize>,
}

/// Why a file is no list of orders.
#[derive(Debug, thiserror::Error)]
pub enum OrdersError {
    #[error("cannot read `{}`: {source}", file.display())]
    File {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot unpack the orders: {0}")]
    Packed(std::io::Error),
    #[error("the orders are no CSV with order_id, ordered_on, amount and currency: {0}")]
    Csv(#[from] csv::Error),
    #[error("line {line}: {what}")]
    Line { line: u64, what: String },
    #[error("there are no orders")]
    None,
}

#[derive(Deserialize)]
struct Row {
    order_id: String,
    ordered_on: String,
    amount: String,
    currency: String,
}

/// Reads the orders of a CSV file, gzipped or not, and of the CDNOW set where no file is named.
/// They come sorted by day, and within a day as they stand in the file.
///
/// # Errors
/// [`OrdersError`]
pub fn read(file: Option<&Path>, part: Part) -> Result<Vec<Order>, OrdersError> {
    let orders = match file {
        None => parse(CDNOW)?,
        Some(file) => {
            let bytes = std::fs::read(file).map_err(|source| OrdersError::File {
                file: file.to_owned(),
                source,
            })?;
            parse(&bytes)?
        }
    };
    let first = orders.iter().map(|order| order.day).min();
    let first = first.ok_or(OrdersError::None)?;
    let end = part
        .days
        .map(|days| first.saturating_add(i64::from(days).days()));
    let mut orders: Vec<Order> = orders
        .into_iter()
        .filter(|order| end.is_none_or(|end| order.day < end))
        .take(part.rows.unwrap_or(usize::MAX))
        .collect();
    if orders.is_empty() {
        return Err(OrdersError::None);
    }
    // Days are replayed in order, and a file need not be.
    orders.sort_by_key(|order| order.day);
    let mut known = BTreeSet::new();
    for order in &mut orders {
        order.is_repeat = !known.insert(order.id.clone());
    }
    Ok(orders)
}

fn parse(bytes: &[u8]) -> Result<Vec<Order>, OrdersError> {
    let mut text = Vec::new();
    let bytes = if bytes.starts_with(&GZIP) {
        let read = GzDecoder::new(bytes).read_to_end(&mut text);
        read.map_err(OrdersError::Packed)?;
        text.as_slice()
    } else {
        bytes
    };

    let mut reader = csv::Reader::from_reader(bytes);
    let mut orders = Vec::new();
    let mut worth: BTreeMap<String, i64> = BTreeMap::new();
    for row in reader.deserialize() {
        let row: Row = row?;
        // The header is line 1. Quoted line breaks would count as none: an id holds none.
        let line = orders.len() as u64 + 2;
        let order = order(&row).map_err(|what| OrdersError::Line { line, what })?;
        let before = worth.insert(order.id.clone(), order.cents);
        if before.is_some_and(|cents| cents != order.cents) {
            let what = format!("`{}` was worth something else before", order.id);
            return Err(OrdersError::Line { line, what });
        }
        orders.push(order);
    }
    Ok(orders)
}

fn order(row: &Row) -> Result<Order, String> {
    if row.currency != "USD" {
        return Err(format!("`{}` is not USD", row.currency));
    }
    let day = row.ordered_on.parse();
    let amount = &row.amount;
    Ok(Order {
        id: row.order_id.clone(),
        day: day.map_err(|_| format!("`{}` is not a day like 1997-01-31", row.ordered_on))?,
        cents: cents(amount).ok_or_else(|| format!("`{amount}` is not an amount like 12.34"))?,
        is_repeat: false,
    })
}

/// The cents of an amount like `12.34`, and of no other form.
pub fn cents(amount: &str) -> Option<i64> {
    let (whole, fraction) = amount.split_once('.')?;
    let is_plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() != 2 || !is_plain(whole) || !is_plain(fraction) {
        return None;
    }
    format!("{whole}{fraction}").parse().ok()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn the_set_in_the_binary_is_the_one_its_read_me_describes() {
        let orders = read(None, Part::default()).unwrap();
        let repeats = orders.iter().filter(|order| order.is_repeat).count();
        let free = orders.iter().filter(|order| order.cents == 0).count();
        assert_eq!((orders.len(), repeats, free), (69_659, 255, 80));
        let days = || orders.iter().map(|order| order.day);
        assert_eq!(days().min(), Some(date(1997, 1, 1)));
        assert_eq!(days().max(), Some(date(1998, 6, 30)));
        let first = Order {
            id: "00001-19970101-1-11.77".to_owned(),
            day: date(1997, 1, 1),
            cents: 1_177,
            is_repeat: false,
        };
        assert_eq!(orders[0], first);
    }

    #[test]
    fn a_part_is_of_the_first_days_and_then_of_the_first_rows() {
        let part = |days, rows| read(None, Part { days, rows }).unwrap();
        assert!(
            part(Some(1), None)
                .iter()
                .all(|order| order.day == date(1997, 1, 1))
        );
        let two = part(Some(60), Some(2));
        assert_eq!(two[1].id, "00002-19970112-1-12.00");
    }

    #[test]
    fn an_order_stands_again_on_the_later_day_wherever_that_is_in_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let rows = "a,1997-02-01,0.05,USD\nb,1997-02-01,1.00,USD\na,1997-01-31,0.05,USD\n";
        let text = format!("order_id,ordered_on,amount,currency\n{rows}");
        std::fs::write(file.path(), text).unwrap();
        let orders = read(Some(file.path()), Part::default()).unwrap();
        let seen: Vec<_> = orders
            .iter()
            .map(|order| (order.id.as_str(), order.day.day(), order.is_repeat))
            .collect();
        assert_eq!(seen, [("a", 31, false), ("a", 1, true), ("b", 1, false)]);
    }

    #[test]
    fn what_is_no_order_is_named_by_its_line() {
        let parse = |rows: &str| {
            let text = format!("order_id,ordered_on,amount,currency\n{rows}");
            super::parse(text.as_bytes()).map_err(|error| error.to_string())
        };
        for (rows, what) in [
            ("a,1997-01-31,1.00,EUR", "line 2: `EUR` is not USD"),
            (
                "a,1997-02-29,1.00,USD",
                "line 2: `1997-02-29` is not a day like 1997-01-31",
            ),
            (
                "a,1997-01-31,1.5,USD",
                "line 2: `1.5` is not an amount like 12.34",
            ),
            (
                "a,1997-01-31,-1.50,USD",
                "line 2: `-1.50` is not an amount like 12.34",
            ),
            (
                "a,1997-01-31,1.00,USD\na,1997-01-31,2.00,USD",
                "line 3: `a` was worth something else before",
            ),
        ] {
            assert_eq!(parse(rows).unwrap_err(), what);
        }
    }
}
