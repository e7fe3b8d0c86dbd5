//! Payouts: seen with the lines they are made of, and taken from state to state.

use std::ops::Bound;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use shared::app::{App, unavailable};
use shared::http_types::{Fields, Page, Problem, Request, Response};
use shared::ids::{AffiliateId, PayerId};
use shared::ledger::Kind;
use shared::payout::{Move, State};
use shared::period::Month;
use shared::rights::{Action, Caller, Subject};
use shared::setup::Affiliate;
use shared::store::{Audit, Entry, MovedPayout, Payout, PayoutsOf, Step};

const IDS_MOST: usize = 1_000;
const RACES_MOST: u32 = 8;
/// How many payouts one call looks at, for the few that are wanted: the next one goes on there.
const LOOKED_AT_MOST: usize = 2_000;
/// And how many at a time, where the first of a page's own size did not do.
const PART: usize = 200;

/// Serves `/api/v1/payouts`: `rest` is what follows in the path.
pub async fn serve(
    app: &App,
    request: &Request,
    caller: &Caller,
    rest: &[&str],
) -> Result<Response, Problem> {
    match (&request.method, rest) {
        (&Method::GET, []) => list(app, request, caller).await,
        (_, []) => Err(Problem::method_not_allowed("GET")),
        (&Method::POST, ["decisions"]) => decisions(app, request, caller).await,
        (_, ["decisions"]) => Err(Problem::method_not_allowed("POST")),
        (&Method::GET, [id]) => one(app, caller, id).await,
        (_, [_]) => Err(Problem::method_not_allowed("GET")),
        (&Method::POST, [id, word]) => {
            let to = state(word).ok_or_else(Problem::not_found)?;
            visible(app, caller, id, Action::WritePayouts).await?;
            let mut fields = body(request)?;
            let step = step(&mut fields, to)?;
            fields.finish()?;
            let payout = take(app, request, caller, id, &step).await?;
            Ok(Response::json(StatusCode::OK, &shown(&payout, caller)))
        }
        (_, [_, word]) if state(word).is_some() => Err(Problem::method_not_allowed("POST")),
        _ => Err(Problem::not_found()),
    }
}

/// The state that a word in a path leads to.
fn state(word: &str) -> Option<State> {
    match word {
        "approve" => Some(State::Approved),
        "sent" => Some(State::Sent),
        "settled" => Some(State::Settled),
        "failed" => Some(State::Failed),
        "returned" => Some(State::Returned),
        "cancel" => Some(State::Cancelled),
        "unknown" => Some(State::Unknown),
        _ => None,
    }
}

fn body(request: &Request) -> Result<Fields, Problem> {
    if request.body.is_empty() {
        Ok(Fields::from_form(b"")?)
    } else {
        Ok(Fields::from_json(&request.body)?)
    }
}

/// A payout that is sent by hand needs its reference, one whose money comes back a reason.
fn step(fields: &mut Fields, to: State) -> Result<Step, Problem> {
    let mut step = Step {
        to,
        reference: None,
        reason: None,
    };
    if to == State::Sent {
        step.reference = Some(fields.note_required("reference")?);
    } else if to.is_credited_again() {
        step.reason = Some(fields.note_required("reason")?);
    }
    Ok(step)
}

async fn visible(app: &App, caller: &Caller, id: &str, action: Action) -> Result<Payout, Problem> {
    caller.sees_any(action)?;
    let payout = app.store.payout(id).await.map_err(unavailable)?;
    let payout = payout.ok_or_else(Problem::not_found)?;
    let subject = Subject {
        merchant: None,
        affiliate: Some(&payout.pocket.affiliate),
    };
    caller.may(action, subject)?;
    Ok(payout)
}

