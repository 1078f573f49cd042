//! Who reports a build, by who reads it.

use std::io;

use super::json::Json;
use super::plain::Plain;
use super::terminal::Terminal;
use crate::exec::event::Stamped;

/// How a command tells what it has to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Human,
    /// For programs.
    Json,
}

/// Shows a build's events as they come.
pub trait Reporter {
    /// Takes the next event.
    fn event(&mut self, stamped: &Stamped);

    /// Shows what it has taken: there is no other event to take right now.
    fn flush(&mut self) {}

    /// Takes away what should not stay on the screen. No event comes after it.
    fn finish(&mut self);
}

/// The reporter of this reader: JSON lines on stdout when asked for; else on stderr, bars when it is a `terminal`
/// and nobody's CI, plain lines otherwise.
pub fn choose(format: Option<Format>, terminal: bool, ci: bool, no_color: bool) -> Box<dyn Reporter + Send> {
    match format {
        Some(Format::Json) => Box::new(Json::new(io::stdout())),
        Some(Format::Human) | None if terminal && !ci => Box::new(Terminal::on_stderr(!no_color)),
        Some(Format::Human) | None => Box::new(Plain::new(io::stderr())),
    }
}
