//! Finds a line's rule without trying each: 500 rules cost about what one does.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher};

use jiff::Timestamp;

use super::condition::Facts;
use super::rule::Rule;

/// Positions of rules by what they ask.
///
/// Rules that ask about the same things share a mask, and there are few masks in a program.
/// For each, the sale's facts under it lead to the rules that ask for just these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    masks: Vec<u8>,
    /// By the hash of mask and texts; a collision only makes one more rule to look at.
    positions: HashMap<u64, Vec<usize>, BuildHasherDefault<DefaultHasher>>,
}

impl Index {
    pub(super) fn of(rules: &[Rule]) -> Self {
        let mut index = Self {
            masks: Vec::new(),
            positions: HashMap::default(),
        };
        for (position, rule) in rules.iter().enumerate() {
            let mask = rule.asked.mask();
            if !index.masks.contains(&mask) {
                index.masks.push(mask);
            }
            index
                .positions
                .entry(hash(mask, rule.asked.texts()))
                .or_default()
                .push(position);
        }
        index
    }

    /// The first rule that holds, is valid at `at`, and `goes_on`.
    pub(super) fn first(
        &self,
        rules: &[Rule],
        facts: &Facts<'_>,
        at: Timestamp,
        goes_on: impl Fn(&Rule) -> bool,
    ) -> Option<usize> {
        let holds = |position: &&usize| {
            let rule = &rules[**position];
            rule.asked.hold(facts) && rule.valid_at(at) && goes_on(rule)
        };
        let first_under = |mask: &u8| {
            let asked = facts.texts().enumerate();
            let asked = asked.map(|(place, fact)| fact.filter(|_| mask & 1 << place != 0));
            self.positions.get(&hash(*mask, asked))?.iter().find(holds)
        };
        self.masks.iter().filter_map(first_under).min().copied()
    }
}

fn hash<'a>(mask: u8, texts: impl Iterator<Item = Option<&'a str>>) -> u64 {
    let mut hasher = BuildHasherDefault::<DefaultHasher>::default().build_hasher();
    mask.hash(&mut hasher);
    texts.flatten().for_each(|text| text.hash(&mut hasher));
    hasher.finish()
}
