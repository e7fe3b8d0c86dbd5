//! What an affiliate earns by a sale: a program's rules, in their order, applied line by line.

mod condition;
mod index;
mod reach;
mod reckoned;
mod rule;
mod standing;
mod tiers;

use std::fmt;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::http_types::{Fields, Invalid};
use crate::ids::{AffiliateId, RuleId};
use crate::money::{Currency, INPUT_MAX, Money, Percent, Rounding};
use crate::period::{Month, day_of};

pub use condition::Customer;
pub(crate) use condition::folded_code;
use condition::{Condition, Facts};
use index::Index;
pub use reckoned::Reckoned;
use rule::Pay;
pub use rule::Rule;
pub use standing::{Advance, Buyer, Counter, Recurring, Standing, Standings};
use tiers::{StepPay, TiersPeriod};

/// A program has at most this many rules; saving compares each with all before it.
pub const RULES_MAX: usize = 1_000;

/// Counters that a line moves at most: its rule's steps, and its rule's customer.
const COUNTERS_OF_LINE: usize = 2;

/// A program's rules. The order decides: the first that holds for a line pays for it.
///
/// Each can be reached, all are in the program's currency, and no two bear the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
    index: Index,
}

/// All that a rule may look at.
#[derive(Debug, Clone, Copy)]
pub struct Sale<'a> {
    /// The conversion's own time, `T`, which a rule's validity is measured by.
    pub at: Timestamp,
    /// In lower case.
    pub goal: &'a str,
    pub affiliate: &'a AffiliateId,
    /// The enrolment's group, else the affiliate's.
    pub group: Option<&'a str>,
    pub customer: Option<Customer>,
    /// The visitor's, ISO 3166-1 alpha-2 in capitals.
    pub country: Option<&'a str>,
    /// As it was sent; compared trimmed and without case.
    pub coupon: Option<&'a str>,
    pub buyer: Buyer,
    /// What the counters stood at before this order, as far as they are known.
    pub standings: &'a Standings,
    /// The order's value. With lines it is their sum, which the door has checked.
    pub amount: Option<Money>,
    /// An order without lines is judged as a single one that has neither sku nor category.
    pub lines: &'a [Line<'a>],
}

/// One line of an order.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    pub sku: &'a str,
    pub category: Option<&'a str>,
    /// The line's total, not the price of one piece.
    pub amount: Money,
}

/// What a sale earns, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commission {
    /// The sum of all lines.
    pub amount: Money,
    /// One for each line of the order, in its order; one if it has none.
    pub lines: Vec<LineCommission>,
    /// What the order adds to counters: only where these stand there still may it be booked.
    pub advances: Vec<Advance>,
}

/// What one line earns, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineCommission {
    pub sku: Option<String>,
    /// The rule that decided; none if no rule holds for this line.
    pub rule: Option<RuleId>,
    pub reckoning: Reckoning,
    /// The rule's `min` or `max`, if it moved the result.
    pub bound: Option<Bound>,
    pub amount: Money,
}

/// The arithmetic of one line, as data. `Display` spells it out:
/// `12.30 EUR x 7.5 % = 0.9225 -> 0.92 half_even`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reckoning {
    /// A share of the line, rounded once.
    Share {
        basis: Money,
        percent: Percent,
        rounding: Rounding,
        rounded: Money,
    },
    /// Shares by step, added up and rounded once.
    Tiers {
        parts: Vec<(Money, Percent)>,
        rounding: Rounding,
        rounded: Money,
    },
    /// A fixed amount for the order, on the first line that the rule holds for.
    Flat { amount: Money },
    /// The rule's fixed amount stands on an earlier line of the same order.
    FlatBefore,
    /// No rule holds for this line, though one does for another.
    NoRule,
}

/// What moved a line's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    RaisedTo(Money),
    CutTo(Money),
}

/// Why a sale earns nothing that could be booked: a business answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCommission {
    #[error("no rule holds for any line of the order")]
    NoRule,
    #[error("the rule pays a share, and the order has no amount")]
    AmountRequired,
    /// More than anybody may say: see [`INPUT_MAX`].
    #[error("the lines earn more than 10^15 minor units")]
    TooLarge,
    #[error("the rule ends for each customer, and the sender does not name the customer")]
    CustomerRequired,
    /// No answer yet: how far this has come must be known first.
    #[error("a counter is not known")]
    Unknown(Counter),
}

