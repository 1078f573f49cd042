//! Search spaces into points.

use std::collections::{HashMap, HashSet};

use super::point::{AGENTIC_DURATION, Agentic, ConfigKey, Parallel, Point, Scenario, Topology};
use crate::cache::digest::Digest;
use crate::config::concurrency::concurrencies;
use crate::config::master::{
    AgenticCoding, AgenticSearch, Component, Entry, KvOffloading, MultiNode, SingleNode, SpecDecoding,
};
use crate::config::project::Config;
use crate::config::runners::Runners;

/// The points of all configs.
#[derive(Debug, Default)]
pub struct Matrix {
    /// In the order of files, scenarios, search spaces and concurrencies, each once.
    pub points: Vec<Point>,
    /// For each point that the configs write a second time, which one it is.
    pub duplicates: Vec<usize>,
}

/// Every point of the configs.
///
/// Points that are equal in all but their place collapse to one. Points whose ids are equal although they differ,
/// as multi-node deployments that differ only in their settings, get a mark: the first hex digits of what they are.
pub fn expand(configs: &[Config], runners: &Runners) -> Matrix {
    let mut points = Vec::new();
    for config in configs {
        match &config.entry {
            Entry::Single(single) => expand_single(&config.key, single, runners, &mut points),
            Entry::Multi(multi) => expand_multi(&config.key, multi, runners, &mut points),
        }
    }
    tell_apart(points)
}

/// A point of a config without what its search space says. The two forms share their fields, not a type: what users
/// write is flat.
macro_rules! base {
    ($key:expr, $config:expr, $kv_p2p_transfer:expr) => {
        Point {
            config: ConfigKey($key.to_owned()),
            image: $config.image.clone(),
            model: $config.model.clone(),
            model_prefix: $config.model_prefix.clone(),
            precision: $config.precision.clone(),
            framework: $config.framework.clone(),
            runner: $config.runner.clone(),
            scenario: Scenario::FixedSeqLen { isl: 0, osl: 0 },
            topology: Topology::Single(Parallel::ONE),
            spec_decoding: SpecDecoding::None,
            conc: 0,
            router: $config.router.clone(),
            kv_p2p_transfer: $kv_p2p_transfer,
            mark: String::new(),
        }
    };
}

/// What the search space puts into a point; absent values are those of the config.
struct Found<'a> {
    topology: Topology,
    spec_decoding: SpecDecoding,
    router: &'a Option<Component>,
    kv_p2p_transfer: &'a Option<String>,
}

impl Found<'_> {
    fn points(self, base: &Point, scenario: &Scenario, concs: Vec<u32>, points: &mut Vec<Point>) {
        for conc in concs {
            points.push(Point {
                scenario: scenario.clone(),
                topology: self.topology.clone(),
                spec_decoding: self.spec_decoding,
                conc,
                router: self.router.clone().or_else(|| base.router.clone()),
                kv_p2p_transfer: self
                    .kv_p2p_transfer
                    .clone()
                    .or_else(|| base.kv_p2p_transfer.clone()),
                ..base.clone()
            });
        }
    }
}

fn expand_single(key: &str, config: &SingleNode, runners: &Runners, points: &mut Vec<Point>) {
    let base = base!(key, config, None);
    for item in config.scenarios.fixed_seq_len() {
        let scenario = Scenario::FixedSeqLen {
            isl: item.isl,
            osl: item.osl,
        };
        for search in &item.search_space {
            let found = Found {
                topology: Topology::Single(Parallel {
                    tp: search.tp,
                    pp: search.pp,
                    dcp_size: search.dcp_size,
                    pcp_size: search.pcp_size,
                    ep: search.ep.unwrap_or(1),
                    dp_attn: search.dp_attn.unwrap_or(false),
                }),
                spec_decoding: search.spec_decoding,
                router: &search.router,
                kv_p2p_transfer: &None,
            };
            let concs = concurrencies(search.conc_start, search.conc_end, search.conc_list.as_deref());
            found.points(&base, &scenario, concs, points);
        }
    }
    expand_agentic(&base, config.scenarios.agentic_coding(), false, runners, points);
}

fn expand_multi(key: &str, config: &MultiNode, runners: &Runners, points: &mut Vec<Point>) {
    let base = base!(key, config, config.kv_p2p_transfer.clone());
    for item in config.scenarios.fixed_seq_len() {
        let scenario = Scenario::FixedSeqLen {
            isl: item.isl,
            osl: item.osl,
        };
        for search in &item.search_space {
            let found = Found {
                topology: Topology::Multi {
                    disagg: config.disagg,
                    prefill: search.prefill.clone(),
                    decode: search.decode.clone(),
                },
                spec_decoding: search.spec_decoding,
                router: &search.router,
                kv_p2p_transfer: &search.kv_p2p_transfer,
            };
            let concs = concurrencies(search.conc_start, search.conc_end, search.conc_list.as_deref());
            found.points(&base, &scenario, concs, points);
        }
    }
    let agentic = config.scenarios.agentic_coding();
    expand_agentic(&base, agentic, config.disagg, runners, points);
}

