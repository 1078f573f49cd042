//! What was found of one matter.

use serde::Serialize;

/// One line of the doctor's report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The matter in a word or two, as `engine` or `GPUs of h200`.
    pub check: String,
    pub level: Level,
    pub found: String,
    /// The command or the edit that mends it; none where all is well.
    pub mend: Option<String>,
}

/// In the order of how bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Ok,
    /// A build may work, or may not give what is hoped for.
    Warn,
    /// A build cannot work.
    Wrong,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Wrong => "wrong",
        }
    }
}

impl Finding {
    pub fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            level: Level::Ok,
            found: found.into(),
            mend: None,
        }
    }

    pub fn warn(check: impl Into<String>, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            level: Level::Warn,
            mend: Some(mend.into()),
            ..Self::ok(check, found)
        }
    }

    pub fn wrong(check: impl Into<String>, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            level: Level::Wrong,
            ..Self::warn(check, found, mend)
        }
    }
}
