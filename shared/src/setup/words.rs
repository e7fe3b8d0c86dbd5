//! Members that are one of a few words.

/// An enum whose variants are spelt as the contract spells them.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// The word on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }

            /// Reads the word on the wire, exactly.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// Takes a member, which must be one of the words if it is there.
            #[allow(dead_code, reason = "some are printed only")]
            pub(crate) fn take(
                fields: &mut $crate::http_types::Fields,
                name: &str,
            ) -> Result<Option<Self>, $crate::http_types::Invalid> {
                fields.parsed(name, "word_unknown", |text| Self::parse(text).ok_or(()))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use words;
