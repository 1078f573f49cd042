//! `sweep results`.

use super::{Project, built, told};

#[test]
fn none_before_a_build() {
    let project = Project::new();
    let ran = project.sweep(&["results"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "no results\n"), "{ran}");
    assert_eq!(
        ran.stderr,
        "0 rows; 10 points without a fresh one: `sweep plan` says why\n"
    );
    assert_eq!(told(&project, &["results", "--format", "json"]), "[]\n");
    assert_eq!(told(&project, &["results", "--format", "csv"]).lines().count(), 1);
    assert!(!project.path(".cache").exists());
}

#[test]
fn the_four_formats_hold_the_same_rows() {
    let project = Project::new();
    built(&project, &["gamma-*", "delta-*"]);
    let rows = project.json(&["results", "gamma-*", "delta-*", "--format", "json"]);
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 4);
    for row in rows {
        assert_eq!(row["simulated"], true, "{row}");
        assert_eq!(row["provenance"]["state"], "cached", "{row}");
        assert!(row["tput_per_gpu"].as_f64().unwrap() > 0.0, "{row}");
    }
    let csv = told(&project, &["results", "gamma-*", "delta-*", "--format", "csv"]);
    let table = told(&project, &["results", "gamma-*", "delta-*"]);
    let markdown = told(&project, &["results", "gamma-*", "delta-*", "--format", "md"]);
    let mut lines = csv.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let column = |name: &str| header.iter().position(|h| *h == name).unwrap();
    for (line, row) in lines.zip(rows) {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells.len(), header.len());
        assert_eq!(cells[column("conc")], row["conc"].to_string());
        assert_eq!(cells[column("tput_tok_s_gpu")], row["tput_per_gpu"].to_string());
        assert_eq!(cells[column("target")], row["provenance"]["target"]);
    }
    assert_eq!(csv.lines().count(), 5);
    assert_eq!(
        markdown
            .lines()
            .filter(|l| l.starts_with("| gamma ") || l.starts_with("| delta "))
            .count(),
        4
    );
    assert_eq!(
        table
            .lines()
            .filter(|l| l.starts_with("gamma") || l.starts_with("delta"))
            .count(),
        4
    );
    assert!(table.starts_with("SIMULATED: "), "{table}");
}

#[test]
fn only_fresh_rows_are_printed_and_the_others_counted() {
    let project = Project::new();
    built(&project, &["gamma-*"]);
    project.edit_config("gamma-fp8-h100-vllm", "conc-list: [1, 2]", "conc-list: [2, 3]");
    let ran = project.sweep(&["results", "gamma-*", "--format", "json"]);
    assert_eq!(
        ran.stderr,
        "1 row; 1 point without a fresh one: `sweep plan` says why\n"
    );
    let rows: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["conc"]), (1, &2.into()));
}
