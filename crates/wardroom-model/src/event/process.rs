//! What the guard sees of programs: what they execute, what they do to files, which calls are refused.

use minicbor::{Decode, Encode};

use super::Actor;
use crate::bytes::Captured;
use crate::reason::Verdict;

/// An exec, recorded before it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Exec {
    /// Who executes.
    #[n(0)]
    pub actor: Actor,
    /// The path as given.
    #[n(1)]
    pub path: Captured,
    /// The arguments, NUL-separated, cut at a bound with the digest of the whole.
    #[n(2)]
    pub arguments: Captured,
    /// The working directory.
    #[n(3)]
    pub directory: Captured,
    /// The script's interpreter, where the file starts with `#!`.
    #[n(4)]
    pub interpreter: Option<Captured>,
    /// What became of it.
    #[n(5)]
    pub verdict: Verdict,
}

/// The image after an exec.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Image {
    /// The process, with the image it runs now.
    #[n(0)]
    pub actor: Actor,
    /// Device number of the image.
    #[n(1)]
    pub device: u64,
    /// Inode number of the image.
    #[n(2)]
    pub inode: u64,
    /// What had been announced, when the image is something else.
    #[n(3)]
    pub announced: Option<Captured>,
    /// The arguments that it was loaded with, a script's and its interpreter's with them, where they are not those of the exec
    /// on record, nor what that leads to as far as the guard can tell (a path through `/proc` it does not follow).
    #[n(4)]
    pub arguments: Option<Captured>,
}

/// The end of a process.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ProcessExit {
    /// Who ended.
    #[n(0)]
    pub actor: Actor,
    /// The wait status's exit code or 128 + signal; none where this kernel does not tell (before 6.15).
    #[n(1)]
    pub status: Option<u32>,
    /// What it had announced to execute last, when it ended before anybody could see whether, or what, it did.
    #[n(2)]
    pub unseen: Option<Captured>,
}

/// What was done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
#[expect(missing_docs, reason = "the names of the operations they record")]
pub enum FileOp {
    #[n(0)]
    OpenWrite,
    #[n(1)]
    Create,
    #[n(2)]
    Truncate,
    #[n(3)]
    Delete,
    #[n(4)]
    Rename,
    #[n(5)]
    Link,
    #[n(6)]
    Symlink,
    #[n(7)]
    MakeDirectory,
    #[n(8)]
    ChangeMode,
    #[n(9)]
    ChangeOwner,
    #[n(10)]
    SetAttribute,
    /// An open of a path on the list of sensitive ones, for reading.
    #[n(11)]
    ReadSensitive,
    #[n(12)]
    MakeNode,
    #[n(13)]
    RemoveAttribute,
}

/// A file event.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FileAct {
    /// Who.
    #[n(0)]
    pub actor: Actor,
    /// What.
    #[n(1)]
    pub op: FileOp,
    /// The path, made absolute as seen inside the cell, not resolved.
    #[n(2)]
    pub path: Captured,
    /// The other path of a rename, link or symlink.
    #[n(3)]
    pub other: Option<Captured>,
    /// Mode bits, where the call carries them.
    #[n(4)]
    pub mode: Option<u32>,
    /// What became of it.
    #[n(5)]
    pub verdict: Verdict,
}

/// A refused system call.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Privilege {
    /// Who.
    #[n(0)]
    pub actor: Actor,
    /// The call, by name.
    #[n(1)]
    pub call: String,
    /// Its arguments, as the registers held them.
    #[n(2)]
    pub arguments: [u64; 6],
    /// What the call's pointer named, where that is readable and of use (a mount's target, ...).
    #[n(3)]
    pub detail: Option<Captured>,
    /// Always a refusal.
    #[n(4)]
    pub verdict: Verdict,
    /// How many such calls this record stands for, 1 unless coalesced.
    #[n(5)]
    pub count: u64,
}
