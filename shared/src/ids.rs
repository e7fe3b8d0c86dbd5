//! The names things go by: one type each, so that no two can be swapped.

use std::fmt;

/// A text that is no id; which rule it breaks is in the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id of 2 to 32 characters from `a-z`, `0-9`, `_` and `-`, a letter or digit first")]
pub struct NotAnId;

fn check(text: &str) -> Result<(), NotAnId> {
    let mut bytes = text.bytes();
    let first = bytes.next().ok_or(NotAnId)?;
    let starts_well = first.is_ascii_lowercase() || first.is_ascii_digit();
    let goes_on_well =
        bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    if starts_well && goes_on_well && (2..=32).contains(&text.len()) {
        Ok(())
    } else {
        Err(NotAnId)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Matches `[a-z0-9][a-z0-9_-]{1,31}` (contract, section 3).
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Accepts exactly the texts that the contract allows.
            ///
            /// # Errors
            /// [`NotAnId`] for every other text.
            pub fn parse(text: &str) -> Result<Self, NotAnId> {
                check(text)?;
                Ok(Self(text.to_owned()))
            }

            /// The id as it stands on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

id!(
    /// Whose money it is.
    PayerId
);
id!(
    /// Who sells.
    MerchantId
);
id!(
    /// What a merchant offers to affiliates.
    ProgramId
);
id!(
    /// Who sends visitors and gets paid.
    AffiliateId
);
id!(
    /// One credential of a merchant.
    SecretId
);
id!(
    /// One commission rule within its program.
    RuleId
);
id!(
    /// A name that somebody gave to a link, an enrolment or a payer's account.
    GivenId
);
id!(
    /// One API key.
    KeyId
);

impl PayerId {
    /// The payer that exists from the start.
    #[must_use]
    pub fn house() -> Self {
        Self("house".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_lower_case_words() {
        for good in ["ab", "a-", "0_", "house", &"a".repeat(32)] {
            assert_eq!(
                MerchantId::parse(good).map(|id| id.to_string()),
                Ok(good.to_owned())
            );
        }
        for bad in [
            "",
            "a",
            "-a",
            "_a",
            "Ab",
            "a b",
            "a.b",
            "ä1",
            &"a".repeat(33),
        ] {
            assert_eq!(MerchantId::parse(bad), Err(NotAnId), "{bad}");
        }
    }
}
