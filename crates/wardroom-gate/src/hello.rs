//! The ClientHello: which server a TLS client means, read without touching what it says.
//!
//! Parsed by rustls, to a bound of bytes and time, from whatever pieces it comes in. The bytes are kept and go to the
//! server unchanged. Nothing here terminates TLS or looks past the first message, or past the second where a server asks
//! for one.

use std::io;

use rustls::ContentType;
use rustls::server::Acceptor;
use tokio::net::TcpStream;
use wardroom_model::{Captured, HostName, Reason};

/// The longest flight that is read: a handshake message has at most 2^16 bytes here, where real ones, post-quantum
/// key shares included, have some 2,000.
pub(crate) const BOUND: usize = 64 * 1024;
/// Room for a usual first flight, so that it is read at once.
pub(crate) const USUAL: usize = 4 * 1024;
/// The head of a record: its type, a version, and the length of what follows (RFC 8446, 5.1).
const RECORD_HEAD: usize = 5;

/// What a client has sent: a ClientHello that names `host`, and perhaps more.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) host: HostName,
    pub(crate) bytes: Vec<u8>,
    /// How many of the bytes there are up to the end of the ClientHello.
    hello: usize,
}

impl Flight {
    /// The ClientHello, and what came behind it.
    pub(crate) fn parts(&self) -> (&[u8], &[u8]) {
        self.bytes.split_at_checked(self.hello).unwrap_or((&self.bytes, &[]))
    }
}

/// Reads from the client until its ClientHello is complete and names `host`.
pub(crate) async fn read(client: &TcpStream, host: &HostName) -> Result<Flight, Reason> {
    complete(client, host, Hello::default(), Vec::with_capacity(USUAL)).await
}

/// Reads the ClientHello with which a client answers a server that asked for another. `come` is what it had sent already.
pub(crate) async fn read_again(client: &TcpStream, host: &HostName, come: Vec<u8>) -> Result<Flight, Reason> {
    complete(client, host, Hello::again(), come).await
}

async fn complete(
    client: &TcpStream,
    host: &HostName,
    mut hello: Hello,
    mut bytes: Vec<u8>,
) -> Result<Flight, Reason> {
    let mut fed = 0;
    loop {
        if let Some(end) = hello.feed(bytes.get(fed..).unwrap_or_default(), host)? {
            return Ok(Flight { host: host.clone(), bytes, hello: fed + end });
        }
        fed = bytes.len();
        if fed > BOUND {
            return Err(Reason::Malformed("a ClientHello of more than 64 KiB".to_owned()));
        }
        client.readable().await.map_err(|e| Reason::Malformed(format!("no ClientHello: {e}")))?;
        match client.try_read_buf(&mut bytes) {
            Ok(0) => return Err(Reason::Malformed("closed before the ClientHello was complete".to_owned())),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(Reason::Malformed(format!("no ClientHello: {e}"))),
        }
    }
}

/// The parser's state between pieces.
#[derive(Default)]
pub(crate) struct Hello {
    records: Records,
    acceptor: Acceptor,
    begun: bool,
    again: bool,
}

impl Hello {
    /// For the second one of a client, that a HelloRetryRequest asked for.
    pub(crate) fn again() -> Self {
        Self { again: true, ..Self::default() }
    }

    /// Takes the next piece. Once the hello is complete and names the host: how many bytes of the piece belong to it; an
    /// error as soon as it cannot.
    pub(crate) fn feed(&mut self, piece: &[u8], host: &HostName) -> Result<Option<usize>, Reason> {
        let mut rest = piece;
        while !rest.is_empty() {
            let part = self.records.part(&mut rest);
            if !self.begun && self.again && stands_before_a_second(part.kind) {
                continue;
            }
            if !self.begun && !self.again && part.kind != ContentType::Handshake {
                return Err(Reason::NotTls);
            }
            self.begun = true;
            if self.accepts(part.bytes, host)? {
                return Ok(Some(piece.len() - rest.len()));
            }
        }
        Ok(None)
    }

    /// rustls takes no hello in whose last record anything follows, so one ends where its record does.
    fn accepts(&mut self, mut part: &[u8], host: &HostName) -> Result<bool, Reason> {
        while !part.is_empty() {
            match self.acceptor.read_tls(&mut part) {
                Ok(0) => break,
                Ok(_) => {}
                Err(e) => return Err(Reason::Malformed(format!("ClientHello: {e}"))),
            }
            match self.acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    return names(accepted.client_hello().server_name(), host).map(|()| true);
                }
                Err((e, _alert)) => return Err(Reason::Malformed(format!("ClientHello: {e}"))),
            }
        }
        Ok(false)
    }
}

/// What a server that has asked again passes over: a sign for middleboxes (RFC 8446, D.4), and early data, which it cannot
/// read any more (4.2.10).
fn stands_before_a_second(kind: ContentType) -> bool {
    kind == ContentType::ChangeCipherSpec || kind == ContentType::ApplicationData
}

/// Where the records of one side begin and end.
#[derive(Debug, Default)]
pub(crate) struct Records {
    head: Vec<u8>,
    /// What is still to come of the record whose head is complete.
    left: usize,
}

/// Bytes of one record: of its head, or of what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    pub(crate) kind: ContentType,
    pub(crate) bytes: &'a [u8],
    pub(crate) is_head: bool,
}

