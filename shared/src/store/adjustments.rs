//! Adjustments: money that no order brought, booked once under the name its sender chose.

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::json;

use super::booking::Booked;
use super::pockets::pocket;
use super::records::{Index, audit_row};
use super::schema::escaped;
use super::transaction::Write;
use super::{Audit, Damaged, Key, Row, Store, StoreError};
use crate::http_types::{Cursor, Page};
use crate::ids::{PayerId, ProgramId};
use crate::ledger::{Kind, Leg, Pocket};
use crate::money::Money;
use crate::period::day_of;

/// Money credited or charged by a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment {
    /// The sender's name for it: once and for ever.
    pub id: String,
    pub pocket: Pocket,
    pub program: Option<ProgramId>,
    /// `bonus`, `fee`, `correction`, `write_off`.
    pub kind: String,
    /// Signed: a charge is negative.
    pub amount: Money,
    pub reason: String,
    /// As asked for; none is the day it was recorded.
    pub payable_on: Option<Date>,
    pub person: String,
    pub recorded_at: Timestamp,
    /// The day of the bucket it was booked into.
    pub booked_on: Option<Date>,
}

impl Adjustment {
    /// Whether both ask for the same.
    fn is_same(&self, other: &Self) -> bool {
        self.pocket == other.pocket
            && self.program == other.program
            && self.kind == other.kind
            && self.amount == other.amount
            && self.reason == other.reason
            && self.payable_on == other.payable_on
    }
}

/// What became of an adjustment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adjusted {
    Created(Adjustment),
    /// Known with the same content.
    Before(Adjustment),
    /// Known with other content.
    Conflict,
}

fn key(id: &str) -> Key {
    Key::new(format!("ADJ#{}", escaped(id)), "CUR")
}

fn write(adjustment: &Adjustment) -> Row {
    let pocket = &adjustment.pocket;
    Row::new(&key(&adjustment.id))
        .text("id", &adjustment.id)
        .of_pocket(pocket)
        .text_if(
            "program",
            adjustment.program.as_ref().map(ProgramId::as_str),
        )
        .text("kind", &adjustment.kind)
        .number("amount", adjustment.amount.minor())
        .text("reason", &adjustment.reason)
        .text_if(
            "payable_on",
            adjustment.payable_on.map(|day| day.to_string()),
        )
        .text("person", &adjustment.person)
        .text("recorded_at", adjustment.recorded_at.to_string())
        .text_if("booked_on", adjustment.booked_on.map(|day| day.to_string()))
        .text(
            "owner_pk",
            format!("L#adjustment#{}", escaped(pocket.payer.as_str())),
        )
        .text(
            "owner_sk",
            format!(
                "{:013}#{}",
                adjustment.recorded_at.as_millisecond(),
                adjustment.id
            ),
        )
}

fn read(row: &Row) -> Result<Adjustment, Damaged> {
    let pocket = pocket(row)?;
    Ok(Adjustment {
        id: row.get_text("id")?.to_owned(),
        program: row.parsed_if("program", ProgramId::parse)?,
        kind: row.get_text("kind")?.to_owned(),
        amount: Money::new(row.get_number("amount")?, pocket.currency),
        reason: row.get_text("reason")?.to_owned(),
        payable_on: row.get_day_if("payable_on")?,
        person: row.get_text("person")?.to_owned(),
        recorded_at: row.get_instant("recorded_at")?,
        booked_on: row.get_day_if("booked_on")?,
        pocket,
    })
}

impl Store {
    /// Books an adjustment once, on the day it becomes payable or today if that is past.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn adjust(
        &self,
        adjustment: &Adjustment,
        audit: &Audit,
    ) -> Result<Adjusted, StoreError> {
        let now = adjustment.recorded_at;
        let leg = Leg {
            pocket: adjustment.pocket.clone(),
            lane: 0,
            kind: Kind::Adjustment,
            effect: adjustment.amount,
            payable_on: adjustment.payable_on.unwrap_or_else(|| day_of(now)),
            source: format!("adj!{}", adjustment.id),
            number: 0,
            recorded_at: now,
            because: json!({
                "adjustment": adjustment.id,
                "kind": adjustment.kind,
                "program": adjustment.program.as_ref().map(ProgramId::as_str),
                "reason": adjustment.reason,
            }),
        };
        let on = |days: &[Date]| Adjustment {
            booked_on: days.first().copied(),
            ..adjustment.clone()
        };
        let guards = |days: &[Date]| {
            vec![
                Write::Add {
                    table: self.core(),
                    row: write(&on(days)),
                },
                Write::Add {
                    table: self.core(),
                    row: audit_row(audit, now, &key(&adjustment.id), 1),
                },
            ]
        };
        match self.book(guards, &[leg], day_of(now)).await? {
            Booked::Done(days) => Ok(Adjusted::Created(on(&days))),
            Booked::Guarded(0, held) => {
                let standing = match held {
                    Some(row) => read(&row)?,
                    None => self
                        .adjustment(&adjustment.id)
                        .await?
                        .ok_or(StoreError::Contended)?,
                };
                Ok(if standing.is_same(adjustment) {
                    Adjusted::Before(standing)
                } else {
                    Adjusted::Conflict
                })
            }
            Booked::Guarded(..) => Err(StoreError::Contended),
        }
    }

    /// An adjustment by the sender's name for it.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn adjustment(&self, id: &str) -> Result<Option<Adjustment>, StoreError> {
        let row = self.read(&key(id)).await?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// Part of a payer's adjustments, oldest first. A view.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn adjustments(
        &self,
        payer: &PayerId,
        page: &Page,
    ) -> Result<(Vec<Adjustment>, Option<Cursor>), StoreError> {
        let pk = format!("L#adjustment#{}", escaped(payer.as_str()));
        let (rows, next) = self.listed(Index::ByOwner, &pk, page).await?;
        Ok((rows.iter().map(read).collect::<Result<_, _>>()?, next))
    }
}
