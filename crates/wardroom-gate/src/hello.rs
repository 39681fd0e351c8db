//! The ClientHello: which server a TLS client means, read without touching what it says.
//!
//! Parsed by rustls, to a bound of bytes and time, from whatever pieces it comes in. The bytes are kept and go to the
//! server unchanged. Nothing here terminates TLS or looks past the first message.

use std::io;

use rustls::server::Acceptor;
use tokio::net::TcpStream;
use wardroom_model::{Captured, HostName, Reason};

/// The longest first flight that is read: a handshake message has at most 2^16 bytes here, where real ones, post-quantum
/// key shares included, have some 2,000.
pub(crate) const BOUND: usize = 64 * 1024;
/// Room for a usual first flight, so that it is read at once.
const USUAL: usize = 4 * 1024;
/// `ContentType::handshake`: the first byte of every TLS connection.
const HANDSHAKE: u8 = 22;

/// Reads from the client until its ClientHello is complete and names `host`; returns all bytes read.
pub(crate) async fn read(client: &TcpStream, host: &HostName) -> Result<Vec<u8>, Reason> {
    let mut flight = Vec::with_capacity(USUAL);
    let mut hello = Hello::default();
    loop {
        client.readable().await.map_err(|e| Reason::Malformed(format!("no ClientHello: {e}")))?;
        let begun = flight.len();
        match client.try_read_buf(&mut flight) {
            Ok(0) => return Err(Reason::Malformed("closed before the ClientHello was complete".to_owned())),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            Err(e) => return Err(Reason::Malformed(format!("no ClientHello: {e}"))),
        }
        if hello.feed(flight.get(begun..).unwrap_or_default(), host)? {
            return Ok(flight);
        }
        if flight.len() > BOUND {
            return Err(Reason::Malformed("a ClientHello of more than 64 KiB".to_owned()));
        }
    }
}

/// The parser's state between pieces.
#[derive(Default)]
pub(crate) struct Hello {
    acceptor: Acceptor,
    begun: bool,
}

impl Hello {
    /// Takes the next piece. True once the hello is complete and names the host; an error as soon as it cannot.
    pub(crate) fn feed(&mut self, mut piece: &[u8], host: &HostName) -> Result<bool, Reason> {
        if !self.begun && piece.first().is_some_and(|first| *first != HANDSHAKE) {
            return Err(Reason::NotTls);
        }
        self.begun = true;
        while !piece.is_empty() {
            match self.acceptor.read_tls(&mut piece) {
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
            assert_eq!(Hello::default().feed(&bytes, &host()), Ok(true));
            let mut one_by_one = Hello::default();
            let fed: Vec<bool> = bytes.chunks(1).map(|b| one_by_one.feed(b, &host()).unwrap()).collect();
            assert_eq!(fed.iter().position(|done| *done), Some(bytes.len() - 1));
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
        assert_eq!(Hello::default().feed(&split, &host()), Ok(true));
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
