//! A repository with a sweep's workflow, and `act` in GitHub's place.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::api::Api;
use super::project::Project;
use super::requirement::has_program;

/// Calls the reusable workflow as a project's own does.
const CALLER: &str = "\
on: [push, pull_request]
jobs:
  sweep:
    permissions: { actions: read, contents: read, pull-requests: read }
    uses: ./.github/workflows/sweep.yml
    with: { options: --per-pool --shards 3, runners: '{ \"sim\": \"sim-hosts\" }', install: 'false' }
";

/// Serves unless a file, which no key knows of, says that it is broken.
const SCRIPT: &str = "\
[ ! -e BROKEN ] || { echo 'the third is broken'; exit 9; }
exec SWEEP sim --port $PORT --gpu h100 --tp 1 --time-scale 100 --model $MODEL
";

const RECIPE: &str = "\
server:
  run: serve.sh
  contract: [MODEL]
  ready: { http: /health, within: 1m }
  reset: { http: POST /reset_prefix_cache }
bench: { prompts: 4 * conc, warmup: conc, limits: { client-lag: 1m, client-cpu: 1 } }
";

/// What made a workflow run.
pub(crate) struct Event {
    name: &'static str,
    payload: Value,
}

impl Event {
    pub(crate) fn push() -> Self {
        let payload = json!({ "ref": "refs/heads/main", "repository": repository() });
        Self {
            name: "push",
            payload,
        }
    }

    /// A pull request of a branch of `from`.
    pub(crate) fn pull_request(from: &str) -> Self {
        let payload = json!({
            "number": 7,
            "repository": repository(),
            "pull_request": {
                "number": 7,
                "base": { "ref": "main" },
                "head": { "ref": "faster", "repo": { "full_name": from } },
            },
        });
        Self {
            name: "pull_request",
            payload,
        }
    }
}

fn repository() -> Value {
    json!({ "full_name": "acme/bench", "default_branch": "main" })
}

/// A repository, and what GitHub keeps for it.
pub(crate) struct Forge {
    project: Project,
}

impl Forge {
    /// A project of three configs with a server each; `None` where `act` is missing.
    pub(crate) fn new() -> Option<Self> {
        let programs = [("act", "--version"), ("jq", "--version"), ("curl", "--version")];
        if !programs
            .iter()
            .all(|(program, word)| has_program("act", program, &[word]))
        {
            return None;
        }
        let recipes = ["first", "second", "third"].map(|name| {
            let text = format!("match: {{ framework: {name} }}\n{RECIPE}");
            (name, text)
        });
        let project = Project::of_recipes(&recipes);
        let script = SCRIPT.replace("SWEEP", env!("CARGO_BIN_EXE_sweep"));
        for (name, _) in &recipes {
            let broken = match *name {
                "third" => project.beside("broken"),
                _ => project.beside("never"),
            };
            let script = script.replace("BROKEN", broken.to_str().unwrap());
            project.write(&format!("benchmarks/{name}/serve.sh"), &script);
        }
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github");
        for file in [
            "workflows/sweep.yml",
            "actions/sweep/action.yml",
            "actions/sweep/merged.sh",
        ] {
            project.write(
                &format!(".github/{file}"),
                &fs::read_to_string(own.join(file)).unwrap(),
            );
        }
        project.write(".github/workflows/bench.yml", CALLER);
        fs::create_dir(project.beside("services")).unwrap();
        let forge = Self { project };
        for words in [
            &["init", "--quiet", "-b", "main"][..],
            &["remote", "add", "origin", "https://github.com/acme/bench"],
            &["add", "--all"],
            &["commit", "--quiet", "-m", "configs"],
        ] {
            forge.git(words);
        }
        Some(forge)
    }

    /// Breaks or mends the machine that the third config's server runs on.
    pub(crate) fn break_third(&self, broken: bool) {
        let file = self.project.beside("broken");
        match broken {
            true => fs::write(file, "").unwrap(),
            false => fs::remove_file(file).unwrap(),
        }
    }

