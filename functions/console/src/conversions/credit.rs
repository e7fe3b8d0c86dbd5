//! An order that nobody is credited with, given to an affiliate by a person's word.

use jiff::Timestamp;
use serde_json::json;
use shared::app::{App, unavailable};
use shared::commission::{Buyer, Customer, Line, NoCommission, Reckoned};
use shared::conversion::{Conversion, OrderKey, Refusal, Status, earned_by_line, fingerprint};
use shared::http_types::{Problem, parse_day, parse_instant};
use shared::ids::AffiliateId;
use shared::money::Money;
use shared::reckoning::{NotReckoned, Order};
use shared::reversing::apply_waiting;
use shared::setup::{Affiliate, Cap, Merchant, Program};
use shared::store::{Besides, Counted, DecidedClaim, FirstCredit, Recorded, Versioned};

const RACES_MOST: u32 = 8;

/// Who says so, as the decision's trail names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The merchant accepted an affiliate's claim.
    Claim,
    /// The merchant or an admin, unasked.
    Person,
}

/// What is to be credited.
pub struct Wanted<'a> {
    pub key: OrderKey,
    pub program: &'a str,
    pub affiliate: &'a AffiliateId,
    pub at: Timestamp,
    /// Of an order that came without one, or that nobody told us of; another keeps its own.
    pub amount: Option<Money>,
    pub word: Word,
    /// What is decided with it.
    pub claim: Option<&'a DecidedClaim>,
}

/// Credits the order, once: whoever has it already is told the same again.
///
/// # Errors
/// 409 `order_credited` where others have it, `order_void` where a claim is of one that came to nothing; 422;
/// 503.
pub async fn credit(app: &App, wanted: &Wanted<'_>, now: Timestamp) -> Result<Conversion, Problem> {
    for _ in 0..RACES_MOST {
        let standing = app
            .store
            .conversion(&wanted.key)
            .await
            .map_err(unavailable)?;
        let base = match standing {
            None => unknown(app, wanted, now).await?,
            Some(known) if known.status == Status::Unattributed => {
                // Another program's terms, and perhaps its currency, are not this order's.
                if known.program.as_str() != wanted.program {
                    return Err(Problem::refused("program_mismatch"));
                }
                // What it was posted as stays its content: whoever posts it again is told the same.
                Conversion {
                    amount: known.amount.or(wanted.amount),
                    ..known
                }
            }
            Some(known) => {
                let is_own = |affiliate| affiliate == wanted.affiliate;
                let is_theirs = known
                    .credits
                    .iter()
                    .map(|credit| &credit.affiliate)
                    .any(is_own);
                let is_void = matches!(known.stands(), Status::Rejected | Status::Reversed);
                return match is_theirs {
                    true if is_void && wanted.word == Word::Claim => {
                        Err(Problem::conflict("order_void"))
                    }
                    true => Ok(known),
                    false => Err(Problem::conflict("order_credited")),
                };
            }
        };
        let (conversion, besides) = credited(app, wanted, base, now).await?;
        match app
            .store
            .record_conversion(&conversion, &besides)
            .await
            .map_err(unavailable)?
        {
            Recorded::Created(created) => {
                apply_waiting(app, &created, now).await?;
                let current = app
                    .store
                    .conversion(&wanted.key)
                    .await
                    .map_err(unavailable)?;
                return Ok(current.unwrap_or(created));
            }
            Recorded::CapReached => return Err(Problem::refused("cap_reached")),
            Recorded::Before(_) | Recorded::Conflict | Recorded::Moved => {}
        }
    }
    Err(Problem::unavailable())
}

async fn terms_at(
    app: &App,
    wanted: &Wanted<'_>,
    at: Timestamp,
) -> Result<Versioned<Program>, Problem> {
    let found = app.store.record_at::<Program>(wanted.program, at).await;
    found.map_err(unavailable)?.ok_or_else(Problem::unavailable)
}

/// An order that no postback told us of.
async fn unknown(app: &App, wanted: &Wanted<'_>, now: Timestamp) -> Result<Conversion, Problem> {
    let program = terms_at(app, wanted, wanted.at).await?;
    let terms = &program.record;
    let merchant = app.store.record::<Merchant>(terms.merchant.as_str()).await;
    let merchant = merchant
        .map_err(unavailable)?
        .ok_or_else(Problem::unavailable)?;
    Ok(Conversion {
        key: wanted.key.clone(),
        payer: merchant.record.payer,
        program: terms.id.clone(),
        program_version: program.version,
        currency: terms.currency,
        amount: wanted.amount,
        fingerprint: fingerprint(&terms.id, terms.currency, wanted.amount, &[]),
        rounding: terms.rounding,
        status: Status::Unattributed,
        occurred_at: wanted.at,
        recorded_at: now,
        credits: Vec::new(),
        split: Vec::new(),
        basket: Vec::new(),
        approves_on: None,
        refunded: 0,
        ver: 1,
        facts: json!({}),
        why: json!({}),
        said: None,
    })
}

