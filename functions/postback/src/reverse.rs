//! A result taken back, in part or whole, before or after it was paid.

use jiff::Timestamp;
use serde_json::{Value, json};
use shared::app::{App, unavailable};
use shared::conversion::{Conversion, NotTaken, OrderKey, Refusal, digest, is_order_id, take};
use shared::http_types::{Fields, Problem};
use shared::ids::ProgramId;
use shared::money::{Currency, Money};
use shared::setup::OrderScope;
use shared::store::{Refusing, Reversal, Reversed, Waiting};

use super::sender::Sender;

const REASONS: [&str; 8] = [
    "returned",
    "cancelled",
    "chargeback",
    "fraud",
    "duplicate",
    "terms",
    "test",
    "other",
];
/// The name of a reversal of all that is left, which bears no name of the sender's: no sender's
/// own begins with a blank.
const WHOLE_REST: &str = " rest";
const RACES_MOST: u32 = 8;

struct Asked {
    order: OrderKey,
    goal: Option<String>,
    id: Option<String>,
    amount: Option<String>,
    currency: Option<Currency>,
    /// By sku, what is taken back of it.
    items: Vec<(String, String)>,
    reason: Option<String>,
}

fn read(sender: &Sender, mut fields: Fields) -> Result<Asked, Problem> {
    let name = |text: &str| is_order_id(text).then(|| text.to_owned()).ok_or(());
    let order_id = fields.parsed_required("order_id", "order_id_invalid", name)?;
    let program = fields.parsed("program", "program_unknown", ProgramId::parse)?;
    let by_program = sender.merchant.order_scope == OrderScope::Program;
    if by_program && program.is_none() {
        return Err(Problem::invalid("parameter_missing", "program"));
    }
    let asked = Asked {
        order: OrderKey {
            merchant: sender.merchant.id.clone(),
            program: program.filter(|_| by_program),
            order_id,
            goal: String::new(),
        },
        goal: fields.text("goal")?.map(|goal| goal.to_lowercase()),
        id: fields.parsed("reversal_id", "reversal_id_invalid", |text| {
            name(text).and_then(|id| if id.starts_with(' ') { Err(()) } else { Ok(id) })
        })?,
        amount: fields.text("amount")?,
        currency: fields.parsed("currency", "currency_invalid", Currency::parse)?,
        items: items(&mut fields)?,
        reason: fields.parsed("reason", "word_unknown", |text| {
            REASONS.contains(&text).then(|| text.to_owned()).ok_or(())
        })?,
    };
    fields.finish()?;
    let is_part = asked.amount.is_some() || !asked.items.is_empty();
    if is_part && asked.id.is_none() {
        return Err(Problem::invalid("reversal_id_required", "reversal_id"));
    }
    Ok(asked)
}

fn items(fields: &mut Fields) -> Result<Vec<(String, String)>, Problem> {
    let mut items = Vec::new();
    for mut item in fields.objects("items")?.unwrap_or_default() {
        items.push((item.required("sku")?, item.required("amount")?));
        item.finish()?;
    }
    Ok(items)
}

/// Takes back what the fields ask for.
pub async fn reverse(
    app: &App,
    sender: &Sender,
    fields: Fields,
    now: Timestamp,
) -> Result<Value, Problem> {
    let asked = read(sender, fields)?;
    let mut found = conversions(app, &asked).await?;
    if found.is_empty() {
        sender.may_reverse_something()?;
        // It waits first and looks again then: a sale that arrives meanwhile sees it, or is seen.
        let waiting = Waiting {
            goal: asked.goal.clone(),
            id: asked.id.clone(),
            amount: asked.amount.clone(),
            currency: asked.currency,
            items: asked.items.clone(),
            reason: asked.reason.clone(),
            programs: sender.programs().to_vec(),
        };
        let waits = app.store.let_reversal_wait(&asked.order, &waiting, now);
        waits.await.map_err(unavailable)?;
        found = conversions(app, &asked).await?;
    }
    for conversion in &found {
        sender.may_reverse(&conversion.program)?;
    }
    match found.as_slice() {
        [] => Err(Problem::new(http::StatusCode::NOT_FOUND, "order_unknown")),
        [_, _, ..] if asked.goal.as_deref() != Some("*") => {
            Err(Problem::invalid("goal_required", "goal"))
        }
        [one] => {
            let (is_new, mut body) = reverse_one(app, &asked, one.clone(), now).await?;
            body["result"] = json!(if is_new { "created" } else { "recorded_before" });
            Ok(body)
        }
        all => {
            let mut any_new = false;
            let (mut reversed, mut left) = (Vec::new(), Vec::new());
            for conversion in all {
                let (is_new, body) = reverse_one(app, &asked, conversion.clone(), now).await?;
                any_new |= is_new;
                reversed.extend(body["reversed"].as_array().cloned().unwrap_or_default());
                let remaining = body["remaining"].as_str();
                left.extend(
                    remaining.and_then(|text| Money::parse(text, conversion.currency).ok()),
                );
            }
            let result = if any_new {
                "created"
            } else {
                "recorded_before"
            };
            let remaining = total(&left).map(|left| left.to_string());
            Ok(json!({"result": result, "reversed": reversed, "remaining": remaining}))
        }
    }
}

