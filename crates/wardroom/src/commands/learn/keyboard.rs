//! The operator's lines, typed at a terminal. What ended stays ended: a terminal says so once, and would be waited for for ever
//! by whoever asked again.

use std::io::{Stdin, stdin};

use rustix::io::{Errno, read, retry_on_intr};
use rustix::termios::{InputModes, LocalModes, OptionalActions, OutputModes, Termios, tcgetattr, tcsetattr};

use crate::failure::let_go;

/// Where lines come from.
#[derive(Debug)]
pub(super) struct Keyboard {
    terminal: Stdin,
    /// What has come and is no line yet, or is the next ones: an operator may paste several answers at once.
    come: Vec<u8>,
    ended: bool,
    /// How the terminal was, where that had to be changed.
    before: Option<Termios>,
}

impl Keyboard {
    /// Makes the terminal one that gives lines, and shows them: a program that ran on it may have left it otherwise, and Enter
    /// would then end none.
    pub(super) fn begin() -> Self {
        let terminal = stdin();
        // A terminal that cannot be asked is read as it is.
        let before = tcgetattr(&terminal).ok().filter(|modes| {
            let mut wanted = modes.clone();
            wanted.input_modes.insert(InputModes::ICRNL);
            wanted.input_modes.remove(InputModes::IGNCR | InputModes::INLCR);
            wanted.output_modes.insert(OutputModes::OPOST | OutputModes::ONLCR);
            wanted.local_modes.insert(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
            let same = wanted.input_modes == modes.input_modes
                && wanted.output_modes == modes.output_modes
                && wanted.local_modes == modes.local_modes;
            !same && tcsetattr(&terminal, OptionalActions::Now, &wanted).is_ok()
        });
        Self { terminal, come: Vec::new(), ended: false, before }
    }

    /// The next line, without its end and the blanks around it; none where no more will come.
    pub(super) fn line(&mut self) -> Result<Option<String>, Errno> {
        loop {
            // Enter is a carriage return where it was typed before the terminal was made to give lines.
            if let Some(end) = self.come.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
                let line: Vec<u8> = self.come.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim().to_owned()));
            }
            if self.ended {
                return Ok(None);
            }
            let mut bytes = [0; 4096];
            match retry_on_intr(|| read(&self.terminal, &mut bytes)) {
                // The terminal is gone.
                Ok(0) | Err(Errno::IO) => {
                    self.ended = true;
                    // What was typed before the end is an answer as well.
                    if !self.come.is_empty() {
                        self.come.push(b'\n');
                    }
                }
                Ok(length) => self.come.extend(bytes.iter().take(length)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether no more lines will come.
    pub(super) fn has_ended(&self) -> bool {
        self.ended && self.come.is_empty()
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // A terminal that is gone needs nothing.
            let_go(tcsetattr(&self.terminal, OptionalActions::Now, before));
        }
    }
}
