//! What every affiliate is owed and was paid, pocket by pocket: a payer, an affiliate, a currency.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;
use shared::setup::{Affiliate, AffiliateStatus, Record as _};

use super::{Due, Pocket, day_number, get};
use crate::cast::{PROGRAMS, TERMS, Terms};
use crate::history::{DAY, Step};
use crate::model::{self, Line, Since};
use crate::people::{Change, People};
use crate::world::{SKEW, TIMEOUT_MS, affiliate_id, minor};

pub(super) fn adjusted_once(people: &People, due: &mut Due) {
    let moments = people.history.moments.iter();
    let steps = moments.flat_map(|moment| moment.steps.iter().map(|step| (moment.at, step)));
    for (at, step) in steps {
        let Step::Adjust {
            id,
            affiliate,
            program,
            amount,
            in_days,
            ..
        } = step
        else {
            continue;
        };
        let seen = people.seen.borrow();
        let answers = seen.adjustments.get(id).cloned().unwrap_or_default();
        let created = answers.iter().filter(|answer| answer.status == 201).count();
        let before = answers.iter().filter(|answer| answer.status == 200).count();
        if created > 1 || created + before != answers.len() {
            people.world.wrong(
                "one adjustment",
                format!("adjustment {id} was answered {answers:?}"),
            );
        }
        let program = &PROGRAMS[*program];
        let pocket = (
            program.payer.to_owned(),
            affiliate_id(*affiliate),
            program.currency.to_owned(),
        );
        due.sums.entry(pocket).or_default().1 += amount;
        due.adjusted.insert(format!("adj{id}"), at / DAY + in_days);
    }
}

async fn terms_of(people: &People, id: &str) -> Vec<Since> {
    let versions = people.world.store().versions::<Affiliate>(id).await;
    let versions = versions.expect("the network is calm");
    let since = versions.iter().map(|version| {
        let json = version.record.to_json();
        let payout = &json["payout"];
        let currency = if payout["currency"] == "JPY" {
            "JPY"
        } else {
            "EUR"
        };
        let schedule = ["daily", "weekly"]
            .into_iter()
            .find(|one| payout["schedule"] == *one);
        let minimum = &payout["minimum"][currency];
        Since {
            at: version.since.as_millisecond(),
            terms: Terms {
                currency,
                schedule: schedule.unwrap_or("monthly"),
                minimum: if minimum.is_null() { 0 } else { minor(minimum) },
                is_active: version.record.status == AffiliateStatus::Active,
            },
        }
    });
    since.collect()
}

/// Every version of an affiliate's terms is the first or one that somebody gave, in force from then on;
/// and whatever was answered with 200 is one of them.
fn terms_are_those_given(people: &People, number: usize, terms: &[Since]) {
    let seen = people.seen.borrow();
    let changes = seen.changes.get(&number).map_or(&[][..], Vec::as_slice);
    let first = TERMS[people.history.terms[number]];
    // A version is in force no sooner than the one before it, whose clock may have been ahead.
    let is_of = |since: &Since, change: &Change| {
        let (from, to) = change.under_way;
        (from - SKEW..=to + 3 * SKEW).contains(&since.at) && TERMS[change.terms] == since.terms
    };
    // What is in force at the beginning was stored before any clock could say so.
    let start = people.history.moments[0].at - SKEW;
    let given = terms.iter().filter(|since| since.at >= start);
    for since in given.clone() {
        if !changes.iter().any(|change| is_of(since, change)) {
            let what = format!("a{number} has terms that nobody gave: {since:?} of {changes:?}");
            people.world.wrong("terms", what);
        }
    }
    for change in changes.iter().filter(|change| change.was_done) {
        if !given.clone().any(|since| is_of(since, change)) {
            let what = format!("a{number} lacks terms that were stored: {change:?}");
            people.world.wrong("terms", what);
        }
    }
    let before = terms.iter().rfind(|since| since.at < start);
    if before.is_none_or(|since| since.terms != first) {
        let what = format!("a{number} began with {before:?}");
        people.world.wrong("terms", what);
    }
}

