//! The keeper's broker: it gets the values of an agent's credentials and hands them to the gate. Where the policy declares
//! none there is no broker. While there is none, or the store is locked, every credential is without a value.
//!
//! The store's key comes into this process only once the cell stands, which is a copy of it; it goes to the broker over
//! its socket, and is neither an argument nor in an environment.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, setrlimit};
use wardroom_broker::control::{self, Answer};
use wardroom_broker::{Custody, CustodyError, Keep};
use wardroom_gate::control as gate;
use wardroom_kernel::{memory_file, message};
use wardroom_model::credential::{CredentialAct, CredentialNote};
use wardroom_model::exit::Exit;
use wardroom_model::plan::Identity;
use wardroom_model::{Event, Secret};
use wardroom_policy::{Credential, Particulars, SecretSource};

use super::gate::Gate;
use super::processes::{self, Helper, Restarts};
use super::{roles, state};
use crate::clock::Deadline;
use crate::commands::policy::Source;
use crate::commands::secret_input;
use crate::failure::{Failure, OrExit, let_go};
use crate::places::{AgentPlaces, Places};
use crate::screen;

/// How long the first values are waited for before the agent's command starts: the time of one question to a server.
const FIRST_VALUES: Duration = Duration::from_secs(16);
/// How often an operator may mistype a passphrase.
const ATTEMPTS: usize = 3;

/// Who is asked for a passphrase.
#[derive(Debug)]
pub(crate) enum Passphrase {
    /// Nobody.
    Never,
    /// The operator, on the terminal.
    Terminal,
    /// A descriptor.
    From(OwnedFd),
}

/// The broker's processes, with all that it takes to start others.
#[derive(Debug)]
pub(super) struct Broker {
    running: Option<Running>,
    /// Brokers before, which give back what they had.
    leaving: Vec<Helper>,
    parts: Parts,
    file: String,
    text: String,
    shape: Shape,
    /// The store's key, where it could not be had again without asking.
    kept: Option<Secret>,
    locked: bool,
    restarts: Restarts,
    /// What is to be put on record of what it said.
    notes: Vec<Event>,
}

/// What a broker is started with, besides its policy.
#[derive(Debug)]
pub(super) struct Parts {
    keep: Keep,
    store: PathBuf,
    id: Option<u32>,
}

impl Parts {
    /// Those of an agent.
    pub(super) fn of(places: &Places, agent: &AgentPlaces, identity: Identity) -> Self {
        let (keep, store) = (Keep::at(&places.custody()), agent.credentials.clone());
        Self { keep, store, id: state::broker_id(identity) }
    }
}

#[derive(Debug)]
struct Running {
    broker: Helper,
    programs: Option<Helper>,
}

/// What of a policy a running broker cannot follow, because its confinement depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shape {
    needs: BTreeSet<Need>,
    authorities: Vec<String>,
}

/// What credentials need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// A broker at all.
    Broker,
    /// The store's key.
    Key,
    /// A process that runs commands.
    Programs,
    /// Leave to write to the store.
    Writing,
}

impl Broker {
    /// Starts it, if the policy has credentials, and waits for the first values. The store's passphrase is asked for where
    /// it is needed and somebody is there.
    pub(super) fn start(
        parts: Parts,
        source: &Source,
        passphrase: Passphrase,
        gate: &Gate,
    ) -> Result<Self, Failure> {
        let mut broker = Self {
            running: None,
            leaving: Vec::new(),
            parts,
            file: source.shown(),
            text: source.text.clone(),
            shape: Shape::of(source.policy.credentials()),
            kept: None,
            locked: false,
            restarts: Restarts::default(),
            notes: Vec::new(),
        };
        if broker.shape.needs(Need::Broker) {
            let identity = broker.unlock(passphrase)?;
            broker.spawn(identity.as_ref(), gate).or_exit(Exit::Supervision)?;
            broker.await_settled().or_exit(Exit::Supervision)?;
        }
        Ok(broker)
    }

