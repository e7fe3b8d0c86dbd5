//! The payout function: the daily run, by schedule and on demand, and what became of payouts.

mod adjustments;
mod payouts;
mod run;

use http::{Method, StatusCode};
use jiff::civil::Date;
use serde_json::Value;
use shared::app::{App, unavailable};
use shared::http_types::{Fields, Problem, Request, Response};
use shared::lambda::Schedule;
use shared::period::{day_of, days_after};
use shared::rights::{Action, Caller};
use shared::store::StoreError;

/// Answers one request.
pub async fn handle(app: &App, request: Request) -> Response {
    answer(app, &request).await.into()
}

async fn answer(app: &App, request: &Request) -> Result<Response, Problem> {
    let segments = request.api_segments()?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let caller = app.caller(request).await?;
    match segments.as_slice() {
        ["payout-runs"] => run_asked_for(app, request, &caller).await,
        ["payouts", rest @ ..] => payouts::serve(app, request, &caller, rest).await,
        ["adjustments", rest @ ..] => adjustments::serve(app, request, &caller, rest).await,
        _ => Err(Problem::not_found()),
    }
}

async fn run_asked_for(app: &App, request: &Request, caller: &Caller) -> Result<Response, Problem> {
    caller.may_at_all(Action::RunPayouts)?;
    if request.method != Method::POST {
        return Err(Problem::method_not_allowed("POST"));
    }
    let mut fields = Fields::from_json(&request.body)?;
    let day = fields
        .day("day")?
        .ok_or_else(|| Problem::invalid("parameter_missing", "day"))?;
    fields.finish()?;
    if !is_over(day, request.now) {
        return Err(Problem::invalid("day_not_over", "day"));
    }
    let body = run::through(app, day, request.now)
        .await
        .map_err(unavailable)?;
    Ok(Response::json(StatusCode::OK, &body))
}

/// The run that a schedule asks for: the day before the time it was meant for, unless it says.
///
/// # Errors
/// [`StoreError`]: Lambda repeats the event, and the run goes on where it was.
pub async fn scheduled(app: &App, schedule: &Schedule) -> Result<Value, StoreError> {
    let yesterday = day_of(schedule.scheduled_time)
        .yesterday()
        .unwrap_or(Date::MIN);
    let day = schedule.day.unwrap_or(yesterday).min(yesterday);
    run::through(app, day, schedule.scheduled_time).await
}

fn is_over(day: Date, now: jiff::Timestamp) -> bool {
    days_after(day, 1) <= day_of(now)
}
