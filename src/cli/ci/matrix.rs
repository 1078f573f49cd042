//! Shards as GitHub takes them: matrices of jobs, within its limits.

use serde::Serialize;

/// GitHub runs at most so many jobs of one matrix.
pub(super) const MOST_JOBS: usize = 256;

/// All outputs of a job together may be this long, in bytes of UTF-16, as GitHub counts.
pub(super) const MOST_BYTES: usize = 1_000_000;

/// A job of the matrix: `matrix.shard`, `matrix.name`, …
#[derive(Debug, Clone, Serialize)]
pub(super) struct Job {
    pub shard: String,
    /// For people.
    pub name: String,
    /// The pool that it runs on; empty where pools were not told apart.
    pub pool: String,
    pub points: usize,
    pub servers: usize,
    /// Its length by earlier records, in ms; null where one is missing.
    pub estimate_ms: Option<u64>,
}

/// A value of `strategy.matrix`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Matrix<'a> {
    include: &'a [Job],
}

/// The jobs in matrices of at most [`MOST_JOBS`]; one without jobs when there are none.
pub(super) fn matrices(jobs: &[Job]) -> Vec<Matrix<'_>> {
    match jobs {
        [] => vec![Matrix { include: &[] }],
        jobs => jobs.chunks(MOST_JOBS).map(|include| Matrix { include }).collect(),
    }
}

/// A value as JSON on one line.
pub(super) fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a matrix has text keys")
}

/// Outputs of a step, as GitHub reads them from the file in `GITHUB_OUTPUT`:
///
/// - `stale`: `true` when there is something to measure;
/// - `shards`: how many shards;
/// - `matrix`: the matrix; where there are too many jobs for one, the first of several;
/// - `matrices`: all of them, as a list.
///
/// Or how long they would be, when that is more than [`MOST_BYTES`].
pub(super) fn outputs(jobs: &[Job]) -> Result<String, usize> {
    let matrices = matrices(jobs);
    let text = format!(
        "stale={}\nshards={}\nmatrix={}\nmatrices={}\n",
        !jobs.is_empty(),
        jobs.len(),
        line(&matrices[0]),
        line(&matrices)
    );
    let bytes = 2 * text.encode_utf16().count();
    if bytes > MOST_BYTES { Err(bytes) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::Value;

    use super::*;

    fn jobs(count: usize) -> Vec<Job> {
        let job = |i| Job {
            shard: format!("h200-{i}of{count}-1c9f02ab"),
            name: format!("h200 {i} of {count}"),
            pool: "h200".to_owned(),
            points: 3,
            servers: 1,
            estimate_ms: Some(90_000),
        };
        (1..=count).map(job).collect()
    }

    fn output(text: &str, name: &str) -> Value {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        serde_json::from_str(line.unwrap()).unwrap()
    }

    #[test]
    fn a_matrix_has_at_most_256_jobs_and_none_is_lost() {
        for count in [1, 256, 257, 1000] {
            let text = outputs(&jobs(count)).unwrap();
            let matrices = output(&text, "matrices");
            let sizes: Vec<usize> = matrices
                .as_array()
                .unwrap()
                .iter()
                .map(|matrix| matrix["include"].as_array().unwrap().len())
                .collect();
            assert_eq!(sizes.iter().sum::<usize>(), count);
            assert!(sizes.iter().all(|size| *size <= MOST_JOBS) && sizes.len() == count.div_ceil(256));
            assert_eq!(output(&text, "matrix"), matrices[0]);
            assert_eq!(output(&text, "stale"), true);
            assert_eq!(output(&text, "shards"), count);
        }
    }

    #[test]
    fn without_jobs_the_matrix_is_empty_and_nothing_is_stale() {
        let text = outputs(&[]).unwrap();
        assert_eq!(output(&text, "stale"), false);
        assert_eq!(output(&text, "matrix"), serde_json::json!({ "include": [] }));
    }

    #[test]
    fn outputs_beyond_a_megabyte_are_told() {
        assert!(outputs(&jobs(2500)).is_ok());
        let bytes = outputs(&jobs(5000)).map(drop).unwrap_err();
        assert!(bytes > MOST_BYTES);
    }
}
