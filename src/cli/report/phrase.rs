//! Parts of lines: GPU ranges, durations, short names of points.

use std::time::Duration;

use super::state::Place;
use crate::config::quantity::{Short, ShortSize};

/// Indices with runs of them drawn together: `0-3,6`.
pub fn indices(indices: &[u32]) -> String {
    let mut sorted = indices.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    sorted
        .chunk_by(|a, b| a + 1 == *b)
        .map(|run| match run {
            [first, .., last] => format!("{first}-{last}"),
            run => run.iter().map(u32::to_string).collect(),
        })
        .collect::<Vec<_>>()
        .join(",")
}

/// Milliseconds as people read them: `2m 05s`.
pub fn short_ms(ms: u64) -> String {
    Short(Duration::from_millis(ms)).to_string()
}

/// `pool h200, GPUs 0-7, simulated`.
pub(super) fn place(place: &Place) -> String {
    let mut words = vec![format!("pool {}", place.pool)];
    match place.gpus.as_slice() {
        [] => {}
        [gpu] => words.push(format!("GPU {gpu}")),
        gpus => words.push(format!("GPUs {}", indices(gpus))),
    }
    if place.simulated {
        words.push("simulated".to_owned());
    }
    if let Some(run) = &place.adopted_from {
        words.push(format!("adopted from run {run}"));
    }
    words.join(", ")
}

/// A target's name without its kind, its curve apart from its concurrency where it has one:
/// `bench:dsr1/8k1k/tp8/c64` as `dsr1/8k1k/tp8` and `c64`.
pub(super) fn curve_and_conc(target: &str) -> (&str, Option<&str>) {
    let name = target.split_once(':').map_or(target, |(_, name)| name);
    match name.rsplit_once('/') {
        Some((curve, conc)) => (curve, Some(conc)),
        None => (name, None),
    }
}

/// What became of results on their way to the remote cache.
pub(in crate::cli) fn sent(results: usize, bytes: u64, unsent: usize) -> String {
    let left = match unsent {
        0 => String::new(),
        unsent => format!(", {unsent} left for the next build"),
    };
    format!("sent {} ({}){left}", counted(results, "result"), ShortSize(bytes))
}

/// `1 point`, `2 points`.
pub(in crate::cli) fn counted(count: usize, word: &str) -> String {
    match count {
        1 => format!("1 {word}"),
        _ => format!("{count} {word}s"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn runs_of_indices_are_drawn_together() {
        assert_eq!(indices(&[]), "");
        assert_eq!(indices(&[0, 1, 2, 3, 4, 5, 6, 7]), "0-7");
        assert_eq!(indices(&[6, 3, 2, 0, 2]), "0,2-3,6");
        assert_eq!(indices(&[u32::MAX]), u32::MAX.to_string());
    }

    #[test]
    fn a_point_has_a_curve_and_an_image_has_none() {
        assert_eq!(
            curve_and_conc("bench:k/8k1k/tp8/c64"),
            ("k/8k1k/tp8", Some("c64"))
        );
        assert_eq!(curve_and_conc("collect:all"), ("all", None));
    }

    proptest! {
        #[test]
        fn indices_say_what_they_were_given(given in prop::collection::btree_set(0..64_u32, 0..20)) {
            let given: Vec<u32> = given.into_iter().collect();
            let mut read = Vec::new();
            for part in indices(&given).split(',').filter(|part| !part.is_empty()) {
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                let bound = |text: &str| text.parse::<u32>().map_err(|e| TestCaseError::fail(e.to_string()));
                read.extend(bound(first)?..=bound(last)?);
            }
            prop_assert_eq!(read, given);
        }
    }
}
