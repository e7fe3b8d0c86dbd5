//! Who sends visitors and gets paid.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::text::{country, email, group, label_required, put};
use super::words::words;
use super::{Account, Invalid, Record};
use crate::http_types::Fields;
use crate::ids::AffiliateId;
use crate::money::{Currency, Money};

words!(
    /// Whether an affiliate's links lead anywhere and its money leaves.
    AffiliateStatus {
        Pending = "pending",
        Active = "active",
        Suspended = "suspended",
        Closed = "closed",
    }
);

words!(
    /// On which days' runs an affiliate is paid.
    Schedule {
        Daily = "daily",
        /// Sunday's run.
        Weekly = "weekly",
        /// The run of the month's last day.
        Monthly = "monthly",
    }
);

/// How an affiliate wants to be paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayoutDetails {
    pub currency: Currency,
    pub account: Account,
    /// By currency; zero where there is none.
    pub minimum: BTreeMap<&'static str, Money>,
    pub schedule: Schedule,
}

impl PayoutDetails {
    /// What must have come together before money of this currency leaves.
    #[must_use]
    pub fn minimum(&self, currency: Currency) -> Money {
        self.minimum
            .get(currency.code())
            .copied()
            .unwrap_or_else(|| Money::zero(currency))
    }
}

/// Somebody who sends visitors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affiliate {
    pub id: AffiliateId,
    pub name: String,
    pub email: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
    pub group: Option<String>,
    pub status: AffiliateStatus,
    /// Without it the money is carried.
    pub payout: Option<PayoutDetails>,
    /// Over how many buckets a day's money is spread, 1 to 16: more for an affiliate whose orders
    /// come so fast that they wait for each other.
    pub lanes: u8,
}

impl Affiliate {
    /// What a merchant may know of an affiliate.
    #[must_use]
    pub fn seen_by_merchant(&self) -> Value {
        let mut json = json!({"id": self.id.as_str(), "name": self.name, "country": self.country});
        put(&mut json, "group", self.group.as_deref());
        json
    }
}

impl Record for Affiliate {
    const KIND: &'static str = "affiliate";
    const IS_READ_BY_RUNS: bool = true;

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn parse(json: &Value) -> Result<Self, Invalid> {
        let mut fields = Fields::from_object(json.clone())?;
        let affiliate = Self {
            id: fields.parsed_required("id", "id_invalid", AffiliateId::parse)?,
            name: label_required(&mut fields, "name", 200)?,
            email: fields.parsed_required("email", "email_invalid", email)?,
            country: fields.parsed_required("country", "country_invalid", country)?,
            group: group(&mut fields, "group")?,
            status: AffiliateStatus::take(&mut fields, "status")?
                .unwrap_or(AffiliateStatus::Active),
            payout: fields.object("payout")?.map(read_payout).transpose()?,
            lanes: lanes(&mut fields)?,
        };
        fields.finish()?;
        Ok(affiliate)
    }

    fn to_json(&self) -> Value {
        let mut json = json!({
            "id": self.id.as_str(),
            "name": self.name,
            "email": self.email,
            "country": self.country,
            "status": self.status.as_str(),
        });
        put(&mut json, "group", self.group.as_deref());
        put(&mut json, "payout", self.payout.as_ref().map(print_payout));
        put(&mut json, "lanes", (self.lanes > 1).then_some(self.lanes));
        json
    }
}

fn lanes(fields: &mut Fields) -> Result<u8, Invalid> {
    match fields.whole("lanes")? {
        None => Ok(1),
        Some(lanes @ 1..=16) => Ok(u8::try_from(lanes).unwrap_or(16)),
        Some(_) => Err(fields.invalid("lanes", "lanes_invalid")),
    }
}

fn read_payout(mut fields: Fields) -> Result<PayoutDetails, Invalid> {
    let details = PayoutDetails {
        currency: fields.parsed_required("currency", "currency_invalid", Currency::parse)?,
        account: Account::take(&mut fields)?,
        minimum: fields
            .object("minimum")?
            .map(read_minimum)
            .transpose()?
            .unwrap_or_default(),
        schedule: Schedule::take(&mut fields, "schedule")?.unwrap_or(Schedule::Monthly),
    };
    fields.finish()?;
    Ok(details)
}

fn read_minimum(mut fields: Fields) -> Result<BTreeMap<&'static str, Money>, Invalid> {
    let mut minimum = BTreeMap::new();
    for name in fields.names() {
        let currency =
            Currency::parse(&name).map_err(|_| fields.invalid(&name, "currency_invalid"))?;
        let amount = fields.parsed(&name, "amount_invalid", |text| Money::parse(text, currency))?;
        if let Some(amount) = amount.filter(|amount| !amount.is_zero()) {
            minimum.insert(currency.code(), amount);
        }
    }
    Ok(minimum)
}

