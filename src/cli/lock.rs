//! `sweep lock`: pin what image tags and models stand for.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::failure::{FRESH, Failure, print_all};
use super::ls::Format;
use super::print::{columns, json, out};
use super::report::counted;
use super::workspace::{Workspace, WorkspaceArgs};
use crate::cache::fs::write_atomic;
use crate::config::diagnostic::{Diagnostic, Diagnostics};
use crate::config::pins::{LOCK_FILE, Pins};
use crate::config::reference::{ManifestDigest, Reference};
use crate::exec::image::pinning::{PinState, Pinned, pin};
use crate::exec::image::registry::RegistryError;
use crate::graph::spec::Image;
use crate::graph::{Graph, Selection};

/// Pin what image tags stand for in `sweep.lock`, and show old and new.
///
/// Registries are asked with the logins of Docker's configuration; where one cannot be reached, the container engine
/// is. A pin stays as it is until `--update`, also when its tag has moved; one that cannot be verified now is kept and
/// told.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep lock                          pin what has no pin; tell which tags have moved
  sweep lock --update                 and pin those anew
  sweep lock 'dsr1-*' --update        only the images of some configs
  sweep lock --model openai/gpt-oss-120b=8b193b0c8ee8
  sweep lock --format json | jq '.images[] | select(.state == \"moved\")'

Exit codes: 0 everything has a pin; 2 an image is not in its registry; 3 one could not be asked for and has no pin.")]
pub(super) struct LockArgs {
    /// Patterns or names of sweeps; everything without any.
    pub patterns: Vec<String>,
    /// Pin tags that have moved to what they stand for now.
    #[arg(long)]
    pub update: bool,
    /// Pin a model to a revision; without a revision its pin is taken away.
    #[arg(long = "model", value_name = "ID=REVISION")]
    pub models: Vec<String>,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

pub(super) fn run(arguments: &WorkspaceArgs, args: &LockArgs) -> Result<ExitCode, Failure> {
    let workspace = Workspace::open(arguments)?;
    let graph = workspace.graph();
    let mut pins = workspace.project.pins.clone();
    for word in &args.models {
        pin_model(&mut pins, &graph, word)?;
    }
    let selection = workspace.select(&graph, &args.patterns)?;
    let wanted = container_images(&graph, &selection)?;
    let mut told = pin_now(&mut pins, wanted, args.update)?;
    if args.patterns.is_empty() {
        told.extend(remove_unused(&mut pins, &graph));
    }
    write(&workspace, &pins)?;
    match args.format {
        Format::Json => json(&Report {
            version: 1,
            images: &told,
            models: &pins.models,
        }),
        Format::Text => out(&text(&told)),
    }
    note(&told);
    refuse_missing(&told)?;
    Ok(ExitCode::from(FRESH))
}

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    images: &'a [Pinned],
    models: &'a BTreeMap<String, String>,
}

/// Pins images that a build needs and that have no pin, and says so.
pub(super) fn pin_missing(workspace: &Workspace, missing: &BTreeSet<Reference>) -> Result<(), Failure> {
    let mut pins = workspace.project.pins.clone();
    let told = pin_now(&mut pins, missing.iter().cloned().collect(), false)?;
    write(workspace, &pins)?;
    for pinned in told.iter().filter(|pinned| pinned.state == PinState::New) {
        let digest = pinned.new.as_ref().map(ToString::to_string).unwrap_or_default();
        eprintln!(
            "pinned `{}` to {digest} in `{LOCK_FILE}`; commit it",
            pinned.image
        );
    }
    refuse_missing(&told)
}

/// `--locked`: what is not pinned is refused, with the command that pins it.
pub(super) fn refuse_unpinned(missing: &BTreeSet<Reference>) -> Result<(), Failure> {
    let Some(first) = missing.first() else {
        return Ok(());
    };
    let images = counted(missing.len(), "image");
    let wrong = Diagnostic::error(format!(
        "{images} without a pin in `{LOCK_FILE}`, `{first}` the first"
    ));
    Err(Failure::Wrong(
        wrong.help("run `sweep lock`, and commit the file").into(),
    ))
}

/// The references of a selection that would run and have no digest.
pub(super) fn unpinned(graph: &Graph, selection: &Selection) -> BTreeSet<Reference> {
    let chains = selection
        .points
        .iter()
        .filter_map(|point| graph.chains[*point].as_ref().ok());
    let servers = chains.map(|chain| graph.server(chain.server));
    servers.filter_map(|server| server.unpinned().cloned()).collect()
}

fn pin_now(pins: &mut Pins, wanted: Vec<Reference>, update: bool) -> Result<Vec<Pinned>, Failure> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.map_err(|e| Failure::machinery(format!("start the runtime: {e}")))?;
    runtime
        .block_on(pin(pins, wanted, update))
        .map_err(Failure::machinery)
}

