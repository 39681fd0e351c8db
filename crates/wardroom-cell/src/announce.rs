//! What the keeper asked init to start, for the guard.
//!
//! Until its first exec, a child of init is a copy of the keeper's memory, which nobody may read: not the agent, and in
//! user mode (the memory belongs to the host's user namespace) not even the guard. So the first exec of a program is
//! recorded as the keeper asked for it, found by the id that the child puts into the call's unused fourth argument.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// The programs that were asked for and have not ended.
#[derive(Debug, Clone, Default)]
pub struct Announcements(Arc<Mutex<BTreeMap<u32, Announcement>>>);

/// A program as the keeper asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub(crate) argv: Vec<Vec<u8>>,
    pub(crate) directory: PathBuf,
}

impl Announcements {
    pub(crate) fn add(&self, id: u32, announcement: Announcement) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, announcement);
    }

    pub(crate) fn remove(&self, id: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    pub(crate) fn get(&self, id: u32) -> Option<Announcement> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }
}
