//! How a credit was reckoned, as it is kept: so that every cent explains itself.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::Commission;
use crate::ids::{AffiliateId, RuleId};
use crate::money::Money;

/// As much of all rules' names and all lines' arithmetic is kept, in bytes: an order is one item of at
/// most 400 KB, and all else that it may hold, with what a change adds, takes up to some 250 KB.
const RECKONING_MOST: usize = 48_000;

/// What surrounds a text in a list.
const QUOTES: usize = 3;

/// One affiliate's part of an order, and what it is a part of.
#[derive(Debug, Clone, Copy)]
pub struct Reckoned<'a> {
    pub affiliate: &'a AffiliateId,
    /// As people write it: `1` where it is the whole.
    pub share: &'a str,
    /// What it would earn alone, on its own terms; none where no rule of its own holds.
    pub whole: Option<&'a Commission>,
    pub amount: Money,
}

impl Reckoned<'_> {
    /// For one of so many credits, which have the room of an item together.
    #[must_use]
    pub fn to_json(self, credits: usize) -> Value {
        let room = RECKONING_MOST / credits.max(1);
        let rules = self.rules();
        // Half of the room at most, so that there is some for the arithmetic.
        let mut length = 0;
        let kept = rules.iter().take_while(|rule| {
            let longer = length + rule.len() + QUOTES;
            let fits = longer <= room / 2;
            length = if fits { longer } else { length };
            fits
        });
        let kept: Vec<&str> = kept.copied().collect();
        let mut arithmetic = self.arithmetic(room - length);
        if let Some(whole) = self.whole.filter(|_| self.share != "1") {
            let (whole, share, part) = (whole.amount, self.share, self.amount);
            let currency = whole.currency();
            arithmetic.push(format!(
                "{whole} {currency} x {share} -> {part} largest_remainder"
            ));
        }
        let mut credit = json!({
            "affiliate": self.affiliate.as_str(),
            "share": self.share,
            "rules": kept,
            "arithmetic": arithmetic,
            "amount": self.amount.to_string(),
        });
        if kept.len() < rules.len() {
            credit["rules_left_off"] = json!(rules.len() - kept.len());
        }
        credit
    }

    /// The rules that paid, the first one first, and each once.
    fn rules(&self) -> Vec<&str> {
        let lines = self.whole.iter().flat_map(|whole| &whole.lines);
        let rules = lines.filter_map(|line| line.rule.as_ref().map(RuleId::as_str));
        let mut seen = HashSet::new();
        rules.filter(|rule| seen.insert(*rule)).collect()
    }

    /// Line by line, as far as there is room; of what is left the number and the sum.
    fn arithmetic(&self, room: usize) -> Vec<String> {
        let Some(whole) = self.whole else {
            return Vec::new();
        };
        let mut said = Vec::new();
        let mut length = 0;
        for (place, line) in whole.lines.iter().enumerate() {
            let text = line.to_string();
            length += text.len() + QUOTES;
            if length <= room {
                said.push(text);
                continue;
            }
            let (rest, currency) = (&whole.lines[place..], whole.amount.currency());
            let mut amounts = rest.iter().map(|line| line.amount);
            let sum = amounts.try_fold(Money::zero(currency), Money::checked_add);
            let sum = sum.map_or_else(String::new, |sum| format!(" -> {sum} {currency}"));
            said.push(format!("{} more lines{sum}", rest.len()));
            break;
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commission::{LineCommission, Reckoning};
    use crate::money::{Currency, Percent, Rounding};

    fn euro(minor: i64) -> Money {
        Money::new(minor, Currency::parse("EUR").unwrap())
    }

    /// So many lines of 10.00 at 5 %, each by its own of these rules, one after the other.
    fn earned(lines: usize, rules: &[String]) -> Commission {
        let line = |place: usize| LineCommission {
            sku: None,
            rule: Some(RuleId::parse(&rules[place % rules.len()]).unwrap()),
            reckoning: Reckoning::Share {
                basis: euro(1_000),
                percent: Percent::parse("5").unwrap(),
                rounding: Rounding::HalfEven,
                rounded: euro(50),
            },
            bound: None,
            amount: euro(50),
        };
        Commission {
            amount: euro(50 * i64::try_from(lines).unwrap()),
            lines: (0..lines).map(line).collect(),
            advances: Vec::new(),
        }
    }

    fn told(whole: Option<&Commission>, share: &str, credits: usize) -> Value {
        let affiliate = AffiliateId::parse("anna").unwrap();
        let reckoned = Reckoned {
            affiliate: &affiliate,
            share,
            whole,
            amount: euro(100),
        };
        reckoned.to_json(credits)
    }

    #[test]
    fn a_credit_tells_its_rules_once_and_its_arithmetic_line_by_line() {
        let rules = ["r1".to_owned(), "r2".to_owned()];
        let whole = earned(3, &rules);
        let line = whole.lines[0].to_string();
        let alone = json!({
            "affiliate": "anna", "share": "1", "rules": ["r1", "r2"],
            "arithmetic": [line, line, line], "amount": "1.00",
        });
        assert_eq!(told(Some(&whole), "1", 1), alone);
        let mut shared = alone.clone();
        shared["share"] = json!("0.667");
        let of_whole = json!("1.50 EUR x 0.667 -> 1.00 largest_remainder");
        shared["arithmetic"].as_array_mut().unwrap().push(of_whole);
        assert_eq!(told(Some(&whole), "0.667", 1), shared);
        let nothing = json!({
            "affiliate": "anna", "share": "0.5", "rules": [], "arithmetic": [], "amount": "1.00",
        });
        assert_eq!(told(None, "0.5", 1), nothing);
    }

    #[test]
    fn what_has_no_room_is_counted_and_added_up() {
        let short = ["r1".to_owned()];
        let length = earned(1, &short).lines[0].to_string().len() + QUOTES;
        // The room of one of twenty credits: 2,400 bytes, less the one rule's name.
        let fit = (RECKONING_MOST / 20 - 2 - QUOTES) / length;
        let whole = earned(fit, &short);
        let lines = |told: &Value| told["arithmetic"].as_array().unwrap().clone();
        assert_eq!(lines(&told(Some(&whole), "1", 20)).len(), fit);
        let whole = earned(fit + 7, &short);
        let cut = lines(&told(Some(&whole), "1", 20));
        assert_eq!(cut.len(), fit + 1);
        assert_eq!(cut[fit], "7 more lines -> 3.50 EUR");
        // One credit has all the room, and so has none.
        assert_eq!(lines(&told(Some(&whole), "1", 0)).len(), fit + 7);
    }

    #[test]
    fn rules_names_take_half_of_the_room_at_most() {
        let long = |number: usize| format!("{number:0>32}");
        let rules: Vec<String> = (0..100).map(long).collect();
        let whole = earned(rules.len(), &rules);
        // Of 4,800 bytes 2,400 for names of 32, with what surrounds each.
        let fit = 2_400 / (32 + QUOTES);
        let told = told(Some(&whole), "1", 10);
        assert_eq!(told["rules"].as_array().unwrap().len(), fit);
        assert_eq!(told["rules_left_off"], 100 - fit);
        let length = whole.lines[0].to_string().len() + QUOTES;
        let lines = (4_800 - fit * (32 + QUOTES)) / length;
        assert_eq!(told["arithmetic"].as_array().unwrap().len(), lines + 1);
    }
}
