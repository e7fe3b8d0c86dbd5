//! The first-party cookie that makes two visits of one visitor one journey.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use http::{HeaderMap, header};

use crate::http_types::Response;

const YEAR_SECONDS: u32 = 31_536_000;

/// What the tracking domain knows a visitor by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookie {
    pub value: [u8; 16],
    /// The visitor has none yet.
    is_new: bool,
    /// Whoever is not to be followed has no cookie, and is another visitor each time.
    pub is_denied: bool,
}

/// Over https only the name that no other host of the domain can set.
fn name(https: bool) -> &'static str {
    if https { "__Host-clv" } else { "clv" }
}

impl Cookie {
    /// Reads a cookie's value.
    #[must_use]
    pub fn parse(value: &str) -> Option<[u8; 16]> {
        BASE64.decode(value).ok()?.try_into().ok()
    }

    /// The value that a request brings. It comes in one line with cookies of others, which may hold
    /// any bytes.
    #[must_use]
    pub fn sent(headers: &HeaderMap, https: bool) -> Option<[u8; 16]> {
        headers.get_all(header::COOKIE).iter().find_map(|line| {
            let line = String::from_utf8_lossy(line.as_bytes());
            line.split(';')
                .filter_map(|pair| pair.trim().split_once('='))
                .filter(|(own, _)| *own == name(https))
                .find_map(|(_, value)| Self::parse(value))
        })
    }

    /// The visitor's cookie, or a new one of these random bytes.
    #[must_use]
    pub fn of(headers: &HeaderMap, https: bool, is_denied: bool, random: [u8; 16]) -> Self {
        match Self::sent(headers, https).filter(|_| !is_denied) {
            Some(value) => Self {
                value,
                is_new: false,
                is_denied,
            },
            None => Self {
                value: random,
                is_new: true,
                is_denied,
            },
        }
    }

    /// Sets it, if the visitor has none yet. One that is to be sent from other sites' pages too
    /// (`SameSite=None`, RFC 6265bis section 4.1.2.7) takes the place of one that is not; browsers
    /// take it over https only.
    #[must_use]
    pub fn set_on(&self, response: Response, https: bool, from_other_sites: bool) -> Response {
        let from_other_sites = from_other_sites && https;
        if self.is_denied || !(self.is_new || from_other_sites) {
            return response;
        }
        let name = name(https);
        let value = BASE64.encode(self.value);
        let same_site = if from_other_sites { "None" } else { "Lax" };
        let secure = if https { "; Secure" } else { "" };
        response.with(
            header::SET_COOKIE,
            &format!(
                "{name}={value}; Path=/; Max-Age={YEAR_SECONDS}; HttpOnly; SameSite={same_site}{secure}"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, StatusCode};

    use super::*;

    fn headers(cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_str(cookie).unwrap());
        headers
    }

    fn set(cookie: Cookie, https: bool, from_other_sites: bool) -> Option<String> {
        let response = cookie.set_on(Response::empty(StatusCode::OK), https, from_other_sites);
        let set = response.headers.get(header::SET_COOKIE)?;
        Some(set.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_visitor_keeps_a_cookie_and_gets_none_when_denied() {
        let new = Cookie::of(&HeaderMap::new(), true, false, [7; 16]);
        let line = "__Host-clv=BwcHBwcHBwcHBwcHBwcHBw; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax; Secure";
        assert_eq!(set(new, true, false).as_deref(), Some(line));
        let none = line.replace("Lax", "None");
        assert_eq!(set(new, true, true), Some(none.clone()));

        let back = headers("a=b; __Host-clv=BwcHBwcHBwcHBwcHBwcHBw");
        let known = Cookie::of(&back, true, false, [8; 16]);
        assert_eq!(known.value, [7; 16]);
        assert_eq!(set(known, true, false), None);
        assert_eq!(set(known, true, true), Some(none));

        let denied = Cookie::of(&back, true, true, [8; 16]);
        assert_eq!((denied.value, set(denied, true, true)), ([8; 16], None));
    }

    #[test]
    fn over_plain_http_it_has_another_name_and_never_goes_to_other_sites() {
        let new = Cookie::of(
            &headers("__Host-clv=BwcHBwcHBwcHBwcHBwcHBw"),
            false,
            false,
            [7; 16],
        );
        assert_eq!(
            set(new, false, true).as_deref(),
            Some("clv=BwcHBwcHBwcHBwcHBwcHBw; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax")
        );
        for other in ["clv=short", "clv=", "xclv=BwcHBwcHBwcHBwcHBwcHBw"] {
            assert_eq!(Cookie::sent(&headers(other), false), None, "{other}");
        }
    }

    #[test]
    fn it_is_found_beside_cookies_that_hold_any_bytes() {
        let own = b"__Host-clv=BwcHBwcHBwcHBwcHBwcHBw";
        for other in [&b"name=Zo\xc3\xab"[..], b"name=Zo\xeb", b"\xff=1; a"] {
            for line in [[other, own].join(&b"; "[..]), [own, other].join(&b"; "[..])] {
                let mut headers = HeaderMap::new();
                headers.insert(header::COOKIE, HeaderValue::from_bytes(&line).unwrap());
                assert_eq!(Cookie::sent(&headers, true), Some([7; 16]), "{line:?}");
            }
        }
    }
}
