//! What is kept of a finished target.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Digest, Inputs, Key};

/// The version of [`Record`] and of its place in the log; a reader refuses a newer one.
pub const FORMAT: u32 = 1;

/// A finished target: what went in, what came out, and how it went.
///
/// A record describes itself: with it alone one can say what was measured, from what, where and when. It holds no
/// absolute path, so it means the same on every machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`] of the sweep that wrote it.
    pub format: u32,
    /// The target's id.
    pub target: String,
    /// The key; equal to `inputs.key()` in the sweep that wrote it.
    pub key: Key,
    /// Everything the outcome depends on, one by one, with the target's kind.
    pub inputs: Inputs,
    /// The ids of the targets it depends on, with the digest of what they put out.
    pub deps: Vec<(String, Digest)>,
    /// What it put out, kept as blobs.
    pub outputs: Vec<Output>,
    /// Whether that may be used.
    pub verdict: Verdict,
    /// Where it comes from.
    pub provenance: Provenance,
    /// What else is worth keeping: `server_start_ms`, `pool`, …
    pub facts: BTreeMap<String, String>,
}

impl Record {
    /// The target's kind.
    pub fn kind(&self) -> &str {
        self.inputs.kind()
    }

    /// Whether its outputs may stand for a new run of the target.
    pub fn passed(&self) -> bool {
        self.verdict == Verdict::Passed
    }
}

/// A named output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Its name within the target: `trace`, `row`, …
    pub name: String,
    /// Of its bytes.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

/// What the gate between measuring and keeping said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A result.
    Passed,
    /// No result; kept to be told, never to be reused.
    Failed {
        /// In a line, for people.
        reason: String,
        /// The blob with the end of its log.
        log: Option<Digest>,
    },
}

/// Where a record comes from. Times are for people and for ages; no order rests on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The id of the run that made it.
    pub run: String,
    /// The host it ran on.
    pub host: String,
    /// When the attempt started, by that host's clock, in ms since 1970.
    pub started_unix_ms: u64,
    /// How long it took by a clock that only goes forward, in ms.
    pub elapsed_ms: u64,
    /// The version of sweep.
    pub sweep_version: String,
    /// Whether a simulated engine answered.
    pub simulated: bool,
    /// Which try of the run it was, from 1.
    pub attempt: u32,
}

#[cfg(test)]
pub(super) mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::super::inputs::tests::inputs;
    use super::*;

    /// A small valid record of `target`, whose key depends on `seed`.
    pub(crate) fn example(target: &str, seed: u64) -> Record {
        let mut inputs = Inputs::new("bench");
        inputs.text("image", "lmsysorg/sglang:v0.5.9");
        inputs.text("seed", seed.to_string());
        Record {
            format: FORMAT,
            target: target.to_owned(),
            key: inputs.key(),
            inputs,
            deps: vec![("server:x".to_owned(), Digest::of(b"server"))],
            outputs: Vec::new(),
            verdict: Verdict::Passed,
            provenance: Provenance {
                run: "20261122T040412Z-0a1b2c".to_owned(),
                host: "node1".to_owned(),
                started_unix_ms: 1_795_320_252_000,
                elapsed_ms: 1500,
                sweep_version: "0.1.0".to_owned(),
                simulated: true,
                attempt: 1,
            },
            facts: BTreeMap::from([("pool".to_owned(), "h200".to_owned())]),
        }
    }

    pub(crate) fn records() -> impl Strategy<Value = Record> {
        let outputs = prop::collection::vec(("[a-z]{1,5}", any::<[u8; 32]>(), any::<u64>()), 0..3);
        let verdict = prop_oneof![
            Just(Verdict::Passed),
            ("\\PC{0,8}", any::<Option<[u8; 32]>>()).prop_map(|(reason, log)| Verdict::Failed {
                reason,
                log: log.map(Digest)
            }),
        ];
        let target = "(bench|server):[a-z0-9/-]{0,12}|\\PC{0,6}";
        (target, inputs(), outputs, verdict, any::<(u64, u64, bool)>()).prop_map(
            |(target, inputs, outputs, verdict, (started, elapsed, simulated))| {
                let mut record = example(&target, 0);
                record.key = inputs.key();
                record.inputs = inputs;
                record.outputs = outputs
                    .into_iter()
                    .map(|(name, digest, size)| Output {
                        name,
                        digest: Digest(digest),
                        size,
                    })
                    .collect();
                record.verdict = verdict;
                record.provenance.started_unix_ms = started;
                record.provenance.elapsed_ms = elapsed;
                record.provenance.simulated = simulated;
                record
            },
        )
    }

    #[test]
    fn a_record_s_json_never_changes() {
        let mut record = example("bench:x/c64", 1);
        record.outputs.push(Output {
            name: "trace".to_owned(),
            digest: Digest([1; 32]),
            size: 9,
        });
        record.verdict = Verdict::Failed {
            reason: "server died".to_owned(),
            log: None,
        };
        insta::assert_snapshot!(serde_json::to_string_pretty(&record).unwrap(), @r#"
        {
          "format": 1,
          "target": "bench:x/c64",
          "key": "db93183bac4c886c3782570c854d74d08651e0fbf70e46d36c7e8275cbf29d4f",
          "inputs": {
            "kind": "bench",
            "entries": [
              [
                "image",
                {
                  "text": "lmsysorg/sglang:v0.5.9"
                }
              ],
              [
                "seed",
                {
                  "text": "1"
                }
              ]
            ]
          },
          "deps": [
            [
              "server:x",
              "85accfa4c873f835a1c0037f306c5b503cbdd1a235f2bffea25ee989820005e3"
            ]
          ],
          "outputs": [
            {
              "name": "trace",
              "digest": "0101010101010101010101010101010101010101010101010101010101010101",
              "size": 9
            }
          ],
          "verdict": {
            "failed": {
              "reason": "server died",
              "log": null
            }
          },
          "provenance": {
            "run": "20261122T040412Z-0a1b2c",
            "host": "node1",
            "started_unix_ms": 1795320252000,
            "elapsed_ms": 1500,
            "sweep_version": "0.1.0",
            "simulated": true,
            "attempt": 1
          },
          "facts": {
            "pool": "h200"
          }
        }
        "#);
    }
}
