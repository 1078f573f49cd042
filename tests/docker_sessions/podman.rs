//! An engine that is Podman's. It serves pools of CPUs; what it would ignore without a word is refused: of that its
//! answers stand here as it gave them.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use crate::containers::Podman;
use crate::lab::{IMAGE, Plan, on_an_engine, project, sweep_and_bash};

/// What Podman 4.3.1 says where sweep asks it, cut to what is read.
fn answer(path: &str) -> (u16, &'static str) {
    let version = r#"{"Version":"4.3.1","ApiVersion":"1.41","MinAPIVersion":"1.24","Os":"linux","Arch":"amd64","Components":[{"Name":"Podman Engine","Version":"4.3.1"}]}"#;
    match path {
        _ if path.ends_with("/version") => (200, version),
        _ if path.ends_with("/info") => (200, r#"{"ID":"x","SecurityOptions":["name=seccomp"]}"#),
        _ if path.contains("/containers/json") => (200, "[]"),
        _ if path.contains("/images/") => (200, r#"{"Id":"sha256:00"}"#),
        _ => (404, r#"{"message":"not found"}"#),
    }
}

/// Answers requests without bodies on connections that end with each.
fn serve(mut stream: &UnixStream) {
    let mut lines = BufReader::new(stream.try_clone().unwrap())
        .lines()
        .map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    for _ in lines.by_ref().take_while(|line| !line.is_empty()) {}
    let (status, body) = answer(first.split(' ').nth(1).unwrap());
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let _ = stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice());
}

#[test]
fn gpus_that_podman_would_not_pass_on_are_refused() {
    let pool = "executor: docker, gpu: h100";
    let project = project(&Plan::default(), pool, IMAGE);
    let digest = "0".repeat(64);
    project.write(
        "sweep.lock",
        &format!("version: 1\nimages: {{ \"{IMAGE}\": {{ digest: \"sha256:{digest}\" }} }}\n"),
    );
    let socket = project.beside("podman.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| serve(&stream)));
    let mut command = project.command(&["build"]);
    command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    let ran = project.run(command);
    assert_eq!(ran.code, 3, "{ran}");
    assert!(ran.story.failures().is_empty(), "no point has failed: {ran}");
    assert!(
        ran.stderr.contains("Podman 4.3.1 does not pass NVIDIA GPUs on"),
        "{ran}"
    );
}

#[test]
fn a_server_of_podmans_is_measured_and_nothing_is_left() {
    let Some(podman) = Podman::start() else { return };
    podman.load(&sweep_and_bash("/bin/false"), IMAGE);
    let project = on_an_engine(&Plan::default());
    let sweep = |words: &[&str]| {
        let mut command = project.command(words);
        command.env("DOCKER_HOST", podman.host());
        project.start_command(command)
    };
    let mut build = sweep(&["build"]);
    build.wait_for("a bench", |story| !story.benches_started().is_empty());
    assert_eq!(podman.containers().len(), 1);
    let ran = build.wait();
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(ran.story.benches_passed().len(), 2, "{ran}");
    assert_eq!(project.simulated_rows("all").len(), 2);
    assert!(podman.containers().is_empty());
    project.assert_no_process_left();
    let again = sweep(&["build"]).wait();
    assert!(again.code == 0 && again.story.0.is_empty(), "{again}");
}
