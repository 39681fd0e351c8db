//! What a keeper and its broker say to each other: one packet each, over a pair of sockets.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use minicbor::{Decode, Encode};
use wardroom_kernel::message;
use wardroom_model::{HostName, Secret};
use wardroom_policy::Credential;
use zeroize::Zeroizing;

/// The longest packet: two texts of [`MOST_CHARS`] and two names. A policy's text goes as a descriptor.
const LONGEST: usize = 4096;
/// The characters of a text that are kept, of up to four bytes each: an address and a reason have some hundred.
const MOST_CHARS: usize = 400;

/// From the keeper. What comes with it is a descriptor beside it.
#[derive(Debug, Encode, Decode)]
enum Said {
    #[n(0)]
    Ping,
    /// The text comes as a file in memory.
    #[n(1)]
    Policy,
    /// The connection comes with it.
    #[n(2)]
    Gate,
    #[n(3)]
    Identity {
        #[n(0)]
        identity: minicbor::bytes::ByteVec,
    },
}

/// What a broker hears.
#[derive(Debug)]
pub enum Heard {
    /// Whether it lives.
    Ping,
    /// The policy from now on: its text.
    Policy(OwnedFd),
    /// There is a new gate, which knows nothing yet: the connection to it.
    Gate(OwnedFd),
    /// The store's key.
    Identity(Secret),
}

/// What a broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Answer {
    /// It is confined, and begins.
    #[n(0)]
    Ready {
        /// Whether its memory is kept out of the swap.
        #[n(0)]
        locked: bool,
    },
    /// It lives.
    #[n(1)]
    Pong,
    /// Every source has been asked once.
    #[n(2)]
    Settled,
    /// What a source said when it was to end a value.
    #[n(3)]
    GivenBack {
        /// The credential, by its name in the policy.
        #[n(0)]
        name: String,
        /// The host that it is bound to.
        #[n(1)]
        host: HostName,
        /// Which source: a server's address.
        #[n(2)]
        at: String,
        /// Why it has not ended there, if it has not.
        #[n(3)]
        why_not: Option<String>,
    },
}

impl Answer {
    /// What a source of this credential said.
    pub(crate) fn given_back(credential: &Credential, at: &str, why_not: Option<&str>) -> Self {
        let (name, host) = (credential.name.clone(), credential.host.clone());
        Self::GivenBack { name, host, at: cut(at), why_not: why_not.map(cut) }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MOST_CHARS).collect()
}

/// Asks whether it lives.
///
/// # Errors
/// When the broker is gone.
pub fn send_ping(control: impl AsFd) -> io::Result<()> {
    say(control, &Said::Ping, &[])
}

/// Gives it a policy's text, in a file in memory.
///
/// # Errors
/// When the broker is gone.
pub fn send_policy(control: impl AsFd, text: BorrowedFd<'_>) -> io::Result<()> {
    say(control, &Said::Policy, &[text])
}

/// Gives it the connection to a new gate, which is to be told everything.
///
/// # Errors
/// When the broker is gone.
pub fn send_gate(control: impl AsFd, gate: BorrowedFd<'_>) -> io::Result<()> {
    say(control, &Said::Gate, &[gate])
}

/// Gives it the store's key.
///
/// # Errors
/// When the broker is gone.
pub fn send_identity(control: impl AsFd, identity: &Secret) -> io::Result<()> {
    let mut said = Said::Identity { identity: identity.expose().to_vec().into() };
    let sent = say(control, &said, &[]);
    if let Said::Identity { identity } = &mut said {
        zeroize::Zeroize::zeroize(&mut **identity);
    }
    sent
}

/// Answers the keeper, if it is still there.
///
/// # Errors
/// When the socket fails.
pub(crate) fn answer(control: impl AsFd, answer: &Answer) -> io::Result<()> {
    let bytes = minicbor::to_vec(answer).map_err(io::Error::other)?;
    match message::send(control, &bytes, &[]) {
        // It is gone already, which is heard as the end of the socket: an ordinary end, and no fault.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        sent => sent,
    }
}

/// Hears an answer; none when the broker is gone.
///
/// # Errors
/// When it is none.
pub fn receive(control: impl AsFd) -> io::Result<Option<Answer>> {
    let mut bytes = [0; LONGEST];
    let Some((length, _)) = message::receive(control, &mut bytes)? else { return Ok(None) };
    minicbor::decode(bytes.get(..length).unwrap_or_default()).map(Some).map_err(io::Error::other)
}

/// Hears the keeper; none when it wants no more.
///
/// # Errors
/// When it says what no keeper says.
pub(crate) fn hear(control: impl AsFd) -> io::Result<Option<Heard>> {
    let mut bytes = Zeroizing::new([0; LONGEST]);
    let Some((length, descriptors)) = message::receive(control, &mut *bytes)? else { return Ok(None) };
    let said: Said = minicbor::decode(bytes.get(..length).unwrap_or_default()).map_err(io::Error::other)?;
    let mut descriptors = descriptors.into_iter();
    let mut descriptor = || descriptors.next().ok_or(io::ErrorKind::InvalidData);
    let heard = match said {
        Said::Ping => Heard::Ping,
        Said::Identity { identity } => Heard::Identity(Secret::new(identity.into())),
        Said::Gate => Heard::Gate(descriptor()?),
        Said::Policy => Heard::Policy(descriptor()?),
    };
    Ok(Some(heard))
}

fn say(control: impl AsFd, said: &Said, with: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut bytes = Zeroizing::new([0; LONGEST]);
    let mut cursor = minicbor::encode::write::Cursor::new(&mut bytes[..]);
    minicbor::encode(said, &mut cursor).map_err(io::Error::other)?;
    let length = cursor.position();
    message::send(control, bytes.get(..length).unwrap_or_default(), with)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_arrives_as_it_was_said() {
        let (keeper, broker) = message::pair().unwrap();
        send_ping(&keeper).unwrap();
        send_gate(&keeper, keeper.as_fd()).unwrap();
        send_policy(&keeper, keeper.as_fd()).unwrap();
        send_identity(&keeper, &Secret::new(b"AGE-SECRET-KEY-1".to_vec())).unwrap();
        assert!(matches!(hear(&broker).unwrap(), Some(Heard::Ping)));
        assert!(matches!(hear(&broker).unwrap(), Some(Heard::Gate(_))));
        assert!(matches!(hear(&broker).unwrap(), Some(Heard::Policy(_))));
        let Some(Heard::Identity(identity)) = hear(&broker).unwrap() else { panic!("a key") };
        assert!(identity.eq_ct(b"AGE-SECRET-KEY-1"));
        let long = "\u{10ffff}".repeat(1000);
        let (name, host) =
            ("a".repeat(64), HostName::parse(&format!("{}example", "a.".repeat(120))).unwrap());
        let given = Answer::GivenBack { name, host, at: cut(&long), why_not: Some(cut(&long)) };
        for said in [Answer::Ready { locked: true }, Answer::Pong, Answer::Settled, given] {
            answer(&broker, &said).unwrap();
            assert_eq!(receive(&keeper).unwrap(), Some(said));
        }
        drop(keeper);
        assert!(hear(&broker).unwrap().is_none());
    }
}