    /// Whether any branch has a cache.
    pub(crate) fn saved_a_cache(&self) -> bool {
        self.services().join("caches").exists()
    }

    /// Runs the workflow.
    pub(crate) fn run(&self, event: &Event, run: u64, attempt: u64, api: &Api) -> Ran {
        self.act(event, run, attempt, api, &[])
    }

    /// Runs the failed shards of a run again, as GitHub does: the plan keeps its outputs and does not run.
    pub(crate) fn rerun_failed(&self, first: &Ran, event: &Event, run: u64, attempt: u64, api: &Api) -> Ran {
        let file = ".github/workflows/sweep.yml";
        let text = self.project.read(file);
        let job = text.find("  plan:\n").unwrap();
        let from = job + text[job..].find("    steps:\n").unwrap();
        let to = from + text[from..].find("\n  # Code of a fork").unwrap();
        let outputs: String = ["stale", "shards", "matrix", "plan"]
            .map(|name| {
                format!(
                    "          echo '{name}={}' >> \"$GITHUB_OUTPUT\"\n",
                    first.output("plan", name)
                )
            })
            .concat();
        let steps = format!("    steps:\n      - id: sweep\n        run: |\n{outputs}");
        self.project
            .write(file, &format!("{}{steps}{}", &text[..from], &text[to..]));
        let filters: Vec<String> = first
            .failed_shards()
            .iter()
            .map(|shard| format!("shard:{shard}"))
            .collect();
        let words: Vec<&str> = filters.iter().flat_map(|filter| ["--matrix", filter]).collect();
        let ran = self.act(event, run, attempt, api, &words);
        self.project.write(file, &text);
        ran
    }

    fn act(&self, event: &Event, run: u64, attempt: u64, api: &Api, words: &[&str]) -> Ran {
        let payload = self.project.beside("event.json");
        fs::write(&payload, event.payload.to_string()).unwrap();
        let standins = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ci_workflow/standins");
        let mut act = Command::new("act");
        act.arg(event.name).args(words).current_dir(self.project.root());
        act.args([
            "-W",
            ".github/workflows/bench.yml",
            "-P",
            "ubuntu-latest=-self-hosted",
            "-P",
            "sim-hosts=-self-hosted",
        ]);
        act.args([
            "--json",
            "--no-cache-server",
            "--defaultbranch",
            "main",
            "-s",
            "GITHUB_TOKEN=not-a-token",
        ]);
        act.arg("--action-cache-path").arg(self.project.beside("act"));
        act.arg("-e").arg(payload);
        for (action, pin) in self.pins() {
            let folder = standins.join(action.strip_prefix("actions/").unwrap());
            act.args([
                "--local-repository",
                &format!("{action}@{pin}={}", folder.display()),
            ]);
        }
        for (name, value) in [
            ("SERVICES", self.services().display().to_string()),
            ("GITHUB_RUN_ID", run.to_string()),
            ("GITHUB_RUN_ATTEMPT", attempt.to_string()),
            ("GITHUB_API_URL", api.url()),
        ] {
            act.args(["--env", &format!("{name}={value}")]);
        }
        let program = Path::new(env!("CARGO_BIN_EXE_sweep"));
        let path = std::env::var("PATH").unwrap();
        act.env("PATH", format!("{}:{path}", program.parent().unwrap().display()));
        // Whatever settings of act's the user of this machine has.
        act.env("HOME", self.project.beside("home"))
            .env_remove("XDG_CONFIG_HOME");
        Ran::of(&act.output().unwrap())
    }

    /// The actions that the workflow uses, but for checkout, with their pins.
    fn pins(&self) -> Vec<(String, String)> {
        let files = [".github/workflows/sweep.yml", ".github/actions/sweep/action.yml"];
        let texts = files.map(|file| self.project.read(file));
        let used = texts
            .iter()
            .flat_map(|text| text.lines())
            .filter_map(|line| line.trim().strip_prefix("uses: actions/"));
        let mut pins: Vec<_> = used
            .map(|used| {
                let (action, pin) = used.split(' ').next().unwrap().split_once('@').unwrap();
                assert!(pin.len() == 40, "{used} is not pinned to a commit");
                let name = action.split('/').next().unwrap();
                (format!("actions/{name}"), pin.to_owned())
            })
            .filter(|(action, _)| action != "actions/checkout")
            .collect();
        pins.sort();
        pins.dedup();
        pins
    }

