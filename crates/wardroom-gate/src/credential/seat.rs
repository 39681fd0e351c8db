//! The bound place: where a credential's placeholder stands by right, and how the real value takes its seat.
//!
//! A placeholder stands alone in its header, after a scheme's word, or as the user or the password of basic
//! authentication. Whatever else is in the value, the placeholder is misused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use wardroom_model::{HostName, RuleRef};
use wardroom_policy::{Credential, CredentialKind, Overdue, Particulars};
use zeroize::Zeroizing;

use super::held::Real;
use super::search;
use super::sigv4::Signed;

/// One credential of the policy in force.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    /// Its name.
    pub(crate) name: String,
    /// The only host that it goes to.
    pub(crate) host: HostName,
    /// Where the policy says so.
    pub(crate) rule: RuleRef,
    /// Whether it is used when it is overdue for rotation.
    pub(crate) overdue: Overdue,
    /// What the agent holds; none for a credential that came with a later policy: it gets one at the next start.
    pub(crate) placeholder: Option<String>,
    header: HeaderName,
    manner: Manner,
    /// The only region and the only service that are signed for, where the policy says so.
    scope: (Option<String>, Option<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// The value itself, however it stands.
    Value,
    /// User and password, which nothing else can stand for.
    Pair,
    /// A signature.
    Signature,
}

/// How a placeholder stands in a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seat {
    /// Alone, or after a scheme's word.
    Value { scheme: Vec<u8> },
    /// As one half of basic authentication; the other half is kept.
    Pair { user: Option<Vec<u8>>, password: Option<Vec<u8>> },
    /// As the key's name of a signature.
    Signature(Signed),
}

/// A value for a header, and what of it is to be masked besides the secret itself.
pub(crate) type Filled = (HeaderValue, Option<Zeroizing<Vec<u8>>>);

impl Binding {
    pub(crate) fn new(credential: &Credential, placeholder: Option<String>) -> Option<Self> {
        let (header, manner) = match credential.kind {
            CredentialKind::Header => {
                (HeaderName::from_bytes(credential.header.as_ref()?.as_bytes()).ok()?, Manner::Value)
            }
            CredentialKind::Bearer | CredentialKind::GithubApp | CredentialKind::Oauth2 => {
                (AUTHORIZATION, Manner::Value)
            }
            CredentialKind::Basic => (AUTHORIZATION, Manner::Pair),
            CredentialKind::AwsSigv4 => (AUTHORIZATION, Manner::Signature),
        };
        let scope = match &credential.particulars {
            Particulars::Aws { region, service } => (region.clone(), service.clone()),
            Particulars::Plain
            | Particulars::Basic { .. }
            | Particulars::GithubApp(_)
            | Particulars::Oauth2(_) => (None, None),
        };
        let (name, host, overdue) = (credential.name.clone(), credential.host.clone(), credential.overdue);
        let rule = credential.at.clone();
        Some(Self { name, host, rule, overdue, placeholder, header, manner, scope })
    }

    /// The header that it goes into.
    pub(crate) fn header(&self) -> &HeaderName {
        &self.header
    }

    /// Whether this credential's placeholder stands in this header as it should, and how.
    pub(crate) fn seat(&self, header: &HeaderName, value: &[u8]) -> Option<Seat> {
        let placeholder = self.placeholder.as_ref()?.as_bytes();
        if *header != self.header {
            return None;
        }
        match self.manner {
            Manner::Signature => {
                let signed = Signed::parse(value)?;
                let (region, service) = &self.scope;
                let within = signed.is_within(region.as_deref(), service.as_deref());
                (within && signed.key_id.as_bytes() == placeholder).then_some(Seat::Signature(signed))
            }
            Manner::Value => alone(value, placeholder).or_else(|| half(value, placeholder)),
            Manner::Pair => half(value, placeholder),
        }
    }
}

fn alone(value: &[u8], placeholder: &[u8]) -> Option<Seat> {
    if value == placeholder {
        return Some(Seat::Value { scheme: Vec::new() });
    }
    let (scheme, rest) = search::scheme(value)?;
    let word = !scheme.is_empty() && scheme.iter().all(u8::is_ascii_alphanumeric);
    (word && rest == placeholder).then(|| Seat::Value { scheme: scheme.to_vec() })
}

