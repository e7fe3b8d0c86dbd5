//! Where each commission stands: from waiting for approval to paid, and in which payout it is.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::civil::Date;
use shared::app::{App, unavailable};
use shared::conversion::{Conversion, Credit, Status};
use shared::http_types::{Cursor, Page, Problem};
use shared::ledger::Pocket;
use shared::payout::Account;
use shared::period::days_after;
use shared::rights::{Action, Caller, Reach};
use shared::store::{Payout, PayoutsOf, Store, StoreError};

/// So many pockets are looked at side by side.
const AT_ONCE: usize = 16;
/// So many payouts are listed at a time: the first is the one most often.
const LISTED: usize = 20;

/// The word for it, and the payout that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub status: &'static str,
    pub payout: Option<String>,
}

impl Standing {
    fn without_payout(status: &'static str) -> Self {
        Self {
            status,
            payout: None,
        }
    }
}

/// Where lines of some pockets and days stand. A view: a payout may have moved on since.
#[derive(Debug, Default)]
pub struct Standings {
    lines: BTreeMap<(Pocket, Date), Standing>,
    names_payouts: bool,
}

impl Standings {
    /// Of each pocket the account is read, and payouts if it had one since.
    pub async fn of(
        app: &App,
        conversions: &[Conversion],
        caller: &Caller,
    ) -> Result<Self, Problem> {
        let mut days: BTreeMap<Pocket, BTreeSet<Date>> = BTreeMap::new();
        for conversion in conversions {
            for credit in super::own(conversion, caller) {
                if let (None, Some(day)) = (without_books(conversion, credit), credit.booked_on) {
                    let of_pocket = days.entry(conversion.pocket(credit)).or_default();
                    of_pocket.insert(day);
                }
            }
        }
        let lines: Vec<_> = stream::iter(days)
            .map(|(pocket, days)| of_pocket(&app.store, pocket, days))
            .buffered(AT_ONCE)
            .try_collect()
            .await
            .map_err(unavailable)?;
        Ok(Self {
            lines: lines.into_iter().flatten().collect(),
            // A payout is its payer's and its affiliate's business, and may be of many merchants.
            names_payouts: caller.reach(Action::ReadPayouts) != Reach::Nothing,
        })
    }

    /// None where nothing is earned, whatever becomes of it.
    pub fn get(&self, conversion: &Conversion, credit: &Credit) -> Option<Standing> {
        if let Some(status) = without_books(conversion, credit) {
            return Some(Standing::without_payout(status));
        }
        let line = (conversion.pocket(credit), credit.booked_on?);
        let mut standing = self.lines.get(&line)?.clone();
        standing.payout = standing.payout.filter(|_| self.names_payouts);
        Some(standing)
    }
}

/// What is known before anything else is read.
fn without_books(conversion: &Conversion, credit: &Credit) -> Option<&'static str> {
    let is_given_back = credit.given_back == credit.commission && !credit.commission.is_zero();
    match conversion.stands() {
        Status::Pending => Some("pending"),
        Status::Rejected => Some("rejected"),
        Status::Reversed => Some("reversed"),
        Status::Approved if is_given_back => Some("reversed"),
        Status::Approved | Status::Unattributed | Status::Test => None,
    }
}

type Line = ((Pocket, Date), Standing);

async fn of_pocket(
    store: &Store,
    pocket: Pocket,
    days: BTreeSet<Date>,
) -> Result<Vec<Line>, StoreError> {
    let account = store.account(&pocket).await?;
    let mut payouts = BTreeMap::new();
    let mut lines = Vec::with_capacity(days.len());
    for day in days {
        let standing = standing(store, &pocket, &account, &mut payouts, day).await?;
        lines.push(((pocket.clone(), day), standing));
    }
    Ok(lines)
}

/// Where a line of this day stands: once no run has taken it in, then carried, then in the first
/// payout after it. Money that came back is a line of the day that it was booked on again.
async fn standing(
    store: &Store,
    pocket: &Pocket,
    account: &Account,
    payouts: &mut BTreeMap<Date, Payout>,
    mut day: Date,
) -> Result<Standing, StoreError> {
    loop {
        if account.through.is_none_or(|through| through < day) {
            return Ok(Standing::without_payout("on_hold"));
        }
        let Some(last) = account.last_payout.filter(|last| day <= *last) else {
            return Ok(Standing::without_payout("payable"));
        };
        let payout = payout_with(store, pocket, payouts, day, last).await?;
        if !payout.state.is_credited_again() {
            let is_sent = payout.state.is_sent();
            return Ok(Standing {
                status: if is_sent { "paid" } else { "in_payout" },
                payout: Some(payout.id),
            });
        }
        let again_on = store.credited_again_on(&payout).await?;
        // Later than its own, since that one was over.
        day = again_on.max(days_after(payout.day, 1));
    }
}

/// The payout that holds the lines of a day; `last` is the newest one's day, so there is one.
async fn payout_with(
    store: &Store,
    pocket: &Pocket,
    known: &mut BTreeMap<Date, Payout>,
    day: Date,
    last: Date,
) -> Result<Payout, StoreError> {
    let list = PayoutsOf::Affiliate(&pocket.affiliate);
    let mut page = Page {
        limit: LISTED,
        after: Some(Cursor::after(day.to_string())),
    };
    while known.range(day..).next().is_none() {
        let (payouts, next) = store.payouts_listed(&list, None, &page).await?;
        let own = payouts.into_iter().filter(|own| own.pocket == *pocket);
        known.extend(own.map(|own| (own.day, own)));
        match next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    // A list may miss what was made just now, but each payout names the one before.
    let mut made_on = known.range(day..).next().map_or(last, |(day, _)| *day);
    loop {
        let payout = match known.get(&made_on) {
            Some(payout) => payout.clone(),
            None => {
                let payout = store.payout(&pocket.payout_id(made_on)).await?;
                payout.ok_or(StoreError::Contended)?
            }
        };
        known.insert(made_on, payout.clone());
        match payout.after {
            // Whatever stands there, each step leads to an earlier one.
            Some(before) if day <= before && before < made_on => made_on = before,
            _ => return Ok(payout),
        }
    }
}
