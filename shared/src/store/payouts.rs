//! Payouts: made by a settle, moved on by people, each step once.

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Value, json};

use super::booking::{Booked, DAYS_ON, entries_pk};
use super::months::{NAMED, name_values, row_key};
use super::pockets::pocket;
use super::records::Index;
use super::runs::account_key;
use super::schema::escaped;
use super::transaction::{Write, number, text};
use super::{Audit, Damaged, Key, Row, Store, StoreError, records};
use crate::http_types::{Cursor, Page};
use crate::ids::{AffiliateId, PayerId};
use crate::ledger::{Kind, Leg, Pocket};
use crate::money::Money;
use crate::payout::{Move, State};
use crate::period::{Month, day_of, days_after};

/// Money that leaves, or is to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payout {
    pub id: String,
    pub pocket: Pocket,
    pub amount: Money,
    /// The day whose run made it.
    pub day: Date,
    /// The day whose run made the one before: this one holds the lines of the days after it.
    pub after: Option<Date>,
    pub state: State,
    pub created_at: Timestamp,
    pub ver: i64,
    /// Every step, oldest first: state, time, who, and the reference or reason given.
    pub history: Vec<Value>,
}

/// A step that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub to: State,
    pub reference: Option<String>,
    pub reason: Option<String>,
}

