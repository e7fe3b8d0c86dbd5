//! A result taken back: by its sender, by the merchant's own hand, or once its sale arrives.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::app::{App, unavailable};
use crate::conversion::{Conversion, NotTaken, OrderKey, Refusal, digest, take};
use crate::http_types::Problem;
use crate::money::{Currency, Money};
use crate::store::{Refusing, Reversal, Reversed, WHOLE_REST};

const RACES_MOST: u32 = 8;

/// What somebody asks to be taken back.
#[derive(Debug, Clone)]
pub struct Asked {
    pub order: OrderKey,
    /// None: the order's only one; `*`: every one.
    pub goal: Option<String>,
    /// The sender's name for it; none takes back the whole rest.
    pub id: Option<String>,
    /// As it came.
    pub amount: Option<String>,
    pub currency: Option<Currency>,
    /// By sku, what is taken back of it.
    pub items: Vec<(String, String)>,
    pub reason: Option<String>,
}

/// Applies what was taken back of an order before it was known. What cannot be taken back is
/// kept among the refusals, where the merchant finds it.
///
/// # Errors
/// 503
pub async fn apply_waiting(app: &App, sale: &Conversion, now: Timestamp) -> Result<(), Problem> {
    let waiting = app.store.claim_waiting(&sale.key, &sale.program, now).await;
    for waiting in waiting.map_err(unavailable)? {
        let asked = Asked {
            order: sale.key.clone(),
            goal: waiting.goal,
            id: waiting.id,
            amount: waiting.amount,
            currency: waiting.currency,
            items: waiting.items,
            reason: waiting.reason,
        };
        match reverse_one(app, &asked, sale.clone(), now).await {
            Err(problem) if problem.status.is_client_error() => {
                let refusing = Refusing {
                    key: sale.key.clone(),
                    program: Some(&sale.program),
                    affiliate: sale.credits.first().map(|credit| &credit.affiliate),
                    fingerprint: digest(&json!([problem.code, asked.id]).to_string()),
                    refusal: Refusal::ReversalExceeds,
                    why: Value::Null,
                };
                let kept = app.store.record_refusal(&refusing, now).await;
                kept.map_err(unavailable)?;
            }
            applied => drop(applied?),
        }
    }
    Ok(())
}

/// What is to be taken back in all, and by sku.
type Amounts<'a> = (Option<Money>, Vec<(&'a str, Money)>);

/// Takes a part of one conversion back, or all that is left of it. Whether that is new, and the
/// answer.
///
/// # Errors
/// 409 `reversal_conflict`, 422 with the field, 503.
pub async fn reverse_one(
    app: &App,
    asked: &Asked,
    mut seen: Conversion,
    now: Timestamp,
) -> Result<(bool, Value), Problem> {
    let part = Part::of(asked, &seen)?;
    for _ in 0..RACES_MOST {
        let outcome = match part.known(app, &seen).await? {
            Some(known) => known,
            None => {
                let Some(reversal) = part.reversal(&seen)? else {
                    let remaining = seen.remaining().map(|amount| amount.to_string());
                    return Ok((false, json!({"reversed": [], "remaining": remaining})));
                };
                app.store
                    .record_reversal(&seen, &reversal, now)
                    .await
                    .map_err(unavailable)?
            }
        };
        match outcome {
            Reversed::Created(body) => return Ok((true, body)),
            Reversed::Before(body) => return Ok((false, body)),
            Reversed::Conflict => return Err(Problem::conflict("reversal_conflict")),
            Reversed::Raced => {
                let current = app.store.conversion(&seen.key).await.map_err(unavailable)?;
                seen = current.ok_or_else(Problem::unavailable)?;
            }
        }
    }
    Err(Problem::unavailable())
}

/// Whether one conversion can give what is asked of it, or has given it. Where several are asked,
/// none gives anything before all of them can; one that gave before is no obstacle, so that what
/// was cut in between goes on when it is repeated.
///
/// # Errors
/// As [`reverse_one`].
pub async fn can_reverse(app: &App, asked: &Asked, seen: &Conversion) -> Result<(), Problem> {
    let part = Part::of(asked, seen)?;
    match part.known(app, seen).await? {
        Some(Reversed::Conflict) => Err(Problem::conflict("reversal_conflict")),
        Some(_) => Ok(()),
        None => part.reversal(seen).map(drop),
    }
}

/// Whether an order gave before what is asked of it.
///
/// # Errors
/// As [`reverse_one`].
pub async fn was_taken(app: &App, asked: &Asked, seen: &Conversion) -> Result<bool, Problem> {
    match Part::of(asked, seen)?.known(app, seen).await? {
        None => Ok(false),
        Some(Reversed::Conflict) => Err(Problem::conflict("reversal_conflict")),
        Some(_) => Ok(true),
    }
}