impl Records {
    /// Takes the next part from the begin of `bytes`, which are not empty.
    pub(crate) fn part<'a>(&mut self, bytes: &mut &'a [u8]) -> Part<'a> {
        let is_head = self.left == 0;
        let wanted = if is_head { RECORD_HEAD - self.head.len() } else { self.left };
        let (part, rest) = bytes.split_at_checked(wanted).unwrap_or((*bytes, &[]));
        *bytes = rest;
        if is_head {
            self.head.extend_from_slice(part);
        } else {
            self.left -= part.len();
        }
        let kind = self.head.first().copied().map_or(ContentType::Unknown(0), ContentType::from);
        if let [_, _, _, high, low] = *self.head.as_slice() {
            if is_head {
                self.left = usize::from(u16::from_be_bytes([high, low]));
            }
            if self.left == 0 {
                self.head.clear();
            }
        }
        Part { kind, bytes: part, is_head }
    }
}

/// The name must be the one that was resolved, letter for letter but for case (RFC 6066: no trailing dot, A-labels).
fn names(server: Option<&str>, host: &HostName) -> Result<(), Reason> {
    match server {
        None => Err(Reason::NoServerName),
        Some(name) if name.eq_ignore_ascii_case(host.as_str()) => Ok(()),
        Some(name) => Err(Reason::OtherServerName(Captured::from(name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    fn hello(name: &str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    fn host() -> HostName {
        HostName::parse("api.example.com").unwrap()
    }

    #[test]
    fn the_exact_name_passes_in_any_case_and_in_any_pieces() {
        for name in ["api.example.com", "API.Example.COM"] {
            let bytes = hello(name);
            assert_eq!(Hello::default().feed(&bytes, &host()), Ok(Some(bytes.len())));
            let mut one_by_one = Hello::default();
            let fed: Vec<_> = bytes.chunks(1).map(|b| one_by_one.feed(b, &host()).unwrap()).collect();
            assert_eq!(fed.iter().position(Option::is_some), Some(bytes.len() - 1));
        }
    }

    #[test]
    fn a_hello_split_over_records_is_read_as_one() {
        let bytes = hello("api.example.com");
        let mut split = Vec::new();
        for fragment in bytes[5..].chunks(7) {
            split.extend_from_slice(&[22, 3, 1, 0, u8::try_from(fragment.len()).unwrap()]);
            split.extend_from_slice(fragment);
        }
        assert_eq!(Hello::default().feed(&split, &host()), Ok(Some(split.len())));
    }

    #[test]
    fn what_follows_a_hello_is_none_of_it() {
        let bytes = hello("api.example.com");
        let followed = [&bytes[..], &[20, 3, 3, 0, 1, 1], &hello("evil.example")].concat();
        assert_eq!(Hello::default().feed(&followed, &host()), Ok(Some(bytes.len())));
        // Behind it in one record: a server may take that for the next message.
        let next = &hello("evil.example")[5..];
        let mut one = bytes.clone();
        one.extend_from_slice(next);
        one[3..5].copy_from_slice(&u16::try_from(bytes.len() - 5 + next.len()).unwrap().to_be_bytes());
        assert!(matches!(Hello::default().feed(&one, &host()), Err(Reason::Malformed(_))));
    }

    #[test]
    fn n10_a_second_hello_may_stand_behind_what_a_server_passes_over_and_names_the_same() {
        let before = [&[20, 3, 3, 0, 1, 1][..], &[23, 3, 3, 0, 2, 9, 9], &[23, 3, 3, 0, 0]].concat();
        let (same, other) = (hello("api.example.com"), hello("evil.example"));
        for size in [1, 7, 10_000] {
            let fed = |bytes: Vec<u8>| {
                let mut second = Hello::again();
                let mut fed = bytes.chunks(size).map(|piece| second.feed(piece, &host()));
                fed.find(|fed| *fed != Ok(None)).unwrap_or(Ok(None)).map(|end| end.is_some())
            };
            assert_eq!(fed([&before[..], &same].concat()), Ok(true));
            let refused = Reason::OtherServerName(Captured::from("evil.example"));
            assert_eq!(fed([&before[..], &other].concat()), Err(refused));
            assert_eq!(fed(before.clone()), Ok(false));
            let alert = [&before[..], &[21, 3, 3, 0, 2, 2, 40]].concat();
            assert!(matches!(fed(alert), Err(Reason::Malformed(_))));
            // Once it has begun, nothing may stand between its parts.
            let parted = [&[22, 3, 1, 0, 4][..], &same[5..9], &before].concat();
            assert!(matches!(fed(parted), Err(Reason::Malformed(_))));
        }
        assert_eq!(Hello::default().feed(&before, &host()), Err(Reason::NotTls));
    }

    #[test]
    fn another_name_no_name_and_an_address_are_refused() {
        let other = Hello::default().feed(&hello("evil.example.com"), &host());
        assert_eq!(other, Err(Reason::OtherServerName(Captured::from("evil.example.com"))));
        // rustls, as a client, sends no name for an address.
        assert_eq!(Hello::default().feed(&hello("192.0.2.1"), &host()), Err(Reason::NoServerName));
    }

    #[test]
    fn names_that_two_parsers_could_read_differently_are_refused() {
        let bytes = hello("api.example.com");
        let at = bytes.windows(15).position(|w| w == b"api.example.com").unwrap();
        for replaced in
            [&b"api.example\0com"[..], b"api.example.co.", b"\xc3\xa4i.example.com", b"192.168.100.100"]
        {
            let mut forged = bytes.clone();
            forged[at..at + 15].copy_from_slice(replaced);
            assert!(Hello::default().feed(&forged, &host()).is_err(), "{replaced:?}");
        }
    }

    #[test]
    fn what_is_not_tls_is_refused_at_its_first_byte() {
        assert_eq!(Hello::default().feed(b"GET / HTTP/1.1\r\n", &host()), Err(Reason::NotTls));
        assert_eq!(Hello::default().feed(&[0x80, 0x2e, 1, 3], &host()), Err(Reason::NotTls));
        assert!(Hello::default().feed(&[22, 9, 9, 0, 1, 0], &host()).is_err());
    }
}
