//! The process that owns a ledger, and the ring through which records reach it.

pub mod clock;
mod confine;
pub mod control;
mod desks;
pub mod export;
mod filter;
mod fit;
pub mod handoff;
mod hint;
pub mod key;
mod levels;
mod message;
mod open;
pub mod place;
pub mod read;
pub mod retire;
pub mod rings;
pub mod seal;
pub mod segment;
pub mod serve;
mod store;
pub mod verify;

pub use confine::ConfineError;
pub use control::{FromScribe, ToScribe, hear, say};
pub use export::{ExportError, export, export_lines};
pub use handoff::{Handoff, HandoffError, Receipt, RingSwitch};
pub use read::{Records, records};
pub use retire::Retention;
pub use rings::{RingFileError, create_ring};
pub use segment::SegmentError;
pub use serve::{Keeping, ScribeError, ScribeSetup, serve, serve_keeping};
pub use store::StoreError;
pub use verify::{Verification, VerifyError, verify};
pub use wardroom_ledger::Producer;
