//! The store of one agent's credentials: a directory with one age file for each, encrypted to the host's recipient. To
//! put a value in, nothing need be unlocked; to take one out, the host's identity is needed.
//!
//! A file that is not ours alone, was moved, or cannot be decrypted gives no value. Nothing here ever writes a value
//! that is not encrypted.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::iter;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use age::{DecryptError, Decryptor, Encryptor, x25519};
use rustix::fs::{FlockOperation, OFlags, flock};
use thiserror::Error;
use wardroom_model::{AgentName, Secret};
use zeroize::Zeroizing;

use crate::label::{Label, Labelled, Reading};

/// The longest value: a 16,384-bit RSA key as PEM has 12 KiB, a service account's JSON 3 KiB.
const LONGEST: usize = 64 * 1024;
/// The longest file: a value, its header, and 16 bytes for each 64 KiB.
const LONGEST_FILE: u64 = 128 * 1024;

/// One agent's credentials at rest.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
    agent: String,
    owner: Option<u32>,
}

/// A value taken out.
#[derive(Debug)]
pub struct Held {
    /// Which, and since when.
    pub label: Label,
    /// The value.
    pub secret: Secret,
}

/// A value as it lies in the store, taken away from there.
#[derive(Debug)]
pub struct Sealed(Vec<u8>);

/// Why the store gives or takes no value.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Nothing was ever put in.
    #[error("no value is set; set one with `wardroom credential set {agent} {name}`")]
    Missing {
        /// The agent.
        agent: String,
        /// The credential.
        name: String,
    },
    /// The operator revoked it.
    #[error("it was revoked; set a new value with `wardroom credential set {agent} {name}`")]
    Revoked {
        /// The agent.
        agent: String,
        /// The credential.
        name: String,
    },
    /// The file was encrypted to another recipient.
    #[error(
        "{0} was encrypted for another store's key: this host's `wardroom setup` has not made it; set the value again"
    )]
    OtherKey(PathBuf),
    /// The file was changed, or is none of ours.
    #[error("{path} is damaged ({what}); set the value again")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The file is another credential's, moved here.
    #[error("{path} holds the credential {found}, and was moved there; move it back, or set the value again")]
    Moved {
        /// The file.
        path: PathBuf,
        /// What it says that it is: agent and name.
        found: String,
    },
    /// The file belongs to somebody else.
    #[error(
        "{path} belongs to user {uid}; nothing of another user's store is believed: remove it, and set the value again"
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// Others may read or write it.
    #[error("{path} can be read or written by others (mode {mode:03o}); take that away with `chmod 600`")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The value is not one.
    #[error("a value of {0} bytes: it must have between 1 and {max}", max = LONGEST)]
    Length(usize),
    /// The name cannot be a file's.
    #[error("{0:?} cannot be a credential's name: lower-case letters, digits, `-` and `_`, at most 64")]
    Name(String),
    /// The kernel refused.
    #[error("cannot {act} {path}")]
    File {
        /// What was being done.
        act: &'static str,
        /// With what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Encrypting failed.
    #[error("cannot encrypt: {0}")]
    Encrypt(String),
}

/// What is known of a credential without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing was ever put in.
    Missing,
    /// The operator revoked it.
    Revoked,
    /// A value is there.
    Set(Label),
    /// Something is there that says nothing of itself.
    Damaged,
}

/// Changes whenever a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    file: Option<[u64; 4]>,
    revoked: bool,
    again: Option<[u64; 4]>,
}

impl Store {
    /// The store in this directory, which exists. With an `owner` (system mode), what is written is given to this user.
    #[must_use]
    pub fn at(directory: &Path, agent: &AgentName, owner: Option<u32>) -> Self {
        Self { directory: directory.to_owned(), agent: agent.as_str().to_owned(), owner }
    }

    /// Where it lies.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Puts a value in, in place of the one before, whole or not at all. Returns its label.
    ///
    /// # Errors
    /// When the value is empty or too long, or the file cannot be written.
    pub fn put(
        &self,
        name: &str,
        secret: &Secret,
        to: &x25519::Recipient,
        set_at: u64,
    ) -> Result<Label, StoreError> {
        let _alone = self.alone()?;
        let version = self.last_version(name)? + 1;
        let label = self.write(name, secret, to, (version, set_at))?;
        self.remove(&self.path(name, "revoked")?)?;
        Ok(label)
    }