async fn take(
    app: &App,
    request: &Request,
    caller: &Caller,
    id: &str,
    wanted: &Step,
) -> Result<Payout, Problem> {
    let audit = Audit::by(
        caller,
        format!("payout {}", wanted.to.as_str()),
        wanted.reason.clone(),
    );
    for _ in 0..RACES_MOST {
        let seen = app.store.payout(id).await.map_err(unavailable)?;
        let seen = seen.ok_or_else(Problem::not_found)?;
        if seen.state == wanted.to {
            return again(seen, wanted);
        }
        if seen.state == State::Unknown && is_another_sending(&seen, wanted) {
            return Err(Problem::conflict("payout_state"));
        }
        let step =
            Move::new(seen.state, wanted.to).ok_or_else(|| Problem::conflict("payout_state"))?;
        let moved = app
            .store
            .move_payout(&seen, wanted, step, request.now, &audit)
            .await;
        match moved.map_err(unavailable)? {
            MovedPayout::Done(payout) => return Ok(*payout),
            MovedPayout::Raced => {}
        }
    }
    Err(Problem::unavailable())
}

/// The same step again is answered like the first time; with another reference it is not the same.
fn again(seen: Payout, wanted: &Step) -> Result<Payout, Problem> {
    let last = seen.history.last().cloned().unwrap_or_default();
    let is_same = |name: &str, given: &Option<String>| {
        given
            .as_ref()
            .is_none_or(|given| last[name] == given.as_str())
    };
    if is_same("reference", &wanted.reference) {
        Ok(seen)
    } else {
        Err(Problem::conflict("payout_state"))
    }
}

/// Whoever finds out that an unknown payout was sent names the reference it was sent with: with
/// another one somebody else is about to send it a second time.
fn is_another_sending(seen: &Payout, wanted: &Step) -> bool {
    let sent = seen
        .history
        .iter()
        .rev()
        .find(|step| step["state"] == State::Sent.as_str());
    sent.is_some_and(|sent| {
        wanted
            .reference
            .as_ref()
            .is_some_and(|reference| sent["reference"] != reference.as_str())
    })
}

async fn decisions(app: &App, request: &Request, caller: &Caller) -> Result<Response, Problem> {
    caller.may_at_all(Action::WritePayouts)?;
    let mut fields = Fields::from_json(&request.body)?;
    let ids = fields
        .texts("ids")?
        .filter(|ids| !ids.is_empty())
        .ok_or_else(|| Problem::invalid("parameter_missing", "ids"))?;
    if ids.len() > IDS_MOST {
        return Err(Problem::too_large());
    }
    let to = fields.parsed_required("to", "word_unknown", |text| {
        State::parse(text)
            .filter(|to| !matches!(to, State::Created | State::Exported))
            .ok_or(())
    })?;
    let step = step(&mut fields, to)?;
    fields.finish()?;

    let mut items = Vec::with_capacity(ids.len());
    let mut all_did = true;
    for id in &ids {
        let (http, mut item) = match take(app, request, caller, id, &step).await {
            Ok(payout) => (StatusCode::OK, shown(&payout, caller)),
            Err(problem) => {
                all_did = false;
                let mut item = problem.to_json();
                item["id"] = json!(id);
                (problem.status, item)
            }
        };
        item["http"] = json!(http.as_u16());
        items.push(item);
    }
    let status = if all_did {
        StatusCode::OK
    } else {
        StatusCode::MULTI_STATUS
    };
    Ok(Response::json(status, &json!({ "items": items })))
}

async fn list(app: &App, request: &Request, caller: &Caller) -> Result<Response, Problem> {
    caller.may_at_all(Action::ReadPayouts)?;
    let mut fields = request.query_fields()?;
    let page = Page::take(&mut fields)?;
    let affiliate = fields.parsed("affiliate", "id_invalid", AffiliateId::parse)?;
    let status = fields.parsed("status", "word_unknown", |text| {
        State::parse(text).ok_or(())
    })?;
    let month = fields.month("month")?;
    // An affiliate sees its own, whoever pays; others say whose money they look at.
    let affiliate = caller.affiliate().cloned().or(affiliate);
    let has_payer = fields.has("payer");
    let payer = if affiliate.is_some() && !has_payer {
        None
    } else if caller.affiliate().is_some() {
        // Which payers there are is none of its business: it has no payouts of one or none.
        fields.parsed("payer", "payer_unknown", PayerId::parse)?
    } else {
        Some(app.payer(&mut fields).await?.id)
    };
    fields.finish()?;
    let list = match (&affiliate, &payer) {
        (Some(affiliate), _) => PayoutsOf::Affiliate(affiliate),
        (None, Some(payer)) => PayoutsOf::Payer(payer),
        (None, None) => return Err(Problem::invalid("payer_required", "payer")),
    };
    let is_wanted = |payout: &Payout| {
        payer
            .as_ref()
            .is_none_or(|payer| payout.pocket.payer == *payer)
            && status.is_none_or(|status| payout.state == status)
    };
    let (items, next) = filtered(app, &list, month, page, is_wanted).await?;
    let items: Vec<Value> = items.iter().map(|payout| shown(payout, caller)).collect();
    Ok(Response::list(&items, next.as_ref()))
}

