//! A small project on the disk for tests of the graph and of what is planned on it: three configs, three recipes,
//! two simulated pools.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use tempfile::TempDir;

use super::{Graph, Selection, select};
use crate::cache::Digest;
use crate::config::project::Project;

const FILES: [(&str, &str); 8] = [
    (
        "Sweepfile",
        "\
version: 1
configs: [master.yaml]
runners: runners.yaml
recipes: recipes
launchers: launchers
secrets: [TOKEN]
profiles:
  default:
    pools:
      first: { executor: process, launcher: local, serves: [h100], nodes: 2, gpu: h100, simulate: { time-scale: 10 } }
      second: { executor: process, serves: [h200], gpu: h200, share: gpu, facts: { driver: '580' }, simulate: {} }
priorities: { 'b-*': 5, '**/c4': 7, 'bench:**/c2': 3 }
sweeps:
  small: { select: ['a-*/**/c1'] }
  most: { include: [small], select: ['b-*'] }
",
    ),
    (
        "master.yaml",
        "\
a-fp8:
  image: acme/engine:1
  model: meta-llama/Llama-3.1-8B-Instruct
  model-prefix: a
  runner: h100
  precision: fp8
  framework: engine
  multinode: false
  scenarios:
    fixed-seq-len:
      - { isl: 64, osl: 16, search-space: [{ tp: 2, conc-list: [1, 2, 4] }] }
b-fp4:
  image: acme/engine:1
  model: meta-llama/Llama-3.1-8B-Instruct
  model-prefix: b
  runner: h200
  precision: fp4
  framework: engine
  multinode: false
  scenarios:
    fixed-seq-len:
      - { isl: 64, osl: 16, search-space: [{ tp: 2, conc-list: [1, 2] }] }
c-bf16:
  image: acme/other:1
  model: meta-llama/Llama-3.1-8B-Instruct
  model-prefix: c
  runner: h200
  precision: bf16
  framework: other
  multinode: false
  scenarios:
    fixed-seq-len:
      - { isl: 64, osl: 16, search-space: [{ tp: 1, conc-list: [1, 2] }] }
",
    ),
    ("runners.yaml", "labels: { h100: [h100_0], h200: [h200_0] }\n"),
    ("launchers/local.yaml", "executor: process\nenv: { NET: eth0 }\n"),
    (
        "recipes/engine/recipe.yaml",
        "\
match: { framework: engine }
server:
  command: serve {{ model }} --port {{ port }} --tp {{ tp }}
  env: { LIMIT: '{{ 8 }}' }
  files: [chat.jinja]
  ready: { http: /health, within: 1m }
  reset: { http: POST /reset }
",
    ),
    ("recipes/engine/chat.jinja", "{{ prompt }}\n"),
    (
        "recipes/engine-fp4/recipe.yaml",
        "\
match: { framework: engine, precision: fp4 }
server:
  command: serve {{ model }} --port {{ port }} --conc {{ conc }}
  ready: { http: /health, within: 1m }
  reset: { http: POST /reset }
",
    ),
    (
        "recipes/other/recipe.yaml",
        "\
match: { framework: other }
server:
  command: other --port {{ port }}
  ready: { http: /health, within: 1m }
",
    ),
];

/// The project, and the folder it lies in.
pub(crate) struct Fixture {
    pub(crate) project: Project,
    _dir: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::edited(&[])
    }

    /// The project with texts replaced, each in one file and in its first place.
    pub(crate) fn edited(edits: &[(&str, &str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in FILES {
            let mut text = text.to_owned();
            for (_, old, new) in edits.iter().filter(|(edited, ..)| *edited == file) {
                assert!(text.contains(old), "`{old}` is not in {file}");
                text = text.replacen(old, new, 1);
            }
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let project = Project::load(dir.path()).unwrap_or_else(|wrong| panic!("{wrong}"));
        Self { project, _dir: dir }
    }

    pub(crate) fn graph(&self) -> Graph {
        let profile = self.project.profile(None).unwrap();
        Graph::build(&self.project, profile, &mut Digest::of_file)
    }

    pub(crate) fn select(&self, graph: &Graph, words: &[&str]) -> Selection {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        select(&self.project, graph, &words).unwrap()
    }
}
