//! The operator's signals: heard as descriptors while they are the agent's or something is to be put right first, else deadly as ever.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::{flag, low_level};

/// Those that a terminal or an operator sends.
const ALL: [(i32, Signal); 4] =
    [(SIGINT, Signal::INT), (SIGTERM, Signal::TERM), (SIGHUP, Signal::HUP), (SIGQUIT, Signal::QUIT)];

/// Whether they end this process.
static DEADLY: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From here on they are heard, each at a descriptor of its own.
pub(crate) fn heard() -> io::Result<Vec<(Signal, UnixStream)>> {
    DEADLY.store(false, Ordering::SeqCst);
    let hear = |(number, signal)| {
        let (heard, signalled) = UnixStream::pair()?;
        heard.set_nonblocking(true)?;
        low_level::pipe::register(number, signalled)?;
        Ok((signal, heard))
    };
    ALL.into_iter().map(hear).collect()
}

/// The first that was heard so far, if any was.
pub(crate) fn first(heard: &[(Signal, UnixStream)]) -> Option<Signal> {
    let was_heard = |mut stream: &UnixStream| stream.read(&mut [0; 16]).is_ok_and(|read| read > 0);
    heard.iter().find(|(_, stream)| was_heard(stream)).map(|(signal, _)| *signal)
}

/// From here on they end this process again.
pub(crate) fn deadly() -> io::Result<()> {
    DEADLY.store(true, Ordering::SeqCst);
    for (number, _) in ALL {
        flag::register_conditional_default(number, Arc::clone(&DEADLY))?;
    }
    Ok(())
}

/// Ends this process as the signal would have.
pub(crate) fn die_by(signal: Signal) -> io::Result<()> {
    low_level::emulate_default_handler(signal.as_raw())
}
