//! Builds a cell from a plan, and guards it: the system call filter as data, and the loop that answers for it.

pub mod filter;
