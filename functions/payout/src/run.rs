//! One day's run: due approvals, gates, buckets, accounts, in this order, until nothing is left; then
//! the accounts of those whose terms were changed.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use shared::app::App;
use shared::lambda::Watch;
use shared::ledger::{Pocket, SHARDS, Sums};
use shared::money::{Currency, sum_text};
use shared::payout::{Held, settle};
use shared::period::last_instant_of;
use shared::setup::Affiliate;
use shared::store::{Bucket, BucketState, SettleOutcome, StoreError};

use crate::approvals;

/// How often an account is tried while others change it.
const RACES_MOST: u32 = 8;
/// How many partitions are listed, and how many accounts settle or orders are approved, at the same
/// time.
const AT_ONCE: usize = 16;
/// With less time than this no account is begun: what is under way must end before the process.
const MARGIN: SignedDuration = SignedDuration::from_secs(10);
/// A run that was stopped among its accounts can go on at once.
const SOON: SignedDuration = SignedDuration::from_secs(1);

/// Why a run is not done. Asking again is safe, and goes on where it was: a bucket that is
/// drained stays so.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The day, and after how long a call gets on with it.
    #[error("the time was over before the run of {0} was done; the next call goes on where it was")]
    OutOfTime(Date, SignedDuration),
}

/// Runs every day that is not done, up to and including `day`, oldest first; answers what the
/// run of `day` came to, the same however often it is asked.
pub async fn through(
    app: &App,
    day: Date,
    now: Timestamp,
    watch: Watch<'_>,
) -> Result<Value, RunError> {
    while let Some(next) = app.store.next_day_to_run().await?
        && next <= day
    {
        run(app, next, now, watch).await?;
        app.store.finish_run(next).await?;
        tracing::info!(payout.day = %next, "the run of {next} is done");
    }
    Ok(summary(app, day).await?)
}

async fn run(app: &App, day: Date, now: Timestamp, watch: Watch<'_>) -> Result<(), RunError> {
    let begun = app.store.begin_run(day).await?;
    let gates_closed_at = match begun.gates_closed_at {
        Some(at) => at,
        None => {
            approvals::approve_due(app, day, watch).await?;
            app.store.close_gates(day).await?;
            app.store.note_gates_closed(day, watch.now()).await?
        }
    };
    // What was on its way when the gates closed shows in a listing that is made so much later.
    let complete_from = gates_closed_at
        .checked_add(app.second_listing_after)
        .unwrap_or(Timestamp::MAX);
    loop {
        if watch.left() < MARGIN {
            return Err(RunError::OutOfTime(day, SOON));
        }
        let listed_at = watch.now();
        let accounts = accounts_left(app, day).await?;
        if accounts.is_empty() && complete_from <= listed_at {
            return settle_changed(app, day, begun.epoch, now, watch).await;
        }
        // What fences an account off is the epoch in its own buckets.
        each_in_time(accounts, day, watch, |pocket| {
            settle_account(app, pocket, day, begun.epoch, now)
        })
        .await?;
        wait(complete_from, day, watch).await?;
    }
}

/// An invocation whose time would be over in the wait ends at once, and the next one goes on.
async fn wait(until: Timestamp, day: Date, watch: Watch<'_>) -> Result<(), RunError> {
    let time = until.duration_since(watch.now());
    if !time.is_positive() {
        return Ok(());
    }
    if watch.left() < time + MARGIN {
        return Err(RunError::OutOfTime(day, time));
    }
    tokio::time::sleep(time.unsigned_abs()).await;
    Ok(())
}

/// Every bucket of a day.
async fn buckets(app: &App, day: Date) -> Result<Vec<Bucket>, StoreError> {
    let by_shard: Vec<Vec<Bucket>> = stream::iter(0..SHARDS)
        .map(|shard| app.store.buckets(day, shard))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(by_shard.into_iter().flatten().collect())
}

/// The accounts that have buckets of a day that are not drained.
async fn accounts_left(app: &App, day: Date) -> Result<BTreeSet<Pocket>, StoreError> {
    let buckets = buckets(app, day).await?.into_iter();
    let open = buckets.filter(|bucket| bucket.state != BucketState::Drained);
    Ok(open.map(|bucket| bucket.pocket).collect())
}

/// A change of an affiliate may set free what it has carried, so the run of the day from which it is in
/// force looks at all of its accounts that have something, also at those without money of that day. No
/// change can come any more, nor anything be left that is listed late: the gates closed long ago.
async fn settle_changed(
    app: &App,
    day: Date,
    epoch: i64,
    now: Timestamp,
    watch: Watch<'_>,
) -> Result<(), RunError> {
    let pockets = pockets_of_changed(app, day).await?;
    each_in_time(pockets, day, watch, async |pocket| {
        let account = app.store.account(&pocket).await?;
        if account.through < Some(day) && account.carry > 0 {
            app.store.look_again(&pocket, day, epoch).await?;
            settle_account(app, pocket, day, epoch, now).await?;
        }
        Ok(())
    })
    .await
}

