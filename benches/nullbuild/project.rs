//! The graph as a sweep project, with a cache in which everything was measured. Nothing was: records and blobs are
//! fabricated and say so.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use sweep::cache::record::FORMAT;
use sweep::cache::{
    Digest, Holder, Inputs, Output, Provenance, Record, RunId, Source, Store, Verdict, Wait, lock,
};
use sweep::config::project::Project;
use sweep::graph::{Graph, Kind, TargetId, select};
use sweep::plan::{Judge, Policy, collect_inputs, process_inputs, summarize_inputs};

use crate::shape::{CONCURRENCIES, Shape};

const RECIPE: &str = "\
match: { framework: engine }
server:
  command: serve {{ model }} --served-model-name {{ config }} --port {{ port }} --tp {{ tp }} --revision v0
  ready: { http: /health, within: 45m }
  reset: { http: POST /flush_cache }
";

/// Writes the project. A config has a file of its own, so that it has as many inputs as its peers.
pub(crate) fn write(dir: &Path, shape: &Shape) {
    let put = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder can be made");
        fs::write(path, text).expect("a file can be written");
    };
    let mut configs = String::new();
    for server in 0..shape.servers {
        let _ = write!(configs, "\n  - configs/{server}.yaml");
        put(&format!("configs/{server}.yaml"), &config(server, "fp8"));
    }
    put(
        "Sweepfile",
        &format!(
            "\
version: 1
configs:{configs}
runners: runners.yaml
recipes: recipes
profiles:
  default:
    pools:
      sim: {{ executor: process, serves: [h100], nodes: 2, gpus: 8, gpu: h100, simulate: {{ time-scale: 100 }} }}
"
        ),
    );
    put(
        "runners.yaml",
        "labels:\n  h100: [h100_0]\nhardware:\n  h100: { available-cpu-dram-mib: 1_998_848, gpus-per-node: 8 }\n",
    );
    put("recipes/engine/recipe.yaml", RECIPE);
}

fn config(server: usize, precision: &str) -> String {
    let list = CONCURRENCIES.map(|conc| conc.to_string()).join(", ");
    format!(
        "\
m{server}-{precision}-h100-engine:
  image: lab/engine:{image}
  model: meta-llama/Llama-3.1-8B-Instruct
  model-prefix: m{server}
  runner: h100
  precision: {precision}
  framework: engine
  multinode: false
  scenarios:
    fixed-seq-len:
      - isl: 1024
        osl: 1024
        search-space:
          - {{ tp: 8, conc-list: [{list}] }}
",
        image = Shape::image_of(server),
    )
}

/// Edits the first config: its points have not been measured like this.
pub(crate) fn edit(dir: &Path, round: usize) {
    let text = config(0, "fp8").replace("lab/engine:0", &format!("lab/engine:edited-{round}"));
    fs::write(dir.join("configs/0.yaml"), text).expect("a file can be written");
}

/// How many files and folders a null build looks at beside blobs: what users write, the log, the results.
pub(crate) fn inputs(dir: &Path) -> usize {
    let configs = fs::read_dir(dir.join("configs")).map_or(0, Iterator::count);
    // Sweepfile, runners, the recipes' folder and its recipe; the log's folder and its segment; two results.
    configs + 4 + 2 + 2
}

