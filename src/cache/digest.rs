//! BLAKE3 digests of content and of canonical inputs, as two types that cannot be confused.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What stands in for a digest that is none: it must be 64 lowercase hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a BLAKE3 digest: expected 64 lowercase hexadecimal digits")]
pub struct NotADigest(String);

macro_rules! blake3_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The first 12 hexadecimal digits, for people.
            pub fn short(&self) -> String {
                let mut hex = self.to_string();
                hex.truncate(12);
                hex
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&blake3::Hash::from_bytes(self.0).to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = NotADigest;

            fn from_str(text: &str) -> Result<Self, NotADigest> {
                // One spelling a digest, because it is also a file name.
                let lowercase = !text.bytes().any(|b| b.is_ascii_uppercase());
                match blake3::Hash::from_hex(text) {
                    Ok(hash) if lowercase => Ok(Self(*hash.as_bytes())),
                    _ => Err(NotADigest(text.to_owned())),
                }
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotADigest;

            fn try_from(text: String) -> Result<Self, NotADigest> {
                text.parse()
            }
        }
    };
}

blake3_newtype! {
    /// BLAKE3 of some bytes: the name of a blob.
    Digest
}

blake3_newtype! {
    /// BLAKE3 over everything that a target's outcome depends on; made by [`Inputs::key`](super::Inputs::key).
    Key
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of a file's bytes, read in pieces.
    pub fn of_file(path: &Path) -> io::Result<Digest> {
        Digest::of_open_file(&File::open(path)?)
    }

    /// The digest of what is left to read in an open file.
    pub fn of_open_file(file: &File) -> io::Result<Digest> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file)?;
        Ok(Digest(*hasher.finalize().as_bytes()))
    }
}

/// Builds a [`Digest`] from bytes that arrive in pieces.
#[derive(Debug, Clone, Default)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// A hasher that has seen nothing.
    pub fn new() -> Hasher {
        Hasher::default()
    }

    /// Adds `bytes` to what is hashed.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes so far.
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn is_blake3_in_lowercase_hex() {
        // The digest of the empty input, from the BLAKE3 paper's test vectors.
        let empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(Digest::of(b"").short(), "af1349b9f5f9");
        assert_eq!(format!("{:?}", Digest::of(b"")), "Digest(af1349b9f5f9)");
    }

    #[test]
    fn other_spellings_are_refused() {
        let hex = Digest::of(b"x").to_string();
        for wrong in [
            hex.to_uppercase(),
            hex[1..].to_owned(),
            format!("{hex}0"),
            format!(" {}", &hex[1..]),
        ] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
            assert!(serde_json::from_str::<Digest>(&format!("\"{wrong}\"")).is_err());
        }
    }

    proptest! {
        #[test]
        fn text_and_json_round_trip(bytes: [u8; 32]) {
            let digest = Digest(bytes);
            prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
            let json = serde_json::to_string(&digest).unwrap();
            prop_assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        }

        #[test]
        fn pieces_and_files_hash_as_the_whole(bytes: Vec<u8>, cut: prop::sample::Index) {
            let (a, b) = bytes.split_at(cut.index(bytes.len() + 1));
            let mut hasher = Hasher::new();
            hasher.update(a);
            hasher.update(b);
            prop_assert_eq!(hasher.finish(), Digest::of(&bytes));
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &bytes).unwrap();
            prop_assert_eq!(Digest::of_file(file.path()).unwrap(), Digest::of(&bytes));
        }
    }
}
