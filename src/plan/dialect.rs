//! The inputs of what is computed from measurements.

use crate::cache::{Digest, Inputs};
use crate::matrix::Point;
use crate::results::metrics::{DIALECT, DIALECT_VERSION};

/// The version of a collection's and a summary's form.
const COLLECT_VERSION: u32 = 1;

/// The inputs of a point's row: the content of what its bench left, by its name, the dialect, and the point's own fields
/// that the row repeats.
pub fn process_inputs(point: &Point, output: &str, content: Digest) -> Inputs {
    let mut inputs = Inputs::new("process");
    inputs.content(output, content);
    inputs.text("dialect", format!("{DIALECT} {DIALECT_VERSION}"));
    let fields = serde_json::to_value(point).expect("a point is plain data");
    for (name, value) in fields.as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        inputs.text(format!("row {name}"), text);
    }
    inputs
}

/// The inputs of a collection: the rows' contents, by the ids of their process targets.
pub fn collect_inputs<'a>(rows: impl IntoIterator<Item = (&'a str, Digest)>) -> Inputs {
    let mut inputs = Inputs::new("collect");
    inputs.text("form", COLLECT_VERSION.to_string());
    for (process, row) in rows {
        inputs.content(process, row);
    }
    inputs
}

/// The inputs of the summary of the sweep `name`.
pub fn summarize_inputs(name: &str, collection: Digest) -> Inputs {
    let mut inputs = Inputs::new("summarize");
    inputs.text("form", COLLECT_VERSION.to_string());
    inputs.text("sweep", name);
    inputs.content("collection", collection);
    inputs
}
