//! Refused calls on record. The first of its kind is recorded at once; the same call with the same arguments again
//! and again is counted, and the count is recorded within a second. Anything else is a record of its own.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::time::{TimerfdClockId, Timespec};
use wardroom_kernel::notify::{Notification, Reply};
use wardroom_kernel::remote;
use wardroom_model::event::Privilege;
use wardroom_model::{Captured, Event, Reason, Verdict};

use super::alarm::Alarm;
use super::{Guard, GuardError, Trouble};
use crate::filter::{CLONE_NEWTIME, NAMESPACES};

/// Refusals that were seen in the last second.
#[derive(Debug)]
pub(super) struct Refusals {
    timer: Alarm,
    armed: bool,
    seen: BTreeMap<Key, Privilege>,
}

/// What makes two refusals the same: process, call, registers, and what the pointer named.
type Key = (u32, u32, [u64; 6], Option<Captured>);

impl Refusals {
    pub(super) fn new() -> Result<Self, GuardError> {
        Ok(Self { timer: Alarm::new(TimerfdClockId::Boottime)?, armed: false, seen: BTreeMap::new() })
    }

    /// Readable when counts are due.
    pub(super) fn timer(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }

    /// Has the guard look again within a second.
    pub(super) fn set_timer_once(&mut self) -> Result<(), GuardError> {
        if self.armed { Ok(()) } else { self.set_timer(1) }
    }

    fn set_timer(&mut self, seconds: i64) -> Result<(), GuardError> {
        self.armed = seconds != 0;
        self.timer.set(Timespec { tv_sec: seconds, tv_nsec: 0 })
    }
}

impl Guard {
    /// Refuses a call, on record.
    pub(super) fn refuse(&mut self, call: &Notification, errno: Errno, why: &str) -> Result<Reply, Trouble> {
        let actor = self.settled(call.thread)?.actor.clone();
        let name = self.filter.name(call.call);
        let detail = name
            .and_then(|name| NAMED.iter().find(|(call, _)| *call == name))
            .and_then(|(_, arg)| call.arguments.get(*arg))
            .and_then(|address| remote::c_string(call.thread, *address).ok())
            .map(|text| Captured::cut(&text, DETAIL));
        let key = (actor.pid, call.call, call.arguments, detail.clone());
        if let Some(seen) = self.refusals.seen.get_mut(&key) {
            seen.count += 1;
            return Ok(Reply::Errno(errno));
        }
        let mut refusal = Privilege {
            actor,
            call: name.map_or_else(|| format!("number {}", call.call), str::to_owned),
            arguments: call.arguments,
            detail,
            verdict: Verdict::refused(Reason::PrivilegeWithheld(why.to_owned())),
            count: 1,
        };
        self.record_for(call, &Event::Privilege(refusal.clone()))?;
        if self.refusals.seen.len() >= MAX_SEEN {
            self.flush_refusals()?;
        }
        self.refusals.set_timer_once()?;
        refusal.count = 0;
        self.refusals.seen.insert(key, refusal);
        Ok(Reply::Errno(errno))
    }

    /// Answers as a kernel without this call does, whatever it asks for: only what is on record depends on what is read.
    pub(super) fn clone3(&mut self, call: &Notification) -> Result<Reply, Trouble> {
        let [arguments, ..] = call.arguments;
        let mut flags = [0; 8];
        let read = remote::bytes(call.thread, arguments, &mut flags);
        let namespaces = u64::from(NAMESPACES | CLONE_NEWTIME);
        if read.is_ok() && u64::from_ne_bytes(flags) & namespaces != 0 {
            return self.refuse(call, Errno::NOSYS, "make namespaces");
        }
        Ok(Reply::Errno(Errno::NOSYS))
    }

    /// Puts every count on record that has not been.
    pub(super) fn flush_refusals(&mut self) -> Result<(), GuardError> {
        self.refusals.set_timer(0)?;
        for refusal in std::mem::take(&mut self.refusals.seen).into_values() {
            self.record_count(refusal)?;
        }
        Ok(())
    }

    /// The same for one process, before its exit is recorded.
    pub(super) fn flush_refusals_of(&mut self, process: u32) -> Result<(), GuardError> {
        if self.refusals.seen.is_empty() {
            return Ok(());
        }
        let (due, rest) =
            std::mem::take(&mut self.refusals.seen).into_iter().partition(|(key, _)| key.0 == process);
        self.refusals.seen = rest;
        for refusal in BTreeMap::into_values(due) {
            self.record_count(refusal)?;
        }
        Ok(())
    }

    fn record_count(&mut self, refusal: Privilege) -> Result<(), GuardError> {
        if refusal.count == 0 {
            return Ok(());
        }
        self.record(&Event::Privilege(refusal))
    }
}

/// Calls whose pointer is worth reading, and which argument it is.
const NAMED: &[(&str, usize)] = &[
    ("mount", 1),
    ("umount2", 0),
    ("pivot_root", 0),
    ("chroot", 0),
    ("move_mount", 3),
    ("fsopen", 0),
    ("open_tree", 1),
    ("open_tree_attr", 1),
    ("mount_setattr", 1),
    ("fspick", 1),
    ("name_to_handle_at", 1),
    ("swapon", 0),
    ("acct", 0),
    ("quotactl", 1),
    ("add_key", 1),
    ("request_key", 1),
    ("sethostname", 0),
];
/// Enough to recognise a path by; what is longer is kept by its digest.
const DETAIL: usize = 1024;
/// Different refusals remembered at once: a program that makes more in a second gets a record for each.
const MAX_SEEN: usize = 1024;
