//! Who is behind a connection or a refused packet: the guard's message about a socket, joined with the kernel's answer about
//! a connection's addresses, or with a packet's destination.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::timeout;
use wardroom_kernel::nflog::Target;
use wardroom_kernel::sockdiag;
use wardroom_model::Attribution;
use wardroom_model::event::Actor;

use crate::gate::Gate;
use crate::watched::watched;

/// Messages kept whose connection has not come: those of UDP sockets and of refused addresses never do. The oldest
/// goes first; a connection that comes after 4,096 others of its cell has no actor, and rules with `apps` refuse it.
const KEPT: usize = 4_096;
/// Destinations kept, the oldest goes first. The report of a refused packet comes within milliseconds of the message about it;
/// a packet to a 257th destination in that time has no actor.
const DESTINATIONS: usize = 256;
/// How long to wait for a message that has not come yet. The guard sends it before the connect goes on, so it
/// is there already, unless this machine is busy beyond measure.
const PATIENCE: Duration = Duration::from_millis(5);

/// What the guard has said.
#[derive(Debug)]
pub(crate) struct Actors {
    diag: OwnedFd,
    guard: Option<AsyncFd<OwnedFd>>,
    known: RefCell<Known>,
    /// Something was heard.
    heard: Notify,
}

#[derive(Debug, Default)]
struct Known {
    by_inode: Latest<u64>,
    by_destination: Latest<Destination>,
    /// The guard is gone; nothing more will be said.
    closed: bool,
}

/// Where somebody connects or sends to, as a packet says it. Without a protocol, any.
type Destination = (Option<u8>, SocketAddr);

/// The latest actor for each key, of so many keys.
#[derive(Debug)]
struct Latest<K> {
    actors: BTreeMap<K, Actor>,
    order: VecDeque<K>,
}

impl<K> Default for Latest<K> {
    fn default() -> Self {
        Self { actors: BTreeMap::new(), order: VecDeque::new() }
    }
}

impl<K: Ord + Clone> Latest<K> {
    fn note(&mut self, key: K, actor: Actor, bound: usize) {
        if self.actors.insert(key.clone(), actor).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > bound {
            if let Some(oldest) = self.order.pop_front() {
                self.actors.remove(&oldest);
            }
        }
    }
}

impl Actors {
    pub(crate) fn new(diag: OwnedFd, guard: Option<OwnedFd>) -> io::Result<Self> {
        let guard = guard.map(watched).transpose()?;
        let known = Known { closed: guard.is_none(), ..Known::default() };
        Ok(Self { diag, guard, known: RefCell::new(known), heard: Notify::new() })
    }

    /// The actor that connected from `peer` to `dialled`; none when nobody vouches for one.
    pub(crate) async fn behind(&self, peer: SocketAddr, dialled: SocketAddr) -> Option<Actor> {
        let inode = sockdiag::tcp_inode(&self.diag, peer, dialled).ok().flatten()?;
        let waited = timeout(PATIENCE, async {
            loop {
                let heard = self.heard.notified();
                self.hear();
                let known = self.known.borrow_mut().by_inode.actors.remove(&inode);
                if known.is_some() || self.known.borrow().closed {
                    return known;
                }
                heard.await;
            }
        });
        waited.await.ok().flatten()
    }

    /// The latest who announced this destination; none when nobody did lately.
    pub(crate) fn announced(&self, target: Target) -> Option<Actor> {
        self.hear();
        let known = self.known.borrow();
        let to = destination(Some(target.protocol), target.destination);
        let announced = |key| known.by_destination.actors.get(&key).cloned();
        announced(to).or_else(|| announced((None, to.1)))
    }

    /// Reads all messages that wait.
    fn hear(&self) {
        let Some(guard) = &self.guard else { return };
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
        let Some(Attribution { inode, actor, destination: to, protocol }) = message else { return };
        self.by_destination.note(destination(protocol, to), actor.clone(), DESTINATIONS);
        self.by_inode.note(inode, actor, KEPT);
    }
}

/// A destination as messages and packets both say it: an IPv4 address in IPv6 clothes is the IPv4 one, and what has no ports has
/// port 0.
fn destination(protocol: Option<u8>, to: SocketAddr) -> Destination {
    let port = if matches!(protocol, Some(ICMP | ICMPV6)) { 0 } else { to.port() };
    (protocol, SocketAddr::new(to.ip().to_canonical(), port))
}

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Listens to the guard, for ever: a queue that fills would make it wait.
pub(crate) async fn listen(gate: Rc<Gate>) -> io::Result<()> {
    let actors = &gate.actors;
    while let Some(guard) = &actors.guard
        && !actors.known.borrow().closed
    {
        let mut ready = guard.readable().await?;
        actors.hear();
        ready.clear_ready();
        actors.heard.notify_waiters();
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardroom_model::Captured;
    use wardroom_model::event::Program;

    fn message(pid: u32, protocol: Option<u8>, to: &str) -> Option<Attribution> {
        let program = Program { path: Captured::from("/usr/bin/curl"), trusted: true };
        let destination = to.parse().unwrap();
        Some(Attribution { inode: pid.into(), actor: Actor { pid, program }, destination, protocol })
    }

    #[test]
    fn the_latest_who_announced_a_destination_is_known_and_the_table_is_bounded() {
        let mut known = Known::default();
        known.note(message(1, Some(6), "[::ffff:10.0.0.1]:80"));
        known.note(message(2, Some(6), "10.0.0.1:80"));
        known.note(message(3, Some(1), "10.0.0.1:80"));
        let pid = |known: &Known, protocol, to: &str| {
            let key = destination(protocol, to.parse().unwrap());
            known.by_destination.actors.get(&key).map(|actor| actor.pid)
        };
        assert_eq!(pid(&known, Some(6), "10.0.0.1:80"), Some(2));
        assert_eq!(pid(&known, Some(1), "10.0.0.1:0"), Some(3));
        assert_eq!(pid(&known, Some(17), "10.0.0.1:80"), None);
        for port in 0..256 {
            known.note(message(4, Some(17), &format!("10.0.0.2:{port}")));
        }
        assert_eq!(pid(&known, Some(6), "10.0.0.1:80"), None);
        assert_eq!(known.by_destination.actors.len(), DESTINATIONS);
    }
}
