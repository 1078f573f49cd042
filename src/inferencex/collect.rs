//! What jobs left, gathered: all result files below a folder in one list, all evals in one list and two tables.

use std::io;
use std::path::{Path, PathBuf};

use super::eval_rows;
use super::eval_tables::{EvalOrder, tables};
use super::python_json::{Layout, dumps, loads};
use super::pyvalue::PyValue;

/// Why results could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error("could not read {}: {error}", .path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{} is no JSON: {error}", .path.display())]
    Json { path: PathBuf, error: serde_json::Error },
    #[error("could not write {}: {error}", .path.display())]
    Write { path: PathBuf, error: io::Error },
}

/// Writes every `*.json` below `results` to `agg_<name>.json` in `folder`, and says how many there were. Upstream lists
/// them as the file system does; here they stand by path.
pub fn collect_results(folder: &Path, results: &Path, name: &str) -> Result<usize, CollectError> {
    let mut files = Vec::new();
    walk(&folder.join(results), &mut files)?;
    files.sort();
    let all = files
        .iter()
        .map(|path| read(path))
        .collect::<Result<Vec<_>, _>>()?;
    let count = all.len();
    write(folder, &format!("agg_{name}.json"), &PyValue::List(all))?;
    Ok(count)
}

/// Writes the evals below `results` to `agg_eval_<name>.json` in `folder`, and gives their tables.
pub fn collect_evals(
    folder: &Path,
    results: &Path,
    name: &str,
    order: EvalOrder,
) -> Result<String, CollectError> {
    let rows = eval_rows::collect(folder, results);
    let text = tables(&rows, order);
    let all = PyValue::List(rows.into_iter().map(PyValue::Dict).collect());
    write(folder, &format!("agg_eval_{name}.json"), &all)?;
    Ok(text)
}

/// A folder that is not there holds nothing.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), CollectError> {
    let failed = |error| CollectError::Read {
        path: folder.to_owned(),
        error,
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        // A link to a folder is not followed: it may lead back here.
        if entry.file_type().map_err(failed)?.is_dir() {
            walk(&entry.path(), files)?;
        } else if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(entry.path());
        }
    }
    Ok(())
}

pub(super) fn read(path: &Path) -> Result<PyValue, CollectError> {
    let text = std::fs::read_to_string(path).map_err(|error| CollectError::Read {
        path: path.to_owned(),
        error,
    })?;
    loads(&text).map_err(|error| CollectError::Json {
        path: path.to_owned(),
        error,
    })
}

fn write(folder: &Path, name: &str, value: &PyValue) -> Result<(), CollectError> {
    let path = folder.join(name);
    std::fs::write(&path, dumps(value, Layout::Indented)).map_err(|error| CollectError::Write { path, error })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn all_files_at_any_depth_become_one_list() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        file("results/b/x.json", r#"{"b": 1.0}"#);
        file("results/a.json", "[]");
        file("results/a.txt", "no");
        assert_eq!(
            collect_results(folder.path(), Path::new("results/"), "bmk").unwrap(),
            2
        );
        let written = std::fs::read_to_string(folder.path().join("agg_bmk.json")).unwrap();
        assert_eq!(written, "[\n  [],\n  {\n    \"b\": 1.0\n  }\n]");
        file("results/c.json", "{");
        let told = collect_results(folder.path(), Path::new("results"), "bmk").unwrap_err();
        assert!(told.to_string().contains("c.json is no JSON"));
        assert_eq!(
            collect_results(folder.path(), Path::new("none"), "none").unwrap(),
            0
        );
    }
}
