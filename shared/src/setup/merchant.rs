//! Who sells.

use serde_json::{Value, json};

use super::text::{label_required, not_supported};
use super::words::words;
use super::{Invalid, Record};
use crate::http_types::Fields;
use crate::ids::{MerchantId, PayerId};

words!(
    /// Within what an order id is unique.
    OrderScope {
        Merchant = "merchant",
        Program = "program",
    }
);

/// A shop and its postback rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merchant {
    pub id: MerchantId,
    pub name: String,
    pub payer: PayerId,
    pub order_scope: OrderScope,
    /// Whether only signed postbacks count.
    pub require_signature: bool,
}

impl Record for Merchant {
    const KIND: &'static str = "merchant";
    // Ledger lines name the payer, and orders are keyed by the scope: another payer or scope
    // would orphan what is booked.
    const FIXED: &'static [&'static str] = &["id", "payer", "order_scope"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn parse(json: &Value) -> Result<Self, Invalid> {
        let mut fields = Fields::from_object(json.clone())?;
        let merchant = Self {
            id: fields.parsed_required("id", "id_invalid", MerchantId::parse)?,
            name: label_required(&mut fields, "name", 200)?,
            payer: fields
                .parsed("payer", "id_invalid", PayerId::parse)?
                .unwrap_or_else(PayerId::house),
            order_scope: OrderScope::take(&mut fields, "order_scope")?
                .unwrap_or(OrderScope::Merchant),
            require_signature: fields.flag("require_signature")?.unwrap_or(false),
        };
        not_supported(&mut fields, "allowed_ips")?;
        fields.finish()?;
        Ok(merchant)
    }

    fn to_json(&self) -> Value {
        json!({
            "id": self.id.as_str(),
            "name": self.name,
            "payer": self.payer.as_str(),
            "order_scope": self.order_scope.as_str(),
            "require_signature": self.require_signature,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merchant_is_read_with_its_defaults() {
        let given = json!({"id": "shop", "name": "Shop", "allowed_ips": []});
        let printed = json!({
            "id": "shop", "name": "Shop", "payer": "house", "order_scope": "merchant", "require_signature": false,
        });
        let merchant = Merchant::parse(&given).unwrap();
        assert_eq!(merchant.to_json(), printed);
        assert_eq!(Merchant::parse(&printed).unwrap(), merchant);
    }

    #[test]
    fn what_cannot_be_taken_is_named() {
        for (member, value, code) in [
            ("id", json!("Shop"), "id_invalid"),
            ("id", json!(7), "type_wrong"),
            ("name", json!(""), "parameter_missing"),
            ("name", json!("a\nb"), "text_invalid"),
            ("name", json!("x".repeat(201)), "text_invalid"),
            ("payer", json!("House"), "id_invalid"),
            ("order_scope", json!("payer"), "word_unknown"),
            ("require_signature", json!("yes"), "flag_invalid"),
            ("require_signature", json!(1), "type_wrong"),
            ("allowed_ips", json!(["10.0.0.1"]), "not_supported"),
            ("secret", json!("x"), "parameter_unknown"),
        ] {
            let mut given = json!({"id": "shop", "name": "Shop"});
            given[member] = value;
            assert_eq!(
                Merchant::parse(&given),
                Err(Invalid::new(member, code)),
                "{given}"
            );
        }
    }
}
