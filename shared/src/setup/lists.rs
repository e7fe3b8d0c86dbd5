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
    /// entry of that kind; others as nothing was called yet, since no two versions have one number.
    ///
    /// `after` is `asked` as it was read, so that two spellings of an entry are the same.
    pub fn keep_ids(&self, before: &Value, asked: &mut Value, after: &Value, version: u64) {
        let entries =
            |of: &Value| -> Vec<Value> { of[self.name].as_array().cloned().unwrap_or_default() };
        let (before, after) = (entries(before), entries(after));
        let Some(asked) = asked[self.name].as_array_mut() else {
            return;
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
        for place in nameless {
            let fresh = format!("{}{}v{version}", self.letter, place + 1);
            let id = ids[place].take().unwrap_or(fresh);
            if let Some(members) = asked[place].as_object_mut() {
                members.insert("id".to_owned(), id.into());
            }
        }
    }
}

/// An entry's id; an empty one is none.
fn id(entry: &Value) -> Option<String> {
    let id = entry["id"].as_str().filter(|id| !id.is_empty());
    id.map(str::to_owned)
}
