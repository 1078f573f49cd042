//! Accuracy results for people: two tables in GitHub's Markdown.

use super::pyvalue::{Dict, PyValue};

/// What rows are sorted by first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EvalOrder {
    #[default]
    ModelPrefix,
    Hardware,
}

/// A column: its heading, the row's field, how it is shown.
type Column = (&'static str, &'static str, Show);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Show {
    Text,
    Upper,
    Number,
    /// Percent with the standard error of the field `…_se`.
    Percent,
}

use Show::{Number, Percent, Text, Upper};

const IDENTITY: &[Column] = &[
    ("Model Prefix", "model_prefix", Text),
    ("Hardware", "hw", Text),
    ("Framework", "framework", Upper),
    ("Precision", "precision", Upper),
    ("Spec Decode", "spec_decoding", Text),
    ("ISL", "isl", Number),
    ("OSL", "osl", Number),
];

const SINGLE: &[Column] = &[
    ("TP", "tp", Number),
    ("EP", "ep", Number),
    ("Conc", "conc", Number),
    ("DP Attention", "dp_attention", Text),
];

const MULTI: &[Column] = &[
    ("Prefill TP", "prefill_tp", Number),
    ("Prefill EP", "prefill_ep", Number),
    ("Prefill DP Attn", "prefill_dp_attention", Text),
    ("Prefill Workers", "prefill_num_workers", Number),
    ("Decode TP", "decode_tp", Number),
    ("Decode EP", "decode_ep", Number),
    ("Decode DP Attn", "decode_dp_attention", Text),
    ("Decode Workers", "decode_num_workers", Number),
    ("Conc", "conc", Number),
];

const SCORES: &[Column] = &[
    ("Task", "task", Text),
    ("Score", "score", Percent),
    ("EM Strict", "em_strict", Percent),
    ("EM Flexible", "em_flexible", Percent),
    ("N (eff)", "n_eff", Number),
    ("Model", "model", Text),
];

/// The tables as `collect-evals` prints them.
pub(super) fn tables(rows: &[Dict], order: EvalOrder) -> String {
    if rows.is_empty() {
        return "> No eval results found to summarize.\n".to_owned();
    }
    let of = |multinode: bool| {
        let is_multinode = |row: &&Dict| row.get("is_multinode").is_some_and(PyValue::is_true) == multinode;
        let mut rows: Vec<&Dict> = rows.iter().filter(is_multinode).collect();
        rows.sort_by_key(|row| sort_key(row, multinode, order));
        rows
    };
    let table = |heading: &str, rows: &[&Dict], columns: &[Column]| {
        let all: Vec<Column> = [IDENTITY, columns, SCORES].concat();
        (!rows.is_empty()).then(|| format!("### {heading}\n\n{}\n", markdown(rows, &all)))
    };
    let tables = [
        table("Single-Node Eval Results", &of(false), SINGLE),
        table("Multi-Node Eval Results", &of(true), MULTI),
    ];
    tables.into_iter().flatten().collect::<Vec<_>>().join("\n\n")
}

/// Texts and numbers are never compared with each other: each place of the key holds one kind.
fn sort_key(row: &Dict, multinode: bool, order: EvalOrder) -> (Vec<String>, Vec<i64>) {
    let prefix = (order == EvalOrder::ModelPrefix).then_some("model_prefix");
    let texts = prefix
        .into_iter()
        .chain(["hw", "framework", "precision", "spec_decoding"]);
    let numbers: &[&str] = if multinode {
        &[
            "isl",
            "osl",
            "prefill_tp",
            "prefill_ep",
            "prefill_num_workers",
            "decode_tp",
            "decode_ep",
            "decode_num_workers",
            "conc",
        ]
    } else {
        &["isl", "osl", "tp", "ep", "conc"]
    };
    (
        texts.map(|field| cell(row, (field, field, Text))).collect(),
        numbers
            .iter()
            .map(|field| row.int(field).unwrap_or_default())
            .collect(),
    )
}

fn cell(row: &Dict, (_, field, show): Column) -> String {
    let value = row.get(field).unwrap_or(&PyValue::None);
    let percent = |value: &PyValue| value.to_float().map(|share| format!("{:.2}%", share * 100.0));
    match show {
        Text => value.to_string(),
        Upper => value.to_string().to_uppercase(),
        Number if value.is_true() || field != "n_eff" => value.to_string(),
        Number => String::new(),
        Percent => {
            let error = row.get(&format!("{field}_se")).and_then(percent);
            let error = error.map_or_else(String::new, |error| format!(" ±{error}"));
            percent(value).unwrap_or_else(|| "N/A".to_owned()) + &error
        }
    }
}

/// Padded as `tabulate` pads: numbers to the right, a heading's width and two blanks at least.
fn markdown(rows: &[&Dict], columns: &[Column]) -> String {
    let mut lines = vec![String::from("|"); rows.len() + 2];
    for column in columns {
        let cells: Vec<String> = rows.iter().map(|row| cell(row, *column)).collect();
        let least = column.0.chars().count() + 2;
        let widest = cells.iter().map(|cell| cell.chars().count()).chain([least]).max();
        let width = widest.unwrap_or(least);
        let mut put = |line: usize, text: &str| {
            let padded = if column.2 == Number {
                format!(" {text:>width$} |")
            } else {
                format!(" {text:<width$} |")
            };
            lines[line].push_str(&padded);
        };
        put(0, column.0);
        for (line, cell) in cells.iter().enumerate() {
            put(line + 2, cell);
        }
        lines[1].push_str(&"-".repeat(width + 2));
        lines[1].push('|');
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::super::python_json::loads;
    use super::*;

    fn rows() -> Vec<Dict> {
        let row = |json: &str| loads(json).unwrap().as_dict().cloned().unwrap();
        vec![
            row(
                r#"{"is_multinode": false, "model_prefix": "b", "hw": "A100", "framework": "vllm", "score": 0.5, "conc": 4,
                    "score_se": 0.01, "n_eff": null}"#,
            ),
            row(
                r#"{"is_multinode": false, "model_prefix": "a", "hw": "H200", "framework": "vllm", "conc": 16, "n_eff": 9}"#,
            ),
            row(r#"{"is_multinode": true, "model_prefix": "c", "hw": "GB200", "framework": "trt"}"#),
        ]
    }

    #[test]
    fn rows_are_sorted_and_padded() {
        let text = tables(&rows(), EvalOrder::ModelPrefix);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "### Single-Node Eval Results");
        assert!(
            lines[2].starts_with("| Model Prefix   | Hardware   |"),
            "{}",
            lines[2]
        );
        assert!(
            lines[4].starts_with("| a              | H200       | VLLM        |"),
            "{}",
            lines[4]
        );
        assert!(
            lines[4].contains("| N/A ") && lines[4].contains("|   Conc |") == lines[2].contains("|  Conc |")
        );
        assert!(
            lines[5].contains("| 50.00% ±1.00% |") && lines[5].contains("|      4 |"),
            "{}",
            lines[5]
        );
        assert!(text.contains("\n\n\n### Multi-Node Eval Results\n\n"));
        let by_hardware = tables(&rows(), EvalOrder::Hardware);
        assert!(by_hardware.find("A100").unwrap() < by_hardware.find("H200").unwrap());
    }

    #[test]
    fn nothing_is_said_in_a_line() {
        assert_eq!(
            tables(&[], EvalOrder::Hardware),
            "> No eval results found to summarize.\n"
        );
    }
}
