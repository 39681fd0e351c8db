//! The process that owns a ledger, and the ring through which records reach it.

pub mod handoff;

pub use handoff::{Handoff, HandoffError, Receipt};
