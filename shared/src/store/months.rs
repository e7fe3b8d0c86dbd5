//! The rows of a payer's month: in the making while its days run, then sealed.

use jiff::civil::Date;
use serde_json::Value;

use super::pockets::{pocket, sums};
use super::runs::Bucket;
use super::schema::escaped;
use super::transaction::{Outcome, Write, number, text, texts};
use super::{Damaged, Key, Row, Store, StoreError};
use crate::ids::PayerId;
use crate::ledger::{Kind, Pocket, SHARDS, Sums};
use crate::money::Money;
use crate::payout::{Account, Settled};
use crate::period::Month;
use crate::report::PaidOut;

/// What a month's runs made of a pocket, and what else happened to it in that month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonthRow {
    pub pocket: Pocket,
    /// The carry before the month's first run that touched it and after its last one; none
    /// where no run did.
    pub carry: Option<(i128, i128)>,
    /// Effects of what the month's runs took in and sent.
    pub sums: Sums,
    pub conversions: i64,
    pub payouts: Vec<PaidOut>,
    /// What ceased to be in a payout, less what came to be again: sent, failed, cancelled.
    pub left: i128,
    /// By how much the month changed what waits for approval.
    pub unapproved: i128,
    /// The row as it was closed.
    pub sealed: Option<Value>,
}

impl MonthRow {
    fn new(pocket: Pocket) -> Self {
        Self {
            pocket,
            carry: None,
            sums: Sums::default(),
            conversions: 0,
            payouts: Vec::new(),
            left: 0,
            unapproved: 0,
            sealed: None,
        }
    }
}

fn partition(payer: &PayerId, month: Month, shard: u8) -> String {
    format!("M#{}#{month}#{shard:02}", escaped(payer.as_str()))
}

fn row_sk(pocket: &Pocket) -> String {
    format!("{}#{}", escaped(pocket.affiliate.as_str()), pocket.currency)
}

pub(super) fn row_key(pocket: &Pocket, month: Month) -> Key {
    Key::new(
        partition(&pocket.payer, month, pocket.shard()),
        row_sk(pocket),
    )
}

/// Names the pocket in an item that may be made by an update.
pub(super) const NAMED: &str = "payer = :payer, affiliate = :affiliate, currency = :currency";

pub(super) fn name_values(
    pocket: &Pocket,
) -> Vec<(String, aws_sdk_dynamodb::types::AttributeValue)> {
    vec![
        (":payer".into(), text(pocket.payer.as_str())),
        (":affiliate".into(), text(pocket.affiliate.as_str())),
        (":currency".into(), text(pocket.currency.code())),
    ]
}

fn paid_out(text: &str, pocket: &Pocket) -> Option<PaidOut> {
    let mut parts = text.splitn(3, '#');
    Some(PaidOut {
        day: crate::http_types::parse_day(parts.next()?)?,
        id: parts.next()?.to_owned(),
        amount: Money::new(parts.next()?.parse().ok()?, pocket.currency),
    })
}

fn read(row: &Row) -> Result<MonthRow, Damaged> {
    let pocket = pocket(row)?;
    let carry = match row.get_sum_if("opening")? {
        Some(opening) => Some((opening, row.get_sum("closing")?)),
        None => None,
    };
    let payouts: Option<Vec<PaidOut>> = row
        .get_texts("payouts")
        .iter()
        .map(|text| paid_out(text, &pocket))
        .collect();
    Ok(MonthRow {
        carry,
        sums: sums(row)?,
        conversions: row.get_number_if("conversions")?.unwrap_or(0),
        payouts: payouts.ok_or_else(|| row.damaged("payouts"))?,
        left: row.get_sum_if("left_payouts")?.unwrap_or(0),
        unapproved: 0,
        sealed: match row.get_text_if("sealed") {
            Some(_) => Some(row.get_json("sealed")?),
            None => None,
        },
        pocket,
    })
}

