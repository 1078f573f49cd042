//! Targets' kinds and ids.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// What a target is. The order is the order in which a point's chain is built.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An engine's image, made present.
    Image,
    /// A running server: demanded while a stale point needs it, never built for itself.
    Server,
    /// A measurement: a workload against a server, kept as a raw trace.
    Bench,
    /// A check of accuracy against a server. Planned; this version runs none.
    Eval,
    /// A trace turned into a result row.
    Process,
    /// The rows of a sweep in one file.
    Collect,
    /// The rows of a sweep as tables.
    Summarize,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Image,
        Self::Server,
        Self::Bench,
        Self::Eval,
        Self::Process,
        Self::Collect,
        Self::Summarize,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Server => "server",
            Self::Bench => "bench",
            Self::Eval => "eval",
            Self::Process => "process",
            Self::Collect => "collect",
            Self::Summarize => "summarize",
        }
    }

    /// Whether its outcome was measured on a server, so that it is worth carrying to other machines; all else is computed
    /// from that.
    pub fn is_measured(self) -> bool {
        matches!(self, Self::Bench | Self::Eval)
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A stable, typable name: `bench:dsr1-fp8-h200-sglang/8k1k/tp8/c64`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId {
    pub kind: Kind,
    /// For `bench`, `eval` and `process` the point's id; for `server` the id of the first point that it serves; for `image`
    /// the reference; for `collect` and `summarize` the sweep's name.
    pub name: String,
}

impl TargetId {
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
        }
    }
}

/// A text as a file's name: what could mean something to a file system or a shell is an underscore.
pub fn file_name(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._+@-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect()
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

impl Serialize for TargetId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
