//! Reversals: what was taken back of an order, in part or whole, and what waits for its sale.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use super::booking::Booked;
use super::conversion_rows::partition;
use super::conversions::legs;
use super::lines::booked;
use super::schema::escaped;
use super::transaction::{Outcome, Write, number, text};
use super::{Damaged, Key, Row, Store, StoreError};
use crate::conversion::{BasketLine, Conversion, OrderKey, Status};
use crate::ids::ProgramId;
use crate::ledger::Kind;
use crate::money::{Currency, Money};
use crate::period::day_of;

/// How long a reversal waits for its sale.
const WAITS_DAYS: i64 = 30;

/// Something taken back, as the sender named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reversal {
    pub id: String,
    /// Over what was asked, so that the same again is known.
    pub fingerprint: String,
    /// Of the order's value, in minor units; see [`Conversion::whole`].
    pub amount: i64,
    /// The order's lines as they are then.
    pub basket: Vec<BasketLine>,
    pub reason: Option<String>,
}

/// A reversal of an order that nobody told us of yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// None: of the order's only goal; `*`: of every goal.
    pub goal: Option<String>,
    /// The sender's name for it; none takes back the whole rest.
    pub id: Option<String>,
    /// As it came: which currency it is in is not known yet.
    pub amount: Option<String>,
    pub currency: Option<Currency>,
    /// By sku, as they came.
    pub items: Vec<(String, String)>,
    pub reason: Option<String>,
    /// The programs that its sender may take back of; empty: every one of the merchant's.
    pub programs: Vec<ProgramId>,
}

/// What became of a reversal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reversed {
    /// The answer's body.
    Created(Value),
    Before(Value),
    Conflict,
    /// The conversion changed in between: judge again.
    Raced,
}

fn key(order: &OrderKey, id: &str) -> Key {
    Key::new(
        partition(order),
        format!("{}#R#{}", escaped(&order.goal), escaped(id)),
    )
}

/// Sorts before every conversion of the order.
fn waiting_key(order: &OrderKey, waiting: &Waiting) -> Key {
    let goal = waiting.goal.as_deref().unwrap_or("");
    let id = waiting.id.as_deref().unwrap_or("");
    Key::new(
        partition(order),
        format!("#W#{}#{}", escaped(goal), escaped(id)),
    )
}

fn read_waiting(row: &Row) -> Result<Waiting, Damaged> {
    let text = |name: &str| row.get_text_if(name).map(str::to_owned);
    Ok(Waiting {
        goal: text("goal"),
        id: text("reversal_id"),
        amount: text("amount"),
        currency: row.parsed_if("currency", Currency::parse)?,
        items: row.parsed("items", |text| serde_json::from_str(text))?,
        reason: text("reason"),
        programs: row.parsed("programs", |text| {
            let ids: Vec<String> = serde_json::from_str(text).map_err(drop)?;
            let ids = ids.iter().map(|id| ProgramId::parse(id).map_err(drop));
            ids.collect::<Result<_, ()>>()
        })?,
    })
}

