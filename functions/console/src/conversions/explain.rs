//! Why somebody was or was not credited: as data, and in plain words.

use serde_json::{Value, json};
use shared::conversion::Conversion;
use shared::rights::Caller;
use shared::store::{Entry, KnownAmendment};

/// What an affiliate is told of the others.
const ANOTHER: &str = "another affiliate";

/// Of more amendments the newest are explained.
const AMENDMENTS_MOST: usize = 20;

/// The whole reasoning behind a conversion, as far as the caller may see it.
pub fn conversion(
    conversion: &Conversion,
    entries: &[(usize, Entry)],
    amendments: &[KnownAmendment],
    caller: &Caller,
) -> Value {
    let mut explain = trail(&conversion.why, caller);
    if !explain.is_object() {
        return explain;
    }
    let own = |place: &usize| {
        let affiliate = &conversion.credits[*place].affiliate;
        caller.affiliate().is_none_or(|own| own == affiliate)
    };
    let seen = entries.iter().filter(|(place, _)| own(place));
    explain["entries"] = seen
        .map(|(place, entry)| {
            json!({
                "affiliate": conversion.credits[*place].affiliate.as_str(),
                "day": entry.day.to_string(),
                "payable_on": entry.payable_on.to_string(),
                "kind": entry.kind.as_str(),
                "amount": entry.effect.to_string(),
                "currency": conversion.currency.code(),
                "recorded_at": entry.recorded_at.to_string(),
            })
        })
        .collect();
    let credits = explain["credits"].as_array();
    let rule = credits
        .into_iter()
        .flatten()
        .find_map(|credit| credit["rules"][0].as_str());
    explain["rule"] = match rule {
        Some(id) => json!({"id": id, "version": conversion.program_version}),
        None => Value::Null,
    };
    let left_off = amendments.len().saturating_sub(AMENDMENTS_MOST);
    let newest = amendments[left_off..].iter();
    explain["amendments"] = newest.map(|newer| amendment(newer, caller)).collect();
    if left_off > 0 {
        explain["amendments_left_off"] = json!(left_off);
    }
    explain
}

/// How an order's new value was reckoned, as far as the caller may see it.
fn amendment(amendment: &KnownAmendment, caller: &Caller) -> Value {
    let credits = amendment.reckoned.as_array().into_iter().flatten();
    let own = credits.filter(|credit| {
        caller
            .affiliate()
            .is_none_or(|own| credit["affiliate"] == own.as_str())
    });
    let mut explain = json!({
        "id": amendment.id,
        "at": amendment.at.to_string(),
        "amount": amendment.amount.to_string(),
        "credits": own.collect::<Vec<_>>(),
    });
    explain["arithmetic"] = arithmetic(&explain);
    explain
}

/// Of all credits together.
fn arithmetic(explain: &Value) -> Value {
    let credits = explain["credits"].as_array().into_iter().flatten();
    let lines = credits.filter_map(|credit| credit["arithmetic"].as_array());
    lines.flatten().cloned().collect()
}

/// What was considered, as it was kept: with the others' names for whoever may know them.
pub fn trail(why: &Value, caller: &Caller) -> Value {
    let mut explain = why.clone();
    if !explain["candidates"].is_array() {
        return Value::Null;
    }
    if let Some(own) = caller.affiliate() {
        let is_own = |entry: &Value| entry["affiliate"] == own.as_str();
        for candidate in explain["candidates"].as_array_mut().into_iter().flatten() {
            if is_own(candidate) {
                continue;
            }
            candidate["affiliate"] = json!(ANOTHER);
            if let Some(members) = candidate.as_object_mut() {
                for hidden in ["link", "click", "class"] {
                    members.remove(hidden);
                }
            }
        }
        if let Some(credits) = explain["credits"].as_array_mut() {
            credits.retain(is_own);
        }
    }
    explain["arithmetic"] = arithmetic(&explain);
    explain["text"] = json!(in_words(&explain));
    explain
}

