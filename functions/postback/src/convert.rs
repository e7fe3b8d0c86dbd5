//! A result: read, attributed, reckoned and recorded once.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Value, json};
use shared::app::{App, unavailable};
use shared::click::Click;
use shared::commission::{Commission, Customer, Line, NoCommission, Sale};
use shared::conversion::{
    Conversion, Credit, Item, OrderKey, Refusal, Status, digest, fingerprint, is_in_window,
    is_order_id,
};
use shared::http_types::{Fields, Problem};
use shared::ids::{AffiliateId, ProgramId};
use shared::ledger::lane_of;
use shared::money::{Currency, Money};
use shared::period::{day_of, days_after};
use shared::setup::{
    Affiliate, Approval, Enrolment, Goal, Link, OrderScope, Program, ProgramStatus,
};
use shared::store::{Recorded, Versioned};
use shared::traffic::Class;

use super::reverse;
use super::sender::Sender;

/// How far ahead of us a sender's clock may be.
const AHEAD_SECONDS: i64 = 300;

/// Characters of a note.
const META_MOST: usize = 256;

/// What the sender says, before anything is looked up. Amounts wait for the currency.
struct Claim {
    click_id: Option<String>,
    coupon: Option<String>,
    has_customer_id: bool,
    order_id: String,
    goal: String,
    amount: Option<String>,
    currency: Option<Currency>,
    items: Option<Vec<Fields>>,
    customer: Option<Customer>,
    at: Timestamp,
    service_date: Option<Date>,
    program: Option<ProgramId>,
    is_test: bool,
    /// The merchant's own notes, `meta1` to `meta5`.
    meta: BTreeMap<String, String>,
    /// Whose click it is, once that is known.
    affiliate: Option<AffiliateId>,
}

impl Claim {
    fn read(mut fields: Fields, now: Timestamp) -> Result<Self, Problem> {
        let order_id = fields.parsed_required("order_id", "order_id_invalid", |text| {
            is_order_id(text).then(|| text.to_owned()).ok_or(())
        })?;
        let goal = match (fields.text("goal")?, fields.text("event")?) {
            (Some(_), Some(_)) => return Err(Problem::invalid("parameter_repeated", "event")),
            (Some(goal), None) | (None, Some(goal)) => goal.to_lowercase(),
            (None, None) => "sale".to_owned(),
        };
        // A refused claim is kept under its goal, so that is a name before anything is judged.
        if !Goal::is_name(&goal) {
            return Err(Problem::invalid("goal_unknown", "goal"));
        }
        let at = fields.instant("occurred_at")?.unwrap_or(now);
        let customer = fields.parsed("customer", "customer_invalid", |text| {
            Customer::parse(text).ok_or(())
        })?;
        let mut claim = Self {
            click_id: fields.text("click_id")?,
            coupon: fields.text("coupon")?,
            has_customer_id: fields.text("customer_id")?.is_some(),
            order_id,
            goal,
            amount: fields.text("amount")?,
            currency: fields.parsed("currency", "currency_invalid", Currency::parse)?,
            items: fields.objects("items")?,
            customer,
            at,
            service_date: fields.day("service_date")?,
            program: fields.parsed("program", "program_unknown", ProgramId::parse)?,
            is_test: fields.flag("test")?.unwrap_or(false),
            meta: BTreeMap::new(),
            affiliate: None,
        };
        for name in ["meta1", "meta2", "meta3", "meta4", "meta5"] {
            let is_kept = |text: &str| text.chars().count() <= META_MOST;
            let meta = fields.parsed(name, "text_invalid", |text| {
                is_kept(text).then(|| text.to_owned()).ok_or(())
            })?;
            claim.meta.extend(meta.map(|text| (name.to_owned(), text)));
        }
        fields.finish()?;
        if claim.at.as_second() > now.as_second() + AHEAD_SECONDS {
            return Err(Problem::invalid("occurred_at_future", "occurred_at"));
        }
        Ok(claim)
    }
}

/// The order's value and lines in the program's currency.
struct OrderValue {
    amount: Option<Money>,
    items: Vec<Item>,
}

