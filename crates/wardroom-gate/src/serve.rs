//! The gate's life: from its descriptors to serving, until the keeper or the ledger is gone.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use thiserror::Error;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep};
use wardroom_kernel::cellnet::GateSockets;
use wardroom_kernel::hostnet;
use wardroom_model::Event;
use wardroom_policy::Policy;
use wardroom_scribe::{Handoff, HandoffError};

use crate::attribution::{self, Actors};
use crate::authority::{Authority, AuthorityError};
use crate::control::{self, Answer, Heard, Incoming};
use crate::credential::Credentials;
use crate::dial::Outside;
use crate::gate::Gate;
use crate::harden::{HardenError, Memory, harden};
use crate::inspect::{Acceptors, Inspector, Roots};
use crate::inspection::Inspection;
use crate::limits::Limits;
use crate::meter::{Counters, Meter, PriceError, Prices};
use crate::packets::Packets;
use crate::record::Recorder;
use crate::relay::Pipes;
use crate::synthetic::Synthetic;
use crate::upstream::{Resolvers, Upstream};
use crate::vigil::Vigil;
use crate::watched::watched;
use crate::{gateway, packets, resolver};

/// What a gate is started with.
#[derive(Debug)]
pub struct GateSetup {
    /// The sockets inside the cell; without them, they are the first thing that comes over the control channel
    /// ([`control::send_sockets`]), so that a gate can get ready while its cell is still built.
    pub sockets: Option<GateSockets>,
    /// The way to the ledger.
    pub handoff: Arc<Handoff>,
    /// The channel to the keeper.
    pub control: OwnedFd,
    /// The guard's messages about who connects; without it, connections have no actor and `apps` rules refuse.
    pub attribution: Option<OwnedFd>,
    /// The policy's file, as the operator knows it.
    pub policy_file: String,
    /// The policy's text.
    pub policy_text: String,
    /// Which resolvers are asked about permitted names.
    pub resolvers: Resolvers,
    /// The file of what the agent's credentials have used; without it, what is limited is refused.
    pub counters: Option<OwnedFd>,
    /// How many gates this session had before: an address that one of them gave out means nothing to the next.
    pub generation: u8,
    /// What it takes to look into connections.
    pub inspection: Inspection,
}

