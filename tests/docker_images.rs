//! Images pulled by digest from a real registry into a real engine, and what `sweep doctor` says of both.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod containers;
mod project;
mod requirement;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use bollard::query_parameters::TagImageOptionsBuilder;
use containers::{BASIC, CuttingProxy, Dockerd, Image, Registry};
use project::{Project, Ran, SWEEPFILE};
use serde_json::Value;
use sweep::exec::docker::connect::{Endpoint, Engine};

/// A project whose config `alpha` runs this image on the engine.
struct Lab {
    project: Project,
    engine: String,
}

impl Lab {
    fn new(engine: &str, image: &str) -> Self {
        let project = Project::new();
        let docker =
            "  docker:\n    pools:\n      h100: { executor: docker, serves: [h100], gpus: 8, gpu: h100 }\n";
        project.write("Sweepfile", &format!("{SWEEPFILE}{docker}"));
        project.edit_config("alpha-fp8-h100-sglang", "lmsysorg/sglang:v0.5.1", image);
        let engine = engine.to_owned();
        Self { project, engine }
    }

    fn sweep(&self, words: &[&str]) -> Ran {
        let config = self.project.beside("docker");
        fs::create_dir_all(&config).unwrap();
        let mut command = self.project.command(words);
        let path = format!("{}:{}", config.display(), std::env::var("PATH").unwrap());
        command
            .env("DOCKER_CONFIG", &config)
            .env("DOCKER_HOST", &self.engine)
            .env("PATH", path)
            .env("NO_PROXY", "127.0.0.1");
        self.project.run(command)
    }

    fn pull(&self) -> Ran {
        self.sweep(&["pull", "alpha-*", "--profile", "docker", "--format", "json"])
    }

    /// What a pull that works tells of its one image.
    fn pulled(&self) -> Value {
        let ran = self.pull();
        assert_eq!(ran.code, 0, "{ran}");
        let told: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(told.len(), 1, "{ran}");
        told[0].clone()
    }

    fn write_program(&self, name: &str, text: &str) {
        let path = self.project.beside("docker").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The findings of `sweep doctor`: check, level and what was found; and its exit code.
    fn doctor(&self, profile: &str) -> (i32, Vec<[String; 3]>) {
        let ran = self.sweep(&["doctor", "--profile", profile, "--format", "json"]);
        let told: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"));
        let findings = told["findings"].as_array().unwrap().iter().map(|finding| {
            assert_eq!(finding["level"] == "ok", finding["mend"].is_null(), "{finding}");
            ["check", "level", "found"].map(|field| finding[field].as_str().unwrap().to_owned())
        });
        (ran.code, findings.collect())
    }
}

fn level<'a>(findings: &'a [[String; 3]], check: &str) -> &'a str {
    let found = findings.iter().find(|[name, ..]| name == check);
    found.map_or_else(|| panic!("no `{check}`: {findings:#?}"), |[_, level, _]| level)
}

/// An image whose layer has so many bytes, and more for its head.
fn an_image(bytes: usize, content: u8) -> Image {
    Image::of_files(&[("bin/engine", vec![content; bytes])], &["/bin/engine"])
}

