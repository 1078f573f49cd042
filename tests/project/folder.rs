//! A project's folder: written, edited, read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::files::{CONFIGS, RECIPES, RUNNERS, SWEEPFILE, VLLM_SCRIPT, config_of};
use super::processes::{kill, processes_in};
use super::running::{Ran, Running, wait_until};
use super::story::Story;

/// A project, removed with all that still runs in it when it is dropped.
pub(crate) struct Project {
    outer: TempDir,
    root: PathBuf,
}

impl Project {
    /// The usual project; see [`files`](super::files).
    pub(crate) fn new() -> Self {
        let project = Self::bare();
        project.write("Sweepfile", SWEEPFILE);
        project.write("configs/master.yaml", CONFIGS);
        project.write("configs/runners.yaml", RUNNERS);
        for (name, text) in RECIPES {
            project.write(&format!("benchmarks/{name}/recipe.yaml"), text);
        }
        project.write("benchmarks/vllm/serve.sh", VLLM_SCRIPT);
        project
    }

    /// A project without pools that simulate: each of `recipes` (framework and text) has a config of its name, with
    /// the concurrencies 1 and 2, whose image is the simulator.
    pub(crate) fn of_recipes(recipes: &[(&str, String)]) -> Self {
        let project = Self::bare();
        let pool = "sim: { executor: process, serves: [h100], nodes: 2, gpus: 8, gpu: h100 }";
        let simulating = "sim: { executor: process, serves: [h100], nodes: 2, gpus: 8, gpu: h100, simulate: { time-scale: 100 } }";
        let sweepfile = SWEEPFILE.replace(simulating, pool);
        assert_ne!(sweepfile, SWEEPFILE);
        project.write("Sweepfile", &sweepfile);
        project.write("configs/runners.yaml", RUNNERS);
        let mut configs = String::new();
        for (framework, recipe) in recipes {
            project.write(&format!("benchmarks/{framework}/recipe.yaml"), recipe);
            configs.push_str(&config_of(framework, "builtin:sim", "[1, 2]"));
        }
        project.write("configs/master.yaml", &configs);
        project
    }

    /// An empty folder.
    pub(crate) fn bare() -> Self {
        let outer = TempDir::with_prefix("sweep-project-").unwrap();
        // As processes will see it.
        let root = outer.path().canonicalize().unwrap().join("project");
        fs::create_dir(&root).unwrap();
        Self { outer, root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A place beside the project that goes with it.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.outer.path().canonicalize().unwrap().join(name)
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    /// Replaces the only place where `old` stands in the file.
    pub(crate) fn replace(&self, file: &str, old: &str, new: &str) {
        let text = self.read(file);
        assert_eq!(text.matches(old).count(), 1, "`{old}` in {file}:\n{text}");
        self.write(file, &text.replace(old, new));
    }

    /// Replaces text in one config's entry of `configs/master.yaml`.
    pub(crate) fn edit_config(&self, key: &str, old: &str, new: &str) {
        let file = "configs/master.yaml";
        let text = self.read(file);
        let start = text
            .find(&format!("{key}:\n"))
            .unwrap_or_else(|| panic!("no config {key}"));
        let end = text[start..]
            .match_indices('\n')
            .map(|(at, _)| start + at + 1)
            .find(|at| text[*at..].chars().next().is_none_or(|c| !c.is_whitespace()))
            .unwrap_or(text.len());
        let entry = &text[start..end];
        assert_eq!(entry.matches(old).count(), 1, "`{old}` in:\n{entry}");
        let entry = entry.replace(old, new);
        self.write(file, &format!("{}{entry}{}", &text[..start], &text[end..]));
    }

    /// Moves the folder, cache and all.
    pub(crate) fn move_to(&mut self, name: &str) {
        let to = self.beside(name);
        fs::rename(&self.root, &to).unwrap();
        self.root = to;
    }

    /// `sweep` with these words, to be started in the project; what the environment says about terminals and CI is
    /// left out.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sweep"));
        command
            .args(words)
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .env_remove("CI")
            .env_remove("NO_COLOR")
            .env_remove("GITHUB_STEP_SUMMARY")
            .env_remove("SWEEP_TEST_SECRET");
        command
    }

    /// Runs `sweep` to its end.
    pub(crate) fn sweep(&self, words: &[&str]) -> Ran {
        self.run(self.command(words))
    }

    /// Runs a command from [`Project::command`] to its end.
    pub(crate) fn run(&self, command: Command) -> Ran {
        self.start_command(command).wait()
    }

    /// Starts `sweep`.
    pub(crate) fn start(&self, words: &[&str]) -> Running {
        self.start_command(self.command(words))
    }

    /// Starts a command from [`Project::command`].
    pub(crate) fn start_command(&self, command: Command) -> Running {
        Running::start(command, &self.root)
    }

    /// `sweep` with `--format json` or the like: its answer, which must be JSON.
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let ran = self.sweep(words);
        assert_eq!(ran.code, 0, "{ran}");
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"))
    }

    /// What all runs said, in no order.
    pub(crate) fn stories(&self) -> Vec<Story> {
        let ids: BTreeSet<String> = run_ids(&self.root);
        ids.iter().map(|id| Story::read(&self.root, id)).collect()
    }

    /// The rows of a sweep's simulated results file.
    pub(crate) fn simulated_rows(&self, sweep: &str) -> Vec<Value> {
        let text = self.read(&format!("results/{sweep}/agg_bmk.simulated.json"));
        serde_json::from_str(&text).unwrap()
    }

    /// Every file below `folder`.
    pub(crate) fn files(&self, folder: &str) -> Vec<PathBuf> {
        let mut waiting = vec![self.path(folder)];
        let mut files = Vec::new();
        while let Some(next) = waiting.pop() {
            for entry in fs::read_dir(&next).unwrap() {
                let entry = entry.unwrap();
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    waiting.push(entry.path());
                } else if kind.is_file() {
                    files.push(entry.path());
                }
            }
        }
        files.sort();
        files
    }

    /// Waits until nothing runs in the folder any more, and fails when something stays.
    pub(crate) fn assert_no_process_left(&self) {
        wait_until("every process of the project to end", || {
            processes_in(&self.root).is_empty().then_some(())
        });
    }
}

/// The runs that wrote events.
pub(super) fn run_ids(root: &Path) -> BTreeSet<String> {
    let Ok(runs) = fs::read_dir(root.join(".cache/runs")) else {
        return BTreeSet::new();
    };
    runs.map(|run| run.unwrap())
        .filter(|run| run.path().join("events.jsonl").exists())
        .map(|run| run.file_name().into_string().unwrap())
        .collect()
}

impl Drop for Project {
    fn drop(&mut self) {
        for process in processes_in(&self.root) {
            kill(&process);
        }
    }
}
