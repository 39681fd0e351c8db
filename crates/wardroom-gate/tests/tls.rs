//! TLS names: only the exact allowed one passes, and what passes arrives unchanged.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail by panicking")]
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of record")]
#![expect(clippy::indexing_slicing, reason = "a test's helpers fail by panicking")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]
#![expect(unreachable_pub, reason = "the bench is shared between test files")]

mod support;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::kx_group::SECP384R1;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, Stream, StreamOwned,
};
use support::{Bench, Setup, serve_each, verdict};
use wardroom_model::event::ConnectionPhase;
use wardroom_model::{Captured, Event, Outcome, Reason};

#[test]
#[ignore = "the inside of the other tests"]
fn cell() {
    support::be_the_cell();
}

const HOST: &str = "api.example.com";

fn rules(server: SocketAddr) -> String {
    format!("[[network.allow]]\nhost = \"{HOST}\"\naddress = \"{server}\"\n")
}

/// A TLS server for the host that answers one HTTP request, and its certificate.
fn tls_server() -> (SocketAddr, rcgen::CertifiedKey<rcgen::KeyPair>) {
    tls_server_with(rustls::crypto::ring::default_provider())
}

fn tls_server_with(provider: CryptoProvider) -> (SocketAddr, rcgen::CertifiedKey<rcgen::KeyPair>) {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let address = serve_each("127.0.0.1".parse().unwrap(), move |stream| {
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut tls = StreamOwned::new(session, stream);
        let mut request = [0; 4096];
        if tls.read(&mut request).is_ok() {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
            drop(tls.write_all(answer).and_then(|()| tls.flush()));
            tls.conn.send_close_notify();
            drop(tls.flush());
        }
    });
    (address, made)
}

fn client(roots: RootCertStore, name: &str) -> ClientConnection {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned()).unwrap()).unwrap()
}

/// The first flight of a client that means this server.
fn hello(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    client(RootCertStore::empty(), name).write_tls(&mut bytes).unwrap();
    bytes
}

/// A hello whose name, of as many bytes as the allowed one, is forged.
fn forged(name: &[u8]) -> Vec<u8> {
    let mut bytes = hello(HOST);
    let at = bytes.windows(HOST.len()).position(|w| w == HOST.as_bytes()).unwrap();
    bytes[at..at + HOST.len()].copy_from_slice(name);
    bytes
}

#[test]
fn a_whole_tls_conversation_passes_through() {
    converse("tls", tls_server());
}

#[test]
fn one_in_which_the_server_asks_for_a_second_hello_passes_as_well() {
    // Clients send a share of X25519 first, and no other.
    let provider = CryptoProvider { kx_groups: vec![SECP384R1], ..rustls::crypto::ring::default_provider() };
    converse("retry", tls_server_with(provider));
}

fn converse(test: &str, (server, made): (SocketAddr, rcgen::CertifiedKey<rcgen::KeyPair>)) {
    let rules = rules(server);
    let Some(mut bench) = Bench::start(test, &Setup { policy: &rules, ..Setup::default() }) else { return };
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut session = client(roots, HOST);
    let mut tcp = bench.connect_to(HOST, 443).unwrap();
    let mut tls = Stream::new(&mut session, &mut tcp);
    tls.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    tls.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    drop(tcp);
    let ended = |e: &Event| match e {
        Event::Connection(c) => {
            matches!(c.phase, ConnectionPhase::Ended(_)) && verdict(c).outcome == Outcome::Allowed
        }
        _ => false,
    };
    bench.seen("the end", ended);
}

#[test]
fn curl_and_python_work_as_they_are() {
    let (server, made) = tls_server();
    let rules = rules(server);
    let Some(bench) = Bench::start("curl", &Setup { policy: &rules, ..Setup::default() }) else { return };
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), made.cert.pem()).unwrap();
    let ca = ca.path().to_str().unwrap();
    let script = format!(
        "import ssl,urllib.request as u; c=ssl.create_default_context(cafile='{ca}'); \
         print(u.urlopen('https://{HOST}/',context=c).read().decode())"
    );
    let clients = [
        ("curl", vec!["-sS", "--max-time", "5", "--cacert", ca, "https://api.example.com/"]),
        ("python3", vec!["-c", &script]),
    ];
    for (program, arguments) in clients {
        let output = bench.run(program, &arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("nsenter: ") || said.contains("No such file") {
            eprintln!("SKIPPED: {program}: cannot be run inside: {said}");
            continue;
        }
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), "hello", "{program}: {said}");
    }
    let refused = bench.run("curl", &["-sS", "--max-time", "5", "https://evil.example/"]);
    assert!(!refused.status.success());
}

