//! `sock_diag`: which socket of a cell is behind a connection. One exact question, never a listing.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{self, RecvFlags, SendFlags, netlink};

use crate::netlink::{self as wire, Batch, Messages};

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
const TCP: u8 = 6;
/// Offset of `idiag_inode` in `struct inet_diag_msg`.
const INODE: usize = 68;

/// Opens the socket in the calling thread's network namespace.
pub(crate) fn open() -> io::Result<OwnedFd> {
    wire::open(Some(netlink::SOCK_DIAG))
}

/// The inode of the TCP socket that is bound to `local` and connected to `remote`.
///
/// `None` when there is no such socket, or none that a process still holds.
///
/// # Errors
/// Those of the exchange itself.
pub fn tcp_inode(socket: impl AsFd, local: SocketAddr, remote: SocketAddr) -> io::Result<Option<u64>> {
    let mut request = Batch::default();
    request.message(BY_FAMILY, 0, &question(local, remote), |_| ());
    net::send(&socket, request.bytes(), SendFlags::empty())?;
    let mut buffer = [0; 1024];
    // The kernel answers within `send`; if it could not, there is nothing to wait for.
    let (_, length) = net::recv(&socket, &mut buffer[..], RecvFlags::DONTWAIT)?;
    let answer = Messages(buffer.get(..length).unwrap_or_default()).next();
    let inode = answer
        .filter(|message| message.kind == BY_FAMILY)
        .and_then(|message| message.body.get(INODE..)?.first_chunk().copied())
        .map(|bytes| u64::from(u32::from_ne_bytes(bytes)));
    Ok(inode.filter(|inode| *inode != 0))
}

/// `struct inet_diag_req_v2`.
fn question(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    // AF_INET and AF_INET6; a v4-mapped connection is asked for as the IPv4 one it is on the wire.
    let (local_ip, remote_ip) = (local.ip().to_canonical(), remote.ip().to_canonical());
    let family = if local_ip.is_ipv4() { 2 } else { 10 };
    let mut bytes = vec![family, TCP, 0, 0];
    // Every state but listening.
    bytes.extend_from_slice(&(!(1_u32 << 10)).to_ne_bytes());
    bytes.extend_from_slice(&local.port().to_be_bytes());
    bytes.extend_from_slice(&remote.port().to_be_bytes());
    bytes.extend_from_slice(&padded(local_ip));
    bytes.extend_from_slice(&padded(remote_ip));
    bytes.extend_from_slice(&[0; 4]);
    // INET_DIAG_NOCOOKIE
    bytes.extend_from_slice(&[0xff; 8]);
    bytes
}

fn padded(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V6(ip) => ip.octets(),
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
    }
}
