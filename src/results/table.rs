//! The summary table, for terminals and as Markdown. Measured and simulated rows never share one.

use std::fmt::Write as _;

use comfy_table::{
    Cell, CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle, Width,
};

use super::collect::{Collection, Rows};
use super::columns::{COLUMNS, Column, Kind};
use super::row::Nature;

/// What stands above every table of simulated rows.
pub const SIMULATED_HEADING: &str =
    "SIMULATED: computed by the simulated engine, not measured on this hardware";

/// How a terminal wants its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Columns of the terminal; none when the output has no edge.
    pub width: Option<u16>,
    /// Lines of box characters instead of dashes.
    pub utf8: bool,
    /// Escape sequences around headings.
    pub colour: bool,
}

/// The tables of a collection for a terminal: the measured rows, then the simulated ones under their own heading.
///
/// What does not fit the width is told once above the table where it is the same in all rows, then headings and texts
/// wrap; numbers break last.
pub fn terminal(collection: &Collection, look: Look) -> String {
    let (measured, simulated) = (collection.of(Nature::Measured), collection.of(Nature::Simulated));
    let mut text = String::new();
    if measured.is_empty() && simulated.is_empty() {
        text.push_str("no results\n");
    }
    if !measured.is_empty() {
        text.push_str(&grid(&measured, look));
    }
    if !simulated.is_empty() {
        if !measured.is_empty() {
            text.push('\n');
        }
        let (bold, plain) = if look.colour {
            ("\x1b[1;33m", "\x1b[0m")
        } else {
            ("", "")
        };
        for line in wrapped(SIMULATED_HEADING, look.width) {
            let _ = writeln!(text, "{bold}{line}{plain}");
        }
        text.push_str(&grid(&simulated, look));
    }
    text
}

/// The table of rows of one nature in GitHub's Markdown.
pub fn markdown(rows: &Rows<'_>) -> String {
    let mut text = String::new();
    let mut line = |cells: Vec<String>| {
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    };
    line(COLUMNS.iter().map(|column| column.heading.to_owned()).collect());
    line(
        COLUMNS
            .iter()
            .map(|column| {
                if column.kind == Kind::Number {
                    "---:"
                } else {
                    "---"
                }
                .to_owned()
            })
            .collect(),
    );
    for one in rows.iter() {
        line(
            COLUMNS
                .iter()
                .map(|column| escaped(&(column.cell)(one)))
                .collect(),
        );
    }
    text
}

/// Text that stands in a Markdown table's cell as it is.
pub(super) fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('|', "\\|")
        .replace(['\n', '\r'], " ")
}

fn grid(rows: &Rows<'_>, look: Look) -> String {
    let columns: Vec<Filled> = COLUMNS.iter().map(|column| Filled::new(column, rows)).collect();
    let all: Vec<&Filled> = columns.iter().collect();
    let wide = drawn(&all, look, None);
    let Some(width) = look.width else {
        return wide;
    };
    if wide
        .lines()
        .all(|line| line.chars().count() <= usize::from(width))
    {
        return wide;
    }
    let (same, differing): (Vec<&Filled>, Vec<&Filled>) =
        all.into_iter().partition(|column| column.is_told_once());
    let same: Vec<String> = same
        .iter()
        .map(|one| format!("{} {}", one.column.heading.to_lowercase(), one.cells[0]))
        .collect();
    let mut text = String::new();
    for line in wrapped(&same.join(", "), Some(width)) {
        let _ = writeln!(text, "{line}");
    }
    text + &drawn(&differing, look, Some(width))
}

/// A column and its cells.
struct Filled {
    column: &'static Column,
    cells: Vec<String>,
}

impl Filled {
    fn new(column: &'static Column, rows: &Rows<'_>) -> Self {
        Self {
            column,
            cells: rows.iter().map(column.cell).collect(),
        }
    }

    fn is_told_once(&self) -> bool {
        self.column.kind == Kind::Identity && self.cells.iter().all(|cell| *cell == self.cells[0])
    }

    /// The width below which a number, a name or a word would be cut, or, `unbroken`, any cell wrapped.
    fn least_width(&self, unbroken: bool) -> u16 {
        let words = self.column.narrow.split(' ').map(width_of);
        let whole = unbroken || matches!(self.column.kind, Kind::Identity | Kind::Number);
        let cells = self.cells.iter().map(|cell| match whole {
            true => width_of(cell),
            false => cell.split(' ').map(width_of).max().unwrap_or_default(),
        });
        words.chain(cells).max().unwrap_or_default()
    }
}

/// How generously a table is laid out.
#[derive(Debug, Clone, Copy)]
struct Room {
    /// No cell wraps.
    unbroken: bool,
    /// Spaces after a column, beside the one that the table itself leaves.
    padding: u16,
}

