//! What is suspicious in configs that are valid: nothing here stops a build.

use super::diagnostic::Diagnostic;
use super::master::{Entry, KvOffloading};
use super::project::{Config, Project};
use super::rules::agentic_place;

/// Labels that no runner has, labels without the hardware facts that their configs need, lengths that InferenceX's
/// workflow does not dispatch.
pub fn advice(project: &Project) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for config in &project.configs {
        label(project, config, &mut found);
        hardware(project, config, &mut found);
        lengths(project, config, &mut found);
    }
    found
}

fn label(project: &Project, config: &Config, found: &mut Vec<Diagnostic>) {
    let labels = &project.runners.labels;
    let runner = config.entry.runner();
    if labels.contains_key(runner) {
        return;
    }
    let span = project.node(config).nearest_at(&["runner"]).span;
    found.push(
        Diagnostic::warning(format!("no runner has the label `{runner}` of `{}`", config.key))
            .at(&config.source, span, "its points would wait for ever")
            .nearest(runner, labels.keys().map(String::as_str))
            .help(format!(
                "labels are listed in `{}`",
                project.sweepfile.runners.display()
            )),
    );
}

fn hardware(project: &Project, config: &Config, found: &mut Vec<Diagnostic>) {
    let runner = config.entry.runner();
    if project.runners.hardware.contains_key(runner) {
        return;
    }
    for (i, scenario) in config.entry.agentic_coding().iter().enumerate() {
        let offloads = |kv| kv == Some(KvOffloading::Dram);
        if let Some(j) = scenario
            .search_space
            .iter()
            .position(|s| offloads(s.kv_offloading))
        {
            let span = agentic_place(project.node(config), i, j)
                .nearest_at(&["kv-offloading"])
                .span;
            found.push(
                Diagnostic::warning(format!(
                    "nothing says how much memory the hosts of `{runner}` have"
                ))
                .at(&config.source, span, "how much of it to use cannot be told")
                .help(format!(
                    "add `{runner}` to `hardware` in `{}`",
                    project.sweepfile.runners.display()
                )),
            );
            return;
        }
    }
}

/// Lengths that InferenceX's workflow has jobs for.
const DISPATCHED: [(u32, u32); 2] = [(1024, 1024), (8192, 1024)];

fn lengths(project: &Project, config: &Config, found: &mut Vec<Diagnostic>) {
    let lengths: Vec<(u32, u32)> = match &config.entry {
        Entry::Single(single) => single
            .scenarios
            .fixed_seq_len()
            .iter()
            .map(|s| (s.isl, s.osl))
            .collect(),
        Entry::Multi(multi) => multi
            .scenarios
            .fixed_seq_len()
            .iter()
            .map(|s| (s.isl, s.osl))
            .collect(),
    };
    for (i, (isl, osl)) in lengths.into_iter().enumerate() {
        if !DISPATCHED.contains(&(isl, osl)) {
            let place = ["scenarios", "fixed-seq-len", &i.to_string(), "isl"];
            let span = project.node(config).nearest_at(&place).span;
            found.push(
                Diagnostic::warning(format!("{isl} and {osl} tokens are neither `1k1k` nor `8k1k`"))
                    .at(&config.source, span, "InferenceX's workflow has no job for them")
                    .help("`sweep build` measures them all the same"),
            );
        }
    }
}
