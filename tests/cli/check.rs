//! `sweep check`.

use serde_json::json;

use super::{ALPHA, Project, trimmed};

/// The usual project with one warning of each sort.
fn suspicious() -> Project {
    let project = Project::new();
    // `cluster:a` has no hardware; nobody has `h200`.
    project.write(
        "configs/runners.yaml",
        "labels: { h100: [h_0], 'cluster:a': [a_0] }\nhardware: { h100: { available-cpu-dram-mib: 1, gpus-per-node: 8 } }\n",
    );
    project.edit_config(ALPHA, "runner: h100", "runner: h200");
    let key = "beta-fp4-h100-sglang";
    project.edit_config(key, "runner: h100", "runner: cluster:a");
    let agentic = "    agentic-coding:\n      - dram-utilization: 0.5\n        search-space: [{ tp: 2, kv-offloading: dram, kv-offload-backend: { name: hicache }, conc-list: [1] }]\n    fixed-seq-len:\n";
    project.edit_config(key, "    fixed-seq-len:\n", agentic);
    project.edit_config(
        "gamma-fp8-h100-vllm",
        "conc-list: [1, 2]",
        "conc-list: [1, 512, 512]",
    );
    project.edit_config("delta-fp4-h100-vllm", "framework: vllm", "framework: vlm");
    project.replace(
        "benchmarks/vllm/recipe.yaml",
        "  env: {",
        "  env: { CONTAINER: 'vllm/vllm-openai:v0.10.0',",
    );
    project
}

fn messages(project: &Project) -> Vec<String> {
    let report = project.json(&["check", "--format", "json"]);
    let diagnostics = report["diagnostics"].as_array().unwrap();
    let text = |d: &serde_json::Value| {
        let place = &d["places"][0];
        let at = format!("{}:{}", place["file"].as_str().unwrap(), place["line"]);
        assert!(!d["help"].as_array().unwrap().is_empty(), "{d}");
        format!(
            "{at}: {}: {}",
            d["severity"].as_str().unwrap(),
            d["message"].as_str().unwrap()
        )
    };
    diagnostics.iter().map(text).collect()
}

#[test]
fn each_sort_of_warning_has_a_place_and_a_remedy() {
    let project = suspicious();
    let found = messages(&project);
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    let lengths = "64 and 16 tokens are neither `1k1k` nor `8k1k`";
    let expected = [
        format!("configs/master.yaml:5: warning: no runner has the label `h200` of `{ALPHA}`"),
        format!("configs/master.yaml:11: warning: {lengths}"),
        "configs/master.yaml:23: warning: nothing says how much memory the hosts of `cluster:a` have".to_owned(),
        format!("configs/master.yaml:25: warning: {lengths}"),
        format!("configs/master.yaml:36: warning: {lengths}"),
        format!("configs/master.yaml:47: warning: {lengths}"),
        "configs/master.yaml:26: warning: `gamma-fp8-h100-vllm/64_16/tp4/c512` stands twice in its config".to_owned(),
        "configs/master.yaml:12: warning: no recipe for 1 point of framework `sglang`: no recipe matches framework `sglang` (model `beta`, precision `fp4`, runner `cluster:a`, agentic)".to_owned(),
        "configs/master.yaml:37: warning: no recipe for 2 points of framework `vlm`: no recipe matches framework `vlm` (model `delta`, precision `fp4`, runner `h100`)".to_owned(),
        "benchmarks/vllm/recipe.yaml:5: warning: recipe `vllm` runs `vllm/vllm-openai:v0.10.0`, and the rows say `vllm/vllm-openai:v0.11.0`".to_owned(),
        "benchmarks/vllm/recipe.yaml:5: warning: recipe `vllm` takes 256 requests at a time, and `gamma-fp8-h100-vllm/64_16/tp4/c512` sends 512: the others wait in the server".to_owned(),
    ];
    for warning in &expected {
        assert!(
            found.contains(&warning.as_str()),
            "{warning}\nis not in\n{}",
            found.join("\n")
        );
    }
    assert_eq!(found.len(), expected.len(), "{}", found.join("\n"));
    let ran = project.sweep(&["check"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran}");
    assert!(
        trimmed(&ran.stderr).ends_with("4 configs, 12 points: 11 warnings"),
        "{ran}"
    );
    assert_eq!(project.sweep(&["check", "--strict"]).code, 1);
}

#[test]
fn nothing_suspicious_is_no_warning_even_strictly() {
    let project = Project::new();
    let text = project
        .read("configs/master.yaml")
        .replace("isl: 64, osl: 16", "isl: 1024, osl: 1024");
    project.write("configs/master.yaml", &text);
    let ran = project.sweep(&["check", "--strict"]);
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (0, "4 configs, 10 points: 0 warnings\n"),
        "{ran}"
    );
}

#[test]
fn errors_are_told_in_both_forms() {
    let project = Project::new();
    project.replace("benchmarks/sglang/recipe.yaml", "{{ tp }}", "{{ tpp }}");
    let ran = project.sweep(&["check"]);
    assert!(ran.code == 2 && ran.stderr.contains("there is no `tpp`"), "{ran}");
    let ran = project.sweep(&["check", "--format", "json"]);
    assert_eq!(ran.code, 2, "{ran}");
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let errors = report["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|d| d["severity"] == "error");
    let places: Vec<_> = errors.map(|d| d["places"][0]["line"].clone()).collect();
    assert_eq!(places, [json!(4)]);
    project.write("configs/runners.yaml", "labels: 7\n");
    let ran = project.sweep(&["check", "--format", "json"]);
    assert!(
        ran.code == 2 && ran.stdout.contains("\"file\": \"configs/runners.yaml\""),
        "{ran}"
    );
}

/// A renamed config leaves a sweep behind that selects nothing: both `check` and whoever names the sweep say where.
#[test]
fn a_pattern_of_a_sweep_that_matches_nothing_is_shown() {
    let project = Project::new();
    let sweeps = "sweeps:\n  nightly: { select: ['alpha-*', 'alpha-fp8-h100-sglang/*/*/c4'] }\n";
    project.write("Sweepfile", &(project.read("Sweepfile") + sweeps));
    let line = project.read("Sweepfile").lines().count();
    let about = |found: Vec<String>| {
        found
            .into_iter()
            .filter(|m| m.contains("no point matches"))
            .collect::<Vec<_>>()
    };
    assert!(about(messages(&project)).is_empty());
    project.edit_config(ALPHA, "alpha-fp8-h100-sglang:", "alpha-fp8-h100-sglang2:");
    let found = about(messages(&project));
    let expected = format!("Sweepfile:{line}: warning: no point matches `alpha-fp8-h100-sglang/*/*/c4`");
    assert_eq!(found, [expected]);
    let refused = project.sweep(&["plan", "nightly"]);
    assert_eq!(refused.code, 4, "{refused}");
    assert!(
        refused.stderr.contains(&format!("Sweepfile:{line}:"))
            && refused.stderr.contains("in sweep `nightly`"),
        "{refused}"
    );
}
