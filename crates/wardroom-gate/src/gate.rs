//! What all parts of one gate share. Everything runs on one thread; nothing here blocks but a record.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use wardroom_policy::NetworkPolicy;

use crate::attribution::Actors;
use crate::authority::Authority;
use crate::credential::Credentials;
use crate::dial::Outside;
use crate::inspect::Inspector;
use crate::limits::Limits;
use crate::record::Recorder;
use crate::relay::Pipes;
use crate::synthetic::Synthetic;
use crate::vigil::Vigil;

/// What connections of a cell that was just killed need to be noticed as closed.
const GRACE: Duration = Duration::from_millis(20);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// One agent's gate.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) recorder: Rc<Recorder>,
    pub(crate) credentials: Credentials,
    pub(crate) names: RefCell<Synthetic>,
    pub(crate) limits: Limits,
    pub(crate) actors: Actors,
    pub(crate) outside: Outside,
    pub(crate) pipes: Rc<Pipes>,
    /// Vouches for inspected hosts. Without it, what must be inspected is refused.
    pub(crate) authority: Option<Authority>,
    pub(crate) inspector: Inspector,
    /// The policy in force. Every open connection watches it and is decided again when it changes.
    pub(crate) in_force: watch::Sender<NetworkPolicy>,
    /// Becomes true when the gate is about to end: open connections end first, and are on record.
    pub(crate) closing: watch::Sender<bool>,
    pub(crate) next_id: Cell<u64>,
    pub(crate) vigil: Arc<Vigil>,
}

impl Gate {
    /// The policy in force now.
    pub(crate) fn policy(&self) -> NetworkPolicy {
        self.in_force.borrow().clone()
    }

    /// Lets connections that are ending by themselves do so, then ends the others; none is left without its record.
    pub(crate) async fn close(&self) {
        let ended = async {
            while self.limits.any_open() {
                sleep(LOOK_AGAIN).await;
            }
        };
        tokio::pin!(ended);
        if timeout(GRACE, &mut ended).await.is_err() {
            self.closing.send_replace(true);
            // Nothing in the way of a task but its turn; were there, ending is what matters.
            let _late = timeout(GRACE * 10, ended).await;
        }
    }

    /// Waits until the gate is about to end.
    pub(crate) async fn closed(&self) {
        let mut closing = self.closing.subscribe();
        // The sender lives in this gate; an error would mean that it is gone, which is an end as well.
        let _ended = closing.wait_for(|closing| *closing).await.map(|_| ());
    }

    /// Tells the operator what a dial has brought to light, if anything.
    pub(crate) fn alarm(&self) {
        if let Some(alarm) = self.limits.alarm() {
            self.recorder.note(alarm);
        }
    }

    /// A number that no other connection or request of the session has.
    pub(crate) fn connection_id(&self) -> u64 {
        self.next_id.replace(self.next_id.get() + 1)
    }
}
