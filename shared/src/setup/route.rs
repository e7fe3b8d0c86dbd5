//! Where a link leads some of its visitors: by country, device and language.

use serde_json::{Value, json};

use super::text::{country, put};
use super::{Destination, Invalid, destination};
use crate::http_types::Fields;
use crate::traffic::Device;

/// More routes are a page of their own.
const ROUTES_MOST: usize = 50;

/// What is asked of a visitor's country where the edge does not know it.
const UNKNOWN: &str = "unknown";

/// One way out of a link. Those conditions that are set must all hold; at least one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// ISO 3166-1 alpha-2, or `unknown`.
    country: Option<String>,
    device: Option<Device>,
    /// As `de`, which `de-at` is too, or as `de-at`; in lower case.
    language: Option<String>,
    pub destination: Destination,
}

impl Route {
    pub(super) fn read_all(list: Vec<Fields>) -> Result<Vec<Self>, Invalid> {
        if list.len() > ROUTES_MOST {
            return Err(Invalid::new("routes", "too_many"));
        }
        list.into_iter().map(Self::read).collect()
    }

    fn read(mut fields: Fields) -> Result<Self, Invalid> {
        let route = Self {
            country: fields.parsed("country", "country_invalid", |text| match text {
                UNKNOWN => Ok(UNKNOWN.to_owned()),
                text => country(text),
            })?,
            device: fields.parsed("device", "word_unknown", |text| {
                Device::parse(text).ok_or(())
            })?,
            language: fields.parsed("language", "language_invalid", language)?,
            destination: destination::take(&mut fields, "destination")?
                .ok_or_else(|| fields.invalid("destination", "parameter_missing"))?,
        };
        // One that asks nothing is the link's own destination.
        if route.country.is_none() && route.device.is_none() && route.language.is_none() {
            return Err(fields.invalid("country", "parameter_missing"));
        }
        fields.finish()?;
        Ok(route)
    }

    pub(super) fn to_json(&self) -> Value {
        let mut json = json!({"destination": self.destination.as_str()});
        put(&mut json, "country", self.country.as_deref());
        put(&mut json, "device", self.device.map(Device::as_str));
        put(&mut json, "language", self.language.as_deref());
        json
    }

    /// Whether it is for such a visitor.
    #[must_use]
    pub fn takes(&self, country: Option<&str>, device: Device, language: Option<&str>) -> bool {
        let speaks = |asked: &String| {
            let rest = language.and_then(|own| own.strip_prefix(asked.as_str()));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        self.country
            .as_ref()
            .is_none_or(|asked| asked == country.unwrap_or(UNKNOWN))
            && self.device.is_none_or(|asked| asked == device)
            && self.language.as_ref().is_none_or(speaks)
    }
}

/// Two or three letters, and further parts of letters and digits (BCP 47, in lower case).
fn language(text: &str) -> Result<String, ()> {
    let mut parts = text.split('-');
    let first = parts.next().unwrap_or_default();
    let is_language =
        (2..=3).contains(&first.len()) && first.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_part = |part: &str| {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        (1..=8).contains(&part.len()) && part.bytes().all(is_plain)
    };
    if is_language && parts.all(is_part) {
        Ok(text.to_owned())
    } else {
        Err(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(mut json: Value) -> Result<Route, Invalid> {
        json["destination"] = json!("https://shop.example/");
        Route::read(Fields::from_object(json).unwrap())
    }

    #[test]
    fn all_that_a_route_asks_must_hold() {
        for (asked, country, device, language, takes) in [
            (
                json!({"country": "DE"}),
                Some("DE"),
                Device::Desktop,
                None,
                true,
            ),
            (
                json!({"country": "DE"}),
                Some("AT"),
                Device::Desktop,
                None,
                false,
            ),
            (json!({"country": "DE"}), None, Device::Desktop, None, false),
            (
                json!({"country": "unknown"}),
                None,
                Device::Desktop,
                None,
                true,
            ),
            (
                json!({"country": "unknown"}),
                Some("DE"),
                Device::Desktop,
                None,
                false,
            ),
            (
                json!({"device": "mobile"}),
                None,
                Device::Mobile,
                None,
                true,
            ),
            (
                json!({"device": "mobile"}),
                None,
                Device::Tablet,
                None,
                false,
            ),
            (
                json!({"language": "de"}),
                None,
                Device::Other,
                Some("de-at"),
                true,
            ),
            (
                json!({"language": "de"}),
                None,
                Device::Other,
                Some("den"),
                false,
            ),
            (
                json!({"language": "de-at"}),
                None,
                Device::Other,
                Some("de"),
                false,
            ),
            (json!({"language": "de"}), None, Device::Other, None, false),
            (
                json!({"country": "DE", "device": "mobile"}),
                Some("DE"),
                Device::Mobile,
                None,
                true,
            ),
            (
                json!({"country": "DE", "device": "mobile"}),
                Some("DE"),
                Device::Desktop,
                None,
                false,
            ),
        ] {
            let route = route(asked.clone()).unwrap();
            assert_eq!(
                route.takes(country, device, language),
                takes,
                "{asked} {country:?} {language:?}"
            );
        }
    }

    #[test]
    fn a_route_that_asks_nothing_or_nonsense_is_refused() {
        for (asked, field, code) in [
            (json!({}), "country", "parameter_missing"),
            (json!({"country": "de"}), "country", "country_invalid"),
            (json!({"device": "fridge"}), "device", "word_unknown"),
            (json!({"language": "DE"}), "language", "language_invalid"),
            (json!({"language": "de-"}), "language", "language_invalid"),
            (
                json!({"city": "Rome", "country": "IT"}),
                "city",
                "parameter_unknown",
            ),
        ] {
            assert_eq!(route(asked), Err(Invalid::new(field, code)));
        }
    }
}
