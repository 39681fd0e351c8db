//! A command at a terminal, as a person uses it.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::unwrap_used,
    reason = "each test binary uses its own part of this module"
)]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::common::{Stage, until};

/// A command at a terminal of its own.
pub(crate) struct Terminal {
    pub(crate) child: Child,
    pub(crate) keyboard: File,
    screen: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
    answered: usize,
}

impl Terminal {
    pub(crate) fn run(stage: &Stage, arguments: &[&str]) -> Self {
        Self::start(stage.command(arguments))
    }

    pub(crate) fn start(command: Command) -> Self {
        Self::prepared(command, |_| {})
    }

    /// At a terminal that was made ready first.
    pub(crate) fn prepared(mut command: Command, prepare: impl FnOnce(&OwnedFd)) -> Self {
        let (master, name) = pair();
        tcsetwinsize(&master, Winsize { ws_row: 31, ws_col: 97, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        prepare(&master);
        let child = command.stdin(open(&name)).stdout(open(&name)).stderr(open(&name)).spawn().unwrap();
        let keyboard = File::from(master);
        let (mut reading, screen) = (keyboard.try_clone().unwrap(), Arc::new(Mutex::new(String::new())));
        let shown = Arc::clone(&screen);
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = reading.read(&mut bytes) {
                shown.lock().unwrap().push_str(&String::from_utf8_lossy(bytes.get(..read).unwrap()));
            }
        });
        Self { child, keyboard, screen, reader, answered: 0 }
    }

    /// The same, at a terminal that nobody reads while the second of these lives.
    pub(crate) fn unread(mut command: Command) -> (Child, OwnedFd) {
        let (master, name) = pair();
        let child = command.stdin(open(&name)).stdout(open(&name)).stderr(open(&name)).spawn().unwrap();
        (child, master)
    }

    pub(crate) fn shown(&self) -> String {
        self.as_sent().replace('\r', "")
    }

    /// What the terminal got, with the returns.
    pub(crate) fn as_sent(&self) -> String {
        self.screen.lock().unwrap().clone()
    }

    /// Waits until the screen shows a text behind the last answer, and then types.
    pub(crate) fn answer(&mut self, wanted: &str, answer: &str) {
        let place =
            || self.shown().get(self.answered..).and_then(|new| Some(new.find(wanted)? + wanted.len()));
        until(wanted, || {
            place().is_some_and(|end| {
                self.shown().get(self.answered + end..).unwrap().contains("? ") || wanted.contains('?')
            })
        });
        self.answered = self.shown().len();
        writeln!(self.keyboard, "{answer}").unwrap();
    }

    /// Types these bytes, and no Enter behind them.
    pub(crate) fn types(&mut self, bytes: &[u8]) {
        self.answered = self.shown().len();
        self.keyboard.write_all(bytes).unwrap();
    }

    pub(crate) fn end(mut self) -> (i32, String) {
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        // The terminal may still hold what was said last; it ends when nobody has it open any more.
        self.reader.join().unwrap();
        let shown = self.screen.lock().unwrap().replace('\r', "");
        (code, shown)
    }
}

/// The outer end of a terminal, and the name of its inner one.
fn pair() -> (OwnedFd, CString) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    (master, name)
}

fn open(name: &CStr) -> OwnedFd {
    File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap().into()
}
