//! Amendments: an order's new value, and the difference that it makes to what was earned.

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::Value;

use super::booking::{AMENDMENT, Booked};
use super::conversion_rows::partition;
use super::conversions::leg;
use super::lines::booked;
use super::schema::escaped;
use super::transaction::Write;
use super::{Audit, Damaged, Key, Row, Store, StoreError};
use crate::conversion::{BasketLine, Conversion, Status};
use crate::ledger::{Kind, Leg};
use crate::money::Money;
use crate::period::day_of;

/// An order's new value, as its sender named the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amendment {
    pub id: String,
    /// Over what was asked, so that the same again is known.
    pub fingerprint: String,
    pub amount: Money,
    /// What each credit earns on it, at the frozen terms.
    pub commissions: Vec<Money>,
    pub basket: Vec<BasketLine>,
    /// How each credit was reckoned.
    pub reckoned: Value,
    pub reason: String,
}

/// An amendment as an explanation has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownAmendment {
    pub id: String,
    pub at: Timestamp,
    pub amount: Money,
    /// As [`Amendment::reckoned`]; nothing of what was amended before this was kept.
    pub reckoned: Value,
}

/// What became of an amendment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Amended {
    Done(Box<Conversion>),
    Before,
    Conflict,
    /// The conversion changed in between: judge again.
    Raced,
}

fn key(conversion: &Conversion, id: &str) -> Key {
    let goal = escaped(&conversion.key.goal);
    Key::new(
        partition(&conversion.key),
        format!("{goal}#M#{}", escaped(id)),
    )
}

/// The lines of what is earned more or less than before; an unchanged credit has none.
fn differences(seen: &Conversion, next: &Conversion, id: &str, now: Timestamp) -> Vec<Leg> {
    let source = format!("{}{AMENDMENT}{id}", seen.key.conversion_id());
    let pairs = next.left().into_iter().zip(seen.left()).enumerate();
    pairs
        .filter_map(|(place, (after, before))| {
            let change = after
                .checked_sub(before)
                .expect("two commissions differ by less than an amount can be");
            let kind = if change.is_negative() {
                Kind::Reversed
            } else {
                Kind::Earned
            };
            (!change.is_zero()).then(|| leg(next, place, kind, change, &source, now))
        })
        .collect()
}

impl Store {
    /// Gives an order a new value: up is earned, down is reversed. `seen` is what it was judged
    /// by, and no more than the new value may have been taken back of it.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn amend(
        &self,
        seen: &Conversion,
        amendment: &Amendment,
        now: Timestamp,
        audit: &Audit,
    ) -> Result<Amended, StoreError> {
        let mut next = seen.clone();
        next.amount = Some(amendment.amount);
        next.ver += 1;
        for (credit, commission) in next.credits.iter_mut().zip(&amendment.commissions) {
            credit.commission = *commission;
        }
        next.basket.clone_from(&amendment.basket);
        for (credit, due) in next.due_back().into_iter().enumerate() {
            next.credits[credit].given_back = due;
        }
        let is_booked = matches!(seen.status, Status::Approved | Status::Reversed);
        if is_booked {
            next.status = if next.is_taken_back() {
                Status::Reversed
            } else {
                Status::Approved
            };
        }
        let legs = if is_booked {
            differences(seen, &next, &amendment.id, now)
        } else {
            Vec::new()
        };
        // What was approved while nothing of it was left has no line until now.
        let with_days = |days: &[Date]| {
            let mut booked = next.clone();
            for (leg, day) in legs.iter().zip(days) {
                let credit = &mut booked.credits[usize::from(leg.number)];
                credit.booked_on.get_or_insert(*day);
            }
            booked
        };
        let guards = |days: &[Date]| {
            let row = Row::new(&key(seen, &amendment.id))
                .text("id", &amendment.id)
                .json("lines", &booked(&legs, days))
                .text("fingerprint", &amendment.fingerprint)
                .number("amount", amendment.amount.minor())
                .json("reckoned", &amendment.reckoned)
                .text("reason", &amendment.reason)
                .text("recorded_at", now.to_string());
            let table = self.core();
            let mut guards = vec![Write::Add { table, row }];
            guards.extend(self.changed(seen, &with_days(days), now));
            guards.push(self.audited(audit, seen, next.ver, now));
            guards
        };
        match self.book(guards, &legs, day_of(now)).await? {
            Booked::Done(days) => Ok(Amended::Done(Box::new(with_days(&days)))),
            Booked::Guarded(0, Some(standing)) => Ok(
                if standing.get_text("fingerprint")? == amendment.fingerprint {
                    Amended::Before
                } else {
                    Amended::Conflict
                },
            ),
            Booked::Guarded(..) => Ok(Amended::Raced),
        }
    }

    /// An order's amendments, the first one first.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn amendments_of(
        &self,
        conversion: &Conversion,
    ) -> Result<Vec<KnownAmendment>, StoreError> {
        let from = key(conversion, "");
        let last = format!("{}~", from.sk);
        let rows = self
            .read_between(&self.core(), &from.pk, &from.sk, &last)
            .await?;
        let mut amendments = rows
            .iter()
            .map(|row| {
                let reckoned = row.parsed_if("reckoned", |text| serde_json::from_str(text))?;
                Ok(KnownAmendment {
                    id: row.get_text("id")?.to_owned(),
                    at: row.get_instant("recorded_at")?,
                    amount: Money::new(row.get_number("amount")?, conversion.currency),
                    reckoned: reckoned.unwrap_or_default(),
                })
            })
            .collect::<Result<Vec<_>, Damaged>>()?;
        amendments.sort_by_key(|amendment| amendment.at);
        Ok(amendments)
    }

    /// Whether an amendment of that id is known, and with the same content.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn amendment(
        &self,
        conversion: &Conversion,
        id: &str,
        fingerprint: &str,
    ) -> Result<Option<Amended>, StoreError> {
        let Some(row) = self.read(&key(conversion, id)).await? else {
            return Ok(None);
        };
        let is_same = row.get_text("fingerprint")? == fingerprint;
        Ok(Some(if is_same {
            Amended::Before
        } else {
            Amended::Conflict
        }))
    }
}