fn in_words(explain: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut sentences: Vec<String> = Vec::new();
    for candidate in explain["candidates"].as_array().into_iter().flatten() {
        sentences.push(candidate_in_words(candidate, explain));
    }
    if let Some(count) = explain["candidates_left_off"].as_u64() {
        sentences.push(format!(
            "{count} earlier candidates are not listed; none was credited."
        ));
    }
    let model = text(&explain["model"]).replace('_', " ");
    match explain["decided_by"].as_str() {
        Some(kind) => sentences.push(format!(
            "The program credits by {model}; the {} decided.",
            kind_in_words(kind)
        )),
        None => sentences.push("Nobody could be credited.".to_owned()),
    }
    for credit in explain["credits"].as_array().into_iter().flatten() {
        let lines: Vec<&str> = credit["arithmetic"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let (affiliate, amount) = (text(&credit["affiliate"]), text(&credit["amount"]));
        if lines.is_empty() {
            sentences.push(format!(
                "{affiliate} earns nothing: no rule of the program holds for it."
            ));
        } else {
            sentences.push(format!("{affiliate} earns {amount}: {}.", lines.join("; ")));
        }
    }
    for reason in explain["review"].as_array().into_iter().flatten() {
        let reason = match reason.as_str().unwrap_or_default() {
            "manual_approval" => "the program approves each order by hand",
            "browser" => "it was posted by a visitor's browser",
            "suspect_traffic" => "the traffic looked unusual",
            "self_referral" => "the customer seems to be the affiliate",
            "first_order_pending" => "the customer's first order waits too",
            other => other,
        };
        sentences.push(format!("It waits for the merchant, as {reason}."));
    }
    sentences
}

fn candidate_in_words(candidate: &Value, explain: &Value) -> String {
    let text = |name: &str| candidate[name].as_str().unwrap_or_default();
    let whose = match text("affiliate") {
        ANOTHER => format!("Another affiliate's {}", what(candidate)),
        own => format!("{own}'s {}", what(candidate)),
    };
    let subject = format!("{whose} of {}", text("at"));
    if let Some(share) = candidate["share"].as_str() {
        return match share {
            "1" => format!("{subject} is credited."),
            share => format!("{subject} is credited with a share of {share}."),
        };
    }
    let Some(reason) = candidate["reason"].as_str() else {
        return format!("{subject} could have been credited, and another came first.");
    };
    let window = |name: &str| explain[name].as_str().unwrap_or_default().to_owned();
    let because = match reason {
        "invalid_traffic" => "it was a robot or no visit at all".to_owned(),
        "test" => "it was a test".to_owned(),
        "program_paused" => "the program or the affiliate was not active then".to_owned(),
        "window_closed" if candidate["view"] == true => {
            format!("the window for views is {}", window("view_window"))
        }
        "window_closed" => format!("the window for clicks is {}", window("window")),
        "after_conversion" => "it came after the order".to_owned(),
        "too_soon" => "the order followed sooner than is possible".to_owned(),
        "self_referral" => "the customer is the affiliate".to_owned(),
        "suspended" => "the affiliate was not active when the order was made".to_owned(),
        "not_enrolled" => "the affiliate had no place in the program".to_owned(),
        "not_valid_then" => "the coupon was not valid then".to_owned(),
        "first_order_void" => "the customer's first order came to nothing".to_owned(),
        "behind_clicks" => "a click or a later view comes before it".to_owned(),
        "too_many_affiliates" if candidate["kind"] == "customer" => {
            "more affiliates share the customer than can share an order".to_owned()
        }
        "too_many_affiliates" => "more affiliates than can share an order came later".to_owned(),
        other => other.to_owned(),
    };
    format!("{subject} is left out: {because}.")
}

fn what(candidate: &Value) -> &'static str {
    match candidate["kind"].as_str() {
        Some("coupon") => "coupon",
        Some("claim") => "claim",
        Some("person") => "credit by the merchant's word",
        Some("customer") => "first order of this customer",
        _ if candidate["view"] == true => "view",
        _ => "click",
    }
}

fn kind_in_words(kind: &str) -> &'static str {
    match kind {
        "click_id" => "click that the shop named",
        "journey" => "visitor's journey",
        "coupon" => "coupon",
        "claim" => "affiliate's claim",
        "person" => "merchant's word",
        _ => "customer's earlier order",
    }
}
