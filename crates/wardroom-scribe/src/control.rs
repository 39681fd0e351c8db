//! The few words between the keeper and its scribe, over a sequenced-packet socket.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use minicbor::{Decode, Encode};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use wardroom_kernel::ring;

/// What the keeper says.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ToScribe {
    /// Take everything that is in the rings, sign, and end. The end of the connection means the same.
    #[n(0)]
    Finish,
    /// Say [`FromScribe::Pong`].
    #[n(1)]
    Ping,
}

/// What the scribe says.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum FromScribe {
    /// The ledger is open and records are taken.
    #[n(0)]
    Ready {
        /// Records in the ledger.
        #[n(0)]
        records: u64,
        /// Whether the scribe before did not end in peace.
        #[n(1)]
        recovered: bool,
    },
    /// Records cannot be stored at present. They stay in the rings, and producers wait.
    #[n(1)]
    Trouble(#[n(0)] String),
    /// Records can be stored again.
    #[n(2)]
    Relieved,
    /// Everything is stored and signed; the scribe ends.
    #[n(3)]
    Finished {
        /// Records in the ledger.
        #[n(0)]
        records: u64,
    },
    /// The disk did not keep what was written to it, and the scribe ends: how much is lost only the next one finds out.
    #[n(5)]
    Lost(#[n(0)] String),
    /// The process runs. Whether the disk does is another matter: see [`FromScribe::Trouble`].
    #[n(4)]
    Pong,
}

/// Longest message in bytes; a trouble's text is cut to fit.
const LONGEST: usize = 2048;

/// Sends one message.
///
/// # Errors
/// The other side is gone.
pub fn say<M: Encode<()>>(socket: impl AsFd, message: &M) -> io::Result<()> {
    let bytes = minicbor::to_vec(message).map_err(io::Error::other)?;
    // A keeper that died must not kill the scribe by SIGPIPE, and a keeper that hangs must not hold it up.
    send(socket, &bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).map(|_sent| ()).map_err(io::Error::from)
}

/// Receives one message; `None` when the other side is gone.
///
/// # Errors
/// Those of the socket, or bytes that are no message.
pub fn hear<M: for<'a> Decode<'a, ()>>(socket: impl AsFd) -> io::Result<Option<M>> {
    let mut buffer = [0; LONGEST];
    let received = loop {
        match recv(&socket, &mut buffer, RecvFlags::empty()) {
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => return Ok(None),
            other => break other?.0,
        }
    };
    match buffer.get(..received) {
        None | Some([]) => Ok(None),
        Some(bytes) => minicbor::decode(bytes).map(Some).map_err(io::Error::other),
    }
}

/// The scribe's end: a thread listens, so that the scribe can sleep on its rings alone.
#[derive(Debug)]
pub(crate) struct Control {
    socket: Arc<OwnedFd>,
    /// 1 once the scribe shall finish.
    finish: Arc<AtomicU32>,
}

impl Control {
    pub(crate) fn listen(socket: OwnedFd) -> io::Result<Self> {
        let control = Self { socket: Arc::new(socket), finish: Arc::default() };
        let (socket, finish) = (Arc::clone(&control.socket), Arc::clone(&control.finish));
        // 64 KiB: the thread has one buffer of 2 KiB on its stack.
        thread::Builder::new().name("control".to_owned()).stack_size(64 << 10).spawn(move || {
            // Whatever else is heard, or no longer heard, means: finish.
            while let Ok(Some(ToScribe::Ping)) = hear(&*socket) {
                // An answer that does not fit into the queue is not missed: there are others in it.
                if say(&*socket, &FromScribe::Pong).is_err() {}
            }
            ring::rouse(&finish);
        })?;
        Ok(control)
    }

    pub(crate) fn finishing(&self) -> bool {
        self.finish.load(Ordering::SeqCst) != 0
    }

    /// The word that [`ring::wait_any`] watches besides the rings.
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.finish
    }

    /// Tells the keeper. That it is gone shows as the end of the connection; nothing is lost by a word unheard.
    pub(crate) fn tell(&self, message: &FromScribe) {
        let message = match message {
            FromScribe::Trouble(text) => FromScribe::Trouble(text.chars().take(400).collect()),
            FromScribe::Lost(text) => FromScribe::Lost(text.chars().take(400).collect()),
            other @ (FromScribe::Ready { .. }
            | FromScribe::Relieved
            | FromScribe::Pong
            | FromScribe::Finished { .. }) => other.clone(),
        };
        if say(&*self.socket, &message).is_err() {
            // See above.
        }
    }
}
