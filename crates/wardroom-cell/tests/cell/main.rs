//! Real cells on the running kernel, each case in a process of its own, as root (system mode) and as an unprivileged
//! user (user mode).
//!
//! `cargo test -p wardroom-cell --test cell [-- WORD...]`

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test harness talks to people")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod building;
mod guarded;
mod harness;
mod hostile;
mod living;
mod sockets;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cases = [building::CASES, living::CASES, hostile::CASES, guarded::CASES, sockets::CASES].concat();
    harness::run(&cases)
}
