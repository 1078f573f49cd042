//! Which recipe is for a point.

use globset::{Glob, GlobMatcher};

use crate::config::changelog::ScenarioType;
use crate::config::project::NamedRecipe;
use crate::config::recipe::Match;
use crate::matrix::{Point, Topology};

/// Why a point has no recipe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecipeError {
    #[error(
        "no recipe matches framework `{framework}` (model `{model_prefix}`, precision `{precision}`, runner `{runner}`{})",
        if *scenario == ScenarioType::AgenticCoding { ", agentic" } else { "" }
    )]
    None {
        framework: String,
        model_prefix: String,
        precision: String,
        runner: String,
        scenario: ScenarioType,
    },
    #[error("recipes `{first}` and `{second}` match equally well")]
    Tie { first: String, second: String },
}

/// The recipes of a project with their patterns, made once for all points.
pub(super) struct Recipes<'a> {
    all: &'a [NamedRecipe],
    patterns: Vec<[Option<Text<'a>>; 5]>,
}

/// A condition on a text: a pattern, or the text itself. A pattern that is no glob can still be the literal name.
struct Text<'a> {
    literal: &'a str,
    glob: Option<GlobMatcher>,
}

impl<'a> Text<'a> {
    fn new(pattern: &'a str) -> Self {
        let special = |c: char| "*?[]{}\\".contains(c);
        let glob = pattern.contains(special).then(|| Glob::new(pattern).ok());
        Self {
            literal: pattern,
            glob: glob.flatten().map(|glob| glob.compile_matcher()),
        }
    }

    fn is_match(&self, value: &str) -> bool {
        self.literal == value || self.glob.as_ref().is_some_and(|glob| glob.is_match(value))
    }
}

impl<'a> Recipes<'a> {
    pub(super) fn new(recipes: &'a [NamedRecipe]) -> Self {
        let patterns = recipes.iter().map(|named| {
            let conditions = &named.recipe.matches;
            [
                &conditions.config,
                &conditions.model,
                &conditions.model_prefix,
                &conditions.precision,
                &conditions.runner,
            ]
            .map(|pattern| pattern.as_deref().map(Text::new))
        });
        Self {
            all: recipes,
            patterns: patterns.collect(),
        }
    }

    /// The index of the most specific recipe that matches; two equally specific ones are an error.
    pub(super) fn best(&self, point: &Point) -> Result<usize, RecipeError> {
        let matching = self.all.iter().zip(&self.patterns).enumerate();
        let matching = matching.filter_map(|(i, (named, texts))| {
            let conditions = &named.recipe.matches;
            holds(conditions, texts, point).then_some((i, specificity(conditions)))
        });
        let mut best: Option<(usize, usize)> = None;
        let mut tied = None;
        for (i, conditions) in matching {
            match best {
                Some((_, most)) if most > conditions => {}
                Some((first, most)) if most == conditions => tied = Some((first, i)),
                _ => (best, tied) = (Some((i, conditions)), None),
            }
        }
        match (best, tied) {
            (_, Some((first, second))) => Err(RecipeError::Tie {
                first: self.all[first].name.clone(),
                second: self.all[second].name.clone(),
            }),
            (Some((i, _)), None) => Ok(i),
            (None, None) => Err(RecipeError::None {
                framework: point.framework.clone(),
                model_prefix: point.model_prefix.clone(),
                precision: point.precision.clone(),
                runner: point.runner.clone(),
                scenario: point.scenario_type(),
            }),
        }
    }
}

