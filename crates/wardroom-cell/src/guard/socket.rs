//! Socket calls with an address: recorded, and for the internet families told to the gate, before anything comes of them.
//! Whether a connection may be made out of the cell is the gate's to decide.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::SendFlags;
use wardroom_kernel::notify::{Notification, Reply};
use wardroom_kernel::remote;
use wardroom_model::event::{SocketAct, SocketOp, SocketTarget};
use wardroom_model::{Attribution, Captured, Event, Reason, Verdict};

use super::connect::{Errand, Held, Task};
use super::place::low;
use super::{Decided, Guard, GuardError, Trouble};

/// The way to the gate.
#[derive(Debug)]
pub(super) struct Gate {
    socket: OwnedFd,
    /// A gate that once did not take a message in time is not waited for again until it takes one.
    waits: bool,
}

impl Gate {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, waits: true }
    }

    /// Tells the gate who connects. False when it does not take it: it will find out itself, or refuse.
    fn tell(&mut self, message: &[u8]) -> bool {
        for _ in 0..2 {
            match rustix::net::send(&self.socket, message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => {
                    self.waits = true;
                    return true;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.waits => {
                    let mut fds = [PollFd::new(&self.socket, PollFlags::OUT)];
                    let room = rustix::event::poll(&mut fds, Some(&GATE_WAIT));
                    self.waits = matches!(room, Ok(1..));
                }
                Err(_) => return false,
            }
        }
        false
    }
}

impl Guard {
    /// A call that gives a socket an address. A connect is made by the guard; the others go on.
    pub(super) fn socket(&mut self, call: &Notification) -> Result<Decided, Trouble> {
        let [fd, ..] = call.arguments;
        let name = self.filter.name(call.call).unwrap_or_default();
        let (op, bytes) = match read_address(name, call) {
            Ok(read) => read,
            Err(Trouble::Unreadable(errno)) => return self.unreadable(call, errno),
            Err(other) => return Err(other),
        };
        let actor = self.settled(call.thread)?.actor.clone();
        let held = match op {
            SocketOp::Bind => Err(Errno::BADF),
            SocketOp::Connect | SocketOp::SendTo => self.held(call.thread, low(fd))?,
        };
        let address = target(&bytes);
        let attribution = match (&address, &held) {
            (SocketTarget::Inet(destination), Ok(Held { inode, protocol, .. })) => {
                let (actor, destination) = (actor.clone(), *destination);
                Some(Attribution { inode: *inode, actor, destination, protocol: *protocol })
            }
            _ => None,
        };
        let mut verdict = Verdict::observed();
        let task = match (op, &held) {
            (SocketOp::Bind | SocketOp::SendTo, _) => Task::Answer(Reply::Continue),
            (SocketOp::Connect, Err(errno)) => Task::Answer(Reply::Errno(*errno)),
            (SocketOp::Connect, Ok(socket)) => match self.task(call, socket, &bytes) {
                Ok(task) => task,
                Err(refused) => {
                    verdict = refused.verdict();
                    Task::Answer(Reply::Errno(refused.errno()))
                }
            },
        };
        match self.record_for(call, &Event::Socket(SocketAct { actor, op, address, verdict })) {
            Err(Trouble::Gone) if let Ok(socket) = held => {
                return Ok(Decided::Errand(Errand::let_go(call.id, socket)));
            }
            recorded => recorded?,
        }
        if let Some(attribution) = attribution {
            self.attribute(&attribution)?;
        }
        Ok(match (held, task) {
            (Ok(socket), task) => Decided::Errand(Errand::new(call.id, socket, task)),
            (Err(_), Task::Answer(reply)) => Decided::Reply(reply),
            (Err(errno), Task::ConnectTo(_) | Task::ConnectToFile(_)) => Decided::Reply(Reply::Errno(errno)),
        })
    }

    fn unreadable(&mut self, call: &Notification, errno: Errno) -> Result<Decided, Trouble> {
        let actor = self.settled(call.thread)?.actor.clone();
        let verdict = Verdict::refused(Reason::Malformed("an address that cannot be read".to_owned()));
        let (op, address) = (SocketOp::Connect, SocketTarget::Unreadable);
        self.record_for(call, &Event::Socket(SocketAct { actor, op, address, verdict }))?;
        Ok(Reply::Errno(errno).into())
    }

