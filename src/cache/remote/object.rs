//! A record as an object: its signature, or zeros, and a pack that holds it alone.

use super::super::Key;
use super::super::incoming::{NotTaken, read_pack};
use super::super::index::{RecordRef, Records};
use super::super::log::{LogError, Origin, Pack};
use super::super::signature::{Purpose, Signature, SigningKey};

/// No record's object is longer: inputs are lines of text.
pub(super) const LONGEST: u64 = 16 << 20;

const SIGNATURE: usize = 32;

/// The object of a record.
pub(super) fn encode(
    origin: &Origin,
    place: u32,
    payload: &[u8],
    key: Option<&SigningKey>,
) -> Result<Vec<u8>, LogError> {
    let mut pack = Pack::new(0);
    pack.record(origin, place, payload);
    let pack = pack.encode()?;
    let signature = key.map_or([0; SIGNATURE], |key| key.sign(Purpose::Record, &pack).to_bytes());
    Ok([&signature[..], &pack].concat())
}

/// The record in an object, if it is a result of the key that was asked for; the reason if not.
pub(super) fn decode(bytes: &[u8], asked: &Key, key: Option<&SigningKey>) -> Result<Records, String> {
    let (signature, pack) = bytes
        .split_first_chunk::<SIGNATURE>()
        .ok_or_else(|| "it is cut short".to_owned())?;
    if let Some(key) = key {
        if *signature == [0; SIGNATURE] {
            return Err("it is not signed".to_owned());
        }
        if !key.verifies(Purpose::Record, pack, &Signature::from_bytes(*signature)) {
            return Err("its signature is not that of the configured key".to_owned());
        }
    }
    let records = read_pack("the object", pack.to_vec()).map_err(|error| match error {
        NotTaken::Wrong(reason) => reason,
        NotTaken::Log(error) => error.to_string(),
    })?;
    let is_result = |record: RecordRef<'_>| record.head().key == *asked && record.head().passed;
    if records.len() == 1 && records.iter().all(is_result) && records.forgotten().len() == 0 {
        Ok(records)
    } else {
        Err("it is no result of this key".to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::super::super::payload;
    use super::super::super::record::tests::example;
    use super::super::super::{Record, Verdict};
    use super::*;

    fn origin() -> Origin {
        Origin {
            generation: 3,
            segment: "20261122T040412Z-0a1b2c.00000001.log".to_owned(),
        }
    }

    fn object(record: &Record, key: Option<&SigningKey>) -> Vec<u8> {
        encode(&origin(), 5, &payload::encode(record), key).unwrap()
    }

    fn key(secret: &str) -> SigningKey {
        SigningKey::new(secret).unwrap()
    }

    #[test]
    fn a_record_comes_back_where_it_was_first_written() {
        let record = example("bench:x", 1);
        for key in [None, Some(&key("0123456789abcdef"))] {
            let records = decode(&object(&record, key), &record.key, key).unwrap();
            let (from, place, found) = records.placed().next().unwrap();
            assert_eq!(
                (from, place, found.decode().unwrap()),
                (&origin(), 5, record.clone())
            );
        }
        // Who has no key takes what others have signed.
        let signed = object(&record, Some(&key("0123456789abcdef")));
        assert!(decode(&signed, &record.key, None).is_ok());
    }

    #[test]
    fn what_is_not_a_result_of_the_key_is_refused() {
        let record = example("bench:x", 1);
        let (ours, theirs) = (key("0123456789abcdef"), key("fedcba9876543210"));
        let refused = |bytes: &[u8], key| decode(bytes, &record.key, key).unwrap_err();
        assert_eq!(refused(&object(&record, None), Some(&ours)), "it is not signed");
        assert_eq!(
            refused(&object(&record, Some(&theirs)), Some(&ours)),
            "its signature is not that of the configured key"
        );
        let other = example("bench:x", 2);
        assert_eq!(
            refused(&object(&other, None), None),
            "it is no result of this key"
        );
        let mut failed = record.clone();
        failed.verdict = Verdict::Failed {
            reason: "died".to_owned(),
            log: None,
        };
        assert_eq!(
            refused(&object(&failed, None), None),
            "it is no result of this key"
        );
        let mut forged = other;
        forged.key = record.key;
        assert!(refused(&object(&forged, None), None).contains("contradicts the rest"));
    }

    proptest! {
        #[test]
        fn no_damage_gives_another_record(at: prop::sample::Index, mask in 1..=255u8, cut: prop::sample::Index) {
            let record = example("bench:x", 1);
            let key = key("0123456789abcdef");
            let whole = object(&record, Some(&key));
            let mut flipped = whole.clone();
            flipped[at.index(whole.len())] ^= mask;
            prop_assert!(decode(&flipped, &record.key, Some(&key)).is_err());
            prop_assert!(decode(&whole[..cut.index(whole.len())], &record.key, Some(&key)).is_err());
            // Without a key the checksums of the pack tell all but the signature's own bytes.
            match decode(&flipped, &record.key, None) {
                Ok(records) => prop_assert_eq!(records.iter().next().unwrap().decode().unwrap(), record),
                Err(reason) => prop_assert!(!reason.is_empty()),
            }
        }
    }
}
