//! A combined script at work: run once for its point, it starts a server of its own, measures it and writes a result.
//!
//! It is guarded as a server is: whatever it started is gone before its point ends. What counts is the file that its
//! client wrote; an exit without one is a failure, whatever its code.

use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::Map;
use tokio::time::timeout;

use super::attempt_result;
use super::event::Event;
use super::guard::ExitFacts;
use super::launch::{LaunchError, ReadyImage, Start, launch};
use super::ledger::Ledger;
use super::log_tail::last_lines;
use super::measured::Measured;
use super::port::{PortError, ensure_free, free_port};
use super::process::{Owned, SpawnError};
use super::run::{Attempt, Began};
use super::session::{INTERRUPTED, Step};
use super::signals::Interrupt;
use super::started::{End, EndError, Started};
use crate::cache::{FsError, fs};
use crate::config::quantity::Short;
use crate::config::recipe::RESULT_FILE;
use crate::graph::spec::{Client, Image};
use crate::inferencex::{gpu_power, local_time_zone};
use crate::results::{AggregateError, ClientFileError, Expected, GPU_POWER, Object, aggregate, client_file};

/// What the script itself prints, in its attempt's folder.
const LOG: &str = "bench.log";

/// The name that InferenceX's scripts give their server's log, in the folder where they run.
const SERVER_LOG: &str = "server.log";

/// The name that they give to what they watched of their GPUs.
const GPU_METRICS: &str = "gpu_metrics.csv";

/// How many of a log's last lines go into a message, and into the record of a failure.
const QUOTED_LINES: usize = 12;
const KEPT_LINES: usize = 200;

