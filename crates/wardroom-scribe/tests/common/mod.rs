//! What the tests of the scribe share: a scribe in a thread and the keeper's end of its control connection.
#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use wardroom_ledger::Verifier;
use wardroom_model::event::{Event, Supervision};
use wardroom_scribe::{
    FromScribe, Handoff, Keeping, Producer, RingSwitch, ScribeError, ScribeSetup, ToScribe, create_ring,
    hear, say, serve_keeping,
};

pub(crate) const ORIGIN: &str = "host/test";

/// A record that can be told from others.
pub(crate) fn event(text: &str) -> Event {
    Event::Supervision(Supervision { process: "test".into(), what: text.into() })
}

/// A running scribe.
pub(crate) struct Running {
    pub(crate) thread: JoinHandle<Result<(), ScribeError>>,
    pub(crate) control: OwnedFd,
}

pub(crate) fn setup(base: &Path, producers: &[Producer]) -> (ScribeSetup, OwnedFd) {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let ledger_dir = base.join("ledger");
    let rings = producers.iter().map(|p| (*p, create_ring(&ledger_dir, *p).unwrap())).collect();
    let key_dir = base.join("keys");
    (ScribeSetup { ledger_dir, key_dir, origin: ORIGIN.into(), rings, control: theirs }, ours)
}

pub(crate) fn start(base: &Path, producers: &[Producer], keeping: Keeping) -> Running {
    let (setup, control) = setup(base, producers);
    Running { thread: thread::spawn(move || serve_keeping(setup, keeping)), control }
}

impl Running {
    /// Tells it to finish, and returns how many records there are.
    pub(crate) fn finish(self) -> u64 {
        say(&self.control, &ToScribe::Finish).unwrap();
        let mut records = 0;
        while let Ok(Some(said)) = hear::<FromScribe>(&self.control) {
            if let FromScribe::Finished { records: all } = said {
                records = all;
            }
        }
        self.thread.join().unwrap().unwrap();
        records
    }
}

pub(crate) fn attach(base: &Path, producer: Producer) -> Handoff {
    Handoff::attach(create_ring(&base.join("ledger"), producer).unwrap(), producer).unwrap()
}

pub(crate) fn verifier(base: &Path) -> Verifier {
    wardroom_scribe::key::host_key(&base.join("keys"), ORIGIN).unwrap().verifier()
}

/// A ledger of `count` records, in segments of `segment_bytes`.
pub(crate) fn written(base: &Path, count: u64, segment_bytes: u64) {
    let keeping = Keeping { segment_bytes, ..Keeping::default() };
    let scribe = start(base, &[Producer::Keeper], keeping);
    let handoff = attach(base, Producer::Keeper);
    let ring = RingSwitch::new(&create_ring(&base.join("ledger"), Producer::Keeper).unwrap()).unwrap();
    for n in 0..count {
        let _receipt = handoff.record(&event(&format!("record {n}"))).unwrap();
        // So that segments end where they should: the scribe takes all that is there in one go.
        while n % 64 == 0 && ring.pending() > 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    let _records = scribe.finish();
}

/// Every file of a directory, by name.
pub(crate) fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Copies a directory of plain files.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in files(from) {
        std::fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}
