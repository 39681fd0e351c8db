//! Checking a ledger: frames in, one finding out, with the place of the first fault.
//!
//! Three things can disagree: the frames, the hashes stored beside them, and the signed checkpoints. Frames that
//! lead to the signed root are right whatever the stored hashes say; where they do not, the stored hashes tell
//! which record was changed, and where those were changed as well, the checkpoints at the segments' ends tell
//! between which two it happened.

use std::cmp::Reverse;
use std::fmt::{self, Display};

use thiserror::Error;

use crate::checkpoint::Checkpoint;
use crate::frame::{self, Frame, FrameFault};
use crate::tree::{self, Hash, Stored, Tree};

/// What `verify` found. Each has an exit code of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Every record is what was signed.
    Intact,
    /// Something was changed, removed, inserted, swapped or forged, here.
    Tampered(Fault),
    /// The end is missing.
    Truncated {
        /// Whole records that are there.
        found: u64,
        /// Records that the ledger's own checkpoint covers.
        covered: u64,
    },
    /// Everything signed is there; what follows is not signed yet, or cut off in the middle of a record.
    IncompleteTail {
        /// Whole records behind the checkpoint.
        unsigned: u64,
        /// Bytes behind the last whole record.
        broken: u64,
    },
    /// Right in itself, and older than a checkpoint kept elsewhere.
    Stale {
        /// Records here.
        found: u64,
        /// Records of the checkpoint kept elsewhere.
        kept: u64,
    },
}

/// Where something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, as far as it can be said.
    pub file: String,
    /// The record.
    pub sequence: Option<u64>,
    /// The byte in the (uncompressed) file at which the record starts.
    pub offset: Option<u64>,
    /// What is wrong there.
    pub what: FaultKind,
}

/// What is wrong at a place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FaultKind {
    /// Bytes that are no record.
    #[error("not a record: {0}")]
    Frame(#[from] FrameFault),
    /// A record that belongs elsewhere.
    #[error("record {0} stands here")]
    Sequence(u64),
    /// The record is not the one that was hashed when it was written.
    #[error("the record was changed: it is not the one that was hashed into the tree")]
    Changed,
    /// The stored hash is wrong; the record itself is as it was signed.
    #[error("the stored hash was changed; the record is as it was signed")]
    StoredHash,
    /// The root is another than the signed one. Between the two sizes something was changed, with its hashes.
    #[error("the records from {from} to {to} do not lead to the signed root")]
    Root {
        /// Records up to here are right.
        from: u64,
        /// Records up to here are not.
        to: u64,
    },
    /// A segment is missing, and no record says that it was retired.
    #[error("records are missing here, and no record says that they were retired")]
    Missing,
    /// A compressed block does not decompress to what its header says.
    #[error("a compressed block is damaged")]
    Block,
    /// A signed note is missing, or its signature or origin is wrong.
    #[error("{0}")]
    Note(String),
    /// The index does not describe its segment: `log` could pass over records.
    #[error("the index does not describe its segment")]
    Index,
    /// Not the history that a checkpoint kept elsewhere was made of.
    #[error("another history than the one of the checkpoint kept elsewhere")]
    OtherHistory,
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(sequence) = self.sequence {
            write!(f, ", record {sequence}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, ", byte {offset}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intact => f.write_str("intact"),
            Self::Tampered(fault) => write!(f, "tampered: {fault}"),
            Self::Truncated { found, covered } => {
                write!(f, "truncated: {found} records are here, {covered} were signed")
            }
            Self::IncompleteTail { unsigned, broken } => {
                write!(
                    f,
                    "incomplete tail: {unsigned} records not signed yet, {broken} bytes of a broken one"
                )
            }
            Self::Stale { found, kept } => {
                write!(f, "stale: {found} records are here, a checkpoint kept elsewhere covers {kept}")
            }
        }
    }
}

/// The walk over all frames.
#[derive(Debug)]
pub struct Audit {
    tree: Tree,
    /// Checkpoints to be met on the way, by size.
    due: Vec<Checkpoint>,
    /// The size up to which a checkpoint was met.
    proven: u64,
    /// The first record whose stored hash is another.
    differs: Option<Fault>,
}

impl Audit {
    /// Starts behind `tree`: the empty one, or that of records which were retired. Checkpoints in `due` are compared
    /// when their size is reached.
    #[must_use]
    pub fn new(tree: Tree, mut due: Vec<Checkpoint>) -> Self {
        due.sort_by_key(|checkpoint| Reverse(checkpoint.size));
        let mut audit = Self { proven: tree.size(), tree, due, differs: None };
        audit.due.retain(|checkpoint| checkpoint.size >= audit.proven);
        audit
    }

    /// Records so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The root so far.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    /// Takes the frame at the start of `rest`, which lies at `offset` of `file`, and compares it with the hashes that
    /// were stored beside it, as far as there are any.
    ///
    /// # Errors
    /// The first fault; the walk is over.
    pub fn frame<'a>(
        &mut self,
        file: &str,
        offset: u64,
        rest: &'a [u8],
        stored: &mut impl Stored,
    ) -> Result<Frame<'a>, Fault> {
        let sequence = self.size();
        let fault =
            |what| Fault { file: file.to_owned(), sequence: Some(sequence), offset: Some(offset), what };
        let frame = frame::read(rest).map_err(|why| fault(why.into()))?;
        if frame.head.sequence != sequence {
            return Err(fault(FaultKind::Sequence(frame.head.sequence)));
        }
        let mut same = true;
        self.tree.push(tree::leaf(frame.bytes), |level, hash| {
            let index = sequence.checked_shr(u32::from(level) * 8).unwrap_or(0);
            same &= stored.hash(level, index).is_none_or(|stored| stored == hash);
        });
        if !same && self.differs.is_none() {
            self.differs = Some(fault(FaultKind::Changed));
        }
        self.meet(file)?;
        Ok(frame)
    }

    /// Compares with the checkpoints of the present size.
    ///
    /// # Errors
    /// The root is another.
    pub fn meet(&mut self, file: &str) -> Result<(), Fault> {
        while let Some(checkpoint) = self.due.pop_if(|checkpoint| checkpoint.size == self.tree.size()) {
            if checkpoint.root != self.tree.root() {
                return Err(self.root_differs(file));
            }
            self.proven = checkpoint.size;
            // The frames are as signed, so a stored hash that differs is itself what was changed.
            if let Some(fault) = self.differs.take() {
                return Err(Fault {
                    what: FaultKind::StoredHash,
                    file: "hashes".to_owned(),
                    offset: None,
                    ..fault
                });
            }
        }
        Ok(())
    }

    /// The first record whose stored hash differs, where no checkpoint has decided yet which of the two is right.
    #[must_use]
    pub fn differs(&self) -> Option<&Fault> {
        self.differs.as_ref()
    }

    fn root_differs(&mut self, file: &str) -> Fault {
        let (from, to) = (self.proven, self.tree.size());
        self.differs.take().unwrap_or_else(|| Fault {
            file: file.to_owned(),
            sequence: Some(from),
            offset: None,
            what: FaultKind::Root { from, to },
        })
    }
}
