//! `sweep inferencex`: InferenceX's own tools, with their flags and their output.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use super::failure::{Failure, print_all};
use super::print::out;
use super::workspace::{Workspace, WorkspaceArgs};
use crate::config::diagnostic::Diagnostics;
use crate::inferencex::{
    self, ChangelogSweep, Dict, EvalOrder, Evals, Filters, FullSweep, Layout, Masters, Occasion, Policy,
    PriorityError, PyValue, Runners, TestConfig, dumps,
};

const EXAMPLES: &str = "Examples:
  sweep inferencex full-sweep --config-files configs/nvidia-master.yaml configs/amd-master.yaml
  sweep inferencex test-config --config-keys 'dsr1-*' --config-files configs/*-master.yaml
  sweep inferencex process-changelog --base-ref origin/main --head-ref HEAD --changelog-file perf-changelog.yaml

Run them where the Python tools ran: paths are relative to the current folder.";

/// InferenceX's own tools, drop-in: the same flags, files and output.
#[derive(Debug, Args)]
#[command(
    infer_long_args = true,
    subcommand_required = true,
    after_help = EXAMPLES
)]
pub(super) struct InferencexArgs {
    #[command(subcommand)]
    tool: Tool,
}

// The same, without the flags that every other command of sweep has: an abbreviation that is unambiguous to the Python
// tool is so here.
#[derive(Debug, Parser)]
#[command(
    bin_name = "sweep inferencex",
    about = "InferenceX's own tools, drop-in: the same flags, files and output",
    after_help = EXAMPLES,
    infer_long_args = true
)]
struct StandAlone {
    #[command(flatten)]
    args: InferencexArgs,
}

#[derive(Debug, Subcommand)]
enum Tool {
    FullSweep(FullSweepArgs),
    TestConfig(TestConfigArgs),
    ProcessChangelog(ProcessChangelogArgs),
    ValidateChangelog(ValidateChangelogArgs),
    CiPriority(CiPriorityArgs),
    ProcessResult(ProcessResultArgs),
    CollectResults(CollectResultsArgs),
    CollectEvals(CollectEvalsArgs),
    SuccessRate(SuccessRateArgs),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Sequence {
    #[value(name = "1k1k")]
    OneToOne,
    #[value(name = "8k1k")]
    EightToOne,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ScenarioType {
    FixedSeqLen,
    AgenticCoding,
}

/// What both generators take.
#[derive(Debug, Args)]
struct MatrixArgs {
    /// Master configs, merged in this order.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    config_files: Vec<PathBuf>,
    #[arg(long, value_name = "FILE", default_value = inferencex::RUNNER_CONFIG)]
    runner_config: PathBuf,
    /// Mark no row for evaluation.
    #[arg(long, conflicts_with = "evals_only")]
    no_evals: bool,
    /// Only the rows that are evaluated.
    #[arg(long)]
    evals_only: bool,
    /// Only evaluated rows, and of these all that can be.
    #[arg(long)]
    all_evals: bool,
    /// A row for each node whose name contains this.
    #[arg(long, value_name = "TEXT")]
    runner_node_filter: Option<String>,
    #[arg(long, num_args = 1.., value_enum, value_name = "TYPE")]
    scenario_type: Vec<ScenarioType>,
    /// Lengths of fixed-length rows; agentic rows stay.
    #[arg(long, num_args = 1.., value_enum, value_name = "LENGTHS")]
    seq_lens: Vec<Sequence>,
}

/// Print the matrix of all master configs, within limits, as JSON.
#[derive(Debug, Args)]
#[command(
    infer_long_args = true,
    args_override_self = true,
    allow_negative_numbers = true
)]
struct FullSweepArgs {
    #[command(flatten)]
    matrix: MatrixArgs,
    /// Beginnings of config keys.
    #[arg(long, num_args = 1.., value_name = "PREFIX")]
    model_prefix: Vec<String>,
    #[arg(long, num_args = 1..)]
    precision: Vec<String>,
    #[arg(long, num_args = 1..)]
    framework: Vec<String>,
    #[arg(long, num_args = 1.., value_name = "LABEL")]
    runner_type: Vec<String>,
    /// Factor between the points of a concurrency range.
    #[arg(long, value_parser = python_int, default_value = "2", value_name = "N")]
    step_size: i64,
    #[arg(long, value_parser = python_int, value_name = "N")]
    min_conc: Option<i64>,
    #[arg(long, value_parser = python_int, value_name = "N")]
    max_conc: Option<i64>,
    #[arg(long, value_parser = python_int, value_name = "N")]
    max_tp: Option<i64>,
    #[arg(long, value_parser = python_int, value_name = "N")]
    max_ep: Option<i64>,
    #[arg(long)]
    single_node: bool,
    #[arg(long)]
    multi_node: bool,
}

/// Print the matrix of named configs as JSON.
#[derive(Debug, Args)]
#[command(
    infer_long_args = true,
    args_override_self = true,
    allow_negative_numbers = true
)]
struct TestConfigArgs {
    #[command(flatten)]
    matrix: MatrixArgs,
    /// Keys, or patterns with `*` or `?`.
    #[arg(long, required = true, num_args = 1.., value_name = "KEY")]
    config_keys: Vec<String>,
    /// Concurrency points to keep.
    #[arg(long, num_args = 1.., value_parser = python_int, value_name = "N")]
    conc: Vec<i64>,
}

/// The revisions and the file that a changelog is read between.
#[derive(Debug, Args)]
struct ChangelogArgs {
    #[arg(long, value_name = "REVISION")]
    base_ref: String,
    #[arg(long, value_name = "REVISION")]
    head_ref: String,
    /// Evaluate every row that can be, beside the throughput rows.
    #[arg(long)]
    all_evals: bool,
    /// No throughput rows.
    #[arg(long)]
    evals_only: bool,
}

/// Print the jobs of the entries that were added to the changelog, as JSON.
#[derive(Debug, Args)]
#[command(infer_long_args = true, args_override_self = true)]
struct ProcessChangelogArgs {
    #[command(flatten)]
    changelog: ChangelogArgs,
    #[arg(long, value_name = "FILE")]
    changelog_file: PathBuf,
    /// Keep one concurrency point a deployment, the lowest.
    #[arg(long)]
    trim_conc: bool,
}

/// Say whether the changelog ends as it must and its additions make a matrix.
#[derive(Debug, Args)]
#[command(infer_long_args = true, args_override_self = true)]
struct ValidateChangelogArgs {
    #[command(flatten)]
    changelog: ChangelogArgs,
    #[arg(long, value_name = "FILE", default_value = "perf-changelog.yaml")]
    changelog_file: PathBuf,
}

/// Print a matrix with a priority and a queue token for each job.
#[derive(Debug, Args)]
#[command(
    infer_long_args = true,
    args_override_self = true,
    allow_negative_numbers = true
)]
struct CiPriorityArgs {
    #[arg(long, value_name = "FILE", default_value = "configs/ci-priority.yaml")]
    policy: PathBuf,
    /// Such as `push`.
    #[arg(long, default_value = "", value_name = "NAME")]
    event_name: String,
    /// The pull request's labels, a JSON array.
    #[arg(long, default_value = "[]", value_name = "JSON")]
    labels_json: String,
    #[arg(long, default_value = "local", value_name = "TEXT")]
    queue_namespace: String,
    #[arg(long, value_parser = python_int, value_name = "N")]
    pr_number: Option<i64>,
    /// The facts that a classifier found, a JSON array.
    #[arg(long, default_value = "", value_name = "JSON")]
    criteria_json: String,
    /// The matrix; standard input without this.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
}

/// Make the aggregate row of `<RESULT_FILENAME>.json`, as the job's environment describes it.
#[derive(Debug, Args)]
struct ProcessResultArgs {}

/// Put all JSON files below a folder into `agg_<NAME>.json`.
#[derive(Debug, Args)]
struct CollectResultsArgs {
    #[arg(value_name = "DIR")]
    results: PathBuf,
    name: String,
}

/// Put all lm-eval results below a folder into `agg_eval_<NAME>.json` and print their tables.
#[derive(Debug, Args)]
struct CollectEvalsArgs {
    #[arg(value_name = "DIR")]
    results: PathBuf,
    name: String,
    /// `model_prefix` or `hw`.
    #[arg(default_value = "model_prefix")]
    sort_by: String,
}

/// Write `<NAME>.json` with how often benchmarks succeeded on each runner label, from this project's records.
#[derive(Debug, Args)]
struct SuccessRateArgs {
    #[arg(default_value = "run_stats")]
    name: String,
}

/// Runs what stands behind `sweep inferencex`.
pub(super) fn main(words: &[OsString]) -> ExitCode {
    match StandAlone::try_parse_from(words) {
        Ok(stand_alone) => {
            let here = WorkspaceArgs {
                directory: None,
                profile: None,
            };
            run(&here, &stand_alone.args).unwrap_or_else(|failure| failure.report())
        }
        Err(error) => match ambiguous(words).filter(|_| error.kind() == ErrorKind::UnknownArgument) {
            Some(message) => Failure::wrong(message).report(),
            None => error.exit(),
        },
    }
}

/// Which flags an abbreviation could stand for, where it is several.
fn ambiguous(words: &[OsString]) -> Option<String> {
    let command = StandAlone::command();
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let tool = words.iter().find_map(|word| command.find_subcommand(word))?;
    let flags = words.iter().filter_map(|word| word.strip_prefix("--"));
    flags.filter(|flag| !flag.is_empty()).find_map(|flag| {
        let flag = flag.split('=').next().unwrap_or(flag);
        let longs = tool.get_arguments().filter_map(clap::Arg::get_long);
        let fits: Vec<_> = longs.filter(|long| long.starts_with(flag)).collect();
        let is_ambiguous = fits.len() > 1 && !fits.contains(&flag);
        is_ambiguous.then(|| format!("ambiguous option: --{flag} could match --{}", fits.join(", --")))
    })
}

pub(super) fn run(workspace: &WorkspaceArgs, args: &InferencexArgs) -> Result<ExitCode, Failure> {
    match &args.tool {
        Tool::FullSweep(args) => full_sweep(args),
        Tool::TestConfig(args) => test_config(args),
        Tool::ProcessChangelog(args) => process_changelog(args),
        Tool::ValidateChangelog(args) => Ok(validate_changelog(args)),
        Tool::CiPriority(args) => ci_priority(args),
        Tool::ProcessResult(_) => process_result(),
        Tool::CollectResults(args) => collect_results(args),
        Tool::CollectEvals(args) => collect_evals(args),
        Tool::SuccessRate(args) => success_rate(workspace, args),
    }
}

fn full_sweep(args: &FullSweepArgs) -> Result<ExitCode, Failure> {
    let filters = args.matrix.filters()?;
    if args.step_size <= 1 {
        return Err(Failure::wrong("--step-size must be greater than 1"));
    }
    if let (Some(min), Some(max)) = (args.min_conc, args.max_conc)
        && min > max
    {
        return Err(Failure::wrong(
            "--min-conc must be less than or equal to --max-conc",
        ));
    }
    let either = args.single_node || args.multi_node;
    let sweep = FullSweep {
        model_prefixes: args.model_prefix.clone(),
        precisions: args.precision.clone(),
        frameworks: args.framework.clone(),
        runner_types: args.runner_type.clone(),
        step_size: args.step_size,
        min_conc: args.min_conc,
        max_conc: args.max_conc,
        max_tp: args.max_tp,
        max_ep: args.max_ep,
        single_node: args.single_node || !either,
        multi_node: args.multi_node || !either,
    };
    let (masters, runners) = args.matrix.read()?;
    print_rows(inferencex::full_sweep(&masters, &runners, &filters, &sweep)?);
    Ok(ExitCode::SUCCESS)
}

fn test_config(args: &TestConfigArgs) -> Result<ExitCode, Failure> {
    let filters = args.matrix.filters()?;
    let test = TestConfig {
        config_keys: args.config_keys.clone(),
        concs: args.conc.clone(),
    };
    let (masters, runners) = args.matrix.read()?;
    print_rows(inferencex::test_config(&masters, &runners, &filters, &test)?);
    Ok(ExitCode::SUCCESS)
}

fn process_changelog(args: &ProcessChangelogArgs) -> Result<ExitCode, Failure> {
    let sweep = args.changelog.sweep(&args.changelog_file, args.trim_conc);
    let mut notes = Diagnostics::default();
    let jobs = inferencex::process_changelog(Path::new(""), &sweep, &mut notes)?;
    print_all(&notes.0);
    out(&(dumps(&jobs, Layout::Model) + "\n"));
    Ok(ExitCode::SUCCESS)
}

fn validate_changelog(args: &ValidateChangelogArgs) -> ExitCode {
    let sweep = args.changelog.sweep(&args.changelog_file, false);
    match inferencex::validate_changelog(Path::new(""), &sweep) {
        Ok(()) => {
            let file = args.changelog_file.display();
            out(&format!(
                "Validated {file}: final newline present and matrix generated\n"
            ));
            ExitCode::SUCCESS
        }
        Err(invalid) => {
            eprintln!("ERROR: {invalid}");
            ExitCode::FAILURE
        }
    }
}

fn ci_priority(args: &CiPriorityArgs) -> Result<ExitCode, Failure> {
    let occasion = Occasion {
        event_name: args.event_name.clone(),
        labels: inferencex::strings("--labels-json", &args.labels_json)
            .map_err(priority_failure)?
            .unwrap_or_default(),
        queue_namespace: args.queue_namespace.clone(),
        pr_number: args.pr_number,
        criteria: inferencex::strings("--criteria-json", &args.criteria_json).map_err(priority_failure)?,
    };
    let policy = Policy::read(&args.policy).map_err(priority_failure)?;
    let (name, text) = match &args.input {
        Some(path) => (path.display().to_string(), std::fs::read_to_string(path)),
        None => (
            "standard input".to_owned(),
            std::io::read_to_string(std::io::stdin()),
        ),
    };
    let text = text.map_err(|error| Failure::wrong(format!("could not read {name}: {error}")))?;
    let matrix = inferencex::read_matrix(&name, &text)?;
    let annotated = policy.annotate(&matrix, &occasion).map_err(priority_failure)?;
    out(&(dumps(&annotated, Layout::Compact) + "\n"));
    Ok(ExitCode::SUCCESS)
}

fn priority_failure(error: PriorityError) -> Failure {
    match error {
        PriorityError::Unreadable(diagnostics) => diagnostics.into(),
        other => Failure::wrong(other),
    }
}

fn process_result() -> Result<ExitCode, Failure> {
    let env = |name: &str| std::env::var(name).ok();
    let zone = inferencex::local_time_zone(env("TZ").as_deref());
    let processed = inferencex::process_result(Path::new(""), &env, &zone).map_err(Failure::wrong)?;
    for note in &processed.notes {
        eprintln!("{note}");
    }
    out(&(processed.row + "\n"));
    Ok(if processed.lacks_power {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn collect_results(args: &CollectResultsArgs) -> Result<ExitCode, Failure> {
    inferencex::collect_results(Path::new(""), &args.results, &args.name).map_err(Failure::wrong)?;
    Ok(ExitCode::SUCCESS)
}

fn collect_evals(args: &CollectEvalsArgs) -> Result<ExitCode, Failure> {
    let order = match args.sort_by.as_str() {
        "hw" => EvalOrder::Hardware,
        _ => EvalOrder::ModelPrefix,
    };
    let tables = inferencex::collect_evals(Path::new(""), &args.results, &args.name, order);
    out(&tables.map_err(Failure::wrong)?);
    Ok(ExitCode::SUCCESS)
}

fn success_rate(workspace: &WorkspaceArgs, args: &SuccessRateArgs) -> Result<ExitCode, Failure> {
    let workspace = Workspace::open(workspace)?;
    let graph = workspace.graph();
    let runners: HashMap<String, &str> = graph
        .points
        .iter()
        .map(|point| (point.id(), point.runner.as_str()))
        .collect();
    let runner_of = |id: &str| runners.get(id).map(|runner| (*runner).to_owned());
    let rates = inferencex::success_rates(&workspace.store()?, &runner_of);
    let text = dumps(&inferencex::run_stats(&rates), Layout::Indented);
    let path = format!("{}.json", args.name);
    std::fs::write(&path, text)
        .map_err(|error| Failure::machinery(format!("could not write {path}: {error}")))?;
    Ok(ExitCode::SUCCESS)
}

fn print_rows(rows: Vec<Dict>) {
    let rows = PyValue::List(rows.into_iter().map(PyValue::Dict).collect());
    out(&(dumps(&rows, Layout::Line) + "\n"));
}

impl MatrixArgs {
    fn filters(&self) -> Result<Filters, Failure> {
        if self.no_evals && self.all_evals {
            return Err(Failure::wrong("--all-evals cannot be combined with --no-evals"));
        }
        let evals = if self.all_evals {
            Evals::All
        } else if self.evals_only {
            Evals::Only
        } else if self.no_evals {
            Evals::None
        } else {
            Evals::Marked
        };
        let lengths = |sequence: &Sequence| match sequence {
            Sequence::OneToOne => (1024, 1024),
            Sequence::EightToOne => (8192, 1024),
        };
        let kind = |kind: &ScenarioType| match kind {
            ScenarioType::FixedSeqLen => "fixed-seq-len".to_owned(),
            ScenarioType::AgenticCoding => "agentic-coding".to_owned(),
        };
        Ok(Filters {
            evals,
            runner_node_filter: self.runner_node_filter.clone(),
            scenario_types: self.scenario_type.iter().map(kind).collect(),
            sequences: self.seq_lens.iter().map(lengths).collect(),
        })
    }

    fn read(&self) -> Result<(Masters, Runners), Failure> {
        let mut notes = Diagnostics::default();
        let masters = inferencex::read_masters(&self.config_files, &mut notes)?;
        let runners = Runners::read(&self.runner_config, &mut notes)?;
        print_all(&notes.0);
        Ok((masters, runners))
    }
}

impl ChangelogArgs {
    fn sweep(&self, changelog: &Path, trim_conc: bool) -> ChangelogSweep {
        ChangelogSweep {
            base_ref: self.base_ref.clone(),
            head_ref: self.head_ref.clone(),
            changelog: changelog.to_owned(),
            trim_conc,
            all_evals: self.all_evals,
            evals_only: self.evals_only,
        }
    }
}

fn python_int(text: &str) -> Result<i64, String> {
    inferencex::python_int(text).ok_or_else(|| format!("invalid int value: '{text}'"))
}
