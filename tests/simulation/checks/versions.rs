//! Programs' versions: that each is one that was given, and which of them an order may be judged by.

use serde_json::Value;
use shared::setup::{Program, Record as _};

use crate::cast::PROGRAMS;
use crate::people::People;
use crate::world::{NEW_VERSIONS, SKEW};

/// A program's versions, the first one first.
pub(super) struct Versions {
    /// From when on each is in force, in milliseconds since 1970.
    since: Vec<i64>,
    /// When somebody was told of it, in milliseconds since 1970; none where nobody was.
    known: Vec<Option<i64>>,
}

impl Versions {
    /// A program's versions, and a complaint about each that nobody gave, or that is not as it was given.
    pub async fn of(people: &People, program: usize) -> Self {
        let id = PROGRAMS[program].id;
        let stored = people.world.store().versions::<Program>(id).await;
        let stored = stored.expect("the network is calm");
        let seen = people.seen.borrow();
        let tries = seen.versions.get(&program).map_or(&[][..], Vec::as_slice);
        let wrong = |what: String| people.world.wrong("versions", format!("{id} {what}"));
        for version in &stored {
            let number = i64::try_from(version.version).unwrap_or(0);
            let since = version.since.as_millisecond();
            let mut of_number = tries.iter().filter(|made| made.number == number);
            // A version is in force no sooner than the one before it, whose clock may have been ahead.
            let was_given = of_number.any(|made| {
                let (from, to) = made.under_way;
                (from - SKEW..=to + 3 * SKEW).contains(&since)
            });
            let terms = PROGRAMS[program].of_version(number);
            let json: Value = version.record.to_json();
            if json["rounding"] != terms.rounding || number > 1 && !was_given {
                wrong(format!("has a version {number} of {since}: {json}"));
            }
        }
        let count = i64::try_from(stored.len()).unwrap_or(0);
        // Two who asked for the same terms at once may both be told that those are in force.
        let lost = tries
            .iter()
            .find(|made| made.was_done && made.number > count);
        if let Some(lost) = lost {
            wrong(format!("has {count} versions, and {lost:?} was done"));
        }
        people
            .world
            .meets(NEW_VERSIONS, stored.len().saturating_sub(1));
        let known = (1..=count).map(|number| {
            let told = tries.iter().filter_map(|made| {
                if made.number > number {
                    Some(made.under_way.0)
                } else {
                    (made.number == number && made.was_done).then_some(made.under_way.1)
                }
            });
            told.min()
        });
        Self {
            known: known.collect(),
            since: stored
                .iter()
                .map(|version| version.since.as_millisecond())
                .collect(),
        }
    }

    /// The numbers of those that may judge an order of this instant, if whoever judged it began then, both in
    /// milliseconds since 1970: the one in force, or an older one that nobody knew to be over.
    pub fn that_may_judge(&self, at: i64, begun: i64) -> impl Iterator<Item = i64> {
        let in_force = self.since.iter().rposition(|since| *since <= at);
        let in_force = in_force.unwrap_or(0);
        let is_over = move |place: &usize| {
            let mut later = self.known[place + 1..=in_force].iter();
            later.any(|known| known.is_some_and(|known| known < begun))
        };
        let places = (0..=in_force).filter(move |place| !is_over(place));
        places.filter_map(|place| i64::try_from(place + 1).ok())
    }

    /// How many there are.
    pub fn count(&self) -> i64 {
        i64::try_from(self.since.len()).unwrap_or(0)
    }
}
