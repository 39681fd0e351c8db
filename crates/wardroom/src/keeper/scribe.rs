//! The keeper's scribe: started while the cell is built, ended after everything else, and started again if it fails.
//! While there is none, whoever wants to record waits.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use wardroom_kernel::message;
use wardroom_model::exit::Exit;
use wardroom_model::{AgentName, RuleRef};
use wardroom_policy::Retention;
use wardroom_scribe::control::{FromScribe, hear};
use wardroom_scribe::{Producer, RingSwitch, create_ring};

use super::processes::{self, Helper, Restarts};
use super::{roles, state};
use crate::clock::Deadline;
use crate::failure::{Failure, OrExit};
use crate::ledger_key::origin;
use crate::places::{AgentPlaces, Places};
use crate::screen;

/// How long a scribe has to open its ledger. Opening reads one segment's tail at most: 64 MiB from a slow disk.
const OPENING: Duration = Duration::from_secs(60);

/// The process that owns the ledger, with all that it takes to start another.
#[derive(Debug)]
pub(super) struct Scribe {
    helper: Helper,
    rings: Rings,
    ledger: PathBuf,
    keys: PathBuf,
    origin: String,
    retention: String,
    restarts: Restarts,
    given_up: bool,
}

/// The rings of the two producers of a session.
#[derive(Debug)]
pub(super) struct Rings {
    keeper: OwnedFd,
    gate: OwnedFd,
    switches: [RingSwitch; 2],
}

impl Rings {
    /// Makes the ring files. A full disk shows here, before anything of the agent's runs.
    pub(super) fn make(agent: &AgentPlaces) -> Result<Self, Failure> {
        let ring = |producer| {
            create_ring(&agent.rings, producer).context("cannot prepare the ledger").or_exit(Exit::Ledger)
        };
        let (keeper, gate) = (ring(Producer::Keeper)?, ring(Producer::Gate)?);
        let switch = |ring| RingSwitch::new(ring).or_exit(Exit::Ledger);
        let switches = [switch(&keeper)?, switch(&gate)?];
        Ok(Self { keeper, gate, switches })
    }

    /// The ring that the keeper and its guard write to.
    pub(super) fn keeper(&self) -> &OwnedFd {
        &self.keeper
    }

    /// The ring that the gate writes to.
    pub(super) fn gate(&self) -> BorrowedFd<'_> {
        self.gate.as_fd()
    }
}

impl Scribe {
    /// Starts it, without waiting for it.
    pub(super) fn start(
        places: &Places,
        agent: &AgentPlaces,
        name: &AgentName,
        retention: &Retention,
        rings: Rings,
    ) -> Result<Self, Failure> {
        let (ledger, keys) = (agent.ledger.clone(), places.keys());
        let origin = origin(agent, name);
        let retention = told(retention);
        let what = [origin.as_str(), &retention];
        let helper = spawn(&ledger, &keys, what, &rings).or_exit(Exit::Ledger)?;
        Ok(Self {
            helper,
            rings,
            ledger,
            keys,
            origin,
            retention,
            restarts: Restarts::default(),
            given_up: false,
        })
    }

    /// Waits until the ledger is open.
    pub(super) fn await_ready(&self) -> Result<(), Failure> {
        let deadline = Deadline::after(OPENING);
        loop {
            if !processes::wait_readable(self.control(), deadline).or_exit(Exit::Ledger)? {
                return Err(Failure::new(
                    Exit::Ledger,
                    format!("the ledger could not be opened within {} s", OPENING.as_secs()),
                ));
            }
            match hear::<FromScribe>(self.control()).or_exit(Exit::Ledger)? {
                Some(FromScribe::Ready { .. }) => return Ok(()),
                Some(FromScribe::Relieved | FromScribe::Finished { .. } | FromScribe::Pong) => {}
                Some(FromScribe::Trouble(what) | FromScribe::Lost(what)) => {
                    return Err(Failure::new(Exit::Ledger, what));
                }
                None => {
                    return Err(Failure::new(
                        Exit::Ledger,
                        "the ledger could not be opened (its scribe says why above)",
                    ));
                }
            }
        }
    }

