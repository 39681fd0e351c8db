//! Who is behind a connection: the guard's message about a socket, joined with the kernel's answer about its addresses.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;
use wardroom_kernel::sockdiag;
use wardroom_model::Attribution;
use wardroom_model::event::Actor;

use crate::watched::watched;

/// Messages kept whose connection has not come: those of UDP sockets and of refused addresses never do. The oldest
/// goes first; a connection that comes after 4,096 others of its cell has no actor, and rules with `apps` refuse it.
const KEPT: usize = 4_096;
/// How long to wait for a message that has not come yet. The guard sends it before the connect goes on, so it
/// is there already, unless this machine is busy beyond measure.
const PATIENCE: Duration = Duration::from_millis(5);

/// What the guard has said.
#[derive(Debug)]
pub(crate) struct Actors {
    diag: OwnedFd,
    guard: Option<AsyncFd<OwnedFd>>,
    known: RefCell<Known>,
}

#[derive(Debug, Default)]
struct Known {
    actors: BTreeMap<u64, Actor>,
    order: VecDeque<u64>,
    /// The guard is gone; nothing more will be said.
    closed: bool,
}

impl Actors {
    pub(crate) fn new(diag: OwnedFd, guard: Option<OwnedFd>) -> io::Result<Self> {
        let guard = guard.map(watched).transpose()?;
        Ok(Self { diag, guard, known: RefCell::default() })
    }

    /// The actor that connected from `peer` to `dialled`; none when nobody vouches for one.
    pub(crate) async fn behind(&self, peer: SocketAddr, dialled: SocketAddr) -> Option<Actor> {
        let guard = self.guard.as_ref()?;
        let inode = sockdiag::tcp_inode(&self.diag, peer, dialled).ok().flatten()?;
        self.hear(guard);
        if let Some(actor) = self.take(inode) {
            return Some(actor);
        }
        let waited = timeout(PATIENCE, async {
            loop {
                if self.known.borrow().closed {
                    return None;
                }
                let mut ready = guard.readable().await.ok()?;
                self.hear(guard);
                ready.clear_ready();
                if let Some(actor) = self.take(inode) {
                    return Some(actor);
                }
            }
        });
        waited.await.ok().flatten()
    }

    fn take(&self, inode: u64) -> Option<Actor> {
        self.known.borrow_mut().actors.remove(&inode)
    }

    /// Reads all messages that wait.
    fn hear(&self, guard: &AsyncFd<OwnedFd>) {
        let mut known = self.known.borrow_mut();
        let mut buffer = [0; Attribution::BOUND];
        while !known.closed {
            match recv(guard, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => known.closed = true,
                Ok((_, length)) => {
                    let message = buffer.get(..length).and_then(|bytes| minicbor::decode(bytes).ok());
                    known.note(message);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => known.closed = true,
            }
        }
    }
}

impl Known {
    fn note(&mut self, message: Option<Attribution>) {
        let Some(Attribution { inode, actor }) = message else { return };
        if self.actors.insert(inode, actor).is_none() {
            self.order.push_back(inode);
        }
        while self.order.len() > KEPT {
            if let Some(oldest) = self.order.pop_front() {
                self.actors.remove(&oldest);
            }
        }
    }
}
