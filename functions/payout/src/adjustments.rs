//! Bonuses, fees and corrections: money that no order brought.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use shared::app::{App, unavailable};
use shared::http_types::{Fields, Page, Problem, Request, Response};
use shared::ids::{AffiliateId, ProgramId};
use shared::ledger::Pocket;
use shared::money::{Currency, Money};
use shared::period::day_of;
use shared::rights::{Action, Caller};
use shared::setup::{Affiliate, Program};
use shared::store::{Adjusted, Adjustment, Audit};

const KINDS: [&str; 4] = ["bonus", "fee", "correction", "write_off"];

/// Serves `/api/v1/adjustments`: `rest` is what follows in the path.
pub async fn serve(
    app: &App,
    request: &Request,
    caller: &Caller,
    rest: &[&str],
) -> Result<Response, Problem> {
    match (&request.method, rest) {
        (&Method::POST, []) => create(app, request, caller).await,
        (&Method::GET, []) => list(app, request, caller).await,
        (_, []) => Err(Problem::method_not_allowed("GET, POST")),
        (&Method::GET, [id]) => {
            caller.may_at_all(Action::ReadAdjustments)?;
            let found = app.store.adjustment(id).await.map_err(unavailable)?;
            let found = found.ok_or_else(Problem::not_found)?;
            Ok(Response::json(StatusCode::OK, &shown(&found)))
        }
        (_, [_]) => Err(Problem::method_not_allowed("GET")),
        _ => Err(Problem::not_found()),
    }
}

async fn create(app: &App, request: &Request, caller: &Caller) -> Result<Response, Problem> {
    caller.may_at_all(Action::WriteAdjustments)?;
    // Whose money it is stands in the query, as everywhere, or with the rest.
    let query = request.query_fields()?;
    if let Some(name) = query.names().iter().find(|name| *name != "payer") {
        return Err(query.invalid(name, "parameter_unknown").into());
    }
    let mut fields = query.and(Fields::from_json(&request.body)?)?;
    let adjustment = read(app, request, caller, &mut fields).await?;
    fields.finish()?;
    exists(app, &adjustment).await?;
    // It may come before the first merchant, and is booked on no day before this one.
    let today = day_of(request.now);
    app.store.open_books(today).await.map_err(unavailable)?;

    let audit = Audit::by(caller, "create adjustment", Some(adjustment.reason.clone()));
    let adjusted = app.store.adjust(&adjustment, &audit).await;
    match adjusted.map_err(unavailable)? {
        Adjusted::Created(made) => Ok(Response::json(StatusCode::CREATED, &shown(&made))),
        Adjusted::Before(made) => Ok(Response::json(StatusCode::OK, &shown(&made))),
        Adjusted::Conflict => Err(Problem::conflict("exists")),
    }
}

async fn read(
    app: &App,
    request: &Request,
    caller: &Caller,
    fields: &mut Fields,
) -> Result<Adjustment, Problem> {
    let id = fields.parsed_required("id", "id_invalid", |text| {
        shared::conversion::is_order_id(text)
            .then(|| text.to_owned())
            .ok_or(())
    })?;
    let affiliate = fields.parsed_required("affiliate", "affiliate_unknown", AffiliateId::parse)?;
    let program = fields.parsed("program", "program_unknown", ProgramId::parse)?;
    let kind = fields.parsed_required("kind", "word_unknown", |text| {
        KINDS.contains(&text).then(|| text.to_owned()).ok_or(())
    })?;
    let currency = fields.parsed_required("currency", "currency_invalid", Currency::parse)?;
    let amount = fields.parsed_required("amount", "amount_invalid", |text| {
        Money::parse_signed(text, currency)
    })?;
    let is_wrong_way = match kind.as_str() {
        "bonus" => amount.is_negative(),
        "fee" => amount.minor() > 0,
        _ => false,
    };
    if is_wrong_way {
        let why = "a bonus is credited and a fee is charged: a fee's amount is negative";
        return Err(Problem::invalid("sign_wrong", "amount").explained(why));
    }
    let reason = fields.note_required("reason")?;
    let payable_on = fields.day("payable_on")?;
    let payer = app.payer(fields).await?;
    Ok(Adjustment {
        id,
        pocket: Pocket {
            payer: payer.id,
            affiliate,
            currency,
        },
        program,
        kind,
        amount,
        reason,
        payable_on,
        person: caller.person.clone(),
        recorded_at: request.now,
        booked_on: None,
    })
}

/// Whom and what it is about must exist.
async fn exists(app: &App, adjustment: &Adjustment) -> Result<(), Problem> {
    let affiliate = adjustment.pocket.affiliate.as_str();
    let found = app.store.record::<Affiliate>(affiliate).await;
    if found.map_err(unavailable)?.is_none() {
        return Err(Problem::invalid("affiliate_unknown", "affiliate"));
    }
    if let Some(program) = &adjustment.program {
        let found = app.store.record::<Program>(program.as_str()).await;
        if found.map_err(unavailable)?.is_none() {
            return Err(Problem::invalid("program_unknown", "program"));
        }
    }
    Ok(())
}

async fn list(app: &App, request: &Request, caller: &Caller) -> Result<Response, Problem> {
    caller.may_at_all(Action::ReadAdjustments)?;
    let mut fields = request.query_fields()?;
    let page = Page::take(&mut fields)?;
    let payer = app.payer(&mut fields).await?;
    fields.finish()?;
    let (adjustments, next) = app
        .store
        .adjustments(&payer.id, &page)
        .await
        .map_err(unavailable)?;
    let items: Vec<Value> = adjustments.iter().map(shown).collect();
    Ok(Response::list(&items, next.as_ref()))
}

fn shown(adjustment: &Adjustment) -> Value {
    let pocket = &adjustment.pocket;
    json!({
        "id": adjustment.id,
        "payer": pocket.payer.as_str(),
        "affiliate": pocket.affiliate.as_str(),
        "program": adjustment.program.as_ref().map(ProgramId::as_str),
        "kind": adjustment.kind,
        "currency": pocket.currency.code(),
        "amount": adjustment.amount.to_string(),
        "reason": adjustment.reason,
        "payable_on": adjustment.booked_on.map(|day| day.to_string()),
        "person": adjustment.person,
        "recorded_at": adjustment.recorded_at.to_string(),
    })
}
