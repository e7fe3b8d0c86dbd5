//! One order each: what its senders were told, who is credited with it, and what was taken back.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};
use shared::click::Visitor;
use shared::ids::ProgramId;

use super::versions::Versions;
use super::{
    Accepted, Due, Payable, amended, day_number, get, is_always_active, told_of_amendments,
};
use crate::cast::{LEAD, Model, PROGRAMS, Program, basket};
use crate::history::{DAY, Part, SECOND};
use crate::model;
use crate::people::{Click, People, Posted, click_name, cookie_bytes};
use crate::world::{
    BY_COUPON, BY_OLD_TERMS, LEADS, SKEW, TIMEOUT_MS, affiliate_id, instant, minor,
};

/// How long before a click that was heard of the same visit may have been recorded unheard.
const UNHEARD: i64 = 60_000;

/// An order that somebody was told is recorded.
struct Order<'a> {
    people: &'a People,
    number: usize,
    program: Program,
    posts: Vec<Posted>,
    /// The values that amendments gave it, in minor units.
    amended: Vec<i64>,
    /// What was to be taken back, and what that was told at last.
    parts: Vec<(Option<Part>, u16)>,
    /// As it stands there now.
    found: Value,
    /// Its value, in minor units.
    amount: i64,
    /// Of that, not taken back.
    remaining: i64,
    /// The names of its visitor's clicks that are recorded; none where that is not asked.
    recorded: BTreeSet<String>,
}

/// The order as it stands there, if anybody was told that it does.
pub(super) async fn is_credited_once(
    people: &People,
    number: usize,
    versions: &Versions,
    accepted: &Accepted,
    due: &mut Due,
) -> Option<Value> {
    let posts = people.seen.borrow().posts.get(&number).cloned();
    let posts = posts.unwrap_or_default();
    let Some(id) = people.conversion(number) else {
        for posted in posts
            .iter()
            .filter(|posted| !is_refused_rightly(people, number, posted))
        {
            let what = format!("o{number} has no conversion: {posted:?}");
            people.world.wrong("one credit", what);
        }
        return None;
    };
    let found = get(people, &format!("conversions/{id}")).await;
    let recorded = recorded(people, number).await;
    let of_order = accepted.iter().filter(|((of, _), _)| *of == number);
    let order = Order {
        people,
        number,
        program: PROGRAMS[people.history.orders[number].program]
            .of_version(version_of(&found))
            .of_goal(people.history.orders[number].goal),
        posts,
        amended: amended(people, number),
        parts: of_order.map(|(_, part)| *part).collect(),
        amount: minor(&found["amount"]),
        remaining: minor(&found["remaining"]),
        found,
        recorded,
    };
    if order.has_its_value() {
        order.told_the_same();
        order.told_what_stands();
        order.is_of_whoever_may_have_it();
        let by_sku = order.taken_back();
        if !order.credits().is_empty() {
            order.is_by_terms_in_force(versions);
            order.is_decided();
            order.earns(&by_sku, due);
        }
    }
    Some(order.found)
}

/// The names of the clicks of an order's visitor that the table holds at the end, where a journey's
/// clicks share an order.
async fn recorded(people: &People, number: usize) -> BTreeSet<String> {
    let program = PROGRAMS[people.history.orders[number].program];
    if program.model != Model::Linear {
        return BTreeSet::new();
    }
    let id = ProgramId::parse(program.id).expect("a program's id");
    let visitor = Visitor::of(&cookie_bytes(number), &id, &people.world.keys());
    let visits = people.world.store().visits_of(&id, visitor).await;
    let visits = visits.expect("the network is calm").into_iter();
    visits.map(|(_, name)| name).collect()
}

/// The version of its program that an order was judged by.
pub(super) fn version_of(found: &Value) -> i64 {
    found["explain"]["rule"]["version"].as_i64().unwrap_or(1)
}

/// What was said of an order when it was taken: one of two.
pub(super) fn taken_content(people: &People, number: usize) -> usize {
    let seen = people.seen.borrow();
    let mut posts = seen.posts.get(&number).into_iter().flatten();
    let taken = posts.find(|posted| posted.answer.status == 200);
    taken.map_or(0, |posted| posted.content)
}

