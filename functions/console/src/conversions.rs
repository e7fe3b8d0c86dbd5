//! Conversions: seen by both sides, decided by the merchant.

mod amend;
mod bulk;
mod credit;
mod explain;
mod frozen;
mod replay;
mod standing;
mod wanted;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use shared::app::{App, unavailable};
use shared::conversion::{Conversion, Credit, OrderKey, Status};
use shared::http_types::{Fields, Problem, Request, Response};
use shared::ids::AffiliateId;
use shared::money::Money;
use shared::rights::{Action, Caller, Subject};
use shared::store::{Audit, Moved};

pub use bulk::decide as decide_all;
pub use credit::{Wanted as CreditWanted, Word, credit};
pub use replay::replay;
use standing::Standings;
use wanted::Wanted;

pub async fn serve(
    app: &App,
    request: &Request,
    caller: &Caller,
    rest: &[&str],
) -> Result<Response, Problem> {
    match rest {
        [] => {
            request.only(Method::GET, "GET")?;
            list(app, request, caller).await
        }
        [id] => {
            request.only(Method::GET, "GET")?;
            let conversion = visible(app, caller, id, Action::ReadConversions).await?;
            let entries = app.store.lines_of(&conversion).await;
            let entries = entries.map_err(unavailable)?;
            let amendments = app.store.amendments_of(&conversion).await;
            let amendments = amendments.map_err(unavailable)?;
            let one = std::slice::from_ref(&conversion);
            let standings = Standings::of(app, one, caller).await?;
            let mut body = shown_with(&conversion, caller, &standings);
            body["explain"] = explain::conversion(&conversion, &entries, &amendments, caller);
            Ok(Response::json(StatusCode::OK, &body))
        }
        [id, decision @ ("approve" | "reject" | "reopen")] => {
            request.only(Method::POST, "POST")?;
            decide(app, request, caller, id, decision).await
        }
        [id, "credit"] => {
            request.only(Method::POST, "POST")?;
            give(app, request, caller, id).await
        }
        [id, "amend"] => {
            request.only(Method::POST, "POST")?;
            amend::amend(app, request, caller, id).await
        }
        _ => Err(Problem::not_found()),
    }
}

async fn visible(
    app: &App,
    caller: &Caller,
    id: &str,
    action: Action,
) -> Result<Conversion, Problem> {
    caller.sees_any(action)?;
    let key = OrderKey::of_conversion_id(id).ok_or_else(Problem::not_found)?;
    let found = app.store.conversion(&key).await.map_err(unavailable)?;
    let conversion = found.ok_or_else(Problem::not_found)?;
    let own = conversion
        .credits
        .iter()
        .map(|credit| &credit.affiliate)
        .find(|affiliate| caller.affiliate() == Some(affiliate));
    let subject = Subject {
        merchant: Some(&conversion.key.merchant),
        affiliate: own,
    };
    caller.may(action, subject)?;
    Ok(conversion)
}

/// `GET /api/v1/refusals`
pub async fn refusals(app: &App, request: &Request, caller: &Caller) -> Result<Response, Problem> {
    let wanted = Wanted::read(app, request, caller).await?;
    let (refusals, next) = wanted.refusals(app).await?;
    let items: Vec<Value> = refusals
        .iter()
        .map(|refused| {
            json!({
                "merchant": refused.merchant,
                "program": (!refused.program.is_empty()).then_some(&refused.program),
                "affiliate": refused.affiliate,
                "order_id": refused.order_id,
                "goal": refused.goal,
                "code": refused.code,
                "reason": refused.code,
                "times": refused.times,
                "count": refused.times,
                "first_at": refused.first_at.to_string(),
                "last_at": refused.last_at.to_string(),
                "explain": explain::trail(&refused.why, caller),
            })
        })
        .collect();
    Ok(Response::list(&items, next.as_ref()))
}

