//! A code that a customer enters: whoever owns it when the order is made may earn it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::text::put;
use super::{Invalid, Record};
use crate::commission::folded_code;
use crate::conversion::digest;
use crate::http_types::Fields;
use crate::ids::{AffiliateId, GivenId, ProgramId};

/// Characters of a code.
const CODE_MOST: usize = 64;

/// A program's coupon. It has one owner at a time: a new version of it may have another, and the
/// version that was in force when the order was made decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coupon {
    /// The name it was given; otherwise it is called by what it is stored under.
    pub name: Option<GivenId>,
    pub program: ProgramId,
    pub affiliate: AffiliateId,
    /// As people write it; compared trimmed and without case.
    pub code: String,
    /// Included.
    pub valid_from: Option<Timestamp>,
    /// Excluded.
    pub valid_to: Option<Timestamp>,
}

impl Coupon {
    /// What the coupon of a program with this code is stored under, however the code is written.
    #[must_use]
    pub fn key(program: &ProgramId, code: &str) -> String {
        // OK because ids hold no slash, and no two codes share the first 112 bits of a SHA-256.
        let digest = digest(&format!("{program}/{}", folded_code(code)));
        format!("cp_{}", &digest[..28])
    }

    /// Whether an order of this instant may be made with it.
    #[must_use]
    pub fn is_valid_at(&self, at: Timestamp) -> bool {
        self.valid_from.is_none_or(|from| from <= at) && self.valid_to.is_none_or(|to| at < to)
    }
}

impl Record for Coupon {
    const KIND: &'static str = "coupon";
    const FIXED: &'static [&'static str] = &["id", "program", "code"];

    fn id(&self) -> String {
        Self::key(&self.program, &self.code)
    }

    fn given_name(&self) -> Option<&str> {
        self.name.as_ref().map(GivenId::as_str)
    }

    fn owner(&self) -> Option<String> {
        Some(self.affiliate.to_string())
    }

    fn parse(json: &Value) -> Result<Self, Invalid> {
        let mut fields = Fields::from_object(json.clone())?;
        let name = fields.parsed("id", "id_invalid", GivenId::parse)?;
        let mut coupon = Self {
            name: None,
            program: fields.parsed_required("program", "id_invalid", ProgramId::parse)?,
            affiliate: fields.parsed_required("affiliate", "id_invalid", AffiliateId::parse)?,
            code: fields.parsed_required("code", "coupon_invalid", code)?,
            valid_from: fields.instant("valid_from")?,
            valid_to: fields.instant("valid_to")?,
        };
        let is_empty =
            matches!((coupon.valid_from, coupon.valid_to), (Some(from), Some(to)) if to <= from);
        if is_empty {
            return Err(fields.invalid("valid_to", "validity_empty"));
        }
        fields.finish()?;
        coupon.name = name.filter(|name| name.as_str() != coupon.id());
        Ok(coupon)
    }

    fn to_json(&self) -> Value {
        let id = self.id();
        let mut json = json!({
            "id": self.given_name().unwrap_or(&id),
            "program": self.program.as_str(),
            "affiliate": self.affiliate.as_str(),
            "code": self.code,
        });
        put(
            &mut json,
            "valid_from",
            self.valid_from.map(|at| at.to_string()),
        );
        put(
            &mut json,
            "valid_to",
            self.valid_to.map(|at| at.to_string()),
        );
        json
    }
}

fn code(text: &str) -> Result<String, ()> {
    let code = text.trim();
    let fits = (1..=CODE_MOST).contains(&code.chars().count());
    if fits && !code.chars().any(char::is_control) {
        Ok(code.to_owned())
    } else {
        Err(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(code: &str) -> Value {
        json!({"program": "shoes", "affiliate": "anna", "code": code})
    }

    #[test]
    fn a_code_is_one_however_it_is_written() {
        let plain = Coupon::parse(&given(" Anna10 ")).unwrap();
        assert_eq!(plain.code, "Anna10");
        for same in ["anna10", "ANNA10", "\tanna10 "] {
            assert_eq!(Coupon::parse(&given(same)).unwrap().id(), plain.id());
        }
        assert_ne!(Coupon::parse(&given("anna11")).unwrap().id(), plain.id());
        let hats = ProgramId::parse("hats").unwrap();
        assert_ne!(Coupon::key(&hats, "anna10"), plain.id());
        assert!(GivenId::parse(&plain.id()).is_ok());
        assert_eq!(Coupon::parse(&plain.to_json()).unwrap(), plain);

        let mut named = given("anna10");
        named["id"] = json!("spring");
        assert_eq!(Coupon::parse(&named).unwrap().to_json(), named);
    }

    #[test]
    fn its_first_instant_is_included_and_its_last_is_not() {
        let mut dated = given("anna10");
        dated["valid_from"] = json!("2026-07-01T00:00:00Z");
        dated["valid_to"] = json!("2026-08-01T00:00:00Z");
        let coupon = Coupon::parse(&dated).unwrap();
        assert_eq!(coupon.to_json()["valid_to"], dated["valid_to"]);
        for (at, is_valid) in [
            ("2026-06-30T23:59:59.999Z", false),
            ("2026-07-01T00:00:00Z", true),
            ("2026-07-31T23:59:59.999Z", true),
            ("2026-08-01T00:00:00Z", false),
        ] {
            assert_eq!(coupon.is_valid_at(at.parse().unwrap()), is_valid, "{at}");
        }
        dated["valid_to"] = dated["valid_from"].clone();
        assert_eq!(
            Coupon::parse(&dated),
            Err(Invalid::new("valid_to", "validity_empty"))
        );
    }

    #[test]
    fn what_is_no_code_is_refused() {
        for code in ["", " ", "a\u{7}b", &"x".repeat(65)] {
            assert!(Coupon::parse(&given(code)).is_err(), "{code:?}");
        }
    }
}
