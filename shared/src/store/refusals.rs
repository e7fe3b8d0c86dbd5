//! Refused claims: kept apart, counted, and shown to both sides.

use aws_sdk_dynamodb::types::ReturnValue;
use jiff::Timestamp;
use serde_json::Value;

use super::conversion_rows::partition;
use super::conversions::ConversionsOf;
use super::records::Index;
use super::schema::escaped;
use super::transaction::{number, text};
use super::{Damaged, Key, Row, Store, StoreError};
use crate::conversion::{OrderKey, Refusal};
use crate::http_types::{Cursor, Page};
use crate::ids::{AffiliateId, ProgramId};

/// A claim that was refused, as often as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub merchant: String,
    pub order_id: String,
    pub goal: String,
    /// Empty where the claim was refused before its program was known.
    pub program: String,
    /// Whose click it named, where that could be read.
    pub affiliate: Option<String>,
    pub code: String,
    pub times: i64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    /// What was considered the last time; null where the claim was refused before that.
    pub why: Value,
}

/// A claim that is refused.
#[derive(Debug, Clone)]
pub struct Refusing<'a> {
    pub key: OrderKey,
    pub program: Option<&'a ProgramId>,
    /// Whose click or coupon it named, where that could be read.
    pub affiliate: Option<&'a AffiliateId>,
    /// The same of the same claim.
    pub fingerprint: String,
    pub refusal: Refusal,
    pub why: Value,
}

/// Apart from the order, all of which is read by whoever takes back or decides: of refused claims
/// anybody with a page's token can make as many as they like. They stood with it once, and some do.
fn refusal_key(order: &OrderKey, fingerprint: &str) -> Key {
    Key::new(
        format!("X{}", partition(order)),
        format!("{}#X#{fingerprint}", escaped(&order.goal)),
    )
}

fn read(row: &Row) -> Result<Refused, Damaged> {
    let text = |name: &str| row.get_text(name).map(str::to_owned);
    Ok(Refused {
        merchant: text("merchant")?,
        order_id: text("order_id")?,
        goal: text("goal")?,
        program: text("program")?,
        affiliate: row.get_text_if("affiliate").map(str::to_owned),
        code: text("code")?,
        times: row.get_number("times")?,
        first_at: row.get_instant("first_at")?,
        last_at: row.get_instant("last_at")?,
        why: row.get_json("why")?,
    })
}

impl Store {
    /// Keeps a refused claim apart: it never takes the order's key. The same one again counts.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn record_refusal(
        &self,
        refusing: &Refusing<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Refusing {
            key,
            program,
            affiliate,
            fingerprint,
            refusal,
            why,
        } = refusing;
        let at = refusal_key(key, fingerprint);
        let owner = format!("L#refusal#{}", escaped(key.merchant.as_str()));
        let order = format!("{:013}#{fingerprint}", now.as_millisecond());
        let mut set =
            "SET code = :code, last_at = :now, first_at = if_not_exists(first_at, :now), \
             merchant = :merchant, order_id = :order, goal = :goal, program = :program, \
             why = :why, owner_pk = :owner, owner_sk = if_not_exists(owner_sk, :sort)"
                .to_owned();
        let mut update = self
            .client
            .update_item()
            .table_name(&self.tables.core)
            .set_key(Some(at.attributes()))
            .expression_attribute_values(":code", text(refusal.code()))
            .expression_attribute_values(":now", text(now.to_string()))
            .expression_attribute_values(":merchant", text(key.merchant.as_str()))
            .expression_attribute_values(":order", text(&key.order_id))
            .expression_attribute_values(":goal", text(&key.goal))
            .expression_attribute_values(":program", text(program.map_or("", ProgramId::as_str)))
            .expression_attribute_values(":why", text(why.to_string()))
            .expression_attribute_values(":owner", text(owner))
            .expression_attribute_values(":sort", text(order))
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::None);
        if let Some(affiliate) = affiliate {
            let list = format!("L#refusal#{}", escaped(affiliate.as_str()));
            set.push_str(
                ", affiliate = :affiliate, affiliate_pk = :list, \
                 affiliate_sk = if_not_exists(affiliate_sk, :sort)",
            );
            update = update
                .expression_attribute_values(":affiliate", text(affiliate.as_str()))
                .expression_attribute_values(":list", text(list));
        }
        update
            .update_expression(format!("{set} ADD times :one"))
            .send()
            .await?;
        Ok(())
    }

    /// Part of the refused claims of a merchant or an affiliate, by their first time, each with its
    /// place. A view.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn refusals_listed(
        &self,
        list: &ConversionsOf<'_>,
        page: &Page,
    ) -> Result<(Vec<(String, Refused)>, Option<Cursor>), StoreError> {
        let (index, pk) = match list {
            ConversionsOf::Merchant(id) => (Index::ByOwner, escaped(id.as_str())),
            ConversionsOf::Affiliate(id) => (Index::ByAffiliate, escaped(id.as_str())),
        };
        let (rows, next) = self.listed(index, &format!("L#refusal#{pk}"), page).await?;
        let refused = rows.iter().map(|row| {
            let place = row.get_text("owner_sk")?;
            Ok((place.to_owned(), read(row)?))
        });
        Ok((refused.collect::<Result<_, Damaged>>()?, next))
    }
}
