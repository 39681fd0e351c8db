//! The cell's resolver: names in, synthetic addresses out. No question ever leaves the machine.
//!
//! An allowed name gets its address; every other type of it an empty answer, so that clients go on with what they have
//! (and no HTTPS record, so no encrypted ClientHello). A refused name gets NXDOMAIN, at once.

use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType, rdata};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wardroom_model::{HostName, Outcome, Reason, Verdict};

use crate::gate::Gate;
use crate::gateway::accepted;

/// Seconds for which a program may keep an answer. A mapping never changes within a session; a minute limits how
/// long a program keeps a name that the policy no longer allows.
const TTL: u32 = 60;
/// The longest question over UDP: 255 bytes of name, 16 of header, and options.
const UDP_BOUND: usize = 4_096;
/// What we say we take over UDP (DNS flag day 2020).
const EDNS_PAYLOAD: u16 = 1_232;
/// Connections over TCP at once, and how long one may be silent. Clients use TCP for a single question.
const TCP_CONNECTIONS: usize = 32;
const TCP_SILENCE: Duration = Duration::from_secs(5);

/// Answers datagrams, for ever.
pub(crate) async fn serve_udp(gate: Rc<Gate>, socket: UdpSocket) -> io::Result<()> {
    let mut buffer = vec![0; UDP_BOUND];
    loop {
        // An error here is an ICMP error for an earlier answer: the asker is gone, the socket is well.
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let question = buffer.get(..length).unwrap_or_default();
        if let Some(answer) = answer(&gate, question) {
            // A full buffer drops the answer, and the asker asks again.
            drop(socket.try_send_to(&answer, peer));
        }
    }
}

/// Answers connections, for ever.
pub(crate) async fn serve_tcp(gate: Rc<Gate>, listener: TcpListener) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(TCP_CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = accepted(&listener).await;
        let gate = Rc::clone(&gate);
        tokio::task::spawn_local(async move {
            // However a conversation ends, it concerns only the one who began it.
            drop(converse(&gate, stream).await);
            drop(place);
        });
    }
}

async fn converse(gate: &Gate, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let length = timeout(TCP_SILENCE, stream.read_u16()).await??;
        let mut question = vec![0; usize::from(length)];
        timeout(TCP_SILENCE, stream.read_exact(&mut question)).await??;
        let Some(answer) = answer(gate, &question) else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        tell(&mut stream, &[&length.to_be_bytes()[..], &answer].concat()).await?;
    }
}

/// Who does not read is as silent as who does not ask.
async fn tell(stream: &mut (impl AsyncWrite + Unpin), answer: &[u8]) -> io::Result<()> {
    timeout(TCP_SILENCE, stream.write_all(answer)).await?
}

/// The answer to one message; none for what is not a question.
fn answer(gate: &Gate, bytes: &[u8]) -> Option<Vec<u8>> {
    let malformed =
        || gate.recorder.name("", 0, Verdict::refused(Reason::Malformed("no DNS message".to_owned())));
    reply(bytes, |query, reply| decide(gate, query, reply), malformed)
}

/// The answer to one message, as `decide` fills it in for a question.
pub(crate) fn reply(
    bytes: &[u8],
    decide: impl FnOnce(&Query, &mut Message) -> ResponseCode,
    malformed: impl FnOnce(),
) -> Option<Vec<u8>> {
    let Ok(message) = Message::from_vec(bytes) else {
        malformed();
        let id = u16::from_be_bytes(*bytes.first_chunk()?);
        // A damaged response is no question either.
        let is_question = bytes.get(2)? & 0x80 == 0;
        let failure = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
        return is_question.then(|| failure.to_vec().ok()).flatten();
    };
    if message.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut reply = Message::response(message.metadata.id, message.metadata.op_code);
    reply.metadata.recursion_desired = message.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    if message.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_PAYLOAD);
        reply.set_edns(edns);
    }
    reply.metadata.response_code = match (message.metadata.op_code, message.queries.as_slice()) {
        (OpCode::Query, [query]) => {
            reply.add_query(query.clone());
            decide(query, &mut reply)
        }
        (OpCode::Query, _) => ResponseCode::FormErr,
        _ => ResponseCode::NotImp,
    };
    reply.to_vec().ok()
}

/// Decides one question, records it, and adds the address where there is one.
fn decide(gate: &Gate, query: &Query, reply: &mut Message) -> ResponseCode {
    let text = query.name().to_ascii();
    let rtype = query.query_type();
    let (verdict, name) = match HostName::parse(&text) {
        Ok(host) if query.query_class() == DNSClass::IN => (gate.policy().may_resolve(&host), Some(host)),
        Ok(_) | Err(_) => (Verdict::refused(Reason::NoRule), None),
    };
    let shown = name.as_ref().map_or(text.as_str(), HostName::as_str).to_owned();
    let Some(host) = name.filter(|_| verdict.outcome == Outcome::Allowed) else {
        gate.recorder.name(&shown, rtype.into(), verdict);
        return ResponseCode::NXDomain;
    };
    if rtype != RecordType::A {
        gate.recorder.name(&shown, rtype.into(), verdict);
        return ResponseCode::NoError;
    }
    let Some(address) = gate.names.borrow_mut().address(&host) else {
        let full = Reason::LimitReached(format!("{} names in a session", crate::synthetic::NAMES));
        gate.recorder.name(&shown, rtype.into(), Verdict::refused(full));
        return ResponseCode::Refused;
    };
    gate.recorder.name(&shown, rtype.into(), verdict);
    reply.add_answer(a_record(query, address));
    ResponseCode::NoError
}

fn a_record(query: &Query, address: Ipv4Addr) -> Record {
    Record::from_rdata(query.name().clone(), TTL, RData::A(rdata::A(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn n18_a_client_that_never_reads_its_answer_leaves_its_place_within_its_time() {
        let (mut here, _deaf) = tokio::io::duplex(1);
        let told = timeout(TCP_SILENCE * 2, tell(&mut here, b"answer")).await;
        assert_eq!(told.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
