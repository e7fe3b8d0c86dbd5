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
