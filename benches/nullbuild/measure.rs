//! What one process took, and the median of several.

use std::process::{Command, Stdio};
use std::time::Instant;

use wait4::Wait4;

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    wall_ms: f64,
    cpu_ms: f64,
    peak_mib: f64,
}

impl Round {
    pub(crate) fn of(command: &mut Command) -> Self {
        let began = Instant::now();
        let child = quiet(command).spawn().expect("the program can be started");
        let used = child.wait4().expect("the child is waited for once");
        assert!(used.status.success(), "{command:?}: {}", used.status);
        let rusage = used.rusage;
        Self {
            wall_ms: began.elapsed().as_secs_f64() * 1e3,
            cpu_ms: (rusage.utime + rusage.stime).as_secs_f64() * 1e3,
            peak_mib: rusage.maxrss as f64 / f64::from(1 << 20),
        }
    }
}

fn quiet(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
}

/// The rounds of one program.
#[derive(Debug)]
pub(crate) struct Summary {
    name: &'static str,
    rounds: Vec<Round>,
}

impl Summary {
    pub(crate) fn of(name: &'static str) -> Self {
        Self {
            name,
            rounds: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, round: Round) {
        self.rounds.push(round);
    }

    pub(crate) fn cpu_ms(&self) -> f64 {
        self.median(|round| round.cpu_ms)
    }

    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        let mut values: Vec<f64> = self.rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The cells of the table's row.
    pub(crate) fn row(&self, ninja_cpu_ms: f64, syscalls: Option<u64>) -> String {
        let peak = self.rounds.iter().map(|round| round.peak_mib).fold(0.0, f64::max);
        let cpu = self.cpu_ms();
        let ratio = cpu / ninja_cpu_ms;
        let ratio = if ratio.is_nan() {
            String::new()
        } else {
            format!("{ratio:.2}")
        };
        format!(
            "{} | {:.1} | {cpu:.1} | {ratio} | {peak:.0} | {}",
            self.name,
            self.median(|round| round.wall_ms),
            syscalls.map_or_else(String::new, |count| count.to_string())
        )
    }
}

/// How many system calls a command makes, where `strace` is there to count them.
pub(crate) fn syscalls(command: &Command) -> Option<u64> {
    let counts = tempfile::NamedTempFile::new().ok()?;
    let mut traced = Command::new("strace");
    traced
        .args(["-f", "-c", "-o"])
        .arg(counts.path())
        .arg(command.get_program());
    traced.args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        traced.current_dir(dir);
    }
    let status = quiet(&mut traced).status().ok()?;
    let table = std::fs::read_to_string(counts.path()).ok()?;
    let total = table.lines().rfind(|line| line.ends_with("total"))?;
    // % time, seconds, usecs/call, calls, errors where there were some, and the name.
    let calls = total.split_whitespace().nth(3)?.parse().ok();
    calls.filter(|_| status.success())
}
