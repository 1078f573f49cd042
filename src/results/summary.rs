//! `summary.md`: what a sweep asked for, what came of it, and the tables.

use std::fmt::Write as _;

use super::collect::{Collection, State};
use super::row::Nature;
use super::table::{escaped, markdown};

/// A point that has no row, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// The id of the target that would have made the row, or of the one that kept it from it.
    pub target: String,
    pub absence: Absence,
    /// What there is to say, in one line: the failure, or why it was left out.
    pub reason: String,
}

/// Three ways to have no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Absence {
    /// It ran, or its server did, and it did not count.
    Failed,
    /// It was left out on purpose.
    Skipped,
    /// Nobody got to it: the build ended before.
    Missing,
}

impl Absence {
    fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Missing => "missing",
        }
    }
}

/// The summary of a sweep as GitHub's Markdown.
pub fn summary(title: &str, collection: &Collection, absent: &[Absent]) -> String {
    let mut text = format!("# {title}\n\n{}\n", counts(collection, absent));
    for nature in [Nature::Measured, Nature::Simulated] {
        let rows = collection.of(nature);
        if rows.is_empty() {
            continue;
        }
        text.push_str(match nature {
            Nature::Measured => "\n## Measured\n\nLatencies and interactivity are medians.\n\n",
            Nature::Simulated => SIMULATED,
        });
        text.push_str(&markdown(&rows));
    }
    for absence in [Absence::Failed, Absence::Skipped, Absence::Missing] {
        let mut of_kind = absent.iter().filter(|one| one.absence == absence).peekable();
        if of_kind.peek().is_none() {
            continue;
        }
        let name = absence.name();
        let heading = name[..1].to_uppercase() + &name[1..];
        let _ = write!(text, "\n## {heading}\n\n| Target | Reason |\n| --- | --- |\n");
        for one in of_kind {
            let _ = writeln!(text, "| `{}` | {} |", one.target, escaped(&one.reason));
        }
    }
    text
}

const SIMULATED: &str = "
## SIMULATED

These numbers come from a simulated engine that stood in for the one named. They are computed from the published \
limits of the hardware and were measured on no such hardware; use them to see the sweep work, not to compare engines \
or hardware. Latencies and interactivity are medians of simulated time.

";

/// One line: points, and what became of them, each kind by itself.
fn counts(collection: &Collection, absent: &[Absent]) -> String {
    let rows = collection.rows().len();
    let points = rows + absent.len();
    let of = |absence| absent.iter().filter(|one| one.absence == absence).count();
    let mut line = format!(
        "**{points} {}**: {} fresh, {} cached, {} failed, {} skipped",
        if points == 1 { "point" } else { "points" },
        collection.count(State::Fresh),
        collection.count(State::Cached),
        of(Absence::Failed),
        of(Absence::Skipped),
    );
    if of(Absence::Missing) > 0 {
        let _ = write!(line, ", {} missing", of(Absence::Missing));
    }
    match collection.of(Nature::Simulated).len() {
        0 => {}
        all if all == rows => line.push_str("; **all results are SIMULATED**"),
        some => {
            let _ = write!(line, "; **{some} of {rows} results are SIMULATED**");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{collected, single};
    use super::*;

    #[test]
    fn natures_and_absences_stand_apart() {
        let rows = vec![
            collected(&single(8, 1, 4), State::Fresh, false),
            collected(&single(8, 1, 16), State::Cached, true),
        ];
        let absent = |conc: u32, absence, reason: &str| Absent {
            target: format!("bench:{}", single(8, 1, conc).id()),
            absence,
            reason: reason.to_owned(),
        };
        let absent = [
            absent(
                64,
                Absence::Failed,
                "the server ended with status 1:\nout | of memory",
            ),
            absent(128, Absence::Skipped, "its server failed before"),
            absent(256, Absence::Missing, "interrupted"),
        ];
        insta::assert_snapshot!(summary("nightly", &Collection::new(rows), &absent), @r#"
        # nightly

        **5 points**: 1 fresh, 1 cached, 1 failed, 1 skipped, 1 missing; **1 of 2 results are SIMULATED**

        ## Measured

        Latencies and interactivity are medians.

        | Model | Hardware | Framework | Precision | ISL/OSL | TP/EP/DP-attn | Conc | TTFT (ms) | TPOT (ms) | Interactivity (tok/s/user) | E2EL (s) | tok/s/GPU | Output tok/s/GPU | State |
        | --- | --- | --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |
        | m1 | h200 | sglang | fp8 | 8k/1k | 8/1/- | 4 | 52.00 | 5.500 | 181.8 | 9.200 | 400.0 | 45.00 | fresh |

        ## SIMULATED

        These numbers come from a simulated engine that stood in for the one named. They are computed from the published limits of the hardware and were measured on no such hardware; use them to see the sweep work, not to compare engines or hardware. Latencies and interactivity are medians of simulated time.

        | Model | Hardware | Framework | Precision | ISL/OSL | TP/EP/DP-attn | Conc | TTFT (ms) | TPOT (ms) | Interactivity (tok/s/user) | E2EL (s) | tok/s/GPU | Output tok/s/GPU | State |
        | --- | --- | --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |
        | m1 | h200 | sglang | fp8 | 8k/1k | 8/1/- | 16 | 88.00 | 7.000 | 142.9 | 9.800 | 1600 | 180.0 | SIMULATED cached 2026-11-20 r7 |

        ## Failed

        | Target | Reason |
        | --- | --- |
        | `bench:m1-fp8-h200-sglang/8k1k/tp8/c64` | the server ended with status 1: out \| of memory |

        ## Skipped

        | Target | Reason |
        | --- | --- |
        | `bench:m1-fp8-h200-sglang/8k1k/tp8/c128` | its server failed before |

        ## Missing

        | Target | Reason |
        | --- | --- |
        | `bench:m1-fp8-h200-sglang/8k1k/tp8/c256` | interrupted |
        "#);
    }

    #[test]
    fn a_sweep_of_one_nature_has_one_table() {
        let simulated = Collection::new(vec![collected(&single(8, 1, 4), State::Fresh, true)]);
        let text = summary("demo", &simulated, &[]);
        assert!(text.contains(
            "**1 point**: 1 fresh, 0 cached, 0 failed, 0 skipped; **all results are SIMULATED**\n"
        ));
        assert!(!text.contains("## Measured"));
        let measured = Collection::new(vec![collected(&single(8, 1, 4), State::Fresh, false)]);
        assert!(!summary("demo", &measured, &[]).contains("SIMULATED"));
        assert_eq!(
            summary("none", &Collection::default(), &[]),
            "# none\n\n**0 points**: 0 fresh, 0 cached, 0 failed, 0 skipped\n"
        );
    }
}
