//! Where a visitor is sent: the destination with the click id, and what the visit brought along.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use shared::setup::{Destination, Link, Program};
use url::Url;

/// Ids of ad platforms that reach the destination byte for byte, as `utm_*` do. In lower case:
/// Snap says `ScCid`.
const AD_IDS: [&str; 21] = [
    "gclid",
    "gclsrc",
    "gad_source",
    "gad_campaignid",
    "tblci",
    "dicbo",
    "gbraid",
    "wbraid",
    "dclid",
    "fbclid",
    "ttclid",
    "li_fat_id",
    "msclkid",
    "twclid",
    "epik",
    "rdt_cid",
    "sccid",
    "yclid",
    "irclickid",
    "ko_click_id",
    "qclid",
];

/// The longest name of a `utm_*` that is kept with a click.
const NAME_MOST: usize = 32;

/// What can never stand in a header or would begin a fragment. All else goes on as it came.
const NOT_IN_A_QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'#');

fn is_ad_id(name: &str) -> bool {
    AD_IDS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// A visit's parameters: as they came, in order. Nothing in them can fail.
#[derive(Debug)]
pub struct Parameters<'a>(Vec<(String, &'a str)>);

impl<'a> Parameters<'a> {
    pub fn of(query: &'a str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| (decoded(pair.split('=').next().unwrap_or_default()), pair))
                .collect(),
        )
    }

    /// The first of that name, decoded.
    fn value(&self, name: &str) -> Option<String> {
        let (_, pair) = self.0.iter().find(|(own, _)| own == name)?;
        Some(decoded(pair.split_once('=').map_or("", |(_, value)| value)))
    }

    pub fn is_test(&self) -> bool {
        self.value("test").as_deref() == Some("1")
    }

    /// Whether the page with the link says that its visitor did not consent: `consent=denied`, or
    /// `consent=0`.
    pub fn is_consent_denied(&self) -> bool {
        matches!(self.value("consent").as_deref(), Some("denied" | "0"))
    }

    /// `sub1` to `sub10`, if it is `[A-Za-z0-9._~-]{1,64}`.
    fn sub(&self, name: &str) -> Option<String> {
        self.value(name).filter(|value| {
            (1..=64).contains(&value.len())
                && value
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-'))
        })
    }

    /// The sub ids and `utm_*`, and the names of ad ids, for the click's record. An ad id's value
    /// may name a person, so it goes on to the destination and is not kept.
    pub fn tags(&self) -> BTreeMap<String, String> {
        let subs = (1..=10).filter_map(|number| {
            let name = format!("sub{number}");
            Some((name.clone(), self.sub(&name)?))
        });
        let mut tags: BTreeMap<String, String> = subs.collect();
        for (name, _) in &self.0 {
            if is_ad_id(name) {
                tags.insert(name.clone(), String::new());
            } else if name.starts_with("utm_") && name.len() <= NAME_MOST {
                tags.insert(name.clone(), self.value(name).unwrap_or_default());
            }
        }
        tags
    }

    /// What goes on to the destination, as it came.
    fn passed_on(&self) -> impl Iterator<Item = (&str, &'a str)> {
        let goes_on = |name: &str| is_ad_id(name) || name.starts_with("utm_");
        self.0
            .iter()
            .filter(move |(name, _)| goes_on(name))
            .map(|(name, pair)| (name.as_str(), *pair))
    }
}

fn decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

/// All that decides where a visit leads.
pub struct Location<'a> {
    pub destination: &'a Destination,
    pub program: &'a Program,
    pub link: &'a Link,
    pub parameters: &'a Parameters<'a>,
    pub takes_deep_links: bool,
    pub is_one_machine: bool,
}

impl Location<'_> {
    /// The address with this click id, or with none.
    pub fn with(&self, click_id: Option<&str>) -> String {
        let deep = self.deep_link();
        let names_click_id = deep.is_none() && self.destination.names_click_id();
        let filled = deep.map(String::from).unwrap_or_else(|| {
            let filled = self.destination.filled(|name| match name {
                "click_id" => click_id.map(str::to_owned),
                "affiliate" => Some(self.link.affiliate.to_string()),
                "program" => Some(self.program.id.to_string()),
                sub => self.parameters.sub(sub),
            });
            // As a browser would spell it; as it was given, should a macro have spoilt it.
            Url::parse(&filled).map_or(filled, String::from)
        });
        let (address, fragment) = match filled.split_once('#') {
            Some((address, fragment)) => (address, Some(fragment)),
            None => (filled.as_str(), None),
        };
        let (address, query) = address.split_once('?').unwrap_or((address, ""));

        let own = &self.program.click_id_param;
        let mut pairs: Vec<Cow<'_, str>> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .filter(|pair| names_click_id || name_of(pair) != *own)
            .map(Cow::from)
            .collect();
        let taken: HashSet<String> = pairs.iter().map(|pair| name_of(pair)).collect();
        let passed_on = self
            .parameters
            .passed_on()
            .filter(|(name, _)| !taken.contains(*name) && name != own);
        pairs.extend(
            passed_on.map(|(_, pair)| Cow::from(utf8_percent_encode(pair, NOT_IN_A_QUERY))),
        );
        let id = click_id
            .filter(|_| !names_click_id)
            .map(|id| Cow::from(format!("{own}={id}")));
        pairs.extend(id);

        // By hand: the `url` crate would encode an apostrophe that a `utm_*` brings.
        let mut target = address.to_owned();
        if !pairs.is_empty() {
            target.push('?');
            target.push_str(&pairs.join("&"));
        }
        if let Some(fragment) = fragment {
            target.push('#');
            target.push_str(fragment);
        }
        target
    }

    /// The page that the affiliate asks for, if it is on one of the program's hosts.
    fn deep_link(&self) -> Option<Url> {
        if !self.takes_deep_links {
            return None;
        }
        let url = Url::parse(&self.parameters.value("url")?).ok()?;
        let host = url.host_str()?;
        let is_safe = url.scheme() == "https"
            || (self.is_one_machine && url.scheme() == "http" && host == "127.0.0.1");
        let is_open = url.username().is_empty() && url.password().is_none();
        let is_allowed = self.program.allowed_hosts.iter().any(|own| own == host);
        (is_safe && is_open && is_allowed).then_some(url)
    }
}

