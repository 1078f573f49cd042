//! Samples of board power as `nvidia-smi` and `amd-smi` write them to CSV.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

/// One device's samples: Unix seconds and W, by time.
pub(super) type Samples = Vec<(f64, f64)>;

/// What a file of samples says of a window.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Telemetry {
    /// By identity, numbers before names.
    pub devices: Vec<(String, Samples)>,
    /// What is wrong with the file, in the order of discovery.
    pub reasons: Vec<&'static str>,
}

/// Reads the samples between two Unix times, in s. Readings with one time are averaged; local times are of `zone`.
pub(super) fn read(path: &Path, from: f64, to: f64, zone: &TimeZone) -> Telemetry {
    let lone = |reason| Telemetry {
        reasons: vec![reason],
        ..Telemetry::default()
    };
    if !path.is_file() {
        return lone("telemetry_file_missing");
    }
    match std::fs::read(path) {
        Err(_) => lone("telemetry_file_unreadable"),
        Ok(bytes) if bytes.is_empty() => lone("telemetry_file_empty"),
        Ok(bytes) => parse(&String::from_utf8_lossy(&bytes), from, to, zone),
    }
}

fn parse(text: &str, from: f64, to: f64, zone: &TimeZone) -> Telemetry {
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut telemetry = Telemetry::default();
    let header = reader.headers().cloned().unwrap_or_default();
    let columns = Columns::of(&header);
    for (column, reason) in [
        (columns.time, "timestamp_column_missing"),
        (columns.power, "power_column_missing"),
        (columns.gpu, "gpu_identity_column_missing"),
    ] {
        if column.is_none() {
            telemetry.reasons.push(reason);
        }
    }
    let (Some(time), Some(power), Some(gpu)) = (columns.time, columns.power, columns.gpu) else {
        return telemetry;
    };
    let mut devices: BTreeMap<Identity, Vec<(f64, f64)>> = BTreeMap::new();
    let mut wrong = |reason| {
        if !telemetry.reasons.contains(&reason) {
            telemetry.reasons.push(reason);
        }
    };
    let mut without_identity = false;
    for row in reader.records() {
        let Ok(row) = row else {
            telemetry.reasons.push("telemetry_file_unreadable");
            return telemetry;
        };
        let cell = |column: usize| row.get(column).unwrap_or_default();
        let Some(at) = timestamp(cell(time), zone) else {
            wrong("invalid_timestamp_sample");
            continue;
        };
        if at < from || at > to {
            continue;
        }
        let Some(watts) = watts(cell(power)).filter(|watts| *watts >= 0.0) else {
            wrong("invalid_power_sample");
            continue;
        };
        if cell(gpu).is_empty() {
            without_identity = true;
            continue;
        }
        devices
            .entry(Identity::of(cell(gpu)))
            .or_default()
            .push((at, watts));
    }
    if without_identity {
        wrong("gpu_identity_missing");
    }
    if devices.is_empty() {
        wrong("no_usable_power_samples");
    }
    telemetry.devices = devices
        .into_iter()
        .map(|(identity, readings)| (identity.name, averaged(readings)))
        .collect();
    telemetry
}

/// Numbers before names, in their order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    is_name: bool,
    number: u64,
    name: String,
}

impl Identity {
    fn of(name: &str) -> Self {
        let number = name
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| name.parse().ok())
            .flatten();
        Self {
            is_name: number.is_none(),
            number: number.unwrap_or_default(),
            name: name.to_owned(),
        }
    }
}

fn averaged(mut readings: Vec<(f64, f64)>) -> Samples {
    readings.sort_by(|a, b| a.0.total_cmp(&b.0));
    let same_time = readings.chunk_by(|a, b| a.0 == b.0);
    same_time
        .map(|chunk| {
            let sum: f64 = chunk.iter().map(|(_, watts)| watts).sum();
            (chunk[0].0, sum / chunk.len() as f64)
        })
        .collect()
}

struct Columns {
    time: Option<usize>,
    power: Option<usize>,
    gpu: Option<usize>,
}

