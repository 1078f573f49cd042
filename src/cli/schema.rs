//! `sweep schema`: JSON Schemas of what users write, generated from the types that read it.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use super::failure::Failure;
use super::print::json;
use crate::config::changelog::Changelog;
use crate::config::launcher::Launcher;
use crate::config::master::{MultiNode, SingleNode};
use crate::config::recipe::Recipe;
use crate::config::sweepfile::Sweepfile;

/// Print the JSON Schema of a file format, for editors and other programs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep schema sweepfile > sweepfile.schema.json
  sweep schema recipe > recipe.schema.json

In an editor with a YAML language server, name the file in a recipe's first line:
  # yaml-language-server: $schema=../../recipe.schema.json")]
pub(super) struct SchemaArgs {
    #[arg(value_enum)]
    pub format: Document,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Document {
    Sweepfile,
    Recipe,
    Launcher,
    Master,
    Changelog,
}

/// A master config: config keys to entries. The reader chooses the form by `multinode` and so has better messages.
#[derive(Deserialize)]
struct Master;

impl JsonSchema for Master {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Master".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let single = generator.subschema_for::<SingleNode>();
        let multi = generator.subschema_for::<MultiNode>();
        schemars::json_schema!({
            "type": "object",
            "description": "A master config: config keys to entries.",
            "additionalProperties": {
                "if": { "properties": { "multinode": { "const": true } }, "required": ["multinode"] },
                "then": multi,
                "else": single,
            },
        })
    }
}

pub(super) fn run(args: &SchemaArgs) -> Result<ExitCode, Failure> {
    json(&schema(args.format));
    Ok(ExitCode::SUCCESS)
}

fn schema(document: Document) -> Schema {
    match document {
        Document::Sweepfile => schemars::schema_for!(Sweepfile),
        Document::Recipe => schemars::schema_for!(Recipe),
        Document::Launcher => schemars::schema_for!(Launcher),
        Document::Master => schemars::schema_for!(Master),
        Document::Changelog => schemars::schema_for!(Changelog),
    }
}
