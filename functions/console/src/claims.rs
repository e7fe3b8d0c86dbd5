//! Claims: an affiliate misses a sale, and the merchant accepts or declines.

use http::{Method, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::app::{App, unavailable};
use shared::claim::{Claim, ClaimStatus};
use shared::conversion::{OrderKey, digest};
use shared::http_types::{Fields, Problem, Request, Response, parse_instant};
use shared::ids::AffiliateId;
use shared::money::Money;
use shared::period::is_ahead;
use shared::rights::{Action, Caller};
use shared::setup::{Enrolment, EnrolmentStatus, Link, Merchant, OrderScope, Program, Record};
use shared::store::{Audit, Created, DecidedClaim, Replaced, Versioned};

use crate::conversions::{CreditWanted, Word, credit};
use crate::serve::{self, visible};

/// What the log says of one that was accepted.
const ACCEPTED: &str = "accept claim";

pub async fn serve(
    app: &App,
    request: &Request,
    caller: &Caller,
    rest: &[&str],
) -> Result<Response, Problem> {
    match (&request.method, rest) {
        (&Method::POST, []) => make(app, request, caller).await,
        (_, [id, "accept"]) => {
            request.only(Method::POST, "POST")?;
            accept(app, request, caller, id).await
        }
        (_, [id, "decline"]) => {
            request.only(Method::POST, "POST")?;
            decline(app, request, caller, id).await
        }
        (&Method::GET, _) => serve::serve::<Claim>(app, request, caller, rest).await,
        (_, []) => Err(Problem::method_not_allowed("GET, POST")),
        (_, [_]) => Err(Problem::method_not_allowed("GET")),
        _ => Err(Problem::not_found()),
    }
}

async fn make(app: &App, request: &Request, caller: &Caller) -> Result<Response, Problem> {
    caller.may_at_all(Action::MakeClaims)?;
    let mut body = request.json()?;
    let click_id = body
        .as_object_mut()
        .and_then(|members| members.remove("click_id"));
    let own = caller.affiliate().map(ToString::to_string);
    if let (Some(members), Some(own)) = (body.as_object_mut(), &own) {
        members.entry("affiliate").or_insert_with(|| json!(own));
    }
    for decided in ["status", "reason", "conversion", "clicked_at", "currency"] {
        if body.get(decided).is_some() {
            return Err(Problem::invalid("parameter_unknown", decided));
        }
    }
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let (program, affiliate) = (text("program"), text("affiliate"));
    if own.is_some_and(|own| own != affiliate) {
        return Err(Problem::not_found());
    }
    // What was clicked or sold before its place ended may be claimed after.
    let mut then = vec![request.now];
    then.extend(parse_instant(&text("occurred_at")));
    if let Some(text) = click_id.as_ref().and_then(Value::as_str) {
        then.extend(app.click(text).await?.map(|click| click.clicked_at()));
    }
    let program = program_of(app, &program, &affiliate, &then).await?;
    let terms = &program.record;
    body["currency"] = json!(terms.currency.code());
    if body["id"].as_str().unwrap_or_default().is_empty() {
        // The same claim again is known, whoever's hand slips.
        let what = json!([terms.id.as_str(), affiliate, body["order_id"], body["goal"]]);
        body["id"] = json!(format!("cl_{}", &digest(&what.to_string())[..20]));
    }
    let mut claim = Claim::parse(&body)?;
    if is_ahead(claim.occurred_at, request.now) {
        return Err(Problem::invalid("occurred_at_future", "occurred_at"));
    }
    let age = request.now.as_millisecond() - claim.occurred_at.as_millisecond();
    if age > terms.accept_late.milliseconds() {
        return Err(Problem::invalid("too_late", "occurred_at"));
    }
    if terms.goal(&claim.goal).is_none() {
        return Err(Problem::invalid("goal_unknown", "goal"));
    }
    match click_id {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) if text.is_empty() => {}
        Some(Value::String(text)) => claim.clicked_at = Some(clicked_at(app, &claim, &text).await?),
        Some(_) => return Err(Problem::invalid("type_wrong", "click_id")),
    }
    let audit = Audit::by(caller, "create claim", None);
    let created = app.store.create(&claim, request.now, &audit).await;
    match created.map_err(unavailable)? {
        Created::New(made) => Ok(shown(StatusCode::CREATED, &made)),
        Created::Exists(standing) => {
            let undecided = Claim {
                status: ClaimStatus::Open,
                reason: None,
                conversion: None,
                ..standing.record.clone()
            };
            if undecided == claim {
                Ok(shown(StatusCode::OK, &standing))
            } else {
                Err(Problem::conflict("exists"))
            }
        }
    }
}

fn shown(status: StatusCode, claim: &Versioned<Claim>) -> Response {
    let etag = format!("\"{}\"", claim.version);
    Response::json(status, &claim.record.to_json()).with(header::ETAG, &etag)
}

/// A program that the affiliate has, or at one of these instants had, a place in; for others it does
/// not exist.
async fn program_of(
    app: &App,
    program: &str,
    affiliate: &str,
    then: &[Timestamp],
) -> Result<Versioned<Program>, Problem> {
    let unknown = || Problem::invalid("program_unknown", "program");
    let found = app
        .store
        .record::<Program>(program)
        .await
        .map_err(unavailable)?;
    let found = found.ok_or_else(unknown)?;
    let id =
        AffiliateId::parse(affiliate).map_err(|_| Problem::invalid("id_invalid", "affiliate"))?;
    let enrolment = Enrolment::key(&found.record.id, &id);
    let enrolment = app
        .store
        .record::<Enrolment>(&enrolment)
        .await
        .map_err(unavailable)?;
    let enrolment = enrolment.ok_or_else(unknown)?;
    for at in then {
        let was = app.store.as_of(enrolment.clone(), *at).await;
        let was = was.map_err(unavailable)?;
        // Before its first version it had no place.
        if was.since <= *at && was.record.status == EnrolmentStatus::Active {
            return Ok(found);
        }
    }
    Err(unknown())
}

