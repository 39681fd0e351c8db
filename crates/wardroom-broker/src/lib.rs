//! The store of credentials, and the process that opens it, asks their sources, and hands an agent's gate the values that
//! it may put into requests. It never speaks with an agent, and never writes a value anywhere but into the store.

pub mod clock;
mod confine;
pub mod control;
pub mod custody;
#[cfg(test)]
mod double;
mod ending;
mod exchange;
pub mod fetch;
mod keyring;
mod label;
mod line;
pub mod probe;
pub mod programs;
mod raw;
pub mod run;
mod serve;
pub mod store;
mod vault;
pub mod web;

pub use confine::ConfineError;
pub use custody::{Custody, CustodyError, Keep, Setup};
pub use ending::{Extent, GivenBack, stored_ends_at};
pub use fetch::{FetchError, Got, Programs, Sources, check};
pub use label::Label;
pub use line::step;
pub use raw::without_line_end;
pub use serve::{BrokerError, BrokerSetup, serve};
pub use store::{Held, Sealed, State, Store, StoreError};
pub use web::Web;
