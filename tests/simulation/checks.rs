//! The end of a world: everything is answered, every day is run, May is closed; then what stands
//! in the books is held against what the model reckons and what everybody saw.

mod orders;
mod pockets;
mod versions;

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde_json::{Value, json};

use crate::cast::{AFFILIATES, BOUNDED, CUSTOMERS, Commission, PROGRAMS, TERMS, customer};
use crate::history::{DAY, HOUR, MINUTE, Part, Step};
use crate::model;
use crate::people::{Click, People, click_name};
use crate::world::{
    AFTER_AN_END, Function, OVER_BUDGET, affiliate_id, function_of, instant, minor,
};
use versions::Versions;

/// Whose money, of whom, in what.
type Pocket = (String, String, String);

/// When a commission becomes payable, in days since 1970.
struct Payable {
    /// One of these by its terms: nobody saw on which side of midnight it was credited.
    by_terms: BTreeSet<i64>,
    /// As it is shown, which is the day it was booked on if that is later.
    shown: i64,
}

/// What has to stand in the books.
#[derive(Default)]
struct Due {
    /// What a pocket must have come to: earned less taken back, and adjusted.
    sums: BTreeMap<Pocket, (i64, i64)>,
    /// By conversion and affiliate: when it becomes payable.
    payable: BTreeMap<(String, String), Payable>,
    /// By adjustment: the same.
    adjusted: BTreeMap<String, i64>,
    /// By pocket and month: what its lines of each kind come to.
    booked: BTreeMap<(Pocket, String), BTreeMap<String, i64>>,
    /// By pocket: what waits for approval.
    pending: BTreeMap<Pocket, i64>,
    /// By pocket: what waits for approval, and what is on its way to a bank, by the balance.
    outside: BTreeMap<Pocket, (i64, i64)>,
}

/// By order and part: what was to be taken back, all that is left if none, and what that was told at
/// last.
type Accepted = BTreeMap<(usize, Option<usize>), (Option<Part>, u16)>;

/// How many days after the last moment everything has become payable.
const DAYS_AFTER: i64 = 8;

pub async fn all(people: &People) {
    let world = &people.world;
    amendments(people).await;
    forgotten_for_good(people).await;
    bounds_hold(people);
    links_are_known(people);
    let accepted = reversals(people).await;
    let last = world.millis() / DAY;
    for day in [last + 1, last + 1 + DAYS_AFTER] {
        world.go_to(day * DAY + HOUR).await;
        // A call that is near its time's end leaves days for the next one.
        let said = match world.fire(world.millis()).await {
            None => world.fire(world.millis()).await,
            said => said,
        };
        match said {
            Some(said) => people.seen.borrow_mut().runs.push(said),
            None => world.wrong("runs", "a run fails on a calm network"),
        }
    }
    let days = (people.history.moments[0].at / DAY, last + DAYS_AFTER);
    for payer in ["house", "agency"] {
        if !people.close(payer).await && !people.close(payer).await {
            world.wrong("closed month", format!("{payer}'s May cannot be closed"));
        }
    }
    runs_say_the_same(people).await;
    let mut due = Due::default();
    let mut orders = BTreeMap::new();
    let mut versions = Vec::new();
    for program in 0..PROGRAMS.len() {
        versions.push(Versions::of(people, program).await);
    }
    for order in 0..people.history.orders.len() {
        let of_program = &versions[people.history.orders[order].program];
        let found = orders::is_credited_once(people, order, of_program, &accepted, &mut due).await;
        if let Some(found) = found {
            orders.insert(order, found);
        }
    }
    customers_are_credited_once(people, &orders);
    steps_are_climbed_once(people, &orders);
    rules_end_for_customers(people, &orders);
    budgets_hold(people, &orders, &versions);
    pockets::adjusted_once(people, &mut due);
    for affiliate in 0..AFFILIATES {
        pockets::affiliate_is_paid(people, affiliate, &mut due, days).await;
    }
    pockets::bank_paid_once(people).await;
    for payer in ["house", "agency"] {
        month_holds(people, payer, &due).await;
        reconciled(people, payer).await;
    }
}