impl Store {
    /// Takes a part of a conversion back: `seen` is what it was judged by.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn record_reversal(
        &self,
        seen: &Conversion,
        reversal: &Reversal,
        now: Timestamp,
    ) -> Result<Reversed, StoreError> {
        let mut next = seen.clone();
        next.refunded += reversal.amount;
        next.ver += 1;
        let is_whole = next.refunded == next.whole();
        if is_whole && seen.status == Status::Approved {
            next.status = Status::Reversed;
        }
        next.basket.clone_from(&reversal.basket);
        next.give_back();
        let pairs = next.credits.iter().zip(&seen.credits);
        let taken: Vec<Money> = pairs
            .map(|(after, before)| {
                before
                    .given_back
                    .checked_sub(after.given_back)
                    .expect("both are parts of one commission")
            })
            .collect();
        let counts = matches!(seen.status, Status::Approved | Status::Pending);
        let reversed: Vec<Value> = next
            .credits
            .iter()
            .zip(&taken)
            .filter(|_| counts)
            .map(|(credit, taken)| {
                json!({
                    "affiliate": credit.affiliate.as_str(),
                    "amount": taken.checked_neg().expect("a part is within the range").to_string(),
                    "currency": taken.currency().code(),
                })
            })
            .collect();
        let answer = json!({
            "reversed": reversed,
            "remaining": next.remaining().map(|amount| amount.to_string()),
        });

        let row = Row::new(&key(&seen.key, &reversal.id))
            .text("id", &reversal.id)
            .text("fingerprint", &reversal.fingerprint)
            .number("amount", reversal.amount)
            .text_if("reason", reversal.reason.clone())
            .text("recorded_at", now.to_string())
            .json("answer", &answer);
        let legs = if seen.status == Status::Approved {
            let source = format!("{}!{}", seen.key.conversion_id(), reversal.id);
            legs(seen, Kind::Reversed, &taken, &source, now)
        } else {
            Vec::new()
        };
        let guards = |days: &[Date]| {
            let mut guards = vec![Write::Add {
                table: self.core(),
                row: row.clone().json("lines", &booked(&legs, days)),
            }];
            guards.extend(self.changed(seen, &next, now));
            guards
        };
        match self.book(guards, &legs, day_of(now)).await? {
            Booked::Done(_) => Ok(Reversed::Created(answer)),
            Booked::Guarded(0, Some(standing)) => {
                Ok(known_reversal(&standing, &reversal.fingerprint)?)
            }
            Booked::Guarded(..) => Ok(Reversed::Raced),
        }
    }

    /// What is known of a reversal of that id.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn reversal(
        &self,
        order: &OrderKey,
        id: &str,
        fingerprint: &str,
    ) -> Result<Option<Reversed>, StoreError> {
        match self.read(&key(order, id)).await? {
            Some(row) => Ok(Some(known_reversal(&row, fingerprint)?)),
            None => Ok(None),
        }
    }

    /// Keeps a reversal for 30 days, until its sale arrives. The same again keeps the first.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn let_reversal_wait(
        &self,
        order: &OrderKey,
        waiting: &Waiting,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let until = now.saturating_add((WAITS_DAYS * 24).hours()).unwrap_or(now);
        let row = Row::new(&waiting_key(order, waiting))
            .text_if("goal", waiting.goal.clone())
            .text_if("reversal_id", waiting.id.clone())
            .text_if("amount", waiting.amount.clone())
            .text_if("currency", waiting.currency.map(Currency::code))
            .text_if("reason", waiting.reason.clone())
            .json("items", &json!(waiting.items))
            .json(
                "programs",
                &waiting.programs.iter().map(ProgramId::as_str).collect(),
            )
            .text("recorded_at", now.to_string())
            .number("expires_at", until.as_second());
        let keep = Write::Replace {
            table: self.core(),
            row,
            condition: "attribute_not_exists(pk) OR expires_at <= :now".to_owned(),
            values: vec![(":now".into(), number(now.as_second()))],
        };
        self.transact(&[keep]).await?;
        Ok(())
    }

    /// The reversals that waited for this conversion, which claims them: one that names no goal
    /// is of the first goal that arrives, and of no other then.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn claim_waiting(
        &self,
        order: &OrderKey,
        now: Timestamp,
    ) -> Result<Vec<Waiting>, StoreError> {
        let table = self.core();
        let rows = self
            .read_between(&table, &partition(order), "#W#", "#W#~")
            .await?;
        let mut claimed = Vec::new();
        for row in &rows {
            let waiting = read_waiting(row)?;
            let is_ours = match waiting.goal.as_deref() {
                None | Some("*") => true,
                Some(goal) => goal == order.goal,
            };
            if !is_ours || row.get_number("expires_at")? <= now.as_second() {
                continue;
            }
            if waiting.goal.is_none() {
                let claim = Write::Change {
                    table: self.core(),
                    key: waiting_key(order, &waiting),
                    set: "SET claimed_by = :goal".to_owned(),
                    condition: "attribute_not_exists(claimed_by) OR claimed_by = :goal".to_owned(),
                    values: vec![(":goal".into(), text(&order.goal))],
                };
                if matches!(self.transact(&[claim]).await?, Outcome::Failed(_)) {
                    continue;
                }
            }
            claimed.push(waiting);
        }
        Ok(claimed)
    }
}

fn known_reversal(row: &Row, fingerprint: &str) -> Result<Reversed, Damaged> {
    if row.get_text("fingerprint")? == fingerprint {
        Ok(Reversed::Before(row.get_json("answer")?))
    } else {
        Ok(Reversed::Conflict)
    }
}