pub(super) async fn affiliate_is_paid(
    people: &People,
    number: usize,
    due: &mut Due,
    days: (i64, i64),
) {
    let world = &people.world;
    let id = affiliate_id(number);
    let terms = terms_of(people, &id).await;
    terms_are_those_given(people, number, &terms);
    let balances = get(people, &format!("affiliates/{id}/balances")).await;
    let entries = get(people, &format!("affiliates/{id}/entries?limit=200")).await;
    let payouts = get(people, &format!("payouts?affiliate={id}&limit=200")).await;
    let list = |of: &Value| of["items"].as_array().cloned().unwrap_or_default();

    let mut pockets: BTreeSet<Pocket> = due
        .sums
        .keys()
        .filter(|pocket| pocket.1 == id)
        .cloned()
        .collect();
    let pocket = |item: &Value| -> Pocket {
        let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
        (text("payer"), id.clone(), text("currency"))
    };
    pockets.extend(list(&balances).iter().map(pocket));
    pockets.extend(list(&entries).iter().map(pocket));
    for key in pockets {
        let of = |items: &Value| -> Vec<Value> {
            list(items)
                .into_iter()
                .filter(|item| pocket(item) == key)
                .collect()
        };
        let (lines, paid) = (of(&entries), of(&payouts));
        let kinds: BTreeMap<&str, i64> = lines.iter().fold(BTreeMap::new(), |mut kinds, line| {
            *kinds
                .entry(line["kind"].as_str().unwrap_or_default())
                .or_default() += minor(&line["amount"]);
            kinds
        });
        let kind = |name: &str| kinds.get(name).copied().unwrap_or(0);
        let (earned, adjusted) = due.sums.get(&key).copied().unwrap_or_default();
        if kind("earned") + kind("reversed") != earned || kind("adjustment") != adjusted {
            world.wrong(
                "paid what is due",
                format!("{key:?}: {kinds:?}, but {earned} and {adjusted} are due"),
            );
        }

        let days_of = |line: &Value| day_number(line["day"].as_str().unwrap_or_default());
        for line in &lines {
            let month = line["day"].as_str().unwrap_or_default()[..7].to_owned();
            let kinds = due.booked.entry((key.clone(), month)).or_default();
            let kind = line["kind"].as_str().unwrap_or_default().to_owned();
            *kinds.entry(kind).or_default() += minor(&line["amount"]);
        }
        let earned_on = earned_on(&lines);
        for line in &lines {
            let misplaced = misplaced(line, &id, due)
                .or_else(|| misplaced_back(people, line, &earned_on, days.1));
            if let Some(what) = misplaced {
                world.wrong("paid what is due", format!("{key:?}: {what}: {line}"));
            }
        }
        let credits: Vec<Line> = lines
            .iter()
            .filter(|line| line["kind"] != "paid")
            .map(|line| Line {
                day: days_of(line),
                effect: minor(&line["amount"]),
            })
            .collect();
        let (expected, carry) = model::payouts(&credits, &terms, &key.2, days);
        let mut found: Vec<(i64, i64)> = paid
            .iter()
            .map(|payout| (days_of(payout), minor(&payout["amount"])))
            .collect();
        found.sort_unstable();
        if found != expected {
            world.wrong(
                "paid what is due",
                format!("{key:?} was paid {found:?}, due were {expected:?}"),
            );
        }
        let balance = of(&balances);
        let shown = |name: &str| balance.first().map_or(0, |balance| minor(&balance[name]));
        let pending = shown("pending");
        let waits = due.pending.get(&key).copied().unwrap_or(0);
        if pending != waits {
            let what = format!("{key:?}: {pending} are pending, {waits} wait for approval");
            world.wrong("balance", what);
        }
        due.outside
            .insert(key.clone(), (pending, shown("in_payout")));
        balance_holds(people, &key, balance.first(), carry, &paid, &kinds);
    }
}

/// What is wrong with the days of a line: when it becomes payable, and the day's run that takes it in.
fn misplaced(line: &Value, affiliate: &str, due: &Due) -> Option<&'static str> {
    let text = |name: &str| line[name].as_str().unwrap_or_default();
    let (day, payable_on) = (day_number(text("day")), day_number(text("payable_on")));
    let is_reversed = text("kind") == "reversed";
    if !is_reversed && day < payable_on {
        return Some("booked before it is payable");
    }
    if text("kind") != "paid" && day > payable_on.max(booked_by(line) / DAY) {
        return Some("booked on a later day than it was payable and recorded");
    }
    let conversion = (text("conversion").to_owned(), affiliate.to_owned());
    let is_right = match text("kind") {
        "earned" => due.payable.get(&conversion).is_some_and(|payable| {
            let is_shown = payable.by_terms.contains(&payable.shown) || payable.shown <= day;
            payable.by_terms.contains(&payable_on) && is_shown
        }),
        "adjustment" => due.adjusted.get(text("adjustment")) == Some(&payable_on),
        _ => true,
    };
    (!is_right).then_some("payable on another day")
}

/// Until when whoever recorded a line may have been at it, in milliseconds since 1970: so much time they had.
fn booked_by(line: &Value) -> i64 {
    let recorded = line["recorded_at"].as_str().unwrap_or_default();
    let recorded: Timestamp = recorded.parse().unwrap_or_default();
    recorded.as_millisecond() + TIMEOUT_MS + SKEW
}

