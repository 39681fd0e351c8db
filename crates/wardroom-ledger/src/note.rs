//! C2SP signed notes with Ed25519 (c2sp.org/signed-note): text, an empty line, and lines `— name base64`.
//!
//! A verifier key is `name+hash+base64(0x01 || public key)`, a signer key
//! `PRIVATE+KEY+name+hash+base64(0x01 || seed)`; the hash is the first four bytes of
//! `SHA-256(name || 0x0A || 0x01 || public key)`, in hex.

use std::fmt::{self, Debug, Display};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// The algorithm number of Ed25519 in keys and their hashes.
const ED25519: u8 = 1;

/// The longest note that is read. A checkpoint has some 250 bytes; witnesses add about 120 each.
pub const MAX_NOTE: usize = 16_384;

/// Why a text is no note, or no key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoteError {
    /// Not shaped like a signed note.
    #[error("not a signed note: {0}")]
    Shape(&'static str),
    /// Not shaped like a key.
    #[error("not a key: {0}")]
    Key(&'static str),
    /// No line is signed by this key.
    #[error("no signature by {0}")]
    Unsigned(String),
    /// A line says that this key signed it, and it did not.
    #[error("the signature by {0} is wrong")]
    Forged(String),
}

/// A public key with its name.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    key: VerifyingKey,
}

/// A secret key with its name. Cannot be printed.
pub struct Signer {
    name: String,
    key: SigningKey,
}

impl Signer {
    /// The key with this seed, under a name.
    ///
    /// # Errors
    /// A name that cannot stand in a note: empty, or with white space or a plus sign.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        Ok(Self { name: valid_name(name)?.to_owned(), key: SigningKey::from_bytes(seed) })
    }

    /// Parses `PRIVATE+KEY+name+hash+base64`.
    ///
    /// # Errors
    /// The text is no such key, or its hash is another key's.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let rest = text.trim_end().strip_prefix(PRIVATE).ok_or(NoteError::Key("not a private key"))?;
        let (name, hash, seed) = parse_key(rest)?;
        let signer = Self::from_seed(name, &seed)?;
        if hash == key_hash(name, &signer.key.verifying_key()) { Ok(signer) } else { Err(OTHER_HASH) }
    }

    /// The secret, as text. To be written to a private file and nowhere else.
    #[must_use]
    pub fn secret_text(&self) -> String {
        PRIVATE.to_owned()
            + &key_text(&self.name, key_hash(&self.name, &self.key.verifying_key()), self.key.as_bytes())
    }

    /// The same key under another name.
    ///
    /// # Errors
    /// As [`Signer::from_seed`].
    pub fn named(&self, name: &str) -> Result<Self, NoteError> {
        Self::from_seed(name, self.key.as_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        Verifier { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// Signs a text, which must end with a newline, and returns the whole note.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        let mut blob = key_hash(&self.name, &self.key.verifying_key()).to_vec();
        blob.extend_from_slice(&self.key.sign(text.as_bytes()).to_bytes());
        format!("{text}\n\u{2014} {} {}\n", self.name, BASE64_STANDARD.encode(blob))
    }
}

impl Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.name)
    }
}

impl Verifier {
    /// Parses `name+hash+base64`.
    ///
    /// # Errors
    /// The text is no such key, or its hash is another key's.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, hash, key) = parse_key(text.trim_end())?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_bad| NoteError::Key("no point of the curve"))?;
        if hash == key_hash(name, &key) { Ok(Self { name: name.to_owned(), key }) } else { Err(OTHER_HASH) }
    }

    /// The same key under another name.
    ///
    /// # Errors
    /// As [`Signer::from_seed`].
    pub fn named(&self, name: &str) -> Result<Self, NoteError> {
        Ok(Self { name: valid_name(name)?.to_owned(), key: self.key })
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text of a note that this key signed.
    ///
    /// # Errors
    /// Not a note, not signed by this key, or signed wrongly.
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        if note.len() > MAX_NOTE {
            return Err(NoteError::Shape("too long"));
        }
        if note.chars().any(|c| c.is_control() && c != '\n') {
            return Err(NoteError::Shape("control characters"));
        }
        let middle = note.rfind("\n\n").ok_or(NoteError::Shape("no empty line"))?;
        let (text, signatures) = note.split_at_checked(middle + 1).ok_or(NoteError::Shape("no text"))?;
        let signatures = signatures.strip_prefix('\n').ok_or(NoteError::Shape("no empty line"))?;
        if !signatures.ends_with('\n') {
            return Err(NoteError::Shape("the last line does not end"));
        }
        let hash = key_hash(&self.name, &self.key);
        for line in signatures.lines() {
            let line = line.strip_prefix("\u{2014} ").ok_or(NoteError::Shape("a line is no signature"))?;
            let (name, blob) = line.split_once(' ').ok_or(NoteError::Shape("a line is no signature"))?;
            let blob = BASE64_STANDARD.decode(blob).map_err(|_bad| NoteError::Shape("not base64"))?;
            let (key, signature) = blob.split_at_checked(4).ok_or(NoteError::Shape("a short signature"))?;
            if name == self.name && key == hash {
                return self.check(text, signature).map(|()| text);
            }
        }
        Err(NoteError::Unsigned(self.name.clone()))
    }

    fn check(&self, text: &str, signature: &[u8]) -> Result<(), NoteError> {
        let forged = || NoteError::Forged(self.name.clone());
        let signature = Signature::from_slice(signature).map_err(|_bad| forged())?;
        self.key.verify_strict(text.as_bytes(), &signature).map_err(|_bad| forged())
    }
}