/// Days since 1970.
fn day_number(text: &str) -> i64 {
    let day: jiff::civil::Date = text.parse().unwrap_or_default();
    shared::period::start_of(day)
        .as_millisecond()
        .div_euclid(DAY)
}

async fn get(people: &People, path: &str) -> Value {
    let path = format!("/api/v1/{path}");
    let world = &people.world;
    let function = function_of(path.trim_start_matches("/api/v1/"));
    let answer = world
        .deliver(function, Method::GET, &path, &world.admin, &json!({}))
        .await;
    if answer.status != 200 {
        world.wrong("answers", format!("{path} was answered {answer:?}"));
    }
    answer.body
}

/// Each amendment that was answered with 200 is explained. Then every one is sent once more, for those
/// that came before anything could be amended: what was done before changes nothing.
async fn amendments(people: &People) {
    for order in 0..people.history.orders.len() {
        let steps = people.history.steps().filter_map(|step| match step {
            Step::Amend {
                order: of,
                id,
                amount,
                ..
            } => (*of == order).then_some((*id, *amount)),
            _ => None,
        });
        let asked: BTreeSet<(usize, i64)> = steps.collect();
        let Some(conversion) = people.conversion(order).filter(|_| !asked.is_empty()) else {
            continue;
        };
        let path = format!("conversions/{conversion}");
        let before = get(people, &path).await;
        let explained: BTreeSet<&str> = before["explain"]["amendments"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|amendment| amendment["id"].as_str())
            .collect();
        let done = |id: usize| {
            let seen = people.seen.borrow();
            let statuses = seen.amendments.get(&(order, id));
            statuses.is_some_and(|(_, statuses)| statuses.contains(&200))
        };
        let mut is_another = false;
        for (id, amount) in asked {
            let was_done = done(id);
            if was_done && !explained.contains(format!("am{id}").as_str()) {
                let what = format!("o{order}'s amendment am{id} was done, and is nowhere");
                people.world.wrong("amendments", what);
            }
            Box::pin(people.amend(order, id, amount)).await;
            is_another |= !was_done && done(id);
        }
        let after = get(people, &path).await;
        if !is_another && before["amount"] != after["amount"] {
            let what = format!("o{order} was worth {}: {after}", before["amount"]);
            people.world.wrong("amendments", what);
        }
    }
}

/// An order's amendments: the new value in minor units, and what it was told at last.
fn told_of_amendments(people: &People, order: usize) -> Vec<(i64, u16)> {
    let seen = people.seen.borrow();
    let of_order = seen.amendments.iter().filter(|((of, _), _)| *of == order);
    of_order
        .filter_map(|(_, (amount, statuses))| Some((*amount, *statuses.last()?)))
        .collect()
}

/// The values that amendments gave an order, in minor units.
fn amended(people: &People, order: usize) -> Vec<i64> {
    let told = told_of_amendments(people, order).into_iter();
    told.filter(|(_, status)| *status == 200)
        .map(|(amount, _)| amount)
        .collect()
}

/// Every reversal is sent once more: what it is told now is the truth of it.
async fn reversals(people: &People) -> Accepted {
    let mut truth = BTreeMap::new();
    for (order, part) in people.history.reversals() {
        let answer = people.reverse(order, part).await;
        let key = (order, part.map(|part| part.id));
        truth.insert(key, (part, answer.status));
        // One that waited for its sale was applied when that came, unless it was too much until
        // the order got a new value.
        let is_amended = !amended(people, order).is_empty();
        let seen = people.seen.borrow();
        let said = seen.reversals.get(&key);
        let is_known =
            said.is_some_and(|said| said.contains(&200) || said.contains(&404) && !is_amended);
        if is_known && answer.status == 200 && answer.body["result"] == "created" {
            people.world.wrong(
                "one reversal",
                format!("a reversal of o{order} was not kept: {part:?}"),
            );
        }
        if !matches!(answer.status, 200 | 404 | 422) {
            people.world.wrong(
                "answers",
                format!("a reversal of o{order} was answered {answer:?}"),
            );
        }
    }
    truth
}

