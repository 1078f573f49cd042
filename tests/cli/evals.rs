//! Checks of accuracy and points of coding agents: targets that are planned and not run.

use serde_json::{Value, json};

use super::{ALPHA, Project, built, refused, told, trimmed};

/// The usual project, `alpha` with 8k1k points of five concurrencies.
fn with_evals() -> Project {
    let project = Project::new();
    let points = "{ isl: 64, osl: 16, search-space: [{ tp: 2, conc-list: [1, 2, 4] }] }";
    let checked = "{ isl: 8192, osl: 1024, search-space: [{ tp: 2, conc-list: [1, 16, 32, 64, 128] }] }";
    project.edit_config(ALPHA, points, checked);
    project
}

/// The usual project, `gamma` with an agentic scenario beside its own.
fn with_agentic(recipe: bool) -> Project {
    let project = Project::new();
    let runners = "labels: { h100: [h100_0], 'cluster:h100': [h100_0] }\n";
    project.write("configs/runners.yaml", runners);
    project.replace("Sweepfile", "serves: [h100]", "serves: [h100, 'cluster:h100']");
    let key = "gamma-fp8-h100-vllm";
    project.edit_config(key, "runner: h100", "runner: cluster:h100");
    let fixed = "    fixed-seq-len:\n";
    let agentic = "    agentic-coding:\n      - { search-space: [{ tp: 4, kv-offloading: none, conc-list: [2, 8] }] }\n    fixed-seq-len:\n";
    project.edit_config(key, fixed, agentic);
    if recipe {
        let text = project.read("benchmarks/sglang/recipe.yaml");
        let matched = "match: { framework: vllm, scenario-type: [agentic-coding] }";
        let text = text.replace("match: { framework: sglang }", matched);
        assert!(text.contains(matched), "{text}");
        project.write("benchmarks/agentic/recipe.yaml", &text);
    }
    project
}

fn evals(project: &Project, words: &[&str]) -> Vec<String> {
    let told = told(project, &[&["ls", "--kind", "eval"], words].concat());
    let id = format!("eval:{ALPHA}/8k1k/tp2/");
    told.lines()
        .map(|line| line.strip_prefix(&id).unwrap_or(line).to_owned())
        .collect()
}

