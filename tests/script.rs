//! Combined scripts: each starts its own server and client for one point, and leaves a result file.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod project;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use sweep::exec::event::Event;

use project::{Project, Story, processes_in, wait_until};

/// A script of the shape of InferenceX's: server into `server.log`, a wait for it, then the client. A client that was
/// late on this busy machine says so by its exit code and is taken all the same.
const SCRIPT: &str = r#"#!/usr/bin/env bash
set -eu
sweep sim --port "$PORT" --gpu h100 --tp "$TP" --model "$MODEL" --time-scale 100 > server.log 2>&1 &
server=$!
until (: < "/dev/tcp/127.0.0.1/$PORT") 2> /dev/null; do
    kill -0 "$server"
done
echo "measuring $MODEL"
sweep bench --port "$PORT" --model "$MODEL" --input-len "$ISL" --output-len "$OSL" --range-ratio "$RANDOM_RANGE_RATIO" \
    --max-concurrency "$CONC" --num-prompts $((CONC * 4)) --result-out "$RESULT_FILENAME.json" || true
echo "index, timestamp, power.draw [W]" > gpu_metrics.csv
"#;

/// A result file that counts for concurrency 1; where a test needs one and no measurement.
const RESULT: &str = r#"{"model_id": "m", "num_prompts": 40, "max_concurrency": 1, "duration": 2.5, "completed": 40, "total_output_tokens": 50, "output_throughput": 20.0, "total_token_throughput": 60.0, "simulated": true}"#;

fn recipe(framework: &str, fields: &str) -> String {
    format!("match: {{ framework: {framework} }}\nrun: run.sh\n{fields}\n")
}

/// A project with a combined script for each framework, whose image is the simulated engine.
fn project(scripts: &[(&str, &str, &str)]) -> Project {
    let recipes: Vec<(&str, String)> = scripts
        .iter()
        .map(|(framework, fields, _)| (*framework, recipe(framework, fields)))
        .collect();
    let project = Project::of_recipes(&recipes);
    for (framework, _, script) in scripts {
        project.write(&format!("benchmarks/{framework}/run.sh"), script);
    }
    project
}