/// A run of a day says the same, however often it is asked.
async fn runs_say_the_same(people: &People) {
    let world = &people.world;
    let said = people.seen.borrow().runs.clone();
    let mut by_day: BTreeMap<String, Value> = BTreeMap::new();
    for run in said {
        let day = run["day"].as_str().unwrap_or_default().to_owned();
        let first = by_day.entry(day).or_insert_with(|| run.clone());
        if *first != run {
            world.wrong("runs", format!("a run said {first}, then {run}"));
        }
    }
    for (day, first) in by_day {
        let path = "/api/v1/payout-runs";
        let body = json!({"day": day});
        let again = world
            .deliver(Function::Payout, Method::POST, path, &world.admin, &body)
            .await;
        if again.body != first {
            world.wrong(
                "runs",
                format!("the run of {day} said {first}, at the end {}", again.body),
            );
        }
    }
}

/// Whoever was forgotten is so in the end, whatever was on its way then: asked for each of their
/// clicks once more, their order's trail names none of them.
async fn forgotten_for_good(people: &People) {
    let forgotten_visitors = people.seen.borrow().forgotten_visitors.clone();
    for (visitor, program) in forgotten_visitors {
        let is_theirs = |click: &&Click| (click.visitor, click.program) == (visitor, program);
        let theirs: Vec<Click> = {
            let seen = people.seen.borrow();
            let clicks = seen.clicks.values().flatten();
            clicks.filter(is_theirs).cloned().collect()
        };
        for click in &theirs {
            Box::pin(people.erase_click(click)).await;
        }
        let Some(id) = people.conversion(visitor) else {
            continue;
        };
        let found = get(people, &format!("conversions/{id}")).await;
        let candidates = found["explain"]["candidates"].as_array().cloned();
        let names: Vec<String> = theirs.iter().map(|click| click_name(&click.id)).collect();
        let is_named = candidates.unwrap_or_default().iter().any(|candidate| {
            let name = candidate["click"].as_str().unwrap_or_default();
            names.iter().any(|of_theirs| of_theirs == name)
        });
        if is_named {
            let what = format!("o{visitor} still names a click of a visitor who was forgotten");
            people.world.wrong("forgotten", what);
        }
    }
}

/// Where nothing failed, a link with a bound took so many clicks of people and no more. While the
/// table fails it takes everybody.
fn bounds_hold(people: &People) {
    if people.history.roughness > 0 {
        return;
    }
    for (affiliate, program, most) in BOUNDED {
        let seen = people.seen.borrow();
        let is_of_link = |step: &&Step| {
            matches!(step, Step::Click { program: of, affiliate: by, is_human: true, .. }
                if (*by, *of) == (affiliate, program))
        };
        let came = people.history.steps().filter(is_of_link).count();
        let clicks = seen.clicks.values().flatten();
        let taken = clicks
            .filter(|click| {
                click.is_human && (click.affiliate, click.program) == (affiliate, program)
            })
            .count();
        // Nobody comes by a link of somebody who is suspended.
        let is_active = is_always_active(people, affiliate);
        if taken > most || is_active && taken < came.min(most) {
            let what = format!("{taken} of {came} clicks of a link that takes {most}");
            people.world.wrong("bounds", what);
        }
    }
}