#[test]
fn an_image_is_pulled_once_by_its_digest() {
    let (Some(dockerd), Some(registry)) = (Dockerd::start(), Registry::start()) else {
        return;
    };
    let digest = registry.push("infx/engine", "v1", &an_image(300_000, 1));
    let lab = Lab::new(&dockerd.host(), &format!("{}/infx/engine:v1", registry.host()));
    let locked = lab.sweep(&["pull", "alpha-*", "--profile", "docker", "--locked"]);
    assert_eq!(locked.code, 2, "{locked}");
    let first = lab.pulled();
    assert_eq!(first["digest"], digest.as_str(), "{first}");
    assert_eq!(first["pulled"]["layers"], 1, "{first}");
    assert_eq!(first["pulled"]["layers-done"], 1, "{first}");
    assert!(first["pulled"]["bytes"].as_u64().unwrap() > 300_000, "{first}");
    assert!(lab.project.read("sweep.lock").contains(&digest));
    assert!(lab.pulled()["pulled"].is_null());
    // What is simulated needs none.
    let simulated = lab.sweep(&["pull", "alpha-*"]);
    assert_eq!(simulated.code, 4, "{simulated}");

    // A tag that has moved is not followed; an update is.
    let moved = registry.push("infx/engine", "v1", &an_image(300_000, 2));
    assert!(lab.pulled()["pulled"].is_null());
    let updated = lab.sweep(&["lock", "alpha-*", "--update"]);
    assert_eq!(updated.code, 0, "{updated}");
    let second = lab.pulled();
    assert_eq!(
        (second["digest"].as_str(), second["pulled"].is_null()),
        (Some(moved.as_str()), false)
    );

    // A pin of another day, whose image is gone.
    let gone = format!("sha256:{}", "0".repeat(64));
    lab.project.write(
        "sweep.lock",
        &lab.project.read("sweep.lock").replace(&moved, &gone),
    );
    let ran = lab.pull();
    assert_eq!(ran.code, 2, "{ran}");
    assert!(ran.stderr.contains("is not in its registry any more"), "{ran}");
}

#[test]
fn a_pull_that_is_cut_in_the_middle_goes_on() {
    let (Some(dockerd), Some(registry)) = (Dockerd::start(), Registry::start()) else {
        return;
    };
    let proxy = CuttingProxy::start(registry.address(), 4 << 20, 3);
    let digest = registry.push("infx/engine", "v1", &an_image(16 << 20, 1));
    let lab = Lab::new(&dockerd.host(), &format!("{}/infx/engine:v1", proxy.host));
    let pulled = lab.pulled();
    assert_eq!(pulled["digest"], digest.as_str(), "{pulled}");
    assert_eq!(proxy.cuts_left(), 0, "nothing was cut");
    assert_eq!(pulled["pulled"]["layers-done"], 1, "{pulled}");
}

