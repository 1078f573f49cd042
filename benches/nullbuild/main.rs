//! What a build with nothing to do costs, side by side with `ninja` and `make` on a graph of the same shape.
//!
//!     cargo bench --bench nullbuild                          1000 and 10000 targets, 15 rounds
//!     cargo bench --bench nullbuild -- 100000 --rounds 5     another size
//!     cargo bench --bench nullbuild -- --million             only planned, from nothing
//!     cargo bench --bench nullbuild -- --of DIR WORD…        a copy of another project, only sweep
//!     cargo bench --bench nullbuild -- --check               fails where sweep takes more CPU time than ninja
//!
//! All programs run in turn, round by round. What counts is CPU time, user and system, as the kernel tells it of each
//! process: on a busy machine wall time is noise. The records and blobs of the sweep project are fabricated, through the
//! program's own store; they say so, and no number in them is shown.

mod measure;
mod peers;
mod project;
mod shape;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use measure::{Round, Summary, syscalls};
use shape::Shape;
use tempfile::TempDir;

const SWEEP: &str = env!("CARGO_BIN_EXE_sweep");

struct Asked {
    sizes: Vec<usize>,
    rounds: usize,
    million: bool,
    check: bool,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--fabricate", dir, words @ ..] => {
            project::fabricate(Path::new(dir), words);
            return ExitCode::SUCCESS;
        }
        ["--of", dir, words @ ..] => {
            real(Path::new(dir), words);
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let asked = asked(&words);
    let mut is_within = true;
    if asked.million {
        million();
        return ExitCode::SUCCESS;
    }
    println!(
        "| targets | | wall ms | CPU ms | of ninja's | peak MiB | system calls |\n|---:|---|---:|---:|---:|---:|---:|"
    );
    for size in asked.sizes {
        let shape = Shape::of(size);
        let dir = scratch();
        let project = dir.path().join("sweep");
        project::write(&project, &shape);
        fabricate(&project, &[]);
        let peers = dir.path().join("peers");
        peers::write(&peers, &shape);
        peers::build(&peers);
        project::settle(&project, &[]);
        let ratio = null(&shape, &project, &peers, asked.rounds);
        is_within &= ratio <= 1.0;
        incremental(&shape, &project, &peers, asked.rounds);
    }
    if asked.check && !is_within {
        eprintln!("error: a null build took more CPU time than ninja's");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// In a process of its own: the kernel counts the peak of a parent as one of the children that it starts.
fn fabricate(dir: &Path, words: &[&str]) {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    let status = command.arg("--fabricate").arg(dir).args(words).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "no cache was fabricated"
    );
}

/// A copy of a project in which everything that the words select is fresh.
fn real(dir: &Path, words: &[&str]) {
    let scratch = scratch();
    let project = scratch.path().join("sweep");
    let copied = Command::new("cp").arg("-rL").arg(dir).arg(&project).status();
    assert!(
        copied.is_ok_and(|status| status.success()),
        "the project is copied"
    );
    for made in [".cache", "results"] {
        // A copy of real results is none to fabricate others into.
        let _ = std::fs::remove_dir_all(project.join(made));
    }
    fabricate(&project, words);
    project::settle(&project, words);
    let build = [&["build"], words].concat();
    let mut summary = Summary::of("`sweep build`");
    for _ in 0..15 {
        summary.add(Round::of(&mut command(SWEEP, &build, &project)));
    }
    let calls = syscalls(&command(SWEEP, &build, &project));
    println!("| | {} |", summary.row(f64::NAN, calls));
}

fn asked(words: &[&str]) -> Asked {
    let mut asked = Asked {
        sizes: Vec::new(),
        rounds: 15,
        million: false,
        check: false,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--million" => asked.million = true,
            "--check" => asked.check = true,
            "--rounds" => asked.rounds = number(words.next().copied().unwrap_or_default()),
            size => asked.sizes.push(number(size)),
        }
    }
    if asked.sizes.is_empty() {
        asked.sizes = vec![1_000, 10_000];
    }
    asked
}

fn number(word: &str) -> usize {
    word.parse().unwrap_or_else(|_| panic!("`{word}` is no number"))
}

/// In memory where that can be: every blob is flushed to the disk when it is kept, which takes minutes for ten thousand
/// on a disk and nothing here. Both sides lie side by side.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let dir: PathBuf = if memory.is_dir() {
        memory.into()
    } else {
        std::env::temp_dir()
    };
    TempDir::with_prefix_in("sweep-nullbuild-", dir).expect("a scratch folder can be made")
}

fn command(program: &str, words: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(words)
        .current_dir(dir)
        .env_remove("GITHUB_STEP_SUMMARY");
    command
}

/// Nothing to do. Gives the ratio of CPU times, sweep's to ninja's.
fn null(shape: &Shape, project: &Path, peers: &Path, rounds: usize) -> f64 {
    let commands = || {
        [
            ("`sweep build`", command(SWEEP, &["build"], project)),
            ("`ninja`", command("ninja", &["--quiet"], peers)),
            ("`make`", command("make", &["-s", "-r", "-R"], peers)),
            ("`true`", command("true", &[], peers)),
        ]
    };
    let mut summaries = commands().map(|(name, _)| Summary::of(name));
    for round in 0..rounds {
        for (n, (_, mut command)) in commands().into_iter().enumerate() {
            let measured = Round::of(&mut command);
            // The first warms the page cache and is not counted.
            if round > 0 || rounds == 1 {
                summaries[n].add(measured);
            }
        }
    }
    let ninja = summaries[1].cpu_ms();
    for (summary, (_, command)) in summaries.iter().zip(commands()) {
        println!(
            "| {} | {} |",
            shape.targets(),
            summary.row(ninja, syscalls(&command))
        );
    }
    println!(
        "| | {} inputs, {} outputs | | | | | at most {} |",
        project::inputs(project),
        shape.outputs(),
        (project::inputs(project) + shape.outputs()) * 12 / 10 + 200
    );
    summaries[0].cpu_ms() / ninja
}

/// One config is edited: sweep tells what is stale and why, ninja runs its 21 commands, of which each creates a file.
fn incremental(shape: &Shape, project: &Path, peers: &Path, rounds: usize) {
    let names = ["one config edited: `sweep plan`", "one config edited: `ninja`"];
    let mut summaries = names.map(Summary::of);
    for round in 0..rounds {
        project::edit(project, round);
        summaries[0].add(Round::of(&mut command(SWEEP, &["plan"], project)));
        peers::edit(peers, round);
        summaries[1].add(Round::of(&mut command("ninja", &["--quiet"], peers)));
    }
    let ninja = summaries[1].cpu_ms();
    for summary in &summaries {
        println!("| {} | {} |", shape.targets(), summary.row(ninja, None));
    }
}

/// A million targets that nobody has measured, planned.
fn million() {
    let shape = Shape::of(1_000_000);
    let dir = scratch();
    let project = dir.path().join("sweep");
    project::write(&project, &shape);
    let mut summary = Summary::of("`sweep plan`, never built");
    for _ in 0..3 {
        summary.add(Round::of(&mut command(SWEEP, &["plan"], &project)));
    }
    println!("| {} | {} |", shape.targets(), summary.row(f64::NAN, None));
}