/// Whether the affiliate is active by each of its terms.
pub(super) fn is_always_active(people: &People, affiliate: usize) -> bool {
    let changes = people.history.steps().filter_map(|step| match step {
        Step::Terms {
            affiliate: of,
            terms,
        } => (*of == affiliate).then_some(*terms),
        _ => None,
    });
    changes
        .chain([people.history.terms[affiliate]])
        .all(|terms| TERMS[terms].is_active)
}

/// Whatever fails, nobody is told that a link does not exist which leads to an active affiliate, and may
/// take another click.
fn links_are_known(people: &People) {
    let is_bounded = |affiliate, program| {
        BOUNDED
            .iter()
            .any(|(by, of, _)| (*by, *of) == (affiliate, program))
    };
    for (affiliate, program) in &people.seen.borrow().unknown_links {
        if is_always_active(people, *affiliate) && !is_bounded(*affiliate, *program) {
            let what = format!("a{affiliate}'s link to p{program} is not known");
            people.world.wrong("links", what);
        }
    }
}

/// Each order of an affiliate stands on a step of its own number.
fn steps_are_climbed_once(people: &People, orders: &BTreeMap<usize, Value>) {
    for (number, program) in PROGRAMS.iter().enumerate() {
        let mut paid: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let theirs = orders
            .iter()
            .filter(|(order, _)| people.history.orders[**order].program == number);
        for (_, found) in theirs {
            for credit in found["commissions"].as_array().into_iter().flatten() {
                let affiliate = credit["affiliate"].as_str().unwrap_or_default().to_owned();
                paid.entry(affiliate)
                    .or_default()
                    .push(minor(&credit["amount"]));
            }
        }
        for (affiliate, mut paid) in paid {
            paid.sort_unstable();
            if model::by_steps(program, paid.len()).is_some_and(|steps| steps != paid) {
                people.world.wrong(
                    "one step",
                    format!("{affiliate}'s orders of {} earned {paid:?}", program.id),
                );
            }
        }
    }
}

fn is_over_budget(answer: &tests::Answer) -> bool {
    answer.status == 422 && answer.body["code"] == "cap_reached"
}

/// A rule that ends pays for the first orders of a customer, and for no other, whoever brought them.
fn rules_end_for_customers(people: &People, orders: &BTreeMap<usize, Value>) {
    let mut paid: BTreeMap<(usize, usize), (usize, usize, usize)> = BTreeMap::new();
    for (order, found) in orders {
        let number = people.history.orders[*order].program;
        let program = PROGRAMS[number].of_version(orders::version_of(found));
        let Commission::Ending { .. } = program.commission else {
            continue;
        };
        // Of a customer who was forgotten nobody knows any more what came before.
        let who = customer(*order);
        let seen = people.seen.borrow();
        if seen.forgotten.contains(&(program.merchant, who)) {
            continue;
        }
        let may_earn = model::commissions(&program, minor(&found["amount"]));
        for credit in found["commissions"].as_array().into_iter().flatten() {
            let (firsts, others, all) = paid.entry((number, who)).or_default();
            let earned = minor(&credit["amount"]);
            people
                .world
                .meets(AFTER_AN_END, usize::from(earned == may_earn[1]));
            // A small amount earns the same by both.
            *firsts += usize::from(earned == may_earn[0] && earned != may_earn[1]);
            *others += usize::from(earned == may_earn[1] && earned != may_earn[0]);
            *all += 1;
        }
    }
    for ((number, who), (firsts, others, all)) in paid {
        let Commission::Ending { most, .. } = PROGRAMS[number].commission else {
            continue;
        };
        if firsts > most || others > all.saturating_sub(most) {
            let what = format!(
                "customer {who} had {firsts} first orders, and {others} later ones of {all}"
            );
            people.world.wrong("one customer", what);
        }
    }
}

