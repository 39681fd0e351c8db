//! The process that runs the operator's commands for a broker. A broker is confined and can start nothing; this process is
//! not, and takes nothing from it but the name of a credential: what is run stands in the policy, which the keeper gives
//! it, and never in what the broker says.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;
use std::time::Duration;

use minicbor::{Decode, Encode};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use wardroom_kernel::message;
use wardroom_model::Secret;
use wardroom_policy::{Credential, Policy, SecretCommand, SecretSource};
use zeroize::{Zeroize, Zeroizing};

use crate::control::{self, Answer as Alive, Heard};
use crate::fetch::{FetchError, Programs};
use crate::run::run;
use crate::serve::{BrokerError, parse};

/// An answer: a secret of the greatest length, and its frame.
const LONGEST: usize = 64 * 1024 + 64;
/// How much longer than the command an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Encode, Decode)]
enum Said {
    #[n(0)]
    Printed {
        #[n(0)]
        what: minicbor::bytes::ByteVec,
    },
    #[n(1)]
    Failed {
        #[n(0)]
        why: String,
    },
}

/// Runs programs where the caller is, for the operator's own commands.
#[derive(Debug)]
pub struct Here;

impl Programs for Here {
    fn run(&self, _: &Credential, command: &SecretCommand) -> Result<Secret, FetchError> {
        printed(command)
    }
}

/// Asks the process that runs programs.
#[derive(Debug)]
pub(crate) struct There(Mutex<OwnedFd>);

impl There {
    pub(crate) fn new(line: OwnedFd) -> Self {
        Self(Mutex::new(line))
    }
}

impl Programs for There {
    fn run(&self, credential: &Credential, command: &SecretCommand) -> Result<Secret, FetchError> {
        let gone = |what: &dyn std::fmt::Display| FetchError::Ran(format!("no command can be run: {what}"));
        // One that panicked while it asked has left an answer behind: nobody can tell whose.
        let line = self.0.lock().map_err(|_poisoned| gone(&"an earlier one went wrong"))?;
        let limit = Duration::from_secs(command.timeout) + PATIENCE;
        set_socket_timeout(&*line, Timeout::Recv, Some(limit)).map_err(|e| gone(&e))?;
        message::send(&*line, credential.name.as_bytes(), &[]).map_err(|e| gone(&e))?;
        let mut bytes = Zeroizing::new(vec![0; LONGEST]);
        let heard = message::receive(&*line, &mut bytes).map_err(|e| gone(&e))?;
        let (length, _) = heard.ok_or_else(|| gone(&"its process is gone"))?;
        match minicbor::decode(bytes.get(..length).unwrap_or_default()).map_err(|e| gone(&e))? {
            Said::Printed { what } => Ok(Secret::new(what.into())),
            Said::Failed { why } => Err(FetchError::Ran(why)),
        }
    }
}

/// Runs programs for a broker until the keeper or the broker is gone.
///
/// # Errors
/// When a socket fails.
pub fn serve(control: &OwnedFd, broker: &OwnedFd, file: &str, text: &str) -> Result<(), BrokerError> {
    let mut policy = parse(file, text)?;
    control::answer(control, &Alive::Ready { locked: false }).map_err(BrokerError::Control)?;
    loop {
        let mut set = [control, broker].map(|fd| PollFd::new(fd, PollFlags::IN));
        match poll(&mut set, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(BrokerError::Control(error.into())),
        }
        let [told, asked] = set.map(|entry| !entry.revents().is_empty());
        if told {
            match control::hear(control).map_err(BrokerError::Control)? {
                None => return Ok(()),
                Some(Heard::Ping) => control::answer(control, &Alive::Pong).map_err(BrokerError::Control)?,
                Some(Heard::Policy(text)) => policy = parse(file, &crate::serve::text(text)?)?,
                Some(Heard::Gate(_) | Heard::Identity(_)) => {}
            }
        }
        if asked && !answer(broker, &policy).map_err(BrokerError::Control)? {
            return Ok(());
        }
    }
}

/// Runs what is asked for. False when the broker is gone.
fn answer(broker: impl AsFd, policy: &Policy) -> io::Result<bool> {
    let mut name = [0; 128];
    let Some((length, _)) = message::receive(&broker, &mut name)? else { return Ok(false) };
    let name = name.get(..length).unwrap_or_default();
    let mut said = match command(policy, name).map(printed) {
        Some(Ok(printed)) => Said::Printed { what: printed.expose().to_vec().into() },
        Some(Err(error)) => Said::Failed { why: crate::line::described(&error) },
        None => Said::Failed { why: "the policy names no command for this credential".to_owned() },
    };
    let mut bytes = Zeroizing::new(vec![0; LONGEST]);
    let mut cursor = minicbor::encode::write::Cursor::new(&mut bytes[..]);
    let encoded = minicbor::encode(&said, &mut cursor).map(|()| cursor.position());
    if let Said::Printed { what } = &mut said {
        what.zeroize();
    }
    let length = encoded.map_err(io::Error::other)?;
    message::send(&broker, bytes.get(..length).unwrap_or_default(), &[])?;
    Ok(true)
}

fn command<'p>(policy: &'p Policy, name: &[u8]) -> Option<&'p SecretCommand> {
    let credential = policy.credentials().iter().find(|credential| credential.name.as_bytes() == name)?;
    match &credential.source {
        SecretSource::Command(command) => Some(command),
        SecretSource::Store | SecretSource::Vault(_) => None,
    }
}

fn printed(command: &SecretCommand) -> Result<Secret, FetchError> {
    Ok(run(&command.argv, b"", Duration::from_secs(command.timeout))?)
}
