//! The store of credentials, and the process that opens it, asks their sources, and hands an agent's gate the values that
//! it may put into requests. It never speaks with an agent, and never writes a value anywhere but into the store.

pub mod clock;
pub mod custody;
mod keyring;
mod label;
pub mod run;
pub mod store;

pub use custody::{Custody, CustodyError, Keep, Setup};
pub use label::Label;
pub use store::{Held, State, Store, StoreError};
