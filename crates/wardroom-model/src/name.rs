//! Names: agents and hosts. A host name is canonicalised once, here; that one value is used to match, dial,
//! compare with SNI and Host, mint, bind and record. Where two parsers read one name, a bypass follows.

use std::fmt::{self, Display};
use std::net::IpAddr;

use minicbor::{Decode, Encode};
use thiserror::Error;

/// The name of one agent: `[a-z][a-z0-9-]*`, at most 32 bytes, no trailing hyphen.
///
/// It becomes a directory, a host name inside the cell and the ledger's origin, hence the narrow alphabet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentName(String);

/// Why a text is no agent name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AgentNameError {
    /// The text was empty.
    #[error("an agent needs a name")]
    Empty,
    /// Longer than [`AgentName::MAX`].
    #[error("an agent's name has at most {max} bytes, this has {0}", max = AgentName::MAX)]
    TooLong(usize),
    /// A character outside the alphabet, or in a place where it may not stand.
    #[error(
        "an agent's name is lower-case letters, digits and hyphens, starting with a letter: {0:?} cannot stand there"
    )]
    Character(char),
}

impl AgentName {
    /// The longest name in bytes. `HOST_NAME_MAX` is 64; a prefix and a suffix must fit around the name.
    pub const MAX: usize = 32;

    /// Parses a name.
    ///
    /// # Errors
    /// Says which character or length is at fault.
    pub fn parse(text: &str) -> Result<Self, AgentNameError> {
        if text.len() > Self::MAX {
            return Err(AgentNameError::TooLong(text.len()));
        }
        let first = text.chars().next().ok_or(AgentNameError::Empty)?;
        if !first.is_ascii_lowercase() {
            return Err(AgentNameError::Character(first));
        }
        match text.chars().find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-')) {
            Some(bad) => Err(AgentNameError::Character(bad)),
            None if text.ends_with('-') => Err(AgentNameError::Character('-')),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A host name in canonical form: lower case, IDNA A-labels, no trailing dot, at least two labels or `localhost`-like
/// single labels, never an IP literal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct HostName(#[n(0)] String);

/// Why a text is no host name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostNameError {
    /// The text was empty, or only a dot.
    #[error("a host name cannot be empty")]
    Empty,
    /// Longer than 253 bytes in canonical form (RFC 1035, 2.3.4).
    #[error("a host name has at most 253 bytes, this has {0}")]
    TooLong(usize),
    /// An address in any of the notations that `inet_aton` or a URL parser accepts.
    #[error("this is an address, not a host name")]
    Address,
    /// Not a host name by IDNA (UTS #46, strict).
    #[error("not a valid host name")]
    Invalid,
}

impl HostName {
    /// Canonicalises a name as found in a policy, a DNS question, a ClientHello or a `Host` header.
    ///
    /// # Errors
    /// Anything that is not exactly one host name, address literals in every notation included.
    pub fn parse(text: &str) -> Result<Self, HostNameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(HostNameError::Empty);
        }
        if text.len() > 1024 {
            return Err(HostNameError::TooLong(text.len()));
        }
        let canonical = idna::domain_to_ascii_strict(text).map_err(|_cause| HostNameError::Invalid)?;
        if canonical.len() > 253 {
            return Err(HostNameError::TooLong(canonical.len()));
        }
        if canonical.parse::<IpAddr>().is_ok() || ends_in_number(&canonical) {
            return Err(HostNameError::Address);
        }
        let labels_hold = canonical.split('.').all(is_label);
        if labels_hold { Ok(Self(canonical)) } else { Err(HostNameError::Invalid) }
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A map by host names is asked with any text: what is not canonical is simply not in it.
impl std::borrow::Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A label of letters, digits, hyphens and underscores (service names have them), 1 to 63 bytes.
fn is_label(label: &str) -> bool {
    let body = label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    body && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
}

/// Whether the last label is a number in any notation: such a "name" is an address to `inet_aton` and to the WHATWG
/// URL parser (`0x7f.1`, `2130706433`, `0177.0.0.1`).
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x").is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
    hex || (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()))
}

/// What a rule names: one host, or everything below one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPattern {
    /// Exactly this host.
    Exact(HostName),
    /// Any name below this one, at any depth, and not this one itself (`*.example.com`).
    Below(HostName),
}

impl HostPattern {
    /// Parses `example.com` or `*.example.com`.
    ///
    /// # Errors
    /// As [`HostName::parse`]; a `*` anywhere else is invalid.
    pub fn parse(text: &str) -> Result<Self, HostNameError> {
        match text.strip_prefix("*.") {
            Some(base) => HostName::parse(base).map(Self::Below),
            None => HostName::parse(text).map(Self::Exact),
        }
    }

    /// Whether every name that `other` means is meant.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Exact(name) => self.matches(name),
            Self::Below(base) => self == other || (matches!(self, Self::Below(_)) && self.matches(base)),
        }
    }

    /// Whether a canonical name is meant.
    #[must_use]
    pub fn matches(&self, name: &HostName) -> bool {
        match self {
            Self::Exact(host) => host == name,
            Self::Below(base) => name
                .as_str()
                .strip_suffix(base.as_str())
                .is_some_and(|head| head.len() > 1 && head.ends_with('.')),
        }
    }
}

impl Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => write!(f, "{host}"),
            Self::Below(base) => write!(f, "*.{base}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_have_one_canonical_form() {
        for text in ["API.Example.com", "api.example.com.", "api.example.com"] {
            assert_eq!(HostName::parse(text).unwrap().as_str(), "api.example.com", "{text}");
        }
        assert_eq!(HostName::parse("bücher.example").unwrap().as_str(), "xn--bcher-kva.example");
    }

    #[test]
    fn addresses_in_every_notation_are_no_host_names() {
        for text in ["127.0.0.1", "0x7f.1", "2130706433", "0177.0.0.1", "1.2", "::1", "0x7f000001", "[::1]"] {
            assert!(HostName::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn misleading_names_are_refused() {
        let long = "a".repeat(300);
        for text in
            ["", ".", "a..b", "a b", "a\0b", "-a.com", "::ffff:1.2.3.4%x.allowed.com", "*.example.com", &long]
        {
            assert!(HostName::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_wildcard_means_below_and_not_itself() {
        let pattern = HostPattern::parse("*.example.com").unwrap();
        let matches = |text| pattern.matches(&HostName::parse(text).unwrap());
        assert!(matches("a.example.com") && matches("a.b.example.com"));
        assert!(!matches("example.com") && !matches("badexample.com") && !matches("example.com.evil.net"));
    }

    #[test]
    fn a_pattern_covers_what_it_means_and_no_more() {
        let covers = |wide: &str, narrow: &str| {
            HostPattern::parse(wide).unwrap().covers(&HostPattern::parse(narrow).unwrap())
        };
        assert!(covers("a.example", "a.example") && covers("*.example", "a.example"));
        assert!(covers("*.a.example", "*.a.example") && covers("*.example", "*.a.example"));
        assert!(!covers("a.example", "*.a.example") && !covers("*.a.example", "a.example"));
        assert!(!covers("*.a.example", "*.example") && !covers("a.example", "b.example"));
    }

    #[test]
    fn agent_names_are_narrow() {
        assert!(AgentName::parse("scout-2").is_ok());
        for text in ["", "Scout", "2scout", "a/b", "..", "scout-", "a_b", &"a".repeat(33)] {
            assert!(AgentName::parse(text).is_err(), "{text}");
        }
    }
}
