//! A remote that is dead, slow, full or lying: a build is as right as without it, and later than that by its time-out.

use crate::project::{Project, faulty_recipe};
use crate::stand_in::{Manner, StandIn};
use sweep::exec::event::Event;

use crate::{POINTS, build, complaints, remote, sent, sweep, taken};

/// A project with a remote that is waited for a second at most.
fn impatient(server: &StandIn) -> Project {
    let project = Project::new();
    let sweepfile = project.read("Sweepfile");
    let url = server.url();
    let cache = format!("cache: {{ remote: {{ url: \"{url}\", timeout: 1s, concurrency: 2 }} }}\n");
    project.write("Sweepfile", &(sweepfile + &cache));
    project
}

#[test]
fn whatever_it_does_the_build_is_right_and_says_so_once() {
    let manners = [
        (Manner::Silent, "no result came within 1s"),
        (Manner::Failing, "503"),
        (Manner::Junk, "10 results are not to be trusted"),
        (Manner::Full, "507"),
    ];
    for (manner, words) in manners {
        let server = StandIn::new(manner);
        let project = impatient(&server);
        let (measured, ran) = build(&project, &[]);
        assert_eq!(measured, POINTS, "{manner:?}: {ran}");
        let failed = complaints(&ran);
        assert!(
            failed.iter().any(|reason| reason.contains(words)),
            "{manner:?}: {failed:?} {ran}"
        );
        assert!(failed.len() <= 3, "{manner:?}: {failed:?}");
        let (asked, _) = server.requests();
        // Of the questions of ten keys, each tried up to four times, only the first few were asked.
        assert!(
            asked <= 16 || manner == Manner::Junk,
            "{manner:?}: {asked} requests"
        );
        // With everything here, nobody is waited for.
        if manner == Manner::Junk {
            assert_eq!(build(&project, &[]).0, 0);
            assert_eq!(server.requests(), (0, 0));
        }
    }
}

#[test]
fn what_could_not_be_sent_is_sent_by_the_next_build() {
    let server = StandIn::new(Manner::Full);
    let project = impatient(&server);
    let (_, ran) = build(&project, &[]);
    assert_eq!(sent(&ran), Some((0, POINTS)), "{ran}");
    assert_eq!(project.files(".cache/unsent").len(), POINTS);
    // A build with nothing to do tries, each time, and remembers nothing that would keep the next from it.
    for _ in 0..2 {
        server.requests();
        let (_, ran) = build(&project, &[]);
        assert!(
            ran.stderr.contains("remote cache: ") && ran.stderr.contains("507"),
            "{ran}"
        );
        assert!(server.requests().1 > 0);
    }
    let stats = sweep(&project, &[], &["cache", "stats"]);
    assert!(stats.stdout.contains("10 results still to be sent"), "{stats}");

    // There is nothing to build; what is left is sent all the same.
    server.behave(Manner::Honest);
    server.requests();
    let (measured, ran) = build(&project, &[]);
    assert_eq!(measured, 0, "{ran}");
    assert_eq!((server.count("records"), server.count("blobs")), (POINTS, POINTS));
    assert!(project.files(".cache/unsent").is_empty());
    server.requests();
    build(&project, &[]);
    assert_eq!(server.requests(), (0, 0));
    assert_eq!(build(&impatient(&server), &[]).0, 0, "another machine");
}

#[test]
fn a_build_that_is_killed_leaves_what_it_measured_to_be_sent() {
    let server = StandIn::new(Manner::Silent);
    let project = impatient(&server);
    let mut running = project.start(&["build"]);
    running.wait_for("two benches", |story| story.benches_passed().len() >= 2);
    let killed = running.kill();
    let passed = killed.story.benches_passed().len();
    server.behave(Manner::Honest);
    let (measured, ran) = build(&project, &[]);
    assert!(measured <= POINTS - passed, "{ran}");
    // What a killed run left without a record is adopted after this build's sender has read its notes.
    build(&project, &[]);
    assert_eq!(server.count("records"), POINTS);
}

#[test]
fn bytes_that_are_not_those_of_their_digest_are_not_taken() {
    let server = StandIn::new(Manner::Honest);
    build(&impatient(&server), &[]);
    for (manner, measured_again) in [
        (Manner::Swapped, POINTS),
        (Manner::Short, POINTS),
        (Manner::Honest, 0),
    ] {
        server.behave(manner);
        let project = impatient(&server);
        let (measured, ran) = build(&project, &[]);
        assert_eq!(measured, measured_again, "{manner:?}: {ran}");
        assert_eq!(complaints(&ran).is_empty(), measured == 0, "{ran}");
        let sound = sweep(&project, &[], &["cache", "verify"]);
        assert!(sound.stdout.contains("nothing is wrong"), "{manner:?}: {sound}");
    }
}

#[test]
fn forced_measurements_are_made_and_replace_what_was_there() {
    let server = StandIn::new(Manner::Honest);
    build(&impatient(&server), &remote(server.url()));
    let project = impatient(&server);
    server.requests();
    let ran = sweep(&project, &[], &["build", "alpha-*", "--rerun"]);
    assert_eq!(ran.story.benches_passed().len(), 3, "{ran}");
    assert_eq!(server.requests().0, 0, "nothing is asked");
    // The other machine's traces stay; a record of a key is the latest that was sent.
    assert_eq!(
        (server.count("records"), server.count("blobs")),
        (POINTS, POINTS + 3)
    );
    let Event::RunStarted { run, .. } = &ran.story.0[0] else {
        panic!("{ran}")
    };
    let third = impatient(&server);
    build(&third, &[]);
    let rows = third.simulated_rows("all");
    let of_it = rows.iter().filter(|row| row["provenance"]["run"] == run.as_str());
    assert_eq!(of_it.count(), 3);
}

#[test]
fn what_cannot_run_here_comes_from_there() {
    let server = StandIn::new(Manner::Honest);
    let recipe = |words| {
        let server = "ready: { http: /health, within: 1m }\nreset: { http: POST /reset_prefix_cache }";
        faulty_recipe("good", words, server, "limits: { client-lag: 1m, client-cpu: 1 }")
    };
    let environment = remote(server.url());
    let measured = sweep(
        &Project::of_recipes(&[("good", recipe(""))]),
        &environment,
        &["build"],
    );
    assert_eq!((measured.code, sent(&measured)), (0, Some((2, 0))), "{measured}");
    // Here the same GPUs belong to another executor, which is in no key.
    let elsewhere = |words| {
        let project = Project::of_recipes(&[("good", recipe(words))]);
        project.replace("Sweepfile", "executor: process", "executor: slurm");
        sweep(&project, &environment, &["build"])
    };
    let ran = elsewhere("");
    assert_eq!((ran.code, taken(&ran)), (0, 2), "{ran}");
    assert!(ran.story.servers().is_empty(), "{ran}");
    // Of what is not there either, it says that it cannot run.
    let refused = elsewhere("--seed 7");
    assert_eq!(refused.code, 3, "{refused}");
    assert!(refused.stderr.contains("2 points cannot run"), "{refused}");
}
