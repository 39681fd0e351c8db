//! The host's own addresses, which no name may lead an agent to.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use crate::netlink::{self, Batch, DUMP};

/// `RTM_NEWADDR` and `RTM_GETADDR`.
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
/// `struct ifaddrmsg`.
const IFADDRMSG: usize = 8;
/// `IFA_ADDRESS`, `IFA_LOCAL`: on a point-to-point link the second is ours; elsewhere both are the same.
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;

/// Opens the socket to ask with, in the calling process's network namespace.
///
/// # Errors
/// The kernel has no rtnetlink for us.
pub fn open() -> io::Result<OwnedFd> {
    netlink::open(None)
}

/// Every address of every interface.
///
/// # Errors
/// The exchange failed; the caller then knows of no address that is not the host's.
pub fn own_addresses(socket: impl AsFd) -> io::Result<Vec<IpAddr>> {
    let mut request = Batch::default();
    request.message(GET_ADDRESS, DUMP, &[0; IFADDRMSG], |_| ());
    let mut found = Vec::new();
    request.dump(socket, |message| {
        let attributes = message.attributes(IFADDRMSG);
        let ours = attributes.find(LOCAL).or_else(|| attributes.find(ADDRESS));
        if let Some(ip) = ours.filter(|_| message.kind == NEW_ADDRESS).and_then(address) {
            found.push(ip);
        }
    })?;
    Ok(found)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_among_the_hosts_addresses() {
        let found = own_addresses(open().unwrap()).unwrap();
        assert!(found.contains(&"127.0.0.1".parse().unwrap()), "{found:?}");
    }
}
