//! Search spaces into points.

use std::collections::HashMap;

use super::point::{ConfigKey, Parallel, Point, Topology};
use crate::cache::digest::Digest;
use crate::config::master::{Entry, MultiNode, MultiSearch, SingleNode, SingleSearch};
use crate::config::project::Config;

/// Every point of the configs, in the order of files, scenarios, search spaces and concurrencies.
///
/// Points that are equal in all but their place collapse to one. Points whose ids are equal although they differ,
/// as multi-node deployments that differ only in their settings, get a mark: the first hex digits of what they are.
pub fn expand(configs: &[Config]) -> Vec<Point> {
    let mut points = Vec::new();
    for config in configs {
        match &config.entry {
            Entry::Single(single) => expand_single(&config.key, single, &mut points),
            Entry::Multi(multi) => expand_multi(&config.key, multi, &mut points),
        }
    }
    tell_apart(points)
}

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

fn concurrencies(start: Option<u32>, end: Option<u32>, list: Option<&[u32]>) -> Vec<u32> {
    match (list.filter(|list| !list.is_empty()), start.zip(end)) {
        (Some(list), _) => list.to_vec(),
        (None, Some((start, end))) => ladder(start, end),
        (None, None) => Vec::new(),
    }
}

fn expand_single(key: &str, config: &SingleNode, points: &mut Vec<Point>) {
    for scenario in &config.scenarios.fixed_seq_len {
        for search in &scenario.search_space {
            let SingleSearch {
                tp,
                pp,
                dcp_size,
                pcp_size,
                ..
            } = *search;
            let ep = search.ep.unwrap_or(1);
            let dp_attn = search.dp_attn.unwrap_or(false);
            for conc in concurrencies(search.conc_start, search.conc_end, search.conc_list.as_deref()) {
                points.push(Point {
                    config: ConfigKey(key.to_owned()),
                    image: config.image.clone(),
                    model: config.model.clone(),
                    model_prefix: config.model_prefix.clone(),
                    precision: config.precision.clone(),
                    framework: config.framework.clone(),
                    runner: config.runner.clone(),
                    isl: scenario.isl,
                    osl: scenario.osl,
                    topology: Topology::Single(Parallel {
                        tp,
                        pp,
                        dcp_size,
                        pcp_size,
                        ep,
                        dp_attn,
                    }),
                    spec_decoding: search.spec_decoding,
                    conc,
                    router: search.router.clone().or_else(|| config.router.clone()),
                    kv_p2p_transfer: None,
                    mark: String::new(),
                });
            }
        }
    }
}

fn expand_multi(key: &str, config: &MultiNode, points: &mut Vec<Point>) {
    for scenario in &config.scenarios.fixed_seq_len {
        for search in &scenario.search_space {
            let MultiSearch { prefill, decode, .. } = search;
            for conc in concurrencies(search.conc_start, search.conc_end, search.conc_list.as_deref()) {
                points.push(Point {
                    config: ConfigKey(key.to_owned()),
                    image: config.image.clone(),
                    model: config.model.clone(),
                    model_prefix: config.model_prefix.clone(),
                    precision: config.precision.clone(),
                    framework: config.framework.clone(),
                    runner: config.runner.clone(),
                    isl: scenario.isl,
                    osl: scenario.osl,
                    topology: Topology::Multi {
                        disagg: config.disagg,
                        prefill: prefill.clone(),
                        decode: decode.clone(),
                    },
                    spec_decoding: search.spec_decoding,
                    conc,
                    router: search.router.clone().or_else(|| config.router.clone()),
                    kv_p2p_transfer: search
                        .kv_p2p_transfer
                        .clone()
                        .or_else(|| config.kv_p2p_transfer.clone()),
                    mark: String::new(),
                });
            }
        }
    }
}

fn tell_apart(points: Vec<Point>) -> Vec<Point> {
    let mut by_id = HashMap::<String, Vec<usize>>::new();
    let mut kept: Vec<Point> = Vec::with_capacity(points.len());
    for point in points {
        let same_id = by_id.entry(point.id()).or_default();
        if !same_id.iter().any(|i| kept[*i] == point) {
            same_id.push(kept.len());
            kept.push(point);
        }
    }
    for same_id in by_id.values().filter(|same_id| same_id.len() > 1) {
        for i in same_id {
            kept[*i].mark = mark_of(&kept[*i]);
        }
    }
    kept
}

