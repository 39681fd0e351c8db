//! The packets that the cell's firewall refused, from NFLOG to the record.

use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::net::{SendFlags, sendto};
use tokio::io::unix::AsyncFd;
use wardroom_kernel::cellnet::GATE_PORT;
use wardroom_kernel::nflog::{self, Report, Target};
use wardroom_model::{Reason, Verdict};

use crate::gate::Gate;
use crate::watched::watched;

/// NFLOG's own largest datagram (`NFULNL_NLBUFSIZ_MAX` is 131,072).
const BUFFER: usize = 131_072;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Where the gate's own last packet goes: the discard port of an address that is for documentation (RFC 5737).
const LAST: Target = Target {
    protocol: UDP,
    destination: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9),
};
/// What is recorded for bytes that are no packet.
const UNREADABLE: Target =
    Target { protocol: 255, destination: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0) };

/// The firewall's reports.
#[derive(Debug)]
pub(crate) struct Packets {
    socket: AsyncFd<OwnedFd>,
    /// The sequence number of the next report, if none is lost.
    next: Cell<Option<u32>>,
    /// The agent is gone, and the gate's own last packet is on its way.
    settling: Cell<bool>,
}

impl Packets {
    /// Takes the socket that reports arrive at. `next` is the number of the first one where that is known: 0 in a new cell.
    pub(crate) fn new(socket: OwnedFd, next: Option<u32>) -> io::Result<Self> {
        Ok(Self { socket: watched(socket)?, next: Cell::new(next), settling: Cell::new(false) })
    }

    /// Records what has arrived. The end of a session calls this once more: an agent whose last act was refused ends before
    /// [`serve`] had its turn.
    ///
    /// # Errors
    /// Those of the socket; `WouldBlock` once there is nothing more.
    pub(crate) fn drain(&self, gate: &Gate, buffer: &mut [u8]) -> io::Result<()> {
        let mut next = self.next.get();
        for report in nflog::read(&self.socket, buffer)? {
            count_gap(gate, &report, &mut next);
            if !(self.settling.get() && report.packet == Some(LAST)) {
                record(gate, &report);
            }
        }
        self.next.set(next);
        Ok(())
    }

    /// Records all that has arrived, and how many reports were lost after the last one that did. The kernel numbers its reports
    /// but tells nobody the number, so the gate has the firewall refuse one packet of its own, by a socket of the cell's
    /// network: the number of its report is the count of all before it.
    pub(crate) fn settle(&self, gate: &Gate, inside: impl AsFd) {
        self.drain_all(gate);
        self.settling.set(true);
        // EPERM is the firewall's answer. Were the packet not sent, a loss at the very end would go untold, and nothing else.
        let _refused = sendto(inside, b"", SendFlags::DONTWAIT, &LAST.destination);
        self.drain_all(gate);
        self.settling.set(false);
    }

    /// Records all that has arrived by now.
    fn drain_all(&self, gate: &Gate) {
        let mut buffer = vec![0; BUFFER];
        loop {
            match self.drain(gate, &mut buffer) {
                Ok(()) => {}
                Err(e) if is_overrun(&e) => {}
                Err(_nothing_more) => return,
            }
        }
    }
}

/// Reads reports, for ever.
pub(crate) async fn serve(gate: Rc<Gate>, packets: Rc<Packets>) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let mut ready = packets.socket.readable().await?;
        buffer.resize(BUFFER, 0);
        match packets.drain(&gate, &mut buffer) {
            Ok(()) => tokio::task::consume_budget().await,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                ready.clear_ready();
                // The agent that stays within its walls costs nothing.
                buffer = Vec::new();
            }
            Err(e) if is_overrun(&e) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Reports were lost; their number shows in the sequence of the next one.
fn is_overrun(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::NOBUFS)
}

/// Notes how many reports were lost before this one.
fn count_gap(gate: &Gate, report: &Report, next: &mut Option<u32>) {
    if let Some(sequence) = report.sequence {
        let expected = next.unwrap_or(sequence);
        let lost = sequence.wrapping_sub(expected);
        if lost > 0 {
            gate.recorder.lost_reports(u64::from(lost));
        }
        *next = Some(sequence.wrapping_add(1));
    }
}

fn record(gate: &Gate, report: &Report) {
    let target = report.packet.unwrap_or(UNREADABLE);
    gate.recorder.packet(target, gate.actors.announced(target), Verdict::refused(reason(target)));
}

fn reason(target: Target) -> Reason {
    let Target { protocol, destination } = target;
    match protocol {
        TCP if destination.ip().is_loopback() && destination.port() == GATE_PORT => Reason::ControlPoint,
        TCP => Reason::LiteralAddress,
        _ => Reason::NoRoute,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_own_reason() {
        let target = |protocol, to: &str| Target { protocol, destination: to.parse().unwrap() };
        assert_eq!(reason(target(6, "127.0.0.1:911")), Reason::ControlPoint);
        assert_eq!(reason(target(6, "[2001:db8::1]:443")), Reason::LiteralAddress);
        assert_eq!(reason(target(17, "8.8.8.8:53")), Reason::NoRoute);
        assert_eq!(reason(UNREADABLE), Reason::NoRoute);
    }
}