/// Puts records of everything that the words select into the cache.
pub(crate) fn fabricate(dir: &Path, words: &[&str]) {
    let project = Project::load(dir).unwrap_or_else(|wrong| panic!("{wrong}"));
    let profile = project
        .profile(None)
        .unwrap_or_else(|wrong| panic!("{}", wrong.message));
    let graph = Graph::build(&project, profile, &mut Digest::of_file);
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let selection = select(&project, &graph, &words).expect("there are points");
    let cache = dir.join(".cache");
    let lock = lock::acquire(&cache, Wait::No, &Holder::this_process()).expect("nobody else is here");
    let mut store =
        Store::open_write(&cache, RunId::generate(), lock, SystemTime::now()).expect("a cache can be made");
    let mut rows = Vec::new();
    for point in &selection.points {
        let Ok(chain) = &graph.chains[*point] else {
            panic!("every point has a recipe and a pool");
        };
        let judge = Judge {
            graph: &graph,
            store: &store,
            policy: Policy::default(),
        };
        let bench = judge.bench_inputs(chain);
        let (bench_id, process_id) = (&graph.dag[chain.bench].id, &graph.dag[chain.process].id);
        // Two points may be one measurement: what is kept of it is told by its key.
        let trace = format!("fabricated by benches/nullbuild: no trace of {}", bench.key());
        keep(
            &mut store,
            bench_id,
            bench,
            &[("trace", trace.as_bytes())],
            BTreeMap::new(),
        );
        let point = &graph.points[*point];
        let inputs = process_inputs(point, "trace", Digest::of(trace.as_bytes()));
        let row = format!(
            r#"{{"simulated":true,"fabricated":"by benches/nullbuild","conc":{},"of":"{}"}}"#,
            point.conc,
            inputs.key()
        );
        let raw = format!(
            r#"{{"fabricated":"by benches/nullbuild","raw":"{}"}}"#,
            inputs.key()
        );
        let outputs = [("row", row.as_bytes()), ("raw", raw.as_bytes())];
        keep(&mut store, process_id, inputs, &outputs, BTreeMap::new());
        rows.push((process_id.to_string(), Digest::of(row.as_bytes())));
    }
    let inputs = collect_inputs(rows.iter().map(|(id, row)| (id.as_str(), *row)));
    let collection = "fabricated by benches/nullbuild: no collection";
    let id = TargetId::new(Kind::Collect, &selection.name);
    keep(
        &mut store,
        &id,
        inputs,
        &[("rows", collection.as_bytes())],
        BTreeMap::new(),
    );
    let inputs = summarize_inputs(&selection.name, Digest::of(collection.as_bytes()));
    let id = TargetId::new(Kind::Summarize, &selection.name);
    let summary = "fabricated by benches/nullbuild: no summary";
    keep(
        &mut store,
        &id,
        inputs,
        &[("summary.md", summary.as_bytes())],
        BTreeMap::new(),
    );
}

fn keep(
    store: &mut Store,
    target: &TargetId,
    inputs: Inputs,
    outputs: &[(&str, &[u8])],
    facts: BTreeMap<String, String>,
) {
    let output = |(name, bytes): &(&str, &[u8])| Output {
        name: (*name).to_owned(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
    };
    let record = Record {
        format: FORMAT,
        target: target.to_string(),
        key: inputs.key(),
        inputs,
        deps: Vec::new(),
        outputs: outputs.iter().map(output).collect(),
        verdict: Verdict::Passed,
        provenance: Provenance {
            run: "20261122T040412Z-0a1b2c".to_owned(),
            host: "fabricated".to_owned(),
            started_unix_ms: 1_795_320_252_000,
            elapsed_ms: 1500,
            sweep_version: env!("CARGO_PKG_VERSION").to_owned(),
            simulated: true,
            attempt: 1,
        },
        facts,
    };
    let sources: Vec<Source<'_>> = outputs.iter().map(|(_, bytes)| Source::Bytes(bytes)).collect();
    store.publish(&record, &sources).expect("a record can be kept");
}

/// Builds until a compiled plan answers: what was written in the last two seconds is not trusted to stay as it looks.
pub(crate) fn settle(dir: &Path, words: &[&str]) {
    let build = [&["build"], words].concat();
    for _ in 0..10 {
        let json = [build.as_slice(), &["--format", "json"]].concat();
        let mut command = crate::command(crate::SWEEP, &json, dir);
        let output = command
            .stdin(Stdio::null())
            .output()
            .expect("sweep can be started");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        if String::from_utf8_lossy(&output.stdout).contains("plan-reused") {
            // The same as people ask for it.
            let mut command = crate::command(crate::SWEEP, &build, dir);
            assert!(command.output().is_ok_and(|output| output.status.success()));
            return;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    panic!("no compiled plan answers");
}
