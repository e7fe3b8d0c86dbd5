//! A result taken back, in part or whole, before or after it was paid.

use jiff::Timestamp;
use serde_json::{Value, json};
use shared::app::{App, unavailable};
use shared::conversion::{Conversion, ITEMS_MOST, OrderKey, is_order_id, is_sku};
use shared::http_types::{Fields, Problem};
use shared::ids::ProgramId;
use shared::money::{Currency, Money};
use shared::reversing::{Asked, can_reverse, reverse_one};
use shared::setup::{Goal, OrderScope};
use shared::store::{Waiting, Waits};

use super::sender::Sender;

/// No amount is longer, and what waits for its sale has its bounds.
const AMOUNT_MOST: usize = 64;

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

/// What is asked, and of which program, where the order alone does not say so.
fn read(sender: &Sender, mut fields: Fields) -> Result<(Asked, Option<ProgramId>), Problem> {
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
            program: program.clone().filter(|_| by_program),
            order_id,
            goal: String::new(),
        },
        goal: goal(&mut fields)?,
        id: fields.parsed("reversal_id", "reversal_id_invalid", |text| {
            name(text).and_then(|id| if id.starts_with(' ') { Err(()) } else { Ok(id) })
        })?,
        amount: fields.parsed("amount", "amount_invalid", amount)?,
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
    Ok((asked, program.filter(|_| !by_program)))
}

/// By either of its names.
fn goal(fields: &mut Fields) -> Result<Option<String>, Problem> {
    let mut named = |name: &str| {
        fields.parsed(name, "goal_unknown", |text| {
            let is_one = text == "*" || Goal::is_name(text);
            is_one.then(|| text.to_lowercase()).ok_or(())
        })
    };
    match (named("goal")?, named("event")?) {
        (Some(_), Some(_)) => Err(Problem::invalid("parameter_repeated", "event")),
        (goal, event) => Ok(goal.or(event)),
    }
}

fn items(fields: &mut Fields) -> Result<Vec<(String, String)>, Problem> {
    let list = fields.objects("items")?.unwrap_or_default();
    if list.len() > ITEMS_MOST {
        return Err(Problem::invalid("too_many", "items"));
    }
    let mut items = Vec::with_capacity(list.len());
    for mut item in list {
        let name = |text: &str| is_sku(text).then(|| text.to_owned()).ok_or(());
        let sku = item.parsed_required("sku", "text_invalid", name)?;
        items.push((
            sku,
            item.parsed_required("amount", "amount_invalid", amount)?,
        ));
        item.finish()?;
    }
    Ok(items)
}

/// As it came: which currency it is in is not known before its order is.
fn amount(text: &str) -> Result<String, ()> {
    (text.len() <= AMOUNT_MOST)
        .then(|| text.to_owned())
        .ok_or(())
}

/// Takes back what the fields ask for.
pub async fn reverse(
    app: &App,
    sender: &Sender,
    fields: Fields,
    now: Timestamp,
) -> Result<Value, Problem> {
    let (asked, program) = read(sender, fields)?;
    let mut found = conversions(app, &asked, program.as_ref()).await?;
    if found.is_empty() {
        match &program {
            Some(program) => sender.may_reverse(program)?,
            None => sender.may_reverse_something()?,
        }
        // It waits first and looks again then: a sale that arrives meanwhile sees it, or is seen.
        let waiting = Waiting {
            goal: asked.goal.clone(),
            id: asked.id.clone(),
            amount: asked.amount.clone(),
            currency: asked.currency,
            items: asked.items.clone(),
            reason: asked.reason.clone(),
            program: program.clone(),
            programs: sender.programs().to_vec(),
        };
        let waits = app.store.let_reversal_wait(&asked.order, &waiting, now);
        let waits = waits.await.map_err(unavailable)?;
        found = conversions(app, &asked, program.as_ref()).await?;
        if found.is_empty() && waits == Waits::Conflict {
            return Err(Problem::conflict("reversal_conflict"));
        }
        if found.len() > 1 && asked.goal.is_none() {
            let gone = app.store.let_reversal_go(&asked.order, &waiting, now).await;
            gone.map_err(unavailable)?;
        }
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
                can_reverse(app, &asked, conversion).await?;
            }
            for conversion in all {
                let (is_new, body) = reverse_one(app, &asked, conversion.clone(), now).await?;
                // What was taken back of one goal before is none of what all of them give now.
                if is_new && !any_new && asked.id.is_none() {
                    reversed.clear();
                }
                if is_new || !any_new || asked.id.is_some() {
                    reversed.extend(body["reversed"].as_array().cloned().unwrap_or_default());
                }
                any_new |= is_new;
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

async fn conversions(
    app: &App,
    asked: &Asked,
    program: Option<&ProgramId>,
) -> Result<Vec<Conversion>, Problem> {
    let found = app.store.conversions_of(&asked.order).await;
    let mut found = found.map_err(unavailable)?;
    found.retain(|conversion| program.is_none_or(|program| conversion.program == *program));
    if let Some(goal) = asked.goal.as_ref().filter(|goal| *goal != "*") {
        found.retain(|conversion| conversion.key.goal == *goal);
    }
    Ok(found)
}
