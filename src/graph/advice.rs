//! What is suspicious in the points: rows that are there twice, rows that no recipe is for.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::compile::template_wrong;
use super::recipe_match::Recipes;
use super::template::Templates;
use crate::cache::digest::Digest;
use crate::config::diagnostic::Diagnostic;
use crate::config::project::{Config, Project};
use crate::matrix::{ConfigKey, Matrix, Point};

/// Points that stand in the configs twice, and points without a recipe.
pub fn advice(project: &Project, matrix: &Matrix) -> Vec<Diagnostic> {
    let configs: HashMap<&str, &Config> = project.configs.iter().map(|c| (c.key.as_str(), c)).collect();
    let mut found = duplicates(&configs, matrix);
    found.extend(without_recipe(project, &configs, &matrix.points));
    found
}

/// Templates that do not expand for a point that they are for, each mistake once.
pub fn broken_recipes(project: &Project, points: &[Point]) -> Vec<Diagnostic> {
    let recipes = Recipes::new(&project.recipes);
    let mut templates = HashMap::new();
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for point in points {
        let Ok(index) = recipes.best(point) else {
            continue;
        };
        let named = &project.recipes[index];
        let templates = templates.entry(index).or_insert_with(|| Templates::new(named));
        // Which GPU kind it is follows from a profile; that it is a text is all that a template must get along with.
        let expanded = match templates {
            Ok(templates) => templates.expand(point, &point.runner, None).map(drop),
            Err(error) => Err(error.clone()),
        };
        if let Err(error) = expanded
            && seen.insert((index, error.path.clone(), error.message.clone()))
        {
            found.push(template_wrong(named, point, &error));
        }
    }
    found
}

/// Each time a benchmark is asked for again: in one config, or in two that differ in nothing but the name.
fn duplicates(configs: &HashMap<&str, &Config>, matrix: &Matrix) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for twin in &matrix.duplicates {
        let point = &matrix.points[*twin];
        let config = configs[point.config.0.as_str()];
        found.push(
            Diagnostic::warning(format!("`{}` stands twice in its config", point.id()))
                .at(&config.source, config.span, "in this config")
                .help("it is measured once; remove one of its two entries"),
        );
    }
    let mut seen = HashMap::<Digest, usize>::new();
    for (i, point) in matrix.points.iter().enumerate() {
        let nameless = Point {
            config: ConfigKey(String::new()),
            mark: String::new(),
            ..point.clone()
        };
        let digest = Digest::of(&serde_json::to_vec(&nameless).expect("a point is plain data"));
        match seen.get(&digest) {
            None => {
                seen.insert(digest, i);
            }
            Some(first) => {
                let first = &matrix.points[*first];
                let (config, other) = (configs[point.config.0.as_str()], configs[first.config.0.as_str()]);
                found.push(
                    Diagnostic::warning(format!("`{}` and `{}` are one benchmark", first.id(), point.id()))
                        .at(&config.source, config.span, "the second time here")
                        .at(&other.source, other.span, "first here")
                        .help("remove one of the two entries"),
                );
            }
        }
    }
    found
}

/// One message for all points that lack a recipe for the same reason and engine.
fn without_recipe(project: &Project, configs: &HashMap<&str, &Config>, points: &[Point]) -> Vec<Diagnostic> {
    struct Lacking<'a> {
        first: &'a Point,
        reason: String,
        points: usize,
        configs: Vec<&'a str>,
    }
    let recipes = Recipes::new(&project.recipes);
    let mut lacking = BTreeMap::<&str, Lacking<'_>>::new();
    for point in points {
        let Err(error) = recipes.best(point) else {
            continue;
        };
        let entry = lacking.entry(&point.framework).or_insert_with(|| Lacking {
            first: point,
            reason: error.to_string(),
            points: 0,
            configs: Vec::new(),
        });
        entry.points += 1;
        if entry.configs.last() != Some(&point.config.0.as_str()) {
            entry.configs.push(&point.config.0);
        }
    }
    let message = |(framework, lacking): (&str, Lacking<'_>)| {
        let config = configs[lacking.first.config.0.as_str()];
        let count = lacking.points;
        let message = format!(
            "{count} points of framework `{framework}` have no recipe: {}",
            lacking.reason
        );
        let mut names: Vec<String> = lacking.configs.iter().take(8).map(|c| format!("`{c}`")).collect();
        if lacking.configs.len() > names.len() {
            names.push(format!("{} more", lacking.configs.len() - names.len()));
        }
        Diagnostic::warning(message)
            .at(&config.source, config.span, "the first of them")
            .help(format!("concerned: {}", names.join(", ")))
    };
    lacking.into_iter().map(message).collect()
}
