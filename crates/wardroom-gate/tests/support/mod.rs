//! A cell's network in a namespace of the test's own, with a real gate before it and real servers behind it.

#![expect(
    clippy::disallowed_methods,
    reason = "the test starts itself again in a namespace, and measures time"
)]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]
#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part of the bench")]

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use socket2::{Domain, Socket, Type};
use wardroom_gate::control::{Answer, receive, send_supplier};
use wardroom_gate::placeholder::{Shape, Tag, make};
use wardroom_gate::{Counters, GateSetup, Inspection, Resolvers, serve};
use wardroom_kernel::cellnet::{self, CellSockets, GateSockets};
use wardroom_model::credential::CredentialAct;
use wardroom_model::event::{Actor, Connection, ConnectionPhase};
use wardroom_model::supply::{Material, Supply};
use wardroom_model::{
    AgentName, Attribution, Event, HostName, HostPattern, Outcome, Reason, Secret, Verdict,
};
use wardroom_scribe::Handoff;

const CELL: &str = "WARDROOM_TEST_CELL";
const GATE: &str = "WARDROOM_TEST_GATE";

/// A cell, its gate, and its record.
pub struct Bench {
    cell: Child,
    channel: UnixStream,
    pub handoff: Arc<Handoff>,
    pub control: OwnedFd,
    pub attribution: OwnedFd,
    pub firewall: OwnedFd,
    gate: Option<JoinHandle<()>>,
    /// The gate's process, where it has one of its own.
    pub process: Option<Child>,
    kept: Vec<Event>,
    /// The certificate (PEM) of the agent's authority, where the bench was made with one.
    pub authority: String,
    /// What values are supplied over, where the bench was made with a credential.
    supplier: Option<OwnedFd>,
}

/// What a bench is made with.
#[derive(Default)]
pub struct Setup<'a> {
    pub policy: &'a str,
    pub literals: &'a [&'a str],
    pub resolvers: Resolvers,
    /// Give the gate a process of its own; its records stay there.
    pub own_process: bool,
    /// The hosts that the gate may vouch for.
    pub inspected: &'a [&'a str],
    /// The host to which the policy binds the credential `example`: it has the value [`REAL`], and what it uses is counted.
    pub credential: Option<&'a str>,
}

/// The value of the credential `example`.
pub const REAL: &str = "sk-ant-api03-REAL0123456789abcdef";

/// What the agent holds in its stead.
pub fn placeholder() -> String {
    make(Shape::Text { prefix: "", body: 40, suffix: "" }, &Tag::new(&[1; 32]), &[2; 32])
}