fn expand_agentic(
    base: &Point,
    scenarios: &[AgenticCoding],
    disagg: bool,
    runners: &Runners,
    points: &mut Vec<Point>,
) {
    for item in scenarios {
        for search in &item.search_space {
            let scenario = Scenario::AgenticCoding(agentic(item, search, &base.runner, runners));
            let found = Found {
                topology: agentic_topology(search, disagg),
                spec_decoding: search.spec_decoding,
                router: &search.router,
                kv_p2p_transfer: &search.kv_p2p_transfer,
            };
            let concs = concurrencies(search.conc_start, search.conc_end, search.conc_list.as_deref());
            found.points(base, &scenario, concs, points);
        }
    }
}

fn agentic(item: &AgenticCoding, search: &AgenticSearch, runner: &str, runners: &Runners) -> Agentic {
    let kv_offloading = search.kv_offloading.unwrap_or_default();
    let share = || {
        let hardware = runners.hardware.get(runner)?;
        search.dram_gb(hardware, item.dram_utilization?).ok()
    };
    Agentic {
        kv_offloading,
        kv_offload_backend: search.kv_offload_backend.clone(),
        total_cpu_dram_gb: match kv_offloading {
            KvOffloading::None => Some(0),
            KvOffloading::Dram => share(),
        },
        duration: AGENTIC_DURATION,
    }
}

fn agentic_topology(search: &AgenticSearch, disagg: bool) -> Topology {
    match (&search.prefill, &search.decode) {
        (Some(prefill), Some(decode)) => Topology::Multi {
            disagg,
            prefill: prefill.clone(),
            decode: decode.clone(),
        },
        _ => Topology::Single(Parallel {
            tp: search.tp.unwrap_or(1),
            pp: search.pp.unwrap_or(1),
            dcp_size: search.dcp_size.unwrap_or(1),
            pcp_size: search.pcp_size.unwrap_or(1),
            ep: search.ep.unwrap_or(1),
            dp_attn: search.dp_attn.unwrap_or(false),
        }),
    }
}

fn tell_apart(points: Vec<Point>) -> Matrix {
    let mut by_id = HashMap::<String, Vec<usize>>::new();
    let mut matrix = Matrix {
        points: Vec::with_capacity(points.len()),
        duplicates: Vec::new(),
    };
    let kept = &mut matrix.points;
    // Filled for ids that occur twice only: those are few.
    let mut by_curve = HashMap::<(String, Digest), usize>::new();
    for point in points {
        let id = point.id();
        let same_id = by_id.entry(id.clone()).or_default();
        if let [first, ..] = same_id[..] {
            if same_id.len() == 1 {
                by_curve.insert((id.clone(), curve_of(&kept[first])), first);
            }
            let curve = (id, curve_of(&point));
            if let Some(twin) = by_curve.get(&curve) {
                matrix.duplicates.push(*twin);
                continue;
            }
            by_curve.insert(curve, kept.len());
        }
        same_id.push(kept.len());
        kept.push(point);
    }
    for same_id in by_id.into_values().filter(|same_id| same_id.len() > 1) {
        let curves: Vec<String> = same_id.iter().map(|i| curve_of(&kept[*i]).to_string()).collect();
        let digits = marks_length(&curves);
        for (i, curve) in same_id.iter().zip(&curves) {
            kept[*i].mark = curve[..digits].to_owned();
        }
    }
    matrix
}

/// What tells the points of one id apart: the deployment alone, so that an image bump renames nothing.
fn curve_of(point: &Point) -> Digest {
    let deployment = (&point.topology, &point.router, &point.kv_p2p_transfer);
    let text = match point.agentic() {
        None => serde_json::to_vec(&deployment),
        Some(agentic) => serde_json::to_vec(&(deployment, agentic)),
    };
    Digest::of(&text.expect("a deployment is plain data"))
}

/// How many digits tell the marks apart: six, short enough to type, unless two happen to agree in these.
fn marks_length(curves: &[String]) -> usize {
    let longest = curves.iter().map(String::len).min().unwrap_or_default();
    let distinct = |digits: &usize| {
        let heads: HashSet<&str> = curves.iter().map(|curve| &curve[..*digits]).collect();
        heads.len() == curves.len()
    };
    (6..longest).find(distinct).unwrap_or(longest)
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
            master: 0,
            at: 0,
        }
    }

    fn points_of(configs: &[Config]) -> Vec<Point> {
        let runners = Runners {
            labels: std::collections::BTreeMap::new(),
            hardware: std::collections::BTreeMap::new(),
        };
        expand(configs, &runners).points
    }

    fn ids(configs: &[Config]) -> Vec<String> {
        points_of(configs).iter().map(Point::id).collect()
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
        let points = points_of(&[config("k", false, &search)]);
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
    fn marks_are_as_long_as_they_must_be() {
        let curves = |texts: [&str; 2]| texts.map(str::to_owned);
        assert_eq!(marks_length(&curves(["aaaaaaaaaa", "bbbbbbbbbb"])), 6);
        assert_eq!(marks_length(&curves(["aaaaaaab11", "aaaaaaac11"])), 8);
    }
}
