//! Where money is paid to, and where a payer pays it from.

use std::fmt;

use serde_json::{Value, json};

use super::Invalid;
use super::text::{email, label_required, put};
use super::words::words;
use crate::http_types::Fields;

/// An international bank account number whose check digits hold.
#[derive(Clone, PartialEq, Eq)]
pub struct Iban(String);

/// A text that is no IBAN; the text itself is never repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an IBAN: its form or its check digits are wrong")]
pub struct NotAnIban;

impl Iban {
    /// Accepts the paper form with spaces, and lower case.
    ///
    /// # Errors
    /// [`NotAnIban`]
    pub fn parse(text: &str) -> Result<Self, NotAnIban> {
        let iban: String = text
            .chars()
            .filter(|c| *c != ' ')
            .map(|c| c.to_ascii_uppercase())
            .collect();
        let bytes = iban.as_bytes();
        let has_form = (15..=34).contains(&bytes.len())
            && bytes[..2].iter().all(u8::is_ascii_uppercase)
            && bytes[2..4].iter().all(u8::is_ascii_digit)
            && bytes[4..].iter().all(u8::is_ascii_alphanumeric);
        if !has_form || !fits_country(&iban) || remainder(bytes) != 1 {
            return Err(NotAnIban);
        }
        Ok(Self(iban))
    }

    /// Without spaces, upper case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The country and the last four characters: enough to recognise one's own.
    #[must_use]
    pub fn masked(&self) -> String {
        format!("{}…{}", &self.0[..2], &self.0[self.0.len() - 4..])
    }
}

impl fmt::Debug for Iban {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

/// ISO 7064 mod 97-10, over the number with its first four characters moved to the end.
fn remainder(iban: &[u8]) -> u32 {
    iban[4..]
        .iter()
        .chain(&iban[..4])
        .fold(0, |rest, byte| match byte {
            b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
            _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
        })
}

/// The lengths of the SEPA countries: check digits alone miss one cut-off number in a hundred.
const LENGTHS: &str = "AD24 AT20 BE16 BG22 CH21 CY28 CZ24 DE22 DK18 EE20 ES24 FI18 FR27 GB22 GI23 GR27 HR21 HU28 IE22 \
                       IS26 IT27 LI21 LT20 LU20 LV21 MC27 MT31 NL18 NO15 PL28 PT25 RO24 SE24 SI19 SK24 SM27 VA22";

fn fits_country(iban: &str) -> bool {
    let known = LENGTHS
        .split_whitespace()
        .find_map(|entry| entry.strip_prefix(&iban[..2]));
    known.is_none_or(|length| length == iban.len().to_string())
}

words!(
    /// How money travels.
    Method {
        Sepa = "sepa",
        Ach = "ach",
        Paypal = "paypal",
        Wise = "wise",
        Manual = "manual",
    }
);

words!(
    /// What an American bank account is.
    AccountKind {
        Checking = "checking",
        Savings = "savings",
    }
);

/// An account that money can be sent to or from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    Sepa {
        iban: Iban,
        bic: Option<String>,
        holder: String,
    },
    Ach {
        routing_number: String,
        account_number: String,
        kind: AccountKind,
        holder: String,
    },
    /// An e-mail address or a PayPal account id.
    Paypal {
        receiver: String,
    },
    Wise {
        receiver: String,
        holder: String,
    },
    /// Paid by hand, outside of any file.
    Manual,
}

impl Account {
    /// Takes `method` and the members that it needs.
    pub(super) fn take(fields: &mut Fields) -> Result<Self, Invalid> {
        let method = Method::take(fields, "method")?
            .ok_or_else(|| fields.invalid("method", "parameter_missing"))?;
        Ok(match method {
            Method::Sepa => Self::Sepa {
                iban: fields.parsed_required("iban", "iban_invalid", Iban::parse)?,
                bic: fields.parsed("bic", "bic_invalid", bic)?,
                holder: label_required(fields, "holder", 70)?,
            },
            Method::Ach => Self::Ach {
                routing_number: fields.parsed_required(
                    "routing_number",
                    "routing_number_invalid",
                    routing_number,
                )?,
                account_number: fields.parsed_required(
                    "account_number",
                    "account_number_invalid",
                    account_number,
                )?,
                kind: AccountKind::take(fields, "account_type")?.unwrap_or(AccountKind::Checking),
                holder: label_required(fields, "holder", 70)?,
            },
            Method::Paypal => Self::Paypal {
                receiver: fields.parsed_required("receiver", "receiver_invalid", receiver)?,
            },
            Method::Wise => Self::Wise {
                receiver: fields.parsed_required("receiver", "receiver_invalid", email)?,
                holder: label_required(fields, "holder", 70)?,
            },
            Method::Manual => Self::Manual,
        })
    }

