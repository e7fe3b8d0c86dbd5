//! `GET /api/v1/reports/payouts/{month}`

use http::{StatusCode, header};
use serde_json::{Value, json};
use shared::app::{App, unavailable};
use shared::http_types::{Problem, Request, Response};
use shared::report::{Report, sha256};
use shared::rights::{Action, Caller};
use shared::store::{Period, Stage};

use crate::{begun, figures};

#[derive(Debug, Clone, Copy)]
enum Format {
    Json,
    CsvForPeople,
    CsvRaw,
}

/// The report of a month; of one that is not closed it is preliminary and says so.
pub async fn payouts(
    app: &App,
    request: &Request,
    caller: &Caller,
    month: &str,
) -> Result<Response, Problem> {
    caller.may_at_all(Action::ReadReports)?;
    let month = begun(month, request.now)?;
    let mut fields = request.query_fields()?;
    let is_raw = fields.flag("raw")?.unwrap_or(false);
    let format = fields.parsed("format", "format_unknown", |text| match text {
        "json" => Ok(Format::Json),
        "csv" if is_raw => Ok(Format::CsvRaw),
        "csv" => Ok(Format::CsvForPeople),
        _ => Err(()),
    })?;
    let payer = app.payer(&mut fields).await?;
    fields.finish()?;

    let period = app.store.period(&payer.id, month).await;
    let period = period.map_err(unavailable)?;
    let report = of(app, &period).await?;
    let (media_type, bytes) = match format.unwrap_or(Format::Json) {
        Format::Json => ("application/json", json_of(&report, &period)?),
        Format::CsvRaw => ("text/csv; charset=utf-8", report.csv_raw()),
        Format::CsvForPeople => ("text/csv; charset=utf-8", report.csv_for_people()),
    };
    let etag = format!("\"{}\"", sha256(&bytes));
    let response = Response::bytes(StatusCode::OK, media_type, bytes).with(header::ETAG, &etag);
    if media_type == "application/json" {
        return Ok(response);
    }
    let name = format!("payouts-{}-{month}.csv", payer.id);
    let disposition = format!("attachment; filename=\"{name}\"");
    Ok(response.with(header::CONTENT_DISPOSITION, &disposition))
}

/// A closed month as it was sealed, another as it is now.
pub async fn of(app: &App, period: &Period) -> Result<Report, Problem> {
    let (payer, month) = (&period.payer, period.month);
    if period.stage != Stage::Closed {
        return Ok(figures::make(app, payer, month).await?.report);
    }
    let report = Report {
        payer: payer.clone(),
        month,
        rows: figures::sealed(app, payer, month).await?,
        by_merchant: std::collections::BTreeMap::new(),
    };
    if Some(sha256(&report.csv_raw())) != period.sha256 {
        tracing::error!(payer.id = %payer, period.month = %month, "the closed month {month} of `{payer}` is damaged");
        return Err(Problem::unavailable());
    }
    Ok(report)
}

fn json_of(report: &Report, period: &Period) -> Result<Vec<u8>, Problem> {
    let rows: Vec<Value> = report.rows.iter().map(|row| row.to_json()).collect();
    let by_merchant = if period.stage == Stage::Closed {
        period.by_merchant.clone()
    } else {
        report.merchants_json()
    };
    let mut body = json!({
        "payer": report.payer.as_str(),
        "month": report.month.to_string(),
        "state": period.stage.as_str(),
        "preliminary": period.stage != Stage::Closed,
        "rows": rows,
        "totals": report.totals_json(),
        "by_merchant": by_merchant,
    });
    if let Some(sha256) = &period.sha256 {
        body["sha256"] = json!(sha256);
    }
    Ok(body.to_string().into_bytes())
}
