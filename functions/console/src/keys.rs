//! API keys: made, listed and ended by an admin.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use shared::app::{App, random, unavailable};
use shared::http_types::{Fields, Page, Problem, Request, Response};
use shared::rights::{Action, ApiKey, Caller, KeyText, Role};
use shared::store::{Audit, Created, Replaced};

use crate::serve::made_before;

pub async fn serve(
    app: &App,
    request: &Request,
    caller: &Caller,
    rest: &[&str],
) -> Result<Response, Problem> {
    match (&request.method, rest) {
        (&Method::GET, []) => {
            caller.may_at_all(Action::ReadKeys)?;
            list(app, request).await
        }
        (&Method::POST, []) => {
            caller.may_at_all(Action::WriteKeys)?;
            create(app, request, caller).await
        }
        (&Method::DELETE, [id]) => {
            caller.may_at_all(Action::WriteKeys)?;
            end(app, request, caller, id).await
        }
        (_, [] | [_]) => {
            caller.may_at_all(Action::ReadKeys)?;
            let allow = if rest.is_empty() {
                "GET, POST"
            } else {
                "DELETE"
            };
            Err(Problem::method_not_allowed(allow))
        }
        _ => Err(Problem::not_found()),
    }
}

async fn list(app: &App, request: &Request) -> Result<Response, Problem> {
    let mut fields = request.query_fields()?;
    let (page, to) = Page::take_between(&mut fields)?;
    fields.finish()?;
    let (keys, next) = app
        .store
        .records::<ApiKey>(None, &page)
        .await
        .map_err(unavailable)?;
    let (keys, next) = made_before(to, keys, next);
    let items: Vec<Value> = keys.iter().map(|key| key.record.shown()).collect();
    Ok(Response::list(&items, next.as_ref()))
}

async fn create(app: &App, request: &Request, caller: &Caller) -> Result<Response, Problem> {
    let text = KeyText::new(&random());
    let mut fields = Fields::from_json(&request.body)?;
    let key = ApiKey::asked_for(&mut fields, &text)?;
    fields.finish()?;
    let is_known = app.store.knows(&key.role).await.map_err(unavailable)?;
    if !is_known {
        let (code, field) = match key.role {
            Role::Merchant(_) => ("merchant_unknown", "merchant"),
            _ => ("affiliate_unknown", "affiliate"),
        };
        return Err(Problem::invalid(code, field));
    }
    let audit = Audit::by(caller, "create key", None);
    let made = app.store.create(&key, request.now, &audit).await;
    match made.map_err(unavailable)? {
        Created::New(_) => {
            let body = json!({"id": key.id.as_str(), "key": text.text});
            Ok(Response::json(StatusCode::CREATED, &body))
        }
        Created::Exists(_) => Err(Problem::unavailable()),
    }
}

async fn end(app: &App, request: &Request, caller: &Caller, id: &str) -> Result<Response, Problem> {
    let seen = app
        .store
        .record::<ApiKey>(id)
        .await
        .map_err(unavailable)?
        .ok_or_else(Problem::not_found)?;
    if seen.record.ended_at.is_none() {
        let mut ended = seen.record.clone();
        ended.ended_at = Some(request.now);
        let audit = Audit::by(caller, "end key", None);
        let replaced = app.store.replace(&seen, &ended, request.now, &audit).await;
        if replaced.map_err(unavailable)? == Replaced::Moved {
            return Err(Problem::unavailable());
        }
    }
    Ok(Response::empty(StatusCode::NO_CONTENT))
}
