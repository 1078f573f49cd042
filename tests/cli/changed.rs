//! `--changed` and `--trim-conc`, on a history of their own.

use std::process::Command;

use super::{Project, refused, told};

const MASTER: &str = "\
one-fp8-sglang:
  { image: 'i:1', model: meta-llama/Llama-3.1-8B-Instruct, model-prefix: one, runner: h100, precision: fp8, framework: sglang, multinode: false,
    scenarios: { fixed-seq-len: [{ isl: 8192, osl: 1024, search-space: [{ tp: 2, conc-list: [16, 32, 64] }] }] } }
one-fp4-sglang:
  { image: 'i:1', model: meta-llama/Llama-3.1-8B-Instruct, model-prefix: one, runner: 'cluster:h100', precision: fp4, framework: sglang, multinode: false,
    scenarios: {
      fixed-seq-len: [{ isl: 8192, osl: 1024, search-space: [{ tp: 2, conc-list: [16, 32] }] }],
      agentic-coding: [{ search-space: [{ tp: 2, kv-offloading: none, conc-list: [4, 8] }] }] } }
two-fp8-wide:
  { image: 'i:1', model: openai/gpt-oss-120b, model-prefix: two, runner: h100, precision: fp8, framework: wide, multinode: true,
    disagg: true, kv-p2p-transfer: nixl,
    scenarios: { fixed-seq-len: [{ isl: 8192, osl: 1024, search-space: [
      { prefill: { num-worker: 1, tp: 2, ep: 2, dp-attn: false }, decode: { num-worker: 1, tp: 2, ep: 2, dp-attn: false }, conc-list: [64, 128] },
      { prefill: { num-worker: 1, tp: 2, ep: 4, dp-attn: true }, decode: { num-worker: 1, tp: 2, ep: 4, dp-attn: true }, conc-list: [256] },
    ] }] } }
";

/// A project under git whose first commit has configs and an empty log.
struct History(Project);

impl History {
    fn new() -> Self {
        let project = Project::new();
        project.write("configs/master.yaml", MASTER);
        project.write(
            "configs/runners.yaml",
            "labels: { h100: [h_0], 'cluster:h100': [h_0] }\n",
        );
        project.replace("Sweepfile", "serves: [h100]", "serves: [h100, 'cluster:h100']");
        project.replace(
            "Sweepfile",
            "secrets:",
            "changelog: perf-changelog.yaml\nsecrets:",
        );
        project.replace(
            "benchmarks/sglang/recipe.yaml",
            "framework: sglang",
            "framework: sglang, scenario-type: [fixed-seq-len, agentic-coding]",
        );
        let wide = "match: { framework: wide }\nserver: { command: 'serve {{ port }}', ready: { http: /health, within: 1m } }\n";
        project.write("benchmarks/wide/recipe.yaml", wide);
        project.write("perf-changelog.yaml", "# the log\n");
        let history = Self(project);
        history.git(&["init", "-q", "."]);
        history.commit();
        history
    }

    fn git(&self, words: &[&str]) {
        let ran = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
            .args(words)
            .current_dir(self.0.root())
            .status()
            .unwrap();
        assert!(ran.success());
    }

    fn commit(&self) {
        self.git(&[
            "add",
            "-A",
            "Sweepfile",
            "configs",
            "benchmarks",
            "perf-changelog.yaml",
        ]);
        self.git(&["commit", "-qm", "a change"]);
    }

    /// Commits an entry about `keys` with further fields.
    fn add(&self, keys: &str, fields: &str) {
        let log = self.0.read("perf-changelog.yaml");
        let entry = format!("- config-keys: [{keys}]\n  description: [d]\n  pr-link: p\n{fields}");
        self.0.write("perf-changelog.yaml", &(log + &entry));
        self.commit();
    }

    /// What is listed: each point to be measured, and each eval; `8k1k/`, sizes and the config's end are left out.
    fn ls(&self, words: &[&str]) -> (Vec<String>, Vec<String>) {
        let short = |line: &str| {
            let line = line.rsplit_once(':').map_or(line, |(_, id)| id);
            let parts: Vec<&str> = line.split('/').collect();
            let config = parts[0].rsplit_once('-').unwrap().0;
            let agentic = if parts[1] == "agentic" { "agentic/" } else { "" };
            format!("{config}/{agentic}{}", parts[3])
        };
        let list = |kind: &str| {
            let told = told(&self.0, &[&["ls", "--kind", kind], words].concat());
            let mut lines: Vec<String> = told.lines().map(short).collect();
            lines.sort();
            lines
        };
        (list("bench"), list("eval"))
    }

    fn last(&self, words: &[&str]) -> (Vec<String>, Vec<String>) {
        self.ls(&[&["--changed", "HEAD~1..HEAD"], words].concat())
    }
}

fn lists(measured: &[&str], checked: &[&str]) -> (Vec<String>, Vec<String>) {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    (owned(measured), owned(checked))
}

const ONE_FP8: [&str; 3] = ["one-fp8/c16", "one-fp8/c32", "one-fp8/c64"];

