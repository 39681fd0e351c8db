//! Data goes to stdout, talk to stderr. A reader that went away (`| head`) ends output quietly.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

/// Writes one line of data to stdout. Returns false when nobody reads any more.
pub(crate) fn data(line: &str) -> bool {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").is_ok()
}

/// Writes one line of talk to stderr.
pub(crate) fn talk(line: &str) {
    // When stderr is closed there is nobody left to tell.
    if writeln!(io::stderr().lock(), "{line}").is_err() {}
}

/// Writes a question to stderr; the answer stands behind it in the same line.
pub(crate) fn prompt(question: &str) {
    let mut out = io::stderr().lock();
    // When stderr is closed, nobody reads the question, and no answer comes.
    if write!(out, "{question}").and_then(|()| out.flush()).is_err() {}
}

/// Whether data is read by a person.
pub(crate) fn is_for_people() -> bool {
    io::stdout().is_terminal()
}

/// Whether talk is read by a person.
pub(crate) fn talks_to_people() -> bool {
    io::stderr().is_terminal()
}

/// Columns that data has: the terminal's, or the 80 that every reader can take.
pub(crate) fn width() -> usize {
    columns(io::stdout()).filter(|columns| *columns >= 40).unwrap_or(80)
}

/// Columns that talk has.
pub(crate) fn talk_width() -> usize {
    columns(io::stderr()).unwrap_or(80)
}

/// A terminal's columns, where it says how many it has.
fn columns(terminal: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}
