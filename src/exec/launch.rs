//! From a server target and a place on a pool to the process that is started.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::docker::{GpuError, HOME, Host, LeftServer, NOTE_FILE, TEMPORARY, Wanted};
use super::gpu::Vendor;
use super::guard::Order;
use super::run::{Attempt, Run};
use super::server::ServerSpec;
use super::started::Launch;
use crate::cache::{Digest, FsError, fs};
use crate::config::container::User;
use crate::config::recipe::RESULT_FILENAME;
use crate::graph::spec::{Form, Image, Server};
use crate::graph::template::PORT_MARK;

/// An image that is present on this host.
#[derive(Debug, Clone)]
pub(super) enum ReadyImage {
    /// Nothing needs to be there: the simulated engine, or the built-in one.
    Builtin,
    /// A container image, by what names exactly these bytes to the engine.
    Container { image: String, host: Arc<Host> },
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

/// One start on a place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start<'a> {
    pub port: u16,
    pub attempt: &'a Attempt,
    /// A server that a killed run left, to be kept in the place of a new one.
    pub left: Option<&'a LeftServer>,
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
    #[error("make `{}` executable: {error}", file.display())]
    Mode { file: PathBuf, error: std::io::Error },
    #[error("the launcher of pool `{pool}` mounts `{}`, which is not on this host; make it, or correct the launcher", folder.display())]
    NoMount { pool: String, folder: PathBuf },
    #[error("it is not what would be started now")]
    NotTheSame,
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl LaunchError {
    /// Whether it counts against this host rather than what was to be started.
    pub(super) fn is_machinery(&self) -> bool {
        matches!(self, Self::Gpu(_))
    }
}

/// Where programs of the host are looked for. Fixed, so that the user's own PATH reaches no step.
const HOST_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// This program, also after its file was replaced.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Prepares the attempt's work folder and says which server to start there.
pub(super) fn prepare(
    run: &Run,
    server: &Server,
    image: &ReadyImage,
    place: &Place,
    start: Start<'_>,
) -> Result<ServerSpec, LaunchError> {
    let Launch { order, container } = launch(run, server, image, place, start)?;
    let Start { port, attempt, .. } = start;
    Ok(ServerSpec {
        argv: order.argv,
        env: order.env,
        cwd: order.cwd,
        port,
        ready_path: ready_path(server),
        ready_within: server.handling.within,
        stop_grace: Duration::from_millis(order.grace_ms),
        log_path: attempt.path.join("server.log"),
        container,
    })
}

/// Prepares the attempt's work folder and says what to start there, a server or a combined script.
pub(super) fn launch(
    run: &Run,
    server: &Server,
    image: &ReadyImage,
    place: &Place,
    start: Start<'_>,
) -> Result<Launch, LaunchError> {
    let Start { port, attempt, .. } = start;
    let work = attempt.path.join("work");
    fs::create_dir(&work)?;
    let temporary = attempt.temporary(run.path());
    fs::create_dir(&temporary)?;
    copy_files(&run.root, server, &work)?;
    let mut env = environment(run, server, image, place, port, (&work, &temporary));
    if server.form == Form::Combined {
        env.insert("RESULT_FILENAME".to_owned(), RESULT_FILENAME.to_owned());
    }
    if server.image == Image::Builtin && server.form != Form::Command {
        let path = env.entry("PATH".to_owned()).or_default();
        *path = format!("{}:{path}", own_programs(run)?.display());
    }
    let order = Order {
        argv: argv(server, port)?,
        env,
        cwd: work,
        grace_ms: u64::try_from(server.handling.stop_grace.as_millis()).unwrap_or(u64::MAX),
    };
    match image {
        ReadyImage::Container { image, host } => contain(run, server, (image, host), place, start, &order),
        ReadyImage::Builtin | ReadyImage::Venv { .. } => Ok(Launch {
            order,
            container: None,
        }),
    }
}

/// Puts what is ordered into a container: its keeper is started in its place.
fn contain(
    run: &Run,
    server: &Server,
    (image, host): (&str, &Host),
    place: &Place,
    start: Start<'_>,
    order: &Order,
) -> Result<Launch, LaunchError> {
    let attempt = start.attempt;
    let settings = &run.containers[&place.pool];
    if let Some(mount) = settings.mounts.iter().find(|mount| !mount.host.exists()) {
        return Err(LaunchError::NoMount {
            pool: place.pool.clone(),
            folder: mount.host.clone(),
        });
    }
    let home = attempt.path.join("home");
    fs::create_dir(&home)?;
    let is_combined = server.form == Form::Combined;
    let container = host.order(&Wanted {
        image,
        order,
        port: start.port,
        settings,
        gpus: &host.gpus(&server.hardware.gpu, &place.gpus)?,
        // A combined script leaves its result there.
        writes_to_work: is_combined,
        home: &home,
        temporary: &attempt.temporary(run.path()),
        note: attempt.path.join(NOTE_FILE),
        target: &attempt.target,
        key: &server.key().to_string(),
        attempt: attempt.number,
        place: (!is_combined).then_some((&place.pool, &place.gpus)),
    });
    let container = match start.left {
        Some(left) => container.adopting(left).ok_or(LaunchError::NotTheSame)?,
        None => container,
    };
    Ok(Launch {
        order: container.keeper(&order.cwd),
        container: Some(container.contained()),
    })
}

/// A folder with this program as `sweep`, for scripts whose image it is. The link ends with this process, as the
/// scripts do.
fn own_programs(run: &Run) -> Result<&Path, LaunchError> {
    if let Some(made) = run.programs.get() {
        return Ok(made);
    }
    let folder = run.path().join("bin");
    fs::create_dir(&folder)?;
    let link = folder.join("sweep");
    match std::os::unix::fs::symlink(format!("/proc/{}/exe", std::process::id()), &link) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(LaunchError::Link { link, error })
        }
        _ => Ok(run.programs.get_or_init(|| folder)),
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
        if let Some(parent) = dest.parent().filter(|parent| *parent != work) {
            fs::create_dir(parent)?;
        }
        fs::write(&dest, &bytes)?;
        // All may be run, whatever the project's file says: only its bytes are in the key.
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&dest, mode).map_err(|error| LaunchError::Mode { file: dest, error })?;
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
    let settings = run.containers.get(&place.pool);
    let mut env = BTreeMap::from([("LANG".to_owned(), "C.UTF-8".to_owned())]);
    let mut set = |name: &str, value: String| drop(env.insert(name.to_owned(), value));
    // A container's PATH is its image's, and so are the places of a user that the image names.
    match (image, settings) {
        (ReadyImage::Container { .. }, Some(settings)) if settings.user == User::Host => {
            set("HOME", HOME.to_owned());
            set("TMPDIR", TEMPORARY.to_owned());
        }
        (ReadyImage::Container { .. }, _) => {}
        (ReadyImage::Builtin | ReadyImage::Venv { .. }, _) => {
            set("HOME", text(work));
            set("TMPDIR", text(temporary));
            set("PATH", HOST_PATH.to_owned());
        }
    }
    if let ReadyImage::Venv { root, bin, .. } = image {
        set("PATH", format!("{}:{HOST_PATH}", bin.display()));
        set("VIRTUAL_ENV", text(root));
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
    // A container sees no GPUs but its own, and counts them from 0, unless it has every right on the host.
    let sees_all = settings.is_none_or(|settings| settings.privileged.is_some());
    if let Some(vendor) = Vendor::of(&server.hardware.gpu).filter(|_| sees_all) {
        env.insert(vendor.visible_devices().to_owned(), indices.clone());
    }
    env.insert("SWEEP_GPUS".to_owned(), indices);
    env.insert("PORT".to_owned(), port);
    env
}
