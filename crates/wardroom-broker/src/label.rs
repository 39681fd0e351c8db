//! What a file of the store says of itself: whose credential it is, which value, since when. It stands in the file's
//! header as a line that other programs for age files skip, so that it can be read while the store is locked; and because
//! age authenticates its header, it is believed once the file has been decrypted, and only then.

use std::cell::RefCell;
use std::collections::HashSet;

use age::{DecryptError, EncryptError, x25519};
use age_core::format::{FileKey, Stanza};

/// The first word of our line.
const TAG: &str = "wardroom";
/// The format of our line.
const FORMAT: &str = "1";

/// Whose value, which, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The agent.
    pub agent: String,
    /// The credential, by its name in the policy.
    pub name: String,
    /// Counts the values of this credential, from 1.
    pub version: u64,
    /// Seconds since the epoch.
    pub set_at: u64,
}

impl Label {
    fn stanza(&self) -> Stanza {
        let args = [FORMAT.to_owned(), self.agent.clone(), self.name.clone()];
        let numbers = [self.version.to_string(), self.set_at.to_string()];
        Stanza { tag: TAG.to_owned(), args: args.into_iter().chain(numbers).collect(), body: Vec::new() }
    }

    fn from_words(words: &[impl AsRef<str>]) -> Option<Self> {
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        let [FORMAT, agent, name, version, set_at] = words[..] else { return None };
        Some(Self {
            agent: agent.to_owned(),
            name: name.to_owned(),
            version: version.parse().ok()?,
            set_at: set_at.parse().ok()?,
        })
    }

    /// Reads the line from the beginning of a file, without believing it: for showing and for counting.
    #[must_use]
    pub fn peek(file: &[u8]) -> Option<Self> {
        let lines = file.split(|byte| *byte == b'\n').take_while(|line| !line.starts_with(b"---"));
        let found = lines.filter_map(|line| std::str::from_utf8(line.strip_prefix(b"-> ")?).ok());
        let mut ours = found.filter_map(|line| line.strip_prefix(TAG)?.strip_prefix(' '));
        Self::from_words(&ours.next()?.split(' ').collect::<Vec<_>>())
    }
}

/// The host's recipient, with a label for the header.
pub(crate) struct Labelled<'a> {
    pub(crate) recipient: &'a x25519::Recipient,
    pub(crate) label: &'a Label,
}

impl age::Recipient for Labelled<'_> {
    fn wrap_file_key(&self, key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let (mut stanzas, labels) = self.recipient.wrap_file_key(key)?;
        stanzas.push(self.label.stanza());
        Ok((stanzas, labels))
    }
}

/// The host's identity; remembers the label of the file that it was shown.
pub(crate) struct Reading<'a> {
    pub(crate) identity: &'a x25519::Identity,
    pub(crate) seen: RefCell<Option<Label>>,
}

impl age::Identity for Reading<'_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.identity.unwrap_stanza(stanza)
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        let ours = stanzas.iter().find(|stanza| stanza.tag == TAG);
        *self.seen.borrow_mut() = ours.and_then(|stanza| Label::from_words(&stanza.args));
        self.identity.unwrap_stanzas(stanzas)
    }
}