fn half(value: &[u8], placeholder: &[u8]) -> Option<Seat> {
    let pair = search::basic(value)?;
    let colon = memchr::memchr(b':', &pair)?;
    let (user, password) = (pair.get(..colon)?, pair.get(colon + 1..)?);
    match (user == placeholder, password == placeholder) {
        (false, true) => Some(Seat::Pair { user: Some(user.to_vec()), password: None }),
        (true, false) => Some(Seat::Pair { user: None, password: Some(password.to_vec()) }),
        (true, true) => Some(Seat::Pair { user: None, password: None }),
        (false, false) => None,
    }
}

/// The header's value with the real one in it. None where the value is of another kind than the seat.
pub(crate) fn fill(seat: &Seat, real: &Real) -> Option<Filled> {
    match (seat, real) {
        (Seat::Value { scheme }, Real::Plain(secret)) => {
            let mut value = Zeroizing::new(Vec::with_capacity(scheme.len() + 1 + secret.len()));
            if !scheme.is_empty() {
                value.extend_from_slice(scheme);
                value.push(b' ');
            }
            value.extend_from_slice(secret);
            Some((sensitive(value)?, None))
        }
        (Seat::Pair { user, password }, Real::Plain(secret)) => {
            pair(user.as_deref().unwrap_or(secret), password.as_deref().unwrap_or(secret))
        }
        (Seat::Pair { .. }, Real::Basic { user, password }) => pair(user.as_bytes(), password),
        (Seat::Value { .. }, Real::Basic { .. } | Real::Aws { .. })
        | (Seat::Pair { .. }, Real::Aws { .. })
        | (Seat::Signature(_), Real::Plain(_) | Real::Basic { .. } | Real::Aws { .. }) => None,
    }
}

fn pair(user: &[u8], password: &[u8]) -> Option<Filled> {
    let plain = Zeroizing::new([user, b":", password].concat());
    let coded = Zeroizing::new(STANDARD.encode(&*plain).into_bytes());
    let value = Zeroizing::new([b"Basic ", coded.as_slice()].concat());
    Some((sensitive(value)?, Some(coded)))
}

/// The bytes are overwritten once the last part of hyper has let go of this value.
fn sensitive(value: Zeroizing<Vec<u8>>) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(value)).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use wardroom_kernel::locked::Locked;

    use super::*;

    const P: &[u8] = b"sk-placeholder";

    fn plain() -> Real {
        Real::Plain(locked(b"sk-real"))
    }

    fn locked(bytes: &[u8]) -> Rc<Locked> {
        Rc::new(Locked::new(bytes).unwrap())
    }

    fn filled(seat: &Seat, real: &Real) -> String {
        let (value, _) = fill(seat, real).unwrap();
        assert!(value.is_sensitive() && !format!("{value:?}").contains("real"));
        value.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_placeholder_stands_alone_or_after_a_word_and_nowhere_else() {
        assert_eq!(filled(&alone(b"sk-placeholder", P).unwrap(), &plain()), "sk-real");
        assert_eq!(filled(&alone(b"Bearer sk-placeholder", P).unwrap(), &plain()), "Bearer sk-real");
        assert_eq!(filled(&alone(b"token sk-placeholder", P).unwrap(), &plain()), "token sk-real");
        for wrong in [
            "sk-placeholder x",
            "a b sk-placeholder",
            "Bearer sk-placeholderx",
            "a, sk-placeholder",
            "=sk-placeholder",
        ] {
            assert_eq!(alone(wrong.as_bytes(), P), None, "{wrong}");
        }
    }

    #[test]
    fn basic_authentication_takes_the_real_pair_or_the_real_half() {
        let sent = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        let seat = |pair: &str| half(sent(pair).as_bytes(), P);
        assert_eq!(filled(&seat("git:sk-placeholder").unwrap(), &plain()), sent("git:sk-real"));
        assert_eq!(filled(&seat("sk-placeholder:").unwrap(), &plain()), sent("sk-real:"));
        let real = Real::Basic { user: "ops".to_owned(), password: locked(b"real:1") };
        assert_eq!(filled(&seat("any:sk-placeholder").unwrap(), &real), sent("ops:real:1"));
        assert!(seat("a:sk-placeholder:b").is_none() && seat("a:b").is_none());
        assert!(fill(&alone(P, P).unwrap(), &real).is_none(), "a pair is no token");
    }
}
