//! A kept answer against one that is worked out anew, over whatever may happen to a project and its cache.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::super::fixture::{Cache, MADE_MS, chain};
use super::super::{Judge, Plan, Policy, State, collect_inputs, process_inputs, summarize_inputs};
use super::{Answer, Found, Parts, Question, Watch, ask, ask_edited};
use crate::cache::gc::{collect, garbage};
use crate::cache::{Digest, Seen, Store, Verdict, forget};
use crate::config::project::Project;
use crate::graph::fixture::Fixture;
use crate::graph::{Graph, Kind, Selection, TargetId, select};
use crate::matrix::EvalPolicy;

/// A clock by which everything on the disk has long settled.
fn later() -> SystemTime {
    SystemTime::now() + Duration::from_secs(3600)
}

/// A project with its cache and its results; the configs `a-*` are asked for.
struct World {
    fixture: Fixture,
    root: PathBuf,
    question: Question,
    of_parts: Question,
}

impl World {
    /// All three points are measured, collected and summarized. Points are of lengths and concurrencies that are checked for
    /// accuracy.
    fn built() -> Self {
        let lengths = ("master.yaml", "isl: 64, osl: 16", "isl: 8192, osl: 1024");
        let of_two = ("master.yaml", "conc-list: [1, 2] }", "conc-list: [16, 32] }");
        let fixture = Fixture::edited(&[
            lengths,
            lengths,
            lengths,
            (
                "master.yaml",
                "conc-list: [1, 2, 4] }",
                "conc-list: [16, 32, 64] }",
            ),
            of_two,
            of_two,
        ]);
        let root = fixture.project.root.clone();
        let question = Question::new(&root, [b"a-*".as_slice()]).unwrap();
        let of_parts = Question::new(&root, [b"parts".as_slice(), b"a-*"]).unwrap();
        let world = Self {
            fixture,
            root,
            question,
            of_parts,
        };
        world.measure();
        world
    }

    fn cache(&self) -> PathBuf {
        self.root.join(".cache")
    }

    fn summary(&self) -> PathBuf {
        self.root.join("results/a-all/summary.md")
    }

    fn project(&self) -> Option<Project> {
        Project::load(&self.root).ok()
    }

    /// Measures what the project asks for now, as a run of its own.
    fn measure(&self) {
        let Some(project) = self.project() else { return };
        let graph = Graph::build(&project, project.profile(None).unwrap(), &mut Digest::of_file);
        let Some(selection) = selection(&project, &graph) else {
            return;
        };
        let mut cache = Cache::open(&self.cache());
        let mut rows = Vec::new();
        for point in selection.points {
            if graph.chains[point].is_err() {
                return;
            }
            cache.build(&graph, point);
            let judge = Judge {
                graph: &graph,
                store: &cache.store,
                policy: Policy::default(),
            };
            let bench = judge.bench_inputs(&chain(&graph, point)).key();
            let trace = Digest::of(format!("trace of {bench}").as_bytes());
            let row = process_inputs(&graph.points[point], "trace", trace).key();
            let id = TargetId::new(Kind::Process, graph.points[point].id()).to_string();
            rows.push((id, Digest::of(format!("row of {row}").as_bytes())));
        }
        let inputs = collect_inputs(rows.iter().map(|(id, row)| (id.as_str(), *row)));
        let collection = format!("collection {}", inputs.key());
        let summary = summarize_inputs("a-all", Digest::of(collection.as_bytes()));
        let id = |kind| TargetId::new(kind, "a-all");
        cache.keep(&id(Kind::Collect), inputs, Verdict::Passed, &collection);
        cache.keep(&id(Kind::Summarize), summary, Verdict::Passed, "summary");
    }

