//! What all resources have in common: made, listed, read and changed.

use http::{Method, StatusCode, header};
use jiff::Timestamp;
use serde_json::Value;
use shared::app::{App, random, unavailable};
use shared::http_types::{Cursor, Page, Problem, Request, Response, is_note};
use shared::rights::{Action, Caller, Decision, Subject};
use shared::setup::{Program, Record, patched};
use shared::store::{Audit, Created, Replaced, Versioned};

use crate::resources::{Owners, Programs, Resource};

/// Bytes of a record's text. The table holds items of 400 KB, with all that stands beside it.
const RECORD_BYTES_MOST: usize = 350_000;

/// Bytes of a list's items, but for the last one: a function's answer holds 6 MB.
const LIST_BYTES_MOST: usize = 3_000_000;

/// Serves one resource: `rest` is what follows its name in the path.
pub async fn serve<R: Resource>(
    app: &App,
    request: &Request,
    caller: &Caller,
    rest: &[&str],
) -> Result<Response, Problem> {
    match (&request.method, rest) {
        (&Method::GET, []) => list::<R>(app, request, caller).await,
        (&Method::POST, []) => create::<R>(app, request, caller).await,
        (_, []) => Err(Problem::method_not_allowed("GET, POST")),
        (&Method::GET, [id]) => {
            let found = visible::<R>(app, caller, id, R::READ).await?;
            shown(app, caller, &found).await
        }
        (&Method::PATCH, [id]) => change::<R>(app, request, caller, id).await,
        (_, [_]) => Err(Problem::method_not_allowed("GET, PATCH")),
        _ => Err(Problem::not_found()),
    }
}

async fn shown<R: Resource>(
    app: &App,
    caller: &Caller,
    found: &Versioned<R>,
) -> Result<Response, Problem> {
    let body = found.record.shown(app, caller).await?;
    let etag = format!("\"{}\"", found.version);
    Ok(Response::json(StatusCode::OK, &body).with(header::ETAG, &etag))
}

fn subject(owners: &Owners) -> Subject<'_> {
    Subject {
        merchant: owners.merchant.as_ref(),
        affiliate: owners.affiliate.as_ref(),
    }
}

/// The record, if the caller may do that to it.
pub async fn visible<R: Resource>(
    app: &App,
    caller: &Caller,
    id: &str,
    action: Action,
) -> Result<Versioned<R>, Problem> {
    caller.sees_any(action)?;
    let found = R::find(app, id).await?.ok_or_else(Problem::not_found)?;
    let programs = Programs::default();
    let owners = found.record.owners(app, caller, &programs).await?;
    caller.may(action, subject(&owners))?;
    Ok(found)
}

/// Makes what exists from the start, if nobody has looked at it yet.
async fn from_the_start<R: Resource>(app: &App) -> Result<(), Problem> {
    if let Some(id) = R::FROM_THE_START {
        R::find(app, id).await?;
    }
    Ok(())
}

/// What of a part of a list was made before an instant, and where the list goes on.
pub fn made_before<R>(
    to: Option<Timestamp>,
    mut records: Vec<Versioned<R>>,
    next: Option<Cursor>,
) -> (Vec<Versioned<R>>, Option<Cursor>) {
    let Some(to) = to else {
        return (records, next);
    };
    let all = records.len();
    records.retain(|found| found.made_at.as_millisecond() < to.as_millisecond());
    let is_whole = records.len() == all;
    (records, next.filter(|_| is_whole))
}

async fn list<R: Resource>(
    app: &App,
    request: &Request,
    caller: &Caller,
) -> Result<Response, Problem> {
    caller.may_at_all(R::READ)?;
    from_the_start::<R>(app).await?;
    let mut fields = request.query_fields()?;
    let (mut page, to) = Page::take_between(&mut fields)?;
    fields.finish()?;
    let wanted = page.limit;
    let owner = R::LISTED_BY_AFFILIATE
        .then(|| caller.affiliate().map(ToString::to_string))
        .flatten();

    let programs = Programs::default();
    let mut items = Vec::new();
    let mut bytes = 0;
    loop {
        page.limit = wanted - items.len();
        let (records, next) = app
            .store
            .records::<R>(owner.as_deref(), &page)
            .await
            .map_err(unavailable)?;
        let (records, next) = made_before(to, records, next);
        for found in records {
            let owners = found.record.owners(app, caller, &programs).await?;
            if caller.decide(R::READ, subject(&owners)) == Decision::Allowed {
                let shown = found.record.shown(app, caller).await?;
                bytes += shown.to_string().len();
                items.push(shown);
            }
            if LIST_BYTES_MOST <= bytes {
                return Ok(Response::list(&items, Some(&found.place())));
            }
        }
        match next {
            Some(cursor) if items.len() < wanted => page.after = Some(cursor),
            next => {
                return Ok(Response::list(&items, next.as_ref()));
            }
        }
    }
}

/// What the table could never take is refused before it is asked: it would say 503 for ever. What stands
/// there already may be changed as long as it does not grow.
pub fn fits<R: Record>(record: &R, before: Option<&R>) -> Result<(), Problem> {
    let bytes = |record: &R| record.to_json().to_string().len();
    let length = bytes(record);
    if length <= RECORD_BYTES_MOST || before.is_some_and(|before| length <= bytes(before)) {
        Ok(())
    } else {
        Err(Problem::refused("record_too_large"))
    }
}

