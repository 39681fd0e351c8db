//! The ring files of a ledger: `ring-keeper`, `ring-gate`, `ring-operator`, in the ledger's directory.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;
use wardroom_kernel::ring::{Ring, RingError, State};
use wardroom_ledger::Producer;

use crate::place::{Place, PlaceError};

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
/// exist when this returns.
///
/// To be called by the process that starts the scribe, before it starts it. The descriptor is close-on-exec.
///
/// # Errors
/// A full disk (`ENOSPC`), or a directory that cannot hold a ledger.
pub fn create_ring(ledger_dir: &Path, producer: Producer) -> Result<OwnedFd, RingFileError> {
    let place = Place::open_or_create(ledger_dir)?;
    let name = file_name(producer);
    let file = place.writable(&name)?;
    // Two that start at once must not each make one. Released with the guard's descriptor, not with the ring's.
    let guard = place.writable(&name)?;
    flock(&guard, FlockOperation::LockExclusive).map_err(place.failed("lock", &name))?;
    if let Ok(ring) = Ring::open(&file)
        && ring.producer_number() == u32::from(producer.number())
    {
        // The run before may have closed it when it gave up.
        ring.set_state(State::Open);
        return Ok(file.into());
    }
    // New, or nothing that can be read as a ring, such as one whose making was cut short. Such a one is kept for
    // whoever wants to know, under a name that is never read.
    let length = rustix::fs::fstat(&file).map_err(place.failed("examine", &name))?.st_size;
    let file = if length == 0 {
        file
    } else {
        place.rename(&name, &format!("{name}.damaged"))?;
        place.fresh(&name)?
    };
    let mut start = [0; 8];
    getrandom::fill(&mut start).map_err(RingFileError::Random)?;
    if let Err(error) = Ring::format(file.as_fd(), producer.number(), u64::from_le_bytes(start)) {
        place.remove(&name)?;
        return Err(error.into());
    }
    Ok(file.into())
}

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
