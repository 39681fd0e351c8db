//! Checkpoints (c2sp.org/tlog-checkpoint): the origin, the size and the root of a ledger, signed.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use thiserror::Error;

use crate::note::{NoteError, Signer, Verifier};
use crate::tree::{Hash, Tree};

/// A statement about a ledger at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which ledger: `host/agent`.
    pub origin: String,
    /// Records covered.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// Why a note is no checkpoint of this ledger.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// The note or its signature.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The text is not a checkpoint's.
    #[error("not a checkpoint: {0}")]
    Shape(&'static str),
    /// A checkpoint of another ledger.
    #[error("a checkpoint of {0}, another ledger")]
    OtherOrigin(String),
}

impl Checkpoint {
    /// The checkpoint of a tree.
    #[must_use]
    pub fn of(origin: &str, tree: &Tree) -> Self {
        Self { origin: origin.to_owned(), size: tree.size(), root: tree.root() }
    }

    /// The signed note.
    #[must_use]
    pub fn sign(&self, signer: &Signer) -> String {
        signer.sign(&format!("{}\n{}\n{}\n", self.origin, self.size, BASE64_STANDARD.encode(self.root.0)))
    }

    /// Opens a signed note. The key's name is the ledger's origin, and a note of another origin is refused.
    ///
    /// # Errors
    /// Unsigned, forged, malformed, or another ledger's.
    pub fn open(note: &str, verifier: &Verifier) -> Result<Self, CheckpointError> {
        let text = verifier.open(note)?;
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::Shape("fewer than three lines"));
        };
        if origin != verifier.name() {
            return Err(CheckpointError::OtherOrigin(origin.to_owned()));
        }
        let decimal = size.bytes().all(|b| b.is_ascii_digit()) && (size == "0" || !size.starts_with('0'));
        let size =
            size.parse().ok().filter(|_| decimal).ok_or(CheckpointError::Shape("its size is no number"))?;
        let root = BASE64_STANDARD.decode(root).ok().and_then(|root| root.try_into().ok());
        let root = root.ok_or(CheckpointError::Shape("its root is no hash"))?;
        Ok(Self { origin: origin.to_owned(), size, root: Hash(root) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;

    #[test]
    fn a_checkpoint_survives_its_note_and_belongs_to_one_origin() {
        let signer = Signer::from_seed("host/scout", &[1; 32]).unwrap();
        let mut tree = Tree::new();
        tree.push(tree::leaf(b"first"), |_, _| {});
        let checkpoint = Checkpoint::of("host/scout", &tree);
        let note = checkpoint.sign(&signer);
        assert!(note.starts_with("host/scout\n1\n"), "{note}");
        assert_eq!(Checkpoint::open(&note, &signer.verifier()).unwrap(), checkpoint);
        let other = Checkpoint::of("host/other", &tree).sign(&signer);
        assert!(matches!(
            Checkpoint::open(&other, &signer.verifier()),
            Err(CheckpointError::OtherOrigin(origin)) if origin == "host/other"
        ));
    }
}