fn print_payout(details: &PayoutDetails) -> Value {
    let minimum: Map<String, Value> = details
        .minimum
        .iter()
        .map(|(code, amount)| ((*code).to_owned(), json!(amount.to_string())))
        .collect();
    let mut json =
        json!({"currency": details.currency.code(), "schedule": details.schedule.as_str()});
    put(
        &mut json,
        "minimum",
        (!minimum.is_empty()).then_some(minimum),
    );
    details.account.put(&mut json);
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> Value {
        json!({"id": "anna", "name": "Anna", "email": "anna@example.com", "country": "DE"})
    }

    #[test]
    fn an_affiliate_is_active_and_carries_its_money_until_it_says_more() {
        let affiliate = Affiliate::parse(&given()).unwrap();
        assert_eq!(
            (affiliate.status, &affiliate.payout, affiliate.lanes),
            (AffiliateStatus::Active, &None, 1)
        );
        let mut printed = given();
        printed["status"] = json!("active");
        assert_eq!(affiliate.to_json(), printed);
    }

    #[test]
    fn payout_details_are_read_with_their_defaults() {
        let mut given = given();
        given["payout"] = json!({"currency": "EUR", "method": "sepa", "iban": "DE89 3704 0044 0532 0130 00", "holder": "Anna"});
        let affiliate = Affiliate::parse(&given).unwrap();
        let details = affiliate.payout.clone().unwrap();
        let euro = Currency::parse("EUR").unwrap();
        assert_eq!(
            (details.schedule, details.minimum(euro)),
            (Schedule::Monthly, Money::zero(euro))
        );
        assert_eq!(Affiliate::parse(&affiliate.to_json()).unwrap(), affiliate);

        given["payout"]["minimum"] = json!({"EUR": "50", "JPY": "0", "KWD": "1.5"});
        let printed = Affiliate::parse(&given).unwrap().to_json();
        assert_eq!(
            printed["payout"]["minimum"],
            json!({"EUR": "50.00", "KWD": "1.500"})
        );
    }

    #[test]
    fn what_cannot_be_taken_is_named() {
        let payout = |member: &str, value: Value| {
            let mut payout = json!({"currency": "EUR", "method": "manual"});
            payout[member] = value;
            payout
        };
        for (member, value, field, code) in [
            ("email", json!("anna"), "email", "email_invalid"),
            ("country", json!("Germany"), "country", "country_invalid"),
            ("status", json!("banned"), "status", "word_unknown"),
            ("lanes", json!(17), "lanes", "lanes_invalid"),
            ("lanes", json!(0), "lanes", "lanes_invalid"),
            ("payout", json!("sepa"), "payout", "not_an_object"),
            (
                "payout",
                payout("currency", json!("EURO")),
                "payout.currency",
                "currency_invalid",
            ),
            (
                "payout",
                payout("minimum", json!({"EUR": 50})),
                "payout.minimum.EUR",
                "type_wrong",
            ),
            (
                "payout",
                payout("minimum", json!({"EUR": "-1"})),
                "payout.minimum.EUR",
                "amount_invalid",
            ),
            (
                "payout",
                payout("minimum", json!({"EUR": "0.001"})),
                "payout.minimum.EUR",
                "amount_invalid",
            ),
            (
                "payout",
                payout("minimum", json!({"eur": "1"})),
                "payout.minimum.eur",
                "currency_invalid",
            ),
            (
                "payout",
                payout("schedule", json!("yearly")),
                "payout.schedule",
                "word_unknown",
            ),
            (
                "payout",
                payout("iban", json!("DE89370400440532013000")),
                "payout.iban",
                "parameter_unknown",
            ),
            ("balance", json!("1"), "balance", "parameter_unknown"),
        ] {
            let mut given = given();
            given[member] = value;
            assert_eq!(
                Affiliate::parse(&given),
                Err(Invalid::new(field, code)),
                "{given}"
            );
        }
    }

    #[test]
    fn a_merchant_sees_neither_email_nor_account() {
        let mut given = given();
        given["group"] = json!("vip");
        given["payout"] =
            json!({"currency": "EUR", "method": "paypal", "receiver": "anna@example.com"});
        let seen = Affiliate::parse(&given).unwrap().seen_by_merchant();
        assert_eq!(
            seen,
            json!({"id": "anna", "name": "Anna", "country": "DE", "group": "vip"})
        );
    }
}
