//! `sweep lock` against a real registry, with and without a password, and against ones that are dead or odd.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod containers;
mod project;
mod requirement;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::thread;

use containers::{BASIC, Image, PASSWORD, Registry, USER};
use project::{Project, Ran, SWEEPFILE};
use serde_json::Value;

const LOCK: &str = "sweep.lock";

/// A project whose config `alpha` has this image; its other images are in no registry that is asked here.
struct Lab {
    project: Project,
}

impl Lab {
    fn new(image: &str) -> Self {
        let project = Project::new();
        let docker =
            "  docker:\n    pools:\n      h100: { executor: docker, serves: [h100], gpus: 8, gpu: h100 }\n";
        project.write("Sweepfile", &format!("{SWEEPFILE}{docker}"));
        project.edit_config("alpha-fp8-h100-sglang", "lmsysorg/sglang:v0.5.1", image);
        Self { project }
    }

    /// Runs `sweep` with a Docker configuration of its own and no engine.
    fn sweep(&self, words: &[&str]) -> Ran {
        let config = self.project.beside("docker");
        let mut command = self.project.command(words);
        let path = format!("{}:{}", config.display(), std::env::var("PATH").unwrap());
        command
            .env("DOCKER_CONFIG", &config)
            .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
            .env("PATH", path)
            .env("NO_PROXY", "127.0.0.1");
        self.project.run(command)
    }

    /// Writes a file of the Docker configuration.
    fn docker_config(&self, name: &str, text: &str) {
        let folder = self.project.beside("docker");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), text).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What `lock` tells of its one image: its state, old and new digest.
    fn lock(&self, more: &[&str]) -> (String, Value, Value) {
        let mut words = vec!["lock", "alpha-*", "--format", "json"];
        words.extend(more);
        let ran = self.sweep(&words);
        assert_eq!(ran.code, 0, "{ran}");
        let told: Value = serde_json::from_str(&ran.stdout).unwrap();
        let [image] = told["images"].as_array().unwrap().as_slice() else {
            panic!("{ran}")
        };
        let state = image["state"].as_str().unwrap().to_owned();
        (state, image["old"].clone(), image["new"].clone())
    }

    /// That `lock` does not pin the image: its exit code and what it says.
    fn refused(&self) -> (i32, String) {
        let ran = self.sweep(&["lock", "alpha-*"]);
        assert!(!self.project.path(LOCK).exists(), "{ran}");
        (ran.code, ran.stderr)
    }
}

fn an_image(content: &str) -> Image {
    Image::of_files(&[("bin/engine", content.as_bytes().to_vec())], &["/bin/engine"])
}

#[test]
fn a_pin_stays_where_it_is_until_it_is_updated() {
    let Some(registry) = Registry::start() else { return };
    let first = registry.push("infx/engine", "v1", &an_image("one"));
    let lab = Lab::new(&format!("{}/infx/engine:v1", registry.host()));
    let text = |value: &str| Value::from(value);
    assert_eq!(lab.lock(&[]), ("new".to_owned(), Value::Null, text(&first)));
    let pinned = lab.project.read(LOCK);
    assert!(
        pinned.contains(&format!("infx/engine:v1\":\n    digest: {first}\n")),
        "{pinned}"
    );
    assert_eq!(
        lab.lock(&["--update"]),
        ("verified".to_owned(), text(&first), text(&first))
    );

    let second = registry.push("infx/engine", "v1", &an_image("two"));
    assert_ne!(first, second);
    assert_eq!(lab.lock(&[]), ("moved".to_owned(), text(&first), text(&second)));
    assert_eq!(lab.project.read(LOCK), pinned);
    let told = lab.sweep(&["lock", "alpha-*"]);
    assert!(
        told.stderr.contains("1 of the tags moved") && told.stderr.contains("lock --update"),
        "{told}"
    );
    assert_eq!(
        lab.lock(&["--update"]),
        ("updated".to_owned(), text(&first), text(&second))
    );
    assert!(lab.project.read(LOCK).contains(&second));
}

