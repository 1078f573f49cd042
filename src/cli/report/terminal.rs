//! Live bars on a terminal: one line a pool, the images being made, and the whole build with the time left.
//!
//! A thread of its own owns the board and the bars. It takes the events from a channel and draws ten times a second
//! at most, however many come; nobody who reports an event waits for the terminal.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::board::Board;
use super::pace::time_left;
use super::phrase::short_ms;
use super::plain;
use super::pool::pools;
use super::reporter::Reporter;
use crate::exec::event::{Event, Stamped};

/// Between two drawings.
const REDRAW: Duration = Duration::from_millis(100);

/// Shows bars while a build runs and leaves only its failures behind.
#[derive(Debug)]
pub struct Terminal {
    /// Taken when there is nothing more to show.
    showing: Option<(Sender<Stamped>, JoinHandle<()>)>,
}

impl Terminal {
    /// Draws on stderr, with colours or without.
    pub fn on_stderr(colours: bool) -> Self {
        // The limit is for the terminal's sake; how often we draw is decided here.
        Self::on(ProgressDrawTarget::stderr_with_hz(20), colours)
    }

    fn on(target: ProgressDrawTarget, colours: bool) -> Self {
        let (sender, events) = channel();
        let screen = Screen::new(target, colours);
        let thread = std::thread::spawn(move || screen.show(&events));
        Self {
            showing: Some((sender, thread)),
        }
    }
}

impl Reporter for Terminal {
    fn event(&mut self, stamped: &Stamped) {
        if let Some((sender, _)) = &self.showing {
            // The thread ends before us only by a panic, which says more than this event.
            let _ = sender.send(stamped.clone());
        }
    }

    fn finish(&mut self) {
        if let Some((sender, thread)) = self.showing.take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.finish();
    }
}

struct Screen {
    bars: MultiProgress,
    colours: bool,
    board: Board,
    pools: BTreeMap<String, ProgressBar>,
    images: BTreeMap<String, ProgressBar>,
    whole: ProgressBar,
}

impl Screen {
    fn new(target: ProgressDrawTarget, colours: bool) -> Self {
        let bars = MultiProgress::with_draw_target(target);
        let template = match colours {
            true => "{bar:30.green/dim} {wide_msg}",
            false => "{bar:30} {wide_msg}",
        };
        let whole = bars.add(ProgressBar::new(0).with_style(style(template)));
        Self {
            bars,
            colours,
            board: Board::default(),
            pools: BTreeMap::new(),
            images: BTreeMap::new(),
            whole,
        }
    }

    /// Takes events until the last sender is gone, then clears the bars.
    fn show(mut self, events: &Receiver<Stamped>) {
        let mut next_draw = Instant::now() + REDRAW;
        loop {
            match events.recv_timeout(next_draw.saturating_duration_since(Instant::now())) {
                Ok(stamped) => self.take(&stamped),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = Instant::now();
            if now >= next_draw {
                self.draw(unix_ms());
                next_draw = now + REDRAW;
            }
        }
        self.clear();
    }

    fn clear(&self) {
        for bar in self
            .pools
            .values()
            .chain(self.images.values())
            .chain([&self.whole])
        {
            bar.finish_and_clear();
        }
    }

    fn take(&mut self, stamped: &Stamped) {
        self.board.apply(stamped);
        if stays(&stamped.event)
            && let Some(line) = plain::line(&self.board, stamped)
        {
            let _ = self.bars.println(coloured(&line, self.colours));
        }
    }

    fn draw(&mut self, unix_ms: u64) {
        for pool in pools(&self.board) {
            let bar = self.pools.entry(pool.name.clone()).or_insert_with(|| {
                let template = match self.colours {
                    true => "{prefix:.bold} {wide_msg}",
                    false => "{prefix} {wide_msg}",
                };
                let bar = ProgressBar::no_length().with_style(style(template));
                self.bars.insert_before(&self.whole, bar)
            });
            show(bar, &pool.title(), pool.line(unix_ms));
        }
        let present = |target: &String| !self.board.images.contains_key(target);
        for (_, bar) in self.images.extract_if(.., |target, _| present(target)) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
        for (target, line) in &self.board.images {
            let bar = self.images.entry(target.clone()).or_insert_with(|| {
                let bar = ProgressBar::no_length().with_style(style("{prefix} {wide_msg}"));
                self.bars.insert(0, bar)
            });
            show(bar, target, line.clone());
        }
        let counts = self.board.counts();
        // A bar of nothing would be drawn full.
        self.whole.set_length(counts.total().max(1) as u64);
        self.whole.set_position(counts.settled() as u64);
        self.whole.set_message(whole(&self.board, unix_ms));
    }
}

/// Each change is a drawing: what is the same is left alone.
fn show(bar: &ProgressBar, prefix: &str, message: String) {
    if bar.prefix() != prefix {
        bar.set_prefix(prefix.to_owned());
    }
    if bar.message() != message {
        bar.set_message(message);
    }
}

/// The line of the whole build: `2/4 points, 1 skipped, 13.0s, about 1m 17s left`.
fn whole(board: &Board, unix_ms: u64) -> String {
    let counts = board.counts();
    let mut words = match board.plan {
        None => vec!["planning".to_owned()],
        Some(_) => vec![format!("{}/{} points", counts.settled(), counts.total())],
    };
    for (count, word) in [(counts.failed, "failed"), (counts.skipped, "skipped")] {
        if count > 0 {
            words.push(format!("{count} {word}"));
        }
    }
    words.push(short_ms(board.elapsed_ms(unix_ms)));
    match (board.interrupted, time_left(board, unix_ms)) {
        (Some(_), _) => words.push("ending".to_owned()),
        (None, Some(left)) => words.push(format!("about {} left", short_ms(left))),
        (None, None) => {}
    }
    words.join(", ")
}

/// Whether an event is told above the bars and stays on the screen.
fn stays(event: &Event) -> bool {
    matches!(
        event,
        Event::ImageFailed { .. }
            | Event::ServerFailed { .. }
            | Event::BenchFailed { .. }
            | Event::ProcessFailed { .. }
            | Event::Interrupted { .. }
            | Event::Healed { .. }
            | Event::RemoteFetched { .. }
            | Event::RemoteFailed { .. }
    )
}

/// The line with its verb in red where something failed.
fn coloured(line: &str, colours: bool) -> String {
    match colours {
        true => line.replacen("] FAIL ", "] \u{1b}[31mFAIL\u{1b}[0m ", 1),
        false => line.to_owned(),
    }
}

fn style(template: &'static str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the templates above are valid, as tests show");
    style.progress_chars("━━─")
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::super::story::story;
    use super::*;

    const COLUMNS: usize = 120;

    /// A screen that understands what indicatif does to one: lines, the cursor's row, and wrapping.
    #[derive(Debug, Clone, Default)]
    struct Paper(Arc<Mutex<(usize, Vec<String>)>>);

    impl Paper {
        fn text(&self) -> String {
            let lines = &self.0.lock().unwrap().1;
            let lines: Vec<_> = lines.iter().map(|line| line.trim_end()).collect();
            lines.join("\n").trim_end().to_owned()
        }

        fn move_to(&self, row: impl FnOnce(usize) -> usize) -> io::Result<()> {
            let mut screen = self.0.lock().unwrap();
            screen.0 = row(screen.0);
            Ok(())
        }

        fn at_cursor(&self, change: impl FnOnce(&mut String)) {
            let (row, lines) = &mut *self.0.lock().unwrap();
            lines.resize(lines.len().max(*row + 1), String::new());
            change(&mut lines[*row]);
        }
    }

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            COLUMNS as u16
        }