/// Why a gate ended other than by its keeper's will.
#[derive(Debug, Error)]
pub enum GateError {
    /// The policy's text is none. The keeper has checked it, so this is our fault.
    #[error("the policy cannot be read:\n{0}")]
    Policy(String),
    /// A descriptor is not what it should be, or the kernel gives no more.
    #[error("cannot serve the cell's sockets")]
    Sockets(#[source] io::Error),
    /// The channel to the keeper failed or carried what no keeper says.
    #[error("the channel to the keeper failed")]
    Control(#[source] io::Error),
    /// The gate could not give its privileges up.
    #[error("the gate cannot be confined")]
    Harden(#[from] HardenError),
    /// The session has had all its gates.
    #[error("the gate was started {0} times in this session, and has no fresh addresses left")]
    TooManyStarts(u8),
    /// The certificate authority that the keeper gave is none.
    #[error("the certificate authority cannot be used")]
    Authority(#[from] AuthorityError),
    /// The price table is none. The keeper has checked it, so this is our fault.
    #[error(transparent)]
    Prices(#[from] PriceError),
    /// Records are taken no more, so nothing may happen any more.
    #[error("nothing can be recorded any more")]
    Ledger(#[from] HandoffError),
}

/// How often counted repetitions are written.
const FLUSH: Duration = Duration::from_secs(1);
/// Half of the shortest time that a connection is given.
const TICK: Duration = Duration::from_secs(5);
/// Number of bits for connections of one start: ids stay unique within the session.
const ID_BITS: u32 = 48;

/// Serves a cell until the keeper closes the control channel. Says [`Answer::Ready`] once it does.
///
/// # Errors
/// See [`GateError`]. In every case nothing passes any more: the sockets are closed, and the cell leads nowhere.
pub fn serve(setup: GateSetup) -> Result<(), GateError> {
    let vigil = Vigil::new();
    let runtime = vigil.runtime().map_err(GateError::Sockets)?;
    let host = hostnet::open().map_err(GateError::Sockets)?;
    // What could not be made any more afterwards is made; not a byte of the agent's is read yet.
    let memory = harden()?;
    let set = LocalSet::new();
    runtime.block_on(vigil.over(set.run_until(run(setup, host, memory, Arc::clone(&vigil)))))
}

async fn run(setup: GateSetup, host: OwnedFd, memory: Memory, vigil: Arc<Vigil>) -> Result<(), GateError> {
    let GateSetup {
        sockets,
        handoff,
        control,
        attribution,
        policy_file,
        policy_text,
        resolvers,
        generation,
        inspection,
        counters,
    } = setup;
    let policy = parse(&policy_file, &policy_text).map_err(GateError::Policy)?;
    let names = Synthetic::new(generation).ok_or(GateError::TooManyStarts(generation))?;
    let Inspection { authority, tag, placeholders, prices } = inspection;
    let authority = authority.as_ref().map(Authority::open).transpose()?;
    let recorder = Rc::new(Recorder::new(handoff));
    if !placeholders.is_empty() {
        recorder.note(memory.to_string());
    }
    let meter = meter(&recorder, &prices, counters)?;
    let credentials = Credentials::new(Rc::clone(&recorder), meter, &tag, placeholders, &policy);
    let Some(sockets) = sockets_of(sockets, &control).map_err(GateError::Control)? else { return Ok(()) };
    let GateSockets { tcp4, tcp6, dns_udp, dns_tcp, nflog, diag } = sockets;
    let gate = Rc::new(Gate {
        recorder,
        credentials,
        names: RefCell::new(names),
        limits: Limits::new(Instant::now()),
        actors: Actors::new(diag, attribution).map_err(GateError::Sockets)?,
        outside: Outside { upstream: Upstream::new(resolvers), host },
        pipes: Pipes::new(),
        authority,
        inspector: Inspector {
            agent: policy.name().to_string(),
            acceptors: Acceptors::new(),
            roots: Roots::new(),
        },
        in_force: watch::Sender::new(policy.network().clone()),
        closing: watch::Sender::new(false),
        next_id: Cell::new(u64::from(generation) << ID_BITS),
        vigil,
    });
    let inside = dns_udp.try_clone().map_err(GateError::Sockets)?;
    let packets = Rc::new(Packets::new(nflog, (generation == 0).then_some(0)).map_err(GateError::Sockets)?);
    let mut parts = parts(&gate, [tcp4, tcp6], (dns_udp, dns_tcp)).map_err(GateError::Sockets)?;
    parts.spawn_local(packets::serve(Rc::clone(&gate), Rc::clone(&packets)));

    control::answer(&control, &Answer::Ready).map_err(GateError::Control)?;
    let ended = tokio::select! {
        ended = obey(&gate, control, &policy_file) => ended.map_err(GateError::Control),
        error = gate.recorder.failure() => Err(GateError::Ledger(error)),
        part = parts.join_next() => Err(GateError::Sockets(part_ended(part))),
    };
    gate.close().await;
    packets.settle(&gate, &inside);
    gate.recorder.flush();
    ended
}

/// Everything that serves, none of which ends by itself.
fn parts(
    gate: &Rc<Gate>,
    listeners: [OwnedFd; 2],
    (dns_udp, dns_tcp): (OwnedFd, OwnedFd),
) -> io::Result<JoinSet<io::Result<()>>> {
    let mut parts = JoinSet::new();
    for listener in listeners {
        let listener = gateway::listener(listener)?;
        let gate = Rc::clone(gate);
        parts.spawn_local(async move {
            gateway::serve(gate, listener).await;
            Ok(())
        });
    }
    let udp = UdpSocket::from_std(dns_udp.into())?;
    parts.spawn_local(resolver::serve_udp(Rc::clone(gate), udp));
    parts.spawn_local(resolver::serve_tcp(Rc::clone(gate), TcpListener::from_std(dns_tcp.into())?));
    parts.spawn_local(attribution::listen(Rc::clone(gate)));
    parts.spawn_local(flush(Rc::clone(gate)));
    parts.spawn_local(tick());
    Ok(parts)
}

/// The sockets at hand, or the ones that the keeper sends. None when it is gone before it had any.
fn sockets_of(given: Option<GateSockets>, control: &OwnedFd) -> io::Result<Option<GateSockets>> {
    match given {
        Some(sockets) => Ok(Some(sockets)),
        None => control::await_sockets(control),
    }
}

/// What counts. Damaged counters count nothing: what is limited is then refused, and the record says why.
fn meter(recorder: &Rc<Recorder>, prices: &str, counters: Option<OwnedFd>) -> Result<Meter, GateError> {
    let prices = if prices.is_empty() { Prices::built_in() } else { Prices::parse("prices.toml", prices) };
    let counters = counters.and_then(|file| {
        let opened = Counters::open(&file);
        opened.map_err(|error| recorder.note(format!("nothing can be counted: {error}"))).ok()
    });
    let notes = Rc::clone(recorder);
    Ok(Meter::new(prices?, counters, Box::new(move |note| notes.now(&Event::Credential(note)))))
}

fn part_ended(part: Option<Result<io::Result<()>, tokio::task::JoinError>>) -> io::Error {
    match part {
        Some(Ok(Err(error))) => error,
        Some(Err(error)) => io::Error::other(error),
        Some(Ok(Ok(()))) | None => io::Error::other("a part of the gate ended by itself"),
    }
}

fn parse(file: &str, text: &str) -> Result<Policy, String> {
    Policy::parse(file, text).map_err(|errors| errors.to_string())
}

/// Does what the keeper says, until it is gone.
async fn obey(gate: &Rc<Gate>, control: OwnedFd, file: &str) -> io::Result<()> {
    let control = watched(control)?;
    let mut incoming = Incoming::default();
    let mut supplier = JoinSet::new();
    loop {
        let mut ready = control.readable().await?;
        match incoming.hear(&control) {
            Ok(Heard::Nothing) => {}
            Ok(Heard::Closed) => return Ok(()),
            Ok(Heard::Ping) => control::answer(&control, &Answer::Pong)?,
            Ok(Heard::Policy(text)) => control::answer(&control, &replace(gate, file, &text))?,
            Ok(Heard::Supplier(channel)) => {
                supplier.shutdown().await;
                // What the one before supplied may have ended at its source by now.
                gate.credentials.orphan("another broker takes over");
                let gate = Rc::clone(gate);
                supplier.spawn_local(async move { gate.credentials.supplied(channel).await });
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(e) => return Err(e),
        }
    }
}

/// Puts a new policy in force: the resolver asks it from now on, and every open connection is decided again.
fn replace(gate: &Gate, file: &str, text: &str) -> Answer {
    match parse(file, text) {
        Ok(policy) => {
            gate.credentials.replace(&policy);
            gate.in_force.send_replace(policy.network().clone());
            Answer::PolicyInForce(Sha256::digest(text).into())
        }
        Err(why) => Answer::PolicyRefused(why),
    }
}

/// Wakes for nothing, so that no connection does: a time limit that is sooner than any other has the event loop woken, by a system
/// call of its own, to wait for less. None of theirs is sooner than this.
async fn tick() -> io::Result<()> {
    loop {
        sleep(TICK).await;
    }
}

/// Writes what was counted, a second after there was something to count.
async fn flush(gate: Rc<Gate>) -> io::Result<()> {
    loop {
        gate.recorder.something_counted().await;
        sleep(FLUSH).await;
        gate.recorder.flush();
    }
}
