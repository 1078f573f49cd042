//! What a user who is not root finds in their tree afterwards.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use crate::lab::{Lab, Plan, SIMULATOR};

/// Nobody's number, so that nothing belongs to it by chance.
const USER: u32 = 54_321;

fn give(path: &Path) {
    chown(path, Some(USER), Some(USER)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path());
        }
    }
}

#[test]
fn nothing_of_roots_is_left_in_a_users_tree() {
    let Some(lab) = Lab::new(&Plan {
        servers: &[("one", SIMULATOR)],
        ..Plan::default()
    }) else {
        return;
    };
    // The engine's socket is open to them, as to the members of its group; the program is where they can read it.
    let socket = lab.dockerd.host();
    let socket = Path::new(socket.strip_prefix("unix://").unwrap());
    fs::set_permissions(socket, fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(socket.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    let outer = lab.project.root().parent().unwrap();
    fs::set_permissions(outer, fs::Permissions::from_mode(0o755)).unwrap();
    let program = lab.project.beside("sweep");
    fs::copy(env!("CARGO_BIN_EXE_sweep"), &program).unwrap();
    give(lab.project.root());

    let mut command = Command::new("setpriv");
    command
        .args([
            &format!("--reuid={USER}"),
            &format!("--regid={USER}"),
            "--clear-groups",
            "--",
        ])
        .arg(&program)
        .arg("build")
        .current_dir(lab.project.root())
        .env("DOCKER_HOST", lab.dockerd.host());
    let ran = lab.project.run(command);
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(ran.story.benches_passed().len(), 2, "{ran}");
    lab.assert_nothing_left();
    for file in lab.project.files(".") {
        assert_eq!(fs::metadata(&file).unwrap().uid(), USER, "{}", file.display());
    }
}
