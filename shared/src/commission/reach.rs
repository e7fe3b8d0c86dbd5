//! Finds rules that earlier ones leave nothing to.

use jiff::Timestamp;

use super::rule::Rule;

/// The position of the first rule that no sale can reach.
///
/// It is one whose whole validity is covered by earlier rules that each hold wherever it holds.
/// What only several conditions together rule out (`new` and `returning` customers, say) is not
/// looked for: a sale that does not tell still reaches the rule.
pub(super) fn first_unreachable(rules: &[Rule]) -> Option<usize> {
    (0..rules.len()).find(|position| {
        let rule = &rules[*position];
        let in_front = rules[..*position].iter();
        let mut taken: Vec<(Timestamp, Timestamp)> = in_front
            .filter(|earlier| earlier.asked.hold_wherever(&rule.asked))
            // One that ends for a customer leaves that customer's later orders to others.
            .filter(|earlier| earlier.recurring.is_none())
            .map(Rule::validity)
            .collect();
        taken.sort_unstable();

        let (mut free_from, end) = rule.validity();
        for (from, to) in taken {
            if free_from < from {
                return false;
            }
            free_from = free_from.max(to);
        }
        end <= free_from
    })
}