async fn create<R: Resource>(
    app: &App,
    request: &Request,
    caller: &Caller,
) -> Result<Response, Problem> {
    caller.may_at_all(R::CREATE)?;
    from_the_start::<R>(app).await?;
    let mut body = request.json()?;
    let reason = take_override::<R>(&mut body)?;
    if let Some(members) = body.as_object_mut() {
        let is_absent = |members: &serde_json::Map<String, Value>, name: &str| {
            members
                .get(name)
                .is_none_or(|value| value.is_null() || value == "")
        };
        for name in R::GENERATED {
            // A link's slug is its id, where that is given.
            let has_name = *name == "slug" && !is_absent(members, "id");
            if is_absent(members, name) && !has_name {
                members.insert((*name).to_owned(), generated(name).into());
            }
        }
    }
    if body.is_object() {
        R::filled(&mut body, app, caller).await?;
    }
    let asked = R::parse(&body)?;
    fits(&asked, None)?;
    let owners = asked.owners(app, caller, &Programs::default()).await?;
    // What may not be made in another's name looks like what does not exist.
    caller.may(R::CREATE, subject(&owners))?;
    let record = asked.clone().completed(app).await?;
    record.check(app, caller, None, reason.as_deref()).await?;

    let audit = Audit::by(caller, format!("create {}", R::KIND), reason);
    let created = app
        .store
        .create(&record, request.now, &audit)
        .await
        .map_err(unavailable)?;
    match created {
        Created::New(made) => {
            let extra = made.record.made(app, request.now, caller).await?;
            let mut body = made.record.shown(app, caller).await?;
            if let (Some(body), Value::Object(extra)) = (body.as_object_mut(), extra) {
                body.extend(extra);
            }
            Ok(Response::json(StatusCode::CREATED, &body).with(header::ETAG, "\"1\""))
        }
        Created::Exists(standing) if is_first::<R>(app, &standing, &asked).await? => {
            // The first answer may have been lost before all that hangs on it was made.
            let made_at = standing.made_at;
            standing
                .record
                .made_again(app, made_at, request.now, caller)
                .await?;
            shown(app, caller, &standing).await
        }
        Created::Exists(_) => Err(Problem::conflict("exists")),
    }
}

/// Whether a record is what it was made as, however it was changed since.
async fn is_first<R: Resource>(
    app: &App,
    standing: &Versioned<R>,
    record: &R,
) -> Result<bool, Problem> {
    let first = if standing.version == 1 {
        Some(standing.record.clone())
    } else {
        let first = app.store.version::<R>(&record.id(), 1).await;
        first.map_err(unavailable)?.map(|first| first.record)
    };
    Ok(first.is_some_and(|first| record.repeats(&first)))
}

async fn change<R: Resource>(
    app: &App,
    request: &Request,
    caller: &Caller,
    id: &str,
) -> Result<Response, Problem> {
    let seen = visible::<R>(app, caller, id, R::CHANGE).await?;
    let Some(etag) = request.header("if-match") else {
        let status = StatusCode::PRECONDITION_REQUIRED;
        return Err(Problem::new(status, "if_match_missing"));
    };
    let moved = || Problem::new(StatusCode::PRECONDITION_FAILED, "etag_mismatch");
    // RFC 9110, section 13.1.1: any version, or one of a list.
    let current = format!("\"{}\"", seen.version);
    if etag != "*" && !etag.split(',').any(|one| one.trim() == current) {
        return Err(moved());
    }
    let mut patch = request.json()?;
    let reason = take_override::<R>(&mut patch)?;
    seen.record.may_change(caller, &patch)?;
    let changed = patched(&seen.record, &patch, seen.version + 1)?;
    fits(&changed, Some(&seen.record))?;
    let before = Some(&seen.record);
    changed
        .check(app, caller, before, reason.as_deref())
        .await?;
    changed
        .changing(app, &seen.record, request.now, caller)
        .await?;
    let audit = Audit::by(caller, format!("change {}", R::KIND), reason);
    let replaced = app
        .store
        .replace(&seen, &changed, request.now, &audit)
        .await
        .map_err(unavailable)?;
    match replaced {
        Replaced::Done(changed) => shown(app, caller, &changed).await,
        Replaced::Moved => Err(moved()),
    }
}

/// The reason for launching a program untested; it is logged, and no part of the record.
fn take_override<R: Record>(body: &mut Value) -> Result<Option<String>, Problem> {
    if R::KIND != <Program as Record>::KIND {
        return Ok(None);
    }
    match body
        .as_object_mut()
        .and_then(|members| members.remove("override"))
    {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) if is_note(&text) => Ok(Some(text)),
        Some(_) => Err(Problem::invalid("text_invalid", "override")),
    }
}

fn generated(name: &str) -> String {
    let bytes: [u8; 8] = random();
    let word = format!("{:016x}", u64::from_be_bytes(bytes));
    if name == "slug" {
        word[..10].to_owned()
    } else {
        format!("x{}", &word[..12])
    }
}
