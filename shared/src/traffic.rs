//! Who is asking: a person, somebody doubtful, or a machine.

/// What the money thinks of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A browser, as far as anyone can tell.
    Human,
    /// Odd, but it may be a person: it can earn, and statistics show it apart.
    Suspect,
    /// A robot or a link preview: it can never earn.
    Invalid,
}

impl Class {
    /// The word on the wire and in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Suspect => "suspect",
            Self::Invalid => "invalid",
        }
    }
}