    /// Where it is heard; and where the end of its programs is.
    pub(super) fn controls(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let running = self.running.iter();
        let running = running.flat_map(|running| {
            let programs = running.programs.as_ref().map(Helper::control);
            std::iter::once(running.broker.control()).chain(programs)
        });
        running.chain(self.leaving.iter().map(Helper::control))
    }

    /// The store's key; none where it cannot be had and nobody can be asked, which is said.
    fn unlock(&mut self, passphrase: Passphrase) -> Result<Option<Secret>, Failure> {
        if !self.shape.needs(Need::Key) {
            return Ok(None);
        }
        let asked = match (self.parts.keep.unlocked(), passphrase) {
            (Err(CustodyError::Locked), Passphrase::Terminal) => self.ask_for_it(),
            (Err(CustodyError::Locked), Passphrase::From(given)) => {
                self.parts.keep.unlock(&mut || secret_input::from_descriptor(&given))
            }
            (Err(CustodyError::Locked), Passphrase::Never) if self.is_asked_each_time() => {
                Err(CustodyError::NobodyToAsk)
            }
            (found, _) => found,
        };
        match asked {
            Ok(identity) => {
                self.locked = false;
                if self.is_asked_each_time() {
                    // From here on this process holds a secret: nothing of it is to be left in a core.
                    let none = Rlimit { current: Some(0), maximum: Some(0) };
                    setrlimit(Resource::Core, none).or_exit(Exit::Internal)?;
                    self.kept = Some(identity.duplicate());
                }
                Ok(Some(identity))
            }
            Err(error @ CustodyError::WrongPassphrase) => Err(Failure::new(Exit::Credentials, error)),
            Err(error) => {
                self.locked = true;
                screen::talk(&format!("wardroom: credentials have no values: {error}"));
                Ok(None)
            }
        }
    }

    fn is_asked_each_time(&self) -> bool {
        self.parts.keep.setup().is_ok_and(|setup| setup.custody == Custody::Passphrase)
    }

    fn ask_for_it(&self) -> Result<Secret, CustodyError> {
        let mut asked =
            self.parts.keep.unlock(&mut || secret_input::passphrase("Passphrase of the credential store: "));
        for _ in 1..ATTEMPTS {
            match &asked {
                Err(CustodyError::WrongPassphrase) => {}
                _ => break,
            }
            asked = self.parts.keep.unlock(&mut || secret_input::passphrase("That is not it. Passphrase: "));
        }
        asked
    }

    /// Starts the processes, without waiting for them.
    fn spawn(&mut self, identity: Option<&Secret>, gate: &Gate) -> anyhow::Result<()> {
        let text = memory_file::make("policy", self.text.as_bytes())?;
        let (programs, asks) = match self.shape.needs(Need::Programs) {
            true => {
                let (asks, asked) = message::pair()?;
                let (ours, theirs) = processes::channel()?;
                let given = [theirs.as_fd(), asked.as_fd(), text.as_fd()];
                (Some(Helper::new(roles::start("programs", &[&self.file], &given, None)?, ours)), Some(asks))
            }
            false => (None, None),
        };
        let (ours, theirs) = processes::channel()?;
        let store = self.parts.store.to_str().context("the store's path is not UTF-8")?;
        let (to_gate, from_broker) = message::pair()?;
        let mut given = vec![theirs.as_fd(), from_broker.as_fd(), text.as_fd()];
        given.extend(asks.as_ref().map(AsFd::as_fd));
        let child = roles::start("broker", &[store, &self.file], &given, self.parts.id)?;
        let broker = Helper::new(child, ours);
        if let Some(identity) = identity {
            control::send_identity(broker.control(), identity)?;
        }
        // One that is gone is given another by `supply`, once it has been replaced.
        let_go(gate::send_supplier(gate.control(), to_gate.as_fd()));
        self.running = Some(Running { broker, programs });
        Ok(())
    }

