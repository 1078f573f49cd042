//! What a recipe must satisfy beyond its types: one way of starting, files that are there, fields that have a meaning.

use std::path::Path;

use super::diagnostic::Diagnostics;
use super::looked::Looked;
use super::project::NamedRecipe;
use super::recipe::{RESULT_FILE, Server, Starts};
use super::yaml::Node;

/// Fields of the recipe itself that are for a combined script.
const OF_SCRIPTS: [&str; 6] = ["within", "env", "contract", "files", "port", "stop"];

/// Fields of `bench` and of its `limits` that have a meaning where a script sends the load.
const OF_SCRIPTS_BENCH: [&str; 2] = ["range-ratio", "limits"];
const OF_SCRIPTS_LIMITS: [&str; 1] = ["failed-share"];

/// Checks one recipe of the project in `root`; tells which files it looked for.
pub(super) fn check(root: &Path, named: &NamedRecipe, diagnostics: &mut Diagnostics) -> Vec<Looked> {
    let mut rules = Rules { named, diagnostics };
    match (&named.recipe.server, &named.recipe.run) {
        (Some(server), None) => {
            rules.server(server);
            rules.only_for_scripts();
        }
        (None, Some(_)) => rules.script(),
        (Some(_), Some(_)) => rules.wrong(
            &["run"],
            "a recipe serves, or it is a combined script",
            "expected this or `server`, not both",
        ),
        (None, None) => rules.wrong(
            &[],
            "a recipe does not say what it starts",
            "expected `server`, or `run` with a script that starts and measures one itself",
        ),
    }
    rules.files(root)
}

struct Rules<'a> {
    named: &'a NamedRecipe,
    diagnostics: &'a mut Diagnostics,
}

impl Rules<'_> {
    fn wrong(&mut self, path: &[&str], message: impl Into<String>, label: &str) {
        self.diagnostics.push(self.named.error(path, message, label));
    }

    fn server(&mut self, server: &Server) {
        if server.command.is_some() == server.run.is_some() {
            self.wrong(
                &["server"],
                "a server is started by a command or by a script",
                "expected exactly one of `command` and `run`",
            );
        }
        if !server.ready.http.starts_with('/') {
            self.wrong(
                &["server", "ready", "http"],
                "`http` is no path",
                "expected a path as `/health`",
            );
        }
        if let Some(reset) = &server.reset {
            let given = [
                reset.http.is_some(),
                reset.body.is_some(),
                reset.unneeded.is_some(),
            ];
            if given.iter().filter(|g| **g).count() != 1 {
                self.wrong(
                    &["server", "reset"],
                    "a reset is done in one way",
                    "expected exactly one of `http`, `body` and `unneeded`",
                );
            }
        }
    }

    fn only_for_scripts(&mut self) {
        for field in OF_SCRIPTS {
            if self.named.document.root.get(field).is_some() {
                self.wrong(
                    &[field],
                    format!("`{field}` here is for a combined script"),
                    "expected it in `server`",
                );
            }
        }
    }

    fn script(&mut self) {
        if self.named.recipe.within.is_none() {
            self.wrong(
                &["run"],
                "a combined script has no time limit",
                "expected `within` beside it, as `within: 2h`",
            );
        }
        self.only(&["bench"], &OF_SCRIPTS_BENCH);
        self.only(&["bench", "limits"], &OF_SCRIPTS_LIMITS);
    }

    /// Refuses the fields of a mapping that decide nothing because the script sends its own load.
    fn only(&mut self, path: &[&str], known: &[&str]) {
        let mapping = self.named.document.root.at(path);
        let fields = mapping.into_iter().flat_map(Node::entries);
        let idle = fields.filter(|(key, _)| !known.contains(&key.name.as_str()));
        for (key, _) in idle {
            self.wrong(
                &[path, &[&key.name]].concat(),
                format!(
                    "`{}` decides nothing: the script sends a load of its own",
                    key.name
                ),
                "remove it",
            );
        }
    }

    fn files(&mut self, root: &Path) -> Vec<Looked> {
        let mut looked = Vec::new();
        let launch = self.named.recipe.launch();
        let script = launch.starts.script().filter(|script| !script.is_empty());
        let named = script
            .into_iter()
            .map(|file| ("run", file))
            .chain(launch.files.iter().map(|file| ("files", file.as_str())));
        for (field, file) in named {
            let path = [launch.section, &[field]].concat();
            let one = Looked::probe(root, &self.named.folder.join(file));
            if !one.found.is_file() {
                self.wrong(
                    &path,
                    format!("`{}` does not exist", one.path.display()),
                    "named here",
                );
            }
            looked.push(one);
            if matches!(launch.starts, Starts::Combined(_)) && file == RESULT_FILE {
                self.wrong(
                    &path,
                    format!("`{RESULT_FILE}` is where the script writes its result"),
                    "expected another name",
                );
            }
        }
        looked
    }
}
