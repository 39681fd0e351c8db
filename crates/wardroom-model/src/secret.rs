//! The bytes of a secret. They cannot be printed, recorded, serialised, copied by accident or compared in a time that
//! depends on them, and they are overwritten when they are dropped.

use std::fmt;

use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

/// A value that only its bearer may know.
///
/// It has no copy but one that is asked for:
///
/// ```compile_fail,E0599
/// let key = wardroom_model::Secret::new(b"sk-1".to_vec());
/// let copy = key.clone();
/// ```
///
/// It is never compared in variable time:
///
/// ```compile_fail,E0369
/// use wardroom_model::Secret;
/// let same = Secret::new(b"sk-1".to_vec()) == Secret::new(b"sk-2".to_vec());
/// ```
///
/// It is never encoded by what it is put into, as a record is:
///
/// ```compile_fail,E0277
/// let record = minicbor::to_vec(wardroom_model::Secret::new(b"sk-1".to_vec()));
/// ```
///
/// And it is never shown:
///
/// ```compile_fail,E0277
/// println!("{}", wardroom_model::Secret::new(b"sk-1".to_vec()));
/// ```
pub struct Secret(Zeroizing<Vec<u8>>);

/// Why a value cannot stand in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unsendable {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// Longer than [`Secret::LONGEST`].
    #[error("it has {0} bytes, and a server takes at most {max}", max = Secret::LONGEST)]
    TooLong(usize),
    /// CR, LF, NUL or another control character: it would end the header and begin another (RFC 9110, 5.5).
    #[error("it contains a line break or another control character")]
    Control,
    /// White space at an end, which a server would not count as a part of it (RFC 9110, 5.5).
    #[error("it begins or ends with white space")]
    Space,
}

impl Secret {
    /// The longest value that is sent: what Node.js takes for all headers of a request together, the most among the
    /// servers in wide use.
    pub const LONGEST: usize = 16 * 1024;

    /// Takes bytes over. What they were read into is the caller's to overwrite.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves, for the one place where they are used.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Another copy, where two places really need one.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(Zeroizing::new(self.0.to_vec()))
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether these are the same bytes, in a time that depends on their number alone.
    #[must_use]
    pub fn eq_ct(&self, other: &[u8]) -> bool {
        self.0.ct_eq(other).into()
    }

    /// Whether this can stand in the value of a header as it is.
    ///
    /// # Errors
    /// Says why it cannot; the words hold nothing of the value.
    pub fn sendable(&self) -> Result<(), Unsendable> {
        let control = |byte: &u8| byte.is_ascii_control();
        let space = |byte: Option<&u8>| byte.is_some_and(|byte| *byte == b' ');
        match self.expose() {
            [] => Err(Unsendable::Empty),
            bytes if bytes.len() > Self::LONGEST => Err(Unsendable::TooLong(bytes.len())),
            bytes if bytes.iter().any(control) => Err(Unsendable::Control),
            bytes if space(bytes.first()) || space(bytes.last()) => Err(Unsendable::Space),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_secret_is_shown() {
        let shown = format!("{:?} {:#?}", Secret::new(b"sk-1".to_vec()), Some(Secret::new(b"x".to_vec())));
        assert!(!shown.contains("sk") && !shown.contains('x') && !shown.contains('1'), "{shown}");
    }

    #[test]
    fn secrets_are_compared_in_constant_time() {
        let secret = Secret::new(b"sk-1".to_vec());
        assert!(secret.eq_ct(b"sk-1"));
        assert!(!secret.eq_ct(b"sk-2") && !secret.eq_ct(b"sk-") && !secret.eq_ct(b""));
        assert!(secret.duplicate().eq_ct(secret.expose()));
    }

    #[test]
    fn what_would_break_a_header_is_not_sendable() {
        let sendable = |bytes: &[u8]| Secret::new(bytes.to_vec()).sendable();
        assert_eq!(sendable(b"sk-ant-api03-abc_DEF"), Ok(()));
        assert_eq!(sendable("schlüssel ja".as_bytes()), Ok(()));
        assert_eq!(sendable(b""), Err(Unsendable::Empty));
        for bad in ["a\r\nHost: b", "a\nb", "a\rb", "a\0b", "\n", "a\tb", "a\x7f"] {
            assert_eq!(sendable(bad.as_bytes()), Err(Unsendable::Control), "{bad:?}");
        }
        assert_eq!(sendable(b" a"), Err(Unsendable::Space));
        assert_eq!(sendable(b"a "), Err(Unsendable::Space));
        assert_eq!(sendable(&[b'a'; 20_000]), Err(Unsendable::TooLong(20_000)));
    }
}
