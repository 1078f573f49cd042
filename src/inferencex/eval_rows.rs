//! Accuracy results of lm-eval, a row a task, with what the job said of itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::collect::read;
use super::pyvalue::{Dict, PyValue, python_int};

/// The rows of all sets: folders with a `meta_env.json`, `root` itself or directly below it, in the file system's order.
/// What cannot be read is left out, as upstream does.
pub(super) fn collect(folder: &Path, root: &Path) -> Vec<Dict> {
    let mut rows = Vec::new();
    for set in sets(folder, root) {
        let meta = read_dict(&folder.join(&set).join("meta_env.json")).unwrap_or_default();
        let batch = match meta.get("eval_concs") {
            Some(PyValue::List(concs)) => Some(Batch::of(&meta, concs)),
            _ => None,
        };
        for (result, conc) in result_files(&folder.join(&set), batch.as_ref()) {
            let mut meta = meta.clone();
            meta.set_some("conc", conc);
            let Some(data) = read_dict(&result) else {
                continue;
            };
            // Under the path that was given, not under where that lies.
            let source = set.join(result.file_name().unwrap_or_default());
            rows.extend(
                tasks(&data, &source.display().to_string())
                    .iter()
                    .map(|task| row(&meta, task)),
            );
        }
    }
    rows
}

fn sets(folder: &Path, root: &Path) -> Vec<PathBuf> {
    let is_set = |path: &Path| folder.join(path).join("meta_env.json").exists();
    let mut sets = Vec::new();
    if is_set(root) {
        sets.push(root.to_owned());
    }
    let below = std::fs::read_dir(folder.join(root))
        .into_iter()
        .flatten()
        .flatten();
    sets.extend(
        below
            .map(|entry| root.join(entry.file_name()))
            .filter(|path| is_set(path)),
    );
    sets
}

/// The points of an eval that ran several on one server.
struct Batch {
    /// Those that were finished; all when the job did not say.
    completed: Option<Vec<i64>>,
}

impl Batch {
    fn of(meta: &Dict, concs: &[PyValue]) -> Self {
        let ints = |concs: &[PyValue]| concs.iter().map(|conc| conc.to_int().unwrap_or(-1)).collect();
        Self {
            completed: match meta.get("completed_eval_concs") {
                None => Some(ints(concs)),
                Some(PyValue::List(completed)) => Some(ints(completed)),
                Some(_) => None,
            },
        }
    }
}

/// The newest result; of a batch the newest at each finished concurrency.
fn result_files(set: &Path, batch: Option<&Batch>) -> Vec<(PathBuf, Option<i64>)> {
    let files = std::fs::read_dir(set).into_iter().flatten().flatten();
    let files = files.map(|entry| entry.path()).filter(|path| {
        path.extension().is_some_and(|extension| extension == "json")
            && path.file_name().is_some_and(|name| name != "meta_env.json")
            && read_dict(path).is_some_and(|data| data.get("lm_eval_version").is_some())
    });
    let mut newest: BTreeMap<Option<i64>, (SystemTime, PathBuf)> = BTreeMap::new();
    for path in files {
        let conc = match batch {
            None => None,
            Some(batch) => match concurrency(&path) {
                Some(conc) if batch.completed.as_ref().is_none_or(|all| all.contains(&conc)) => Some(conc),
                _ => continue,
            },
        };
        let at = path
            .metadata()
            .and_then(|meta| meta.modified())
            .unwrap_or(SystemTime::UNIX_EPOCH);
        match newest.get(&conc) {
            Some((known, _)) if *known >= at => {}
            _ => {
                newest.insert(conc, (at, path));
            }
        }
    }
    newest.into_iter().map(|(conc, (_, path))| (path, conc)).collect()
}

