//! A month on its way to being closed: prepared by one, approved by another, sealed.

use http::StatusCode;
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Value, json};
use shared::app::{App, unavailable};
use shared::http_types::{Fields, Page, Problem, Request, Response};
use shared::ids::PayerId;
use shared::ledger::Pocket;
use shared::period::{Month, day_of};
use shared::report::{pocket_of, sha256};
use shared::rights::{Action, Caller};
use shared::setup::{Affiliate, Payer};
use shared::store::{Audit, Period, Stage};

use crate::figures;

/// `GET /api/v1/periods`
pub async fn list(app: &App, request: &Request, caller: &Caller) -> Result<Response, Problem> {
    caller.may_at_all(Action::ReadPeriods)?;
    let mut fields = request.query_fields()?;
    let page = Page::take(&mut fields)?;
    let payer = app.payer(&mut fields).await?;
    fields.finish()?;
    let (periods, next) = app
        .store
        .periods(&payer.id, &page)
        .await
        .map_err(unavailable)?;
    let items: Vec<Value> = periods.iter().map(shown).collect();
    Ok(Response::list(&items, next.as_ref()))
}

/// `GET /api/v1/periods/{month}`
pub async fn one(
    app: &App,
    request: &Request,
    caller: &Caller,
    month: &str,
) -> Result<Response, Problem> {
    caller.may_at_all(Action::ReadPeriods)?;
    let month = Month::parse(month).map_err(|_| Problem::not_found())?;
    let mut fields = request.query_fields()?;
    let payer = app.payer(&mut fields).await?;
    fields.finish()?;
    let period = app.store.period(&payer.id, month).await;
    let period = period.map_err(unavailable)?;
    Ok(Response::json(StatusCode::OK, &shown(&period)))
}

/// `POST /api/v1/periods/{month}/prepare`, `/approve`, `/close`
pub async fn step(
    app: &App,
    request: &Request,
    caller: &Caller,
    month: &str,
    step: &str,
) -> Result<Response, Problem> {
    caller.may_at_all(Action::WritePeriods)?;
    let month = Month::parse(month).map_err(|_| Problem::not_found())?;
    if !request.body.is_empty() {
        Fields::from_json(&request.body)?.finish()?;
    }
    let mut fields = request.query_fields()?;
    let payer = app.payer(&mut fields).await?;
    fields.finish()?;

    for _ in 0..8 {
        let seen = app.store.period(&payer.id, month).await;
        let seen = seen.map_err(unavailable)?;
        let stage = match step {
            "prepare" => Stage::Prepared,
            "approve" => Stage::Approved,
            _ => Stage::Closed,
        };
        // Before its close a month is prepared anew if its figures are not what was prepared.
        let prepared = match (stage, seen.stage) {
            (Stage::Prepared, Stage::Prepared | Stage::Approved) => {
                Some(figures_sha256(app, &payer.id, month).await?)
            }
            _ => None,
        };
        let is_as_prepared = prepared.is_none() || prepared == seen.sha256;
        if seen.stage >= stage && is_as_prepared {
            return Ok(Response::json(StatusCode::OK, &shown(&seen)));
        }
        let open = open_days(app, month, request.now).await?;
        if !open.is_empty() {
            return Err(Problem {
                days: open,
                ..Problem::conflict("days_open")
            });
        }
        let mut next = seen.clone();
        next.stage = stage;
        next.ver += 1;
        next.steps.push(json!({
            "state": stage.as_str(), "person": caller.person, "at": request.now.to_string(),
        }));
        match stage {
            Stage::Open => {}
            Stage::Prepared => {
                next.four_eyes = None;
                next.sha256 = match prepared {
                    None => Some(figures_sha256(app, &payer.id, month).await?),
                    again => again,
                };
            }
            Stage::Approved => approve(&mut next, &seen, &payer, caller)?,
            Stage::Closed => close(app, &mut next, &seen).await?,
        }
        let audit = Audit::by(caller, format!("{step} period"), None);
        let moved = app.store.move_period(&next, request.now, &audit).await;
        if moved.map_err(unavailable)? {
            return Ok(Response::json(StatusCode::OK, &shown(&next)));
        }
    }
    Err(Problem::unavailable())
}

