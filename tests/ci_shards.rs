//! `sweep ci`: one job plans, others measure a shard each, one collects. Each job is a clone of the project.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod project;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use project::{Project, Ran};

/// A job: a clone of the usual project that was handed the plan.
fn job(plan: &Path) -> Project {
    let job = Project::new();
    fs::create_dir(job.path(".cache")).unwrap();
    fs::copy(plan, job.path(".cache/ci-plan.json")).unwrap();
    job
}

/// What `sweep ci plan` prints: the matrix's jobs.
fn planned(project: &Project, words: &[&str]) -> Vec<Value> {
    let words: Vec<&str> = ["ci", "plan"].iter().chain(words).copied().collect();
    let ran = project.sweep(&words);
    assert_eq!(ran.code, 0, "{ran}");
    let matrix: Value = serde_json::from_str(&ran.stdout).unwrap();
    matrix["include"].as_array().unwrap().clone()
}

fn ids(jobs: &[Value]) -> Vec<&str> {
    jobs.iter().map(|job| job["shard"].as_str().unwrap()).collect()
}

fn plan_of(project: &Project) -> PathBuf {
    project.path(".cache/ci-plan.json")
}

/// Measures a shard in a job of its own and exports it.
fn measure(plan: &Path, id: &str, archive: &Path) -> Ran {
    let shard = job(plan);
    let ran = shard.sweep(&["build", "--shard", id]);
    let exported = shard.sweep(&["cache", "export", archive.to_str().unwrap(), "--shard", id]);
    assert_eq!(exported.code, 0, "{exported}");
    ran
}

#[test]
fn shards_measure_each_point_once_and_the_last_job_nothing() {
    let planner = Project::new();
    assert_eq!(planner.sweep(&["build", "beta-*"]).code, 0);
    let jobs = planned(&planner, &["--shards", "3"]);
    let points: u64 = jobs.iter().map(|job| job["points"].as_u64().unwrap()).sum();
    assert_eq!((jobs.len(), points), (3, 7), "{jobs:#?}");
    let plan = plan_of(&planner);

    let mut measured = Vec::new();
    let mut archives = Vec::new();
    for id in ids(&jobs) {
        let archive = planner.beside(&format!("{id}.tar.zst"));
        let ran = measure(&plan, id, &archive);
        assert_eq!(ran.code, 0, "{ran}");
        measured.extend(ran.story.benches_passed().into_iter().map(str::to_owned));
        archives.push(archive);
        // The table is the last job's.
        assert!(ran.story.collected().is_none() && ran.stdout.is_empty(), "{ran}");
    }
    let once: BTreeSet<&String> = measured.iter().collect();
    assert_eq!((once.len(), measured.len()), (7, 7), "{measured:?}");

    let mut words = vec!["ci", "collect"];
    words.extend(archives.iter().map(|archive| archive.to_str().unwrap()));
    let collected = planner.sweep(&words);
    assert_eq!(collected.code, 0, "{collected}");
    assert!(collected.story.benches_started().is_empty(), "{collected}");
    assert!(collected.story.servers().is_empty(), "{collected}");
    assert_eq!(planner.simulated_rows("all").len(), 10);
    // It is what a build would have made: that one finds nothing to do.
    let build = planner.sweep(&["build"]);
    assert!(build.code == 0 && build.story.0.is_empty(), "{build}");
    assert!(planned(&planner, &["--shards", "3"]).is_empty());
}