impl Columns {
    fn of(header: &csv::StringRecord) -> Self {
        let position =
            |fits: &dyn Fn(&str) -> bool| header.iter().position(|name| fits(&name.to_lowercase()));
        Self {
            time: position(&|name| name.contains("time")),
            power: position(&|name| {
                name.contains("power")
                    && !["limit", "cap", "max", "min"]
                        .iter()
                        .any(|part| name.contains(part))
            }),
            gpu: position(&|name| ["index", "gpu", "gpu_id", "gpu_index", "card", "device"].contains(&name)),
        }
    }
}

/// The first number in a cell such as `412.34 W`.
fn watts(cell: &str) -> Option<f64> {
    let start = cell.find(|c: char| c.is_ascii_digit())?;
    let start = if cell[..start].ends_with('-') {
        start - 1
    } else {
        start
    };
    cell[start..start + number_length(&cell[start..])].parse().ok()
}

fn number_length(text: &str) -> usize {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let sign = usize::from(text.starts_with('-'));
    let whole = sign + digits(&text[sign..]);
    match text[whole..].strip_prefix('.').map(digits) {
        Some(fraction @ 1..) => whole + 1 + fraction,
        _ => whole,
    }
}

/// Unix seconds of a timestamp: a number in s or ms, `YYYY/MM/DD HH:MM:SS.fff`, or ISO 8601; without an offset local.
fn timestamp(cell: &str, zone: &TimeZone) -> Option<f64> {
    if !cell.is_empty() && number_length(cell) == cell.len() {
        let seconds: f64 = cell.parse().ok()?;
        return Some(if seconds > 1e12 { seconds / 1000.0 } else { seconds });
    }
    if let Ok(at) = cell.parse::<jiff::Timestamp>() {
        return Some(unix_s(at));
    }
    let local: DateTime = strtime::parse("%Y/%m/%d %H:%M:%S%.f", cell)
        .and_then(|parsed| parsed.to_datetime())
        .or_else(|_| cell.parse())
        .ok()?;
    local
        .to_zoned(zone.clone())
        .ok()
        .map(|zoned| unix_s(zoned.timestamp()))
}

fn unix_s(at: jiff::Timestamp) -> f64 {
    // Microseconds, as Python's clock counts them.
    at.as_microsecond() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Telemetry {
        parse(text, 0.0, f64::MAX, &TimeZone::UTC)
    }

    #[test]
    fn timestamps_of_all_kinds_are_read() {
        for (cell, seconds) in [
            ("1750000000.25", Some(1_750_000_000.25)),
            ("1750000000250", Some(1_750_000_000.25)),
            ("2025/06/15 15:06:40.250", Some(1_750_000_000.25)),
            ("2025/06/15 15:06:40", Some(1_750_000_000.0)),
            ("2025-06-15T15:06:40.250", Some(1_750_000_000.25)),
            ("2025-06-15 15:06:40", Some(1_750_000_000.0)),
            ("2025-06-15T17:06:40+02:00", Some(1_750_000_000.0)),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(timestamp(cell, &TimeZone::UTC), seconds, "{cell}");
        }
    }

    #[test]
    fn power_is_the_first_number_of_its_cell() {
        for (cell, power) in [
            ("412.34 W", Some(412.34)),
            ("-5", Some(-5.0)),
            ("7. W", Some(7.0)),
            ("[N/A]", None),
            ("", None),
        ] {
            assert_eq!(watts(cell), power, "{cell}");
        }
    }

    #[test]
    fn devices_are_told_apart_and_equal_times_averaged() {
        let telemetry = parsed(
            "timestamp, index, power.limit [W], power.draw [W]\n\
             1, 10, 700, 100 W\n1, 2, 700, 50 W\n2, 2, 700, 60 W\n2, 2, 700, 80 W\n1, a, 700, 1\n",
        );
        assert_eq!(telemetry.reasons, [""; 0]);
        let names: Vec<_> = telemetry.devices.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["2", "10", "a"]);
        assert_eq!(telemetry.devices[0].1, [(1.0, 50.0), (2.0, 70.0)]);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(parsed("a,b\n1,2\n").reasons.len(), 3);
        let telemetry = parsed("time,gpu,power\nx,0,1\n1,0,none\n1,,5\n");
        assert_eq!(
            telemetry.reasons,
            [
                "invalid_timestamp_sample",
                "invalid_power_sample",
                "gpu_identity_missing",
                "no_usable_power_samples"
            ]
        );
    }
}