fn holds(conditions: &Match, texts: &[Option<Text<'_>>; 5], point: &Point) -> bool {
    let values = [
        &point.config.0,
        &point.model,
        &point.model_prefix,
        &point.precision,
        &point.runner,
    ];
    let hold = |(text, value): (&Option<Text<'_>>, &String)| match text {
        Some(text) => text.is_match(value),
        None => true,
    };
    conditions.framework == point.framework
        && texts.iter().zip(values).all(hold)
        && conditions.spec_decoding.is_none_or(|s| s == point.spec_decoding)
        && conditions
            .multinode
            .is_none_or(|m| m == matches!(point.topology, Topology::Multi { .. }))
        && match &conditions.scenario_type {
            Some(types) => types.contains(&point.scenario_type()),
            None => point.scenario_type() == ScenarioType::FixedSeqLen,
        }
}

fn specificity(conditions: &Match) -> usize {
    let Match {
        framework: _,
        config,
        model,
        model_prefix,
        precision,
        runner,
        spec_decoding,
        multinode,
        scenario_type,
    } = conditions;
    1 + [config, model, model_prefix, precision, runner]
        .iter()
        .filter(|c| c.is_some())
        .count()
        + usize::from(spec_decoding.is_some())
        + usize::from(multinode.is_some())
        + usize::from(scenario_type.is_some())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::fixture::Fixture;
    use super::*;

    fn recipe_of(fixture: &Fixture, config: &str) -> Result<String, RecipeError> {
        let points = crate::matrix::expand(&fixture.project.configs, &fixture.project.runners).points;
        let point = points.iter().find(|point| point.config.0 == config).unwrap();
        let recipes = Recipes::new(&fixture.project.recipes);
        recipes
            .best(point)
            .map(|i| fixture.project.recipes[i].name.clone())
    }

    #[test]
    fn the_recipe_with_the_most_conditions_that_hold_wins() {
        let fixture = Fixture::new();
        assert_eq!(recipe_of(&fixture, "a-fp8").unwrap(), "engine");
        assert_eq!(recipe_of(&fixture, "b-fp4").unwrap(), "engine-fp4");
        assert_eq!(recipe_of(&fixture, "c-bf16").unwrap(), "other");
    }

    #[test]
    fn every_condition_must_hold() {
        let with = |conditions: &str| {
            let text = format!("framework: engine, {conditions}");
            let edit = (
                "recipes/engine-fp4/recipe.yaml",
                "framework: engine, precision: fp4",
                text.as_str(),
            );
            recipe_of(&Fixture::edited(&[edit]), "b-fp4").unwrap()
        };
        for holds in [
            "config: b-fp4",
            "config: 'b-*'",
            "model: 'meta-llama/*'",
            "model-prefix: b",
            "runner: 'h{100,200}'",
            "spec-decoding: none",
            "multinode: false",
            "precision: fp4, runner: h200",
        ] {
            assert_eq!(with(holds), "engine-fp4", "{holds}");
        }
        for fails in [
            "config: a-fp8",
            "model: llama",
            "model-prefix: 'a*'",
            "runner: h100",
            "spec-decoding: mtp",
            "multinode: true",
            "precision: fp4, runner: h100",
        ] {
            assert_eq!(with(fails), "engine", "{fails}");
        }
    }

    #[test]
    fn a_tie_names_both_and_a_more_specific_third_ends_it() {
        let tie = (
            "recipes/other/recipe.yaml",
            "framework: other",
            "framework: engine, runner: h200",
        );
        let fixture = Fixture::edited(&[tie]);
        let error = recipe_of(&fixture, "b-fp4").unwrap_err();
        assert_eq!(
            error.to_string(),
            "recipes `engine-fp4` and `other` match equally well"
        );
        assert_eq!(recipe_of(&fixture, "a-fp8").unwrap(), "engine");
        let third = (
            "recipes/engine/recipe.yaml",
            "framework: engine",
            "framework: engine, runner: h200, precision: fp4",
        );
        assert_eq!(
            recipe_of(&Fixture::edited(&[tie, third]), "b-fp4").unwrap(),
            "engine"
        );
    }

    #[test]
    fn none_says_what_it_looked_for() {
        let fixture = Fixture::edited(&[(
            "recipes/other/recipe.yaml",
            "framework: other",
            "framework: third",
        )]);
        let error = recipe_of(&fixture, "c-bf16").unwrap_err().to_string();
        assert_eq!(
            error,
            "no recipe matches framework `other` (model `c`, precision `bf16`, runner `h200`)"
        );
    }
}
