//! The network of a cell: a namespace that leads nowhere but to the gate.
//!
//! [`raise`] runs once, in the cell's init, inside the fresh network namespace and with privileges over it. It makes
//! every address local, puts the firewall in force, asks the kernel whether it is, and opens the sockets
//! through which the gate, which lives outside, will serve the inside. It never touches the host's network.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    self, AddressFamily, SocketFlags, SocketType, ipproto, listen, netlink as protocols, socket_with, sockopt,
};
use thiserror::Error;

use crate::netlink::{self, ACK, Batch, CREATE, EXCL};
use crate::{nflog, nftables, nftcheck, ruleset, sockdiag};

pub use crate::ruleset::GATE_PORT;

/// Where the resolver listens inside, over UDP and TCP: what the cell's `/etc/resolv.conf` says.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);
/// The names' addresses: 198.18.0.0/15, set aside for benchmarks (RFC 2544), so nobody serves there.
pub const SYNTHETIC: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 18, 0, 0), 15);

const DNS_PORT: u16 = 53;
/// Connections that may wait to be accepted: `net.core.somaxconn` of a new namespace.
const BACKLOG: i32 = 4096;

/// Sockets of a cell's network namespace, for use from outside.
#[derive(Debug)]
pub struct CellSockets {
    /// Diverted IPv4 connections arrive here. Non-blocking.
    pub tcp4: OwnedFd,
    /// Diverted IPv6 connections arrive here. Without IPv6 in the kernel nothing can, and this is `tcp4` again.
    pub tcp6: OwnedFd,
    /// DNS questions over UDP. Non-blocking.
    pub dns_udp: OwnedFd,
    /// DNS questions over TCP. Non-blocking.
    pub dns_tcp: OwnedFd,
    /// Reports of refused packets (see [`nflog::read`]).
    pub nflog: OwnedFd,
    /// Answers which socket is behind a connection (see [`sockdiag::tcp_inode`]).
    pub diag: OwnedFd,
    /// Speaks to the firewall (see [`replace_literals`]); for the keeper, never for the gate.
    pub firewall: OwnedFd,
}

impl CellSockets {
    /// The descriptors in the order of their fields, to be passed to another process.
    #[must_use]
    pub fn into_fds(self) -> [OwnedFd; 7] {
        let Self { tcp4, tcp6, dns_udp, dns_tcp, nflog, diag, firewall } = self;
        [tcp4, tcp6, dns_udp, dns_tcp, nflog, diag, firewall]
    }

    /// The reverse of [`Self::into_fds`].
    #[must_use]
    pub fn from_fds(fds: [OwnedFd; 7]) -> Self {
        let [tcp4, tcp6, dns_udp, dns_tcp, nflog, diag, firewall] = fds;
        Self { tcp4, tcp6, dns_udp, dns_tcp, nflog, diag, firewall }
    }

    /// What the gate gets, and the firewall's socket, which the keeper keeps.
    #[must_use]
    pub fn split(self) -> (GateSockets, OwnedFd) {
        let Self { tcp4, tcp6, dns_udp, dns_tcp, nflog, diag, firewall } = self;
        (GateSockets { tcp4, tcp6, dns_udp, dns_tcp, nflog, diag }, firewall)
    }
}

/// The sockets through which the gate serves a cell. The firewall's is not among them: the gate parses hostile bytes
/// all day, and must not be able to change a rule.
#[derive(Debug)]
#[expect(missing_docs, reason = "each is documented at the field of CellSockets with its name")]
pub struct GateSockets {
    pub tcp4: OwnedFd,
    pub tcp6: OwnedFd,
    pub dns_udp: OwnedFd,
    pub dns_tcp: OwnedFd,
    pub nflog: OwnedFd,
    pub diag: OwnedFd,
}