/// N of `…_concN.json` or `…_concN_M.json`.
fn concurrency(path: &Path) -> Option<i64> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".json")?;
    let (_, tail) = stem.rsplit_once("_conc")?;
    let (conc, repeat) = tail.split_once('_').unwrap_or((tail, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (digits(conc) && digits(repeat))
        .then(|| conc.parse().ok())
        .flatten()
}

fn read_dict(path: &Path) -> Option<Dict> {
    read(path).ok()?.as_dict().cloned()
}

/// What one task of a result file says.
#[derive(Debug, Default)]
struct Task {
    name: String,
    model: Option<PyValue>,
    strict: Measured,
    flexible: Measured,
    accuracy: Measured,
    samples: PyValue,
    source: String,
}

/// A metric and its standard error, null where the file has none.
#[derive(Debug, Clone, Default)]
struct Measured {
    value: PyValue,
    error: PyValue,
}

fn tasks(data: &Dict, source: &str) -> Vec<Task> {
    let empty = Dict::default();
    let dict = |parent: &Dict, key: &str| {
        parent
            .get(key)
            .and_then(PyValue::as_dict)
            .cloned()
            .unwrap_or_default()
    };
    let (results, configs, samples) = (
        dict(data, "results"),
        dict(data, "configs"),
        dict(data, "n-samples"),
    );
    let mut tasks = Vec::new();
    for (name, result) in results.iter() {
        let result = result.as_dict().unwrap_or(&empty);
        let config = dict(&configs, name);
        let named = |list: &str, key: &str| -> Vec<String> {
            let items = config.get(list).map_or(&[][..], PyValue::items).iter();
            items
                .filter_map(PyValue::as_dict)
                .map(|item| item.text(key).to_owned())
                .collect()
        };
        let metrics = named("metric_list", "metric");
        let metric = metrics.first().map_or("exact_match", String::as_str);
        let measured = |value: &str, error: &str| Measured {
            value: result.get(value).cloned().unwrap_or_default(),
            error: result.get(error).cloned().unwrap_or_default(),
        };
        let mut task = Task {
            name: name.to_owned(),
            source: source.to_owned(),
            samples: dict(&samples, name).get("effective").cloned().unwrap_or_default(),
            model: data
                .get("model_name")
                .filter(|model| model.is_true())
                .or_else(|| config.get("metadata")?.as_dict()?.get("model"))
                .cloned(),
            ..Task::default()
        };
        let filters = named("filter_list", "name");
        if filters.is_empty() && result.get("acc").is_some() {
            task.accuracy = measured("acc", "acc_stderr");
        } else if filters.is_empty() {
            task.strict = measured(metric, &format!("{metric}_stderr"));
        }
        for filter in filters {
            let of_filter = measured(
                &format!("{metric},{filter}"),
                &format!("{metric}_stderr,{filter}"),
            );
            if filter.contains("strict") || filter.contains("resolved") {
                task.strict = of_filter;
            } else if filter.contains("flex") || filter.contains("extract") {
                task.flexible = of_filter;
            }
        }
        tasks.push(task);
    }
    tasks
}

fn row(meta: &Dict, task: &Task) -> Dict {
    let text = |key: &str| {
        meta.get(key)
            .map_or_else(|| "unknown".to_owned(), PyValue::to_string)
    };
    let int = |keys: &[&str], default: i64| {
        let found = keys.iter().find_map(|key| meta.get(key));
        found.map_or(default, |value| as_int(value).unwrap_or(default))
    };
    let multinode = meta.get("is_multinode").is_some_and(is_true_text);
    let none = PyValue::from("none");
    let attention = meta.get("dp_attention").unwrap_or(&none);
    let prefill_attention = meta.some("prefill_dp_attention").unwrap_or(attention);
    let decode_attention = meta.some("decode_dp_attention").unwrap_or(attention);
    let lower = |value: &PyValue| value.to_string().to_lowercase();
    let attention = if !multinode {
        lower(attention)
    } else if prefill_attention.equals(decode_attention) {
        lower(prefill_attention)
    } else {
        format!(
            "prefill={},decode={}",
            lower(prefill_attention),
            lower(decode_attention)
        )
    };
    let (prefill_tp, prefill_ep) = (int(&["prefill_tp", "tp"], 1), int(&["prefill_ep", "ep"], 1));
    let mut row = Dict::default();
    row.set("is_multinode", multinode);
    row.set(
        "model_prefix",
        meta.get("infmax_model_prefix")
            .cloned()
            .unwrap_or("unknown".into()),
    );
    let model = task
        .model
        .as_ref()
        .filter(|model| model.is_true())
        .or_else(|| meta.get("model"));
    row.set("model", model.cloned().unwrap_or("unknown".into()));
    row.set("hw", text("hw").to_uppercase());
    row.set("framework", text("framework").to_lowercase());
    row.set("precision", text("precision").to_lowercase());
    row.set(
        "spec_decoding",
        meta.get("spec_decoding").cloned().unwrap_or("unknown".into()),
    );
    row.set("isl", int(&["isl"], 0));
    row.set("osl", int(&["osl"], 0));
    row.set("tp", int(&["tp"], prefill_tp));
    row.set("ep", int(&["ep"], prefill_ep));
    row.set("prefill_tp", prefill_tp);
    row.set("prefill_ep", prefill_ep);
    row.set("prefill_num_workers", int(&["prefill_num_workers"], 1));
    row.set("decode_tp", int(&["decode_tp", "tp"], 1));
    row.set("decode_ep", int(&["decode_ep", "ep"], 1));
    row.set("decode_num_workers", int(&["decode_num_workers"], 1));
    row.set("conc", int(&["conc"], 0));
    row.set("dp_attention", attention);
    row.set("prefill_dp_attention", lower(prefill_attention));
    row.set("decode_dp_attention", lower(decode_attention));
    row.set("task", task.name.as_str());
    row.set("em_strict", &task.strict.value);
    row.set("em_strict_se", &task.strict.error);
    row.set("em_flexible", &task.flexible.value);
    row.set("em_flexible_se", &task.flexible.error);
    row.set("n_eff", &task.samples);
    row.set("source", task.source.as_str());
    let (score, name) = if !task.strict.value.is_none() {
        (task.strict.clone(), PyValue::from("em_strict"))
    } else if !task.accuracy.value.is_none() {
        (task.accuracy.clone(), PyValue::from("accuracy"))
    } else {
        (Measured::default(), PyValue::None)
    };
    row.set("score", score.value);
    row.set("score_name", name);
    row.set("score_se", score.error);
    row
}

/// Python's `int`: a fraction is cut off, a text must be whole.
fn as_int(value: &PyValue) -> Option<i64> {
    match value {
        PyValue::Float(value) if value.is_finite() => Some(value.trunc() as i64),
        PyValue::Str(text) => python_int(text),
        other => other.to_int(),
    }
}

fn is_true_text(value: &PyValue) -> bool {
    value.to_string().to_lowercase() == "true"
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn set(root: &Path, name: &str, files: &[(&str, &str)]) {
        std::fs::create_dir_all(root.join(name)).unwrap();
        for (file, text) in files {
            std::fs::write(root.join(name).join(file), text).unwrap();
        }
    }

    const RESULT: &str = r#"{"lm_eval_version": "1", "model_name": "m", "results": {"gsm8k":
        {"exact_match,strict-match": 0.9, "exact_match,flexible-extract": 0.95}}, "configs": {"gsm8k":
        {"metric_list": [{"metric": "exact_match"}], "filter_list": [{"name": "strict-match"},
        {"name": "flexible-extract"}]}}, "n-samples": {"gsm8k": {"effective": 10}}}"#;

    #[test]
    fn a_task_is_a_row() {
        let folder = tempfile::tempdir().unwrap();
        set(
            folder.path(),
            "r/a",
            &[
                ("meta_env.json", r#"{"hw": "h200", "tp": "4", "conc": 8.0}"#),
                ("results_1.json", RESULT),
                ("x.json", "{}"),
            ],
        );
        set(folder.path(), "r/b", &[("results_1.json", RESULT)]);
        let rows = collect(folder.path(), Path::new("r/"));
        assert_eq!(rows.len(), 1);
        let row = &rows[0];
        assert_eq!(
            (row.text("hw"), row.text("framework"), row.text("source")),
            ("H200", "unknown", "r/a/results_1.json")
        );
        assert_eq!(
            (row.int("tp"), row.int("conc"), row.int("n_eff")),
            (Some(4), Some(8), Some(10))
        );
        assert_eq!(
            (row.get("score"), row.text("score_name")),
            (Some(&PyValue::Float(0.9)), "em_strict")
        );
    }

    #[test]
    fn a_batch_has_a_result_for_each_finished_point() {
        let folder = tempfile::tempdir().unwrap();
        let meta = r#"{"eval_concs": [4, 8, 16], "completed_eval_concs": [8, 4]}"#;
        set(
            folder.path(),
            "r",
            &[
                ("meta_env.json", meta),
                ("results_conc8.json", RESULT),
                ("results_conc4_1.json", RESULT),
                ("results_conc16.json", RESULT),
                ("results.json", RESULT),
            ],
        );
        let rows = collect(folder.path(), Path::new("r"));
        assert_eq!(
            rows.iter().map(|row| row.int("conc")).collect::<Vec<_>>(),
            [Some(4), Some(8)]
        );
    }
}
