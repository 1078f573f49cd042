//! An engine, an image on it, and a project whose pool is on that engine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use crate::containers::{Dockerd, Image};
use crate::project::{Project, RUNNERS, Ran, Running, config_of};

/// An image that is on the engine alone.
pub(crate) const IMAGE: &str = "acme/sim:1";

/// A server's lines in its recipe: the simulator, which says of itself that it is none.
pub(crate) const SIMULATOR: &str =
    "command: sweep sim --port {{ port }} --gpu h100 --tp 1 --model {{ model }} --time-scale 50";
/// One whose points take a second or two each.
pub(crate) const SLOW_SIMULATOR: &str =
    "command: sweep sim --port {{ port }} --gpu h100 --tp 1 --model {{ model }} --time-scale 1";
/// The server is the recipe's script.
pub(crate) const SCRIPT: &str = "run: serve.sh\n  contract: [MODEL]";

/// What differs between the projects of the tests.
pub(crate) struct Plan<'a> {
    /// The servers' image. One of another name than [`IMAGE`] is not on the engine.
    pub(crate) image: &'a str,
    /// More fields of the pool.
    pub(crate) pool: &'a str,
    /// The launcher's container.
    pub(crate) container: &'a str,
    pub(crate) concurrencies: &'a str,
    /// Requests of a point.
    pub(crate) prompts: &'a str,
    /// Frameworks, each with a config and a recipe: the lines for its server.
    pub(crate) servers: &'a [(&'a str, &'a str)],
    /// What the servers run whose lines are [`SCRIPT`].
    pub(crate) script: &'a str,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self {
            image: IMAGE,
            pool: "gpu: cpu",
            container: "{}",
            concurrencies: "[1, 2]",
            prompts: "8 * conc",
            servers: &[("one", SIMULATOR)],
            script: "",
        }
    }
}

pub(crate) struct Lab {
    pub(crate) project: Project,
    pub(crate) dockerd: Dockerd,
}

impl Lab {
    /// Nothing where no engine can be started: the test is then skipped.
    pub(crate) fn new(plan: &Plan<'_>) -> Option<Self> {
        Some(Self::on(Dockerd::start()?, plan))
    }

    pub(crate) fn on(dockerd: Dockerd, plan: &Plan<'_>) -> Self {
        if plan.image == IMAGE {
            dockerd.load(&sweep_and_bash("/bin/false"), IMAGE);
        }
        let project = on_an_engine(plan);
        Self { project, dockerd }
    }

    /// One more project on the same engine, in another folder.
    pub(crate) fn another_project(&self, plan: &Plan<'_>) -> Project {
        on_an_engine(plan)
    }

    /// `sweep` with these words, to be started on the engine.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        self.command_in(&self.project, words)
    }

    fn command_in(&self, project: &Project, words: &[&str]) -> Command {
        let mut command = project.command(words);
        command.env("DOCKER_HOST", self.dockerd.host());
        self.dockerd.enter(command)
    }

    pub(crate) fn start_in(&self, project: &Project, words: &[&str]) -> Running {
        project.start_command(self.command_in(project, words))
    }

    pub(crate) fn start(&self, words: &[&str]) -> Running {
        self.project.start_command(self.command(words))
    }

    pub(crate) fn sweep(&self, words: &[&str]) -> Ran {
        self.start(words).wait()
    }

    /// The names of all containers.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let containers = self.dockerd.containers();
        let names = containers.into_iter().map(|container| container.name.unwrap());
        names
            .map(|name| name.trim_start_matches('/').to_owned())
            .collect()
    }

    pub(crate) fn assert_nothing_left(&self) {
        assert_eq!(self.names(), BTreeSet::new());
        self.project.assert_no_process_left();
    }

    /// How often each bench has passed, over all runs.
    pub(crate) fn passes(&self) -> BTreeMap<String, usize> {
        let mut passes = BTreeMap::new();
        for story in self.project.stories() {
            for bench in story.benches_passed() {
                *passes.entry(bench.to_owned()).or_default() += 1;
            }
        }
        passes
    }

    /// The logs of all servers so far.
    pub(crate) fn server_logs(&self) -> Vec<String> {
        let files = self.project.files(".cache/runs");
        let logs = files.iter().filter(|path| path.ends_with("server.log"));
        logs.map(|log| std::fs::read_to_string(log).unwrap()).collect()
    }
}

/// A project whose pool is of containers.
pub(crate) fn on_an_engine(plan: &Plan<'_>) -> Project {
    let pool = format!("executor: docker, launcher: lab, {}", plan.pool);
    let project = project(plan, &pool, plan.image);
    let container = plan.container;
    project.write(
        "runners/lab.yaml",
        &format!("executor: docker\ncontainer: {container}\n"),
    );
    project
}

/// The simulator and a shell, in an image of nothing else; one of another entry point is another image.
pub(crate) fn sweep_and_bash(entrypoint: &str) -> Image {
    let sweep = Path::new(env!("CARGO_BIN_EXE_sweep"));
    let programs = [("sweep", sweep), ("bash", Path::new("/bin/bash"))];
    Image::of_programs(&programs, &[entrypoint])
}

/// A project with one pool and the servers of the plan, whose image is `image`.
pub(crate) fn project(plan: &Plan<'_>, pool: &str, image: &str) -> Project {
    let project = Project::bare();
    let sweepfile = format!(
        "\
version: 1
configs: [configs/master.yaml]
runners: configs/runners.yaml
secrets: [SWEEP_TEST_SECRET]
profiles: {{ default: {{ pools: {{ lab: {{ serves: [h100], {pool} }} }} }} }}
"
    );
    project.write("Sweepfile", &sweepfile);
    project.write("configs/runners.yaml", RUNNERS);
    let mut configs = String::new();
    for (framework, server) in plan.servers {
        // The client's own lateness is not judged: the machine that runs the tests is busy with other tests.
        let prompts = plan.prompts;
        let recipe = format!(
            "\
match: {{ framework: {framework} }}
server:
  {server}
  ready: {{ http: /health, within: 1m }}
  reset: {{ http: POST /reset_prefix_cache }}
bench: {{ prompts: {prompts}, warmup: conc, limits: {{ client-lag: 1m, client-cpu: 1 }} }}
"
        );
        project.write(&format!("benchmarks/{framework}/recipe.yaml"), &recipe);
        project.write(&format!("benchmarks/{framework}/serve.sh"), plan.script);
        configs.push_str(&config_of(framework, image, plan.concurrencies));
    }
    project.write("configs/master.yaml", &configs);
    project
}
