//! Files that hold no YAML, or too much of it.

use super::*;

/// Every file that is read as YAML.
const FILES: [&str; 5] = [SWEEPFILE, MASTER, RUNNERS, RECIPE, LAUNCHER];

#[test]
fn a_tab_is_pointed_at() {
    for file in FILES {
        let shown = with_file(file, b"a: 1\n\tb: 2\n");
        assert!(shown.contains(&format!("--> {file}:2:1")), "{shown}");
        assert!(shown.contains("replace the tab"), "{shown}");
    }
    insta::assert_snapshot!(after_alpha("  runner:", "\trunner:"), @"
    error: could not parse `configs/master.yaml` as YAML
     --> configs/master.yaml:5:1
      |
    5 |     runner: h100
      | ^^^^ a tab in the indentation
      |
      = help: YAML indents with spaces; replace the tab
    ");
}

#[test]
fn a_text_that_is_no_yaml_shows_the_right_line() {
    insta::assert_snapshot!(after_alpha("runner: h100", "runner: [h100"), @"
    error: could not parse `configs/master.yaml` as YAML
     --> configs/master.yaml:6:12
      |
    6 |   precision: fp8
      |            ^ illegal placement of ':' indicator
    ");
    insta::assert_snapshot!(after_alpha("runner: h100", "runner: \"h100"), @"
    error: could not parse `configs/master.yaml` as YAML
     --> configs/master.yaml:6:3
      |
    6 |   precision: fp8
      |   ^ invalid indentation in multiline quoted scalar
    ");
    insta::assert_snapshot!(after_alpha("runner: h100", "runner: a: b"), @"
    error: could not parse `configs/master.yaml` as YAML
     --> configs/master.yaml:5:12
      |
    5 |   runner: a: b
      |            ^ mapping values are not allowed in this context
    ");
    insta::assert_snapshot!(after_alpha("runner: h100", "runner: *label"), @"
    error: could not parse `configs/master.yaml` as YAML
     --> configs/master.yaml:5:11
      |
    5 |   runner: *label
      |           ^ alias references unknown anchor
    ");
    insta::assert_snapshot!(after(RECIPE, "bench: {", "bench: { range-ratio: .nan,"), @"
    error: could not parse `benchmarks/sglang/recipe.yaml` as YAML
     --> benchmarks/sglang/recipe.yaml:8:23
      |
    8 | bench: { range-ratio: .nan, prompts: 4 * conc, warmup: conc, limits: { client-lag: 1m, client-cpu: 1 } }
      |                       ^ expected a finite number
    ");
}

#[test]
fn ten_megabytes_of_laughs_are_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let aliases = vec![format!("*a{}", i - 1); 9].join(", ");
        text.push_str(&format!("a{i}: &a{i} [{aliases}]\n"));
    }
    text.push_str("padding: |\n");
    let line = format!("  {}\n", "ha".repeat(49));
    text.push_str(&line.repeat(10 * (1 << 20) / line.len()));
    assert!(text.len() > 10_000_000);
    insta::assert_snapshot!(with_file(MASTER, text.as_bytes()), @"
    error: could not parse `configs/master.yaml` as YAML
     --> configs/master.yaml:7:10
      |
    7 | a6: &a6 [*a5, *a5, *a5, *a5, *a5, *a5, *a5, *a5, *a5]
      |          ^ the file's anchors and aliases expand to more than any sweep needs
      |
      = help: write its anchors and aliases out
    ");
}

#[test]
fn seventy_megabytes_are_refused_unread() {
    let text = "# comment\n".repeat(7_000_000);
    insta::assert_snapshot!(with_file(MASTER, text.as_bytes()), @"
    error: `configs/master.yaml` is 70000000 bytes; the limit for one file is 67108864
     --> Sweepfile:2:11
      |
    2 | configs: [configs/master.yaml]
      |           ^^^^^^^^^^^^^^^^^^^ named here
    ");
    insta::assert_snapshot!(with_file(SWEEPFILE, text.as_bytes()), @"error: `Sweepfile` is 70000000 bytes; the limit for one file is 67108864");
}

#[test]
fn more_values_than_any_sweep_has() {
    insta::assert_snapshot!(with_file(RUNNERS, "a: 1\n".repeat(200_000).as_bytes()), @"
    error: could not parse `configs/runners.yaml` as YAML
          --> configs/runners.yaml:125000:4
           |
    125000 | a: 1
           |    ^ the file holds more than 250000 values up to here, aliases counted as what they stand for
           |
           = help: split the file, or write its anchors and aliases out if it is they that multiply
    ");
}

#[test]
fn what_is_no_text() {
    insta::assert_snapshot!(with_file(MASTER, b"a: 1\nb: caf\xe9\n"), @"
    error: `configs/master.yaml` is not UTF-8 text: line 2 holds other bytes, at byte 11 of the file
     --> Sweepfile:2:11
      |
    2 | configs: [configs/master.yaml]
      |           ^^^^^^^^^^^^^^^^^^^ named here
    ");
    insta::assert_snapshot!(with_file(MASTER, b"\xff\xfea\0:\0"), @"
    error: `configs/master.yaml` is not UTF-8 text: line 1 holds other bytes, at byte 0 of the file
     --> Sweepfile:2:11
      |
    2 | configs: [configs/master.yaml]
      |           ^^^^^^^^^^^^^^^^^^^ named here
    ");
    insta::assert_snapshot!(with_file(MASTER, b"a: 1\nb: \0\n"), @r"
    error: could not parse `configs/master.yaml` as YAML
     --> configs/master.yaml:2:4
      |
    2 | b: ␀
      |    ^ unexpected character: `\u{0}'
    ");
    insta::assert_snapshot!(after_alpha("model-prefix: alpha", "model-prefix: \"al\\0pha\""), @r#"
    error: `model-prefix` holds a NUL character
     --> configs/master.yaml:4:17
      |
    4 |   model-prefix: "al\0pha"
      |                 ^^^^^^^^^ expected a text without it
    "#);
}

#[test]
fn what_holds_nothing_or_something_else() {
    for file in FILES {
        for text in ["", "\n", "# nothing\n", "- a\n- b\n", "word\n", "null\n"] {
            let shown = with_file(file, text.as_bytes());
            assert!(shown.contains(&format!("--> {file}:")), "{shown}");
            assert!(shown.contains("expected a mapping"), "{shown}");
        }
    }
    insta::assert_snapshot!(with_file(SWEEPFILE, b""), @"
    error: `Sweepfile` is empty
     --> Sweepfile:1:1
      |
    1 |
      | ^ expected a mapping
    ");
    insta::assert_snapshot!(with_file(MASTER, b""), @"
    error: `configs/master.yaml` holds no configs
     --> configs/master.yaml:1:1
      |
    1 |
      | ^ expected a mapping from config keys to configs
    ");
    insta::assert_snapshot!(with_file(RECIPE, b"- a\n"), @"
    error: `benchmarks/sglang/recipe.yaml` cannot be a list
     --> benchmarks/sglang/recipe.yaml:1:1
      |
    1 | - a
      | ^ expected a mapping
    ");
}

#[test]
fn deep_nesting_is_refused() {
    for text in [
        "[".repeat(100_000),
        "a: ".to_owned() + &"{a: ".repeat(100_000),
        "- ".repeat(50_000),
    ] {
        for file in FILES {
            let shown = with_file(file, text.as_bytes());
            assert!(shown.contains("is a bracket left open?"), "{shown}");
            assert!(shown.contains(&format!("--> {file}:1:")), "{shown}");
        }
    }
}

#[test]
fn a_second_document_is_pointed_at() {
    let project = Project::new();
    let text = project.read(RUNNERS);
    project.write(RUNNERS, &format!("---\n{text}---\n{text}"));
    insta::assert_snapshot!(refused(&project, &["build"]), @"
    error: could not parse `configs/runners.yaml` as YAML
     --> configs/runners.yaml:7:1
      |
    7 | labels:
      | ^ a second document starts here
      |
      = help: a file holds one document; remove the `---`, or make it a file of its own
    ");
}

#[test]
fn a_very_long_line_is_shown_in_part() {
    let shown = after_alpha("tp: 2", &format!("tp: {}", "9a".repeat(1_000_000)));
    assert!(shown.contains("`tp` cannot be a string"), "{}", &shown[..200]);
    assert!(shown.len() < 2_000, "{} bytes", shown.len());
    let shown = after_alpha("tp: 2", &format!("{}: 2", "k".repeat(1_000)));
    assert!(shown.len() < 8_000, "{} bytes", shown.len());
}

#[test]
fn a_byte_order_mark_other_line_ends_and_a_document_mark_are_read() {
    let project = Project::new();
    let text = project.read(MASTER);
    for text in [
        format!("\u{feff}{text}"),
        text.replace('\n', "\r\n"),
        format!("---\n{text}...\n"),
    ] {
        project.write(MASTER, &text);
        let ran = project.sweep(&["ls"]);
        assert_eq!((ran.code, ran.stdout.lines().count()), (0, 10), "{ran}");
    }
}

#[test]
fn a_folder_is_no_file() {
    let project = Project::new();
    project.replace(SWEEPFILE, "[configs/master.yaml]", "[configs]");
    insta::assert_snapshot!(refused(&project, &["build"]), @"
    error: `configs` is no file
     --> Sweepfile:2:11
      |
    2 | configs: [configs]
      |           ^^^^^^^ named here
    ");
}
