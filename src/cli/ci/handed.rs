//! The file that hands a plan from job to job, and the shard in it that a job was given.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::failure::Failure;
use super::super::workspace::{Workspace, WorkspaceArgs};
use crate::cache::fs::{FsError, create_dir_durable, parent, write_atomic};
use crate::config::diagnostic::Diagnostic;
use crate::graph::Graph;
use crate::plan::{HANDOVER_FORMAT, Handover, NotAsPlanned, PlannedShard};

/// Where the file lies in the cache folder, unless told otherwise.
const NAME: &str = "ci-plan.json";

/// The file with the plan.
#[derive(Debug, Clone, Default, Args)]
pub(in super::super) struct PlanFileArg {
    /// The file that `sweep ci plan` writes; `ci-plan.json` in the cache folder without this.
    #[arg(long, value_name = "FILE")]
    pub plan_file: Option<PathBuf>,
}

impl PlanFileArg {
    pub(super) fn path(&self, cache: &Path) -> PathBuf {
        self.plan_file.clone().unwrap_or_else(|| cache.join(NAME))
    }
}

/// A plan that another job made.
#[derive(Debug)]
pub(in super::super) struct Handed {
    pub handover: Handover,
    path: PathBuf,
}

impl Handed {
    /// Reads the plan that belongs to a cache folder.
    pub(in super::super) fn read(cache: &Path, file: &PlanFileArg) -> Result<Self, Failure> {
        let path = file.path(cache);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Diagnostic::error(format!("read the plan `{}`: {error}", path.display()))
                .help("`sweep ci plan` writes it; carry it to this job, and name it with `--plan-file`")
        })?;
        let refused = |why: String| {
            Failure::from(
                Diagnostic::error(format!("the plan `{}` {why}", path.display()))
                    .help("plan and measure with the same version of sweep"),
            )
        };
        let wrong = |error: serde_json::Error| refused(format!("cannot be understood: {error}"));
        let value: serde_json::Value = serde_json::from_str(&text).map_err(wrong)?;
        if value["format"] != HANDOVER_FORMAT {
            return Err(refused(format!(
                "has format {}, and this sweep reads {HANDOVER_FORMAT}",
                value["format"]
            )));
        }
        let handover: Handover = serde_json::from_value(value).map_err(wrong)?;
        Ok(Self { handover, path })
    }

    /// Brings a project to the plan's profile; gives the arguments that open it so again.
    pub(in super::super) fn enter(
        &self,
        workspace: &mut Workspace,
        given: &WorkspaceArgs,
    ) -> Result<WorkspaceArgs, Failure> {
        let profile = &self.handover.profile;
        if given.profile.as_ref().is_some_and(|given| given != profile) {
            return Err(Diagnostic::error(format!(
                "the plan `{}` is for the profile `{profile}`",
                self.path.display()
            ))
            .help("leave `--profile` out")
            .into());
        }
        workspace.on_profile(profile)?;
        Ok(WorkspaceArgs {
            profile: Some(profile.clone()),
            ..given.clone()
        })
    }

    /// Writes a plan for other jobs.
    pub(super) fn write(handover: &Handover, path: &Path) -> Result<(), FsError> {
        let text = serde_json::to_string(handover).expect("a plan has text keys");
        create_dir_durable(parent(path))?;
        write_atomic(path, format!("{text}\n").as_bytes())
    }

    /// The shard of this id.
    pub(in super::super) fn shard(&self, id: &str) -> Result<&PlannedShard, Failure> {
        self.handover.shard(id).ok_or_else(|| {
            let ids: Vec<String> = self
                .handover
                .shards
                .iter()
                .map(|s| format!("`{}`", s.id))
                .collect();
            let message = Diagnostic::error(format!(
                "there is no shard `{id}` in the plan `{}`",
                self.path.display()
            ));
            Failure::Unmatched(match ids.is_empty() {
                true => message.help("nothing was stale when it was planned"),
                false => message.help(format!("its shards are {}", ids.join(", "))),
            })
        })
    }

    /// Refuses a project in which a planned measurement would be another one.
    pub(in super::super) fn refuse_other_project(
        &self,
        graph: &Graph,
        shards: &[PlannedShard],
    ) -> Result<(), Failure> {
        let wrong: Vec<NotAsPlanned> = shards.iter().flat_map(|shard| shard.differences(graph)).collect();
        let Some(first) = wrong.first() else {
            return Ok(());
        };
        let more = match wrong.len() - 1 {
            0 => String::new(),
            count => format!(" (and {count} more)"),
        };
        let planned = &self.handover.sweep_version;
        Err(
            Diagnostic::error(format!("this is not the project that was planned: {first}{more}"))
                .help(format!(
                    "check out the commit that was planned; it was planned with sweep {planned}, and this is {}",
                    env!("CARGO_PKG_VERSION")
                ))
                .help("or plan again: what is measured already stays in the cache")
                .into(),
        )
    }
}
