//! From patterns and sweeps' names to targets.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::Direction;
use petgraph::graph::NodeIndex;
use petgraph::visit::{Dfs, Reversed};

use super::build::{Graph, Spec};
use super::pattern::{Pattern, PatternError};
use super::target::{Kind, file_name};
use crate::config::diagnostic::{Diagnostic, Diagnostics, Place};
use crate::config::nearest::nearest_few;
use crate::config::project::Project;
use crate::config::yaml::Node;
use crate::matrix::{EvalPolicy, Point, can_be_checked, marked};

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The sweep's name, or one made of the patterns: the folder of its results.
    pub name: String,
    /// What was typed.
    pub words: Vec<String>,
    /// Indices of points of which at least the bench was selected, in the graph's order.
    pub points: BTreeSet<usize>,
    /// Points that match but could not be compiled, with the reason.
    pub broken: Vec<usize>,
    /// All selected targets with everything that they need.
    pub targets: BTreeSet<NodeIndex>,
    /// Points of which the whole chain was selected, their checks of accuracy among it.
    whole: BTreeSet<usize>,
    /// Points of which the check of accuracy was selected by its kind.
    checked: BTreeSet<usize>,
}

impl Selection {
    /// These targets with everything that they need.
    pub fn of_targets(graph: &Graph, name: String, words: Vec<String>, targets: BTreeSet<NodeIndex>) -> Self {
        let mut selection = Self {
            name,
            words,
            targets,
            ..Self::default()
        };
        close(graph, &mut selection);
        selection
    }

    /// Keeps of the selected measurements and rows those of the points in `measure`, of the checks of accuracy those in
    /// `check`, with what they need.
    pub fn restrict(&mut self, graph: &Graph, measure: &BTreeSet<usize>, check: &BTreeSet<usize>) {
        self.broken
            .retain(|point| measure.contains(point) || check.contains(point));
        self.points.clear();
        self.targets.retain(|node| match graph.dag[*node].spec {
            Spec::Bench { point, .. } | Spec::Process { point } => measure.contains(&point),
            Spec::Eval { point, .. } => check.contains(&point),
            Spec::Image(_) | Spec::Server { .. } | Spec::Collect | Spec::Summarize => false,
        });
        close(graph, self);
    }

    /// Adds the checks of accuracy of the points in `check` that have one.
    pub fn add_evals(&mut self, graph: &Graph, check: &BTreeSet<usize>) {
        let chains = check
            .iter()
            .filter_map(|point| graph.chains[*point].as_ref().ok());
        self.targets.extend(chains.filter_map(|chain| chain.eval));
        close(graph, self);
    }

    /// The points that the policy checks. What was asked for as `eval:PATTERN` is so of all scenarios.
    pub fn marked(&self, graph: &Graph, policy: EvalPolicy) -> BTreeSet<usize> {
        let of = |points: &BTreeSet<usize>, policy| {
            let points: Vec<usize> = points.iter().copied().collect();
            marked(&graph.points, &points, policy)
        };
        let by_kind = match policy {
            EvalPolicy::Default => EvalPolicy::Only,
            other => other,
        };
        let mut all = of(&self.whole, policy);
        all.extend(of(&self.checked, by_kind));
        all
    }

    /// The points whose accuracy may be checked, if the policy or a changelog asks for it.
    pub fn checkable(&self) -> impl Iterator<Item = usize> {
        self.whole.union(&self.checked).copied()
    }

    /// The selected checks of accuracy, with their points.
    pub fn evals<'a>(&'a self, graph: &'a Graph) -> impl Iterator<Item = (usize, NodeIndex)> + 'a {
        self.targets
            .iter()
            .filter_map(|node| match graph.dag[*node].spec {
                Spec::Eval { point, .. } => Some((point, *node)),
                _ => None,
            })
    }

    /// Names it after `words`; its own words become the ids of its points, which select them again.
    pub fn rename(&mut self, words: &[String], graph: &Graph) {
        self.name = name_of(words);
        self.words = self
            .points
            .iter()
            .map(|point| graph.points[*point].id())
            .collect();
    }
}

