//! Attempts at what no agent may do, for `wardroom verify`: each is a real system call, made so that nothing is
//! harmed where it succeeds.
//!
//! Nothing here is used by the containment itself, and nothing here decides anything: a function makes its attempt and
//! says what the kernel answered.

pub mod bare;
pub mod calls;
pub mod process;
pub mod terminal;
