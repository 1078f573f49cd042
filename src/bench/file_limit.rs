//! The process's limit on open files, raised as far as the connections need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More connections than the system lets this process open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{connections} connections need {needed} open files and the limit is {limit}; \
     raise it (`ulimit -Hn`) or lower the concurrency"
)]
pub struct FileLimitError {
    pub connections: u32,
    pub needed: u64,
    pub limit: u64,
}

/// Files beside the connections that a run may open: timers, logs, the caller's own.
const SPARE: u64 = 64;

/// Makes room for `connections` more files by raising the soft limit, never the hard one.
pub(super) fn make_room(connections: u32) -> Result<(), FileLimitError> {
    let open_now = std::fs::read_dir("/proc/self/fd").map_or(SPARE, |entries| entries.count() as u64);
    let needed = open_now + u64::from(connections) + SPARE;
    let limits = getrlimit(Resource::Nofile);
    let Some(wanted) = raised(limits.current, limits.maximum, needed) else {
        return Ok(());
    };
    let refused = |limit| FileLimitError {
        connections,
        needed,
        limit,
    };
    let wanted = wanted.map_err(refused)?;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(wanted),
            maximum: limits.maximum,
        },
    )
    .map_err(|_| refused(limits.current.unwrap_or_default()))
}

/// The soft limit to set, if the present one is too low; the hard one as the error when that is too low also.
fn raised(soft: Option<u64>, hard: Option<u64>, needed: u64) -> Option<Result<u64, u64>> {
    match (soft, hard) {
        (None, _) => None,
        (Some(soft), _) if soft >= needed => None,
        (_, Some(hard)) if hard < needed => Some(Err(hard)),
        _ => Some(Ok(needed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_is_raised() {
        assert_eq!(raised(Some(1024), Some(4096), 1000), None);
        assert_eq!(raised(Some(1024), Some(4096), 2000), Some(Ok(2000)));
        assert_eq!(raised(Some(1024), Some(4096), 5000), Some(Err(4096)));
        assert_eq!(raised(Some(1024), None, 5000), Some(Ok(5000)));
        assert_eq!(raised(None, None, 5000), None);
        assert!(make_room(1).is_ok());
    }
}
