//! What all parts of one gate share. Everything runs on one thread; nothing here blocks but a record.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::watch;
use wardroom_policy::NetworkPolicy;

use crate::attribution::Actors;
use crate::dial::Outside;
use crate::limits::Limits;
use crate::record::Recorder;
use crate::relay::Pipes;
use crate::synthetic::Synthetic;

/// One agent's gate.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) recorder: Recorder,
    pub(crate) names: RefCell<Synthetic>,
    pub(crate) limits: Limits,
    pub(crate) actors: Actors,
    pub(crate) outside: Outside,
    pub(crate) pipes: Rc<Pipes>,
    /// The policy in force. Every open connection watches it and is decided again when it changes.
    pub(crate) in_force: watch::Sender<NetworkPolicy>,
    pub(crate) next_id: Cell<u64>,
}

impl Gate {
    /// The policy in force now.
    pub(crate) fn policy(&self) -> NetworkPolicy {
        self.in_force.borrow().clone()
    }

    /// A number that no other connection of the session has.
    pub(crate) fn connection_id(&self) -> u64 {
        self.next_id.replace(self.next_id.get() + 1)
    }
}