fn value_of(claim: &mut Claim, currency: Currency) -> Result<OrderValue, Problem> {
    let money = |text: &str| Money::parse(text, currency);
    let mut items = Vec::new();
    for mut item in claim.items.take().unwrap_or_default() {
        items.push(Item {
            sku: item.required("sku")?,
            category: item.text("category")?,
            quantity: item.whole("quantity")?.unwrap_or(1),
            amount: item.parsed_required("amount", "amount_invalid", money)?,
        });
        item.finish()?;
    }
    let amount = match &claim.amount {
        None => None,
        Some(text) => Some(money(text).map_err(|_| Problem::invalid("amount_invalid", "amount"))?),
    };
    if items.is_empty() {
        return Ok(OrderValue { amount, items });
    }
    let sum = items
        .iter()
        .try_fold(Money::zero(currency), |sum, item| {
            sum.checked_add(item.amount)
        })
        .ok_or_else(|| Problem::invalid("items_total", "items"))?;
    if amount.is_some_and(|amount| amount != sum) {
        return Err(Problem::invalid("items_total", "items"));
    }
    Ok(OrderValue {
        amount: Some(sum),
        items,
    })
}

/// A click that is ours and this merchant's.
struct Named {
    click: Click,
    link: Link,
}

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
        Err(refusal) => return Err(refuse(app, sender, &claim, None, refusal, now).await),
    };

    let program_id = match (&named, &claim.program) {
        (Some(named), Some(program)) if named.link.program != *program => {
            let refusal = Refusal::ProgramMismatch;
            return Err(refuse(app, sender, &claim, None, refusal, now).await);
        }
        (Some(named), _) => named.link.program.clone(),
        (None, Some(program)) => program.clone(),
        (None, None) => return Err(Problem::invalid("parameter_missing", "program")),
    };
    let program = app
        .store
        .record_at::<Program>(program_id.as_str(), claim.at)
        .await
        .map_err(unavailable)?
        .filter(|program| program.record.merchant == sender.merchant.id);
    let Some(program) = program else {
        if named.is_some() {
            // Another merchant's affiliate is not told of this one's claims.
            return Err(refuse(app, sender, &claim, None, Refusal::ClickUnknown, now).await);
        }
        return Err(Problem::invalid("program_unknown", "program"));
    };
    sender.may_convert(&program.record.id)?;
    claim.affiliate = named.as_ref().map(|named| named.link.affiliate.clone());
    judge(app, sender, &mut claim, named, &program, now).await
}

