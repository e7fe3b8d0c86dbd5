//! A result: read, attributed, reckoned and recorded once.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use shared::app::{App, unavailable};
use shared::attribution::{AFFILIATES_MOST, Candidate, Decision, Kind, LeftOut};
use shared::commission::{Buyer, Counter, Customer, Line, NoCommission};
use shared::conversion::{
    BasketLine, Conversion, Credit, Item, OrderKey, Refusal, Status, digest, earned_by_line,
    fingerprint,
};
use shared::http_types::{Fields, Problem};
use shared::ids::{AffiliateId, ProgramId};
use shared::period::day_of;
use shared::reckoning::{self, Alone, NotReckoned};
use shared::reversing::apply_waiting;
use shared::setup::{Approval, Cap, CapPer, Goal, Link, OrderScope, Program};
use shared::store::{
    Besides, Counted, FirstCredit, MEMBERS_OF_EACH, Recorded, Refusing, TRANSACTION_MOST, Versioned,
};
use shared::traffic::Class;

use super::claim::{Claim, OrderValue, value_of};
use super::evidence::{Evidence, Named};
use super::sender::Sender;
use super::trail::{self, Reckoned};

/// Why an order waits in a program whose merchant looks at each.
const MANUAL: &str = "manual_approval";

/// How often an order is judged again because another one of its customer or its affiliate came
/// first.
const JUDGED_MOST: u32 = 12;

/// Records the result that the fields tell of, and answers as the contract has it.
pub async fn convert(
    app: &App,
    sender: &Sender,
    fields: Fields,
    now: Timestamp,
) -> Result<Value, Problem> {
    let mut claim = Claim::read(fields, now)?;
    let named = match named_click(app, &claim).await? {
        Ok(named) => named,
        Err(refusal) => return turn_away(app, sender, &mut claim, None, refusal, now).await,
    };

    let program_id = match (&named, &claim.program) {
        (Some(named), Some(program)) if named.link.program != *program => {
            let other = app.store.program_at(&named.link.program, claim.at).await;
            let is_own = other
                .map_err(unavailable)?
                .is_some_and(|other| other.record.merchant == sender.merchant.id);
            // Another merchant's affiliate is not told of this one's claims.
            let refusal = if is_own {
                claim.affiliate = Some(named.link.affiliate.clone());
                Refusal::ProgramMismatch
            } else {
                Refusal::ClickUnknown
            };
            return turn_away(app, sender, &mut claim, None, refusal, now).await;
        }
        (Some(named), _) => named.link.program.clone(),
        (None, Some(program)) => program.clone(),
        (None, None) => return Err(Problem::invalid("parameter_missing", "program")),
    };
    let program = app
        .store
        .program_at(&program_id, claim.at)
        .await
        .map_err(unavailable)?
        .filter(|program| program.record.merchant == sender.merchant.id);
    let Some(program) = program else {
        if named.is_some() {
            // Another merchant's affiliate is not told of this one's claims.
            let refusal = Refusal::ClickUnknown;
            return turn_away(app, sender, &mut claim, None, refusal, now).await;
        }
        return Err(Problem::invalid("program_unknown", "program"));
    };
    sender.may_convert(&program.record.id)?;
    claim.affiliate = named.as_ref().map(|named| named.link.affiliate.clone());
    let terms: &Program = &program.record;
    if claim
        .currency
        .is_some_and(|currency| currency != terms.currency)
    {
        let refusal = Refusal::CurrencyMismatch;
        return turn_away(app, sender, &mut claim, Some(terms), refusal, now).await;
    }
    let order = Order::read(app, sender, &mut claim, named.as_ref(), &program, now)?;
    if order.is_too_late() {
        return order.repeated().await;
    }
    if order.is_test {
        return order.record_test().await;
    }
    for _ in 0..JUDGED_MOST {
        if let Some(answer) = order.judge().await? {
            return Ok(answer);
        }
    }
    Err(Problem::unavailable())
}

