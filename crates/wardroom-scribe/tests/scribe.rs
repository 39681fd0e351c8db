//! A scribe in a thread, producers beside it, and what is on disk afterwards.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use wardroom_model::event::{Event, Supervision};
use wardroom_scribe::{
    FromScribe, Handoff, Producer, ScribeError, ScribeSetup, ToScribe, create_ring, hear, say, serve,
};

fn event(text: &str) -> Event {
    Event::Supervision(Supervision { process: "test".into(), what: text.into() })
}

/// A running scribe and the keeper's end of its control connection.
struct Running {
    thread: JoinHandle<Result<(), ScribeError>>,
    control: OwnedFd,
}

fn start(base: &Path, producers: &[Producer]) -> Running {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let ledger_dir = base.join("ledger");
    let rings = producers.iter().map(|p| (*p, create_ring(&ledger_dir, *p).unwrap())).collect();
    let setup = ScribeSetup {
        ledger_dir,
        key_dir: base.join("keys"),
        origin: "host/test".into(),
        rings,
        control: theirs,
    };
    Running { thread: thread::spawn(move || serve(setup)), control: ours }
}

impl Running {
    fn finish(self) -> u64 {
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

fn attach(base: &Path, producer: Producer) -> Handoff {
    Handoff::attach(create_ring(&base.join("ledger"), producer).unwrap(), producer).unwrap()
}

#[test]
fn every_record_of_every_thread_is_stored_once_and_in_order() {
    let base = tempfile::tempdir().unwrap();
    let scribe = start(base.path(), &[Producer::Keeper, Producer::Gate]);
    let (threads, each) = (4_u64, 2_000_u64);
    let keeper = Arc::new(attach(base.path(), Producer::Keeper));
    let workers: Vec<_> = (0..threads)
        .map(|worker| {
            let keeper = Arc::clone(&keeper);
            thread::spawn(move || {
                for n in 0..each {
                    let _receipt = keeper.record(&event(&format!("{worker} {n}"))).unwrap();
                }
            })
        })
        .collect();
    let gate = attach(base.path(), Producer::Gate);
    for n in 0..each {
        let _receipt = gate.record(&event(&format!("gate {n}"))).unwrap();
    }
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert_eq!(scribe.finish(), threads * each + each);
    // A second run goes on where the first ended, without a word of recovery.
    let scribe = start(base.path(), &[Producer::Keeper, Producer::Gate]);
    let _receipt = gate.record(&event("again")).unwrap();
    assert_eq!(scribe.finish(), threads * each + each + 1);
}
