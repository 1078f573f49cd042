//! When srt-slurm's benchmarks ran: `windows/*.json`, and what its manifest says of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::super::collect;
use super::super::pyvalue::{Dict, PyValue};
use super::manifest::{CLOCK, DeviceKey, VERSION, WindowKey};
use super::samples::SampleFile;
use super::window::{MOST_GAP_S, finite, tolerance_s};

const FOLDER: &str = "windows";

/// When a benchmark of a run was measured.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RunWindow {
    /// The window's file, below the artifacts.
    pub file: String,
    pub key: WindowKey,
    /// The benchmark's result, below the run's logs.
    pub result: String,
    pub start_s: f64,
    /// None unless the benchmark was completed.
    pub completed: Option<Completed>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Completed {
    pub end_s: f64,
    pub duration_s: f64,
}

/// All windows of a run.
#[derive(Debug, Default)]
pub(super) struct Windows {
    pub windows: BTreeMap<WindowKey, RunWindow>,
    twice: BTreeSet<WindowKey>,
    /// Files that are no windows and why, as a manifest lists them.
    pub errors: Vec<(String, &'static str)>,
}

/// What became of an expected window.
#[derive(Debug)]
pub(super) struct Validation {
    key: WindowKey,
    file: Option<String>,
    pub reasons: Vec<&'static str>,
    gaps_s: Vec<(String, f64)>,
}

impl Windows {
    /// Reads the windows below `artifacts`, whose results lie below `logs`.
    pub(super) fn scan(artifacts: &Path, logs: &Path) -> Self {
        let mut scan = Self::default();
        let folder = artifacts.join(FOLDER);
        if !folder.is_dir() {
            return scan;
        }
        if !stays_below(artifacts, FOLDER) {
            scan.errors
                .push((FOLDER.to_owned(), "measurement_window_artifact_path_invalid"));
            return scan;
        }
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let file = format!("{FOLDER}/{name}");
            if path.is_symlink() || !path.is_file() {
                scan.errors
                    .push((file, "measurement_window_artifact_path_invalid"));
                continue;
            }
            match RunWindow::read(&path, file.clone(), logs) {
                Err(reason) => scan.errors.push((file, reason)),
                Ok(window) => scan.add(window),
            }
        }
        for key in &scan.twice {
            scan.windows.remove(key);
        }
        scan
    }

    fn add(&mut self, window: RunWindow) {
        const TWICE: &str = "measurement_window_duplicate";
        match self.windows.get(&window.key) {
            Some(first) => {
                self.errors.push((first.file.clone(), TWICE));
                self.errors.push((window.file, TWICE));
                self.twice.insert(window.key);
            }
            None => {
                self.windows.insert(window.key.clone(), window);
            }
        }
    }

    /// Holds each expected window against its result and the samples.
    pub(super) fn validate(
        &mut self,
        expected: &[WindowKey],
        devices: &BTreeSet<&DeviceKey>,
        samples: &SampleFile,
        logs: &Path,
    ) -> Vec<Validation> {
        for (key, window) in &self.windows {
            if !expected.contains(key) {
                self.errors
                    .push((window.file.clone(), "measurement_window_unexpected"));
            }
        }
        expected
            .iter()
            .map(|key| {
                let mut validation = Validation {
                    key: key.clone(),
                    file: None,
                    reasons: Vec::new(),
                    gaps_s: Vec::new(),
                };
                match self.windows.get(key) {
                    None if self.twice.contains(key) => validation.wrong("measurement_window_duplicate"),
                    None => validation.wrong("measurement_window_missing"),
                    Some(window) => validation.judge(window, devices, samples, logs),
                }
                validation
            })
            .collect()
    }

    /// The errors as a manifest lists them.
    pub(super) fn errors_as_listed(&self) -> PyValue {
        let error = |(path, reason): &(String, &'static str)| {
            let mut error = Dict::default();
            error.set("path", path.as_str());
            error.set("reason_codes", vec![PyValue::from(*reason)]);
            PyValue::Dict(error)
        };
        PyValue::List(self.errors.iter().map(error).collect())
    }
}

