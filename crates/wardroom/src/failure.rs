//! Failures as the operator meets them: one clear message with a remedy, and an exit code of its own.

use std::fmt::{self, Display};

use wardroom_model::exit::Exit;

use crate::screen;

/// A failure on its way to the edge.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    cause: anyhow::Error,
}

/// What a command returns: the process's exit code, or a failure.
pub(crate) type Done = Result<u8, Failure>;

impl Failure {
    /// A failure from a message.
    pub(crate) fn new(exit: Exit, message: impl Display) -> Self {
        Self { exit, cause: anyhow::anyhow!("{message}") }
    }

    /// The exit code that it has for a script.
    pub(crate) fn code(&self) -> u8 {
        self.exit.code()
    }

    /// Says it on stderr, once, and gives the exit code.
    pub(crate) fn tell(&self) -> u8 {
        screen::talk(&format!("wardroom: {self}"));
        self.exit.code()
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.cause)
    }
}

/// Lets an error go. The comment beside each call says why it does not matter there.
pub(crate) fn let_go<T, E>(result: Result<T, E>) {
    drop(result);
}

/// Gives an error the exit code that a script will see.
pub(crate) trait OrExit<T> {
    /// Attaches an exit code.
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|cause| Failure { exit, cause: cause.into() })
    }
}
