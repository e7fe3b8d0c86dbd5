//! One affiliate's place in one program.

use serde_json::{Value, json};

use super::text::{group, put};
use super::words::words;
use super::{Invalid, Record};
use crate::http_types::Fields;
use crate::ids::{AffiliateId, GivenId, ProgramId};

/// The longest that money may be held back.
pub(super) const HOLD_DAYS_MOST: u64 = 180;

words!(
    /// Whether an affiliate may promote a program.
    EnrolmentStatus {
        Pending = "pending",
        Active = "active",
        Declined = "declined",
        Ended = "ended",
    }
);

/// The terms that one affiliate has in one program, where they differ from the program's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// The name it was given; otherwise it is called by its pair.
    pub name: Option<GivenId>,
    pub program: ProgramId,
    pub affiliate: AffiliateId,
    pub status: EnrolmentStatus,
    /// Comes before the affiliate's own group.
    pub group: Option<String>,
    /// Comes before the program's.
    pub hold_days: Option<u16>,
    /// The program's version whose terms were agreed to; none until they were.
    pub terms_version: Option<u64>,
}

impl Enrolment {
    /// The key of a pair: `<program>.<affiliate>`. Ids hold no dot.
    #[must_use]
    pub fn key(program: &ProgramId, affiliate: &AffiliateId) -> String {
        format!("{program}.{affiliate}")
    }

    /// What the API calls it.
    #[must_use]
    pub fn public_id(&self) -> String {
        self.name
            .as_ref()
            .map_or_else(|| self.id(), ToString::to_string)
    }

    /// Whether the affiliate was turned down, or is no longer in the program.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(
            self.status,
            EnrolmentStatus::Declined | EnrolmentStatus::Ended
        )
    }

    /// An enrolment on the program's own terms, as of one of its versions.
    #[must_use]
    pub fn plain(program: ProgramId, affiliate: AffiliateId, terms_version: u64) -> Self {
        let status = EnrolmentStatus::Active;
        Self {
            name: None,
            program,
            affiliate,
            status,
            group: None,
            hold_days: None,
            terms_version: Some(terms_version),
        }
    }
}

impl Record for Enrolment {
    const KIND: &'static str = "enrolment";
    const FIXED: &'static [&'static str] = &["id", "program", "affiliate"];

    fn id(&self) -> String {
        Self::key(&self.program, &self.affiliate)
    }

    fn given_name(&self) -> Option<&str> {
        self.name.as_ref().map(GivenId::as_str)
    }

    fn owner(&self) -> Option<String> {
        Some(self.affiliate.to_string())
    }

    fn parse(json: &Value) -> Result<Self, Invalid> {
        let mut fields = Fields::from_object(json.clone())?;
        let program = fields.parsed_required("program", "id_invalid", ProgramId::parse)?;
        let affiliate = fields.parsed_required("affiliate", "id_invalid", AffiliateId::parse)?;
        let key = Self::key(&program, &affiliate);
        let name = fields.parsed("id", "id_invalid", |text| match GivenId::parse(text) {
            Ok(name) => Ok(Some(name)),
            Err(_) if text == key => Ok(None),
            Err(error) => Err(error),
        })?;
        let enrolment = Self {
            name: name.flatten(),
            program,
            affiliate,
            status: EnrolmentStatus::take(&mut fields, "status")?
                .unwrap_or(EnrolmentStatus::Active),
            group: group(&mut fields, "group")?,
            hold_days: hold_days(&mut fields, "hold_days")?,
            terms_version: fields.whole("terms_version")?,
        };
        fields.finish()?;
        Ok(enrolment)
    }

    fn to_json(&self) -> Value {
        let mut json = json!({
            "id": self.public_id(),
            "program": self.program.as_str(),
            "affiliate": self.affiliate.as_str(),
            "status": self.status.as_str(),
        });
        put(&mut json, "group", self.group.as_deref());
        put(&mut json, "hold_days", self.hold_days);
        put(&mut json, "terms_version", self.terms_version);
        json
    }
}

/// Whole days from 0 to 180.
pub(super) fn hold_days(fields: &mut Fields, name: &str) -> Result<Option<u16>, Invalid> {
    match fields.whole(name)? {
        None => Ok(None),
        Some(days) if days <= HOLD_DAYS_MOST => Ok(u16::try_from(days).ok()),
        Some(_) => Err(fields.invalid(name, "hold_days_invalid")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enrolment_goes_by_its_pair_unless_it_has_a_name() {
        let given = json!({"program": "shoes", "affiliate": "anna", "terms_version": 3});
        let plain = Enrolment::parse(&given).unwrap();
        assert_eq!(
            plain,
            Enrolment::plain(plain.program.clone(), plain.affiliate.clone(), 3)
        );
        assert_eq!(
            plain.to_json(),
            json!({"id": "shoes.anna", "program": "shoes", "affiliate": "anna", "status": "active", "terms_version": 3})
        );
        assert_eq!(Enrolment::parse(&plain.to_json()).unwrap(), plain);

        let given = json!({"id": "e1", "program": "shoes", "affiliate": "anna", "status": "pending", "group": "vip", "hold_days": 0});
        let named = Enrolment::parse(&given).unwrap();
        assert_eq!((named.id(), named.to_json()), ("shoes.anna".into(), given));
    }

    #[test]
    fn what_cannot_be_taken_is_named() {
        for (member, value, code) in [
            ("id", json!("shoes.bob"), "id_invalid"),
            ("program", json!(null), "parameter_missing"),
            ("affiliate", json!("A"), "id_invalid"),
            ("status", json!("joined"), "word_unknown"),
            ("hold_days", json!(181), "hold_days_invalid"),
            ("hold_days", json!(-1), "number_invalid"),
            ("hold_days", json!("30"), "type_wrong"),
            ("group", json!("a b"), "group_invalid"),
            ("rate", json!(1), "parameter_unknown"),
        ] {
            let mut given = json!({"program": "shoes", "affiliate": "anna"});
            given[member] = value;
            assert_eq!(
                Enrolment::parse(&given),
                Err(Invalid::new(member, code)),
                "{given}"
            );
        }
        let most = json!({"program": "shoes", "affiliate": "anna", "hold_days": 180});
        assert_eq!(Enrolment::parse(&most).unwrap().hold_days, Some(180));
    }
}