/// No more is earned than a budget has, and nothing is refused for which it has room.
fn budgets_hold(people: &People, orders: &BTreeMap<usize, Value>, versions: &[Versions]) {
    for (number, program) in PROGRAMS.iter().enumerate() {
        let Some(orders_a_day) = program.orders_a_day.filter(|_| program.budget.is_some()) else {
            continue;
        };
        let versions = &versions[number];
        let budgets = (1..=versions.count()).filter_map(|of| program.of_version(of).budget);
        let (least, most) = (budgets.clone().min(), budgets.max());
        let (least, most) = (least.unwrap_or(0), most.unwrap_or(0));
        let is_theirs = |order: &usize| people.history.orders[*order].program == number;
        let earned = |order: usize, content: usize, version: i64| {
            let amount = people.history.orders[order].amounts[content];
            model::commissions(&program.of_version(version), amount)[0]
        };
        // An amendment asks for nothing of a budget: what counts is what came first.
        let credited: Vec<(&usize, &Value)> = orders
            .iter()
            .filter(|(order, found)| is_theirs(order) && found["commissions"] != json!([]))
            .collect();
        let taken: i64 = credited
            .iter()
            .map(|(order, found)| {
                let content = orders::taken_content(people, **order);
                earned(**order, content, orders::version_of(found))
            })
            .sum();
        if taken > most {
            let what = format!("{taken} of a budget of {most} were earned");
            people.world.wrong("budgets", what);
        }
        let mut of_day: BTreeMap<(String, &str), usize> = BTreeMap::new();
        for (_, found) in &credited {
            let day = &found["occurred_at"].as_str().unwrap_or_default()[..10];
            for credit in found["commissions"].as_array().into_iter().flatten() {
                let affiliate = credit["affiliate"].as_str().unwrap_or_default();
                *of_day.entry((day.to_owned(), affiliate)).or_default() += 1;
            }
        }
        for ((day, affiliate), count) in &of_day {
            if *count > orders_a_day {
                let what = format!("{affiliate} has {count} orders of {day}");
                people.world.wrong("budgets", what);
            }
        }
        let seen = people.seen.borrow();
        for (order, posts) in seen.posts.iter().filter(|(order, _)| is_theirs(order)) {
            for posted in posts.iter().filter(|posted| is_over_budget(&posted.answer)) {
                people.world.meets(OVER_BUDGET, 1);
                let day = instant(posted.at).to_string()[..10].to_owned();
                let is_full = of_day
                    .iter()
                    .any(|((of, _), count)| *of == day && *count >= orders_a_day);
                let may_judge = versions.that_may_judge(posted.at, i64::MIN);
                let wanted = may_judge.map(|version| earned(*order, posted.content, version));
                let wanted = wanted.max().unwrap_or(0);
                if !is_full && taken + wanted <= least {
                    people.world.wrong(
                        "budgets",
                        format!("o{order}: {wanted} were refused, and {taken} of {least} taken"),
                    );
                }
            }
        }
    }
}

/// A customer belongs to whoever brought the first order that came to something.
fn customers_are_credited_once(people: &People, orders: &BTreeMap<usize, Value>) {
    for (number, program) in PROGRAMS
        .iter()
        .enumerate()
        .filter(|(_, program)| program.knows_customers)
    {
        for who in 0..CUSTOMERS {
            let is_theirs = |order: &usize| {
                people.history.orders[*order].program == number && customer(*order) == who
            };
            let theirs: Vec<&Value> = orders
                .iter()
                .filter(|(order, _)| is_theirs(order))
                .map(|(_, found)| found)
                .collect();
            let owners = |is_by: &dyn Fn(&str) -> bool| -> BTreeSet<String> {
                let by =
                    |found: &&&Value| found["explain"]["decided_by"].as_str().is_some_and(is_by);
                let found = theirs.iter().filter(by);
                found
                    .filter_map(|found| found["commissions"][0]["affiliate"].as_str())
                    .map(str::to_owned)
                    .collect()
            };
            let known = owners(&|by| by == "customer");
            let brought = owners(&|by| by != "customer");
            let is_void =
                |found: &&Value| found["status"] == "reversed" || found["status"] == "rejected";
            let forgotten = (program.merchant, who);
            let is_forgotten = people.seen.borrow().forgotten.contains(&forgotten);
            let is_one = known.len() <= 1 || is_forgotten || theirs.iter().any(is_void);
            if !is_forgotten {
                for order in unknown_all_the_same(people, orders, &is_theirs) {
                    let what = format!("o{order} is nobody's, whose customer was known before");
                    people.world.wrong("one customer", what);
                }
            }
            if !is_one || !known.is_subset(&brought) {
                people.world.wrong(
                    "one customer",
                    format!(
                        "customer {who} of {} is {known:?}'s, brought by {brought:?}",
                        program.id
                    ),
                );
            }
        }
    }
}

