//! A cache that two machines share, by running the program against real servers and against one that misbehaves.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../project/mod.rs"]
mod project;
#[path = "../requirement/mod.rs"]
mod requirement;

mod commands;
mod nginx;
mod outage;
mod s3;
mod signature;
mod stand_in;

use serde_json::Value;
use sweep::exec::event::Event;

use nginx::Nginx;
use project::{Project, Ran};
use requirement::skip;
use s3::S3;

/// The points of the usual project.
const POINTS: usize = 10;

/// Variables of a `sweep` that is started.
type Environment<'a> = &'a [(&'a str, String)];

fn remote(url: String) -> Vec<(&'static str, String)> {
    vec![("SWEEP_CACHE_REMOTE", url)]
}

fn sweep(project: &Project, environment: Environment<'_>, words: &[&str]) -> Ran {
    let mut command = project.command(words);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    project.run(command)
}

/// A build that must succeed; how many benches it ran.
fn build(project: &Project, environment: Environment<'_>) -> (usize, Ran) {
    let ran = sweep(project, environment, &["build"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(project.simulated_rows("all").len(), POINTS, "{ran}");
    (ran.story.benches_passed().len(), ran)
}

/// How many results the run took.
fn taken(ran: &Ran) -> usize {
    let events = ran.story.0.iter().map(|event| match event {
        Event::RemoteFetched { results, .. } => *results,
        _ => 0,
    });
    events.sum()
}

/// How many results the run sent, and how many it left; `None`: it said nothing of the kind.
fn sent(ran: &Ran) -> Option<(usize, usize)> {
    ran.story.0.iter().find_map(|event| match event {
        Event::RemoteSent { results, unsent, .. } => Some((*results, *unsent)),
        _ => None,
    })
}

/// What the run said against the remote.
fn complaints(ran: &Ran) -> Vec<&str> {
    let events = ran.story.0.iter().filter_map(|event| match event {
        Event::RemoteFailed { reason } => Some(reason.as_str()),
        _ => None,
    });
    events.collect()
}

/// One machine measures, the other takes it over; what was measured when, where and by which run stays with it.
fn two_machines_share(environment: Environment<'_>, requests: impl Fn() -> usize) {
    let (first, second) = (Project::new(), Project::new());
    let (measured, ran) = build(&first, environment);
    assert_eq!(measured, POINTS, "{ran}");
    assert_eq!(sent(&ran), Some((POINTS, 0)), "{ran}");
    assert!(first.files(".cache/unsent").is_empty());

    let (measured, ran) = build(&second, environment);
    assert_eq!((measured, ran.story.servers().len()), (0, 0), "{ran}");
    assert_eq!(taken(&ran), POINTS, "{ran}");
    assert!(complaints(&ran).is_empty(), "{ran}");
    assert!(ran.stderr.contains("took 10 results"), "{ran}");
    let of = |project: &Project| -> Vec<Value> {
        let rows = project.simulated_rows("all").into_iter();
        rows.map(|mut row| {
            assert_eq!(
                row["provenance"]["host"],
                first.simulated_rows("all")[0]["provenance"]["host"]
            );
            row["provenance"]["state"] = Value::Null;
            row
        })
        .collect()
    };
    assert_eq!(of(&first), of(&second), "the same numbers, runs, dates and hosts");
    assert!(
        second
            .simulated_rows("all")
            .iter()
            .all(|row| row["provenance"]["state"] == "cached")
    );
    // With everything here nothing is asked.
    let before = requests();
    assert_eq!(build(&second, environment).0, 0);
    assert_eq!(requests(), before);
}

#[test]
fn machines_share_a_cache_behind_nginx() {
    let Some(nginx) = Nginx::start() else {
        return skip("nginx", "there is no nginx with its DAV module");
    };
    two_machines_share(&remote(nginx.url()), || nginx.requests());
    assert_eq!(nginx.objects("records").len(), POINTS);
    assert_eq!(nginx.objects("blobs").len(), POINTS);

    // Somebody has changed what lies there: none of it is used.
    for blob in nginx.objects("blobs") {
        let mut bytes = std::fs::read(&blob).unwrap();
        bytes[0] ^= 1;
        std::fs::write(&blob, bytes).unwrap();
    }
    let (measured, ran) = build(&Project::new(), &remote(nginx.url()));
    assert_eq!(measured, POINTS, "{ran}");
    assert!(ran.stderr.contains("10 results are not to be trusted"), "{ran}");
    // What was measured instead took the place of what could not be used.
    assert_eq!(build(&Project::new(), &remote(nginx.url())).0, 0);
}

#[test]
fn machines_share_a_cache_in_s3() {
    let Some(s3) = S3::start() else {
        return skip("s3-server", "there is no `moto_server`");
    };
    let mut environment = s3.environment();
    environment.extend(remote("s3://results/team".to_owned()));
    two_machines_share(&environment, || 0);

    // Whoever only reads takes what is there and leaves nothing, not even what it measures.
    environment.push(("SWEEP_CACHE_REMOTE_READ_ONLY", "1".to_owned()));
    let reader = Project::new();
    reader.edit_config("alpha-fp8-h100-sglang", "v0.5.1", "v0.5.2");
    let (measured, ran) = build(&reader, &environment);
    assert_eq!(measured, 3, "{ran}");
    assert_eq!(sent(&ran), None, "{ran}");
    assert!(!reader.path(".cache/unsent").exists());
    let another = Project::new();
    another.edit_config("alpha-fp8-h100-sglang", "v0.5.1", "v0.5.2");
    assert_eq!(build(&another, &environment).0, 3);

    // With credentials that are refused, everything is measured, and they are found nowhere.
    environment.retain(|(name, _)| *name != "AWS_ENDPOINT_URL");
    let nowhere = Project::new();
    environment.push(("AWS_ENDPOINT_URL", "http://127.0.0.1:9".to_owned()));
    let (measured, ran) = build(&nowhere, &environment);
    assert_eq!(measured, POINTS, "{ran}");
    for project in [&reader, &nowhere] {
        for file in project.files(".") {
            let bytes = std::fs::read(&file).unwrap();
            let found = bytes
                .windows(s3::SECRET.len())
                .any(|part| part == s3::SECRET.as_bytes());
            assert!(!found, "{}", file.display());
        }
    }
    assert!(
        !ran.stderr.contains(s3::SECRET) && !ran.stdout.contains(s3::SECRET),
        "{ran}"
    );
}
