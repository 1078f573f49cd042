//! The order in which people expect names with numbers in them: `tp4` before `tp16`.

use std::cmp::Ordering;

/// Compares names piece by piece: runs of digits by their value, and a `/` before all else, so that what has a longer
/// name in one part of a path (`tp8-ep8`) follows all of the shorter (`tp8`). Only equal names are equal.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (l, r) = (piece(left), piece(right));
        if l.is_empty() || r.is_empty() {
            return l.len().cmp(&r.len()).then_with(|| a.cmp(b));
        }
        let order = match (is_number(l), is_number(r)) {
            (true, true) => {
                let (l, r) = (l.trim_start_matches('0'), r.trim_start_matches('0'));
                l.len().cmp(&r.len()).then_with(|| l.cmp(r))
            }
            _ => (l != "/").cmp(&(r != "/")).then_with(|| l.cmp(r)),
        };
        if order.is_ne() {
            return order;
        }
        (left, right) = (&left[l.len()..], &right[r.len()..]);
    }
}

/// The first run of digits, or the first character that is none.
fn piece(text: &str) -> &str {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    match digits {
        0 => &text[..text.chars().next().map_or(0, char::len_utf8)],
        _ => &text[..digits],
    }
}

fn is_number(piece: &str) -> bool {
    piece.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_count_by_value() {
        let mut ids = [
            "a-fp8/8k1k/tp8/c8",
            "a-fp8/1k1k/tp16/c4",
            "a-fp8/1k1k/tp8/c128",
            "a-fp4/1k1k/tp8/c4",
            "a-fp8/1k1k/tp8/c16",
            "a-fp8/1k1k/tp8-ep8/c16",
            "a-fp8/1k1k/tp8/c4",
        ];
        ids.sort_by(|a, b| natural(a, b));
        assert_eq!(
            ids,
            [
                "a-fp4/1k1k/tp8/c4",
                "a-fp8/1k1k/tp8/c4",
                "a-fp8/1k1k/tp8/c16",
                "a-fp8/1k1k/tp8/c128",
                "a-fp8/1k1k/tp8-ep8/c16",
                "a-fp8/1k1k/tp16/c4",
                "a-fp8/8k1k/tp8/c8",
            ]
        );
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in "[ab0-2/.é]{0,6}", b in "[ab0-2/.é]{0,6}", c in "[ab0-2/.é]{0,6}") {
            prop_assert_eq!(natural(&a, &b), natural(&b, &a).reverse());
            prop_assert_eq!(natural(&a, &b).is_eq(), a == b);
            if natural(&a, &b).is_le() && natural(&b, &c).is_le() {
                prop_assert!(natural(&a, &c).is_le());
            }
        }
    }
}
