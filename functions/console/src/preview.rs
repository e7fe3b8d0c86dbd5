//! What a sale would earn, and why; nothing is written.

use http::StatusCode;
use serde_json::{Value, json};
use shared::app::{App, unavailable};
use shared::commission::{Buyer, Customer, Line, NoCommission, Rules, Sale, Standings};
use shared::conversion::Item;
use shared::http_types::{Fields, Problem, Request, Response};
use shared::ids::AffiliateId;
use shared::money::Money;
use shared::rights::{Action, Caller};
use shared::setup::{Coupon, Invalid, Program, patched};
use shared::store::Versioned;

use crate::resources::group_of;
use crate::serve::visible;

/// Rules that are not saved yet, named as they would be if they were: counters go by it.
pub fn proposed(program: &Versioned<Program>, rules: &Value) -> Result<Rules, Invalid> {
    let patch = json!({ "commission": rules });
    Ok(patched(&program.record, &patch, program.version + 1)?.commission)
}

/// `POST /api/v1/programs/{id}/rules:preview`: by the rules in force, or by some that are not saved
/// yet (`commission`). Counters stand where they stand now, and the customer is a new one unless
/// `customer_since` says otherwise.
pub async fn preview(
    app: &App,
    request: &Request,
    caller: &Caller,
    id: &str,
) -> Result<Response, Problem> {
    let program = visible::<Program>(app, caller, id, Action::ReadPrograms).await?;
    let terms = &program.record;
    let mut fields = Fields::from_json(&request.body)?;
    let affiliate = fields.parsed("affiliate", "id_invalid", AffiliateId::parse)?;
    // What others earn is no affiliate's business.
    let affiliate = match (caller.affiliate(), affiliate) {
        (Some(own), Some(named)) if *own != named => return Err(Problem::not_found()),
        (Some(own), _) => own.clone(),
        (None, Some(named)) => named,
        (None, None) => return Err(Problem::invalid("parameter_missing", "affiliate")),
    };
    let rules = match fields.value("commission")? {
        Some(_) if caller.affiliate().is_some() => return Err(Problem::forbidden("forbidden")),
        Some(rules) => proposed(&program, &rules)?,
        None => terms.commission.clone(),
    };
    let money = |text: &str| Money::parse(text, terms.currency);
    let goal = fields
        .text("goal")?
        .unwrap_or_else(|| terms.goals[0].name.clone());
    let goal = terms
        .goal(&goal)
        .ok_or_else(|| Problem::invalid("goal_unknown", "goal"))?;
    let amount = fields.parsed("amount", "amount_invalid", money)?;
    let items = Item::read_all(fields.objects("items")?.unwrap_or_default(), terms.currency)?;
    let customer = fields.parsed("customer", "customer_invalid", |text| {
        Customer::parse(text).ok_or(())
    })?;
    let since = fields.instant("customer_since")?;
    let group = fields.text("group")?;
    let country = fields.text("country")?;
    let coupon = fields.text("coupon")?;
    let at = fields.instant("occurred_at")?.unwrap_or(request.now);
    fields.finish()?;

    if let Some(code) = coupon.as_deref().filter(|_| caller.affiliate().is_some()) {
        // Nor what others' codes earn.
        let key = Coupon::key(&terms.id, code);
        let known = app.store.record::<Coupon>(&key).await;
        let known = known.map_err(unavailable)?;
        if known.is_none_or(|known| known.record.affiliate != affiliate) {
            return Err(Problem::forbidden("forbidden"));
        }
    }
    let own = group_of(app, terms, &affiliate).await?;
    let group = match group {
        // Nor what another group does.
        Some(_) if caller.affiliate().is_some() && group != own => {
            return Err(Problem::forbidden("forbidden"));
        }
        Some(group) => Some(group),
        None => own,
    };
    let sum = Item::total(&items, terms.currency)
        .ok_or_else(|| Problem::invalid("items_total", "items"))?;
    let amount = match amount {
        _ if items.is_empty() => amount,
        Some(amount) if amount != sum => return Err(Problem::invalid("items_total", "items")),
        _ => Some(sum),
    };
    let lines: Vec<Line<'_>> = items.iter().map(Item::line).collect();
    if !goal.payable {
        let nothing = json!({"amount": Money::zero(terms.currency).to_string(), "currency": terms.currency.code(), "lines": []});
        return Ok(Response::json(StatusCode::OK, &nothing));
    }
    let mut standings = Standings::default();
    let earned = loop {
        let sale = Sale {
            at,
            goal: &goal.name,
            affiliate: &affiliate,
            group: group.as_deref(),
            customer,
            country: country.as_deref(),
            coupon: coupon.as_deref(),
            buyer: Buyer::Named { since },
            standings: &standings,
            amount,
            lines: &lines,
        };
        match rules.commission(&sale, terms.rounding) {
            Ok(earned) => break earned,
            Err(NoCommission::Unknown(counter)) => {
                let standing = app
                    .store
                    .standing(&terms.id, &affiliate, None, &counter)
                    .await;
                standings.0.insert(counter, standing.map_err(unavailable)?);
            }
            Err(NoCommission::AmountRequired) => {
                return Err(Problem::invalid("amount_required", "amount"));
            }
            Err(NoCommission::TooLarge) => {
                return Err(Problem::invalid("amount_too_large", "amount"));
            }
            Err(NoCommission::NoRule | NoCommission::CustomerRequired) => {
                return Err(Problem::refused("no_rule"));
            }
        }
    };
    let lines: Vec<Value> = earned
        .lines
        .iter()
        .map(|line| {
            json!({
                "sku": line.sku,
                "rule": line.rule.as_ref().map(shared::ids::RuleId::as_str),
                "arithmetic": line.to_string(),
                "amount": line.amount.to_string(),
            })
        })
        .collect();
    let body = json!({
        "amount": earned.amount.to_string(),
        "currency": terms.currency.code(),
        "version": program.version,
        "lines": lines,
    });
    Ok(Response::json(StatusCode::OK, &body))
}
