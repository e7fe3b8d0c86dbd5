//! Named parameters, read one by one, until nothing unasked is left.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use percent_encoding::percent_decode;
use serde_json::Value;

use super::macros::{any_text, holds_macro, is_one_macro};
use super::{Span, parse_day, parse_instant, parse_json, parse_span};
use crate::period::Month;

/// A field that cannot be taken as it is: a 422. An empty field name means the whole body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code} (`{field}`)")]
pub struct Invalid {
    pub field: String,
    pub code: &'static str,
}

impl Invalid {
    pub fn new(field: impl Into<String>, code: &'static str) -> Self {
        Self {
            field: field.into(),
            code,
        }
    }
}

/// The parameters of a query, a form or a JSON object, which read alike.
///
/// Each is taken by its name; [`Fields::finish`] then refuses what nobody asked for. Absent,
/// empty and JSON `null` are one and the same.
#[derive(Debug, Clone)]
pub struct Fields {
    left: BTreeMap<String, Given>,
    /// Where the object stands in the body, such as `items[0].`; empty at the top.
    path: String,
    /// Whether a text may hold `{...}`: a tracked address does, a postback's value never.
    macros: Macros,
}

/// A value as it came. In a query or a form a text may spell a number, a flag or JSON; in JSON
/// each of them has a spelling of its own, and a text is a text.
#[derive(Debug, Clone)]
enum Given {
    Text(String),
    Json(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Macros {
    Text,
    Refused,
}

/// Whether a text can stand as a reason or reference that a person gives: 1 to 500 characters, not
/// all of them blank, and no control character.
#[must_use]
pub fn is_note(text: &str) -> bool {
    let fits = (1..=500).contains(&text.chars().count());
    fits && !text.trim().is_empty() && !text.chars().any(char::is_control)
}

impl Fields {
    /// Reads `a=1&b=2`, as in a query or a form's body.
    ///
    /// # Errors
    /// `parameter_repeated`, `utf8_invalid`.
    pub fn from_form(text: &[u8]) -> Result<Self, Invalid> {
        let mut fields = Self {
            left: BTreeMap::new(),
            path: String::new(),
            macros: Macros::Text,
        };
        for (name, value) in pairs(text) {
            let name = decode(name).ok_or(Invalid::new("", "utf8_invalid"))?;
            let value = decode(value).ok_or_else(|| Invalid::new(&name, "utf8_invalid"))?;
            fields.add(name, Given::Text(value))?;
        }
        Ok(fields)
    }

    /// The values of one parameter of `a=1&b=2`, whatever is wrong with the others; none for one
    /// that is not UTF-8.
    pub(super) fn values_in(text: &[u8], name: &str) -> Vec<Option<String>> {
        let named = pairs(text).filter(|(own, _)| decode(own).as_deref() == Some(name));
        named.map(|(_, value)| decode(value)).collect()
    }

    /// Reads the body of a JSON object.
    ///
    /// # Errors
    /// `json_invalid`, `parameter_repeated`; `not_an_object` for other JSON.
    pub fn from_json(text: &[u8]) -> Result<Self, Invalid> {
        Self::from_object(parse_json(text)?)
    }

    /// # Errors
    /// `not_an_object`.
    pub fn from_object(value: Value) -> Result<Self, Invalid> {
        Self::nested(value, "", Macros::Text)
    }

    fn nested(value: Value, path: &str, macros: Macros) -> Result<Self, Invalid> {
        let Value::Object(object) = value else {
            return Err(Invalid::new(path, "not_an_object"));
        };
        let path = if path.is_empty() {
            String::new()
        } else {
            format!("{path}.")
        };
        Ok(Self {
            left: object
                .into_iter()
                .map(|(name, value)| (name, Given::Json(value)))
                .collect(),
            path,
            macros,
        })
    }

    /// From here on a text that still holds a macro is refused: the sender's template was never
    /// filled in, and every order would bear the same name.
    #[must_use]
    pub fn refusing_macros(mut self) -> Self {
        self.macros = Macros::Refused;
        self
    }

    /// Both together.
    ///
    /// # Errors
    /// `parameter_repeated` for a name in both.
    pub fn and(mut self, other: Self) -> Result<Self, Invalid> {
        for (name, value) in other.left {
            self.add(name, value)?;
        }
        Ok(self)
    }

    fn add(&mut self, name: String, value: Given) -> Result<(), Invalid> {
        if self.left.contains_key(&name) {
            return Err(self.invalid(&name, "parameter_repeated"));
        }
        self.left.insert(name, value);
        Ok(())
    }

    /// The refusal of one of these fields, under its whole path.
    #[must_use]
    pub fn invalid(&self, name: &str, code: &'static str) -> Invalid {
        Invalid::new(format!("{}{name}", self.path), code)
    }

    /// Whether a value is still there to be taken.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.left.get(name).is_some_and(|value| !value.is_absent())
    }

    fn take(&mut self, name: &str) -> Option<Given> {
        self.left.remove(name).filter(|value| !value.is_absent())
    }

    /// A text. JSON numbers are not texts, not even where an amount is meant.
    ///
    /// # Errors
    /// `type_wrong`, `macro_unreplaced`.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Invalid> {
        let text = match self.take(name) {
            None => return Ok(None),
            Some(Given::Text(text) | Given::Json(Value::String(text))) => text,
            Some(Given::Json(_)) => return Err(self.invalid(name, "type_wrong")),
        };
        if self.macros == Macros::Refused && holds_macro(&text) {
            return Err(self.invalid(name, "macro_unreplaced"));
        }
        Ok(Some(text))
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// `parameter_missing`, and as [`Fields::text`].
    pub fn required(&mut self, name: &str) -> Result<String, Invalid> {
        self.text(name)?
            .ok_or_else(|| self.invalid(name, "parameter_missing"))
    }

    /// A note that must be there; see [`is_note`].
    ///
    /// # Errors
    /// `text_invalid`, `parameter_missing`, and as [`Fields::text`].
    pub fn note_required(&mut self, name: &str) -> Result<String, Invalid> {
        self.parsed_required(name, "text_invalid", |text| {
            is_note(text).then(|| text.to_owned()).ok_or(())
        })
    }

    /// A text that `parse` understands; its error becomes `code`.
    ///
    /// # Errors
    /// `code`, and as [`Fields::text`].
    pub fn parsed<T, E>(
        &mut self,
        name: &str,
        code: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Invalid> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        parse(&text).map(Some).map_err(|_| self.invalid(name, code))
    }

    /// As [`Fields::parsed`], where the field must be there.
    ///
    /// # Errors
    /// `parameter_missing`, and as [`Fields::parsed`].
    pub fn parsed_required<T, E>(
        &mut self,
        name: &str,
        code: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, Invalid> {
        self.parsed(name, code, parse)?
            .ok_or_else(|| self.invalid(name, "parameter_missing"))
    }

    /// An instant in RFC 3339, UTC.
    ///
    /// # Errors
    /// `instant_invalid`, and as [`Fields::text`].
    pub fn instant(&mut self, name: &str) -> Result<Option<Timestamp>, Invalid> {
        self.parsed(name, "instant_invalid", |text| {
            parse_instant(text).ok_or(())
        })
    }

    /// A day, `YYYY-MM-DD`.
    ///
    /// # Errors
    /// `day_invalid`, and as [`Fields::text`].
    pub fn day(&mut self, name: &str) -> Result<Option<Date>, Invalid> {
        self.parsed(name, "day_invalid", |text| parse_day(text).ok_or(()))
    }

    /// A month, `YYYY-MM`.
    ///
    /// # Errors
    /// `month_invalid`, and as [`Fields::text`].
    pub fn month(&mut self, name: &str) -> Result<Option<Month>, Invalid> {
        self.parsed(name, "month_invalid", Month::parse)
    }

    /// A length of time, such as `30d` or `12h`.
    ///
    /// # Errors
    /// `duration_invalid`, and as [`Fields::text`].
    pub fn span(&mut self, name: &str) -> Result<Option<Span>, Invalid> {
        self.parsed(name, "duration_invalid", |text| parse_span(text).ok_or(()))
    }

    /// Yes or no: JSON `true` and `false`; as a text, in JSON too, also `1` and `0`.
    ///
    /// # Errors
    /// `flag_invalid`, `type_wrong`, and as [`Fields::text`].
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, Invalid> {
        match self.left.get(name) {
            Some(Given::Json(Value::Bool(flag))) => {
                let flag = *flag;
                self.left.remove(name);
                Ok(Some(flag))
            }
            Some(Given::Json(value)) if !is_absent(value) && !value.is_string() => {
                Err(self.invalid(name, "type_wrong"))
            }
            _ => self.parsed(name, "flag_invalid", |text| match text {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(()),
            }),
        }
    }

    /// A whole number from 0 up: a JSON number, or digits in a query or a form.
    ///
    /// # Errors
    /// `number_invalid`, `type_wrong`, and as [`Fields::text`].
    pub fn whole(&mut self, name: &str) -> Result<Option<u64>, Invalid> {
        match self.left.get(name) {
            Some(Given::Json(Value::Number(number))) => {
                let whole = number.as_u64();
                self.left.remove(name);
                whole
                    .map(Some)
                    .ok_or_else(|| self.invalid(name, "number_invalid"))
            }
            Some(Given::Json(value)) if !is_absent(value) => Err(self.invalid(name, "type_wrong")),
            _ => self.parsed(name, "number_invalid", |text| {
                let digits_only =
                    text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
                if digits_only {
                    text.parse().map_err(drop)
                } else {
                    Err(())
                }
            }),
        }
    }

    /// Any JSON, spelt out in a query or a form.
    ///
    /// # Errors
    /// `json_invalid`, `parameter_repeated`; `macro_unreplaced` for a text anywhere inside it.
    pub fn value(&mut self, name: &str) -> Result<Option<Value>, Invalid> {
        let value = match self.take(name) {
            None => return Ok(None),
            Some(Given::Json(value)) => value,
            Some(Given::Text(text)) => match parse_json(text.as_bytes()) {
                Ok(value) => value,
                // `[[items]]` and `#items#` are no JSON; say what they are rather than that.
                Err(_) if self.macros == Macros::Refused && is_one_macro(&text) => {
                    return Err(self.invalid(name, "macro_unreplaced"));
                }
                Err(invalid) => return Err(self.invalid(name, invalid.code)),
            },
        };
        if self.macros == Macros::Refused && any_text(&value, &holds_macro) {
            return Err(self.invalid(name, "macro_unreplaced"));
        }
        Ok(Some(value))
    }

    /// A JSON object inside this one, to be read and finished like it.
    ///
    /// # Errors
    /// `not_an_object`, and as [`Fields::value`].
    pub fn object(&mut self, name: &str) -> Result<Option<Fields>, Invalid> {
        let Some(value) = self.value(name)? else {
            return Ok(None);
        };
        Self::nested(value, &format!("{}{name}", self.path), self.macros).map(Some)
    }

    /// A JSON array of objects, each to be read and finished like this one.
    ///
    /// # Errors
    /// `not_a_list`, `not_an_object`, and as [`Fields::value`].
    pub fn objects(&mut self, name: &str) -> Result<Option<Vec<Fields>>, Invalid> {
        let Some(items) = self.list(name)? else {
            return Ok(None);
        };
        let path = format!("{}{name}", self.path);
        let nested = |(index, item)| Self::nested(item, &format!("{path}[{index}]"), self.macros);
        items
            .into_iter()
            .enumerate()
            .map(nested)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// A JSON array of texts.
    ///
    /// # Errors
    /// `not_a_list`, `type_wrong`, and as [`Fields::value`].
    pub fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>, Invalid> {
        let Some(items) = self.list(name)? else {
            return Ok(None);
        };
        let text = |item| match item {
            Value::String(text) => Ok(text),
            _ => Err(self.invalid(name, "type_wrong")),
        };
        items
            .into_iter()
            .map(text)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    fn list(&mut self, name: &str) -> Result<Option<Vec<Value>>, Invalid> {
        match self.value(name)? {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(_) => Err(self.invalid(name, "not_a_list")),
        }
    }

    /// The names that are left, for maps whose keys are the sender's own (such as currencies).
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.left.keys().cloned().collect()
    }

    /// Refuses what nobody asked for.
    ///
    /// # Errors
    /// `parameter_unknown` for the first name that is left.
    pub fn finish(self) -> Result<(), Invalid> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => Err(self.invalid(name, "parameter_unknown")),
        }
    }
}

impl Given {
    fn is_absent(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Json(value) => is_absent(value),
        }
    }
}

