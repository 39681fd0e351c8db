//! The ring files of a ledger: `ring-keeper`, `ring-gate`, `ring-operator`, in the ledger's directory.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;
use wardroom_kernel::ring::{Malformed, Message, Region, Ring, RingError, State};
use wardroom_ledger::Producer;

use crate::message;
use crate::place::{Place, PlaceError, SYNC};

/// Why there is no ring.
#[derive(Debug, Error)]
pub enum RingFileError {
    /// The ledger's directory or a file in it.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The ring itself; a full disk shows here.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The kernel gave no random number.
    #[error("no random number for a new ring: {0}")]
    Random(getrandom::Error),
}

/// Makes the ring of a producer, or finds the one of an earlier run with what was left in it. All of its blocks
/// exist when this returns. After a start of the machine it is another one in any case, for new messages must not stand behind
/// what a power cut made of old ones.
///
/// To be called by the process that starts the scribe, before it starts it. The descriptor is close-on-exec.
///
/// # Errors
/// A full disk (`ENOSPC`), or a directory that cannot hold a ledger.
pub fn create_ring(ledger_dir: &Path, producer: Producer) -> Result<OwnedFd, RingFileError> {
    let place = Place::open_or_create(ledger_dir)?;
    let name = file_name(producer);
    // Two that start at once must not each make one. Released with the guard's descriptor, not with the ring's.
    let guard = place.writable(&name)?;
    flock(&guard, FlockOperation::LockExclusive).map_err(place.failed("lock", &name))?;
    let file = place.writable(&name)?;
    let found = Ring::open(&file).ok();
    let found = found.filter(|ring| ring.producer_number() == u32::from(producer.number()));
    let boot = boot()?;
    if let Some(ring) = &found
        && ring.boot() == boot
    {
        // The run before may have closed it when it gave up.
        ring.set_state(State::Open);
        return Ok(file.into());
    }
    let left = found.as_ref().map(Ring::left);
    let length = rustix::fs::fstat(&file).map_err(place.failed("examine", &name))?.st_size;
    let beside = format!("{name}.new");
    place.remove(&beside)?;
    let fresh = place.fresh(&beside)?;
    match fill(&fresh, producer, boot, left.as_ref()) {
        // The old one has outlived a power cut, and goes only once the new one would.
        Ok(true) => fresh.sync_all().map_err(|source| place.io(SYNC, &beside, source))?,
        // Nothing that can be read as a ring, such as one whose making was cut short, or not all of it. Such a one is kept for
        // whoever wants to know, under a name that is never read.
        Ok(false) if length > 0 => place.rename(&name, &format!("{name}.damaged"))?,
        Ok(false) => {}
        Err(error) => {
            place.remove(&beside)?;
            return Err(error);
        }
    }
    place.rename(&beside, &name)?;
    Ok(fresh.into())
}

/// Makes a new ring, and hands over again what is left in the one of before. False where there was none, or not all in it are
/// messages: a power cut stores its pages in any order, and what of them is right nobody can tell.
fn fill(to: &File, producer: Producer, boot: u64, left: Option<&Region>) -> Result<bool, RingFileError> {
    let mut start = [0; 8];
    getrandom::fill(&mut start).map_err(RingFileError::Random)?;
    let ring = Ring::format(to.as_fd(), producer.number(), u64::from_le_bytes(start), boot)?;
    let whole = |found: &Result<Message<'_>, Malformed>| {
        found.is_ok_and(|found| message::check(found.start, found.bytes) == found.check)
    };
    let Some(left) = left.filter(|left| left.messages().all(|found| whole(&found))) else { return Ok(false) };
    let mut again = wardroom_kernel::ring::Producer::new(ring);
    for message in left.messages().flatten() {
        let check = message::check(again.position(), message.bytes);
        // It was in a ring of this size.
        let _room: bool = again.push(check, message.bytes)?;
    }
    Ok(true)
}

/// A number for this life of the machine.
fn boot() -> Result<u64, RingFileError> {
    let id = std::fs::read_to_string(BOOT_ID).map_err(|source| PlaceError::System {
        doing: "read",
        path: BOOT_ID.into(),
        source,
    })?;
    let digits = id.chars().filter_map(|digit| digit.to_digit(16)).take(16);
    Ok(digits.fold(0, |number, digit| (number << 4) | u64::from(digit)))
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The name of a producer's ring file.
pub(crate) fn file_name(producer: Producer) -> String {
    format!("ring-{producer}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Handoff;
    use wardroom_model::Event;
    use wardroom_model::event::Supervision;

    /// Where a ring says in which life of the machine it was made.
    const BOOT: u64 = 24;

    fn as_of_another_boot(path: &Path) {
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &7_u64.to_ne_bytes(), BOOT).unwrap();
    }

    #[test]
    fn after_a_start_of_the_machine_what_was_left_is_handed_over_again_and_nonsense_is_set_aside() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("ledger");
        let event = Event::Supervision(Supervision { process: "gate".into(), what: "started".into() });
        let handoff = Handoff::attach(create_ring(&dir, Producer::Gate).unwrap(), Producer::Gate).unwrap();
        let (_one, _two) = (handoff.record(&event).unwrap(), handoff.record(&event).unwrap());
        let path = dir.join("ring-gate");
        let before = Ring::open(&create_ring(&dir, Producer::Gate).unwrap()).unwrap();
        let (before, left) = (before.pending(), before.left());
        as_of_another_boot(&path);
        let again = Ring::open(&create_ring(&dir, Producer::Gate).unwrap()).unwrap();
        assert_eq!(again.pending(), before);
        let texts = |left: &Region| {
            left.messages().map(|message| message.unwrap().bytes.to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(texts(&again.left()), texts(&left));
        assert_ne!(again.left().end(), left.end(), "another ring");
        assert!(!dir.join("ring-gate.damaged").exists());

        as_of_another_boot(&path);
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let first = 4096 + again.left().messages().next().unwrap().unwrap().start % (1 << 20);
        std::os::unix::fs::FileExt::write_all_at(&file, &[0; 8], first).unwrap();
        assert_eq!(Ring::open(&create_ring(&dir, Producer::Gate).unwrap()).unwrap().pending(), 0);
        assert!(dir.join("ring-gate.damaged").exists());
    }

    #[test]
    fn a_ring_outlives_its_processes_and_belongs_to_one_producer() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("ledger");
        let event = Event::Supervision(Supervision { process: "gate".into(), what: "started".into() });
        let handoff = Handoff::attach(create_ring(&dir, Producer::Gate).unwrap(), Producer::Gate).unwrap();
        let _receipt = handoff.record(&event).unwrap();
        drop(handoff);
        let again = create_ring(&dir, Producer::Gate).unwrap();
        assert!(Ring::open(&again).unwrap().pending() > 0);
        assert!(Handoff::attach(again, Producer::Keeper).is_err());
        std::fs::write(dir.join("ring-operator"), b"half made").unwrap();
        let fresh = create_ring(&dir, Producer::Operator).unwrap();
        assert_eq!(Ring::open(&fresh).unwrap().pending(), 0);
        assert!(dir.join("ring-operator.damaged").exists());
    }
}
