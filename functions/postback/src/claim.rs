//! What a sender says of a result, before anything is looked up.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use shared::commission::Customer;
use shared::conversion::{Item, is_order_id};
use shared::customer::CustomerId;
use shared::http_types::{Fields, Problem};
use shared::ids::{AffiliateId, ProgramId};
use shared::money::{Currency, Money};
use shared::period::is_ahead;
use shared::setup::Goal;

/// Characters of a note.
const META_MOST: usize = 256;
/// No coupon is longer, and what is kept of an order has its bounds.
const COUPON_MOST: usize = 128;

/// What the sender says, before anything is looked up. Amounts wait for the currency.
pub struct Claim {
    pub click_id: Option<String>,
    pub coupon: Option<String>,
    pub customer_id: Option<CustomerId>,
    pub order_id: String,
    pub goal: String,
    pub amount: Option<String>,
    pub currency: Option<Currency>,
    items: Option<Vec<Fields>>,
    pub customer: Option<Customer>,
    /// `T`, which windows, terms and owners are asked at.
    pub at: Timestamp,
    pub service_date: Option<Date>,
    pub program: Option<ProgramId>,
    pub is_test: bool,
    /// The merchant's own notes, `meta1` to `meta5`.
    pub meta: BTreeMap<String, String>,
    /// Whose click or coupon it is, once that is known.
    pub affiliate: Option<AffiliateId>,
}

impl Claim {
    pub fn read(mut fields: Fields, now: Timestamp) -> Result<Self, Problem> {
        let order_id = fields.parsed_required("order_id", "order_id_invalid", |text| {
            is_order_id(text).then(|| text.to_owned()).ok_or(())
        })?;
        let goal = match (fields.text("goal")?, fields.text("event")?) {
            (Some(_), Some(_)) => return Err(Problem::invalid("parameter_repeated", "event")),
            (Some(goal), None) | (None, Some(goal)) => goal.to_lowercase(),
            (None, None) => "sale".to_owned(),
        };
        // A refused claim is kept under its goal, so that is a name before anything is judged.
        if !Goal::is_name(&goal) {
            return Err(Problem::invalid("goal_unknown", "goal"));
        }
        let at = fields.instant("occurred_at")?.unwrap_or(now);
        let customer = fields.parsed("customer", "customer_invalid", |text| {
            Customer::parse(text).ok_or(())
        })?;
        let mut claim = Self {
            click_id: fields.text("click_id")?,
            coupon: fields.parsed("coupon", "text_invalid", |text| {
                let length = text.chars().count();
                (length <= COUPON_MOST).then(|| text.to_owned()).ok_or(())
            })?,
            customer_id: fields.parsed("customer_id", "text_invalid", CustomerId::parse)?,
            order_id,
            goal,
            amount: fields.text("amount")?,
            currency: fields.parsed("currency", "currency_invalid", Currency::parse)?,
            items: fields.objects("items")?,
            customer,
            at,
            service_date: fields.day("service_date")?,
            program: fields.parsed("program", "program_unknown", ProgramId::parse)?,
            is_test: fields.flag("test")?.unwrap_or(false),
            meta: BTreeMap::new(),
            affiliate: None,
        };
        for name in ["meta1", "meta2", "meta3", "meta4", "meta5"] {
            let is_kept = |text: &str| text.chars().count() <= META_MOST;
            let meta = fields.parsed(name, "text_invalid", |text| {
                is_kept(text).then(|| text.to_owned()).ok_or(())
            })?;
            claim.meta.extend(meta.map(|text| (name.to_owned(), text)));
        }
        fields.finish()?;
        if is_ahead(claim.at, now) {
            return Err(Problem::invalid("occurred_at_future", "occurred_at"));
        }
        Ok(claim)
    }
}

/// The order's value and lines in the program's currency.
pub struct OrderValue {
    pub amount: Option<Money>,
    pub items: Vec<Item>,
}

/// Reads them; the lines are taken out of the claim.
pub fn value_of(claim: &mut Claim, currency: Currency) -> Result<OrderValue, Problem> {
    let items = claim.items.take().unwrap_or_default();
    let items = Item::read_all(items, currency)?;
    let amount = match &claim.amount {
        None => None,
        Some(text) => Some(
            Money::parse(text, currency)
                .map_err(|_| Problem::invalid("amount_invalid", "amount"))?,
        ),
    };
    if items.is_empty() {
        return Ok(OrderValue { amount, items });
    }
    let sum =
        Item::total(&items, currency).ok_or_else(|| Problem::invalid("items_total", "items"))?;
    if amount.is_some_and(|amount| amount != sum) {
        return Err(Problem::invalid("items_total", "items"));
    }
    Ok(OrderValue {
        amount: Some(sum),
        items,
    })
}
