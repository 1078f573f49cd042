//! What srt-slurm says it sampled: `manifest.json` of its DCGM power artifacts, version 1.

use std::collections::{BTreeMap, BTreeSet};

use super::super::pyvalue::{Dict, PyValue};
use super::window::finite;

/// A GPU of a host, by its index there.
pub(super) type DeviceKey = (String, i64);

/// What a manifest expects beside its claims.
#[derive(Debug)]
pub(super) struct Manifest {
    pub devices: Vec<ExpectedDevice>,
    pub windows: Vec<WindowKey>,
}

/// A GPU and the workers on it.
#[derive(Debug)]
pub(super) struct ExpectedDevice {
    pub key: DeviceKey,
    assignments: Vec<Assignment>,
}

#[derive(Debug)]
struct Assignment {
    role: String,
    /// Group of a heterogeneous Slurm job.
    het_group: Option<i64>,
}

/// A benchmark's type and its concurrency.
pub(super) type WindowKey = (String, i64);

/// Roles of devices, and what contradicts itself about them.
pub(super) type Roles = BTreeMap<DeviceKey, String>;

/// How artifacts of this version call themselves.
const CONTRACT: [(&str, &str); 5] = [
    ("producer", "srt-slurm.dcgm-power"),
    ("source_metric", "DCGM_FI_DEV_POWER_USAGE"),
    ("unit", "W"),
    ("power_scope", "gpu_device_board_as_reported_by_dcgm"),
    ("timestamp_source", CLOCK),
];

/// The clock of samples and windows.
pub(super) const CLOCK: &str = "head_node_unix_clock";

/// The version of manifests, samples and windows.
pub(super) const VERSION: i64 = 1;

/// Ends that no complete sampling has.
const FATAL: [&str; 5] = [
    "exporter_exited",
    "collector_exception",
    "collector_interrupted",
    "collector_join_timeout",
    "benchmark_child_reap_timeout",
];

/// Starts that no required sampling has.
const FAILED_START: [&str; 3] = [
    "exporter_startup_timeout",
    "exporter_launch_failed",
    "endpoint_resolution_failed",
];

impl Manifest {
    /// Reads what is expected; an error says what is malformed.
    pub(super) fn of(raw: &Dict) -> Result<Self, String> {
        Ok(Self {
            devices: list(raw, "expected_devices")?
                .iter()
                .map(ExpectedDevice::of)
                .collect::<Result<_, _>>()?,
            windows: list(raw, "expected_windows")?
                .iter()
                .map(|window| {
                    let window = window.as_dict().ok_or("an expected window is no object")?;
                    Ok((text(window, "benchmark_type")?, whole(window, "concurrency", 1)?))
                })
                .collect::<Result<_, String>>()?,
        })
    }

