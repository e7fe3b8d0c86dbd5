//! Erasure: what an order tells of the person behind it, and what it keeps without.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::conversion::Conversion;

/// Somebody who is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Person {
    /// A merchant's customer, by its pseudonym.
    Customer(String),
    /// A program's visitor, by the names of its clicks and views.
    Visitor(BTreeSet<String>),
}

/// What is kept of a click that was credited: commissions are explained by it.
const KEPT_OF_A_CLICK: [&str; 2] = ["class", "link"];

impl Person {
    /// The order without what it tells of this person; none where it tells nothing.
    ///
    /// All that amounts hang on stays, so that it is amended, taken back and reckoned again to the
    /// same cent: the lines, the coupon, the country that a rule asked for, whether the customer was
    /// new and since when.
    #[must_use]
    pub fn erased_from(&self, conversion: &Conversion) -> Option<Conversion> {
        let is_theirs = match self {
            Self::Customer(pseudonym) => conversion.facts["customer_key"] == **pseudonym,
            Self::Visitor(visits) => names_one_of(visits, &conversion.why),
        };
        if !is_theirs {
            return None;
        }
        let mut erased = conversion.clone();
        if let Self::Customer(_) = self {
            erased.facts["customer_key"] = Value::Null;
            erased.facts["meta"] = json!({});
        }
        let of_each = erased.facts["clicks"].as_object_mut();
        for click in of_each.into_iter().flat_map(|clicks| clicks.values_mut()) {
            strip(click);
        }
        strip(&mut erased.facts["click"]);
        nameless(&mut erased.why);
        Some(erased)
    }

    /// A refusal's trail without the names of this person's clicks; none where it has none of them.
    #[must_use]
    pub fn erased_from_trail(&self, why: &Value) -> Option<Value> {
        match self {
            Self::Visitor(visits) if names_one_of(visits, why) => {
                let mut erased = why.clone();
                nameless(&mut erased);
                Some(erased)
            }
            _ => None,
        }
    }
}

fn names_one_of(visits: &BTreeSet<String>, why: &Value) -> bool {
    let candidates = why["candidates"].as_array();
    candidates
        .into_iter()
        .flatten()
        .filter_map(|candidate| candidate["click"].as_str())
        .any(|click| visits.contains(click))
}

/// All clicks of a trail are of one visitor: none keeps the name that its id bears.
fn nameless(why: &mut Value) {
    let candidates = why.get_mut("candidates").and_then(Value::as_array_mut);
    for candidate in candidates.into_iter().flatten() {
        if let Some(members) = candidate.as_object_mut() {
            members.remove("click");
        }
    }
}

fn strip(click: &mut Value) {
    if let Some(members) = click.as_object_mut() {
        members.retain(|name, _| KEPT_OF_A_CLICK.contains(&name.as_str()));
    }
}
