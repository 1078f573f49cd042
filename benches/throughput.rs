//! What `sweep` itself costs a target when the targets cost next to nothing, side by side with `ninja -j2`.
//!
//!     cargo bench --bench throughput                          1000 scripts, 5 rounds
//!     cargo bench --bench throughput -- 10000 --rounds 3      more of them
//!     cargo bench --bench throughput -- --dir DIR             in a folder of this file system
//!     cargo bench --bench throughput -- --check               fails where sweep's own CPU time is above ninja's
//!
//! All start the same script as often, two at a time: a loop that does nothing else, the same through the shell that
//! `ninja` uses, `ninja` with a command for each, and `sweep build` with a combined script for each point. The script
//! writes the smallest result that counts. What is left when the loop's time is taken off is a program's own. It is CPU
//! time, user and system, as the kernel tells it of a process and of all that it has waited for: on a busy machine wall
//! time is noise.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Instant;

use tempfile::TempDir;
use wait4::Wait4;

const SWEEP: &str = env!("CARGO_BIN_EXE_sweep");

/// How many scripts run at a time.
const AT_A_TIME: usize = 2;

/// Points of a config, one for each concurrency.
const CONCURRENCIES: usize = 100;

/// It says that nothing was measured.
const SCRIPT: &str = r#"#!/usr/bin/env bash
echo "{\"model_id\": \"none: nothing was measured\", \"simulated\": true, \"num_prompts\": 1, \"completed\": 1, \"max_concurrency\": $CONC, \"duration\": 1.0, \"total_output_tokens\": 1, \"output_throughput\": 1.0, \"total_token_throughput\": 1.0}" > "$RESULT_FILENAME.json"
"#;

struct Asked {
    scripts: usize,
    rounds: usize,
    dir: PathBuf,
    check: bool,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let ["--loop", how, count] = words.as_slice() {
        start_all(number(count), *how == "sh");
        return ExitCode::SUCCESS;
    }
    let asked = asked(&words);
    let dir = TempDir::with_prefix_in("sweep-throughput-", &asked.dir).expect("a scratch folder can be made");
    let bare = dir.path().join("bare");
    let peer = dir.path().join("ninja");
    let project = dir.path().join("sweep");
    write_bare(&bare);
    write_peer(&peer, asked.scripts);
    write_project(&project, asked.scripts);
    let this = std::env::current_exe().expect("this program has a path");
    let bare_loop = |how: &'static str| {
        let mut command = Command::new(&this);
        command.args(["--loop", how, &asked.scripts.to_string()]);
        command
    };
    let mut contenders = [
        Contender::new("the scripts alone", &bare, &["out"], || bare_loop("direct")),
        Contender::new("the scripts, each by `sh -c`", &bare, &["out"], || {
            bare_loop("sh")
        }),
        Contender::new(
            "`ninja -j2`",
            &peer,
            &["out", ".ninja_log", ".ninja_deps"],
            || {
                let mut command = Command::new("ninja");
                command.args(["--quiet", "-j", &AT_A_TIME.to_string()]);
                command
            },
        ),
        Contender::new("`sweep build`", &project, &[".cache", "results"], || {
            let mut command = Command::new(SWEEP);
            command.arg("build").env_remove("GITHUB_STEP_SUMMARY");
            command
        }),
    ];
    for _ in 0..asked.rounds {
        contenders.iter_mut().for_each(Contender::run);
    }
    let said = fs::read_to_string(project.join("log")).expect("what it said is there");
    let all = format!("{} measured, 0 from the cache, 0 failed", asked.scripts);
    assert!(said.contains(&all), "a measurement by each script: {said}");

    println!(
        "| scripts | | wall s | CPU s | its own, CPU µs a script | wall µs a script |\n|---:|---|---:|---:|---:|---:|"
    );
    let base = contenders[0].median();
    for contender in &contenders {
        println!("| {} | {} |", asked.scripts, contender.row(base, asked.scripts));
    }
    let [_, by_shell, ninja, sweep] = contenders.map(|contender| contender.median().cpu);
    let ratio = (sweep - base.cpu) / (ninja - base.cpu);
    println!("\nsweep's own CPU time is {ratio:.2} of ninja's");
    let ratio_without = (sweep - base.cpu) / (ninja - by_shell);
    println!("and {ratio_without:.2} of ninja's without the shells that ninja starts");
    if asked.check && ratio > 1.0 {
        eprintln!("error: sweep's own CPU time is above ninja's");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn asked(words: &[&str]) -> Asked {
    let memory = Path::new("/dev/shm");
    let mut asked = Asked {
        scripts: 1_000,
        rounds: 5,
        dir: if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        },
        check: false,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--check" => asked.check = true,
            "--rounds" => asked.rounds = number(words.next().copied().unwrap_or_default()),
            "--dir" => asked.dir = words.next().copied().unwrap_or_default().into(),
            scripts => asked.scripts = number(scripts),
        }
    }
    asked
}

fn number(word: &str) -> usize {
    word.parse().unwrap_or_else(|_| panic!("`{word}` is no number"))
}

/// Seconds.
#[derive(Debug, Clone, Copy)]
struct Took {
    wall: f64,
    cpu: f64,
}

