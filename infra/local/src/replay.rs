//! `clickledger replay`: real orders through the real handlers, and the proof that every cent of
//! every month is as predicted.

mod oracle;
mod orders;
mod proof;
mod requests;
mod rule;
mod shop;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use jiff::civil::Date;

use oracle::Prediction;
use orders::Order;
pub use orders::{OrdersError, Part};
pub use proof::Difference;
use proof::{Found, differ, differences};
pub use requests::Unexpected;
pub use rule::RULE;
use rule::{Dealt, Hour, Refund, Span};
use shop::{Answers, Sealed, Shop, name_of};

/// How many differences are shown.
const SHOWN_MOST: usize = 20;

/// Why a replay could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Orders(#[from] OrdersError),
    #[error("cannot start the stack: {0}")]
    Start(String),
    #[error(transparent)]
    Unexpected(#[from] Unexpected),
}

/// What a replay came to. It prints as the operator reads it.
#[derive(Debug)]
pub struct Outcome {
    span: Span,
    rows: usize,
    answers: Answers,
    sealed: Vec<Sealed>,
    payouts: u64,
    paid: i128,
    elapsed: Duration,
    /// Of the reports of all months, as predicted.
    report_rows: u64,
    /// None is the proof.
    pub differences: Vec<Difference>,
}

/// Replays orders and proves what came of them. Progress is shown on the terminal.
///
/// # Errors
/// [`ReplayError`]
pub async fn replay(file: Option<&Path>, part: Part) -> Result<Outcome, ReplayError> {
    replay_of(orders::read(file, part)?).await
}

async fn replay_of(orders: Vec<Order>) -> Result<Outcome, ReplayError> {
    let started = Instant::now();
    let dealt: Vec<Dealt> = orders.into_iter().map(Dealt::of).collect();
    let span = rule::span(&dealt);
    let prediction = oracle::predict(&dealt, span);

    let progress = Progress::new(dealt.len());
    let mut shop = Shop::open(span.first).await?;
    let mut found = Found::default();
    let sealed = run_days(&mut shop, &dealt, span, &mut found, &progress).await?;
    read_back(&shop, &sealed, &prediction, &mut found).await?;
    progress.bar.finish_and_clear();

    let mut all = counted(&dealt, &shop.answers);
    all.extend(differences(&prediction, &found));
    let report_rows: usize = prediction.months.values().map(BTreeMap::len).sum();
    Ok(Outcome {
        span,
        rows: dealt.len(),
        sealed,
        payouts: found.runs.values().map(|run| run.payouts).sum(),
        paid: found.runs.values().flat_map(|run| run.sums.values()).sum(),
        elapsed: started.elapsed(),
        differences: all,
        report_rows: report_rows as u64,
        answers: shop.answers,
    })
}

/// Every day in order: the refunds of the night, the run of the day before, the orders, the
/// refunds of the day. A month is closed on the first day after it.
async fn run_days(
    shop: &mut Shop,
    dealt: &[Dealt],
    span: Span,
    found: &mut Found,
    progress: &Progress,
) -> Result<Vec<Sealed>, Unexpected> {
    let mut orders: BTreeMap<Date, Vec<&Dealt>> = BTreeMap::new();
    let mut refunds: BTreeMap<(Date, Hour), Vec<(&Dealt, Refund)>> = BTreeMap::new();
    for dealt in dealt {
        orders.entry(dealt.order.day).or_default().push(dealt);
        for refund in &dealt.refunds {
            let posted_at = (refund.day, refund.hour);
            let due = refunds.entry(posted_at).or_default();
            due.push((dealt, refund.clone()));
        }
    }

    let mut sealed = Vec::new();
    let mut day = span.first;
    loop {
        if let Some(refunds) = refunds.remove(&(day, Hour::Night)) {
            shop.turn_to(day, Hour::Night).await?;
            shop.post_refunds(refunds).await?;
        }
        shop.turn_to(day, Hour::Noon).await?;
        let yesterday = rule::days_after(day, -1);
        if span.first < day {
            found.add_run(yesterday, &shop.run_of(yesterday).await?);
        }
        if span.first < day && day == day.first_of_month() {
            for payer in rule::PAYERS {
                let month = yesterday.first_of_month();
                sealed.push(shop.close(payer, month).await?);
            }
            progress.month(yesterday);
        }
        if span.last < day {
            return Ok(sealed);
        }
        if rule::details_from(rule::LATE, span.first) == Some(day) {
            shop.say_where_to(rule::LATE).await?;
        }
        let orders = orders.remove(&day).unwrap_or_default();
        shop.post_orders(&orders).await?;
        if let Some(refunds) = refunds.remove(&(day, Hour::Noon)) {
            shop.post_refunds(refunds).await?;
        }
        progress.day(day, orders.len());
        day = rule::days_after(day, 1);
    }
}

