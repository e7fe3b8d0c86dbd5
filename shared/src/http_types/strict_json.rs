//! JSON in which no key may stand twice.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::Invalid;

/// How deep arrays and objects may nest; the parser refuses what is deeper.
pub const MAX_DEPTH: usize = 127;

/// Reads JSON text. `serde_json` alone would let the last of two equal keys win, and then two
/// readers of the same bytes may see different orders.
///
/// # Errors
/// `json_invalid` for what is not JSON in UTF-8, `parameter_repeated` for a key that stands
/// twice in one object, at any depth.
pub fn parse_json(text: &[u8]) -> Result<Value, Invalid> {
    let repeated = RefCell::new(None);
    let mut parser = serde_json::Deserializer::from_slice(text);
    let read = Strict {
        repeated: &repeated,
    }
    .deserialize(&mut parser)
    .and_then(|value| parser.end().map(|()| value));
    match (read, repeated.into_inner()) {
        (_, Some(key)) => Err(Invalid::new(key, "parameter_repeated")),
        (Err(_), None) => Err(Invalid::new("", "json_invalid")),
        (Ok(value), None) => Ok(value),
    }
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    /// The first key that stood twice: the parser's own error cannot carry it.
    repeated: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                self.repeated.borrow_mut().get_or_insert(key);
                return Err(A::Error::custom("a key stands twice"));
            }
            let value = map.next_value_seed(self)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_json_reads_as_serde_json_reads_it() {
        for text in [
            "null",
            "true",
            "-3",
            "18446744073709551615",
            "1.5",
            r#""a\u00e4""#,
            "[]",
            "[1, [2, {}]]",
            r#"{"a": {"b": [{"c": null}]}, "b": "x"}"#,
        ] {
            assert_eq!(
                parse_json(text.as_bytes()),
                Ok(serde_json::from_str(text).unwrap()),
                "{text}"
            );
        }
    }

    #[test]
    fn a_key_stands_once_at_any_depth_however_it_is_spelt() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"b":[{"a":1,"c":{},"a":2}]}"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            assert_eq!(
                parse_json(text.as_bytes()),
                Err(Invalid::new("a", "parameter_repeated")),
                "{text}"
            );
        }
        assert!(parse_json(br#"{"a":{"a":1},"b":{"a":1}}"#).is_ok());
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let deep = "[".repeat(200);
        for text in [
            b"" as &[u8],
            b"{",
            b"{} {}",
            b"{'a':1}",
            b"NaN",
            b"1e999",
            b"\"\xff\"",
            b"{\"a\":1,}",
            deep.as_bytes(),
        ] {
            assert_eq!(parse_json(text), Err(Invalid::new("", "json_invalid")));
        }
    }
}