async fn named_click(app: &App, claim: &Claim) -> Result<Result<Option<Named>, Refusal>, Problem> {
    let Some(text) = &claim.click_id else {
        return Ok(Ok(None));
    };
    let Ok(click) = app.click(text).await? else {
        return Ok(Err(Refusal::ClickForged));
    };
    let link = app
        .store
        .record::<Link>(&click.link().to_string())
        .await
        .map_err(unavailable)?;
    Ok(match link {
        Some(link) => Ok(Some(Named {
            click,
            link: link.record,
        })),
        None => Err(Refusal::ClickUnknown),
    })
}

/// A claim whose program is known, before anybody is credited.
struct Order<'a> {
    app: &'a App,
    sender: &'a Sender,
    claim: &'a Claim,
    named: Option<&'a Named>,
    program: &'a Versioned<Arc<Program>>,
    goal: &'a Goal,
    value: OrderValue,
    is_test: bool,
    now: Timestamp,
}

impl<'a> Order<'a> {
    fn read(
        app: &'a App,
        sender: &'a Sender,
        claim: &'a mut Claim,
        named: Option<&'a Named>,
        program: &'a Versioned<Arc<Program>>,
        now: Timestamp,
    ) -> Result<Self, Problem> {
        let terms: &Program = &program.record;
        let goal = terms
            .goal(&claim.goal)
            .ok_or_else(|| Problem::invalid("goal_unknown", "goal"))?;
        let value = value_of(claim, terms.currency)?;
        Ok(Self {
            app,
            sender,
            is_test: claim.is_test || named.is_some_and(|named| named.click.is_test()),
            claim,
            named,
            program,
            goal,
            value,
            now,
        })
    }

