//! Patterns over target ids.
//!
//! | pattern | selects |
//! |---|---|
//! | `dsr1-fp8-*` | no `/`: every point whose config key matches, with its whole chain |
//! | `**/c64` | a `/`: every point whose id matches; `*` stays within a part, `**` does not |
//! | `bench:*/8k1k/*/c64` | a kind: only targets of that kind |
//! | `!*-trt` | takes away what the rest matches |

use globset::{GlobBuilder, GlobMatcher};

use super::target::{Kind, TargetId};

/// One parsed pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    pub negated: bool,
    pub kind: Option<Kind>,
    glob: GlobMatcher,
    /// Matched against the config key alone.
    config_only: bool,
}

/// A pattern that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("the pattern is empty")]
    Empty,
    #[error("`{text}` is not a valid pattern: {reason}")]
    Glob { text: String, reason: String },
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (negated, rest) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (kind, glob_text) = match rest.split_once(':') {
            Some((kind, rest)) if Kind::named(kind).is_some() => (Kind::named(kind), rest),
            _ => (None, rest),
        };
        if glob_text.is_empty() {
            return Err(PatternError::Empty);
        }
        // Image references hold slashes that mean nothing to a pattern; sweeps' names hold none.
        let flat = matches!(kind, Some(Kind::Image | Kind::Collect | Kind::Summarize));
        let glob = GlobBuilder::new(glob_text)
            .literal_separator(!flat)
            .backslash_escape(true)
            .build()
            .map_err(|e| PatternError::Glob {
                text: text.to_owned(),
                reason: e.kind().to_string(),
            })?;
        let config_only = !flat && !glob_text.contains('/') && glob_text != "**";
        Ok(Self {
            text: text.to_owned(),
            negated,
            kind,
            glob: glob.compile_matcher(),
            config_only,
        })
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The pattern without `!` and kind, to look for near names.
    pub fn bare(&self) -> &str {
        let rest = self.text.strip_prefix('!').unwrap_or(&self.text);
        if self.kind.is_some() {
            rest.split_once(':').map_or(rest, |(_, r)| r)
        } else {
            rest
        }
    }

    /// Whether a point's id (or the name of a target of the pattern's kind) matches.
    pub fn matches_name(&self, name: &str) -> bool {
        if self.config_only {
            self.glob.is_match(name.split('/').next().unwrap_or(name))
        } else {
            self.glob.is_match(name)
        }
    }

    /// Whether this one target matches. Without a kind, collections match nothing: they follow from their points.
    pub fn matches(&self, id: &TargetId) -> bool {
        match self.kind {
            Some(kind) => kind == id.kind && self.matches_name(&id.name),
            None => matches!(id.kind, Kind::Bench | Kind::Process) && self.matches_name(&id.name),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, kind: Kind, name: &str) -> bool {
        Pattern::parse(pattern)
            .unwrap()
            .matches(&TargetId::new(kind, name))
    }

    #[test]
    fn a_pattern_without_a_slash_is_about_the_config_key() {
        assert!(matches(
            "dsr1-fp8-*",
            Kind::Bench,
            "dsr1-fp8-h200-sglang/8k1k/tp8/c64"
        ));
        assert!(!matches(
            "dsr1-fp8-*",
            Kind::Bench,
            "dsr1-fp4-b200-trt/8k1k/tp8/c64"
        ));
        assert!(!matches("c64", Kind::Bench, "dsr1-fp8-h200-sglang/8k1k/tp8/c64"));
        assert!(matches("*", Kind::Process, "a/b/c/d"));
    }

    #[test]
    fn stars_stay_within_a_part_and_double_stars_cross() {
        assert!(matches("bench:*/8k1k/*/c64", Kind::Bench, "dsr1/8k1k/tp8/c64"));
        assert!(!matches("bench:*/8k1k/*/c64", Kind::Process, "dsr1/8k1k/tp8/c64"));
        assert!(!matches("*/c64", Kind::Bench, "dsr1/8k1k/tp8/c64"));
        assert!(matches("**/c64", Kind::Bench, "dsr1/8k1k/tp8/c64"));
        assert!(matches("**", Kind::Bench, "dsr1/8k1k/tp8/c64"));
    }

    #[test]
    fn image_references_are_matched_whole() {
        assert!(matches("image:*sglang*", Kind::Image, "lmsysorg/sglang:v0.5.9"));
        assert!(matches(
            "image:lmsysorg/sglang:v0.5.9",
            Kind::Image,
            "lmsysorg/sglang:v0.5.9"
        ));
        assert!(!matches("*sglang*", Kind::Image, "lmsysorg/sglang:v0.5.9"));
    }

    #[test]
    fn wrong_patterns_say_why() {
        assert_eq!(Pattern::parse("").unwrap_err(), PatternError::Empty);
        assert_eq!(Pattern::parse("bench:").unwrap_err(), PatternError::Empty);
        let shown = Pattern::parse("a[").unwrap_err().to_string();
        assert!(shown.contains("`a[` is not a valid pattern"), "{shown}");
    }

    proptest! {
        #[test]
        fn a_literal_id_matches_itself_and_parsing_never_panics(
            parts in prop::collection::vec("[a-z0-9._+-]{1,8}", 2..5),
            noise in ".{0,24}",
        ) {
            let id = parts.join("/");
            prop_assert!(matches(&id, Kind::Bench, &id));
            let with_kind = format!("bench:{id}");
            prop_assert!(matches(&with_kind, Kind::Bench, &id));
            let _ = Pattern::parse(&noise);
        }
    }
}