fn name_of(pair: &str) -> String {
    decoded(pair.split('=').next().unwrap_or_default())
}

/// The host of an address.
pub fn host_of(target: &str) -> String {
    Url::parse(target)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::setup::Record as _;

    use super::*;

    fn check(destination: &str, query: &str) -> String {
        with_id(destination, query, Some("ID"))
    }

    fn with_id(destination: &str, query: &str, id: Option<&str>) -> String {
        let program = Program::parse(&json!({
            "id": "shoes", "merchant": "shop", "name": "Shoes", "currency": "EUR",
            "destination": destination, "commission": [{"type": "percent", "percent": "10"}],
        }))
        .unwrap();
        let link =
            Link::parse(&json!({"slug": "abc", "program": "shoes", "affiliate": "anna"})).unwrap();
        let parameters = Parameters::of(query);
        let location = Location {
            destination: &program.destination,
            program: &program,
            link: &link,
            parameters: &parameters,
            takes_deep_links: true,
            is_one_machine: false,
        };
        location.with(id)
    }

    #[test]
    fn what_ad_platforms_and_campaigns_bring_arrives_byte_for_byte() {
        for pair in [
            "utm_campaign=O'Brien",
            "utm_content=%22a%22+b",
            "utm_term=\"<x>\"|{y}",
            "gclid=Cj0K%2FQ-_~",
            "ScCid=A-b_C",
            "utm_source=a&utm_source=b",
            "utm_source=%ff%zz%",
            "gclid",
            "gclid=",
        ] {
            assert_eq!(
                check("https://shop.example/", pair),
                format!("https://shop.example/?{pair}&click_id=ID"),
            );
        }
        assert_eq!(
            check("https://shop.example/#top", "utm_source=\u{fc} \r\nX:1"),
            "https://shop.example/?utm_source=%C3%BC%20%0D%0AX:1&click_id=ID#top"
        );
    }

    #[test]
    fn without_an_id_its_place_stays_empty() {
        for (destination, expected) in [
            ("https://shop.example/?a=1", "https://shop.example/?a=1"),
            ("https://shop.example/", "https://shop.example/"),
            (
                "https://shop.example/?c={click_id}",
                "https://shop.example/?c=",
            ),
        ] {
            assert_eq!(with_id(destination, "", None), expected);
        }
    }

    #[test]
    fn tags_are_sub_ids_campaigns_and_the_names_of_ad_ids() {
        let query = "sub1=a&sub2=b%20c&sub11=d&utm_source=n%26&utm_source=m&gclid=secret&other=1";
        let tags = Parameters::of(query).tags();
        let expected = [("gclid", ""), ("sub1", "a"), ("utm_source", "n&")];
        assert!(
            tags.iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .eq(expected),
            "{tags:?}"
        );
    }

    #[test]
    fn the_click_id_comes_last_and_nothing_is_overwritten() {
        let shop = "https://shop.example/p?a=1";
        for (destination, query, expected) in [
            (shop, "", "https://shop.example/p?a=1&click_id=ID"),
            (shop, "sub1=x", "https://shop.example/p?a=1&click_id=ID"),
            (
                shop,
                "gclid=a%2Fb+c&a=2&utm_source=n",
                "https://shop.example/p?a=1&gclid=a%2Fb+c&utm_source=n&click_id=ID",
            ),
            (
                "https://shop.example/?c={click_id}&s={sub1}&p={affiliate}",
                "sub1=x.y&utm_source=n",
                "https://shop.example/?c=ID&s=x.y&p=anna&utm_source=n",
            ),
            (
                "https://shop.example/?utm_source=own",
                "utm_source=n&click_id=forged",
                "https://shop.example/?utm_source=own&click_id=ID",
            ),
            (
                "https://shop.example/?s={sub1}",
                "sub1=a%20b",
                "https://shop.example/?s=&click_id=ID",
            ),
        ] {
            assert_eq!(check(destination, query), expected, "{query}");
        }
    }

    #[test]
    fn deep_links_lead_to_allowed_hosts_only() {
        for (url, expected) in [
            (
                "https://shop.example/deep?x=1",
                "https://shop.example/deep?x=1&click_id=ID",
            ),
            (
                "https%3A%2F%2Fshop.example%2Fdeep%23top",
                "https://shop.example/deep?click_id=ID#top",
            ),
            ("https://evil.example/", "https://shop.example/?click_id=ID"),
            (
                "https://shop.example@evil.example/",
                "https://shop.example/?click_id=ID",
            ),
            (
                "https://x@shop.example/",
                "https://shop.example/?click_id=ID",
            ),
            ("http://shop.example/", "https://shop.example/?click_id=ID"),
            ("//evil.example", "https://shop.example/?click_id=ID"),
            ("javascript:alert(1)", "https://shop.example/?click_id=ID"),
            ("%ff%0d%0aSet-Cookie:x", "https://shop.example/?click_id=ID"),
        ] {
            assert_eq!(
                check("https://shop.example/", &format!("url={url}")),
                expected,
                "{url}"
            );
        }
    }
}
