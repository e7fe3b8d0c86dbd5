//! One affiliate's tracked address for one program.

use std::fmt;

use serde_json::{Value, json};

use super::text::put;
use super::{ClickCap, Dates, Destination, Invalid, Record, Route, destination};
use crate::click::LinkId;
use crate::http_types::Fields;
use crate::ids::{AffiliateId, GivenId, ProgramId};

/// The last part of a tracked address: `[A-Za-z0-9_-]{1,64}`, case-sensitive, never used again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug(String);

/// A text that is no slug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a slug of 1 to 64 characters from `A-Z`, `a-z`, `0-9`, `_` and `-`")]
pub struct NotASlug;

impl Slug {
    /// # Errors
    /// [`NotASlug`]
    pub fn parse(text: &str) -> Result<Self, NotASlug> {
        let fits = (1..=64).contains(&text.len());
        let is_plain = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if fits && is_plain {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotASlug)
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A link. It is stored under its [`LinkId`], which a slug and a click id both lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The name it was given; otherwise it is called by its slug.
    pub name: Option<GivenId>,
    pub slug: Slug,
    pub program: ProgramId,
    pub affiliate: AffiliateId,
    /// Comes before the program's.
    pub destination: Option<Destination>,
    /// The first that takes a visitor comes before both.
    pub routes: Vec<Route>,
    /// Outside of them the link leads where a paused program's do.
    pub dates: Dates,
    /// Beyond it too.
    pub click_cap: Option<ClickCap>,
    /// Whether all its clicks are tests, which earn nothing.
    pub test: bool,
}

impl Link {
    /// All addresses of its own.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        self.destination
            .iter()
            .chain(self.routes.iter().map(|route| &route.destination))
    }

    /// What the API calls it.
    #[must_use]
    pub fn public_id(&self) -> &str {
        self.name
            .as_ref()
            .map_or(self.slug.as_str(), GivenId::as_str)
    }
}