/// The container images of what is selected, simulated or not: the file is for every profile.
fn container_images(graph: &Graph, selection: &Selection) -> Result<Vec<Reference>, Failure> {
    let mut found = BTreeSet::new();
    let mut wrong = Diagnostics::default();
    for point in selection.points.iter().chain(&selection.broken) {
        let image = &graph.points[*point].image;
        match Image::container(image) {
            Some(Ok(reference)) if reference.digest().is_none() => drop(found.insert(reference)),
            Some(Ok(_)) | None => {}
            // With its place in the config, where there is one.
            Some(Err(error)) => wrong.push(match &graph.chains[*point] {
                Err(told) => (**told).clone(),
                Ok(_) => Diagnostic::error(error.to_string()),
            }),
        }
    }
    wrong.check(()).map(drop)?;
    Ok(found.into_iter().collect())
}

/// Takes pins away that no config needs.
fn remove_unused(pins: &mut Pins, graph: &Graph) -> Vec<Pinned> {
    let named = graph
        .points
        .iter()
        .filter_map(|point| Image::container(&point.image)?.ok());
    let named: BTreeSet<Reference> = named.collect();
    let unused = pins
        .images
        .extract_if(.., |reference, _| !named.contains(reference));
    let told = unused.map(|(image, pin)| Pinned {
        image,
        state: PinState::Removed,
        old: Some(pin.digest),
        new: None,
        reason: None,
        error: None,
    });
    told.collect()
}

fn pin_model(pins: &mut Pins, graph: &Graph, word: &str) -> Result<(), Failure> {
    let (model, revision) = word.split_once('=').unwrap_or((word, ""));
    let models: BTreeSet<&str> = graph.points.iter().map(|point| point.model.as_str()).collect();
    if !models.contains(model) {
        let wrong = Diagnostic::error(format!("no config has the model `{model}`"));
        return Err(Failure::Unmatched(wrong.nearest(model, models)));
    }
    match revision {
        "" => drop(pins.models.remove(model)),
        revision => drop(pins.models.insert(model.to_owned(), revision.to_owned())),
    }
    Ok(())
}

fn write(workspace: &Workspace, pins: &Pins) -> Result<(), Failure> {
    if *pins == workspace.project.pins {
        return Ok(());
    }
    Ok(write_atomic(
        &workspace.project.root.join(LOCK_FILE),
        pins.to_text().as_bytes(),
    )?)
}

fn text(told: &[Pinned]) -> String {
    let rows: Vec<Vec<String>> = told
        .iter()
        .map(|pinned| {
            let short = |digest: &Option<ManifestDigest>| Some(digest.as_ref()?.short().to_owned());
            let digests = match (short(&pinned.old), short(&pinned.new)) {
                (Some(old), Some(new)) if old != new => format!("{old} → {new}"),
                (old, new) => new.or(old).unwrap_or_else(|| "-".to_owned()),
            };
            vec![pinned.image.to_string(), pinned.state.name().to_owned(), digests]
        })
        .collect();
    columns(&rows)
}

/// What a reader should not miss in the table.
fn note(told: &[Pinned]) {
    let count = |state| told.iter().filter(|pinned| pinned.state == state).count();
    let mut notes = Vec::new();
    let moved = count(PinState::Moved);
    if moved > 0 {
        let text = format!("{moved} of the tags moved to another image; the pins stay");
        notes.push(Diagnostic::warning(text).help("`sweep lock --update` takes what they stand for now"));
    }
    let unverified = unasked(told, PinState::Unverified);
    notes.extend(unverified.map(|(images, error)| {
        Diagnostic::warning(format!("the pin of {images} is kept unverified: {error}")).help(error.mend())
    }));
    print_all(&notes);
}

/// What kept images from being asked for, and which: each cause once a registry, as hundreds of images share it.
fn unasked(told: &[Pinned], state: PinState) -> impl Iterator<Item = (String, &RegistryError)> {
    let mut causes: Vec<(&Reference, &RegistryError, usize)> = Vec::new();
    for pinned in told.iter().filter(|pinned| pinned.state == state) {
        let Some(error) = &pinned.error else { continue };
        let same = causes.iter_mut().find(|(image, other, _)| {
            image.registry() == pinned.image.registry()
                && discriminant(*other) == discriminant(error)
                && !error.is_of_the_reference()
        });
        match same {
            Some((.., count)) => *count += 1,
            None => causes.push((&pinned.image, error, 1)),
        }
    }
    causes.into_iter().map(|(image, error, count)| {
        let images = match count {
            1 => format!("`{image}`"),
            count => format!("{count} images of `{}` (`{image}` the first)", image.registry()),
        };
        (images, error)
    })
}

/// Without a pin there is nothing to run.
fn refuse_missing(told: &[Pinned]) -> Result<(), Failure> {
    let missing: Vec<_> = unasked(told, PinState::Missing).collect();
    let each = missing
        .iter()
        .map(|(images, error)| Diagnostic::error(format!("no pin for {images}: {error}")).help(error.mend()));
    let each = Diagnostics(each.collect());
    if missing.is_empty() {
        Ok(())
    } else if missing.iter().all(|(_, error)| error.is_of_the_reference()) {
        Err(Failure::Wrong(each))
    } else {
        Err(Failure::Machinery(each))
    }
}
