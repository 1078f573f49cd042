//! Limits that servers get: those that a launcher asks of the container engine, and on this host's own processes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;

use indicatif::BinaryBytes;
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Resource, getrlimit};

use super::Finding;

/// Docker's names of limits, and the kernel's in `/proc/PID/limits`.
const NAMES: [(&str, &str); 16] = [
    ("as", "Max address space"),
    ("core", "Max core file size"),
    ("cpu", "Max cpu time"),
    ("data", "Max data size"),
    ("fsize", "Max file size"),
    ("locks", "Max file locks"),
    ("memlock", "Max locked memory"),
    ("msgqueue", "Max msgqueue size"),
    ("nice", "Max nice priority"),
    ("nofile", "Max open files"),
    ("nproc", "Max processes"),
    ("rss", "Max resident set"),
    ("rtprio", "Max realtime priority"),
    ("rttime", "Max realtime timeout"),
    ("sigpending", "Max pending signals"),
    ("stack", "Max stack size"),
];

/// `CAP_SYS_RESOURCE` in a set of capabilities: who has it may raise limits above its own.
const MAY_RAISE: u64 = 1 << 24;

/// What a process may give to its children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// By the kernel's name; without a value there is none.
    hard: BTreeMap<String, Option<u64>>,
    may_raise: bool,
}

impl Limits {
    /// Those of the engine that listens on a socket; nothing where they may not be seen.
    pub fn of_engine(socket: &Path) -> Option<Self> {
        let stream = UnixStream::connect(socket).ok()?;
        let pid = socket_peercred(&stream).ok()?.pid;
        // The first process listens in the place of an engine that is started when it is asked, and has other limits.
        if pid.is_init() {
            return None;
        }
        let read = |file| fs::read_to_string(format!("/proc/{}/{file}", pid.as_raw_nonzero())).ok();
        Self::parse(&read("limits")?, &read("status")?)
    }

    fn parse(limits: &str, status: &str) -> Option<Self> {
        let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        let capabilities = u64::from_str_radix(capabilities.trim(), 16).ok()?;
        let hard = NAMES.iter().filter_map(|(_, kernels)| {
            let values = limits.lines().find_map(|line| line.strip_prefix(kernels))?;
            let hard = values.split_whitespace().nth(1)?;
            Some(((*kernels).to_owned(), hard.parse().ok()))
        });
        Some(Self {
            hard: hard.collect(),
            may_raise: capabilities & MAY_RAISE != 0,
        })
    }

    /// The hard limit that keeps it from giving another one.
    fn keeps_from(&self, name: &str, asked: i64) -> Option<u64> {
        let (_, kernels) = NAMES.iter().find(|(dockers, _)| *dockers == name)?;
        let hard = (*self.hard.get(*kernels)?)?;
        let is_above = u64::try_from(asked).map_or(true, |asked| asked > hard);
        (is_above && !self.may_raise).then_some(hard)
    }
}

/// Whether the engine can give a pool's containers the limits that its launcher asks for.
pub fn of_containers(pool: &str, asked: &BTreeMap<String, i64>, engine: &Limits) -> Option<Finding> {
    let check = format!("limits of {pool}");
    let shown = |limit: i64| match limit {
        ..0 => "unlimited".to_owned(),
        limit => limit.to_string(),
    };
    let too_high = asked.iter().find_map(|(name, limit)| {
        let hard = engine.keeps_from(name, *limit)?;
        Some(Finding::wrong(
            &check,
            format!(
                "the engine may not give its containers `{name}` {}: it has {hard} itself",
                shown(*limit)
            ),
            format!("`Limit{}=infinity` in the engine's service and start it again, or leave `{name}` out of the launcher's `ulimits`", name.to_uppercase()),
        ))
    });
    let all = asked
        .iter()
        .map(|(name, limit)| format!("{name} {}", shown(*limit)));
    (!asked.is_empty())
        .then(|| too_high.unwrap_or_else(|| Finding::ok(&check, all.collect::<Vec<_>>().join(", "))))
}

/// Whether servers of a pool with GPUs, which are processes of this host, may pin memory as they do in InferenceX's
/// containers, where `memlock` is unlimited.
pub fn of_processes(pool: &str) -> Finding {
    pinned(pool, getrlimit(Resource::Memlock).current)
}

fn pinned(pool: &str, limit: Option<u64>) -> Finding {
    let check = format!("limits of {pool}");
    match limit {
        None => Finding::ok(check, "memlock unlimited"),
        Some(bytes) => Finding::warn(
            check,
            format!(
                "memlock {}: an engine that pins more memory, as for RDMA, fails",
                BinaryBytes(bytes)
            ),
            "ulimit -l unlimited, or `LimitMEMLOCK=infinity` in the service that starts sweep",
        ),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::Level;
    use super::*;

    const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units
Max stack size            8388608              unlimited            bytes
Max processes             15731                15731                processes
Max locked memory         65536                8388608              bytes
";

    fn judged(status: &str, asked: &[(&str, i64)]) -> Option<Finding> {
        let engine = Limits::parse(LIMITS, status).unwrap();
        let asked = asked.iter().map(|(name, limit)| ((*name).to_owned(), *limit));
        of_containers("p", &asked.collect(), &engine)
    }

    #[test]
    fn what_is_asked_of_an_engine_is_held_against_what_it_may_give() {
        let bound = "Name:\tdockerd\nCapEff:\t00000000a80425fb\n";
        let free = "CapEff:\t000001ffffffffff\n";
        assert_eq!(judged(bound, &[]), None);
        let fits = judged(bound, &[("memlock", 8_388_608), ("stack", -1)]).unwrap();
        assert_eq!(
            (fits.level, fits.found.as_str()),
            (Level::Ok, "memlock 8388608, stack unlimited")
        );
        for (name, limit, hard) in [("memlock", -1, "8388608"), ("nproc", 15_732, "15731")] {
            let wrong = judged(bound, &[(name, limit)]).unwrap();
            assert_eq!(wrong.level, Level::Wrong, "{wrong:?}");
            assert!(
                wrong.found.contains(name) && wrong.found.contains(hard),
                "{wrong:?}"
            );
            assert_eq!(judged(free, &[(name, limit)]).unwrap().level, Level::Ok);
        }
    }

    #[test]
    fn pinned_memory_is_best_without_a_limit() {
        assert_eq!(pinned("p", None).level, Level::Ok);
        assert_eq!(pinned("p", Some(65536)).level, Level::Warn);
    }
}
