//! Patterns that are none.

use super::*;

#[test]
fn a_pattern_on_the_command_line() {
    for command in ["build", "plan", "ls", "graph", "results"] {
        let shown = refused(&Project::new(), &[command, "dsr1-["]);
        assert!(shown.contains("`dsr1-[` is not a valid pattern"), "{shown}");
    }
    insta::assert_snapshot!(refused(&Project::new(), &["build", "dsr1-["]), @"
    error: `dsr1-[` is not a valid pattern: unclosed character class; missing ']'
     |
     = help: a pattern is a config key (`dsr1-fp8-*`), an id (`**/c64`), a kind and an id (`bench:*/8k1k/*/c64`), or `!pattern`
    ");
    insta::assert_snapshot!(refused(&Project::new(), &["build", ""]), @"
    error: the pattern is empty
     |
     = help: a pattern is a config key (`dsr1-fp8-*`), an id (`**/c64`), a kind and an id (`bench:*/8k1k/*/c64`), or `!pattern`
    ");
    insta::assert_snapshot!(refused(&Project::new(), &["build", "bench:"]), @"
    error: the pattern is empty
     |
     = help: a pattern is a config key (`dsr1-fp8-*`), an id (`**/c64`), a kind and an id (`bench:*/8k1k/*/c64`), or `!pattern`
    ");
}

#[test]
fn a_pattern_in_the_sweepfile_whether_it_is_used_or_not() {
    let sweeps = "sweeps: { nightly: { select: ['alpha-*', 'dsr1-['] } }\npriorities: { 'a[': 1 }\n";
    insta::assert_snapshot!(after_adding(SWEEPFILE, sweeps), @"
    error: `dsr1-[` is not a valid pattern: unclosed character class; missing ']'
     --> Sweepfile:9:42
      |
    9 | sweeps: { nightly: { select: ['alpha-*', 'dsr1-['] } }
      |                                          ^^^^^^^^ in sweep `nightly`

    error: `a[` is not a valid pattern: unclosed character class; missing ']'
      --> Sweepfile:10:15
       |
    10 | priorities: { 'a[': 1 }
       |               ^^^^ in these priorities
    ");
}
