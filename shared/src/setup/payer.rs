//! Whose money it is.

use serde_json::{Value, json};

use super::text::{country, label, label_required, put};
use super::words::words;
use super::{Account, Invalid, Record};
use crate::http_types::Fields;
use crate::ids::{GivenId, PayerId};
use crate::money::Currency;

words!(
    /// Whether a month needs two people to close.
    FourEyes {
        On = "on",
        Off = "off",
    }
);

/// Where a payer resides, as a payment file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub street: Option<String>,
    pub town: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
}

/// An account that a payer pays from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayerAccount {
    pub id: GivenId,
    pub currency: Currency,
    pub account: Account,
}

/// Whose money it is: one for many merchants in a network, one for each in an agency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payer {
    pub id: PayerId,
    pub legal_name: String,
    /// Absent only for `house`, until somebody fills it in.
    pub address: Option<Address>,
    pub tax_id: Option<String>,
    /// No two with the same id.
    pub accounts: Vec<PayerAccount>,
    pub four_eyes: bool,
}

impl Payer {
    /// The payer that exists from the start.
    #[must_use]
    pub fn house() -> Self {
        Self {
            id: PayerId::house(),
            legal_name: "House".to_owned(),
            address: None,
            tax_id: None,
            accounts: Vec::new(),
            four_eyes: true,
        }
    }

    #[must_use]
    pub fn account(&self, id: &str) -> Option<&PayerAccount> {
        self.accounts
            .iter()
            .find(|account| account.id.as_str() == id)
    }
}

impl Record for Payer {
    const KIND: &'static str = "payer";

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn is_beside_the_first(&self) -> bool {
        self.id != PayerId::house()
    }

    fn parse(json: &Value) -> Result<Self, Invalid> {
        let mut fields = Fields::from_object(json.clone())?;
        let id = fields.parsed_required("id", "id_invalid", PayerId::parse)?;
        let address = match fields.object("address")? {
            Some(address) => Some(read_address(address)?),
            None if id == PayerId::house() => None,
            None => return Err(fields.invalid("address", "parameter_missing")),
        };
        let payer = Self {
            id,
            legal_name: label_required(&mut fields, "legal_name", 140)?,
            address,
            tax_id: label(&mut fields, "tax_id", 40)?,
            accounts: accounts(fields.objects("accounts")?.unwrap_or_default())?,
            four_eyes: FourEyes::take(&mut fields, "four_eyes")? != Some(FourEyes::Off),
        };
        fields.finish()?;
        Ok(payer)
    }

    fn to_json(&self) -> Value {
        let four_eyes = if self.four_eyes {
            FourEyes::On
        } else {
            FourEyes::Off
        };
        let mut json = json!({
            "id": self.id.as_str(),
            "legal_name": self.legal_name,
            "accounts": self.accounts.iter().map(print_account).collect::<Vec<_>>(),
            "four_eyes": four_eyes.as_str(),
        });
        put(&mut json, "tax_id", self.tax_id.as_deref());
        put(
            &mut json,
            "address",
            self.address.as_ref().map(print_address),
        );
        json
    }
}

fn read_address(mut fields: Fields) -> Result<Address, Invalid> {
    let address = Address {
        street: label(&mut fields, "street", 70)?,
        town: label_required(&mut fields, "town", 35)?,
        country: fields.parsed_required("country", "country_invalid", country)?,
    };
    fields.finish()?;
    Ok(address)
}

fn print_address(address: &Address) -> Value {
    let mut json = json!({"town": address.town, "country": address.country});
    put(&mut json, "street", address.street.as_deref());
    json
}

/// An account without an id is called by its currency and its method, such as `eur-sepa`.
fn accounts(list: Vec<Fields>) -> Result<Vec<PayerAccount>, Invalid> {
    let mut accounts: Vec<PayerAccount> = Vec::with_capacity(list.len());
    for mut fields in list {
        let id = fields.parsed("id", "id_invalid", GivenId::parse)?;
        let currency = fields.parsed_required("currency", "currency_invalid", Currency::parse)?;
        let account = Account::take(&mut fields)?;
        let id = id.unwrap_or_else(|| {
            let name = format!(
                "{}-{}",
                currency.code().to_ascii_lowercase(),
                account.method()
            );
            GivenId::parse(&name).expect("a currency's three letters and a method's make an id")
        });
        if accounts.iter().any(|other| other.id == id) {
            return Err(fields.invalid("id", "id_repeated"));
        }
        fields.finish()?;
        accounts.push(PayerAccount {
            id,
            currency,
            account,
        });
    }
    Ok(accounts)
}

fn print_account(account: &PayerAccount) -> Value {
    let mut json = json!({"id": account.id.as_str(), "currency": account.currency.code()});
    account.account.put(&mut json);
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> Value {
        json!({"id": "acme", "legal_name": "Acme GmbH", "address": {"town": "Köln", "country": "DE"}})
    }

    #[test]
    fn a_payer_is_read_with_its_defaults() {
        let payer = Payer::parse(&given()).unwrap();
        let mut printed = given();
        printed["accounts"] = json!([]);
        printed["four_eyes"] = json!("on");
        assert_eq!(payer.to_json(), printed);
        assert_eq!(Payer::parse(&printed).unwrap(), payer);
    }

    #[test]
    fn the_house_exists_before_anybody_says_where_it_resides() {
        let house = Payer::house();
        assert_eq!(Payer::parse(&house.to_json()).unwrap(), house);
    }

    #[test]
    fn accounts_go_by_their_own_id_or_by_what_they_are() {
        let mut given = given();
        let sepa = json!({"currency": "EUR", "method": "sepa", "iban": "DE89370400440532013000", "holder": "Acme"});
        given["accounts"] = json!([sepa, {"id": "us", "currency": "USD", "method": "manual"}]);
        let payer = Payer::parse(&given).unwrap();
        assert_eq!(payer.account("eur-sepa").unwrap().currency.code(), "EUR");
        assert_eq!(payer.account("us").unwrap().account, Account::Manual);
        assert_eq!(Payer::parse(&payer.to_json()).unwrap(), payer);

        given["accounts"] = json!([sepa, sepa]);
        assert_eq!(
            Payer::parse(&given),
            Err(Invalid::new("accounts[1].id", "id_repeated"))
        );
    }

    #[test]
    fn what_cannot_be_taken_is_named() {
        for (member, value, field, code) in [
            ("legal_name", json!(null), "legal_name", "parameter_missing"),
            ("address", json!(null), "address", "parameter_missing"),
            ("address", json!("Köln"), "address", "not_an_object"),
            (
                "address",
                json!({"town": "Köln"}),
                "address.country",
                "parameter_missing",
            ),
            (
                "address",
                json!({"town": "Köln", "country": "DE", "zip": "1"}),
                "address.zip",
                "parameter_unknown",
            ),
            (
                "accounts",
                json!([{"currency": "eur", "method": "manual"}]),
                "accounts[0].currency",
                "currency_invalid",
            ),
            (
                "accounts",
                json!([{"method": "manual"}]),
                "accounts[0].currency",
                "parameter_missing",
            ),
            ("four_eyes", json!(true), "four_eyes", "type_wrong"),
            ("limit", json!("1"), "limit", "parameter_unknown"),
        ] {
            let mut given = given();
            given[member] = value;
            assert_eq!(
                Payer::parse(&given),
                Err(Invalid::new(field, code)),
                "{given}"
            );
        }
    }
}