impl Bench {
    /// Raises a cell's network and starts a gate for it. None, said aloud, where no namespace can be made.
    pub fn start(test: &str, setup: &Setup<'_>) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cell");
        let listener = UnixListener::bind(&path).unwrap();
        let cell = Command::new("unshare")
            .args(["-U", "-r", "-n", "-m"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "cell", "--ignored", "--nocapture"])
            .env(CELL, &path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        let mut cell = match cell {
            Ok(cell) => cell,
            Err(error) => {
                eprintln!("SKIPPED: {test}: no unshare program: {error}");
                return None;
            }
        };
        let Some(channel) = accepted(&listener, &mut cell) else {
            eprintln!("SKIPPED: {test}: no user and network namespaces here");
            return None;
        };
        (&channel).write_all(format!("{}\n", setup.literals.join(" ")).as_bytes()).unwrap();
        let sockets = CellSockets::from_fds(receive_fds::<7>(&channel));
        let (sockets, firewall) = sockets.split();
        let kind = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (control, gates_control) = socketpair(kind.0, kind.1, kind.2, None).unwrap();
        let (attribution, gates_attribution) = socketpair(kind.0, kind.1, kind.2, None).unwrap();
        let handoff = Arc::new(Handoff::in_memory());
        let (mut gate, mut process) = (None, None);
        let policy_text = policy(setup.policy);
        let (mut inspection, authority) = inspection(setup.inspected);
        if setup.credential.is_some() {
            inspection.tag = Tag::new(&[1; 32]).as_str().to_owned();
            inspection.placeholders = vec![("example".to_owned(), placeholder())];
        }
        if setup.own_process {
            let theirs = [gates_control, gates_attribution].into_iter().chain(sockets.into_fds());
            process = Some(spawn_gate(directory.path(), &policy_text, &theirs.collect::<Vec<_>>()));
        } else {
            let gate_setup = GateSetup {
                sockets: Some(sockets),
                handoff: Arc::clone(&handoff),
                control: gates_control,
                attribution: Some(gates_attribution),
                policy_file: "scout.toml".to_owned(),
                policy_text,
                resolvers: setup.resolvers.clone(),
                generation: 0,
                inspection,
                counters: setup.credential.map(|_host| counters()),
            };
            gate = Some(std::thread::spawn(move || serve(gate_setup).unwrap()));
        }
        assert_eq!(receive(&control).unwrap(), Some(Answer::Ready));
        let kept = Vec::new();
        let supplier = None;
        let bench = Self {
            cell,
            channel,
            handoff,
            control,
            attribution,
            firewall,
            gate,
            process,
            kept,
            authority,
            supplier,
        };
        Some(match setup.credential {
            Some(host) => bench.supplied(host),
            None => bench,
        })
    }

    /// Supplies the credential's value, as a broker would.
    fn supplied(mut self, host: &str) -> Self {
        let kind = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (supplier, gates) = socketpair(kind.0, kind.1, kind.2, None).unwrap();
        send_supplier(&self.control, gates.as_fd()).unwrap();
        let value = Supply::Value {
            name: "example".to_owned(),
            version: 1,
            material: Material::Plain(Secret::new(REAL.as_bytes().to_vec())),
            set_at: 0,
            expires: None,
            source: "a test".to_owned(),
            host: HostName::parse(host).unwrap(),
        };
        rustix::net::send(&supplier, &value.to_packet().unwrap(), SendFlags::empty()).unwrap();
        self.supplier = Some(supplier);
        self.seen("the value", |event| match event {
            Event::Credential(note) => matches!(note.act, CredentialAct::InUse { .. }),
            _ => false,
        });
        self
    }

    /// A socket that was made inside: `connect` on it is a connect of the agent's.
    pub fn socket(&self, domain: Domain, kind: Type) -> Socket {
        let request = match (domain, kind) {
            (Domain::IPV4, Type::STREAM) => b"4",
            (_, Type::STREAM) => b"6",
            (Domain::IPV4, _) => b"u",
            (_, _) => b"v",
        };
        (&self.channel).write_all(request).unwrap();
        let [socket] = receive_fds(&self.channel);
        Socket::from(socket)
    }

    /// Says what the guard says before a call with an address goes on.
    pub fn announce(&self, inode: u64, actor: &Actor, destination: SocketAddr, protocol: Option<u8>) {
        let message = Attribution { inode, actor: actor.clone(), destination, protocol };
        let bytes = minicbor::to_vec(message).unwrap();
        rustix::net::send(&self.attribution, &bytes, SendFlags::empty()).unwrap();
    }

    /// Connects from inside, with 5 seconds of patience for every later step.
    pub fn connect(&self, to: impl Into<SocketAddr>) -> std::io::Result<TcpStream> {
        let to = to.into();
        let domain = if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = self.socket(domain, Type::STREAM);
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.connect_timeout(&to.into(), Duration::from_secs(5))?;
        Ok(socket.into())
    }

    /// Asks the cell's resolver over UDP.
    pub fn ask(&self, name: &str, rtype: RecordType) -> Message {
        let socket: UdpSocket = self.socket(Domain::IPV4, Type::DGRAM).into();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.send_to(&question(name, rtype), (cellnet::RESOLVER, 53)).unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    }

    /// The synthetic address of a name.
    pub fn address(&self, name: &str) -> Ipv4Addr {
        address_in(&self.ask(name, RecordType::A)).unwrap()
    }

    /// Connects to a name as a program would.
    pub fn connect_to(&self, name: &str, port: u16) -> std::io::Result<TcpStream> {
        self.connect((self.address(name), port))
    }

    /// Runs a program inside, where `nsenter` can.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let pid = self.cell.id().to_string();
        Command::new("nsenter")
            .args(["--preserve-credentials", "-t", &pid, "-U", "-n", "-m", program])
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Waits until an event that holds is on record, and returns it.
    pub fn seen(&mut self, what: &str, holds: impl Fn(&Event) -> bool) -> Event {
        let begun = Instant::now();
        loop {
            self.kept.extend(self.handoff.taken());
            if let Some(event) = self.kept.iter().find(|event| holds(event)) {
                return event.clone();
            }
            assert!(begun.elapsed() < Duration::from_secs(3), "not on record: {what}; but {:#?}", self.kept);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a connection that was dialled here was refused, and returns why.
    pub fn refused(&mut self, to: impl Into<SocketAddr>) -> Reason {
        let to = to.into();
        let event = self.seen(&format!("refusal of {to}"), |event| match event {
            Event::Connection(c) => c.dialled == to && verdict(c).outcome != Outcome::Allowed,
            _ => false,
        });
        match event {
            Event::Connection(c) => verdict(&c).reason.clone(),
            _ => panic!("{event:?}"),
        }
    }

    /// Everything recorded so far.
    pub fn record(&mut self) -> &[Event] {
        self.kept.extend(self.handoff.taken());
        &self.kept
    }

    /// Forgets what was recorded so far.
    pub fn forget(&mut self) {
        self.kept.clear();
        drop(self.handoff.taken());
    }

    /// Ends the gate as a keeper would, so that all counts are on record.
    pub fn end(&mut self) -> &[Event] {
        rustix::net::shutdown(&self.control, rustix::net::Shutdown::Both).unwrap();
        self.gate.take().unwrap().join().unwrap();
        self.record()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _gone = rustix::net::shutdown(&self.control, rustix::net::Shutdown::Both);
        drop(self.cell.stdin.take());
        drop(self.channel.shutdown(std::net::Shutdown::Both));
        drop(self.cell.wait());
        if let Some(mut process) = self.process.take() {
            drop(process.wait());
        }
        if let Some(gate) = self.gate.take() {
            drop(gate.join());
        }
    }
}

/// The verdict of a connection's moment.
pub fn verdict(connection: &Connection) -> &Verdict {
    match &connection.phase {
        ConnectionPhase::Decided(verdict) => verdict,
        ConnectionPhase::Ended(end) => &end.verdict,
    }
}

/// An authority for these hosts as the keeper would hand it over, and its certificate.
fn inspection(hosts: &[&str]) -> (Inspection, String) {
    if hosts.is_empty() {
        return (Inspection::default(), String::new());
    }
    let key = wardroom_gate::new_key().unwrap();
    let agent = AgentName::parse("scout").unwrap();
    let names: Vec<_> = hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let issued = wardroom_gate::certify(&key, &agent, "bench", &names, now).unwrap();
    (Inspection { authority: Some(issued.parts), ..Inspection::default() }, issued.pem)
}

/// Counters of which nothing is used.
fn counters() -> OwnedFd {
    let file = tempfile::tempfile().unwrap();
    Counters::format(&file).unwrap();
    file.into()
}

/// A whole policy around network rules.
pub fn policy(network: &str) -> String {
    format!("[agent]\nname = \"scout\"\n\n[isolation]\nkind = \"cell\"\n\n{network}\n")
}

/// A DNS question as bytes.
pub fn question(name: &str, rtype: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), rtype));
    message.to_vec().unwrap()
}

