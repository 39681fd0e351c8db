//! The custody of the store's key. There is one key a host and user, an age identity; its public half encrypts, so that a
//! value can be set at any time. The secret half is never at rest in the clear: it lies encrypted under a passphrase (and,
//! unlocked once, in the kernel's keyring), or encrypted by systemd-creds.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::iter;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use age::secrecy::{ExposeSecret, SecretString};
use age::{DecryptError, Decryptor, scrypt, x25519};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use wardroom_model::Secret;

use crate::{keyring, run};

/// Where systemd's own is looked for.
const SYSTEMD_CREDS: [&str; 2] = ["/usr/bin/systemd-creds", "/bin/systemd-creds"];
/// The name under which systemd seals the identity; another name does not open it.
const SEALED_NAME: &str = "wardroom-identity";
/// A TPM may take some seconds.
const SYSTEMD_TIME: Duration = Duration::from_secs(60);
/// The shortest passphrase. With scrypt's second a try, 8 random letters hold for thousands of years.
const SHORTEST: usize = 8;
/// 2^22 is 16 seconds and 4 GiB on a slow machine: no file may ask for more.
const MOST_WORK: u8 = 22;
/// Longer than any file here.
const LONGEST: u64 = 64 * 1024;

/// Who keeps the store's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Custody {
    /// Under a passphrase at rest; unlocked once, the kernel's keyring keeps it until the machine is switched off.
    Keyring,
    /// Sealed by systemd-creds: to this machine's TPM, to its host key, or to both.
    SystemdCreds,
    /// Under a passphrase at rest, which is asked for at each start of an agent.
    Passphrase,
}

impl Custody {
    /// What it protects against, in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Keyring => {
                "encrypted under a passphrase; the kernel's keyring keeps it once it is unlocked"
            }
            Self::SystemdCreds => "sealed to this machine by systemd-creds",
            Self::Passphrase => "encrypted under a passphrase that is asked for at each start",
        }
    }
}

/// The store's key, as far as it is public.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Who keeps the secret half.
    pub custody: Custody,
    /// To whom values are encrypted.
    pub recipient: x25519::Recipient,
}

/// Why there is no key.
#[derive(Debug, Error)]
pub enum CustodyError {
    /// `wardroom setup` was never run.
    #[error("credentials need a key for their store: run `wardroom setup` first")]
    NotSetUp,
    /// The keyring has no key.
    #[error("the store is locked; unlock it with `wardroom credential unlock`")]
    Locked,
    /// A passphrase is needed, and there is nobody to ask.
    #[error(
        "the store's passphrase is needed, and there is no terminal to ask for it; give it by --passphrase-fd"
    )]
    NobodyToAsk,
    /// The passphrase is another.
    #[error("this is not the store's passphrase")]
    WrongPassphrase,
    /// The passphrase is too short.
    #[error("a passphrase has at least {SHORTEST} characters, and no control characters")]
    ShortPassphrase,
    /// A file is not what it should be.
    #[error(
        "{path} is damaged ({what}); restore it from a backup, or remove {directory} and set every credential again"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// Where it lies.
        directory: PathBuf,
    },
    /// A file is not this user's alone.
    #[error("{path} belongs to user {uid} with mode {mode:03o}; it must be yours alone")]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// Whose.
        uid: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// systemd-creds is not there.
    #[error("systemd-creds is not installed here (systemd 250 or newer); choose --keyring or --passphrase")]
    NoSystemdCreds,
    /// systemd-creds failed.
    #[error("systemd-creds gave nothing (an unprivileged user needs systemd 256 or newer)")]
    SystemdCreds(#[from] run::RunError),
    /// The keyring refused.
    #[error("the kernel's keyring refuses: {0:?}")]
    Keyring(linux_keyutils::KeyError),
    /// Encrypting failed.
    #[error("cannot encrypt the key: {0}")]
    Encrypt(String),
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
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    custody: Custody,
    recipient: String,
}

/// Asks the operator for the passphrase.
pub type Ask<'a> = &'a mut dyn FnMut() -> Result<Secret, CustodyError>;

/// The place where the key is kept.
#[derive(Debug, Clone)]
pub struct Keep {
    directory: PathBuf,
}

impl Keep {
    /// The key that is kept in this directory, or will be.
    #[must_use]
    pub fn at(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// How the key is kept.
    ///
    /// # Errors
    /// [`CustodyError::NotSetUp`] when there is none.
    pub fn setup(&self) -> Result<Setup, CustodyError> {
        let Some(bytes) = self.read(KEPT)? else { return Err(CustodyError::NotSetUp) };
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|e| self.corrupt(KEPT, &e))?;
        let recipient = kept.recipient.parse().map_err(|e: &str| self.corrupt(KEPT, &e))?;
        Ok(Setup { custody: kept.custody, recipient })
    }

