//! The process that owns a ledger, and the ring through which records reach it.

pub mod clock;
pub mod control;
mod fit;
pub mod handoff;
mod hint;
pub mod key;
mod levels;
mod message;
mod open;
pub mod place;
pub mod rings;
mod segment;
pub mod serve;
mod store;

pub use control::{FromScribe, ToScribe, hear, say};
pub use handoff::{Handoff, HandoffError, Receipt, RingSwitch};
pub use rings::{RingFileError, create_ring};
pub use serve::{ScribeError, ScribeSetup, serve};
pub use store::StoreError;
pub use wardroom_ledger::Producer;
