//! Moving bytes between an agent and a server, both ways, without looking at them.
//!
//! A little is copied, which takes fewer system calls; what is more goes through a pipe and is not, and what follows it neither. A connection holds a pipe only
//! while bytes are on their way, and copies where all pipes are in use: it waits for its own peers alone. Each direction ends by itself (half-close is passed on).

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use wardroom_kernel::splice::Pipe;

use crate::vigil::{Vigil, Way};

/// Capacity of a pipe. Measured on loopback: from 64 KiB to 1 MiB the difference drowns in noise; this is four
/// wake-ups a MiB, and bounds what waits for a peer that does not read.
const PIPE: usize = 256 * 1024;
/// Pipes at once. A peer that does not read keeps one; without one the others of the same agent are slower, and no more than that.
const PIPES: usize = 256;
/// What is copied at once. A flight of a handshake and most messages fit, and less than this is all that had come, so nobody
/// asks for more: two system calls, where a pipe takes three.
const LITTLE: usize = 16 * 1024;
/// Empty pipes kept for reuse: two descriptors each.
const SPARE: usize = 4;

/// What a connection has moved so far; read when it ends, however it ends.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) sent: Moved,
    pub(crate) received: Moved,
    pub(crate) remote: Cell<Option<SocketAddr>>,
}

/// Bytes moved one way.
#[derive(Debug)]
pub(crate) struct Moved {
    bytes: Cell<u64>,
    way: Way,
    vigil: Arc<Vigil>,
}

impl Traffic {
    pub(crate) fn new(vigil: &Arc<Vigil>) -> Self {
        let none = |way| Moved { bytes: Cell::new(0), way, vigil: Arc::clone(vigil) };
        Self { sent: none(Way::Out), received: none(Way::Back), remote: Cell::new(None) }
    }
}

impl Moved {
    pub(crate) fn add(&self, bytes: usize) {
        self.vigil.moved(self.way);
        add(&self.bytes, bytes);
    }

    pub(crate) fn get(&self) -> u64 {
        self.bytes.get()
    }
}

/// The pipes of a gate.
#[derive(Debug)]
pub(crate) struct Pipes {
    places: Semaphore,
    spare: RefCell<Vec<Pipe>>,
    /// For what is copied. Never borrowed over an `await`.
    little: RefCell<Vec<u8>>,
}

impl Pipes {
    pub(crate) fn new() -> Rc<Self> {
        let little = RefCell::new(vec![0; LITTLE]);
        Rc::new(Self { places: Semaphore::new(PIPES), spare: RefCell::default(), little })
    }

    /// A pipe, and the leave to hold bytes in it; none where as many as there may be are in use, or the kernel gives no more.
    fn take(&self) -> Option<(Pipe, SemaphorePermit<'_>)> {
        let place = self.places.try_acquire().ok()?;
        let spare = self.spare.borrow_mut().pop();
        Some((spare.or_else(|| Pipe::new(PIPE).ok())?, place))
    }

    /// Keeps an empty pipe for the next; one with bytes in it is closed, and they with it.
    fn give_back(&self, pipe: Pipe) {
        let mut spare = self.spare.borrow_mut();
        if pipe.held() == 0 && spare.len() < SPARE {
            spare.push(pipe);
        }
    }
}

/// Moves bytes both ways until both peers have finished. Both sockets are [`eager`].
pub(crate) async fn relay(
    agent: &TcpStream,
    server: &TcpStream,
    pipes: &Pipes,
    traffic: &Traffic,
) -> io::Result<()> {
    let out = one_way(agent, server, pipes, &traffic.sent);
    let back = one_way(server, agent, pipes, &traffic.received);
    tokio::try_join!(out, back).map(|((), ())| ())
}

pub(crate) async fn send(to: &TcpStream, mut bytes: &[u8], count: &Moved) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                count.add(written);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

