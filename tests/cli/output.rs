//! What holds for every command: the folder it works in, readers that leave, colours.

use std::io::Read;
use std::process::Stdio;

use super::{Project, refused, told};

#[test]
fn the_project_is_found_from_any_folder_in_it() {
    let project = Project::new();
    let all = told(&project, &["ls"]);
    let inside = project.path("benchmarks/vllm");
    for (words, folder) in [
        (["ls", "-C", "."], inside.clone()),
        (["-C", "..", "ls"], inside.clone()),
        (["ls", "-C", "benchmarks/vllm"], project.root().to_owned()),
        (
            ["ls", "-C", project.root().to_str().unwrap()],
            std::env::temp_dir(),
        ),
    ] {
        let mut command = project.command(&words);
        command.current_dir(folder);
        let ran = project.run(command);
        assert_eq!((ran.code, &ran.stdout), (0, &all), "{words:?}: {ran}");
    }
}

#[test]
fn a_folder_without_a_project() {
    let project = Project::bare();
    let shown = refused(&project, &["ls"], 2).replace(project.root().to_str().unwrap(), "FOLDER");
    insta::assert_snapshot!(shown, @"
    error: no `Sweepfile` in `FOLDER` or any folder above it
     |
     = help: go to a project's folder, or name one with `-C FOLDER`
    ");
    let shown =
        refused(&project, &["ls", "-C", "absent"], 2).replace(project.root().to_str().unwrap(), "FOLDER");
    insta::assert_snapshot!(shown, @"
    error: there is no folder `FOLDER/absent`
     |
     = help: go to a project's folder, or name one with `-C FOLDER`
    ");
}

#[test]
fn a_reader_that_leaves_ends_a_command_quietly() {
    let project = Project::new();
    // More than a pipe holds, so that the command is still writing when its reader goes.
    let list: Vec<String> = (1..4000).map(|conc| conc.to_string()).collect();
    project.edit_config(
        super::ALPHA,
        "conc-list: [1, 2, 4]",
        &format!("conc-list: [{}]", list.join(", ")),
    );
    for words in [
        ["ls", "--format=json"].as_slice(),
        &["ls"],
        &["plan", "--format=json"],
        &["graph"],
        &["graph", "--format=json"],
    ] {
        let mut command = project.command(words);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {told}");
        assert!(
            !told.contains("panicked") && !told.contains("roken pipe"),
            "{words:?}: {told}"
        );
    }
}

#[test]
fn what_is_no_terminal_gets_no_colours() {
    let project = Project::new();
    for words in [
        ["ls"].as_slice(),
        &["plan"],
        &["results"],
        &["--help"],
        &["ls", "zzz"],
        &["biuld"],
    ] {
        let ran = project.sweep(words);
        assert!(
            !ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'),
            "{ran}"
        );
    }
}
