//! One rule, as it is read from a program and printed back.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::condition::{Asked, Condition, Customer, WHEN};
use super::standing::Recurring;
use super::tiers::Tiers;
use crate::http_types::{Fields, Invalid};
use crate::ids::{AffiliateId, RuleId};
use crate::money::{Currency, Money, Percent};
use crate::setup::Goal;

/// One rule of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub(super) id: RuleId,
    pub(super) currency: Currency,
    pub(super) pay: Pay,
    pub(super) asked: Asked,
    /// `asked` holds it folded; people get to see what they wrote.
    coupon_as_written: Option<String>,
    /// Ends what it pays for one customer.
    pub(super) recurring: Option<Recurring>,
    pub(super) min: Option<Money>,
    pub(super) max: Option<Money>,
    /// Included.
    valid_from: Option<Timestamp>,
    /// Excluded.
    valid_to: Option<Timestamp>,
}

/// What a rule pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pay {
    /// A share of the line (revenue share).
    Percent(Percent),
    /// A fixed amount for each order (CPA, CPL).
    Flat(Money),
    /// Either, by the step that the affiliate's orders have come to.
    Tiered(Tiers),
}

impl Rule {
    #[must_use]
    pub fn id(&self) -> &RuleId {
        &self.id
    }

    /// The goal it is for, in lower case; none is every goal.
    #[must_use]
    pub fn goal(&self) -> Option<&str> {
        self.asked.get(Condition::Goal)
    }

    /// The country it is for, as it was given; none is every country.
    #[must_use]
    pub fn country(&self) -> Option<&str> {
        self.asked.get(Condition::Country)
    }

    pub(super) fn valid_at(&self, at: Timestamp) -> bool {
        let (from, to) = self.validity();
        // The end of time is the only instant that an open end must not exclude.
        from <= at && (at < to || self.valid_to.is_none())
    }

    /// From, included, and to, excluded.
    pub(super) fn validity(&self) -> (Timestamp, Timestamp) {
        (
            self.valid_from.unwrap_or(Timestamp::MIN),
            self.valid_to.unwrap_or(Timestamp::MAX),
        )
    }

    pub(super) fn to_json(&self) -> Value {
        let mut json = Map::new();
        let mut put = |name: &str, text: Option<String>| {
            if let Some(text) = text {
                json.insert(name.to_owned(), text.into());
            }
        };
        put("id", Some(self.id.to_string()));
        put("goal", self.goal().map(str::to_owned));
        match &self.pay {
            Pay::Percent(percent) => {
                put("type", Some("percent".to_owned()));
                put("percent", Some(percent.to_string()));
            }
            Pay::Flat(amount) => {
                put("type", Some("flat".to_owned()));
                put("amount", Some(amount.to_string()));
            }
            Pay::Tiered(_) => put("type", Some("tiered".to_owned())),
        }
        put("min", self.min.map(|money| money.to_string()));
        put("max", self.max.map(|money| money.to_string()));
        put("valid_from", self.valid_from.map(|at| at.to_string()));
        put("valid_to", self.valid_to.map(|at| at.to_string()));

        if let Pay::Tiered(tiers) = &self.pay {
            json.insert("tiers".to_owned(), tiers.to_json(self.currency));
        }
        if let Some(recurring) = self.recurring {
            json.insert("recurring".to_owned(), recurring.to_json());
        }
        let when = self.when();
        if !when.is_empty() {
            json.insert("when".to_owned(), when.into());
        }
        json.into()
    }

    fn when(&self) -> Map<String, Value> {
        let written = |condition| match condition {
            Condition::Coupon => self.coupon_as_written.as_deref(),
            _ => self.asked.get(condition),
        };
        let named = |(condition, name, _): (Condition, &str, &str)| {
            Some((name.to_owned(), json!(written(condition)?)))
        };
        WHEN.into_iter().filter_map(named).collect()
    }
}

/// Reads the rules of a list whose fields stand in its order.
pub(super) fn read(mut list: Vec<Fields>, currency: Currency) -> Result<Vec<Rule>, Invalid> {
    let ids = ids(&mut list)?;
    list.into_iter()
        .zip(ids)
        .map(|(fields, id)| read_one(fields, id, currency))
        .collect()
}