/// The address in an answer.
pub fn address_in(message: &Message) -> Option<Ipv4Addr> {
    message.answers.iter().find_map(|record| match &record.data {
        RData::A(a) => Some(a.0),
        _ => None,
    })
}

/// A server that sends back what it gets, and finishes when its client has.
pub fn echo() -> SocketAddr {
    echo_at(Ipv4Addr::LOCALHOST.into())
}

/// The same at another address of this machine.
pub fn echo_at(ip: IpAddr) -> SocketAddr {
    serve_each(ip, |mut stream| {
        let mut buffer = vec![0; 65_536];
        while let Ok(length) = stream.read(&mut buffer) {
            if length == 0 || stream.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
    })
}

/// A server on loopback that does this with each connection, on a thread of its own.
pub fn serve_each(ip: IpAddr, each: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let each = each.clone();
            std::thread::spawn(move || each(stream));
        }
    });
    address
}

/// A name server that answers every question with these addresses, and counts the questions.
pub fn name_server(addresses: &[&str]) -> (Resolvers, Arc<std::sync::atomic::AtomicU64>) {
    let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let here = socket.local_addr().unwrap();
    let count = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let answer = reply(&Message::from_vec(&buffer[..length]).unwrap(), &addresses);
            drop(socket.send_to(&answer, peer));
        }
    });
    (Resolvers::Given(vec![here]), count)
}

