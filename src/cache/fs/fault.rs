//! Faults put at the door by this module's and its neighbours' tests; each thread has its own.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};

use super::Op;

/// Which calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The n-th call from now, and only that one.
    Once(u32),
    /// The n-th call from now and all after it: the process died there.
    From(u32),
    /// The next write stops half way, as on a full disk, and `cut` calls fail too if `uncut`.
    FullDisk { uncut: bool },
}

thread_local! {
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

/// Runs `body` under a fault; gives what it gave and how many calls it made.
pub(crate) fn with<T>(fault: Option<Fault>, body: impl FnOnce() -> T) -> (T, u32) {
    FAULT.set(fault);
    CALLS.set(0);
    let result = body();
    FAULT.set(None);
    (result, CALLS.get())
}

fn full() -> io::Error {
    io::Error::from(rustix::io::Errno::NOSPC)
}

pub(super) fn pass(op: Op) -> io::Result<()> {
    let number = CALLS.get();
    CALLS.set(number + 1);
    match FAULT.get() {
        Some(Fault::Once(n)) if n == number && op != Op::Write => Err(full()),
        Some(Fault::From(n)) if n < number || (n == number && op != Op::Write) => Err(full()),
        Some(Fault::FullDisk { uncut: true }) if op == Op::Cut => Err(full()),
        _ => Ok(()),
    }
}

/// A write that fails leaves its first half behind, the worst of what a system may do.
pub(super) fn write_part(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    let number = CALLS.get() - 1;
    let fails = match FAULT.get() {
        Some(Fault::Once(n) | Fault::From(n)) => n == number,
        Some(Fault::FullDisk { .. }) => true,
        None => false,
    };
    if !fails {
        return Ok(());
    }
    file.write_all(&bytes[..bytes.len() / 2])?;
    Err(full())
}
