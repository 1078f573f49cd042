//! Concurrency points: ladders, lists and what limits make of them.

use super::pyvalue::{Dict, PyValue};

/// A point as it was written and as the number that it means.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Conc {
    pub written: PyValue,
    pub value: i64,
}

impl From<i64> for Conc {
    fn from(value: i64) -> Self {
        Self {
            written: value.into(),
            value,
        }
    }
}

impl Conc {
    /// A validated point.
    fn of(written: &PyValue) -> Option<Self> {
        Some(Self {
            written: written.clone(),
            value: written.to_int()?,
        })
    }
}

/// The limits that `--min-conc` and `--max-conc` set.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bounds {
    pub min: Option<i64>,
    pub max: Option<i64>,
}

/// The points of an entry, in their order. A list that is empty counts as none, so that a range beside it is used.
pub(super) fn points(entry: &Dict, step: i64) -> Vec<Conc> {
    let list = list(entry);
    if !list.is_empty() {
        return list;
    }
    match range(entry) {
        Some((start, end)) => ladder(start, &end, step),
        None => Vec::new(),
    }
}

/// The points of a full sweep's fixed-length entry on one node. A range is cut before it is expanded: its ladder starts
/// at the minimum, and the maximum becomes a point.
pub(super) fn single_node_points(entry: &Dict, step: i64, bounds: Bounds) -> Vec<Conc> {
    let list = list(entry);
    let (Some((mut start, mut end)), true) = (range(entry), list.is_empty()) else {
        return bounded(list, bounds);
    };
    if let Some(min) = bounds.min {
        if min <= 0 || end.value < min {
            return Vec::new();
        }
        if min > start.value {
            start = min.into();
        }
    }
    if let Some(max) = bounds.max {
        if max <= 0 {
            return Vec::new();
        }
        if start.value > max {
            return vec![max.into()];
        }
        if max < end.value {
            end = max.into();
        }
    }
    ladder(start, &end, step)
}

/// The points of a full sweep's fixed-length entry on several nodes: expanded, then cut; the maximum stands in when
/// nothing is left below it.
pub(super) fn bounded(mut points: Vec<Conc>, bounds: Bounds) -> Vec<Conc> {
    if let Some(min) = bounds.min {
        points.retain(|conc| min > 0 && conc.value >= min);
    }
    if let (Some(max), false) = (bounds.max, points.is_empty()) {
        points.retain(|conc| conc.value <= max);
        if points.is_empty() && max > 0 {
            points.push(max.into());
        }
    }
    points
}

/// The points within bounds, no others: what agentic entries keep.
pub(super) fn within(mut points: Vec<Conc>, bounds: Bounds) -> Vec<Conc> {
    points.retain(|conc| {
        bounds.min.is_none_or(|min| conc.value >= min) && bounds.max.is_none_or(|max| conc.value <= max)
    });
    points
}

fn list(entry: &Dict) -> Vec<Conc> {
    let list = entry.get("conc-list").map_or(&[][..], PyValue::items);
    list.iter().filter_map(Conc::of).collect()
}

fn range(entry: &Dict) -> Option<(Conc, Conc)> {
    let end = |key| entry.some(key).and_then(Conc::of);
    end("conc-start").zip(end("conc-end"))
}

/// start, start × step, …; what would pass the end becomes the end.
fn ladder(start: Conc, end: &Conc, step: i64) -> Vec<Conc> {
    let mut points = Vec::new();
    let mut at = start;
    while at.value < end.value {
        let next = at.value.saturating_mul(step);
        let next = match at.written {
            // Python's product of a float is a float.
            _ if next > end.value => end.clone(),
            PyValue::Float(_) => Conc {
                written: PyValue::Float(next as f64),
                value: next,
            },
            _ => next.into(),
        };
        points.push(std::mem::replace(&mut at, next));
    }
    if at.value == end.value {
        points.push(at);
    }
    points
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::super::python_json::loads;
    use super::*;

    fn entry(json: &str) -> Dict {
        loads(json).unwrap().as_dict().cloned().unwrap()
    }

    fn values(points: &[Conc]) -> Vec<i64> {
        points.iter().map(|conc| conc.value).collect()
    }

    const RANGE: &str = r#"{"conc-start": 4, "conc-end": 100}"#;
    const LIST: &str = r#"{"conc-list": [64, 16, 16, 128], "conc-start": 1}"#;

    #[test]
    fn ranges_are_ladders_that_end_at_their_end() {
        assert_eq!(values(&points(&entry(RANGE), 2)), [4, 8, 16, 32, 64, 100]);
        assert_eq!(values(&points(&entry(RANGE), 3)), [4, 12, 36, 100]);
        assert_eq!(values(&points(&entry(LIST), 2)), [64, 16, 16, 128]);
        let empty = r#"{"conc-list": [], "conc-start": 3, "conc-end": 3}"#;
        assert_eq!(values(&points(&entry(empty), 2)), [3]);
    }

    #[test]
    fn what_was_written_is_kept() {
        let written: Vec<_> = points(&entry(r#"{"conc-start": "4", "conc-end": 10.0}"#), 2)
            .into_iter()
            .map(|conc| conc.written)
            .collect();
        assert_eq!(
            written,
            [PyValue::from("4"), PyValue::Int(8), PyValue::Float(10.0)]
        );
        let met = points(&entry(r#"{"conc-start": 4, "conc-end": 8.0}"#), 2);
        assert_eq!(met[1].written, PyValue::Int(8));
    }

    #[test]
    fn limits_cut_single_ranges_before_expansion() {
        let cut = |min, max| values(&single_node_points(&entry(RANGE), 2, Bounds { min, max }));
        assert_eq!(cut(Some(30), None), [30, 60, 100]);
        assert_eq!(cut(None, Some(50)), [4, 8, 16, 32, 50]);
        assert_eq!(cut(None, Some(2)), [2]);
        for (min, max) in [
            (Some(101), None),
            (Some(0), None),
            (None, Some(0)),
            (None, Some(-1)),
        ] {
            assert!(cut(min, max).is_empty());
        }
    }

    #[test]
    fn limits_cut_lists_after_expansion() {
        let cut = |min, max| values(&bounded(points(&entry(LIST), 2), Bounds { min, max }));
        assert_eq!(cut(Some(17), None), [64, 128]);
        assert_eq!(cut(None, Some(20)), [16, 16]);
        assert_eq!(cut(None, Some(8)), [8]);
        assert!(cut(None, Some(0)).is_empty());
        assert!(cut(Some(500), Some(600)).is_empty());
        let agentic = within(
            points(&entry(LIST), 2),
            Bounds {
                min: None,
                max: Some(8),
            },
        );
        assert!(agentic.is_empty());
    }

    proptest! {
        #[test]
        fn a_ladder_rises_from_start_to_end(start in 1_i64..10_000, more in 0_i64..i64::MAX / 2, step in 2_i64..10) {
            let end = start + more;
            let points = values(&ladder(start.into(), &end.into(), step));
            prop_assert_eq!((points[0], *points.last().unwrap()), (start, end));
            prop_assert!(points.is_sorted_by(|a, b| a < b));
        }
    }
}
