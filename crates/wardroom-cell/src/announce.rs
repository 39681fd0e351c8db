//! What the keeper asked init to start, for the guard.
//!
//! Until its first exec, a child of init is a copy of the keeper's memory, which nobody may read: not the agent, and in
//! user mode (the memory belongs to the host's user namespace) not even the guard. So the first exec of a program is
//! recorded as the keeper asked for it, found by a tag that the child puts into the call's unused fourth argument. Anybody can
//! put a number there. So the tag is one that nobody guesses, which only the keeper, init and that copy ever know, and it is
//! worth nothing any more once the image was seen: a program's registers begin empty.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The programs that were asked for, whose image has not been seen and that have not ended.
#[derive(Debug, Clone, Default)]
pub struct Announcements(Arc<Mutex<BTreeMap<u32, Announcement>>>);

/// A program as the keeper asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub(crate) tag: Tag,
    pub(crate) argv: Vec<Vec<u8>>,
    pub(crate) directory: PathBuf,
}

/// What a program that was asked for is known by at its first exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag(u64);

impl Tag {
    /// A new one.
    ///
    /// # Errors
    /// The kernel gives no randomness.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(getrandom::u64()?))
    }

    /// As a register carries it.
    pub(crate) fn register(self) -> u64 {
        self.0
    }
}

impl Announcements {
    pub(crate) fn add(&self, id: u32, announcement: Announcement) {
        self.all().insert(id, announcement);
    }

    pub(crate) fn remove(&self, id: u32) {
        self.all().remove(&id);
    }

    /// What was asked for with the tag that this register holds, and has not been seen to run.
    pub(crate) fn get(&self, register: u64) -> Option<Announcement> {
        self.all().values().find(|announcement| announcement.tag.register() == register).cloned()
    }

    /// Its image was seen: who comes with this tag from now on is somebody else.
    pub(crate) fn seen(&self, tag: Tag) {
        self.all().retain(|_, announcement| announcement.tag != tag);
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<u32, Announcement>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_found_by_its_tag_alone_until_its_image_was_seen() {
        let (announcements, tag) = (Announcements::default(), Tag::new().unwrap());
        let announcement = Announcement { tag, argv: vec![b"true".to_vec()], directory: "/".into() };
        announcements.add(1, announcement.clone());
        assert_eq!(announcements.get(1), None, "the program's number is not its tag");
        assert_eq!(announcements.get(tag.register()), Some(announcement));
        announcements.seen(tag);
        assert_eq!(announcements.get(tag.register()), None);
    }
}
