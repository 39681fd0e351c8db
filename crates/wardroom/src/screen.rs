//! Data goes to stdout, talk to stderr. A reader that went away (`| head`) ends output quietly.

use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};

/// Whether data was lost on a full disk or the like, which a reader cannot know.
static LOST: AtomicBool = AtomicBool::new(false);

/// Writes one line of data to stdout. Returns false when nobody reads any more, or nothing can be written.
pub(crate) fn data(line: &str) -> bool {
    let written = writeln!(io::stdout().lock(), "{line}");
    if let Err(error) = &written
        && error.kind() != ErrorKind::BrokenPipe
        && !LOST.swap(true, Ordering::Relaxed)
    {
        talk(&format!("wardroom: standard output cannot be written, and what is in it is not all: {error}"));
    }
    written.is_ok()
}

/// Whether data was lost.
pub(crate) fn data_was_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Whether talk is dropped where nobody takes it.
static WAITS_FOR_NOBODY: AtomicBool = AtomicBool::new(false);

/// From now on talk waits for no reader: a terminal that is stopped must not hold up who watches over an agent. What is said of
/// Wardroom's own processes is on record as well.
pub(crate) fn waits_for_nobody() {
    WAITS_FOR_NOBODY.store(true, Ordering::Relaxed);
}

/// Nobody is watched over any more, and the last words may wait for who reads them.
pub(crate) fn waits_again() {
    WAITS_FOR_NOBODY.store(false, Ordering::Relaxed);
}

/// Whether the operator's terminal is raw, because an agent's is shown on it: it does not go back to the first column by itself.
static RAW: AtomicBool = AtomicBool::new(false);

/// Says that the operator's terminal became raw, or is as it was.
pub(crate) fn is_raw(raw: bool) {
    RAW.store(raw, Ordering::Relaxed);
}

/// Writes to stderr what it takes now or very soon, and drops the rest. A terminal and a pipe are opened once more for that: what is
/// open is shared with others, and whether it waits as well.
fn offer(line: &[u8]) -> io::Result<()> {
    let own = io::stderr();
    let kind = FileType::from_raw_mode(fstat(&own)?.st_mode);
    let soon = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    if kind != FileType::RegularFile && poll(&mut [PollFd::new(&own, PollFlags::OUT)], Some(&soon))? == 0 {
        return Ok(());
    }
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    if matches!(kind, FileType::CharacterDevice | FileType::Fifo)
        && let Ok(again) = open("/proc/self/fd/2", flags, Mode::empty())
    {
        return rustix::io::write(&again, line).map(drop).map_err(Into::into);
    }
    own.lock().write_all(line)
}

/// Writes one line of talk to stderr, at once: helpers write there as well, and may be killed meanwhile.
pub(crate) fn talk(line: &str) {
    let line = format!("{line}\n");
    let raw = RAW.load(Ordering::Relaxed) && io::stderr().is_terminal();
    let line = if raw { line.replace('\n', "\r\n") } else { line };
    let written = match WAITS_FOR_NOBODY.load(Ordering::Relaxed) {
        true => offer(line.as_bytes()),
        false => io::stderr().lock().write_all(line.as_bytes()),
    };
    // When stderr is closed there is nobody left to tell.
    if written.is_err() {}
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

/// Whether data may have colours: a terminal shows it, and nobody asked for none (no-color.org).
pub(crate) fn data_has_colours() -> bool {
    is_for_people() && wants_colours(std::env::var_os)
}

/// Whether talk may have colours, likewise.
pub(crate) fn talk_has_colours() -> bool {
    io::stderr().is_terminal() && wants_colours(std::env::var_os)
}

fn wants_colours(variable: impl Fn(&'static str) -> Option<OsString>) -> bool {
    let refused = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && variable("TERM").is_none_or(|terminal| terminal != "dumb")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_and_a_dumb_terminal_are_heeded() {
        let with = |name: &'static str, value: &'static str| {
            wants_colours(move |asked| (asked == name).then(|| value.into()))
        };
        assert!(with("NO_COLOR", "") && with("TERM", "xterm"));
        assert!(!with("NO_COLOR", "1") && !with("TERM", "dumb"));
    }
}