    /// Where it is heard.
    pub(super) fn control(&self) -> BorrowedFd<'_> {
        self.helper.control()
    }

    /// The rings, for the gate's start.
    pub(super) fn rings(&self) -> &Rings {
        &self.rings
    }

    /// Starts another in its place. Says how the old one ended, or that it is given up: then nothing is recorded any
    /// more, and so nothing audited happens any more.
    pub(super) fn replace(&mut self) -> anyhow::Result<String> {
        self.rings.switches.iter().for_each(RingSwitch::hold);
        // First the old one, which may be frozen and still hold the ledger's lock.
        let before = self.helper.bury();
        match self.start_again() {
            Ok(()) => {
                self.rings.switches.iter().for_each(RingSwitch::open);
                Ok(before)
            }
            Err(error) => {
                self.give_up();
                Err(error)
            }
        }
    }

    /// Starts others until one has opened the ledger, or too many have failed.
    fn start_again(&mut self) -> anyhow::Result<()> {
        loop {
            self.restarts.another()?;
            let what = [self.origin.as_str(), &self.retention];
            self.helper = spawn(&self.ledger, &self.keys, what, &self.rings)?;
            match self.await_ready() {
                Ok(()) => return Ok(()),
                Err(failure) => screen::talk(&format!(
                    "wardroom: another scribe failed at once ({}): {failure}",
                    self.helper.bury()
                )),
            }
        }
    }

    /// Refuses every further record.
    pub(super) fn give_up(&mut self) {
        self.given_up = true;
        self.rings.switches.iter().for_each(RingSwitch::close);
    }

    /// Whether nothing is to be heard of it any more.
    pub(super) fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// Whether the gate may be waiting for the ledger: what it handed over last is not taken yet.
    pub(super) fn gate_waits(&self) -> bool {
        let [_, gate] = &self.rings.switches;
        gate.pending() > 0
    }

    /// Ends it at once. The end of its socket follows.
    pub(super) fn kill(&mut self) -> std::io::Result<()> {
        self.helper.kill()
    }

    /// Asks it to drain the rings, sign and end, without waiting.
    pub(super) fn dismiss(&self) {
        self.helper.dismiss();
    }

    /// Has it drain the rings, sign and end.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        self.helper.finish().context("the scribe did not end well")
    }
}

/// A retention as an argument: `forever`, or seconds, line and file.
fn told(retention: &Retention) -> String {
    match retention {
        Retention::Forever => "forever".to_owned(),
        Retention::Longest { seconds, rule } => format!("{seconds} {} {}", rule.line, rule.file),
    }
}

/// The reverse of [`told`], as the scribe understands it. What cannot be read keeps nothing from being refused.
pub(super) fn understood(text: &str) -> anyhow::Result<wardroom_scribe::Retention> {
    if text == "forever" {
        return Ok(wardroom_scribe::Retention::default());
    }
    let mut words = text.splitn(3, ' ');
    let (Some(seconds), Some(line), Some(file)) = (words.next(), words.next(), words.next()) else {
        anyhow::bail!("{text:?} is no retention");
    };
    Ok(wardroom_scribe::Retention {
        most_bytes: None,
        longest: Some(seconds.parse::<u64>()?.saturating_mul(NANOS)),
        rule: Some(RuleRef { file: file.to_owned(), line: line.parse()? }),
    })
}

/// Nanoseconds of a second.
const NANOS: u64 = 1_000_000_000;

fn spawn(
    ledger: &std::path::Path,
    keys: &std::path::Path,
    [origin, retention]: [&str; 2],
    rings: &Rings,
) -> anyhow::Result<Helper> {
    let (ours, theirs) = message::pair()?;
    let text =
        |path: &std::path::Path| path.to_str().map(str::to_owned).context("the ledger's path is not UTF-8");
    let (ledger, keys) = (text(ledger)?, text(keys)?);
    let descriptors = [theirs.as_fd(), rings.keeper.as_fd(), rings.gate.as_fd()];
    let child =
        roles::start("scribe", &[&ledger, &keys, origin, retention], &descriptors, state::scribe_id())?;
    Ok(Helper::new(child, ours))
}
