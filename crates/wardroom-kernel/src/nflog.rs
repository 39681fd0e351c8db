//! NFLOG: the kernel's reports of the packets that a cell's firewall refused.
//!
//! The packets are an agent's own bytes: they are read to a bound, never trusted, and what does not parse still counts.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{self, RecvFlags, netlink};

use crate::netlink::{self as wire, ACK, AttributeList, Batch, Messages};

/// Bytes of each packet that are reported: IPv6 (40), a few extension headers and the ports fit well into 128.
pub(crate) const COPY_RANGE: u32 = 128;

/// `NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_*`.
const PACKET: u16 = 4 << 8;
const CONFIG: u16 = (4 << 8) | 1;
/// `NFULA_PAYLOAD`, `NFULA_SEQ`.
const PAYLOAD: u16 = 9;
const SEQUENCE: u16 = 12;
const NFGENMSG: usize = 4;
/// Reports in a datagram. A larger batch waits for a timer, and is lost when the session ends before it: the last thing that an
/// agent tried must be on record as well.
const BATCH: u32 = 1;
/// What `net.core.rmem_default` commonly is, times four; the kernel caps it at `rmem_max`.
const RECEIVE_BUFFER: usize = 851_968;

/// Opens the socket that receives this group of the calling thread's network namespace.
pub(crate) fn open(group: u16) -> io::Result<OwnedFd> {
    let socket = wire::open(Some(netlink::NETFILTER))?;
    net::sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
    let [high, low] = group.to_be_bytes();
    let mut batch = Batch::default();
    batch.message(CONFIG, ACK, &[0, 0, high, low], |a| {
        // NFULA_CFG_CMD: bind. It must precede the modes.
        a.bytes(1, &[1]);
        // NFULA_CFG_MODE: copy range, copy packets, padding.
        let [r0, r1, r2, r3] = COPY_RANGE.to_be_bytes();
        a.bytes(2, &[r0, r1, r2, r3, 2, 0]);
        // NFULA_CFG_QTHRESH.
        a.be32(5, BATCH);
        // NFULA_CFG_FLAGS: number the reports, so that a lost one is noticed.
        a.be16(6, 1);
    });
    batch.apply(&socket)?;
    Ok(socket)
}

/// One refused packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Counts up by one for each packet the firewall reported; a gap is the number that was lost.
    pub sequence: Option<u32>,
    /// Where it wanted to go; none where the bytes are no packet.
    pub packet: Option<Target>,
}

/// Protocol and destination of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// IP protocol number.
    pub protocol: u8,
    /// Address and port; port 0 where the protocol has none.
    pub destination: SocketAddr,
}

/// Reads the reports that wait in the socket, one datagram's worth, without blocking.
///
/// # Errors
/// `WouldBlock` when there is none, `ENOBUFS` when the kernel had to drop some (the sequence tells how many).
pub fn read(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Vec<Report>> {
    let (_, length) = net::recv(socket, &mut *buffer, RecvFlags::DONTWAIT | RecvFlags::TRUNC)?;
    let bytes = buffer.get(..length).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Messages(bytes).filter(|m| m.kind == PACKET).map(|m| report(m.attributes(NFGENMSG))).collect())
}

fn report(attributes: AttributeList<'_>) -> Report {
    Report { sequence: attributes.be32(SEQUENCE), packet: attributes.find(PAYLOAD).and_then(target) }
}

/// Reads protocol, destination and port of an IP packet.
#[must_use]
pub fn target(packet: &[u8]) -> Option<Target> {
    let (protocol, ip, rest) = match packet.first()? >> 4 {
        4 => v4(packet)?,
        6 => v6(packet)?,
        _ => return None,
    };
    let has_ports = matches!(protocol, TCP | UDP | UDPLITE | SCTP | DCCP);
    let port = rest.filter(|_| has_ports).and_then(|r| r.get(2..)?.first_chunk().copied());
    let destination = SocketAddr::new(ip, port.map_or(0, u16::from_be_bytes));
    Some(Target { protocol, destination })
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const SCTP: u8 = 132;
const UDPLITE: u8 = 136;

/// Protocol, destination, and the transport header where this packet carries it.
type Parsed<'p> = (u8, IpAddr, Option<&'p [u8]>);

fn v4(packet: &[u8]) -> Option<Parsed<'_>> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let fragment = u16::from_be_bytes(*packet.get(6..)?.first_chunk()?) & 0x1fff;
    let destination: [u8; 4] = *packet.get(16..)?.first_chunk()?;
    let rest = if fragment == 0 { packet.get(header..) } else { None };
    Some((*packet.get(9)?, IpAddr::V4(Ipv4Addr::from(destination)), rest))
}

fn v6(packet: &[u8]) -> Option<Parsed<'_>> {
    let destination: [u8; 16] = *packet.get(24..)?.first_chunk()?;
    let ip = IpAddr::V6(Ipv6Addr::from(destination));
    let (mut protocol, mut rest) = (*packet.get(6)?, packet.get(40..));
    // Hop-by-hop, routing, destination options: a chain has at most as many as fit into the copy range.
    while let (0 | 43 | 60, Some(bytes)) = (protocol, rest) {
        let (Some(next), Some(units)) = (bytes.first(), bytes.get(1)) else {
            return Some((protocol, ip, None));
        };
        protocol = *next;
        rest = bytes.get((usize::from(*units) + 1) * 8..);
    }
    if protocol == 44 {
        let offset = rest.and_then(|r| r.get(2..)?.first_chunk()).map(|o| u16::from_be_bytes(*o) >> 3);
        protocol = rest.and_then(|r| r.first().copied()).unwrap_or(protocol);
        rest = rest.and_then(|r| r.get(8..)).filter(|_| offset == Some(0));
    }
    Some((protocol, ip, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4_packet(protocol: u8, port: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 8, 8, 4, 4];
        packet.extend_from_slice(&[1, 2]);
        packet.extend_from_slice(&port.to_be_bytes());
        packet
    }

    #[test]
    fn destination_and_port_of_a_datagram_are_read() {
        let got = target(&v4_packet(17, 443)).unwrap();
        assert_eq!(got, Target { protocol: 17, destination: "8.8.4.4:443".parse().unwrap() });
        assert_eq!(target(&v4_packet(1, 443)).unwrap().destination.port(), 0);
    }

    #[test]
    fn extension_headers_are_skipped() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 16, 0, 64];
        packet.extend_from_slice(&[0; 16]);
        packet.extend_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend_from_slice(&[17, 0, 1, 4, 0, 0, 0, 0, 0, 1, 0, 53, 0, 8, 0, 0]);
        let got = target(&packet).unwrap();
        assert_eq!(got, Target { protocol: 17, destination: "[2001:db8::1]:53".parse().unwrap() });
    }

    #[test]
    fn no_bytes_make_the_parser_fail() {
        let whole = v4_packet(6, 1);
        for length in 0..20 {
            assert_eq!(target(&whole[..length]), None);
        }
        assert_eq!(target(&[0x10; 64]), None);
        assert_eq!(target(&[0x60; 128]).unwrap().protocol, 0x60);
    }
}
