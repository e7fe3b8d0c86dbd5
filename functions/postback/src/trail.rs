//! How a decision came about: what is kept with an order, so that every cent explains itself.

use serde_json::{Value, json};
use shared::attribution::{Candidate, Decision};
use shared::commission::{self, Commission};
use shared::ids::AffiliateId;
use shared::money::Money;
use shared::setup::Program;

/// More candidates than these are counted only: the newest of a long journey say enough.
const CANDIDATES_MOST: usize = 40;

/// What one affiliate gets, and how that was reckoned.
pub struct Reckoned {
    pub affiliate: AffiliateId,
    /// Of [`Decision::total_weight`].
    pub weight: u64,
    /// What it would earn alone, on its own terms; none where no rule of its own holds.
    pub whole: Option<Commission>,
    pub amount: Money,
}

/// The terms, the candidates and the decision; `review` names what has the order wait.
pub fn decided(
    terms: &Program,
    decision: &Decision,
    reckoned: &[Reckoned],
    review: &[&str],
) -> Value {
    let total = decision.total_weight();
    let listed = decision.candidates.len().min(CANDIDATES_MOST);
    let left_off = decision.candidates.len() - listed;
    let candidates: Vec<Value> = decision
        .candidates
        .iter()
        .zip(&decision.weights)
        // What decided may stand anywhere, and is never left off.
        .enumerate()
        .filter(|(place, (_, weight))| left_off <= *place || **weight > 0)
        .map(|(_, (candidate, weight))| shown(candidate, *weight, total))
        .collect();
    let credits = reckoned.iter().map(|own| {
        let credit = commission::Reckoned {
            affiliate: &own.affiliate,
            share: &share(own.weight, total),
            whole: own.whole.as_ref(),
            amount: own.amount,
        };
        credit.to_json(reckoned.len())
    });
    let mut trail = json!({
        "candidates": candidates,
        "window": terms.click_window.to_string(),
        "view_window": terms.view_window.to_string(),
        "model": terms.attribution.model.as_str(),
        "priority": terms.attribution.priority.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(),
        "decided_by": decision.decided_by.map(|kind| kind.as_str()),
        "credits": credits.collect::<Vec<_>>(),
    });
    let omitted = decision.candidates.len() - candidates.len();
    if omitted > 0 {
        trail["candidates_left_off"] = json!(omitted);
    }
    if !review.is_empty() {
        trail["review"] = json!(review);
    }
    trail
}

fn shown(candidate: &Candidate, weight: u64, total: u64) -> Value {
    let mut shown = json!({
        "kind": candidate.kind.as_str(),
        "at": candidate.at.to_string(),
        "affiliate": candidate.affiliate.as_str(),
        "in": candidate.out.is_none(),
    });
    if let Some(link) = &candidate.link {
        shown["link"] = json!(link);
        shown["click"] = json!(candidate.click);
        shown["class"] = json!(candidate.class.as_str());
        shown["view"] = json!(candidate.is_view);
    }
    if let Some(out) = candidate.out {
        shown["reason"] = json!(out.as_str());
    }
    if weight > 0 {
        shown["share"] = json!(share(weight, total));
    }
    shown
}

/// A share as people write it: `1`, `2/5`, and with six digits where the weights are no small
/// numbers.
fn share(weight: u64, total: u64) -> String {
    let divisor = greatest_common_divisor(weight, total);
    let (part, whole) = (weight / divisor, total / divisor);
    if part == whole {
        "1".to_owned()
    } else if whole <= 10_000 {
        format!("{part}/{whole}")
    } else {
        let millionths = u128::from(weight) * 1_000_000 / u128::from(total);
        format!("0.{millionths:06}")
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 {
        a.max(1)
    } else {
        greatest_common_divisor(b, a % b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_written_as_people_write_it() {
        for (weight, total, text) in [
            (1, 1, "1"),
            (7, 7, "1"),
            (40, 100, "2/5"),
            (1, 3, "1/3"),
            (1 << 51, (1 << 52) + (1 << 51), "1/3"),
            (4_503_599_627_370_495, 9_007_199_254_740_991, "0.499999"),
            (0, 5, "0/1"),
        ] {
            assert_eq!(share(weight, total), text);
        }
    }
}