/// Orders of a customer that nobody is credited with, though an earlier one stood when they came. Where any
/// may have come to nothing for a while nobody can tell, nor where whoever brought the customer may have
/// been suspended.
fn unknown_all_the_same(
    people: &People,
    orders: &BTreeMap<usize, Value>,
    is_theirs: &dyn Fn(&usize) -> bool,
) -> Vec<usize> {
    let seen = people.seen.borrow();
    let theirs: Vec<(usize, &Value)> = orders
        .iter()
        .filter(|(order, _)| is_theirs(order))
        .map(|(order, found)| (*order, found))
        .collect();
    let is_touched = |(order, found): &(usize, &Value)| {
        minor(&found["remaining"]) == 0
            || seen.amendments.keys().any(|(of, _)| of == order)
            || seen.decisions.contains_key(&(*order, "reject"))
    };
    if theirs.iter().any(is_touched) {
        return Vec::new();
    }
    let suspensions = people.history.steps().filter_map(|step| match step {
        Step::Terms { affiliate, terms } => Some((*affiliate, *terms)),
        _ => None,
    });
    let first = people.history.terms.iter().copied().enumerate();
    let suspended: BTreeSet<String> = suspensions
        .chain(first)
        .filter(|(_, terms)| !TERMS[*terms].is_active)
        .map(|(affiliate, _)| affiliate_id(affiliate))
        .collect();
    let mut credited_to = theirs
        .iter()
        .filter_map(|(_, found)| found["commissions"][0]["affiliate"].as_str());
    if credited_to.any(|affiliate| suspended.contains(affiliate)) {
        return Vec::new();
    }
    let known_since = theirs.iter().filter_map(|(order, _)| {
        let posts = seen.posts.get(order)?.iter();
        let credited = posts.filter(|posted| {
            posted.answer.status == 200 && posted.answer.body["status"] != "unattributed"
        });
        credited.map(|posted| posted.answered).min()
    });
    let Some(known_since) = known_since.min() else {
        return Vec::new();
    };
    // An order may have been made a while before it is posted.
    let is_after = |order: usize| {
        let dealings = seen.dealings.get(&order).into_iter().flatten();
        let first = dealings.map(|(from, _)| *from).min();
        first.is_some_and(|first| first > known_since + 10 * MINUTE)
    };
    let nobodys = theirs
        .iter()
        .filter(|(_, found)| found["explain"]["decided_by"].is_null());
    nobodys
        .filter(|(order, _)| is_after(*order))
        .map(|(order, _)| *order)
        .collect()
}

