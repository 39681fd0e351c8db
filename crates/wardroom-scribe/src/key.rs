//! The host's signing key: made at first use, readable by its owner alone, one for all ledgers of the host.
//!
//! In each ledger it appears under the ledger's origin as its name, as C2SP checkpoints want it.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, fstat};
use thiserror::Error;
use wardroom_ledger::{NoteError, Signer};

use crate::place::{Place, PlaceError};

/// The file of the secret key.
const SECRET: &str = "ledger.key";
/// The file of the public key.
const PUBLIC: &str = "ledger.pub";
/// The name that the key has in its own files.
const HOST: &str = "wardroom-host";
/// Longest key file that is read: a key has about 110 bytes.
const LONGEST: u64 = 1024;

/// Why there is no signing key.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The directory or the file.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The file holds no key.
    #[error("{path} holds no signing key")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: NoteError,
    },
    /// The key can be read by others.
    #[error("{path} is readable by others (mode {mode:03o}): the key can no longer be trusted; move it away")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Reading or writing failed.
    #[error("cannot use the signing key {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The kernel gave no random number.
    #[error("no random number for a new signing key: {0}")]
    Random(getrandom::Error),
    /// The origin cannot name a key.
    #[error("{0:?} cannot be a ledger's origin")]
    Origin(String),
}

/// The host's key under the name `origin`.
///
/// # Errors
/// The key exists and is unreadable, exposed or damaged, or cannot be made.
pub fn host_key(key_dir: &Path, origin: &str) -> Result<Signer, KeyError> {
    let place = Place::open_or_create(key_dir)?;
    // Two scribes that start at once must not make two keys.
    flock(&place, FlockOperation::LockExclusive).map_err(place.failed("lock", ""))?;
    let host = match read(&place)? {
        Some(signer) => signer,
        None => make(&place)?,
    };
    host.named(origin).map_err(|_bad| KeyError::Origin(origin.to_owned()))
}

fn read(place: &Place) -> Result<Option<Signer>, KeyError> {
    let path = || place.path().join(SECRET);
    let Some(file) = place.readable(SECRET)? else { return Ok(None) };
    let mode = fstat(&file).map_err(place.failed("examine", SECRET))?.st_mode & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path(), mode });
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).map_err(|source| KeyError::File { path: path(), source })?;
    Signer::parse(&text).map(Some).map_err(|source| KeyError::Content { path: path(), source })
}

/// Written beside and renamed, so that a crash leaves either no key or a whole one.
fn make(place: &Place) -> Result<Signer, KeyError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(KeyError::Random)?;
    let signer = Signer::from_seed(HOST, &seed).map_err(|_bad| KeyError::Origin(HOST.to_owned()))?;
    let texts = [(SECRET, signer.secret_text()), (PUBLIC, signer.verifier().to_string())];
    for (name, text) in texts {
        let beside = format!("{name}.new");
        place.remove(&beside)?;
        let mut file = place.fresh(&beside)?;
        let written = file.write_all(format!("{text}\n").as_bytes()).and_then(|()| file.sync_all());
        written.map_err(|source| KeyError::File { path: place.path().join(name), source })?;
        place.rename(&beside, name)?;
    }
    place.sync()?;
    Ok(signer)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_is_private() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("keys");
        let first = host_key(&dir, "host/a").unwrap().verifier();
        assert_eq!(host_key(&dir, "host/a").unwrap().verifier(), first);
        assert_ne!(host_key(&dir, "host/b").unwrap().verifier().to_string(), first.to_string());
        let mode = fs::metadata(dir.join(SECRET)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::set_permissions(dir.join(SECRET), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(host_key(&dir, "host/a"), Err(KeyError::Exposed { .. })));
    }
}
