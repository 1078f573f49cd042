//! `sweep build`: what runs, and what does not run again.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod project;

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use project::{Project, Ran};

/// A usual project after its first build.
fn built() -> Project {
    let project = Project::new();
    let first = project.sweep(&["build"]);
    assert_eq!(first.code, 0, "{first}");
    project
}

/// Nothing was started, and nothing had to be.
#[track_caller]
fn assert_nothing_ran(ran: &Ran) {
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.story.0.is_empty(), "{ran}\n{:#?}", ran.story);
    assert!(ran.stderr.contains("; 0 servers started"), "{ran}");
}

/// Exactly these benches were measured, their rows computed and collected with the others.
#[track_caller]
fn assert_measured(ran: &Ran, points: &[&str]) {
    assert_eq!(ran.code, 0, "{ran}");
    let expected = |kind: &str| {
        let ids = points.iter().map(|point| format!("{kind}:{point}"));
        ids.collect::<BTreeSet<_>>()
    };
    let set = |ids: Vec<&str>| ids.into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(set(ran.story.benches_passed()), expected("bench"), "{ran}");
    assert_eq!(set(ran.story.processed()), expected("process"), "{ran}");
    assert_eq!(ran.story.benches_started().len(), points.len(), "{ran}");
    let (fresh, _) = ran.story.collected().unwrap();
    assert_eq!(fresh, points.len(), "{ran}");
}

fn states(rows: &[Value]) -> BTreeSet<&str> {
    let states = rows
        .iter()
        .map(|row| row["provenance"]["state"].as_str().unwrap());
    states.collect()
}

#[test]
fn the_first_build_measures_all_and_the_second_nothing() {
    let project = Project::new();
    let first = project.sweep(&["build"]);
    assert_eq!(first.code, 0, "{first}");
    let rows = project.simulated_rows("all");
    assert_eq!(rows.len(), 10);
    assert!(rows.iter().all(|row| row["simulated"] == true), "{rows:#?}");
    assert!(
        rows.iter().all(|row| row["tput_per_gpu"].as_f64().unwrap() > 0.0),
        "{rows:#?}"
    );
    assert_eq!(states(&rows), BTreeSet::from(["fresh"]));
    assert_eq!(first.story.benches_passed().len(), 10);
    // One for each of alpha, beta and gamma; delta's command differs from point to point.
    assert_eq!(first.story.servers().len(), 5, "{first}");
    for words in ["SIMULATED", "alpha", "delta", "Interactivity"] {
        assert!(first.stdout.contains(words), "no {words}: {first}");
    }
    assert!(project.read("results/all/summary.md").contains("10 fresh"));
    assert!(!project.path("results/all/agg_bmk.json").exists());

    let again = project.sweep(&["build"]);
    assert_nothing_ran(&again);
    assert!(again.elapsed < Duration::from_secs(1), "{again}");
    let rows = project.simulated_rows("all");
    assert_eq!(states(&rows), BTreeSet::from(["cached"]));
    assert_eq!(rows.len(), 10);
    assert!(again.stdout.contains("alpha"), "{again}");
    project.assert_no_process_left();
}

#[test]
fn an_image_bump_remeasures_its_config_and_a_revert_nothing() {
    let project = built();
    project.edit_config("alpha-fp8-h100-sglang", "sglang:v0.5.1", "sglang:v0.5.2");
    let why = project.sweep(&["why", "alpha-fp8-h100-sglang/64_16/tp2/c2"]);
    assert!(
        why.stdout
            .contains("image: lmsysorg/sglang:v0.5.1 → lmsysorg/sglang:v0.5.2"),
        "{why}"
    );
    let bumped = project.sweep(&["build"]);
    let points = [
        "alpha-fp8-h100-sglang/64_16/tp2/c1",
        "alpha-fp8-h100-sglang/64_16/tp2/c2",
        "alpha-fp8-h100-sglang/64_16/tp2/c4",
    ];
    assert_measured(&bumped, &points);
    assert_eq!(bumped.story.servers().len(), 1, "{bumped}");
    assert_eq!(bumped.story.collected(), Some((3, 7)));
    let why = project.sweep(&["why", points[1]]);
    assert!(
        why.stdout.contains("sglang:v0.5.1 → lmsysorg/sglang:v0.5.2"),
        "{why}"
    );

    project.edit_config("alpha-fp8-h100-sglang", "sglang:v0.5.2", "sglang:v0.5.1");
    let reverted = project.sweep(&["build"]);
    assert_nothing_ran(&reverted);
    let rows = project.simulated_rows("all");
    assert!(
        rows.iter()
            .all(|row| row["image"] != "lmsysorg/sglang:v0.5.2" && row["provenance"]["state"] == "cached"),
        "{rows:#?}"
    );
}