    /// The word on the wire.
    #[must_use]
    pub fn method(&self) -> &'static str {
        let method = match self {
            Self::Sepa { .. } => Method::Sepa,
            Self::Ach { .. } => Method::Ach,
            Self::Paypal { .. } => Method::Paypal,
            Self::Wise { .. } => Method::Wise,
            Self::Manual => Method::Manual,
        };
        method.as_str()
    }

    /// Adds `method` and its members.
    pub(super) fn put(&self, json: &mut Value) {
        json["method"] = json!(self.method());
        match self {
            Self::Sepa { iban, bic, holder } => {
                json["iban"] = json!(iban.as_str());
                put(json, "bic", bic.as_deref());
                json["holder"] = json!(holder);
            }
            Self::Ach {
                routing_number,
                account_number,
                kind,
                holder,
            } => {
                json["routing_number"] = json!(routing_number);
                json["account_number"] = json!(account_number);
                json["account_type"] = json!(kind.as_str());
                json["holder"] = json!(holder);
            }
            Self::Paypal { receiver } => json["receiver"] = json!(receiver),
            Self::Wise { receiver, holder } => {
                json["receiver"] = json!(receiver);
                json["holder"] = json!(holder);
            }
            Self::Manual => {}
        }
    }

    /// What may stand in a log or an audit line: enough to recognise the account, not to use it.
    #[must_use]
    pub fn masked(&self) -> String {
        match self {
            Self::Sepa { iban, .. } => iban.masked(),
            Self::Ach { account_number, .. } => {
                format!("…{}", &account_number[account_number.len() - 4..])
            }
            Self::Paypal { receiver } | Self::Wise { receiver, .. } => {
                let first = receiver
                    .chars()
                    .next()
                    .map_or_else(String::new, String::from);
                let domain = receiver
                    .rsplit_once('@')
                    .map_or(String::new(), |(_, domain)| format!("@{domain}"));
                format!("{first}…{domain}")
            }
            Self::Manual => "manual".to_owned(),
        }
    }
}

/// ISO 9362: eight or eleven characters, upper case.
fn bic(text: &str) -> Result<String, ()> {
    let bytes = text.as_bytes();
    let has_form = matches!(bytes.len(), 8 | 11)
        && bytes[..6].iter().all(u8::is_ascii_uppercase)
        && bytes[6..]
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    if has_form {
        Ok(text.to_owned())
    } else {
        Err(())
    }
}

/// Nine digits whose weighted sum is a multiple of ten.
fn routing_number(text: &str) -> Result<String, ()> {
    let has_form = text.len() == 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    let weights = [3, 7, 1].into_iter().cycle();
    let sum: u32 = text
        .bytes()
        .zip(weights)
        .map(|(byte, weight)| u32::from(byte.wrapping_sub(b'0')) * weight)
        .sum();
    if has_form && sum.is_multiple_of(10) && sum > 0 {
        Ok(text.to_owned())
    } else {
        Err(())
    }
}

fn account_number(text: &str) -> Result<String, ()> {
    let fits = (4..=17).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if fits { Ok(text.to_owned()) } else { Err(()) }
}

