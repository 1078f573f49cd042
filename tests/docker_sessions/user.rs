//! What a user who is not root finds in their tree afterwards.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use crate::containers::Image;
use crate::lab::{IMAGE, Lab, Plan, SIMULATOR};

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

/// `sweep` as a user who is in the group of the engine's socket, in a tree of their own.
fn sweep_as_user(lab: &Lab, words: &[&str]) -> Command {
    // The socket is open to them; the program is where they can read it.
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
        .args(words)
        .current_dir(lab.project.root())
        .env("DOCKER_HOST", lab.dockerd.host());
    command
}

fn assert_all_is_theirs(lab: &Lab) {
    for file in lab.project.files(".") {
        assert_eq!(fs::metadata(&file).unwrap().uid(), USER, "{}", file.display());
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
    let ran = lab.project.run(sweep_as_user(&lab, &["build"]));
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(ran.story.benches_passed().len(), 2, "{ran}");
    lab.assert_nothing_left();
    assert_all_is_theirs(&lab);
}

/// Leaves a result and a log, as whoever the image says.
const SCRIPT: &str = r#"
echo started > server.log
echo '{"model_id": "m", "num_prompts": 10, "max_concurrency": 1, "duration": 2.5, "completed": 10,
    "total_output_tokens": 50, "output_throughput": 20.0, "total_token_throughput": 60.0}' > bench.json
exit $LEAVES
"#;

#[test]
fn what_a_script_wrote_as_root_is_handed_back() {
    let Some(lab) = Lab::new(&Plan {
        container: "{ user: image }",
        concurrencies: "[1]",
        script: SCRIPT,
        ..Plan::default()
    }) else {
        return;
    };
    let [bash, chown] = ["bash", "chown"].map(|name| Path::new("/bin").join(name));
    let programs = [("bash", &*bash), ("chown", &*chown)];
    lab.dockerd
        .load(&Image::of_programs(&programs, &["/bin/false"]), IMAGE);
    let recipe = "match: { framework: one }\nrun: serve.sh\nwithin: 2m\nenv: { LEAVES: \"0\" }\n";
    lab.project.write("benchmarks/one/recipe.yaml", recipe);
    let ran = lab.project.run(sweep_as_user(&lab, &["build"]));
    assert_eq!(ran.code, 0, "{ran}");
    lab.assert_nothing_left();
    assert_all_is_theirs(&lab);

    // Also where the script has failed.
    lab.project
        .replace("benchmarks/one/recipe.yaml", "LEAVES: \"0\"", "LEAVES: \"3\"");
    let ran = lab.project.run(sweep_as_user(&lab, &["build"]));
    assert_eq!(ran.code, 1, "{ran}");
    lab.assert_nothing_left();
    assert_all_is_theirs(&lab);
}

#[test]
fn an_image_that_cannot_hand_back_says_so() {
    let Some(lab) = Lab::new(&Plan {
        container: "{ user: image }",
        concurrencies: "[1]",
        script: SCRIPT,
        ..Plan::default()
    }) else {
        return;
    };
    let recipe = "match: { framework: one }\nrun: serve.sh\nwithin: 2m\nenv: { LEAVES: \"0\" }\n";
    lab.project.write("benchmarks/one/recipe.yaml", recipe);
    let ran = lab.project.run(sweep_as_user(&lab, &["build"]));
    assert_eq!(ran.code, 0, "the result counts all the same: {ran}");
    let log = lab.sweep(&["log", "one-fp8/64_16/tp1/c1"]);
    assert!(
        log.stdout.contains("the files in its workspace may not be yours"),
        "{log}"
    );
    lab.assert_nothing_left();
}