impl GateSockets {
    /// The descriptors in the order of their fields, to be passed to another process.
    #[must_use]
    pub fn into_fds(self) -> [OwnedFd; 6] {
        let Self { tcp4, tcp6, dns_udp, dns_tcp, nflog, diag } = self;
        [tcp4, tcp6, dns_udp, dns_tcp, nflog, diag]
    }

    /// The reverse of [`Self::into_fds`].
    #[must_use]
    pub fn from_fds(fds: [OwnedFd; 6]) -> Self {
        let [tcp4, tcp6, dns_udp, dns_tcp, nflog, diag] = fds;
        Self { tcp4, tcp6, dns_udp, dns_tcp, nflog, diag }
    }

    /// Second descriptors of the same sockets, so that a gate can be started again after it failed.
    ///
    /// # Errors
    /// Too many open descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            tcp4: self.tcp4.try_clone()?,
            tcp6: self.tcp6.try_clone()?,
            dns_udp: self.dns_udp.try_clone()?,
            dns_tcp: self.dns_tcp.try_clone()?,
            nflog: self.nflog.try_clone()?,
            diag: self.diag.try_clone()?,
        })
    }
}

/// Why a cell's network could not be raised. The cell must then not start.
#[derive(Debug, Error)]
pub enum CellNetError {
    /// The kernel refused a step.
    #[error("cannot {step} in the cell's network namespace")]
    Kernel {
        /// What was being done.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The firewall that the kernel reports is not the one that was asked for.
    #[error("the cell's firewall is not as asked: {difference}")]
    NotInForce {
        /// The first difference.
        difference: String,
    },
}

/// Makes the calling thread's fresh network namespace a cell's: see the module.
///
/// # Errors
/// Any step that fails, and any difference between the firewall asked for and the one in force.
pub fn raise(literals: &[SocketAddr]) -> Result<CellSockets, CellNetError> {
    let firewall = netlink::open(Some(protocols::NETFILTER)).map_err(at("open nfnetlink"))?;
    // The wall first: from the moment that `lo` is up, nothing but what it says can happen.
    nftables::install(&firewall, literals).map_err(at("install the firewall (nf_tables)"))?;
    check(&firewall, literals)?;
    let nflog = nflog::open(ruleset::LOG_GROUP).map_err(at("listen to NFLOG"))?;
    let ipv6 = route_everything_to_lo()?;
    let tcp4 = listener(SocketAddr::from((Ipv4Addr::LOCALHOST, GATE_PORT))).map_err(at("listen (IPv4)"))?;
    let tcp6 = if ipv6 {
        listener(SocketAddr::from((Ipv6Addr::LOCALHOST, GATE_PORT))).map_err(at("listen (IPv6)"))?
    } else {
        tcp4.try_clone().map_err(at("listen (IPv6)"))?
    };
    let resolver = SocketAddr::from((RESOLVER, DNS_PORT));
    let dns_udp = bound(resolver, SocketType::DGRAM).map_err(at("bind the resolver (UDP)"))?;
    let dns_tcp = listener(resolver).map_err(at("listen for the resolver (TCP)"))?;
    let diag = sockdiag::open().map_err(at("open sock_diag"))?;
    Ok(CellSockets { tcp4, tcp6, dns_udp, dns_tcp, nflog, diag, firewall })
}

/// Replaces the literal addresses that reach the gate, from outside, and asks the kernel whether they are in force.
///
/// The caller needs `CAP_NET_ADMIN` over the cell's user namespace, which whoever created it has.
///
/// # Errors
/// As [`raise`]; the old addresses then stay.
pub fn replace_literals(firewall: BorrowedFd<'_>, literals: &[SocketAddr]) -> Result<(), CellNetError> {
    nftables::replace_literals(firewall, literals).map_err(at("replace the permitted addresses"))?;
    check(firewall, literals)
}

fn check(firewall: impl AsFd, literals: &[SocketAddr]) -> Result<(), CellNetError> {
    match nftcheck::difference(firewall, literals).map_err(at("read the firewall back"))? {
        None => Ok(()),
        Some(difference) => Err(CellNetError::NotInForce { difference }),
    }
}

fn at(step: &'static str) -> impl FnOnce(io::Error) -> CellNetError {
    move |source| CellNetError::Kernel { step, source }
}

const SET_LINK: u16 = 19;
const NEW_ROUTE: u16 = 24;
const LO: u32 = 1;
const IFF_UP: u32 = 1;
/// `RTA_DST`, `RTA_OIF`, `RTA_PREFSRC`, `RTA_METRICS`, and among those `RTAX_CC_ALGO`.
const DESTINATION: u16 = 1;
const OUTPUT_DEVICE: u16 = 4;
const PREFERRED_SOURCE: u16 = 7;
const METRICS: u16 = 8;
const CONGESTION_CONTROL: u16 = 16;
/// For the way between agent and gate, which is memory. A host's own choice may be made for long ways and pace what it
/// sends (BBR): measured, that halves what passes here. Every kernel has this one, and it never paces.
const UNPACED: &str = "reno";

/// `lo` up, and `local default dev lo` for both families. Says whether the kernel has IPv6.
pub(crate) fn route_everything_to_lo() -> Result<bool, CellNetError> {
    let socket = netlink::open(None).map_err(at("open rtnetlink"))?;
    let mut batch = Batch::default();
    batch.message(SET_LINK, ACK, &link_up(), |_| ());
    route(&mut batch, AddressFamily::INET, None);
    for network in GROUPS {
        route(&mut batch, AddressFamily::INET, Some(network));
    }
    batch.apply(&socket).map_err(at("route IPv4 to lo"))?;
    let mut batch = Batch::default();
    route(&mut batch, AddressFamily::INET6, None);
    match batch.apply(&socket) {
        Ok(()) => Ok(true),
        Err(source) if no_ipv6(&source) => Ok(false),
        Err(source) => Err(CellNetError::Kernel { step: "route IPv6 to lo", source }),
    }
}

/// A kernel without IPv6 (`ipv6.disable=1`) or with it turned off for new devices: no IPv6 packet can be made.
fn no_ipv6(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    errno.is_some_and(|e| {
        matches!(e, rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::AFNOSUPPORT | rustix::io::Errno::ACCESS)
    })
}

/// `struct ifinfomsg` with `IFF_UP` set and nothing else changed.
fn link_up() -> Vec<u8> {
    let mut header = vec![0; 4];
    for field in [LO, IFF_UP, IFF_UP] {
        header.extend_from_slice(&field.to_ne_bytes());
    }
    header
}

/// Multicast and broadcast, which cannot be their own source as all other addresses are: with loopback's, datagrams to
/// them reach the wall and are seen there.
const GROUPS: [([u8; 4], u8); 2] = [([224, 0, 0, 0], 4), ([255, 255, 255, 255], 32)];

/// `struct rtmsg`: table local, protocol boot, scope host, type local. Without a network, the default route.
fn route(batch: &mut Batch, family: AddressFamily, network: Option<([u8; 4], u8)>) {
    let [family, _] = family.as_raw().to_ne_bytes();
    let length = network.map_or(0, |(_, length)| length);
    let header = [family, length, 0, 0, 255, 3, 254, 2, 0, 0, 0, 0];
    batch.message(NEW_ROUTE, CREATE | EXCL | ACK, &header, |a| {
        a.bytes(OUTPUT_DEVICE, &LO.to_ne_bytes());
        a.nested(METRICS, |metrics| metrics.text(CONGESTION_CONTROL, UNPACED));
        if let Some((network, _)) = network {
            a.bytes(DESTINATION, &network);
            a.bytes(PREFERRED_SOURCE, &Ipv4Addr::LOCALHOST.octets());
        }
    });
}

fn listener(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = bound(address, SocketType::STREAM)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn bound(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let protocol = if kind == SocketType::STREAM { ipproto::TCP } else { ipproto::UDP };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, Some(protocol))?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    net::bind(&socket, &address)?;
    Ok(socket)
}