/// Why nothing can be selected.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    #[error("{0}")]
    Pattern(PatternError),
    /// Nothing matches; the nearest names there are.
    #[error("no target matches `{pattern}`")]
    Unmatched {
        pattern: String,
        near: Vec<String>,
        /// Where it stands, if it is a sweep's.
        place: Option<Box<Place>>,
    },
    #[error("what the patterns select, others of them take away")]
    Empty,
    #[error("a pattern in the Sweepfile is wrong")]
    Sweepfile(Box<Diagnostic>),
}

/// Selects what `words` name: sweeps of the Sweepfile by their exact names, and patterns. No word selects every point.
pub fn select(project: &Project, graph: &Graph, words: &[String]) -> Result<Selection, SelectError> {
    let mut patterns = Vec::new();
    let mut places = Vec::new();
    let mut seen = BTreeSet::new();
    for word in words {
        let word = sweep_named(project, word).unwrap_or(word);
        if project.sweepfile.sweeps.contains_key(word) {
            for (pattern, place) in sweep_patterns(project, word, &mut seen)? {
                patterns.push(pattern);
                places.push(Some(place));
            }
        } else {
            patterns.push(Pattern::parse(word).map_err(SelectError::Pattern)?);
            places.push(None);
        }
    }
    if patterns.iter().all(|p| p.negated) {
        patterns.push(Pattern::parse("**").map_err(SelectError::Pattern)?);
    }
    let plain: Vec<String> = words
        .iter()
        .map(|word| sweep_named(project, word).unwrap_or(word).to_owned())
        .collect();
    let mut selection = Selection {
        name: name_of(&plain),
        words: words.to_vec(),
        ..Selection::default()
    };
    let point_ids: Vec<String> = graph.points.iter().map(Point::id).collect();
    for (n, pattern) in patterns.iter().enumerate() {
        let matched = match_one(graph, &point_ids, pattern, &mut selection);
        // A pattern that takes away what is not there is as wrong as one that asks for it.
        if !matched {
            return Err(SelectError::Unmatched {
                pattern: pattern.text().to_owned(),
                near: near_names(project, graph, &point_ids, pattern),
                place: places.get_mut(n).and_then(Option::take).map(Box::new),
            });
        }
    }
    let taken_away = |id: &super::target::TargetId| patterns.iter().any(|p| p.negated && p.matches(id));
    selection.targets.retain(|node| !taken_away(&graph.dag[*node].id));
    let stays = |point: &usize, kinds: &[Option<Kind>]| {
        !patterns
            .iter()
            .any(|p| p.negated && kinds.contains(&p.kind) && p.matches_name(&point_ids[*point]))
    };
    selection.broken.retain(|point| stays(point, &[None]));
    for points in [&mut selection.whole, &mut selection.checked] {
        points.retain(|point| stays(point, &[None, Some(Kind::Eval)]));
    }
    selection.broken.sort_unstable();
    selection.broken.dedup();
    let nothing = selection.targets.is_empty() && selection.broken.is_empty() && selection.checked.is_empty();
    if nothing && !words.is_empty() {
        return Err(SelectError::Empty);
    }
    close(graph, &mut selection);
    Ok(selection)
}

/// The sweep that `collect:SWEEP` and `summarize:SWEEP` ask for.
fn sweep_named<'a>(project: &Project, word: &'a str) -> Option<&'a str> {
    let (kind, name) = word.split_once(':')?;
    let of_sweeps = matches!(Kind::named(kind), Some(Kind::Collect | Kind::Summarize));
    (of_sweeps && project.sweepfile.sweeps.contains_key(name)).then_some(name)
}

/// Checks the patterns of all sweeps and priorities, used or not.
pub fn check_patterns(project: &Project) -> Result<(), Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    for name in project.sweepfile.sweeps.keys() {
        for pattern in own_patterns(project, name) {
            if let Err(SelectError::Sweepfile(diagnostic)) = pattern {
                diagnostics.push(*diagnostic);
            }
        }
    }
    let priorities = project.document.root.get("priorities");
    for (key, _) in priorities.into_iter().flat_map(Node::entries) {
        if let Err(error) = Pattern::parse(&key.name) {
            let wrong = project
                .document
                .error(error.to_string(), key.span, "in these priorities");
            diagnostics.push(wrong);
        }
    }
    diagnostics.check(()).map(drop)
}

