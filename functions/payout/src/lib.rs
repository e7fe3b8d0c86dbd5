//! The payout function: the daily run, by schedule and on demand, and what became of payouts.

mod adjustments;
mod approvals;
mod payouts;
mod run;

use http::{Method, StatusCode};
use jiff::civil::Date;
use serde_json::Value;
use shared::app::{App, unavailable};
use shared::http_types::{Fields, Problem, Request, Response};
use shared::lambda::{Schedule, Watch};
use shared::period::{day_of, days_after};
use shared::rights::{Action, Caller};

pub use run::RunError;

/// Answers one request. A run that the watch leaves no time for is a 503, and goes on with the
/// next call.
pub async fn handle(app: &App, request: Request, watch: Watch<'_>) -> Response {
    answer(app, &request, watch).await.into()
}

async fn answer(app: &App, request: &Request, watch: Watch<'_>) -> Result<Response, Problem> {
    let segments = request.api_segments()?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let caller = app.caller(request).await?;
    match segments.as_slice() {
        ["payout-runs"] => run_asked_for(app, request, &caller, watch).await,
        ["payouts", rest @ ..] => payouts::serve(app, request, &caller, rest).await,
        ["adjustments", rest @ ..] => adjustments::serve(app, request, &caller, rest).await,
        _ => Err(Problem::not_found()),
    }
}

async fn run_asked_for(
    app: &App,
    request: &Request,
    caller: &Caller,
    watch: Watch<'_>,
) -> Result<Response, Problem> {
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
    match run::through(app, day, request.now, watch).await {
        Ok(body) => Ok(Response::json(StatusCode::OK, &body)),
        Err(RunError::Store(error)) => Err(unavailable(error)),
        Err(error @ RunError::OutOfTime(day, again_after)) => {
            // The template's alarm leaves these answers out.
            tracing::info!(payout.day = %day, runs_to_go_on = 1, "{error}");
            let seconds = again_after.as_secs() + i64::from(again_after.subsec_nanos() != 0);
            Err(Problem {
                retry_after: u32::try_from(seconds).ok(),
                ..Problem::unavailable()
            })
        }
    }
}

/// The run that a schedule asks for: the day before the time it was meant for, unless it says.
///
/// # Errors
/// [`RunError`]: Lambda repeats the event, and the run goes on where it was.
pub async fn scheduled(
    app: &App,
    schedule: &Schedule,
    watch: Watch<'_>,
) -> Result<Value, RunError> {
    let yesterday = day_of(schedule.scheduled_time)
        .yesterday()
        .unwrap_or(Date::MIN);
    let day = schedule.day.unwrap_or(yesterday).min(yesterday);
    run::through(app, day, schedule.scheduled_time, watch).await
}

fn is_over(day: Date, now: jiff::Timestamp) -> bool {
    days_after(day, 1) <= day_of(now)
}