#[test]
fn n10_every_other_server_name_is_refused_and_seen() {
    let (server, _) = tls_server();
    let rules = rules(server);
    let Some(mut bench) = Bench::start("n10", &Setup { policy: &rules, ..Setup::default() }) else { return };
    let to = SocketAddr::from((bench.address(HOST), 443));
    let malformed = |r: &Reason| matches!(r, Reason::Malformed(_));
    type Expected = fn(&Reason) -> bool;
    let cases: [(&str, Vec<u8>, Expected); 8] = [
        ("another name", hello("evil.example"), |r| {
            *r == Reason::OtherServerName(Captured::from("evil.example"))
        }),
        ("no name", hello("192.0.2.1"), |r| *r == Reason::NoServerName),
        ("an address", forged(b"192.168.100.100"), |r| {
            matches!(r, Reason::NoServerName | Reason::Malformed(_))
        }),
        ("a NUL", forged(b"api.example\0com"), malformed),
        ("a trailing dot", forged(b"api.example.co."), |r| {
            matches!(r, Reason::OtherServerName(_) | Reason::Malformed(_))
        }),
        ("no letters", forged(b"\xff\xfei.example.co\xff"), malformed),
        ("plain HTTP", b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n".to_vec(), |r| *r == Reason::NotTls),
        ("300 bytes", [&[22, 3, 1, 1, 0x2c, 1][..], &[0xaa; 299]].concat(), malformed),
    ];
    for (case, bytes, expected) in cases {
        bench.forget();
        let mut stream = bench.connect(to).unwrap();
        stream.write_all(&bytes).unwrap();
        assert!(stream.read(&mut [0]).is_err(), "{case}: reset");
        let reason = bench.refused(to);
        assert!(expected(&reason), "{case}: {reason:?}");
    }
}

#[test]
fn n10_a_hello_in_pieces_passes_and_one_without_end_does_not() {
    let (server, _) = tls_server();
    let rules = rules(server);
    let Some(mut bench) = Bench::start("n10", &Setup { policy: &rules, ..Setup::default() }) else { return };
    let to = SocketAddr::from((bench.address(HOST), 443));
    let mut stream = bench.connect(to).unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in forged(b"API.example.COM").chunks(40) {
        stream.write_all(piece).unwrap();
        std::thread::yield_now();
    }
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 1, "the server answers");
    drop(stream);
    bench.seen(
        "its end",
        |e| matches!(e, Event::Connection(c) if matches!(c.phase, ConnectionPhase::Ended(_))),
    );
    bench.forget();
    // A handshake message that says it is 2^24 - 1 bytes long, and goes on.
    let mut endless = bench.connect(to).unwrap();
    let record = [&[22, 3, 1, 0x40, 0][..], &[1, 0xff, 0xff, 0xff], &[0; 0x4000 - 4]].concat();
    let more = [&[22, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat();
    let mut broken = endless.write_all(&record).is_err();
    for _ in 0..64 {
        broken = broken || endless.write_all(&more).is_err();
    }
    assert!(broken || endless.read(&mut [0]).is_err());
    assert!(matches!(bench.refused(to), Reason::Malformed(_)));
}

/// A ServerHello whose random says that it is a HelloRetryRequest (RFC 8446, 4.1.3).
const RETRY: &[u8] = b"\x16\x03\x03\x00\x2e\x02\x00\x00\x2a\x03\x03\
    \xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91\
    \xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c\
    \x00\x13\x01\x00\x00\x02\x00\x00";
/// What middleboxes like to see before a second flight.
const CHANGE_CIPHER_SPEC: &[u8] = &[20, 3, 3, 0, 1, 1];

/// A server that answers whatever comes first with a HelloRetryRequest in small pieces, and says what it got behind it.
fn asks_again() -> (SocketAddr, Receiver<Vec<u8>>) {
    let (got, heard) = channel();
    let server = serve_each("127.0.0.1".parse().unwrap(), move |mut stream| {
        let mut bytes = vec![0; 65_536];
        let first = stream.read(&mut bytes).unwrap();
        bytes.truncate(first);
        stream.set_nodelay(true).unwrap();
        for piece in RETRY.chunks(6) {
            stream.write_all(piece).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let mut behind = bytes.split_off(hello(HOST).len().min(first));
        drop(stream.read_to_end(&mut behind));
        drop(got.send(behind));
    });
    (server, heard)
}

#[test]
fn n10_a_server_that_asks_again_hears_the_same_name_again() {
    let (server, heard) = asks_again();
    let rules = rules(server);
    let Some(mut bench) = Bench::start("n10", &Setup { policy: &rules, ..Setup::default() }) else { return };
    let to = SocketAddr::from((bench.address(HOST), 443));
    let evil = [CHANGE_CIPHER_SPEC, &hello("evil.example")].concat();
    let other = Reason::OtherServerName(Captured::from("evil.example"));
    for at_once in [false, true] {
        bench.forget();
        let mut stream = bench.connect(to).unwrap();
        if at_once {
            stream.write_all(&[&hello(HOST)[..], &evil].concat()).unwrap();
        } else {
            stream.write_all(&hello(HOST)).unwrap();
        }
        let mut asked = vec![0; RETRY.len()];
        if stream.read_exact(&mut asked).is_ok() && !at_once {
            assert_eq!(asked, RETRY);
            stream.write_all(&evil).unwrap();
        }
        assert!(stream.read(&mut [0]).is_err(), "reset");
        assert_eq!(bench.refused(to), other, "{at_once}");
        assert_eq!(heard.recv().unwrap(), b"", "{at_once}: nothing behind the first hello");
    }
    let mut stream = bench.connect(to).unwrap();
    stream.write_all(&hello(HOST)).unwrap();
    stream.read_exact(&mut vec![0; RETRY.len()]).unwrap();
    let second = [CHANGE_CIPHER_SPEC, &hello(HOST), b"and so on"].concat();
    stream.write_all(&second).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(heard.recv().unwrap(), second);
}
