//! Moving bytes between an agent and a server, both ways, without looking at them or copying them.
//!
//! A connection holds a pipe only while bytes are on their way. Each direction ends by itself (half-close is passed on).

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use wardroom_kernel::splice::Pipe;

/// Capacity of a pipe. Measured on loopback: from 64 KiB to 1 MiB the difference drowns in noise; this is four
/// wake-ups a MiB, and bounds what waits for a peer that does not read.
const PIPE: usize = 256 * 1024;
/// Pipes at once. A peer that does not read keeps one; the others of the same agent then wait for it.
const PIPES: usize = 256;
/// Empty pipes kept for reuse: two descriptors each.
const SPARE: usize = 4;

/// What a connection has moved so far; read when it ends, however it ends.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) sent: Cell<u64>,
    pub(crate) received: Cell<u64>,
    pub(crate) remote: Cell<Option<SocketAddr>>,
}

/// The pipes of a gate.
#[derive(Debug)]
pub(crate) struct Pipes {
    places: Semaphore,
    spare: RefCell<Vec<Pipe>>,
}

impl Pipes {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self { places: Semaphore::new(PIPES), spare: RefCell::default() })
    }

    async fn take(&self) -> io::Result<(Pipe, SemaphorePermit<'_>)> {
        let place = self.places.acquire().await.map_err(io::Error::other)?;
        let spare = self.spare.borrow_mut().pop();
        let pipe = match spare {
            Some(pipe) => pipe,
            None => Pipe::new(PIPE)?,
        };
        Ok((pipe, place))
    }

    /// Keeps an empty pipe for the next; one with bytes in it is closed, and they with it.
    fn give_back(&self, pipe: Pipe) {
        let mut spare = self.spare.borrow_mut();
        if pipe.held() == 0 && spare.len() < SPARE {
            spare.push(pipe);
        }
    }
}

/// Sends the first flight, then moves bytes both ways until both peers have finished.
pub(crate) async fn relay(
    agent: &TcpStream,
    server: &TcpStream,
    flight: &[u8],
    pipes: &Pipes,
    traffic: &Traffic,
) -> io::Result<()> {
    for stream in [agent, server] {
        stream.set_nodelay(true)?;
        // A peer that vanished without a word is noticed within some minutes, and not never.
        SockRef::from(stream).set_keepalive(true)?;
    }
    send(server, flight, &traffic.sent).await?;
    let out = one_way(agent, server, pipes, &traffic.sent);
    let back = one_way(server, agent, pipes, &traffic.received);
    tokio::try_join!(out, back).map(|((), ())| ())
}

async fn send(server: &TcpStream, mut flight: &[u8], count: &Cell<u64>) -> io::Result<()> {
    while !flight.is_empty() {
        server.writable().await?;
        match server.try_write(flight) {
            Ok(written) => {
                flight = flight.get(written..).unwrap_or_default();
                add(count, written);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

async fn one_way(from: &TcpStream, to: &TcpStream, pipes: &Pipes, count: &Cell<u64>) -> io::Result<()> {
    loop {
        from.readable().await?;
        let (mut pipe, place) = pipes.take().await?;
        let result = burst(from, to, &mut pipe, count).await;
        pipes.give_back(pipe);
        drop(place);
        if result? == Flow::Finished {
            return SockRef::from(to).shutdown(Shutdown::Write);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Flow {
    /// Nothing more for now.
    Paused,
    /// Nothing more, ever.
    Finished,
}

/// Moves what there is until the sender pauses or finishes. The pipe is empty before and, unless it fails, after.
async fn burst(from: &TcpStream, to: &TcpStream, pipe: &mut Pipe, count: &Cell<u64>) -> io::Result<Flow> {
    loop {
        match from.try_io(Interest::READABLE, || pipe.fill(from)) {
            Ok(0) => return Ok(Flow::Finished),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Flow::Paused),
            Err(e) => return Err(e),
        }
        while pipe.held() > 0 {
            match to.try_io(Interest::WRITABLE, || pipe.drain(to)) {
                Ok(moved) => add(count, moved),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
                Err(e) => return Err(e),
            }
        }
        // One connection at full speed must not keep the loop from the others.
        tokio::task::consume_budget().await;
    }
}

/// Counts bytes.
pub(crate) fn add(count: &Cell<u64>, bytes: usize) {
    count.set(count.get().saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX)));
}
