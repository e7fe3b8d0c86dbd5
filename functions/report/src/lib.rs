//! The report function: a payer's months, from open to closed, and what they came to.

mod figures;
mod periods;
mod reconcile;
mod reports;
mod statements;

use http::Method;
use jiff::Timestamp;
use serde_json::Value;
use shared::app::App;
use shared::http_types::{Problem, Request, Response};
use shared::lambda::Schedule;
use shared::period::{Month, day_of};

/// The `alarm` of a log line about an account that differs from its ledger; the template's alarm
/// counts them.
pub const ALARM: &str = "books_differ";

/// Answers one request.
pub async fn handle(app: &App, request: Request) -> Response {
    answer(app, &request).await.into()
}

async fn answer(app: &App, request: &Request) -> Result<Response, Problem> {
    let segments = request.api_segments()?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let caller = app.caller(request).await?;
    match segments.as_slice() {
        ["reports", "payouts", month] => {
            request.only(Method::GET, "GET")?;
            reports::payouts(app, request, &caller, month).await
        }
        ["reports", "reconciliation"] => {
            request.only(Method::GET, "GET")?;
            reconcile::reconciliation(app, request, &caller).await
        }
        ["statements", affiliate, month] => {
            request.only(Method::GET, "GET")?;
            statements::statement(app, request, &caller, affiliate, month).await
        }
        ["periods"] => {
            request.only(Method::GET, "GET")?;
            periods::list(app, request, &caller).await
        }
        ["periods", month] => {
            request.only(Method::GET, "GET")?;
            periods::one(app, request, &caller, month).await
        }
        ["periods", month, step @ ("prepare" | "approve" | "close")] => {
            request.only(Method::POST, "POST")?;
            periods::step(app, request, &caller, month, step).await
        }
        _ => Err(Problem::not_found()),
    }
}

/// The books could not be added up to their end; the log says why.
#[derive(Debug, thiserror::Error)]
#[error("the daily reconciliation was not made to its end: repeat it")]
pub struct NotReconciled;

/// The daily reconciliation: an account that differs from its ledger is paid nothing from then on,
/// until one finds that both agree.
///
/// # Errors
/// [`NotReconciled`]: Lambda repeats the event.
pub async fn scheduled(app: &App, schedule: &Schedule) -> Result<Value, NotReconciled> {
    let made = reconcile::daily(app, schedule.scheduled_time).await;
    made.map_err(|_| NotReconciled)
}

/// A month that has begun; there is nothing to tell of another.
fn begun(text: &str, now: Timestamp) -> Result<Month, Problem> {
    let month = Month::parse(text).map_err(|_| Problem::not_found())?;
    if month <= Month::of(day_of(now)) {
        Ok(month)
    } else {
        Err(Problem::not_found())
    }
}
