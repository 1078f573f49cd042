//! Where a recipe contradicts the row that it serves: it names another image, or its server takes fewer requests at a
//! time than the row sends.

use super::template::Expanded;
use crate::config::reference::Reference;
use crate::matrix::{Point, Topology};

/// What of a resolved command or environment does not go with the point.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Contradiction {
    /// A container that is not the row's image.
    Image { name: String, named: String },
    /// A limit on the requests that run at a time, below the row's concurrency.
    Concurrency { name: String, most: u32 },
}

/// Settings of engines that limit how many requests run at a time; the others wait in the server's queue.
const LIMITS: [&str; 3] = ["max-num-seqs", "max-running-requests", "max-batch-size"];

/// Settings that name the image to run.
const IMAGES: [&str; 2] = ["container", "container-image"];

/// The contradictions in what a recipe expands to for the point.
pub(super) fn contradictions(expanded: &Expanded, point: &Point) -> Vec<Contradiction> {
    let mut found = Vec::new();
    for (name, value) in settings(expanded) {
        let plain = name
            .trim_start_matches('-')
            .to_ascii_lowercase()
            .replace('_', "-");
        let setting = plain.rsplit('.').next().unwrap_or_default();
        if LIMITS.contains(&setting)
            && let Ok(most) = value.parse::<u32>()
            && most.saturating_mul(ranks(point)) < point.conc
        {
            found.push(Contradiction::Concurrency { name, most });
        } else if IMAGES.contains(&setting) && !same_image(&value, &point.image) {
            found.push(Contradiction::Image { name, named: value });
        }
    }
    found
}

/// Names with values: `--flag value`, `--flag=value`, `key=value`, and variables.
fn settings(expanded: &Expanded) -> Vec<(String, String)> {
    let words = shell_words::split(&expanded.command).unwrap_or_default();
    let mut settings: Vec<(String, String)> = Vec::new();
    for (i, word) in words.iter().enumerate() {
        match word.split_once('=') {
            Some((name, value)) => settings.push((name.to_owned(), value.to_owned())),
            None if word.starts_with('-') => {
                settings.extend(words.get(i + 1).map(|value| (word.clone(), value.clone())));
            }
            None => {}
        }
    }
    settings.extend(
        expanded
            .env
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    settings
}

/// With DP attention each rank has its own requests, and engines count them a rank.
fn ranks(point: &Point) -> u32 {
    match point.topology {
        Topology::Single(parallel) if parallel.dp_attn => parallel.tp.max(1),
        // Workers may each take their share.
        Topology::Multi { .. } => u32::MAX,
        Topology::Single(_) => 1,
    }
}

fn same_image(named: &str, image: &str) -> bool {
    let normal = |text: &str| {
        let plain = text.strip_prefix("docker://").unwrap_or(text);
        plain.parse::<Reference>().map(|reference| reference.to_string())
    };
    match (normal(named), normal(image)) {
        (Ok(named), Ok(image)) => named == image,
        _ => named == image,
    }
}
