//! What one inspected connection may take: bytes, streams, time. Every number has its reason beside it.

use std::time::Duration;

/// The longest head of a request or an answer over HTTP/1.1, and what waits unread or unsent between two sides. Servers in
/// wide use take 8 to 32 KiB of head; a bearer token with many claims and a page of cookies fit twice.
pub(super) const HEAD: usize = 64 * 1024;
/// The same over HTTP/2, by RFC 9113's count of 32 bytes more a field.
pub(super) const HEAD_LIST: u32 = 64 * 1024;
/// Streams of one HTTP/2 connection at once: what RFC 9113, 6.5.2 recommends as the least, and what servers in wide use allow.
pub(super) const STREAMS: u32 = 100;
/// Streams that were reset before they were looked at, before the connection ends (CVE-2023-44487).
pub(super) const RESET_UNSEEN: usize = 20;
/// Streams reset by this side for the other's mistakes, before the connection ends (CVE-2025-8671).
pub(super) const RESET_HERE: usize = 64;
/// What an agent may send ahead on a stream and a connection. The agent is on this machine: the round trip is short.
pub(super) const WINDOW_IN: u32 = 256 * 1024;
pub(super) const WINDOW_IN_ALL: u32 = 1024 * 1024;
/// What a server may send ahead: 1 MiB is 10 MB/s to a server 100 ms away, and twice that bounds what waits for an agent
/// that does not read.
pub(super) const WINDOW_OUT: u32 = 1024 * 1024;
pub(super) const WINDOW_OUT_ALL: u32 = 2 * 1024 * 1024;
/// What an HTTP/2 stream may have written and not sent.
pub(super) const SEND: usize = 64 * 1024;
/// Plain text and records that wait in a TLS session: two records of the largest size.
pub(super) const TLS_BUFFER: usize = 32 * 1024;
/// Connections to an HTTP/1.1 server that are kept for the streams of one HTTP/2 connection of an agent. Browsers use 6; while
/// there are more streams there are more connections, one each.
pub(super) const KEPT: usize = 8;
/// Interim answers (1xx) before the real one. A server has use for one or two.
pub(super) const INTERIM: u32 = 16;
/// Frames of HTTP/2 a round ([`ROUND`]) that move nothing: SETTINGS, PING, empty DATA, windows, from a server heads beyond its
/// answers. gRPC's pings are ten seconds apart, and clients begin with a dozen of settings and priorities.
pub(super) const IDLE_FRAMES: u32 = 2000;
/// What each head and each begun [`PAID_PART`] of a body allows besides, for it is answered by some: windows of stream and connection, a
/// ping, a reset.
pub(super) const PAID_FRAMES: u32 = 4;
/// What programs in wide use read of a body at a time; some announce each of these reads (Go's server before 1.20).
pub(super) const PAID_PART: usize = 4096;
/// Hosts whose TLS configuration is kept ready: some hundred bytes each.
pub(super) const HOSTS: usize = 64;
/// Bytes read at a time of an upgraded connection, each way.
pub(super) const PIECE: usize = 8 * 1024;

/// How long an agent has for the head of a request, the pause since the last one included: nginx closes after 75 seconds.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(75);
/// How long a TLS handshake may take, either side. Two round trips; servers in wide use give 10 seconds or more.
pub(super) const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long a request and its answer may stand still. Models think for minutes before the first byte, and the clients of their
/// providers give up after 10.
pub(super) const SILENCE: Duration = Duration::from_secs(15 * 60);
/// How often it is looked at whether one stands still, so that no request needs a timer of its own.
pub(super) const ROUND: Duration = Duration::from_secs(15);
