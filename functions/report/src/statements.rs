//! `GET /api/v1/statements/{affiliate}/{month}`: an affiliate's month, with the lines behind it.

use http::{StatusCode, header};
use serde_json::{Value, json};
use shared::app::{App, unavailable};
use shared::http_types::{Problem, Request, Response};
use shared::ids::{AffiliateId, PayerId};
use shared::ledger::Pocket;
use shared::period::{Month, last_instant_of};
use shared::report::{Row, StatementLine, sha256, statement_csv};
use shared::rights::{Action, Caller, Subject};
use shared::setup::Affiliate;
use shared::store::Stage;

use crate::{begun, figures};

/// The rows of the report that are about one affiliate, and every line that a run of the month
/// took in.
pub async fn statement(
    app: &App,
    request: &Request,
    caller: &Caller,
    affiliate: &str,
    month: &str,
) -> Result<Response, Problem> {
    caller.may_at_all(Action::ReadStatements)?;
    let month = begun(month, request.now)?;
    let id = AffiliateId::parse(affiliate).map_err(|_| Problem::not_found())?;
    let subject = Subject {
        merchant: None,
        affiliate: Some(&id),
    };
    caller.may(Action::ReadStatements, subject)?;
    let affiliate = app.store.record::<Affiliate>(id.as_str()).await;
    let affiliate = affiliate
        .map_err(unavailable)?
        .ok_or_else(Problem::not_found)?;
    let mut fields = request.query_fields()?;
    let is_csv = fields.parsed("format", "format_unknown", |text| match text {
        "json" => Ok(false),
        "csv" => Ok(true),
        _ => Err(()),
    })?;
    let payer = app.payer(&mut fields).await?.id;
    fields.finish()?;

    let mut pockets = app.store.pockets_of(&id).await.map_err(unavailable)?;
    pockets.retain(|pocket| pocket.payer == payer);
    if caller.affiliate().is_some() && pockets.is_empty() && payer != PayerId::house() {
        // Whoever pays others only is to it like nobody.
        return Err(Problem::invalid("payer_unknown", "payer"));
    }
    let period = app.store.period(&payer, month).await.map_err(unavailable)?;
    let rows: Vec<Row> = if period.stage == Stage::Closed {
        let mut rows = figures::sealed(app, &payer, month).await?;
        rows.retain(|row| row.affiliate == id);
        rows
    } else {
        let is_theirs = |pocket: &Pocket| pocket.affiliate == id;
        let made = figures::of_pockets(app, &payer, month, pockets.clone(), is_theirs).await?;
        made.report.rows
    };
    let lines = lines(app, &pockets, affiliate.record.lanes, month).await?;

    let (media_type, bytes) = if is_csv == Some(true) {
        ("text/csv; charset=utf-8", statement_csv(&lines))
    } else {
        // By the name that the report has: of the month's end, whatever it is called since.
        let then = app
            .store
            .as_of(affiliate, last_instant_of(month.last_day()));
        let then = then.await.map_err(unavailable)?.record;
        let body = json!({
            "payer": payer.as_str(),
            "affiliate": id.as_str(),
            "legal_name": then.name,
            "month": month.to_string(),
            "state": period.stage.as_str(),
            "preliminary": period.stage != Stage::Closed,
            "rows": rows.iter().map(Row::to_json).collect::<Vec<_>>(),
            "lines": lines.iter().map(StatementLine::to_json).collect::<Vec<Value>>(),
        });
        ("application/json", body.to_string().into_bytes())
    };
    let etag = format!("\"{}\"", sha256(&bytes));
    Ok(Response::bytes(StatusCode::OK, media_type, bytes).with(header::ETAG, &etag))
}

/// What the month's runs took in so far, pocket by pocket and day by day.
async fn lines(
    app: &App,
    pockets: &[Pocket],
    lanes: u8,
    month: Month,
) -> Result<Vec<StatementLine>, Problem> {
    let next_run = app.store.next_day_to_run().await.map_err(unavailable)?;
    let mut lines = Vec::new();
    for pocket in pockets {
        let entries = app
            .store
            .entries(pocket, lanes, month.first_day()..=month.last_day())
            .await
            .map_err(unavailable)?;
        let begin = lines.len();
        for entry in entries {
            if next_run.is_none_or(|next| next <= entry.day) {
                continue;
            }
            let because = |name: &str| entry.because[name].as_str().map(str::to_owned);
            lines.push(StatementLine {
                day: entry.day,
                kind: entry.kind,
                amount: entry.effect,
                program: because("program"),
                conversion: because("conversion"),
                payout: because("payout"),
                reason: because("reason"),
            });
        }
        // Several lanes are read one after the other.
        lines[begin..].sort_by_key(|line| line.day);
    }
    Ok(lines)
}
