//! Sessions whose servers run in containers, on a real engine that each test starts for itself.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod containers;
mod project;
mod requirement;

use std::collections::BTreeSet;
use std::path::Path;

use containers::{Dockerd, Image};
use project::{Project, Ran, Running};

/// The simulator and a shell in an image of nothing else.
const IMAGE: &str = "acme/sim:1";

/// An engine with the image, and a project whose pools are on it.
struct Lab {
    project: Project,
    dockerd: Dockerd,
}

/// The recipe's server, in a container; the simulator says of itself that it is none.
const COMMAND: &str =
    "command: sweep sim --port {{ port }} --gpu h100 --tp 1 --model {{ model }} --time-scale 50";

impl Lab {
    /// A pool of 8 GPUs without more said than `pool`, a launcher with the settings `container`, and for each of the
    /// frameworks a config of two points and a recipe with these lines for its server.
    fn new(pool: &str, container: &str, recipes: &[(&str, &str)]) -> Option<Self> {
        let dockerd = Dockerd::start()?;
        let sweep = Path::new(env!("CARGO_BIN_EXE_sweep"));
        let image = Image::of_programs(
            &[("sweep", sweep), ("bash", Path::new("/bin/bash"))],
            &["/bin/false"],
        );
        dockerd.load(&image, IMAGE);
        let project = Project::bare();
        let sweepfile = format!(
            "\
version: 1
configs: [configs/master.yaml]
runners: configs/runners.yaml
secrets: [SWEEP_TEST_SECRET]
profiles:
  default:
    pools:
      lab: {{ executor: docker, launcher: lab, serves: [h100], {pool} }}
"
        );
        project.write("Sweepfile", &sweepfile);
        project.write(
            "runners/lab.yaml",
            &format!("executor: docker\ncontainer: {container}\n"),
        );
        project.write(
            "configs/runners.yaml",
            "labels: { h100: [h100-lab_00] }\nhardware: { h100: { available-cpu-dram-mib: 1_998_848, gpus-per-node: 8 } }\n",
        );
        let mut configs = String::new();
        for (framework, server) in recipes {
            let recipe = format!(
                "\
match: {{ framework: {framework} }}
server:
  {server}
  ready: {{ http: /health, within: 1m }}
  reset: {{ http: POST /reset_prefix_cache }}
bench: {{ prompts: 8 * conc, warmup: conc, limits: {{ client-lag: 1m, client-cpu: 1 }} }}
"
            );
            project.write(&format!("benchmarks/{framework}/recipe.yaml"), &recipe);
            configs.push_str(&format!(
                "\
{framework}-fp8:
  image: {IMAGE}
  model: meta-llama/Llama-3.1-8B-Instruct
  model-prefix: {framework}
  runner: h100
  precision: fp8
  framework: {framework}
  multinode: false
  scenarios:
    fixed-seq-len:
      - {{ isl: 64, osl: 16, search-space: [{{ tp: 1, conc-list: [1, 2] }}] }}
"
            ));
        }
        project.write("configs/master.yaml", &configs);
        Some(Self { project, dockerd })
    }

    fn start(&self, words: &[&str]) -> Running {
        let mut command = self.project.command(words);
        command
            .env("DOCKER_HOST", self.dockerd.host())
            .env("SWEEP_TEST_SECRET", "a-very-secret-value");
        self.project.start_command(command)
    }

    fn sweep(&self, words: &[&str]) -> Ran {
        self.start(words).wait()
    }

    fn assert_nothing_left(&self) {
        assert_eq!(self.names(), BTreeSet::new());
        self.project.assert_no_process_left();
    }

    /// The names of all containers.
    fn names(&self) -> BTreeSet<String> {
        let containers = self.dockerd.containers();
        containers
            .into_iter()
            .map(|container| container.name.unwrap())
            .collect()
    }
}

const CPU: &str = "gpu: cpu";

#[test]
fn a_server_in_a_container_is_measured_and_nothing_is_left() {
    let Some(lab) = Lab::new(CPU, "{}", &[("one", COMMAND)]) else {
        return;
    };
    let mut build = lab.start(&["build"]);
    build.wait_for("a bench", |story| !story.benches_started().is_empty());
    let containers = lab.dockerd.containers();
    let ran = build.wait();
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(ran.story.benches_passed().len(), 2, "{ran}");
    assert_eq!(lab.project.simulated_rows("all").len(), 2);
    lab.assert_nothing_left();

    // While it ran it was one container, named and labelled for its attempt, and its secrets were in its environment
    // alone.
    assert_eq!(containers.len(), 1, "{containers:#?}");
    let name = containers[0].name.clone().unwrap();
    assert!(name.starts_with("/sweep-") && name.ends_with("-a1"), "{name}");
    let config = containers[0].config.clone().unwrap();
    let labels = config.labels.unwrap();
    assert_eq!(labels["sweep.target"], "server:one-fp8/64_16/tp1/c1");
    assert_eq!(labels["sweep.attempt"], "1");
    assert!(labels["sweep.cache"].starts_with(lab.project.path(".cache").to_str().unwrap()));
    assert!(!format!("{labels:?}").contains("secret"), "{labels:?}");
    let env = config.env.unwrap();
    let secret = "SWEEP_TEST_SECRET=a-very-secret-value".to_owned();
    assert!(env.contains(&secret), "{env:?}");
    let files = lab.project.files(".cache/runs");
    let log = files.iter().find(|path| path.ends_with("server.log")).unwrap();
    let log = std::fs::read_to_string(log).unwrap();
    assert!(
        log.contains("simulated server"),
        "the container's output is the server's log: {log}"
    );

    let again = lab.sweep(&["build"]);
    assert_eq!(again.code, 0, "{again}");
    assert!(again.story.0.is_empty(), "{again}");
    assert!(again.stderr.contains("0 servers started"), "{again}");
}
