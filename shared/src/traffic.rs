//! Who is asking: a person, somebody doubtful, or a machine.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{ACCEPT_LANGUAGE, HeaderName, USER_AGENT};
use jiff::Timestamp;

mod robots;

/// What the money thinks of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A browser, as far as anyone can tell.
    Human,
    /// Odd, but it may be a person: it can earn, and statistics show it apart.
    Suspect,
    /// A robot or a link preview: it can never earn.
    Invalid,
}

impl Class {
    /// The word on the wire and in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Suspect => "suspect",
            Self::Invalid => "invalid",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Human, Self::Suspect, Self::Invalid]
            .into_iter()
            .find(|class| class.as_str() == text)
    }
}

/// What speaks against a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No `User-Agent`, or an empty one.
    NoUserAgent,
    /// A messenger or a network draws a preview of the link.
    LinkPreview,
    /// A robot that says so.
    Robot,
    /// A `User-Agent` that no browser has ever sent.
    NotABrowser,
    /// The browser fetches a picture, a frame or a script: nobody followed the link.
    NotANavigation,
}

impl Reason {
    /// The code on the wire and in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoUserAgent => "no_user_agent",
            Self::LinkPreview => "link_preview",
            Self::Robot => "robot",
            Self::NotABrowser => "not_a_browser",
            Self::NotANavigation => "not_a_navigation",
        }
    }

    /// What a request is that this speaks against.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::NoUserAgent | Self::LinkPreview | Self::Robot | Self::NotABrowser => {
                Class::Invalid
            }
            Self::NotANavigation => Class::Suspect,
        }
    }
}

/// What speaks against a request that follows a link; `None`: a person, as far as anyone can
/// tell. By its headers alone: an address is shared by thousands, and says nothing of one.
#[must_use]
pub fn objection(headers: &HeaderMap) -> Option<Reason> {
    let user_agent = text(headers, &USER_AGENT).unwrap_or_default();
    let user_agent = user_agent.trim();
    if user_agent.is_empty() {
        Some(Reason::NoUserAgent)
    } else if robots::is_link_preview(user_agent) {
        Some(Reason::LinkPreview)
    } else if !is_shaped_like_a_browser(user_agent) {
        Some(Reason::NotABrowser)
    } else if robots::is_listed(user_agent) {
        Some(Reason::Robot)
    } else if !is_navigation(headers) {
        Some(Reason::NotANavigation)
    } else {
        None
    }
}

/// [`objection`] to a picture that a page shows: nobody navigates to it.
#[must_use]
pub fn objection_to_view(headers: &HeaderMap) -> Option<Reason> {
    objection(headers).filter(|reason| *reason != Reason::NotANavigation)
}

/// [`objection`], as the money sees it.
#[must_use]
pub fn class(headers: &HeaderMap) -> Class {
    objection(headers).map_or(Class::Human, Reason::class)
}

/// Whether the page is only loaded or drawn in advance. If the visitor then goes there, the
/// browser asks again; so nothing that counts may come of this request.
#[must_use]
pub fn is_prefetch(headers: &HeaderMap) -> bool {
    ["sec-purpose", "purpose", "x-moz", "x-purpose"]
        .into_iter()
        .flat_map(|name| headers.get_all(name))
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([';', ',', ' ']))
        .any(|word| {
            ["prefetch", "prerender", "preview"]
                .iter()
                .any(|known| word.eq_ignore_ascii_case(known))
        })
}

/// So many visits of one visitor in so short a time are no person's reading.
const BURST_VISITS: usize = 10;
const BURST_MS: i64 = 60_000;

/// Which of a visitor's visits, the earliest first, are part of a burst: 10 or more within 60 s,
/// both ends included. By the visitor's cookie; an address is shared by thousands.
#[must_use]
pub fn bursts(visits: &[Timestamp]) -> Vec<bool> {
    let mut is_burst = vec![false; visits.len()];
    for first in 0..visits.len() {
        let last = first + BURST_VISITS - 1;
        let Some(time) = visits.get(last) else {
            break;
        };
        if time.as_millisecond() - visits[first].as_millisecond() <= BURST_MS {
            is_burst[first..=last].fill(true);
        }
    }
    is_burst
}

/// What kind of machine a visitor holds, as far as its user agent says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Device {
    Desktop,
    Mobile,
    Tablet,
    Other,
}

impl Device {
    /// Good enough for a column of statistics; never used to judge.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let user_agent = text(headers, &USER_AGENT).unwrap_or_default();
        let has = |word: &str| user_agent.contains(word);
        if has("iPad") || has("Tablet") || has("Android") && !has("Mobile") {
            Self::Tablet
        } else if has("Mobile") || has("iPhone") || has("iPod") || has("Opera Mini") {
            Self::Mobile
        } else if has("Windows NT") || has("Macintosh") || has("X11;") {
            Self::Desktop
        } else {
            Self::Other
        }
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Desktop => "desktop",
            Self::Mobile => "mobile",
            Self::Tablet => "tablet",
            Self::Other => "other",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Desktop, Self::Mobile, Self::Tablet, Self::Other]
            .into_iter()
            .find(|device| device.as_str() == text)
    }
}