/// A page of those that are wanted, or of the few that were found before enough was looked at.
async fn filtered(
    app: &App,
    list: &PayoutsOf<'_>,
    month: Option<Month>,
    mut page: Page,
    is_wanted: impl Fn(&Payout) -> bool,
) -> Result<(Vec<Payout>, Option<shared::http_types::Cursor>), Problem> {
    let limit = page.limit;
    let (mut found, mut looked_at) = (Vec::new(), 0);
    loop {
        let listed = app.store.payouts_listed(list, month, &page).await;
        let (payouts, next) = listed.map_err(unavailable)?;
        for payout in payouts {
            if found.len() == limit {
                return Ok((found, page.after));
            }
            looked_at += 1;
            page.after = Some(payout.place());
            if is_wanted(&payout) {
                found.push(payout);
            }
        }
        let has_enough = found.len() == limit || LOOKED_AT_MOST <= looked_at;
        match next {
            Some(cursor) if !has_enough => {
                page.after = Some(cursor);
                page.limit = PART;
            }
            next => return Ok((found, next)),
        }
    }
}

/// A payout with the lines that it is made of: all since the one before.
async fn one(app: &App, caller: &Caller, id: &str) -> Result<Response, Problem> {
    let payout = visible(app, caller, id, Action::ReadPayouts).await?;
    let affiliate = payout.pocket.affiliate.as_str();
    let affiliate = app.store.record::<Affiliate>(affiliate).await;
    let affiliate = affiliate
        .map_err(unavailable)?
        .ok_or_else(Problem::unavailable)?;
    let after = payout.after.map_or(Bound::Unbounded, Bound::Excluded);
    let lines = app
        .store
        .entries(
            &payout.pocket,
            affiliate.record.lanes,
            (after, Bound::Included(payout.day)),
        )
        .await
        .map_err(unavailable)?;
    let lines: Vec<Value> = lines
        .iter()
        .filter(|line| line.kind != Kind::Paid)
        .map(line)
        .collect();
    let mut body = shown(&payout, caller);
    body["lines"] = json!(lines);
    Ok(Response::json(StatusCode::OK, &body))
}

fn line(entry: &Entry) -> Value {
    json!({
        "day": entry.day.to_string(),
        "kind": entry.kind.as_str(),
        "amount": entry.effect.to_string(),
        "program": entry.because["program"],
        "conversion": entry.because["conversion"],
        "reason": entry.because["reason"],
        "recorded_at": entry.recorded_at.to_string(),
    })
}

/// An affiliate does not see who at the payer's took a step.
fn shown(payout: &Payout, caller: &Caller) -> Value {
    let history: Vec<Value> = payout
        .history
        .iter()
        .cloned()
        .map(|mut step| {
            if let (Some(step), true) = (step.as_object_mut(), caller.affiliate().is_some()) {
                step.remove("person");
            }
            step
        })
        .collect();
    json!({
        "id": payout.id,
        "payer": payout.pocket.payer.as_str(),
        "affiliate": payout.pocket.affiliate.as_str(),
        "currency": payout.pocket.currency.code(),
        "amount": payout.amount.to_string(),
        "day": payout.day.to_string(),
        "status": payout.state.as_str(),
        "created_at": payout.created_at.to_string(),
        "history": history,
    })
}