/// What would be taken of an order as it is now.
///
/// # Errors
/// As [`reverse_one`].
pub fn would_take(asked: &Asked, seen: &Conversion) -> Result<Money, Problem> {
    let (amount, _) = asked.amounts(seen)?;
    let taken = taken(seen, amount, seen.whole() - seen.refunded)?;
    let has_value = seen.amount.is_some_and(|amount| !amount.is_zero());
    Ok(Money::new(if has_value { taken } else { 0 }, seen.currency))
}

impl Asked {
    /// What is to be taken back in all, and by sku, in the order's currency.
    fn amounts(&self, seen: &Conversion) -> Result<Amounts<'_>, Problem> {
        if self
            .currency
            .is_some_and(|currency| currency != seen.currency)
        {
            return Err(Problem::refused("currency_mismatch"));
        }
        let amount = match &self.amount {
            None => None,
            Some(text) => Some(
                Money::parse(text, seen.currency)
                    .map_err(|_| Problem::invalid("amount_invalid", "amount"))?,
            ),
        };
        let mut items: Vec<(&str, Money)> = Vec::new();
        for (place, (sku, text)) in self.items.iter().enumerate() {
            let amount = Money::parse(text, seen.currency).map_err(|_| {
                Problem::invalid("amount_invalid", format!("items[{place}].amount"))
            })?;
            items.push((sku, amount));
        }
        let amount = amount_of(amount, &items)?;
        Ok((amount, items))
    }
}

/// What is asked of one conversion, in its currency.
struct Part<'a> {
    asked: &'a Asked,
    id: &'a str,
    fingerprint: String,
    amount: Option<Money>,
    items: Vec<(&'a str, Money)>,
}

impl<'a> Part<'a> {
    fn of(asked: &'a Asked, seen: &Conversion) -> Result<Self, Problem> {
        let (amount, items) = asked.amounts(seen)?;
        let named: Vec<_> = items
            .iter()
            .map(|(sku, amount)| json!([sku, amount.minor()]))
            .collect();
        Ok(Self {
            asked,
            id: asked.id.as_deref().unwrap_or(WHOLE_REST),
            fingerprint: digest(&json!([amount.map(Money::minor), named]).to_string()),
            amount,
            items,
        })
    }

    async fn known(&self, app: &App, seen: &Conversion) -> Result<Option<Reversed>, Problem> {
        let known = app.store.reversal(&seen.key, self.id, &self.fingerprint);
        known.await.map_err(unavailable)
    }

    /// What it takes of the conversion as it is; none where all that is left of this goal is nothing,
    /// and the others go on.
    fn reversal(&self, seen: &Conversion) -> Result<Option<Reversal>, Problem> {
        let left = seen.whole() - seen.refunded;
        let is_every_goal = self.asked.goal.as_deref() == Some("*");
        if left == 0 && is_every_goal && self.amount.is_none() {
            return Ok(None);
        }
        let taken = taken(seen, self.amount, left)?;
        let mut basket = seen.basket.clone();
        for (sku, amount) in &self.items {
            take(&mut basket, sku, amount.minor()).map_err(|no| match no {
                NotTaken::SkuUnknown => Problem::invalid("sku_unknown", "items"),
                NotTaken::Exceeds => Problem::invalid("reversal_exceeds", "items"),
            })?;
        }
        Ok(Some(Reversal {
            id: self.id.to_owned(),
            fingerprint: self.fingerprint.clone(),
            amount: taken,
            basket,
            reason: self.asked.reason.clone(),
        }))
    }
}

/// What is taken back in all: with lines their sum, which an amount beside them must be.
fn amount_of(amount: Option<Money>, items: &[(&str, Money)]) -> Result<Option<Money>, Problem> {
    let Some(((_, first), others)) = items.split_first() else {
        return Ok(amount);
    };
    let sum = others
        .iter()
        .try_fold(*first, |sum, (_, amount)| sum.checked_add(*amount))
        .ok_or_else(|| Problem::invalid("items_total", "items"))?;
    match amount {
        Some(amount) if amount != sum => Err(Problem::invalid("items_total", "items")),
        _ => Ok(Some(sum)),
    }
}

/// What is taken of the order's value, in minor units. An order without a value is taken back
/// whole or not at all.
fn taken(seen: &Conversion, amount: Option<Money>, left: i64) -> Result<i64, Problem> {
    let has_value = seen.amount.is_some_and(|amount| !amount.is_zero());
    let taken = match amount {
        Some(amount) if has_value => amount.minor(),
        Some(amount) if amount.is_zero() => left,
        Some(_) => return Err(Problem::invalid("reversal_exceeds", "amount")),
        None => left,
    };
    if left == 0 || taken > left {
        return Err(Problem::invalid("reversal_exceeds", "amount"));
    }
    Ok(taken)
}
