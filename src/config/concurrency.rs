//! Concurrencies as search spaces write them: a list, or a range that doubles.

/// A ladder that doubles from `start` and ends with `end`: 4..100 gives 4, 8, 16, 32, 64, 100.
pub fn ladder(start: u32, end: u32) -> Vec<u32> {
    let mut steps = Vec::new();
    let mut conc = start.max(1);
    while conc < end {
        steps.push(conc);
        conc = conc.saturating_mul(2);
    }
    steps.push(end);
    steps
}

/// The concurrencies of a search-space entry, as written: a list that is not empty, else the range.
pub fn concurrencies(start: Option<u32>, end: Option<u32>, list: Option<&[u32]>) -> Vec<u32> {
    match (list.filter(|list| !list.is_empty()), start.zip(end)) {
        (Some(list), _) => list.to_vec(),
        (None, Some((start, end))) => ladder(start, end),
        (None, None) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_ladder_doubles_and_ends_with_its_end() {
        assert_eq!(ladder(4, 100), [4, 8, 16, 32, 64, 100]);
        assert_eq!(ladder(4, 4), [4]);
        assert_eq!(ladder(1, 8), [1, 2, 4, 8]);
    }

    #[test]
    fn a_list_counts_as_written_and_an_empty_one_not_at_all() {
        assert_eq!(concurrencies(None, None, Some(&[64, 4, 4])), [64, 4, 4]);
        assert_eq!(concurrencies(Some(4), Some(8), Some(&[])), [4, 8]);
        assert_eq!(concurrencies(Some(4), None, Some(&[16])), [16]);
    }

    proptest! {
        #[test]
        fn a_ladder_is_short_rising_and_keeps_its_ends(start in 1u32.., more in 0u32..) {
            let end = start.saturating_add(more);
            let steps = ladder(start, end);
            prop_assert!(steps.len() <= 33);
            prop_assert_eq!((steps[0], steps[steps.len() - 1]), (start, end));
            prop_assert!(steps.windows(2).all(|w| w[0] < w[1]));
        }
    }
}
