//! How long a build still takes.

use super::board::Board;

/// Milliseconds left at `unix_ms`: by the plan's estimate from earlier records while it holds, else by the pace of the
/// points so far. `None` when neither says anything, or nothing is left.
pub fn time_left(board: &Board, unix_ms: u64) -> Option<u64> {
    let plan = board.plan?;
    let counts = board.counts();
    if board.finished.is_some() || counts.settled() == counts.total() {
        return None;
    }
    let elapsed = unix_ms.saturating_sub(plan.unix_ms);
    let by_estimate = plan
        .estimate_ms
        .and_then(|estimate| estimate.checked_sub(elapsed))
        .filter(|left| *left > 0);
    by_estimate.or_else(|| by_pace(elapsed, counts.settled(), counts.total()))
}

fn by_pace(elapsed: u64, settled: usize, total: usize) -> Option<u64> {
    let left = (total - settled) as u128;
    let ms = (u128::from(elapsed) * left).checked_div(settled as u128)?;
    u64::try_from(ms).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::story::{any_event, at, story};
    use super::*;

    #[test]
    fn the_estimate_counts_until_it_has_passed_and_then_the_pace() {
        let board = Board::after(&story());
        // Planned at 50 ms with an estimate of 90 s; two of four points are settled.
        assert_eq!(time_left(&board, 1_013_050), Some(77_000));
        assert_eq!(time_left(&board, 1_100_050), Some(100_000));
        assert_eq!(time_left(&Board::default(), 5), None);
    }

    #[test]
    fn a_pace_needs_a_point() {
        assert_eq!(by_pace(1000, 0, 4), None);
        assert_eq!(by_pace(1000, 1, 4), Some(3000));
    }

    proptest! {
        #[test]
        fn any_board_has_a_time_left_or_none(
            events in prop::collection::vec((any::<u64>(), any_event()), 0..20),
            now: u64,
        ) {
            let events: Vec<_> = events.into_iter().map(|(ms, event)| at(ms, event)).collect();
            let _ = time_left(&Board::after(&events), now);
        }
    }
}
