//! A scribe whose calls about files are asked about first: the test is its disk.

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};

use wardroom_kernel::notify::{Listener, Notification, Reply};
use wardroom_kernel::seccomp::{Action, FilterRule, compile, install_with_listener};
use wardroom_kernel::{calls, remote};
use wardroom_scribe::{Keeping, ScribeError, ScribeSetup, serve_keeping};

/// The calls that are asked about.
const ASKED: &[&str] =
    &["openat", "write", "pwrite64", "fdatasync", "fsync", "renameat", "unlinkat", "ftruncate", "fadvise64"];

/// One of them, before it is made.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) call: &'static str,
    notification: Notification,
}

impl Asked {
    pub(crate) fn argument(&self, at: usize) -> u64 {
        self.notification.arguments[at]
    }

    /// The file behind the first argument. The scribe is a thread of this process.
    pub(crate) fn file(&self) -> PathBuf {
        std::fs::read_link(format!("/proc/self/fd/{}", self.argument(0))).unwrap()
    }

    /// Where a `write` writes.
    pub(crate) fn position(&self) -> u64 {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.argument(0))).unwrap();
        info.lines().find_map(|line| line.strip_prefix("pos:")).unwrap().trim().parse().unwrap()
    }

    pub(crate) fn name(&self, argument: usize) -> String {
        let name = remote::c_string(self.notification.thread, self.argument(argument)).unwrap();
        String::from_utf8(name).unwrap()
    }

    pub(crate) fn data(&self) -> Vec<u8> {
        let mut data = vec![0; usize::try_from(self.argument(2)).unwrap()];
        remote::bytes(self.notification.thread, self.argument(1), &mut data).unwrap();
        data
    }
}

/// Whether this is a file of the ledger with this ending.
pub(crate) fn ends(path: &Path, ending: &str) -> bool {
    path.to_str().unwrap().ends_with(ending)
}

/// Starts a scribe, and a judge of its calls, who ends with it.
pub(crate) fn serve(
    setup: ScribeSetup,
    keeping: Keeping,
    mut judge: impl FnMut(&Asked) -> Reply + Send + 'static,
) -> JoinHandle<Result<(), ScribeError>> {
    let (tell, told) = channel();
    let scribe = thread::spawn(move || {
        let rule = |name: &&str| FilterRule {
            call: calls::number(name).unwrap(),
            when: &[],
            action: Action::Notify,
        };
        let program = compile(&ASKED.iter().map(rule).collect::<Vec<_>>(), Action::Allow).unwrap();
        rustix::thread::set_no_new_privs(true).unwrap();
        tell.send(install_with_listener(&program).unwrap()).unwrap();
        serve_keeping(setup, keeping)
    });
    let listener = Listener::new(told.recv().unwrap()).unwrap();
    thread::spawn(move || {
        loop {
            match listener.receive().unwrap() {
                Some(notification) => {
                    let name = calls::name(notification.call).unwrap();
                    let asked = Asked { call: name, notification };
                    let _lives = listener.answer(asked.notification.id, judge(&asked)).unwrap();
                }
                None if listener.is_over().unwrap() => return,
                None => {}
            }
        }
    });
    scribe
}
