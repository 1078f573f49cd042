//! Signatures: what comes from elsewhere was made by somebody who has the key.
//!
//! A digest says that bytes are whole, not who wrote them. Where a key is configured, records on a remote and archives
//! carry a message authentication code over all that counts in them: BLAKE3 in its keyed mode, under a key that is
//! derived from the shared secret and the purpose, so that the signature of one is none of the other.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Digest;

/// A shorter secret can be guessed.
const SHORTEST: usize = 16;

/// What is signed. Signatures of one purpose are none for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A record on a remote.
    Record,
    /// The manifest of an archive.
    Archive,
}

/// A secret shared by all who may add results.
#[derive(Clone)]
pub struct SigningKey {
    record: [u8; 32],
    archive: [u8; 32],
}

/// The code over some bytes, in hexadecimal where it is text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Signature(Digest);

/// A secret that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a key for signing has at least {SHORTEST} bytes, and this one has {0}: `openssl rand -hex 32` makes one"
)]
pub struct WeakKey(usize);

impl SigningKey {
    /// The key of a secret.
    pub fn new(secret: &str) -> Result<SigningKey, WeakKey> {
        if secret.len() < SHORTEST {
            return Err(WeakKey(secret.len()));
        }
        let derived = |context| blake3::derive_key(context, secret.as_bytes());
        Ok(SigningKey {
            record: derived("sweep 2026-11-25 signature of a record on a remote v1"),
            archive: derived("sweep 2026-11-25 signature of an archive's manifest v1"),
        })
    }

    pub(super) fn sign(&self, purpose: Purpose, bytes: &[u8]) -> Signature {
        Signature(Digest(*self.code(purpose, bytes).as_bytes()))
    }

    /// Whether the signature is that of the bytes; takes as long for a wrong one as for the right one.
    pub(super) fn verifies(&self, purpose: Purpose, bytes: &[u8], signature: &Signature) -> bool {
        self.code(purpose, bytes) == signature.0.0
    }

    fn code(&self, purpose: Purpose, bytes: &[u8]) -> blake3::Hash {
        let key = match purpose {
            Purpose::Record => &self.record,
            Purpose::Archive => &self.archive,
        };
        blake3::keyed_hash(key, bytes)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl Signature {
    /// As it stands before a record.
    pub(super) fn to_bytes(self) -> [u8; 32] {
        self.0.0
    }

    pub(super) fn from_bytes(bytes: [u8; 32]) -> Signature {
        Signature(Digest(bytes))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const SECRET: &str = "0123456789abcdef";

    #[test]
    fn only_the_same_secret_bytes_and_purpose_verify() {
        let key = SigningKey::new(SECRET).unwrap();
        let signature = key.sign(Purpose::Record, b"record");
        let again = Signature::from_bytes(signature.to_bytes());
        assert!(key.verifies(Purpose::Record, b"record", &again));
        assert!(!key.verifies(Purpose::Record, b"Record", &signature));
        assert!(!key.verifies(Purpose::Archive, b"record", &signature));
        let other = SigningKey::new("0123456789abcdeF").unwrap();
        assert!(!other.verifies(Purpose::Record, b"record", &signature));
        assert!(!key.verifies(Purpose::Record, b"record", &Signature::from_bytes([0; 32])));
    }

    #[test]
    fn a_signature_of_known_bytes_never_changes() {
        // Another value means that what was signed before is refused.
        let key = SigningKey::new(SECRET).unwrap();
        let hex = |purpose| key.sign(purpose, b"record").0.to_string();
        // As another implementation of BLAKE3 computes them.
        insta::assert_snapshot!(hex(Purpose::Record), @"a205cfccf8af63b6536f117a67970bca1df8ba4486dc8b707889ed9740d58d4c");
        insta::assert_snapshot!(hex(Purpose::Archive), @"7e9eebf16445e1eac3f299fa8d27f886f6c20003c3d2030a4104310bbb4a3a82");
    }

    #[test]
    fn a_secret_is_long_and_never_shown() {
        assert_eq!(SigningKey::new("short").unwrap_err(), WeakKey(5));
        let shown = format!("{:?}", SigningKey::new(SECRET).unwrap());
        assert_eq!(shown, "SigningKey(…)");
    }
}