/// Reads every month again when all is over: nothing in a closed one may have moved.
async fn read_back(
    shop: &Shop,
    sealed: &[Sealed],
    prediction: &Prediction,
    found: &mut Found,
) -> Result<(), Unexpected> {
    for month in sealed {
        let again = shop.close(month.payer, month.month).await?;
        let what = || format!("{} of {} closed again", name_of(month.month), month.payer);
        found.odd.extend(differ(what, &month.sha256, &again.sha256));
        let (report, csv_sha256) = shop.report(month.payer, month.month).await?;
        found.add_month(month, &report, &csv_sha256);
    }
    for affiliate in 0..rule::AFFILIATES {
        let id = rule::affiliate_id(affiliate);
        let balances = shop.balances(affiliate).await?;
        found.add_balances(&id, &balances, prediction);
    }
    for (id, commissions) in &shop.answers.orders {
        let given_back = shop.answers.given_back.get(id);
        found.add_order(id, commissions, given_back.map_or(&[], Vec::as_slice));
    }
    Ok(())
}

/// The counts that the file and the rule foretell.
fn counted(dealt: &[Dealt], answers: &Answers) -> Vec<Difference> {
    let count = |is: &dyn Fn(&&Dealt) -> bool| dealt.iter().filter(is).count() as u64;
    let refunds = || dealt.iter().flat_map(|dealt| &dealt.refunds);
    let twice = refunds().filter(|refund| refund.is_posted_twice).count() as u64;
    let counts = [
        (
            "created",
            count(&|one| !one.order.is_repeat),
            answers.created,
        ),
        (
            "worth 0.00",
            count(&|one| !one.order.is_repeat && one.order.cents == 0),
            answers.worth_nothing,
        ),
        (
            "recorded before",
            count(&|one| one.order.is_repeat),
            answers.recorded_before,
        ),
        ("reversals", refunds().count() as u64, answers.reversals),
        ("reversals recorded before", twice, answers.reversals_before),
        ("refused", 0, answers.refused),
    ];
    let differences = counts
        .into_iter()
        .filter_map(|(name, predicted, found)| differ(|| name.to_owned(), predicted, found));
    differences.collect()
}

/// On a terminal a bar, else a line for each month.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new(orders: usize) -> Self {
        let bar = ProgressBar::new(orders as u64);
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar} {human_pos} of {human_len} orders, {eta} left",
        );
        bar.set_style(style.expect("the template names what the bar knows"));
        Self { bar }
    }

    fn day(&self, day: Date, orders: usize) {
        self.bar.set_message(day.to_string());
        self.bar.inc(orders as u64);
    }

    fn month(&self, month: Date) {
        if self.bar.is_hidden() {
            let orders = HumanCount(self.bar.position());
            eprintln!("{} closed, {orders} orders so far", name_of(month));
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |count: u64| HumanCount(count).to_string();
        let rows = self.rows as u64;
        let milliseconds = self.elapsed.as_millis().max(1);
        let a_second = u128::from(rows) * 1_000 / milliseconds;
        let (first, last) = (self.span.first, self.span.last);
        writeln!(
            f,
            "{} orders over the days from {first} to {last}, in {} s: {a_second} a second",
            count(rows),
            milliseconds / 1_000,
        )?;
        let answers = &self.answers;
        let mut line = |name: &str, number: u64| writeln!(f, "  {name:<27} {:>9}", count(number));
        line("created", answers.created)?;
        line("  of these worth 0.00", answers.worth_nothing)?;
        line("recorded before", answers.recorded_before)?;
        line("refused", answers.refused)?;
        line("reversals", answers.reversals)?;
        line("reversals recorded before", answers.reversals_before)?;
        line("payouts", self.payouts)?;
        let (whole, cents) = (self.paid / 100, self.paid % 100);
        writeln!(f, "  paid out                    {whole}.{cents:02} USD")?;
        writeln!(f, "  months closed, with the SHA-256 of their reports:")?;
        for sealed in &self.sealed {
            let month = name_of(sealed.month);
            writeln!(f, "    {month} {:<5} {}", sealed.payer, sealed.sha256)?;
        }
        for refusal in &answers.refusals {
            writeln!(f, "  refused: {refusal}")?;
        }
        f.write_str(&self.verdict())
    }
}

impl Outcome {
    fn verdict(&self) -> String {
        let mut text = String::new();
        if self.differences.is_empty() {
            let _ = write!(
                text,
                "Proved: the orders and the rule alone predict every one of the {} payouts and all {} rows of the {} months.",
                HumanCount(self.payouts),
                HumanCount(self.report_rows),
                self.sealed.len(),
            );
            return text;
        }
        let _ = write!(
            text,
            "Not proved: {} differences, of which the first are",
            HumanCount(self.differences.len() as u64)
        );
        for difference in self.differences.iter().take(SHOWN_MOST) {
            let _ = write!(text, "\n  {difference}");
        }
        text
    }
}

#[cfg(test)]
mod tests;
