//! A row: one point's result in InferenceX's fields.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::object::Object;

/// One point's result: what was deployed, throughput in tokens/s/GPU, latencies in s, interactivity in tokens/s/user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Row(pub(super) Object);

/// Whether numbers were measured on the engine that a row names, or computed by a simulator in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nature {
    Measured,
    Simulated,
}

impl Row {
    pub fn nature(&self) -> Nature {
        match self.0.get("simulated") {
            Some(Value::Bool(true)) => Nature::Simulated,
            _ => Nature::Measured,
        }
    }

    /// The fields in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter()
    }

    /// A number; none when the field is null, absent or no number.
    pub fn number(&self, field: &str) -> Option<f64> {
        self.0.get(field).and_then(Value::as_f64)
    }

    /// A field as text, without quotes; none when it is null or absent.
    pub fn text(&self, field: &str) -> Option<String> {
        match self.0.get(field)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    pub fn is_multinode(&self) -> bool {
        matches!(self.0.get("is_multinode"), Some(Value::Bool(true)))
    }
}
