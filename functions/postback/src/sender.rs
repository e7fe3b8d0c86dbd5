//! Who sends: a token, a bearer key or a signature, all of one merchant's credentials.

use std::collections::HashSet;

use http::Method;
use shared::app::{App, unavailable};
use shared::http_types::{Page, Problem, Request};
use shared::ids::{MerchantId, ProgramId};
use shared::setup::{Merchant, Secret, SecretKind, TokenParts};
use shared::signature;
use shared::store::Versioned;
use shared::visitor::Cookie;

/// A merchant whose credential is good.
#[derive(Debug)]
pub struct Sender {
    pub merchant: Merchant,
    /// Of a visitor's browser: what the tracking domain knows it by.
    pub cookie: Option<[u8; 16]>,
    secret: Secret,
}

impl Sender {
    /// Whether it may tell of results of this program.
    ///
    /// # Errors
    /// 401: for others it is no credential.
    pub fn may_convert(&self, program: &ProgramId) -> Result<(), Problem> {
        allowed(self.secret.may_convert() && self.secret.covers(program))
    }

    /// Whether it may take back results of this program.
    ///
    /// # Errors
    /// 401.
    pub fn may_reverse(&self, program: &ProgramId) -> Result<(), Problem> {
        allowed(self.secret.may_reverse() && self.secret.covers(program))
    }

    /// As [`Self::may_reverse`], where the program is not known yet.
    pub fn may_reverse_something(&self) -> Result<(), Problem> {
        allowed(self.secret.may_reverse())
    }

    /// The programs that the credential is for; empty: every one of the merchant's.
    pub fn programs(&self) -> &[ProgramId] {
        self.secret.programs.as_deref().unwrap_or_default()
    }

    /// Whether every visitor can read the credential: what it brings waits for approval.
    pub fn is_browser(&self) -> bool {
        self.secret.kind == SecretKind::Browser
    }
}

fn allowed(is_allowed: bool) -> Result<(), Problem> {
    if is_allowed {
        Ok(())
    } else {
        Err(Problem::unauthorised())
    }
}

/// # Errors
/// 401, the same bytes for every cause; 503.
pub async fn authenticate(
    app: &App,
    request: &Request,
    path_merchant: Option<&str>,
    token: Option<&str>,
) -> Result<Sender, Problem> {
    let is_signed =
        request.method == Method::POST && request.headers.contains_key("webhook-signature");
    let (secret, is_by_signature) = match path_merchant {
        Some(merchant) if is_signed => (signed(app, request, merchant).await?, true),
        _ => (by_token(app, request, token).await?, false),
    };
    if path_merchant.is_some_and(|merchant| merchant != secret.merchant.as_str()) {
        return Err(Problem::unauthorised());
    }
    let merchant = app
        .store
        .record::<Merchant>(secret.merchant.as_str())
        .await
        .map_err(unavailable)?
        .ok_or_else(Problem::unauthorised)?
        .record;
    if merchant.require_signature && !is_by_signature {
        return Err(Problem::unauthorised());
    }
    let is_browser = secret.kind == SecretKind::Browser;
    let cookie = Cookie::sent(&request.headers, request.https)
        .filter(|_| is_browser && request.header("sec-gpc") != Some("1"));
    Ok(Sender {
        merchant,
        cookie,
        secret,
    })
}

async fn by_token(app: &App, request: &Request, token: Option<&str>) -> Result<Secret, Problem> {
    let token = request
        .bearer()
        .or(token)
        .ok_or_else(Problem::unauthorised)?;
    let parts = TokenParts::of(token).ok_or_else(Problem::unauthorised)?;
    secret(app, &Secret::key(&parts.merchant, &parts.secret))
        .await?
        .filter(|secret| secret.accepts(token))
        .ok_or_else(Problem::unauthorised)
}

/// Of several signatures any that matches counts, and the one whose secret may do the most: a shop that
/// changes its secret signs with both, and the older one may have ended.
///
/// They cover the body alone, so a query beside them is nobody's word.
async fn signed(app: &App, request: &Request, merchant: &str) -> Result<Secret, Problem> {
    let header = |name: &str| request.header(name).ok_or_else(Problem::unauthorised);
    if !request.query.is_empty() {
        return Err(Problem::unauthorised());
    }
    let merchant = MerchantId::parse(merchant).map_err(|_| Problem::unauthorised())?;
    let (id, timestamp) = (header("webhook-id")?, header("webhook-timestamp")?);
    let signatures = header("webhook-signature")?;
    let has_signed = async |secret: &Secret| -> Result<bool, Problem> {
        let number = secret.key_number;
        let keys = app.keys_with(number).await?;
        let key = keys.webhook_secret(number, &merchant, &secret.id);
        Ok(key.is_some_and(|key| {
            signature::verify(id, timestamp, signatures, &request.body, &key, request.now).is_ok()
        }))
    };

    let is_one = signatures.split(' ').nth(1).is_none();
    let mut widest: Option<Secret> = None;
    let mut tried = HashSet::new();
    let mut page = Page {
        limit: 200,
        after: None,
    };
    loop {
        let (listed, next) = app
            .store
            .records::<Secret>(Some(merchant.as_str()), &page)
            .await
            .map_err(unavailable)?;
        for Versioned { record: listed, .. } in listed {
            let key = Secret::key(&merchant, &listed.id);
            if has_signed(&listed).await? {
                // The list may lag; whether the secret has ended is asked of the record itself.
                let current = secret(app, &key).await?.filter(Secret::is_live);
                if is_one {
                    return current.ok_or_else(Problem::unauthorised);
                }
                let found = widest.into_iter().chain(current);
                widest = found.max_by_key(Secret::reach);
            }
            tried.insert(key);
        }
        match next {
            Some(cursor) => page.after = Some(cursor),
            None => break,
        }
    }
    if let Some(widest) = widest {
        return Ok(widest);
    }
    // Nor may it tell yet of one that was just made, whose sender takes a 401 for the last word.
    let owned = app.store.owned::<Secret>(merchant.as_str()).await;
    for key in owned.map_err(unavailable)? {
        if tried.contains(&key) {
            continue;
        }
        if let Some(missed) = secret(app, &key).await?.filter(Secret::is_live)
            && has_signed(&missed).await?
        {
            return Ok(missed);
        }
    }
    Err(Problem::unauthorised())
}

async fn secret(app: &App, key: &str) -> Result<Option<Secret>, Problem> {
    let found = app.store.record::<Secret>(key).await.map_err(unavailable)?;
    Ok(found.map(|found| found.record))
}
