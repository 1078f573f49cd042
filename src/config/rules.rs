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
