//! `sweep status` and `sweep log`.

use serde_json::Value;

use super::{Project, built, refused, told};

const POINT: &str = "gamma-fp8-h100-vllm/64_16/tp4/c2";

#[test]
fn before_any_build() {
    let project = Project::new();
    let shown = told(&project, &["status"]);
    assert!(shown.starts_with("nothing has run yet"), "{shown}");
    assert_eq!(project.json(&["status", "--format", "json"]), Value::Null);
    let shown = refused(&project, &["log", POINT], 4);
    assert!(shown.contains(&format!("has tried `{POINT}`")), "{shown}");
    assert!(!project.path(".cache").exists());
}

#[test]
fn after_a_build() {
    let project = Project::new();
    built(&project, &["gamma-*"]);
    let shown = told(&project, &["status"]);
    assert!(
        shown.contains("(`sweep build 'gamma-*'`, profile default) ended "),
        "{shown}"
    );
    assert!(
        shown.contains("2 passed, 0 fresh, 0 failed, 0 skipped\n"),
        "{shown}"
    );
    assert!(
        shown.contains("\n  sim (simulated)  2 done, 0 waiting\n"),
        "{shown}"
    );
    let status = project.json(&["status", "--format", "json"]);
    assert_eq!(
        (&status["state"], &status["finished"]["passed"]),
        (&"ended".into(), &2.into())
    );

    let bench = told(&project, &["log", POINT]);
    assert_eq!(bench, told(&project, &["log", &format!("bench:{POINT}")]));
    assert!(bench.contains("listening on http://127.0.0.1:"), "{bench}");
    assert!(bench.contains(&format!("==> bench:{POINT} <==\n")), "{bench}");
    assert!(bench.contains("verdict: passed\n"), "{bench}");
    let server = told(&project, &["log", "server:gamma-fp8-h100-vllm/64_16/tp4/c1"]);
    assert!(server.contains("(simulated h100 x4"), "{server}");
    // What is over is not waited for.
    assert_eq!(told(&project, &["log", "-f", POINT]), bench);
}

#[test]
fn what_has_no_log() {
    let project = Project::new();
    built(&project, &["gamma-*"]);
    let shown = refused(&project, &["log", "gamma-fp8-h100-vllm/64_16/tp4/c3"], 4);
    assert!(
        shown.contains("did you mean `gamma-fp8-h100-vllm/64_16/tp4/c"),
        "{shown}"
    );
    let shown = refused(&project, &["log", &format!("process:{POINT}")], 2);
    assert!(shown.contains("have no log"), "{shown}");
}
