//! The ledger's lines behind a balance.

use jiff::civil::Date;
use serde_json::{Value, json};
use shared::app::{App, unavailable};
use shared::http_types::{Cursor, Page, Problem, Request, Response};
use shared::ledger::Pocket;
use shared::rights::{Action, Caller};
use shared::setup::Affiliate;
use shared::store::Entry;

use crate::serve::visible;

/// `GET /api/v1/affiliates/{id}/entries`: pocket by pocket, in each by day.
pub async fn entries(
    app: &App,
    request: &Request,
    caller: &Caller,
    id: &str,
) -> Result<Response, Problem> {
    let affiliate = visible::<Affiliate>(app, caller, id, Action::ReadBalances).await?;
    let affiliate = affiliate.record;
    let mut fields = request.query_fields()?;
    let page = Page::take(&mut fields)?;
    let from = fields.day("from")?.unwrap_or(Date::MIN);
    let to = fields.day("to")?.unwrap_or(Date::MAX);
    fields.finish()?;

    let pockets = app.store.pockets_of(&affiliate.id).await;
    let mut items = Vec::new();
    let mut last = None;
    for pocket in pockets.map_err(unavailable)? {
        let entries = app
            .store
            .entries(&pocket, affiliate.lanes, from..to)
            .await
            .map_err(unavailable)?;
        let mut entries: Vec<(String, Entry)> = entries
            .into_iter()
            .map(|entry| (place(&pocket, &entry), entry))
            .collect();
        // Several lanes are read one after the other.
        entries.sort_by(|one, other| one.0.cmp(&other.0));
        for (place, entry) in entries {
            if page
                .after
                .as_ref()
                .is_some_and(|after| place.as_str() <= after.key())
            {
                continue;
            }
            if items.len() == page.limit {
                return Ok(Response::list(&items, last.map(Cursor::after).as_ref()));
            }
            items.push(shown(&pocket, &entry));
            last = Some(place);
        }
    }
    Ok(Response::list(&items, None))
}

fn place(pocket: &Pocket, entry: &Entry) -> String {
    format!("{}#{}#{}", pocket.payer, pocket.currency, entry.place)
}

fn shown(pocket: &Pocket, entry: &Entry) -> Value {
    json!({
        "payer": pocket.payer.as_str(),
        "currency": pocket.currency.code(),
        "day": entry.day.to_string(),
        "payable_on": entry.payable_on.to_string(),
        "kind": entry.kind.as_str(),
        "amount": entry.effect.to_string(),
        "recorded_at": entry.recorded_at.to_string(),
        "program": entry.because["program"],
        "conversion": entry.because["conversion"],
        "payout": entry.because["payout"],
        "adjustment": entry.because["adjustment"],
        "reason": entry.because["reason"],
    })
}
