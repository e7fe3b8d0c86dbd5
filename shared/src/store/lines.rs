//! The ledger's lines of one conversion, found without looking through an account.

use jiff::civil::Date;
use serde_json::{Value, json};

use super::booking::{AMENDMENT, Entry, entries_pk, entry};
use super::conversion_rows::partition;
use super::schema::escaped;
use super::{Damaged, Row, Store, StoreError};
use crate::conversion::Conversion;
use crate::http_types::parse_day;
use crate::ledger::Leg;

/// Where a later change of a conversion was booked, as its item keeps it: by credit, the day.
pub(super) fn booked(legs: &[Leg], days: &[Date]) -> Value {
    let lines = legs.iter().zip(days);
    lines
        .map(|(leg, day)| json!([leg.number, day.to_string()]))
        .collect()
}

fn read_booked(row: &Row) -> Result<Vec<(usize, Date)>, Damaged> {
    row.parsed("lines", |text| {
        let lines: Vec<(usize, String)> = serde_json::from_str(text).map_err(drop)?;
        let lines = lines
            .into_iter()
            .map(|(credit, day)| Ok((credit, parse_day(&day).ok_or(())?)));
        lines.collect::<Result<_, ()>>()
    })
}

impl Store {
    /// All lines of a conversion with the place of their credit: what was earned first, then what
    /// changed it.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn lines_of(
        &self,
        conversion: &Conversion,
    ) -> Result<Vec<(usize, Entry)>, StoreError> {
        let id = conversion.key.conversion_id();
        let earned = conversion.credits.iter().enumerate();
        let mut places: Vec<(usize, Date, String)> = earned
            .filter_map(|(credit, own)| Some((credit, own.booked_on?, id.clone())))
            .collect();
        let table = self.core();
        let goal = escaped(&conversion.key.goal);
        for (kind, mark) in [("M", AMENDMENT), ("R", '!')] {
            let from = format!("{goal}#{kind}#");
            let rows = self
                .read_between(
                    &table,
                    &partition(&conversion.key),
                    &from,
                    &format!("{from}~"),
                )
                .await?;
            for row in &rows {
                let source = format!("{id}{mark}{}", row.get_text("id")?);
                let lines = read_booked(row)?.into_iter();
                places.extend(lines.map(|(credit, day)| (credit, day, source.clone())));
            }
        }

        let mut entries = Vec::with_capacity(places.len());
        for (place, day, source) in places {
            let Some(credit) = conversion.credits.get(place) else {
                continue;
            };
            let pk = entries_pk(&conversion.pocket(credit), credit.lane);
            let sk = format!("{day}#{}#{place}", escaped(&source));
            for row in self.read_between(&self.ledger(), &pk, &sk, &sk).await? {
                entries.push((place, entry(&row, conversion.currency)?));
            }
        }
        Ok(entries)
    }
}
