//! Messages about what users wrote: severity, place, snippet, remedy.

use std::fmt;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Element, Group, Level, Renderer, Snippet, renderer::DecorStyle};

use super::source::{Source, SourceError, Span};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
    /// Worth knowing; nothing is wrong.
    Info,
}

/// One message: what is wrong, where, and what to do next.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    pub severity: Severity,
    pub message: String,
    /// The first place is the one that the message is about, others are shown beside it.
    pub places: Vec<Place>,
    pub help: Vec<String>,
}

/// A labelled span in a file.
#[derive(Debug, Clone)]
pub struct Place {
    pub source: Arc<Source>,
    pub span: Span,
    pub label: String,
}

impl Diagnostic {
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            places: Vec::new(),
            help: Vec::new(),
        }
    }

    pub fn warning(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(message)
        }
    }

    pub fn info(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Info,
            ..Self::error(message)
        }
    }

    /// Adds a labelled place.
    pub fn at(mut self, source: &Arc<Source>, span: Span, label: impl Into<String>) -> Self {
        self.places.push(Place {
            source: source.clone(),
            span,
            label: label.into(),
        });
        self
    }

    /// Adds what to do next.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Adds ``did you mean `x`?`` when a valid name is near, else the valid names when they are few.
    pub fn nearest<'a>(self, wrong: &str, valid: impl IntoIterator<Item = &'a str> + Clone) -> Self {
        match super::nearest::nearest(wrong, valid.clone()) {
            Some(name) => self.help(format!("did you mean `{name}`?")),
            None => {
                let names: Vec<_> = valid.into_iter().map(|n| format!("`{n}`")).collect();
                match names.len() {
                    1..=24 => self.help(format!("valid here: {}", names.join(", "))),
                    _ => self,
                }
            }
        }
    }

    /// The message with snippets; `color` styles it for a terminal.
    pub fn render(&self, color: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Info => Level::INFO,
        };
        let mut group = level.primary_title(&self.message).elements(self.snippets());
        for help in &self.help {
            group = group.element(Level::HELP.message(help));
        }
        let report: &[Group<'_>] = &[group];
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        renderer.decor_style(DecorStyle::Ascii).render(report)
    }

    fn snippets(&self) -> Vec<Element<'_>> {
        self.places
            .iter()
            .enumerate()
            .map(|(i, place)| {
                let kind = if i == 0 {
                    AnnotationKind::Primary
                } else {
                    AnnotationKind::Context
                };
                let window = Window::around(&place.source.text, place.span);
                Snippet::source(window.text)
                    .line_start(window.first_line)
                    .path(place.source.path.display().to_string())
                    .annotation(kind.span(window.span).label(&place.label))
                    .into()
            })
            .collect()
    }
}

/// The lines around a span: a file may be megabytes, its message shows two lines before and one after.
struct Window<'a> {
    text: &'a str,
    first_line: usize,
    span: std::ops::Range<usize>,
}

impl<'a> Window<'a> {
    fn around(text: &'a str, span: Span) -> Self {
        let range = span.range();
        let start = range.start.min(text.len());
        let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
        // A block's span covers all its lines; pointing at its first one says enough.
        let line_end = text[start..].find('\n').map_or(text.len(), |i| start + i);
        let end = range.end.clamp(start, line_end);
        let before = text[..line_start]
            .rmatch_indices('\n')
            .nth(2)
            .map_or(0, |(i, _)| i + 1);
        let after = text[line_end..]
            .match_indices('\n')
            .nth(1)
            .map_or(text.len(), |(i, _)| line_end + i);
        let first_line = span.line as usize
            - text[before..line_start]
                .matches('\n')
                .count()
                .min(span.line as usize);
        Self {
            text: &text[before..after],
            first_line: first_line.max(1),
            span: start - before..end - before,
        }
    }
}

impl From<SourceError> for Diagnostic {
    fn from(error: SourceError) -> Self {
        Self::error(error.to_string())
    }
}

/// Messages that one reading keeps.
const MOST_KEPT: usize = 2000;

/// Everything wrong that one reading found, in order; an error type when it holds errors.
#[derive(Debug, Default)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Adds a message. Of thousands nobody reads, and a hostile file could fill memory with, the first are kept.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let first_error = || diagnostic.severity == Severity::Error && !self.has_errors();
        if self.0.len() < MOST_KEPT || first_error() {
            self.0.push(diagnostic);
        }
    }

    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|d| d.severity == Severity::Error)
    }

    /// Passes `value` on unless an error was found.
    pub fn check<T>(self, value: T) -> Result<(T, Self), Self> {
        if self.has_errors() {
            Err(self)
        } else {
            Ok((value, self))
        }
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            writeln!(f, "{}", diagnostic.render(false))?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
