//! What is suspicious in the points: rows that are there twice, that no recipe is for, that their recipe contradicts.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::compile::template_wrong;
use super::contradiction::{Contradiction, contradictions};
use super::recipe_match::Recipes;
use super::select::unmatched_in_sweeps;
use super::template::Templates;
use crate::config::changelog::ScenarioType;
use crate::config::diagnostic::Diagnostic;
use crate::config::project::{Config, NamedRecipe, Project};
use crate::matrix::{Deployment, Matrix, Point};

/// Points that stand in the configs twice, points without a recipe, and sweeps that select what there is not.
pub fn advice(project: &Project, matrix: &Matrix) -> Vec<Diagnostic> {
    let configs: HashMap<&str, &Config> = project.configs.iter().map(|c| (c.key.as_str(), c)).collect();
    let mut found = duplicates(&configs, matrix);
    found.extend(without_recipe(project, &configs, &matrix.points));
    found.extend(unmatched(project, &matrix.points));
    found
}

/// Patterns of the Sweepfile's sweeps that match no point: whoever names such a sweep is refused.
fn unmatched<'a>(project: &'a Project, points: &[Point]) -> impl Iterator<Item = Diagnostic> + use<'a> {
    let patterns = unmatched_in_sweeps(project, points).into_iter();
    patterns.map(|(pattern, place)| {
        let text = pattern.text();
        let configs = project.configs.iter().map(|config| config.key.as_str());
        let key = text.trim_start_matches('!').split('/').next().unwrap_or_default();
        Diagnostic::warning(format!("no point matches `{text}`"))
            .at(&place.source, place.span, place.label)
            .nearest(key, configs)
            .help("a sweep with such a pattern cannot be built; correct it, or take it out")
    })
}

/// What every recipe expands to for the points that it is for: what does not expand, an error, each mistake once; and
/// what contradicts the row, a warning for each recipe and setting.
pub fn expanded(project: &Project, points: &[Point]) -> Vec<Diagnostic> {
    let configs: HashMap<&str, &Config> = project.configs.iter().map(|c| (c.key.as_str(), c)).collect();
    let recipes = Recipes::new(&project.recipes);
    let mut templates = HashMap::new();
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    let mut contradicted = BTreeMap::<(usize, String), (Contradiction, Vec<&Point>)>::new();
    for point in points {
        let Ok(index) = recipes.best(point) else {
            continue;
        };
        let named = &project.recipes[index];
        let templates = templates.entry(index).or_insert_with(|| Templates::new(named));
        // Which GPU kind it is follows from a profile; that it is a text is all that a template must get along with.
        let expanded = match templates {
            Ok(templates) => templates.expand(point, &point.runner, None),
            Err(error) => Err(error.clone()),
        };
        match expanded {
            Ok(expanded) => {
                for contradiction in contradictions(&expanded, point) {
                    let (Contradiction::Image { name, .. } | Contradiction::Concurrency { name, .. }) =
                        &contradiction;
                    let entry = contradicted.entry((index, name.clone()));
                    entry.or_insert_with(|| (contradiction, Vec::new())).1.push(point);
                }
            }
            Err(error) if seen.insert((index, error.path.clone(), error.message.clone())) => {
                found.push(template_wrong(named, point, &error));
            }
            Err(_) => {}
        }
    }
    let told = contradicted
        .into_iter()
        .map(|((index, _), (contradiction, points))| {
            contradicting(&project.recipes[index], &configs, &contradiction, &points)
        });
    found.extend(told);
    found
}

/// One message for all points that a setting of a recipe contradicts.
fn contradicting(
    named: &NamedRecipe,
    configs: &HashMap<&str, &Config>,
    contradiction: &Contradiction,
    points: &[&Point],
) -> Diagnostic {
    let first = points[0];
    let config = configs[first.config.0.as_str()];
    let (name, message, help) = match contradiction {
        Contradiction::Image { name, named: other } => (
            name,
            format!(
                "recipe `{}` runs `{other}`, and the rows say `{}`",
                named.name, first.image
            ),
            "write `{{ image }}` there, or correct the rows",
        ),
        Contradiction::Concurrency { name, most } => (
            name,
            format!(
                "recipe `{}` takes {most} requests at a time, and `{}` sends {}: the others wait in the server",
                named.name,
                first.id(),
                first.conc
            ),
            "raise the limit, size it by `{{ conc }}`, or lower the rows' concurrency",
        ),
    };
    let launch = named.recipe.launch();
    let (path, within): (&[&str], _) = match launch.env.contains_key(name) {
        true => (&["env", name], None),
        false => (&["command"], Some(name)),
    };
    let place = named
        .document
        .root
        .nearest_at(&[launch.section, path].concat())
        .span;
    let span = within.map_or(place, |name| place.narrowed_to(&named.document.source.text, name));
    let count = match points.len() {
        1 => "this row".to_owned(),
        count => format!("the first of {count} rows"),
    };
    Diagnostic::warning(message)
        .at(&named.document.source, span, format!("`{name}` here"))
        .at(&config.source, config.span, count)
        .help(help)
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
    let mut seen = HashMap::<(Deployment<'_>, u32), usize>::new();
    for (i, point) in matrix.points.iter().enumerate() {
        let benchmark = (point.deployment(), point.conc);
        match seen.get(&benchmark) {
            None => {
                seen.insert(benchmark, i);
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

/// One message for all points of an engine and a type of scenario that lack a recipe.
fn without_recipe(project: &Project, configs: &HashMap<&str, &Config>, points: &[Point]) -> Vec<Diagnostic> {
    struct Lacking<'a> {
        first: &'a Point,
        reason: String,
        points: usize,
        configs: Vec<&'a str>,
    }
    let recipes = Recipes::new(&project.recipes);
    let mut lacking = BTreeMap::<(&str, ScenarioType), Lacking<'_>>::new();
    for point in points {
        let Err(error) = recipes.best(point) else {
            continue;
        };
        let entry = lacking
            .entry((&point.framework, point.scenario_type()))
            .or_insert_with(|| Lacking {
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
    let message = |((framework, _), lacking): ((&str, ScenarioType), Lacking<'_>)| {
        let config = configs[lacking.first.config.0.as_str()];
        let count = lacking.points;
        let points = match count {
            1 => "1 point".to_owned(),
            count => format!("{count} points"),
        };
        let message = format!(
            "no recipe for {points} of framework `{framework}`: {}",
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