#[test]
fn logins_are_the_engine_s_too_and_their_lack_is_told() {
    let (Some(dockerd), Some(registry)) = (Dockerd::start(), Registry::with_password()) else {
        return;
    };
    let host = registry.host();
    registry.push("infx/engine", "v1", &an_image(1000, 1));
    let lab = Lab::new(&dockerd.host(), &format!("{host}/infx/engine:v1"));
    let login = format!(r#"{{"auths":{{"{host}":{{"auth":"{BASIC}"}}}}}}"#);
    lab.write_program("config.json", &login);
    assert_eq!(lab.sweep(&["lock", "alpha-*"]).code, 0);
    lab.write_program("config.json", "{}");
    let ran = lab.pull();
    assert_eq!(ran.code, 3, "{ran}");
    assert!(ran.stderr.contains(&format!("docker login {host}")), "{ran}");
    let (code, findings) = lab.doctor("docker");
    assert_eq!(
        (code, level(&findings, &format!("registry {host}"))),
        (3, "wrong")
    );
    lab.write_program("config.json", &login);
    assert!(!lab.pulled()["pulled"].is_null());
    assert_eq!(level(&lab.doctor("docker").1, &format!("registry {host}")), "ok");
}

#[test]
fn a_full_disk_is_told_with_what_is_needed_and_free() {
    let (Some(dockerd), Some(registry)) = (Dockerd::start_with_room(24 << 20), Registry::start()) else {
        return;
    };
    registry.push("infx/engine", "v1", &an_image(32 << 20, 1));
    let lab = Lab::new(&dockerd.host(), &format!("{}/infx/engine:v1", registry.host()));
    let ran = lab.pull();
    assert_eq!(ran.code, 3, "{ran}");
    let said = [
        "no space for",
        "its layers have 32.",
        "is free in",
        "docker image prune",
    ];
    assert!(said.iter().all(|words| ran.stderr.contains(words)), "{ran}");
    assert_eq!(level(&lab.doctor("docker").1, "engine's disk"), "wrong");
}

#[tokio::test]
async fn an_image_that_no_registry_has_is_pinned_by_the_engine_s_copy() {
    let (Some(dockerd), Some(registry)) = (Dockerd::start(), Registry::start()) else {
        return;
    };
    let digest = registry.push("infx/engine", "v1", &an_image(1000, 1));
    let (there, own) = (
        format!("{}/infx/engine", registry.host()),
        format!("{}/infx/own", registry.host()),
    );
    Lab::new(&dockerd.host(), &format!("{there}:v1")).pulled();
    let engine = Engine::connect_to(Endpoint(dockerd.host().replacen("unix://", "", 1).into()))
        .await
        .unwrap();
    let options = TagImageOptionsBuilder::default().repo(&own).tag("dev").build();
    engine
        .client
        .tag_image(&format!("{there}@{digest}"), Some(options))
        .await
        .unwrap();
    let lab = Lab::new(&dockerd.host(), &format!("{own}:dev"));
    let told = lab.pulled();
    assert!(told["pulled"].is_null(), "{told}");
    assert!(
        lab.project
            .read("sweep.lock")
            .contains(told["digest"].as_str().unwrap())
    );
}

#[test]
fn the_doctor_works_without_an_engine_and_knows_what_is_needed() {
    let lab = Lab::new("unix:///nowhere/docker.sock", "builtin:sim");
    let (code, findings) = lab.doctor("default");
    assert_eq!(code, 0, "{findings:#?}");
    for check in ["cache", "disk", "open files", "clock", "engine"] {
        assert_ne!(level(&findings, check), "wrong", "{check}");
    }
    let (code, findings) = lab.doctor("docker");
    assert_eq!(code, 3, "{findings:#?}");
    assert_eq!(level(&findings, "engine"), "wrong");
    assert_eq!(level(&findings, "pins"), "warn");
    lab.write_program(
        "nvidia-smi",
        "#!/bin/sh\nfor i in 1 2 3 4 5 6 7 8; do echo 'NVIDIA H100 80GB HBM3, 580.95.05'; done\n",
    );
    assert_eq!(level(&lab.doctor("docker").1, "GPUs of pool `h100`"), "ok");
    lab.write_program(
        "nvidia-smi",
        "#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 580.95.05'\n",
    );
    assert_eq!(level(&lab.doctor("docker").1, "GPUs of pool `h100`"), "wrong");
    let text = lab.sweep(&["doctor", "--profile", "docker"]);
    assert!(
        text.stdout.contains("mend: sudo systemctl start docker"),
        "{text}"
    );
    let two = lab.project.read("Sweepfile")
        + "  two:\n    pools:\n      h100: { executor: docker, serves: [h100], gpus: 1, gpu: h100 }\n      \
           mi355x: { executor: docker, serves: [h100], gpus: 8, gpu: mi355x }\n";
    lab.project.write("Sweepfile", &two);
    let both = lab.sweep(&["doctor", "--profile", "two"]);
    assert!(
        both.stdout.contains("mend: look at one pool with `--pool NAME`"),
        "{both}"
    );
    let one = lab.sweep(&["doctor", "--profile", "two", "--pool", "h100"]);
    assert!(
        one.stdout.contains("GPUs of pool `h100`") && !one.stdout.contains("mi355x"),
        "{one}"
    );
    let unknown = lab.sweep(&["doctor", "--profile", "docker", "--pool", "h10"]);
    assert_eq!(unknown.code, 2, "{unknown}");
    assert!(unknown.stderr.contains("did you mean `h100`?"), "{unknown}");
    let remote = Lab::new("tcp://127.0.0.1:1", "builtin:sim").sweep(&["doctor", "--profile", "docker"]);
    let said = [
        "`tcp://127.0.0.1:1` (DOCKER_HOST)",
        "measures over loopback",
        "mend: export DOCKER_HOST=unix://",
    ];
    assert!(said.iter().all(|words| remote.stdout.contains(words)), "{remote}");
}
