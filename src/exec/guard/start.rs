//! A guard's program, started.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::{Access, access};

use super::protocol::Order;
use crate::exec::procfs::{self, Identity};

/// Starts programs, and remembers where they were found.
#[derive(Default)]
pub(super) struct Starter {
    found: HashMap<(String, String), PathBuf>,
}

impl Starter {
    /// Starts the program in a process group of its own, with an empty standard input.
    pub(super) fn start(&mut self, order: &Order, log: Option<&Path>) -> io::Result<Identity> {
        let (program, arguments) = order
            .argv
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"))?;
        let spawn = |path: &Path| spawn(path, program, arguments, order, log);
        let child = match self.find(program, order) {
            // The system's own lookup takes more kinds of program, and says what is wrong with others.
            Some(path) => spawn(&path).or_else(|_| spawn(Path::new(program))),
            None => spawn(Path::new(program)),
        }?;
        // Readable even when it has ended already: nothing has reaped it yet.
        procfs::read(child.id())
            .map(|process| process.identity)
            .ok_or_else(|| io::Error::other("/proc does not show the process just started"))
    }

    /// Where the program of this name is on the order's `PATH`. A path is started by spawning, which copies nothing of
    /// this process; a name that the system has to look up on another `PATH` than this process's takes a fork.
    fn find(&mut self, program: &str, order: &Order) -> Option<PathBuf> {
        let search = order.env.get("PATH").filter(|_| !program.contains('/'))?;
        // What a relative folder means is another thing each time.
        if search.split(':').any(|folder| !folder.starts_with('/')) {
            return None;
        }
        let asked = (program.to_owned(), search.clone());
        if let Some(found) = self.found.get(&asked).filter(|found| is_program(found)) {
            return Some(found.clone());
        }
        let mut paths = search.split(':').map(|folder| Path::new(folder).join(program));
        let found = paths.find(|path| is_program(path))?;
        self.found.insert(asked, found.clone());
        Some(found)
    }
}

fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

fn spawn(
    path: &Path,
    name: &str,
    arguments: &[String],
    order: &Order,
    log: Option<&Path>,
) -> io::Result<Child> {
    let output = match log {
        Some(log) => File::options().append(true).open(log)?.into(),
        None => io::stderr().as_fd().try_clone_to_owned()?,
    };
    Command::new(path)
        .arg0(name)
        .args(arguments)
        .env_clear()
        .envs(&order.env)
        .current_dir(&order.cwd)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .spawn()
}