impl Rules {
    /// Reads the list that stands in a program's `commission`.
    ///
    /// A rule without an id gets one by its position, `r1`, `r2`, ... What a rule asks for and
    /// this version does not do is refused, never ignored.
    ///
    /// # Errors
    /// The first field that cannot be taken; among the codes are `rule_unreachable`,
    /// `rule_id_repeated`, `min_over_max`, `validity_empty` and `not_supported`.
    pub fn parse(commission: &Value, currency: Currency) -> Result<Self, Invalid> {
        const FIELD: &str = "commission";
        let mut body = Fields::from_object(json!({ FIELD: commission }))?;
        let given = body.objects(FIELD)?.unwrap_or_default();
        if given.len() > RULES_MAX {
            return Err(Invalid::new(FIELD, "too_many"));
        }

        let rules = rule::read(given, currency)?;
        if let Some(position) = reach::first_unreachable(&rules) {
            return Err(Invalid::new(
                format!("{FIELD}[{position}]"),
                "rule_unreachable",
            ));
        }
        let index = Index::of(&rules);
        Ok(Self { rules, index })
    }

    /// The list as it is printed; parsing it again gives the same rules.
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.rules.iter().map(Rule::to_json).collect()
    }

    /// In the order that decides.
    #[must_use]
    pub fn as_slice(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether an order of this goal and time can earn nothing without an amount: all rules that may
    /// pay for one without lines pay a share.
    #[must_use]
    pub fn needs_amount(&self, goal: &str, at: Timestamp) -> bool {
        let rules = self.rules.iter();
        let mut may_pay = rules
            .filter(|rule| rule.may_pay(goal, at) && !rule.asks_about_lines())
            .peekable();
        may_pay.peek().is_some() && may_pay.all(Rule::needs_amount)
    }

    /// How many counters an affiliate's order may move at most. A rule that asks nothing about a line
    /// holds for all lines or none, so an order meets but one of these.
    #[must_use]
    pub fn counters_most(
        &self,
        goal: &str,
        at: Timestamp,
        affiliate: &AffiliateId,
        lines: &[Line<'_>],
    ) -> usize {
        let (mut of_order, mut of_lines) = (0, 0);
        for rule in self.rules.iter().filter(|rule| rule.may_pay(goal, at)) {
            let counters = rule.counters();
            if counters == 0 || !rule.allows(Condition::Affiliate, Some(affiliate.as_str())) {
                continue;
            }
            if !rule.asks_about_lines() {
                of_order = of_order.max(counters);
            } else if lines.iter().any(|line| rule.may_hold_for(line)) {
                of_lines += counters;
            }
        }
        of_order + of_lines.min(COUNTERS_OF_LINE * lines.len())
    }

    /// What the sale earns. Each line is rounded once, by the program's rounding, before the
    /// rule's `min` and `max` bound it; both are per line, like the rule itself. A share of
    /// nothing is nothing, whatever the `min`. A flat amount is paid once per order.
    ///
    /// # Errors
    /// [`NoCommission`]; a goal that is not payable must not be asked about.
    pub fn commission(
        &self,
        sale: &Sale<'_>,
        rounding: Rounding,
    ) -> Result<Commission, NoCommission> {
        let mut facts = Facts::of(sale);
        let mut counting = Counting::default();
        let mut lines = Vec::with_capacity(sale.lines.len().max(1));

        let as_given = sale
            .lines
            .iter()
            .map(|line| (Some(line.sku), line.category, Some(line.amount)));
        let as_one = sale.lines.is_empty().then_some((None, None, sale.amount));
        for (sku, category, basis) in as_given.chain(as_one) {
            facts.set_line(sku, category);
            let goes_on = |rule: &Rule| rule.goes_on(sale);
            let found = self.index.first(&self.rules, &facts, sale.at, goes_on);
            let reckoned = match found {
                None => None,
                Some(position) => {
                    let rule = &self.rules[position];
                    Some(counting.reckon(position, rule, sale, basis, rounding)?)
                }
            };
            lines.push((sku, found, reckoned));
        }

        let currency = self
            .rules
            .first()
            .map(|rule| rule.currency)
            .ok_or(NoCommission::NoRule)?;
        if lines.iter().all(|(_, found, _)| found.is_none()) {
            return Err(NoCommission::NoRule);
        }
        let nothing = || (Reckoning::NoRule, None, Money::zero(currency));
        let lines: Vec<LineCommission> = lines
            .into_iter()
            .map(|(sku, found, reckoned)| {
                let (reckoning, bound, amount) = reckoned.unwrap_or_else(nothing);
                let rule = found.map(|position| self.rules[position].id.clone());
                LineCommission {
                    sku: sku.map(str::to_owned),
                    rule,
                    reckoning,
                    bound,
                    amount,
                }
            })
            .collect();
        let amount = lines
            .iter()
            .try_fold(Money::zero(currency), |sum, line| {
                sum.checked_add(line.amount)
            })
            .filter(|sum| sum.minor() <= INPUT_MAX)
            .ok_or(NoCommission::TooLarge)?;
        Ok(Commission {
            amount,
            lines,
            advances: counting.advances(currency),
        })
    }
}

impl Rule {
    /// Whether it is for this goal, and valid then.
    fn may_pay(&self, goal: &str, at: Timestamp) -> bool {
        self.allows(Condition::Goal, Some(goal)) && self.valid_at(at)
    }

    /// Whether this condition, if there is one, holds for this fact.
    fn allows(&self, condition: Condition, fact: Option<&str>) -> bool {
        self.asked
            .get(condition)
            .is_none_or(|asked| fact == Some(asked))
    }

    fn asks_about_lines(&self) -> bool {
        [Condition::Sku, Condition::Category]
            .into_iter()
            .any(|condition| self.asked.get(condition).is_some())
    }

    /// Whether nothing that it asks about a line speaks against this one.
    fn may_hold_for(&self, line: &Line<'_>) -> bool {
        self.allows(Condition::Sku, Some(line.sku))
            && self.allows(Condition::Category, line.category)
    }

    /// How many counters a line moves that it holds for.
    fn counters(&self) -> usize {
        let is_tiered = matches!(self.pay, Pay::Tiered(_));
        usize::from(is_tiered) + usize::from(self.recurring.is_some())
    }

    fn needs_amount(&self) -> bool {
        match &self.pay {
            Pay::Percent(_) => true,
            Pay::Flat(_) => false,
            Pay::Tiered(tiers) => tiers.needs_amount(),
        }
    }

    /// Whether it has not ended for this customer; a rule of which that is not known counts as
    /// one that goes on, until it is the first that holds.
    fn goes_on(&self, sale: &Sale<'_>) -> bool {
        let (Some(recurring), Buyer::Named { since }) = (self.recurring, sale.buyer) else {
            return true;
        };
        let before = sale.standings.get(&self.by_customer());
        before.is_none_or(|before| recurring.goes_on(before, since, sale.at))
    }

    fn by_customer(&self) -> Counter {
        Counter::Customer {
            rule: self.id.clone(),
        }
    }

    /// The counter that its steps are climbed by.
    fn by_tier(&self, sale: &Sale<'_>) -> Option<Counter> {
        let Pay::Tiered(tiers) = &self.pay else {
            return None;
        };
        let month = match tiers.period {
            TiersPeriod::Month => Some(Month::of(day_of(sale.at))),
            TiersPeriod::Lifetime => None,
        };
        Some(Counter::Tier {
            rule: self.id.clone(),
            month,
        })
    }
}

/// What the lines of one order did so far, by the position of their rule.
#[derive(Default)]
struct Counting {
    paid_flat: Vec<usize>,
    /// With what stood there before the order, and what its lines added.
    counters: Vec<(Counter, Standing, i64)>,
}

impl Counting {
    /// One line under the rule that holds for it.
    fn reckon(
        &mut self,
        position: usize,
        rule: &Rule,
        sale: &Sale<'_>,
        basis: Option<Money>,
        rounding: Rounding,
    ) -> Result<(Reckoning, Option<Bound>, Money), NoCommission> {
        if rule.recurring.is_some() {
            if sale.buyer == Buyer::Unnamed {
                return Err(NoCommission::CustomerRequired);
            }
            self.count(rule.by_customer(), sale, basis)?;
        }
        let before = match rule.by_tier(sale) {
            Some(counter) => self.count(counter, sale, basis)?,
            None => Standing::default(),
        };
        let flat_before = self.paid_flat.contains(&position);
        let reckoned = reckon(rule, basis, before, flat_before, rounding)?;
        if matches!(reckoned.0, Reckoning::Flat { .. }) {
            self.paid_flat.push(position);
        }
        Ok(reckoned)
    }

    /// Where the counter stood before this line; the line is added to it.
    fn count(
        &mut self,
        counter: Counter,
        sale: &Sale<'_>,
        basis: Option<Money>,
    ) -> Result<Standing, NoCommission> {
        let value = basis.map_or(0, Money::minor);
        let known = self.counters.iter_mut().find(|(own, ..)| *own == counter);
        if let Some((_, before, added)) = known {
            let sum = before.sum.saturating_add(*added);
            *added = added.saturating_add(value);
            return Ok(Standing { sum, ..*before });
        }
        let Some(before) = sale.standings.get(&counter) else {
            return Err(NoCommission::Unknown(counter));
        };
        self.counters.push((counter, before, value));
        Ok(before)
    }

    fn advances(self, currency: Currency) -> Vec<Advance> {
        let counters = self.counters.into_iter();
        counters
            .map(|(counter, before, added)| Advance {
                counter,
                before,
                value: Money::new(added, currency),
            })
            .collect()
    }
}

/// One line's arithmetic, under a rule that holds for it, after what came `before`.
fn reckon(
    rule: &Rule,
    basis: Option<Money>,
    before: Standing,
    flat_before: bool,
    rounding: Rounding,
) -> Result<(Reckoning, Option<Bound>, Money), NoCommission> {
    if rule.needs_amount() && basis.is_none() {
        return Err(NoCommission::AmountRequired);
    }
    let basis = basis.unwrap_or_else(|| Money::zero(rule.currency));
    let flat = match &rule.pay {
        Pay::Flat(amount) => Some(*amount),
        Pay::Tiered(tiers) => match tiers.step(before).pay {
            StepPay::Flat(amount) => Some(amount),
            StepPay::Percent(_) => None,
        },
        Pay::Percent(_) => None,
    };
    let (reckoning, amount) = match (&rule.pay, flat) {
        (_, Some(_)) if flat_before => {
            return Ok((Reckoning::FlatBefore, None, Money::zero(rule.currency)));
        }
        (_, Some(amount)) => (Reckoning::Flat { amount }, amount),
        (Pay::Tiered(tiers), None) => {
            let parts = tiers.parts(before, basis);
            let rounded = Money::shares(&parts, rounding).unwrap_or(basis);
            let reckoning = Reckoning::Tiers {
                parts,
                rounding,
                rounded,
            };
            (reckoning, rounded)
        }
        (Pay::Percent(percent), _) => {
            let rounded = basis.percent(*percent, rounding);
            let reckoning = Reckoning::Share {
                basis,
                percent: *percent,
                rounding,
                rounded,
            };
            (reckoning, rounded)
        }
        (Pay::Flat(_), None) => unreachable!("a flat rule pays its amount"),
    };
    if flat.is_none() && basis.is_zero() {
        return Ok((reckoning, None, amount));
    }
    let bound = match (rule.min, rule.max) {
        (Some(min), _) if amount.minor() < min.minor() => Some(Bound::RaisedTo(min)),
        (_, Some(max)) if max.minor() < amount.minor() => Some(Bound::CutTo(max)),
        _ => None,
    };
    let amount = match bound {
        Some(Bound::RaisedTo(to) | Bound::CutTo(to)) => to,
        None => amount,
    };
    Ok((reckoning, bound, amount))
}

impl fmt::Display for Reckoning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share {
                basis,
                percent,
                rounding,
                rounded,
            } => {
                let exact = exact_share(*basis, *percent);
                write!(
                    f,
                    "{basis} {} x {percent} % = {exact} -> {rounded} {rounding}",
                    basis.currency()
                )
            }
            Self::Tiers {
                parts,
                rounding,
                rounded,
            } => {
                for (place, (part, percent)) in parts.iter().enumerate() {
                    let plus = if place > 0 { " + " } else { "" };
                    write!(f, "{plus}{part} {} x {percent} %", part.currency())?;
                }
                write!(f, " -> {rounded} {rounding}")
            }
            Self::Flat { amount } => write!(f, "{amount} {} for the order", amount.currency()),
            Self::FlatBefore => f.write_str("paid on an earlier line of the order"),
            Self::NoRule => f.write_str("no rule holds"),
        }
    }
}

