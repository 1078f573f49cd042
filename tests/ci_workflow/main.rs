//! The reusable workflow in `.github/`, run by `act` as it stands there.
//!
//! `act` runs every job on this machine, each in a copy of the repository, and plays `actions/checkout` itself. The
//! actions for caches and artifacts cannot be fetched here: those in `standins/` take their places under the same
//! names and inputs, and keep to GitHub's rules where act's own servers do not (a key of a cache can be written once, a
//! branch sees its own caches and the default branch's, the default branch sees no pull request's). GitHub's API is
//! a server of the test's own. What only GitHub itself can show, is not shown: its queue, its runners, its limits.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod api;
mod forge;
#[path = "../project/mod.rs"]
mod project;
#[path = "../requirement/mod.rs"]
mod requirement;

use serde_json::json;

use api::{Api, Merged};
use forge::{Event, Forge};

/// Points of the project: two of each of three configs, whose servers are three shards.
const POINTS: usize = 6;

#[test]
fn a_failed_shard_is_rerun_alone_and_main_reuses_what_the_pull_request_measured() {
    let Some(forge) = Forge::new() else { return };
    let merged = Merged::of_branch("faster", "acme/bench");
    let api = Api::of_pull_request(&merged, 101);

    // The pull request: of three shards one fails.
    let pull_request = Event::pull_request("acme/bench");
    forge.break_third(true);
    let first = forge.run(&pull_request, 101, 1, &api);
    assert!(!first.succeeded(), "{first}");
    assert_eq!(first.jobs_of("measure"), 3, "{first}");
    assert_eq!(first.measured(), POINTS - 2, "{first}");
    assert!(
        first.said(
            "collect",
            "4 from the cache, 2 failed, 0 skipped; 0 servers started"
        ),
        "{first}"
    );
    assert_eq!(first.failed_jobs(), ["collect", "measure"], "{first}");

    // "Re-run failed jobs": the plan is the first attempt's, of the matrix only the failed one runs.
    forge.break_third(false);
    let again = forge.rerun_failed(&first, &pull_request, 101, 2, &api);
    assert!(again.succeeded(), "{again}");
    assert_eq!((again.jobs_of("measure"), again.measured()), (1, 2), "{again}");
    assert!(
        again.said(
            "collect",
            "6 from the cache, 0 failed, 0 skipped; 0 servers started"
        ),
        "{again}"
    );

    // "Re-run all jobs" plans anew, and finds in the cache what was collected.
    let all = forge.run(&pull_request, 101, 3, &api);
    assert!(all.succeeded() && all.measured() == 0, "{all}");

    // The pull request is merged. The default branch does not see its caches.
    let push = Event::push();
    let main = forge.run(&push, 102, 1, &api);
    assert!(main.succeeded(), "{main}");
    assert!(main.said("plan", "no cache was found"), "{main}");
    assert!(
        main.said("plan", "nothing is stale: 6 points from the cache"),
        "{main}"
    );
    assert_eq!((main.jobs_of("measure"), main.measured()), (0, 0), "{main}");
    assert!(
        main.said(
            "collect",
            "6 from the cache, 0 failed, 0 skipped; 0 servers started"
        ),
        "{main}"
    );

    // From then on it has a cache of its own, which pull requests see as well.
    let nobody = Api::of_pull_request(&Merged::none(), 0);
    let next = forge.run(&pull_request, 103, 1, &nobody);
    assert!(next.succeeded() && next.measured() == 0, "{next}");
    assert!(next.said("plan", "restored "), "{next}");
}

#[test]
fn a_fork_is_planned_and_no_more() {
    let Some(forge) = Forge::new() else { return };
    let api = Api::of_pull_request(&Merged::none(), 0);
    let ran = forge.run(&Event::pull_request("mallory/bench"), 101, 1, &api);
    assert!(ran.succeeded(), "{ran}");
    assert!(ran.said("plan", "6 points to measure in 3 shards"), "{ran}");
    assert_eq!(
        (ran.jobs_of("measure"), ran.jobs_of("collect"), ran.measured()),
        (0, 0, 0),
        "{ran}"
    );
    assert!(!forge.saved_a_cache(), "{ran}");
}

#[test]
fn only_this_repositorys_own_merged_pull_requests_are_looked_for() {
    if !requirement::has_program("act", "jq", &["--version"]) {
        return;
    }
    let found = |merged: &Merged| forge::merged_run(&Api::of_pull_request(merged, 77));
    let ours = Merged::of_branch("faster", "acme/bench");
    assert_eq!(found(&ours), "run=77\n");
    // A name that an address cannot hold as it is.
    assert_eq!(found(&Merged::of_branch("a/b c&d", "acme/bench")), "run=77\n");
    assert_eq!(found(&Merged::of_branch("faster", "mallory/bench")), "");
    assert_eq!(found(&Merged::none()), "");
    assert_eq!(found(&ours.clone().closed()), "");
    assert_eq!(
        found(
            &ours
                .clone()
                .with_artifacts(json!([{ "name": "sweep-results-1", "expired": true }]))
        ),
        ""
    );
    assert_eq!(
        found(&ours.with_artifacts(json!([{ "name": "other", "expired": false }]))),
        ""
    );
    // An API that does not answer costs measurements, not the job.
    assert_eq!(forge::merged_run(&Api::that_fails()), "");
}
