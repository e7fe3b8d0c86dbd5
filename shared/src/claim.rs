//! A sale that an affiliate misses, and what the merchant says to that.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::conversion::is_order_id;
use crate::http_types::{Fields, Invalid, is_note};
use crate::ids::{AffiliateId, GivenId, ProgramId};
use crate::money::{Currency, Money};
use crate::setup::text::put;
use crate::setup::words::words;
use crate::setup::{Goal, Record};

words!(
    /// Where a claim stands.
    ClaimStatus {
        Open = "open",
        Accepted = "accepted",
        Declined = "declined",
    }
);

/// An affiliate's claim to an order. It never says who else was credited with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub id: GivenId,
    pub program: ProgramId,
    pub affiliate: AffiliateId,
    pub order_id: String,
    /// In lower case.
    pub goal: String,
    pub occurred_at: Timestamp,
    pub currency: Currency,
    /// What the affiliate takes the order to be worth.
    pub amount: Option<Money>,
    /// When it was clicked, if the claim named a click of the affiliate's own.
    pub clicked_at: Option<Timestamp>,
    pub note: String,
    pub status: ClaimStatus,
    /// The merchant's, for declining.
    pub reason: Option<String>,
    /// What came of it.
    pub conversion: Option<String>,
}

impl Record for Claim {
    const KIND: &'static str = "claim";

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn owner(&self) -> Option<String> {
        Some(self.affiliate.to_string())
    }

    fn parse(json: &Value) -> Result<Self, Invalid> {
        let mut fields = Fields::from_object(json.clone())?;
        let currency = fields.parsed_required("currency", "currency_invalid", Currency::parse)?;
        let claim = Self {
            id: fields.parsed_required("id", "id_invalid", GivenId::parse)?,
            program: fields.parsed_required("program", "id_invalid", ProgramId::parse)?,
            affiliate: fields.parsed_required("affiliate", "id_invalid", AffiliateId::parse)?,
            order_id: fields.parsed_required("order_id", "order_id_invalid", |text| {
                is_order_id(text).then(|| text.to_owned()).ok_or(())
            })?,
            goal: fields
                .parsed("goal", "goal_unknown", |text| {
                    Goal::is_name(text).then(|| text.to_lowercase()).ok_or(())
                })?
                .unwrap_or_else(|| "sale".to_owned()),
            occurred_at: fields
                .instant("occurred_at")?
                .ok_or_else(|| fields.invalid("occurred_at", "parameter_missing"))?,
            currency,
            amount: fields.parsed("amount", "amount_invalid", |text| {
                Money::parse(text, currency)
            })?,
            clicked_at: fields.instant("clicked_at")?,
            note: fields.parsed_required("note", "text_invalid", |text| {
                is_note(text).then(|| text.to_owned()).ok_or(())
            })?,
            status: ClaimStatus::take(&mut fields, "status")?.unwrap_or(ClaimStatus::Open),
            reason: fields.text("reason")?,
            conversion: fields.text("conversion")?,
        };
        fields.finish()?;
        Ok(claim)
    }

    fn to_json(&self) -> Value {
        let mut json = json!({
            "id": self.id.as_str(),
            "program": self.program.as_str(),
            "affiliate": self.affiliate.as_str(),
            "order_id": self.order_id,
            "goal": self.goal,
            "occurred_at": self.occurred_at.to_string(),
            "currency": self.currency.code(),
            "note": self.note,
            "status": self.status.as_str(),
        });
        put(
            &mut json,
            "amount",
            self.amount.map(|amount| amount.to_string()),
        );
        put(
            &mut json,
            "clicked_at",
            self.clicked_at.map(|at| at.to_string()),
        );
        put(&mut json, "reason", self.reason.clone());
        put(&mut json, "conversion", self.conversion.clone());
        json
    }
}