fn shown(period: &Period) -> Value {
    let mut body = json!({
        "payer": period.payer.as_str(),
        "month": period.month.to_string(),
        "state": period.stage.as_str(),
        "steps": period.steps,
    });
    if let Some(sha256) = &period.sha256 {
        body["sha256"] = json!(sha256);
    }
    if let Some(four_eyes) = period.four_eyes {
        body["four_eyes"] = json!(if four_eyes { "on" } else { "off" });
    }
    body
}

/// The days of a month whose run is not done. Days before the books were opened need none.
async fn open_days(app: &App, month: Month, now: Timestamp) -> Result<Vec<Date>, Problem> {
    let first = app.store.first_day().await.map_err(unavailable)?;
    let next = app.store.next_day_to_run().await.map_err(unavailable)?;
    let is_open = |day: Date| match (first, next) {
        (Some(first), Some(next)) => first <= day && next <= day,
        _ => false,
    };
    let is_to_come = |day: Date| day >= day_of(now);
    Ok(month
        .days()
        .filter(|day| is_open(*day) || is_to_come(*day))
        .collect())
}

async fn figures_sha256(app: &App, payer: &PayerId, month: Month) -> Result<String, Problem> {
    let made = figures::make(app, payer, month).await?;
    if !made.agrees {
        tracing::error!(payer.id = %payer, period.month = %month, "the month {month} of `{payer}` does not agree with its ledger");
        return Err(Problem::conflict("books_differ"));
    }
    Ok(sha256(&made.report.csv_raw()))
}

fn approve(
    next: &mut Period,
    seen: &Period,
    payer: &Payer,
    caller: &Caller,
) -> Result<(), Problem> {
    if seen.stage != Stage::Prepared {
        return Err(Problem::conflict("not_prepared"));
    }
    let is_same = seen.person(Stage::Prepared) == Some(caller.person.as_str());
    if payer.four_eyes && is_same {
        return Err(Problem::forbidden("four_eyes"));
    }
    next.four_eyes = Some(payer.four_eyes);
    Ok(())
}

/// Seals every row, one by one: a close that was cut seals the same again.
async fn close(app: &App, next: &mut Period, seen: &Period) -> Result<(), Problem> {
    if seen.stage != Stage::Approved {
        return Err(Problem::conflict("not_approved"));
    }
    let (payer, month) = (&seen.payer, seen.month);
    let before = app.store.period(payer, month.previous()).await;
    if before.map_err(unavailable)?.stage != Stage::Closed
        && has_entries_before(app, payer, month).await?
    {
        return Err(Problem::conflict("earlier_month_open"));
    }
    let made = figures::make(app, payer, month).await?;
    let digest = sha256(&made.report.csv_raw());
    if !made.agrees || seen.sha256.as_ref() != Some(&digest) {
        tracing::error!(payer.id = %payer, period.month = %month, "the month {month} of `{payer}` is not what was prepared");
        return Err(Problem::conflict("books_differ"));
    }
    for row in &made.report.rows {
        let sealed = app
            .store
            .seal_row(&pocket_of(payer, row), month, &row.to_json())
            .await
            .map_err(unavailable)?;
        if !sealed {
            return Err(Problem::conflict("books_differ"));
        }
    }
    next.by_merchant = made.report.merchants_json();
    Ok(())
}

/// Months before a payer's first entry need no close.
async fn has_entries_before(app: &App, payer: &PayerId, month: Month) -> Result<bool, Problem> {
    let pockets = app.store.pockets_of_payer(payer).await;
    for pocket in pockets.map_err(unavailable)? {
        if has_entries(app, &pocket, month).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn has_entries(app: &App, pocket: &Pocket, before: Month) -> Result<bool, Problem> {
    let affiliate = app
        .store
        .record::<Affiliate>(pocket.affiliate.as_str())
        .await
        .map_err(unavailable)?
        .ok_or_else(Problem::unavailable)?;
    let has_any = app
        .store
        .has_entries_before(pocket, affiliate.record.lanes, before.first_day())
        .await;
    has_any.map_err(unavailable)
}
