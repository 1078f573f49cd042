//! `sweep migrate`: a file of an earlier form in today's.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::failure::{Failure, print_all};
use super::print::out;
use crate::config::diagnostic::{Diagnostic, Diagnostics};
use crate::config::emit::to_yaml;
use crate::config::legacy::{self, Rewritten};
use crate::config::lists;
use crate::config::source::Source;
use crate::config::yaml::{Document, Value};
use crate::config::yaml_1_1;

/// Print a master config or a runners file of an earlier form in today's form.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep migrate .github/configs/nvidia-master.yaml > configs/nvidia-master.yaml
  sweep migrate .github/configs/runners.yaml > configs/runners.yaml

Comments are not carried over. What the old form did not say is spelled `undeclared`: look for it.")]
pub(super) struct MigrateArgs {
    /// The file; it is not changed.
    pub file: PathBuf,
}

pub(super) fn run(args: &MigrateArgs) -> Result<ExitCode, Failure> {
    let source = Source::read(Path::new(""), &args.file).map_err(Diagnostic::from)?;
    let mut notes = Diagnostics::default();
    let mut document = Document::parse(&source, &mut notes)?;
    yaml_1_1::resolve(&mut document);
    if !matches!(document.root.value, Value::Map(_)) {
        return Err(document
            .error(
                "this file is no mapping",
                document.root.span,
                "expected configs or runner labels",
            )
            .into());
    }
    let rewritten = rewrite(&mut document)?;
    print_all(&notes.0);
    let path = args.file.display();
    if rewritten.is_empty() {
        eprintln!("`{path}` has today's form");
        out(&source.text);
    } else {
        for change in rewritten.changes() {
            eprintln!("{change}");
        }
        eprintln!("comments of `{path}` are not carried over");
        out(&to_yaml(&document.root));
    }
    Ok(ExitCode::SUCCESS)
}

/// Master configs are mappings of mappings, runners files mappings of lists or have `labels`.
fn rewrite(document: &mut Document) -> Result<Rewritten, Failure> {
    // The note says how to come here.
    let mut notes = Diagnostics::default();
    let entries = document.root.entries();
    let lists_only = entries
        .iter()
        .all(|(_, node)| matches!(node.value, Value::Seq(_)));
    if lists_only || document.root.get("labels").is_some() {
        return Ok(legacy::runners(document, &mut notes));
    }
    let mut rewritten = legacy::master(document, &mut notes);
    let mut wrong = Diagnostics::default();
    rewritten.lists(lists::write_out(document, &mut wrong));
    if wrong.has_errors() {
        return Err(wrong.into());
    }
    Ok(rewritten)
}