    fn services(&self) -> PathBuf {
        self.project.beside("services")
    }

    fn git(&self, words: &[&str]) {
        let ran = Command::new("git")
            .args(["-c", "user.name=acme", "-c", "user.email=bench@acme.example"])
            .args(words)
            .current_dir(self.project.root())
            .output()
            .unwrap();
        assert!(
            ran.status.success(),
            "{words:?}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }
}

/// What the action's search for the merged pull request's run says.
pub(crate) fn merged_run(api: &Api) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/actions/sweep/merged.sh");
    let ran = Command::new("bash")
        .arg(script)
        .env("GITHUB_API_URL", api.url())
        .env("GITHUB_REPOSITORY", "acme/bench")
        .env("GITHUB_SHA", "0123abc")
        .env("TOKEN", "not-a-token")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// A workflow run that has ended.
pub(crate) struct Ran {
    succeeded: bool,
    /// Lines of act's log, each an object.
    log: Vec<Value>,
    stderr: String,
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.log {
            writeln!(f, "{} {}", text(line, "job"), text(line, "msg").trim_end())?;
        }
        f.write_str(&self.stderr)
    }
}

fn text<'a>(line: &'a Value, field: &str) -> &'a str {
    line[field].as_str().unwrap_or_default()
}

impl Ran {
    fn of(output: &Output) -> Self {
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        Self {
            succeeded: output.status.success(),
            log: lines
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.succeeded
    }

    /// What programs wrote in jobs of this name; of any without one.
    fn written(&self, job: Option<&str>) -> impl Iterator<Item = &str> {
        let lines = self.log.iter().filter(|line| line["raw_output"] == true);
        let of_job = lines.filter(move |line| job.is_none_or(|job| line["jobID"] == job));
        of_job.map(|line| text(line, "msg"))
    }

    pub(crate) fn said(&self, job: &str, what: &str) -> bool {
        self.written(Some(job)).any(|line| line.contains(what))
    }

    /// How many benches passed, over all jobs.
    pub(crate) fn measured(&self) -> usize {
        self.written(None)
            .filter(|line| line.contains("pass    bench:"))
            .count()
    }

    /// How many jobs of this name ran, all of a matrix.
    pub(crate) fn jobs_of(&self, job: &str) -> usize {
        let ended = |line: &&Value| !line["jobResult"].is_null() && line["jobID"] == job;
        self.log.iter().filter(ended).count()
    }

    /// The steps of jobs that failed; of a job of a matrix act says that it failed where any of them did.
    fn failed(&self) -> impl Iterator<Item = &Value> {
        let failed = self.log.iter().filter(|line| line["stepResult"] == "failure");
        // Not those within an action.
        failed.filter(|line| line["stepID"].as_array().is_some_and(|id| id.len() == 1))
    }

    /// The names of the jobs with a step that failed, in order.
    pub(crate) fn failed_jobs(&self) -> Vec<&str> {
        let mut jobs: Vec<_> = self.failed().map(|line| text(line, "jobID")).collect();
        jobs.sort_unstable();
        jobs
    }

    /// The shards whose jobs failed.
    fn failed_shards(&self) -> Vec<&str> {
        self.failed()
            .filter_map(|line| line["matrix"]["shard"].as_str())
            .collect()
    }

    /// An output of a job's steps.
    fn output(&self, job: &str, name: &str) -> &str {
        let set =
            |line: &&Value| line["jobID"] == job && line["command"] == "set-output" && line["name"] == name;
        let line = self.log.iter().find(set);
        text(line.unwrap_or_else(|| panic!("no output {name}: {self}")), "arg")
    }
}
