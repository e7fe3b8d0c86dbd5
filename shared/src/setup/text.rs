//! Names, addresses and other texts for people, and members that are not served yet.

use serde_json::Value;

use crate::http_types::{Fields, Invalid};

/// A text for people: 1 to `most` characters, none of them a control character.
pub fn label(fields: &mut Fields, name: &str, most: usize) -> Result<Option<String>, Invalid> {
    fields.parsed(name, "text_invalid", |text| {
        let fits = (1..=most).contains(&text.chars().count());
        let is_clean = !text.chars().any(char::is_control) && !text.trim().is_empty();
        if fits && is_clean {
            Ok(text.to_owned())
        } else {
            Err(())
        }
    })
}

pub fn label_required(fields: &mut Fields, name: &str, most: usize) -> Result<String, Invalid> {
    let label = label(fields, name, most)?;
    label.ok_or_else(|| fields.invalid(name, "parameter_missing"))
}

/// A group of affiliates: 1 to 64 of `[A-Za-z0-9_-]`, case-sensitive.
pub fn group(fields: &mut Fields, name: &str) -> Result<Option<String>, Invalid> {
    fields.parsed(name, "group_invalid", |text| {
        let fits = (1..=64).contains(&text.len());
        let is_plain = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if fits && is_plain {
            Ok(text.to_owned())
        } else {
            Err(())
        }
    })
}

/// An e-mail address that a mail server would at least look at.
pub fn email(text: &str) -> Result<String, ()> {
    let (local, domain) = text.rsplit_once('@').ok_or(())?;
    let is_visible = text.chars().all(|c| !c.is_control() && !c.is_whitespace());
    let has_domain = domain.split('.').all(|part| !part.is_empty()) && domain.contains('.');
    let is_single = !local.is_empty() && !local.contains('@');
    let fits = text.len() <= 254 && local.len() <= 64;
    if is_visible && has_domain && is_single && fits {
        Ok(text.to_owned())
    } else {
        Err(())
    }
}

/// ISO 3166-1 alpha-2, and Kosovo's `XK`, which banks and card networks use.
const COUNTRIES: &str = "\
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ \
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR \
    GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP \
    KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT \
    MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW \
    SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ \
    UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";

/// A country that exists, in upper case.
pub fn country(text: &str) -> Result<String, ()> {
    let exists = text.len() == 2 && COUNTRIES.split_whitespace().any(|country| country == text);
    if exists { Ok(text.to_owned()) } else { Err(()) }
}

/// Refuses a member that the contract knows and nothing here honours yet. An empty list asks for
/// nothing, so it passes.
pub fn not_supported(fields: &mut Fields, name: &str) -> Result<(), Invalid> {
    if !fields.has(name) {
        // Taken, so that `null` and empty texts do not end up as unknown members.
        return fields.value(name).map(drop);
    }
    match fields.value(name)? {
        Some(Value::Array(items)) if items.is_empty() => Ok(()),
        _ => Err(fields.invalid(name, "not_supported")),
    }
}

/// Sets a member that may be absent.
pub fn put(json: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        json[name] = value.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countries_are_those_of_the_standard() {
        assert_eq!(COUNTRIES.split_whitespace().count(), 250);
        for good in ["DE", "GB", "US", "XK"] {
            assert!(country(good).is_ok(), "{good}");
        }
        for bad in ["", "de", "UK", "XX", "DEU", "E D", "D "] {
            assert!(country(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_email_has_one_at_and_a_domain() {
        for good in ["a@b.co", "first.last+tag@sub.example.com", "ü@exämple.de"] {
            assert!(email(good).is_ok(), "{good}");
        }
        for bad in [
            "", "a", "a@b", "@b.co", "a@", "a@@b.co", "a b@c.co", "a@b..co", "a@.co", "a\n@b.co",
        ] {
            assert!(email(bad).is_err(), "{bad}");
        }
    }
}