    fn terms(&self) -> &'a Program {
        &self.program.record
    }

    fn is_too_late(&self) -> bool {
        let age = self.now.as_millisecond() - self.claim.at.as_millisecond();
        age > self.terms().accept_late.milliseconds()
    }

    /// An order that comes too late to be judged, unless it only comes again.
    async fn repeated(&self) -> Result<Value, Problem> {
        let key = order_key(self.sender, self.claim, Some(&self.terms().id));
        let standing = self.app.store.conversion(&key).await.map_err(unavailable)?;
        match standing.filter(|_| !self.is_test) {
            Some(standing) => self.told_again(&standing).await,
            None => Err(Problem::invalid("too_late", "occurred_at")),
        }
    }

    async fn record_test(&self) -> Result<Value, Problem> {
        let conversion = self.conversion(&Evidence::none(), Status::Test);
        let is_first = self.app.store.record_test(&conversion).await;
        Ok(body(&conversion, is_first.map_err(unavailable)?))
    }

    /// Decides who is credited, reckons and records; none if what it was judged by moved meanwhile.
    async fn judge(&self) -> Result<Option<Value>, Problem> {
        let (app, claim, terms) = (self.app, self.claim, self.terms());
        let mut evidence =
            Evidence::of(app, claim, self.named, self.sender.cookie, terms, self.now).await?;
        let candidates = std::mem::take(&mut evidence.candidates);
        let most = self.affiliates_most(&candidates);
        let decision = Decision::among(&terms.attribution, candidates, most);
        if decision.decided_by.is_none() {
            let why = trail::decided(terms, &decision, &[], &[]);
            if let Some(refusal) = refusal_of(&decision) {
                return self.refuse(refusal, why).await;
            }
            if self.lacks_amount().await? {
                return self.refuse(Refusal::AmountRequired, why).await;
            }
            let mut conversion = self.conversion(&evidence, Status::Unattributed);
            conversion.why = why;
            conversion.facts["ignored"] = json!(evidence.ignored);
            return self.record(&conversion, &Besides::default()).await;
        }

        let mut reckoned: Vec<Reckoned> = Vec::new();
        let mut credits = Vec::new();
        for (affiliate, weight) in decision.shares() {
            let earned = self.credit(&mut evidence, &decision, affiliate, weight);
            let (credit, own) = match earned.await? {
                Ok(earned) => earned,
                Err(refusal) => return self.refuse(refusal, Value::Null).await,
            };
            reckoned.push(own);
            credits.push(credit);
        }
        let earns = reckoned.iter().any(|own| own.whole.is_some());
        let review = self.review(&evidence, &decision);
        let why = trail::decided(terms, &decision, &reckoned, &review);
        if self.goal.payable && !earns {
            return self.refuse(Refusal::NoRule, why).await;
        }

        let mut conversion = self.conversion(
            &evidence,
            if review.is_empty() {
                Status::Approved
            } else {
                Status::Pending
            },
        );
        conversion.why = why;
        conversion.approves_on = self.approves_on(&review);
        if self.goal.payable {
            conversion.split = decision.split();
            conversion.credits = credits;
            let wholes: Vec<_> = reckoned
                .iter()
                .map(|own| (own.amount, own.whole.as_ref()))
                .collect();
            earned_by_line(&mut conversion.basket, &wholes);
        }
        let credited = decision.credited().map(|(candidate, _)| candidate);
        for candidate in credited.filter(|candidate| candidate.link.is_some()) {
            // The last of each affiliate's, and the last of all.
            let click = evidence.dimensions(candidate);
            conversion.facts["clicks"][candidate.affiliate.as_str()] = click.clone();
            conversion.facts["click"] = click;
        }
        let ignored = evidence
            .ignored
            .iter()
            .filter(|name| **name != "customer_id");
        conversion.facts["ignored"] = json!(ignored.collect::<Vec<_>>());
        let caps = Cap::uses(
            &terms.caps,
            &conversion.credits,
            evidence.customer(),
            claim.at,
        );
        let Ok(caps) = caps else {
            let why = conversion.why;
            return self.refuse(Refusal::CustomerRequired, why).await;
        };
        let besides = Besides {
            caps,
            first: self.first_credit(&evidence, &decision),
            claim: None,
            counted: self.counted(&reckoned, evidence.customer()),
        };
        if !besides.has_room(conversion.credits.len()) {
            let why = conversion.why;
            return self.refuse(Refusal::TooManyCounters, why).await;
        }
        self.record(&conversion, &besides).await
    }

    /// How many affiliates may share the order, as its transaction has room for: those who come with
    /// more counters and budgets are fewer.
    fn affiliates_most(&self, candidates: &[Candidate]) -> usize {
        let terms = self.terms();
        let own_caps = terms.caps.iter().filter(|cap| cap.per == CapPer::Affiliate);
        let own_caps = own_caps.count();
        let lines: Vec<Line<'_>> = self.value.items.iter().map(Item::line).collect();
        let rules = &terms.commission;
        let counters = candidates
            .iter()
            .filter(|candidate| candidate.out.is_none())
            .map(|candidate| {
                rules.counters_most(&self.goal.name, self.claim.at, &candidate.affiliate, &lines)
            });
        // Its customer may be a new one.
        let of_all = 1 + terms.caps.len() - own_caps;
        let of_each = MEMBERS_OF_EACH + own_caps + counters.max().unwrap_or(0);
        (TRANSACTION_MOST.saturating_sub(of_all) / of_each).clamp(1, AFFILIATES_MOST)
    }

    /// Whether nobody could ever be credited with the order, whoever names it later, for want of an
    /// amount. What is recorded already stays what it is.
    async fn lacks_amount(&self) -> Result<bool, Problem> {
        let rules = &self.terms().commission;
        let is_needed = self.goal.payable && rules.needs_amount(&self.goal.name, self.claim.at);
        if self.value.amount.is_some() || !is_needed {
            return Ok(false);
        }
        let key = order_key(self.sender, self.claim, Some(&self.terms().id));
        let standing = self.app.store.conversion(&key).await.map_err(unavailable)?;
        Ok(standing.is_none())
    }

    /// One affiliate's part of the order: what it would earn alone on its own terms, by its share.
    async fn credit(
        &self,
        evidence: &mut Evidence,
        decision: &Decision,
        affiliate: AffiliateId,
        weight: u64,
    ) -> Result<Result<(Credit, Reckoned), Refusal>, Problem> {
        let claim = self.claim;
        let party = evidence
            .party(self.app, &affiliate, claim.at)
            .await?
            .clone();
        let country = decision
            .credited()
            .filter(|(candidate, _)| candidate.affiliate == affiliate)
            .filter_map(|(candidate, _)| evidence.visit(candidate)?.record.country.clone())
            .last();
        let lines: Vec<Line<'_>> = self.value.items.iter().map(Item::line).collect();
        let order = reckoning::Order {
            terms: self.terms(),
            goal: &self.goal.name,
            is_payable: self.goal.payable,
            order_id: &claim.order_id,
            at: claim.at,
            service_date: claim.service_date,
            amount: self.value.amount,
            lines: &lines,
            customer: claim.customer,
            coupon: claim.coupon.as_deref(),
            buyer: evidence.buyer(),
            customer_key: evidence.customer(),
        };
        let alone = order
            .earned_by(&self.app.store, &party, country, self.now)
            .await;
        let Alone { mut credit, whole } = match alone {
            Ok(alone) => alone,
            Err(NotReckoned::Failed(error)) => return Err(unavailable(error)),
            Err(NotReckoned::Refused(no)) => {
                return Ok(Err(match no {
                    NoCommission::AmountRequired => Refusal::AmountRequired,
                    NoCommission::TooLarge => Refusal::AmountTooLarge,
                    NoCommission::CustomerRequired => Refusal::CustomerRequired,
                    NoCommission::NoRule | NoCommission::Unknown(_) => Refusal::NoRule,
                }));
            }
        };
        credit.commission = decision.part(&affiliate, credit.commission);
        let reckoned = Reckoned {
            affiliate,
            weight,
            whole,
            amount: credit.commission,
        };
        Ok(Ok((credit, reckoned)))
    }

    /// What has the order wait for the merchant.
    fn review(&self, evidence: &Evidence, decision: &Decision) -> Vec<&'static str> {
        let suspects = |candidate: &Candidate| candidate.class == Class::Suspect;
        let is_own = |candidate: &Candidate| evidence.own_orders.contains(&candidate.affiliate);
        let credited = || decision.credited().map(|(candidate, _)| candidate);
        [
            (self.terms().approval == Approval::Manual, MANUAL),
            (self.sender.is_browser(), "browser"),
            (credited().any(suspects), "suspect_traffic"),
            (credited().any(is_own), "self_referral"),
            (
                decision.decided_by == Some(Kind::Customer) && evidence.first_order_waits(),
                "first_order_pending",
            ),
        ]
        .into_iter()
        .filter(|(waits, _)| *waits)
        .map(|(_, reason)| reason)
        .collect()
    }

    /// A customer belongs to nobody by the word of a browser, which anybody can make one say.
    fn first_credit(&self, evidence: &Evidence, decision: &Decision) -> Option<FirstCredit> {
        if self.sender.is_browser() {
            return None;
        }
        evidence.first_credit(&decision.shares())
    }

    /// What the order adds to counters. What a browser tells of climbs no step, which would raise what
    /// others earn unasked; towards a rule that ends for its customer it counts, as that only lowers it.
    fn counted(&self, reckoned: &[Reckoned], customer: Option<&str>) -> Vec<Counted> {
        let mut counted = Vec::new();
        for own in reckoned {
            let advances = own.whole.iter().flat_map(|whole| &whole.advances);
            let advances = advances.filter(|advance| {
                !(self.sender.is_browser() && matches!(advance.counter, Counter::Tier { .. }))
            });
            counted.extend(advances.map(|advance| Counted {
                affiliate: own.affiliate.clone(),
                customer: customer.map(str::to_owned),
                advance: advance.clone(),
            }));
        }
        // A customer's order counts once, whoever share it.
        let mut of_customer = BTreeSet::new();
        counted.retain(|counted| match &counted.advance.counter {
            Counter::Customer { rule } => of_customer.insert(rule.clone()),
            Counter::Tier { .. } => true,
        });
        counted
    }

    /// When an order is approved that waits for nothing but the merchant's time. What looks odd
    /// waits for a person.
    fn approves_on(&self, review: &[&str]) -> Option<Date> {
        let after = self.terms().approve_after?;
        let after = SignedDuration::from_millis(after.milliseconds());
        let due = self.now.checked_add(after).unwrap_or(Timestamp::MAX);
        (review == [MANUAL]).then(|| day_of(due))
    }

    fn conversion(&self, evidence: &Evidence, status: Status) -> Conversion {
        let (claim, terms) = (self.claim, self.terms());
        let (amount, items) = (self.value.amount, &self.value.items);
        Conversion {
            key: order_key(self.sender, claim, Some(&terms.id)),
            payer: self.sender.merchant.payer.clone(),
            program: terms.id.clone(),
            program_version: self.program.version,
            currency: terms.currency,
            amount,
            fingerprint: fingerprint(&terms.id, terms.currency, amount, items),
            rounding: terms.rounding,
            status,
            occurred_at: claim.at,
            recorded_at: self.now,
            credits: Vec::new(),
            split: Vec::new(),
            basket: items.iter().map(BasketLine::of).collect(),
            approves_on: None,
            refunded: 0,
            ver: 1,
            facts: json!({
                "customer": claim.customer.map(Customer::as_str),
                "coupon": claim.coupon,
                "meta": claim.meta,
                "service_date": claim.service_date.map(|day| day.to_string()),
                "customer_key": evidence.customer(),
                "buyer": match evidence.buyer() {
                    Buyer::Unnamed => Value::Null,
                    Buyer::Named { since } => json!({"since": since.map(|since| since.to_string())}),
                },
            }),
            why: json!({}),
            said: None,
        }
    }

    /// A reversal that came before its sale is applied once the sale stands; by a repeated sale
    /// too, should we have stopped in between.
    async fn record(
        &self,
        conversion: &Conversion,
        besides: &Besides,
    ) -> Result<Option<Value>, Problem> {
        let recorded = self.app.store.record_conversion(conversion, besides).await;
        let (standing, is_new) = match recorded.map_err(unavailable)? {
            Recorded::Created(created) => (created, true),
            Recorded::Before(first) => (first, false),
            Recorded::Conflict => return Err(Problem::conflict("order_conflict")),
            Recorded::Moved => return Ok(None),
            Recorded::CapReached => {
                let why = conversion.why.clone();
                return self.refuse(Refusal::CapReached, why).await;
            }
        };
        told(self.app, &standing, is_new, self.now).await.map(Some)
    }

    /// What stands, if the claim has the same content.
    async fn told_again(&self, standing: &Conversion) -> Result<Value, Problem> {
        let again = self.conversion(&Evidence::none(), Status::Unattributed);
        if standing.fingerprint != again.fingerprint {
            return Err(Problem::conflict("order_conflict"));
        }
        told(self.app, standing, false, self.now).await
    }

    /// Refuses the claim, unless its order is recorded: then that is what its sender is told, whatever
    /// the claim brings now. A shop's server that repeats an order for weeks learns that it is done.
    async fn refuse(&self, refusal: Refusal, why: Value) -> Result<Option<Value>, Problem> {
        let terms = self.terms();
        let (app, sender, claim, now) = (self.app, self.sender, self.claim, self.now);
        if let Some(recorded) = recorded(app, sender, claim, Some(&terms.id)).await? {
            return self.told_again(&recorded).await.map(Some);
        }
        Err(refuse(app, sender, claim, Some(terms), refusal, why, now).await)
    }
}

