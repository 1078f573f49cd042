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
    use proptest::prelude::*;

    use super::*;

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