#[test]
fn a_flag_makes_those_stale_whose_command_has_it() {
    let project = built();
    let recipe = "benchmarks/sglang/recipe.yaml";
    project.replace(recipe, "--kv-cache-dtype fp8_e4m3", "--kv-cache-dtype fp8_e5m2");
    let edited = project.sweep(&["build"]);
    assert_measured(
        &edited,
        &[
            "beta-fp4-h100-sglang/64_16/tp2/c1",
            "beta-fp4-h100-sglang/64_16/tp2/c2",
            "beta-fp4-h100-sglang/64_16/tp2/c4",
        ],
    );
    // What only spells the same in another way changes nothing.
    project.replace(recipe, "match: {", "# a comment\nmatch:   {");
    assert_nothing_ran(&project.sweep(&["build"]));
}

#[test]
fn a_recipes_file_is_known_by_its_bytes() {
    let project = built();
    let script = "benchmarks/vllm/serve.sh";
    project.replace(script, "--port", "--disable-log-requests --port");
    let edited = project.sweep(&["build"]);
    assert_eq!(edited.code, 0, "{edited}");
    assert_eq!(
        edited.story.benches_passed().len(),
        4,
        "gamma and delta: {edited}"
    );
    project.replace(script, "--disable-log-requests --port", "--port");
    assert_nothing_ran(&project.sweep(&["build"]));
}

#[test]
fn a_touch_makes_nothing_stale() {
    let project = built();
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    for folder in ["configs", "benchmarks"] {
        for file in project.files(folder) {
            let times = FileTimes::new().set_modified(tomorrow);
            File::options()
                .append(true)
                .open(file)
                .unwrap()
                .set_times(times)
                .unwrap();
        }
    }
    let text = project.read("Sweepfile");
    project.write("Sweepfile", &text);
    assert_nothing_ran(&project.sweep(&["build"]));
}

#[test]
fn one_more_concurrency_is_one_bench() {
    let project = built();
    project.edit_config("gamma-fp8-h100-vllm", "conc-list: [1, 2]", "conc-list: [1, 2, 3]");
    let more = project.sweep(&["build"]);
    assert_measured(&more, &["gamma-fp8-h100-vllm/64_16/tp4/c3"]);
    assert_eq!(more.story.servers().len(), 1);
    assert_eq!(project.simulated_rows("all").len(), 11);
}

#[test]
fn results_are_a_view_of_the_cache() {
    let project = built();
    fs::remove_dir_all(project.path("results")).unwrap();
    assert_nothing_ran(&project.sweep(&["build"]));
    assert_eq!(project.simulated_rows("all").len(), 10);
    fs::write(project.path("results/all/agg_bmk.simulated.json"), "[]").unwrap();
    assert_nothing_ran(&project.sweep(&["build"]));
    assert_eq!(project.simulated_rows("all").len(), 10);
}

#[test]
fn force_and_age_make_stale_what_is_selected() {
    let project = built();
    let one = "gamma-fp8-h100-vllm/64_16/tp4/c2";
    let before = project.json(&["results", one, "--format", "json"]);
    let forced = project.sweep(&["build", "--rerun", one]);
    assert_measured(&forced, &[one]);
    let after = project.json(&["results", one, "--format", "json"]);
    assert_ne!(
        before[0]["provenance"]["run"], after[0]["provenance"]["run"],
        "the newer result counts"
    );
    assert_nothing_ran(&project.sweep(&["build", one]));
    // The collection of all has a new row, so it is made again; that measures nothing.
    assert_measured(&project.sweep(&["build"]), &[]);
    assert_nothing_ran(&project.sweep(&["build"]));

    assert_nothing_ran(&project.sweep(&["build", "--max-age", "1h"]));
    let old = project.sweep(&["build", "--max-age", "1ms", "gamma-*"]);
    assert_measured(
        &old,
        &[
            "gamma-fp8-h100-vllm/64_16/tp4/c1",
            "gamma-fp8-h100-vllm/64_16/tp4/c2",
        ],
    );
}

#[test]
fn the_hardware_is_an_input_and_the_size_of_a_pool_is_none() {
    let project = built();
    project.replace("Sweepfile", "nodes: 2", "nodes: 5");
    assert_nothing_ran(&project.sweep(&["build"]));
    project.replace(
        "Sweepfile",
        "gpu: h100,",
        "gpu: h100, facts: { driver: \"580.95.05\" },",
    );
    let plan = project.sweep(&["plan"]);
    assert!(plan.stdout.contains("580.95.05"), "{plan}");
    let changed = project.sweep(&["build"]);
    assert_eq!(changed.code, 0, "{changed}");
    assert_eq!(changed.story.benches_passed().len(), 10, "{changed}");
    project.replace("Sweepfile", "580.95.05", "581.0.0");
    let why = project.sweep(&["why", "gamma-fp8-h100-vllm/64_16/tp4/c2"]);
    assert!(why.stdout.contains("driver: 580.95.05 → 581.0.0"), "{why}");
}