/// What stands, once all that waited for it is taken back: whoever recorded it may have stopped in
/// between.
async fn told(
    app: &App,
    standing: &Conversion,
    is_new: bool,
    now: Timestamp,
) -> Result<Value, Problem> {
    apply_waiting(app, standing, now).await?;
    Ok(body(standing, is_new))
}

/// The claim's order, if somebody is credited with it and the sender may tell of it. Where each
/// program counts its own orders, none can be told without one.
async fn recorded(
    app: &App,
    sender: &Sender,
    claim: &Claim,
    program: Option<&ProgramId>,
) -> Result<Option<Conversion>, Problem> {
    let key = order_key(sender, claim, program);
    let is_known = sender.merchant.order_scope == OrderScope::Merchant || key.program.is_some();
    if claim.is_test || !is_known {
        return Ok(None);
    }
    let standing = app.store.conversion(&key).await.map_err(unavailable)?;
    Ok(standing.filter(|standing| {
        standing.status != Status::Unattributed && sender.may_convert(&standing.program).is_ok()
    }))
}

/// As [`Order::refuse`], where what is wrong is seen before the claim is judged. What it does not
/// say of its content is as it was.
async fn turn_away(
    app: &App,
    sender: &Sender,
    claim: &mut Claim,
    terms: Option<&Program>,
    refusal: Refusal,
    now: Timestamp,
) -> Result<Value, Problem> {
    let program = terms.map(|terms| &terms.id).or(claim.program.as_ref());
    let program = program.cloned();
    let Some(standing) = recorded(app, sender, claim, program.as_ref()).await? else {
        return Err(refuse(app, sender, claim, terms, refusal, Value::Null, now).await);
    };
    let currency = claim.currency.unwrap_or(standing.currency);
    let value = value_of(claim, currency)?;
    let program = program.as_ref().unwrap_or(&standing.program);
    if fingerprint(program, currency, value.amount, &value.items) != standing.fingerprint {
        return Err(Problem::conflict("order_conflict"));
    }
    told(app, &standing, false, now).await
}

