//! `sweep build`: what runs, and what does not run again.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod project;

use project::Project;

#[test]
fn the_second_build_does_nothing() {
    let project = Project::new();
    let first = project.sweep(&["build"]);
    assert_eq!(first.code, 0, "{first}");
    assert_eq!(first.story.benches_passed().len(), 10, "{first}");
    assert_eq!(first.story.servers().len(), 5, "{first}");
    let again = project.sweep(&["build"]);
    assert_eq!(again.code, 0, "{again}");
    assert!(again.story.0.is_empty(), "{again}");
    assert_eq!(project.simulated_rows("all").len(), 10);
}
