//! A merchant's credentials.

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::app::{App, random, unavailable};
use shared::http_types::{Fields, Page, Problem, Request, Response};
use shared::ids::{MerchantId, SecretId};
use shared::keys::KeyRing;
use shared::rights::{Action, Caller};
use shared::setup::{Merchant, NewToken, Secret};
use shared::store::{Audit, Created, Replaced};

use crate::serve::{fits, made_before, visible};

pub async fn serve(
    app: &App,
    request: &Request,
    caller: &Caller,
    merchant: &str,
    rest: &[&str],
) -> Result<Response, Problem> {
    let action = match request.method {
        Method::GET => Action::ReadSecrets,
        _ => Action::WriteSecrets,
    };
    let merchant = visible::<Merchant>(app, caller, merchant, action).await?;
    let merchant = merchant.record.id;
    match (&request.method, rest) {
        (&Method::GET, []) => list(app, request, &merchant).await,
        (&Method::POST, []) => {
            let (id, token) = new(&merchant);
            let mut fields = Fields::from_json(&request.body)?;
            let keys = app.keys();
            let number = keys.signing_number();
            let secret = Secret::asked_for(&mut fields, id, merchant.clone(), number, token.hash)?;
            fields.finish()?;
            fits(&secret, None)?;
            let body = keep(app, &keys, &secret, &token, request.now, caller).await?;
            Ok(Response::json(StatusCode::CREATED, &body))
        }
        (&Method::DELETE, [id]) => end(app, request, caller, &merchant, id).await,
        (_, []) => Err(Problem::method_not_allowed("GET, POST")),
        (_, [_]) => Err(Problem::method_not_allowed("DELETE")),
        _ => Err(Problem::not_found()),
    }
}

/// The credential that a merchant is made with.
pub async fn first(
    app: &App,
    merchant: &MerchantId,
    now: Timestamp,
    caller: &Caller,
) -> Result<Value, Problem> {
    let (id, token) = new(merchant);
    let keys = app.keys();
    let number = keys.signing_number();
    let secret = Secret::first(id, merchant.clone(), number, token.hash);
    keep(app, &keys, &secret, &token, now, caller).await
}

fn new(merchant: &MerchantId) -> (SecretId, NewToken) {
    let name = format!("s{:016x}", u64::from_be_bytes(random()));
    let id = SecretId::parse(&name).expect("`s` and hexadecimal digits are an id");
    let token = Secret::new_token(merchant, &id, random());
    (id, token)
}

/// `keys` are those that the secret was made with: the ones in force may be others by now.
async fn keep(
    app: &App,
    keys: &KeyRing,
    secret: &Secret,
    token: &NewToken,
    now: Timestamp,
    caller: &Caller,
) -> Result<Value, Problem> {
    let audit = Audit::by(caller, "create secret", None);
    let made = app.store.create(secret, now, &audit).await;
    if let Created::Exists(_) = made.map_err(unavailable)? {
        return Err(Problem::unavailable());
    }
    let derived = keys
        .webhook_secret(secret.key_number, &secret.merchant, &secret.id)
        .expect("the signing key is never revoked");
    Ok(json!({
        "id": secret.id.as_str(),
        "postback_token": token.token,
        "signing_secret": Secret::signing_text(&derived),
    }))
}

async fn list(app: &App, request: &Request, merchant: &MerchantId) -> Result<Response, Problem> {
    let mut fields = request.query_fields()?;
    let (page, to) = Page::take_between(&mut fields)?;
    fields.finish()?;
    let (secrets, next) = app
        .store
        .records::<Secret>(Some(merchant.as_str()), &page)
        .await
        .map_err(unavailable)?;
    let (secrets, next) = made_before(to, secrets, next);
    let items: Vec<Value> = secrets.iter().map(|secret| secret.record.shown()).collect();
    Ok(Response::list(&items, next.as_ref()))
}

async fn end(
    app: &App,
    request: &Request,
    caller: &Caller,
    merchant: &MerchantId,
    id: &str,
) -> Result<Response, Problem> {
    let id = SecretId::parse(id).map_err(|_| Problem::not_found())?;
    let seen = app
        .store
        .record::<Secret>(&Secret::key(merchant, &id))
        .await
        .map_err(unavailable)?
        .ok_or_else(Problem::not_found)?;
    if seen.record.is_live() {
        let mut ended = seen.record.clone();
        ended.ended_at = Some(request.now);
        let audit = Audit::by(caller, "end secret", None);
        let replaced = app.store.replace(&seen, &ended, request.now, &audit).await;
        if replaced.map_err(unavailable)? == Replaced::Moved {
            return Err(Problem::unavailable());
        }
    }
    Ok(Response::empty(StatusCode::NO_CONTENT))
}
