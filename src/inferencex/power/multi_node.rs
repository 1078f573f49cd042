//! Energy of a benchmark on several nodes, from the artifacts that srt-slurm leaves: a manifest, samples, windows.
//!
//! The manifest's own verdict is not believed: it is computed again from the files, and both must say yes. Numbers of
//! an unknown producer are none. A role's energy is that of its GPUs over the whole window, not of a phase.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::collect;
use super::super::python_json::{Layout, dumps};
use super::super::pyvalue::{Dict, PyValue};
use super::manifest::{DeviceKey, Manifest, Roles, contract_failures};
use super::samples::SampleFile;
use super::window::{INTEGRATION_METHOD, Metrics, Window, energy_j, strings, window_or_null};
use super::windows::{Completed, RunWindow, Windows};

/// Where the artifacts of a run lie and what the job knows of it.
#[derive(Debug)]
pub(in crate::inferencex) struct MultiNodeSource<'a> {
    /// The folder that the paths below are relative to.
    pub(in crate::inferencex) folder: &'a Path,
    /// The folder of the manifest.
    pub(in crate::inferencex) artifacts: &'a Path,
    /// The folder that the windows' results lie in.
    pub(in crate::inferencex) logs: &'a Path,
    /// The commit of srt-slurm that the job runs.
    pub(in crate::inferencex) producer: Option<&'a str>,
    pub(in crate::inferencex) prefill_gpus: u32,
    pub(in crate::inferencex) decode_gpus: u32,
}

/// What is known of the energy of a benchmark on several nodes.
#[derive(Debug, Default)]
pub(in crate::inferencex) struct MultiNodeReport {
    /// Why there are no metrics, in the order of discovery; empty when there are.
    pub(in crate::inferencex) reasons: Vec<&'static str>,
    pub(in crate::inferencex) metrics: Metrics,
    /// The same in words.
    failures: Vec<String>,
    window: Option<Window>,
    selected: Option<(RunWindow, Completed)>,
    producer: Option<String>,
    exporter_image: Option<String>,
    stored_verdict: Option<bool>,
    computed_verdict: Option<bool>,
    expected_gpus: usize,
    observed_gpus: usize,
    roles: Vec<(String, String)>,
    energy_j: Vec<(String, f64)>,
    gaps_s: Vec<(String, f64)>,
}

/// Integrates the power that a run's artifacts hold over the window of the raw result.
pub(in crate::inferencex) fn measure(source: &MultiNodeSource<'_>, raw: &PyValue) -> MultiNodeReport {
    let mut report = MultiNodeReport::default();
    let mut of_result = Vec::new();
    report.window = Window::of(raw, &mut of_result);
    let usable = report.window.filter(|_| of_result.is_empty());
    if let Some(metrics) = report.integrate(source, raw, usable) {
        report.metrics = metrics;
    }
    for reason in of_result {
        report.reason(reason);
    }
    report
}

impl MultiNodeReport {
    pub(in crate::inferencex) fn is_valid(&self) -> bool {
        self.reasons.is_empty()
    }

