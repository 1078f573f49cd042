//! One maker of an image at a time: the lock in its folder of the cache.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

/// How often another maker's lock is tried.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// Waits for the lock, telling so once.
pub(super) async fn lock(folder: &Path, progress: &mut impl FnMut(&str)) -> io::Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))?;
    let mut said = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if !said => {
                progress("waiting for another sweep, which is making this image");
                said = true;
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_POLL).await,
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Lets the lock's time tell when the image was last used, for [`crate::cache::gc`]. Where that cannot be written, an
/// image is at worst made again.
pub(super) fn mark_used(folder: &Path) {
    if let Ok(lock) = File::options().write(true).open(folder.join("lock")) {
        let _ = lock.set_modified(std::time::SystemTime::now());
    }
}
