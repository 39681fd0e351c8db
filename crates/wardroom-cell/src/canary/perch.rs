//! One decoy and the lease on it: taken, wanted by somebody, given back, and taken again once it is closed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{Timespec, poll};
use rustix::fs::{Gid, Mode, OFlags, Uid, fstat};
use rustix::io::Errno;
use wardroom_kernel::lease::{Breaks, Lease};
use wardroom_model::plan::{Canary, CellPlan, Identity, Mount};

use super::CanaryError;
use super::bait::{self, Mark};
use super::plant::{Found, plant};

/// A decoy that is watched.
#[derive(Debug)]
pub(super) struct Perch {
    /// The path inside.
    path: PathBuf,
    inode: u64,
    lease: Lease,
    /// How long until the next attempt; none while the lease is taken.
    retry: Option<Duration>,
}

impl Perch {
    /// Puts the decoy in its place and takes the lease. None where the agent has something else there.
    pub(super) fn prepare(
        plan: &CellPlan,
        canary: &Canary,
        mark: &Mark,
        breaks: &Breaks,
    ) -> Result<Option<Self>, CanaryError> {
        let path = canary.path.clone();
        let failed = |errno| CanaryError::Planting { path: path.clone(), errno };
        let (source, below) = ground(plan, &path).ok_or(Errno::NOENT).map_err(failed)?;
        let home =
            rustix::fs::open(source, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(failed)?;
        let contents = bait::contents(canary.bait, &plan.agent, mark);
        let Found::Decoy(file) =
            plant(home, below, contents.as_bytes(), owner(plan.identity)).map_err(failed)?
        else {
            return Ok(None);
        };
        let inode = fstat(&file).map_err(failed)?.st_ino;
        let lease = Lease::new(file, breaks);
        let mut perch = Self { path, inode, lease, retry: Some(FIRST_RETRY) };
        perch.take_at_first()?;
        Ok(Some(perch))
    }

    /// A process of the host's, a backup for instance, may have it open for a moment.
    fn take_at_first(&mut self) -> Result<(), CanaryError> {
        for _ in 0..FIRST_ATTEMPTS {
            self.retake()?;
            let Some(wait) = self.retry else { return Ok(()) };
            let wait = Timespec::try_from(wait).unwrap_or_default();
            match poll(&mut [], Some(&wait)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(CanaryError::Kernel { what: "waiting", error: errno.into() }),
            }
        }
        Err(CanaryError::InUse(self.path.clone()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn inode(&self) -> u64 {
        self.inode
    }

    /// How long until the lease should be tried again.
    pub(super) fn retry_in(&self) -> Option<Duration> {
        self.retry
    }

    pub(super) fn is_held(&self) -> Result<bool, CanaryError> {
        self.lease.is_held().map_err(|error| CanaryError::Lease { path: self.path.clone(), error })
    }

    /// Whether somebody opened it since the lease was taken.
    pub(super) fn is_wanted(&self) -> Result<bool, CanaryError> {
        Ok(self.retry.is_none() && !self.is_held()?)
    }

    /// Lets whoever waits go on.
    pub(super) fn give_back(&mut self) -> Result<(), CanaryError> {
        self.retry = Some(FIRST_RETRY);
        self.lease.give_back().map_err(|error| CanaryError::Lease { path: self.path.clone(), error })
    }

    /// Takes the lease again, where it is not taken; later and later while somebody has the decoy open.
    pub(super) fn retake(&mut self) -> Result<(), CanaryError> {
        let Some(wait) = self.retry else { return Ok(()) };
        let taken =
            self.lease.take().map_err(|error| CanaryError::Lease { path: self.path.clone(), error })?;
        self.retry = (!taken).then(|| LAST_RETRY.min(wait * 2));
        Ok(())
    }
}

/// The directory outside that a path inside lies beneath, and the rest of the way.
fn ground<'a>(plan: &'a CellPlan, path: &'a Path) -> Option<(&'a Path, &'a Path)> {
    plan.mounts.iter().find_map(|mount| match mount {
        Mount::Bind { source, target, write: true, .. } => {
            Some((source.as_path(), path.strip_prefix(target).ok()?))
        }
        Mount::Bind { .. }
        | Mount::Tmpfs { .. }
        | Mount::Copy { .. }
        | Mount::File { .. }
        | Mount::Directory { .. }
        | Mount::Symlink { .. }
        | Mount::Proc
        | Mount::Dev => None,
    })
}

/// Whose the decoys are, where that is not the caller.
fn owner(identity: Identity) -> Option<(Uid, Gid)> {
    match identity {
        Identity::Operator { .. } => None,
        Identity::Range { .. } => {
            Some((Uid::from_raw(identity.agent_uid()), Gid::from_raw(identity.agent_gid())))
        }
    }
}

/// A program that copies a key has closed it after some hundred microseconds.
const FIRST_RETRY: Duration = Duration::from_millis(1);
/// One that keeps it open costs one question a second.
const LAST_RETRY: Duration = Duration::from_secs(1);
/// Together half a second, at the doubled waits.
const FIRST_ATTEMPTS: u32 = 9;
