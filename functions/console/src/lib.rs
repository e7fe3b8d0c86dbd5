//! The console function: the set-up and what became of the money, as JSON.

mod balances;
mod claims;
mod conversions;
mod entries;
mod erasures;
mod keys;
mod preview;
mod resources;
mod secrets;
mod serve;

use http::Method;
use shared::app::App;
use shared::http_types::{Problem, Request, Response};
use shared::lambda::Watch;
use shared::setup::{Affiliate, Coupon, Enrolment, Link, Merchant, Payer, Program};

/// Answers one request, however long it takes.
pub async fn handle(app: &App, request: Request) -> Response {
    handle_until(app, request, Watch::without_deadline()).await
}

/// Answers one request. Those lines of a list that the watch leaves no time for are a 503 each, and
/// done when the list is sent again.
pub async fn handle_until(app: &App, request: Request, watch: Watch<'_>) -> Response {
    app.keys.refresh().await;
    answer(app, &request, watch).await.into()
}

async fn answer(app: &App, request: &Request, watch: Watch<'_>) -> Result<Response, Problem> {
    let segments = request.api_segments()?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let caller = app.caller(request).await?;
    match segments.as_slice() {
        ["payers", rest @ ..] => serve::serve::<Payer>(app, request, &caller, rest).await,
        ["merchants", id, "secrets", rest @ ..] => {
            secrets::serve(app, request, &caller, id, rest).await
        }
        ["merchants", rest @ ..] => serve::serve::<Merchant>(app, request, &caller, rest).await,
        ["programs", id, "rules:preview"] => {
            request.only(Method::POST, "POST")?;
            preview::preview(app, request, &caller, id).await
        }
        ["programs", id, "rules:replay"] => {
            request.only(Method::POST, "POST")?;
            conversions::replay(app, request, &caller, id).await
        }
        ["programs", rest @ ..] => serve::serve::<Program>(app, request, &caller, rest).await,
        ["affiliates", id, "balances"] => {
            request.only(Method::GET, "GET")?;
            balances::balances(app, request, &caller, id).await
        }
        ["affiliates", id, "entries"] => {
            request.only(Method::GET, "GET")?;
            entries::entries(app, request, &caller, id).await
        }
        ["affiliates", rest @ ..] => serve::serve::<Affiliate>(app, request, &caller, rest).await,
        ["enrolments", rest @ ..] => serve::serve::<Enrolment>(app, request, &caller, rest).await,
        ["coupons", rest @ ..] => serve::serve::<Coupon>(app, request, &caller, rest).await,
        ["links", rest @ ..] => serve::serve::<Link>(app, request, &caller, rest).await,
        ["claims", rest @ ..] => claims::serve(app, request, &caller, rest).await,
        ["conversions", "decisions"] => {
            request.only(Method::POST, "POST")?;
            conversions::decide_all(app, request, &caller, watch).await
        }
        ["conversions", rest @ ..] => conversions::serve(app, request, &caller, rest).await,
        ["refusals"] => {
            request.only(Method::GET, "GET")?;
            conversions::refusals(app, request, &caller).await
        }
        ["reversals"] => {
            request.only(Method::GET, "GET")?;
            conversions::reversals(app, request, &caller).await
        }
        ["erasures"] => erasures::erase(app, request, &caller).await,
        ["keys", rest @ ..] => keys::serve(app, request, &caller, rest).await,
        _ => Err(Problem::not_found()),
    }
}