/// The patterns of a sweep, each with its place.
fn own_patterns<'a>(
    project: &'a Project,
    name: &'a str,
) -> impl Iterator<Item = Result<(Pattern, Place), SelectError>> + 'a {
    let texts = project
        .sweepfile
        .sweeps
        .get(name)
        .into_iter()
        .flat_map(|sweep| &sweep.select);
    texts.enumerate().map(move |(i, text)| {
        let place = Place {
            source: project.document.source.clone(),
            span: project.place(&["sweeps", name, "select", &i.to_string()]),
            label: format!("in sweep `{name}`"),
        };
        match Pattern::parse(text) {
            Ok(pattern) => Ok((pattern, place)),
            Err(e) => {
                let wrong = Diagnostic::error(e.to_string()).at(&place.source, place.span, place.label);
                Err(SelectError::Sweepfile(Box::new(wrong)))
            }
        }
    })
}

/// The patterns of a sweep and of those it includes, each sweep once.
fn sweep_patterns<'a>(
    project: &'a Project,
    name: &'a str,
    seen: &mut BTreeSet<&'a str>,
) -> Result<Vec<(Pattern, Place)>, SelectError> {
    let mut patterns = Vec::new();
    let mut waiting = vec![name];
    while let Some(name) = waiting.pop() {
        if !seen.insert(name) {
            continue;
        }
        for pattern in own_patterns(project, name) {
            patterns.push(pattern?);
        }
        let sweep = project.sweepfile.sweeps.get(name);
        waiting.extend(
            sweep
                .into_iter()
                .flat_map(|sweep| sweep.include.iter().rev())
                .map(String::as_str),
        );
    }
    Ok(patterns)
}

/// The patterns of sweeps that select points and match none, with the names of their sweeps and their places.
pub fn unmatched_in_sweeps(project: &Project, points: &[Point]) -> Vec<(Pattern, Place)> {
    let ids: Vec<String> = points.iter().map(Point::id).collect();
    let of_points = |pattern: &Pattern| match pattern.kind {
        None | Some(Kind::Bench | Kind::Process | Kind::Server | Kind::Eval) => true,
        Some(Kind::Image | Kind::Collect | Kind::Summarize) => false,
    };
    let sweeps = project.sweepfile.sweeps.keys();
    let patterns = sweeps.flat_map(|name| own_patterns(project, name)).flatten();
    patterns
        .filter(|(pattern, _)| of_points(pattern) && !ids.iter().any(|id| pattern.matches_name(id)))
        .collect()
}

/// Adds what one pattern matches; says whether there was anything.
fn match_one(graph: &Graph, point_ids: &[String], pattern: &Pattern, selection: &mut Selection) -> bool {
    let mut matched = false;
    match pattern.kind {
        None | Some(Kind::Bench | Kind::Eval | Kind::Process | Kind::Server) => {
            for (i, id) in point_ids.iter().enumerate() {
                if !pattern.matches_name(id) {
                    continue;
                }
                if pattern.kind == Some(Kind::Eval) && !can_be_checked(&graph.points[i]) {
                    continue;
                }
                matched = true;
                if pattern.negated {
                    continue;
                }
                match pattern.kind {
                    None => drop(selection.whole.insert(i)),
                    Some(Kind::Eval) => drop(selection.checked.insert(i)),
                    Some(_) => {}
                }
                match (&graph.chains[i], pattern.kind) {
                    (Err(_), _) => selection.broken.push(i),
                    (Ok(chain), None | Some(Kind::Process)) => {
                        selection.targets.insert(chain.process);
                    }
                    (Ok(chain), Some(Kind::Server)) => {
                        selection.targets.insert(chain.server);
                    }
                    // Which of them are checked is told by the policy.
                    (Ok(_), Some(Kind::Eval)) => {}
                    (Ok(chain), Some(_)) => {
                        selection.targets.insert(chain.bench);
                    }
                }
            }
        }
        Some(kind) => {
            for node in graph.dag.node_indices() {
                let id = &graph.dag[node].id;
                if id.kind == kind && pattern.matches_name(&id.name) {
                    matched = true;
                    if !pattern.negated {
                        selection.targets.insert(node);
                    }
                }
            }
        }
    }
    matched
}

/// Adds everything that the selected targets need.
fn close(graph: &Graph, selection: &mut Selection) {
    let reversed = Reversed(&graph.dag);
    for node in selection.targets.clone() {
        let mut dfs = Dfs::new(reversed, node);
        while let Some(needed) = dfs.next(reversed) {
            selection.targets.insert(needed);
        }
    }
    for node in &selection.targets {
        if let Spec::Bench { point, .. } = graph.dag[*node].spec {
            selection.points.insert(point);
        }
    }
}

