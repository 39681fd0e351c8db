//! The log: extend, checkpoint, prove, verify, on bytes alone.
//!
//! Nothing here performs I/O, reads a clock or draws randomness. The scribe owns the files; this crate says what
//! the bytes in them mean, and anyone with a copy and the public key can check them with it.

pub mod audit;
pub mod checkpoint;
pub mod facets;
pub mod frame;
pub mod index;
pub mod layout;
pub mod note;
pub mod numbers;
pub mod ocsf;
pub mod origin;
pub mod proof;
pub mod record;
pub mod show;
pub mod tree;
pub mod words;

pub use audit::{Audit, Fault, FaultKind, Finding};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use frame::{Frame, FrameFault, Head};
pub use note::{NoteError, Signer, Verifier};
pub use origin::Producer;
pub use record::{Filter, Query, Record};
pub use tree::{Hash, Tree};