    /// Makes a key, or gives the one that there is into another custody.
    ///
    /// # Errors
    /// When the custody cannot be had here; what was before then stays.
    pub fn establish(
        &self,
        custody: Custody,
        ask_old: Ask<'_>,
        ask_new: Ask<'_>,
    ) -> Result<Setup, CustodyError> {
        let identity = match self.setup() {
            Ok(_) => self.unlock(ask_old)?,
            Err(CustodyError::NotSetUp) => generate(),
            Err(error) => return Err(error),
        };
        let recipient = parse(&identity).map_err(|what| self.corrupt(KEPT, &what))?.to_public();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
            .map_err(self.failed("make", ""))?;
        match custody {
            Custody::Keyring | Custody::Passphrase => {
                let sealed = under_passphrase(&identity, &ask_new()?)?;
                self.replace(UNDER_PASSPHRASE, &sealed)?;
            }
            Custody::SystemdCreds => {
                let sealed = systemd_creds("encrypt", "-", identity.expose())?;
                self.replace(SEALED, sealed.expose())?;
            }
        }
        let kept = Kept { custody, recipient: recipient.to_string() };
        let text = serde_json::to_vec_pretty(&kept).map_err(|e| self.corrupt(KEPT, &e))?;
        self.replace(KEPT, &text)?;
        let setup = Setup { custody, recipient };
        match custody {
            Custody::Keyring => {
                self.remove(SEALED)?;
                keyring::write(&description(&setup), &identity).map_err(CustodyError::Keyring)?;
            }
            Custody::SystemdCreds => self.remove(UNDER_PASSPHRASE)?,
            Custody::Passphrase => {
                self.remove(SEALED)?;
                // A machine without a keyring has nothing in it either.
                let _none = keyring::remove(&description(&setup));
            }
        }
        Ok(setup)
    }

    /// The secret half, without asking anybody.
    ///
    /// # Errors
    /// [`CustodyError::Locked`] when the operator must be asked.
    pub fn unlocked(&self) -> Result<Secret, CustodyError> {
        let setup = self.setup()?;
        let identity = match setup.custody {
            Custody::Keyring => keyring::read(&description(&setup))
                .map_err(CustodyError::Keyring)?
                .ok_or(CustodyError::Locked)?,
            Custody::SystemdCreds => {
                let sealed = self.read(SEALED)?.ok_or(CustodyError::NotSetUp)?;
                systemd_creds("decrypt", "-", &sealed)?
            }
            Custody::Passphrase => return Err(CustodyError::Locked),
        };
        self.fitting(&setup, identity)
    }

    /// The secret half; the operator is asked where that is needed. The keyring keeps it from then on, if it is to.
    ///
    /// # Errors
    /// When the key cannot be had.
    pub fn unlock(&self, ask: Ask<'_>) -> Result<Secret, CustodyError> {
        match self.unlocked() {
            Err(CustodyError::Locked) => {}
            other => return other,
        }
        let setup = self.setup()?;
        let sealed = self.read(UNDER_PASSPHRASE)?.ok_or(CustodyError::NotSetUp)?;
        let identity = self.open(&sealed, &ask()?)?;
        let identity = self.fitting(&setup, identity)?;
        if setup.custody == Custody::Keyring {
            keyring::write(&description(&setup), &identity).map_err(CustodyError::Keyring)?;
        }
        Ok(identity)
    }

    /// Takes the key out of the keyring again.
    ///
    /// # Errors
    /// When there is no key, or the keyring refuses.
    pub fn lock(&self) -> Result<(), CustodyError> {
        keyring::remove(&description(&self.setup()?)).map_err(CustodyError::Keyring)
    }

    /// Only the identity that belongs to the recipient is ours.
    fn fitting(&self, setup: &Setup, identity: Secret) -> Result<Secret, CustodyError> {
        let found = parse(&identity).map_err(|what| self.corrupt(KEPT, &what))?;
        if found.to_public() == setup.recipient {
            return Ok(identity);
        }
        Err(self.corrupt(KEPT, &"the key is not the one that values are encrypted to"))
    }