#[test]
fn an_index_is_pinned_with_the_digest_of_each_platform() {
    let Some(registry) = Registry::start() else { return };
    let [amd, arm] =
        ["amd64", "arm64"].map(|arch| Image::of(arch, &[("bin/x", arch.as_bytes().to_vec())], &["/bin/x"]));
    let index = registry.push_index("infx/engine", "v1", &[&amd, &arm]);
    let lab = Lab::new(&format!("{}/infx/engine:v1", registry.host()));
    lab.lock(&[]);
    let (amd, arm) = (&amd.manifest().digest, &arm.manifest().digest);
    let lines =
        format!("    digest: {index}\n    platforms:\n      linux/amd64: {amd}\n      linux/arm64: {arm}\n");
    assert!(
        lab.project.read(LOCK).contains(&lines),
        "{}",
        lab.project.read(LOCK)
    );
}

#[test]
fn locked_means_that_nothing_is_without_a_pin() {
    let Some(registry) = Registry::start() else { return };
    registry.push("infx/engine", "v1", &an_image("one"));
    let lab = Lab::new(&format!("{}/infx/engine:v1", registry.host()));
    for command in [
        ["plan", "--locked"].as_slice(),
        &["build", "--locked"],
        &["build", "-n", "--locked"],
    ] {
        let mut words = command.to_vec();
        words.extend(["alpha-*", "--profile", "docker"]);
        let ran = lab.sweep(&words);
        assert_eq!(ran.code, 2, "{ran}");
        assert!(
            ran.stderr.contains("without a pin") && ran.stderr.contains("run `sweep lock`"),
            "{ran}"
        );
    }
    // What is simulated needs no image.
    let simulated = lab.sweep(&["plan", "alpha-*", "--locked"]);
    assert_eq!(simulated.code, 0, "{simulated}");
    let unpinned = lab.sweep(&["plan", "alpha-*", "--profile", "docker"]);
    assert!(unpinned.stdout.contains("1 image without a pin"), "{unpinned}");
    lab.lock(&[]);
    let pinned = lab.sweep(&["plan", "alpha-*", "--locked", "--profile", "docker"]);
    assert_eq!(pinned.code, 0, "{pinned}");
    assert!(!pinned.stdout.contains("without a pin"), "{pinned}");
}

