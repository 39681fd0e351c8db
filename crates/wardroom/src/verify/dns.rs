//! Just enough of the DNS wire format (RFC 1035, 4.1) to ask one question, see what the answer is, and play the
//! server that knows every name. The questions are malformed on purpose where a probe says so, hence no library.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};

use super::attempt::PATIENCE;
use super::outcome::Outcome;
use super::scene::{Place, Scene};

/// The question types that probes ask for.
pub(crate) const A: u16 = 1;
pub(crate) const AAAA: u16 = 28;
pub(crate) const TXT: u16 = 16;
pub(crate) const NULL: u16 = 10;
pub(crate) const SRV: u16 = 33;
pub(crate) const HTTPS: u16 = 65;
pub(crate) const ANY: u16 = 255;

/// What a resolver said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The response code: 0 no error, 3 no such name.
    pub(crate) code: u8,
    /// Records in the answer section.
    pub(crate) answers: u16,
}

/// One question, recursion desired.
pub(crate) fn question(name: &str, rtype: u16) -> Vec<u8> {
    let mut packet = vec![0x77, 0x64, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        packet.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&rtype.to_be_bytes());
    packet.extend_from_slice(&1_u16.to_be_bytes());
    packet
}

/// The answer of the server that knows every name: an address record for any question.
pub(crate) fn answer(question: &[u8]) -> Vec<u8> {
    let mut packet = question.to_vec();
    if let Some(header) = packet.get_mut(..8) {
        header.copy_from_slice(&[0x77, 0x64, 0x81, 0x80, 0, 1, 0, 1]);
    }
    packet.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    packet
}

/// Reads a reply's header.
pub(crate) fn reply(packet: &[u8]) -> Option<Reply> {
    match packet {
        [0x77, 0x64, flags, code, _, _, high, low, ..] if flags & 0x80 != 0 => {
            Some(Reply { code: code & 0x0f, answers: u16::from_be_bytes([*high, *low]) })
        }
        _ => None,
    }
}

/// The resolver: in the cell the one that `/etc/resolv.conf` names, outside the fixture.
pub(crate) fn resolver(scene: &Scene) -> Option<SocketAddr> {
    match scene.place {
        Place::Outside | Place::Bare => Some(scene.fixtures.resolver),
        Place::Cell => {
            let text = fs::read_to_string("/etc/resolv.conf").ok()?;
            let named = text.lines().find_map(|line| line.trim().strip_prefix("nameserver"))?;
            named.trim().parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53))
        }
    }
}

/// Asks over UDP: an answer is success, no such name is a refusal.
pub(crate) fn ask(scene: &Scene, name: &str, rtype: u16) -> Outcome {
    let Some(resolver) = resolver(scene) else {
        return Outcome::Impossible("no resolver is named".to_owned());
    };
    judge(exchange(resolver, &question(name, rtype)))
}

/// Asks over TCP.
pub(crate) fn ask_over_tcp(scene: &Scene, name: &str, rtype: u16) -> Outcome {
    let Some(resolver) = resolver(scene) else {
        return Outcome::Impossible("no resolver is named".to_owned());
    };
    judge(exchange_over_tcp(resolver, &question(name, rtype)))
}

/// What a reply means to someone who wants an answer.
fn judge(reply: io::Result<Reply>) -> Outcome {
    match reply {
        Ok(Reply { code: 0, answers: 1.. }) => Outcome::Succeeded("the name was answered".to_owned()),
        Ok(Reply { code: 3, .. }) => Outcome::Blocked("no such name (NXDOMAIN)".to_owned()),
        Ok(Reply { code, answers }) => Outcome::Blocked(format!("code {code} with {answers} answers")),
        Err(error) => Outcome::Blocked(error.to_string()),
    }
}

/// One question and its reply over UDP.
pub(crate) fn exchange(resolver: SocketAddr, packet: &[u8]) -> io::Result<Reply> {
    let socket = UdpSocket::bind(if resolver.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(resolver)?;
    socket.send(packet)?;
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer)?;
    buffer.get(..length).and_then(reply).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn exchange_over_tcp(resolver: SocketAddr, packet: &[u8]) -> io::Result<Reply> {
    let mut stream = TcpStream::connect_timeout(&resolver, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(packet)?;
    let mut header = [0; 14];
    stream.read_exact(&mut header)?;
    header.get(2..).and_then(reply).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_that_knows_every_name_answers_the_question() {
        let asked = question("a.example", A);
        assert_eq!(reply(&answer(&asked)), Some(Reply { code: 0, answers: 1 }));
    }

    #[test]
    fn a_question_is_no_reply() {
        assert_eq!(reply(&question("a.example", A)), None);
    }
}