    fn open(&self, sealed: &[u8], passphrase: &Secret) -> Result<Secret, CustodyError> {
        let corrupt = |error: &dyn std::fmt::Display| self.corrupt(UNDER_PASSPHRASE, error);
        let mut identity = scrypt::Identity::new(text(passphrase)?);
        identity.set_max_work_factor(MOST_WORK);
        let decryptor = Decryptor::new_buffered(sealed).map_err(|e| corrupt(&e))?;
        let mut reader =
            decryptor.decrypt(iter::once::<&dyn age::Identity>(&identity)).map_err(|error| match error {
                DecryptError::DecryptionFailed
                | DecryptError::NoMatchingKeys
                | DecryptError::KeyDecryptionFailed => CustodyError::WrongPassphrase,
                other @ (DecryptError::ExcessiveWork { .. }
                | DecryptError::InvalidHeader
                | DecryptError::InvalidMac
                | DecryptError::Io(_)
                | DecryptError::UnknownFormat) => corrupt(&other),
            })?;
        let mut bytes = zeroize::Zeroizing::new(vec![0; 256]);
        let mut length = 0;
        while let Some(room) = bytes.get_mut(length..).filter(|room| !room.is_empty()) {
            match reader.read(room).map_err(|e| corrupt(&e))? {
                0 => break,
                n => length += n,
            }
        }
        Ok(Secret::new(bytes.get(..length).unwrap_or_default().to_vec()))
    }

    fn read(&self, file: &str) -> Result<Option<Vec<u8>>, CustodyError> {
        let path = self.directory.join(file);
        let opened = OpenOptions::new().read(true).custom_flags(nofollow()).open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CustodyError::File { act: "read", path, source }),
        };
        let found = file.metadata().map_err(|source| CustodyError::File {
            act: "read",
            path: path.clone(),
            source,
        })?;
        if found.uid() != geteuid().as_raw() || found.mode() & 0o077 != 0 {
            return Err(CustodyError::NotOurs { path, uid: found.uid(), mode: found.mode() & 0o777 });
        }
        let mut bytes = Vec::new();
        file.take(LONGEST).read_to_end(&mut bytes).map_err(|source| CustodyError::File {
            act: "read",
            path,
            source,
        })?;
        Ok(Some(bytes))
    }

    fn replace(&self, file: &str, bytes: &[u8]) -> Result<(), CustodyError> {
        let (path, beside) = (self.directory.join(file), self.directory.join(format!("{file}.new")));
        let write = || {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600).custom_flags(nofollow());
            let mut made = options.open(&beside)?;
            made.write_all(bytes)?;
            made.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(self.failed("write", file))
    }

    fn remove(&self, file: &str) -> Result<(), CustodyError> {
        match fs::remove_file(self.directory.join(file)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.failed("remove", file)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn failed(&self, act: &'static str, file: &str) -> impl FnOnce(io::Error) -> CustodyError {
        let path = self.directory.join(file);
        move |source| CustodyError::File { act, path, source }
    }

    fn corrupt(&self, file: &str, what: &dyn std::fmt::Display) -> CustodyError {
        let (path, directory) = (self.directory.join(file), self.directory.clone());
        CustodyError::Corrupt { path, what: what.to_string(), directory }
    }
}

/// Reads an identity.
///
/// # Errors
/// When it is none.
pub fn parse(identity: &Secret) -> Result<x25519::Identity, &'static str> {
    std::str::from_utf8(identity.expose()).map_err(|_bytes| "no key")?.trim_end().parse()
}

fn generate() -> Secret {
    let identity = x25519::Identity::generate().to_string();
    Secret::new(identity.expose_secret().as_bytes().to_vec())
}

fn under_passphrase(identity: &Secret, passphrase: &Secret) -> Result<Vec<u8>, CustodyError> {
    if passphrase.len() < SHORTEST {
        return Err(CustodyError::ShortPassphrase);
    }
    let recipient = scrypt::Recipient::new(text(passphrase)?);
    age::encrypt(&recipient, identity.expose()).map_err(|e| CustodyError::Encrypt(e.to_string()))
}

fn text(passphrase: &Secret) -> Result<SecretString, CustodyError> {
    let text = std::str::from_utf8(passphrase.expose()).map_err(|_bytes| CustodyError::WrongPassphrase)?;
    if text.chars().any(char::is_control) {
        return Err(CustodyError::ShortPassphrase);
    }
    Ok(SecretString::from(text.to_owned()))
}

fn systemd_creds(verb: &str, file: &str, input: &[u8]) -> Result<Secret, CustodyError> {
    let program = SYSTEMD_CREDS.iter().find(|path| Path::new(path).exists());
    let program = program.ok_or(CustodyError::NoSystemdCreds)?;
    let name = format!("--name={SEALED_NAME}");
    let mut argv = vec![(*program).to_owned(), verb.to_owned(), name];
    if !geteuid().is_root() {
        argv.push("--user".to_owned());
    }
    argv.extend([file.to_owned(), "-".to_owned()]);
    Ok(run::run(&argv, input, SYSTEMD_TIME)?)
}

/// How the key is called in the keyring: each store's own.
fn description(setup: &Setup) -> String {
    format!("wardroom:{}", setup.recipient)
}

fn nofollow() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default()
}

const KEPT: &str = "custody.json";
const UNDER_PASSPHRASE: &str = "identity.age";
const SEALED: &str = "identity.cred";

#[cfg(test)]
mod tests;
