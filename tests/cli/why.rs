//! `sweep why`.

use super::{ALPHA, Project, built, refused, steady, told};

const POINT: &str = "alpha-fp8-h100-sglang/64_16/tp2/c1";
const SERVER: &str = "server:alpha-fp8-h100-sglang/64_16/tp2/c4";

#[test]
fn before_after_and_after_a_revert() {
    let project = Project::new();
    let why = |target: &str| told(&project, &["why", target]);
    insta::assert_snapshot!(why(POINT), @"
    bench:alpha-fp8-h100-sglang/64_16/tp2/c1 is stale
      never built
        for bench:alpha-fp8-h100-sglang/64_16/tp2/c1
    ");
    built(&project, &["alpha-*"]);
    insta::assert_snapshot!(steady(&project, &why(POINT)), @"
    bench:alpha-fp8-h100-sglang/64_16/tp2/c1 is fresh: run RUN on HOST, WHEN
      it was built then for the first time
    ");
    insta::assert_snapshot!(why(SERVER), @"server:alpha-fp8-h100-sglang/64_16/tp2/c1 is idle: nothing stale needs it");
    // An unnamed sweep is known by the name of its results' folder.
    insta::assert_snapshot!(steady(&project, &why("collect:alpha-all")), @"
    collect:alpha-all is fresh: run RUN on HOST, WHEN
      it was built then for the first time
    ");

    project.edit_config(ALPHA, "v0.5.1", "v0.5.2");
    insta::assert_snapshot!(why(POINT), @"
    bench:alpha-fp8-h100-sglang/64_16/tp2/c1 is stale
      image: lmsysorg/sglang:v0.5.1 → lmsysorg/sglang:v0.5.2
        for bench:alpha-fp8-h100-sglang/64_16/tp2/c1
    ");
    insta::assert_snapshot!(why(&format!("process:{POINT}")), @"
    process:alpha-fp8-h100-sglang/64_16/tp2/c1 is stale
      image: lmsysorg/sglang:v0.5.1 → lmsysorg/sglang:v0.5.2
        for bench:alpha-fp8-h100-sglang/64_16/tp2/c1
    ");
    insta::assert_snapshot!(why(SERVER), @"
    server:alpha-fp8-h100-sglang/64_16/tp2/c1 is stale
      image: lmsysorg/sglang:v0.5.1 → lmsysorg/sglang:v0.5.2
        for 3 targets, bench:alpha-fp8-h100-sglang/64_16/tp2/c1 the first
    cascades: 5 targets that need these
    ");
    insta::assert_snapshot!(why("image:lmsysorg/sglang:v0.5.2"), @"
    image:lmsysorg/sglang:v0.5.2 is stale
      image: lmsysorg/sglang:v0.5.1 → lmsysorg/sglang:v0.5.2
        for 3 targets, bench:alpha-fp8-h100-sglang/64_16/tp2/c1 the first
    cascades: 5 targets that need these
    ");
    insta::assert_snapshot!(why("collect:alpha-all"), @"
    collect:alpha-all is stale
      image: lmsysorg/sglang:v0.5.1 → lmsysorg/sglang:v0.5.2
        for 3 targets, bench:alpha-fp8-h100-sglang/64_16/tp2/c1 the first
    cascades: 3 targets that need these
    ");
    insta::assert_snapshot!(why("summarize:alpha-all"), @"
    summarize:alpha-all is stale
      image: lmsysorg/sglang:v0.5.1 → lmsysorg/sglang:v0.5.2
        for 3 targets, bench:alpha-fp8-h100-sglang/64_16/tp2/c1 the first
    cascades: 4 targets that need these
    ");

    built(&project, &["alpha-*"]);
    insta::assert_snapshot!(steady(&project, &why(POINT)), @"
    bench:alpha-fp8-h100-sglang/64_16/tp2/c1 is fresh: run RUN on HOST, WHEN
      it was built then because of
        image: lmsysorg/sglang:v0.5.1 → lmsysorg/sglang:v0.5.2
    ");

    project.edit_config(ALPHA, "v0.5.2", "v0.5.1");
    let reverted = why(POINT);
    assert!(
        reverted.contains("its inputs are again those of an earlier result"),
        "{reverted}"
    );
    assert_eq!(
        project.sweep(&["build", "alpha-*"]).story.benches_passed().len(),
        0
    );
}

#[test]
fn several_causes_are_told_apart() {
    let project = Project::new();
    built(&project, &[]);
    project.replace(
        "benchmarks/sglang/recipe.yaml",
        "--kv-cache-dtype fp8_e4m3",
        "--kv-cache-dtype auto --x",
    );
    project.replace(
        "benchmarks/vllm/recipe.yaml",
        "POST /reset_prefix_cache",
        "POST /reset",
    );
    project.edit_config(ALPHA, "conc-list: [1, 2, 4]", "conc-list: [1, 2, 8]");
    project.write(
        "benchmarks/vllm/serve.sh",
        &project
            .read("benchmarks/vllm/serve.sh")
            .replace("exec", "exec nice"),
    );
    let text = told(&project, &["why", "collect:all"]);
    insta::assert_snapshot!(digests_hidden(&text), @"
    collect:all is stale
      server file serve.sh: benchmarks/vllm/serve.sh (digest) → benchmarks/vllm/serve.sh (digest)
      isolation: POST /reset_prefix_cache between points → POST /reset between points
        for 4 targets, bench:gamma-fp8-h100-vllm/64_16/tp4/c1 the first
      server command: --kv-cache-dtype fp8_e4m3 → auto
      server command: + --x
        for 3 targets, bench:beta-fp4-h100-sglang/64_16/tp2/c1 the first
      never built
        for bench:alpha-fp8-h100-sglang/64_16/tp2/c8
    cascades: 8 targets that need these
    ");
    let answer = project.json(&["why", "collect:all", "--format", "json"]);
    assert_eq!(answer["answer"], "stale");
    assert_eq!(answer["roots"].as_array().unwrap().len(), 3);
    let changes = answer["roots"][0]["reason"]["changes"].as_array().unwrap();
    assert!(changes.iter().any(|c| c["name"] == "isolation"), "{answer}");
}

/// Digests as `(digest)`.
fn digests_hidden(text: &str) -> String {
    let words = text.split_inclusive(char::is_whitespace).map(|word| {
        let bare = word.trim_end();
        let inner = bare.strip_prefix('(').and_then(|w| w.strip_suffix(')'));
        match inner.filter(|w| w.len() == 12 && w.chars().all(|c| c.is_ascii_hexdigit())) {
            Some(digest) => word.replace(digest, "digest"),
            None => word.to_owned(),
        }
    });
    words.collect()
}

#[test]
fn what_there_is_not() {
    let project = Project::new();
    insta::assert_snapshot!(refused(&project, &["why", ALPHA], 4), @"
    error: there is no target `alpha-fp8-h100-sglang`
     |
     = help: did you mean `alpha-fp8-h100-sglang/64_16/tp2/c1`?
    ");
    insta::assert_snapshot!(refused(&project, &["why", "alpha-fp8-h100-sglang/64_16/tp2/c3"], 4), @"
    error: there is no target `alpha-fp8-h100-sglang/64_16/tp2/c3`
     |
     = help: did you mean `alpha-fp8-h100-sglang/64_16/tp2/c1`, `alpha-fp8-h100-sglang/64_16/tp2/c2`, `alpha-fp8-h100-sglang/64_16/tp2/c4`?
    ");
    insta::assert_snapshot!(refused(&project, &["why", "collect:nightly"], 4), @"
    error: no target matches `nightly`
     |
     = help: `sweep ls` lists what there is
     = help: a pattern is a config key (`dsr1-fp8-*`), an id (`**/c64`), a kind and an id (`bench:*/8k1k/*/c64`), or `!pattern`
    ");
    insta::assert_snapshot!(refused(&project, &["why", "zzz"], 4), @"
    error: there is no target `zzz`
     |
     = help: `sweep ls` lists the points there are
    ");
    project.write(
        "Sweepfile",
        &(project.read("Sweepfile") + "sweeps: { nightly: { select: ['*'] } }\n"),
    );
    insta::assert_snapshot!(refused(&project, &["why", "nightly"], 4), @"
    error: there is no target `nightly`
     |
     = help: the sweep is `collect:nightly`
    ");
    assert!(
        told(&project, &["why", "collect:nightly"]).starts_with("collect:nightly is stale\n  never built\n")
    );
}

#[test]
fn a_target_of_a_point_that_cannot_be_planned() {
    let project = Project::new();
    project.edit_config(ALPHA, "framework: sglang", "framework: sglng");
    let shown = refused(&project, &["why", POINT], 2);
    assert!(shown.contains("no recipe matches framework `sglng`"), "{shown}");
}
