//! Macros of ad platforms and shop systems that nobody filled in.

use serde_json::Value;

/// Whether a text holds `{...}`, `[[...]]` or `#...#` with something inside.
pub(super) fn holds_macro(text: &str) -> bool {
    [("{", "}"), ("[[", "]]"), ("#", "#")]
        .into_iter()
        .any(|(open, close)| {
            text.match_indices(open).any(|(at, _)| {
                text[at + open.len()..]
                    .find(close)
                    .is_some_and(|inside| inside > 0)
            })
        })
}

/// Whether a text is a macro and nothing else.
pub(super) fn is_one_macro(text: &str) -> bool {
    let text = text.trim();
    let framed = |open: &str, close: &str| {
        text.len() > open.len() + close.len() && text.starts_with(open) && text.ends_with(close)
    };
    framed("{", "}") && !text.contains('"')
        || framed("[[", "]]")
        || framed("#", "#")
        || framed("${", "}")
}

pub(super) fn any_text(value: &Value, found: &impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => found(text),
        Value::Array(items) => items.iter().any(|item| any_text(item, found)),
        Value::Object(object) => object.values().any(|item| any_text(item, found)),
        _ => false,
    }
}