/// Whose payouts are listed.
#[derive(Debug, Clone, Copy)]
pub enum PayoutsOf<'a> {
    Payer(&'a PayerId),
    Affiliate(&'a AffiliateId),
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MovedPayout {
    Done(Box<Payout>),
    /// Somebody else moved it in between.
    Raced,
}

impl Payout {
    /// Where a list goes on after it.
    #[must_use]
    pub fn place(&self) -> Cursor {
        Cursor::after(place(self.day, &self.id))
    }
}

fn key(id: &str) -> Key {
    Key::new(format!("P#{}", escaped(id)), "CUR")
}

/// Lists are in the order of days.
fn place(day: Date, id: &str) -> String {
    format!("{day}#{id}")
}

pub(super) fn new_row(
    id: &str,
    pocket: &Pocket,
    amount: Money,
    day: Date,
    after: Option<Date>,
    now: Timestamp,
) -> Row {
    let payer = escaped(pocket.payer.as_str());
    let affiliate = escaped(pocket.affiliate.as_str());
    Row::new(&key(id))
        .text("id", id)
        .of_pocket(pocket)
        .number("amount", amount.minor())
        .text("day", day.to_string())
        .text_if("after", after.map(|day| day.to_string()))
        .text("state", State::Approved.as_str())
        .number("ver", 1)
        .text("created_at", now.to_string())
        .json("history", &json!([]))
        .text("owner_pk", format!("L#payout#{payer}"))
        .text("owner_sk", place(day, id))
        .text("affiliate_pk", format!("L#payout#{affiliate}"))
        .text("affiliate_sk", place(day, id))
}

fn read(row: &Row) -> Result<Payout, Damaged> {
    let pocket = pocket(row)?;
    let history = row.get_json("history")?;
    Ok(Payout {
        id: row.get_text("id")?.to_owned(),
        amount: Money::new(row.get_number("amount")?, pocket.currency),
        day: row.get_day("day")?,
        after: row.get_day_if("after")?,
        state: row.parsed("state", |text| State::parse(text).ok_or(()))?,
        created_at: row.get_instant("created_at")?,
        ver: row.get_number("ver")?,
        history: history.as_array().cloned().unwrap_or_default(),
        pocket,
    })
}

impl Store {
    /// A payout, as it is now.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn payout(&self, id: &str) -> Result<Option<Payout>, StoreError> {
        let row = self.read(&key(id)).await?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// Part of the payouts of a payer or an affiliate, by day. A view.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn payouts_listed(
        &self,
        list: &PayoutsOf<'_>,
        month: Option<Month>,
        page: &Page,
    ) -> Result<(Vec<Payout>, Option<Cursor>), StoreError> {
        let (index, owner) = match list {
            PayoutsOf::Payer(id) => (Index::ByOwner, escaped(id.as_str())),
            PayoutsOf::Affiliate(id) => (Index::ByAffiliate, escaped(id.as_str())),
        };
        let pk = format!("L#payout#{owner}");
        let (rows, next) = match month {
            None => self.listed(index, &pk, page).await?,
            Some(month) => {
                let mut page = page.clone();
                page.after = page
                    .after
                    .or_else(|| Some(Cursor::after(month.to_string())));
                let (mut rows, mut next) = self.listed(index, &pk, &page).await?;
                let all = rows.len();
                rows.retain(|row| row.get_day("day").is_ok_and(|day| month.contains(day)));
                if rows.len() < all {
                    next = None;
                }
                (rows, next)
            }
        };
        Ok((rows.iter().map(read).collect::<Result<_, _>>()?, next))
    }

    /// The day that a payout's money was booked on again: that of the step, or the first one after it
    /// that was still open.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn credited_again_on(&self, payout: &Payout) -> Result<Date, StoreError> {
        let last = payout.history.last();
        let at = last.and_then(|step| step["at"].as_str()?.parse().ok());
        let first = day_of(at.unwrap_or(payout.created_at));
        let pk = entries_pk(&payout.pocket, 0);
        for days in 0..=DAYS_ON {
            let day = days_after(first, days);
            let sk = format!("{day}#{}#0", escaped(&back(&payout.id)));
            let lines = self.read_between(&self.ledger(), &pk, &sk, &sk).await?;
            if !lines.is_empty() {
                return Ok(day);
            }
        }
        Ok(first)
    }

    /// Takes a payout a step on: `seen` is what it was judged by. What failed, was cancelled or
    /// came back is credited again on the earliest open day.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn move_payout(
        &self,
        seen: &Payout,
        wanted: &Step,
        step: Move,
        now: Timestamp,
        audit: &Audit,
    ) -> Result<MovedPayout, StoreError> {
        let mut next = seen.clone();
        next.state = step.to;
        next.ver = seen.ver + 1;
        let mut noted = json!({
            "state": step.to.as_str(), "at": now.to_string(), "person": audit.person,
        });
        if let Some(reference) = &wanted.reference {
            noted["reference"] = json!(reference);
        }
        if let Some(reason) = &wanted.reason {
            noted["reason"] = json!(reason);
        }
        next.history.push(noted);

        let today = day_of(now);
        let mut guards = vec![
            self.moved(&next, seen.ver),
            Write::Add {
                table: self.core(),
                row: records::audit_row(audit, now, &key(&seen.id), next.ver.unsigned_abs()),
            },
        ];
        if step.sent() != 0 {
            guards.push(Write::Change {
                table: self.core(),
                key: account_key(&seen.pocket),
                set: "ADD sent :change".to_owned(),
                condition: "attribute_exists(pk)".to_owned(),
                values: vec![(":change".into(), number(step.sent() * seen.amount.minor()))],
            });
        }
        if step.left() != 0 {
            let mut values = name_values(&seen.pocket);
            values.push((":change".into(), number(step.left() * seen.amount.minor())));
            guards.push(Write::Change {
                table: self.core(),
                key: row_key(&seen.pocket, Month::of(today)),
                set: format!("SET {NAMED} ADD left_payouts :change"),
                condition: "attribute_not_exists(sealed)".to_owned(),
                values,
            });
        }
        let legs: Vec<Leg> = step
            .to
            .is_credited_again()
            .then(|| credited_again(seen, wanted, now))
            .into_iter()
            .collect();
        match self.book(|_| guards.clone(), &legs, today).await? {
            Booked::Done(_) => Ok(MovedPayout::Done(Box::new(next))),
            Booked::Guarded(0, _) => Ok(MovedPayout::Raced),
            Booked::Guarded(..) => Err(StoreError::Contended),
        }
    }

    fn moved(&self, next: &Payout, seen: i64) -> Write {
        Write::Change {
            table: self.core(),
            key: key(&next.id),
            set: "SET #state = :state, ver = :next, history = :history".to_owned(),
            condition: "ver = :seen".to_owned(),
            values: vec![
                (":state".into(), text(next.state.as_str())),
                (":next".into(), number(next.ver)),
                (":history".into(), text(json!(next.history).to_string())),
                (":seen".into(), number(seen)),
            ],
        }
    }
}

/// A payout ends once, so its id and a word make the line's source.
fn back(id: &str) -> String {
    format!("{id}!back")
}

fn credited_again(seen: &Payout, wanted: &Step, now: Timestamp) -> Leg {
    Leg {
        pocket: seen.pocket.clone(),
        lane: 0,
        kind: Kind::Returned,
        effect: seen.amount,
        payable_on: day_of(now),
        source: back(&seen.id),
        number: 0,
        recorded_at: now,
        because: json!({
            "payout": seen.id, "state": wanted.to.as_str(), "reason": wanted.reason,
        }),
    }
}