#[test]
fn a_shard_stays_what_it_is_when_another_is_done() {
    let planner = Project::new();
    let jobs = planned(&planner, &["--shards", "3"]);
    let again = planned(&planner, &["--shards", "3"]);
    assert_eq!(jobs, again);
    let plan = plan_of(&planner);
    let [first, second, ..] = ids(&jobs)[..] else {
        panic!("{jobs:#?}")
    };
    let archive = planner.beside("first.tar.zst");
    assert_eq!(measure(&plan, first, &archive).code, 0);
    let alone = job(&plan);
    let of_second = alone.sweep(&["build", "--shard", second]);

    let informed = job(&plan);
    assert_eq!(
        informed
            .sweep(&["cache", "import", archive.to_str().unwrap()])
            .code,
        0
    );
    let same = informed.sweep(&["build", "--shard", second]);
    let sorted = |ran: &Ran| {
        ran.story
            .benches_passed()
            .iter()
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(sorted(&same), sorted(&of_second));
    assert!(!sorted(&same).is_empty(), "{same}");
    // And the first has nothing left to do there.
    let done = informed.sweep(&["build", "--shard", first]);
    assert!(done.code == 0 && done.story.0.is_empty(), "{done}");
}

#[test]
fn points_of_a_server_stay_together_unless_a_job_is_too_short() {
    let project = Project::new();
    let jobs = planned(&project, &["alpha-*", "--shards", "3"]);
    assert_eq!(jobs.len(), 1, "{jobs:#?}");
    assert_eq!((&jobs[0]["points"], &jobs[0]["servers"]), (&3.into(), &1.into()));
    // Nothing is known yet of how long they take; a minute is assumed for each part.
    let jobs = planned(&project, &["alpha-*", "--shards", "3", "--longest", "2m"]);
    assert_eq!(jobs.len(), 3, "{jobs:#?}");
}

#[test]
fn what_cannot_run_is_in_no_shard() {
    let project = Project::new();
    // A pool of this machine's own without containers.
    let real = "      real: { executor: process, serves: [h200], gpus: 8, gpu: h200 }\n";
    project.write("Sweepfile", &(project.read("Sweepfile") + real));
    project.replace(
        "configs/runners.yaml",
        "labels:\n",
        "labels:\n  h200: [h200-lab_00]\n",
    );
    project.edit_config("alpha-fp8-h100-sglang", "runner: h100", "runner: h200");
    assert_eq!(project.sweep(&["build", "gamma-*"]).code, 0);
    let ran = project.sweep(&["ci", "plan", "--shards", "1"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stderr.contains("3 points cannot run: "), "{ran}");
    assert!(
        ran.stderr
            .contains("5 points to measure in 1 shard, 2 from the cache"),
        "{ran}"
    );
    let alone = project.sweep(&["ci", "plan", "--shards", "1", "alpha-*"]);
    assert_eq!(alone.code, 3, "{alone}");
}

#[test]
fn a_pool_has_shards_of_its_own_and_they_run_there() {
    let project = Project::new();
    let second = "      other: { executor: process, serves: [h100], nodes: 2, gpus: 8, gpu: h100, simulate: { time-scale: 100 } }\n";
    let sweepfile = project.read("Sweepfile") + second;
    project.write("Sweepfile", &sweepfile);
    let jobs = planned(&project, &["--per-pool"]);
    let pools: Vec<&str> = jobs.iter().map(|job| job["pool"].as_str().unwrap()).collect();
    assert_eq!(pools, ["other", "sim"]);
    assert!(ids(&jobs)[0].starts_with("other-1of1-"), "{jobs:#?}");
    for (id, pool) in ids(&jobs).into_iter().zip(pools) {
        let job = job(&plan_of(&project));
        job.write("Sweepfile", &sweepfile);
        let ran = job.sweep(&["build", "--shard", id, "--format", "json"]);
        assert_eq!(ran.code, 0, "{ran}");
        let elsewhere = if pool == "sim" { "other" } else { "sim" };
        assert!(ran.stdout.contains(&format!("\"pool\":\"{pool}\"")), "{ran}");
        assert!(
            !ran.stdout.contains(&format!("\"pool\":\"{elsewhere}\"")),
            "{ran}"
        );
    }
    let jobs = planned(&project, &["--per-pool", "--shards", "2"]);
    assert!(
        jobs.len() == 4 && ids(&jobs)[1].starts_with("other-2of2-"),
        "{jobs:#?}"
    );
}

#[test]
fn another_project_than_was_planned_is_refused() {
    let planner = Project::new();
    let jobs = planned(&planner, &["--shards", "1"]);
    let id = ids(&jobs)[0];
    let plan = plan_of(&planner);

    let other = job(&plan);
    other.edit_config("alpha-fp8-h100-sglang", "sglang:v0.5.1", "sglang:v0.5.2");
    for words in [&["build", "--shard", id][..], &["ci", "collect"]] {
        let refused = other.sweep(words);
        assert_eq!(refused.code, 2, "{words:?}: {refused}");
        for said in [
            "not the project that was planned",
            "bench:alpha-fp8-h100-sglang/64_16/tp2/c1",
            "image: lmsysorg/sglang:v0.5.1 → lmsysorg/sglang:v0.5.2",
            "and 2 more",
            "check out the commit that was planned",
        ] {
            assert!(refused.stderr.contains(said), "{said}: {refused}");
        }
        assert!(refused.story.0.is_empty(), "{refused}");
    }
    other.edit_config("alpha-fp8-h100-sglang", "sglang:v0.5.2", "sglang:v0.5.1");
    other.edit_config("alpha-fp8-h100-sglang", "[1, 2, 4]", "[1, 2]");
    let refused = other.sweep(&["build", "--shard", id]);
    assert_eq!(refused.code, 2, "{refused}");
    assert!(
        refused
            .stderr
            .contains("tp2/c4` was planned and is not in this project"),
        "{refused}"
    );
}

#[test]
fn what_is_handed_over_wrongly_is_told() {
    let project = Project::new();
    let missing = project.sweep(&["build", "--shard", "all-1of1-00000000"]);
    assert_eq!(missing.code, 2, "{missing}");
    assert!(missing.stderr.contains("`sweep ci plan` writes it"), "{missing}");

    let jobs = planned(&project, &["--shards", "1"]);
    let unknown = project.sweep(&["build", "--shard", "all-1of1-00000000"]);
    assert_eq!(unknown.code, 4, "{unknown}");
    assert!(unknown.stderr.contains(ids(&jobs)[0]), "{unknown}");
    let profile = project.sweep(&["build", "--shard", ids(&jobs)[0], "--profile", "default"]);
    assert_eq!(profile.code, 0, "{profile}");

    let plan = project.read(".cache/ci-plan.json");
    project.write(
        ".cache/ci-plan.json",
        &plan.replace("\"format\":1", "\"format\":9"),
    );
    let later = project.sweep(&["ci", "collect"]);
    assert_eq!(later.code, 2, "{later}");
    assert!(later.stderr.contains("has format 9"), "{later}");
    project.write(".cache/ci-plan.json", &plan[..plan.len() / 2]);
    let torn = project.sweep(&["ci", "collect"]);
    assert_eq!(torn.code, 2, "{torn}");
    assert!(torn.stderr.contains("cannot be understood"), "{torn}");
    for words in [
        &["ci", "plan"][..],
        &["ci", "plan", "--shards", "0"],
        &["build", "--shard", "x", "alpha-*"],
        &["build", "--shard", "x", "--rerun"],
        &["build", "--shard", "x", "--changed", "a..b"],
    ] {
        assert_eq!(project.sweep(words).code, 2, "{words:?}");
    }
}

#[test]
fn a_failed_shard_is_told_and_measured_again_alone() {
    let planner = Project::new();
    let jobs = planned(&planner, &["--shards", "2"]);
    let plan = plan_of(&planner);
    let first = planner.beside("first.tar.zst");
    assert_eq!(measure(&plan, ids(&jobs)[0], &first).code, 0);
    let archive = first.to_str().unwrap();

    // The other has not reported: what there is, is collected, and what there is not, told.
    let partly = planner.sweep(&["ci", "collect", archive]);
    assert_eq!(partly.code, 1, "{partly}");
    assert!(partly.story.benches_started().is_empty(), "{partly}");
    let there = jobs[0]["points"].as_u64().unwrap();
    let told = format!("10 points: {there} fresh, {} stale on 0 servers", 10 - there);
    assert!(partly.stderr.contains(&told), "{partly}");
    assert_eq!(planner.simulated_rows("all").len() as u64, there);
    assert_eq!(
        partly.stderr.matches("never built").count() as u64,
        10 - there,
        "{partly}"
    );

    let second = planner.beside("second.tar.zst");
    assert_eq!(measure(&plan, ids(&jobs)[1], &second).code, 0);
    let whole = planner.sweep(&["ci", "collect", archive, second.to_str().unwrap()]);
    assert_eq!(whole.code, 0, "{whole}");
    assert_eq!(planner.simulated_rows("all").len(), 10);
}

#[test]
fn what_is_measured_again_is_measured_in_every_shard() {
    let project = Project::new();
    assert_eq!(project.sweep(&["build", "gamma-*"]).code, 0);
    assert!(planned(&project, &["gamma-*", "--shards", "1"]).is_empty());
    assert!(planned(&project, &["gamma-*", "--shards", "1", "--max-age", "1h"]).is_empty());
    let jobs = planned(&project, &["gamma-*", "--shards", "1", "--rerun"]);
    // Until then the earlier results do not count.
    let early = project.sweep(&["ci", "collect"]);
    assert_eq!(early.code, 1, "{early}");
    assert!(early.story.benches_started().is_empty(), "{early}");
    let id = ids(&jobs)[0];
    let ran = project.sweep(&["build", "--shard", id]);
    assert_eq!((ran.code, ran.story.benches_passed().len()), (0, 2), "{ran}");
    // Its second try does not measure what the first has.
    let again = project.sweep(&["build", "--shard", id]);
    assert!(again.code == 0 && again.story.0.is_empty(), "{again}");
    let collected = project.sweep(&["ci", "collect"]);
    assert_eq!(collected.code, 0, "{collected}");
}

#[test]
fn the_step_gets_its_outputs_and_the_page_a_summary() {
    let project = Project::new();
    let (outputs, page) = (project.beside("outputs"), project.beside("page.md"));
    fs::write(&outputs, "another=1\n").unwrap();
    let plan = |words: &[&str]| {
        let mut command = project.command(&[&["ci", "plan", "--shards", "2"][..], words].concat());
        command
            .env("GITHUB_OUTPUT", &outputs)
            .env("GITHUB_STEP_SUMMARY", &page);
        project.run(command)
    };
    let ran = plan(&[]);
    assert_eq!(ran.code, 0, "{ran}");
    let text = fs::read_to_string(&outputs).unwrap();
    assert!(
        text.starts_with("another=1\nstale=true\nshards=2\nmatrix={\"include\":[{"),
        "{text}"
    );
    assert!(text.contains(&format!("matrix={}", ran.stdout)), "{text}");
    assert!(
        fs::read_to_string(&page)
            .unwrap()
            .contains("10 points to measure in 2 shards")
    );

    assert_eq!(project.sweep(&["build"]).code, 0);
    let ran = plan(&[]);
    assert_eq!((ran.code, &*ran.stdout), (0, "{\"include\":[]}\n"), "{ran}");
    let text = fs::read_to_string(&outputs).unwrap();
    assert!(
        text.ends_with("stale=false\nshards=0\nmatrix={\"include\":[]}\nmatrices=[{\"include\":[]}]\n"),
        "{text}"
    );
    // The estimates of what was measured are those of the next plan.
    let jobs = planned(&project, &["--shards", "2", "--rerun"]);
    assert!(
        jobs.iter().all(|job| job["estimate_ms"].as_u64().unwrap() > 0),
        "{jobs:#?}"
    );
}
