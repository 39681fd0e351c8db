//! The process that owns a ledger, and the ring through which records reach it.

pub mod clock;
mod fit;
pub mod handoff;
mod message;
pub mod place;
pub mod rings;

pub use handoff::{Handoff, HandoffError, Receipt, RingSwitch};
pub use rings::{RingFileError, create_ring};
pub use wardroom_ledger::Producer;