/// By conversion: the days on which its money was booked.
fn earned_on(lines: &[Value]) -> BTreeMap<String, BTreeSet<i64>> {
    let mut days: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for line in lines.iter().filter(|line| line["kind"] == "earned") {
        let conversion = line["conversion"].as_str().unwrap_or_default().to_owned();
        let day = day_number(line["day"].as_str().unwrap_or_default());
        days.entry(conversion).or_default().insert(day);
    }
    days
}

/// What is wrong with the days of a line that takes money back: a reversal meets the money that it is
/// of, for as long as no run may have taken that; a payout that came back counts at once.
fn misplaced_back(
    people: &People,
    line: &Value,
    earned_on: &BTreeMap<String, BTreeSet<i64>>,
    last: i64,
) -> Option<&'static str> {
    let day_of = |name: &str| day_number(line[name].as_str().unwrap_or_default());
    let (day, payable_on) = (day_of("day"), day_of("payable_on"));
    match line["kind"].as_str()? {
        "reversed" => {
            let own = earned_on.get(line["conversion"].as_str()?);
            // An order that was taken back before it was credited has no line of its own. Where it is
            // worth more since, and earns nothing all the same, what is taken back of it is nothing.
            let is_nothing = own.is_none() && minor(&line["amount"]) == 0;
            if !is_nothing && !own.is_some_and(|own| own.contains(&payable_on)) {
                return Some("taken back of a day on which it did not earn");
            }
            let is_open = booked_by(line) < runs_from(people, payable_on, last);
            (is_open && day != payable_on).then_some("not taken back of its own day")
        }
        "returned" => (payable_on > booked_by(line) / DAY).then_some("comes back late"),
        _ => None,
    }
}

/// The first moment at which a run of this day may begin, in milliseconds since 1970; `last` is the last
/// day that is run.
fn runs_from(people: &People, day: i64, last: i64) -> i64 {
    let moments = people.history.moments.iter();
    let runs = moments.flat_map(|moment| {
        let is_run = |step: &Step| match step {
            Step::Run { back, .. } => (moment.at - back) / DAY > day,
            _ => false,
        };
        moment.steps.iter().any(is_run).then_some(moment.at)
    });
    // The checks have the days run that were left.
    let left = (last - super::DAYS_AFTER + 1) * DAY;
    runs.min().unwrap_or(left).min(left) - SKEW
}

fn balance_holds(
    people: &People,
    key: &Pocket,
    balance: Option<&Value>,
    carry: i64,
    paid: &[Value],
    kinds: &BTreeMap<&str, i64>,
) {
    let world = &people.world;
    let Some(balance) = balance else {
        if !kinds.is_empty() {
            world.wrong("balance", format!("{key:?} has lines and no balance"));
        }
        return;
    };
    let of = |name: &str| minor(&balance[name]);
    let left = of("on_hold") + of("payable") + of("in_payout") + of("paid");
    let right = of("earned") - of("reversed") + of("adjustments") - of("withheld");
    if left != right {
        world.wrong(
            "balance",
            format!("{key:?}: the balance is {left} and {right}: {balance}"),
        );
    }
    if of("on_hold") != 0 || of("payable") != carry {
        world.wrong(
            "balance",
            format!("{key:?}: {carry} are carried: {balance}"),
        );
    }
    let sum = |states: &[&str]| -> i64 {
        let of_state =
            |payout: &&Value| states.contains(&payout["status"].as_str().unwrap_or_default());
        paid.iter()
            .filter(of_state)
            .map(|payout| minor(&payout["amount"]))
            .sum()
    };
    if of("paid") != sum(&["sent", "settled"])
        || of("in_payout") != sum(&["created", "approved", "unknown"])
    {
        world.wrong("balance", format!("{key:?}: payouts {paid:?}: {balance}"));
    }
}

/// A payout's state says what the bank knows, and the bank paid each once at most.
pub(super) async fn bank_paid_once(people: &People) {
    let world = &people.world;
    let payments = people.seen.borrow().bank.clone();
    for payer in ["house", "agency"] {
        let payouts = get(people, &format!("payouts?payer={payer}&limit=200")).await;
        for payout in payouts["items"].as_array().cloned().unwrap_or_default() {
            let id = payout["id"].as_str().unwrap_or_default();
            let payment = payments.get(id);
            let (times, came_back) =
                payment.map_or((0, false), |payment| (payment.times, payment.came_back));
            let is_right = match payout["status"].as_str().unwrap_or_default() {
                "sent" | "settled" => times == 1 && !came_back,
                "returned" => times == 1 && came_back,
                _ => times == 0,
            };
            if !is_right
                || payment.is_some_and(|payment| payment.amount != minor(&payout["amount"]))
            {
                world.wrong("bank", format!("the bank made {payment:?} of {payout}"));
            }
            let is_cancelled = people.seen.borrow().cancelled.iter().any(|one| one == id);
            if is_cancelled && payout["status"] != "cancelled" {
                world.wrong("bank", format!("a cancelled payout went on: {payout}"));
            }
        }
    }
}
