//! The nouns of Wardroom: names, addresses, records, reasons and plans.
//!
//! Everything here is a value. Nothing in this crate performs I/O, reads a clock or draws randomness;
//! a value that exists is valid, because its constructor is the only way to make one.

pub mod attribution;
pub mod bytes;
pub mod credential;
pub mod event;
pub mod exit;
pub mod name;
pub mod plan;
pub mod reason;
pub mod request;
pub mod secret;
pub mod supply;
pub mod time;

pub use attribution::Attribution;
pub use bytes::Captured;
pub use event::{Event, Kind};
pub use name::{AgentName, HostName, HostPattern};
pub use reason::{Outcome, Reason, RuleRef, Verdict};
pub use secret::Secret;
pub use supply::{Material, Supply};
pub use time::Stamp;
