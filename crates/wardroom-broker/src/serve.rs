//! The broker's life: it gets the values of an agent's credentials, keeps them fresh, and tells the gate. One thread
//! decides; each question to a source has a thread of its own, so that none holds up another, or a revocation.
//!
//! Nothing here records or decides about a request: the gate does.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SendFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use thiserror::Error;
use wardroom_kernel::memory_file;
use wardroom_model::Secret;
use wardroom_model::supply::SupplyError;
use wardroom_policy::{Credential, Particulars, Policy, SecretSource};

use crate::clock;
use crate::confine::{ConfineError, confine};
use crate::control::{self, Answer, Heard};
use crate::custody;
use crate::ending::{Extent, GivenBack};
use crate::fetch::{FetchError, Got, Sources};
use crate::line::{Line, Packet, described};
use crate::programs::{Here, There};
use crate::store::{Store, StoreError};
use crate::web::Web;

/// How often the store is looked at: what an operator sets or revokes is in force within a second.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
/// How long a value that was replaced is left alone before it is ended at its source: requests may be under way with it.
const GRACE: Duration = Duration::from_secs(10);
/// How often a source that was not reached is told again that a value is to end; after 1, 2 and 4 seconds.
const TRIES: u32 = 3;
/// How long the end may wait for sources to take leases back; the keeper waits ten seconds for us.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a broker needs.
#[derive(Debug)]
pub struct BrokerSetup {
    /// The connection to the keeper.
    pub control: OwnedFd,
    /// The connection to the gate.
    pub gate: OwnedFd,
    /// The connection to the process that runs programs.
    pub programs: Option<OwnedFd>,
    /// Where the values lie.
    pub store: PathBuf,
    /// The policy's file, as the operator knows it.
    pub policy_file: String,
    /// The policy's text.
    pub policy_text: String,
}

