//! Keys and items: the one place that knows how they are spelt.

use std::collections::HashMap;
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::Timestamp;
use jiff::civil::Date;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::http_types::{parse_day, parse_instant};

/// The core table's indexes, each with its partition and sort key: views only, never money.
pub const CORE_INDEXES: [(&str, &str, &str); 2] = [
    ("by_owner", "owner_pk", "owner_sk"),
    ("by_affiliate", "affiliate_pk", "affiliate_sk"),
];

/// What ends says here at which second: the core table drops it then. The ledger drops nothing.
pub const EXPIRES_AT: &str = "expires_at";

/// Every item says in which version of this file it was written.
const SCHEMA: i64 = 1;

const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'/');

/// A sort key holds 1,024 bytes, and a text of an order's 128 characters may take 1,536 of them.
const ESCAPED_MOST: usize = 600;

/// An outside text as a part of a key: `#` and all that could look like one are escaped. A text
/// that becomes too long stands there as its digest; the item has the text itself.
pub(super) fn escaped(text: &str) -> String {
    let escaped = utf8_percent_encode(text, KEPT).to_string();
    if escaped.len() <= ESCAPED_MOST {
        return escaped;
    }
    // `=` is escaped in every other text, so none is spelt like a digest.
    format!("={}", BASE64.encode(Sha256::digest(text)))
}

/// An attribute that is missing or no such thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{attribute}` of `{key}` is missing or damaged")]
pub struct Damaged {
    pub key: String,
    pub attribute: String,
}

/// Where an item stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub pk: String,
    pub sk: String,
}

impl Key {
    pub fn new(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self {
            pk: pk.into(),
            sk: sk.into(),
        }
    }

    pub(super) fn attributes(&self) -> HashMap<String, AttributeValue> {
        HashMap::from([
            ("pk".to_owned(), AttributeValue::S(self.pk.clone())),
            ("sk".to_owned(), AttributeValue::S(self.sk.clone())),
        ])
    }
}

/// One item, written attribute by attribute and read with complaints.
#[derive(Debug, Clone, PartialEq)]
pub struct Row(HashMap<String, AttributeValue>);

impl Row {
    pub(super) fn new(key: &Key) -> Self {
        Self(key.attributes()).number("schema", SCHEMA)
    }

    pub(super) fn of(item: HashMap<String, AttributeValue>) -> Self {
        Self(item)
    }

    pub(super) fn into_item(self) -> HashMap<String, AttributeValue> {
        self.0
    }

    pub(super) fn text(mut self, name: &str, text: impl Into<String>) -> Self {
        self.0
            .insert(name.to_owned(), AttributeValue::S(text.into()));
        self
    }

    pub(super) fn text_if(self, name: &str, text: Option<impl Into<String>>) -> Self {
        match text {
            Some(text) => self.text(name, text),
            None => self,
        }
    }

    pub(super) fn number(mut self, name: &str, number: impl Into<i128>) -> Self {
        let number = AttributeValue::N(number.into().to_string());
        self.0.insert(name.to_owned(), number);
        self
    }

    pub(super) fn json(self, name: &str, value: &Value) -> Self {
        self.text(name, value.to_string())
    }

    pub(super) fn damaged(&self, attribute: &str) -> Damaged {
        let part = |name: &str| match self.0.get(name) {
            Some(AttributeValue::S(text)) => text.clone(),
            _ => "?".to_owned(),
        };
        Damaged {
            key: format!("{} / {}", part("pk"), part("sk")),
            attribute: attribute.to_owned(),
        }
    }

    pub(super) fn get_text_if(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(AttributeValue::S(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn get_text(&self, name: &str) -> Result<&str, Damaged> {
        self.get_text_if(name).ok_or_else(|| self.damaged(name))
    }

    pub(super) fn get_number_if(&self, name: &str) -> Result<Option<i64>, Damaged> {
        self.get_number_of(name)
    }

    /// What many amounts came to: the table adds up to 38 digits.
    pub(super) fn get_sum_if(&self, name: &str) -> Result<Option<i128>, Damaged> {
        self.get_number_of(name)
    }

    pub(super) fn get_sum(&self, name: &str) -> Result<i128, Damaged> {
        self.get_sum_if(name)?.ok_or_else(|| self.damaged(name))
    }

    fn get_number_of<N: FromStr>(&self, name: &str) -> Result<Option<N>, Damaged> {
        match self.0.get(name) {
            None => Ok(None),
            Some(AttributeValue::N(text)) => text.parse().map(Some).map_err(|_| self.damaged(name)),
            Some(_) => Err(self.damaged(name)),
        }
    }

    pub(super) fn get_number(&self, name: &str) -> Result<i64, Damaged> {
        self.get_number_if(name)?.ok_or_else(|| self.damaged(name))
    }

    /// The texts of a list; an absent one is empty.
    pub(super) fn get_texts(&self, name: &str) -> Vec<&str> {
        match self.0.get(name) {
            Some(AttributeValue::L(values)) => values
                .iter()
                .filter_map(|value| value.as_s().ok().map(String::as_str))
                .collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn get_json(&self, name: &str) -> Result<Value, Damaged> {
        serde_json::from_str(self.get_text(name)?).map_err(|_| self.damaged(name))
    }

    pub(super) fn get_instant(&self, name: &str) -> Result<Timestamp, Damaged> {
        parse_instant(self.get_text(name)?).ok_or_else(|| self.damaged(name))
    }

    pub(super) fn get_day(&self, name: &str) -> Result<Date, Damaged> {
        parse_day(self.get_text(name)?).ok_or_else(|| self.damaged(name))
    }

    pub(super) fn get_day_if(&self, name: &str) -> Result<Option<Date>, Damaged> {
        self.get_text_if(name)
            .map(|_| self.get_day(name))
            .transpose()
    }

    /// As [`Row::parsed`], where the text may be absent.
    pub(super) fn parsed_if<T, E>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Damaged> {
        self.get_text_if(name)
            .map(|_| self.parsed(name, parse))
            .transpose()
    }

    /// A text that `parse` understands.
    pub(super) fn parsed<T, E>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, Damaged> {
        parse(self.get_text(name)?).map_err(|_| self.damaged(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_any_length_fits_into_a_key_and_no_two_are_one() {
        for (text, spelt) in [
            ("", ""),
            ("A-1_b.c/d", "A-1_b.c/d"),
            ("a#b~=", "a%23b%7E%3D"),
        ] {
            assert_eq!(escaped(text), spelt);
        }
        let longest = "a".repeat(ESCAPED_MOST);
        assert_eq!(escaped(&longest), longest);
        let one_more = escaped(&format!("{longest}a"));
        assert_eq!((one_more.len(), &one_more[..1]), (44, "="));
        assert_ne!(one_more, escaped(&format!("{longest}b")));
        assert_ne!(one_more, escaped(&one_more));
    }
}