fn mark_of(point: &Point) -> String {
    // Of the deployment alone: the points of a curve carry one mark, and an image bump does not rename them.
    let deployment = (&point.topology, &point.router, &point.kv_p2p_transfer);
    let text = serde_json::to_vec(&deployment).expect("a deployment is plain data");
    Digest::of(&text).to_string()[..6].to_owned()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::config::source::{Source, Span};

    fn config(key: &str, multinode: bool, search_space: &serde_json::Value) -> Config {
        let entry = json!({
            "image": "i:1", "model": "m", "model-prefix": "p", "runner": "r", "precision": "fp8", "framework": "f",
            "multinode": multinode,
            "scenarios": { "fixed-seq-len": [{ "isl": 1024, "osl": 1024, "search-space": search_space }] },
        });
        Config {
            key: key.to_owned(),
            entry: match multinode {
                true => Entry::Multi(serde_json::from_value(entry).unwrap()),
                false => Entry::Single(serde_json::from_value(entry).unwrap()),
            },
            source: std::sync::Arc::new(Source {
                path: "x.yaml".into(),
                text: String::new(),
            }),
            span: Span::default(),
        }
    }

    fn ids(configs: &[Config]) -> Vec<String> {
        expand(configs).iter().map(Point::id).collect()
    }

    #[test]
    fn points_stand_in_the_order_of_what_was_written_and_equal_ones_once() {
        let search = json!([
            { "tp": 8, "conc-start": 4, "conc-end": 16 },
            { "tp": 4, "ep": 4, "dp-attn": true, "spec-decoding": "mtp", "conc-list": [64, 8, 64] },
            // Another spelling of some of the first.
            { "tp": 8, "ep": 1, "dp-attn": false, "conc-list": [8, 32] },
        ]);
        assert_eq!(
            ids(&[
                config("b", false, &search),
                config("a", false, &json!([{ "tp": 1, "conc-list": [1] }]))
            ]),
            [
                "b/1k1k/tp8/c4",
                "b/1k1k/tp8/c8",
                "b/1k1k/tp8/c16",
                "b/1k1k/tp4-ep4-dpa-mtp/c64",
                "b/1k1k/tp4-ep4-dpa-mtp/c8",
                "b/1k1k/tp8/c32",
                "a/1k1k/tp1/c1",
            ]
        );
    }

    #[test]
    fn deployments_that_ids_cannot_tell_apart_get_marks() {
        let search = |settings: &str| {
            let worker = json!({ "num-worker": 1, "tp": 4, "ep": 1, "dp-attn": false, "additional-settings": [settings] });
            json!({ "prefill": worker, "decode": worker, "conc-list": [1, 2] })
        };
        let points = ids(&[config(
            "k",
            true,
            &json!([search("A=1"), search("A=2"), search("A=1")]),
        )]);
        assert_eq!(points.len(), 4, "{points:?}");
        let marks: Vec<&str> = points
            .iter()
            .map(|id| &id[id.find('@').unwrap()..][..7])
            .collect();
        // The points of one curve carry one mark, and the mark follows from what they are.
        assert_eq!((marks[0], marks[2]), (marks[1], marks[3]));
        assert_ne!(marks[0], marks[2]);
        let alone = ids(&[config("k", true, &json!([search("A=1")]))]);
        assert!(!alone[0].contains('@'), "{alone:?}");
    }

    #[test]
    fn a_router_of_the_config_holds_for_all_its_points() {
        let router = json!({ "name": "r", "version": "1" });
        let search = json!([{ "tp": 1, "conc-list": [1], "router": router }, { "tp": 2, "conc-list": [1] }]);
        let points = expand(&[config("k", false, &search)]);
        assert_eq!(points[0].router.as_ref().unwrap().name, "r");
        assert_eq!(points[1].router, None);
    }

    proptest! {
        #[test]
        fn ids_are_unique_and_expanding_twice_gives_the_same(
            spaces in prop::collection::vec((1u32..4, 1u32..3, any::<bool>(), prop::collection::vec(1u32..6, 1..4)), 1..6),
        ) {
            let search: Vec<_> = spaces
                .iter()
                .map(|(tp, ep, dpa, list)| json!({ "tp": tp, "ep": ep, "dp-attn": dpa, "conc-list": list }))
                .collect();
            let configs = [config("k", false, &search.into())];
            let points = ids(&configs);
            let distinct: std::collections::BTreeSet<_> = points.iter().collect();
            prop_assert_eq!(distinct.len(), points.len());
            prop_assert_eq!(points, ids(&configs));
        }
    }

    #[test]
    fn a_ladder_doubles_and_ends_with_its_end() {
        assert_eq!(ladder(4, 100), [4, 8, 16, 32, 64, 100]);
        assert_eq!(ladder(4, 4), [4]);
        assert_eq!(ladder(1, 8), [1, 2, 4, 8]);
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
