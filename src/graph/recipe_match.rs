//! Which recipe is for a point.

use globset::Glob;

use crate::config::project::NamedRecipe;
use crate::config::recipe::Match;
use crate::matrix::{Point, Topology};

/// Why a point has no recipe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecipeError {
    #[error(
        "no recipe matches framework `{framework}` (model `{model_prefix}`, precision `{precision}`, runner `{runner}`)"
    )]
    None {
        framework: String,
        model_prefix: String,
        precision: String,
        runner: String,
    },
    #[error("recipes `{first}` and `{second}` match equally well")]
    Tie { first: String, second: String },
}

/// The index of the most specific recipe that matches; two equally specific ones are an error.
pub(super) fn best(recipes: &[NamedRecipe], point: &Point) -> Result<usize, RecipeError> {
    let matching = recipes.iter().enumerate().filter_map(|(i, named)| {
        let conditions = &named.recipe.matches;
        holds(conditions, point).then_some((i, specificity(conditions)))
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
            first: recipes[first].name.clone(),
            second: recipes[second].name.clone(),
        }),
        (Some((i, _)), None) => Ok(i),
        (None, None) => Err(RecipeError::None {
            framework: point.framework.clone(),
            model_prefix: point.model_prefix.clone(),
            precision: point.precision.clone(),
            runner: point.runner.clone(),
        }),
    }
}

fn holds(conditions: &Match, point: &Point) -> bool {
    let text = |pattern: &Option<String>, value: &str| match pattern {
        None => true,
        // A pattern that is no glob can still be the literal name.
        Some(pattern) => {
            pattern == value || Glob::new(pattern).is_ok_and(|g| g.compile_matcher().is_match(value))
        }
    };
    conditions.framework == point.framework
        && text(&conditions.config, &point.config.0)
        && text(&conditions.model, &point.model)
        && text(&conditions.model_prefix, &point.model_prefix)
        && text(&conditions.precision, &point.precision)
        && text(&conditions.runner, &point.runner)
        && conditions.spec_decoding.is_none_or(|s| s == point.spec_decoding)
        && conditions
            .multinode
            .is_none_or(|m| m == matches!(point.topology, Topology::Multi { .. }))
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
    } = conditions;
    1 + [config, model, model_prefix, precision, runner]
        .iter()
        .filter(|c| c.is_some())
        .count()
        + usize::from(spec_decoding.is_some())
        + usize::from(multinode.is_some())
}