impl Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&key_text(&self.name, key_hash(&self.name, &self.key), self.key.as_bytes()))
    }
}

impl Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({self})")
    }
}

const PRIVATE: &str = "PRIVATE+KEY+";
const OTHER_HASH: NoteError = NoteError::Key("its hash is another key's");

fn key_hash(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let whole: [u8; 32] = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', ED25519])
        .chain_update(key.as_bytes())
        .finalize()
        .into();
    whole.first_chunk().copied().unwrap_or_default()
}

fn key_text(name: &str, hash: [u8; 4], key: &[u8; 32]) -> String {
    let mut bytes = vec![ED25519];
    bytes.extend_from_slice(key);
    format!("{name}+{:08x}+{}", u32::from_be_bytes(hash), BASE64_STANDARD.encode(bytes))
}

fn parse_key(text: &str) -> Result<(&str, [u8; 4], [u8; 32]), NoteError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(NoteError::Key("not three parts"));
    };
    if hash.len() != 8 {
        return Err(NoteError::Key("its hash has not 8 digits"));
    }
    let hash = u32::from_str_radix(hash, 16).map_err(|_bad| NoteError::Key("its hash is not hex"))?;
    let bytes = BASE64_STANDARD.decode(key).map_err(|_bad| NoteError::Key("not base64"))?;
    match bytes.split_first() {
        Some((&ED25519, key)) => {
            let key = key.try_into().map_err(|_length| NoteError::Key("not 32 bytes"))?;
            Ok((valid_name(name)?, hash.to_be_bytes(), key))
        }
        Some(_) | None => Err(NoteError::Key("not Ed25519")),
    }
}

fn valid_name(name: &str) -> Result<&str, NoteError> {
    let bad = name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+');
    if bad { Err(NoteError::Key("a name without white space and plus signs is needed")) } else { Ok(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // From the documentation of golang.org/x/mod/sumdb/note.
    const GO_VERIFIER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const GO_SIGNER: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const GO_NOTE: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what \
        your problem is.\n\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfq\
        dngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn keys_and_notes_are_those_of_the_reference_implementation() {
        let signer = Signer::parse(GO_SIGNER).unwrap();
        assert_eq!(signer.secret_text(), GO_SIGNER);
        assert_eq!(signer.verifier().to_string(), GO_VERIFIER);
        let text = Verifier::parse(GO_VERIFIER).unwrap().open(GO_NOTE).unwrap().to_owned();
        assert_eq!(signer.sign(&text), GO_NOTE);
    }

    #[test]
    fn every_changed_byte_of_a_note_is_found() {
        let verifier = Verifier::parse(GO_VERIFIER).unwrap();
        for at in 0..GO_NOTE.len() {
            let mut bytes = GO_NOTE.as_bytes().to_vec();
            bytes[at] ^= 1;
            if let Ok(note) = std::str::from_utf8(&bytes) {
                assert!(verifier.open(note).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn a_note_signed_by_another_key_is_unsigned() {
        let other = Signer::from_seed("PeterNeumann", &[7; 32]).unwrap().verifier();
        assert_eq!(other.open(GO_NOTE), Err(NoteError::Unsigned("PeterNeumann".into())));
        assert!(Signer::from_seed("a b", &[7; 32]).is_err());
        assert!(!format!("{:?}", Signer::from_seed("ab", &[7; 32]).unwrap()).contains('7'));
    }
}
