//! Descriptors that are no sockets of tokio's own (netlink, sequenced packets), watched by its event loop.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Watches a descriptor that nothing else closes.
#[expect(
    deprecated,
    reason = "its unsafe successor asks for what an owned descriptor gives: that it stays open and the same"
)]
pub(crate) fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}