/// What the lines of one sku come to, of an order of so much.
fn of_sku(amount: i64, sku: &str) -> i64 {
    let lines = basket(amount).into_iter().filter(|(of, _)| *of == sku);
    lines.map(|(_, of_line)| of_line).sum()
}

/// What stands in the way of a click; none if it earns.
fn objection(program: &Program, click: &Click, at: i64) -> Option<&'static str> {
    let age = at - click.at;
    let clicked = PROGRAMS[click.program];
    if clicked.merchant != program.merchant {
        Some("click_unknown")
    } else if clicked.id != program.id {
        Some("program_mismatch")
    } else if !click.is_human {
        Some("invalid_traffic")
    } else if age < -300_000 || age > program.window_ms {
        Some("window_closed")
    } else {
        None
    }
}

/// The click that a post names, and what stands in its way.
fn named(
    people: &People,
    program: &Program,
    posted: &Posted,
) -> (Option<Click>, Option<&'static str>) {
    let seen = people.seen.borrow();
    let click = posted
        .click
        .and_then(|click| seen.clicks.get(&click)?.clone());
    let objection = click
        .as_ref()
        .and_then(|click| objection(program, click, posted.at));
    (click, objection)
}

/// Whether a post was refused for a reason, whatever became of its order.
fn is_refused_rightly(people: &People, order: usize, posted: &Posted) -> bool {
    let program = PROGRAMS[people.history.orders[order].program];
    let (_, objection) = named(people, &program, posted);
    let answer = &posted.answer;
    // Whether there was no room for it is asked once all orders are known.
    program.budget.is_some() && super::is_over_budget(answer)
        || objection.is_some() && answer.status == 422 && answer.body["code"].as_str() == objection
}