    /// What a build says that reads everything, `None` where something is stale or wrong; the answer is kept where `watch`
    /// says so.
    fn read(&self, policy: Policy, watch: Option<Watch>) -> Option<Answer> {
        let project = self.project()?;
        let profile = project.profile(None).ok()?;
        let mut graph = Graph::build(&project, profile, &mut Digest::of_file);
        let selection = selection(&project, &graph)?;
        let store = Store::open_read(self.cache()).ok()?;
        let plan = Plan::new(&project, profile.1, &mut graph, &selection, &store, policy).ok()?;
        if !plan.is_fresh() || !selection.broken.is_empty() {
            return None;
        }
        let mut table = String::new();
        for node in &plan.sweep.as_ref()?.processes {
            let State::Fresh(row) = &plan.states[node] else {
                return None;
            };
            let bytes = store.cas().get(&row.outputs[0]).ok()?.found()?;
            table.push_str(&String::from_utf8(bytes).unwrap());
            table.push('\n');
        }
        let summary = self.summary();
        if fs::read_to_string(&summary).ok().as_ref() != Some(&table) {
            fs::create_dir_all(summary.parent().unwrap()).unwrap();
            fs::write(&summary, &table).unwrap();
        }
        let absent = summary.with_file_name("agg_bmk.json");
        let _ = fs::remove_file(&absent);
        let answer = Answer {
            fresh: selection.points.len(),
            oldest_unix_ms: MADE_MS,
            table,
            summary: summary.clone(),
            ..Answer::default()
        };
        if let Some(watch) = watch {
            let found = Found {
                project: &project,
                profile: profile.1,
                graph: &graph,
                selection: &selection,
                store: &store,
                plan: &plan,
                written: &[summary],
                absent: &[absent],
            };
            let _ = watch.keep(&self.question, &answer, Some(&self.of_parts), &found);
        }
        Some(answer)
    }

    fn keep(&self) -> Option<Answer> {
        self.read(Policy::default(), Some(Watch::begin_by(later)))
    }

    fn ask(&self) -> Option<Answer> {
        ask(&self.question, &Policy::default()).map(|hit| hit.answer)
    }

    /// What is stale, and the parts of the plan but for their texts, as reading everything tells.
    fn planned(&self) -> Option<(BTreeSet<String>, Parts)> {
        let project = self.project()?;
        let profile = project.profile(None).ok()?;
        let mut graph = Graph::build(&project, profile, &mut Digest::of_file);
        let selection = selection(&project, &graph)?;
        let store = Store::open_read(self.cache()).ok()?;
        let parts = Parts::of(&project, &graph, &selection);
        let plan = Plan::new(
            &project,
            profile.1,
            &mut graph,
            &selection,
            &store,
            Policy::default(),
        )
        .ok()?;
        Some((stale(&graph, &plan), without_texts(parts)))
    }

    /// The same, of a plan that was kept and what was edited since.
    fn planned_of_edited(&self) -> Option<(BTreeSet<String>, Parts)> {
        let edited = ask_edited(&self.of_parts)?;
        if edited.is_as_it_was() {
            return Some((BTreeSet::new(), without_texts(edited.kept().clone())));
        }
        let project = Project::load_part(&self.root, &edited.masters).ok()?;
        let profile = project.profile(None).ok()?;
        let mut graph = Graph::build(&project, profile, &mut Digest::of_file);
        let selection = selection(&project, &graph)?;
        let store = Store::open_unchanged(self.cache()).ok()?;
        let (plan, parts) = edited.plan(&project, profile.1, &mut graph, &selection, &store)?;
        Some((stale(&graph, &plan), without_texts(parts)))
    }

    /// Blobs, in the order of their names.
    fn blobs(&self) -> Vec<PathBuf> {
        let store = Store::open_read(self.cache()).unwrap();
        let listing = store.cas().list().unwrap();
        let paths = listing.blobs.iter().map(|blob| store.cas().path(&blob.digest));
        paths.collect()
    }
}

/// The configs `a-*` with their checks of accuracy.
fn selection(project: &Project, graph: &Graph) -> Option<Selection> {
    let mut selection = select(project, graph, &["a-*".to_owned()]).ok()?;
    let marked = selection.marked(graph, EvalPolicy::Default);
    selection.add_evals(graph, &marked);
    Some(selection)
}

fn without_texts(mut parts: Parts) -> Parts {
    for file in &mut parts.files {
        file.configs.iter_mut().for_each(|part| part.text = None);
    }
    parts
}

fn stale(graph: &Graph, plan: &Plan) -> BTreeSet<String> {
    let stale = plan.states.iter().filter(|(_, state)| state.is_stale());
    stale.map(|(node, _)| graph.dag[*node].id.to_string()).collect()
}