    fn await_settled(&mut self) -> anyhow::Result<()> {
        let deadline = Deadline::after(FIRST_VALUES);
        let Some(running) = &self.running else { return Ok(()) };
        while processes::wait_readable(running.broker.control(), deadline)? {
            match control::receive(running.broker.control())? {
                Some(Answer::Settled) => return Ok(()),
                Some(answer) => self.notes.extend(heard(answer)),
                None => bail!("the broker did not start (it says why above)"),
            }
        }
        screen::talk("wardroom: some credentials have no value yet; the agent starts without them");
        Ok(())
    }

    /// Hears what one of the processes says. False when one has ended.
    pub(super) fn hear(&mut self) -> bool {
        let notes = &mut self.notes;
        self.leaving.retain_mut(|helper| {
            let alive = hear(helper, notes);
            if !alive {
                helper.bury();
            }
            alive
        });
        let Some(Running { broker, programs }) = &self.running else { return true };
        std::iter::once(broker).chain(programs).all(|helper| hear(helper, notes))
    }

    /// Starts others in their place, and says how the old ones ended. Until then no credential has a value.
    pub(super) fn replace(&mut self, gate: &Gate) -> anyhow::Result<String> {
        let before = self.bury();
        self.restarts.another()?;
        let identity = self.identity_again();
        self.spawn(identity.as_ref(), gate)?;
        Ok(before)
    }

    /// Ends what runs, and says how. The gate notices by the end of its channel. A broker that has only lost its programs gives back
    /// what it had.
    fn bury(&mut self) -> String {
        let Some(Running { mut broker, programs }) = self.running.take() else { return String::new() };
        if !hear(&broker, &mut self.notes) {
            put_away(programs);
            return broker.bury();
        }
        let before = put_away(programs);
        self.dismiss(broker);
        format!("its process for commands: {before}")
    }

    /// Has a broker give back what it had, beside its successor. The gate hears the successor alone, once there is one.
    fn dismiss(&mut self, broker: Helper) {
        broker.dismiss();
        self.leaving.push(broker);
    }

    fn identity_again(&mut self) -> Option<Secret> {
        if !self.shape.needs(Need::Key) {
            return None;
        }
        let identity =
            self.kept.as_ref().map_or_else(|| self.parts.keep.unlocked().ok(), |kept| Some(kept.duplicate()));
        self.locked = identity.is_none();
        identity
    }

    /// Looks whether the operator has unlocked the store meanwhile.
    pub(super) fn look_for_key(&mut self) {
        if !self.locked || self.running.is_none() {
            return;
        }
        if let (Some(identity), Some(running)) = (self.identity_again(), &self.running) {
            screen::talk("wardroom: the credential store is unlocked");
            // One that is gone will be replaced, and given the key then.
            let_go(control::send_identity(running.broker.control(), &identity));
        }
    }

    /// Supplies a new gate, which knows nothing yet.
    pub(super) fn supply(&self, gate: &Gate) -> anyhow::Result<()> {
        let Some(running) = &self.running else { return Ok(()) };
        let (to_gate, from_broker) = message::pair()?;
        gate::send_supplier(gate.control(), to_gate.as_fd())?;
        // One that is gone will be replaced, and supplies this gate then.
        let_go(control::send_gate(running.broker.control(), from_broker.as_fd()));
        Ok(())
    }

    /// Brings a policy into force.
    pub(super) fn enforce(&mut self, source: &Source, gate: &Gate) -> anyhow::Result<()> {
        let shape = Shape::of(source.policy.credentials());
        self.text.clone_from(&source.text);
        if shape != self.shape {
            self.shape = shape;
            if let Some(Running { broker, programs }) = self.running.take() {
                put_away(programs);
                self.dismiss(broker);
            }
            if self.shape.needs(Need::Broker) {
                let identity = self.identity_again();
                self.spawn(identity.as_ref(), gate)?;
            }
            return Ok(());
        }
        let Some(running) = &self.running else { return Ok(()) };
        let text = memory_file::make("policy", self.text.as_bytes())?;
        for helper in running.programs.iter().chain([&running.broker]) {
            // One that does not take it ends, and its successor begins with it.
            let_go(control::send_policy(helper.control(), text.as_fd()));
        }
        Ok(())
    }

