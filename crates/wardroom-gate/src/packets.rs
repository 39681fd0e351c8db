//! The packets that the cell's firewall refused, from NFLOG to the record.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use wardroom_kernel::cellnet::GATE_PORT;
use wardroom_kernel::nflog::{self, Report, Target};
use wardroom_model::{Reason, Verdict};

use crate::gate::Gate;
use crate::watched::watched;

/// NFLOG's own largest datagram (`NFULNL_NLBUFSIZ_MAX` is 131,072).
const BUFFER: usize = 131_072;
const TCP: u8 = 6;
/// What is recorded for bytes that are no packet.
const UNREADABLE: Target =
    Target { protocol: 255, destination: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0) };

/// Reads reports, for ever. `next` is the number of the first one where that is known: 0 in a new cell.
pub(crate) async fn serve(gate: Rc<Gate>, socket: OwnedFd, mut next: Option<u32>) -> io::Result<()> {
    let socket = watched(socket)?;
    let mut buffer = Vec::new();
    loop {
        let mut ready = socket.readable().await?;
        buffer.resize(BUFFER, 0);
        match nflog::read(&socket, &mut buffer) {
            Ok(reports) => {
                for report in reports {
                    note(&gate, &report, &mut next);
                }
                tokio::task::consume_budget().await;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                ready.clear_ready();
                // The agent that stays within its walls costs nothing.
                buffer = Vec::new();
            }
            // Reports were lost; their number shows in the sequence of the next one.
            Err(e) if rustix::io::Errno::from_io_error(&e) == Some(rustix::io::Errno::NOBUFS) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Records one packet and the gap before it.
fn note(gate: &Gate, report: &Report, next: &mut Option<u32>) {
    if let Some(sequence) = report.sequence {
        let expected = next.unwrap_or(sequence);
        let lost = sequence.wrapping_sub(expected);
        if lost > 0 {
            gate.recorder.lost_reports(u64::from(lost));
        }
        *next = Some(sequence.wrapping_add(1));
    }
    let target = report.packet.unwrap_or(UNREADABLE);
    gate.recorder.packet(target, Verdict::refused(reason(target)));
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