fn reply(question: &Message, addresses: &[IpAddr]) -> Vec<u8> {
    let mut message = Message::response(question.metadata.id, OpCode::Query);
    message.metadata.response_code = ResponseCode::NoError;
    let query = question.queries[0].clone();
    for address in addresses {
        let data = match (query.query_type(), address) {
            (RecordType::A, IpAddr::V4(ip)) => RData::A((*ip).into()),
            (RecordType::AAAA, IpAddr::V6(ip)) => RData::AAAA((*ip).into()),
            _ => continue,
        };
        message.add_answer(hickory_proto::rr::Record::from_rdata(query.name().clone(), 0, data));
    }
    message.add_query(query);
    message.to_vec().unwrap()
}

fn accepted(listener: &UnixListener, cell: &mut Child) -> Option<UnixStream> {
    listener.set_nonblocking(true).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            return Some(stream);
        }
        if cell.try_wait().unwrap().is_some() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    None
}

fn receive_fds<const N: usize>(channel: impl AsFd) -> [OwnedFd; N] {
    let mut space = [MaybeUninit::uninit(); 256];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(channel, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    fds.try_into().unwrap()
}

fn send_fds(channel: impl AsFd, fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); 256];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(fds)));
    sendmsg(channel, &[IoSlice::new(b"x")], &mut ancillary, SendFlags::empty()).unwrap();
}

fn spawn_gate(directory: &std::path::Path, policy: &str, fds: &[OwnedFd]) -> Child {
    let path = directory.join("gate");
    let listener = UnixListener::bind(&path).unwrap();
    let mut gate = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "gate", "--ignored", "--nocapture"])
        .env(GATE, &path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let channel = accepted(&listener, &mut gate).unwrap();
    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    send_fds(&channel, &borrowed);
    (&channel).write_all(policy.as_bytes()).unwrap();
    gate
}

/// The gate of a bench that asked for a process of its own.
pub fn be_the_gate() {
    let Some(path) = std::env::var_os(GATE) else { return };
    let mut channel = UnixStream::connect(PathBuf::from(path)).unwrap();
    let [control, attribution, s1, s2, s3, s4, s5, s6] = receive_fds(&channel);
    let mut policy_text = String::new();
    channel.read_to_string(&mut policy_text).unwrap();
    let begun = Instant::now();
    serve(GateSetup {
        sockets: Some(GateSockets::from_fds([s1, s2, s3, s4, s5, s6])),
        handoff: Arc::new(Handoff::in_memory()),
        control,
        attribution: Some(attribution),
        policy_file: "scout.toml".to_owned(),
        policy_text,
        resolvers: Resolvers::Host,
        generation: 0,
        inspection: Inspection::default(),
        counters: None,
    })
    .unwrap();
    eprintln!("the gate lived for {:?}", begun.elapsed());
}

/// The other side: runs in the namespaces, raises the network, and makes sockets on demand until it is let go.
pub fn be_the_cell() {
    let Some(path) = std::env::var_os(CELL) else { return };
    let mut channel = UnixStream::connect(PathBuf::from(path)).unwrap();
    let mut literals = String::new();
    let mut byte = [0];
    while channel.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        literals.push(char::from(byte[0]));
    }
    let literals: Vec<SocketAddr> = literals.split_whitespace().map(|l| l.parse().unwrap()).collect();
    let sockets = cellnet::raise(&literals).unwrap().into_fds();
    let resolv = std::env::temp_dir().join(format!("wardroom-resolv-{}", std::process::id()));
    std::fs::write(&resolv, format!("nameserver {}\n", cellnet::RESOLVER)).unwrap();
    let bound = Command::new("mount").arg("--bind").arg(&resolv).arg("/etc/resolv.conf").output().unwrap();
    std::fs::remove_file(&resolv).unwrap();
    assert!(bound.status.success(), "{bound:?}");
    let borrowed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    send_fds(&channel, &borrowed);
    drop(sockets);
    while channel.read(&mut byte).is_ok_and(|n| n == 1) {
        let (domain, kind) = match &byte {
            b"4" => (Domain::IPV4, Type::STREAM),
            b"6" => (Domain::IPV6, Type::STREAM),
            b"u" => (Domain::IPV4, Type::DGRAM),
            _ => (Domain::IPV6, Type::DGRAM),
        };
        send_fds(&channel, &[Socket::new(domain, kind, None).unwrap().as_fd()]);
    }
}
