//! From a server target and a place on a pool to the process that is started.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::guard::Order;
use super::run::{Attempt, Run};
use super::server::ServerSpec;
use crate::cache::{Digest, FsError, fs};
use crate::config::recipe::RESULT_FILENAME;
use crate::graph::spec::{Form, Image, Server};
use crate::graph::template::PORT_MARK;

/// An image that is present on this host.
#[derive(Debug, Clone)]
pub(super) enum ReadyImage {
    /// Nothing needs to be there: the simulated engine, or the built-in one.
    Builtin,
    /// A virtual environment: its folder and its programs.
    Venv {
        root: PathBuf,
        bin: PathBuf,
        python: String,
    },
}

/// Where a session runs.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub pool: String,
    pub nodes: Vec<u32>,
    pub gpus: Vec<u32>,
}

/// Why a process could not be prepared.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaunchError {
    #[error("the command cannot be split into words ({reason}): {command}")]
    Words { command: String, reason: String },
    #[error("the command is empty")]
    Empty,
    #[error("`{}` changed while the build ran; what was planned is not what would run: start the build again", .0.display())]
    Changed(PathBuf),
    #[error("link `{}` to this program: {error}", link.display())]
    Link { link: PathBuf, error: std::io::Error },
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// Where programs of the host are looked for. Fixed, so that the user's own PATH reaches no step.
const HOST_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// This program, also after its file was replaced.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Prepares the work folder in `attempt` and says which server to start there.
pub(super) fn prepare(
    run: &Run,
    server: &Server,
    image: &ReadyImage,
    place: &Place,
    port: u16,
    attempt: &Attempt,
) -> Result<ServerSpec, LaunchError> {
    let order = order(run, server, image, place, port, attempt)?;
    Ok(ServerSpec {
        argv: order.argv,
        env: order.env,
        cwd: order.cwd,
        port,
        ready_path: ready_path(server),
        ready_within: server.handling.within,
        stop_grace: server.handling.stop_grace,
        log_path: attempt.path.join("server.log"),
    })
}

/// Prepares the work folder in `attempt` and says what to start there, a server or a combined script.
pub(super) fn order(
    run: &Run,
    server: &Server,
    image: &ReadyImage,
    place: &Place,
    port: u16,
    attempt: &Attempt,
) -> Result<Order, LaunchError> {
    let work = attempt.path.join("work");
    fs::create_dir_durable(&work)?;
    let temporary = attempt.temporary(run.path());
    fs::create_dir_durable(&temporary)?;
    copy_files(&run.root, server, &work)?;
    let mut env = environment(run, server, image, place, port, (&work, &temporary));
    if server.form == Form::Combined {
        env.insert("RESULT_FILENAME".to_owned(), RESULT_FILENAME.to_owned());
    }
    if server.image == Image::Builtin && server.form != Form::Command {
        let path = env.entry("PATH".to_owned()).or_default();
        *path = format!("{}:{path}", own_programs(run)?.display());
    }
    Ok(Order {
        argv: argv(server, port)?,
        env,
        cwd: work,
        grace_ms: u64::try_from(server.handling.stop_grace.as_millis()).unwrap_or(u64::MAX),
    })
}

/// A folder with this program as `sweep`, for scripts whose image it is. The link ends with this process, as the
/// scripts do.
fn own_programs(run: &Run) -> Result<PathBuf, LaunchError> {
    let folder = run.path().join("bin");
    fs::create_dir_durable(&folder)?;
    let link = folder.join("sweep");
    match std::os::unix::fs::symlink(format!("/proc/{}/exe", std::process::id()), &link) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(LaunchError::Link { link, error })
        }
        _ => Ok(folder),
    }
}

/// The simulator answers on one path, whatever the engine's is.
fn ready_path(server: &Server) -> String {
    if server.simulated.is_some() {
        "/health".to_owned()
    } else {
        server.handling.ready_path.clone()
    }
}

/// Copies the recipe's files, and makes sure that the bytes are those that the key was taken over.
fn copy_files(root: &Path, server: &Server, work: &Path) -> Result<(), LaunchError> {
    if server.simulated.is_some() {
        return Ok(());
    }
    for file in &server.files {
        let source = root.join(&file.path);
        let bytes = fs::read(&source)?.unwrap_or_default();
        if Digest::of(&bytes) != file.digest {
            return Err(LaunchError::Changed(file.path.clone()));
        }
        let dest = work.join(&file.name);
        if let Some(parent) = dest.parent() {
            fs::create_dir_durable(parent)?;
        }
        fs::write_atomic(&dest, &bytes)?;
    }
    Ok(())
}

fn argv(server: &Server, port: u16) -> Result<Vec<String>, LaunchError> {
    if let Some(simulated) = &server.simulated {
        return Ok([vec![THIS_PROGRAM.to_owned()], simulated.to_args(port)].concat());
    }
    if server.form != Form::Command {
        return Ok(vec!["bash".to_owned(), server.command.clone()]);
    }
    let command = server.command.replace(PORT_MARK, &port.to_string());
    let mut words = shell_words::split(&command).map_err(|e| LaunchError::Words {
        command: command.clone(),
        reason: e.to_string(),
    })?;
    match words.first_mut() {
        None => return Err(LaunchError::Empty),
        Some(program) if server.image == Image::Builtin && program == "sweep" => {
            *program = THIS_PROGRAM.to_owned();
        }
        Some(_) => {}
    }
    Ok(words)
}

/// The whole environment of the server or the script: nothing is inherited.
fn environment(
    run: &Run,
    server: &Server,
    image: &ReadyImage,
    place: &Place,
    port: u16,
    (work, temporary): (&Path, &Path),
) -> BTreeMap<String, String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut env = BTreeMap::from([
        ("HOME".to_owned(), text(work)),
        ("TMPDIR".to_owned(), text(temporary)),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ("PATH".to_owned(), HOST_PATH.to_owned()),
    ]);
    if let ReadyImage::Venv { root, bin, .. } = image {
        env.insert("PATH".to_owned(), format!("{}:{HOST_PATH}", bin.display()));
        env.insert("VIRTUAL_ENV".to_owned(), root.to_string_lossy().into_owned());
    }
    env.extend(server.hardware.env.clone());
    let port = port.to_string();
    env.extend(
        server
            .env
            .iter()
            .map(|(name, value)| (name.clone(), value.replace(PORT_MARK, &port))),
    );
    env.extend(run.secrets.clone());
    // Last, because where a server runs is not the recipe's to say.
    let indices = place
        .gpus
        .iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(",");
    if let Some(name) = visible_devices(&server.hardware.gpu) {
        env.insert(name.to_owned(), indices.clone());
    }
    env.insert("SWEEP_GPUS".to_owned(), indices);
    env.insert("PORT".to_owned(), port);
    env
}

/// The variable by which the vendor's runtime shows a process only some GPUs. One of the two, never both: ROCm applies
/// NVIDIA's on top of its own, to indices that are already renumbered.
fn visible_devices(gpu: &str) -> Option<&'static str> {
    match gpu {
        "cpu" => None,
        amd if amd.starts_with("mi") => Some("ROCR_VISIBLE_DEVICES"),
        _ => Some("CUDA_VISIBLE_DEVICES"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vendor_has_one_variable() {
        assert_eq!(visible_devices("h200"), Some("CUDA_VISIBLE_DEVICES"));
        assert_eq!(visible_devices("mi355x"), Some("ROCR_VISIBLE_DEVICES"));
        assert_eq!(visible_devices("cpu"), None);
    }
}
