//! How far a run is, on stderr where a person looks.

use std::cell::Cell;
use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::bench::run::Progress;
use crate::units::show_count;

/// A progress line; nothing where stderr is no terminal.
pub struct Bar {
    bar: ProgressBar,
    before: Cell<u64>,
}

const STEPS: u64 = 1_000;

impl Bar {
    /// A line for the run called `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let bar =
            if std::io::stderr().is_terminal() { ProgressBar::new(STEPS) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{prefix:>6} {wide_bar} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        Self { bar, before: Cell::new(0) }
    }

    /// Moves the line.
    pub fn show(&self, progress: Progress) {
        self.bar.set_position((progress.share * STEPS as f64) as u64);
        if progress.completed != self.before.replace(progress.completed) {
            self.bar.set_message(show_count(progress.completed as f64));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