/// Why a script gave no measurement.
#[derive(Debug, thiserror::Error)]
enum ScriptError {
    #[error("interrupted")]
    Interrupted,
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error("find a free port: {0}")]
    NoPort(#[from] std::io::Error),
    #[error(transparent)]
    Port(#[from] PortError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error(transparent)]
    Stuck(#[from] EndError),
    #[error("{0}")]
    Machinery(String),
    #[error("the script failed ({end}){words}")]
    Failed { end: End, words: String },
    #[error("the script did not end within {}{words}", Short(*within))]
    Late { within: Duration, words: String },
    #[error("the script ended well and wrote no `{RESULT_FILE}`{words}")]
    NoResult { words: String },
    #[error("`{RESULT_FILE}` of the script is no result: {0}")]
    Result(#[from] ClientFileError),
    #[error("`{RESULT_FILE}` of the script makes no row: {0}")]
    Row(#[from] AggregateError),
    #[error("the image is the simulated engine, and `{RESULT_FILE}` does not say `\"simulated\": true`")]
    NotSimulated,
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl ScriptError {
    /// Whether it counts against the machinery rather than the script.
    fn is_machinery(&self) -> bool {
        match self {
            Self::Machinery(_) | Self::Stuck(EndError::Container(_)) => true,
            Self::Launch(error) => error.is_machinery(),
            _ => false,
        }
    }
}

/// Runs the script for its point, and keeps what comes of it.
///
/// The error is the machinery's: the point has no ending yet.
pub(super) async fn measure(ledger: &mut Ledger<'_>, step: &Step, start: u32) -> Result<(), String> {
    let began = Began::now();
    let attempt = match ledger.run.attempt(&step.bench_id) {
        Ok(attempt) => attempt,
        Err(error) => {
            ledger.fail(step, &error.to_string(), "", began).await;
            return Ok(());
        }
    };
    let mut owned = None;
    let ran = run(ledger, step, &attempt, &mut owned).await;
    if matches!(ran, Err(ScriptError::Stuck(_))) {
        ledger.done.server_lives = true;
    } else {
        // A quiet one has this machine to itself, also while the disk is written.
        ledger.may_leave = !ledger.job.quiet && ledger.job.steps.len() == 1;
        if let Some(owned) = owned {
            // What stays journalled is looked for once more, and not found.
            let _ = ledger.run.releases(&owned);
        }
    }
    match ran.and_then(|()| judge(ledger, step, &attempt)) {
        Ok((measured, no_power)) => {
            let facts = no_power.map(|reason| ("power".to_owned(), reason));
            let prepared = ledger.prepare(step, measured, began, &attempt, start, facts);
            ledger.pass(step, prepared, began, &attempt).await;
        }
        Err(ScriptError::Interrupted) => ledger.skip(step, INTERRUPTED),
        Err(error) if error.is_machinery() => return Err(error.to_string()),
        Err(error) => {
            let words = last_lines(&attempt.path.join(LOG), 0, KEPT_LINES).join("\n");
            ledger.fail(step, &error.to_string(), &words, began).await;
        }
    }
    Ok(())
}

/// Starts the script and waits until it and all that it started are gone. What it was is told as soon as it is started.
async fn run(
    ledger: &Ledger<'_>,
    step: &Step,
    attempt: &Attempt,
    started: &mut Option<Owned>,
) -> Result<(), ScriptError> {
    let (run, place) = (ledger.run, ledger.place);
    let handling = &ledger.job.server.handling;
    // Held until the script is gone, so that no other of this build gets it.
    let (_reserved, port) = match handling.port {
        Some(port) => {
            ensure_free(port)?;
            (None, port)
        }
        None => {
            let port = free_port()?;
            let number = port.number();
            (Some(port), number)
        }
    };
    run.say(Event::ScriptStarted {
        target: step.bench_id.clone(),
        session: ledger.job.index,
        pool: place.pool.clone(),
        node: place.nodes.clone(),
        gpus: place.gpus.clone(),
        port,
        folder: attempt.folder.clone(),
    });
    let start = Start {
        port,
        attempt,
        left: None,
    };
    let launch = launch(run, &ledger.job.server, ledger.image, place, start)?;
    let grace = Duration::from_millis(launch.order.grace_ms);
    let log = attempt.path.join(LOG);
    let mut script = Started::spawn_among(&run.guards, launch, &log).await?;
    let owned = started.insert(script.owned().clone());
    if let Err(error) = run.owns(owned) {
        script.stop(Duration::ZERO).await?;
        return Err(error.into());
    }
    let ended = tokio::select! {
        ended = timeout(handling.within, script.ended()) => ended.map_err(|_| ScriptError::Late {
            within: handling.within,
            words: last_words(attempt),
        }),
        () = run.interrupts.reached(Interrupt::Graceful) => Err(ScriptError::Interrupted),
    };
    let stopped = tokio::select! {
        stopped = script.stop(grace) => Some(stopped),
        () = run.interrupts.reached(Interrupt::Now) => None,
    };
    match stopped {
        Some(stopped) => stopped?,
        None => script.stop(Duration::ZERO).await?,
    };
    attempt.remove_temporary(run.path());
    match ended? {
        End::Exit(ExitFacts::Code(0)) => Ok(()),
        End::Machinery(reason) => Err(ScriptError::Machinery(reason)),
        end => Err(ScriptError::Failed {
            end,
            words: last_words(attempt),
        }),
    }
}

/// Reads what the script's client wrote. It stays where it is: there a later build would adopt it, unless power was added
/// to it. Gives with it why there is no power in it, although the script watched its GPUs.
fn judge(
    ledger: &Ledger<'_>,
    step: &Step,
    attempt: &Attempt,
) -> Result<(Measured, Option<String>), ScriptError> {
    let bytes = fs::read(&attempt.path.join("work").join(RESULT_FILE))?;
    let bytes = bytes.ok_or_else(|| ScriptError::NoResult {
        words: last_words(attempt),
    })?;
    let Client::Script { failed_share } = step.bench.client else {
        unreachable!("a combined script is its point's client")
    };
    let expected = Expected {
        concurrency: step.point.conc.into(),
        failed_share,
    };
    let mut file = client_file(&bytes, expected)?;
    let no_power = add_power(&mut file, &bytes, ledger, attempt);
    let with_power = file
        .get(GPU_POWER)
        .map(|_| serde_json::to_vec(&file).expect("a result has text keys and finite numbers"));
    aggregate(&step.point, &file)?;
    let is_changed = with_power.is_some();
    let measured = Measured::of_client_file(&step.bench.client, with_power.unwrap_or(bytes), file);
    if ledger.job.server.image == Image::Builtin && !measured.is_simulated() {
        return Err(ScriptError::NotSimulated);
    }
    if is_changed {
        let written = attempt_result::write_output(&attempt.path, measured.output, &measured.bytes);
        ledger.run.written(written)?;
    }
    Ok((measured, no_power))
}

/// Adds the energy that a monitor of the GPUs saw, if the script ran one. Gives why there is none although it did.
fn add_power(file: &mut Object, result: &[u8], ledger: &Ledger<'_>, attempt: &Attempt) -> Option<String> {
    let csv = attempt.path.join("work").join(GPU_METRICS);
    if !csv.is_file() {
        return None;
    }
    let zone = match ledger.image {
        // An image without a zone of its own, as most are.
        ReadyImage::Container { .. } => TimeZone::UTC,
        ReadyImage::Builtin | ReadyImage::Venv { .. } => local_time_zone(None),
    };
    match gpu_power(result, &csv, ledger.job.server.gpus, &zone) {
        Ok(fields) => {
            let fields = fields.into_iter();
            let fields = fields.map(|(name, value)| (name.to_owned(), value.into()));
            file.set(GPU_POWER, fields.collect::<Map<_, _>>());
            None
        }
        Err(reasons) => Some(format!("not valid: {}", reasons.join(", "))),
    }
}

/// The ends of what the script and its server printed, as the tail of a message.
fn last_words(attempt: &Attempt) -> String {
    let quoted = |whose: &str, path: &Path| match last_lines(path, 0, QUOTED_LINES) {
        lines if lines.is_empty() => String::new(),
        lines => format!("; its {whose}'s last lines:\n  | {}", lines.join("\n  | ")),
    };
    let own = quoted("log", &attempt.path.join(LOG));
    let server = quoted("server log", &attempt.path.join("work").join(SERVER_LOG));
    match own + &server {
        none if none.is_empty() => "; it printed nothing".to_owned(),
        words => words,
    }
}
