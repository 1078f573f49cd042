//! Samples of board power as srt-slurm collects them from DCGM: `samples.csv`, all hosts and GPUs in one file.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use super::super::pyvalue::{Dict, PyValue, python_int};
use super::manifest::{DeviceKey, VERSION};
use super::telemetry::Samples;

const HEADER: [&str; 7] = [
    "schema_version",
    "timestamp_unix",
    "scrape_seq",
    "hostname",
    "gpu_index",
    "gpu_uuid",
    "power_w",
];

/// The samples of a run.
#[derive(Debug, Default)]
pub(super) struct SampleFile {
    /// By host and index.
    pub devices: Vec<ObservedDevice>,
    pub rows: usize,
    /// The highest number of a scrape; none without samples.
    pub last_scrape: Option<i64>,
    /// What is wrong with the file, each once.
    pub reasons: Vec<&'static str>,
}

/// A GPU that was sampled.
#[derive(Debug)]
pub(super) struct ObservedDevice {
    pub key: DeviceKey,
    /// One, unless the GPU was exchanged.
    pub uuids: Vec<String>,
    /// Unix seconds and W, by time.
    pub samples: Samples,
}

#[derive(Debug)]
struct Row {
    at_s: f64,
    scrape: i64,
    device: DeviceKey,
    uuid: String,
    power_w: f64,
}

impl SampleFile {
    pub(super) fn read(path: &Path) -> Self {
        let lone = |reason| Self {
            reasons: vec![reason],
            ..Self::default()
        };
        if !path.is_file() {
            return lone("samples_csv_missing");
        }
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text),
            Err(_) => lone("samples_csv_malformed"),
        }
    }

    fn parse(text: &str) -> Self {
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .from_reader(text.as_bytes());
        let mut file = Self::default();
        if !reader.headers().is_ok_and(|header| header == HEADER.as_slice()) {
            file.wrong("samples_csv_header_mismatch");
            return file;
        }
        // The reader skips blank lines; they are no samples.
        if text.lines().any(str::is_empty) {
            file.wrong("samples_csv_malformed");
        }
        let mut devices: BTreeMap<DeviceKey, Vec<Row>> = BTreeMap::new();
        let mut seen = HashSet::new();
        for record in reader.records() {
            let Some(row) = record.ok().as_ref().and_then(Row::of) else {
                file.wrong("samples_csv_malformed");
                continue;
            };
            if !seen.insert((row.scrape, row.device.clone())) {
                file.wrong("duplicate_sample_row");
                continue;
            }
            file.rows += 1;
            file.last_scrape = file.last_scrape.max(Some(row.scrape));
            devices.entry(row.device.clone()).or_default().push(row);
        }
        for rows in devices.values_mut() {
            rows.sort_by_key(|row| row.scrape);
            if !rows.is_sorted_by(|a, b| a.at_s < b.at_s) {
                file.wrong("timestamp_non_monotonic");
            }
        }
        file.devices = devices
            .into_iter()
            .map(|(key, rows)| ObservedDevice::of(key, &rows))
            .collect();
        file
    }

    fn wrong(&mut self, reason: &'static str) {
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    /// What of the devices is not as expected.
    pub(super) fn device_reasons(&self, expected: &BTreeSet<&DeviceKey>) -> Vec<&'static str> {
        let observed: BTreeSet<&DeviceKey> = self.devices.iter().map(|device| &device.key).collect();
        let mut reasons = Vec::new();
        if expected.is_empty() || !expected.is_subset(&observed) {
            reasons.push("expected_device_missing");
        }
        if !observed.is_subset(expected) {
            reasons.push("unexpected_device");
        }
        // A GPU under two names would be counted twice.
        let uuids: HashSet<&String> = self.devices.iter().flat_map(|device| &device.uuids).collect();
        let all_have_one = self.devices.iter().all(|device| device.uuids.len() == 1);
        if !all_have_one || uuids.len() != self.devices.len() {
            reasons.push("gpu_uuid_changed");
        }
        reasons
    }

    pub(super) fn device(&self, key: &DeviceKey) -> Option<&ObservedDevice> {
        self.devices.iter().find(|device| device.key == *key)
    }
}

impl Row {
    fn of(record: &csv::StringRecord) -> Option<Self> {
        if record.len() != HEADER.len() {
            return None;
        }
        let whole = |column: usize| python_int(&record[column]);
        let number = |column: usize| {
            record[column]
                .trim()
                .parse::<f64>()
                .ok()
                .filter(|x| x.is_finite())
        };
        let row = Self {
            at_s: number(1)?,
            scrape: whole(2)?,
            device: (record[3].to_owned(), whole(4)?),
            uuid: record[5].to_owned(),
            power_w: number(6)?,
        };
        let is_sample = whole(0)? == VERSION
            && !row.device.0.is_empty()
            && !row.uuid.is_empty()
            && row.power_w >= 0.0
            && row.scrape >= 0
            && row.device.1 >= 0;
        is_sample.then_some(row)
    }
}

