//! The operator's calls to a running agent's keeper.

use crate::failure::let_go;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{SocketFlags, accept_with};
use rustix::process::{Signal, geteuid};
use rustix::termios::Winsize;
use wardroom_cell::{Spawn, SpawnId};
use wardroom_kernel::terminal::Pair;
use wardroom_ledger::words::in_one_line;
use wardroom_model::Event;
use wardroom_model::bytes::Captured;
use wardroom_model::event::Operator;
use wardroom_model::plan::CellPlan;

use super::protocol::{Answer, Line, Request};
use super::start::{self, Crew};
use super::streams::environment;
use crate::clock::{self, Deadline};
use crate::places::AgentPlaces;
use crate::screen;

/// The most calls at once; an operator has a few terminals open.
const MOST: usize = 64;
/// How long a caller may hold the keeper up, once it has begun to say something or is to hear an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long nobody is heard after a call could not be taken for want of descriptors or memory.
const DEAF: Duration = Duration::from_secs(1);

/// Everybody who is calling.
#[derive(Debug)]
pub(super) struct Operators {
    listener: OwnedFd,
    deaf: Option<Deadline>,
    calls: BTreeMap<u64, Call>,
    next: u64,
    since: u64,
    command: String,
}

/// One caller: asking, waiting for a command's end, or waiting for the cell's.
#[derive(Debug)]
struct Call {
    line: Line,
    uid: u32,
    waits_for: Option<SpawnId>,
}

impl Operators {
    /// Listens where the operator's commands call.
    pub(super) fn listen(agent: &AgentPlaces, plan: &CellPlan) -> anyhow::Result<Self> {
        let at = &agent.control;
        let listener = Line::answer_at(at).with_context(|| format!("cannot listen at {}", at.display()))?;
        let command = Captured::path(&in_one_line(&plan.command)).to_string();
        let since = u64::try_from(clock::now().as_nanosecond())?;
        Ok(Self { listener, deaf: None, calls: BTreeMap::new(), next: 0, since, command })
    }

    /// Readable when somebody calls; none for a moment after a call could not be taken, which would be heard of without end.
    pub(super) fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.deaf().is_none().then(|| self.listener.as_fd())
    }

    /// Until when nobody is heard.
    pub(super) fn deaf(&self) -> Option<Deadline> {
        self.deaf.filter(|until| until.left().is_some())
    }

    /// The lines on which something may be said.
    pub(super) fn conversations(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>)> {
        self.calls.iter().map(|(id, call)| (*id, call.line.as_fd()))
    }

    /// Takes a call, if it is the operator's.
    pub(super) fn accept(&mut self) {
        match self.take() {
            Ok(call) => {
                self.calls.insert(self.next, call);
                self.next += 1;
            }
            Err(error) => {
                screen::talk(&format!("wardroom: a call was not taken: {error:#}"));
                // Then it still waits. Who is not the operator does not, and must not make us deaf.
                let scarce = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
                if error.downcast_ref().is_some_and(|errno| scarce.contains(errno)) {
                    self.deaf = Some(Deadline::after(DEAF));
                }
            }
        }
    }

    fn take(&self) -> anyhow::Result<Call> {
        let socket = accept_with(&self.listener, SocketFlags::CLOEXEC)?;
        let caller = socket_peercred(&socket)?;
        if caller.uid != geteuid() && !caller.uid.is_root() {
            bail!("user {} is not this agent's operator", caller.uid.as_raw());
        }
        if self.calls.len() >= MOST {
            bail!("too many calls at once");
        }
        let line = Line::accepted(socket);
        line.for_at_most(PATIENCE)?;
        Ok(Call { line, uid: caller.uid.as_raw(), waits_for: None })
    }

    /// Hears a caller out. True when the cell is to be ended.
    pub(super) fn converse(&mut self, id: u64, crew: &mut Crew, plan: &CellPlan) -> bool {
        let Some(call) = self.calls.get_mut(&id) else { return false };
        let heard = call.line.hear::<Request>();
        let answered = match heard {
            Ok(Some((Request::Status, _))) => {
                let running = Answer::Running {
                    keeper: std::process::id(),
                    since: self.since,
                    command: self.command.clone(),
                };
                call.line.say(&running, &[]).map_err(Into::into)
            }
            Ok(Some((Request::Stop, _))) => {
                let recorded = record(crew, call.uid, b"stop");
                if recorded.is_ok() {
                    return true;
                }
                recorded
            }
            Ok(Some((Request::Record { action }, _))) => record(crew, call.uid, action.as_bytes())
                .and_then(|()| Ok(call.line.say(&Answer::Recorded, &[])?))
                .or_else(|error| Ok(call.line.say(&Answer::Refused { why: format!("{error:#}") }, &[])?)),
            Ok(Some((Request::Exec { command, terminal, term, size }, streams))) => {
                let argv = command.into_iter().map(Into::into).collect();
                let size =
                    size.map(|(ws_row, ws_col)| Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 });
                let asked = Asked { argv, terminal, term, size, streams };
                exec(call, asked, crew, plan).or_else(|error| {
                    Ok(call.line.say(&Answer::Refused { why: format!("{error:#}") }, &[])?)
                })
            }
            Ok(None) | Err(_) => {
                self.hang_up(id, crew);
                return false;
            }
        };
        if let Err(error) = answered {
            screen::talk(&format!("wardroom: a caller could not be answered: {error:#}"));
            self.hang_up(id, crew);
        }
        false
    }

    /// A caller is gone; what it started is told, as by a terminal that hangs up.
    fn hang_up(&mut self, id: u64, crew: &Crew) {
        let started = self.calls.remove(&id).and_then(|call| call.waits_for);
        if let Some(id) = started {
            // A cell that is gone needs no signal.
            let_go(crew.cell.signal(id, Signal::HUP));
        }
    }

    /// A command ended: whoever waits for it hears its status.
    pub(super) fn ended(&mut self, id: SpawnId, status: u32) {
        self.answer(id, &Answer::Ended { status });
    }

    /// A command could not be started: its caller hears why. Its end follows.
    pub(super) fn not_started(&self, id: SpawnId, why: &str) {
        for call in self.calls.values().filter(|call| call.waits_for == Some(id)) {
            // The command's end is said as well; a caller that is gone shows as such there.
            let_go(call.line.say(&Answer::NotStarted { why: why.to_owned() }, &[]));
        }
    }

    fn answer(&mut self, id: SpawnId, answer: &Answer) {
        self.calls.retain(|_, call| {
            let meant = call.waits_for == Some(id);
            // Whether or not the caller still listens, the call is over.
            if meant {
                let_go(call.line.say(answer, &[]));
            }
            !meant
        });
    }

    /// The cell is gone: every caller hears it by the end of its line, and who waits for a command, that it was killed.
    pub(super) fn farewell(self) {
        for call in self.calls.values() {
            if call.waits_for.is_some() && call.line.say(&Answer::Ended { status: KILLED }, &[]).is_err() {}
        }
    }
}