impl Graph {
    /// Everything that needs `node`, directly or not.
    pub fn dependants(&self, node: NodeIndex) -> Vec<NodeIndex> {
        self.dag.neighbors_directed(node, Direction::Outgoing).collect()
    }
}

/// Names like the one that a pattern spells. Its stars say nothing about what was misspelt, so each name is compared
/// in the part that stands where the pattern's text does: its beginning, or behind a star its end.
fn near_names(project: &Project, graph: &Graph, point_ids: &[String], pattern: &Pattern) -> Vec<String> {
    let bare = pattern.bare();
    let plain = bare.replace('*', "");
    let names: Vec<&str> = match pattern.kind {
        Some(Kind::Collect | Kind::Summarize) => {
            project.sweepfile.sweeps.keys().map(String::as_str).collect()
        }
        Some(Kind::Image) => graph.ids_of(Kind::Image).map(|id| id.name.as_str()).collect(),
        _ if bare.contains('/') => point_ids.iter().map(String::as_str).collect(),
        _ => {
            let configs = project.configs.iter().map(|c| c.key.as_str());
            configs
                .chain(project.sweepfile.sweeps.keys().map(String::as_str))
                .collect()
        }
    };
    let whole = nearest_few(&plain, names.iter().copied(), 3);
    if !whole.is_empty() || plain == bare || plain.len() < 3 {
        return whole.into_iter().map(str::to_owned).collect();
    }
    let length = plain.chars().count();
    let part = |name: &str| -> String {
        let skipped = match bare.starts_with('*') {
            true => name.chars().count().saturating_sub(length),
            false => 0,
        };
        name.chars().skip(skipped).take(length).collect()
    };
    let mut by_part = BTreeMap::<String, &str>::new();
    for name in names {
        by_part.entry(part(name)).or_insert(name);
    }
    let near = nearest_few(&plain, by_part.keys().map(String::as_str), 3);
    near.into_iter().map(|near| by_part[near].to_owned()).collect()
}

/// A name for an unnamed sweep, fit for a folder: `dsr1-fp8-*` gives `dsr1-fp8-all`.
pub fn name_of(words: &[String]) -> String {
    if words.is_empty() {
        return "all".to_owned();
    }
    let spelled: Vec<String> = words.iter().map(|word| spell(word)).collect();
    let joined = spelled.join("+");
    if joined.len() <= 100 {
        return joined;
    }
    // A file name has a limit; the rest of a long list is told apart by its digest.
    let digest = crate::cache::digest::Digest::of(joined.as_bytes());
    let head: String = joined.chars().take(80).collect();
    format!("{head}-{}", digest.short())
}

