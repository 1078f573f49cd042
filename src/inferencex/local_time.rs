//! The local time zone, in which monitors write their timestamps.

use std::path::Path;

use jiff::tz::TimeZone;

/// The zone that `TZ` names or describes; without it that of the machine; UTC where neither says one.
pub fn local_time_zone(tz: Option<&str>) -> TimeZone {
    let of_file = |path: &Path| {
        let bytes = std::fs::read(path).ok()?;
        TimeZone::tzif("local", &bytes).ok()
    };
    let zone = match tz.map(|tz| tz.trim_start_matches(':')) {
        None => of_file(Path::new("/etc/localtime")),
        Some("" | "UTC") => None,
        Some(name) => {
            of_file(&Path::new("/usr/share/zoneinfo").join(name)).or_else(|| TimeZone::posix(name).ok())
        }
    };
    zone.unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_may_be_described() {
        let noon = jiff::civil::date(2026, 1, 1).at(12, 0, 0, 0);
        let hours = |tz: &str| {
            let zoned = noon.to_zoned(local_time_zone(Some(tz)));
            zoned.map(|zoned| zoned.offset().seconds() / 3600).ok()
        };
        assert_eq!(hours("EST5"), Some(-5));
        assert_eq!(hours("UTC"), Some(0));
        assert_eq!(hours("no such place"), Some(0));
    }
}