impl Order<'_> {
    fn wrong(&self, what: impl std::fmt::Display) {
        let what = format!("o{}: {what}", self.number);
        self.people.world.wrong("one credit", what);
    }

    fn credits(&self) -> Vec<Value> {
        let credits = self.found["commissions"].as_array();
        credits.cloned().unwrap_or_default()
    }

    /// What was credited, by the order's explanation.
    fn touches(&self) -> Vec<&Value> {
        let candidates = self.found["explain"]["candidates"].as_array();
        let candidates = candidates.into_iter().flatten();
        candidates
            .filter(|candidate| candidate["share"].is_string())
            .collect()
    }

    fn decided_by(&self) -> Option<&str> {
        self.found["explain"]["decided_by"].as_str()
    }

    /// Whether a person gave it to somebody.
    fn is_given(&self) -> bool {
        matches!(self.decided_by(), Some("claim" | "person"))
    }

    /// Terms count as they were when the order was made.
    fn is_by_terms_in_force(&self, versions: &Versions) {
        let occurred = self.found["occurred_at"].as_str().unwrap_or_default();
        let at: Timestamp = occurred.parse().unwrap_or_default();
        let seen = self.people.seen.borrow();
        let dealings = seen.dealings.get(&self.number).into_iter().flatten();
        let begun = dealings.map(|(from, _)| *from).min().unwrap_or(0);
        let may_judge: Vec<i64> = versions
            .that_may_judge(at.as_millisecond(), begun)
            .collect();
        let version = version_of(&self.found);
        let (world, goal) = (
            &self.people.world,
            self.people.history.orders[self.number].goal,
        );
        world.meets(BY_OLD_TERMS, usize::from(version < versions.count()));
        world.meets(BY_COUPON, usize::from(self.decided_by() == Some("coupon")));
        world.meets(LEADS, usize::from(goal == LEAD));
        if !may_judge.contains(&version) {
            self.wrong(format!(
                "made at {occurred} and judged by version {version}, and not by one of {may_judge:?}"
            ));
        }
    }

    fn has_its_value(&self) -> bool {
        let amounts = self.people.history.orders[self.number].amounts;
        let is_right = match self.amended.as_slice() {
            [] => self.amount == amounts[taken_content(self.people, self.number)],
            _ => self.newest_amendments().contains(&self.amount),
        };
        if !is_right {
            self.wrong(format!("{} amended to {:?}", self.amount, self.amended));
        }
        is_right
    }

    /// The values of the newest amendment, and of those that may have been at work just as long: each bears
    /// the time at which its function began.
    fn newest_amendments(&self) -> Vec<i64> {
        let amendments = self.found["explain"]["amendments"].as_array();
        let amendments: Vec<(i64, i64)> = amendments
            .into_iter()
            .flatten()
            .filter_map(|amendment| {
                let at: Timestamp = amendment["at"].as_str()?.parse().ok()?;
                Some((at.as_millisecond(), minor(&amendment["amount"])))
            })
            .collect();
        let newest = amendments.iter().map(|(at, _)| *at).max().unwrap_or(0);
        let last = newest - TIMEOUT_MS - 2 * SKEW;
        let newest = amendments.iter().filter(|(at, _)| *at >= last);
        newest.map(|(_, amount)| *amount).collect()
    }

    /// Whoever posts an order again is told what was said first, once when nobody was credited and
    /// once for good.
    fn told_the_same(&self) {
        let mut said: BTreeMap<bool, Value> = BTreeMap::new();
        let taken = self
            .posts
            .iter()
            .filter(|posted| posted.answer.status == 200);
        for posted in taken {
            let body = &posted.answer.body;
            let told = json!([body["conversion"], body["status"], body["commissions"]]);
            let first = said
                .entry(body["status"] == "unattributed")
                .or_insert_with(|| told.clone());
            if *first != told {
                let what = format!("o{}: {first}, then {told}", self.number);
                self.people.world.wrong("one answer", what);
            }
        }
    }

    /// Who earns how much is what the senders were told, unless the order got a new value or a person
    /// gave it to somebody.
    fn told_what_stands(&self) {
        if !self.amended.is_empty() || self.is_given() {
            return;
        }
        let parts = |credits: &Value| -> Vec<(String, i64)> {
            let credits = credits.as_array().into_iter().flatten();
            let part = |credit: &Value| {
                let affiliate = credit["affiliate"].as_str().unwrap_or_default();
                (affiliate.to_owned(), minor(&credit["amount"]))
            };
            let mut parts: Vec<(String, i64)> = credits.map(part).collect();
            parts.sort_unstable();
            parts
        };
        let stands = parts(&self.found["commissions"]);
        for posted in &self.posts {
            let body = &posted.answer.body;
            let is_credited = posted.answer.status == 200 && body["status"] != "unattributed";
            if is_credited && parts(&body["commissions"]) != stands {
                self.wrong(format!("{stands:?} stands, and {body} was told"));
            }
        }
    }

    /// Whether a post was answered as it has to be.
    fn is_answered(&self, posted: &Posted, objection: Option<&'static str>) -> bool {
        let answer = &posted.answer;
        let code = answer.body["code"].as_str();
        let is_taken = if posted.content == taken_content(self.people, self.number) {
            answer.status == 200
        } else {
            answer.status == 409 && code == Some("order_conflict")
        };
        // Of an order that is recorded a sender is told so, whatever click it names; but by one of
        // another program none is.
        let is_elsewhere = matches!(objection, Some("program_mismatch" | "click_unknown"));
        let is_taken = is_taken && !(is_elsewhere && answer.body["result"] == "created");
        is_taken || is_refused_rightly(self.people, self.number, posted)
    }

    fn is_of_whoever_may_have_it(&self) {
        let mut must_earn = BTreeSet::new();
        let mut may_earn = BTreeSet::new();
        let mut created = [0, 0];
        for posted in &self.posts {
            let (click, objection) = named(self.people, &self.program, posted);
            if !self.is_answered(posted, objection) {
                self.wrong(format!("{objection:?}, but {posted:?}"));
            }
            let answer = &posted.answer;
            if answer.status == 200 {
                let named = click.filter(|_| objection.is_none());
                must_earn.extend(named.map(|click| affiliate_id(click.affiliate)));
                let journey = self.journey(posted.at);
                may_earn.extend(journey.iter().map(|click| affiliate_id(click.affiliate)));
                let is_credited = answer.body["status"] != "unattributed";
                created[usize::from(is_credited)] += u32::from(answer.body["result"] == "created");
            }
        }
        if created[0] > 1 || created[1] > 1 {
            self.wrong(format!("created {created:?} times"));
        }
        let credits = self.credits();
        let names: BTreeSet<String> = credits
            .iter()
            .filter_map(|credit| credit["affiliate"].as_str())
            .map(str::to_owned)
            .collect();
        let seen = self.people.seen.borrow();
        let given = seen.given.iter().filter(|(of, _)| *of == self.number);
        let given_to: BTreeSet<String> = given
            .map(|(_, affiliate)| affiliate_id(*affiliate))
            .collect();
        let is_right = match self.decided_by() {
            None => credits.is_empty() && must_earn.is_empty() && !self.is_anybodys_by_coupon(),
            Some("coupon") => credits.len() == 1 && self.is_by_coupon(&names),
            Some("claim" | "person") => credits.len() == 1 && !given_to.is_empty(),
            // Whose the customer is, is asked once all orders are known.
            Some("customer") => self.program.knows_customers && credits.len() == 1,
            Some(_) => {
                let is_one = self.program.model == Model::Linear || credits.len() == 1;
                let may_have_it: BTreeSet<String> = &must_earn | &may_earn;
                is_one
                    && !credits.is_empty()
                    && names.is_subset(&may_have_it)
                    && self.is_by_the_post_that_won()
            }
        };
        // Nobody is given an order but one that nobody has, or that is theirs already.
        if !is_right || !given_to.is_subset(&names) {
            self.wrong(format!(
                "credited to {credits:?}, of {must_earn:?}, {may_earn:?} and {given_to:?}"
            ));
        }
    }

    /// Whether a post that was taken brought the coupon of somebody who was never suspended, of an order
    /// that was made when there were coupons.
    fn is_anybodys_by_coupon(&self) -> bool {
        let start = self.people.history.moments[0].at;
        let taken = self
            .posts
            .iter()
            .filter(|posted| posted.answer.status == 200 && posted.at >= start);
        let mut owners = taken.filter_map(|posted| posted.coupon);
        owners.any(|owner| is_always_active(self.people, owner))
    }

    /// Whether it is of whoever owns the coupon of a post, or of the one that was credited where that was
    /// heard, which then named no click that may earn it.
    fn is_by_coupon(&self, names: &BTreeSet<String>) -> bool {
        let is_owners = |posted: &&Posted| {
            let owner = posted.coupon.map(affiliate_id);
            owner.is_some_and(|owner| names.contains(&owner))
        };
        match self.post_that_won() {
            Some(won) => {
                let (click, objection) = named(self.people, &self.program, won);
                is_owners(&won) && (click.is_none() || objection.is_some())
            }
            None => self.posts.iter().any(|posted| is_owners(&posted)),
        }
    }

    /// The post that was credited, where that was heard.
    fn post_that_won(&self) -> Option<&Posted> {
        let is_won = |posted: &&Posted| {
            let body = &posted.answer.body;
            body["result"] == "created" && body["status"] != "unattributed"
        };
        let mut won = self.posts.iter().filter(is_won);
        won.next().filter(|_| won.next().is_none())
    }

    /// Where it was heard which post was credited: the click that it named decided, alone or with the
    /// others of its journey.
    fn is_by_the_post_that_won(&self) -> bool {
        let Some(won) = self.post_that_won() else {
            return true;
        };
        // Without a click nobody knows whose journey it was; one that may not earn itself still names it.
        let (Some(named), objection) = named(self.people, &self.program, won) else {
            return false;
        };
        if objection.is_none() && !self.has_all_that_must_share(won.at) {
            return false;
        }
        let own = objection.is_none().then(|| named.clone());
        let others = || self.others_of_journey(&named, won.at);
        let expected: Option<Vec<Click>> = match (self.program.model, own) {
            (Model::LastClick, Some(own)) => Some(vec![own]),
            (Model::LastClick, None) => others().map(|others| {
                let last = others.into_iter().max_by_key(|click| click.at);
                last.into_iter().collect()
            }),
            (Model::Linear, own) => others().map(|others| others.into_iter().chain(own).collect()),
        };
        let Some(expected) = expected else {
            return true;
        };
        let mut expected: Vec<String> = expected
            .iter()
            .map(|click| affiliate_id(click.affiliate))
            .collect();
        let touches = self.touches().into_iter();
        let mut found: Vec<String> = touches
            .filter_map(|candidate| Some(candidate["affiliate"].as_str()?.to_owned()))
            .collect();
        expected.sort_unstable();
        found.sort_unstable();
        found == expected
    }

    /// Whether all clicks share an order of this instant that its journey had for certain: whoever recorded
    /// them was done before anything was under way that may have credited it.
    fn has_all_that_must_share(&self, at: i64) -> bool {
        let seen = self.people.seen.borrow();
        let visitor = (self.number, self.people.history.orders[self.number].program);
        let dealings = seen.dealings.get(&self.number).into_iter().flatten();
        let Some(begun) = dealings.map(|(from, _)| *from).min() else {
            return true;
        };
        let is_linear = self.program.model == Model::Linear;
        if !is_linear || seen.forgotten_visitors.contains(&visitor) {
            return true;
        }
        let settled = begun - TIMEOUT_MS - 2 * SKEW;
        let shares: BTreeSet<&str> = self
            .touches()
            .into_iter()
            .filter_map(|candidate| candidate["click"].as_str())
            .collect();
        let clicks = seen.clicks.values().flatten();
        clicks
            .filter(|click| (click.visitor, click.program) == visitor && click.is_human)
            .filter(|click| click.at < settled)
            .filter(|click| (0..=self.program.window_ms).contains(&(at - click.at)))
            .map(|click| click_name(&click.id))
            .filter(|name| self.recorded.contains(name))
            .all(|name| shares.contains(name.as_str()))
    }

    /// The other clicks of its visitor that may earn an order of this instant, where all of them are
    /// known: nothing failed, nobody was forgotten, and none was under way just then, nor two at once.
    fn others_of_journey(&self, named: &Click, at: i64) -> Option<Vec<Click>> {
        let seen = self.people.seen.borrow();
        let visitor = (self.number, self.people.history.orders[self.number].program);
        if self.people.history.roughness > 0 || seen.forgotten_visitors.contains(&visitor) {
            return None;
        }
        let others: Vec<&Click> = seen
            .visits()
            .filter(|click| (click.visitor, click.program) == visitor)
            .filter(|click| click.is_human && click.id != named.id)
            .collect();
        if others
            .iter()
            .any(|click| (at - click.at).abs() < 2 * SECOND)
        {
            return None;
        }
        let in_window = |click: &&Click| (0..=self.program.window_ms).contains(&(at - click.at));
        let in_window: Vec<Click> = others.into_iter().filter(in_window).cloned().collect();
        let times: BTreeSet<i64> = in_window.iter().map(|click| click.at).collect();
        (times.len() == in_window.len()).then_some(in_window)
    }

    /// The clicks of its visitor that could earn it at this instant, were none named. A visit whose
    /// answer nobody heard was recorded all the same, and made again.
    fn journey(&self, at: i64) -> Vec<Click> {
        let seen = self.people.seen.borrow();
        let ages = -UNHEARD..=self.program.window_ms;
        seen.visits()
            .filter(|click| click.visitor == self.number)
            .filter(|click| PROGRAMS[click.program].id == self.program.id)
            .filter(|click| click.is_human && ages.contains(&(at - click.at)))
            .cloned()
            .collect()
    }

    /// What was taken back, by sku.
    fn taken_back(&self) -> BTreeMap<&'static str, i64> {
        let is_whole = self.parts.contains(&(None, 200));
        let applied = self
            .parts
            .iter()
            .filter_map(|(part, status)| part.filter(|_| *status == 200));
        let mut refunded = 0;
        let mut by_sku: BTreeMap<&'static str, i64> = BTreeMap::new();
        for part in applied {
            refunded += part.amount;
            if let Some(sku) = part.sku {
                *by_sku.entry(sku).or_default() += part.amount;
            }
        }
        let (amount, remaining) = (self.amount, self.remaining);
        let is_right = if is_whole && !self.amended.is_empty() {
            // All that was left then; a new value may have left more.
            (0..=amount - refunded).contains(&remaining)
        } else if is_whole {
            remaining == 0 && refunded <= amount
        } else {
            remaining == amount - refunded
        };
        if !is_right {
            self.wrong(format!(
                "{remaining} of {amount} remain, {refunded} taken back, whole {is_whole}"
            ));
        }
        self.amended_if_it_may_be(refunded, &by_sku);
        let left_of = |sku: &'static str| -> i64 {
            of_sku(amount, sku) - by_sku.get(sku).copied().unwrap_or(0)
        };
        for (part, status) in &self.parts {
            let is_too_much = match part {
                None => remaining == 0,
                Some(part) => {
                    let of_lines = part.sku.map_or(remaining, left_of);
                    part.amount > remaining.min(of_lines)
                }
            };
            if *status == 404 || (*status == 422 && !is_too_much) {
                self.wrong(format!(
                    "{remaining} remain, {part:?} was refused with {status}"
                ));
            }
        }
        by_sku
    }

    /// An amendment is refused for two reasons: more was taken back than it would leave, or nobody earns
    /// by the order.
    fn amended_if_it_may_be(&self, refunded: i64, by_sku: &BTreeMap<&'static str, i64>) {
        let refunded = refunded.max(self.amount - self.remaining);
        let status = self.found["status"].as_str().unwrap_or_default();
        for (amount, told) in told_of_amendments(self.people, self.number) {
            let is_too_little = amount < refunded
                || by_sku
                    .iter()
                    .any(|(sku, taken)| of_sku(amount, sku) < *taken);
            let is_right = match told {
                200 => true,
                409 => matches!(status, "unattributed" | "rejected"),
                _ => is_too_little,
            };
            if !is_right {
                self.wrong(format!(
                    "{status}, and a new value of {amount} was answered {told}, {refunded} taken back"
                ));
            }
        }
    }

    fn is_decided(&self) {
        let program = &self.program;
        let decided = |decision| {
            let seen = self.people.seen.borrow();
            let statuses = seen.decisions.get(&(self.number, decision));
            statuses.is_some_and(|statuses| statuses.contains(&200))
        };
        let status = self.found["status"].as_str().unwrap_or_default();
        let is_right = match status {
            "approved" | "reversed" if !program.is_manual => true,
            _ if !program.is_manual => false,
            // Whoever gives an order to somebody approves it.
            "approved" | "reversed" if self.is_given() => true,
            "approved" => decided("approve") || program.approves_after_a_day && !decided("reject"),
            "rejected" => decided("reject") && !decided("approve"),
            "reversed" => decided("approve") || self.remaining == 0,
            // A person has to look first at the order that brought its customer.
            "pending" if self.waits_with_its_customers_first() => !decided("approve"),
            "pending" if decided("reject") => decided("reopen") && !decided("approve"),
            "pending" => !program.approves_after_a_day && !decided("approve"),
            _ => false,
        };
        if !is_right {
            self.wrong(format!("{status} after all decisions"));
        }
    }

    fn waits_with_its_customers_first(&self) -> bool {
        let review = self.found["explain"]["review"].as_array();
        self.program.knows_customers
            && review.is_some_and(|reasons| reasons.contains(&json!("first_order_pending")))
    }

    /// Adds to what is due what this order earned, less what it gave back.
    fn earns(&self, by_sku: &BTreeMap<&'static str, i64>, due: &mut Due) {
        let (program, amount, remaining) = (&self.program, self.amount, self.remaining);
        let credits = self.credits();
        let total = credits.iter().map(|credit| minor(&credit["amount"])).sum();
        let may_earn = model::commissions(program, amount);
        let commission = if may_earn.contains(&total) {
            total
        } else {
            self.wrong(format!("earns {total}, and not one of {may_earn:?}"));
            may_earn[0]
        };
        let shares = self.shares(commission);
        for credit in &credits {
            let affiliate = credit["affiliate"].as_str().unwrap_or_default().to_owned();
            let share = shares.get(&affiliate).copied().unwrap_or_default();
            if minor(&credit["amount"]) != share {
                self.wrong(format!(
                    "earns {commission}, {affiliate} {share} of it, not {credit}"
                ));
            }
            let status = self.found["status"].as_str().unwrap_or_default();
            if matches!(status, "approved" | "reversed" | "pending") {
                let back = if program.has_basket() && remaining > 0 {
                    let by_name = model::given_back_of_lines(program, amount, by_sku);
                    let named: i64 = by_sku.values().sum();
                    let unnamed = amount - remaining - named;
                    by_name + self.given_back_unnamed(credit, share - by_name, unnamed, named)
                } else {
                    model::given_back(program, share, amount - remaining, amount)
                };
                let pocket = (
                    program.payer.to_owned(),
                    affiliate,
                    program.currency.to_owned(),
                );
                let left = share - back;
                match status {
                    "pending" => *due.pending.entry(pocket).or_default() += left,
                    _ => due.sums.entry(pocket).or_default().0 += left,
                }
            }
            self.is_held(credit, due);
        }
    }

    /// What is given back of the rest of a commission for what was taken of the order as a whole, before
    /// a new value left more of it. As it is rounded anew with each part that is taken after that, and
    /// never falls, it may be a unit or two more.
    fn given_back_unnamed(&self, credit: &Value, rest: i64, unnamed: i64, named: i64) -> i64 {
        if unnamed == 0 {
            return 0;
        }
        let back = model::given_back(&self.program, rest, unnamed, self.amount - named);
        let shown = minor(&credit["reversed"]) - (minor(&credit["amount"]) - rest);
        if (back..=back + 2).contains(&shown) {
            shown
        } else {
            back
        }
    }

    /// Money is payable when its program's hold is over, counted from the day of the sale, or on the day
    /// it was credited if that is later.
    fn is_held(&self, credit: &Value, due: &mut Due) {
        let occurred = self.found["occurred_at"].as_str().unwrap_or_default();
        let was_said = |posted: &&Posted| instant(posted.at).to_string() == occurred;
        let Some(sold) = self.posts.iter().find(was_said) else {
            self.wrong(format!("nobody said that it was sold at {occurred}"));
            return;
        };
        let held_until = sold.at / DAY + self.program.hold_days;
        let shown = day_number(credit["payable_on"].as_str().unwrap_or_default());
        let seen = self.people.seen.borrow();
        let dealings = seen.dealings.get(&self.number).into_iter().flatten();
        let days = dealings.flat_map(|(from, to)| (from - SKEW) / DAY..=(to + SKEW) / DAY);
        let by_terms: BTreeSet<i64> = days.map(|day| held_until.max(day)).collect();
        let status = self.found["status"].as_str().unwrap_or_default();
        let is_booked = matches!(status, "approved" | "reversed");
        if !(by_terms.contains(&shown) || is_booked) {
            self.wrong(format!(
                "held until day {held_until}, and payable on day {shown}"
            ));
        }
        let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
        let key = (text(&self.found["id"]), text(&credit["affiliate"]));
        due.payable.insert(key, Payable { by_terms, shown });
    }

    /// What each affiliate gets, by the clicks that the explanation says were credited: each of them
    /// must have been made, by this visitor, and counts once.
    fn shares(&self, commission: i64) -> BTreeMap<String, i64> {
        let credited = self.touches();
        let seen = self.people.seen.borrow();
        let visitor = (self.number, self.people.history.orders[self.number].program);
        let is_forgotten = seen.forgotten_visitors.contains(&visitor);
        let is_by_clicks =
            !self.is_given() && !matches!(self.decided_by(), Some("customer" | "coupon"));
        let parts = model::split(commission, credited.len());
        let mut shares = BTreeMap::new();
        let mut touches = BTreeSet::new();
        for (candidate, part) in credited.iter().zip(parts) {
            let affiliate = candidate["affiliate"].as_str().unwrap_or_default();
            *shares.entry(affiliate.to_owned()).or_default() += part;
            let was_made = seen.visits().any(|click| {
                click.visitor == self.number
                    && click.is_human
                    && affiliate_id(click.affiliate) == affiliate
            });
            let is_new = touches.insert(candidate["click"].as_str().unwrap_or_default());
            if is_by_clicks && !(was_made && (is_new || is_forgotten)) {
                self.wrong(format!(
                    "nobody made the credited {candidate}, or it counts twice"
                ));
            }
        }
        shares
    }
}