/// `GET /api/v1/reversals`: what was taken back of orders, and why: chargebacks among them.
pub async fn reversals(app: &App, request: &Request, caller: &Caller) -> Result<Response, Problem> {
    let wanted = Wanted::of_reversals(app, request, caller).await?;
    let (reversals, next) = wanted.reversals(app).await?;
    let own = |part: &&Value| {
        caller
            .affiliate()
            .is_none_or(|own| part["affiliate"] == own.as_str())
    };
    let items: Vec<Value> = reversals
        .iter()
        .map(|reversal| {
            let reversed = reversal.reversed.as_array().into_iter().flatten();
            json!({
                "conversion": reversal.order.conversion_id(),
                "merchant": reversal.order.merchant.as_str(),
                "program": reversal.program.as_str(),
                "order_id": reversal.order.order_id,
                "goal": reversal.order.goal,
                "reversal_id": reversal.id,
                "reason": reversal.reason,
                "amount": reversal.amount.map(|amount| amount.to_string()),
                "currency": reversal.currency.code(),
                "reversed": reversed.filter(own).collect::<Vec<_>>(),
                "recorded_at": reversal.recorded_at.to_string(),
            })
        })
        .collect();
    Ok(Response::list(&items, next.as_ref()))
}

async fn list(app: &App, request: &Request, caller: &Caller) -> Result<Response, Problem> {
    let wanted = Wanted::read(app, request, caller).await?;
    let (conversions, next) = wanted.conversions(app).await?;
    let standings = Standings::of(app, &conversions, caller).await?;
    let items: Vec<Value> = conversions
        .iter()
        .map(|conversion| shown_with(conversion, caller, &standings))
        .collect();
    Ok(Response::list(&items, next.as_ref()))
}

/// The credits that a caller may see.
fn own<'a>(conversion: &'a Conversion, caller: &'a Caller) -> impl Iterator<Item = &'a Credit> {
    let credits = conversion.credits.iter();
    credits.filter(|credit| {
        caller
            .affiliate()
            .is_none_or(|own| *own == credit.affiliate)
    })
}

/// With where each commission stands, which moves on though the conversion does not.
fn shown_with(conversion: &Conversion, caller: &Caller, standings: &Standings) -> Value {
    let mut body = shown(conversion, caller);
    for (place, credit) in own(conversion, caller).enumerate() {
        if let Some(standing) = standings.get(conversion, credit) {
            body["commissions"][place]["status"] = json!(standing.status);
            if let Some(payout) = standing.payout {
                body["commissions"][place]["payout"] = json!(payout);
            }
        }
    }
    body
}

fn shown(conversion: &Conversion, caller: &Caller) -> Value {
    let commissions: Vec<Value> = own(conversion, caller)
        .map(|credit| {
            let payable_on = credit.booked_on.unwrap_or(credit.payable_on);
            json!({
                "affiliate": credit.affiliate.as_str(),
                "amount": credit.commission.to_string(),
                "reversed": credit.given_back.to_string(),
                "currency": credit.commission.currency().code(),
                "payable_on": payable_on.max(credit.payable_on).to_string(),
            })
        })
        .collect();
    // The merchant's own notes are no affiliate's business, nor is another affiliate's click.
    let clicks = &conversion.facts["clicks"];
    let (meta, click) = match caller.affiliate() {
        None => (
            conversion.facts["meta"].clone(),
            conversion.facts["click"].clone(),
        ),
        Some(own) => (Value::Null, clicks[own.as_str()].clone()),
    };
    let status = conversion.stands();
    let approves_on = conversion.approves_on.filter(|_| status == Status::Pending);
    json!({
        "id": conversion.key.conversion_id(),
        "merchant": conversion.key.merchant.as_str(),
        "program": conversion.program.as_str(),
        "order_id": conversion.key.order_id,
        "goal": conversion.key.goal,
        "status": status.as_str(),
        "amount": conversion.amount.map(|amount| amount.to_string()),
        "currency": conversion.currency.code(),
        "reversed": conversion.reversed().map(|amount| amount.to_string()),
        "remaining": conversion.remaining().map(|amount| amount.to_string()),
        "occurred_at": conversion.occurred_at.to_string(),
        "recorded_at": conversion.recorded_at.to_string(),
        "approves_on": approves_on.map(|day| day.to_string()),
        "commissions": commissions,
        "click": click,
        "meta": meta,
    })
}