async fn named_click(app: &App, claim: &Claim) -> Result<Result<Option<Named>, Refusal>, Problem> {
    let Some(text) = &claim.click_id else {
        return Ok(Ok(None));
    };
    let Ok(click) = Click::verify(text, &app.keys()) else {
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

async fn judge(
    app: &App,
    sender: &Sender,
    claim: &mut Claim,
    named: Option<Named>,
    program: &Versioned<Program>,
    now: Timestamp,
) -> Result<Value, Problem> {
    let terms = &program.record;
    let goal = terms
        .goal(&claim.goal)
        .ok_or_else(|| Problem::invalid("goal_unknown", "goal"))?;
    if claim
        .currency
        .is_some_and(|currency| currency != terms.currency)
    {
        let refusal = Refusal::CurrencyMismatch;
        return Err(refuse(app, sender, claim, Some(terms), refusal, now).await);
    }
    let value = value_of(claim, terms.currency)?;
    let age = now.as_millisecond() - claim.at.as_millisecond();
    if age > terms.accept_late.milliseconds() {
        return Err(Problem::invalid("too_late", "occurred_at"));
    }

    let mut conversion = Conversion {
        key: order_key(sender, claim, Some(terms)),
        payer: sender.merchant.payer.clone(),
        program: terms.id.clone(),
        program_version: program.version,
        currency: terms.currency,
        amount: value.amount,
        fingerprint: fingerprint(&terms.id, terms.currency, value.amount, &value.items),
        rounding: terms.rounding,
        status: Status::Unattributed,
        occurred_at: claim.at,
        recorded_at: now,
        credits: Vec::new(),
        refunded: 0,
        ver: 1,
        facts: json!({"customer": claim.customer.map(Customer::as_str), "meta": claim.meta}),
        why: json!({}),
        said: None,
    };
    if claim.is_test || named.as_ref().is_some_and(|named| named.click.is_test()) {
        conversion.status = Status::Test;
        let is_first = app
            .store
            .record_test(&conversion)
            .await
            .map_err(unavailable)?;
        return Ok(body(&conversion, is_first, claim));
    }
    let Some(named) = named else {
        return record(app, claim, &conversion).await;
    };
    if let Some(refusal) = objection(&named.click, claim.at, terms) {
        return Err(refuse(app, sender, claim, Some(terms), refusal, now).await);
    }

    let affiliate = at::<Affiliate>(app, named.link.affiliate.as_str(), claim.at).await?;
    let affiliate = affiliate.ok_or_else(Problem::unavailable)?;
    let enrolment = Enrolment::key(&terms.id, &named.link.affiliate);
    let enrolment = at::<Enrolment>(app, &enrolment, claim.at).await?;
    let enrolment = enrolment.map(|enrolment| enrolment.record);
    let group = enrolment
        .as_ref()
        .and_then(|enrolment| enrolment.group.clone())
        .or_else(|| affiliate.record.group.clone());

    let earned = if goal.payable {
        let sale_lines: Vec<Line<'_>> = value.items.iter().map(line).collect();
        let sale = Sale {
            at: claim.at,
            goal: &goal.name,
            affiliate: &named.link.affiliate,
            group: group.as_deref(),
            customer: claim.customer,
            country: None,
            coupon: claim.coupon.as_deref(),
            amount: value.amount,
            lines: &sale_lines,
        };
        match terms.commission.commission(&sale, terms.rounding) {
            Ok(earned) => Some(earned),
            Err(no) => {
                let refusal = match no {
                    NoCommission::NoRule => Refusal::NoRule,
                    NoCommission::AmountRequired => Refusal::AmountRequired,
                    NoCommission::TooLarge => Refusal::AmountTooLarge,
                };
                return Err(refuse(app, sender, claim, Some(terms), refusal, now).await);
            }
        }
    } else {
        None
    };

    let waits = terms.approval == Approval::Manual
        || sender.is_browser()
        || named.click.class() == Class::Suspect;
    conversion.status = if waits {
        Status::Pending
    } else {
        Status::Approved
    };
    conversion.why = why(&named, terms, earned.as_ref());
    if let Some(earned) = earned {
        let hold = enrolment
            .and_then(|enrolment| enrolment.hold_days)
            .unwrap_or(terms.hold_days);
        let from = claim.service_date.unwrap_or_else(|| day_of(claim.at));
        conversion.credits.push(Credit {
            affiliate: named.link.affiliate.clone(),
            affiliate_version: affiliate.version,
            group,
            commission: earned.amount,
            lane: lane_of(&claim.order_id, affiliate.record.lanes),
            payable_on: days_after(from, u32::from(hold)).max(day_of(now)),
            booked_on: None,
        });
    }
    conversion.facts["click"] = dimensions(app, &named, &terms.id).await;
    record(app, claim, &conversion).await
}

/// What reports will ask of the click. A lost record costs these, never the commission.
async fn dimensions(app: &App, named: &Named, program: &ProgramId) -> Value {
    let click = &named.click;
    let mut facts = json!({"class": click.class().as_str(), "link": named.link.slug.as_str()});
    let Ok(Some(record)) = app.store.click(program, click).await else {
        return facts;
    };
    facts["tags"] = json!(record.tags);
    facts["country"] = json!(record.country);
    facts["device"] = json!(record.device);
    facts["browser"] = json!(record.browser);
    facts["language"] = json!(record.language);
    facts["landing"] = json!(record.landing);
    facts
}

/// What speaks against an explicit click at `T`; nothing that a lost record could change.
fn objection(click: &Click, at: Timestamp, terms: &Program) -> Option<Refusal> {
    let age = at.as_millisecond() - click.clicked_at().as_millisecond();
    let too_soon = terms
        .min_conversion_seconds
        .is_some_and(|seconds| age.max(0) < i64::from(seconds) * 1_000);
    if click.is_program_paused() {
        Some(Refusal::ProgramPaused)
    } else if click.class() == Class::Invalid {
        Some(Refusal::InvalidTraffic)
    } else if !is_in_window(click.clicked_at(), at, terms.click_window.milliseconds()) {
        Some(Refusal::WindowClosed)
    } else if too_soon {
        Some(Refusal::InvalidTraffic)
    } else if terms.status == ProgramStatus::Draft {
        Some(Refusal::ProgramPaused)
    } else {
        None
    }
}

async fn at<R: shared::setup::Record>(
    app: &App,
    id: &str,
    at: Timestamp,
) -> Result<Option<Versioned<R>>, Problem> {
    app.store.record_at::<R>(id, at).await.map_err(unavailable)
}

fn line(item: &Item) -> Line<'_> {
    Line {
        sku: &item.sku,
        category: item.category.as_deref(),
        amount: item.amount,
    }
}

fn why(named: &Named, terms: &Program, earned: Option<&Commission>) -> Value {
    let arithmetic: Vec<String> = earned
        .iter()
        .flat_map(|earned| &earned.lines)
        .map(|line| match &line.bound {
            Some(bound) => format!("{}, {bound}", line.reckoning),
            None => line.reckoning.to_string(),
        })
        .collect();
    let rule = earned.and_then(|earned| earned.lines.iter().find_map(|line| line.rule.as_ref()));
    json!({
        "candidates": [{
            "kind": "click_id",
            "at": named.click.clicked_at().to_string(),
            "affiliate": named.link.affiliate.as_str(),
            "link": named.link.slug.as_str(),
            "class": named.click.class().as_str(),
            "in": true,
        }],
        "window": terms.click_window.to_string(),
        "decided_by": "click_id",
        "rule": rule.map(shared::ids::RuleId::as_str),
        "arithmetic": arithmetic,
    })
}

/// A reversal that came before its sale is applied once the sale stands; by a repeated sale
/// too, should we have stopped in between.
async fn record(app: &App, claim: &Claim, conversion: &Conversion) -> Result<Value, Problem> {
    let recorded = app
        .store
        .record_conversion(conversion)
        .await
        .map_err(unavailable)?;
    let (standing, is_new) = match recorded {
        Recorded::Created(created) => (created, true),
        Recorded::Before(first) => (first, false),
        Recorded::Conflict => return Err(Problem::conflict("order_conflict")),
    };
    reverse::apply_waiting(app, &standing, conversion.recorded_at).await?;
    Ok(body(&standing, is_new, claim))
}

fn body(conversion: &Conversion, is_new: bool, claim: &Claim) -> Value {
    let mut body = conversion.answer();
    body["result"] = json!(if is_new { "created" } else { "recorded_before" });
    let is_unattributed = conversion.status == Status::Unattributed;
    let mut ignored = Vec::new();
    if is_unattributed && claim.coupon.is_some() {
        ignored.push("coupon");
    }
    if is_unattributed && claim.has_customer_id {
        ignored.push("customer_id");
    }
    if !ignored.is_empty() {
        body["ignored"] = json!(ignored);
    }
    body
}

fn order_key(sender: &Sender, claim: &Claim, terms: Option<&Program>) -> OrderKey {
    let by_program = sender.merchant.order_scope == OrderScope::Program;
    OrderKey {
        merchant: sender.merchant.id.clone(),
        program: terms.filter(|_| by_program).map(|terms| terms.id.clone()),
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
    now: Timestamp,
) -> Problem {
    let what = json!([
        refusal.code(),
        claim.click_id,
        claim.program.as_ref().map(ProgramId::as_str),
        claim.amount,
        claim.coupon
    ]);
    let kept = app
        .store
        .record_refusal(
            &order_key(sender, claim, terms),
            terms.map(|terms| &terms.id),
            claim.affiliate.as_ref(),
            &digest(&what.to_string()),
            refusal,
            now,
        )
        .await;
    match kept {
        Err(error) => unavailable(error),
        Ok(()) if refusal == Refusal::AmountRequired => Problem::invalid(refusal.code(), "amount"),
        Ok(()) => Problem::refused(refusal.code()),
    }
}