/// Why an order is refused that nobody can be credited with: what spoke against the sender's own
/// click, or that the customer is the affiliate. Without either nobody was named.
fn refusal_of(decision: &Decision) -> Option<Refusal> {
    let named = decision.first_of(Kind::ClickId);
    match named.and_then(|named| named.out) {
        Some(LeftOut::ProgramPaused | LeftOut::Suspended | LeftOut::NotEnrolled) => {
            Some(Refusal::ProgramPaused)
        }
        Some(LeftOut::WindowClosed | LeftOut::AfterConversion | LeftOut::NotValidThen) => {
            Some(Refusal::WindowClosed)
        }
        Some(LeftOut::SelfReferral) => Some(Refusal::SelfReferral),
        Some(_) => Some(Refusal::InvalidTraffic),
        None => {
            let is_own = |candidate: &Candidate| candidate.out == Some(LeftOut::SelfReferral);
            let any_own = decision.candidates.iter().any(is_own);
            any_own.then_some(Refusal::SelfReferral)
        }
    }
}

fn body(conversion: &Conversion, is_new: bool) -> Value {
    let mut body = conversion.answer();
    body["result"] = json!(if is_new { "created" } else { "recorded_before" });
    body
}

fn order_key(sender: &Sender, claim: &Claim, program: Option<&ProgramId>) -> OrderKey {
    let by_program = sender.merchant.order_scope == OrderScope::Program;
    OrderKey {
        merchant: sender.merchant.id.clone(),
        program: program.filter(|_| by_program).cloned(),
        order_id: claim.order_id.clone(),
        goal: claim.goal.clone(),
    }
}