fn is_absent(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

/// The names and values of `a=1&b=2`, as they are spelt.
fn pairs(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = text.split(|byte| *byte == b'&');
    pairs.filter(|pair| !pair.is_empty()).map(|pair| {
        let split = pair.iter().position(|byte| *byte == b'=');
        split.map_or((pair, b"" as &[u8]), |at| (&pair[..at], &pair[at + 1..]))
    })
}

fn decode(text: &[u8]) -> Option<String> {
    let spaced: Vec<u8> = text
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    percent_decode(&spaced)
        .decode_utf8()
        .ok()
        .map(|text| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Fields {
        Fields::from_form(text.as_bytes()).unwrap()
    }

    fn json(text: &str) -> Fields {
        Fields::from_json(text.as_bytes()).unwrap()
    }

    fn refused<T: std::fmt::Debug>(result: Result<T, Invalid>) -> (String, &'static str) {
        let invalid = result.unwrap_err();
        (invalid.field, invalid.code)
    }

    #[test]
    fn a_note_is_one_line_of_at_most_500_characters() {
        for good in ["x", " a b ", &"ä".repeat(500)] {
            assert!(is_note(good), "{good}");
        }
        for bad in ["", " ", "a\nb", "a\tb", "\u{7f}", &"a".repeat(501)] {
            assert!(!is_note(bad), "{bad:?}");
        }
    }

    #[test]
    fn percents_and_pluses_are_decoded_once() {
        let mut fields = form("a=x%2By+z&b=%25&&c&d=1=2&%65=5");
        let mut take = |name: &str| fields.text(name).unwrap();
        assert_eq!(take("a").as_deref(), Some("x+y z"));
        assert_eq!(take("b").as_deref(), Some("%"));
        assert_eq!(take("c"), None);
        assert_eq!(take("d").as_deref(), Some("1=2"));
        assert_eq!(take("e").as_deref(), Some("5"));
        fields.finish().unwrap();
    }

    #[test]
    fn a_name_stands_once_however_it_is_spelt_and_even_if_empty() {
        for text in ["goal=a&goal=a", "goal=a&g%6Fal=b", "goal=&goal=a"] {
            let result = Fields::from_form(text.as_bytes());
            assert_eq!(
                refused(result),
                ("goal".into(), "parameter_repeated"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not_utf_8_is_refused() {
        assert_eq!(
            refused(Fields::from_form(b"goal=%ff")),
            ("goal".into(), "utf8_invalid")
        );
        assert_eq!(
            refused(Fields::from_form(b"\xff=1")),
            (String::new(), "utf8_invalid")
        );
    }

    #[test]
    fn what_nobody_asked_for_is_refused_even_if_empty() {
        assert_eq!(
            refused(form("b=&a=1").finish()),
            ("a".into(), "parameter_unknown")
        );
        assert_eq!(
            refused(form("b=").finish()),
            ("b".into(), "parameter_unknown")
        );
        assert_eq!(
            refused(json(r#"{"b": null}"#).finish()),
            ("b".into(), "parameter_unknown")
        );
    }

    #[test]
    fn empty_and_null_are_absent() {
        for mut fields in [
            form("a="),
            form(""),
            json(r#"{"a": ""}"#),
            json(r#"{"a": null}"#),
        ] {
            assert_eq!(fields.clone().text("a"), Ok(None));
            assert_eq!(fields.clone().whole("a"), Ok(None));
            assert_eq!(fields.clone().value("a"), Ok(None));
            assert_eq!(fields.clone().flag("a"), Ok(None));
            assert_eq!(
                refused(fields.required("a")),
                ("a".into(), "parameter_missing")
            );
        }
    }

    #[test]
    fn an_amount_is_never_a_number() {
        for text in [
            r#"{"a": 12.3}"#,
            r#"{"a": 12}"#,
            r#"{"a": true}"#,
            r#"{"a": ["12"]}"#,
            r#"{"a": {}}"#,
        ] {
            assert_eq!(
                refused(json(text).text("a")),
                ("a".into(), "type_wrong"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_macro_that_was_not_filled_in_is_refused_on_a_postback_only() {
        for text in [
            "{a}",
            "x{{a}}",
            "${a}y",
            "[[a]]",
            "#a#",
            "%7Bclick_id%7D",
            "1#2#3",
        ] {
            let text = text.replace('#', "%23");
            assert_eq!(
                refused(form(&format!("a={text}")).refusing_macros().text("a")).1,
                "macro_unreplaced",
                "{text}"
            );
            assert!(form(&format!("a={text}")).text("a").is_ok());
        }
        for text in ["%231001", "a}b{", "[a]", "[[a", "{", "##", "{}", "a%23"] {
            assert!(
                form(&format!("a={text}"))
                    .refusing_macros()
                    .text("a")
                    .is_ok(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_list_reads_alike_from_text_and_from_json() {
        let items = r#"[{"sku": "A", "amount": "1.00"}]"#;
        let encoded: String = form_urlencoded::byte_serialize(items.as_bytes()).collect();
        for mut fields in [
            form(&format!("items={encoded}")),
            json(&format!(r#"{{"items": {items}}}"#)),
        ] {
            let mut items = fields.objects("items").unwrap().unwrap();
            assert_eq!(items[0].required("sku").unwrap(), "A");
            assert_eq!(
                refused(items.remove(0).finish()),
                ("items[0].amount".into(), "parameter_unknown")
            );
        }
        assert_eq!(
            refused(json(r#"{"items": [1]}"#).objects("items")),
            ("items[0]".into(), "not_an_object")
        );
        assert_eq!(
            refused(json(r#"{"items": {}}"#).objects("items")),
            ("items".into(), "not_a_list")
        );
        assert_eq!(
            refused(form("items=%7B").objects("items")),
            ("items".into(), "json_invalid")
        );
        assert_eq!(
            refused(form(r#"items=[{"a":1,"a":2}]"#).objects("items")),
            ("items".into(), "parameter_repeated")
        );
        for text in [
            "{items}",
            "[[items]]",
            "%23items%23",
            r#"[{"sku":"{sku}"}]"#,
        ] {
            assert_eq!(
                refused(
                    form(&format!("items={text}"))
                        .refusing_macros()
                        .objects("items")
                )
                .1,
                "macro_unreplaced",
                "{text}"
            );
        }
    }

    #[test]
    fn numbers_and_flags_read_from_both() {
        for mut fields in [
            form("n=12&f=true"),
            form("n=12&f=1"),
            json(r#"{"n": 12, "f": true}"#),
        ] {
            assert_eq!(fields.whole("n"), Ok(Some(12)));
            assert_eq!(fields.flag("f"), Ok(Some(true)));
            fields.finish().unwrap();
        }
        for text in [r#"{"n": -1}"#, r#"{"n": 1.0}"#, r#"{"n": 1e3}"#] {
            let result = json(text).whole("n");
            assert_eq!(refused(result), ("n".into(), "number_invalid"), "{text}");
        }
        for text in ["n=%2B1", "n=-1", "n=1.0", "n=99999999999999999999"] {
            let result = form(text).whole("n");
            assert_eq!(refused(result), ("n".into(), "number_invalid"), "{text}");
        }
        assert_eq!(
            refused(form("f=yes").flag("f")),
            ("f".into(), "flag_invalid")
        );
    }

    #[test]
    fn in_json_a_text_is_a_text() {
        let given = r#"{"a": "1"}"#;
        assert_eq!(json(given).text("a"), Ok(Some("1".into())));
        assert_eq!(refused(json(given).whole("a")), ("a".into(), "type_wrong"));
        // Whoever makes JSON of a form's parameters spells its flags as texts.
        assert_eq!(json(given).flag("a"), Ok(Some(true)));
        assert_eq!(
            refused(json(r#"{"a": "[]"}"#).objects("a")),
            ("a".into(), "not_a_list")
        );
        assert_eq!(
            refused(json(r#"{"a": 1}"#).flag("a")),
            ("a".into(), "type_wrong")
        );
    }
}