    /// Puts in what a source gave in place of a value: not where the operator has revoked that, or set another, meanwhile.
    /// `after` is the number of that value, and the time. Returns the label, if it was put in.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn follow(
        &self,
        name: &str,
        secret: &Secret,
        to: &x25519::Recipient,
        after: (u64, u64),
    ) -> Result<Option<Label>, StoreError> {
        let (before, now) = after;
        let _alone = self.alone()?;
        if self.is_revoked(name)? || self.last_version(name)? != before {
            return Ok(None);
        }
        let label = self.write(name, secret, to, (before + 1, now))?;
        // A revocation marks first and removes then: whichever of both was later, nothing is left.
        if self.is_revoked(name)? {
            self.remove(&self.path(name, "age")?)?;
            return Ok(None);
        }
        Ok(Some(label))
    }

    /// Nobody else puts anything in while this is held. A revocation waits for nobody.
    fn alone(&self) -> Result<File, StoreError> {
        let failed = |source| StoreError::File { act: "lock", path: self.directory.clone(), source };
        let directory = File::open(&self.directory).map_err(failed)?;
        flock(&directory, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
        Ok(directory)
    }

    fn write(
        &self,
        name: &str,
        secret: &Secret,
        to: &x25519::Recipient,
        (version, set_at): (u64, u64),
    ) -> Result<Label, StoreError> {
        if secret.is_empty() || secret.len() > LONGEST {
            return Err(StoreError::Length(secret.len()));
        }
        let label = Label { agent: self.agent.clone(), name: name.to_owned(), version, set_at };
        let sealed = seal(secret, &Labelled { recipient: to, label: &label })?;
        self.replace(&self.path(name, "age")?, &sealed)?;
        Ok(label)
    }

    /// Takes a value out.
    ///
    /// # Errors
    /// Whatever is not exactly this agent's own value, unchanged, gives none.
    pub fn take(&self, name: &str, identity: &x25519::Identity) -> Result<Held, StoreError> {
        let Some(bytes) = self.read(&self.path(name, "age")?)? else { return Err(self.absent(name)?) };
        self.open(name, &Sealed(bytes), identity)
    }

    /// Opens a value.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn open(
        &self,
        name: &str,
        Sealed(bytes): &Sealed,
        identity: &x25519::Identity,
    ) -> Result<Held, StoreError> {
        let path = self.path(name, "age")?;
        let corrupt = |what: String| StoreError::Corrupt { path: path.clone(), what };
        let reading = Reading { identity, seen: RefCell::new(None) };
        let decryptor = Decryptor::new_buffered(&bytes[..]).map_err(|e| corrupt(e.to_string()))?;
        let mut reader =
            decryptor.decrypt(iter::once::<&dyn age::Identity>(&reading)).map_err(|error| match error {
                DecryptError::NoMatchingKeys => StoreError::OtherKey(path.clone()),
                other @ (DecryptError::DecryptionFailed
                | DecryptError::ExcessiveWork { .. }
                | DecryptError::InvalidHeader
                | DecryptError::InvalidMac
                | DecryptError::Io(_)
                | DecryptError::KeyDecryptionFailed
                | DecryptError::UnknownFormat) => corrupt(other.to_string()),
            })?;
        // Never grown, so that no copy is left where it was.
        let mut value = Zeroizing::new(vec![0; LONGEST]);
        let mut length = 0;
        while let Some(rest) = value.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match reader.read(rest).map_err(|e| corrupt(e.to_string()))? {
                0 => break,
                n => length += n,
            }
        }
        drop(reader);
        let secret = Secret::new(value.get(..length).unwrap_or_default().to_vec());
        let label = reading.seen.into_inner().ok_or_else(|| corrupt("it has no label".to_owned()))?;
        if label.agent != self.agent || label.name != name {
            let found = format!("{} {}", label.agent, label.name);
            return Err(StoreError::Moved { path, found });
        }
        Ok(Held { label, secret })
    }

    /// What is known without unlocking.
    ///
    /// # Errors
    /// When a file cannot be read, or is not ours.
    pub fn state(&self, name: &str) -> Result<State, StoreError> {
        match self.read(&self.path(name, "age")?)? {
            Some(bytes) => Ok(Label::peek(&bytes).map_or(State::Damaged, State::Set)),
            None if self.is_revoked(name)? => Ok(State::Revoked),
            None => Ok(State::Missing),
        }
    }

    /// Which value is there, as far as that can be known without unlocking.
    #[must_use]
    pub fn version(&self, name: &str) -> Option<u64> {
        match self.state(name) {
            Ok(State::Set(label)) => Some(label.version),
            Ok(State::Missing | State::Revoked | State::Damaged) | Err(_) => None,
        }
    }

    /// Forgets a value for good, and remembers that it was revoked. Returns what was there, as it lay there: its source may
    /// have to be told.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn revoke(&self, name: &str) -> Result<Option<Sealed>, StoreError> {
        // What cannot be read must be revocable as well.
        let version = self.last_version(name).unwrap_or_default();
        self.replace(&self.path(name, "revoked")?, version.to_string().as_bytes())?;
        let path = self.path(name, "age")?;
        let sealed = self.read(&path).ok().flatten().map(Sealed);
        self.remove(&path)?;
        Ok(sealed)
    }

    /// Takes a revocation back, if there was one.
    ///
    /// # Errors
    /// As for the others here.
    pub fn restore(&self, name: &str) -> Result<(), StoreError> {
        self.remove(&self.path(name, "revoked")?)
    }

    /// Whether the operator revoked it.
    ///
    /// # Errors
    /// When that cannot be known.
    pub fn is_revoked(&self, name: &str) -> Result<bool, StoreError> {
        Ok(stat(&self.path(name, "revoked")?)?.is_some())
    }

    /// Asks whoever watches the store to get this credential from its source once more.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn ask_again(&self, name: &str) -> Result<(), StoreError> {
        self.replace(&self.path(name, "again")?, b"")
    }

    /// Something that differs whenever a credential was set, revoked or asked for again.
    #[must_use]
    pub fn stamp(&self, name: &str) -> Stamp {
        // What cannot be looked at is as good as not there: taking it out will say why.
        let look = |ending| self.path(name, ending).ok().and_then(|path| stat(&path).ok()?);
        Stamp { file: look("age"), revoked: look("revoked").is_some(), again: look("again") }
    }

    /// What is said of one that was revoked.
    pub(crate) fn revoked(&self, name: &str) -> StoreError {
        StoreError::Revoked { agent: self.agent.clone(), name: name.to_owned() }
    }

    fn absent(&self, name: &str) -> Result<StoreError, StoreError> {
        if self.is_revoked(name)? {
            return Ok(self.revoked(name));
        }
        Ok(StoreError::Missing { agent: self.agent.clone(), name: name.to_owned() })
    }

    /// The number of the value before: also of one that was revoked.
    fn last_version(&self, name: &str) -> Result<u64, StoreError> {
        if let Some(label) = self.read(&self.path(name, "age")?)?.as_deref().and_then(Label::peek) {
            return Ok(label.version);
        }
        let revoked = self.read(&self.path(name, "revoked")?)?;
        let text = revoked.and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(text.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
    }

    fn path(&self, name: &str, ending: &str) -> Result<PathBuf, StoreError> {
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        let fits = (1..=64).contains(&name.len()) && name.bytes().all(letter);
        if fits {
            Ok(self.directory.join(format!("{name}.{ending}")))
        } else {
            Err(StoreError::Name(name.to_owned()))
        }
    }

    /// Reads a file that is ours alone; none where there is none.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        let failed = |source| StoreError::File { act: "read", path: path.to_owned(), source };
        let file = match OpenOptions::new().read(true).custom_flags(nofollow()).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let found = file.metadata().map_err(failed)?;
        let ours = [Some(rustix::process::geteuid().as_raw()), self.owner];
        if !ours.contains(&Some(found.uid())) {
            return Err(StoreError::NotOurs { path: path.to_owned(), uid: found.uid() });
        }
        if found.mode() & 0o077 != 0 {
            return Err(StoreError::Exposed { path: path.to_owned(), mode: found.mode() & 0o777 });
        }
        let mut bytes = Vec::new();
        file.take(LONGEST_FILE).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }

    /// Replaces a file whole: what is read is the old one or the new one.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let failed = |source| StoreError::File { act: "write", path: path.to_owned(), source };
        let beside = path.with_extension(format!("{}.new", std::process::id()));
        let write = || {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600).custom_flags(nofollow());
            let mut file = options.open(&beside)?;
            if let Some(owner) = self.owner.filter(|_| rustix::process::geteuid().is_root()) {
                fchown(&file, Some(owner), Some(owner))?;
            }
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&beside, path)?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(failed)
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(StoreError::File { act: "remove", path: path.to_owned(), source: error })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn seal(secret: &Secret, to: &Labelled<'_>) -> Result<Vec<u8>, StoreError> {
    let failed = |error: &dyn std::fmt::Display| StoreError::Encrypt(error.to_string());
    let encryptor =
        Encryptor::with_recipients(iter::once::<&dyn age::Recipient>(to)).map_err(|e| failed(&e))?;
    let mut sealed = Vec::new();
    let mut writer = encryptor.wrap_output(&mut sealed).map_err(|e| failed(&e))?;
    writer.write_all(secret.expose()).map_err(|e| failed(&e))?;
    writer.finish().map_err(|e| failed(&e))?;
    Ok(sealed)
}

/// What changes with a file.
fn stat(path: &Path) -> Result<Option<[u64; 4]>, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(found) => {
            let times = [found.mtime(), found.mtime_nsec()].map(i64::cast_unsigned);
            Ok(Some([found.ino(), found.len(), times[0], times[1]]))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::File { act: "look at", path: path.to_owned(), source }),
    }
}

/// `O_NOFOLLOW` as the standard library wants it.
fn nofollow() -> i32 {
    i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