    /// The role of each device; none, and the reason, when a device has several.
    pub(super) fn roles(&self) -> Result<Roles, &'static str> {
        self.devices
            .iter()
            .map(|device| {
                let roles: BTreeSet<_> = device.assignments.iter().map(|one| &one.role).collect();
                match roles.first() {
                    Some(role) if roles.len() == 1 => Ok((device.key.clone(), (*role).clone())),
                    _ => Err("conflicting_worker_roles"),
                }
            })
            .collect()
    }

    /// The heterogeneous group of each host; none, and the reason, when a host is in several.
    pub(super) fn het_groups(&self) -> Result<BTreeMap<&str, Option<i64>>, &'static str> {
        let mut groups = BTreeMap::new();
        for device in &self.devices {
            let host = device.key.0.as_str();
            for assignment in &device.assignments {
                if *groups.entry(host).or_insert(assignment.het_group) != assignment.het_group {
                    return Err("conflicting_het_groups");
                }
            }
        }
        Ok(groups)
    }

    /// What of the roles is not as the job was asked to run: GPUs a role, and roles in groups of their own.
    pub(super) fn topology_failures(&self, roles: &Roles, wanted: &[(&'static str, u32)]) -> Vec<String> {
        let mut failures = Vec::new();
        let wanted: BTreeMap<&str, usize> = wanted
            .iter()
            .map(|(role, gpus)| (*role, *gpus as usize))
            .collect();
        let mut found: BTreeMap<&str, usize> = BTreeMap::new();
        for role in roles.values() {
            *found.entry(role).or_default() += 1;
        }
        if found != wanted {
            failures.push(format!("GPUs by role are {found:?}, the job has {wanted:?}"));
        }
        let groups = match self.het_groups() {
            Ok(groups) => groups,
            Err(reason) => {
                failures.push(reason.to_owned());
                return failures;
            }
        };
        let mut of_role: BTreeMap<&str, BTreeSet<Option<i64>>> = BTreeMap::new();
        for (key, role) in roles {
            of_role.entry(role).or_default().insert(groups[key.0.as_str()]);
        }
        // A job that is not heterogeneous has no groups at all.
        let is_het = groups.values().any(Option::is_some);
        let mut taken = BTreeSet::new();
        for (role, groups) in of_role {
            match groups.first() {
                Some(group) if groups.len() == 1 => match group {
                    None if is_het => failures.push(format!("role {role} has no het group, others have")),
                    Some(group) if !taken.insert(*group) => {
                        failures.push(format!("role {role} shares het group {group} with another"));
                    }
                    _ => {}
                },
                _ => failures.push(format!("role {role} spans several het groups")),
            }
        }
        failures
    }
}

impl ExpectedDevice {
    fn of(entry: &PyValue) -> Result<Self, String> {
        let entry = entry.as_dict().ok_or("an expected device is no object")?;
        let assignments = list(entry, "assignments")?;
        if assignments.is_empty() {
            return Err("an expected device has no assignments".to_owned());
        }
        Ok(Self {
            assignments: assignments.iter().map(Assignment::of).collect::<Result<_, _>>()?,
            key: (text(entry, "hostname")?, whole(entry, "gpu_index", 0)?),
        })
    }
}

impl Assignment {
    fn of(entry: &PyValue) -> Result<Self, String> {
        let entry = entry.as_dict().ok_or("an assignment is no object")?;
        let role = text(entry, "worker_role")?;
        if !["prefill", "decode", "agg"].contains(&role.as_str()) {
            return Err(format!("worker_role is '{role}'"));
        }
        whole(entry, "worker_index", 0)?;
        whole(entry, "worker_process", 0)?;
        let het_group = entry.some("het_group").map(|_| whole(entry, "het_group", 0));
        Ok(Self {
            role,
            het_group: het_group.transpose()?,
        })
    }
}

/// What in a manifest contradicts a sampling that went well, its verdict left out.
pub(super) fn contract_failures(raw: &Dict) -> Vec<String> {
    let mut failures = Vec::new();
    let mut wrong = |holds: bool, what: &str| {
        if !holds {
            failures.push(what.to_owned());
        }
    };
    let is = |key: &str, expected: &PyValue| raw.get(key).is_some_and(|value| value.equals(expected));
    wrong(is("schema_version", &VERSION.into()), "schema_version is not 1");
    for (key, expected) in CONTRACT {
        wrong(is(key, &expected.into()), &format!("{key} is not {expected}"));
    }
    wrong(is("status", &"complete".into()), "status is not complete");
    let number = |key: &str| raw.get(key).and_then(finite);
    for key in ["started_at_unix", "stopped_at_unix"] {
        wrong(number(key).is_some(), &format!("{key} is no finite number"));
    }
    for key in ["sample_interval_seconds", "request_timeout_seconds"] {
        let positive = number(key).is_some_and(|value| value > 0.0);
        wrong(positive, &format!("{key} is no positive number"));
    }
    for key in ["scrape_count", "sample_row_count"] {
        let counts = matches!(raw.get(key), Some(PyValue::Int(0..)));
        wrong(counts, &format!("{key} is no count"));
    }
    wrong(
        matches!(raw.get("required"), Some(PyValue::Bool(_))),
        "required is no boolean",
    );
    let reasons: Option<Vec<&str>> = match raw.get("reason_codes") {
        Some(PyValue::List(items)) => items.iter().map(PyValue::as_str).collect(),
        _ => None,
    };
    wrong(reasons.is_some(), "reason_codes is no list of strings");
    let required = raw.get("required") == Some(&PyValue::Bool(true));
    for reason in reasons.unwrap_or_default() {
        let contradicts = FATAL.contains(&reason) || (required && FAILED_START.contains(&reason));
        wrong(
            !contradicts,
            &format!("a complete manifest gives the reason {reason}"),
        );
    }
    let image = raw
        .get("dcgm_exporter")
        .and_then(PyValue::as_dict)
        .and_then(|exporter| exporter.get("container_image_resolved"));
    wrong(
        image.is_some_and(PyValue::is_true),
        "dcgm_exporter has no container_image_resolved",
    );
    failures
}

fn list<'d>(dict: &'d Dict, key: &str) -> Result<&'d [PyValue], String> {
    match dict.get(key) {
        Some(PyValue::List(items)) => Ok(items),
        Some(value) if value.is_true() => Err(format!("{key} is no list")),
        _ => Ok(&[]),
    }
}

fn text(dict: &Dict, key: &str) -> Result<String, String> {
    match dict.text(key) {
        "" => Err(format!("{key} is no text")),
        text => Ok(text.to_owned()),
    }
}

fn whole(dict: &Dict, key: &str, least: i64) -> Result<i64, String> {
    match dict.get(key) {
        Some(PyValue::Int(value)) if *value >= least => Ok(*value),
        _ => Err(format!("{key} is no integer of at least {least}")),
    }
}
