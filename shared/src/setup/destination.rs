//! Where a tracked link leads: an address in which macros stand for the click.

use std::fmt;

use url::Url;

use crate::http_types::{Fields, Invalid};

/// The longest address that browsers, shops and logs all take.
const LONGEST: usize = 2_000;

/// A text that no visitor can be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotADestination {
    #[error(
        "not an https address of at most 2,000 visible ASCII characters, without a user or a password"
    )]
    Address,
    #[error(
        "the address has a macro other than {{click_id}}, {{affiliate}}, {{program}}, {{sub1}} to {{sub10}}"
    )]
    UnknownMacro,
    #[error("the address has a macro before its path")]
    MacroInHost,
}

impl NotADestination {
    /// The code of the refusal.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Address => "address_invalid",
            Self::UnknownMacro => "macro_unknown",
            Self::MacroInHost => "macro_in_host",
        }
    }
}

/// An https address, or http on 127.0.0.1, with optional macros after its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    text: String,
    /// Lower case, as a browser would look it up.
    host: String,
    is_loopback: bool,
}

impl Destination {
    /// Reads an address. It keeps the sender's spelling.
    ///
    /// # Errors
    /// [`NotADestination`]
    pub fn parse(text: &str) -> Result<Self, NotADestination> {
        if text.len() > LONGEST
            || !text.bytes().all(|byte| byte.is_ascii_graphic())
            || text.contains('\\')
        {
            return Err(NotADestination::Address);
        }
        let filled = fill(text, |_| Some("x".to_owned())).ok_or(NotADestination::UnknownMacro)?;
        let url = Url::parse(&filled).map_err(|_| NotADestination::Address)?;
        let host = url.host_str().ok_or(NotADestination::Address)?.to_owned();
        let is_loopback = url.scheme() == "http" && host == "127.0.0.1";
        let is_open = url.username().is_empty() && url.password().is_none();
        if !(url.scheme() == "https" || is_loopback) || !is_open {
            return Err(NotADestination::Address);
        }

        // Browsers read `https:/x` and `https:///x` as `https://x`: with a macro there, every
        // visitor could choose the host.
        let authority = text
            .split_once("://")
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(url.scheme()))
            .and_then(|(_, rest)| rest.split(['/', '?', '#']).next())
            .filter(|authority| !authority.is_empty())
            .ok_or(NotADestination::Address)?;
        if authority.contains('{') {
            return Err(NotADestination::MacroInHost);
        }
        Ok(Self {
            text: text.to_owned(),
            host,
            is_loopback,
        })
    }

    /// As it was given, macros and all.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is plain http on 127.0.0.1, which only the one-machine stack serves.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    /// Whether it places the click id itself.
    #[must_use]
    pub fn names_click_id(&self) -> bool {
        self.text.contains("{click_id}")
    }

    /// The address with every macro replaced. `value` knows `click_id`, `affiliate`, `program` and
    /// `sub1` to `sub10`; what it does not give becomes nothing. Values are percent-encoded.
    #[must_use]
    pub fn filled(&self, value: impl Fn(&str) -> Option<String>) -> String {
        let encoded = |name: &str| {
            let value = value(name).unwrap_or_default();
            Some(percent_encoding::utf8_percent_encode(&value, UNRESERVED).to_string())
        };
        fill(&self.text, encoded).expect("`parse` refuses an address with other macros")
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

const UNRESERVED: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Replaces the macros; none if one of them is unknown or a brace stands alone.
fn fill(text: &str, value: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut filled = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(open) = rest.find(['{', '}']) {
        let (before, from_brace) = rest.split_at(open);
        let name = from_brace.strip_prefix('{')?;
        let close = name.find('}')?;
        let (name, after) = (&name[..close], &name[close + 1..]);
        if !is_macro(name) {
            return None;
        }
        filled.push_str(before);
        filled.push_str(&value(name)?);
        rest = after;
    }
    filled.push_str(rest);
    Some(filled)
}

fn is_macro(name: &str) -> bool {
    match name.strip_prefix("sub") {
        Some(number) => matches!(
            number,
            "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "10"
        ),
        None => matches!(name, "click_id" | "affiliate" | "program"),
    }
}

/// Takes a member that is an address, if it is there.
pub(super) fn take(fields: &mut Fields, name: &str) -> Result<Option<Destination>, Invalid> {
    let Some(text) = fields.text(name)? else {
        return Ok(None);
    };
    Destination::parse(&text)
        .map(Some)
        .map_err(|refused| fields.invalid(name, refused.code()))
}

/// A host as `allowed_hosts` lists it: a name or an address, without scheme, port or wildcard.
pub(super) fn host(text: &str) -> Result<String, ()> {
    let host = url::Host::parse(text).map_err(drop)?.to_string();
    let is_plain = !text.contains(['/', ':', '*', '@', '{', ' ']);
    if is_plain && host.len() <= 253 {
        Ok(host)
    } else {
        Err(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_https_or_this_machine() {
        for (text, host) in [
            ("https://shop.example", "shop.example"),
            (
                "https://Shop.Example:8443/a?b={click_id}&c={sub10}#{affiliate}",
                "shop.example",
            ),
            ("https://shop.example/{program}/{sub1}", "shop.example"),
            ("http://127.0.0.1:8787/landing", "127.0.0.1"),
        ] {
            let destination = Destination::parse(text).unwrap();
            assert_eq!((destination.as_str(), destination.host()), (text, host));
            assert_eq!(destination.is_loopback(), text.starts_with("http:"));
        }
    }

    #[test]
    fn other_addresses_are_refused() {
        use NotADestination::{Address, MacroInHost, UnknownMacro};
        for (text, why) in [
            ("", Address),
            ("shop.example", Address),
            ("//shop.example", Address),
            ("http://shop.example", Address),
            ("http://127.0.0.1.shop.example", Address),
            ("http://localhost/", Address),
            ("javascript:alert(1)", Address),
            ("data:text/html,x", Address),
            ("https://user@shop.example", Address),
            ("https://user:pw@shop.example", Address),
            ("https://shop.example/a b", Address),
            ("https://shop.example/\r\nX: 1", Address),
            ("https:\\\\shop.example", Address),
            ("https://", Address),
            ("https://shop.example/{clickid}", UnknownMacro),
            ("https://shop.example/{sub11}", UnknownMacro),
            ("https://shop.example/{sub01}", UnknownMacro),
            ("https://shop.example/{", UnknownMacro),
            ("https://shop.example/}", UnknownMacro),
            ("https://shop.example/{{click_id}}", UnknownMacro),
            ("https://{sub1}.example/", MacroInHost),
            ("https:/{sub1}", Address),
            ("https:///{sub1}", Address),
            ("https:{sub1}?://shop.example", Address),
            ("https://shop.example{sub1}", MacroInHost),
        ] {
            assert_eq!(Destination::parse(text), Err(why), "{text}");
        }
        assert_eq!(
            Destination::parse(&format!("https://a.example/{}", "x".repeat(2_000))),
            Err(Address)
        );
    }

    #[test]
    fn macros_are_replaced_once_and_encoded() {
        let destination =
            Destination::parse("https://shop.example/?c={click_id}&s={sub1}&t={sub2}").unwrap();
        let filled = destination.filled(|name| match name {
            "click_id" => Some("{sub1}".into()),
            "sub1" => Some("a&b=~c".into()),
            _ => None,
        });
        assert_eq!(filled, "https://shop.example/?c=%7Bsub1%7D&s=a%26b%3D~c&t=");
        assert!(destination.names_click_id());
    }

    #[test]
    fn a_host_is_a_plain_name() {
        assert_eq!(host("Shop.Example"), Ok("shop.example".into()));
        assert_eq!(host("127.0.0.1"), Ok("127.0.0.1".into()));
        for text in [
            "",
            "*.shop.example",
            "https://shop.example",
            "shop.example:443",
            "shop.example/",
            "a b",
        ] {
            assert_eq!(host(text), Err(()), "{text}");
        }
    }
}