#[test]
fn a_login_is_taken_from_docker_s_configuration_and_its_helpers() {
    let Some(registry) = Registry::with_password() else {
        return;
    };
    let (host, digest) = (
        registry.host(),
        registry.push("infx/engine", "v1", &an_image("one")),
    );
    let lab = Lab::new(&format!("{host}/infx/engine:v1"));
    let (code, said) = lab.refused();
    assert_eq!(code, 3, "{said}");
    assert!(
        said.contains("wants a login") && said.contains(&format!("docker login {host}")),
        "{said}"
    );

    let wrong = r#"{"auths":{"HOST":{"auth":"c3dlZXA6d3Jvbmc="}}}"#;
    lab.docker_config("config.json", &wrong.replace("HOST", &host));
    let (code, said) = lab.refused();
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("refuses the login"), "{said}");

    lab.docker_config(
        "config.json",
        &format!(r#"{{"credHelpers":{{"{host}":"nowhere"}}}}"#),
    );
    let (code, said) = lab.refused();
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("the helper that"), "{said}");

    let helper = format!(
        "#!/bin/sh\n[ \"$1\" = get ] && [ \"$(cat)\" = {host} ] && echo '{{\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'\n"
    );
    lab.docker_config("docker-credential-test", &helper);
    for config in [
        format!(r#"{{"credHelpers":{{"{host}":"test"}}}}"#),
        r#"{"credsStore":"test"}"#.to_owned(),
        format!(r#"{{"auths":{{"{host}":{{"auth":"{BASIC}"}}}}}}"#),
    ] {
        lab.docker_config("config.json", &config);
        let (state, _, new) = lab.lock(&[]);
        assert_eq!(
            (state.as_str(), new.as_str().unwrap()),
            ("new", digest.as_str()),
            "{config}"
        );
        fs::remove_file(lab.project.path(LOCK)).unwrap();
    }
}

#[test]
fn what_is_not_there_is_told_as_such() {
    let Some(registry) = Registry::start() else { return };
    registry.push("infx/engine", "v1", &an_image("one"));
    for image in ["infx/engine:v2", "infx/other:v1"] {
        let lab = Lab::new(&format!("{}/{image}", registry.host()));
        let (code, said) = lab.refused();
        assert_eq!(code, 2, "{said}");
        assert!(
            said.contains("is not in its registry; check the name and the tag"),
            "{said}"
        );
    }
}

#[test]
fn without_its_registry_a_pin_is_kept_and_told_as_unverified() {
    let Some(registry) = Registry::start() else { return };
    let digest = registry.push("infx/engine", "v1", &an_image("one"));
    let image = format!("{}/infx/engine:v1", registry.host());
    let lab = Lab::new(&image);
    lab.lock(&[]);
    let pinned = lab.project.read(LOCK);
    drop(registry);
    assert_eq!(
        lab.lock(&["--update"]),
        ("unverified".to_owned(), Value::from(digest), Value::Null)
    );
    assert_eq!(lab.project.read(LOCK), pinned);
    let told = lab.sweep(&["lock", "alpha-*"]);
    assert!(
        told.stderr.contains("kept unverified") && told.stderr.contains("does not answer"),
        "{told}"
    );

    let (code, said) = Lab::new(&image).refused();
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("does not answer"), "{said}");
}

#[test]
fn what_many_images_share_is_told_once() {
    let lab = Lab::new("127.0.0.1:1/infx/engine:v1");
    lab.project.edit_config(
        "beta-fp4-h100-sglang",
        "lmsysorg/sglang:v0.5.1",
        "127.0.0.1:1/infx/other:v1",
    );
    for words in [
        ["lock", "alpha-*", "beta-*"].as_slice(),
        &["pull", "alpha-*", "beta-*", "--profile", "docker"],
    ] {
        let ran = lab.sweep(words);
        assert_eq!(ran.code, 3, "{ran}");
        let said = [
            "no pin for 2 images of `127.0.0.1:1`",
            "does not answer",
            "HTTPS_PROXY",
        ];
        let once = said.iter().all(|words| ran.stderr.matches(words).count() == 1);
        assert!(once, "{ran}");
    }
}

#[test]
fn models_are_pinned_and_unused_pins_go() {
    let lab = Lab::new("builtin:sim");
    for key in [
        "beta-fp4-h100-sglang",
        "gamma-fp8-h100-vllm",
        "delta-fp4-h100-vllm",
    ] {
        let text = lab.project.read("configs/master.yaml");
        let image = if text.contains("lmsysorg/sglang:v0.5.1") {
            "lmsysorg/sglang:v0.5.1"
        } else {
            "vllm/vllm-openai:v0.11.0"
        };
        lab.project.edit_config(key, image, "builtin:sim");
    }
    let digest = format!("sha256:{}", "0".repeat(64));
    lab.project.write(
        LOCK,
        &format!("version: 1\nimages:\n  acme/gone:1: {{ digest: {digest} }}\n"),
    );
    let ran = lab.sweep(&["lock", "alpha-*", "--model", "openai/gpt-oss-120b=0123abc"]);
    assert_eq!(ran.code, 0, "{ran}");
    let text = lab.project.read(LOCK);
    assert!(
        text.contains("acme/gone:1") && text.contains("  openai/gpt-oss-120b: \"0123abc\"\n"),
        "{text}"
    );
    let ran = lab.sweep(&["lock", "--model", "openai/gpt-oss-120b="]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stdout.contains("removed"), "{ran}");
    assert!(!lab.project.read(LOCK).contains("acme") && !lab.project.read(LOCK).contains("openai"));
    let ran = lab.sweep(&["lock", "--model", "openai/gpt-oss=1"]);
    assert_eq!(ran.code, 4, "{ran}");
    assert!(ran.stderr.contains("openai/gpt-oss-120b"), "{ran}");
}

