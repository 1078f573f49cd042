//! `sweep cache push`, `pull` and `stats`.

use crate::project::Project;
use crate::stand_in::{Manner, StandIn};
use crate::{POINTS, build, remote, sweep};

#[test]
fn what_was_there_before_the_remote_is_pushed_once() {
    let server = StandIn::new(Manner::Honest);
    let project = Project::new();
    build(&project, &[]);
    let environment = remote(server.url());
    let alpha = sweep(&project, &environment, &["cache", "push", "alpha-*"]);
    assert_eq!(alpha.code, 0, "{alpha}");
    assert!(alpha.stdout.starts_with("3 results sent ("), "{alpha}");
    let all = sweep(&project, &environment, &["cache", "push", "--format", "json"]);
    let told: serde_json::Value = serde_json::from_str(&all.stdout).unwrap();
    assert_eq!((&told["sent"], &told["there"]), (&7.into(), &3.into()), "{all}");
    server.requests();
    let again = sweep(&project, &environment, &["cache", "push"]);
    assert!(again.stdout.contains("10 there already"), "{again}");
    assert_eq!(server.requests(), (POINTS, 0));

    let other = Project::new();
    let some = sweep(&other, &environment, &["cache", "pull", "alpha-*"]);
    assert!(
        some.stdout.starts_with("3 results taken (") && some.stdout.ends_with("of 3 that were not here\n"),
        "{some}"
    );
    let rest = sweep(&other, &environment, &["cache", "pull", "--format", "json"]);
    let told: serde_json::Value = serde_json::from_str(&rest.stdout).unwrap();
    assert_eq!((&told["asked"], &told["taken"]), (&7.into(), &7.into()), "{rest}");
    assert_eq!(build(&other, &[]).0, 0);
}

#[test]
fn jobs_are_dealt_what_nobody_has_measured() {
    let server = StandIn::new(Manner::Honest);
    let environment = remote(server.url());
    let first = Project::new();
    let alpha = sweep(&first, &environment, &["build", "alpha-*"]);
    assert_eq!(alpha.code, 0, "{alpha}");
    let other = Project::new();
    let plan = |words: &[&str]| {
        let ran = sweep(
            &other,
            &environment,
            &[&["ci", "plan", "--shards", "1"], words].concat(),
        );
        assert_eq!(ran.code, 0, "{ran}");
        let matrix: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let points = matrix["include"][0]["points"].as_u64().unwrap_or_default();
        (points as usize, ran.stderr)
    };
    let (points, told) = plan(&[]);
    assert_eq!(points, POINTS - 3, "{told}");
    assert!(told.contains("3 results taken from the remote cache"), "{told}");
    assert_eq!(plan(&["alpha-*"]).0, 0);
    assert_eq!(plan(&["alpha-*", "--rerun"]).0, 3);
    // One that gives nothing leaves it to the jobs.
    server.behave(Manner::Failing);
    let (points, told) = plan(&["beta-*"]);
    assert!(points == 3 && told.contains("503"), "{points} {told}");
}

#[test]
fn failures_are_told_with_the_exit_code() {
    let server = StandIn::new(Manner::Failing);
    let project = Project::new();
    let none = project.sweep(&["cache", "push"]);
    assert_eq!(none.code, 2, "{none}");
    assert!(none.stderr.contains("there is no remote cache"), "{none}");
    build(&project, &[]);
    let environment = remote(server.url());
    let unmatched = sweep(&project, &environment, &["cache", "push", "omega-*"]);
    assert_eq!(unmatched.code, 4, "{unmatched}");
    let failed = sweep(&project, &environment, &["cache", "push"]);
    assert_eq!(failed.code, 3, "{failed}");
    assert!(
        failed.stderr.contains("10 results could not be sent") && failed.stderr.contains("503"),
        "{failed}"
    );
    let failed = sweep(&Project::new(), &environment, &["cache", "pull"]);
    assert_eq!(failed.code, 3, "{failed}");
    let stats = sweep(&project, &environment, &["cache", "stats"]);
    assert_eq!(stats.code, 0, "{stats}");
    assert!(stats.stdout.contains("DOES NOT ANSWER"), "{stats}");
    server.behave(Manner::Honest);
    let stats = sweep(&project, &environment, &["cache", "stats"]);
    assert!(
        stats.stdout.contains(&format!("{}, answers in ", server.url())),
        "{stats}"
    );

    let mut reader = environment.clone();
    reader.push(("SWEEP_CACHE_REMOTE_READ_ONLY", "1".to_owned()));
    let refused = sweep(&project, &reader, &["cache", "push"]);
    assert_eq!(refused.code, 2, "{refused}");
    for (name, value, words) in [
        ("SWEEP_CACHE_REMOTE", "ftp://x", "expected a URL"),
        (
            "SWEEP_CACHE_REMOTE",
            "https://user:word@host/",
            "credentials come from the environment",
        ),
        ("SWEEP_CACHE_REMOTE_READ_ONLY", "perhaps", "expected `1` or `0`"),
    ] {
        let mut environment = environment.clone();
        environment.push((name, value.to_owned()));
        let wrong = sweep(&project, &environment, &["cache", "stats"]);
        assert_eq!(wrong.code, 2, "{wrong}");
        assert!(wrong.stderr.contains(words), "{wrong}");
    }
}