#[test]
fn the_mode_decides_which_points_are_checked() {
    let project = with_evals();
    // Of 16, 32, 64 and 128 the highest and the upper middle.
    assert_eq!(evals(&project, &[]), ["c64", "c128"]);
    assert_eq!(evals(&project, &["--evals", "default"]), ["c64", "c128"]);
    assert_eq!(evals(&project, &["--evals", "only"]), ["c64", "c128"]);
    assert_eq!(
        evals(&project, &["--evals", "all"]),
        ["c1", "c16", "c32", "c64", "c128"]
    );
    assert!(evals(&project, &["--evals", "none"]).is_empty());
    // What is left out first marks others; a check alone is left out by its kind.
    assert_eq!(evals(&project, &["!**/c128"]), ["c32", "c64"]);
    assert_eq!(evals(&project, &["alpha-*", "!eval:**/c128"]), ["c32", "c64"]);
    assert_eq!(evals(&project, &["eval:**/c16"]), ["c16"]);
    assert_eq!(evals(&project, &["bench:**"]), Vec::<String>::new());
    let ran = project.sweep(&["ls", "--evals", "only"]);
    assert_eq!(
        ran.stdout,
        format!("eval:{ALPHA}/8k1k/tp2/c64\neval:{ALPHA}/8k1k/tp2/c128\n")
    );
    assert_eq!(ran.stderr, "2 points, 1 server, 2 evals\n");
    insta::assert_snapshot!(refused(&project, &["plan", "gamma-*", "--evals", "only"], 4), @"
    error: none of the selected points is chosen for a check of accuracy
     |
     = help: `--evals all` takes every one that can be checked: 8k1k and agentic-coding
    ");
}

#[test]
fn an_eval_is_a_target_with_a_server_and_a_key() {
    let project = with_evals();
    let id = format!("eval:{ALPHA}/8k1k/tp2/c64");
    let server = format!("server:{ALPHA}/8k1k/tp2/c1");
    let graph = project.json(&["graph", &id, "--format", "json"]);
    let targets: Vec<&Value> = graph["targets"].as_array().unwrap().iter().collect();
    let found = targets.iter().find(|target| target["id"] == id.as_str()).unwrap();
    assert_eq!(found["needs"], json!([server]));
    let shown = project.json(&["show", &id, "--format", "json"]);
    assert_eq!(shown["needs"], json!([server]));
    let key = |project: &Project, id: &str| project.json(&["show", id, "--format", "json"])["key"].clone();
    let before = key(&project, &id);
    assert!(before.is_string());
    // The server and the load are in it, and nothing of the bench.
    project.edit_config(ALPHA, "v0.5.1", "v0.5.2");
    let bumped = key(&project, &id);
    assert_ne!(bumped, before);
    assert_ne!(bumped, key(&project, &format!("eval:{ALPHA}/8k1k/tp2/c128")));
    project.replace("benchmarks/sglang/recipe.yaml", "bench: {", "bench: { seed: 7,");
    assert_eq!(key(&project, &id), bumped);
    let ran = project.sweep(&["why", &id]);
    assert!(ran.code == 2 && ran.stderr.contains("runs no evals"), "{ran}");
}

#[test]
fn evals_are_planned_and_make_nothing_stale_and_no_build_fail() {
    let project = with_evals();
    project.edit_config(ALPHA, "[1, 16, 32, 64, 128]", "[16]");
    let note = "1 eval left out: this version of sweep plans checks of accuracy and cannot run them";
    let plan = project.json(&["plan", "alpha-*", "--format", "json"]);
    assert_eq!(plan["evals"], json!([format!("eval:{ALPHA}/8k1k/tp2/c16")]));
    assert_eq!((&plan["points"], &plan["cascades"]), (&json!(1), &json!(3)));
    let ran = built(&project, &["alpha-*"]);
    assert!(ran.stderr.contains(note), "{ran}");
    let again = built(&project, &["alpha-*"]);
    assert!(again.stderr.contains("0 measured, 1 from the cache"), "{again}");
    insta::assert_snapshot!(told(&project, &["plan", "alpha-*"]), @"
    plan of `alpha-all` on profile `default`

    config                 points  stale  fresh  servers  GPUs  pool  GPU time
    alpha-fp8-h100-sglang       1      0      1        0     2  sim   -

    1 point: 0 stale, 1 fresh; 0 servers to start

    cannot run 1 eval (eval:alpha-fp8-h100-sglang/8k1k/tp2/c16 the first): this version of sweep plans checks of accuracy and cannot run them
    ");
    let only = built(&project, &["alpha-*", "--evals", "only"]);
    assert!(only.stderr.contains(note), "{only}");
    assert!(!told(&project, &["plan", "alpha-*", "--evals", "none"]).contains("eval"));
}

#[test]
fn agentic_points_are_targets_that_cannot_run() {
    let project = with_agentic(true);
    let point = "gamma-fp8-h100-vllm/agentic/tp4/c2";
    let shown = project.json(&["show", point, "--format", "json"]);
    assert!(shown["key"].is_string());
    assert_eq!(shown["needs"], json!([format!("server:{point}")]));
    assert_eq!(
        evals(&project, &["eval:**/agentic/**"]),
        ["eval:gamma-fp8-h100-vllm/agentic/tp4/c8"]
    );
    let ran = project.sweep(&["plan", "gamma-*"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran}");
    assert!(
        ran.stdout
            .contains("4 points: 4 stale, 0 fresh; 2 servers to start"),
        "{ran}"
    );
    let reason = "this version of sweep has no client that replays agent traces";
    assert!(
        ran.stdout
            .contains(&format!("cannot run 1 server with 2 points: {reason}")),
        "{ran}"
    );
    // The rest is built, and that something is missing shows in the exit code.
    let ran = project.sweep(&["build", "gamma-*"]);
    assert_eq!(ran.code, 1, "{ran}");
    assert!(
        ran.stderr
            .contains(&format!("warning: 2 points cannot run: {reason}")),
        "{ran}"
    );
    assert!(
        ran.stderr
            .contains("2 measured, 0 from the cache, 0 failed, 2 skipped"),
        "{ran}"
    );
    assert_eq!(project.sweep(&["build", "gamma-*"]).code, 3);
    assert_eq!(project.sweep(&["build", "gamma-*", "!**/agentic/**"]).code, 0);
}

#[test]
fn agentic_points_without_a_recipe_break_nothing() {
    let project = with_agentic(false);
    let ran = project.sweep(&["plan", "gamma-*"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran}");
    let told = "cannot run 2 points (gamma-fp8-h100-vllm/agentic/tp4/c2 the first): this version of sweep has no client";
    assert!(ran.stdout.contains(told), "{ran}");
    let ran = project.sweep(&["build", "gamma-*"]);
    assert_eq!(ran.code, 1, "{ran}");
    assert!(
        ran.stderr
            .contains("2 measured, 0 from the cache, 0 failed, 2 skipped"),
        "{ran}"
    );
    let shown = refused(&project, &["build", "**/agentic/**"], 3);
    insta::assert_snapshot!(trimmed(&shown), @"
    error: 2 points cannot run: this version of sweep has no client that replays agent traces
     |
     = help: leave them out with `!PATTERN`, or run on other pools with `--profile NAME`
    ");
}
