//! Which pockets there are: noted before a pocket's first line is booked or its first order waits, and
//! for ever.

use super::schema::escaped;
use super::transaction::Write;
use super::{Damaged, Key, Row, Store, StoreError};
use crate::ids::{AffiliateId, PayerId};
use crate::ledger::{Kind, Pocket, SHARDS, Sums};
use crate::money::Currency;

/// A process that has seen more than this begins to remember anew.
const REMEMBERED_MOST: usize = 100_000;

pub(super) fn accounts_pk(affiliate: &AffiliateId) -> String {
    format!("A#{}", escaped(affiliate.as_str()))
}

pub(super) fn pocket(row: &Row) -> Result<Pocket, Damaged> {
    Ok(Pocket {
        payer: row.parsed("payer", PayerId::parse)?,
        affiliate: row.parsed("affiliate", AffiliateId::parse)?,
        currency: row.parsed("currency", Currency::parse)?,
    })
}

pub(super) fn sums(row: &Row) -> Result<Sums, Damaged> {
    let mut sums = Sums::default();
    for kind in Kind::ALL {
        sums = sums + Sums::of(kind, row.get_sum_if(kind.as_str())?.unwrap_or(0));
    }
    Ok(sums)
}

fn payer_pk(payer: &PayerId, shard: u8) -> String {
    format!("N#{}#{shard:02}", escaped(payer.as_str()))
}

impl Row {
    /// Says whose money the item is about: what [`pocket`] reads.
    pub(super) fn of_pocket(self, pocket: &Pocket) -> Self {
        self.text("payer", pocket.payer.as_str())
            .text("affiliate", pocket.affiliate.as_str())
            .text("currency", pocket.currency.code())
    }
}

impl Store {
    /// Notes that a pocket exists, before anything is booked into it or waits for it: whoever lists
    /// pockets misses none that has a figure.
    pub(super) async fn note(&self, pocket: &Pocket) -> Result<(), StoreError> {
        let is_noted = |set: &std::collections::HashSet<Pocket>| set.contains(pocket);
        if self.noted.lock().is_ok_and(|noted| is_noted(&noted)) {
            return Ok(());
        }
        // `!` sorts before every account.
        let of_affiliate = Key::new(
            accounts_pk(&pocket.affiliate),
            format!("!{}#{}", escaped(pocket.payer.as_str()), pocket.currency),
        );
        if self.read(&of_affiliate).await?.is_none() {
            let of_payer = Key::new(
                payer_pk(&pocket.payer, pocket.shard()),
                format!("{}#{}", escaped(pocket.affiliate.as_str()), pocket.currency),
            );
            let add = |key: &Key| Write::Add {
                table: self.core(),
                row: Row::new(key).of_pocket(pocket),
            };
            self.transact(&[add(&of_payer), add(&of_affiliate)]).await?;
        }
        if let Ok(mut noted) = self.noted.lock() {
            if noted.len() >= REMEMBERED_MOST {
                noted.clear();
            }
            noted.insert(pocket.clone());
        }
        Ok(())
    }

    /// Every pocket of a payer that anything was ever booked into or waited for, in order.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn pockets_of_payer(&self, payer: &PayerId) -> Result<Vec<Pocket>, StoreError> {
        let table = self.core();
        let mut pockets = Vec::new();
        for shard in 0..SHARDS {
            let pk = payer_pk(payer, shard);
            for row in self.read_between(&table, &pk, "-", "~").await? {
                pockets.push(pocket(&row)?);
            }
        }
        pockets.sort();
        Ok(pockets)
    }

    /// Every pocket of an affiliate that anything was ever booked into or waited for, in order.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn pockets_of(&self, affiliate: &AffiliateId) -> Result<Vec<Pocket>, StoreError> {
        let table = self.core();
        let pk = accounts_pk(affiliate);
        let rows = self.read_between(&table, &pk, "!", "!~").await?;
        Ok(rows.iter().map(pocket).collect::<Result<_, _>>()?)
    }
}
