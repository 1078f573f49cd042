//! `pypi:FILE` images: a hash-locked requirements file made into a virtual environment in the cache.
//!
//! ```text
//! images/<key>/lock          held while one is made
//!              build-0/      an environment, made where it stays: its scripts hold its path
//!              install.log   what python and pip said
//!              venv ──▶ build-0   renamed into place when build-0 is whole
//! ```
//!
//! A virtual environment cannot be moved, so it is the link to it that is published by rename. What a killed run left
//! half made is never linked, nor written to again by anyone, and is removed by the next that makes one.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::install_cause::InstallCause;
use super::lock::{lock, mark_used};
use super::requirements::{Requirements, RequirementsError, VenvKey};
use crate::exec::guard::{ExitFacts, Order};
use crate::exec::log_tail;
use crate::exec::process::{GuardBinary, Guarded, Output, SpawnError};

/// pip's own settings that say how to reach its index. Those that say what to install, or where, would make another
/// environment of the same file.
const PIP: [&str; 15] = [
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_NO_INDEX",
    "PIP_FIND_LINKS",
    "PIP_CERT",
    "PIP_CLIENT_CERT",
    "PIP_PROXY",
    "PIP_TRUSTED_HOST",
    "PIP_TIMEOUT",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_RETRIES",
    "PIP_CACHE_DIR",
    "PIP_NO_CACHE_DIR",
    "PIP_CONFIG_FILE",
    "PIP_KEYRING_PROVIDER",
];

/// What python and pip get from TERM to KILL when `sweep` goes.
const GRACE: Duration = Duration::from_secs(2);
/// How many of their last lines a message quotes.
const QUOTED_LINES: usize = 12;
/// What is written into a finished environment.
const FACTS: &str = "sweep-image.json";
/// The variables of this machine that decide how pip reaches its index, with every `PIP_*`.
const AMBIENT: [&str; 19] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "NETRC",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// A virtual environment that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Venv {
    /// Its folder.
    pub root: PathBuf,
    /// Its programs, `python` among them.
    pub bin: PathBuf,
    /// Its key.
    pub key: VenvKey,
    /// The version of its Python, for the record: `3.11.7`.
    pub python: String,
}

/// What a finished environment was made on; another machine's, or one whose Python has changed, is made again.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Facts {
    root: PathBuf,
    interpreter: PathBuf,
    python: String,
}

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Requirements(#[from] RequirementsError),
    #[error("make the image folder {}: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("make the environment of {}: {source}; install Python 3 and its venv module, or put `python3` on PATH", file.display())]
    Python { file: PathBuf, source: SpawnError },
    #[error("make the environment of {}: `python3 -m venv` ended with {exit}{}; on Debian and Ubuntu it needs the package `python3-venv`", file.display(), log_tail::quote(last_lines))]
    Venv {
        file: PathBuf,
        exit: ExitFacts,
        last_lines: Vec<String>,
    },
    #[error("install {}: {cause}{}", file.display(), log_tail::quote(last_lines))]
    Install {
        file: PathBuf,
        cause: InstallCause,
        last_lines: Vec<String>,
    },
}

/// The key of `pypi:FILE`, for planning: reads the file, runs nothing.
pub fn venv_key(file: &Path) -> Result<VenvKey, RequirementsError> {
    Ok(Requirements::read(file)?.key())
}

/// Makes environments in one images folder.
#[derive(Clone, Debug)]
pub struct VenvMaker {
    guard: GuardBinary,
    images: PathBuf,
    environment: BTreeMap<String, String>,
}

impl VenvMaker {
    /// `environment` is the machine's; of it only what pip needs to reach its index is passed on.
    pub fn new(
        guard: GuardBinary,
        images: PathBuf,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let passed = |name: &str| AMBIENT.contains(&name) || PIP.contains(&name);
        let environment = environment.into_iter().filter(|(name, _)| passed(name)).collect();
        Self {
            guard,
            images,
            environment,
        }
    }

    /// The environment of a requirements file, made now unless it is there. `progress` gets a line at a time.
    ///
    /// Safe in any number of processes at once: one makes it, the others wait. May be dropped at any time, which ends
    /// what runs for it.
    pub async fn ensure(&self, file: &Path, mut progress: impl FnMut(&str)) -> Result<Venv, ImageError> {
        let key = venv_key(file)?;
        let folder = self.images.join(key.to_string());
        if let Some(venv) = published(&folder, key) {
            mark_used(&folder);
            return Ok(venv);
        }
        let in_folder = |source| ImageError::Folder {
            path: folder.clone(),
            source,
        };
        fs::create_dir_all(&folder).map_err(in_folder)?;
        let folder = folder.canonicalize().map_err(in_folder)?;
        let _lock = lock(&folder, &mut progress).await.map_err(in_folder)?;
        if let Some(venv) = published(&folder, key) {
            return Ok(venv);
        }
        remove_unfinished(&folder).map_err(in_folder)?;
        let root = new_build(&folder).map_err(in_folder)?;
        self.make(file, &folder, &root, &mut progress).await?;
        publish(&folder, &root).map_err(in_folder)?;
        published(&folder, key).ok_or_else(|| in_folder(io::Error::other("it was changed while it was made")))
    }

