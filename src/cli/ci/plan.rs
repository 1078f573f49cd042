//! `sweep ci plan`: what is stale, dealt out to jobs.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::super::build::{note_of_evals, refuse_unrunnable};
use super::super::cache::CacheFolder;
use super::super::changed::ChangedArgs;
use super::super::failure::{Failure, print_all};
use super::super::null_build::append_step_summary;
use super::super::print::out;
use super::super::remote::{missing, open};
use super::super::report::counted;
use super::super::workspace::{Workspace, WorkspaceArgs, refuse_broken};
use super::handed::{Handed, PlanFileArg};
use super::matrix::{Job, MOST_BYTES, line, matrices, outputs};
use crate::cache::remote::fetch;
use crate::config::diagnostic::Diagnostic;
use crate::config::quantity::{Short, parse_duration};
use crate::config::sweepfile::Profile;
use crate::exec::foretell::foretell;
use crate::exec::run::unix_ms;
use crate::graph::{Graph, Selection};
use crate::plan::{Deal, Handover, PlannedShard, Policy, Shard};

/// Deal what is stale out to CI jobs, and print their matrix.
///
/// Prints a value for GitHub's `strategy.matrix` on standard output, one line for every 256 jobs, and writes the plan
/// to a file that the other jobs need. With `GITHUB_OUTPUT` set, the step gets the outputs `stale` (`true` or
/// `false`), `shards` (how many), `matrix` (the first matrix) and `matrices` (all of them).
///
/// Points that share a server stay together, unless a job alone would outlast `--longest`. Shards are balanced by
/// earlier records of their points.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep ci plan nightly --shards 8                           at most eight jobs
  sweep ci plan --per-pool                                   a job for each pool
  sweep ci plan --per-pool --shards 4                        at most four for each pool
  sweep ci plan --shards 8 --changed origin/main..HEAD       what new changelog entries ask for
  sweep ci plan --shards 8 | jq -r '.include[].shard'        the shards' ids