/// All pockets of the affiliates who were changed on a day.
async fn pockets_of_changed(app: &App, day: Date) -> Result<Vec<Pocket>, StoreError> {
    let changed = app.store.affiliates_changed_on(day).await?;
    let of_each: Vec<Vec<Pocket>> = stream::iter(changed)
        .map(async |affiliate| app.store.pockets_of(&affiliate).await)
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(of_each.into_iter().flatten().collect())
}

/// Takes a step with each, side by side. When time is short no other one is begun, and those under
/// way come to their end.
pub(crate) async fn each_in_time<T, S>(
    items: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
    day: Date,
    watch: Watch<'_>,
    step: impl Fn(T) -> S,
) -> Result<(), RunError>
where
    S: Future<Output = Result<(), StoreError>>,
{
    let mut waiting = items.into_iter();
    let begun = std::iter::from_fn(|| {
        let has_time = MARGIN <= watch.left();
        has_time.then(|| waiting.next()).flatten()
    });
    stream::iter(begun)
        // Boxed: sixteen of these at once are too much for a small stack.
        .map(|item| Box::pin(step(item)))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    if waiting.len() > 0 {
        return Err(RunError::OutOfTime(day, SOON));
    }
    Ok(())
}

/// All lanes of an account at once, each under its own key: a list may have missed one, and an account
/// settles once a day.
async fn settle_account(
    app: &App,
    pocket: Pocket,
    day: Date,
    epoch: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let affiliate = app.store.record::<Affiliate>(pocket.affiliate.as_str());
    let affiliate = affiliate.await?.ok_or(StoreError::Contended)?;
    // Lanes only rise, and no bucket is made any more.
    let lanes = affiliate.record.lanes;
    let then = app.store.as_of(affiliate, last_instant_of(day)).await?;
    for _ in 0..RACES_MOST {
        let mut closed = Vec::new();
        for lane in 0..lanes {
            closed.extend(app.store.close_bucket(&pocket, lane, day, epoch).await?);
        }
        if closed.is_empty() {
            return Ok(());
        }
        let sums = closed
            .iter()
            .fold(Sums::default(), |sum, bucket| sum + bucket.sums);
        let before = app.store.account(&pocket).await?;
        let settled = settle(&before, sums, day, &then.record);
        if settled.held == Some(Held::TooLarge) {
            let (payer, affiliate) = (&pocket.payer, &pocket.affiliate);
            tracing::error!(
                payer.id = %payer, affiliate.id = %affiliate, payout.day = %day,
                "the account of `{affiliate}` with `{payer}` holds more than a payout can be: it is carried until somebody corrects it"
            );
        }
        if app
            .store
            .settle(&closed, &before, &settled, epoch, now)
            .await?
        {
            return Ok(());
        }
    }
    Err(StoreError::Contended)
}

/// Every bucket of a day that is done, by pocket and lane. What was looked at last of all may be in no
/// list yet, and is read under its key.
async fn buckets_at_the_end(
    app: &App,
    day: Date,
) -> Result<BTreeMap<(Pocket, u8), Bucket>, StoreError> {
    let pockets = pockets_of_changed(app, day).await?;
    let of_changed: Vec<Vec<Bucket>> = stream::iter(pockets)
        .map(async |pocket| app.store.buckets_of(&pocket, 1, day).await)
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let listed = buckets(app, day).await?.into_iter();
    let found = listed.chain(of_changed.into_iter().flatten());
    Ok(found
        .map(|bucket| ((bucket.pocket.clone(), bucket.lane), bucket))
        .collect())
}

/// Read back from what the run left: a run that was cut and resumed says the same.
async fn summary(app: &App, day: Date) -> Result<Value, StoreError> {
    let (mut bucket_count, mut payouts, mut carried, mut held) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut total: BTreeMap<(String, &'static str), (Currency, i128)> = BTreeMap::new();
    for bucket in buckets_at_the_end(app, day).await?.into_values() {
        bucket_count += 1;
        match bucket.outcome {
            None => {}
            Some(SettleOutcome::Carried) => carried += 1,
            Some(SettleOutcome::Held) => held += 1,
            Some(SettleOutcome::Paid(amount)) => {
                payouts += 1;
                let currency = amount.currency();
                let key = (bucket.pocket.payer.to_string(), currency.code());
                let (_, sum) = total.entry(key).or_insert((currency, 0));
                *sum += i128::from(amount.minor());
            }
        }
    }
    let total: Vec<Value> = total
        .into_iter()
        .map(|((payer, code), (currency, sum))| {
            json!({"payer": payer, "currency": code, "amount": sum_text(sum, currency)})
        })
        .collect();
    Ok(json!({
        "day": day.to_string(),
        "state": "done",
        "buckets": bucket_count,
        "payouts": payouts,
        "carried": carried,
        "held": held,
        "total": total,
    }))
}
