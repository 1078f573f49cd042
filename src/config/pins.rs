//! `sweep.lock`: what image tags and models stand for, pinned so that a key never depends on when it was looked up.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::diagnostic::Diagnostics;
use super::emit;
use super::reference::{ManifestDigest, Reference};
use super::sweepfile::FormatVersion;
use super::typed;
use super::yaml::Document;

/// The file, beside the Sweepfile.
pub const LOCK_FILE: &str = "sweep.lock";

/// What stands at the top of the file.
const HEADER: &str =
    "# What image tags and models stand for. Written by `sweep lock`; commit it.\nversion: 1\n";

/// The pins of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    pub images: BTreeMap<Reference, ImagePin>,
    /// Revisions by model id.
    pub models: BTreeMap<String, String>,
}

/// What a reference stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ImagePin {
    /// Of the image's manifest; of the index where it has one for several platforms.
    pub digest: ManifestDigest,
    /// Of an index: the manifest for each platform, as `linux/amd64`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub platforms: BTreeMap<String, ManifestDigest>,
}

/// The file's form.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockFile {
    /// The format's version; this program reads version 1.
    #[expect(dead_code, reason = "reading it refuses other versions")]
    version: FormatVersion,
    /// Image references in their normal form.
    #[serde(default)]
    images: BTreeMap<String, ImagePin>,
    /// Model ids to revisions.
    #[serde(default)]
    models: BTreeMap<String, String>,
}

impl Pins {
    /// Reads the file's content. What is wrong in it goes to `diagnostics`.
    pub(super) fn read(document: &Document, diagnostics: &mut Diagnostics) -> Option<Self> {
        let file: LockFile = typed::read(document, &document.root, LOCK_FILE, diagnostics)?;
        let mut images = BTreeMap::new();
        for (text, pin) in file.images {
            match text.parse() {
                Ok(reference) => drop(images.insert(reference, pin)),
                Err(error) => {
                    let place = document.root.nearest_at(&["images", &text]).span;
                    let error: super::reference::ReferenceError = error;
                    diagnostics.push(
                        document
                            .error(error.to_string(), place, "of this pin")
                            .help("`sweep lock` writes this file; take the line away and run it again"),
                    );
                }
            }
        }
        Some(Self {
            images,
            models: file.models,
        })
    }

    /// The digest of an image: its reference's own, or the pinned one.
    pub fn digest<'a>(&'a self, reference: &'a Reference) -> Option<&'a ManifestDigest> {
        let pinned = || self.images.get(reference).map(|pin| &pin.digest);
        reference.digest().or_else(pinned)
    }

    /// The text of the file: sorted, a line a digest, so that a change is seen as one.
    pub fn to_text(&self) -> String {
        let mut text = HEADER.to_owned();
        if !self.images.is_empty() {
            text.push_str("images:\n");
        }
        for (reference, pin) in &self.images {
            let digest = &pin.digest;
            text.push_str(&format!(
                "  {}:\n    digest: {digest}\n",
                emit::text(&reference.to_string())
            ));
            if !pin.platforms.is_empty() {
                text.push_str("    platforms:\n");
            }
            for (platform, digest) in &pin.platforms {
                text.push_str(&format!("      {}: {digest}\n", emit::text(platform)));
            }
        }
        if !self.models.is_empty() {
            text.push_str("models:\n");
        }
        for (model, revision) in &self.models {
            text.push_str(&format!("  {}: {}\n", emit::text(model), emit::text(revision)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::source::Source;
    use super::*;

    fn read(text: &str) -> Result<Pins, String> {
        let source = Arc::new(Source {
            path: LOCK_FILE.into(),
            text: text.to_owned(),
        });
        let mut diagnostics = Diagnostics::default();
        let document = Document::parse(&source, &mut diagnostics).map_err(|e| e.message)?;
        let pins = Pins::read(&document, &mut diagnostics);
        match diagnostics.0.first() {
            Some(wrong) => Err(wrong.message.clone()),
            None => Ok(pins.unwrap()),
        }
    }

    fn digest(byte: u8) -> ManifestDigest {
        format!("sha256:{}", format!("{byte:02x}").repeat(32))
            .parse()
            .unwrap()
    }

    #[test]
    fn the_file_is_sorted_and_has_a_line_a_digest() {
        let mut pins = Pins::default();
        let platforms = [
            ("linux/arm64".to_owned(), digest(2)),
            ("linux/amd64".to_owned(), digest(1)),
        ];
        for (reference, platforms) in [
            ("vllm/vllm-openai:v0.11.0", vec![]),
            ("nvcr.io#a/b:1", platforms.to_vec()),
        ] {
            let pin = ImagePin {
                digest: digest(7),
                platforms: platforms.into_iter().collect(),
            };
            pins.images.insert(reference.parse().unwrap(), pin);
        }
        pins.models
            .insert("openai/gpt-oss-120b".to_owned(), "1e10".to_owned());
        insta::assert_snapshot!(pins.to_text(), @r#"
        # What image tags and models stand for. Written by `sweep lock`; commit it.
        version: 1
        images:
          vllm/vllm-openai:v0.11.0:
            digest: sha256:0707070707070707070707070707070707070707070707070707070707070707
          nvcr.io/a/b:1:
            digest: sha256:0707070707070707070707070707070707070707070707070707070707070707
            platforms:
              linux/amd64: sha256:0101010101010101010101010101010101010101010101010101010101010101
              linux/arm64: sha256:0202020202020202020202020202020202020202020202020202020202020202
        models:
          openai/gpt-oss-120b: "1e10"
        "#);
        assert_eq!(read(&pins.to_text()).unwrap(), pins);
    }

    #[test]
    fn what_is_wrong_in_the_file_is_told() {
        assert!(read("version: 2\n").is_err());
        let pin = |name: &str| format!("version: 1\nimages:\n  {name}: {{ digest: {} }}\n", digest(1));
        assert!(read(&pin("a/b:1")).is_ok());
        assert!(read(&pin("A/b:1")).unwrap_err().contains("capitals"));
        assert!(read(&pin("a/b:1").replace("sha256", "md5")).is_err());
    }

    #[test]
    fn a_digest_of_the_reference_itself_goes_before_a_pin() {
        let mut pins = Pins::default();
        let tagged: Reference = "a/b:1".parse().unwrap();
        let own: Reference = format!("a/b@{}", digest(3)).parse().unwrap();
        assert_eq!(
            (pins.digest(&tagged), pins.digest(&own)),
            (None, Some(&digest(3)))
        );
        let pin = ImagePin {
            digest: digest(4),
            platforms: BTreeMap::new(),
        };
        pins.images.insert(tagged.clone(), pin);
        assert_eq!(pins.digest(&tagged), Some(&digest(4)));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(
            images in prop::collection::btree_map("[a-z0-9]{1,4}/[a-z0-9]{1,3}:[a-z0-9.]{1,3}[a-z]", any::<u8>(), 0..4),
            models in prop::collection::btree_map("[A-Za-z0-9/._-]{1,12}", "[0-9a-f]{1,8}", 0..4),
        ) {
            let images = images.into_iter().filter_map(|(reference, byte)| {
                let platforms = BTreeMap::from([("linux/amd64".to_owned(), digest(byte ^ 1))]);
                Some((reference.parse().ok()?, ImagePin { digest: digest(byte), platforms }))
            });
            let pins = Pins { images: images.collect(), models };
            prop_assert_eq!(read(&pins.to_text()).unwrap(), pins);
        }
    }
}
