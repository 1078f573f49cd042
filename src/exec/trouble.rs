//! Why something was not done, and whom that counts against.

/// What kept a target from being made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// It is the target's: it has failed.
    #[error("{0}")]
    Own(String),
    /// The machinery under it failed; nothing is known of the target.
    #[error("{0}")]
    Machinery(String),
}

impl Trouble {
    /// The same trouble, told as a part of a larger one.
    pub(super) fn within(&self, larger: &str) -> Self {
        self.clone().map(|reason| format!("{larger}: {reason}"))
    }

    pub(super) fn map(self, reword: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Own(reason) => Self::Own(reword(reason)),
            Self::Machinery(reason) => Self::Machinery(reword(reason)),
        }
    }

    pub(super) fn own(error: impl std::fmt::Display) -> Self {
        Self::Own(error.to_string())
    }

    pub(super) fn machinery(error: impl std::fmt::Display) -> Self {
        Self::Machinery(error.to_string())
    }
}
