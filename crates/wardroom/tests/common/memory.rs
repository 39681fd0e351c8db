//! Looks for bytes where they must not be: in processes' memory and in files, as root or the operator can.

#![allow(
    dead_code,
    clippy::allow_attributes,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's helpers fail by panicking"
)]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Everything that a process has started, and what that has started.
fn descendants(of: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut waiting = vec![of];
    while let Some(process) = waiting.pop() {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children = children.split_whitespace().filter_map(|child| child.parse::<u32>().ok());
            waiting.extend(children);
        }
        found.push(process);
    }
    found
}

/// The processes of a keeper's cell: those of a pid namespace below ours.
pub(crate) fn cell_processes(keeper: u32) -> Vec<u32> {
    let below = |process: &u32| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("NSpid:") && line.split_whitespace().count() > 2)
    };
    descendants(keeper).into_iter().filter(below).collect()
}

/// The processes of a keeper that play a role.
pub(crate) fn roles(keeper: u32, role: &str) -> Vec<u32> {
    let plays = |process: &u32| {
        let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0).skip(1);
        words.next() == Some(b"__role".as_slice()) && words.next() == Some(role.as_bytes())
    };
    descendants(keeper).into_iter().filter(plays).collect()
}

/// Ends a process at once.
pub(crate) fn kill(process: u32) {
    let status = std::process::Command::new("kill").args(["-KILL", &process.to_string()]).status();
    assert!(status.unwrap().success());
}

/// Whether a process has these bytes in its memory; none where its memory cannot be read.
pub(crate) fn holds(process: u32, wanted: &[u8]) -> Option<bool> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
    let memory = File::open(format!("/proc/{process}/mem")).ok()?;
    let mut read = false;
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let (from, to) = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
        if !rest.starts_with('r') || to - from > 1 << 30 {
            continue;
        }
        let mut bytes = vec![0; usize::try_from(to - from).ok()?];
        // Some ranges cannot be read although they are mapped (vvar).
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            read = true;
            if contains(&bytes, wanted) {
                return Some(true);
            }
        }
    }
    read.then_some(false)
}

/// The files below a directory that hold these bytes.
pub(crate) fn files_that_hold(directory: &Path, wanted: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files_that_hold(&entry.path(), wanted));
        } else if kind.is_file() && contains(&fs::read(entry.path()).unwrap_or_default(), wanted) {
            found.push(entry.path());
        }
    }
    found
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    memchr::memmem::find(bytes, wanted).is_some()
}
