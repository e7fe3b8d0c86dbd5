//! The end of a world: everything is answered, every day is run, May is closed; then what stands
//! in the books is held against what the model reckons and what everybody saw.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde_json::{Value, json};
use shared::setup::{Affiliate, AffiliateStatus, Record as _};

use crate::history::{
    AFFILIATES, BOUNDED, CUSTOMERS, DAY, HOUR, Model, PROGRAMS, Part, Step, TERMS, Terms, basket,
    customer,
};
use crate::model::{self, Line, Since};
use crate::people::{Click, People, Posted, click_name};
use crate::world::{Function, affiliate_id, function_of, minor};

/// Whose money, of whom, in what.
type Pocket = (String, String, String);

/// What a pocket must have come to: earned less taken back, and adjusted.
type Due = BTreeMap<Pocket, (i64, i64)>;

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
    let accepted = reversals(people).await;
    let last = world.millis() / DAY;
    for day in [last + 1, last + 1 + DAYS_AFTER] {
        world.go_to(day * DAY + HOUR).await;
        // A call that is near its time's end leaves days for the next one.
        let said = match world.fire().await {
            None => world.fire().await,
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
    let mut due = Due::new();
    let mut orders = BTreeMap::new();
    for order in 0..people.history.orders.len() {
        if let Some(found) = order_is_credited_once(people, order, &accepted, &mut due).await {
            orders.insert(order, found);
        }
    }
    customers_are_credited_once(people, &orders);
    steps_are_climbed_once(people, &orders);
    budgets_hold(people, &orders);
    adjusted_once(people, &mut due);
    for affiliate in 0..AFFILIATES {
        affiliate_is_paid(people, affiliate, &due, days).await;
    }
    bank_paid_once(people).await;
    for payer in ["house", "agency"] {
        month_holds(people, payer).await;
        reconciled(people, payer).await;
    }
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

/// Every amendment is sent once more, for those that came before anything could be amended.
async fn amendments(people: &People) {
    for step in people.history.steps() {
        if let Step::Amend {
            order, id, amount, ..
        } = step
            && people.conversion(*order).is_some()
        {
            Box::pin(people.amend(*order, *id, *amount)).await;
        }
    }
}

/// The values that amendments gave an order, in minor units.
fn amended(people: &People, order: usize) -> Vec<i64> {
    let seen = people.seen.borrow();
    let of_order = seen.amendments.iter().filter(|((of, _), _)| *of == order);
    of_order
        .filter(|(_, (_, statuses))| statuses.contains(&200))
        .map(|(_, (amount, _))| *amount)
        .collect()
}

/// Every reversal is sent once more: what it is told now is the truth of it.
async fn reversals(people: &People) -> Accepted {
    let mut truth = BTreeMap::new();
    for step in people.history.steps() {
        if let Step::Reverse { order, part, .. } = step {
            let answer = people.reverse(*order, *part).await;
            let key = (*order, part.map(|part| part.id));
            truth.insert(key, (*part, answer.status));
            // One that waited for its sale was applied when that came, unless it was too much until
            // the order got a new value.
            let is_amended = !amended(people, *order).is_empty();
            let seen = people.seen.borrow();
            let said = seen.reversals.get(&key);
            let is_known = said.is_some_and(|said| said.contains(&200) || said.contains(&404));
            if is_known && !is_amended && answer.status == 200 && answer.body["result"] == "created"
            {
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

/// What stands in the way of a click; none if it earns.
fn objection(people: &People, order: usize, click: &Click, at: i64) -> Option<&'static str> {
    let program = &PROGRAMS[people.history.orders[order].program];
    let age = at - click.at;
    if PROGRAMS[click.program].id != program.id {
        Some("program_mismatch")
    } else if !click.is_human {
        Some("invalid_traffic")
    } else if age < -300_000 || age > program.window_ms {
        Some("window_closed")
    } else {
        None
    }
}

/// Whoever posts an order again is told what was said first, once when nobody was credited and
/// once for good.
fn told_the_same(people: &People, order: usize, posts: &[Posted]) {
    let mut said: BTreeMap<bool, Value> = BTreeMap::new();
    for posted in posts.iter().filter(|posted| posted.answer.status == 200) {
        let body = &posted.answer.body;
        let told = json!([body["conversion"], body["status"], body["commissions"]]);
        let first = said
            .entry(body["status"] == "unattributed")
            .or_insert_with(|| told.clone());
        if *first != told {
            people
                .world
                .wrong("one answer", format!("o{order}: {first}, then {told}"));
        }
    }
}

async fn order_is_credited_once(
    people: &People,
    order: usize,
    accepted: &Accepted,
    due: &mut Due,
) -> Option<Value> {
    let world = &people.world;
    let terms = &people.history.orders[order];
    let program = PROGRAMS[terms.program];
    let posts: Vec<Posted> = people
        .seen
        .borrow()
        .posts
        .get(&order)
        .cloned()
        .unwrap_or_default();
    let click = |posted: &Posted| {
        let seen = people.seen.borrow();
        posted
            .click
            .and_then(|click| seen.clicks.get(&click).cloned().flatten())
    };
    let Some(id) = people.conversion(order) else {
        if posts.iter().any(|posted| posted.answer.status == 200) {
            world.wrong(
                "one credit",
                format!("o{order} was taken and has no conversion"),
            );
        }
        return None;
    };
    let found = get(people, &format!("conversions/{id}")).await;
    let amount = minor(&found["amount"]);
    let taken = posts.iter().find(|posted| posted.answer.status == 200);
    let content = taken.map_or(0, |posted| posted.content);
    let amended = amended(people, order);
    let is_right = match amended.as_slice() {
        [] => amount == terms.amounts[content],
        values => values.contains(&amount),
    };
    if !is_right {
        world.wrong(
            "one credit",
            format!("o{order} stands there with {amount}, amended to {amended:?}"),
        );
        return Some(found);
    }
    let given = people.seen.borrow().given.clone();
    let given = given.iter().filter(|(of, _)| *of == order);
    let given_to: Vec<String> = given
        .map(|(_, affiliate)| affiliate_id(*affiliate))
        .collect();

    told_the_same(people, order, &posts);
    let mut must_earn = BTreeSet::new();
    let mut may_earn = BTreeSet::new();
    let mut created = [0, 0];
    for posted in &posts {
        let click = click(posted);
        let objection = click
            .as_ref()
            .and_then(|click| objection(people, order, click, posted.at));
        let journey = journey(people, order, posted.at);
        let answer = &posted.answer;
        let code = answer.body["code"].as_str();
        let is_taken = if posted.content == content {
            answer.status == 200
        } else {
            answer.status == 409 && code == Some("order_conflict")
        };
        // Whether there was no room for it is asked once all orders are known.
        let is_taken = is_taken || program.budget.is_some() && is_over_budget(answer);
        let is_right = match objection {
            Some(objection) => {
                let is_refused = answer.status == 422 && code == Some(objection);
                // Of an order that is recorded a sender is told so, whatever click it names.
                is_refused || objection != "program_mismatch" && is_taken
            }
            None => is_taken,
        };
        if !is_right {
            world.wrong(
                "one credit",
                format!("o{order}: {objection:?}, but {posted:?}"),
            );
        }
        if answer.status == 200 {
            let named = click.filter(|_| objection.is_none());
            must_earn.extend(named.map(|click| affiliate_id(click.affiliate)));
            may_earn.extend(journey.iter().map(|click| affiliate_id(click.affiliate)));
            let is_credited = answer.body["status"] != "unattributed";
            created[usize::from(is_credited)] += u32::from(answer.body["result"] == "created");
        }
    }
    if created[0] > 1 || created[1] > 1 {
        world.wrong(
            "one credit",
            format!("o{order} was created {created:?} times"),
        );
    }
    let credits = found["commissions"].as_array().cloned().unwrap_or_default();
    let is_known = |credit: &Value| {
        let affiliate = credit["affiliate"].as_str().unwrap_or_default();
        must_earn.contains(affiliate) || may_earn.contains(affiliate)
    };
    let is_right = match found["explain"]["decided_by"].as_str() {
        None => credits.is_empty() && must_earn.is_empty(),
        Some("claim" | "person") => credits.len() == 1 && !given_to.is_empty(),
        // Whose the customer is, is asked once all orders are known.
        Some("customer") => program.knows_customers && credits.len() == 1,
        Some(_) => {
            let is_one = program.model == Model::Linear || credits.len() == 1;
            is_one && !credits.is_empty() && credits.iter().all(is_known)
        }
    };
    // Nobody is given an order but one that nobody has, or that is theirs already.
    let is_theirs = given_to.iter().all(|given_to| {
        let mut affiliates = credits.iter().map(|credit| credit["affiliate"].as_str());
        affiliates.any(|affiliate| affiliate == Some(given_to))
    });
    if !is_right || !is_theirs {
        world.wrong(
            "one credit",
            format!("o{order} is credited to {credits:?}, of {must_earn:?} and {may_earn:?}"),
        );
    }

    let of_order = accepted.iter().filter(|((of, _), _)| *of == order);
    let parts: Vec<(Option<Part>, u16)> = of_order.map(|(_, part)| *part).collect();
    let is_whole = parts.contains(&(None, 200));
    let taken_back = parts
        .iter()
        .filter_map(|(part, status)| part.filter(|_| *status == 200));
    let mut refunded = 0;
    let mut by_sku: BTreeMap<&'static str, i64> = BTreeMap::new();
    for part in taken_back {
        refunded += part.amount;
        if let Some(sku) = part.sku {
            *by_sku.entry(sku).or_default() += part.amount;
        }
    }
    let remaining = minor(&found["remaining"]);
    let is_right = if is_whole && !amended.is_empty() {
        // All that was left then; a new value may have left more.
        (0..=amount - refunded).contains(&remaining)
    } else if is_whole {
        remaining == 0 && refunded <= amount
    } else {
        remaining == amount - refunded
    };
    if !is_right {
        world.wrong(
            "one credit",
            format!(
                "o{order}: {remaining} of {amount} remain, {refunded} taken back, whole {is_whole}"
            ),
        );
    }
    let left_of = |sku: &'static str| -> i64 {
        let lines = basket(amount).into_iter().filter(|(of, _)| *of == sku);
        lines.map(|(_, of_line)| of_line).sum::<i64>() - by_sku.get(sku).copied().unwrap_or(0)
    };
    for (part, status) in &parts {
        let is_too_much = match part {
            None => remaining == 0,
            Some(part) => {
                let left = part
                    .sku
                    .map_or(remaining, |sku| remaining.min(left_of(sku)));
                part.amount > left
            }
        };
        if *status == 404 || (*status == 422 && !is_too_much) {
            world.wrong(
                "one credit",
                format!("o{order}: {remaining} remain, {part:?} was refused with {status}"),
            );
        }
    }

    if credits.is_empty() {
        return Some(found);
    }
    let status = found["status"].as_str().unwrap_or_default();
    let decided = |decision| {
        let seen = people.seen.borrow();
        let statuses = seen
            .decisions
            .get(&(order, decision))
            .cloned()
            .unwrap_or_default();
        statuses.contains(&200)
    };
    if program.is_manual {
        let is_right = match status {
            // Whoever gives an order to somebody approves it.
            "approved" | "reversed"
                if matches!(
                    found["explain"]["decided_by"].as_str(),
                    Some("claim" | "person")
                ) =>
            {
                true
            }
            "approved" => decided("approve") || program.approves_after_a_day && !decided("reject"),
            "rejected" => decided("reject") && !decided("approve"),
            "reversed" => decided("approve") || remaining == 0,
            "pending" if decided("reject") => decided("reopen") && !decided("approve"),
            "pending" => !program.approves_after_a_day && !decided("approve"),
            _ => false,
        };
        if !is_right {
            world.wrong(
                "one credit",
                format!("o{order} is {status} after all decisions"),
            );
        }
    } else if status != "approved" && status != "reversed" {
        world.wrong("one credit", format!("o{order} is {status}"));
    }
    let total = credits.iter().map(|credit| minor(&credit["amount"])).sum();
    let may_earn = model::commissions(&program, amount);
    let commission = if may_earn.contains(&total) {
        total
    } else {
        may_earn[0]
    };
    let shares = shares(people, order, &found, commission);
    for credit in &credits {
        let affiliate = credit["affiliate"].as_str().unwrap_or_default().to_owned();
        let share = shares.get(&affiliate).copied().unwrap_or_default();
        if minor(&credit["amount"]) != share {
            world.wrong(
                "one credit",
                format!("o{order} earns {commission}, {affiliate} {share} of it, not {credit}"),
            );
        }
        if matches!(status, "approved" | "reversed") {
            let back = if program.has_basket() && remaining > 0 {
                model::given_back_of_lines(&program, amount, &by_sku)
            } else {
                model::given_back(&program, share, amount - remaining, amount)
            };
            let pocket = (
                program.payer.to_owned(),
                affiliate,
                program.currency.to_owned(),
            );
            due.entry(pocket).or_default().0 += share - back;
        }
    }
    Some(found)
}

/// How long before a click that was heard of the same visit may have been recorded unheard.
const UNHEARD: i64 = 60_000;

/// The clicks of an order's visitor that could earn it at this instant, were none named. A visit
/// whose answer nobody heard was recorded all the same, and made again.
fn journey(people: &People, order: usize, at: i64) -> Vec<Click> {
    let program = &PROGRAMS[people.history.orders[order].program];
    let seen = people.seen.borrow();
    let clicks = seen.clicks.values().flatten();
    clicks
        .filter(|click| click.visitor == order && PROGRAMS[click.program].id == program.id)
        .filter(|click| click.is_human && (-UNHEARD..=program.window_ms).contains(&(at - click.at)))
        .cloned()
        .collect()
}

/// What each affiliate gets of an order, by the clicks that its explanation says were credited:
/// each of them must have been made, by this visitor, and counts once.
fn shares(people: &People, order: usize, found: &Value, commission: i64) -> BTreeMap<String, i64> {
    let explain = &found["explain"];
    let candidates = explain["candidates"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let credited: Vec<&Value> = candidates
        .iter()
        .filter(|candidate| candidate["share"].is_string())
        .collect();
    let mut shares = BTreeMap::new();
    let parts = model::split(commission, credited.len());
    let mut touches = BTreeSet::new();
    for (candidate, part) in credited.iter().zip(parts) {
        let affiliate = candidate["affiliate"].as_str().unwrap_or_default();
        *shares.entry(affiliate.to_owned()).or_default() += part;
        if matches!(
            explain["decided_by"].as_str(),
            Some("customer" | "claim" | "person")
        ) {
            continue;
        }
        let seen = people.seen.borrow();
        let is_forgotten = seen
            .unseen
            .contains(&(order, people.history.orders[order].program));
        let was_made = seen.clicks.values().flatten().any(|click| {
            click.visitor == order && click.is_human && affiliate_id(click.affiliate) == affiliate
        });
        let is_new = touches.insert(candidate["click"].as_str().unwrap_or_default().to_owned());
        if !was_made || !is_new && !is_forgotten {
            people.world.wrong(
                "one credit",
                format!("o{order}: nobody made the credited {candidate}, or it counts twice"),
            );
        }
    }
    shares
}

/// Whoever was forgotten is so in the end, whatever was on its way then: no order's trail names a
/// click of theirs, and no later order finds one.
async fn forgotten_for_good(people: &People) {
    let unseen = people.seen.borrow().unseen.clone();
    for (visitor, program) in unseen {
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
        let changes = people.history.steps().filter_map(|step| match step {
            Step::Terms {
                affiliate: of,
                terms,
            } => (*of == affiliate).then_some(*terms),
            _ => None,
        });
        let is_active = changes
            .chain([people.history.terms[affiliate]])
            .all(|terms| TERMS[terms].is_active);
        if taken > most || is_active && taken < came.min(most) {
            let what = format!("{taken} of {came} clicks of a link that takes {most}");
            people.world.wrong("bounds", what);
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

/// No more is earned than a budget has, and nothing is refused for which it has room.
fn budgets_hold(people: &People, orders: &BTreeMap<usize, Value>) {
    for (number, program) in PROGRAMS.iter().enumerate() {
        let Some(budget) = program.budget else {
            continue;
        };
        let is_theirs = |order: &usize| people.history.orders[*order].program == number;
        let credits = orders
            .iter()
            .filter(|(order, _)| is_theirs(order))
            .flat_map(|(_, found)| found["commissions"].as_array().into_iter().flatten());
        let taken: i64 = credits.map(|credit| minor(&credit["amount"])).sum();
        if taken > budget {
            people.world.wrong(
                "budgets",
                format!("{taken} of a budget of {budget} were earned"),
            );
        }
        let seen = people.seen.borrow();
        for (order, posts) in seen.posts.iter().filter(|(order, _)| is_theirs(order)) {
            for posted in posts.iter().filter(|posted| is_over_budget(&posted.answer)) {
                let amount = people.history.orders[*order].amounts[posted.content];
                let wanted = model::commissions(program, amount)[0];
                if taken + wanted <= budget {
                    people.world.wrong(
                        "budgets",
                        format!("o{order}: {wanted} were refused, and {taken} of {budget} taken"),
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

fn adjusted_once(people: &People, due: &mut Due) {
    for step in people.history.steps() {
        let Step::Adjust {
            id,
            affiliate,
            program,
            amount,
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
        due.entry(pocket).or_default().1 += amount;
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

async fn affiliate_is_paid(people: &People, number: usize, due: &Due, days: (i64, i64)) {
    let world = &people.world;
    let id = affiliate_id(number);
    let terms = terms_of(people, &id).await;
    let balances = get(people, &format!("affiliates/{id}/balances")).await;
    let entries = get(people, &format!("affiliates/{id}/entries?limit=200")).await;
    let payouts = get(people, &format!("payouts?affiliate={id}&limit=200")).await;
    let list = |of: &Value| of["items"].as_array().cloned().unwrap_or_default();

    let mut pockets: BTreeSet<Pocket> = due
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
        let (earned, adjusted) = due.get(&key).copied().unwrap_or_default();
        if kind("earned") + kind("reversed") != earned || kind("adjustment") != adjusted {
            world.wrong(
                "paid what is due",
                format!("{key:?}: {kinds:?}, but {earned} and {adjusted} are due"),
            );
        }

        let days_of = |line: &Value| day_number(line["day"].as_str().unwrap_or_default());
        for line in &lines {
            let too_early =
                line["kind"] != "reversed" && line["day"].as_str() < line["payable_on"].as_str();
            if too_early {
                world.wrong(
                    "paid what is due",
                    format!("{key:?}: booked before it is payable: {line}"),
                );
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
        balance_holds(people, &key, balance.first(), carry, &paid, &kinds);
    }
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

/// Days since 1970.
fn day_number(text: &str) -> i64 {
    let day: jiff::civil::Date = text.parse().unwrap_or_default();
    shared::period::start_of(day)
        .as_millisecond()
        .div_euclid(DAY)
}

/// A payout's state says what the bank knows, and the bank paid each once at most.
async fn bank_paid_once(people: &People) {
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

/// The report's identity, in each row and total, and that nothing in the closed month moved.
async fn month_holds(people: &People, payer: &'static str) {
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