async fn decide(
    app: &App,
    request: &Request,
    caller: &Caller,
    id: &str,
    decision: &str,
) -> Result<Response, Problem> {
    let seen = visible(app, caller, id, Action::DecideConversions).await?;
    let mut fields = if request.body.is_empty() {
        Fields::from_form(b"")?
    } else {
        Fields::from_json(&request.body)?
    };
    let reason = if decision == "approve" {
        None
    } else {
        Some(fields.note_required("reason")?)
    };
    fields.finish()?;
    let step = match decision {
        "approve" => (Status::Pending, Status::Approved),
        "reject" => (Status::Pending, Status::Rejected),
        _ => (Status::Rejected, Status::Pending),
    };
    let moved = move_to(app, request, caller, seen, step, decision, reason).await?;
    Ok(Response::json(StatusCode::OK, &shown(&moved, caller)))
}

/// Whether a conversion has taken that step already; an error where it cannot. What waits and was
/// taken back whole can only be approved, as far as there is anything to approve.
fn is_done(seen: &Conversion, from: Status, to: Status) -> Result<bool, Problem> {
    if to == Status::Rejected && seen.stands() == Status::Reversed {
        return Err(Problem::conflict("not_pending"));
    }
    if seen.status == to || (to == Status::Approved && seen.status == Status::Reversed) {
        Ok(true)
    } else if seen.status == from {
        Ok(false)
    } else if from == Status::Pending {
        Err(Problem::conflict("not_pending"))
    } else {
        Err(Problem::conflict("not_rejected"))
    }
}

/// Takes a conversion a step on, as a person decided; asked again, it stands where it is.
async fn move_to(
    app: &App,
    request: &Request,
    caller: &Caller,
    mut seen: Conversion,
    (from, to): (Status, Status),
    decision: &str,
    reason: Option<String>,
) -> Result<Conversion, Problem> {
    let audit = Audit::by(caller, format!("{decision} conversion"), reason);
    for _ in 0..8 {
        if is_done(&seen, from, to)? {
            return Ok(seen);
        }
        let moved = app
            .store
            .decide_conversion(&seen, to, request.now, &audit)
            .await;
        match moved.map_err(unavailable)? {
            Moved::Done(done) => return Ok(*done),
            Moved::Raced => {
                let current = app.store.conversion(&seen.key).await.map_err(unavailable)?;
                seen = current.ok_or_else(Problem::not_found)?;
            }
        }
    }
    Err(Problem::unavailable())
}

/// `POST /api/v1/conversions/{id}/credit`: an order that nobody is credited with, to an affiliate.
async fn give(
    app: &App,
    request: &Request,
    caller: &Caller,
    id: &str,
) -> Result<Response, Problem> {
    let seen = visible(app, caller, id, Action::DecideConversions).await?;
    let mut fields = Fields::from_json(&request.body)?;
    let affiliate = fields.parsed_required("affiliate", "id_invalid", AffiliateId::parse)?;
    let amount = fields.parsed("amount", "amount_invalid", |text| {
        Money::parse(text, seen.currency)
    })?;
    let reason = fields.note_required("reason")?;
    fields.finish()?;
    // An order that has an amount is given with that one.
    if seen.amount.is_some() && amount.is_some_and(|amount| seen.amount != Some(amount)) {
        return Err(Problem::conflict("order_conflict"));
    }
    let wanted = CreditWanted {
        key: seen.key.clone(),
        program: seen.program.as_str(),
        affiliate: &affiliate,
        at: seen.occurred_at,
        amount,
        word: Word::Person,
        claim: None,
    };
    // Who decided, and why, stands in the log before anything is booked.
    let audit = Audit::by(caller, "credit conversion", Some(reason));
    app.store
        .audit_conversion(&seen, &audit, request.now)
        .await
        .map_err(unavailable)?;
    let credited = credit(app, &wanted, request.now).await?;
    Ok(Response::json(StatusCode::OK, &shown(&credited, caller)))
}