/// The status of a command that was killed with its cell: 128 and the number of SIGKILL.
const KILLED: u32 = 137;

/// A command to run inside.
struct Asked {
    argv: Vec<Vec<u8>>,
    terminal: bool,
    term: Option<String>,
    size: Option<Winsize>,
    streams: Vec<OwnedFd>,
}

fn exec(call: &mut Call, asked: Asked, crew: &mut Crew, plan: &CellPlan) -> anyhow::Result<()> {
    let Asked { argv, terminal, term, size, streams } = asked;
    let shown = in_one_line(std::iter::once(&b"exec".to_vec()).chain(&argv));
    record(crew, call.uid, &shown)?;
    let (stdio, terminal) = if terminal {
        let pair = open_terminal(call, crew, size)?;
        ([pair.inside.try_clone()?, pair.inside.try_clone()?, pair.inside], true)
    } else {
        let given = streams.try_into().ok().context("stdin, stdout and stderr must come with the request")?;
        without_terminals(given, size, call, crew)?
    };
    let env = environment(
        plan,
        term.as_deref().filter(|term| term.len() < 64 && term.bytes().all(|b| b.is_ascii_graphic())),
    );
    let id = crew.cell.spawn(Spawn { argv, env, directory: plan.directory.clone(), stdio, terminal })?;
    call.waits_for = Some(id);
    Ok(())
}

/// The streams, with a terminal of the cell's own in place of the operator's: who holds that one could read what the
/// operator types next, and change how it shows. And whether standard input is one.
fn without_terminals(
    given: [OwnedFd; 3],
    size: Option<Winsize>,
    call: &Call,
    crew: &Crew,
) -> anyhow::Result<([OwnedFd; 3], bool)> {
    let [input, output, error] = given.each_ref().map(|stream| stream.is_terminal());
    if !(input || output || error) {
        return Ok((given, false));
    }
    let pair = open_terminal(call, crew, size)?;
    let [stdin, stdout, stderr] = given;
    let inside =
        |own: OwnedFd, is: bool| if is { pair.inside.try_clone() } else { Ok::<_, std::io::Error>(own) };
    Ok(([inside(stdin, input)?, inside(stdout, output)?, inside(stderr, error)?], input))
}

/// A terminal of the cell's own, its outer end the caller's.
fn open_terminal(call: &Call, crew: &Crew, size: Option<Winsize>) -> anyhow::Result<Pair> {
    let pair = crew.cell.open_terminal(size)?;
    call.line.say(&Answer::Terminal, &[pair.outside.as_fd()])?;
    Ok(pair)
}

/// Whatever an operator does with an agent is on its record first.
fn record(crew: &Crew, uid: u32, action: &[u8]) -> anyhow::Result<()> {
    let action = Captured::cut(action, 16 * 1024);
    start::record(&crew.handoff, &Event::Operator(Operator { uid, action }))
}
