//! `wardroom verify`: the containment, proven on the user's own machine. Attempts run as the agent in a cell of its own
//! policy; each has a positive control, and each must have left its record. What could not be tried is never a pass.

mod attempt;
mod dns;
mod fixtures;
mod outcome;
mod probe;
pub(crate) mod role;
mod rows;
mod scene;
mod trace;
