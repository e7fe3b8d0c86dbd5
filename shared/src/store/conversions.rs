//! Conversions as they are found, listed, decided and changed; and tests.

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::json;

use super::booking::Booked;
use super::conversion_rows::{conversion_key, list_order, partition, read, write};
use super::records::{Index, audit_row};
use super::schema::escaped;
use super::transaction::{Outcome, Write, number};
use super::{Audit, Key, Row, Store, StoreError};
use crate::conversion::{Conversion, OrderKey, Status};
use crate::http_types::{Cursor, Page};
use crate::ids::{AffiliateId, MerchantId};
use crate::ledger::{Kind, Leg};
use crate::money::Money;
use crate::period::day_of;

/// Whose conversions are listed.
#[derive(Debug, Clone, Copy)]
pub enum ConversionsOf<'a> {
    Merchant(&'a MerchantId),
    Affiliate(&'a AffiliateId),
}

/// What became of a change of a conversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    Done(Box<Conversion>),
    /// Somebody else changed it in between.
    Raced,
}

/// The line of one credit.
pub(super) fn leg(
    conversion: &Conversion,
    place: usize,
    kind: Kind,
    effect: Money,
    source: &str,
    now: Timestamp,
) -> Leg {
    let credit = &conversion.credits[place];
    Leg {
        pocket: conversion.pocket(credit),
        lane: credit.lane,
        kind,
        effect,
        payable_on: match kind {
            Kind::Reversed => credit.booked_on.unwrap_or(credit.payable_on),
            _ => credit.payable_on,
        },
        source: source.to_owned(),
        number: u8::try_from(place).expect("at most 20 affiliates share an order"),
        recorded_at: now,
        because: json!({
            "merchant": conversion.key.merchant.as_str(),
            "program": conversion.program.as_str(),
            "program_version": conversion.program_version,
            "affiliate_version": credit.affiliate_version,
            "group": credit.group,
            "conversion": conversion.key.conversion_id(),
            "order_amount": conversion.amount.map(|amount| amount.to_string()),
        }),
    }
}

/// The lines of all credits.
pub(super) fn legs(
    conversion: &Conversion,
    kind: Kind,
    amounts: &[Money],
    source: &str,
    now: Timestamp,
) -> Vec<Leg> {
    let amounts = amounts.iter().enumerate();
    amounts
        .map(|(place, amount)| leg(conversion, place, kind, *amount, source, now))
        .collect()
}

impl Store {
    /// Notes the pockets of what is going to wait for approval: a report tells of them, though
    /// nothing is booked yet.
    pub(super) async fn note_waiting(&self, next: &Conversion) -> Result<(), StoreError> {
        if next.status != Status::Pending {
            return Ok(());
        }
        for credit in &next.credits {
            self.note(&next.pocket(credit)).await?;
        }
        Ok(())
    }

    /// What a change of a conversion does to what waits for approval.
    pub(super) fn unapproved(
        &self,
        seen: Option<&Conversion>,
        next: &Conversion,
        now: Timestamp,
    ) -> Vec<Write> {
        let waits = |conversion: &Conversion| conversion.status == Status::Pending;
        let (was, is) = (seen.is_some_and(waits), waits(next));
        if !was && !is {
            return Vec::new();
        }
        let before = seen.filter(|_| was).map(Conversion::left);
        let after = is.then(|| next.left());
        let amount = |list: &Option<Vec<Money>>, place: usize| {
            list.as_ref()
                .and_then(|list| list.get(place))
                .map_or(0, |money| money.minor())
        };
        let credits = next.credits.iter().enumerate();
        credits
            .map(|(place, credit)| {
                let pocket = next.pocket(credit);
                let source = format!("{}!{}", next.key.conversion_id(), next.ver);
                let change = amount(&after, place) - amount(&before, place);
                self.note_unapproved(&pocket, day_of(now), &source, change)
            })
            .collect()
    }

    /// The writes that put `next` in the place of `seen`, if that is still what stands there.
    pub(super) fn changed(
        &self,
        seen: &Conversion,
        next: &Conversion,
        now: Timestamp,
    ) -> Vec<Write> {
        let mut writes = vec![Write::Replace {
            table: self.core(),
            row: write(&Conversion {
                said: Some(seen.answer()),
                ..next.clone()
            }),
            condition: "ver = :seen".to_owned(),
            values: vec![(":seen".into(), number(seen.ver))],
        }];
        writes.extend(self.unapproved(Some(seen), next, now));
        writes
    }

    /// The line of who changed a conversion, and why.
    pub(super) fn audited(
        &self,
        audit: &Audit,
        seen: &Conversion,
        ver: i64,
        now: Timestamp,
    ) -> Write {
        let about = conversion_key(&seen.key);
        let about = Key::new(format!("{}#{}", about.pk, about.sk), "CUR");
        Write::Add {
            table: self.core(),
            row: audit_row(audit, now, &about, ver.unsigned_abs()),
        }
    }

