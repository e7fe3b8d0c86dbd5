//! The report function: a payer's months, from open to closed, and what they came to.

mod figures;
mod periods;
mod reconcile;
mod reports;
mod statements;

use http::Method;
use jiff::Timestamp;
use shared::app::App;
use shared::http_types::{Problem, Request, Response};
use shared::period::{Month, day_of};

/// Answers one request.
pub async fn handle(app: &App, request: Request) -> Response {
    answer(app, &request).await.into()
}

async fn answer(app: &App, request: &Request) -> Result<Response, Problem> {
    let segments = request.segments().ok_or_else(Problem::not_found)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ["api", "v1", rest @ ..] = segments.as_slice() else {
        return Err(Problem::not_found());
    };
    let caller = app.caller(request).await?;
    match rest {
        ["reports", "payouts", month] => {
            only(request, Method::GET, "GET")?;
            reports::payouts(app, request, &caller, month).await
        }
        ["reports", "reconciliation"] => {
            only(request, Method::GET, "GET")?;
            reconcile::reconciliation(app, request, &caller).await
        }
        ["statements", affiliate, month] => {
            only(request, Method::GET, "GET")?;
            statements::statement(app, request, &caller, affiliate, month).await
        }
        ["periods"] => {
            only(request, Method::GET, "GET")?;
            periods::list(app, request, &caller).await
        }
        ["periods", month] => {
            only(request, Method::GET, "GET")?;
            periods::one(app, request, &caller, month).await
        }
        ["periods", month, step @ ("prepare" | "approve" | "close")] => {
            only(request, Method::POST, "POST")?;
            periods::step(app, request, &caller, month, step).await
        }
        _ => Err(Problem::not_found()),
    }
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

/// Refuses another method.
fn only(request: &Request, method: Method, allow: &'static str) -> Result<(), Problem> {
    if request.method == method {
        Ok(())
    } else {
        Err(Problem::method_not_allowed(allow))
    }
}
