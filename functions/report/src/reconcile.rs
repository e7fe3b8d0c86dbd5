//! The second path: the ledger's lines added up by themselves, against all that was derived from them.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::StatusCode;
use jiff::civil::Date;
use serde_json::{Value, json};
use shared::app::{App, unavailable};
use shared::conversion::{OrderKey, Status};
use shared::http_types::{Problem, Request, Response};
use shared::ids::PayerId;
use shared::ledger::{Kind, Pocket, Sums};
use shared::payout::Account;
use shared::period::Month;
use shared::rights::{Action, Caller};
use shared::setup::Affiliate;
use shared::store::{Entry, MonthRow};

const AT_ONCE: usize = 16;
/// How often a pocket that moves while it is read is looked at again.
const LOOKS: u32 = 3;

/// What does not agree: in whole minor units, by the ledger's lines and as it stands elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Difference {
    what: String,
    ledger: i64,
    found: i64,
}

struct Looked {
    pocket: Pocket,
    entries: usize,
    conversions: usize,
    payouts: usize,
    differences: Vec<Difference>,
}

/// `GET /api/v1/reports/reconciliation`
pub async fn reconciliation(
    app: &App,
    request: &Request,
    caller: &Caller,
) -> Result<Response, Problem> {
    caller.may_at_all(Action::ReadReports)?;
    let mut fields = request.query_fields()?;
    let payer = app.payer(&mut fields).await?.id;
    fields.finish()?;

    let pockets = app.store.pockets_of_payer(&payer).await;
    let pockets = pockets.map_err(unavailable)?;
    let months = months(app, &payer, request).await?;
    let looked: Vec<Looked> = stream::iter(pockets)
        // Boxed: sixteen of these at once are too much for a small stack.
        .map(|pocket| Box::pin(look(app, pocket, &months)))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;

    let sum = |count: fn(&Looked) -> usize| looked.iter().map(count).sum::<usize>();
    let differences: Vec<Value> = looked.iter().flat_map(shown).collect();
    if !differences.is_empty() {
        tracing::error!(payer.id = %payer, differences = differences.len(), "the books of `{payer}` differ from their ledger");
    }
    let body = json!({
        "payer": payer.as_str(),
        "pockets": looked.len(),
        "entries": sum(|looked| looked.entries),
        "conversions": sum(|looked| looked.conversions),
        "payouts": sum(|looked| looked.payouts),
        "differences": differences,
    });
    Ok(Response::json(StatusCode::OK, &body))
}

fn shown(looked: &Looked) -> Vec<Value> {
    let money = |minor| shared::money::Money::new(minor, looked.pocket.currency).to_string();
    looked
        .differences
        .iter()
        .map(|difference| {
            json!({
                "affiliate": looked.pocket.affiliate.as_str(),
                "currency": looked.pocket.currency.code(),
                "what": difference.what,
                "ledger": money(difference.ledger),
                "found": money(difference.found),
            })
        })
        .collect()
}

type Months = BTreeMap<Month, Vec<MonthRow>>;

/// The rows of every month from the books' first to the present one.
async fn months(app: &App, payer: &PayerId, request: &Request) -> Result<Months, Problem> {
    let mut months = Months::new();
    let first = app.store.first_day().await.map_err(unavailable)?;
    let Some(first) = first else {
        return Ok(months);
    };
    let mut month = Month::of(first);
    while month <= Month::of(shared::period::day_of(request.now)) {
        let rows = app.store.month_rows(payer, month).await;
        months.insert(month, rows.map_err(unavailable)?);
        month = month.next();
    }
    Ok(months)
}

async fn look(app: &App, pocket: Pocket, months: &Months) -> Result<Looked, Problem> {
    let mut looked = look_once(app, &pocket, months).await?;
    for _ in 1..LOOKS {
        if looked.differences.is_empty() {
            break;
        }
        looked = look_once(app, &pocket, months).await?;
    }
    Ok(looked)
}

async fn look_once(app: &App, pocket: &Pocket, months: &Months) -> Result<Looked, Problem> {
    let affiliate = app
        .store
        .record::<Affiliate>(pocket.affiliate.as_str())
        .await
        .map_err(unavailable)?
        .ok_or_else(Problem::unavailable)?;
    let lanes = affiliate.record.lanes;
    let account = app.store.account(pocket).await.map_err(unavailable)?;
    let entries = app.store.entries(pocket, lanes, ..).await;
    let entries = entries.map_err(unavailable)?;

    let mut check = Check::default();
    let is_taken_in = |entry: &Entry| account.through.is_some_and(|through| entry.day <= through);
    let taken_in = entries.iter().filter(|entry| is_taken_in(entry));
    check.account(&account, taken_in.clone());
    check.months(pocket, taken_in, months);
    let waiting = entries.iter().filter(|entry| !is_taken_in(entry));
    check.buckets(app, pocket, waiting).await?;
    let conversions = check.conversions(app, pocket, &entries).await?;
    let payouts = check.payouts(app, &account, &entries).await?;
    Ok(Looked {
        pocket: pocket.clone(),
        entries: entries.len(),
        conversions,
        payouts,
        differences: check.differences,
    })
}

/// What lines change together, in minor units.
fn total<'a>(entries: impl Iterator<Item = &'a Entry>) -> i64 {
    entries.fold(0, |sum, entry| sum + entry.effect.minor())
}