/// Keeps the claim apart, and makes the answer of it.
async fn refuse(
    app: &App,
    sender: &Sender,
    claim: &Claim,
    terms: Option<&Program>,
    refusal: Refusal,
    why: Value,
    now: Timestamp,
) -> Problem {
    let what = json!([
        refusal.code(),
        claim.click_id,
        claim.program.as_ref().map(ProgramId::as_str),
        claim.amount,
        claim.coupon
    ]);
    // Of a claim without a click whoever's coupon or customer it named sees it too.
    let considered = why["candidates"][0]["affiliate"].as_str();
    let considered = considered.and_then(|id| AffiliateId::parse(id).ok());
    let refusing = Refusing {
        key: order_key(sender, claim, terms.map(|terms| &terms.id)),
        program: terms.map(|terms| &terms.id),
        affiliate: claim.affiliate.as_ref().or(considered.as_ref()),
        fingerprint: digest(&what.to_string()),
        refusal,
        why,
    };
    let kept = app.store.record_refusal(&refusing, now).await;
    match kept {
        Err(error) => unavailable(error),
        Ok(()) if refusal == Refusal::AmountRequired => Problem::invalid(refusal.code(), "amount"),
        Ok(()) if refusal == Refusal::CustomerRequired => {
            Problem::invalid(refusal.code(), "customer_id")
        }
        Ok(()) => Problem::refused(refusal.code()),
    }
}