/// One program and its rounds.
struct Contender<'a> {
    name: &'static str,
    dir: &'a Path,
    /// What a round leaves.
    made: &'static [&'static str],
    command: Box<dyn Fn() -> Command + 'a>,
    rounds: Vec<Took>,
}

impl<'a> Contender<'a> {
    fn new(
        name: &'static str,
        dir: &'a Path,
        made: &'static [&'static str],
        command: impl Fn() -> Command + 'a,
    ) -> Self {
        Self {
            name,
            dir,
            made,
            command: Box::new(command),
            rounds: Vec::new(),
        }
    }

    /// From nothing: what an earlier round made is removed.
    fn run(&mut self) {
        for made in self.made {
            let path = self.dir.join(made);
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
        let log = fs::File::create(self.dir.join("log")).expect("a file can be made");
        let mut command = (self.command)();
        command.current_dir(self.dir).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file can be shared"));
        command.stderr(log);
        let began = Instant::now();
        let used = command.spawn().expect("the program can be started").wait4();
        let used = used.expect("the child is waited for once");
        assert!(used.status.success(), "{command:?}: {}", used.status);
        self.rounds.push(Took {
            wall: began.elapsed().as_secs_f64(),
            cpu: (used.rusage.utime + used.rusage.stime).as_secs_f64(),
        });
    }

    fn median(&self) -> Took {
        let median = |of: fn(&Took) -> f64| {
            let mut values: Vec<f64> = self.rounds.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        Took {
            wall: median(|took| took.wall),
            cpu: median(|took| took.cpu),
        }
    }

    /// The cells of the table's row.
    fn row(&self, base: Took, scripts: usize) -> String {
        let took = self.median();
        let each = |seconds: f64| seconds * 1e6 / scripts as f64;
        format!(
            "{} | {:.2} | {:.2} | {:.0} | {:.0}",
            self.name,
            took.wall,
            took.cpu,
            each(took.cpu - base.cpu),
            each(took.wall - base.wall),
        )
    }
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder can be made");
    fs::write(path, text).expect("a file can be written");
}

fn concurrency(script: usize) -> usize {
    script % CONCURRENCIES + 1
}

fn write_bare(dir: &Path) {
    put(&dir.join("run.sh"), SCRIPT);
}

/// What every program costs that starts the scripts: this loop, in a process of its own, does nothing else.
fn start_all(scripts: usize, by_shell: bool) {
    fs::create_dir_all("out").expect("a folder can be made");
    thread::scope(|scope| {
        for first in 0..AT_A_TIME {
            scope.spawn(move || {
                for script in (first..scripts).step_by(AT_A_TIME) {
                    let (conc, name) = (concurrency(script), format!("out/{script}"));
                    let status = if by_shell {
                        let line = format!("CONC={conc} RESULT_FILENAME={name} bash run.sh");
                        Command::new("/bin/sh").args(["-c", &line]).status()
                    } else {
                        let mut command = Command::new("bash");
                        command.arg("run.sh").env("CONC", conc.to_string());
                        command.env("RESULT_FILENAME", name).status()
                    };
                    assert!(status.is_ok_and(|status| status.success()), "script {script}");
                }
            });
        }
    });
}

fn write_peer(dir: &Path, scripts: usize) {
    put(&dir.join("run.sh"), SCRIPT);
    let mut ninja = "rule run\n  command = CONC=$conc RESULT_FILENAME=out/$script bash run.sh\n".to_owned();
    for script in 0..scripts {
        let conc = concurrency(script);
        let _ = writeln!(
            ninja,
            "build out/{script}.json: run run.sh\n  script = {script}\n  conc = {conc}"
        );
    }
    put(&dir.join("build.ninja"), &ninja);
}

fn write_project(dir: &Path, scripts: usize) {
    put(&dir.join("recipes/noop/run.sh"), SCRIPT);
    put(
        &dir.join("recipes/noop/recipe.yaml"),
        "match: { framework: noop }\nrun: run.sh\nwithin: 1m\ncontract: [CONC, ISL]\n",
    );
    put(&dir.join("runners.yaml"), RUNNERS);
    put(&dir.join("Sweepfile"), SWEEPFILE);
    let mut configs = String::new();
    for first in (0..scripts).step_by(CONCURRENCIES) {
        let list: Vec<String> = (first..scripts.min(first + CONCURRENCIES))
            .map(|script| concurrency(script).to_string())
            .collect();
        let _ = write!(
            configs,
            "\
m{first}-fp8-h100-noop:
  image: builtin:sim
  model: none
  model-prefix: m{first}
  runner: h100
  precision: fp8
  framework: noop
  multinode: false
  scenarios:
    fixed-seq-len:
      - {{ isl: {isl}, osl: 1, search-space: [{{ tp: 1, conc-list: [{list}] }}] }}
",
            isl = first + 1,
            list = list.join(", ")
        );
    }
    put(&dir.join("configs.yaml"), &configs);
}

const RUNNERS: &str = "\
labels:
  h100: [h100_0]
hardware:
  h100: { available-cpu-dram-mib: 1_998_848, gpus-per-node: 8 }
";

/// Scripts run side by side, as on a node that is shared.
const SWEEPFILE: &str = "\
version: 1
configs: [configs.yaml]
runners: runners.yaml
recipes: recipes
profiles:
  default:
    pools:
      two: { executor: process, serves: [h100], nodes: 1, gpus: 2, gpu: h100, share: gpu }
";