/// An e-mail address, or the 13 capital letters and digits of a PayPal account id.
fn receiver(text: &str) -> Result<String, ()> {
    let is_payer_id = text.len() == 13
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    if is_payer_id {
        Ok(text.to_owned())
    } else {
        email(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iban_is_kept_without_spaces_if_its_check_digits_hold() {
        for (text, iban) in [
            ("DE89 3704 0044 0532 0130 00", "DE89370400440532013000"),
            ("gb82west12345698765432", "GB82WEST12345698765432"),
            ("NO9386011117947", "NO9386011117947"),
            (
                "MT84MALT011000012345MTLCAST001S",
                "MT84MALT011000012345MTLCAST001S",
            ),
            // Not a SEPA country: only the check digits count.
            ("AE070331234567890123456", "AE070331234567890123456"),
        ] {
            assert_eq!(Iban::parse(text).unwrap().as_str(), iban);
        }
        for text in [
            "",
            "DE",
            "DE89",
            "DE88370400440532013000",
            "DE89370400440532013001",
            "DE98370400440532013000",
            "DE8937040044053201300",
            "DE893704004405320130000",
            "XX00",
            "DE89-3704-0044-0532-0130-00",
            "ÄÖ89370400440532013000",
            "1E89370400440532013000",
        ] {
            assert_eq!(Iban::parse(text), Err(NotAnIban), "{text}");
        }
    }

    #[test]
    fn any_one_wrong_digit_is_noticed() {
        let good = "DE89370400440532013000";
        for at in 2..good.len() {
            for digit in b'0'..=b'9' {
                let mut bytes = good.as_bytes().to_vec();
                bytes[at] = digit;
                let text = String::from_utf8(bytes).unwrap();
                assert_eq!(Iban::parse(&text).is_ok(), text == good, "{text}");
            }
        }
    }

    fn take(given: Value) -> Result<Value, Invalid> {
        let mut fields = Fields::from_object(given)?;
        let account = Account::take(&mut fields)?;
        fields.finish()?;
        let mut printed = json!({});
        account.put(&mut printed);
        Ok(printed)
    }

    #[test]
    fn each_method_prints_what_it_read() {
        for given in [
            json!({"method": "sepa", "iban": "DE89370400440532013000", "holder": "Anna"}),
            json!({"method": "sepa", "iban": "DE89370400440532013000", "bic": "COBADEFFXXX", "holder": "Anna"}),
            json!({"method": "ach", "routing_number": "021000021", "account_number": "1234567", "account_type": "savings", "holder": "Ann"}),
            json!({"method": "paypal", "receiver": "anna@example.com"}),
            json!({"method": "paypal", "receiver": "ABCDE12345FGH"}),
            json!({"method": "wise", "receiver": "anna@example.com", "holder": "Anna"}),
            json!({"method": "manual"}),
        ] {
            assert_eq!(take(given.clone()), Ok(given));
        }
    }

    #[test]
    fn an_account_that_cannot_be_paid_is_refused() {
        for (given, field, code) in [
            (json!({}), "method", "parameter_missing"),
            (json!({"method": "cash"}), "method", "word_unknown"),
            (
                json!({"method": "sepa", "iban": "DE88370400440532013000", "holder": "A"}),
                "iban",
                "iban_invalid",
            ),
            (
                json!({"method": "sepa", "iban": "DE89370400440532013000"}),
                "holder",
                "parameter_missing",
            ),
            (
                json!({"method": "sepa", "iban": "DE89370400440532013000", "bic": "COBADEF", "holder": "A"}),
                "bic",
                "bic_invalid",
            ),
            (
                json!({"method": "ach", "routing_number": "021000022", "account_number": "1234", "holder": "A"}),
                "routing_number",
                "routing_number_invalid",
            ),
            (
                json!({"method": "ach", "routing_number": "021000021", "account_number": "12", "holder": "A"}),
                "account_number",
                "account_number_invalid",
            ),
            (
                json!({"method": "paypal", "receiver": "anna"}),
                "receiver",
                "receiver_invalid",
            ),
            (
                json!({"method": "paypal", "receiver": "a@b.co", "iban": "DE89370400440532013000"}),
                "iban",
                "parameter_unknown",
            ),
            (
                json!({"method": "manual", "holder": "A"}),
                "holder",
                "parameter_unknown",
            ),
        ] {
            assert_eq!(take(given), Err(Invalid::new(field, code)));
        }
    }

    #[test]
    fn a_masked_account_cannot_be_used() {
        let sepa = Account::Sepa {
            iban: Iban::parse("DE89370400440532013000").unwrap(),
            bic: None,
            holder: "Anna".into(),
        };
        let paypal = Account::Paypal {
            receiver: "anna@example.com".into(),
        };
        assert_eq!(
            (sepa.masked(), paypal.masked()),
            ("DE…3000".into(), "a…@example.com".into())
        );
        assert!(!format!("{sepa:?}").contains("3704"));
    }
}