/// The arithmetic, with what moved its result.
impl fmt::Display for LineCommission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.bound {
            Some(bound) => write!(f, "{}, {bound}", self.reckoning),
            None => self.reckoning.fmt(f),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RaisedTo(min) => write!(f, "raised to the rule's minimum of {min}"),
            Self::CutTo(max) => write!(f, "cut to the rule's maximum of {max}"),
        }
    }
}

/// The share before it is rounded, with all the digits it has, and no more.
fn exact_share(basis: Money, percent: Percent) -> String {
    let percent = percent.value();
    // OK because a percent has at most 13 digits and an `i64` 19.
    let mut units = i128::from(basis.minor()) * percent.mantissa();
    let mut digits = percent.scale() + 2 + basis.currency().digits();
    while digits > 0 && units % 10 == 0 {
        units /= 10;
        digits -= 1;
    }
    let sign = if units < 0 { "-" } else { "" };
    let (whole, rest) = (
        units.unsigned_abs() / 10_u128.pow(digits),
        units.unsigned_abs() % 10_u128.pow(digits),
    );
    if digits == 0 {
        return format!("{sign}{whole}");
    }
    let width = usize::try_from(digits).expect("at most 16 digits follow the point");
    format!("{sign}{whole}.{rest:0width$}")
}

#[cfg(test)]
mod tests;
