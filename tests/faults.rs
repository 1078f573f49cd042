//! Engines and machines that misbehave: each a failed target with the right reason, the rest is built.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod project;

use std::net::{Ipv4Addr, TcpListener};

use project::{Project, Ran, faulty_recipe};

const READY: &str = "ready: { http: /health, within: 1m }";
const RESET: &str = "reset: { http: POST /reset_prefix_cache }";
/// The machine that runs the tests is busy with other tests.
const PATIENT: &str = "limits: { client-lag: 1m, client-cpu: 1 }";

fn usual(framework: &str, words: &str) -> String {
    faulty_recipe(framework, words, &format!("{READY}\n{RESET}"), PATIENT)
}

fn bench(framework: &str, conc: u32) -> String {
    format!("bench:{framework}-fp8/64_16/tp1/c{conc}")
}

#[test]
fn each_fault_fails_its_targets_and_the_rest_is_built() {
    let foreign = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = foreign.local_addr().unwrap().port();
    let late = "ready: { http: /health, within: 300ms }";
    let recipes = [
        ("good", usual("good", "")),
        (
            "late",
            faulty_recipe(
                "late",
                "--fault never-ready",
                &format!("{late}\n{RESET}"),
                PATIENT,
            ),
        ),
        (
            "occupied",
            faulty_recipe(
                "occupied",
                "--seed 3",
                &format!("{READY}\n{RESET}\nport: {port}"),
                PATIENT,
            ),
        ),
        ("silent", usual("silent", "--fault no-tokens")),
        ("broken", usual("broken", "--no-such-flag")),
        (
            "absent",
            usual("absent", "").replace("sweep sim", "no-such-engine"),
        ),
        (
            "unreachable",
            faulty_recipe(
                "unreachable",
                "",
                &format!("{READY}\n{RESET}"),
                "limits: { client-lag: 1m, client-cpu: 0.000001 }",
            ),
        ),
    ];
    let project = Project::of_recipes(&recipes);
    let ran = project.sweep(&["build"]);
    assert_eq!(ran.code, 1, "{ran}");
    let failures = ran.story.failures();
    let expected = [
        ("late", vec!["not ready within 300ms", "answers 503"]),
        ("occupied", vec!["is occupied by pid", "faults"]),
        ("silent", vec!["answered with no tokens"]),
        ("broken", vec!["died before it was ready", "--no-such-flag"]),
        ("absent", vec!["no-such-engine"]),
        ("unreachable", vec!["the client was the bottleneck"]),
    ];
    let summary = project.read("results/all/summary.md");
    for (framework, reasons) in expected {
        for conc in [1, 2] {
            let target = bench(framework, conc);
            let said = failures
                .get(target.as_str())
                .unwrap_or_else(|| panic!("{target} did not fail: {ran}\n{:#?}", ran.story));
            for reason in &reasons {
                assert!(
                    said.contains(reason),
                    "{target} failed for `{said}`, not `{reason}`"
                );
            }
            assert!(summary.contains(&format!("`{target}`")), "{summary}");
            assert!(ran.stderr.contains(&target), "{ran}");
        }
    }
    assert_eq!(failures.len(), 12, "{failures:#?}");
    assert_eq!(
        project
            .json(&["results", "good-*", "--format", "json"])
            .as_array()
            .unwrap()
            .len(),
        2
    );
    project.assert_no_process_left();

    // The failed ones are tried again, the good ones are not.
    drop(foreign);
    let again = project.sweep(&["build"]);
    assert_eq!(again.code, 1, "{again}");
    let passed = again.story.benches_passed();
    assert_eq!(passed.len(), 2, "the port is free now: {again}");
    assert!(passed.iter().all(|target| target.contains("occupied")), "{again}");
    assert_eq!(again.story.failures().len(), 10, "{again}");

    // What is mended has the inputs of what was good from the start, and its results.
    for (framework, words) in [
        ("silent", " --fault no-tokens"),
        ("broken", " --no-such-flag"),
        ("late", " --fault never-ready"),
    ] {
        project.replace(&format!("benchmarks/{framework}/recipe.yaml"), words, "");
    }
    project.replace("benchmarks/late/recipe.yaml", "300ms", "1m");
    project.replace("benchmarks/absent/recipe.yaml", "no-such-engine", "sweep sim");
    project.replace("benchmarks/unreachable/recipe.yaml", "0.000001", "1");
    let mended = project.sweep(&["build"]);
    assert_eq!(mended.code, 0, "{mended}");
    assert!(mended.story.benches_started().is_empty(), "{mended}");
    assert_eq!(mended.story.collected(), Some((0, 14)));
}

