//! What a master entry must satisfy beyond its types: concurrencies, divisibility, routers, transfers, offload.

use super::diagnostic::Diagnostics;
use super::legacy::Rewritten;
use super::master::{
    AgenticCoding, AgenticSearch, Component, Entry, KvOffloading, MultiNode, MultiSearch, SingleSearch,
    Worker,
};
use super::runners::Runners;
use super::yaml::{Document, Node};

/// Checks one entry; `node` is its mapping, `rewritten` tells the age of its file.
pub fn check_entry(
    document: &Document,
    node: &Node,
    entry: &Entry,
    rewritten: &Rewritten,
    diagnostics: &mut Diagnostics,
) {
    let mut rules = Rules {
        document,
        cluster_labels: !rewritten.before_cluster_labels(),
        diagnostics,
    };
    match entry {
        Entry::Single(single) => {
            let fixed = single.scenarios.fixed_seq_len();
            rules.at_least_one(node, fixed.len() + single.scenarios.agentic_coding().len());
            rules.flag(node, "multinode", single.multinode, false);
            rules.flag(node, "disagg", single.disagg, false);
            rules.component(node, single.router.as_ref());
            for (place, search) in searches(node, fixed) {
                rules.single_search(place, search);
                rules.router(place, single.router.as_ref(), search.router.as_ref());
            }
            for (place, search) in agentic_searches(node, single.scenarios.agentic_coding()) {
                rules.agentic_search(place, search, false);
                rules.router(place, single.router.as_ref(), search.router.as_ref());
                if search.kv_p2p_transfer.is_some() {
                    rules.wrong(
                        place.nearest_at(&["kv-p2p-transfer"]),
                        "a single-node server has nobody to hand KV caches to",
                        "only with `multinode: true`",
                    );
                }
            }
            rules.agentic(node, &single.runner, single.scenarios.agentic_coding());
        }
        Entry::Multi(multi) => {
            let fixed = multi.scenarios.fixed_seq_len();
            let agentic = multi.scenarios.agentic_coding();
            rules.at_least_one(node, fixed.len() + agentic.len());
            rules.component(node, multi.router.as_ref());
            for (place, search) in searches(node, fixed) {
                rules.multi_search(place, search);
                rules.router(place, multi.router.as_ref(), search.router.as_ref());
                rules.transfer(multi, place, search.kv_p2p_transfer.as_ref());
            }
            for (place, search) in agentic_searches(node, agentic) {
                rules.agentic_search(place, search, true);
                rules.router(place, multi.router.as_ref(), search.router.as_ref());
                rules.transfer(multi, place, search.kv_p2p_transfer.as_ref());
            }
            rules.agentic(node, &multi.runner, agentic);
        }
    }
}

/// Checks what an entry needs of the host's memory against what its runner label has.
pub fn check_offload(
    document: &Document,
    node: &Node,
    entry: &Entry,
    runners: &Runners,
    diagnostics: &mut Diagnostics,
) {
    let Some(hardware) = runners.hardware.get(entry.runner()) else {
        return;
    };
    for (i, scenario) in entry.agentic_coding().iter().enumerate() {
        let Some(utilization) = scenario.dram_utilization else {
            continue;
        };
        for (j, search) in scenario.search_space.iter().enumerate() {
            if search.kv_offloading != Some(KvOffloading::Dram) {
                continue;
            }
            if let Err(error) = search.dram_gb(hardware, utilization) {
                let place = agentic_place(node, i, j);
                diagnostics.push(
                    document
                        .error(
                            error.to_string(),
                            place.span,
                            format!("offloads to the memory of `{}`", entry.runner()),
                        )
                        .help("the share of a node's memory follows from its GPUs; choose sizes that divide or fill nodes"),
                );
            }
        }
    }
}

/// Every search-space entry of the fixed-length scenarios with its mapping.
fn searches<'a, S>(
    node: &'a Node,
    items: &'a [super::master::FixedSeqLen<S>],
) -> impl Iterator<Item = (&'a Node, &'a S)> {
    items.iter().enumerate().flat_map(move |(i, item)| {
        item.search_space
            .iter()
            .enumerate()
            .map(move |(j, search)| (search_place(node, "fixed-seq-len", i, j), search))
    })
}

