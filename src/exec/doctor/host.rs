//! This host: the cache folder and its disk, limits, the clock.

use std::path::Path;

use indicatif::BinaryBytes;
use jiff::{SignedDuration, Timestamp};
use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::cache::lock;
use crate::cache::{FsError, Holder, LockError, Store, Wait, fs};

/// Below this a build's traces and logs may not fit; a trace has some MB, a log tens of them.
const LITTLE_ROOM: u64 = 2 << 30;
/// Below this nothing sensible does.
const NO_ROOM: u64 = 256 << 20;

/// As far as clocks may differ before tokens and certificates seem to be of another time.
const MOST_SKEW: SignedDuration = SignedDuration::from_secs(60);

/// Files that a load client needs beside one a request in flight.
const FILES_BESIDE: u64 = 256;

/// Whether the folder can be written and locked; a build that holds it is well.
pub fn cache(folder: &Path) -> Finding {
    let (check, shown) = ("cache", folder.display());
    let written = fs::create_dir_durable(folder).and_then(|()| probe(folder));
    if let Err(error) = written {
        let mend = format!("make `{shown}` writable, or set `cache.dir` in the Sweepfile");
        return Finding::wrong(check, error.to_string(), mend);
    }
    match lock::acquire(folder, Wait::No, &Holder::this_process()) {
        Ok(_) => Finding::ok(check, format!("`{shown}` can be written and locked")),
        Err(LockError::Held(holder)) => Finding::ok(check, format!("`{shown}` is in use by {holder}")),
        Err(error) => Finding::wrong(
            check,
            error.to_string(),
            "put `cache.dir` on a file system with locks (`flock`)",
        ),
    }
}

fn probe(folder: &Path) -> Result<(), FsError> {
    let mut file = fs::Temp::create_in(folder)?;
    file.write_all(b"sweep doctor")
}

/// What is free where the cache folder lies.
pub fn disk(folder: &Path) -> Finding {
    match rustix::fs::statvfs(folder) {
        Ok(room) => room_of(
            "disk",
            &folder.display().to_string(),
            room.f_bavail * room.f_frsize,
            LITTLE_ROOM,
            "sweep cache gc --max-size 5GiB",
        ),
        Err(error) => Finding::wrong(
            "disk",
            format!("look at `{}`: {error}", folder.display()),
            "mount its disk again",
        ),
    }
}

/// Judges free bytes: `little` is worth a warning.
pub(super) fn room_of(check: &str, place: &str, free: u64, little: u64, mend: &str) -> Finding {
    let found = format!("{} free at `{place}`", BinaryBytes(free));
    match free {
        free if free < NO_ROOM => Finding::wrong(check, found, mend),
        free if free < little => Finding::warn(check, found, mend),
        _ => Finding::ok(check, found),
    }
}

/// Whether as many connections can be open as the highest concurrency of the project needs.
pub fn open_files(concurrency: u32) -> Finding {
    // The load client raises the soft limit by itself.
    let limit = getrlimit(Resource::Nofile).maximum;
    open_files_of(limit, concurrency)
}

fn open_files_of(limit: Option<u64>, concurrency: u32) -> Finding {
    let check = "open files";
    let needed = u64::from(concurrency) + FILES_BESIDE;
    match limit {
        None => Finding::ok(check, "no limit"),
        Some(limit) if limit >= needed => Finding::ok(check, format!("up to {limit}")),
        Some(limit) => Finding::wrong(
            check,
            format!("up to {limit}; the project's concurrency of {concurrency} needs {needed}"),
            format!("ulimit -Hn {needed}, or `LimitNOFILE={needed}` in the service that starts sweep"),
        ),
    }
}

/// Whether the clock agrees with another's, where one is known, and with the records that were kept.
pub fn clock(now: Timestamp, others: Option<Timestamp>, folder: &Path) -> Finding {
    let newest = Store::open_read(folder).ok().and_then(|store| {
        let started = store.records().iter().map(|record| record.head().started_unix_ms);
        Timestamp::from_millisecond(i64::try_from(started.max()?).ok()?).ok()
    });
    clock_of(now, others, newest)
}

fn clock_of(now: Timestamp, others: Option<Timestamp>, newest: Option<Timestamp>) -> Finding {
    let (check, mend) = ("clock", "sudo timedatectl set-ntp true");
    let shown = now.strftime("%Y-%m-%d %H:%M:%S UTC");
    match (others, newest) {
        (Some(others), _) if now.duration_since(others).abs() > MOST_SKEW => {
            let skew = now.duration_since(others).as_secs();
            Finding::wrong(check, format!("{shown}, {skew} s from a registry's"), mend)
        }
        (_, Some(newest)) if newest.duration_since(now) > MOST_SKEW => {
            let later = newest.strftime("%Y-%m-%d %H:%M:%S UTC");
            Finding::warn(
                check,
                format!("{shown}, and the cache has a record of {later}"),
                mend,
            )
        }
        (Some(_), _) => Finding::ok(check, format!("{shown}, as a registry has it")),
        (None, _) => Finding::ok(check, format!("{shown}; there was no other to compare it with")),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::Level;
    use super::*;

    #[test]
    fn room_limits_and_clocks_are_judged() {
        let room = |free| room_of("disk", "/x", free, LITTLE_ROOM, "mend").level;
        assert_eq!(
            [room(1 << 20), room(1 << 30), room(3 << 30)],
            [Level::Wrong, Level::Warn, Level::Ok]
        );
        let files = |limit, conc| open_files_of(limit, conc).level;
        assert_eq!(
            [files(None, 9999), files(Some(1024), 512), files(Some(1024), 1024)],
            [Level::Ok, Level::Ok, Level::Wrong]
        );
        let at = |second| Timestamp::from_second(second).unwrap();
        let clock = |others: Option<i64>, newest: Option<i64>| {
            clock_of(at(1000), others.map(at), newest.map(at)).level
        };
        assert_eq!(clock(None, None), Level::Ok);
        assert_eq!(clock(Some(1050), Some(990)), Level::Ok);
        assert_eq!(clock(Some(2000), None), Level::Wrong);
        assert_eq!(clock(None, Some(2000)), Level::Warn);
    }
}