impl ObservedDevice {
    /// Of rows in the order of their scrapes.
    fn of(key: DeviceKey, rows: &[Row]) -> Self {
        let mut uuids: Vec<String> = Vec::new();
        for row in rows {
            if !uuids.contains(&row.uuid) {
                uuids.push(row.uuid.clone());
            }
        }
        let mut samples: Samples = rows.iter().map(|row| (row.at_s, row.power_w)).collect();
        samples.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self { key, uuids, samples }
    }

    /// The GPU's name in a validation file: its host and its UUID.
    pub(super) fn label(&self) -> Option<String> {
        match self.uuids.as_slice() {
            [uuid] => Some(format!("{}/{uuid}", self.key.0)),
            _ => None,
        }
    }

    /// As a manifest describes it.
    pub(super) fn to_dict(&self) -> Dict {
        let time = |sample: Option<&(f64, f64)>| sample.map_or(PyValue::None, |(at, _)| (*at).into());
        let mut device = Dict::default();
        device.set("hostname", self.key.0.as_str());
        device.set("gpu_index", self.key.1);
        device.set(
            "gpu_uuids",
            PyValue::List(self.uuids.iter().map(|uuid| uuid.as_str().into()).collect()),
        );
        device.set("first_sample_time_unix", time(self.samples.first()));
        device.set("last_sample_time_unix", time(self.samples.last()));
        device
    }

    /// The longest time between samples around and in a window, in s; none when they do not reach over both its ends.
    pub(super) fn largest_gap_s(&self, start_s: f64, end_s: f64) -> Option<f64> {
        let from = self
            .samples
            .partition_point(|(at, _)| *at <= start_s)
            .checked_sub(1)?;
        let to = self.samples.partition_point(|(at, _)| *at < end_s);
        let around = self.samples.get(from..=to)?;
        Some(
            around
                .windows(2)
                .map(|pair| pair[1].0 - pair[0].0)
                .fold(0.0, f64::max),
        )
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn parsed(rows: &str) -> SampleFile {
        SampleFile::parse(&format!("{}\n{rows}", HEADER.join(",")))
    }

    #[test]
    fn devices_are_told_apart_and_ordered() {
        let file = parsed("1,10.5,0,b,0,u2,100\n1,10.5,0,a,1,u1,50\n1,11.5,1,a,1,u1,60\n");
        assert_eq!(file.reasons, [""; 0]);
        assert_eq!((file.rows, file.last_scrape), (3, Some(1)));
        let keys: Vec<_> = file.devices.iter().map(|device| device.key.clone()).collect();
        assert_eq!(keys, [("a".to_owned(), 1), ("b".to_owned(), 0)]);
        assert_eq!(file.devices[0].samples, [(10.5, 50.0), (11.5, 60.0)]);
        let expected: BTreeSet<_> = keys.iter().collect();
        assert_eq!(file.device_reasons(&expected), [""; 0]);
        assert_eq!(
            file.device_reasons(&BTreeSet::new()),
            ["expected_device_missing", "unexpected_device"]
        );
    }

    #[test]
    fn what_is_wrong_with_the_file_is_named() {
        for (rows, reason) in [
            ("1,1,0,a,0,u\n", "samples_csv_malformed"),
            ("2,1,0,a,0,u,1\n", "samples_csv_malformed"),
            ("1,nan,0,a,0,u,1\n", "samples_csv_malformed"),
            ("1,1,0,a,0,u,-1\n", "samples_csv_malformed"),
            ("1,1,0,a,0,u,1\n\n1,2,1,a,0,u,1\n", "samples_csv_malformed"),
            ("1,1,0,a,0,u,1\n1,2,0,a,0,u,1\n", "duplicate_sample_row"),
            ("1,2,0,a,0,u,1\n1,1,1,a,0,u,1\n", "timestamp_non_monotonic"),
        ] {
            assert_eq!(parsed(rows).reasons, [reason], "{rows}");
        }
        assert_eq!(
            SampleFile::parse("a,b\n").reasons,
            ["samples_csv_header_mismatch"]
        );
        let exchanged = parsed("1,1,0,a,0,u,1\n1,2,1,a,0,v,1\n");
        let key = ("a".to_owned(), 0);
        assert_eq!(
            exchanged.device_reasons(&BTreeSet::from([&key])),
            ["gpu_uuid_changed"]
        );
    }

    #[test]
    fn gaps_are_those_around_the_window() {
        let file = parsed("1,1,0,a,0,u,1\n1,4,1,a,0,u,1\n1,5,2,a,0,u,1\n1,9,3,a,0,u,1\n");
        let device = &file.devices[0];
        assert_eq!(device.largest_gap_s(4.0, 5.0), Some(1.0));
        assert_eq!(device.largest_gap_s(2.0, 5.0), Some(3.0));
        assert_eq!(device.largest_gap_s(0.5, 5.0), None);
        assert_eq!(device.largest_gap_s(4.0, 9.5), None);
        assert_eq!(device.label().unwrap(), "a/u");
    }
}