#[test]
fn an_entry_measures_its_configs_and_checks_the_chosen_points() {
    let history = History::new();
    history.add("one-fp8-sglang", "");
    let chosen = ["one-fp8/c32", "one-fp8/c64"];
    assert_eq!(history.last(&[]), lists(&ONE_FP8, &chosen));
    assert_eq!(history.last(&["--trim-conc"]), lists(&ONE_FP8[..1], &chosen));
    assert_eq!(history.last(&["--evals", "only"]), lists(&[], &chosen));
    assert_eq!(history.last(&["--evals", "all"]), lists(&ONE_FP8, &ONE_FP8));
    assert_eq!(history.last(&["--evals", "none"]), lists(&ONE_FP8, &[]));
    // Patterns narrow further, after the marking.
    assert_eq!(history.last(&["!**/c64"]), lists(&ONE_FP8[..2], &chosen[..1]));
    let plan = told(&history.0, &["plan", "--changed", "HEAD~1..HEAD"]);
    assert!(
        plan.contains("3 points: 3 stale") && plan.contains("cannot run 2 evals"),
        "{plan}"
    );
}

#[test]
fn fields_of_an_entry() {
    let history = History::new();
    history.add("one-*", "  scenario-type: [agentic-coding]\n");
    let agentic = ["one-fp4/agentic/c4", "one-fp4/agentic/c8"];
    assert_eq!(history.last(&[]), lists(&agentic, &agentic[1..]));
    history.add("one-fp4-sglang", "  evals-only: true\n");
    let chosen = ["one-fp4/agentic/c8", "one-fp4/c16", "one-fp4/c32"];
    assert_eq!(
        history.last(&[]),
        lists(
            &[],
            &chosen[..1]
                .iter()
                .chain(&chosen[2..])
                .copied()
                .collect::<Vec<_>>()
        )
    );
    history.add("one-fp4-sglang", "  all-evals: true\n");
    assert_eq!(
        history.last(&[]),
        lists(
            &[],
            &[
                "one-fp4/agentic/c4",
                "one-fp4/agentic/c8",
                "one-fp4/c16",
                "one-fp4/c32"
            ]
        )
    );
    history.add("two-*", "");
    let two = ["two-fp8/c128", "two-fp8/c256", "two-fp8/c64"];
    // A deployment is checked once, at its highest concurrency.
    assert_eq!(history.last(&[]), lists(&two, &two[..2]));
    history.add("two-*", "  eval-min-prefill-ep: 4\n");
    assert_eq!(history.last(&[]), lists(&two, &two[1..2]));
    // Together: what checks all comes first, and the first entry about a scenario marks it.
    let (measured, checked) = history.ls(&["--changed", "HEAD~5..HEAD"]);
    assert_eq!(measured.len(), 2 + 3);
    assert_eq!(checked.len(), 4 + 2);
}

#[test]
fn append_only_asks_for_the_points_that_were_not_there() {
    let history = History::new();
    history.0.replace(
        "configs/master.yaml",
        "conc-list: [16, 32, 64]",
        "conc-list: [16, 32, 64, 128]",
    );
    history.add("one-fp8-sglang", "  append-only: true\n");
    assert_eq!(history.last(&[]), lists(&["one-fp8/c128"], &[]));
    assert_eq!(history.last(&["--evals", "all"]), lists(&["one-fp8/c128"], &[]));
    assert_eq!(history.ls(&["--changed", "HEAD~1...HEAD"]), history.last(&[]));
    // Beside others, in one range or in two.
    history.add("two-*", "");
    let two = ["one-fp8/c128", "two-fp8/c128", "two-fp8/c256", "two-fp8/c64"];
    let both = lists(&two, &two[1..3]);
    assert_eq!(history.ls(&["--changed", "HEAD~2..HEAD"]), both);
    let union = ["--changed", "HEAD~2..HEAD~1", "--changed", "HEAD~1..HEAD"];
    assert_eq!(history.ls(&union), both);
}

#[test]
fn what_is_wrong_with_a_range_or_an_entry_is_told() {
    let history = History::new();
    let changed = |range: &str, code| refused(&history.0, &["plan", "--changed", range], code);
    history.0.write("unrelated", "x");
    history.git(&["add", "unrelated"]);
    history.git(&["commit", "-qm", "another"]);
    assert!(changed("HEAD~1..HEAD", 4).contains("no changelog entry was added in HEAD~1..HEAD"));
    // To a CI job that is no mistake: there is nothing to measure, and nothing to collect.
    let matrix = ["ci", "plan", "--shards", "2", "--changed", "HEAD~1..HEAD"];
    assert_eq!(told(&history.0, &matrix), "{\"include\":[]}\n");
    told(&history.0, &["ci", "collect"]);
    assert!(changed("HEAD", 2).contains("`HEAD` is no range of commits"));
    let option = refused(&history.0, &["plan", "--changed=--output=x..y"], 2);
    assert!(option.contains("is no range of commits"), "{option}");
    let shown = changed("nowhere..HEAD", 2);
    assert!(
        shown.contains("git cannot compare `nowhere..HEAD`") && shown.contains("fetch both commits"),
        "{shown}"
    );
    assert!(!history.0.path("x..y").exists());
    history.add("oen-fp8-sglang", "");
    insta::assert_snapshot!(changed("HEAD~1..HEAD", 2), @"
    error: no config is called `oen-fp8-sglang`
     --> perf-changelog.yaml:2:17
      |
    2 | - config-keys: [oen-fp8-sglang]
      |                 ^^^^^^^^^^^^^^ named here
      |
      = help: did you mean `one-fp8-sglang`?
    ");
    history
        .0
        .replace("perf-changelog.yaml", "  description: [d]\n", "");
    history.commit();
    insta::assert_snapshot!(changed("HEAD~1..HEAD", 2), @"
    error: `perf-changelog.yaml` may only grow: line 3 was removed
     |
     = help: line 3 was `description: [d]`
     = help: restore what was removed; a correction is an entry of its own
    ");
}