impl Room {
    /// The most generous layout that fits; none if something must be cut.
    fn within(width: u16, columns: &[&Filled]) -> Option<Self> {
        [(true, 1), (true, 0), (false, 1), (false, 0)]
            .into_iter()
            .map(|(unbroken, padding)| Self { unbroken, padding })
            .find(|room| {
                let needs = columns.iter().map(|one| {
                    let text = u32::from(one.least_width(room.unbroken));
                    text + u32::from(room.padding) + 1
                });
                needs.sum::<u32>() <= u32::from(width)
            })
    }
}

fn width_of(text: &str) -> u16 {
    u16::try_from(text.chars().count()).unwrap_or(u16::MAX)
}

/// The table at its natural width, or wrapped to a given one.
fn drawn(columns: &[&Filled], look: Look, width: Option<u16>) -> String {
    let mut table = Table::new();
    let rule = if look.utf8 { '─' } else { '-' };
    table.load_style(TableStyle::new().header_separator(LineStyle::none().fill(rule).junction(rule)));
    let heading = |column: &Column| {
        if width.is_some() {
            column.narrow
        } else {
            column.heading
        }
    };
    table.set_header(columns.iter().map(|one| heading(one.column)));
    for row in 0..columns.first().map_or(0, |one| one.cells.len()) {
        table.add_row(columns.iter().map(|one| Cell::new(&one.cells[row])));
    }
    let room = width.and_then(|width| Room::within(width, columns));
    for (column, one) in table.column_iter_mut().zip(columns) {
        if one.column.kind == Kind::Number {
            column.set_cell_alignment(CellAlignment::Right);
        }
        column.set_padding((0, room.map_or(u16::from(width.is_none()), |room| room.padding)));
        if let Some(room) = room {
            let least = Width::Fixed(one.least_width(room.unbroken) + room.padding);
            column.set_constraint(ColumnConstraint::LowerBoundary(least));
        }
    }
    if let Some(width) = width {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width);
    }
    let mut text = String::new();
    for line in table.lines() {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Lines of at most `width` characters, broken at spaces.
fn wrapped(text: &str, width: Option<u16>) -> Vec<String> {
    let most = width.map_or(usize::MAX, usize::from);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::collect::{Collected, State};
    use super::super::fixture::{collected, disagg, single};
    use super::*;

    const PLAIN: Look = Look {
        width: None,
        utf8: false,
        colour: false,
    };

    fn curve(simulated: bool) -> Vec<Collected> {
        let states = [State::Cached, State::Fresh, State::Fresh];
        let points = [single(8, 1, 4), single(8, 1, 16), single(8, 8, 256)];
        points
            .iter()
            .zip(states)
            .map(|(point, state)| collected(point, state, simulated))
            .collect()
    }

    #[test]
    fn without_an_edge_all_columns_stand_in_full() {
        let mut rows = curve(false);
        rows.push(collected(&disagg(2, 1), State::Fresh, false));
        insta::assert_snapshot!(terminal(&Collection::new(rows), PLAIN), @"
        Model  Hardware  Framework      Precision  ISL/OSL  TP/EP/DP-attn       Conc  TTFT (ms)  TPOT (ms)  Interactivity (tok/s/user)  E2EL (s)  tok/s/GPU  Output tok/s/GPU  State
        --------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------
        m1     h200      dynamo-sglang  fp8        8k/1k    2x4/1/dp + 1x8/1/-    64      232.0      13.00                       76.92     12.20       3200             720.0  fresh
        m1     h200      sglang         fp8        8k/1k    8/1/-                  4      52.00      5.500                       181.8     9.200      400.0             45.00  cached 2026-11-20 r7
        m1     h200      sglang         fp8        8k/1k    8/1/-                 16      88.00      7.000                       142.9     9.800       1600             180.0  fresh
        m1     h200      sglang         fp8        8k/1k    8/8/dp               256      808.0      37.00                       27.03     21.80      25600              2880  fresh
        ");
    }

    #[test]
    fn in_eighty_columns_what_is_common_stands_above() {
        let look = Look {
            width: Some(80),
            utf8: true,
            ..PLAIN
        };
        let mut rows = curve(false);
        let mut other = single(4, 1, 4);
        other.runner = "mi355x".to_owned();
        other.framework = "vllm".to_owned();
        rows.push(collected(&other, State::Fresh, false));
        insta::assert_snapshot!(terminal(&Collection::new(rows), look), @"
        model m1, precision fp8, isl/osl 8k/1k
        HW     Frame-  TP/EP/  Conc   TTFT   TPOT  tok/s E2EL s  tok/s    out State
               work    DP-attn          ms     ms  /user          /GPU  tok/s
                                                                         /GPU
        ────────────────────────────────────────────────────────────────────────────────
        mi355x vllm    4/1/-      4  52.00  5.500  181.8  9.200  800.0  90.00 fresh
        h200   sglang  8/1/-      4  52.00  5.500  181.8  9.200  400.0  45.00 cached
                                                                              2026-11-20
                                                                              r7
        h200   sglang  8/1/-     16  88.00  7.000  142.9  9.800   1600  180.0 fresh
        h200   sglang  8/8/dp   256  808.0  37.00  27.03  21.80  25600   2880 fresh
        ");
    }

    #[test]
    fn simulated_rows_stand_apart_under_their_name() {
        let rows = [curve(true), curve(false)].concat();
        let look = Look {
            width: Some(72),
            ..PLAIN
        };
        insta::assert_snapshot!(terminal(&Collection::new(rows), look), @"
        model m1, hardware h200, framework sglang, precision fp8, isl/osl 8k/1k
        TP/EP/  Conc   TTFT   TPOT  tok/s  E2EL tok/s   out State
        DP-attn          ms     ms  /user     s  /GPU tok/s
                                                       /GPU
        ------------------------------------------------------------------------
        8/1/-      4  52.00  5.500  181.8 9.200 400.0 45.00 cached 2026-11-20 r7
        8/1/-     16  88.00  7.000  142.9 9.800  1600 180.0 fresh
        8/8/dp   256  808.0  37.00  27.03 21.80 25600  2880 fresh

        SIMULATED: computed by the simulated engine, not measured on this
        hardware
        model m1, hardware h200, framework sglang, precision fp8, isl/osl 8k/1k
        TP/EP/   Conc   TTFT   TPOT   tok/s  E2EL s   tok/s     out  State
        DP-attn           ms     ms   /user            /GPU   tok/s
                                                               /GPU
        ------------------------------------------------------------------------
        8/1/-       4  52.00  5.500   181.8   9.200   400.0   45.00  SIMULATED
                                                                     cached
                                                                     2026-11-20
                                                                     r7
        8/1/-      16  88.00  7.000   142.9   9.800    1600   180.0  SIMULATED
                                                                     fresh
        8/8/dp    256  808.0  37.00   27.03   21.80   25600    2880  SIMULATED
                                                                     fresh
        ");
    }

    #[test]
    fn colour_is_only_where_it_is_asked_for() {
        let collection = Collection::new(curve(true));
        assert!(!terminal(&collection, PLAIN).contains('\x1b'));
        let colour = Look {
            colour: true,
            ..PLAIN
        };
        assert!(terminal(&collection, colour).starts_with("\x1b[1;33mSIMULATED"));
        assert!(terminal(&collection, PLAIN).is_ascii());
        assert_eq!(terminal(&Collection::default(), PLAIN), "no results\n");
    }

    #[test]
    fn markdown_is_one_table_of_one_nature() {
        let collection = Collection::new(curve(true));
        insta::assert_snapshot!(markdown(&collection.of(Nature::Simulated)), @"
        | Model | Hardware | Framework | Precision | ISL/OSL | TP/EP/DP-attn | Conc | TTFT (ms) | TPOT (ms) | Interactivity (tok/s/user) | E2EL (s) | tok/s/GPU | Output tok/s/GPU | State |
        | --- | --- | --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |
        | m1 | h200 | sglang | fp8 | 8k/1k | 8/1/- | 4 | 52.00 | 5.500 | 181.8 | 9.200 | 400.0 | 45.00 | SIMULATED cached 2026-11-20 r7 |
        | m1 | h200 | sglang | fp8 | 8k/1k | 8/1/- | 16 | 88.00 | 7.000 | 142.9 | 9.800 | 1600 | 180.0 | SIMULATED fresh |
        | m1 | h200 | sglang | fp8 | 8k/1k | 8/8/dp | 256 | 808.0 | 37.00 | 27.03 | 21.80 | 25600 | 2880 | SIMULATED fresh |
        ");
        assert_eq!(escaped("a|b\\c\nd"), "a\\|b\\\\c d");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(width in 50_u16..200, concs in prop::collection::vec(1_u32..100_000, 1..6), multi: bool) {
            let rows = concs
                .iter()
                .map(|conc| {
                    let base = if multi { disagg(2, 1) } else { single(8, 8, 1) };
                    let point = crate::matrix::Point { conc: *conc, ..base };
                    collected(&point, State::Cached, conc % 2 == 0)
                })
                .collect();
            let look = Look { width: Some(width), utf8: true, colour: false };
            for line in terminal(&Collection::new(rows), look).lines() {
                prop_assert!(line.chars().count() <= usize::from(width), "{line}");
            }
        }
    }
}
