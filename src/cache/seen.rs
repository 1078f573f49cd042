//! What the file system says of a file or a folder, to tell later whether it is as it was.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The coarsest time stamps of a file system in use (FAT: 2 s).
const GRANULARITY: Duration = Duration::from_secs(2);

/// One state of a file or a folder. The change time is what no tool can set back: it catches an edit that keeps size
/// and mtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub dev: u64,
    pub ino: u64,
    /// In bytes.
    pub size: u64,
    /// In ns since 1970.
    pub mtime_ns: i64,
    /// In ns since 1970.
    pub ctime_ns: i64,
}

impl Seen {
    /// The bytes of one.
    pub const BYTES: usize = 5 * 8;

    pub fn of(found: &Metadata) -> Seen {
        let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        Seen {
            dev: found.dev(),
            ino: found.ino(),
            size: found.size(),
            mtime_ns: ns(found.mtime(), found.mtime_nsec()),
            ctime_ns: ns(found.ctime(), found.ctime_nsec()),
        }
    }

    /// The same out of what a system call filled in.
    pub(super) fn of_stat(found: &rustix::fs::Stat) -> Seen {
        let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        Seen {
            dev: found.st_dev,
            ino: found.st_ino,
            size: found.st_size.cast_unsigned(),
            mtime_ns: ns(found.st_mtime, found.st_mtime_nsec.cast_signed()),
            ctime_ns: ns(found.st_ctime, found.st_ctime_nsec.cast_signed()),
        }
    }

    /// Whether it had been like this for a while at `observed`. What changed only just before may change again within
    /// the same tick of the clock and look the same, so its looks tell nothing (git's rule for a racy index).
    pub fn is_settled(&self, observed: SystemTime) -> bool {
        let settled = observed.checked_sub(GRANULARITY).map_or(i64::MIN, nanoseconds);
        self.mtime_ns < settled && self.ctime_ns < settled
    }

    /// Five little-endian numbers.
    pub fn to_bytes(self) -> [u8; Seen::BYTES] {
        let mut bytes = [0; Seen::BYTES];
        let numbers = [
            self.dev,
            self.ino,
            self.size,
            self.mtime_ns.cast_unsigned(),
            self.ctime_ns.cast_unsigned(),
        ];
        for (place, number) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
            *place = number.to_le_bytes();
        }
        bytes
    }

    pub fn from_bytes(bytes: &[u8; Seen::BYTES]) -> Seen {
        let (numbers, _) = bytes.as_chunks::<8>();
        let number = |n: usize| u64::from_le_bytes(numbers[n]);
        Seen {
            dev: number(0),
            ino: number(1),
            size: number(2),
            mtime_ns: number(3).cast_signed(),
            ctime_ns: number(4).cast_signed(),
        }
    }
}

fn nanoseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_system_calls_see_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "text").unwrap();
        for path in [
            path.as_path(),
            dir.path(),
            std::path::Path::new("/proc/self/stat"),
        ] {
            let seen = Seen::of(&std::fs::metadata(path).unwrap());
            assert_eq!(Seen::of_stat(&rustix::fs::stat(path).unwrap()), seen);
        }
    }

    proptest! {
        #[test]
        fn bytes_keep_it(dev: u64, ino: u64, size: u64, mtime_ns: i64, ctime_ns: i64) {
            let seen = Seen { dev, ino, size, mtime_ns, ctime_ns };
            prop_assert_eq!(Seen::from_bytes(&seen.to_bytes()), seen);
        }

        #[test]
        fn what_is_within_two_seconds_of_the_look_or_after_it_is_not_settled(ms in -5000..5000_i64, of_mtime: bool) {
            let observed = UNIX_EPOCH + Duration::from_secs(1_795_320_252);
            let at = nanoseconds(observed) + ms * 1_000_000;
            let (mtime_ns, ctime_ns) = if of_mtime { (at, 0) } else { (0, at) };
            let seen = Seen { dev: 0, ino: 0, size: 0, mtime_ns, ctime_ns };
            prop_assert_eq!(seen.is_settled(observed), ms < -2000);
        }
    }
}
