//! A program's rules and the sales that they are asked about, without a table.

use jiff::Timestamp;
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::Value;
use shared::commission::{
    Buyer, Commission, Counter, Customer, Line, NoCommission, Reckoning, Rules, Sale, Standing,
    Standings,
};
use shared::http_types::parse_json;
use shared::ids::{AffiliateId, RuleId};
use shared::money::{Currency, INPUT_MAX, Money, Rounding};

use crate::spoilt::Input;
use crate::stage::Stage;
use crate::targets::Check;
use crate::tariff::{Added, Earned, Tariff};

const ROUNDINGS: [(Rounding, RoundingStrategy); 3] = [
    (Rounding::HalfEven, RoundingStrategy::MidpointNearestEven),
    (Rounding::HalfUp, RoundingStrategy::MidpointAwayFromZero),
    (Rounding::Down, RoundingStrategy::ToZero),
];

pub fn stage() -> Check {
    Box::new(check)
}

/// An input is `{"commission": [...], "sales": [...]}`.
fn check(input: &Input) -> bool {
    let Ok(value) = parse_json(&input.0) else {
        return false;
    };
    let mut has_paid = false;
    for code in ["EUR", "JPY"] {
        let currency = Currency::parse(code).expect("a currency");
        let Ok(rules) = Rules::parse(&value["commission"], currency) else {
            continue;
        };
        let printed = rules.to_json();
        let again = Rules::parse(&printed, currency).expect("what is printed can be read");
        assert_eq!(again, rules);
        for sale in value["sales"].as_array().into_iter().flatten() {
            for (rounding, strategy) in ROUNDINGS {
                let tariff = Tariff {
                    rules: value["commission"].as_array().map_or(&[], Vec::as_slice),
                    currency,
                    strategy,
                };
                if let Some(commission) = earned(&rules, sale, rounding, &tariff) {
                    judge(&commission, currency, strategy);
                    has_paid = true;
                }
            }
        }
    }
    has_paid
}

/// What a sale earns once every counter is known; each stands where the sale says. The tariff has to
/// say the same.
fn earned(
    rules: &Rules,
    sale: &Value,
    rounding: Rounding,
    tariff: &Tariff<'_>,
) -> Option<Commission> {
    let currency = tariff.currency;
    let text = |name: &str| sale[name].as_str();
    let money = |text: &Value| Money::parse(text.as_str()?, currency).ok();
    let number = |name: &str| sale[name].as_i64().unwrap_or(0).clamp(0, INPUT_MAX);
    let lines = sale["items"].as_array().into_iter().flatten();
    let lines = lines.filter_map(|item| {
        Some(Line {
            sku: item["sku"].as_str()?,
            category: item["category"].as_str(),
            amount: money(&item["amount"])?,
        })
    });
    let lines: Vec<Line<'_>> = lines.take(1_000).collect();
    let sum = lines.iter().try_fold(Money::zero(currency), |sum, line| {
        sum.checked_add(line.amount)
    });
    let amount = if lines.is_empty() {
        money(&sale["amount"])
    } else {
        sum
    };
    let affiliate = AffiliateId::parse(text("affiliate").unwrap_or("anna")).ok()?;
    let goal = text("goal").unwrap_or("sale").to_lowercase();
    let standing = Standing {
        count: number("count"),
        sum: number("sum"),
    };
    let instant = |name: &str| text(name).and_then(|text| text.parse::<Timestamp>().ok());
    let mut standings = Standings::default();
    loop {
        let asked = Sale {
            at: instant("at").unwrap_or(Stage::now()),
            goal: &goal,
            affiliate: &affiliate,
            group: text("group"),
            customer: text("customer").and_then(Customer::parse),
            country: text("country"),
            coupon: text("coupon"),
            buyer: match text("since") {
                None => Buyer::Unnamed,
                Some(_) => Buyer::Named {
                    since: instant("since"),
                },
            },
            standings: &standings,
            amount,
            lines: &lines,
        };
        let commission = match rules.commission(&asked, rounding) {
            Ok(commission) => Some(commission),
            Err(NoCommission::Unknown(counter)) => {
                let was_known = standings.0.insert(counter, standing);
                assert!(was_known.is_none(), "asked for what is known");
                continue;
            }
            Err(_) => None,
        };
        let told = commission
            .as_ref()
            .map(|commission| told(rules, commission));
        let mut second = tariff.earned(&asked, standing);
        if let Some((_, added)) = &mut second {
            added.sort_unstable();
        }
        assert_eq!(told, second);
        return commission;
    }
}

/// A commission as a [`Tariff`] tells it, what is added in its order.
fn told(rules: &Rules, commission: &Commission) -> (Vec<Earned>, Vec<Added>) {
    let position = |id: &RuleId| {
        let mut rules = rules.as_slice().iter();
        rules
            .position(|rule| rule.id() == id)
            .expect("a rule of these")
    };
    let lines = commission.lines.iter().map(|line| Earned {
        rule: line.rule.as_ref().map(position),
        minor: line.amount.minor(),
    });
    let added = commission.advances.iter().map(|advance| {
        let (rule, is_of_steps) = match &advance.counter {
            Counter::Tier { rule, .. } => (rule, true),
            Counter::Customer { rule } => (rule, false),
        };
        (position(rule), is_of_steps, advance.value.minor())
    });
    let mut added: Vec<Added> = added.collect();
    added.sort_unstable();
    (lines.collect(), added)
}

/// Every line's arithmetic once more, and the sum.
fn judge(commission: &Commission, currency: Currency, strategy: RoundingStrategy) {
    let decimal = |money: Money| Decimal::from(money.minor());
    let hundredth =
        |share: Decimal| (share / Decimal::ONE_HUNDRED).round_dp_with_strategy(0, strategy);
    let mut sum = 0;
    for line in &commission.lines {
        assert!(!line.to_string().is_empty());
        assert_eq!(line.amount.currency(), currency);
        assert!(!line.amount.is_negative(), "{line}");
        sum += line.amount.minor();
        let (exact, rounded) = match &line.reckoning {
            Reckoning::Share {
                basis,
                percent,
                rounded,
                ..
            } => (decimal(*basis) * percent.value(), *rounded),
            Reckoning::Tiers { parts, rounded, .. } => {
                let shares = parts
                    .iter()
                    .map(|(part, percent)| decimal(*part) * percent.value());
                (shares.sum(), *rounded)
            }
            Reckoning::Flat { amount } => (decimal(*amount) * Decimal::ONE_HUNDRED, *amount),
            Reckoning::FlatBefore | Reckoning::NoRule => (Decimal::ZERO, Money::zero(currency)),
        };
        assert_eq!(hundredth(exact), decimal(rounded), "{line}");
        let is_bound = line.bound.is_some();
        assert!(is_bound || line.amount == rounded, "{line}");
    }
    assert_eq!(commission.amount.minor(), sum);
}