#[test]
fn a_server_that_dies_in_mid_bench_is_started_again_for_the_rest() {
    // The first point asks for more than the server lives for, the others for less.
    let dying = usual("dying", "--fault die-after=6")
        .replace("4 * conc", "9 if conc == 1 else 2")
        .replace("warmup: conc", "warmup: \"1\"");
    let project = Project::of_recipes(&[("dying", dying)]);
    let ran = project.sweep(&["build"]);
    assert_eq!(ran.code, 1, "{ran}");
    let failures = ran.story.failures();
    assert_eq!(failures.len(), 1, "{failures:#?}");
    let reason = failures[bench("dying", 1).as_str()];
    assert!(reason.contains("the server died during the bench"), "{reason}");
    assert!(
        reason.contains("dying as asked") || reason.contains("die-after"),
        "{reason}"
    );
    assert_eq!(ran.story.benches_passed(), [bench("dying", 2)], "{ran}");
    assert_eq!(ran.story.servers().len(), 2, "{ran}");
    assert!(
        ran.story.server_failures()[0].1,
        "it was to be started again: {ran}"
    );
    project.assert_no_process_left();

    // Without another start there is nothing to measure the rest on.
    let text = project.read("Sweepfile");
    project.write("Sweepfile", &format!("{text}defaults: {{ retries: 0 }}\n"));
    let ran = project.sweep(&["build", "--rerun"]);
    assert_eq!(ran.code, 1, "{ran}");
    assert_eq!(ran.story.servers().len(), 1, "{ran}");
    assert_eq!(ran.story.failures().len(), 2, "{ran}");
    assert!(ran.story.benches_passed().is_empty(), "{ran}");
}

#[test]
fn a_server_that_refuses_its_reset_is_replaced() {
    let project = Project::of_recipes(&[("stubborn", usual("stubborn", "--fault refuse-reset"))]);
    let ran = project.sweep(&["build"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(ran.story.benches_passed().len(), 2);
    assert_eq!(ran.story.servers().len(), 2, "{ran}");
    let failures = ran.story.server_failures();
    assert!(failures[0].0.contains("/reset_prefix_cache"), "{failures:?}");
    project.assert_no_process_left();
}

#[test]
fn servers_that_are_handled_differently_are_not_shared() {
    let recipes = [
        ("reset", usual("reset", "")),
        (
            "fresh",
            faulty_recipe("fresh", "", READY, PATIENT).replace("warmup: conc", "warmup: 2 * conc"),
        ),
    ];
    let project = Project::of_recipes(&recipes);
    let ran = project.sweep(&["build"]);
    assert_eq!(ran.code, 0, "{ran}");
    let servers = ran.story.servers();
    let of = |config: &str| servers.iter().filter(|id| id.contains(config)).count();
    assert_eq!((of("reset-fp8"), of("fresh-fp8")), (1, 2), "{ran}");
}

#[test]
fn what_no_pool_can_run_is_said_before_anything_starts() {
    let project = Project::of_recipes(&[("good", usual("good", "")), ("boxed", usual("boxed", ""))]);
    project.edit_config("boxed-fp8", "builtin:sim", "lmsysorg/sglang:v0.5.1");
    let said = |ran: &Ran| {
        for words in ["2 points cannot run", "lmsysorg/sglang:v0.5.1", "pool `sim`"] {
            assert!(ran.stderr.contains(words), "no {words}: {ran}");
        }
    };
    let alone = project.sweep(&["build", "boxed-*"]);
    assert_eq!(alone.code, 3, "{alone}");
    assert!(alone.story.0.is_empty(), "{alone}");
    said(&alone);

    let all = project.sweep(&["build"]);
    assert_eq!(all.code, 1, "{all}");
    said(&all);
    let (warning, first) = (all.stderr.find("cannot run"), all.stderr.find("start   "));
    assert!(warning < first, "{all}");
    assert_eq!(all.story.benches_passed().len(), 2, "the rest is built: {all}");
}
