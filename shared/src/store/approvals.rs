//! What is approved if nobody decides: found by the day that it is due on.

use jiff::civil::Date;

use super::schema::escaped;
use super::transaction::Write;
use super::{Key, Row, Store, StoreError};
use crate::conversion::{Conversion, OrderKey};
use crate::ledger::{SHARDS, lane_of};

/// An order that was due for approval on a day, as a list has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueApproval {
    pub day: Date,
    pub order: OrderKey,
}

impl DueApproval {
    fn key(&self) -> Key {
        let id = self.order.conversion_id();
        let shard = lane_of(&id, SHARDS);
        Key::new(partition(shard), format!("{}#{}", self.day, escaped(&id)))
    }
}

fn partition(shard: u8) -> String {
    format!("DUE#{shard}")
}

impl Store {
    /// The member of a transaction that has a conversion found on its day; none where it waits for a
    /// person alone.
    pub(super) fn awaited(&self, conversion: &Conversion) -> Option<Write> {
        let due = DueApproval {
            day: conversion.approves_on?,
            order: conversion.key.clone(),
        };
        let row = Row::new(&due.key())
            .text("day", due.day.to_string())
            .text("conversion", due.order.conversion_id());
        let table = self.core();
        Some(Write::Add { table, row })
    }

    /// What is due for approval on a day or was on an earlier one, in one of [`SHARDS`] parts.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn approvals_due(
        &self,
        day: Date,
        shard: u8,
    ) -> Result<Vec<DueApproval>, StoreError> {
        debug_assert!(shard < SHARDS, "there are no more parts");
        let (table, last) = (self.core(), format!("{day}$"));
        let rows = self
            .read_between(&table, &partition(shard), "-", &last)
            .await?;
        let due = rows.iter().map(|row| {
            let order = OrderKey::of_conversion_id(row.get_text("conversion")?);
            Ok(DueApproval {
                day: row.get_day("day")?,
                order: order.ok_or_else(|| row.damaged("conversion"))?,
            })
        });
        due.collect()
    }

    /// Takes an order off the list: it is decided. Once more changes nothing.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn forget_approval(&self, due: &DueApproval) -> Result<(), StoreError> {
        self.client
            .delete_item()
            .table_name(self.core())
            .set_key(Some(due.key().attributes()))
            .send()
            .await?;
        Ok(())
    }
}