/// Why a broker ended other than by its keeper's will.
#[derive(Debug, Error)]
pub enum BrokerError {
    /// The policy's text is none. The keeper has checked it, so this is our fault.
    #[error("the policy cannot be read:\n{0}")]
    Policy(String),
    /// The channel to the keeper.
    #[error("the channel to the keeper failed")]
    Control(#[source] io::Error),
    /// It could not give up what it does not need.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// A value is longer than a message.
    #[error(transparent)]
    Supply(#[from] SupplyError),
    /// The kernel gives no more.
    #[error("the kernel gives no more")]
    Kernel(#[source] io::Error),
}

/// Confines this process, and runs the broker until the keeper says so, or is gone.
///
/// # Errors
/// When it cannot be confined, or loses its keeper or its gate.
pub fn serve(setup: BrokerSetup) -> Result<(), BrokerError> {
    let policy = parse(&setup.policy_file, &setup.policy_text)?;
    let web = Web::with_host_authorities();
    resolve_once();
    let locked = confine(&setup.store, writes(&policy), &authorities(&policy))?;
    control::answer(&setup.control, &Answer::Ready { locked }).map_err(BrokerError::Control)?;
    Broker::new(setup, &policy, web)?.run()
}

/// Reads a policy.
pub(crate) fn parse(file: &str, text: &str) -> Result<Policy, BrokerError> {
    Policy::parse(file, text).map_err(|errors| BrokerError::Policy(errors.render(false)))
}

/// The text of a policy that the keeper hands over.
pub(crate) fn text(file: OwnedFd) -> Result<String, BrokerError> {
    let bytes = memory_file::read(file).map_err(BrokerError::Control)?;
    String::from_utf8(bytes).map_err(|error| BrokerError::Control(io::Error::other(error)))
}

/// Whether any of the credentials is one whose secret changes when it is used.
fn writes(policy: &Policy) -> bool {
    policy.credentials().iter().any(|credential| matches!(credential.particulars, Particulars::Oauth2(_)))
}

fn authorities(policy: &Policy) -> Vec<PathBuf> {
    let ca = |credential: &Credential| match &credential.source {
        SecretSource::Vault(vault) => vault.ca.as_ref().map(PathBuf::from),
        SecretSource::Store | SecretSource::Command(_) => None,
    };
    policy.credentials().iter().filter_map(ca).collect()
}

/// Has the C library load what it resolves names with, while it can still be read from anywhere.
fn resolve_once() {
    let _loaded = std::net::ToSocketAddrs::to_socket_addrs("localhost:0");
}

struct Broker {
    control: OwnedFd,
    gate: OwnedFd,
    file: String,
    sources: Sources,
    lines: BTreeMap<String, Line>,
    outbox: VecDeque<Packet>,
    /// Questions to sources that are under way, also those of credentials that have left the policy.
    asked: usize,
    /// Values to end at their sources.
    endings: Vec<Ending>,
    /// Those whose sources are being told, and which sources.
    under_way: BTreeMap<u64, (Arc<Credential>, String)>,
    next_ending: u64,
    news: Receiver<News>,
    tell: Sender<News>,
    wake: OwnedFd,
    woken: Arc<OwnedFd>,
    /// Whether every source has been asked once.
    settled: bool,
}

/// What a thread has to say.
enum News {
    /// It asked a source for a value.
    Asked(Asked),
    /// It told a source to end one.
    Ended(u64, Ending, Vec<GivenBack>),
}

/// What came of asking a source.
struct Asked {
    credential: Arc<Credential>,
    outcome: Result<Outcome, FetchError>,
    old: Option<Got>,
    anew: bool,
}

/// A value that is to end at its source.
struct Ending {
    due: Instant,
    credential: Arc<Credential>,
    got: Got,
    extent: Extent,
    tries: u32,
}

enum Outcome {
    /// Another value.
    New(Box<Got>),
    /// The old one, which lasts longer now.
    Longer,
}

/// Why there is no key is the keeper's to know, and said by it.
const NO_KEY: &str = "the store has no key at hand: the operator unlocks it with `wardroom credential unlock`, or makes it with \
                      `wardroom setup` where that was never done";

impl Broker {
    fn new(setup: BrokerSetup, policy: &Policy, web: Web) -> Result<Self, BrokerError> {
        let BrokerSetup { control, gate, programs, store, policy_file, policy_text: _ } = setup;
        let (wake, woken) =
            pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(|e| BrokerError::Kernel(e.into()))?;
        let (tell, news) = channel();
        let programs: Arc<dyn crate::fetch::Programs> = match programs {
            Some(line) => Arc::new(There::new(line)),
            // Where there is none, nothing is started: this process may not.
            None => Arc::new(Here),
        };
        let identity = Err(NO_KEY.to_owned());
        let sources = Sources { store: Store::at(&store, policy.name(), None), identity, web, programs };
        let lines = policy.credentials().iter().map(|c| (c.name.clone(), Line::new(c.clone()))).collect();
        let (outbox, endings, woken) = (VecDeque::new(), Vec::new(), Arc::new(woken));
        Ok(Self {
            settled: false,
            asked: 0,
            under_way: BTreeMap::new(),
            next_ending: 0,
            control,
            gate,
            file: policy_file,
            sources,
            lines,
            outbox,
            endings,
            news,
            tell,
            wake,
            woken,
        })
    }

    fn run(mut self) -> Result<(), BrokerError> {
        loop {
            if self.wait()? && !self.listen()? {
                return self.farewell();
            }
            while let Ok(news) = self.news.try_recv() {
                match news {
                    News::Asked(asked) => self.learn(asked)?,
                    News::Ended(id, ending, said) => self.ended(id, ending, &said)?,
                }
            }
            self.look()?;
            self.send();
            // Behind what the gate is told: what is revoked ends here first.
            self.begin_endings(clock::steady())?;
            if !self.settled && self.lines.values().all(|line| !line.busy && !line.wanted) {
                self.settled = true;
                control::answer(&self.control, &Answer::Settled).map_err(BrokerError::Control)?;
            }
        }
    }

    /// Waits for something to happen, or until it is time to look at the store. Whether the keeper said something.
    fn wait(&self) -> Result<bool, BrokerError> {
        let mut set = vec![PollFd::new(&self.control, PollFlags::IN), PollFd::new(&self.wake, PollFlags::IN)];
        // Only while there is something to send: a gate that has gone would be reported without end.
        if !self.outbox.is_empty() {
            set.push(PollFd::new(&self.gate, PollFlags::OUT));
        }
        match poll(&mut set, Some(&LOOK)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(BrokerError::Kernel(error.into())),
        }
        let mut ready = set.iter().map(|entry| !entry.revents().is_empty());
        let (told, woken) = (ready.next() == Some(true), ready.next() == Some(true));
        if woken {
            // Whatever it says, there is news to look for.
            let _bytes = rustix::io::read(&self.wake, &mut [0; 64]);
        }
        Ok(told)
    }

    /// Hears the keeper. False when it wants no more.
    fn listen(&mut self) -> Result<bool, BrokerError> {
        match control::hear(&self.control).map_err(BrokerError::Control)? {
            None => return Ok(false),
            Some(Heard::Ping) => {
                control::answer(&self.control, &Answer::Pong).map_err(BrokerError::Control)?;
            }
            Some(Heard::Policy(text)) => self.change(&parse(&self.file, &self::text(text)?)?),
            Some(Heard::Gate(gate)) => {
                self.gate = gate;
                self.say_everything()?;
            }
            Some(Heard::Identity(identity)) => self.unlock(&identity),
        }
        Ok(true)
    }

    fn unlock(&mut self, identity: &Secret) {
        self.sources.identity = custody::parse(identity).map_err(str::to_owned);
        self.lines.values_mut().for_each(|line| line.wanted = true);
    }

    /// A new policy: what it declares as before goes on, everything else begins anew.
    fn change(&mut self, policy: &Policy) {
        let mut before = std::mem::take(&mut self.lines);
        for credential in policy.credentials() {
            let line = before.remove(&credential.name).filter(|line| *line.credential == *credential);
            let line = line.unwrap_or_else(|| Line::new(credential.clone()));
            self.lines.insert(credential.name.clone(), line);
        }
        for line in before.into_values() {
            // One that is still declared goes on for requests that have begun.
            let grace = if self.lines.contains_key(&line.credential.name) { GRACE } else { Duration::ZERO };
            self.end(line.credential, line.got, Extent::Use, grace);
        }
    }

    fn say_everything(&mut self) -> Result<(), BrokerError> {
        let now = clock::unix();
        self.outbox.clear();
        for line in self.lines.values_mut() {
            self.outbox.extend(line.everything(now)?);
        }
        Ok(())
    }

    /// Looks at the store and the clock, and asks the sources of what is due.
    fn look(&mut self) -> Result<(), BrokerError> {
        let (now, steady) = (clock::unix(), clock::steady());
        for (name, line) in &mut self.lines {
            let stamp = self.sources.store.stamp(name);
            if stamp != line.stamp {
                line.stamp = stamp;
                line.wanted = true;
            }
            self.outbox.extend(line.expire(now)?);
            self.outbox.extend(line.age(now)?);
            if line.is_due(now, steady) {
                let ask =
                    Ask { anew: line.wanted, old: line.got.take(), credential: Arc::clone(&line.credential) };
                line.wanted = false;
                line.busy = true;
                self.asked += 1;
                ask.begin(self.sources.clone(), self.tell.clone(), Arc::clone(&self.woken))?;
            }
        }
        Ok(())
    }

    /// Has the sources told of what is to end by now.
    fn begin_endings(&mut self, by: Instant) -> Result<(), BrokerError> {
        for ending in self.endings.extract_if(.., |ending| ending.due <= by).collect::<Vec<_>>() {
            // A server may give one token for the same question asked twice: what another uses does not end.
            let shared =
                ending.extent == Extent::Use && self.lines.values().any(|line| line.uses(&ending.got));
            if shared {
                continue;
            }
            let id = self.next_ending;
            self.next_ending += 1;
            self.under_way.insert(id, (Arc::clone(&ending.credential), ending.got.source.clone()));
            let (sources, tell, wake) = (self.sources.clone(), self.tell.clone(), Arc::clone(&self.woken));
            start(move || {
                let said = sources.end(&ending.credential, &ending.got, ending.extent);
                hand_over(&tell, &wake, News::Ended(id, ending, said));
            })?;
        }
        Ok(())
    }

    /// Takes what a source said to an end. Where it may go better another time, it is told again.
    fn ended(&mut self, id: u64, ending: Ending, said: &[GivenBack]) -> Result<(), BrokerError> {
        self.under_way.remove(&id);
        if ending.tries < TRIES && said.iter().any(GivenBack::is_worth_another_try) {
            let wait = Duration::from_secs(1 << ending.tries);
            self.endings.push(Ending { due: clock::steady() + wait, tries: ending.tries + 1, ..ending });
            return Ok(());
        }
        self.report(&ending.credential, said)
    }

    fn report(&self, credential: &Credential, said: &[GivenBack]) -> Result<(), BrokerError> {
        for GivenBack { at, outcome } in said {
            let why_not = outcome.as_ref().err().map(described);
            let answer = Answer::given_back(credential, at, why_not.as_deref());
            control::answer(&self.control, &answer).map_err(BrokerError::Control)?;
        }
        Ok(())
    }

    /// Takes what a thread has found out.
    fn learn(&mut self, asked: Asked) -> Result<(), BrokerError> {
        self.asked -= 1;
        let extent = asked.extent();
        let Asked { credential, outcome, old, anew } = asked;
        let (now, steady) = (clock::unix(), clock::steady());
        let Some(line) = self.lines.get_mut(&credential.name).filter(|line| *line.credential == *credential)
        else {
            // The policy changed meanwhile, or the run ends: nobody wants it any more.
            let new = outcome.ok().and_then(Outcome::got);
            self.end(Arc::clone(&credential), new, Extent::Use, Duration::ZERO);
            self.end(credential, old, extent, Duration::ZERO);
            return Ok(());
        };
        line.busy = false;
        match (outcome, old) {
            (Ok(Outcome::New(got)), old) => {
                if let Particulars::Oauth2(_) = credential.particulars {
                    // A token that was written back to the store is no news from the operator; anything else is.
                    line.stamp = self.sources.store.stamp(&credential.name);
                    line.wanted |= self.sources.store.version(&credential.name) != got.stored;
                }
                self.outbox.extend(line.have(*got, now)?);
                self.end(credential, old.filter(|got| anew || got.is_leased()), Extent::Use, GRACE);
            }
            (Ok(Outcome::Longer), Some(old)) => self.outbox.extend(line.keep(old, now)?),
            (Ok(Outcome::Longer), None) => line.wanted = true,
            (Err(error), old) => {
                line.got = old;
                let before = line.got.take();
                let said = line.lack(&error, now, steady)?;
                let over = said.is_some();
                self.outbox.extend(said);
                match before {
                    Some(got) if over => self.end(credential, Some(got), extent, Duration::ZERO),
                    before => line.got = before,
                }
            }
        }
        Ok(())
    }

    /// Has a value ended at its source, after a while.
    fn end(&mut self, credential: Arc<Credential>, got: Option<Got>, extent: Extent, after: Duration) {
        let due = clock::steady() + after;
        self.endings.extend(got.map(|got| Ending { due, credential, got, extent, tries: 0 }));
    }

    /// Sends what the gate has room for. A gate that is gone will be replaced, and the next is told everything.
    fn send(&mut self) {
        while let Some(packet) = self.outbox.front() {
            match rustix::net::send(&self.gate, packet, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(_) => drop(self.outbox.pop_front()),
                Err(rustix::io::Errno::AGAIN) => return,
                Err(rustix::io::Errno::INTR) => {}
                Err(_gone) => {
                    self.outbox.clear();
                    return;
                }
            }
        }
    }

    /// Gives back what was made for this run alone, within a bounded time. A source that is slow is left to its time.
    fn farewell(mut self) -> Result<(), BrokerError> {
        let until = clock::steady() + FAREWELL;
        // The gate may serve on, by another policy: what was supplied to it is over.
        let _gone = rustix::net::shutdown(&self.gate, rustix::net::Shutdown::Both);
        // Nothing is due later than this.
        let all = until + GRACE;
        for line in std::mem::take(&mut self.lines).into_values() {
            self.end(line.credential, line.got, Extent::Use, Duration::ZERO);
        }
        self.begin_endings(all)?;
        while self.asked > 0 || !self.under_way.is_empty() {
            match self.news.recv_timeout(clock::left(until)) {
                Ok(News::Asked(asked)) => {
                    self.learn(asked)?;
                    self.begin_endings(all)?;
                }
                Ok(News::Ended(id, ending, said)) => {
                    self.under_way.remove(&id);
                    self.report(&ending.credential, &said)?;
                }
                Err(_late) => break,
            }
        }
        for (credential, at) in self.under_way.values() {
            let answer = Answer::given_back(credential, at, Some("it did not answer before the run's end"));
            control::answer(&self.control, &answer).map_err(BrokerError::Control)?;
        }
        Ok(())
    }
}

impl Asked {
    /// How much of the value before ends with this answer.
    fn extent(&self) -> Extent {
        let revoked = matches!(self.outcome, Err(FetchError::Store(StoreError::Revoked { .. })));
        if revoked { Extent::Right } else { Extent::Use }
    }
}

impl Outcome {
    fn got(self) -> Option<Got> {
        match self {
            Self::New(got) => Some(*got),
            Self::Longer => None,
        }
    }
}

/// A question to a source.
struct Ask {
    credential: Arc<Credential>,
    old: Option<Got>,
    /// Whether another value is wanted in any case.
    anew: bool,
}

impl Ask {
    fn begin(self, sources: Sources, tell: Sender<News>, wake: Arc<OwnedFd>) -> Result<(), BrokerError> {
        start(move || {
            let Self { credential, mut old, anew } = self;
            let outcome = match old.as_mut().filter(|_| !anew) {
                Some(old) => sources
                    .refresh(&credential, old)
                    .map(|got| got.map_or(Outcome::Longer, |got| Outcome::New(Box::new(got)))),
                None => sources.get(&credential).map(|got| Outcome::New(Box::new(got))),
            };
            hand_over(&tell, &wake, News::Asked(Asked { credential, outcome, old, anew }));
        })
    }
}

fn hand_over(tell: &Sender<News>, wake: &OwnedFd, news: News) {
    // A broker that has ended wants no news, and a full pipe has woken it already.
    let _gone = tell.send(news);
    let _awake = rustix::io::write(wake.as_fd(), b"!");
}

fn start(work: impl FnOnce() + Send + 'static) -> Result<(), BrokerError> {
    let started = thread::Builder::new().name("source".to_owned()).stack_size(STACK).spawn(work);
    started.map(|_detached| ()).map_err(BrokerError::Kernel)
}

/// TLS and JSON need some 100 KiB in a debug build; a small stack is little memory to lock.
const STACK: usize = 1 << 20;

#[cfg(test)]
mod tests;