async fn credited(
    app: &App,
    wanted: &Wanted<'_>,
    base: Conversion,
    now: Timestamp,
) -> Result<(Conversion, Besides), Problem> {
    let program = terms_at(app, wanted, base.occurred_at).await?;
    let terms = &program.record;
    let goal = terms
        .goal(&base.key.goal)
        .ok_or_else(|| Problem::invalid("goal_unknown", "goal"))?;
    let affiliate = wanted.affiliate.as_str();
    let affiliate = app
        .store
        .record_at::<Affiliate>(affiliate, base.occurred_at)
        .await;
    let affiliate = affiliate
        .map_err(unavailable)?
        .ok_or_else(|| Problem::invalid("affiliate_unknown", "affiliate"))?;
    let facts = &base.facts;
    let customer_key = facts["customer_key"].as_str();
    let lines = base.basket.iter().map(|line| line.line(base.currency));
    let lines: Vec<Line<'_>> = lines.collect();
    let order = Order {
        terms,
        goal: &goal.name,
        is_payable: goal.payable,
        order_id: &base.key.order_id,
        at: base.occurred_at,
        service_date: facts["service_date"].as_str().and_then(parse_day),
        amount: base.amount,
        lines: &lines,
        customer: facts["customer"].as_str().and_then(Customer::parse),
        coupon: facts["coupon"].as_str(),
        buyer: match customer_key {
            None => Buyer::Unnamed,
            Some(_) => Buyer::Named {
                since: facts["buyer"]["since"].as_str().and_then(parse_instant),
            },
        },
        customer_key,
    };
    let alone = order.earned_by(&app.store, &affiliate, None, now).await;
    let alone = alone.map_err(|no| match no {
        NotReckoned::Failed(error) => unavailable(error),
        NotReckoned::Refused(NoCommission::AmountRequired) => {
            Problem::invalid("amount_required", "amount")
        }
        NotReckoned::Refused(NoCommission::TooLarge) => {
            Problem::invalid("amount_too_large", "amount")
        }
        NotReckoned::Refused(NoCommission::CustomerRequired) => {
            Problem::invalid("customer_id_required", "customer_id")
        }
        NotReckoned::Refused(NoCommission::NoRule | NoCommission::Unknown(_)) => {
            Problem::refused("no_rule")
        }
    })?;
    if goal.payable && alone.whole.is_none() {
        return Err(Problem::refused("no_rule"));
    }

    let whole = alone.whole.as_ref();
    let reckoned = Reckoned {
        affiliate: wanted.affiliate,
        share: "1",
        whole,
        amount: alone.credit.commission,
    };
    let kind = match wanted.word {
        Word::Claim => "claim",
        Word::Person => "person",
    };
    let mut conversion = base.clone();
    conversion.program_version = program.version;
    conversion.rounding = terms.rounding;
    conversion.status = Status::Approved;
    conversion.recorded_at = now;
    conversion.said = None;
    // What led to nobody at first is not forgotten.
    let mut candidates = base.why["candidates"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    candidates.push(json!({
        "kind": kind, "at": now.to_string(), "affiliate": wanted.affiliate.as_str(), "in": true, "share": "1",
    }));
    conversion.why = json!({
        "candidates": candidates,
        "window": terms.click_window.to_string(),
        "view_window": terms.view_window.to_string(),
        "model": terms.attribution.model.as_str(),
        "priority": terms.attribution.priority.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(),
        "decided_by": kind,
        "credits": [reckoned.to_json(1)],
    });
    let mut besides = Besides {
        claim: wanted.claim.cloned(),
        ..Besides::default()
    };
    if let Some(key) = customer_key {
        let known = app.store.customer(&base.key.merchant, key, &terms.id).await;
        if known.map_err(unavailable)?.is_none() {
            besides.first = Some(FirstCredit {
                customer: key.to_owned(),
                shares: vec![(wanted.affiliate.clone(), 1)],
                instead_of: None,
            });
        }
    }
    let advances = whole.iter().flat_map(|whole| &whole.advances);
    besides.counted = advances
        .map(|advance| Counted {
            affiliate: wanted.affiliate.clone(),
            customer: customer_key.map(str::to_owned),
            advance: advance.clone(),
        })
        .collect();
    if goal.payable {
        let commission = alone.credit.commission;
        earned_by_line(&mut conversion.basket, &[(commission, whole)]);
        conversion.split = vec![(0, 1)];
        conversion.credits = vec![alone.credit];
        besides.caps = Cap::uses(
            &terms.caps,
            &conversion.credits,
            customer_key,
            base.occurred_at,
        )
        .map_err(|_| Problem::invalid("customer_id_required", "customer_id"))?;
    }
    if !besides.has_room(conversion.credits.len()) {
        return Err(Problem::refused(Refusal::TooManyCounters.code()));
    }
    Ok((conversion, besides))
}
