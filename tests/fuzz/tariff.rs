//! A second reader of a program's rules: from their JSON as it was given, one rule after the other, in
//! plain decimals.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::Value;
use shared::commission::{Buyer, Customer, Line, Sale, Standing};
use shared::money::{Currency, INPUT_MAX};

use crate::texts::decimal;

/// What one line earns.
#[derive(Debug, PartialEq, Eq)]
pub struct Earned {
    /// The position of the rule that pays.
    pub rule: Option<usize>,
    pub minor: i64,
}

/// What an order adds to a counter: the rule's position, whether it is that of its steps, and the
/// value in minor units.
pub type Added = (usize, bool, i64);

/// Rules that were taken, and how their program rounds.
pub struct Tariff<'a> {
    pub rules: &'a [Value],
    pub currency: Currency,
    pub strategy: RoundingStrategy,
}

impl Tariff<'_> {
    /// What the sale earns line by line, where every counter stands as told; none where it earns
    /// nothing that could be booked.
    pub fn earned(&self, sale: &Sale<'_>, before: Standing) -> Option<(Vec<Earned>, Vec<Added>)> {
        let mut earned = Vec::new();
        let mut added: Vec<Added> = Vec::new();
        let mut has_paid_flat = vec![false; self.rules.len()];
        let one = [(None, sale.amount)];
        let lines = sale
            .lines
            .iter()
            .map(|line| (Some(line), Some(line.amount)));
        let lines: Vec<_> = if sale.lines.is_empty() {
            one.to_vec()
        } else {
            lines.collect()
        };
        for (line, amount) in lines {
            let holds = |rule: &&Value| self.holds(rule, sale, line, before);
            let Some(position) = self.rules.iter().position(|rule| holds(&rule)) else {
                earned.push(Earned {
                    rule: None,
                    minor: 0,
                });
                continue;
            };
            let rule = &self.rules[position];
            if rule["recurring"].is_object() && sale.buyer == Buyer::Unnamed {
                return None;
            }
            let value = amount.map_or(0, |amount| amount.minor());
            let mut stands = before.sum;
            for (is_asked, is_of_steps) in [
                (rule["recurring"].is_object(), false),
                (rule["type"] == "tiered", true),
            ] {
                if !is_asked {
                    continue;
                }
                let known = added
                    .iter_mut()
                    .find(|(own, of_steps, _)| (*own, *of_steps) == (position, is_of_steps));
                match known {
                    Some((_, of_steps, sum)) => {
                        stands += if *of_steps { *sum } else { 0 };
                        *sum += value;
                    }
                    None => added.push((position, is_of_steps, value)),
                }
            }
            let standing = Standing {
                sum: stands,
                ..before
            };
            let basis = amount.map(|amount| amount.minor());
            let pays = self.pays(rule, basis, standing)?;
            let minor = match pays {
                Pays::Flat(_) if has_paid_flat[position] => 0,
                Pays::Flat(minor) => {
                    has_paid_flat[position] = true;
                    self.bounded(rule, minor)
                }
                Pays::Share(minor) if value == 0 => minor,
                Pays::Share(minor) => self.bounded(rule, minor),
            };
            earned.push(Earned {
                rule: Some(position),
                minor,
            });
        }
        let sum: i128 = earned.iter().map(|line| i128::from(line.minor)).sum();
        let is_booked =
            earned.iter().any(|line| line.rule.is_some()) && sum <= i128::from(INPUT_MAX);
        is_booked.then_some((earned, added))
    }

    fn holds(
        &self,
        rule: &Value,
        sale: &Sale<'_>,
        line: Option<&Line<'_>>,
        before: Standing,
    ) -> bool {
        let folded = |text: &str| text.trim().to_lowercase();
        let goal = text(&rule["goal"]).is_none_or(|goal| goal.to_lowercase() == sale.goal);
        let when = |name: &str| text(&rule["when"][name]);
        let is =
            |name: &str, fact: Option<&str>| when(name).is_none_or(|asked| Some(asked) == fact);
        let coupon =
            when("coupon").is_none_or(|asked| sale.coupon.map(folded) == Some(folded(asked)));
        let conditions = goal
            && coupon
            && is("affiliate", Some(sale.affiliate.as_str()))
            && is("group", sale.group)
            && is("customer", sale.customer.map(Customer::as_str))
            && is("country", sale.country)
            && is("sku", line.map(|line| line.sku))
            && is("category", line.and_then(|line| line.category));
        let instant =
            |name: &str| text(&rule[name]).and_then(|text| text.parse::<Timestamp>().ok());
        let is_valid = instant("valid_from").is_none_or(|from| from <= sale.at)
            && instant("valid_to").is_none_or(|to| sale.at < to);
        conditions && is_valid && goes_on(&rule["recurring"], sale, before)
    }

    /// None where the rule pays a share, and there is nothing to take it of.
    fn pays(&self, rule: &Value, basis: Option<i64>, before: Standing) -> Option<Pays> {
        let tiers = &rule["tiers"];
        let steps: Vec<&Value> = tiers["steps"].as_array().into_iter().flatten().collect();
        let has_shares = text(&rule["percent"]).is_some()
            || steps.iter().any(|step| text(&step["percent"]).is_some());
        let is_by_amount = rule["type"] == "tiered" && tiers["by"] == "amount";
        if basis.is_none() && (has_shares || is_by_amount) {
            return None;
        }
        let basis = basis.unwrap_or(0);
        if rule["type"] != "tiered" {
            return Some(match rule["type"] == "flat" {
                true => Pays::Flat(self.minor(&rule["amount"])),
                false => Pays::Share(self.rounded(Decimal::from(basis) * number(&rule["percent"]))),
            });
        }
        // From where each step goes, and from where the next one.
        let from = |step: &&Value| match is_by_amount {
            true => self.minor(&step["from"]),
            false => step["from"].as_i64().expect("a number was taken"),
        };
        let froms: Vec<i64> = steps.iter().map(from).collect();
        if has_shares && is_by_amount {
            let (start, end) = (before.sum, before.sum + basis);
            let ends = froms.iter().copied().skip(1).chain([i64::MAX]);
            let mut exact = Decimal::ZERO;
            for ((step, from), next) in steps.iter().zip(&froms).zip(ends) {
                let within = (end.min(next) - start.max(*from)).max(0);
                exact += Decimal::from(within) * number(&step["percent"]);
            }
            return Some(Pays::Share(self.rounded(exact)));
        }
        let stands = if is_by_amount {
            before.sum
        } else {
            before.count + 1
        };
        let reached = froms.iter().filter(|from| **from <= stands).count();
        let step = steps[reached.max(1) - 1];
        Some(match has_shares {
            true => Pays::Share(self.rounded(Decimal::from(basis) * number(&step["percent"]))),
            false => Pays::Flat(self.minor(&step["amount"])),
        })
    }

    fn bounded(&self, rule: &Value, minor: i64) -> i64 {
        let bound = |name: &str| text(&rule[name]).map(|_| self.minor(&rule[name]));
        let raised = bound("min").map_or(minor, |min| minor.max(min));
        bound("max").map_or(raised, |max| raised.min(max))
    }

    fn minor(&self, value: &Value) -> i64 {
        let units = number(value) * Decimal::from(10_i64.pow(self.currency.digits()));
        i64::try_from(units).expect("an amount was taken")
    }

    /// A hundredth of it, in whole units.
    fn rounded(&self, exact: Decimal) -> i64 {
        let share = exact / Decimal::ONE_HUNDRED;
        let whole = share.round_dp_with_strategy(0, self.strategy);
        i64::try_from(whole).expect("a share is no more than the whole")
    }
}

enum Pays {
    Flat(i64),
    Share(i64),
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

fn number(value: &Value) -> Decimal {
    text(value).and_then(decimal).expect("a number was taken")
}

/// Whether a rule has not ended for this customer, `T` against calendar months included.
fn goes_on(recurring: &Value, sale: &Sale<'_>, before: Standing) -> bool {
    let Buyer::Named { since } = sale.buyer else {
        return true;
    };
    let has_orders_left = recurring["max_count"]
        .as_i64()
        .is_none_or(|most| before.count < most);
    let (Some(months), Some(since)) = (recurring["max_months"].as_i64(), since) else {
        return has_orders_left;
    };
    let end = since
        .to_zoned_datetime(TimeZone::UTC)
        .checked_add(months.months());
    has_orders_left && end.map_or(true, |end| sale.at < end.timestamp())
}
