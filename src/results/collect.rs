//! Rows gathered over a sweep, each with where it comes from.

use jiff::Timestamp;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::order;
use super::row::{Nature, Row};

/// Whether a row's benchmark ran in this build or was kept from an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Fresh,
    Cached,
}

/// Where a row comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Provenance {
    pub state: State,
    /// The run whose benchmark it is.
    pub run: String,
    /// When that benchmark ended.
    #[serde(serialize_with = "rfc3339")]
    pub date: Timestamp,
    /// The host that measured.
    pub host: String,
    /// The id of the target that made the row; rows stand in its order.
    pub target: String,
}

/// RFC 3339 in UTC, to the second.
const RFC_3339: &str = "%Y-%m-%dT%H:%M:%SZ";

impl Provenance {
    /// The date as it stands in files.
    pub fn date_text(&self) -> String {
        self.date.strftime(RFC_3339).to_string()
    }
}

fn rfc3339<S: Serializer>(date: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&date.strftime(RFC_3339))
}

/// A row with its provenance; as JSON, the row's fields and then `provenance`.
#[derive(Debug, Clone, PartialEq)]
pub struct Collected {
    pub row: Row,
    pub provenance: Provenance,
}

impl Serialize for Collected {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (field, value) in self.row.fields() {
            map.serialize_entry(field, value)?;
        }
        map.serialize_entry("provenance", &self.provenance)?;
        map.end()
    }
}

/// The rows of a sweep, ordered by config key, sequence, topology and concurrency.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Collection(Vec<Collected>);

/// A file to write: its name and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    pub name: String,
    pub text: String,
}

impl Collection {
    /// Puts rows in order, whatever order they finished in.
    pub fn new(mut rows: Vec<Collected>) -> Self {
        rows.sort_by(|a, b| order::natural(&a.provenance.target, &b.provenance.target));
        Self(rows)
    }

    pub fn rows(&self) -> &[Collected] {
        &self.0
    }

    pub fn count(&self, state: State) -> usize {
        self.0
            .iter()
            .filter(|collected| collected.provenance.state == state)
            .count()
    }

    /// The rows of one nature, which alone may share a table or a chart.
    pub fn of(&self, nature: Nature) -> Rows<'_> {
        let rows = self
            .0
            .iter()
            .filter(|collected| collected.row.nature() == nature)
            .collect();
        Rows { nature, rows }
    }

    /// The rows for where there is room for one nature only: the measured ones, or the simulated ones when nothing
    /// was measured.
    pub fn leading(&self) -> Rows<'_> {
        let measured = self.of(Nature::Measured);
        if measured.is_empty() {
            self.of(Nature::Simulated)
        } else {
            measured
        }
    }

    /// All rows as a JSON array; the simulated ones say so.
    pub fn to_json(&self) -> String {
        pretty(&self.0)
    }

    /// `agg_bmk.json`, a file for each nature that has rows; an empty collection makes an empty measured one.
    pub fn exports(&self) -> Vec<Export> {
        let simulated = self.of(Nature::Simulated);
        let measured = self.of(Nature::Measured);
        [measured, simulated]
            .into_iter()
            .filter(|rows| !rows.is_empty() || (self.0.is_empty() && rows.nature == Nature::Measured))
            .map(|rows| Export {
                name: export_name("agg_bmk.json", rows.nature),
                text: pretty(&rows.rows),
            })
            .collect()
    }
}

/// Rows of one nature, in order.
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    nature: Nature,
    rows: Vec<&'a Collected>,
}

impl<'a> Rows<'a> {
    pub fn nature(&self) -> Nature {
        self.nature
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &'a Collected> {
        self.rows.iter().copied()
    }
}

/// The name of a file that holds rows of one nature: simulated ones say so before the extension.
pub fn export_name(base: &str, nature: Nature) -> String {
    match (nature, base.rsplit_once('.')) {
        (Nature::Measured, _) => base.to_owned(),
        (Nature::Simulated, Some((stem, extension))) => format!("{stem}.simulated.{extension}"),
        (Nature::Simulated, None) => format!("{base}.simulated"),
    }
}

fn pretty<T: Serialize>(rows: &T) -> String {
    let mut text = serde_json::to_string_pretty(rows).expect("rows have text keys and finite numbers");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{collected, single};
    use super::*;

    fn names(collection: &Collection) -> Vec<String> {
        collection
            .exports()
            .into_iter()
            .map(|export| export.name)
            .collect()
    }

    #[test]
    fn each_nature_has_its_own_file() {
        let row = |simulated| collected(&single(8, 1, 4), State::Fresh, simulated);
        let both = Collection::new(vec![row(false), row(true)]);
        assert_eq!(names(&both), ["agg_bmk.json", "agg_bmk.simulated.json"]);
        assert!(!both.exports()[0].text.contains("simulated"));
        assert_eq!(
            names(&Collection::new(vec![row(true)])),
            ["agg_bmk.simulated.json"]
        );
        assert_eq!(names(&Collection::new(vec![row(false)])), ["agg_bmk.json"]);
        let none = Collection::default().exports();
        assert_eq!(
            (none[0].name.as_str(), none[0].text.as_str()),
            ("agg_bmk.json", "[]\n")
        );
        assert_eq!(export_name("rows", Nature::Simulated), "rows.simulated");
    }

    #[test]
    fn provenance_stands_after_the_fields() {
        let collection = Collection::new(vec![collected(&single(8, 1, 4), State::Cached, true)]);
        let text = collection.to_json();
        let tail: Vec<&str> = text.lines().rev().take(11).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        insta::assert_snapshot!(tail.join("\n"), @r#"
            "power_valid": 0,
            "simulated": true,
            "provenance": {
              "state": "cached",
              "run": "r7",
              "date": "2026-11-20T08:30:00Z",
              "host": "node-a",
              "target": "process:m1-fp8-h200-sglang/8k1k/tp8/c4"
            }
          }
        ]
        "#);
    }

    #[test]
    fn where_one_nature_fits_the_measured_rows_lead() {
        let row = |simulated| collected(&single(8, 1, 4), State::Fresh, simulated);
        let leading = |rows: Vec<Collected>| Collection::new(rows).leading().nature();
        assert_eq!(leading(vec![row(true), row(false)]), Nature::Measured);
        assert_eq!(leading(vec![row(true)]), Nature::Simulated);
    }

    proptest! {
        #[test]
        fn the_order_of_finishing_leaves_no_trace(concs in prop::collection::btree_set(1_u32..2000, 1..12).prop_map(Vec::from_iter).prop_shuffle()) {
            let rows = concs.iter().map(|conc| collected(&single(8, 1, *conc), State::Fresh, conc % 2 == 0)).collect();
            let collection = Collection::new(rows);
            let seen: Vec<f64> = collection.rows().iter().filter_map(|one| one.row.number("conc")).collect();
            prop_assert!(seen.is_sorted());
            prop_assert_eq!(seen.len(), concs.len());
            let split = collection.of(Nature::Measured).len() + collection.of(Nature::Simulated).len();
            prop_assert_eq!(split, concs.len());
        }
    }
}