/// None of nothing, and where the goals' programs have different currencies.
fn total(amounts: &[Money]) -> Option<Money> {
    let (first, others) = amounts.split_first()?;
    others
        .iter()
        .try_fold(*first, |sum, amount| sum.checked_add(*amount))
}

async fn conversions(app: &App, asked: &Asked) -> Result<Vec<Conversion>, Problem> {
    let found = app.store.conversions_of(&asked.order).await;
    let mut found = found.map_err(unavailable)?;
    if let Some(goal) = asked.goal.as_ref().filter(|goal| *goal != "*") {
        found.retain(|conversion| conversion.key.goal == *goal);
    }
    Ok(found)
}

/// Applies what was taken back of an order before it was known. What cannot be taken back is
/// kept among the refusals, where the merchant finds it.
pub async fn apply_waiting(app: &App, sale: &Conversion, now: Timestamp) -> Result<(), Problem> {
    let waiting = app.store.claim_waiting(&sale.key, now).await;
    for waiting in waiting.map_err(unavailable)? {
        if !waiting.programs.is_empty() && !waiting.programs.contains(&sale.program) {
            continue;
        }
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

async fn reverse_one(
    app: &App,
    asked: &Asked,
    mut seen: Conversion,
    now: Timestamp,
) -> Result<(bool, Value), Problem> {
    if asked
        .currency
        .is_some_and(|currency| currency != seen.currency)
    {
        return Err(Problem::refused("currency_mismatch"));
    }
    let amount = match &asked.amount {
        None => None,
        Some(text) => Some(
            Money::parse(text, seen.currency)
                .map_err(|_| Problem::invalid("amount_invalid", "amount"))?,
        ),
    };
    let mut items: Vec<(&str, Money)> = Vec::new();
    for (place, (sku, text)) in asked.items.iter().enumerate() {
        let amount = Money::parse(text, seen.currency)
            .map_err(|_| Problem::invalid("amount_invalid", &format!("items[{place}].amount")))?;
        items.push((sku, amount));
    }
    let amount = amount_of(amount, &items)?;
    let id = asked.id.clone().unwrap_or_else(|| WHOLE_REST.to_owned());
    let named: Vec<_> = items
        .iter()
        .map(|(sku, amount)| json!([sku, amount.minor()]))
        .collect();
    let fingerprint = digest(&json!([amount.map(Money::minor), named]).to_string());

    for _ in 0..RACES_MOST {
        let known = app
            .store
            .reversal(&seen.key, &id, &fingerprint)
            .await
            .map_err(unavailable)?;
        let outcome = match known {
            Some(known) => known,
            None => {
                let left = seen.whole() - seen.refunded;
                let is_every_goal = asked.goal.as_deref() == Some("*");
                if left == 0 && is_every_goal && amount.is_none() {
                    // All that is left of this one is nothing; the others go on.
                    let remaining = seen.remaining().map(|amount| amount.to_string());
                    return Ok((false, json!({"reversed": [], "remaining": remaining})));
                }
                let taken = taken(&seen, amount, left)?;
                let mut basket = seen.basket.clone();
                for (sku, amount) in &items {
                    take(&mut basket, sku, amount.minor()).map_err(|no| match no {
                        NotTaken::SkuUnknown => Problem::invalid("sku_unknown", "items"),
                        NotTaken::Exceeds => Problem::invalid("reversal_exceeds", "items"),
                    })?;
                }
                let reversal = Reversal {
                    id: id.clone(),
                    fingerprint: fingerprint.clone(),
                    amount: taken,
                    basket,
                    reason: asked.reason.clone(),
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
