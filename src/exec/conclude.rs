//! The end of a build: rows that are missing, the collection, the summary, and the points without a row.

use std::collections::BTreeMap;

use petgraph::graph::NodeIndex;

use super::build::{Build, BuildError, Outcome};
use super::compute::{collect, process_kept, summarize};
use super::event::Event;
use super::gather::{Gathered, Rows, gather};
use super::run::Run;
use super::session::Ending;
use super::view::{self, View};
use crate::cache::{FsError, Store};
use crate::graph::{Chain, Spec};
use crate::plan::{Judge, Policy, Reason, State, Sweep, collect_inputs, summarize_inputs};
use crate::results::{self, Absence, Absent, Collection};

/// The outcome where nothing was stale: nothing runs, and the results say that all of them are from the cache.
pub fn outcome_of_fresh(store: &Store, build: &Build<'_>) -> Result<Outcome, BuildError> {
    let mut outcome = count(build, &BTreeMap::new());
    let Some(sweep) = &build.plan.sweep else {
        return Ok(outcome);
    };
    let Rows { rows, lost } = gather(store, build.graph, &build.plan.states, &sweep.processes, None)?;
    outcome.absent = lost.into_iter().map(lost_row).collect();
    outcome.collection = Collection::new(rows.into_iter().map(|row| row.collected).collect());
    outcome.view = Some(view::write(
        &build.results,
        &sweep.name,
        &outcome.collection,
        &outcome.absent,
    )?);
    Ok(outcome)
}

/// Judges the selection again and computes what follows from the measurements.
pub(super) fn conclude(
    run: &Run,
    build: &Build<'_>,
    endings: &BTreeMap<String, Ending>,
    interrupted: bool,
) -> Result<Outcome, BuildError> {
    let mut outcome = count(build, endings);
    let Some(sweep) = &build.plan.sweep else {
        return Ok(outcome);
    };
    let mut states = judge(run, build, endings)?;
    let failed = compute_rows(run, build, sweep, &states);
    if let Some(failed) = &failed {
        states = judge(run, build, endings)?;
        outcome.failed += failed.len();
    }
    let Rows { rows, lost } = gather(
        &run.store(),
        build.graph,
        &states,
        &sweep.processes,
        Some(&run.id),
    )?;
    outcome.absent = absent(build, sweep, &states, endings);
    let failed_before =
        |absent: &&Absent| absent.absence == Absence::Failed && !endings.contains_key(&absent.target);
    outcome.failed += outcome.absent.iter().filter(failed_before).count();
    outcome.absent.extend(failed.into_iter().flatten());
    outcome.absent.extend(lost.into_iter().map(lost_row));
    outcome.collection = Collection::new(rows.iter().map(|row| row.collected.clone()).collect());
    if !interrupted {
        let view = view::write(&build.results, &sweep.name, &outcome.collection, &outcome.absent)?;
        keep_collection(run, build, sweep, rows, &outcome.collection, &view)?;
        outcome.view = Some(view);
    }
    Ok(outcome)
}

/// Keeps the collection and the summary as targets, unless their keys are known, and says where they are.
fn keep_collection(
    run: &Run,
    build: &Build<'_>,
    sweep: &Sweep,
    rows: Vec<Gathered>,
    collection: &Collection,
    view: &View,
) -> Result<(), BuildError> {
    let id = |node: NodeIndex| build.graph.dag[node].id.to_string();
    let (collect_id, summarize_id) = (id(sweep.collect), id(sweep.summarize));
    let rows: Vec<_> = rows
        .into_iter()
        .map(|row| (row.process, row.digest, row.collected.row))
        .collect();
    let inputs = collect_inputs(rows.iter().map(|(id, digest, _)| (id.as_str(), *digest)));
    let known = run
        .store()
        .lookup(&inputs.key())?
        .and_then(|r| r.head().outputs().next().map(|(d, _)| d));
    let content = match known {
        Some(content) => content,
        None => collect(run, &collect_id, &build.selection.words, &rows)?,
    };
    let inputs = summarize_inputs(&sweep.name, content);
    let known = run.store().lookup(&inputs.key())?.is_some();
    if !known {
        summarize(run, &summarize_id, inputs, &view.summary_text)?;
    }
    for path in &view.collections {
        run.say(Event::Collected {
            target: collect_id.clone(),
            path: path.display().to_string(),
            rows: rows.len(),
            fresh: collection.count(results::State::Fresh),
            cached: collection.count(results::State::Cached),
        });
    }
    run.say(Event::Summarized {
        target: summarize_id,
        path: view.summary.display().to_string(),
    });
    Ok(())
}

