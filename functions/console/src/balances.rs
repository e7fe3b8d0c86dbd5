//! What an affiliate has, payer by payer and currency by currency.

use std::collections::BTreeMap;
use std::ops::Bound;

use http::StatusCode;
use jiff::civil::Date;
use serde_json::{Value, json};
use shared::app::{App, unavailable};
use shared::conversion::Status;
use shared::http_types::{Page, Problem, Request, Response};
use shared::ids::AffiliateId;
use shared::ledger::{Kind, Pocket, Sums};
use shared::money::sum_text;
use shared::payout::{Account, next_pay_day};
use shared::period::day_of;
use shared::rights::{Action, Caller};
use shared::setup::{Affiliate, Enrolment, Merchant, Program};
use shared::store::ConversionsOf;

use crate::serve::visible;

/// `GET /api/v1/affiliates/{id}/balances`
pub async fn balances(
    app: &App,
    request: &Request,
    caller: &Caller,
    id: &str,
) -> Result<Response, Problem> {
    let affiliate = visible::<Affiliate>(app, caller, id, Action::ReadBalances).await?;
    let affiliate = affiliate.record;
    let next_run = app.store.next_day_to_run().await.map_err(unavailable)?;
    let mut items = Vec::new();
    for (pocket, pending) in pockets(app, &affiliate.id).await? {
        items.push(balance(app, request, &affiliate, &pocket, pending, next_run).await?);
    }
    Ok(Response::json(StatusCode::OK, &json!({ "items": items })))
}

/// Every pocket that may hold something, with what waits for approval, in minor units.
async fn pockets(app: &App, id: &AffiliateId) -> Result<BTreeMap<Pocket, i128>, Problem> {
    let mut pockets: BTreeMap<Pocket, i128> = BTreeMap::new();
    for pocket in app.store.pockets_of(id).await.map_err(unavailable)? {
        pockets.insert(pocket, 0);
    }
    let enrolments = app.store.all_records::<Enrolment>(Some(id.as_str())).await;
    for enrolment in enrolments.map_err(unavailable)? {
        if let Some(pocket) = pocket_of(app, &enrolment.record).await? {
            pockets.entry(pocket).or_insert(0);
        }
    }

    let mut page = Page {
        limit: 200,
        after: None,
    };
    loop {
        let (conversions, next) = app
            .store
            .conversions_listed(&ConversionsOf::Affiliate(id), &page)
            .await
            .map_err(unavailable)?;
        for (_, conversion) in conversions {
            if conversion.status != Status::Pending {
                continue;
            }
            for (credit, left) in conversion.credits.iter().zip(conversion.left()) {
                if credit.affiliate == *id {
                    *pockets.entry(conversion.pocket(credit)).or_insert(0) +=
                        i128::from(left.minor());
                }
            }
        }
        match next {
            Some(cursor) => page.after = Some(cursor),
            None => return Ok(pockets),
        }
    }
}

async fn pocket_of(app: &App, enrolment: &Enrolment) -> Result<Option<Pocket>, Problem> {
    let program = app
        .store
        .record::<Program>(enrolment.program.as_str())
        .await;
    let Some(program) = program.map_err(unavailable)? else {
        return Ok(None);
    };
    let merchant = program.record.merchant;
    let merchant = app.store.record::<Merchant>(merchant.as_str()).await;
    Ok(merchant.map_err(unavailable)?.map(|merchant| Pocket {
        payer: merchant.record.payer,
        affiliate: enrolment.affiliate.clone(),
        currency: program.record.currency,
    }))
}

/// How often an account is read while it moves.
const READS_MOST: u32 = 8;

/// An account and the sums of the lines that no run has taken in: read again while a run or a
/// payout's step comes between the two, so that no cent is seen twice or not at all.
async fn snapshot(app: &App, pocket: &Pocket, lanes: u8) -> Result<(Account, Sums), Problem> {
    let mut account = app.store.account(pocket).await.map_err(unavailable)?;
    for _ in 0..READS_MOST {
        let after = account.through.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = app
            .store
            .entries(pocket, lanes, (after, Bound::Unbounded))
            .await
            .map_err(unavailable)?;
        let now = app.store.account(pocket).await.map_err(unavailable)?;
        if now == account {
            let booked = entries.iter().fold(Sums::default(), |sums, entry| {
                sums + Sums::of(entry.kind, entry.effect.minor())
            });
            return Ok((account, booked));
        }
        account = now;
    }
    Err(Problem::unavailable())
}

/// `on_hold + payable + in_payout + paid` is what was earned, less what was taken back.
async fn balance(
    app: &App,
    request: &Request,
    affiliate: &Affiliate,
    pocket: &Pocket,
    pending: i128,
    next_run: Option<Date>,
) -> Result<Value, Problem> {
    let (account, booked) = snapshot(app, pocket, affiliate.lanes).await?;
    let all = account.lifetime + booked;
    let money = |minor: i128| sum_text(minor, pocket.currency);
    let paid_out = -account.lifetime.get(Kind::Paid);

    let today = day_of(request.now);
    let reason = account.held(today, affiliate);
    // A day's run is made when it is over: today's, and one that is late, may pay yet. Of a run that
    // is under way the account knows whether it was there.
    let run = next_run.unwrap_or(today).yesterday().ok();
    let next_payout = affiliate.payout.as_ref().and_then(|details| {
        let last_run = run.max(account.through)?;
        Some(next_pay_day(details.schedule, last_run).to_string())
    });
    let held: Vec<Value> = reason
        .iter()
        .map(|reason| json!({"reason": reason.code(), "amount": money(account.carry)}))
        .collect();
    Ok(json!({
        "payer": pocket.payer.as_str(),
        "currency": pocket.currency.code(),
        "pending": money(pending),
        "on_hold": money(booked.total()),
        "payable": money(account.carry),
        "in_payout": money(paid_out - all.get(Kind::Returned) - account.sent),
        "paid": money(account.sent),
        "earned": money(all.get(Kind::Earned)),
        "reversed": money(-all.get(Kind::Reversed)),
        "adjustments": money(all.get(Kind::Adjustment)),
        "withheld": money(-all.get(Kind::Withheld)),
        "next_payout": next_payout,
        "held": held,
    }))
}
