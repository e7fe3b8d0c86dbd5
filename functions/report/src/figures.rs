//! What a month came to, pocket by pocket: the runs' own sums, checked against the ledger's lines.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::civil::Date;
use shared::app::{App, unavailable};
use shared::http_types::Problem;
use shared::ids::{MerchantId, PayerId};
use shared::ledger::{Pocket, Sums};
use shared::money::Currency;
use shared::payout::held;
use shared::period::{Month, last_instant_of};
use shared::report::{Figures, OfMerchant, Report, Row, add_to_merchant, pocket_of};
use shared::setup::Affiliate;
use shared::store::{MonthRow, Stage};

/// How many pockets are read at the same time.
const AT_ONCE: usize = 16;

/// A payer's month, and whether all of it agrees with the ledger.
pub struct Made {
    pub report: Report,
    pub agrees: bool,
}

/// Makes the report of a month that is not closed.
pub async fn make(app: &App, payer: &PayerId, month: Month) -> Result<Made, Problem> {
    let pockets = app.store.pockets_of_payer(payer).await;
    of_pockets(app, payer, month, pockets.map_err(unavailable)?, |_| true).await
}

/// The part of such a report that is about some pockets: the noted ones, and others that are wanted
/// and have figures.
pub async fn of_pockets(
    app: &App,
    payer: &PayerId,
    month: Month,
    pockets: Vec<Pocket>,
    is_wanted: impl Fn(&Pocket) -> bool,
) -> Result<Made, Problem> {
    let (figures, mut agrees) = carried(app, payer, month).await?;
    // What only waits was not noted once; nor may a list have what was noted just now.
    let counted = figures.keys().filter(|pocket| is_wanted(pocket)).cloned();
    let pockets: BTreeSet<Pocket> = pockets.into_iter().chain(counted).collect();
    let next_run = app.store.next_day_to_run().await.map_err(unavailable)?;
    let read: Vec<OfPocket> = stream::iter(pockets)
        .map(|pocket| {
            let figures = figures.get(&pocket).cloned().unwrap_or_default();
            of_pocket(app, pocket, figures, month, next_run)
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;

    let mut report = Report {
        payer: payer.clone(),
        month,
        rows: Vec::new(),
        by_merchant: BTreeMap::new(),
    };
    for pocket in read {
        agrees &= pocket.agrees;
        for (key, sums) in pocket.by_merchant {
            add(report.by_merchant.entry(key).or_default(), &sums);
        }
        if !pocket.row.figures.is_nothing() {
            report.rows.push(pocket.row);
        }
    }
    // Like the rows: a refund worth nothing is nothing to report.
    report
        .by_merchant
        .retain(|_, sums| *sums != OfMerchant::default());
    // By affiliate and then by currency, which is the order of pockets.
    agrees &= report.adds_up();
    Ok(Made { report, agrees })
}

fn add(sum: &mut OfMerchant, more: &OfMerchant) {
    sum.earned += more.earned;
    sum.reversed += more.reversed;
    sum.conversions += more.conversions;
}

/// The figures that follow from the month before: from the last closed month on, or from the
/// first month of the books.
async fn carried(
    app: &App,
    payer: &PayerId,
    month: Month,
) -> Result<(BTreeMap<Pocket, Figures>, bool), Problem> {
    let mut figures: BTreeMap<Pocket, Figures> = BTreeMap::new();
    let Some(first) = app.store.first_day().await.map_err(unavailable)? else {
        return Ok((figures, true));
    };
    let mut from = month;
    while from > Month::of(first) {
        let before = app.store.period(payer, from.previous()).await;
        if before.map_err(unavailable)?.stage == Stage::Closed {
            for row in sealed(app, payer, from.previous()).await? {
                figures.insert(pocket_of(payer, &row), row.figures);
            }
            break;
        }
        from = from.previous();
    }

    let mut agrees = true;
    loop {
        figures = opened(figures);
        let rows = app.store.month_rows(payer, from).await;
        for row in rows.map_err(unavailable)? {
            let figures = figures.entry(row.pocket.clone()).or_default();
            agrees &= take_in(figures, row);
        }
        if from >= month {
            return Ok((figures, agrees));
        }
        from = from.next();
    }
}

/// What a month begins with.
fn opened(figures: BTreeMap<Pocket, Figures>) -> BTreeMap<Pocket, Figures> {
    figures
        .into_iter()
        .map(|(pocket, before)| {
            let figures = Figures {
                opening: before.closing,
                closing: before.closing,
                in_payout: before.in_payout,
                unapproved: before.unapproved,
                ..Figures::default()
            };
            (pocket, figures)
        })
        .collect()
}

/// False where the runs did not begin with what the month before ended with.
fn take_in(figures: &mut Figures, row: MonthRow) -> bool {
    let mut agrees = true;
    if let Some((opening, closing)) = row.carry {
        agrees = opening == figures.opening;
        figures.closing = closing;
    }
    let payouts = row.payouts.iter();
    let paid: i128 = payouts
        .map(|payout| i128::from(payout.amount.minor()))
        .sum();
    figures.sums = row.sums;
    figures.conversions = row.conversions;
    figures.in_payout += paid - row.left;
    figures.unapproved += row.unapproved;
    figures.payouts = row.payouts;
    agrees && figures.adds_up()
}

struct OfPocket {
    row: Row,
    by_merchant: BTreeMap<(MerchantId, Currency), OfMerchant>,
    agrees: bool,
}

/// Adds what only the ledger's lines tell, and adds them up by themselves.
async fn of_pocket(
    app: &App,
    pocket: Pocket,
    mut figures: Figures,
    month: Month,
    next_run: Option<Date>,
) -> Result<OfPocket, Problem> {
    let end = last_instant_of(month.last_day());
    let id = pocket.affiliate.as_str();
    let now = app.store.record::<Affiliate>(id).await;
    let then = app.store.record_at::<Affiliate>(id, end).await;
    let (Some(now), Some(then)) = (now.map_err(unavailable)?, then.map_err(unavailable)?) else {
        return Err(Problem::unavailable());
    };
    let entries = app
        .store
        .entries(&pocket, now.record.lanes, month.first_day()..)
        .await
        .map_err(unavailable)?;

    let mut sums = Sums::default();
    let (mut conversions, mut on_hold) = (0, 0);
    let mut by_merchant = BTreeMap::new();
    for entry in entries {
        let effect = i128::from(entry.effect.minor());
        let is_taken_in = next_run.is_some_and(|next| entry.day < next);
        if !month.contains(entry.day) || !is_taken_in {
            if entry.recorded_at <= end {
                on_hold += effect;
            }
            continue;
        }
        sums = sums + Sums::of(entry.kind, effect);
        conversions += i64::from(entry.is_conversion());
        let merchant = entry.because["merchant"].as_str();
        if let Some(merchant) = merchant.and_then(|id| MerchantId::parse(id).ok()) {
            let of_merchant = by_merchant
                .entry((merchant, pocket.currency))
                .or_insert_with(OfMerchant::default);
            add_to_merchant(of_merchant, entry.kind, effect, entry.is_conversion());
        }
    }
    figures.on_hold = on_hold;
    let (carry, day) = (figures.closing, month.last_day());
    let held = held(carry, pocket.currency, day, &then.record);
    Ok(OfPocket {
        agrees: sums == figures.sums && conversions == figures.conversions,
        row: Row {
            affiliate: pocket.affiliate.clone(),
            currency: pocket.currency,
            legal_name: then.record.name.clone(),
            country: then.record.country.clone(),
            held_reason: held.map(|held| held.code().to_owned()),
            figures,
        },
        by_merchant,
    })
}

/// The rows of a closed month, as they were sealed.
pub async fn sealed(app: &App, payer: &PayerId, month: Month) -> Result<Vec<Row>, Problem> {
    let rows = app.store.month_rows(payer, month).await;
    let mut sealed = Vec::new();
    for row in rows.map_err(unavailable)? {
        if let Some(json) = &row.sealed {
            sealed.push(Row::parse(json).ok_or_else(Problem::unavailable)?);
        }
    }
    Ok(sealed)
}
