//! Visits: the first line is `GET /r/anna-shoes?a=b`, the others are headers.

use http::Method;
use percent_encoding::percent_decode_str;
use redirect::Redirect;
use shared::click::Click;
use shared::traffic;
use url::{Url, form_urlencoded};

use crate::spoilt::Input;
use crate::stage::{Ask, Stage, judged, request};
use crate::targets::Check;

/// Ids of ad platforms that must arrive as they came; `utm_*` do so too.
const AD_IDS: [&str; 7] = [
    "gclid",
    "gbraid",
    "wbraid",
    "fbclid",
    "ttclid",
    "li_fat_id",
    "msclkid",
];

pub fn stage() -> Check {
    let stage = Stage::new();
    let redirect = Redirect::new(stage.world.stack.app.clone());
    Box::new(move |input| check(&stage, &redirect, input))
}

fn check(stage: &Stage, redirect: &Redirect, input: &Input) -> bool {
    let text = input.text();
    let mut lines = text.split('\n');
    let mut first = lines.next().unwrap_or_default().splitn(2, ' ');
    let method = first.next().unwrap_or_default().parse::<Method>();
    let (Ok(method), Some(target)) = (method, first.next()) else {
        return false;
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let ask = Ask {
        method,
        path,
        query,
        headers: &headers,
        body: Vec::new(),
    };
    let asked = request(&ask);
    let response = stage.run(redirect::handle(redirect, asked.clone()));
    // A prefetch is answered without a body, and is no failure.
    let is_prefetch = traffic::is_prefetch(&asked.headers);
    if response.status == 503 && is_prefetch && response.body.is_empty() {
        return false;
    }
    judged(&response, &[200, 302, 404, 405, 503]);
    if response.status != 302 {
        assert!(!response.headers.contains_key("location"));
        return false;
    }

    let location = response.headers["location"].to_str().expect("clean");
    let url = Url::parse(location).expect("a browser can go there");
    assert_eq!(
        (url.scheme(), url.host_str()),
        ("https", Some("shop.example")),
        "{location}"
    );
    assert!(
        url.username().is_empty() && url.password().is_none(),
        "{location}"
    );
    let ids = url
        .query_pairs()
        .filter(|(name, _)| name == "click_id" || name == "c");
    let ids: Vec<String> = ids.map(|(_, id)| id.into_owned()).collect();
    let has_deep_link = pairs(query).any(|(name, _)| name == "url");
    if path == "/r/anna-deep" && !has_deep_link {
        let id = if ask.method == Method::HEAD {
            ""
        } else {
            &ids[0]
        };
        let rest = location
            .strip_prefix(&anna_deep(query, id))
            .and_then(|rest| rest.strip_suffix("#top"))
            .unwrap_or_else(|| panic!("{location} is not where anna-deep leads"));
        assert!(rest.is_empty() || rest.starts_with('&'), "{location}");
        passed_on(query, rest, location);
    }
    if ask.method == Method::HEAD {
        assert!(
            !ids.iter()
                .any(|id| Click::verify(id, &stage.world.stack.app.keys()).is_ok())
        );
        return true;
    }
    let own = ids
        .iter()
        .filter(|id| Click::verify(id, &stage.world.stack.app.keys()).is_ok());
    assert_eq!(own.count(), 1, "{location}");

    if path == "/r/anna-shoes" && !has_deep_link {
        let others = location
            .strip_prefix("https://shop.example/?")
            .and_then(|rest| rest.rsplit_once("click_id="))
            .map(|(before, _)| before.strip_suffix('&').unwrap_or(before).to_owned());
        let kept = others.unwrap_or_else(|| panic!("{location}"));
        passed_on(query, &kept, location);
    }
    true
}

/// What ad platforms and campaigns brought is in what follows, in order and as it came; and nothing
/// is there that the visitor did not bring.
fn passed_on(query: &str, kept: &str, location: &str) {
    let brought = pairs(query).filter(|(name, _)| {
        let is_ad = AD_IDS.iter().any(|own| own.eq_ignore_ascii_case(name));
        is_ad || name.starts_with("utm_")
    });
    let kept: Vec<&str> = kept.split('&').filter(|pair| !pair.is_empty()).collect();
    // Ids of other platforms may stand between them.
    let mut rest = kept.iter();
    for (_, pair) in brought {
        let pair = as_in_a_header(pair);
        assert!(rest.any(|own| **own == pair), "{pair} is not in {location}");
    }
    let mut all = pairs(query).map(|(_, pair)| as_in_a_header(pair));
    for pair in kept {
        assert!(
            all.any(|own| own == pair),
            "{pair} of {location} came from nowhere"
        );
    }
}

/// Where `anna-deep` leads, up to what the visit brought along: its macros filled in by hand.
fn anna_deep(query: &str, id: &str) -> String {
    let sub = |wanted: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        let value = pairs.find(|(name, _)| name == wanted);
        let value = value.map_or_else(String::new, |(_, value)| value.into_owned());
        // What is no sub id is dropped, so nothing of one ever has to be spelt out.
        let is_sub = value.chars().count() <= 64
            && value
                .chars()
                .all(|c| matches!(c, 'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '_' | '~' | '-'));
        if is_sub { value } else { String::new() }
    };
    // To a browser a single dot is the folder that it stands in, and two are the one above it.
    let path = match sub("sub1").as_str() {
        "." => "shoes/".to_owned(),
        ".." => String::new(),
        page => format!("shoes/{page}"),
    };
    format!(
        "https://shop.example/{path}?a=anna&s={}&c={id}",
        sub("sub2")
    )
}

/// Each parameter's name, decoded, with the parameter as it came.
fn pairs(query: &str) -> impl Iterator<Item = (String, &str)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let name = pair.split('=').next().unwrap_or_default().replace('+', " ");
            let name = percent_decode_str(&name).decode_utf8_lossy().into_owned();
            (name, pair)
        })
}

/// With what a header cannot hold, or would end a query, spelt out; all else as it came.
fn as_in_a_header(text: &str) -> String {
    let spelt = |byte: u8| match byte {
        0x21..=0x7e if byte != b'#' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(spelt).collect()
}