fn spell(word: &str) -> String {
    file_name(&word.replace("**", "all").replace('*', "all").replace('!', "not-"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::super::fixture::Fixture;
    use super::*;

    fn ids(graph: &Graph, selection: &Selection) -> Vec<String> {
        let ids = selection
            .targets
            .iter()
            .map(|node| graph.dag[*node].id.to_string());
        ids.collect::<BTreeSet<_>>().into_iter().collect()
    }

    #[test]
    fn what_a_target_needs_is_selected_with_it() {
        let fixture = Fixture::new();
        let graph = fixture.graph();
        let selected = |words: &[&str]| ids(&graph, &fixture.select(&graph, words));
        let image = "image:acme/engine:1";
        // The server is named after the first point that it serves.
        let server = "server:a-fp8/64_16/tp2/c1";
        assert_eq!(selected(&["image:acme/engine:1"]), [image]);
        assert_eq!(selected(&["server:a-fp8/64_16/tp2/c4"]), [image, server]);
        let bench = "bench:a-fp8/64_16/tp2/c2";
        assert_eq!(selected(&[bench]), [bench, image, server]);
        let process = "process:a-fp8/64_16/tp2/c2";
        assert_eq!(selected(&[process]), [bench, image, process, server]);
        assert_eq!(selected(&["a-fp8/64_16/tp2/c2"]), selected(&[process]));
        assert_eq!(selected(&["small"]), selected(&["a-*/**/c1"]));
        assert_eq!(selected(&["most"]), selected(&["a-*/**/c1", "b-*"]));
        assert_eq!(selected(&["collect:most"]), selected(&["most"]));
    }

    #[test]
    fn what_is_taken_away_comes_back_only_where_something_needs_it() {
        let fixture = Fixture::new();
        let graph = fixture.graph();
        let all = fixture.select(&graph, &["a-*"]);
        let without = fixture.select(&graph, &["a-*", "!process:**/c2"]);
        assert_eq!(all.targets.len(), without.targets.len() + 2);
        assert!(fixture.select(&graph, &["a-*", "!server:**"]).targets == all.targets);
        assert_eq!(without.points.len(), 2);
    }

    #[test]
    fn names_of_sweeps_and_of_their_collections_are_one() {
        let fixture = Fixture::new();
        let graph = fixture.graph();
        assert_eq!(fixture.select(&graph, &["small"]).name, "small");
        assert_eq!(fixture.select(&graph, &["summarize:small"]).name, "small");
        assert_eq!(fixture.select(&graph, &["small", "c-*"]).name, "small+c-all");
    }

    #[test]
    fn a_point_that_has_no_server_is_kept_with_the_reason() {
        let fixture = Fixture::edited(&[("master.yaml", "framework: other", "framework: third")]);
        let graph = fixture.graph();
        let selection = fixture.select(&graph, &["*"]);
        assert_eq!((selection.points.len(), selection.broken.len()), (5, 2));
        let without = fixture.select(&graph, &["*", "!c-*"]);
        assert_eq!((without.points.len(), without.broken.len()), (5, 0));
        assert_eq!(fixture.select(&graph, &["c-*"]).broken.len(), 2);
    }

    #[test]
    fn selections_that_hold_nothing_are_errors() {
        let fixture = Fixture::new();
        let graph = fixture.graph();
        let select = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            select(&fixture.project, &graph, &words).unwrap_err()
        };
        assert!(matches!(select(&["a-*", "!**"]), SelectError::Empty));
        let near = |words: &[&str]| match select(words) {
            SelectError::Unmatched { near, .. } => near,
            other => panic!("{other}"),
        };
        assert_eq!(near(&["b-fp8"]), ["b-fp4", "a-fp8"]);
        assert_eq!(near(&["collect:smal"]), ["small"]);
        assert_eq!(near(&["image:acme/othr:1"])[0], "acme/other:1");
        assert_eq!(near(&["**/tp2/c9"])[0], "a-fp8/64_16/tp2/c1");
        assert!(near(&["zzz"]).is_empty());
    }

    proptest! {
        /// A selection is the union of its patterns without what the negated ones match, in any order.
        #[test]
        fn patterns_add_up_in_any_order(
            words in prop::sample::subsequence(
                vec!["*", "a-*", "b-*", "**/c1", "**/c2", "!c-*", "!**/c4", "!a-*/**/c1", "c-*/**/c2"],
                1..7,
            ).prop_shuffle(),
        ) {
            let fixture = Fixture::new();
            let graph = fixture.graph();
            let patterns: Vec<Pattern> = words.iter().map(|word| Pattern::parse(word).unwrap()).collect();
            let asked = |id: &str| {
                let mut positive = patterns.iter().filter(|p| !p.negated).peekable();
                positive.peek().is_none() || positive.any(|p| p.matches_name(id))
            };
            let expected: BTreeSet<usize> = (0..graph.points.len())
                .filter(|point| {
                    let id = graph.points[*point].id();
                    asked(&id) && !patterns.iter().any(|p| p.negated && p.matches_name(&id))
                })
                .collect();
            let owned: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            match select(&fixture.project, &graph, &owned) {
                Ok(selection) => prop_assert_eq!(selection.points, expected),
                Err(SelectError::Empty) => prop_assert!(expected.is_empty()),
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }

    #[test]
    fn unnamed_sweeps_are_named_after_their_patterns() {
        let name = |words: &[&str]| name_of(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        assert_eq!(name(&["dsr1-fp8-*"]), "dsr1-fp8-all");
        assert_eq!(name(&["**/c64", "!*-trt"]), "all_c64+not-all-trt");
        assert_eq!(name(&[]), "all");
        assert!(name(&["x".repeat(400).as_str()]).len() < 100);
    }
}
