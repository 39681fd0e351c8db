//! A bare set of namespaces: what a cell is without its filter, its mounts, its Landlock and its firewall. A control
//! runs in it, to show that an attempt works where those walls are missing.
//!
//! It never contains anything: the process inside is root over its own namespaces.

#![expect(unsafe_code, reason = "unshare(2)")]

use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Signal, WaitOptions, getegid, geteuid, set_parent_process_death_signal, waitpid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::cellnet;
use crate::probe::process;

/// Where the caller finds itself after [`enter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Inside, as root of the new namespaces.
    Inside,
    /// Outside: the inside has ended, with this exit code, or by this signal.
    Outside(Result<i32, i32>),
}

/// Everything that a cell has as well.
const ALL: UnshareFlags = UnshareFlags::NEWUSER
    .union(UnshareFlags::NEWNS)
    .union(UnshareFlags::NEWPID)
    .union(UnshareFlags::NEWNET)
    .union(UnshareFlags::NEWIPC)
    .union(UnshareFlags::NEWUTS);

/// Splits the caller, which must be single-threaded: the child goes on inside bare namespaces, with an empty and
/// writable file system over each directory of `covered`; the parent awaits the child's end.
///
/// # Errors
/// Where the machine permits no user namespaces, and whatever else the kernel refuses.
pub fn enter(covered: &[&Path]) -> io::Result<Side> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    // SAFETY: the conditions concern CLONE_FILES, which is not among the flags.
    unsafe { unshare_unsafe(ALL) }?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    let Some(child) = process::split()? else {
        // Pid 1 of a namespace ignores its own SIGALRM, but not the end of its parent.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        furnish(covered)?;
        return Ok(Side::Inside);
    };
    let Some((_, status)) = waitpid(Some(child), WaitOptions::empty())? else {
        return Err(io::ErrorKind::NotFound.into());
    };
    Ok(Side::Outside(status.exit_status().ok_or_else(|| status.terminating_signal().unwrap_or(0))))
}

/// Private mounts, `/proc` of the new pid namespace, and a network in which every address is local.
fn furnish(covered: &[&Path]) -> io::Result<()> {
    const NONE: Option<&CStr> = None;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    mount("proc", "/proc", "proc", MountFlags::empty(), NONE)?;
    for directory in covered {
        mount("none", *directory, "tmpfs", MountFlags::empty(), NONE)?;
    }
    cellnet::route_everything_to_lo().map_err(io::Error::other).map(drop)
}