/// The report's identity, in each row and total, that each row is what its lines come to, and that
/// nothing in the closed month moved.
async fn month_holds(people: &People, payer: &'static str, due: &Due) {
    let world = &people.world;
    let closed = people.seen.borrow().closed.get(payer).cloned();
    let now = people.report(payer).await;
    if closed.is_none_or(|(_, bytes)| bytes != now) {
        world.wrong(
            "closed month",
            format!("{payer}'s closed May is another at the end"),
        );
    }
    let may = get(people, &format!("reports/payouts/2026-05?payer={payer}")).await;
    let june = get(people, &format!("reports/payouts/2026-06?payer={payer}")).await;
    let rows = |report: &Value| report["rows"].as_array().cloned().unwrap_or_default();
    for (month, report) in [("2026-05", &may), ("2026-06", &june)] {
        let rows = rows(report);
        let totals = report["totals"].as_array().cloned().unwrap_or_default();
        for row in rows.iter().chain(&totals) {
            let of = |name: &str| minor(&row[name]);
            let closing = of("opening") + of("earned") - of("reversed") + of("adjustments")
                - of("withheld")
                - of("paid")
                + of("returned");
            if closing != of("closing") {
                world.wrong(
                    "report",
                    format!("{payer}'s {month} closes with {closing}: {row}"),
                );
            }
        }
    }
    for (month, report) in [("2026-05", &may), ("2026-06", &june)] {
        is_recounted(people, payer, month, &rows(report), due);
    }
    stands_outside(people, payer, &rows(&june), due);
    let may = rows(&may);
    for row in rows(&june) {
        let before = may.iter().find(|other| {
            other["affiliate"] == row["affiliate"] && other["currency"] == row["currency"]
        });
        let closing = before.map_or(0, |before| minor(&before["closing"]));
        if minor(&row["opening"]) != closing {
            world.wrong(
                "report",
                format!("{payer}'s May closed with {closing}, June opened as {row}"),
            );
        }
    }
}

/// Each row of a month's report is what the lines of its days come to, and no pocket with lines lacks one.
fn is_recounted(people: &People, payer: &str, month: &str, rows: &[Value], due: &Due) {
    let columns = [
        ("earned", "earned", 1),
        ("reversed", "reversed", -1),
        ("adjustments", "adjustment", 1),
        ("paid", "paid", -1),
        ("returned", "returned", 1),
    ];
    let of_month =
        |((payer_of, ..), month_of): &(Pocket, String)| payer_of == payer && month_of == month;
    let mut missing: BTreeSet<&Pocket> = due
        .booked
        .iter()
        .filter(|(key, kinds)| of_month(key) && kinds.values().any(|sum| *sum != 0))
        .map(|((pocket, _), _)| pocket)
        .collect();
    for row in rows {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let pocket = (payer.to_owned(), text("affiliate"), text("currency"));
        missing.remove(&pocket);
        let kinds = due.booked.get(&(pocket, month.to_owned()));
        let sum = |kind: &str| kinds.and_then(|kinds| kinds.get(kind)).copied();
        for (column, kind, sign) in columns {
            let sum = sign * sum(kind).unwrap_or(0);
            if minor(&row[column]) != sum {
                let what = format!("{payer}'s lines of {month} come to {sum} {column}: {row}");
                people.world.wrong("report", what);
            }
        }
    }
    if !missing.is_empty() {
        let what = format!("{payer}'s report of {month} lacks {missing:?}");
        people.world.wrong("report", what);
    }
}

/// What the month that goes on shows beside its formula is what the balances show.
fn stands_outside(people: &People, payer: &str, rows: &[Value], due: &Due) {
    for ((payer_of, affiliate, currency), shown) in &due.outside {
        if payer_of != payer {
            continue;
        }
        let row = rows.iter().find(|row| {
            row["affiliate"] == affiliate.as_str() && row["currency"] == currency.as_str()
        });
        let of = |name: &str| row.map_or(0, |row| minor(&row[name]));
        if (of("unapproved"), of("in_payout")) != *shown {
            let what = format!("{affiliate} has {shown:?} waiting and on its way, {payer} {row:?}");
            people.world.wrong("report", what);
        }
    }
}

async fn reconciled(people: &People, payer: &str) {
    let found = get(people, &format!("reports/reconciliation?payer={payer}")).await;
    if found["differences"] != json!([]) {
        let what = &found["differences"];
        people.world.wrong(
            "second path",
            format!("the second path differs for {payer}: {what}"),
        );
    }
}
