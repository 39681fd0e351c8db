//! Starting this binary again in one of its roles, each with exactly the descriptors it needs and an empty
//! environment.

use crate::failure::let_go;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::Context;
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::process::{Gid, Resource, Rlimit, Uid, setrlimit};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use wardroom_kernel::caps;

/// The running binary, whatever its file is called now.
const OURSELVES: &str = "/proc/self/exe";

/// Starts a role. `inherited` become its descriptors under the same numbers, which it is told as arguments after
/// `arguments`, in order. With an `id` (system mode), it takes that uid and gid and no other before it does anything
/// else ([`become_id`]): so this process need not copy itself to start another, which costs more than all that is told.
///
/// Only the keeper's main thread starts processes, so no other child can inherit in between.
#[expect(clippy::disallowed_methods, reason = "the one place where Wardroom starts processes of its own")]
pub(super) fn start(
    role: &str,
    arguments: &[&str],
    inherited: &[BorrowedFd<'_>],
    id: Option<u32>,
) -> anyhow::Result<Child> {
    let mut command = Command::new(OURSELVES);
    let id = id.map_or_else(|| SAME_ID.to_owned(), |id| id.to_string());
    command.arg("__role").arg(role).arg(id).args(arguments);
    command.args(inherited.iter().map(|fd| fd.as_raw_fd().to_string()));
    command.env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
    // A Ctrl-C of the operator's, or a service manager's signal to the whole group, is for the agent: the keeper passes it on,
    // and whoever records and guards that must outlive it.
    command.process_group(0);
    let open = inherited.iter().map(|fd| Inherited::open(*fd)).collect::<Result<Vec<_>, _>>()?;
    let child = command.spawn().with_context(|| format!("cannot start the {role}"));
    drop(open);
    child
}

/// Runs an agent as a separate process, as an operator would, and waits for its end. For callers with threads of their
/// own, which a keeper may not have while it makes a cell.
#[expect(clippy::disallowed_methods, reason = "the one place where Wardroom starts processes of its own")]
pub(crate) fn run_apart(base: &Path, agent: &str) -> std::io::Result<ExitStatus> {
    Command::new(OURSELVES).arg("--base").arg(base).args(["run", agent]).status()
}

/// What stands for an id where a role keeps the one it has.
const SAME_ID: &str = "-";

/// Takes the id that a role was started with, for good: as uid, as gid, and no other group, with no capability left nor a way to
/// one, which the kernel is asked. A role that keeps its id (user mode) has none to begin with.
pub(super) fn become_id(id: &str) -> anyhow::Result<()> {
    if id == SAME_ID {
        return Ok(());
    }
    let id: u32 = id.parse().context("no id")?;
    // The kernel takes the highest number for "leave it".
    anyhow::ensure!(id != 0 && id != u32::MAX, "{id} is no id to give up privileges with");
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    // A process that holds secrets locks its memory, and only root may say how much that is. One that could not be given
    // all locks what it must, and says so.
    let_go(setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }));
    caps::empty_bounding_set().context("the bounding set")?;
    set_thread_groups(&[]).context("the groups")?;
    set_thread_res_gid(gid, gid, gid).context("the group")?;
    set_thread_res_uid(uid, uid, uid).context("the user")?;
    caps::drop_all().context("the capabilities")?;
    let status = std::fs::read_to_string("/proc/self/status").context("asking what is left")?;
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let left = caps::status_line(&status, set).unwrap_or("unknown");
        anyhow::ensure!(left == "0000000000000000", "{set} is {left} after all capabilities were given up");
    }
    Ok(())
}

/// A descriptor that stays open over an exec for as long as this lives.
struct Inherited<'a>(BorrowedFd<'a>, FdFlags);

impl<'a> Inherited<'a> {
    fn open(fd: BorrowedFd<'a>) -> anyhow::Result<Self> {
        let before = fcntl_getfd(fd)?;
        fcntl_setfd(fd.as_fd(), before.difference(FdFlags::CLOEXEC))?;
        Ok(Self(fd, before))
    }
}

impl Drop for Inherited<'_> {
    fn drop(&mut self) {
        // The descriptor is open, so this cannot fail; if it did, the next role would merely see it too.
        let_go(fcntl_setfd(self.0, self.1));
    }
}
