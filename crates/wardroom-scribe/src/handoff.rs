//! How a record reaches the scribe: placeholder that queues in memory; the shared ring replaces it.

use std::collections::VecDeque;
use std::sync::Mutex;

use thiserror::Error;
use wardroom_model::Event;

/// The producer's half.
#[derive(Debug, Default)]
pub struct Handoff {
    queue: Mutex<VecDeque<Event>>,
}

/// Proof that a record has been handed over. Only [`Handoff::record`] makes one.
#[derive(Debug)]
pub struct Receipt(());

/// Why a record could not be handed over. The act it describes must not happen.
#[derive(Debug, Error)]
pub enum HandoffError {
    /// The scribe is gone and will not come back.
    #[error("the ledger takes no more records")]
    Closed,
}

impl Handoff {
    /// A handoff within one process, for tests.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Hands one record over. Waits while the ring is full or the scribe is being restarted.
    ///
    /// # Errors
    /// [`HandoffError::Closed`] once the ledger is given up; the act must then be refused.
    pub fn record(&self, event: &Event) -> Result<Receipt, HandoffError> {
        let mut queue = self.queue.lock().map_err(|_poisoned| HandoffError::Closed)?;
        queue.push_back(event.clone());
        Ok(Receipt(()))
    }

    /// Takes what was recorded, for tests.
    #[must_use]
    pub fn taken(&self) -> Vec<Event> {
        self.queue.lock().map(|mut queue| queue.drain(..).collect()).unwrap_or_default()
    }
}
