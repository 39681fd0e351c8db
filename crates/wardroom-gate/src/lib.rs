//! The gate: an agent's only way out. Resolver, transparent gateway, TLS names.
//!
//! It lives in the host's network namespace and serves sockets that live in the cell's. It parses hostile bytes all day,
//! so it runs as a process of its own, with no capability and no file to write. It decides nothing itself (the policy
//! does), and it does nothing that is not on record first.
//!
//! Architecture invariant: no question of an agent's resolver leaves the machine; a name is looked up when, and only
//! when, a permitted and recorded connection to it is dialled ([`dial`]).

mod attempt;
mod attribution;
mod authority;
mod clock;
pub mod control;
mod credential;
mod dial;
mod filter;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gate;
mod gateway;
mod greeting;
mod harden;
mod hello;
mod inspect;
mod inspection;
mod limits;
mod meter;
mod packets;
pub mod placeholder;
mod record;
mod relay;
mod resolver;
mod serve;
mod synthetic;
mod tally;
mod upstream;
mod vigil;
mod watched;

pub use authority::{AuthorityError, AuthorityParts, Issued, certify, new_key};
pub use harden::HardenError;
pub use inspection::{Inspection, InspectionError};
pub use meter::{Counters, CountersError, ModelPrice, PerMillion, PriceError, Prices, Rate, Tokens, Usage};
pub use serve::{GateError, GateSetup, serve};
pub use synthetic::GENERATIONS;
pub use upstream::Resolvers;
