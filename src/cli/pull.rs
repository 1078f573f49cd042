//! `sweep pull`: make container images present on this host.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use indicatif::BinaryBytes;
use serde::Serialize;

use super::failure::{FRESH, Failure};
use super::lock::{pin_missing, refuse_unpinned, unpinned};
use super::ls::Format;
use super::print::{columns, json, out};
use super::workspace::{Workspace, WorkspaceArgs};
use crate::config::diagnostic::Diagnostic;
use crate::config::reference::{ManifestDigest, Reference};
use crate::exec::docker::connect::Engine;
use crate::exec::image::pull::{PullError, ensure};
use crate::exec::image::pull_progress::PullProgress;
use crate::graph::spec::Image;
use crate::graph::{Graph, Selection};

/// Pull the container images of what is selected, by digest, so that no GPU waits for one later.
///
/// A build does this by itself, beside the sessions that run. What has no pin in `sweep.lock` is pinned first. Layers
/// that are whole stay with the engine: a pull that was cut short goes on from there.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep pull --profile docker              all images of the profile's points
  sweep pull 'dsr1-*' --profile docker     those of some configs
  sweep pull nightly --profile docker --format json

Exit codes: 0 all are here; 2 one is in no registry, or not for this platform; 3 the engine, a registry or the disk; \
4 nothing was matched, or none of it runs in a container image.")]
pub(super) struct PullArgs {
    /// Patterns or names of sweeps; everything without any.
    pub patterns: Vec<String>,
    /// Fail where an image has no pin in `sweep.lock`, instead of pinning it.
    #[arg(long)]
    pub locked: bool,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Pulled {
    image: String,
    digest: ManifestDigest,
    /// Absent where the image was there.
    pulled: Option<PullProgress>,
    elapsed_ms: u64,
}

pub(super) fn run(arguments: &WorkspaceArgs, args: &PullArgs) -> Result<ExitCode, Failure> {
    let mut workspace = Workspace::open(arguments)?;
    let mut graph = workspace.graph();
    let mut selection = workspace.select(&graph, &args.patterns)?;
    let missing = unpinned(&graph, &selection);
    if args.locked {
        refuse_unpinned(&missing)?;
    }
    if !missing.is_empty() {
        pin_missing(&workspace, &missing)?;
        workspace = Workspace::open_quietly(arguments)?;
        graph = workspace.graph();
        selection = workspace.select(&graph, &args.patterns)?;
    }
    let wanted = wanted(&graph, &selection);
    if wanted.is_empty() {
        let none = format!(
            "profile `{}` runs none of these points in a container image",
            graph.profile
        );
        return Err(Failure::Unmatched(
            Diagnostic::error(none).help("choose another with `--profile NAME`"),
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::machinery(format!("start the runtime: {e}")))?;
    let pulled = runtime.block_on(pull(&workspace, wanted))?;
    match args.format {
        Format::Json => json(&pulled),
        Format::Text => out(&text(&pulled)),
    }
    Ok(ExitCode::from(FRESH))
}

/// The images that the profile runs, simulated ones left out.
fn wanted(graph: &Graph, selection: &Selection) -> BTreeMap<Reference, ManifestDigest> {
    let chains = selection
        .points
        .iter()
        .filter_map(|point| graph.chains[*point].as_ref().ok());
    let servers = chains
        .map(|chain| graph.server(chain.server))
        .filter(|server| !server.is_simulated());
    let images = servers.filter_map(|server| match &server.image {
        Image::Container {
            reference,
            digest: Some(digest),
        } => Some((reference.clone(), digest.clone())),
        _ => None,
    });
    images.collect()
}

/// One after the other: the engine fetches the layers of one side by side.
async fn pull(
    workspace: &Workspace,
    wanted: BTreeMap<Reference, ManifestDigest>,
) -> Result<Vec<Pulled>, Failure> {
    let engine = Engine::connect().await.map_err(Failure::machinery)?;
    let images = workspace.cache.join("images");
    let mut pulled = Vec::new();
    for (reference, digest) in wanted {
        let began = Instant::now();
        let tell = |progress: &PullProgress| eprintln!("{reference}: {progress}");
        let present = ensure(&engine, &reference, &digest, &images, tell)
            .await
            .map_err(failure)?;
        pulled.push(Pulled {
            image: reference.to_string(),
            digest,
            pulled: present.pulled,
            elapsed_ms: began.elapsed().as_millis() as u64,
        });
    }
    Ok(pulled)
}

fn failure(error: PullError) -> Failure {
    if error.is_machinery() {
        Failure::machinery(error)
    } else {
        Failure::wrong(error)
    }
}

fn text(pulled: &[Pulled]) -> String {
    let rows = pulled.iter().map(|one| {
        let how = match &one.pulled {
            Some(progress) => format!("pulled, {}", BinaryBytes(progress.bytes)),
            None => "there".to_owned(),
        };
        vec![one.image.clone(), one.digest.short().to_owned(), how]
    });
    columns(&rows.collect::<Vec<_>>())
}