#[derive(Default)]
struct Check {
    differences: Vec<Difference>,
}

impl Check {
    fn same(&mut self, what: impl Into<String>, ledger: i64, found: i64) {
        if ledger != found {
            self.differences.push(Difference {
                what: what.into(),
                ledger,
                found,
            });
        }
    }

    fn account<'a>(
        &mut self,
        account: &Account,
        taken_in: impl Iterator<Item = &'a Entry> + Clone,
    ) {
        self.same("carry", total(taken_in.clone()), account.carry.minor());
        for kind in Kind::ALL {
            let of_kind = taken_in.clone().filter(|entry| entry.kind == kind);
            self.same(
                format!("lifetime {kind}"),
                total(of_kind),
                account.lifetime.get(kind),
            );
        }
    }

    fn months<'a>(
        &mut self,
        pocket: &Pocket,
        taken_in: impl Iterator<Item = &'a Entry>,
        months: &Months,
    ) {
        let mut by_month: BTreeMap<(Month, Kind), i64> = BTreeMap::new();
        for entry in taken_in {
            *by_month
                .entry((Month::of(entry.day), entry.kind))
                .or_default() += entry.effect.minor();
        }
        for (month, rows) in months {
            let row = rows.iter().find(|row| row.pocket == *pocket);
            let sums = row.map(|row| row.sums).unwrap_or_default();
            for kind in Kind::ALL {
                let ledger = by_month.remove(&(*month, kind)).unwrap_or(0);
                self.same(format!("{month} {kind}"), ledger, sums.get(kind));
            }
        }
        for ((month, kind), ledger) in by_month {
            self.same(format!("{month} {kind}"), ledger, 0);
        }
    }

    /// What no run has taken in stands in open buckets, lane by lane.
    async fn buckets<'a>(
        &mut self,
        app: &App,
        pocket: &Pocket,
        waiting: impl Iterator<Item = &'a Entry>,
    ) -> Result<(), Problem> {
        let mut by_day: BTreeMap<Date, Sums> = BTreeMap::new();
        for entry in waiting {
            let sums = by_day.entry(entry.day).or_default();
            *sums = sums
                .checked_add(Sums::of(entry.kind, entry.effect.minor()))
                .ok_or_else(Problem::unavailable)?;
        }
        for (day, ledger) in by_day {
            let buckets = app.store.buckets(day, pocket.shard()).await;
            let buckets = buckets.map_err(unavailable)?;
            let mut of_pocket = buckets.iter().filter(|bucket| bucket.pocket == *pocket);
            let found = of_pocket
                .try_fold(Sums::default(), |sums, bucket| {
                    sums.checked_add(bucket.sums)
                })
                .ok_or_else(Problem::unavailable)?;
            for kind in Kind::ALL {
                self.same(
                    format!("bucket of {day} {kind}"),
                    ledger.get(kind),
                    found.get(kind),
                );
            }
        }
        Ok(())
    }

    /// The lines of an order against what the order still earns.
    async fn conversions(
        &mut self,
        app: &App,
        pocket: &Pocket,
        entries: &[Entry],
    ) -> Result<usize, Problem> {
        let mut by_order: BTreeMap<&str, i64> = BTreeMap::new();
        for entry in entries {
            if let Some(id) = entry.because["conversion"].as_str() {
                *by_order.entry(id).or_default() += entry.effect.minor();
            }
        }
        let count = by_order.len();
        for (id, ledger) in by_order {
            let key = OrderKey::of_conversion_id(id).ok_or_else(Problem::unavailable)?;
            let found = app.store.conversion(&key).await.map_err(unavailable)?;
            let left = found.map_or(0, |conversion| {
                let is_booked = matches!(conversion.status, Status::Approved | Status::Reversed);
                let left = conversion.left().into_iter().zip(&conversion.credits);
                left.filter(|(_, credit)| is_booked && credit.affiliate == pocket.affiliate)
                    .map(|(left, _)| left.minor())
                    .sum()
            });
            self.same(format!("conversion {id}"), ledger, left);
        }
        Ok(count)
    }

    /// Every payment's line has its payout and the other way round; what came back was credited
    /// again, once.
    async fn payouts(
        &mut self,
        app: &App,
        account: &Account,
        entries: &[Entry],
    ) -> Result<usize, Problem> {
        let ids: BTreeSet<&str> = entries
            .iter()
            .filter_map(|entry| entry.because["payout"].as_str())
            .collect();
        let mut sent = 0;
        for id in &ids {
            let of_kind = |kind| {
                total(
                    entries
                        .iter()
                        .filter(|entry| entry.kind == kind && entry.because["payout"] == *id),
                )
            };
            let payout = app.store.payout(id).await.map_err(unavailable)?;
            let amount = payout.as_ref().map_or(0, |payout| payout.amount.minor());
            self.same(format!("payout {id}"), -of_kind(Kind::Paid), amount);
            let state = payout.map(|payout| payout.state);
            let is_back = state.is_some_and(shared::payout::State::is_credited_again);
            let back = if is_back { amount } else { 0 };
            self.same(
                format!("payout {id} returned"),
                of_kind(Kind::Returned),
                back,
            );
            if state.is_some_and(shared::payout::State::is_sent) {
                sent += amount;
            }
        }
        self.same("payouts sent", sent, account.sent);
        Ok(ids.len())
    }
}