    /// Asks whether it lives.
    pub(super) fn ping(&self) -> std::io::Result<()> {
        self.running.as_ref().map_or(Ok(()), |running| control::send_ping(running.broker.control()))
    }

    /// Whether there is one.
    pub(super) fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// Ends it at once. The end of its socket follows.
    pub(super) fn kill(&mut self) -> std::io::Result<()> {
        self.running.as_mut().map_or(Ok(()), |running| running.broker.kill())
    }

    /// What is to be put on record since this was asked last.
    pub(super) fn notes(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.notes)
    }

    /// Has it give back what it has for this run, and end. What is then to be put on record goes into `notes`.
    pub(super) fn finish(mut self, notes: &mut Vec<Event>) -> anyhow::Result<()> {
        notes.append(&mut self.notes);
        let (broker, programs) =
            self.running.map_or((None, None), |running| (Some(running.broker), running.programs));
        for broker in self.leaving.into_iter().chain(broker) {
            // What it says at its end waits in the socket.
            let control = broker.control().try_clone_to_owned()?;
            let ended = broker.finish().context("the broker did not end well");
            while let Some(answer) = control::receive(&control)? {
                notes.extend(heard(answer));
            }
            ended?;
        }
        if let Some(programs) = programs {
            programs.finish().context("the process for commands did not end well")?;
        }
        Ok(())
    }
}

impl Shape {
    fn of(credentials: &[Credential]) -> Self {
        let mut shape = Self { needs: BTreeSet::new(), authorities: Vec::new() };
        for credential in credentials {
            shape.needs.insert(Need::Broker);
            match &credential.source {
                SecretSource::Store => {
                    shape.needs.insert(Need::Key);
                }
                SecretSource::Command(_) => {
                    shape.needs.insert(Need::Programs);
                }
                SecretSource::Vault(vault) => {
                    shape.needs.insert(Need::Key);
                    shape.authorities.extend(vault.ca.clone());
                }
            }
            if let Particulars::Oauth2(_) = credential.particulars {
                shape.needs.insert(Need::Writing);
            }
        }
        shape
    }

    fn needs(&self, need: Need) -> bool {
        self.needs.contains(&need)
    }
}

/// Hears what a process says, if it says something. False when it has ended.
fn hear(helper: &Helper, notes: &mut Vec<Event>) -> bool {
    if !processes::is_readable(helper.control()).unwrap_or(true) {
        return true;
    }
    match control::receive(helper.control()) {
        Ok(Some(answer)) => {
            notes.extend(heard(answer));
            true
        }
        Ok(None) | Err(_) => false,
    }
}

/// What an answer means to the operator, said, and what of it belongs on record.
fn heard(answer: Answer) -> Option<Event> {
    let swaps = || std::fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1);
    match answer {
        Answer::Ready { locked: false } if swaps() => {
            screen::talk(
                "wardroom: this machine swaps, and the limit of locked memory (ulimit -l) is too low for the broker: values of credentials may reach the swap",
            );
            None
        }
        Answer::Ready { .. } | Answer::Pong | Answer::Settled => None,
        Answer::GivenBack { name, host, at, why_not } => {
            let act = match why_not {
                None => CredentialAct::GivenBack { at },
                Some(why) => {
                    screen::talk(&format!(
                        "wardroom: {name} was not given back, and is valid at {at} until its time: {why}"
                    ));
                    CredentialAct::NotGivenBack { at, why }
                }
            };
            Some(Event::Credential(CredentialNote {
                name,
                host: Some(host),
                actor: None,
                act,
                verdict: None,
            }))
        }
    }
}

/// Ends the process for programs, which serves one broker alone, and says how it ended. One that is gone needs no killing.
fn put_away(programs: Option<Helper>) -> String {
    let Some(mut programs) = programs else { return String::new() };
    let_go(programs.kill());
    programs.bury()
}