    /// Writes down who decided about a conversion, and why, where the decision itself is written by
    /// other means.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn audit_conversion(
        &self,
        seen: &Conversion,
        audit: &Audit,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let line = self.audited(audit, seen, seen.ver + 1, now);
        self.transact(&[line]).await.map(drop)
    }

    /// The conversion of an order, as it is now.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn conversion(&self, key: &OrderKey) -> Result<Option<Conversion>, StoreError> {
        let row = self.read(&conversion_key(key)).await?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// The conversions of an order, one for each goal that was posted.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn conversions_of(&self, key: &OrderKey) -> Result<Vec<Conversion>, StoreError> {
        let table = self.core();
        let rows = self.read_between(&table, &partition(key), "-", "~").await?;
        let is_conversion = |row: &&Row| row.get_text("sk").is_ok_and(|sk| !sk.contains('#'));
        let conversions = rows.iter().filter(is_conversion).map(read);
        Ok(conversions.collect::<Result<_, _>>()?)
    }

    /// Part of the conversions of a merchant or of an affiliate, oldest first, each with its place,
    /// which says when it was recorded and tells the same order in every list. A view.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn conversions_listed(
        &self,
        list: &ConversionsOf<'_>,
        page: &Page,
    ) -> Result<(Vec<(String, Conversion)>, Option<Cursor>), StoreError> {
        let (index, pk) = match list {
            ConversionsOf::Merchant(id) => (Index::ByOwner, escaped(id.as_str())),
            ConversionsOf::Affiliate(id) => (Index::ByAffiliate, escaped(id.as_str())),
        };
        let (rows, next) = self
            .listed(index, &format!("L#conversion#{pk}"), page)
            .await?;
        let mut conversions = Vec::with_capacity(rows.len());
        for row in &rows {
            let Some(id) = row.get_text_if("points_to") else {
                let conversion = read(row)?;
                conversions.push((list_order(&conversion), conversion));
                continue;
            };
            let order = OrderKey::of_conversion_id(id).ok_or_else(|| row.damaged("points_to"))?;
            let conversion = self.conversion(&order).await?;
            conversions.extend(conversion.map(|conversion| (list_order(&conversion), conversion)));
        }
        Ok((conversions, next))
    }

    /// Approves or rejects what waits: `next` takes the place of the conversion of `seen.ver`,
    /// and an approved one is booked with what is left of it. Of one that was taken back whole
    /// nothing is: it is reversed.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn decide_conversion(
        &self,
        seen: &Conversion,
        status: Status,
        now: Timestamp,
        audit: &Audit,
    ) -> Result<Moved, StoreError> {
        let mut next = seen.clone();
        next.status = if status == Status::Approved && seen.is_taken_back() {
            Status::Reversed
        } else {
            status
        };
        // Whoever decided once is waited for: an order that is opened again waits for a person.
        next.approves_on = None;
        next.ver = seen.ver + 1;
        self.note_waiting(&next).await?;
        let legs = if next.status == Status::Approved {
            legs(
                seen,
                Kind::Earned,
                &seen.left(),
                &seen.key.conversion_id(),
                now,
            )
        } else {
            Vec::new()
        };
        let with_days = |days: &[Date]| {
            let mut booked = next.clone();
            for (credit, day) in booked.credits.iter_mut().zip(days) {
                credit.booked_on = Some(*day);
            }
            booked
        };
        let guards = |days: &[Date]| {
            let mut guards = self.changed(seen, &with_days(days), now);
            guards.push(self.audited(audit, seen, next.ver, now));
            guards
        };
        match self.book(guards, &legs, day_of(now)).await? {
            Booked::Done(days) => Ok(Moved::Done(Box::new(with_days(&days)))),
            Booked::Guarded(..) => Ok(Moved::Raced),
        }
    }

    /// Keeps a test apart, and that the program has had one. Whether it is the first of its order.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn record_test(&self, conversion: &Conversion) -> Result<bool, StoreError> {
        let mut key = conversion_key(&conversion.key);
        key.sk.push_str("#TEST");
        let row = Row::new(&key)
            .text("program", conversion.program.as_str())
            .text("recorded_at", conversion.recorded_at.to_string());
        let tested = Row::new(&tested_key(conversion.program.as_str()))
            .text("at", conversion.recorded_at.to_string());
        let table = self.core();
        // The program's mark goes first: a test that counts once must not be lost for the launch.
        let mark = Write::Add {
            table: table.clone(),
            row: tested,
        };
        self.transact(&[mark]).await?;
        match self.transact(&[Write::Add { table, row }]).await? {
            Outcome::Done => Ok(true),
            Outcome::Failed(_) => Ok(false),
        }
    }

    /// Whether a program has had a test conversion.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn has_test_conversion(&self, program: &str) -> Result<bool, StoreError> {
        Ok(self.read(&tested_key(program)).await?.is_some())
    }
}

fn tested_key(program: &str) -> Key {
    Key::new(format!("TESTED#{}", escaped(program)), "CUR")
}