impl Validation {
    fn wrong(&mut self, reason: &'static str) {
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    fn judge(
        &mut self,
        window: &RunWindow,
        devices: &BTreeSet<&DeviceKey>,
        samples: &SampleFile,
        logs: &Path,
    ) {
        self.file = Some(window.file.clone());
        let Some(completed) = window.completed else {
            self.wrong("measurement_window_incomplete");
            return;
        };
        if let Err(reason) = window.check_result(completed, logs) {
            self.wrong(reason);
            return;
        }
        for key in devices {
            let Some(device) = samples.device(key) else {
                self.wrong("measurement_window_not_bracketed");
                continue;
            };
            let Some(label) = device.label() else {
                self.wrong("gpu_uuid_changed");
                continue;
            };
            let Some(gap_s) = device.largest_gap_s(window.start_s, completed.end_s) else {
                self.wrong("measurement_window_not_bracketed");
                continue;
            };
            self.gaps_s.push((label, gap_s));
            if gap_s > MOST_GAP_S {
                self.wrong("sample_gap_exceeded");
            }
        }
        if !self.reasons.is_empty() {
            self.gaps_s.clear();
        }
    }

    /// As a manifest lists it.
    pub(super) fn to_dict(&self) -> Dict {
        let mut dict = Dict::default();
        dict.set("benchmark_type", self.key.0.as_str());
        dict.set("concurrency", self.key.1);
        dict.set(
            "window_file",
            self.file.as_deref().map_or(PyValue::None, PyValue::from),
        );
        dict.set("power_coverage_valid", self.reasons.is_empty());
        dict.set(
            "reason_codes",
            PyValue::List(self.reasons.iter().map(|reason| (*reason).into()).collect()),
        );
        let gaps = self
            .gaps_s
            .iter()
            .map(|(label, gap)| (label.clone(), (*gap).into()));
        dict.set("per_device_max_sample_gap_seconds", gaps.collect::<Dict>());
        dict
    }
}

impl RunWindow {
    fn read(path: &Path, file: String, logs: &Path) -> Result<Self, &'static str> {
        const MALFORMED: &str = "measurement_window_malformed";
        const RESULT_PATH: &str = "measurement_window_result_path_invalid";
        let value = collect::read(path).map_err(|_| MALFORMED)?;
        let raw = value.as_dict().ok_or(MALFORMED)?;
        let is = |key: &str, expected: PyValue| raw.get(key).is_some_and(|value| value.equals(&expected));
        let status = raw.text("status");
        let key = match (raw.get("benchmark_type"), raw.get("concurrency")) {
            (Some(PyValue::Str(kind)), Some(PyValue::Int(concurrency))) => (kind.clone(), *concurrency),
            _ => return Err(MALFORMED),
        };
        let start_s = raw.get("benchmark_start_time_unix").and_then(finite);
        let known = ["running", "completed", "failed", "interrupted"].contains(&status);
        let (Some(start_s), true, true, true) = (
            start_s,
            known,
            is("schema_version", VERSION.into()),
            is("clock_source", CLOCK.into()),
        ) else {
            return Err(MALFORMED);
        };
        let result = raw.text("result_path");
        let named_alike = Path::new(result).file_stem() == path.file_stem();
        if !is_plain(result) || !named_alike || !stays_below(logs, result) {
            return Err(RESULT_PATH);
        }
        let end = raw.some("benchmark_end_time_unix");
        let duration = raw.some("duration");
        let reason = raw.some("reason");
        let gives_reason = !raw.text("reason").is_empty();
        let ended = end
            .and_then(finite)
            .zip(duration.and_then(finite).filter(|d| *d > 0.0));
        let holds = match status {
            "running" => end.is_none() && duration.is_none() && reason.is_none(),
            "interrupted" => end.is_none() && duration.is_none() && gives_reason,
            "completed" => ended.is_some() && reason.is_none(),
            _ => ended.is_some() && gives_reason,
        };
        if !holds {
            return Err(MALFORMED);
        }
        Ok(Self {
            file,
            key,
            result: result.to_owned(),
            start_s,
            completed: ended
                .filter(|_| status == "completed")
                .map(|(end_s, duration_s)| Completed { end_s, duration_s }),
        })
    }

    /// Whether the benchmark's own result says the same.
    fn check_result(&self, completed: Completed, logs: &Path) -> Result<(), &'static str> {
        let path = logs.join(&self.result);
        let value = collect::read(&path).map_err(|_| "measurement_window_result_missing")?;
        let says = |key: &str, expected: f64| {
            let value = value.as_dict().and_then(|result| result.get(key));
            value.is_some_and(|value| value.equals(&expected.into()))
        };
        if !says("benchmark_start_time_unix", self.start_s)
            || !says("benchmark_end_time_unix", completed.end_s)
            || !says("duration", completed.duration_s)
        {
            return Err("measurement_window_result_mismatch");
        }
        let wall_s = completed.end_s - self.start_s;
        if (wall_s - completed.duration_s).abs() > tolerance_s(completed.duration_s) {
            return Err("measurement_window_clock_mismatch");
        }
        Ok(())
    }
}

/// Whether a path is relative and does not climb.
fn is_plain(path: &str) -> bool {
    let mut parts = Path::new(path).components().peekable();
    !path.starts_with('~')
        && parts.peek().is_some()
        && parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// Whether a path, links followed, does not lead out of its folder.
fn stays_below(folder: &Path, path: &str) -> bool {
    let real = |path: &Path| resolved(&std::path::absolute(path).ok()?);
    match (real(&folder.join(path)), real(folder)) {
        (Some(path), Some(folder)) => path.starts_with(folder),
        _ => false,
    }
}

/// A path with its links followed as far as it exists.
fn resolved(path: &Path) -> Option<PathBuf> {
    path.ancestors().find_map(|ancestor| {
        let real = ancestor.canonicalize().ok()?;
        Some(real.join(path.strip_prefix(ancestor).ok()?))
    })
}
