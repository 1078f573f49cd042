//! Every file-system call of the cache, each through one door, with the operation and the path in its error.

mod call;
mod door;
mod durable;
#[cfg(test)]
pub(super) mod fault;

pub use call::{
    Folder, create_append, create_dir, cut, cut_durable, flush, flush_dir, list, metadata, open, open_append,
    open_read_write, read, read_some, remove, remove_tree, rename, seen, write, write_all,
};
pub use door::{FsError, Op};
pub(super) use durable::Volume;
pub use durable::{
    Mode, TEMP_PREFIX, Temp, create_dir_durable, parent, remove_strays, write_atomic, write_whole,
};