fn agentic_searches<'a>(
    node: &'a Node,
    items: &'a [AgenticCoding],
) -> impl Iterator<Item = (&'a Node, &'a AgenticSearch)> {
    items.iter().enumerate().flat_map(move |(i, item)| {
        item.search_space
            .iter()
            .enumerate()
            .map(move |(j, search)| (agentic_place(node, i, j), search))
    })
}

/// The mapping of one search-space entry of an agentic scenario.
pub(super) fn agentic_place(node: &Node, scenario: usize, search: usize) -> &Node {
    search_place(node, "agentic-coding", scenario, search)
}

fn search_place<'a>(node: &'a Node, kind: &str, scenario: usize, search: usize) -> &'a Node {
    let (i, j) = (scenario.to_string(), search.to_string());
    node.nearest_at(&["scenarios", kind, &i, "search-space", &j])
}

struct Rules<'a> {
    document: &'a Document,
    /// Whether agentic scenarios must name a fleet: older files could not.
    cluster_labels: bool,
    diagnostics: &'a mut Diagnostics,
}

impl Rules<'_> {
    fn wrong(&mut self, place: &Node, message: impl Into<String>, label: impl Into<String>) {
        self.diagnostics
            .push(self.document.error(message, place.span, label));
    }

    fn at_least_one(&mut self, node: &Node, scenarios: usize) {
        if scenarios == 0 {
            self.wrong(
                node.nearest_at(&["scenarios"]),
                "at least one scenario type must be specified",
                "expected an entry in `fixed-seq-len` or `agentic-coding`",
            );
        }
    }

    fn flag(&mut self, node: &Node, field: &str, value: bool, expected: bool) {
        if value != expected {
            self.wrong(
                node.nearest_at(&[field]),
                "a single-node server cannot be disaggregated",
                format!("expected `{field}: {expected}`, or `multinode: true`"),
            );
        }
    }

    fn component(&mut self, place: &Node, component: Option<&Component>) {
        if component.is_some_and(|c| c.version.starts_with("image:")) {
            self.wrong(
                place.nearest_at(&["router", "version"]),
                "a router's version is an image reference",
                "expected a release, a package's version, or a source commit",
            );
        }
    }

    fn router(&mut self, place: &Node, above: Option<&Component>, here: Option<&Component>) {
        self.component(place, here);
        self.declared_once(place, "router", above.is_some() && here.is_some());
    }

    fn transfer(&mut self, config: &MultiNode, place: &Node, here: Option<&String>) {
        let above = config.kv_p2p_transfer.is_some();
        self.declared_once(place, "kv-p2p-transfer", above && here.is_some());
        if config.disagg && !above && here.is_none() {
            self.wrong(
                place,
                "disaggregated workers need `kv-p2p-transfer`",
                "expected it here or at the top of the config",
            );
        }
    }

    fn declared_once(&mut self, search: &Node, field: &str, twice: bool) {
        if twice {
            let message = format!("`{field}` is declared at the top of the config and again here");
            self.wrong(
                search.nearest_at(&[field]),
                message,
                "expected it in one of the two places",
            );
        }
    }

    /// What holds for an entry with agentic scenarios as a whole.
    fn agentic(&mut self, node: &Node, runner: &str, scenarios: &[AgenticCoding]) {
        if self.cluster_labels && !scenarios.is_empty() && !runner.starts_with("cluster:") {
            self.wrong(
                node.nearest_at(&["runner"]),
                "agentic scenarios run on one exact fleet",
                "expected a label `cluster:<name>`",
            );
        }
        for (i, scenario) in scenarios.iter().enumerate() {
            let offloads = |search: &AgenticSearch| search.kv_offloading == Some(KvOffloading::Dram);
            if scenario.dram_utilization.is_none()
                && let Some(j) = scenario.search_space.iter().position(offloads)
            {
                self.wrong(
                    agentic_place(node, i, j).nearest_at(&["kv-offloading"]),
                    "`kv-offloading: dram` needs `dram-utilization`",
                    "expected it beside this `search-space`, more than 0 and at most 1",
                );
            }
        }
    }

    fn agentic_search(&mut self, place: &Node, search: &AgenticSearch, multinode: bool) {
        let workers = search.prefill.is_some() && search.decode.is_some();
        let half = search.prefill.is_some() != search.decode.is_some();
        if search.tp.is_some() == workers || half {
            self.wrong(
                place,
                "a topology is `tp`, or both `prefill` and `decode`",
                "expected one of the two",
            );
        } else if workers != multinode {
            self.wrong(
                place,
                if workers {
                    "`prefill` and `decode` are for several nodes"
                } else {
                    "`tp` alone is for a single node"
                },
                format!("this config has `multinode: {multinode}`"),
            );
        }
        if let (Some(prefill), Some(decode)) = (&search.prefill, &search.decode) {
            self.workers(place, prefill, decode);
            for field in ["pp", "dcp-size", "pcp-size"] {
                if let Some(value) = place.get(field) {
                    self.wrong(
                        value,
                        format!("`{field}` beside `prefill` and `decode`"),
                        "expected it in the workers",
                    );
                }
            }
        } else {
            self.divides(place, search.tp.unwrap_or(1), search.dcp_size.unwrap_or(1));
            if search.kv_offloading.is_none() {
                self.wrong(place, "`kv-offloading` is missing", "expected `none` or `dram`");
            }
        }
        match (search.kv_offloading, &search.kv_offload_backend) {
            (Some(KvOffloading::Dram), None) => self.wrong(
                place.nearest_at(&["kv-offloading"]),
                "`kv-offloading: dram` needs `kv-offload-backend`",
                "expected `kv-offload-backend: { name: … }` beside it",
            ),
            (None | Some(KvOffloading::None), Some(_)) => self.wrong(
                place.nearest_at(&["kv-offload-backend"]),
                "`kv-offload-backend` without offloading",
                "only with `kv-offloading: dram`",
            ),
            _ => {}
        }
        self.concurrencies(
            place,
            search.conc_start,
            search.conc_end,
            search.conc_list.as_deref(),
        );
    }

    fn single_search(&mut self, place: &Node, search: &SingleSearch) {
        self.divides(place, search.tp, search.dcp_size);
        self.concurrencies(
            place,
            search.conc_start,
            search.conc_end,
            search.conc_list.as_deref(),
        );
    }

    fn multi_search(&mut self, place: &Node, search: &MultiSearch) {
        self.workers(place, &search.prefill, &search.decode);
        self.concurrencies(
            place,
            search.conc_start,
            search.conc_end,
            search.conc_list.as_deref(),
        );
    }

    fn workers(&mut self, place: &Node, prefill: &Worker, decode: &Worker) {
        for (role, worker) in [("prefill", prefill), ("decode", decode)] {
            self.divides(place.nearest_at(&[role]), worker.tp, worker.dcp_size);
            self.settings(place, role, worker);
        }
        if prefill.num_worker == 0 {
            let at = place.nearest_at(&["prefill", "num-worker"]);
            self.wrong(
                at,
                "a deployment needs at least one prefill worker",
                "expected 1 or more",
            );
        }
        if prefill.hardware.is_some() != decode.hardware.is_some() {
            self.wrong(
                place,
                "`hardware` stands on one role only",
                "expected it on both `prefill` and `decode`, or neither",
            );
        }
    }

    fn divides(&mut self, place: &Node, tp: u32, dcp: u32) {
        if !tp.is_multiple_of(dcp) {
            let message = format!("`tp` ({tp}) must be divisible by `dcp-size` ({dcp})");
            self.wrong(
                place.nearest_at(&["dcp-size"]),
                message,
                format!("expected a divisor of {tp}"),
            );
        }
    }

    fn settings(&mut self, place: &Node, role: &str, worker: &Worker) {
        for (i, setting) in worker.additional_settings.iter().flatten().enumerate() {
            if setting.split_once('=').is_none_or(|(key, _)| key.is_empty()) {
                let at = place.nearest_at(&[role, "additional-settings", &i.to_string()]);
                self.wrong(
                    at,
                    "an additional setting is no assignment",
                    "expected `KEY=VALUE`",
                );
            }
        }
    }

    fn concurrencies(&mut self, place: &Node, start: Option<u32>, end: Option<u32>, list: Option<&[u32]>) {
        let range = start.zip(end);
        let list = list.filter(|list| !list.is_empty());
        match (range, list) {
            (Some(_), Some(_)) => self.wrong(
                place.nearest_at(&["conc-list"]),
                "both `conc-list` and `conc-start`/`conc-end` are given",
                "expected a list or a range, not both",
            ),
            (None, None) => self.wrong(
                place,
                "no concurrency is given",
                "expected `conc-list: [4, 8]`, or `conc-start` and `conc-end`",
            ),
            (Some((start, end)), None) => {
                if start == 0 || end == 0 {
                    self.wrong(
                        place.nearest_at(&["conc-start"]),
                        "a concurrency is 0",
                        "expected 1 or more",
                    );
                } else if start > end {
                    let message = format!("`conc-start` ({start}) must be <= `conc-end` ({end})");
                    self.wrong(
                        place.nearest_at(&["conc-start"]),
                        message,
                        format!("expected at most {end}"),
                    );
                }
            }
            (None, Some(list)) => {
                for (i, _) in list.iter().enumerate().filter(|(_, conc)| **conc == 0) {
                    let at = place.nearest_at(&["conc-list", &i.to_string()]);
                    self.wrong(at, "a concurrency is 0", "expected 1 or more");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::Arc;

    use super::super::source::Source;
    use super::super::typed;
    use super::*;

    const SINGLE: &str = "\
multinode: false
scenarios:
  fixed-seq-len:
    - { isl: 1024, osl: 1024, search-space: [{ tp: 8, conc-list: [4] }] }
";

    const MULTI: &str = "\
multinode: true
disagg: true
kv-p2p-transfer: nixl
scenarios:
  fixed-seq-len:
    - isl: 1024
      osl: 1024
      search-space:
        - prefill: { num-worker: 1, tp: 4, ep: 4, dp-attn: true }
          decode: { num-worker: 1, tp: 8, ep: 1, dp-attn: false }
          conc-list: [4]
";

    /// What is wrong with an entry, a line each: where and what.
    fn wrong(text: &str, old: &str, new: &str) -> Vec<String> {
        assert!(text.contains(old), "`{old}`");
        let common = "image: i\nmodel: m\nmodel-prefix: p\nrunner: r\nprecision: fp8\nframework: f\n";
        let source = Arc::new(Source {
            path: "m.yaml".into(),
            text: format!("{common}{}", text.replacen(old, new, 1)),
        });
        let mut diagnostics = Diagnostics::default();
        let document = Document::parse(&source, &mut diagnostics).unwrap();
        let root = &document.root;
        let entry = if text == MULTI {
            Entry::Multi(typed::read(&document, root, "k", &mut diagnostics).unwrap())
        } else {
            Entry::Single(typed::read(&document, root, "k", &mut diagnostics).unwrap())
        };
        check_entry(&document, root, &entry, &Rewritten::default(), &mut diagnostics);
        let lines = diagnostics.0.iter().map(|diagnostic| {
            let place = &diagnostic.places[0];
            let line = source.text.lines().nth(place.span.line as usize - 1).unwrap();
            let from: String = line
                .chars()
                .skip(place.span.column as usize - 1)
                .take(9)
                .collect();
            format!("{from} | {}", diagnostic.message)
        });
        lines.collect()
    }

    #[test]
    fn right_entries_are_right() {
        assert!(wrong(SINGLE, "tp: 8", "tp: 8").is_empty());
        assert!(wrong(MULTI, "tp: 8", "tp: 8").is_empty());
        // A prefill that does both.
        assert!(wrong(MULTI, "decode: { num-worker: 1", "decode: { num-worker: 0").is_empty());
        assert!(wrong(SINGLE, "tp: 8", "tp: 8, dcp-size: 4, conc-start: 4").is_empty());
        assert!(
            wrong(
                SINGLE,
                "conc-list: [4]",
                "conc-start: 4, conc-end: 4, conc-list: []"
            )
            .is_empty()
        );
    }

    #[test]
    fn a_single_node_is_not_disaggregated() {
        assert_eq!(
            wrong(SINGLE, "multinode: false", "multinode: false\ndisagg: true"),
            ["true | a single-node server cannot be disaggregated"]
        );
    }

    #[test]
    fn decode_context_parallelism_divides_tensor_parallelism() {
        assert_eq!(
            wrong(SINGLE, "tp: 8", "tp: 8, dcp-size: 3"),
            ["3, conc-l | `tp` (8) must be divisible by `dcp-size` (3)"]
        );
        assert_eq!(
            wrong(
                MULTI,
                "decode: { num-worker: 1, tp: 8",
                "decode: { num-worker: 1, tp: 8, dcp-size: 16"
            ),
            ["16, ep: 1 | `tp` (8) must be divisible by `dcp-size` (16)"]
        );
    }

    #[test]
    fn concurrencies_are_a_list_or_a_range() {
        let conc = |text: &str| wrong(SINGLE, "conc-list: [4]", text);
        assert_eq!(conc("ep: 1"), ["{ tp: 8,  | no concurrency is given"]);
        assert_eq!(conc("conc-end: 4"), ["{ tp: 8,  | no concurrency is given"]);
        assert_eq!(
            conc("conc-list: [4], conc-start: 1, conc-end: 2"),
            ["[4], conc | both `conc-list` and `conc-start`/`conc-end` are given"]
        );
        assert_eq!(
            conc("conc-start: 8, conc-end: 4"),
            ["8, conc-e | `conc-start` (8) must be <= `conc-end` (4)"]
        );
        assert_eq!(conc("conc-list: [1, 0]"), ["0] }] } | a concurrency is 0"]);
        assert_eq!(
            conc("conc-start: 0, conc-end: 4"),
            ["0, conc-e | a concurrency is 0"]
        );
    }

    #[test]
    fn what_holds_for_a_whole_config_is_declared_once() {
        let router = "router: { name: r, version: '1' }";
        let both = SINGLE.replace("tp: 8", &format!("tp: 8, {router}"));
        assert!(wrong(&both, "tp: 8", "tp: 8").is_empty());
        let twice = wrong(&both, "scenarios:", &format!("{router}\nscenarios:"));
        assert_eq!(
            twice,
            ["{ name: r | `router` is declared at the top of the config and again here"]
        );
        assert_eq!(
            wrong(
                MULTI,
                "          conc-list",
                "          kv-p2p-transfer: x\n          conc-list"
            ),
            ["x | `kv-p2p-transfer` is declared at the top of the config and again here"]
        );
    }

    #[test]
    fn disaggregated_workers_say_how_caches_travel() {
        let moved = |to: &str| wrong(MULTI, "disagg: true\nkv-p2p-transfer: nixl\n", to);
        assert_eq!(
            moved("disagg: true\n"),
            ["prefill:  | disaggregated workers need `kv-p2p-transfer`"]
        );
        assert!(moved("").is_empty());
    }

    #[test]
    fn workers_are_whole() {
        assert_eq!(
            wrong(MULTI, "prefill: { num-worker: 1", "prefill: { num-worker: 0"),
            ["0, tp: 4, | a deployment needs at least one prefill worker"]
        );
        assert_eq!(
            wrong(MULTI, "dp-attn: true }", "dp-attn: true, hardware: h100 }"),
            ["prefill:  | `hardware` stands on one role only"]
        );
        assert_eq!(
            wrong(
                MULTI,
                "dp-attn: true }",
                "dp-attn: true, additional-settings: [A=1, B, =2] }"
            ),
            [
                "B, =2] } | an additional setting is no assignment",
                "=2] } | an additional setting is no assignment"
            ]
        );
    }
}