impl Store {
    /// What happened to a payer's pockets in a month; those of which nothing did are left out.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn month_rows(
        &self,
        payer: &PayerId,
        month: Month,
    ) -> Result<Vec<MonthRow>, StoreError> {
        let table = self.core();
        let mut months: Vec<MonthRow> = Vec::new();
        for shard in 0..SHARDS {
            let pk = partition(payer, month, shard);
            // A pocket's row sorts before its events.
            for row in self.read_between(&table, &pk, "-", "~").await? {
                let Some(change) = row.get_sum_if("unapproved")? else {
                    months.push(read(&row)?);
                    continue;
                };
                let pocket = pocket(&row)?;
                match months.iter_mut().rev().find(|row| row.pocket == pocket) {
                    Some(row) => row.unapproved += change,
                    None => months.push(MonthRow {
                        unapproved: change,
                        ..MonthRow::new(pocket)
                    }),
                }
            }
        }
        months.sort_by(|one, other| one.pocket.cmp(&other.pocket));
        Ok(months)
    }

    /// What a month's runs made of a pocket, if any touched it; not what waits for approval.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn month_row(
        &self,
        pocket: &Pocket,
        month: Month,
    ) -> Result<Option<MonthRow>, StoreError> {
        let row = self.read(&row_key(pocket, month)).await?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// Adds what a day's settle made of a pocket. No settle of a month is left to be made when
    /// the month is sealed.
    pub(super) fn add_to_month(
        &self,
        buckets: &[Bucket],
        before: &Account,
        settled: &Settled,
    ) -> Write {
        let (day, pocket) = (buckets[0].day, &buckets[0].pocket);
        let change = |kind: Kind| settled.account.lifetime.get(kind) - before.lifetime.get(kind);
        let conversions: i64 = buckets.iter().map(|bucket| bucket.conversions).sum();
        let mut set =
            format!("SET {NAMED}, opening = if_not_exists(opening, :opening), closing = :closing");
        let mut values = name_values(pocket);
        values.extend([
            (":opening".into(), number(before.carry)),
            (":closing".into(), number(settled.account.carry)),
            (":conversions".into(), number(conversions)),
        ]);
        if let Some(payout) = settled.payout {
            set.push_str(", payouts = list_append(if_not_exists(payouts, :none), :payout)");
            let paid = format!("{day}#{}#{}", pocket.payout_id(day), payout.minor());
            values.push((":none".into(), texts(&[])));
            values.push((":payout".into(), texts(&[paid])));
        }
        set.push_str(" ADD conversions :conversions");
        for kind in Kind::ALL {
            set.push_str(&format!(", {kind} :{kind}"));
            values.push((format!(":{kind}"), number(change(kind))));
        }
        Write::Change {
            table: self.core(),
            key: row_key(pocket, Month::of(day)),
            set,
            condition: "attribute_not_exists(sealed)".to_owned(),
            values,
        }
    }

    /// Something that changes what waits for approval: an event of its own, so that many at
    /// once never meet in one item. `source` is unique to it.
    pub(super) fn note_unapproved(
        &self,
        pocket: &Pocket,
        day: Date,
        source: &str,
        change: i64,
    ) -> Write {
        let key = Key::new(
            partition(&pocket.payer, Month::of(day), pocket.shard()),
            format!("{}#U#{}", row_sk(pocket), escaped(source)),
        );
        Write::Add {
            table: self.core(),
            row: Row::new(&key)
                .of_pocket(pocket)
                .number("unapproved", change),
        }
    }

    /// Keeps a row as it is when its month closes. False if it is sealed with other figures.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn seal_row(
        &self,
        pocket: &Pocket,
        month: Month,
        row: &Value,
    ) -> Result<bool, StoreError> {
        let mut values = name_values(pocket);
        values.push((":sealed".into(), text(row.to_string())));
        let seal = Write::Change {
            table: self.core(),
            key: row_key(pocket, month),
            set: format!("SET {NAMED}, sealed = :sealed"),
            condition: "attribute_not_exists(sealed) OR sealed = :sealed".to_owned(),
            values,
        };
        Ok(matches!(self.transact(&[seal]).await?, Outcome::Done))
    }
}