        fn move_cursor_up(&self, n: usize) -> io::Result<()> {
            self.move_to(|row| row.saturating_sub(n))
        }

        fn move_cursor_down(&self, n: usize) -> io::Result<()> {
            self.move_to(|row| row + n)
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)?;
            self.move_to(|row| row + 1)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            for character in text.chars() {
                let mut full = false;
                self.at_cursor(|line| full = line.chars().count() == COLUMNS);
                if full || character == '\n' {
                    self.move_to(|row| row + 1)?;
                }
                if !character.is_control() || character == '\u{1b}' {
                    self.at_cursor(|line| line.push(character));
                }
            }
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            self.at_cursor(String::clear);
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn screen(colours: bool) -> (Paper, Screen) {
        let paper = Paper::default();
        let target = ProgressDrawTarget::term_like(Box::new(paper.clone()));
        (paper, Screen::new(target, colours))
    }

    #[test]
    fn the_story_on_a_screen() {
        let (paper, mut screen) = screen(false);
        let story = story();
        for stamped in &story[..4] {
            screen.take(stamped);
        }
        screen.draw(1_000_500);
        insta::assert_snapshot!(paper.text(), @"
        image:pypi:llamacpp.txt
        cpu 0 done, 1 waiting
        h200 (simulated) 0 done, 3 waiting: dsr1-fp8-h200-sglang/8k1k/tp8 server starting, 400ms
        ────────────────────────────── 0/4 points, 500ms, about 1m 29s left
        ");
        for stamped in &story[4..] {
            screen.take(stamped);
        }
        screen.draw(1_013_050);
        insta::assert_snapshot!(paper.text(), @"
        [  1.9s] retry   server:smollm2-q4-cpu-llamacpp/128_32/tp1/c1: exited with 1
        [ 12.5s] FAIL    server:smollm2-q4-cpu-llamacpp/128_32/tp1/c1: exited with 1; its last lines:
          | no such model
        cpu 0 done, 1 skipped, 0 waiting
        h200 (simulated) 1 done, 1 running, 1 waiting: dsr1-fp8-h200-sglang/8k1k/tp8 c16 2/3, 120/640 requests
        ━━━━━━━━━━━━━━━━────────────── 2/4 points, 1 skipped, 13.1s, about 1m 17s left
        ");
        screen.clear();
        insta::assert_snapshot!(paper.text(), @"
        [  1.9s] retry   server:smollm2-q4-cpu-llamacpp/128_32/tp1/c1: exited with 1
        [ 12.5s] FAIL    server:smollm2-q4-cpu-llamacpp/128_32/tp1/c1: exited with 1; its last lines:
          | no such model
        ");
    }

    #[test]
    fn a_build_that_plans_has_an_empty_bar() {
        let (paper, mut screen) = screen(false);
        screen.take(&story()[0]);
        screen.draw(1_000_500);
        assert_eq!(paper.text(), format!("{} planning, 500ms", "─".repeat(30)));
    }

    #[test]
    fn colours_are_only_where_they_are_wanted() {
        for colours in [true, false] {
            let (paper, mut screen) = screen(colours);
            for stamped in story() {
                screen.take(&stamped);
            }
            assert_eq!(paper.text().contains('\u{1b}'), colours);
        }
    }

    #[test]
    fn what_came_before_the_end_is_shown() {
        let paper = Paper::default();
        let mut terminal = Terminal::on(ProgressDrawTarget::term_like(Box::new(paper.clone())), false);
        for stamped in story() {
            terminal.event(&stamped);
        }
        terminal.finish();
        assert!(
            paper.text().contains("FAIL    server:smollm2"),
            "{}",
            paper.text()
        );
        assert!(!paper.text().contains("points"), "{}", paper.text());
    }
}
