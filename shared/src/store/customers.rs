//! Customers: who was credited when one of a merchant's customers bought for the first time.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::schema::escaped;
use super::transaction::{Write, text};
use super::{Damaged, Key, Row, Store, StoreError};
use crate::conversion::Conversion;
use crate::ids::{AffiliateId, MerchantId, ProgramId};

/// A customer whose first credit is known. Who it is stands nowhere: only its pseudonym does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownCustomer {
    /// The conversion that was credited.
    pub conversion: String,
    /// When that order was made, by its own word: not when it was recorded.
    pub at: Timestamp,
    /// Whose the credit was, with the weights of their shares.
    pub shares: Vec<(AffiliateId, u64)>,
}

/// What is written with a conversion that is its customer's first credit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstCredit {
    /// The customer's pseudonym with this merchant.
    pub customer: String,
    pub shares: Vec<(AffiliateId, u64)>,
    /// The conversion whose credit it takes the place of, as that came to nothing.
    pub instead_of: Option<String>,
}

pub(super) fn partition(merchant: &MerchantId, customer: &str) -> String {
    format!("K#{}#{customer}", escaped(merchant.as_str()))
}

fn key(merchant: &MerchantId, customer: &str, program: &ProgramId) -> Key {
    Key::new(partition(merchant, customer), escaped(program.as_str()))
}

fn read(row: &Row) -> Result<KnownCustomer, Damaged> {
    Ok(KnownCustomer {
        conversion: row.get_text("conversion")?.to_owned(),
        at: row.get_instant("at")?,
        shares: row.parsed("shares", |text| {
            let list: Vec<(String, u64)> = serde_json::from_str(text).map_err(drop)?;
            let shares = list
                .into_iter()
                .map(|(id, weight)| Ok((AffiliateId::parse(&id).map_err(drop)?, weight)));
            shares.collect::<Result<Vec<_>, ()>>()
        })?,
    })
}

impl Store {
    /// What is known of a merchant's customer in a program.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn customer(
        &self,
        merchant: &MerchantId,
        customer: &str,
        program: &ProgramId,
    ) -> Result<Option<KnownCustomer>, StoreError> {
        let row = self.read(&key(merchant, customer, program)).await?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// The member of a conversion's transaction that makes it its customer's first credit.
    pub(super) fn first_credit(&self, conversion: &Conversion, first: &FirstCredit) -> Write {
        let shares: Vec<Value> = first
            .shares
            .iter()
            .map(|(affiliate, weight)| json!([affiliate.as_str(), weight]))
            .collect();
        let merchant = &conversion.key.merchant;
        let row = Row::new(&key(merchant, &first.customer, &conversion.program))
            .text("conversion", conversion.key.conversion_id())
            .text("at", conversion.occurred_at.to_string())
            .json("shares", &Value::Array(shares));
        let table = self.core();
        match &first.instead_of {
            None => Write::Add { table, row },
            Some(seen) => Write::Replace {
                table,
                row,
                condition: "conversion = :seen".to_owned(),
                values: vec![(":seen".into(), text(seen))],
            },
        }
    }
}
