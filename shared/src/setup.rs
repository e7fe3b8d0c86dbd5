//! What is set up before the first click: who pays, who sells, on what terms, who sends visitors.
//!
//! Each noun is read from the contract's JSON and printed back to it. The stored document is
//! that JSON, so there is one mapping and a stored noun is checked again whenever it is read.

mod account;
mod affiliate;
mod caps;
mod click_cap;
mod coupon;
mod dates;
mod destination;
mod enrolment;
mod link;
mod lists;
mod merchant;
mod payer;
mod program;
mod route;
mod secret;
pub(crate) mod text;
pub(crate) mod words;

pub use account::{Account, Iban};
pub use affiliate::{Affiliate, AffiliateStatus, PayoutDetails, Schedule};
pub use caps::{Cap, CapPer, CapPeriod, CapUse, CustomerRequired};
pub use click_cap::ClickCap;
pub use coupon::Coupon;
pub use dates::Dates;
pub use destination::Destination;
pub use enrolment::{Enrolment, EnrolmentStatus};
pub use link::{Link, Slug};
pub use merchant::{Merchant, OrderScope};
pub use payer::{Address, Payer, PayerAccount};
pub use program::{Approval, Goal, Join, Program, ProgramStatus, SelfReferral, VisitorCookie};
pub use route::Route;
pub use secret::{NewToken, Secret, SecretKind, SecretScope, TokenParts};

use serde_json::{Map, Value};

pub use crate::http_types::Invalid;

/// A noun of the set-up, as the store keeps it and the API shows it.
pub trait Record: Sized + Clone {
    /// Part of the key that it is stored under.
    const KIND: &'static str;
    /// The members that no change may touch.
    const FIXED: &'static [&'static str] = &["id"];
    /// Whether a day's run reads what was in force at the day's end: a change is then made before the
    /// day's gates close, or not on that day.
    const IS_READ_BY_RUNS: bool = false;
    /// Whether an owner's are found from the moment that they are made, where a list may lag.
    const IS_FOUND_AT_ONCE: bool = false;

    /// What it is stored under, unique within its kind.
    fn id(&self) -> String;

    /// Reads the contract's JSON, with all its defaults and refusals.
    ///
    /// # Errors
    /// [`Invalid`] names the member, and why it cannot be taken.
    fn parse(json: &Value) -> Result<Self, Invalid>;

    /// Prints what [`Record::parse`] reads, with the defaults spelt out.
    fn to_json(&self) -> Value;

    /// Gives entries of lists that came without an id the one that they had, or one that no version had
    /// before this one of that number: what is counted goes by it. `after` is what was read of `asked`. Whether
    /// any was given.
    fn keep_ids(_before: &Value, _asked: &mut Value, _after: &Value, _version: u64) -> bool {
        false
    }

    /// Whether it stands beside one that exists from the start: whoever does not say from then on which
    /// one is meant must be told so at once, so the first such one is noted.
    fn is_beside_the_first(&self) -> bool {
        false
    }

    /// The name that somebody gave it, where it is stored under another: it is found by that too.
    fn given_name(&self) -> Option<&str> {
        None
    }

    /// Whose it is, where it belongs to one affiliate or, as secrets do, to one merchant: there is
    /// a list of each.
    fn owner(&self) -> Option<String> {
        None
    }
}

/// The record after a JSON merge patch (RFC 7396): what the patch does not name stays, `null`
/// takes a member back to its default. It becomes the record's version of that number.
///
/// # Errors
/// As [`Record::parse`]; `immutable` for a fixed member that would become another.
pub fn patched<R: Record>(record: &R, patch: &Value, version: u64) -> Result<R, Invalid> {
    if !patch.is_object() {
        return Err(Invalid::new("", "not_an_object"));
    }
    let before = record.to_json();
    let mut merged = before.clone();
    merge(&mut merged, patch);

    let mut changed = R::parse(&merged)?;
    let mut after = changed.to_json();
    if R::keep_ids(&before, &mut merged, &after, version) {
        changed = R::parse(&merged)?;
        after = changed.to_json();
    }
    match R::FIXED
        .iter()
        .find(|name| before.get(**name) != after.get(**name))
    {
        Some(name) => Err(Invalid::new(*name, "immutable")),
        None => Ok(changed),
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else {
        return;
    };
    for (name, change) in changes {
        if change.is_null() {
            members.remove(name);
        } else {
            merge(members.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(target: Value, patch: Value) -> Value {
        let mut target = target;
        merge(&mut target, &patch);
        target
    }

    #[test]
    fn a_merge_patch_follows_the_examples_of_rfc_7396() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": "b"}),
                json!({"b": "c"}),
                json!({"a": "b", "b": "c"}),
            ),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (
                json!({"a": [{"b": "c"}]}),
                json!({"a": [1]}),
                json!({"a": [1]}),
            ),
            (
                json!({"e": null}),
                json!({"a": 1}),
                json!({"e": null, "a": 1}),
            ),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
        ] {
            assert_eq!(merged(target, patch), result);
        }
    }

    #[test]
    fn a_change_is_read_as_strictly_as_what_it_changes() {
        let merchant = Merchant::parse(&json!({"id": "shop", "name": "Shop"})).unwrap();
        let change =
            |patch: Value| patched(&merchant, &patch, 2).map(|merchant| merchant.to_json());

        assert_eq!(change(json!({"name": "New"})).unwrap()["name"], "New");
        assert_eq!(change(json!({})).unwrap(), merchant.to_json());
        assert_eq!(
            change(json!({"id": "shop", "payer": null})).unwrap(),
            merchant.to_json()
        );
        for (patch, field, code) in [
            (json!({"id": "other"}), "id", "immutable"),
            (json!({"payer": "other"}), "payer", "immutable"),
            (json!({"id": null}), "id", "parameter_missing"),
            (json!({"name": null}), "name", "parameter_missing"),
            (json!({"nmae": "x"}), "nmae", "parameter_unknown"),
            (json!([]), "", "not_an_object"),
        ] {
            assert_eq!(change(patch), Err(Invalid::new(field, code)));
        }
    }
}
