//! The columns of the summary table, and how a row fills them.

use jiff::tz::TimeZone;

use super::collect::{Collected, Provenance, State};
use super::row::{Nature, Row};

/// A column of the summary table.
pub(super) struct Column {
    pub(super) heading: &'static str,
    /// The heading where width is dear; it may break at its spaces.
    pub(super) narrow: &'static str,
    pub(super) kind: Kind,
    pub(super) cell: fn(&Collected) -> String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Tells what was deployed; often the same in all rows.
    Identity,
    /// Tells the point within its curve.
    Point,
    Number,
    Text,
}

impl Column {
    const fn new(
        heading: &'static str,
        narrow: &'static str,
        kind: Kind,
        cell: fn(&Collected) -> String,
    ) -> Self {
        Self {
            heading,
            narrow,
            kind,
            cell,
        }
    }
}

/// Latencies and interactivity are medians.
pub(super) const COLUMNS: [Column; 14] = [
    Column::new("Model", "Model", Kind::Identity, |one| {
        text(&one.row, "infmax_model_prefix")
    }),
    Column::new("Hardware", "HW", Kind::Identity, |one| text(&one.row, "hw")),
    Column::new("Framework", "Frame- work", Kind::Identity, |one| {
        text(&one.row, "framework")
    }),
    Column::new("Precision", "Prec", Kind::Identity, |one| {
        text(&one.row, "precision")
    }),
    Column::new("ISL/OSL", "ISL/ OSL", Kind::Identity, |one| sequence(&one.row)),
    Column::new("TP/EP/DP-attn", "TP/EP/ DP-attn", Kind::Point, |one| {
        parallelism(&one.row)
    }),
    Column::new("Conc", "Conc", Kind::Number, |one| text(&one.row, "conc")),
    Column::new("TTFT (ms)", "TTFT ms", Kind::Number, |one| {
        milliseconds(&one.row, "median_ttft")
    }),
    Column::new("TPOT (ms)", "TPOT ms", Kind::Number, |one| {
        milliseconds(&one.row, "median_tpot")
    }),
    Column::new("Interactivity (tok/s/user)", "tok/s /user", Kind::Number, |one| {
        figure(one.row.number("median_intvty"))
    }),
    Column::new("E2EL (s)", "E2EL s", Kind::Number, |one| {
        figure(one.row.number("median_e2el"))
    }),
    Column::new("tok/s/GPU", "tok/s /GPU", Kind::Number, |one| {
        figure(one.row.number("tput_per_gpu"))
    }),
    Column::new("Output tok/s/GPU", "out tok/s /GPU", Kind::Number, |one| {
        figure(one.row.number("output_tput_per_gpu"))
    }),
    Column::new("State", "State", Kind::Text, state),
];

/// What stands where there is no value.
const NOTHING: &str = "-";

fn text(row: &Row, field: &str) -> String {
    row.text(field).unwrap_or_else(|| NOTHING.to_owned())
}

fn milliseconds(row: &Row, field: &str) -> String {
    figure(row.number(field).map(|seconds| seconds * 1e3))
}

/// Four significant digits: more than a measurement repeats, and all of them fit side by side.
fn figure(value: Option<f64>) -> String {
    match value {
        None => NOTHING.to_owned(),
        Some(value) if value.abs() >= 1000.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 100.0 => format!("{value:.1}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.2}"),
        Some(value) => format!("{value:.3}"),
    }
}

/// Nominal lengths, whole multiples of 1024 as the field writes them: `8k/1k`.
fn sequence(row: &Row) -> String {
    let length = |field| match row.number(field) {
        Some(tokens) if tokens >= 1024.0 && tokens % 1024.0 == 0.0 => format!("{}k", tokens / 1024.0),
        _ => text(row, field),
    };
    format!("{}/{}", length("isl"), length("osl"))
}

/// `8/8/dp`, the last part `-` without DP attention; with roles `2x4/4/dp+1x8/1/-`, prefill and decode workers.
fn parallelism(row: &Row) -> String {
    let shard = |role: &str| {
        let size = |name: &str| text(row, &format!("{role}{name}"));
        let attention = match size("dp_attention").as_str() {
            "true" => "dp",
            _ => NOTHING,
        };
        format!("{}/{}/{attention}", size("tp"), size("ep"))
    };
    if !row.is_multinode() {
        return shard("");
    }
    let role = |role: &str| format!("{}x{}", text(row, &format!("{role}num_workers")), shard(role));
    match row.number("num_decode_gpu") {
        Some(gpus) if gpus > 0.0 => format!("{} + {}", role("prefill_"), role("decode_")),
        _ => role("prefill_"),
    }
}

/// `fresh`, or when and in which run a cached row was measured; a simulated row says first that it is.
fn state(one: &Collected) -> String {
    let Provenance { state, run, date, .. } = &one.provenance;
    let state = match state {
        State::Fresh => "fresh".to_owned(),
        State::Cached => {
            let day = date.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d");
            format!("cached {day} {run}")
        }
    };
    match one.row.nature() {
        Nature::Measured => state,
        Nature::Simulated => format!("SIMULATED {state}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{collected, disagg, single};
    use super::*;

    #[test]
    fn figures_keep_four_digits() {
        let shown = [0.01234, 9.87654, 12.3456, 123.456, 1234.56, 98765.4].map(|value| figure(Some(value)));
        assert_eq!(shown, ["0.012", "9.877", "12.35", "123.5", "1235", "98765"]);
        assert_eq!(figure(None), "-");
    }

    #[test]
    fn parallelism_tells_roles_apart() {
        let shown = |point| parallelism(&collected(&point, State::Fresh, false).row);
        assert_eq!(shown(single(8, 1, 4)), "8/1/-");
        assert_eq!(shown(single(8, 8, 4)), "8/8/dp");
        assert_eq!(shown(disagg(2, 1)), "2x4/1/dp + 1x8/1/-");
        assert_eq!(shown(disagg(2, 0)), "2x4/1/dp");
    }

    #[test]
    fn sequences_are_short_where_they_are_round() {
        let shown = |isl, osl| {
            let point = crate::matrix::Point {
                scenario: crate::matrix::Scenario::FixedSeqLen { isl, osl },
                ..single(8, 1, 4)
            };
            sequence(&collected(&point, State::Fresh, false).row)
        };
        assert_eq!(shown(8192, 1024), "8k/1k");
        assert_eq!(shown(1000, 256), "1000/256");
    }
}