    fn reason(&mut self, reason: &'static str) {
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    fn wrong(&mut self, reason: &'static str, failure: impl Into<String>) {
        self.reason(reason);
        self.failures.push(failure.into());
    }

    fn integrate(
        &mut self,
        source: &MultiNodeSource<'_>,
        raw: &PyValue,
        window: Option<Window>,
    ) -> Option<Metrics> {
        let manifest_file = self.read_manifest(source)?;
        self.check_producer(source);
        let mut failures = contract_failures(&manifest_file);
        let manifest = match Manifest::of(&manifest_file) {
            Ok(manifest) => manifest,
            Err(what) => {
                self.computed_verdict = Some(false);
                self.wrong("manifest_malformed", what);
                return None;
            }
        };
        let artifacts = source.folder.join(source.artifacts);
        let logs = source.folder.join(source.logs);
        let samples = SampleFile::read(&artifacts.join("samples.csv"));
        let expected: BTreeSet<&DeviceKey> = manifest.devices.iter().map(|device| &device.key).collect();
        let mut told: Vec<&str> = samples.reasons.clone();
        told.extend(samples.device_reasons(&expected));
        let roles = manifest.roles();
        told.extend(roles.as_ref().err());
        told.extend(manifest.het_groups().err());
        let mut windows = Windows::scan(&artifacts, &logs);
        let validations = windows.validate(&manifest.windows, &expected, &samples, &logs);
        if manifest.windows.is_empty() {
            told.push("no expected measurement window");
        }
        told.extend(validations.iter().flat_map(|validation| &validation.reasons));
        failures.extend(told.into_iter().map(str::to_owned));
        failures.extend(
            windows
                .errors
                .iter()
                .map(|(path, reason)| format!("{reason} ({path})")),
        );
        let validated = PyValue::List(validations.iter().map(|one| one.to_dict().into()).collect());
        failures.extend(stored_failures(
            &manifest_file,
            &manifest,
            &samples,
            &validated,
            &windows,
        ));
        self.judge(failures);

        let roles = roles.unwrap_or_default();
        self.check_topology(source, &manifest, &roles);
        self.expected_gpus = manifest.devices.len();
        self.observed_gpus = samples.devices.len();
        self.roles = roles
            .iter()
            .map(|(key, role)| (label(&samples, key), role.clone()))
            .collect();
        let (run, completed) = self.select(&windows, raw, window, &logs)?;
        let window = window.filter(|_| self.reasons.is_empty())?;

        let (mut prefill_j, mut decode_j) = (0.0, 0.0);
        for device in &manifest.devices {
            let Some(observed) = samples.device(&device.key) else {
                continue;
            };
            let name = label(&samples, &device.key);
            let energy_j = energy_j(&observed.samples, run.start_s, completed.end_s);
            match roles.get(&device.key).map(String::as_str) {
                Some("prefill") => prefill_j += energy_j,
                Some("decode") => decode_j += energy_j,
                _ => {}
            }
            self.energy_j.push((name.clone(), energy_j));
            let gap_s = observed.largest_gap_s(run.start_s, completed.end_s);
            self.gaps_s.push((name, gap_s.unwrap_or_default()));
        }
        let all_j = self.energy_j.iter().map(|(_, energy)| energy).sum();
        let mut metrics = Metrics::of_deployment(all_j, manifest.devices.len(), &window);
        let power_w = |energy_j: f64, gpus: u32| energy_j / window.duration_s() / f64::from(gpus);
        if source.prefill_gpus > 0 {
            metrics.0.extend([
                ("prefill_gpu_energy_j", prefill_j),
                ("prefill_avg_power_w", power_w(prefill_j, source.prefill_gpus)),
                (
                    "prefill_joules_per_input_token",
                    prefill_j / window.input_tokens as f64,
                ),
            ]);
        }
        if source.decode_gpus > 0 {
            metrics.0.extend([
                ("decode_gpu_energy_j", decode_j),
                ("decode_avg_power_w", power_w(decode_j, source.decode_gpus)),
                (
                    "decode_joules_per_output_token",
                    decode_j / window.output_tokens as f64,
                ),
            ]);
        }
        if metrics.0.iter().any(|(_, value)| !value.is_finite()) {
            self.wrong(
                "non_finite_power_metric",
                "the samples add up to no finite energy",
            );
            return None;
        }
        Some(metrics)
    }

    fn read_manifest(&mut self, source: &MultiNodeSource<'_>) -> Option<Dict> {
        let artifacts = source.folder.join(source.artifacts);
        if !artifacts.is_dir() {
            let folder = source.artifacts.display();
            self.wrong("power_artifacts_missing", format!("power dir missing: {folder}"));
            return None;
        }
        let path = artifacts.join("manifest.json");
        if !path.is_file() {
            self.wrong(
                "manifest_missing",
                format!("manifest missing: {}", path.display()),
            );
            return None;
        }
        let manifest = match collect::read(&path) {
            Ok(PyValue::Dict(manifest)) => manifest,
            Ok(_) => {
                self.wrong("manifest_malformed", "the manifest is no object");
                return None;
            }
            Err(error) => {
                self.wrong("manifest_malformed", error.to_string());
                return None;
            }
        };
        let text = |dict: &Dict, key: &str| dict.get(key).and_then(PyValue::as_str).map(str::to_owned);
        self.stored_verdict = match manifest.get("publication_valid") {
            Some(PyValue::Bool(valid)) => Some(*valid),
            _ => None,
        };
        self.producer = text(&manifest, "producer_git_commit");
        let exporter = manifest.get("dcgm_exporter").and_then(PyValue::as_dict);
        self.exporter_image = exporter.and_then(|exporter| text(exporter, "container_image_sha256"));
        Some(manifest)
    }

    fn check_producer(&mut self, source: &MultiNodeSource<'_>) {
        match source.producer {
            None => self.wrong("producer_pin_missing", "POWER_PRODUCER_SHA is not set"),
            Some(pin) if self.producer.as_deref() != Some(pin) => {
                let producer = self.producer.as_deref().unwrap_or("not told");
                let failure = format!("the producer's commit is {producer}, not {pin}");
                self.wrong("producer_commit_mismatch", failure);
            }
            Some(_) => {}
        }
    }

    /// Compares the verdict that the files bear out with the manifest's own.
    fn judge(&mut self, failures: Vec<String>) {
        let valid = failures.is_empty();
        self.computed_verdict = Some(valid);
        self.failures.extend(failures);
        if !valid {
            self.reason("package_recompute_invalid");
        }
        if self.stored_verdict != Some(valid) {
            let failure = format!(
                "publication_valid is {:?}, the files say {valid}",
                self.stored_verdict
            );
            self.wrong("producer_verdict_mismatch", failure);
        }
    }

    fn check_topology(&mut self, source: &MultiNodeSource<'_>, manifest: &Manifest, roles: &Roles) {
        let wanted = [("prefill", source.prefill_gpus), ("decode", source.decode_gpus)];
        let wanted: Vec<_> = wanted.into_iter().filter(|(_, gpus)| *gpus > 0).collect();
        if wanted.is_empty() {
            self.wrong("topology_env_mismatch", "the job has no GPUs");
        } else if !roles.is_empty() {
            for failure in manifest.topology_failures(roles, &wanted) {
                self.wrong("topology_env_mismatch", failure);
            }
        }
    }

    /// The one completed window at the result's concurrency whose own result is this one.
    fn select(
        &mut self,
        windows: &Windows,
        raw: &PyValue,
        window: Option<Window>,
        logs: &Path,
    ) -> Option<(RunWindow, Completed)> {
        let Some(result) = raw.as_dict() else {
            self.wrong("invalid_benchmark_result", "the result is no object");
            return None;
        };
        let at = result.get("max_concurrency").unwrap_or(&PyValue::None);
        let fits = |run: &&RunWindow| at.equals(&PyValue::Int(run.key.1));
        let completed = |run: &RunWindow| run.completed.map(|completed| (run.clone(), completed));
        let mut found = windows.windows.values().filter(fits).filter_map(completed);
        let (Some((run, completed)), None) = (found.next(), found.next()) else {
            let failure = format!("not exactly one completed window for concurrency {at}");
            self.wrong("window_for_result_missing", failure);
            return None;
        };
        let Ok(original) = collect::read(&logs.join(&run.result)) else {
            let failure = format!("could not read {}", run.result);
            self.wrong("measurement_window_result_missing", failure);
            return None;
        };
        if dumps(&original, Layout::Canonical) != dumps(raw, Layout::Canonical) {
            self.wrong(
                "result_content_mismatch",
                format!("the result differs from {}", run.result),
            );
            return None;
        }
        if window.is_some_and(|window| (window.start_s, window.end_s) != (run.start_s, completed.end_s)) {
            self.wrong(
                "measurement_window_result_mismatch",
                format!("the result has another window than {}", run.file),
            );
            return None;
        }
        self.selected = Some((run.clone(), completed));
        Some((run, completed))
    }

    /// The validation file that stands beside a row.
    pub(in crate::inferencex) fn to_validation(&self, source: &MultiNodeSource<'_>, result: &Path) -> Dict {
        let text = |text: Option<&str>| text.map_or(PyValue::None, PyValue::from);
        let verdict = |verdict: Option<bool>| verdict.map_or(PyValue::None, PyValue::from);
        let floats = |values: &[(String, f64)]| -> Dict {
            let finite = |value: f64| value.is_finite().then_some(value);
            let value = |value: f64| finite(value).map_or(PyValue::None, PyValue::from);
            values.iter().map(|(name, x)| (name.clone(), value(*x))).collect()
        };
        let mut producer = Dict::default();
        producer.set("producer_git_commit", text(self.producer.as_deref()));
        producer.set("expected_producer_git_commit", text(source.producer));
        producer.set("exporter_image_sha256", text(self.exporter_image.as_deref()));
        producer.set("stored_publication_valid", verdict(self.stored_verdict));
        producer.set("recomputed_publication_valid", verdict(self.computed_verdict));
        let roles = self
            .roles
            .iter()
            .map(|(name, role)| (name.clone(), role.as_str().into()));
        let mut validation = Dict::default();
        validation.set("schema_version", 1);
        validation.set("power_valid", self.is_valid());
        validation.set("reasons", strings(self.reasons.iter().copied()));
        validation.set("failures", strings(self.failures.iter().map(String::as_str)));
        validation.set("telemetry_source", source.artifacts.display().to_string());
        validation.set("benchmark_result", result.display().to_string());
        validation.set("benchmark_window", window_or_null(self.window));
        validation.set(
            "selected_window",
            self.selected
                .as_ref()
                .map_or(PyValue::None, |(run, completed)| selected(run, *completed).into()),
        );
        validation.set("integration_method", INTEGRATION_METHOD);
        validation.set("producer", producer);
        validation.set("expected_gpu_count", self.expected_gpus as i64);
        validation.set("observed_gpu_count", self.observed_gpus as i64);
        validation.set("per_gpu_role", roles.collect::<Dict>());
        validation.set("per_gpu_max_sample_gap_s", floats(&self.gaps_s));
        validation.set("per_gpu_energy_j", floats(&self.energy_j));
        validation.set("metrics", self.metrics.to_dict());
        validation
    }
}

fn selected(run: &RunWindow, completed: Completed) -> Dict {
    let mut window = Dict::default();
    window.set("window_file", run.file.as_str());
    window.set("result_path", run.result.as_str());
    window.set("benchmark_type", run.key.0.as_str());
    window.set("concurrency", run.key.1);
    window.set("start_time_unix", run.start_s);
    window.set("end_time_unix", completed.end_s);
    window.set("duration", completed.duration_s);
    window
}

/// What the manifest says of its files and the files do not bear out.
fn stored_failures(
    stored: &Dict,
    manifest: &Manifest,
    samples: &SampleFile,
    validated: &PyValue,
    windows: &Windows,
) -> Vec<String> {
    let is = |key: &str, value: &PyValue| stored.get(key).is_some_and(|stored| stored.equals(value));
    let observed = PyValue::List(
        samples
            .devices
            .iter()
            .map(|device| device.to_dict().into())
            .collect(),
    );
    let enough_scrapes = match (stored.get("scrape_count"), samples.last_scrape) {
        (_, None) => true,
        (Some(PyValue::Int(scrapes)), Some(last)) => *scrapes > last,
        _ => false,
    };
    let distinct = |count: usize, all: usize| count == all;
    let devices: BTreeSet<_> = manifest.devices.iter().map(|device| &device.key).collect();
    let expected_windows: BTreeSet<_> = manifest.windows.iter().collect();
    [
        (
            is("sample_row_count", &(samples.rows as i64).into()),
            "sample_row_count",
        ),
        (enough_scrapes, "scrape_count"),
        (!samples.devices.is_empty(), "observed devices"),
        (is("observed_devices", &observed), "observed_devices"),
        (is("window_validations", validated), "window_validations"),
        (
            is("artifact_errors", &windows.errors_as_listed()),
            "artifact_errors",
        ),
        (
            distinct(devices.len(), manifest.devices.len()),
            "expected_devices",
        ),
        (
            distinct(expected_windows.len(), manifest.windows.len()),
            "expected_windows",
        ),
    ]
    .into_iter()
    .filter(|(holds, _)| !holds)
    .map(|(_, what)| format!("{what} of the manifest is not borne out by its files"))
    .collect()
}

/// The GPU's name in a validation file; by its index where it was not observed.
fn label(samples: &SampleFile, key: &DeviceKey) -> String {
    let observed = samples
        .device(key)
        .and_then(super::samples::ObservedDevice::label);
    observed.unwrap_or_else(|| format!("{}/{}", key.0, key.1))
}

#[cfg(test)]
mod tests;
