//! Results that are signed, and those that are not.

use crate::project::Project;
use crate::stand_in::{Manner, StandIn};
use crate::{POINTS, build, complaints, sweep};

const KEY: &str = "a key that the whole team shares";

fn signing(server: &StandIn) -> Project {
    let project = Project::new();
    let sweepfile = project.read("Sweepfile");
    let url = server.url();
    let cache = format!("cache: {{ remote: \"{url}\", sign-with: TEAM_KEY }}\n");
    project.write("Sweepfile", &(sweepfile + &cache));
    project
}

fn with_key(key: &str) -> Vec<(&'static str, String)> {
    vec![("TEAM_KEY", key.to_owned())]
}

#[test]
fn only_what_is_signed_with_the_key_is_taken() {
    let server = StandIn::new(Manner::Honest);
    // Somebody without the key has written there.
    let stranger = Project::new();
    build(&stranger, &crate::remote(server.url()));
    assert_eq!(server.count("records"), POINTS);
    let (measured, ran) = build(&signing(&server), &with_key(KEY));
    assert_eq!(measured, POINTS, "{ran}");
    assert!(ran.stderr.contains("it is not signed"), "{ran}");
    // Now they are there with a signature.
    let (measured, ran) = build(&signing(&server), &with_key(KEY));
    assert_eq!(measured, 0, "{ran}");

    let other = signing(&server);
    let (measured, ran) = build(&other, &with_key("a key that nobody else has"));
    assert_eq!(measured, POINTS, "{ran}");
    assert!(
        complaints(&ran)[0].contains("not that of the configured key"),
        "{ran}"
    );

    // As in a pull request from a fork, which gets no secrets.
    server.requests();
    let fork = signing(&server);
    let (measured, ran) = build(&fork, &[]);
    assert_eq!(measured, POINTS, "{ran}");
    assert!(
        ran.stderr.contains("`TEAM_KEY`") && ran.stderr.contains("is not used"),
        "{ran}"
    );
    assert_eq!(server.requests(), (0, 0));

    let weak = sweep(&signing(&server), &with_key("short"), &["build"]);
    assert_eq!(weak.code, 2, "{weak}");
    assert!(weak.stderr.contains("at least 16 bytes"), "{weak}");
}

#[test]
fn the_key_is_written_nowhere() {
    let server = StandIn::new(Manner::Honest);
    let project = signing(&server);
    let (_, ran) = build(&project, &with_key(KEY));
    sweep(&project, &with_key(KEY), &["cache", "export", "all.tar.zst"]);
    let holds = |bytes: &[u8]| bytes.windows(KEY.len()).any(|part| part == KEY.as_bytes());
    assert!(!holds(ran.stderr.as_bytes()) && !holds(ran.stdout.as_bytes()));
    assert!(!holds(&server.bytes()));
    for file in project.files(".") {
        assert!(!holds(&std::fs::read(&file).unwrap()), "{}", file.display());
    }
}

#[test]
fn archives_are_signed_and_others_refused() {
    let server = StandIn::new(Manner::Honest);
    let project = signing(&server);
    build(&project, &with_key(KEY));
    let signed = project.path("signed.tar.zst");
    let signed = signed.to_str().unwrap();
    assert_eq!(
        sweep(&project, &with_key(KEY), &["cache", "export", signed]).code,
        0
    );
    let unsigned = Project::new();
    assert_eq!(
        unsigned.sweep(&["cache", "import", signed]).code,
        0,
        "who has no key takes all"
    );
    let plain = unsigned.path("plain.tar.zst");
    let plain = plain.to_str().unwrap();
    assert_eq!(unsigned.sweep(&["cache", "export", plain]).code, 0);

    let taking = signing(&server);
    let import = |key: &str, what: &str| sweep(&taking, &with_key(key), &["cache", "import", what]);
    let root = unsigned.root().to_str().unwrap();
    for (key, what, words) in [
        (KEY, plain, "it is not signed"),
        (
            "a key that nobody else has",
            signed,
            "not that of the configured key",
        ),
        (KEY, root, "is a folder, and only what is signed"),
    ] {
        let refused = import(key, what);
        assert_eq!(refused.code, 2, "{refused}");
        assert!(refused.stderr.contains(words), "{refused}");
    }
    let missing = taking.sweep(&["cache", "import", signed]);
    assert_eq!(missing.code, 2, "{missing}");
    assert!(missing.stderr.contains("`TEAM_KEY`"), "{missing}");
    assert!(taking.files(".cache/cas").is_empty(), "nothing was changed");
    assert_eq!(import(KEY, signed).code, 0);
    let mut offline = with_key(KEY);
    offline.push(("SWEEP_CACHE_REMOTE", String::new()));
    assert_eq!(build(&taking, &offline).0, 0);
}