impl Record for Link {
    const KIND: &'static str = "link";
    // Click ids carry only a link's hash: another owner would get the commissions of old clicks.
    const FIXED: &'static [&'static str] = &["id", "slug", "program", "affiliate", "test"];

    fn id(&self) -> String {
        LinkId::of(self.slug.as_str()).to_string()
    }

    /// Its slug too, where that is its id: no other link may be called so.
    fn given_name(&self) -> Option<&str> {
        Some(self.public_id())
    }

    fn owner(&self) -> Option<String> {
        Some(self.affiliate.to_string())
    }

    /// The slug is the id unless it is given; one of the two must be there.
    fn parse(json: &Value) -> Result<Self, Invalid> {
        let mut fields = Fields::from_object(json.clone())?;
        let id = fields.text("id")?;
        let slug = match fields.parsed("slug", "slug_invalid", Slug::parse)? {
            Some(slug) => slug,
            None => {
                let id = id
                    .as_deref()
                    .ok_or_else(|| fields.invalid("slug", "parameter_missing"))?;
                let id = GivenId::parse(id).map_err(|_| fields.invalid("id", "id_invalid"))?;
                Slug(id.to_string())
            }
        };
        let name = match id.filter(|id| id != slug.as_str()) {
            Some(id) => Some(GivenId::parse(&id).map_err(|_| fields.invalid("id", "id_invalid"))?),
            None => None,
        };
        let link = Self {
            name,
            slug,
            program: fields.parsed_required("program", "id_invalid", ProgramId::parse)?,
            affiliate: fields.parsed_required("affiliate", "id_invalid", AffiliateId::parse)?,
            destination: destination::take(&mut fields, "destination")?,
            routes: Route::read_all(fields.objects("routes")?.unwrap_or_default())?,
            dates: Dates::take(&mut fields)?,
            click_cap: fields
                .object("click_cap")?
                .map(ClickCap::read)
                .transpose()?,
            test: fields.flag("test")?.unwrap_or(false),
        };
        fields.finish()?;
        Ok(link)
    }

    fn to_json(&self) -> Value {
        let mut json = json!({
            "id": self.public_id(),
            "slug": self.slug.as_str(),
            "program": self.program.as_str(),
            "affiliate": self.affiliate.as_str(),
            "test": self.test,
        });
        put(
            &mut json,
            "destination",
            self.destination.as_ref().map(Destination::as_str),
        );
        let routes: Vec<Value> = self.routes.iter().map(Route::to_json).collect();
        put(&mut json, "routes", (!routes.is_empty()).then_some(routes));
        self.dates.put_on(&mut json);
        ClickCap::put_on(self.click_cap, &mut json);
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(extra: Value) -> Result<Link, Invalid> {
        let mut given = json!({"program": "shoes", "affiliate": "anna"});
        super::super::merge(&mut given, &extra);
        Link::parse(&given)
    }

    #[test]
    fn a_link_goes_by_its_slug_unless_it_has_a_name() {
        for (given, slug, id) in [
            (json!({"slug": "Summer_24"}), "Summer_24", "Summer_24"),
            (json!({"id": "summer"}), "summer", "summer"),
            (
                json!({"id": "summer", "slug": "summer"}),
                "summer",
                "summer",
            ),
            (json!({"id": "summer", "slug": "S"}), "S", "summer"),
        ] {
            let link = parse(given).unwrap();
            assert_eq!((link.slug.as_str(), link.public_id()), (slug, id));
            assert_eq!(Link::parse(&link.to_json()), Ok(link));
        }
    }

    #[test]
    fn a_link_leads_somewhere_from_its_first_instant_to_before_its_last() {
        let given = json!({
            "slug": "s", "starts_at": "2026-07-01T00:00:00Z", "ends_at": "2026-08-01T00:00:00Z",
            "routes": [{"country": "DE", "destination": "https://shop.example/de"}],
            "click_cap": {"count": 1, "period": "day"},
        });
        let link = parse(given.clone()).unwrap();
        assert_eq!(Link::parse(&link.to_json()).unwrap(), link);
        for (at, is_open) in [
            ("2026-06-30T23:59:59.999Z", false),
            ("2026-07-01T00:00:00Z", true),
            ("2026-07-31T23:59:59.999Z", true),
            ("2026-08-01T00:00:00Z", false),
        ] {
            assert_eq!(link.dates.hold(at.parse().unwrap()), is_open, "{at}");
        }
        let mut never = given;
        never["ends_at"] = never["starts_at"].clone();
        assert_eq!(parse(never), Err(Invalid::new("ends_at", "validity_empty")));
    }

    #[test]
    fn what_cannot_be_taken_is_named() {
        for (given, field, code) in [
            (json!({}), "slug", "parameter_missing"),
            (json!({"slug": "a b"}), "slug", "slug_invalid"),
            (json!({"slug": "x".repeat(65)}), "slug", "slug_invalid"),
            (json!({"id": "Summer"}), "id", "id_invalid"),
            (json!({"id": "Summer", "slug": "s"}), "id", "id_invalid"),
            (
                json!({"slug": "s", "program": null}),
                "program",
                "parameter_missing",
            ),
            (
                json!({"slug": "s", "destination": "http://a.example"}),
                "destination",
                "address_invalid",
            ),
            (json!({"slug": "s", "url": "x"}), "url", "parameter_unknown"),
            (
                json!({"slug": "s", "click_cap": {"count": 0}}),
                "click_cap.count",
                "number_invalid",
            ),
            (
                json!({"slug": "s", "click_cap": {"period": "day"}}),
                "click_cap.count",
                "parameter_missing",
            ),
            (
                json!({"slug": "s", "click_cap": {"count": 1, "period": "week"}}),
                "click_cap.period",
                "word_unknown",
            ),
        ] {
            assert_eq!(
                parse(given.clone()),
                Err(Invalid::new(field, code)),
                "{given}"
            );
        }
    }
}
