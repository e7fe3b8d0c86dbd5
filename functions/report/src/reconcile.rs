//! The second path: the ledger's lines added up by themselves, against all that was derived from them.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::StatusCode;
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Value, json};
use shared::app::{App, unavailable};
use shared::conversion::{OrderKey, Status};
use shared::http_types::{Problem, Request, Response};
use shared::ids::PayerId;
use shared::ledger::{Kind, Pocket, Sums};
use shared::payout::Account;
use shared::period::{Month, day_of};
use shared::rights::{Action, Caller};
use shared::setup::{Affiliate, Payer};
use shared::store::{Entry, StoreError};

const AT_ONCE: usize = 16;
/// How often a pocket that differs is looked at: it may have moved while it was read.
const LOOKS: u32 = 3;

/// What does not agree: in whole minor units, by the ledger's lines and as it stands elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Difference {
    what: String,
    ledger: i128,
    found: i128,
}

impl Difference {
    fn amount(&self) -> i128 {
        self.found - self.ledger
    }
}

struct Looked {
    pocket: Pocket,
    entries: usize,
    conversions: usize,
    payouts: usize,
    marked_since: Option<Timestamp>,
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

    let months = months(app, day_of(request.now)).await?;
    let looked = of_payer(app, &payer, &months, None).await?;
    let sum = |count: fn(&Looked) -> usize| looked.iter().map(count).sum::<usize>();
    let differences: Vec<Value> = looked.iter().flat_map(shown).collect();
    if !differences.is_empty() {
        tracing::warn!(payer.id = %payer, differences = differences.len(), "the books of `{payer}` differ from their ledger");
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
    let money = |minor| shared::money::sum_text(minor, looked.pocket.currency);
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

/// What the schedule asks for: every payer's books, and no payout from an account that differs.
pub async fn daily(app: &App, now: Timestamp) -> Result<Value, Problem> {
    let months = months(app, day_of(now)).await?;
    let (mut accounts, mut marked) = (0, 0);
    for payer in payers(app).await? {
        let looked = of_payer(app, &payer, &months, Some(now)).await?;
        accounts += looked.len();
        marked += looked
            .iter()
            .filter(|looked| !looked.differences.is_empty())
            .count();
    }
    Ok(json!({ "accounts": accounts, "marked": marked }))
}

async fn payers(app: &App) -> Result<BTreeSet<PayerId>, Problem> {
    let listed = app.store.all_records::<Payer>(None).await;
    let listed = listed.map_err(unavailable)?.into_iter();
    let mut payers = BTreeSet::from([PayerId::house()]);
    payers.extend(listed.map(|payer| payer.record.id));
    Ok(payers)
}

/// Every pocket of a payer. With an instant to mark at, those that differ are marked, and those
/// that agree again are let go.
async fn of_payer(
    app: &App,
    payer: &PayerId,
    months: &[Month],
    mark_at: Option<Timestamp>,
) -> Result<Vec<Looked>, Problem> {
    let pockets = app.store.pockets_of_payer(payer).await;
    stream::iter(pockets.map_err(unavailable)?)
        // Boxed: sixteen of these at once are too much for a small stack.
        .map(|pocket| {
            Box::pin(async move {
                let looked = look(app, pocket, months).await?;
                if let Some(now) = mark_at {
                    mark(app, &looked, now).await.map_err(unavailable)?;
                }
                Ok(looked)
            })
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

async fn mark(app: &App, looked: &Looked, now: Timestamp) -> Result<(), StoreError> {
    let pocket = &looked.pocket;
    let Pocket {
        payer,
        affiliate,
        currency,
    } = pocket;
    if let Some(first) = looked.differences.first() {
        app.store.mark(pocket, now).await?;
        tracing::error!(
            alarm = crate::ALARM, payer.id = %payer, affiliate.id = %affiliate, currency = currency.code(),
            what = first.what, ledger_minor = first.ledger, found_minor = first.found, differences = looked.differences.len(),
            "the account of `{affiliate}` with `{payer}` differs from its ledger: nothing is paid from it until they agree"
        );
    } else if let Some(since) = looked.marked_since {
        app.store.unmark(pocket, since, now).await?;
        tracing::info!(
            payer.id = %payer, affiliate.id = %affiliate, currency = currency.code(),
            "the account of `{affiliate}` with `{payer}` agrees with its ledger again, and is paid"
        );
    }
    Ok(())
}

/// Every month from the books' first to the present one.
async fn months(app: &App, today: Date) -> Result<Vec<Month>, Problem> {
    let first = app.store.first_day().await.map_err(unavailable)?;
    let mut months = Vec::new();
    if let Some(first) = first {
        let mut month = Month::of(first);
        while month <= Month::of(today) {
            months.push(month);
            month = month.next();
        }
    }
    Ok(months)
}

/// What differs by the same every time it is looked at: what only moves agrees at some time, or
/// differs by something else.
async fn look(app: &App, pocket: Pocket, months: &[Month]) -> Result<Looked, Problem> {
    let mut looked = look_once(app, &pocket, months).await?;
    for _ in 1..LOOKS {
        if looked.differences.is_empty() {
            break;
        }
        let mut again = look_once(app, &pocket, months).await?;
        again.differences.retain(|difference| {
            let is_same = |seen: &Difference| {
                seen.what == difference.what && seen.amount() == difference.amount()
            };
            looked.differences.iter().any(is_same)
        });
        looked = again;
    }
    Ok(looked)
}

async fn look_once(app: &App, pocket: &Pocket, months: &[Month]) -> Result<Looked, Problem> {
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
    check.months(app, pocket, taken_in, months).await?;
    let waiting = entries.iter().filter(|entry| !is_taken_in(entry));
    check.buckets(app, pocket, lanes, waiting).await?;
    let conversions = check.conversions(app, pocket, &entries).await?;
    let payouts = check.payouts(app, &account, &entries).await?;
    Ok(Looked {
        pocket: pocket.clone(),
        entries: entries.len(),
        conversions,
        payouts,
        marked_since: account.differs_since,
        differences: check.differences,
    })
}

/// What lines change together, in minor units.
fn total<'a>(entries: impl Iterator<Item = &'a Entry>) -> i128 {
    entries.map(|entry| i128::from(entry.effect.minor())).sum()
}

#[derive(Default)]
struct Check {
    differences: Vec<Difference>,
}

impl Check {
    fn same(&mut self, what: impl Into<String>, ledger: i128, found: i128) {
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
        self.same("carry", total(taken_in.clone()), account.carry);
        for kind in Kind::ALL {
            let of_kind = taken_in.clone().filter(|entry| entry.kind == kind);
            self.same(
                format!("lifetime {kind}"),
                total(of_kind),
                account.lifetime.get(kind),
            );
        }
    }

    async fn months<'a>(
        &mut self,
        app: &App,
        pocket: &Pocket,
        taken_in: impl Iterator<Item = &'a Entry>,
        months: &[Month],
    ) -> Result<(), Problem> {
        let mut by_month: BTreeMap<(Month, Kind), i128> = BTreeMap::new();
        for entry in taken_in {
            *by_month
                .entry((Month::of(entry.day), entry.kind))
                .or_default() += i128::from(entry.effect.minor());
        }
        // The event may be of the month before: runs that were made since then went on into this one.
        let taken_in = by_month.keys().map(|(month, _)| *month);
        let months: BTreeSet<Month> = months.iter().copied().chain(taken_in).collect();
        for month in months {
            let row = app.store.month_row(pocket, month).await;
            let row = row.map_err(unavailable)?;
            let sums = row.map(|row| row.sums).unwrap_or_default();
            for kind in Kind::ALL {
                let ledger = by_month.get(&(month, kind)).copied().unwrap_or(0);
                self.same(format!("{month} {kind}"), ledger, sums.get(kind));
            }
        }
        Ok(())
    }

    /// What no run has taken in stands in open buckets, lane by lane.
    async fn buckets<'a>(
        &mut self,
        app: &App,
        pocket: &Pocket,
        lanes: u8,
        waiting: impl Iterator<Item = &'a Entry>,
    ) -> Result<(), Problem> {
        let mut by_day: BTreeMap<Date, Sums> = BTreeMap::new();
        for entry in waiting {
            let sums = by_day.entry(entry.day).or_default();
            *sums = *sums + Sums::of(entry.kind, entry.effect.minor());
        }
        for (day, ledger) in by_day {
            let buckets = app.store.buckets_of(pocket, lanes, day).await;
            let buckets = buckets.map_err(unavailable)?;
            let found = buckets
                .iter()
                .fold(Sums::default(), |sums, bucket| sums + bucket.sums);
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
        let mut by_order: BTreeMap<&str, i128> = BTreeMap::new();
        for entry in entries {
            if let Some(id) = entry.because["conversion"].as_str() {
                *by_order.entry(id).or_default() += i128::from(entry.effect.minor());
            }
        }
        let count = by_order.len();
        for (id, ledger) in by_order {
            let key = OrderKey::of_conversion_id(id).ok_or_else(Problem::unavailable)?;
            let found = app.store.conversion(&key).await.map_err(unavailable)?;
            for (credit, due) in found
                .iter()
                .flat_map(|found| found.credits.iter().zip(found.due_back()))
            {
                // Lines that were taken back by name are rounded one by one, and it never falls.
                let given = credit.given_back;
                let is_by_line = found.as_ref().is_some_and(|found| !found.basket.is_empty());
                if credit.affiliate == pocket.affiliate
                    && !(is_by_line && due.minor() <= given.minor())
                {
                    self.same(
                        format!("conversion {id} given back"),
                        given.minor().into(),
                        due.minor().into(),
                    );
                }
            }
            let left = found.map_or(0, |conversion| {
                let is_booked = matches!(conversion.status, Status::Approved | Status::Reversed);
                let left = conversion.left().into_iter().zip(&conversion.credits);
                left.filter(|(_, credit)| is_booked && credit.affiliate == pocket.affiliate)
                    .map(|(left, _)| i128::from(left.minor()))
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
            let amount = payout
                .as_ref()
                .map_or(0, |payout| i128::from(payout.amount.minor()));
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