/// The attempts' folders of the project's scripts, in the order in which they started.
fn attempts(project: &Project, story: &Story) -> Vec<PathBuf> {
    let run = fs::read_dir(project.path(".cache/runs"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let folders = story.0.iter().filter_map(|event| match event {
        Event::ScriptStarted { folder, .. } => Some(run.path().join(folder)),
        _ => None,
    });
    folders.collect()
}

fn scripts_started(story: &Story) -> usize {
    let started = |event: &&Event| matches!(event, Event::ScriptStarted { .. });
    story.0.iter().filter(started).count()
}

#[test]
fn a_script_measures_each_point_and_its_file_is_the_result() {
    let project = project(&[("whole", "within: 2m", SCRIPT)]);
    let plan = project.sweep(&["plan"]);
    assert!(
        plan.stdout
            .contains("whole-fp8: 2 servers, kept apart by its script, which starts one for each point\n"),
        "{plan}"
    );
    let built = project.sweep(&["build"]);
    assert_eq!(built.code, 0, "{built}");
    assert_eq!(scripts_started(&built.story), 2);
    assert!(built.story.servers().is_empty(), "{built}");
    project.assert_no_process_left();

    let rows = project.simulated_rows("all");
    assert_eq!(rows.len(), 2);
    let folders = attempts(&project, &built.story);
    for (row, folder) in rows.iter().zip(&folders) {
        assert_eq!(row["simulated"], true, "{row}");
        let left: BTreeSet<String> = fs::read_dir(folder.join("work"))
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        let expected = ["bench.json", "gpu_metrics.csv", "run.sh", "server.log"];
        assert_eq!(left, expected.map(str::to_owned).into());
        assert_same_numbers(row, &folder.join("work"));
    }
    // What is kept is the client's file, byte for byte.
    let blob = blake3::hash(&fs::read(folders[0].join("work/bench.json")).unwrap()).to_hex();
    assert!(
        project
            .path(&format!(".cache/cas/{}/{}", &blob[..2], &blob[2..]))
            .exists()
    );

    let point = "whole-fp8/64_16/tp1/c1";
    let log = project.sweep(&["log", point]);
    for part in [
        "bench.log <==\nmeasuring meta-llama",
        "work/server.log <==",
        "\nverdict: passed",
    ] {
        assert!(log.stdout.contains(part), "no {part}: {log}");
    }
    let shown = project.json(&["show", point, "--format", "json"]);
    let power = shown["last"]["facts"]["power"].as_str().unwrap();
    assert!(
        power.starts_with("not valid: ") && power.contains("no_usable_power_samples"),
        "{power}"
    );
    let entries = shown["inputs"]["entries"].to_string();
    for part in [
        "the script's own",
        "script env CONC",
        "script file run.sh",
        "a run of the script for each point",
    ] {
        assert!(entries.contains(part), "no {part}: {entries}");
    }

    let again = project.sweep(&["build"]);
    assert!(again.code == 0 && again.story.0.is_empty(), "{again}");
    project.replace(
        "benchmarks/whole/run.sh",
        "echo \"measuring",
        "echo \"now measuring",
    );
    let why = project.sweep(&["why", point]);
    assert!(why.stdout.contains("script file run.sh"), "{why}");
}

/// A row has the numbers that InferenceX's own tool makes of the script's folder.
fn assert_same_numbers(row: &Value, work: &std::path::Path) {
    let conc = row["conc"].as_u64().unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_sweep"))
        .args(["inferencex", "process-result"])
        .current_dir(work)
        .env_clear()
        .envs([
            ("RUNNER_TYPE", "h100"),
            ("FRAMEWORK", "whole"),
            ("PRECISION", "fp8"),
            ("SPEC_DECODING", "none"),
            ("RESULT_FILENAME", "bench"),
            ("ISL", "64"),
            ("OSL", "16"),
            ("DISAGG", "false"),
            ("MODEL_PREFIX", "whole"),
            ("IMAGE", "builtin:sim"),
            ("TP", "1"),
            ("EP_SIZE", "1"),
            ("DP_ATTENTION", "false"),
        ])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let theirs: Value =
        serde_json::from_str(&fs::read_to_string(work.join("agg_bench.json")).unwrap()).unwrap();
    let (theirs, ours) = (theirs.as_object().unwrap(), row.as_object().unwrap());
    assert_eq!(theirs["conc"], conc);
    assert!(theirs.len() > 40, "{theirs:?}");
    for (field, value) in theirs {
        assert_eq!(&ours[field], value, "{field} of c{conc}");
    }
}

#[test]
fn every_way_to_misbehave_is_told_and_none_is_a_result() {
    let write = |result: &str| format!("echo '{result}' > bench.json\n");
    let cases: [(&str, &str, String, &str); 9] = [
        (
            "exits",
            "within: 2m",
            write(RESULT) + "echo 'CUDA error: out of memory' > server.log; echo starting; exit 3\n",
            "the script failed (exit code 3); its log's last lines:\n  | starting; its server log's last lines:\n  | CUDA error: out of memory",
        ),
        (
            "killed",
            "within: 2m",
            "kill -9 $$\n".to_owned(),
            "the script failed (signal 9, often the kernel out of memory); it printed nothing",
        ),
        (
            "silent",
            "within: 2m",
            "echo nothing to see\n".to_owned(),
            "the script ended well and wrote no `bench.json`; its log's last lines:\n  | nothing to see",
        ),
        (
            "garbage",
            "within: 2m",
            write("Traceback"),
            "`bench.json` of the script is no result: it is no JSON object: expected value at line 1 column 1",
        ),
        (
            "poor",
            "within: 2m",
            write(&RESULT.replace("completed\": 40", "completed\": 30")),
            "`bench.json` of the script is no result: 10 of 40 requests failed, above the limit of 5.0 %",
        ),
        (
            "idle",
            "within: 2m",
            write(&RESULT.replace("completed\": 40", "completed\": 0")),
            "`bench.json` of the script is no result: none of 40 requests completed",
        ),
        (
            "other",
            "within: 2m",
            write(&RESULT.replace("concurrency\": 1", "concurrency\": 64")),
            "`bench.json` of the script is no result: it measured a concurrency of 64, and 1 was asked for",
        ),
        (
            "late",
            "within: 300ms\nstop: { grace: 100ms }",
            "trap '' TERM; echo waiting; while :; do wait; done\n".to_owned(),
            "the script did not end within 300ms; its log's last lines:\n  | waiting",
        ),
        (
            "unmarked",
            "within: 2m",
            write(&RESULT.replace(", \"simulated\": true", "")),
            "the image is the simulated engine, and `bench.json` does not say `\"simulated\": true`",
        ),
    ];
    let scripts: Vec<_> = cases
        .iter()
        .map(|(framework, fields, script, _)| (*framework, *fields, script.as_str()))
        .collect();
    let project = project(&scripts);
    let ran = project.sweep(&["build", "*/*/*/c1"]);
    assert_eq!(ran.code, 1, "{ran}");
    let failures = ran.story.failures();
    for (framework, _, _, expected) in &cases {
        let bench = format!("bench:{framework}-fp8/64_16/tp1/c1");
        assert_eq!(failures.get(bench.as_str()), Some(expected), "{ran}");
    }
    assert!(ran.story.benches_passed().is_empty(), "{ran}");
    project.assert_no_process_left();
}

#[test]
fn what_a_script_leaves_running_is_ended_and_its_result_counts() {
    let script = format!("setsid sleep 1000 > /dev/null 2>&1 &\necho '{RESULT}' > bench.json\n");
    let project = project(&[("leaving", "within: 2m\nstop: { grace: 1s }", &script)]);
    let ran = project.sweep(&["build", "*/*/*/c1"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(processes_in(project.root()).is_empty());
}

#[test]
fn a_script_gets_its_contract_and_nothing_else() {
    let script = format!("env > environment; echo '{RESULT}' > bench.json\n");
    let all = (
        "all",
        "within: 2m\nenv: { EXTRA: \"{{ conc + 1 }}\" }",
        script.as_str(),
    );
    let few = (
        "few",
        "within: 2m\ncontract: [CONC]\nport: 24991",
        script.as_str(),
    );
    let project = project(&[all, few]);
    let mut command = project.command(&["build", "*/*/*/c1"]);
    command.env("FROM_OUTSIDE", "1");
    let ran = project.run(command);
    assert_eq!(ran.code, 0, "{ran}");
    let folders = attempts(&project, &ran.story);
    let environment =
        |of: usize| -> String { fs::read_to_string(folders[of].join("work/environment")).unwrap() };
    let names = |of: usize| -> Vec<String> {
        let text = environment(of);
        let mut names: Vec<String> = text
            .lines()
            .map(|line| line.split('=').next().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    insta::assert_snapshot!(names(0).join(" "), @"CONC CUDA_VISIBLE_DEVICES DCP_SIZE DISAGG DP_ATTENTION EP_SIZE EVAL_ONLY EXP_NAME EXTRA FRAMEWORK GPU_COUNT GPU_KIND HOME IMAGE ISL IS_AGENTIC LANG MAX_MODEL_LEN MODEL MODEL_PREFIX MODEL_REVISION OSL PATH PCP_SIZE PORT PP_SIZE PRECISION PWD RANDOM_RANGE_RATIO RESULT_FILENAME RUNNER_TYPE RUN_EVAL SCENARIO_SUBDIR SCENARIO_TYPE SHLVL SPEC_DECODING SWEEP_GPUS TMPDIR TP _");
    insta::assert_snapshot!(names(1).join(" "), @"CONC CUDA_VISIBLE_DEVICES HOME LANG PATH PORT PWD RESULT_FILENAME SHLVL SWEEP_GPUS TMPDIR _");
    for line in [
        "EXTRA=2",
        "RESULT_FILENAME=bench",
        "RANDOM_RANGE_RATIO=0.8",
        "MAX_MODEL_LEN=336",
    ] {
        assert!(environment(0).lines().any(|other| other == line), "{line}");
    }
    assert!(environment(1).contains("PORT=24991"));
}

/// The script of a point of concurrency 2 waits for a file; that of 1 has its result at once.
fn waiting(project: &Project) -> String {
    let go = project.path("go");
    let result = RESULT
        .replace("\"max_concurrency\": 1", "\"max_concurrency\": $CONC")
        .replace('"', "\\\"");
    format!(
        "if test $CONC = 2; then until test -e {}; do read -t 0.01 < <(:) || true; done; fi\necho \"{result}\" > bench.json\n",
        go.display()
    )
}

fn waiting_project() -> Project {
    let project = project(&[("waiting", "within: 2m", "")]);
    let script = waiting(&project);
    project.write("benchmarks/waiting/run.sh", &script);
    project
}

#[test]
fn a_killed_build_leaves_no_script_and_repeats_no_point() {
    let project = waiting_project();
    for _ in 0..2 {
        let mut build = project.start(&["build"]);
        build.wait_for("the second script", |story| {
            let waits = |event: &Event| {
                matches!(event, Event::ScriptStarted { target, .. } if target.ends_with("/c2"))
            };
            story.0.iter().any(waits)
        });
        wait_until("the script to run", || {
            let work = |process: &project::Process| process.folder.ends_with("work");
            processes_in(project.root()).iter().any(work).then_some(())
        });
        assert_eq!(build.kill().code, 137);
        project.assert_no_process_left();
    }
    project.write("go", "");
    let last = project.sweep(&["build"]);
    assert_eq!(last.code, 0, "{last}");
    let stories = project.stories();
    let mut passes: Vec<&str> = stories.iter().flat_map(Story::benches_passed).collect();
    passes.sort_unstable();
    let point = "bench:waiting-fp8/64_16/tp1";
    assert_eq!(passes, [format!("{point}/c1"), format!("{point}/c2")]);
}

/// Its place is given to the next while the result of the last is still on its way to the disk.
#[test]
fn of_many_scripts_that_are_killed_none_is_lost_that_was_told() {
    const POINTS: usize = 60;
    let result = RESULT
        .replace("\"max_concurrency\": 1", "\"max_concurrency\": $CONC")
        .replace('"', "\\\"");
    let script = format!("echo \"{result}\" > bench.json\n");
    let project = project(&[("many", "within: 2m\ncontract: [CONC]", &script)]);
    project.replace("Sweepfile", "gpu: h100 }", "gpu: h100, share: gpu }");
    let all: Vec<String> = (1..=POINTS).map(|conc| conc.to_string()).collect();
    project.edit_config("many-fp8", "[1, 2]", &format!("[{}]", all.join(", ")));
    let mut build = project.start(&["build"]);
    build.wait_for("some results", |story| story.benches_passed().len() >= 10);
    let killed = build.kill();
    let told: BTreeSet<&str> = killed.story.benches_passed().into_iter().collect();
    let rest = project.sweep(&["build"]);
    assert_eq!(rest.code, 0, "{rest}");
    let measured: BTreeSet<&str> = rest.story.benches_passed().into_iter().collect();
    assert!(told.is_disjoint(&measured), "{told:?} {measured:?}");
    assert_eq!(project.simulated_rows("all").len(), POINTS);
    let again = project.sweep(&["build"]);
    assert!(again.code == 0 && again.story.0.is_empty(), "{again}");
    project.assert_no_process_left();
}

#[test]
fn a_result_that_the_cache_lacks_is_adopted() {
    let project = waiting_project();
    let mut build = project.start(&["build"]);
    build.wait_for("a result", |story| story.benches_passed().len() == 1);
    build.kill();
    project.assert_no_process_left();
    // As if it had been killed between the attempt's result and the cache.
    for part in ["cas", "log"] {
        fs::remove_dir_all(project.path(".cache").join(part)).unwrap();
    }
    project.write("go", "");
    let next = project.sweep(&["build"]);
    assert_eq!(next.code, 0, "{next}");
    assert_eq!(scripts_started(&next.story), 1, "{next}");
    assert!(
        next.story
            .healed()
            .iter()
            .any(|what| what.contains("/c1`; the result is kept"))
    );
    assert_eq!(project.simulated_rows("all").len(), 2);
}

#[test]
fn an_interrupted_script_is_skipped() {
    let project = waiting_project();
    let mut build = project.start(&["build"]);
    build.wait_for("the second script", |story| scripts_started(story) == 2);
    build.signal(Signal::INT);
    let ran = build.wait();
    assert_eq!(ran.code, 130, "{ran}");
    assert!(ran.story.failures().is_empty(), "{ran}");
    assert!(processes_in(project.root()).is_empty(), "{ran}");
}

#[test]
fn on_a_simulated_pool_the_simulated_engine_stands_in() {
    let project = project(&[(
        "whole",
        "within: 2m\nbench: { limits: { failed-share: 0 } }",
        "exit 1\n",
    )]);
    let pool = "gpu: h100 }";
    project.replace("Sweepfile", pool, "gpu: h100, simulate: { time-scale: 100 } }");
    let ran = project.sweep(&["build", "*/*/*/c1"]);
    assert_eq!(scripts_started(&ran.story), 0, "{ran}");
    assert_eq!(ran.story.servers().len(), 1, "{ran}");
}
