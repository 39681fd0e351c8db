//! An agent's certificate authority at rest: a private key in a directory of the operator's (root's, in system mode),
//! which no cell has a part of. Made at first use. Its certificate is made anew at every start, for exactly the names that
//! the policy then has inspected, and is stored nowhere as the keeper's truth.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::fstat;
use thiserror::Error;
use wardroom_gate::{AuthorityError, AuthorityParts, certify, new_key};
use wardroom_model::exit::Exit;
use wardroom_policy::Policy;
use wardroom_policy::plan::Trust;
use wardroom_scribe::place::{Place, PlaceError};
use zeroize::Zeroizing;

use super::trust;
use crate::clock;
use crate::failure::{Failure, OrExit};
use crate::places::AgentPlaces;

/// The file of the key.
const KEY: &str = "key.pem";
/// Longest key file that is read: a key has about 240 bytes.
const LONGEST: u64 = 4096;

/// Why there is no authority. An agent whose policy has something inspected is not started without.
#[derive(Debug, Error)]
pub(super) enum KeyError {
    /// The directory or the file.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Reading or writing failed.
    #[error("cannot use the key of the agent's certificate authority, {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// Others could have read it.
    #[error(
        "{path} is readable by others (mode {mode:03o}): it can no longer be trusted; move it away, and a new one is made at the next start"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{path} cannot be used; move it away, and a new key is made at the next start")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: AuthorityError,
    },
    /// There is no new key.
    #[error("no key could be made for the agent's certificate authority")]
    Make(#[source] AuthorityError),
}

/// What inspection takes: for the gate, and for the plan of the cell.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) parts: AuthorityParts,
    pub(super) trust: Trust,
}

/// Prepares an agent's authority and what its programs are to trust. Nothing where nothing is inspected: then nothing is
/// made, and the start takes no longer.
pub(super) fn prepare(
    agent: &AgentPlaces,
    policy: &Policy,
    root: &Path,
) -> Result<Option<Prepared>, Failure> {
    let names = policy.network().inspected();
    if names.is_empty() {
        return Ok(None);
    }
    let key = key(&agent.authority).or_exit(Exit::CannotContain)?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let now = u64::try_from(clock::now().as_second()).unwrap_or(0);
    let damaged = |source| KeyError::Damaged { path: agent.authority.join(KEY), source };
    let issued =
        certify(&key, policy.name(), &host, &names, now).map_err(damaged).or_exit(Exit::CannotContain)?;
    let trust = trust::prepare(&agent.trust, root, &issued).or_exit(Exit::CannotContain)?;
    Ok(Some(Prepared { parts: issued.parts, trust }))
}

/// The stored key, or a new one.
fn key(directory: &Path) -> Result<Zeroizing<String>, KeyError> {
    let place = Place::open_or_create(directory)?;
    match read(&place)? {
        Some(key) => Ok(key),
        None => make(&place),
    }
}

fn read(place: &Place) -> Result<Option<Zeroizing<String>>, KeyError> {
    let path = || place.path().join(KEY);
    let Some(file) = place.readable(KEY)? else { return Ok(None) };
    let failed = |source: std::io::Error| KeyError::File { path: path(), source };
    let mode = fstat(&file).map_err(|errno| failed(errno.into()))?.st_mode & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path(), mode });
    }
    let mut text = Zeroizing::new(String::with_capacity(1024));
    file.take(LONGEST).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

/// Written beside and renamed, so that a crash leaves either no key or a whole one.
fn make(place: &Place) -> Result<Zeroizing<String>, KeyError> {
    let key = new_key().map_err(KeyError::Make)?;
    let beside = format!("{KEY}.new");
    place.remove(&beside)?;
    let mut file = place.fresh(&beside)?;
    let written = file.write_all(key.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|source| KeyError::File { path: place.path().join(KEY), source })?;
    place.rename(&beside, KEY)?;
    place.sync()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_is_private_and_is_refused_when_others_could_have_read_it() {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("authority");
        let first = key(&directory).unwrap();
        assert_eq!(*key(&directory).unwrap(), *first);
        let file = directory.join(KEY);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(key(&directory), Err(KeyError::Exposed { .. })));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(key(&directory), Err(KeyError::Place(PlaceError::Open { .. }))));
    }
}
