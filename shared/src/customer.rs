//! A merchant's customer: a person, whom we know by a pseudonym only.

use std::fmt;

use crate::ids::MerchantId;
use crate::keys::{KeyRing, Purpose};

/// Characters of a customer's id.
const ID_MOST: usize = 256;

/// The merchant's own name for its customer, never kept as it came. It is not printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct CustomerId(String);

/// A text that names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a customer's id of 1 to 256 printable characters, one of them no blank")]
pub struct NotACustomer;

impl CustomerId {
    /// Blanks around it do not count.
    ///
    /// # Errors
    /// [`NotACustomer`]
    pub fn parse(text: &str) -> Result<Self, NotACustomer> {
        let fits = text.chars().count() <= ID_MOST && !text.trim().is_empty();
        if !fits || text.chars().any(char::is_control) {
            return Err(NotACustomer);
        }
        Ok(Self(text.trim().to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// 32 hexadecimal digits of an HMAC under the merchant: nobody without the keys can tell who it
    /// is, and two merchants cannot find out that they share one.
    #[must_use]
    pub fn pseudonym(&self, merchant: &MerchantId, keys: &KeyRing) -> String {
        // OK because no merchant's id holds a slash.
        let data = format!("{merchant}/{}", self.0);
        let hmac = keys.pseudonym(Purpose::Customer, data.as_bytes());
        let [bytes @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = hmac;
        format!("{:032x}", u128::from_be_bytes(bytes))
    }
}

impl fmt::Debug for CustomerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomerId(...)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_is_one_whatever_blanks_stand_around_and_another_one_to_every_merchant() {
        let keys = KeyRing::generate("prod", [7; 32]).unwrap().0;
        let known_as = |id: &str, merchant: &str| {
            let merchant = MerchantId::parse(merchant).unwrap();
            CustomerId::parse(id).unwrap().pseudonym(&merchant, &keys)
        };
        assert_eq!(known_as("Eva 1", "shop"), known_as(" Eva 1 ", "shop"));
        assert_ne!(known_as("eva 1", "shop"), known_as("Eva 1", "shop"));
        assert_ne!(known_as("Eva 1", "shop2"), known_as("Eva 1", "shop"));
    }

    #[test]
    fn what_names_nobody_is_refused_and_a_name_is_never_printed() {
        for text in ["", "  ", "a\nb", &"a".repeat(257)] {
            assert_eq!(CustomerId::parse(text), Err(NotACustomer), "{text:?}");
        }
        let longest = CustomerId::parse(&"ä".repeat(256)).unwrap();
        assert_eq!(format!("{longest:?}"), "CustomerId(...)");
    }
}