async fn one_way(from: &TcpStream, to: &TcpStream, pipes: &Pipes, count: &Moved) -> io::Result<()> {
    // More than a little came last time: a transfer in parts, of which nothing is to be copied.
    let mut large = false;
    loop {
        from.readable().await?;
        let before = count.get();
        let begun = if large { Flow::Unfinished } else { little(from, to, pipes, count).await? };
        let flow = match begun {
            Flow::Unfinished => more(from, to, pipes, count).await?,
            flow @ (Flow::Paused | Flow::Finished) => flow,
        };
        large = usize::try_from(count.get() - before).map_or(true, |moved| moved > LITTLE);
        if flow == Flow::Finished {
            return match SockRef::from(to).shutdown(Shutdown::Write) {
                // A peer that is gone needs not be told.
                Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(()),
                told => told,
            };
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// Nothing more for now.
    Paused,
    /// There may be more.
    Unfinished,
    /// Nothing more, ever.
    Finished,
}

/// Moves what is more than a little: through a pipe, or a part of it by copying.
async fn more(from: &TcpStream, to: &TcpStream, pipes: &Pipes, count: &Moved) -> io::Result<Flow> {
    let Some((mut pipe, _place)) = pipes.take() else {
        tokio::task::consume_budget().await;
        return little(from, to, pipes, count).await;
    };
    let flow = burst(from, to, &mut pipe, count).await;
    pipes.give_back(pipe);
    flow
}

/// Copies what there is, if it is little, or the begin of it.
async fn little(from: &TcpStream, to: &TcpStream, pipes: &Pipes, count: &Moved) -> io::Result<Flow> {
    let (flow, rest) = {
        let mut buffer = pipes.little.borrow_mut();
        let read = read(from, &mut buffer);
        let length = match read {
            Ok(0) => return Ok(Flow::Finished),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Flow::Paused),
            read => read?,
        };
        let flow = if length < buffer.len() { Flow::Paused } else { Flow::Unfinished };
        let part = buffer.get(..length).unwrap_or_default();
        let written = match to.try_write(part) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
            written => written?,
        };
        count.add(written);
        // Empty, but for a peer that does not read.
        (flow, part.get(written..).unwrap_or_default().to_vec())
    };
    send(to, &rest, count).await?;
    Ok(flow)
}

/// Reads what there is. Less than there was room for is all of it: the socket is waited for again before it is asked
/// again, which saves a call. (tokio does the same where the socket is not shared.)
pub(crate) fn read(tcp: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
    let mut all = None;
    let read = tcp.try_io(Interest::READABLE, || {
        let length = rustix::io::read(tcp, &mut *into)?;
        if (1..into.len()).contains(&length) {
            all = Some(length);
            // What `try_io` takes for: not ready any more.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(length)
    });
    all.map_or(read, Ok)
}

/// Moves what there is until the sender pauses or finishes. The pipe is empty before and, unless it fails, after.
async fn burst(from: &TcpStream, to: &TcpStream, pipe: &mut Pipe, count: &Moved) -> io::Result<Flow> {
    loop {
        match from.try_io(Interest::READABLE, || pipe.fill(from)) {
            Ok(0) => return Ok(Flow::Finished),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Flow::Paused),
            Err(e) => return Err(e),
        }
        while pipe.held() > 0 {
            match to.try_io(Interest::WRITABLE, || pipe.drain(to)) {
                Ok(moved) => count.add(moved),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
                Err(e) => return Err(e),
            }
        }
        // One connection at full speed must not keep the loop from the others.
        tokio::task::consume_budget().await;
    }
}

/// Makes a socket send at once what it is given, and notice within some minutes, and not never, that its peer vanished without a
/// word. What a listener accepts takes both after it.
pub(crate) fn eager(socket: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)
}

/// Counts bytes.
pub(crate) fn add(count: &Cell<u64>, bytes: usize) {
    count.set(count.get().saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Both ends of a connection.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(here), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    #[tokio::test]
    async fn where_every_pipe_is_in_use_a_little_and_a_lot_move_all_the_same() {
        let pipes = Pipes::new();
        let in_use: Vec<_> = std::iter::from_fn(|| pipes.places.try_acquire().ok()).collect();
        assert_eq!(in_use.len(), PIPES);
        let traffic = Traffic::new(&Vigil::new());
        let ((mut agent, near), (far, mut server)) = tokio::join!(pair(), pair());
        let relayed = relay(&near, &far, &pipes, &traffic);
        let talk = async {
            agent.write_all(b"x").await.unwrap();
            server.read_exact(&mut [0]).await.unwrap();
            let (mut heard, a_lot) = (Vec::new(), vec![b'x'; 64 * LITTLE]);
            let say = async {
                agent.write_all(&a_lot).await.unwrap();
                agent.shutdown().await.unwrap();
            };
            tokio::join!(say, async { server.read_to_end(&mut heard).await.unwrap() });
            drop(server);
            heard.len()
        };
        let both = async { tokio::join!(relayed, talk) };
        let (ended, heard) = tokio::time::timeout(std::time::Duration::from_secs(5), both).await.unwrap();
        ended.unwrap();
        assert_eq!((heard, traffic.sent.get()), (64 * LITTLE, 64 * 16 * 1024 + 1));
    }
}