    async fn make(
        &self,
        file: &Path,
        folder: &Path,
        root: &Path,
        progress: &mut impl FnMut(&str),
    ) -> Result<(), ImageError> {
        let file = file.to_owned();
        let words = |argv: &[&str]| argv.iter().map(ToString::to_string).collect::<Vec<_>>();
        let path = |path: &Path| path.to_string_lossy().into_owned();

        let mut argv = words(&["python3", "-m", "venv"]);
        argv.push(path(root));
        let made = self.run(argv, folder, progress).await;
        let (exit, output) = made.map_err(|source| ImageError::Python {
            file: file.clone(),
            source,
        })?;
        if exit != ExitFacts::Code(0) {
            return Err(ImageError::Venv {
                file,
                exit,
                last_lines: output,
            });
        }
        let mut argv = vec![path(&root.join("bin/python"))];
        argv.extend(words(&[
            "-m",
            "pip",
            "install",
            "--require-hashes",
            "--no-deps",
            "--no-input",
        ]));
        argv.extend(words(&[
            "--disable-pip-version-check",
            "--no-color",
            "--progress-bar",
            "off",
            "-r",
        ]));
        argv.push(path(&std::path::absolute(&file).unwrap_or_else(|_| file.clone())));
        let installed = self.run(argv, folder, progress).await;
        let (exit, output) = installed.map_err(|source| ImageError::Python {
            file: file.clone(),
            source,
        })?;
        if exit != ExitFacts::Code(0) {
            let cause = InstallCause::read(exit, &output);
            let from = output.len().saturating_sub(QUOTED_LINES);
            return Err(ImageError::Install {
                file,
                cause,
                last_lines: output[from..].to_vec(),
            });
        }
        Ok(())
    }

    /// Runs a program under guard; gives how it ended and the last of what it said.
    async fn run(
        &self,
        argv: Vec<String>,
        folder: &Path,
        progress: &mut impl FnMut(&str),
    ) -> Result<(ExitFacts, Vec<String>), SpawnError> {
        let log_path = folder.join("install.log");
        let log = File::options().create(true).append(true).open(&log_path);
        let mut log = log.map_err(|source| SpawnError::Log {
            path: log_path,
            source,
        })?;
        let order = Order {
            argv,
            env: self.environment.clone(),
            cwd: folder.to_owned(),
            grace_ms: u64::try_from(GRACE.as_millis()).unwrap_or(u64::MAX),
        };
        let mut process = Guarded::spawn(&self.guard, &order, Output::Piped).await?;
        let mut output = BufReader::new(process.take_output().expect("the output is piped"));
        let mut recent = VecDeque::new();
        let mut bytes = Vec::new();
        // Ends when the guard does, which outlives all that could still write.
        while output
            .read_until(b'\n', &mut bytes)
            .await
            .is_ok_and(|read| read > 0)
        {
            // The log is for people; a full disk shows in what pip itself says.
            let _ = log.write_all(&bytes);
            let line = log_tail::shown(String::from_utf8_lossy(&bytes).trim_end_matches('\n'));
            bytes.clear();
            if !line.is_empty() {
                progress(&line);
                recent.push_back(line);
                if recent.len() > 10 * QUOTED_LINES {
                    recent.pop_front();
                }
            }
        }
        Ok((process.exited().await, recent.into()))
    }
}

/// The published environment, if it is whole and was made here, on the Python that is still there.
fn published(folder: &Path, key: VenvKey) -> Option<Venv> {
    let root = folder.join("venv").canonicalize().ok()?;
    let facts: Facts = serde_json::from_slice(&fs::read(root.join(FACTS)).ok()?).ok()?;
    let here = facts.root == root && interpreter(&root).is_ok_and(|python| python == facts.interpreter);
    here.then(|| Venv {
        bin: root.join("bin"),
        root,
        key,
        python: facts.python,
    })
}

/// The program behind an environment's `python`.
fn interpreter(root: &Path) -> io::Result<PathBuf> {
    root.join("bin/python").canonicalize()
}

/// Removes all but the lock. Only under the lock.
fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() == "lock" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            // A killed run's pip may live a moment longer and write into it: then the next one removes it.
            let _ = fs::remove_dir_all(entry.path());
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A folder for a new environment, made, under a name that no other build has had.
fn new_build(folder: &Path) -> io::Result<PathBuf> {
    for number in 0_u32.. {
        let path = folder.join(format!("build-{number}"));
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| path),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Makes a finished environment the published one. Its thousands of files are on the disk before the link is.
fn publish(folder: &Path, root: &Path) -> io::Result<()> {
    let facts = Facts {
        root: root.to_owned(),
        interpreter: interpreter(root)?,
        python: python_version(&fs::read_to_string(root.join("pyvenv.cfg"))?).unwrap_or_default(),
    };
    fs::write(root.join(FACTS), serde_json::to_vec(&facts)?)?;
    let handle = File::open(folder)?;
    rustix::fs::syncfs(&handle)?;
    let fresh = folder.join("venv.new");
    symlink(root.file_name().unwrap_or(root.as_os_str()), &fresh)?;
    fs::rename(&fresh, folder.join("venv"))?;
    handle.sync_all()
}

/// The `version` of a `pyvenv.cfg`.
fn python_version(config: &str) -> Option<String> {
    let value = |line: &str| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == "version").then(|| value.trim().to_owned())
    };
    config.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_pip_needs_is_passed_on() {
        let given = ["PATH", "PIP_INDEX_URL", "HF_TOKEN", "https_proxy", "PYTHONPATH"];
        let given = given.map(|name| (name.to_owned(), "x".to_owned()));
        let maker = VenvMaker::new(GuardBinary::this_program(), PathBuf::new(), given);
        let passed: Vec<&str> = maker.environment.keys().map(String::as_str).collect();
        assert_eq!(passed, ["PATH", "PIP_INDEX_URL", "https_proxy"]);
    }

    #[test]
    fn the_version_of_an_environment() {
        let config = "home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11.7\n";
        assert_eq!(python_version(config).as_deref(), Some("3.11.7"));
    }
}