#[test]
fn a_project_may_move_with_its_cache() {
    let mut project = built();
    project.move_to("elsewhere");
    assert_nothing_ran(&project.sweep(&["build"]));
    // From below the project, too, and from anywhere with its folder's name.
    let mut below = project.command(&["build"]);
    below.current_dir(project.path("configs"));
    assert_nothing_ran(&project.run(below));
    let mut outside = project.command(&["-C", "elsewhere", "build"]);
    outside.current_dir(project.beside(""));
    assert_nothing_ran(&project.run(outside));
}

#[test]
fn configs_with_equal_inputs_share_a_measurement() {
    let project = built();
    let twin = project::CONFIGS
        .split("beta-fp4")
        .next()
        .unwrap()
        .replace("alpha-fp8-h100-sglang", "twin-fp8-h100-sglang");
    let configs = project.read("configs/master.yaml");
    project.write("configs/master.yaml", &format!("{configs}{twin}"));
    let ran = project.sweep(&["build"]);
    assert_eq!(ran.code, 0, "{ran}");
    let rows = project.simulated_rows("all");
    assert_eq!(rows.len(), 13, "{rows:#?}");
    assert!(ran.story.servers().len() <= 1, "{ran}");
    assert_nothing_ran(&project.sweep(&["build"]));
}

#[test]
fn without_a_reset_each_point_has_a_server() {
    let project = Project::new();
    project.replace(
        "benchmarks/sglang/recipe.yaml",
        "  reset: { http: POST /flush_cache }\n",
        "",
    );
    let ran = project.sweep(&["build", "alpha-*"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(ran.story.benches_passed().len(), 3);
    assert_eq!(ran.story.servers().len(), 3, "{ran}");
}

#[test]
fn a_named_sweep_has_its_own_results() {
    let project = Project::new();
    let text = project.read("Sweepfile");
    project.write(
        "Sweepfile",
        &format!("{text}sweeps:\n  small: {{ select: ['*/*/*/c1'] }}\n"),
    );
    let ran = project.sweep(&["build", "small"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(project.simulated_rows("small").len(), 4);
    let rest = project.sweep(&["build"]);
    assert_eq!(rest.story.benches_passed().len(), 6, "{rest}");
    assert_eq!(rest.story.collected(), Some((6, 4)));
}

#[test]
fn the_jobs_step_summary_is_appended() {
    let project = Project::new();
    let page = project.beside("step-summary.md");
    fs::write(&page, "what another step said\n").unwrap();
    for state in ["2 fresh", "2 cached"] {
        let mut command = project.command(&["build", "gamma-*"]);
        command.env("GITHUB_STEP_SUMMARY", &page);
        let ran = project.run(command);
        assert_eq!(ran.code, 0, "{ran}");
        let text = fs::read_to_string(&page).unwrap();
        assert!(text.starts_with("what another step said\n"), "{text}");
        assert!(text.contains(state), "{text}");
    }
}

#[test]
fn a_step_sees_what_is_declared_and_secrets_are_nowhere_else() {
    const SECRET: &str = "hf_this-must-not-be-written-anywhere";
    let project = Project::of_recipes(&[(
        "guarded",
        "\
match: { framework: guarded }
server:
  run: serve.sh
  contract: [MODEL]
  ready: { http: /health, within: 1m }
  reset: { http: POST /reset_prefix_cache }
bench: { prompts: \"4\", warmup: \"1\", limits: { client-lag: 1m, client-cpu: 1 } }
"
        .to_owned(),
    )]);
    let script = format!(
        "\
[[ ${{#SWEEP_TEST_SECRET}} -eq {} ]] || {{ echo 'no secret'; exit 7; }}
[[ -z ${{SWEEP_TEST_UNDECLARED+x}} && -z ${{CARGO_MANIFEST_DIR+x}} ]] || {{ echo 'inherited'; exit 8; }}
exec {} sim --port $PORT --gpu h100 --tp 1 --time-scale 100 --model $MODEL
",
        SECRET.len(),
        env!("CARGO_BIN_EXE_sweep")
    );
    project.write("benchmarks/guarded/serve.sh", &script);
    let with = |secret: &str| {
        let mut command = project.command(&["build"]);
        command
            .env("SWEEP_TEST_SECRET", secret)
            .env("SWEEP_TEST_UNDECLARED", "x");
        project.run(command)
    };
    let ran = with(SECRET);
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(ran.story.benches_passed().len(), 2, "{ran}");
    assert!(
        !ran.stdout.contains(SECRET) && !ran.stderr.contains(SECRET),
        "{ran}"
    );
    for folder in [".cache", "results"] {
        for file in project.files(folder) {
            let bytes = fs::read(&file).unwrap();
            let plain = zstd::decode_all(&*bytes).unwrap_or(bytes);
            let found = plain
                .windows(SECRET.len())
                .any(|window| window == SECRET.as_bytes());
            assert!(!found, "{}", file.display());
        }
    }
    // A secret is no input: another one makes nothing stale.
    assert_nothing_ran(&with("another"));
}
