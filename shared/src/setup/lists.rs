//! Lists whose entries something is counted by: an entry that comes without an id keeps the one it had.

use std::collections::HashSet;

use serde_json::Value;

/// A list of a record's JSON.
pub(super) struct Counted {
    pub name: &'static str,
    /// What ids of new entries begin with.
    pub letter: char,
    /// What an entry is, whatever it pays or how much of it there is: one that was changed in nothing else is
    /// still that entry.
    pub kind: &'static [&'static str],
}

impl Counted {
    /// Names the entries of `asked` that came without an id: as the same entry was called in `before`, or an
    /// entry of that kind; others as nothing was called yet, since no two versions have one number. Whether
    /// there was any.
    ///
    /// `after` is `asked` as it was read, so that two spellings of an entry are the same.
    pub fn keep_ids(&self, before: &Value, asked: &mut Value, after: &Value, version: u64) -> bool {
        let entries =
            |of: &Value| -> Vec<Value> { of[self.name].as_array().cloned().unwrap_or_default() };
        let (before, after) = (entries(before), entries(after));
        let Some(asked) = asked.get_mut(self.name).and_then(Value::as_array_mut) else {
            return false;
        };
        let mut is_taken: HashSet<String> = asked.iter().filter_map(id).collect();
        let nameless: Vec<usize> = (0..asked.len())
            .filter(|place| id(&asked[*place]).is_none())
            .collect();
        let mut ids: Vec<Option<String>> = vec![None; asked.len()];
        let content = |entry: &Value| {
            let mut entry = entry.clone();
            if let Some(members) = entry.as_object_mut() {
                members.remove("id");
            }
            entry
        };
        let kind = |entry: &Value| -> Value {
            let members = self.kind.iter().map(|name| match *name {
                "recurring" => entry["recurring"].is_object().into(),
                "tiers" => [&entry["tiers"]["by"], &entry["tiers"]["period"]]
                    .map(Clone::clone)
                    .to_vec()
                    .into(),
                name => entry[name].clone(),
            });
            members.collect()
        };
        for same in [&content as &dyn Fn(&Value) -> Value, &kind] {
            for place in &nameless {
                let known = before
                    .iter()
                    .filter(|known| id(known).is_some_and(|id| !is_taken.contains(&id)))
                    .find(|known| same(known) == same(&after[*place]));
                if let Some(known) = known.and_then(id).filter(|_| ids[*place].is_none()) {
                    is_taken.insert(known.clone());
                    ids[*place] = Some(known);
                }
            }
        }
        for &place in &nameless {
            let fresh = format!("{}{}v{version}", self.letter, place + 1);
            let id = ids[place].take().unwrap_or(fresh);
            if let Some(members) = asked[place].as_object_mut() {
                members.insert("id".to_owned(), id.into());
            }
        }
        !nameless.is_empty()
    }
}

/// An entry's id; an empty one is none.
fn id(entry: &Value) -> Option<String> {
    let id = entry["id"].as_str().filter(|id| !id.is_empty());
    id.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIST: Counted = Counted {
        name: "rules",
        letter: 'r',
        kind: &["type", "when", "recurring", "tiers"],
    };

    /// The ids of a list that is sent anew as version 7, beside what stood there.
    fn ids(before: Value, asked: Value) -> Vec<String> {
        let mut sent = json!({ "rules": asked });
        let read = sent.clone();
        assert!(LIST.keep_ids(&json!({ "rules": before }), &mut sent, &read, 7));
        // Named once, nothing is left to name.
        assert!(!LIST.keep_ids(&json!({}), &mut sent.clone(), &sent, 8));
        let entries = sent["rules"].as_array().unwrap().iter();
        let ids = entries.map(|entry| entry["id"].as_str().unwrap().to_owned());
        ids.collect()
    }

    #[test]
    fn what_is_as_it_was_keeps_its_id_wherever_it_stands() {
        let before = json!([
            {"id": "r1", "type": "flat", "amount": "1"},
            {"id": "r2", "type": "flat", "amount": "2"},
        ]);
        for (asked, expected) in [
            (
                json!([{"type": "flat", "amount": "2"}, {"type": "flat", "amount": "1"}]),
                ["r2", "r1"],
            ),
            // The second is left what the first, which is the same as it was, does not take.
            (
                json!([{"type": "flat", "amount": "9"}, {"type": "flat", "amount": "1"}]),
                ["r2", "r1"],
            ),
            (
                json!([{"type": "flat", "amount": "2"}, {"type": "flat", "amount": "2"}]),
                ["r2", "r1"],
            ),
            (
                json!([{"id": "r1", "type": "percent"}, {"id": "", "type": "flat", "amount": "1"}]),
                ["r1", "r2"],
            ),
        ] {
            assert_eq!(ids(before.clone(), asked.clone()), expected, "{asked}");
        }
    }

    #[test]
    fn what_was_changed_in_nothing_but_its_sums_keeps_its_id() {
        let tiers = |by: &str, period: &str, from: u8| json!({"by": by, "period": period, "steps": [{"from": from}]});
        let rule = |when: Value, recurring: Value, tiers: Value| json!([{"type": "tiered", "when": when, "recurring": recurring, "tiers": tiers}]);
        let mut before = rule(
            json!({"sku": "a"}),
            json!({"max_count": 1}),
            tiers("count", "month", 1),
        );
        before[0]["id"] = json!("steps");
        for (when, recurring, tiers, expected) in [
            (
                "a",
                json!({"max_count": 1}),
                tiers("count", "month", 2),
                "steps",
            ),
            (
                "a",
                json!({"max_count": 5}),
                tiers("count", "month", 1),
                "steps",
            ),
            (
                "b",
                json!({"max_count": 1}),
                tiers("count", "month", 1),
                "r1v7",
            ),
            ("a", json!(null), tiers("count", "month", 1), "r1v7"),
            (
                "a",
                json!({"max_count": 1}),
                tiers("amount", "month", 1),
                "r1v7",
            ),
            (
                "a",
                json!({"max_count": 1}),
                tiers("count", "lifetime", 1),
                "r1v7",
            ),
        ] {
            let asked = rule(json!({ "sku": when }), recurring, tiers);
            assert_eq!(ids(before.clone(), asked.clone()), [expected], "{asked}");
        }
    }

    #[test]
    fn what_is_new_is_called_as_nothing_was() {
        let before = json!([{"id": "r1", "type": "flat", "amount": "1"}]);
        let asked = json!([
            {"type": "percent"}, {"type": "flat", "amount": "1"}, {"type": "percent"},
        ]);
        assert_eq!(ids(before, asked), ["r1v7", "r1", "r3v7"]);
        assert_eq!(ids(json!([]), json!([{"type": "flat"}])), ["r1v7"]);
    }

    #[test]
    fn what_is_no_list_or_no_entry_is_left_to_whoever_reads_it() {
        for asked in [json!({}), json!({"rules": "x"}), json!({"rules": null})] {
            let mut sent = asked.clone();
            let none = json!({"rules": []});
            assert!(!LIST.keep_ids(&none, &mut sent, &none, 7));
            assert_eq!(sent, asked);
        }
    }
}