An empty matrix, {\"include\":[]}, means that nothing is stale. GitHub refuses one, so skip the job then:
  if: needs.plan.outputs.stale == 'true'")]
pub(super) struct CiPlanArgs {
    /// Patterns or names of sweeps; everything without any.
    patterns: Vec<String>,
    #[command(flatten)]
    changed: ChangedArgs,
    /// Deal to at most this many jobs; with `--per-pool`, of each pool.
    #[arg(long, value_name = "N", required_unless_present = "per_pool", value_parser = clap::value_parser!(u16).range(1..))]
    shards: Option<u16>,
    /// Give each job one pool to run on.
    #[arg(long)]
    per_pool: bool,
    /// How long a job may take: what alone takes longer is split.
    #[arg(long, value_name = "TIME", default_value = "6h", value_parser = parse_duration)]
    longest: Duration,
    /// Measure again what is selected, although there are results.
    #[arg(long)]
    rerun: bool,
    /// Results older than this are stale, as `7d` or `12h`.
    #[arg(long, value_name = "AGE", value_parser = parse_duration)]
    max_age: Option<Duration>,
    #[command(flatten)]
    file: PlanFileArg,
}

pub(super) fn run(arguments: &WorkspaceArgs, args: &CiPlanArgs) -> Result<ExitCode, Failure> {
    let workspace = Workspace::open(arguments)?;
    let (_, profile) = workspace.profile();
    let now_unix_ms = unix_ms();
    let policy = Policy {
        rerun: args.rerun,
        max_age: args.max_age,
        now_unix_ms,
    };
    // A commit that adds no changelog entry asks for nothing, which is no mistake of a job's.
    let select = |graph: &Graph| -> Result<Selection, Failure> {
        let added = args.changed.select_added(&workspace, graph, &args.patterns)?;
        Ok(added.unwrap_or_default())
    };
    if !args.rerun {
        take_from_remote(&workspace, select, policy)?;
    }
    let mut graph = workspace.graph();
    let selection = select(&graph)?;
    let store = workspace.store()?;
    let plan = workspace.plan(&mut graph, &selection, &store, policy)?;
    print_all(note_of_evals(selection.evals(&graph).count()).as_slice());
    refuse_broken(&graph, &selection)?;
    refuse_unrunnable(&workspace, &graph, &selection, &plan)?;
    let deal = Deal {
        shards: args.shards.map_or(1, usize::from),
        per_pool: args.per_pool,
        longest: args.longest,
    };
    let dealt = deal.deal(&plan.sessions, |session| {
        let server = graph.server(session.server);
        server.gpus * server.nodes
    });
    let handover = Handover::new(&graph, &selection, &dealt, not_before(args, now_unix_ms));
    let jobs: Vec<Job> = handover
        .shards
        .iter()
        .zip(&dealt)
        .map(|(planned, shard)| job(&graph, profile, planned, shard))
        .collect();
    let outputs = outputs(&jobs).map_err(|bytes| {
        Diagnostic::error(format!(
            "a matrix of {} jobs takes {bytes} bytes of a job's outputs, and GitHub takes {MOST_BYTES}",
            jobs.len()
        ))
        .help("ask for fewer `--shards`")
    })?;
    Handed::write(&handover, &args.file.path(&workspace.cache))?;
    set_outputs(&outputs)?;
    let stale: usize = plan.sessions.iter().map(|session| session.points.len()).sum();
    let fresh = selection.points.len() - stale;
    append_step_summary(&summary(&jobs, fresh));
    for matrix in matrices(&jobs) {
        out(&format!("{}\n", line(&matrix)));
    }
    eprint!("{}", told(&jobs, fresh));
    warn_of_long(&jobs, args.longest);
    Ok(ExitCode::SUCCESS)
}

/// What others have measured is no work for a job: it is taken first. A remote that does not give it leaves it to the
/// jobs, which is said.
fn take_from_remote(
    workspace: &Workspace,
    select: impl Fn(&Graph) -> Result<Selection, Failure>,
    policy: Policy,
) -> Result<(), Failure> {
    let Some(client) = open(&workspace.project.sweepfile.cache)? else {
        return Ok(());
    };
    let mut graph = workspace.graph();
    let selection = select(&graph)?;
    let mut store = CacheFolder::of(workspace).change(false)?;
    let plan = workspace.plan(&mut graph, &selection, &store, policy)?;
    let keys = missing(&graph, &store, &plan);
    let fetched = fetch(&client, &mut store, &keys)?;
    if fetched.results > 0 {
        let results = counted(fetched.results, "result");
        eprintln!("{results} taken from the remote cache");
    }
    let trouble = fetched.trouble.iter();
    let trouble = trouble.map(|reason| {
        let message = format!("the remote cache `{}`: {reason}", client.settings().url);
        Diagnostic::warning(message)
    });
    print_all(&trouble.collect::<Vec<_>>());
    Ok(())
}

/// The time before which results are stale: now, or the greatest age ago.
fn not_before(args: &CiPlanArgs, now_unix_ms: u64) -> Option<u64> {
    let age_ms = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    match (args.rerun, args.max_age) {
        (true, _) => Some(now_unix_ms),
        (false, age) => age.map(|age| now_unix_ms.saturating_sub(age_ms(age))),
    }
}

fn job(graph: &Graph, profile: &Profile, planned: &PlannedShard, shard: &Shard) -> Job {
    let points = planned.benches.len();
    let servers = shard.sessions.len();
    let estimate = foretell(graph, &shard.sessions, profile).map(|schedule| schedule.makespan);
    let place = planned
        .id
        .rsplit_once('-')
        .map_or(planned.id.as_str(), |(place, _)| place);
    Job {
        name: format!(
            "{place}: {} on {}",
            counted(points, "point"),
            counted(servers, "server")
        ),
        shard: planned.id.clone(),
        pool: planned.pool.clone().unwrap_or_default(),
        points,
        servers,
        estimate_ms: estimate.map(|length| length.as_millis() as u64),
    }
}

/// Tells the step's outputs to GitHub, if it is there.
fn set_outputs(outputs: &str) -> Result<(), Failure> {
    let Some(path) = std::env::var_os("GITHUB_OUTPUT").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(outputs.as_bytes()))
        .map_err(|error| Failure::machinery(format!("write the step's outputs: {error}")))
}

fn length(job: &Job) -> String {
    job.estimate_ms.map_or_else(
        || "unknown".to_owned(),
        |ms| Short(Duration::from_millis(ms)).to_string(),
    )
}

fn nothing_or(jobs: &[Job], fresh: usize) -> String {
    match jobs.len() {
        0 => format!("nothing is stale: {} from the cache", counted(fresh, "point")),
        count => format!(
            "{} to measure in {}, {fresh} from the cache",
            counted(jobs.iter().map(|job| job.points).sum(), "point"),
            counted(count, "shard")
        ),
    }
}

fn told(jobs: &[Job], fresh: usize) -> String {
    let mut text = format!("{}\n", nothing_or(jobs, fresh));
    for job in jobs {
        let _ = writeln!(text, "  {}  {}, {}", job.shard, job.name, length(job));
    }
    text
}

/// The same for the job's page.
fn summary(jobs: &[Job], fresh: usize) -> String {
    let mut text = format!("{}\n", nothing_or(jobs, fresh));
    if !jobs.is_empty() {
        text.push_str("\n| shard | points | servers | time |\n|---|--:|--:|--:|\n");
    }
    for job in jobs {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            job.shard,
            job.points,
            job.servers,
            length(job)
        );
    }
    text
}

fn warn_of_long(jobs: &[Job], longest: Duration) {
    let longer = |job: &&Job| {
        job.estimate_ms
            .is_some_and(|ms| u128::from(ms) > longest.as_millis())
    };
    let warnings: Vec<_> = jobs
        .iter()
        .filter(longer)
        .map(|job| {
            Diagnostic::warning(format!(
                "shard `{}` takes {}, longer than the {} that a job may take",
                job.shard,
                length(job),
                Short(longest)
            ))
            .help("ask for more `--shards`, or allow jobs more time with `--longest`")
        })
        .collect();
    print_all(&warnings);
}