/// Does something to a file until the file system shows that something was done: two changes within one tick of its
/// clock look like one.
fn until_seen(path: &Path, mut change: impl FnMut(&Path)) {
    let seen = |path: &Path| fs::metadata(path).ok().map(|found| Seen::of(&found));
    let before = seen(path);
    change(path);
    while seen(path) == before {
        change(path);
    }
}

/// What may happen between two builds.
#[derive(Debug, Clone)]
enum Event {
    Touch(&'static str),
    /// Another image, under which nothing or something was measured.
    Image(u8),
    /// Other bytes of the same number, the mtime put back.
    SameSizeAndMtime,
    Comment(&'static str),
    /// In the master config one text for another, in a part of its entries.
    Config(&'static str, &'static str),
    Remove(&'static str),
    /// The project's files as they were at first.
    Restore,
    /// A recipe that is more specific than the others.
    AddRecipe,
    /// A folder without a recipe among the recipes.
    AddFolder,
    Launcher,
    EditResult,
    RemoveResult,
    /// A file that another nature of rows would have.
    StrayResult,
    LoseBlob(prop::sample::Index),
    DamageBlob(prop::sample::Index),
    RestoreBlobs,
    Measure,
    Fail,
    Forget,
    Collect,
    Build,
    DamagePlan(prop::sample::Index),
    DropPlans,
}

const TEXTS: [&str; 6] = [
    "Sweepfile",
    "master.yaml",
    "runners.yaml",
    "launchers/local.yaml",
    "recipes/engine/recipe.yaml",
    "recipes/engine/chat.jinja",
];

/// Edits of one entry or more, and what takes them back: of images and concurrencies, of keys, entries that come and go,
/// that get a server in common, that are out of order, that lines do not tell apart, and that are wrong.
const EDITS: [(&str, &str); 18] = [
    ("a-fp8:\n  image: acme/engine:1", "a-fp8:\n  image: acme/engine:7"),
    ("acme/engine:7", "acme/engine:1"),
    ("conc-list: [16, 32, 64]", "conc-list: [16, 32, 64, 128]"),
    ("conc-list: [16, 32, 64, 128]", "conc-list: [16, 64]"),
    ("conc-list: [16, 64]", "conc-list: [16, 32, 64]"),
    ("b-fp4:\n  image: acme/engine:1", "b-fp4:\n  image: acme/engine:8"),
    ("b-fp4:\n  image: acme/engine:1", "a-fp4:\n  image: acme/engine:1"),
    ("a-fp4:\n", "b-fp4:\n"),
    (
        "  runner: h200\n  precision: bf16\n  framework: other",
        "  runner: h100\n  precision: fp8\n  framework: engine",
    ),
    ("c-bf16:", "a-bf16:"),
    ("c-bf16:", "a-fp8:"),
    ("a-fp8:\n", "\"a-fp8\":\n"),
    ("\"a-fp8\":\n", "a-fp8:\n"),
    ("  multinode: false\n", "  multinode: &no false\n"),
    ("model-prefix: a\n", "model-prefix: 'a\n"),
    ("model-prefix: 'a\n", "model-prefix: a\n"),
    ("acme/other:1", "acme/other:2"),
    (
        "tp: 2, conc-list: [16, 32] }] }\n",
        "tp: 2, conc-list: [16, 32] }] }\nd-fp8: { image: x }\n",
    ),
];

fn events() -> impl Strategy<Value = Event> {
    use Event::{
        AddFolder, AddRecipe, Build, Collect, Comment, Config, DamageBlob, DamagePlan, DropPlans, EditResult,
        Fail, Forget, Image, Launcher, LoseBlob, Measure, Remove, RemoveResult, Restore, RestoreBlobs,
        SameSizeAndMtime, StrayResult, Touch,
    };
    let text = || prop::sample::select(&TEXTS[..]);
    prop_oneof![
        1 => text().prop_map(Touch),
        1 => (1..4_u8).prop_map(Image),
        1 => Just(SameSizeAndMtime),
        1 => text().prop_map(Comment),
        3 => prop::sample::select(&EDITS[..]).prop_map(|(old, new)| Config(old, new)),
        1 => text().prop_map(Remove),
        3 => Just(Restore),
        1 => Just(AddRecipe),
        1 => Just(AddFolder),
        1 => Just(Launcher),
        1 => Just(EditResult),
        1 => Just(RemoveResult),
        1 => Just(StrayResult),
        1 => any::<prop::sample::Index>().prop_map(LoseBlob),
        1 => any::<prop::sample::Index>().prop_map(DamageBlob),
        2 => Just(RestoreBlobs),
        2 => Just(Measure),
        1 => Just(Fail),
        1 => Just(Forget),
        1 => Just(Collect),
        4 => Just(Build),
        1 => any::<prop::sample::Index>().prop_map(DamagePlan),
        1 => Just(DropPlans),
    ]
}

/// Copies of the blobs and of the project's files, to put back.
struct Backup(Vec<(PathBuf, Vec<u8>)>);

impl Backup {
    fn of(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let copies = paths.into_iter().map(|path| {
            let bytes = fs::read(&path).unwrap();
            (path, bytes)
        });
        Self(copies.collect())
    }

    fn restore(&self) {
        for (path, bytes) in &self.0 {
            if fs::read(path).ok().as_ref() != Some(bytes) {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                // A blob is read-only, which stops nobody who replaces it.
                let _ = fs::remove_file(path);
                fs::write(path, bytes).unwrap();
            }
        }
    }
}

fn happen(world: &World, event: &Event, texts: &Backup, blobs: &Backup) {
    let at = |name: &str| world.root.join(name);
    let append = |path: &Path, text: &str| {
        if let Ok(before) = fs::read_to_string(path) {
            until_seen(path, |path| fs::write(path, format!("{before}{text}")).unwrap());
        }
    };
    match event {
        Event::Touch(name) => {
            if let Ok(file) = File::options().write(true).open(at(name)) {
                until_seen(&at(name), |_| file.set_modified(SystemTime::now()).unwrap());
            }
        }
        Event::Image(n) => {
            let path = at("master.yaml");
            if let Ok(text) = fs::read_to_string(&path) {
                let now = (1..4).fold(text, |text, old| {
                    text.replace(&format!("acme/engine:{old}\n"), &format!("acme/engine:{n}\n"))
                });
                until_seen(&path, |path| fs::write(path, &now).unwrap());
            }
        }
        Event::Config(old, new) => {
            let path = at("master.yaml");
            if let Ok(text) = fs::read_to_string(&path) {
                until_seen(&path, |path| fs::write(path, text.replacen(old, new, 1)).unwrap());
            }
        }
        Event::SameSizeAndMtime => {
            let path = at("recipes/engine/recipe.yaml");
            let (Ok(text), Ok(found)) = (fs::read_to_string(&path), fs::metadata(&path)) else {
                return;
            };
            let mtime = found.modified().unwrap();
            until_seen(&path, |path| {
                fs::write(path, text.replace("'{{ 8 }}'", "'{{ 9 }}'")).unwrap();
                File::options()
                    .write(true)
                    .open(path)
                    .unwrap()
                    .set_modified(mtime)
                    .unwrap();
            });
        }
        Event::Comment(name) => append(&at(name), "# nothing\n"),
        Event::Remove(name) => drop(fs::remove_file(at(name))),
        Event::Restore => {
            let _ = fs::remove_dir_all(at("recipes/special"));
            let _ = fs::remove_dir_all(at("recipes/empty"));
            let _ = fs::remove_file(at("launchers/more.yaml"));
            texts.restore();
        }
        Event::AddRecipe => {
            fs::create_dir_all(at("recipes/special")).unwrap();
            let recipe = "match: { framework: engine, config: a-fp8 }\nserver:\n  command: special {{ port }}\n  ready: { http: /health, within: 1m }\n";
            fs::write(at("recipes/special/recipe.yaml"), recipe).unwrap();
        }
        Event::AddFolder => fs::create_dir_all(at("recipes/empty")).unwrap(),
        Event::Launcher => fs::write(at("launchers/more.yaml"), "executor: process\n").unwrap(),
        Event::EditResult => append(&world.summary(), "edited"),
        Event::RemoveResult => drop(fs::remove_file(world.summary())),
        Event::StrayResult => {
            let stray = world.summary().with_file_name("agg_bmk.json");
            if stray.parent().is_some_and(Path::is_dir) {
                fs::write(stray, "[]").unwrap();
            }
        }
        Event::LoseBlob(n) => {
            let blobs = world.blobs();
            if !blobs.is_empty() {
                fs::remove_file(n.get(&blobs)).unwrap();
            }
        }
        Event::DamageBlob(n) => {
            let blobs = world.blobs();
            if !blobs.is_empty() {
                let path = n.get(&blobs);
                let mut bytes = fs::read(path).unwrap();
                // That of a failure is empty.
                let Some(byte) = bytes.first_mut() else { return };
                *byte ^= 1;
                until_seen(path, |path| {
                    let _ = fs::remove_file(path);
                    fs::write(path, &bytes).unwrap();
                });
            }
        }
        Event::RestoreBlobs => blobs.restore(),
        Event::Measure => world.measure(),
        Event::Fail => {
            let Some(project) = world.project() else { return };
            let graph = Graph::build(&project, project.profile(None).unwrap(), &mut Digest::of_file);
            let mut cache = Cache::open(&world.cache());
            if let Ok(chain) = graph.chains[0] {
                let inputs = graph.bench(chain.bench).inputs(graph.server(chain.server));
                let reason = "no tokens".to_owned();
                let failed = Verdict::Failed { reason, log: None };
                cache.keep(&graph.dag[chain.bench].id, inputs, failed, "");
            }
        }
        Event::Forget => {
            let mut cache = Cache::open(&world.cache());
            let is_meant = |target: &str| target.ends_with("/c32");
            forget::forget(&mut cache.store, SystemTime::now(), is_meant).unwrap();
        }
        Event::Collect => {
            let mut cache = Cache::open(&world.cache());
            let garbage = garbage(&cache.store, 2000, later()).unwrap();
            collect(&mut cache.store, &garbage).unwrap();
        }
        Event::Build => drop(world.keep()),
        Event::DamagePlan(n) => {
            let path = world.question.path();
            if let Ok(mut bytes) = fs::read(&path) {
                let at = n.index(bytes.len());
                bytes[at] ^= 1;
                fs::write(&path, bytes).unwrap();
            }
        }
        Event::DropPlans => drop(fs::remove_dir_all(world.question.folder())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    /// Whatever happened, a kept answer that is given is the one that reading everything gives.
    #[test]
    fn a_hit_says_what_reading_everything_says(story in prop::collection::vec(events(), 1..14)) {
        let world = World::built();
        let texts = Backup::of(TEXTS.map(|name| world.root.join(name)));
        let blobs = Backup::of(world.blobs());
        prop_assert!(world.keep().is_some());
        let first = world.ask();
        prop_assert!(first.is_some(), "nothing has happened yet");
        prop_assert!(world.planned_of_edited().is_some());
        for event in &story {
            happen(&world, event, &texts, &blobs);
            if let Some(kept) = world.ask() {
                prop_assert_eq!(Some(kept), world.read(Policy::default(), None), "after {:?}", event);
            }
            if let Some(planned) = world.planned_of_edited() {
                prop_assert_eq!(Some(planned), world.planned(), "after {:?}", event);
            }
        }
        // And what is fresh in the end is answered once it was kept.
        let kept = world.keep();
        prop_assert_eq!(world.ask(), kept);
    }
}

/// The number of points and of stale targets after edits, told without reading what was not edited.
#[test]
fn an_edited_config_is_planned_without_the_others() {
    let world = World::built();
    world.keep().unwrap();
    let edit = |old, new| {
        let nothing = Backup(Vec::new());
        happen(&world, &Event::Config(old, new), &nothing, &nothing);
        let planned = world.planned_of_edited();
        if let Some(planned) = &planned {
            assert_eq!(Some(planned), world.planned().as_ref(), "{new}");
        }
        planned.map(|(stale, parts)| {
            let points = parts
                .configs()
                .filter_map(|part| Some(part.selected.as_ref()?.points));
            (stale.len(), points.sum::<usize>())
        })
    };
    // Two of each point, and collection and summary.
    assert_eq!(
        edit("a-fp8:\n  image: acme/engine:1", "a-fp8:\n  image: acme/engine:7"),
        Some((8, 3))
    );
    assert_eq!(
        edit("conc-list: [16, 32, 64]", "conc-list: [16, 32, 64, 128]"),
        Some((10, 4))
    );
    assert_eq!(edit("acme/engine:7", "acme/engine:1"), Some((4, 4)));
    // Nothing of the edited one is selected: nothing in it tells what became of the collection.
    assert_eq!(
        edit("conc-list: [16, 32, 64, 128]", "conc-list: [16, 32, 64]"),
        Some((0, 3))
    );
    assert_eq!(edit("acme/other:1", "acme/other:2"), None);
    assert_eq!(edit("c-bf16:", "a-bf16:"), Some((6, 5)));
    // Lines do not tell: the file is read whole.
    assert_eq!(edit("a-fp8:\n", "\"a-fp8\":\n"), Some((6, 5)));
}

/// Where a config leaves those that it competed with for a check of accuracy, these have other checks.
#[test]
fn what_an_edited_config_had_in_common_with_others_counts() {
    let world = World::built();
    let edit = |old, new| {
        let nothing = Backup(Vec::new());
        happen(&world, &Event::Config(old, new), &nothing, &nothing);
    };
    let joins = "  runner: h100\n  precision: fp8\n  framework: engine";
    let alone = "  runner: h200\n  precision: bf16\n  framework: other";
    edit("c-bf16:", "a-bf16:");
    edit("acme/other:1", "acme/engine:1");
    edit(alone, joins);
    edit("tp: 1, conc-list: [16, 32]", "tp: 1, conc-list: [16, 128]");
    world.measure();
    world.keep().unwrap();
    assert!(world.planned_of_edited().is_some());
    let checks = |world: &World| {
        let (_, parts) = world.planned().unwrap();
        let selected = parts
            .configs()
            .filter_map(|part| Some(part.selected.as_ref()?.evals.len()));
        selected.collect::<Vec<_>>()
    };
    // Of 16, 32, 64 and 128 the highest and the upper middle.
    assert_eq!(checks(&world), [1, 1]);
    edit("model-prefix: c", "model-prefix: d");
    assert_eq!(world.planned_of_edited(), None, "the two compete");
    let path = world.root.join("master.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let (before, entry) = text.split_at(text.find("a-bf16:").unwrap());
    let entry = entry
        .replace(joins, alone)
        .replace("acme/engine:1", "acme/other:1");
    until_seen(&path, |path| fs::write(path, format!("{before}{entry}")).unwrap());
    assert_eq!(checks(&world), [2, 1]);
    assert_eq!(world.planned_of_edited(), None, "the two competed");
}

/// What is wrong, or changes more than entries tell, is left to reading everything.
#[test]
fn what_entries_do_not_tell_is_not_planned_from_them() {
    let world = World::built();
    world.keep().unwrap();
    let path = world.root.join("master.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let (a, rest) = text.split_at(text.find("b-fp4:").unwrap());
    let (b, c) = rest.split_at(rest.find("c-bf16:").unwrap());
    let edited = a.replace("acme/engine:1", "acme/engine:7");
    let says = |text: String| {
        until_seen(&path, |path| fs::write(path, &text).unwrap());
        world.planned_of_edited().is_some()
    };
    assert!(says(format!("{edited}{b}{c}")));
    assert!(says(format!("{edited}{c}")), "one that went");
    assert!(!says(format!("{edited}{c}{b}")), "out of order");
    assert!(!says("# nothing\n".to_owned()), "no configs");
    assert!(!says(format!("{edited}{b}{c}a-fp8: # twice\n  image: x\n")));
    assert!(!says(
        format!("{edited}{b}{}", c.replace("c-bf16:", "c-bf16: # x\rd:\r"))
            .replace("multinode: false\n", "multinode: no\n")
    ));
    // A recipe that changes while the plan is made.
    until_seen(&path, |path| fs::write(path, format!("{edited}{b}{c}")).unwrap());
    let asked = ask_edited(&world.of_parts).unwrap();
    let nothing = Backup(Vec::new());
    happen(
        &world,
        &Event::Comment("recipes/engine/recipe.yaml"),
        &nothing,
        &nothing,
    );
    let project = Project::load_part(&world.root, &asked.masters).unwrap();
    let profile = project.profile(None).unwrap();
    let mut graph = Graph::build(&project, profile, &mut Digest::of_file);
    let selection = selection(&project, &graph).unwrap();
    let store = Store::open_unchanged(world.cache()).unwrap();
    assert!(
        asked
            .plan(&project, profile.1, &mut graph, &selection, &store)
            .is_none()
    );
}

#[test]
fn what_has_not_settled_is_not_kept() {
    let world = World::built();
    assert!(world.read(Policy::default(), Some(Watch::begin())).is_some());
    assert_eq!(
        world.ask(),
        None,
        "the log was written within the last two seconds"
    );
    assert!(world.keep().is_some() && world.ask().is_some());
}

#[test]
fn a_touched_file_is_known_by_its_bytes() {
    let world = World::built();
    let kept = world.keep();
    for name in TEXTS {
        happen(
            &world,
            &Event::Touch(name),
            &Backup(Vec::new()),
            &Backup(Vec::new()),
        );
        assert_eq!(world.ask(), kept, "{name}");
    }
    happen(
        &world,
        &Event::Comment("runners.yaml"),
        &Backup(Vec::new()),
        &Backup(Vec::new()),
    );
    assert_eq!(world.ask(), None);
}

#[test]
fn age_is_judged_by_the_clock_now_and_force_is_never_asked() {
    let world = World::built();
    world.keep().unwrap();
    let aged = |now_unix_ms| Policy {
        max_age: Some(Duration::from_secs(60)),
        now_unix_ms,
        ..Policy::default()
    };
    for (policy, is_fresh) in [
        (aged(MADE_MS + 60_000), true),
        (aged(MADE_MS + 60_001), false),
        // A clock that went back makes nothing old.
        (aged(MADE_MS - 1), true),
    ] {
        assert_eq!(ask(&world.question, &policy).is_some(), is_fresh);
        assert_eq!(world.read(policy, None).is_some(), is_fresh);
    }
    let forced = Policy {
        rerun: true,
        ..Policy::default()
    };
    assert!(ask(&world.question, &forced).is_none());
}

#[test]
fn another_question_is_not_answered_and_only_so_many_plans_stay() {
    let world = World::built();
    world.keep().unwrap();
    let other = |part: &[u8]| Question::new(&world.root, [part]).unwrap();
    assert!(ask(&other(b"b-*"), &Policy::default()).is_none());
    assert_ne!(
        Question::new(&world.root, [b"ab".as_slice(), b"c"]).unwrap(),
        Question::new(&world.root, [b"a".as_slice(), b"bc"]).unwrap()
    );
    let plans = || fs::read_dir(world.question.folder()).unwrap().count();
    for n in 0..40_u8 {
        until_seen(&world.question.folder(), |folder| {
            fs::write(folder.join(format!("plan {n}")), "old").unwrap();
        });
    }
    let modified = fs::metadata(world.question.path()).unwrap();
    assert_eq!(plans(), 42);
    world.keep().unwrap();
    assert_eq!(plans(), 32);
    let now = fs::metadata(world.question.path()).unwrap();
    assert_ne!(
        Seen::of(&modified),
        Seen::of(&now),
        "the newest is the one that was written"
    );
    assert!(world.ask().is_some());
    let _ = &world.fixture;
}

#[test]
fn a_cache_elsewhere_and_a_clock_that_jumps_keep_nothing() {
    let world = World::built();
    let jumping = || {
        use std::sync::atomic::{AtomicU64, Ordering};
        static CALLS: AtomicU64 = AtomicU64::new(1);
        later() - Duration::from_secs(600 * CALLS.fetch_add(1, Ordering::Relaxed))
    };
    assert!(
        world
            .read(Policy::default(), Some(Watch::begin_by(jumping)))
            .is_some()
    );
    assert_eq!(world.ask(), None);
    let sweepfile = world.root.join("Sweepfile");
    let text = fs::read_to_string(&sweepfile).unwrap();
    fs::write(
        &sweepfile,
        text.replace("secrets:", "cache: { dir: elsewhere }\nsecrets:"),
    )
    .unwrap();
    assert!(world.keep().is_some(), "the test looks into the old cache");
    assert_eq!(world.ask(), None);
}