/// Each rule's id: its own, else `r` and its position from 1, or the next number that is free.
fn ids(list: &mut [Fields]) -> Result<Vec<RuleId>, Invalid> {
    let mut taken: HashSet<RuleId> = HashSet::new();
    let mut own = Vec::with_capacity(list.len());
    for fields in &mut *list {
        let id = fields.parsed("id", "id_invalid", RuleId::parse)?;
        if let Some(id) = &id
            && !taken.insert(id.clone())
        {
            return Err(fields.invalid("id", "rule_id_repeated"));
        }
        own.push(id);
    }

    let numbered =
        |number| RuleId::parse(&format!("r{number}")).expect("`r` and a few digits are an id");
    let mut generated = |position: usize| {
        let free = (position + 1..)
            .map(numbered)
            .find(|id| taken.insert(id.clone()));
        free.expect("there are more numbers than rules")
    };
    let ids = own.into_iter().enumerate();
    Ok(ids
        .map(|(position, id)| id.unwrap_or_else(|| generated(position)))
        .collect())
}

fn read_one(mut fields: Fields, id: RuleId, currency: Currency) -> Result<Rule, Invalid> {
    let money = |text: &str| Money::parse(text, currency);
    let pay = match fields.required("type")?.as_str() {
        "percent" => {
            Pay::Percent(fields.parsed_required("percent", "percent_invalid", Percent::parse)?)
        }
        "flat" => Pay::Flat(fields.parsed_required("amount", "amount_invalid", money)?),
        "tiered" => {
            let tiers = fields.object("tiers")?;
            let tiers = tiers.ok_or_else(|| fields.invalid("tiers", "parameter_missing"))?;
            Pay::Tiered(Tiers::read(tiers, currency)?)
        }
        _ => return Err(fields.invalid("type", "rule_type_unknown")),
    };

    let recurring = fields
        .object("recurring")?
        .map(Recurring::read)
        .transpose()?;
    let min = fields.parsed("min", "amount_invalid", money)?;
    let max = fields.parsed("max", "amount_invalid", money)?;
    if let (Some(min), Some(max)) = (min, max)
        && max.minor() < min.minor()
    {
        return Err(fields.invalid("min", "min_over_max"));
    }

    let valid_from = fields.instant("valid_from")?;
    let valid_to = fields.instant("valid_to")?;
    if let (Some(from), Some(to)) = (valid_from, valid_to)
        && to <= from
    {
        return Err(fields.invalid("valid_to", "validity_empty"));
    }

    let mut asked = Asked::default();
    let goal = fields.parsed("goal", "goal_invalid", |text| {
        value_of(Condition::Goal, text)
    })?;
    if let Some(goal) = goal {
        asked.set(Condition::Goal, &goal);
    }
    let mut coupon_as_written = None;
    if let Some(mut when) = fields.object("when")? {
        for (condition, name, code) in WHEN {
            let Some(text) = when.parsed(name, code, |text| value_of(condition, text))? else {
                continue;
            };
            asked.set(condition, &text);
            if condition == Condition::Coupon {
                coupon_as_written = Some(text);
            }
        }
        when.finish()?;
    }
    fields.finish()?;
    Ok(Rule {
        id,
        currency,
        pay,
        asked,
        coupon_as_written,
        recurring,
        min,
        max,
        valid_from,
        valid_to,
    })
}

/// What a condition may be compared with; a value that no sale can have is refused.
fn value_of(condition: Condition, text: &str) -> Result<String, ()> {
    match condition {
        Condition::Goal => {
            if !Goal::is_name(text) {
                return Err(());
            }
        }
        Condition::Affiliate => drop(AffiliateId::parse(text).map_err(drop)?),
        Condition::Group => return word(text),
        Condition::Customer => drop(Customer::parse(text).ok_or(())?),
        Condition::Country => {
            if text.len() != 2 || !text.bytes().all(|byte| byte.is_ascii_uppercase()) {
                return Err(());
            }
        }
        Condition::Sku | Condition::Category => return plain(text),
        Condition::Coupon => return plain(text.trim()),
    }
    Ok(text.to_owned())
}

/// 1 to 64 of `[A-Za-z0-9_-]`: a group.
fn word(text: &str) -> Result<String, ()> {
    let fits = (1..=64).contains(&text.len());
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if fits && plain {
        Ok(text.to_owned())
    } else {
        Err(())
    }
}

/// 1 to 128 characters that can be seen, spaces among them.
fn plain(text: &str) -> Result<String, ()> {
    let fits = (1..=128).contains(&text.chars().count());
    if fits && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(())
    }
}