/// When the claim's own click was made.
async fn clicked_at(app: &App, claim: &Claim, text: &str) -> Result<Timestamp, Problem> {
    let click = app
        .click(text)
        .await?
        .map_err(|_| Problem::invalid("click_forged", "click_id"))?;
    let link = app
        .store
        .record::<Link>(&click.link().to_string())
        .await
        .map_err(unavailable)?;
    let is_own = link.is_some_and(|link| {
        link.record.affiliate == claim.affiliate && link.record.program == claim.program
    });
    if is_own {
        Ok(click.clicked_at())
    } else {
        Err(Problem::invalid("click_unknown", "click_id"))
    }
}

async fn accept(
    app: &App,
    request: &Request,
    caller: &Caller,
    id: &str,
) -> Result<Response, Problem> {
    let seen = visible::<Claim>(app, caller, id, Action::DecideClaims).await?;
    let mut fields = match request.body.is_empty() {
        true => Fields::from_form(b"")?,
        false => Fields::from_json(&request.body)?,
    };
    let claim = &seen.record;
    let amount = fields.parsed("amount", "amount_invalid", |text| {
        Money::parse(text, claim.currency)
    })?;
    fields.finish()?;
    match claim.status {
        ClaimStatus::Accepted => return Ok(shown(StatusCode::OK, &seen)),
        ClaimStatus::Declined => return Err(Problem::conflict("not_open")),
        ClaimStatus::Open => {}
    }
    let key = order_key(app, claim).await?;
    let accepted = DecidedClaim {
        decided: Claim {
            status: ClaimStatus::Accepted,
            conversion: Some(key.conversion_id()),
            ..claim.clone()
        },
        audit: Audit::by(caller, ACCEPTED, None),
        seen: seen.clone(),
    };
    let standing = app.store.conversion(&key).await.map_err(unavailable)?;
    let stands_at = standing.and_then(|standing| standing.amount);
    if stands_at
        .zip(amount)
        .is_some_and(|(of_order, said)| of_order != said)
    {
        // The order keeps the value that it was posted with.
        return Err(Problem::conflict("order_conflict"));
    }
    let wanted = CreditWanted {
        key,
        program: claim.program.as_str(),
        affiliate: &claim.affiliate,
        at: claim.occurred_at,
        amount: amount.or(claim.amount),
        word: Word::Claim,
        claim: Some(&accepted),
    };
    credit(app, &wanted, request.now).await?;
    let current = app.store.record::<Claim>(&claim.id()).await;
    let current = current
        .map_err(unavailable)?
        .ok_or_else(Problem::unavailable)?;
    match current.record.status {
        ClaimStatus::Accepted => Ok(shown(StatusCode::OK, &current)),
        // The order was theirs already, and nothing was booked with the claim.
        _ => {
            decided(
                app,
                request,
                caller,
                &seen,
                &accepted.decided,
                ACCEPTED,
                None,
            )
            .await
        }
    }
}

async fn decline(
    app: &App,
    request: &Request,
    caller: &Caller,
    id: &str,
) -> Result<Response, Problem> {
    let seen = visible::<Claim>(app, caller, id, Action::DecideClaims).await?;
    let mut fields = Fields::from_json(&request.body)?;
    let reason = fields.note_required("reason")?;
    fields.finish()?;
    match seen.record.status {
        ClaimStatus::Declined => return Ok(shown(StatusCode::OK, &seen)),
        ClaimStatus::Accepted => return Err(Problem::conflict("not_open")),
        ClaimStatus::Open => {}
    }
    let declined = Claim {
        status: ClaimStatus::Declined,
        reason: Some(reason.clone()),
        ..seen.record.clone()
    };
    decided(
        app,
        request,
        caller,
        &seen,
        &declined,
        "decline claim",
        Some(reason),
    )
    .await
}

async fn decided(
    app: &App,
    request: &Request,
    caller: &Caller,
    seen: &Versioned<Claim>,
    claim: &Claim,
    what: &str,
    reason: Option<String>,
) -> Result<Response, Problem> {
    let audit = Audit::by(caller, what, reason);
    let replaced = app.store.replace(seen, claim, request.now, &audit).await;
    match replaced.map_err(unavailable)? {
        Replaced::Done(done) => Ok(shown(StatusCode::OK, &done)),
        // Somebody else decided meanwhile; asked again, it is told what.
        Replaced::Moved => Err(Problem::unavailable()),
    }
}

async fn order_key(app: &App, claim: &Claim) -> Result<OrderKey, Problem> {
    let program = app.store.record::<Program>(claim.program.as_str()).await;
    let program = program
        .map_err(unavailable)?
        .ok_or_else(Problem::unavailable)?
        .record;
    let merchant = app
        .store
        .record::<Merchant>(program.merchant.as_str())
        .await;
    let merchant = merchant
        .map_err(unavailable)?
        .ok_or_else(Problem::unavailable)?
        .record;
    let by_program = merchant.order_scope == OrderScope::Program;
    Ok(OrderKey {
        merchant: merchant.id,
        program: by_program.then_some(program.id),
        order_id: claim.order_id.clone(),
        goal: claim.goal.clone(),
    })
}
