//! The `wardroom` binary: the command line at the edge, the keeper in the middle, and the roles that it starts
//! itself again in (`__scribe`, `__gate`).

mod called;
mod cli;
mod clock;
mod commands;
mod demo;
mod failure;
mod keeper;
mod layout;
mod ledger_key;
mod places;
mod screen;
mod signals;
mod verify;

use std::io::ErrorKind;
use std::process::ExitCode;

use wardroom_model::exit::Exit;

fn main() -> ExitCode {
    if let Some(role) = cli::Role::of(std::env::args_os()) {
        return ExitCode::from(keeper::play(&role).unwrap_or_else(|failure| failure.tell()));
    }
    let code = match cli::Cli::read() {
        Ok(cli) => commands::perform(cli).unwrap_or_else(|failure| failure.tell()),
        Err(usage) => {
            let code = if usage.use_stderr() { Exit::Usage.code() } else { 0 };
            match usage.print() {
                Ok(()) => code,
                Err(error) if error.kind() == ErrorKind::BrokenPipe => code,
                Err(error) => {
                    screen::talk(&format!("wardroom: standard output cannot be written: {error}"));
                    Exit::Internal.code()
                }
            }
        }
    };
    // What an agent or a finding says counts first.
    let lost = code == 0 && screen::data_was_lost();
    ExitCode::from(if lost { Exit::Internal.code() } else { code })
}
