//! `sweep completions`.

use std::io::Write;
use std::process::{Command, Stdio};

use super::{Project, told};

const COMMANDS: [&str; 13] = [
    "build",
    "plan",
    "why",
    "ls",
    "show",
    "graph",
    "results",
    "status",
    "log",
    "schema",
    "bench",
    "sim",
    "completions",
];

#[test]
fn each_shell_knows_every_command() {
    let project = Project::bare();
    for shell in ["bash", "zsh", "fish"] {
        let script = told(&project, &["completions", shell]);
        for command in COMMANDS {
            assert!(script.contains(command), "{command} in {shell}");
        }
        // Sweep's own helper is nobody's to type.
        assert!(!script.contains("guard"), "{shell}");
    }
}

#[test]
fn bash_reads_its_script_and_completes() {
    let script = told(&Project::bare(), &["completions", "bash"]);
    let mut bash = Command::new("bash")
        .args(["--norc", "--noprofile", "-s"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let asked = "\nCOMP_WORDS=(sweep res); COMP_CWORD=1; _sweep sweep res sweep; echo \"${COMPREPLY[@]}\"\n";
    let mut stdin = bash.stdin.take().unwrap();
    stdin.write_all((script + asked).as_bytes()).unwrap();
    drop(stdin);
    let output = bash.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "results\n");
}
