//! How far a pull is, from what the engine says of each layer.

use std::collections::BTreeMap;
use std::fmt;

use bollard::models::CreateImageInfo;
use indicatif::BinaryBytes;
use serde::{Deserialize, Serialize};

/// Layers and bytes of an image. Bytes are as they come over the network, which is mostly compressed; what a layer has
/// is known only when its download begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PullProgress {
    /// Unpacked, or there before.
    pub layers_done: usize,
    pub layers: usize,
    pub bytes_done: u64,
    /// Of the layers whose download has begun.
    pub bytes: u64,
}

/// `3 of 12 layers, 1.2 GiB of 8.4 GiB`.
impl fmt::Display for PullProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            layers_done,
            layers,
            bytes_done,
            bytes,
        } = *self;
        write!(
            f,
            "{layers_done} of {layers} layers, {} of {}",
            BinaryBytes(bytes_done),
            BinaryBytes(bytes)
        )
    }
}

impl PullProgress {
    /// What the image needs, as far as that is known.
    pub(super) fn needed(&self) -> String {
        format!(
            "its layers have {} or more, and take more than that unpacked",
            BinaryBytes(self.bytes)
        )
    }
}

/// The layers of a pull under way.
#[derive(Debug, Default)]
pub(super) struct Layers(BTreeMap<String, Layer>);

#[derive(Debug, Default)]
struct Layer {
    bytes_done: u64,
    bytes: u64,
    done: bool,
}

impl Layers {
    /// Takes in one thing that the engine says.
    pub(super) fn hear(&mut self, said: &CreateImageInfo) {
        let (Some(id), Some(status)) = (&said.id, &said.status) else {
            return;
        };
        let detail = said.progress_detail.as_ref();
        let number = |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok());
        match status.as_str() {
            "Pulling fs layer" | "Waiting" => drop(self.0.entry(id.clone()).or_default()),
            "Already exists" | "Pull complete" => {
                let layer = self.0.entry(id.clone()).or_default();
                layer.bytes_done = layer.bytes;
                layer.done = true;
            }
            "Downloading" => {
                let layer = self.0.entry(id.clone()).or_default();
                if let Some(total) = number(detail.and_then(|detail| detail.total)) {
                    layer.bytes = layer.bytes.max(total);
                }
                if let Some(current) = number(detail.and_then(|detail| detail.current)) {
                    layer.bytes_done = current.min(layer.bytes);
                }
            }
            "Download complete" => {
                let layer = self.0.entry(id.clone()).or_default();
                layer.bytes_done = layer.bytes;
            }
            // `Pulling from …`, `Digest: …`, checksums and unpacking.
            _ => {}
        }
    }

    pub(super) fn progress(&self) -> PullProgress {
        let mut progress = PullProgress {
            layers: self.0.len(),
            ..PullProgress::default()
        };
        for layer in self.0.values() {
            progress.layers_done += usize::from(layer.done);
            progress.bytes_done += layer.bytes_done;
            progress.bytes += layer.bytes;
        }
        progress
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    fn said(id: &str, status: &str, detail: Option<(i64, i64)>) -> CreateImageInfo {
        CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: detail.map(|(current, total)| ProgressDetail {
                current: Some(current),
                total: Some(total),
            }),
            ..CreateImageInfo::default()
        }
    }

    #[test]
    fn layers_and_bytes_are_counted_as_the_engine_tells_them() {
        let mut layers = Layers::default();
        let mut hear = |id, status, detail| {
            layers.hear(&said(id, status, detail));
            let PullProgress {
                layers_done,
                layers,
                bytes_done,
                bytes,
            } = layers.progress();
            (layers_done, layers, bytes_done, bytes)
        };
        assert_eq!(hear("v1", "Pulling from a/b", None), (0, 0, 0, 0));
        assert_eq!(hear("a", "Pulling fs layer", None), (0, 1, 0, 0));
        assert_eq!(hear("b", "Already exists", None), (1, 2, 0, 0));
        assert_eq!(hear("a", "Downloading", Some((10, 100))), (1, 2, 10, 100));
        // Begun anew after it was cut.
        assert_eq!(hear("a", "Downloading", Some((5, 100))), (1, 2, 5, 100));
        assert_eq!(hear("a", "Download complete", None), (1, 2, 100, 100));
        assert_eq!(hear("a", "Extracting", Some((3, 100))), (1, 2, 100, 100));
        assert_eq!(hear("a", "Pull complete", None), (2, 2, 100, 100));
    }
}