/// Answers requests as it is told to: each gets the head of one and gives a whole answer.
struct Scripted {
    host: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    fn start(answer: impl Fn(&str, &str, usize) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (own, heard) = (host.clone(), asked.clone());
        thread::spawn(move || {
            for (nth, stream) in listener.incoming().enumerate() {
                let mut stream: TcpStream = stream.unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                stream.write_all(answer(&own, &head, nth).as_bytes()).unwrap();
                heard.lock().unwrap().push(head);
            }
        });
        Self { host, asked }
    }

    fn requests(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .map(|head| head.lines().next().unwrap().to_owned())
            .collect()
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

const MANIFEST: &str = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;

#[test]
fn a_registry_with_a_token_server_gets_its_token() {
    let scripted = Scripted::start(|host, head, _| {
        let token = format!(
            "www-authenticate: Bearer realm=\"http://{host}/token\",service=\"reg\",scope=\"repository:infx/engine:pull\"\r\n"
        );
        if head.starts_with("GET /token?service=reg&scope=repository%3Ainfx%2Fengine%3Apull ") {
            let is_us = head.contains(BASIC);
            answer(
                if is_us { "200 OK" } else { "401 Unauthorized" },
                "",
                r#"{"token":"tick"}"#,
            )
        } else if !head.to_lowercase().contains("authorization: bearer tick") {
            answer("401 Unauthorized", &token, "")
        } else if head.starts_with("HEAD ") {
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned()
        } else {
            answer("200 OK", "", MANIFEST)
        }
    });
    let lab = Lab::new(&format!("{}/infx/engine:v1", scripted.host));
    let (code, said) = lab.refused();
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("wants a login"), "{said}");
    let before = scripted.requests().len();
    let login = format!(r#"{{"auths":{{"{}":{{"auth":"{BASIC}"}}}}}}"#, scripted.host);
    lab.docker_config("config.json", &login);
    assert_eq!(lab.lock(&[]).0, "new");
    let requests: Vec<String> = scripted.requests()[before..].to_vec();
    let methods: Vec<&str> = requests
        .iter()
        .map(|line| line.split(['?', ' ']).nth(1).unwrap())
        .collect();
    // One token serves both questions.
    let path = "/v2/infx/engine/manifests/v1";
    assert_eq!(methods, [path, "/token", path, path]);
}

#[test]
fn a_busy_registry_is_asked_again_and_a_lying_one_is_not_believed() {
    let busy = Scripted::start(|_, head, nth| match nth {
        0 => answer("429 Too Many Requests", "retry-after: 0\r\n", ""),
        1 => answer("503 Service Unavailable", "retry-after: 0\r\n", ""),
        _ if head.starts_with("HEAD ") => "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned(),
        _ => answer("200 OK", "", MANIFEST),
    });
    let lab = Lab::new(&format!("{}/infx/engine:v1", busy.host));
    assert_eq!(lab.lock(&[]).0, "new");

    let never = Scripted::start(|_, _, _| answer("429 Too Many Requests", "retry-after: 0\r\n", ""));
    let (code, said) = Lab::new(&format!("{}/infx/engine:v1", never.host)).refused();
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("lets nobody ask so often"), "{said}");

    let lying = Scripted::start(|_, head, _| {
        let claimed = format!("docker-content-digest: sha256:{}\r\n", "0".repeat(64));
        if head.starts_with("HEAD ") {
            format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{claimed}\r\n")
        } else {
            answer("200 OK", &claimed, MANIFEST)
        }
    });
    let (code, said) = Lab::new(&format!("{}/infx/engine:v1", lying.host)).refused();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("and what it sends is"), "{said}");
}
