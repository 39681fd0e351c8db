//! The kernel's keyring of the calling user: keeps the store's key while the machine runs, in memory that is never
//! swapped, and only for processes of this user.

use linux_keyutils::{KeyError, KeyPermissionsBuilder, KeyRing, KeyRingIdentifier, Permission};
use wardroom_model::Secret;
use zeroize::Zeroizing;

/// Longer than any identity of age: 74 characters.
const LONGEST: usize = 256;

/// Reads a key; none where there is none.
///
/// # Errors
/// What `keyctl(2)` says.
pub(crate) fn read(description: &str) -> Result<Option<Secret>, KeyError> {
    let found = ring().and_then(|ring| ring.search(description));
    let key = match found {
        Ok(key) => key,
        Err(KeyError::KeyDoesNotExist | KeyError::KeyExpired | KeyError::KeyRevoked) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut buffer = Zeroizing::new([0; LONGEST]);
    let length = key.read(&mut *buffer)?;
    Ok(buffer.get(..length).map(|bytes| Secret::new(bytes.to_vec())))
}

/// Adds a key, or replaces the one of this description.
///
/// # Errors
/// What `add_key(2)` and `keyctl(2)` say.
pub(crate) fn write(description: &str, secret: &Secret) -> Result<(), KeyError> {
    let key = ring()?.add_key(description, secret.expose())?;
    // A process whose session keyring has no link to the user's does not possess the key, and is the same user.
    let user =
        Permission::VIEW | Permission::READ | Permission::SEARCH | Permission::WRITE | Permission::SETATTR;
    let permissions = KeyPermissionsBuilder::builder().posessor(Permission::ALL).user(user).build();
    key.set_perms(permissions)
}

/// Removes a key, if it is there.
///
/// # Errors
/// What `keyctl(2)` says.
pub(crate) fn remove(description: &str) -> Result<(), KeyError> {
    match ring().and_then(|ring| ring.search(description)) {
        Ok(key) => ring()?.unlink_key(key),
        Err(KeyError::KeyDoesNotExist) => Ok(()),
        Err(error) => Err(error),
    }
}

fn ring() -> Result<KeyRing, KeyError> {
    KeyRing::from_special_id(KeyRingIdentifier::User, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::print_stderr, reason = "a skip is counted by xtask")]
    fn a_key_stays_until_it_is_removed() {
        let description = format!("wardroom-test:{}", std::process::id());
        if let Err(error) = write(&description, &Secret::new(b"one".to_vec())) {
            eprintln!("SKIPPED: a_key_stays_until_it_is_removed: no keyring here: {error:?}");
            return;
        }
        assert!(read(&description).unwrap().unwrap().eq_ct(b"one"));
        write(&description, &Secret::new(b"two".to_vec())).unwrap();
        assert!(read(&description).unwrap().unwrap().eq_ct(b"two"));
        remove(&description).unwrap();
        assert!(read(&description).unwrap().is_none());
        remove(&description).unwrap();
    }
}