/// The states now. A point that was to be measured and was not has no result, whatever the cache holds of earlier
/// days: `--rerun` and `--max-age` refused that.
fn judge(
    run: &Run,
    build: &Build<'_>,
    endings: &BTreeMap<String, Ending>,
) -> Result<BTreeMap<NodeIndex, State>, FsError> {
    let store = run.store();
    let judge = Judge {
        graph: build.graph,
        store: &store,
        policy: Policy {
            rerun: false,
            ..build.plan.policy
        },
    };
    let mut states = judge.states(build.selection)?;
    for chain in chains(build) {
        let bench = build.graph.dag[chain.bench].id.to_string();
        if let Some(Ending::Failed(why) | Ending::Skipped(why)) = endings.get(&bench) {
            states.insert(chain.bench, State::Stale(Reason::LastFailed { why: why.clone() }));
            if states.contains_key(&chain.process) {
                states.insert(chain.process, State::Stale(Reason::Needs { target: bench }));
            }
        }
    }
    Ok(states)
}

/// The compiled chains of the selected points.
fn chains<'a>(build: &'a Build<'_>) -> impl Iterator<Item = &'a Chain> {
    build
        .selection
        .points
        .iter()
        .filter_map(|point| build.graph.chains[*point].as_ref().ok())
}

/// The chain of a process target.
fn chain_of<'a>(build: &'a Build<'_>, process: NodeIndex) -> Option<(usize, &'a Chain)> {
    let Spec::Process { point } = build.graph.dag[process].spec else {
        return None;
    };
    Some((point, build.graph.chains[point].as_ref().ok()?))
}

/// Computes rows whose trace is there and whose row is not: those that could not be, or `None` when none was missing.
fn compute_rows(
    run: &Run,
    build: &Build<'_>,
    sweep: &Sweep,
    states: &BTreeMap<NodeIndex, State>,
) -> Option<Vec<Absent>> {
    let mut failed = None;
    for node in &sweep.processes {
        let Some((point, chain)) = chain_of(build, *node) else {
            continue;
        };
        let stale = states.get(node).is_some_and(State::is_stale);
        let trace = states.get(&chain.bench).and_then(State::output);
        let (true, Some(trace)) = (stale, trace) else {
            continue;
        };
        let failed = failed.get_or_insert_with(Vec::new);
        let target = build.graph.dag[*node].id.to_string();
        let client = &build.graph.bench(chain.bench).client;
        match process_kept(run, &target, &build.graph.points[point], client, trace) {
            Ok(_) => run.say(Event::ProcessPassed { target }),
            Err(error) => {
                let reason = error.to_string();
                run.say(Event::ProcessFailed {
                    target: target.clone(),
                    reason: reason.clone(),
                });
                failed.push(Absent {
                    target,
                    absence: Absence::Failed,
                    reason,
                });
            }
        }
    }
    failed
}

fn count(build: &Build<'_>, endings: &BTreeMap<String, Ending>) -> Outcome {
    // What is wrong was refused before; what is left of it cannot run.
    let mut outcome = Outcome {
        skipped: build.selection.broken.len(),
        ..Outcome::default()
    };
    for ending in endings.values() {
        match ending {
            Ending::Passed => outcome.passed += 1,
            Ending::Kept => outcome.fresh += 1,
            Ending::Failed(_) => outcome.failed += 1,
            Ending::Skipped(_) => outcome.skipped += 1,
        }
    }
    let stale = |node| build.plan.states.get(&node).is_some_and(State::is_stale);
    outcome.fresh += chains(build).filter(|chain| !stale(chain.bench)).count();
    outcome
}

/// The points without a row whose bench did not pass, and why.
fn absent(
    build: &Build<'_>,
    sweep: &Sweep,
    states: &BTreeMap<NodeIndex, State>,
    endings: &BTreeMap<String, Ending>,
) -> Vec<Absent> {
    let mut absent = Vec::new();
    for node in &sweep.processes {
        let Some((_, chain)) = chain_of(build, *node) else {
            continue;
        };
        let Some(State::Stale(why_stale)) = states.get(&chain.bench) else {
            continue;
        };
        let target = build.graph.dag[chain.bench].id.to_string();
        let (absence, reason) = match endings.get(&target) {
            Some(Ending::Failed(reason)) => (Absence::Failed, reason.clone()),
            Some(Ending::Skipped(reason)) => (Absence::Skipped, reason.clone()),
            // Where nothing was to be measured, the last try is what is known.
            None if let Reason::LastFailed { why } = why_stale => (Absence::Failed, why.clone()),
            Some(Ending::Passed | Ending::Kept) | None => (Absence::Missing, why_stale.to_string()),
        };
        absent.push(Absent {
            target,
            absence,
            reason: on_one_line(&reason),
        });
    }
    absent
}

fn lost_row(target: String) -> Absent {
    let reason = "its row is damaged in the cache; the next build makes it again".to_owned();
    Absent {
        target,
        absence: Absence::Missing,
        reason,
    }
}

/// A reason with a server's last words, fit for a table.
fn on_one_line(reason: &str) -> String {
    const MOST: usize = 600;
    let joined = reason
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect::<Vec<_>>()
        .join(" | ");
    match joined.char_indices().nth(MOST) {
        Some((cut, _)) => format!("{}…", &joined[..cut]),
        None => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_stay_in_the_reason() {
        assert_eq!(
            on_one_line("it died:\n  CUDA error\n\nout of memory\n"),
            "it died: | CUDA error | out of memory"
        );
        assert_eq!(on_one_line(&"x".repeat(9999)).chars().count(), 601);
    }
}
