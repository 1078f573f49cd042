//! What a master entry must satisfy beyond its types: concurrencies, divisibility, routers and transfers.

use super::diagnostic::Diagnostics;
use super::master::{Entry, MultiSearch, SingleSearch, Worker};
use super::yaml::{Document, Node};

/// Checks one entry; `node` is its mapping.
pub fn check_entry(document: &Document, node: &Node, entry: &Entry, diagnostics: &mut Diagnostics) {
    let mut rules = Rules {
        document,
        diagnostics,
    };
    match entry {
        Entry::Single(single) => {
            rules.flag_is_false(
                node,
                "disagg",
                single.disagg,
                "a single-node server cannot be disaggregated",
            );
            for_each_search(node, &single.scenarios.fixed_seq_len, |i, j, place| {
                let search = &single.scenarios.fixed_seq_len[i].search_space[j];
                rules.single_search(place, search);
                rules.declared_once(
                    place,
                    "router",
                    single.router.is_some() && search.router.is_some(),
                );
            });
        }
        Entry::Multi(multi) => {
            for_each_search(node, &multi.scenarios.fixed_seq_len, |i, j, place| {
                let search = &multi.scenarios.fixed_seq_len[i].search_space[j];
                rules.multi_search(place, search);
                rules.declared_once(place, "router", multi.router.is_some() && search.router.is_some());
                let twice = multi.kv_p2p_transfer.is_some() && search.kv_p2p_transfer.is_some();
                rules.declared_once(place, "kv-p2p-transfer", twice);
                if multi.disagg && multi.kv_p2p_transfer.is_none() && search.kv_p2p_transfer.is_none() {
                    rules.wrong(
                        place,
                        "disaggregated workers need `kv-p2p-transfer`",
                        "expected it here or at the top of the config",
                    );
                }
            });
        }
    }
}

fn for_each_search<S>(
    node: &Node,
    items: &[super::master::FixedSeqLen<S>],
    mut each: impl FnMut(usize, usize, &Node),
) {
    for (i, item) in items.iter().enumerate() {
        for j in 0..item.search_space.len() {
            let (i_text, j_text) = (i.to_string(), j.to_string());
            let path = ["scenarios", "fixed-seq-len", &i_text, "search-space", &j_text];
            each(i, j, node.nearest_at(&path));
        }
    }
}

struct Rules<'a> {
    document: &'a Document,
    diagnostics: &'a mut Diagnostics,
}

impl Rules<'_> {
    fn wrong(&mut self, place: &Node, message: impl Into<String>, label: impl Into<String>) {
        self.diagnostics
            .push(self.document.error(message, place.span, label));
    }

    fn flag_is_false(&mut self, node: &Node, field: &str, value: bool, why: &str) {
        if value {
            self.wrong(
                node.nearest_at(&[field]),
                why,
                format!("expected `{field}: false`, or `multinode: true`"),
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
        for (role, worker) in [("prefill", &search.prefill), ("decode", &search.decode)] {
            self.divides(place.nearest_at(&[role]), worker.tp, worker.dcp_size);
            self.settings(place, role, worker);
        }
        if search.prefill.num_worker == 0 {
            let at = place.nearest_at(&["prefill", "num-worker"]);
            self.wrong(
                at,
                "a deployment needs at least one prefill worker",
                "expected 1 or more",
            );
        }
        if search.prefill.hardware.is_some() != search.decode.hardware.is_some() {
            self.wrong(
                place,
                "`hardware` stands on one role only",
                "expected it on both `prefill` and `decode`, or neither",
            );
        }
        self.concurrencies(
            place,
            search.conc_start,
            search.conc_end,
            search.conc_list.as_deref(),
        );
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
                if let Some(i) = list.iter().position(|c| *c == 0) {
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
        check_entry(&document, root, &entry, &mut diagnostics);
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
