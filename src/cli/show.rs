//! `sweep show`: what goes into a target's key, one by one.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::failure::Failure;
use super::ls::Format;
use super::print::{json, out};
use super::report::counted;
use super::workspace::{Workspace, WorkspaceArgs};
use crate::cache::{Inputs, Key, RecordRef, Store};
use crate::graph::{Chain, Graph, Spec, TargetId};
use crate::plan::{Judge, Policy, process_inputs};

/// Show one target: its inputs, its key, what it needs and what its last record says.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep show dsr1-fp8-h200-sglang/8k1k/tp8/c64           a point's bench
  sweep show server:dsr1-fp8-h200-sglang/8k1k/tp8/c64    the server that it runs on
  sweep show collect:nightly                             the rows that a sweep collects
  sweep show process:dsr1-fp8-h200-sglang/8k1k/tp8/c64 --format json")]
pub(super) struct ShowArgs {
    /// A target's id, a point's id for its bench, or `collect:SWEEP`.
    pub target: String,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Serialize)]
struct Shown<'a> {
    target: &'a TargetId,
    /// Absent where an input is the content of something that is not built yet.
    key: Option<Key>,
    inputs: Option<Inputs>,
    needs: Vec<&'a TargetId>,
    needed_by: usize,
    /// The record that makes it fresh, where that is not the last one, as after a revert.
    in_use: Option<Told>,
    /// The last record of the target's name.
    last: Option<Told>,
}

/// A record of the target.
#[derive(Serialize)]
struct Told {
    same_key: bool,
    passed: bool,
    run: String,
    host: String,
    started_unix_ms: u64,
    elapsed_ms: u64,
    simulated: bool,
    facts: std::collections::BTreeMap<String, String>,
}

pub(super) fn run(workspace: &WorkspaceArgs, args: &ShowArgs) -> Result<ExitCode, Failure> {
    let workspace = Workspace::open(workspace)?;
    let mut graph = workspace.graph();
    let store = workspace.store()?;
    let (id, of_sweep) = match Workspace::sweep_words(&store, &args.target) {
        None => (workspace.target(&graph, &args.target)?, None),
        Some((kind, words)) => {
            let selection = workspace.select(&graph, &words)?;
            let plan = workspace.plan(&mut graph, &selection, &store, Policy::default())?;
            (
                TargetId::new(kind, &selection.name),
                plan.sweep_inputs(&graph, kind),
            )
        }
    };
    let shown = shown(&graph, &store, &id, of_sweep)?;
    match args.format {
        Format::Json => json(&shown),
        Format::Text => out(&text(&shown)),
    }
    Ok(ExitCode::SUCCESS)
}

/// `of_sweep`: the inputs of a collection or a summary, which follow from what is selected.
fn shown<'a>(
    graph: &'a Graph,
    store: &Store,
    id: &'a TargetId,
    of_sweep: Option<Inputs>,
) -> Result<Shown<'a>, Failure> {
    let node = graph
        .find(id)
        .ok_or_else(|| Failure::machinery(format!("`{id}` is not in the graph")))?;
    let judge = Judge {
        graph,
        store,
        policy: Policy::default(),
    };
    let inputs = match &graph.dag[node].spec {
        Spec::Image(server) => Some(server.image_inputs()),
        Spec::Server { server, .. } => Some(server.inputs()),
        Spec::Bench { server, bench, .. } => Some(bench.inputs(server)),
        Spec::Process { point } => {
            let chain = graph.chains[*point].as_ref().ok();
            let trace = match chain {
                Some(chain) => store
                    .lookup(&judge.bench_inputs(chain).key())?
                    .and_then(|record| record.head().outputs().next().map(|(digest, _)| digest)),
                None => None,
            };
            let output = |chain: &Chain| graph.bench(chain.bench).client.output();
            let output = chain.map(output);
            trace
                .zip(output)
                .map(|(trace, output)| process_inputs(&graph.points[*point], output, trace))
        }
        Spec::Eval { server, eval, .. } => Some(eval.inputs(server)),
        Spec::Collect | Spec::Summarize => of_sweep,
    };
    let key = inputs.as_ref().map(Inputs::key);
    let told = |record: RecordRef<'_>| {
        let head = record.head();
        let decoded = record.decode().ok()?;
        Some(Told {
            same_key: Some(head.key) == key,
            passed: head.passed,
            run: decoded.provenance.run,
            host: decoded.provenance.host,
            started_unix_ms: head.started_unix_ms,
            elapsed_ms: head.elapsed_ms,
            simulated: head.simulated,
            facts: decoded.facts,
        })
    };
    let latest = store.records().latest(&id.to_string());
    let in_use = match &key {
        Some(key) => store.lookup(key)?.filter(|record| Some(*record) != latest),
        None => None,
    };
    let needs = graph.dag.neighbors_directed(node, petgraph::Direction::Incoming);
    let mut needs: Vec<_> = needs.map(|n| &graph.dag[n].id).collect();
    needs.sort();
    Ok(Shown {
        target: &graph.dag[node].id,
        key,
        inputs,
        needs,
        needed_by: graph.dependants(node).len(),
        in_use: in_use.and_then(told),
        last: latest.and_then(told),
    })
}

fn text(shown: &Shown<'_>) -> String {
    let mut text = format!("{}\n", shown.target);
    match shown.key {
        Some(key) => text.push_str(&format!("key  {key}\n")),
        None => text.push_str("key  not known yet: it is taken over the content of what comes before\n"),
    }
    for needed in &shown.needs {
        text.push_str(&format!("needs  {needed}\n"));
    }
    text.push_str(&format!("needed by  {}\n", counted(shown.needed_by, "target")));
    if let Some(inputs) = &shown.inputs {
        text.push_str("\ninputs\n");
        let width = inputs
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or_default();
        for (name, input) in inputs.iter() {
            text.push_str(&format!("  {name:width$}  {input}\n"));
        }
    }
    if let Some(record) = &shown.in_use {
        text.push_str(&record_text("record in use", record));
    }
    if let Some(record) = &shown.last {
        text.push_str(&record_text("last record", record));
    }
    text
}

fn record_text(which: &str, record: &Told) -> String {
    let mut text = format!(
        "\n{which}  {}, run {} on {}, {}\n",
        match (record.passed, record.same_key) {
            (true, true) => "passed with this key",
            (true, false) => "passed with another key",
            (false, _) => "failed",
        },
        record.run,
        record.host,
        crate::config::quantity::Short(std::time::Duration::from_millis(record.elapsed_ms)),
    );
    if record.simulated {
        text.push_str("  SIMULATED: a simulated engine answered\n");
    }
    for (name, value) in &record.facts {
        text.push_str(&format!("  {name}: {value}\n"));
    }
    text
}