    fn attribute(&mut self, attribution: &Attribution) -> Result<(), GuardError> {
        let Some(gate) = &mut self.gate else { return Ok(()) };
        let waited = gate.waits;
        let taken = minicbor::to_vec(attribution).is_ok_and(|message| gate.tell(&message));
        if !taken && waited {
            gate.waits = false;
            self.report(
                "the gate does not take attributions; connections are joined by sock_diag".to_owned(),
            )?;
        }
        Ok(())
    }
}

/// The operation and the bytes of its address.
fn read_address(name: &str, call: &Notification) -> Result<(SocketOp, Vec<u8>), Trouble> {
    let [_, second, _, _, fifth, sixth] = call.arguments;
    let length = call.arguments[2];
    let (op, address, length) = match name {
        "connect" => (SocketOp::Connect, second, length),
        "bind" => (SocketOp::Bind, second, length),
        "sendto" => (SocketOp::SendTo, fifth, sixth),
        // sendmsg and sendmmsg begin with the same header: the name's address and its length.
        _ => {
            let mut header = [0_u8; 12];
            remote::bytes(call.thread, second, &mut header)?;
            let (address, length) =
                header.split_first_chunk::<8>().ok_or(Trouble::Unreadable(Errno::FAULT))?;
            let length = length.first_chunk::<4>().copied().map_or(0, u32::from_ne_bytes);
            (SocketOp::SendTo, u64::from_ne_bytes(*address), u64::from(length))
        }
    };
    let length = usize::try_from(low(length)).unwrap_or(usize::MAX);
    if length > SOCKADDR {
        return Err(Trouble::Unreadable(Errno::INVAL)); // as the kernel itself says
    }
    let mut bytes = vec![0_u8; length];
    remote::bytes(call.thread, address, &mut bytes)?;
    Ok((op, bytes))
}

/// An address by its family.
fn target(bytes: &[u8]) -> SocketTarget {
    let Some((family, rest)) = bytes.split_first_chunk::<2>() else { return SocketTarget::Unreadable };
    match u16::from_ne_bytes(*family) {
        AF_UNIX => {
            let path = match rest.first() {
                Some(0) | None => rest,
                Some(_) => rest.split(|byte| *byte == 0).next().unwrap_or_default(),
            };
            SocketTarget::Unix(Captured::path(path))
        }
        AF_INET => inet(rest).map_or(SocketTarget::Unreadable, SocketTarget::Inet),
        AF_INET6 => inet6(rest).map_or(SocketTarget::Unreadable, SocketTarget::Inet),
        other => SocketTarget::Other(other),
    }
}

fn inet(rest: &[u8]) -> Option<SocketAddr> {
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let (ip, _) = rest.split_first_chunk::<4>()?;
    Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(*ip)), u16::from_be_bytes(*port)))
}

fn inet6(rest: &[u8]) -> Option<SocketAddr> {
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let (_flow, rest) = rest.split_first_chunk::<4>()?;
    let (ip, _scope) = rest.split_first_chunk::<16>()?;
    Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(*ip)), u16::from_be_bytes(*port)))
}

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `sizeof(struct sockaddr_storage)`: the kernel takes no longer address.
const SOCKADDR: usize = 128;
/// The gate reads these messages first of all; when it takes longer than this it is not well.
const GATE_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_by_their_family() {
        let v4 = [&2_u16.to_ne_bytes()[..], &443_u16.to_be_bytes(), &[10, 0, 0, 5], &[0; 8]].concat();
        assert_eq!(target(&v4), SocketTarget::Inet("10.0.0.5:443".parse().unwrap()));
        let ip: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let v6 = [&10_u16.to_ne_bytes()[..], &53_u16.to_be_bytes(), &[0; 4], &ip.octets(), &[0; 4]].concat();
        assert_eq!(target(&v6), SocketTarget::Inet("[2001:db8::1]:53".parse().unwrap()));
        let unix = [&1_u16.to_ne_bytes()[..], b"/run/x.sock\0garbage"].concat();
        assert_eq!(target(&unix), SocketTarget::Unix(Captured::path(b"/run/x.sock")));
        let name = [&1_u16.to_ne_bytes()[..], b"\0abstract"].concat();
        assert_eq!(target(&name), SocketTarget::Unix(Captured::path(b"\0abstract")));
        assert_eq!(target(&0_u16.to_ne_bytes()), SocketTarget::Other(0));
        for cut in [&v4[..7], &v6[..20], &v4[..1], &[]] {
            assert_eq!(target(cut), SocketTarget::Unreadable);
        }
    }
}