/// The browser's family, for a column of statistics.
#[must_use]
pub fn browser(headers: &HeaderMap) -> &'static str {
    // In this order: every family also names those it wants to be taken for.
    const FAMILIES: [(&str, &str); 9] = [
        ("Edg", "edge"),
        ("OPR/", "opera"),
        ("Opera", "opera"),
        ("SamsungBrowser/", "samsung"),
        ("Firefox/", "firefox"),
        ("FxiOS/", "firefox"),
        ("Chrome/", "chrome"),
        ("CriOS/", "chrome"),
        ("Safari/", "safari"),
    ];
    let user_agent = text(headers, &USER_AGENT).unwrap_or_default();
    FAMILIES
        .iter()
        .find(|(mark, _)| user_agent.contains(mark))
        .map_or("other", |(_, family)| family)
}

/// The language a visitor likes best, in lower case, as `de` or `de-at`; `None` where the
/// header names none first.
#[must_use]
pub fn language(headers: &HeaderMap) -> Option<String> {
    let languages = text(headers, &ACCEPT_LANGUAGE)?;
    let first = languages.split([',', ';']).next()?.trim();
    let is_tag = first.len() <= 35
        && first.split('-').all(|part| {
            (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
        });
    is_tag.then(|| first.to_ascii_lowercase())
}

/// All browsers in use begin alike and name an engine; most robots do neither.
fn is_shaped_like_a_browser(user_agent: &str) -> bool {
    const BEGINNINGS: [&str; 3] = ["Mozilla/5.0 (", "Opera/", "UCWEB/"];
    const ENGINES: [&str; 5] = ["AppleWebKit/", "Gecko/", "Trident/", "Presto/", "Goanna/"];
    BEGINNINGS
        .iter()
        .any(|beginning| user_agent.starts_with(beginning))
        && ENGINES.iter().any(|engine| user_agent.contains(engine))
}

/// Browsers say what they fetch for. One that says nothing is old, not odd.
fn is_navigation(headers: &HeaderMap) -> bool {
    let is_absent_or =
        |name: &HeaderName, expected: &str| headers.get(name).is_none_or(|value| value == expected);
    is_absent_or(&HeaderName::from_static("sec-fetch-mode"), "navigate")
        && is_absent_or(&HeaderName::from_static("sec-fetch-dest"), "document")
}

/// A header as far as it is text: a browser that names its telephone with an accent, or in bytes that
/// are no text, is a person's still.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, str>> {
    Some(String::from_utf8_lossy(headers.get(name)?.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
    const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn of_user_agent(user_agent: &str) -> Option<Reason> {
        objection(&headers(&[("user-agent", user_agent)]))
    }

    #[test]
    fn ten_visits_within_a_minute_are_a_burst() {
        let visits = |times: &[i64]| -> Vec<bool> {
            let times = times
                .iter()
                .map(|ms| Timestamp::from_millisecond(*ms).unwrap());
            bursts(&times.collect::<Vec<_>>())
        };
        let ten: Vec<i64> = (0..9)
            .map(|number| number * 1_000)
            .chain([60_000])
            .collect();
        assert_eq!(visits(&ten), [true; 10]);
        let mut slower = ten.clone();
        slower[9] = 60_001;
        assert_eq!(visits(&slower), [false; 10]);
        assert_eq!(visits(&ten[..9]), [false; 9]);
        // What lies apart of it is none of it.
        let apart: Vec<i64> = ten.iter().copied().chain([9_000_000]).collect();
        assert_eq!(
            visits(&apart),
            [
                true, true, true, true, true, true, true, true, true, true, false
            ]
        );
        assert_eq!(visits(&[]), Vec::<bool>::new());
    }

    #[test]
    fn browsers_are_people() {
        for user_agent in [
            CHROME,
            IPHONE,
            "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
            "Mozilla/5.0 (Linux; Android 15; CUBOT X90) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
            "Mozilla/5.0 (Linux; Android 16; Pixel 10; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/142.0.0.0 Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/530.0.0.48.74;]",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 Instagram 406.0.0.28.84",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) GSA/390.0.8 Mobile/15E148 Safari/604.1",
            "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko",
            "Opera/9.80 (Android; Opera Mini/36.2.2254/191.283; U; en) Presto/2.12.423 Version/12.16",
        ] {
            assert_eq!(of_user_agent(user_agent), None, "{user_agent}");
        }
    }

    #[test]
    fn a_browser_that_is_named_in_any_bytes_is_a_persons() {
        for name in [&b"Caf\xc3\xa9 X1"[..], b"Caf\xe9 X1", b"\xff"] {
            let agent = IPHONE.as_bytes();
            let agent = [agent, &b" "[..], name].concat();
            let mut headers = HeaderMap::new();
            let mut add = |name: HeaderName, value: &[u8]| {
                headers.insert(name, HeaderValue::from_bytes(value).unwrap());
            };
            add(USER_AGENT, &agent);
            add(ACCEPT_LANGUAGE, &[&b"de-AT;"[..], name].concat());
            assert_eq!(objection(&headers), None, "{name:?}");
            assert_eq!(
                (Device::of(&headers), browser(&headers), language(&headers)),
                (Device::Mobile, "safari", Some("de-at".to_owned())),
            );
        }
    }

    #[test]
    fn machines_are_not() {
        for (user_agent, reason) in [
            ("", Reason::NoUserAgent),
            (" ", Reason::NoUserAgent),
            ("curl/8.14.1", Reason::NotABrowser),
            ("python-requests/2.32.5", Reason::NotABrowser),
            ("Mozilla/5.0", Reason::NotABrowser),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64)",
                Reason::NotABrowser,
            ),
            (
                "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)",
                Reason::NotABrowser,
            ),
            (
                "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
                Reason::NotABrowser,
            ),
            (
                "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) Chrome/116.0.1938.76 Safari/537.36",
                Reason::NotABrowser,
            ),
            (
                "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
                Reason::Robot,
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/142.0.0.0 Safari/537.36",
                Reason::Robot,
            ),
            (
                "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
                Reason::LinkPreview,
            ),
            ("WhatsApp/2.23.20.0 A", Reason::LinkPreview),
            (
                "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
                Reason::LinkPreview,
            ),
            ("Twitterbot/1.0", Reason::LinkPreview),
            ("TelegramBot (like TwitterBot)", Reason::LinkPreview),
            (
                "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
                Reason::LinkPreview,
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, like Gecko) Version/9.0.1 Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0",
                Reason::LinkPreview,
            ),
        ] {
            assert_eq!(of_user_agent(user_agent), Some(reason), "{user_agent}");
            assert_eq!(reason.class(), Class::Invalid);
        }
        assert_eq!(objection(&HeaderMap::new()), Some(Reason::NoUserAgent));
    }

    #[test]
    fn a_browser_that_follows_no_link_is_suspect() {
        let check = |mode: &str, dest: &str| {
            class(&headers(&[
                ("user-agent", CHROME),
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", dest),
            ]))
        };
        assert_eq!(check("navigate", "document"), Class::Human);
        assert_eq!(check("no-cors", "image"), Class::Suspect);
        assert_eq!(check("cors", "empty"), Class::Suspect);
        assert_eq!(check("navigate", "iframe"), Class::Suspect);
    }

    #[test]
    fn loading_in_advance_is_told_by_four_headers_and_three_words() {
        for name in ["sec-purpose", "purpose", "x-moz", "x-purpose"] {
            for value in [
                "prefetch",
                "Prefetch",
                "prefetch;prerender",
                "prerender",
                "preview",
                "prefetch;anonymous-client-ip",
            ] {
                assert!(is_prefetch(&headers(&[(name, value)])), "{name}: {value}");
            }
            for value in ["", "navigate", "prefetched"] {
                assert!(!is_prefetch(&headers(&[(name, value)])), "{name}: {value}");
            }
        }
        assert!(!is_prefetch(&headers(&[("user-agent", "prefetch")])));
    }

    #[test]
    fn a_machine_is_known_by_its_user_agent() {
        let ipad = IPHONE.replace("iPhone", "iPad");
        let android_tablet = "Mozilla/5.0 (Linux; Android 15; SM-X910) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
        for (user_agent, device, family) in [
            (CHROME, Device::Desktop, "chrome"),
            (IPHONE, Device::Mobile, "safari"),
            (&ipad, Device::Tablet, "safari"),
            (android_tablet, Device::Tablet, "chrome"),
            (&format!("{CHROME} Edg/142.0.0.0"), Device::Desktop, "edge"),
            (&format!("{CHROME} OPR/124.0.0.0"), Device::Desktop, "opera"),
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
                Device::Desktop,
                "firefox",
            ),
            ("", Device::Other, "other"),
        ] {
            let headers = headers(&[("user-agent", user_agent)]);
            assert_eq!(
                (Device::of(&headers), browser(&headers)),
                (device, family),
                "{user_agent}"
            );
        }
    }

    #[test]
    fn the_first_language_counts() {
        for (value, expected) in [
            ("de-AT,de;q=0.9,en;q=0.8", Some("de-at")),
            ("en", Some("en")),
            ("zh-Hant-TW;q=1", Some("zh-hant-tw")),
            ("*", None),
            ("", None),
            ("de_AT", None),
            ("<script>", None),
        ] {
            assert_eq!(
                language(&headers(&[("accept-language", value)])).as_deref(),
                expected,
                "{value}"
            );
        }
    }
}
