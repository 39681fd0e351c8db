//! Control groups: the limits on memory, processors and tasks of a whole cell, and its freezer.
//!
//! The group of a cell is made beside or above the keeper's own, wherever this user may make one. Where no place has
//! every controller that the policy's limits need, there is no cell: limits are not approximated.

mod places;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Timespec, access};
use rustix::process::Pid;
use wardroom_model::event::Mechanism;
use wardroom_model::plan::{CellPlan, Limits, LimitsBy};

use crate::error::{CellError, Fault, Step};
use places::Places;

/// The control group of one cell: one directory, or one for each controller of the first version. Removed when dropped.
#[derive(Debug)]
pub(crate) struct Cgroup {
    directories: Vec<PathBuf>,
    settings: Vec<Setting>,
    freezer: Option<Freezer>,
}

/// One limit: a file and what it must say.
#[derive(Debug)]
struct Setting {
    name: &'static str,
    file: PathBuf,
    value: String,
}

/// How everything in the group is stopped.
#[derive(Debug)]
struct Freezer {
    file: PathBuf,
    state: PathBuf,
    frozen: (&'static str, &'static str),
    thawed: &'static str,
}

/// Makes the group that a plan's limits need, and removes it: whether it can be had is known only afterwards.
///
/// # Errors
/// As building the cell would say.
pub fn rehearse_limits(plan: &CellPlan) -> Result<(), CellError> {
    // No agent's name has a dot: what is swept away is never a group that a keeper is about to use.
    match Cgroup::named("wardroom.check", plan)? {
        Some(group) => group.check().map(drop),
        None => Ok(()),
    }
}

impl Cgroup {
    /// Makes the group that the plan's limits need; `None` when they need none.
    pub(crate) fn create(plan: &CellPlan) -> Result<Option<Self>, CellError> {
        Self::named("wardroom", plan)
    }

    fn named(first: &str, plan: &CellPlan) -> Result<Option<Self>, CellError> {
        let wanted = wanted(&plan.limits);
        if plan.limits.by == LimitsBy::RlimitsOnly || wanted.is_empty() {
            return Ok(None);
        }
        let name = format!("{first}-{}-{}", plan.agent.as_str(), rustix::process::getpid().as_raw_nonzero());
        let places =
            Places::of_this_process().map_err(|error| refused(format!("/proc/self/cgroup: {error}")))?;
        let made = match places.unified(&wanted) {
            Some(candidates) => Self::unified(&candidates, &name, &plan.limits),
            None => Self::legacy(&places, &name, &wanted, &plan.limits),
        };
        made.map(Some).map_err(refused)
    }

    fn unified(candidates: &[PathBuf], name: &str, limits: &Limits) -> Result<Self, String> {
        let mut last = "no place in the hierarchy of control groups is yours to use".to_owned();
        for parent in candidates.iter().filter(|parent| is_ours(parent)) {
            match Self::unified_at(parent, name, limits) {
                Ok(group) => return Ok(group),
                Err(error) => last = format!("{}: {error}", parent.display()),
            }
        }
        Err(last)
    }

    fn unified_at(parent: &Path, name: &str, limits: &Limits) -> io::Result<Self> {
        let enabled = fs::read_to_string(parent.join("cgroup.subtree_control"))?;
        for controller in wanted(limits) {
            if !enabled.split_whitespace().any(|enabled| enabled == controller) {
                fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"))?;
            }
        }
        let directory = parent.join(name);
        sweep(parent, name);
        fs::create_dir(&directory)?;
        let mut settings = Vec::new();
        let mut set =
            |name, file: &str, value| settings.push(Setting { name, file: directory.join(file), value });
        if let Some(memory) = limits.memory {
            set("cgroup memory", "memory.max", pages(memory));
            if directory.join("memory.swap.max").exists() {
                set("cgroup swap", "memory.swap.max", "0".into());
            }
        }
        if let Some(cpus) = limits.cpus {
            set("cgroup cpus", "cpu.max", format!("{} {PERIOD}", quota(cpus)));
        }
        if let Some(tasks) = limits.tasks {
            set("cgroup tasks", "pids.max", tasks.to_string());
        }
        let freezer = Freezer {
            file: directory.join("cgroup.freeze"),
            state: directory.join("cgroup.events"),
            frozen: ("1", "frozen 1"),
            thawed: "0",
        };
        Self { directories: vec![directory], settings, freezer: Some(freezer) }.set()
    }

    fn legacy(places: &Places, name: &str, wanted: &[&'static str], limits: &Limits) -> Result<Self, String> {
        let mut group = Self { directories: Vec::new(), settings: Vec::new(), freezer: None };
        for controller in wanted {
            let parent =
                places.legacy(controller).ok_or_else(|| format!("no control group has {controller}"))?;
            let directory = parent.join(name);
            sweep(parent, name);
            fs::create_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
            group.settings.extend(legacy_settings(controller, &directory, limits));
            group.directories.push(directory);
        }
        // Where it cannot be had, everything is stopped by signal instead.
        if let Some(parent) = places.legacy("freezer") {
            sweep(parent, name);
        }
        if let Some(directory) = places.legacy("freezer").map(|parent| parent.join(name))
            && fs::create_dir(&directory).is_ok()
        {
            let file = directory.join("freezer.state");
            let frozen = ("FROZEN", "FROZEN");
            group.freezer = Some(Freezer { state: file.clone(), file, frozen, thawed: "THAWED" });
            group.directories.push(directory);
        }
        group.set().map_err(|error| error.to_string())
    }

    fn set(self) -> io::Result<Self> {
        for Setting { file, value, .. } in &self.settings {
            fs::write(file, value)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
        }
        Ok(self)
    }

    /// Puts a process, and with it all that it will start, into the group.
    pub(crate) fn add(&self, pid: Pid) -> Result<(), CellError> {
        for directory in &self.directories {
            let file = directory.join("cgroup.procs");
            fs::write(&file, pid.as_raw_nonzero().to_string())
                .map_err(|error| refused(format!("{}: {error}", file.display())))?;
        }
        Ok(())
    }

    /// Asks the kernel for every limit.
    pub(crate) fn check(&self) -> Result<Vec<Mechanism>, CellError> {
        self.settings.iter().map(Setting::check).collect()
    }

    /// Stops everything; false when there is no freezer.
    pub(crate) fn freeze(&self) -> io::Result<bool> {
        let Some(Freezer { file, state, frozen: (word, report), .. }) = &self.freezer else {
            return Ok(false);
        };
        fs::write(file, word)?;
        // A process in the kernel stops at its way out: microseconds, or the time of its I/O.
        patiently(|| Ok(fs::read_to_string(state)?.lines().any(|line| line == *report)))
    }

    /// Lets everything go on; false when there is no freezer.
    pub(crate) fn thaw(&self) -> io::Result<bool> {
        let Some(Freezer { file, thawed, .. }) = &self.freezer else { return Ok(false) };
        fs::write(file, thawed)?;
        Ok(true)
    }

    /// Removes the group; everything in it is gone.
    pub(crate) fn remove(mut self) -> io::Result<()> {
        self.remove_all()
    }

    fn remove_all(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        for directory in self.directories.drain(..) {
            let gone = patiently(|| match fs::remove_dir(&directory) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(false),
                Err(error) => Err(error),
            });
            result = result.and(gone.map(|_| ()));
        }
        result
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        match self.remove_all() {
            // An empty directory with our name stays; `remove` is for those who want to know.
            Ok(()) | Err(_) => {}
        }
    }
}

impl Setting {
    fn check(&self) -> Result<Mechanism, CellError> {
        let got = fs::read_to_string(&self.file)
            .map_err(|error| Fault::new(Step::Check, self.file.display().to_string(), &error))?;
        let (name, asked, got) = (self.name.to_owned(), self.value.clone(), got.trim().to_owned());
        if got == asked {
            Ok(Mechanism { name, asked, got })
        } else {
            Err(CellError::NotInForce { name, asked, got })
        }
    }
}

/// Removes what killed keepers of the same agent left behind: empty groups, for the kernel removes no other.
fn sweep(parent: &Path, name: &str) {
    let Some((prefix, _pid)) = name.rsplit_once('-') else { return };
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let stale = entry
            .file_name()
            .to_str()
            .and_then(|name| name.rsplit_once('-'))
            .is_some_and(|(p, _)| p == prefix);
        if stale {
            match fs::remove_dir(entry.path()) {
                // In use by a cell that still runs: not ours to end.
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// Tries for up to a second, which is a thousand times what the kernel usually takes.
fn patiently(mut attempt: impl FnMut() -> io::Result<bool>) -> io::Result<bool> {
    for _ in 0..1000 {
        if attempt()? {
            return Ok(true);
        }
        // Cut short by a signal, it is only tried again sooner.
        let _slept = rustix::thread::nanosleep(&Timespec { tv_sec: 0, tv_nsec: 1_000_000 });
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// The controllers that the limits need.
fn wanted(limits: &Limits) -> Vec<&'static str> {
    let each = [
        (limits.memory.is_some(), "memory"),
        (limits.cpus.is_some(), "cpu"),
        (limits.tasks.is_some(), "pids"),
    ];
    each.into_iter().filter(|(asked, _)| *asked).map(|(_, name)| name).collect()
}

/// Processes may be moved into groups below a directory only by who may write this file of it.
fn is_ours(parent: &Path) -> bool {
    access(parent.join("cgroup.procs"), rustix::fs::Access::WRITE_OK).is_ok()
}

fn legacy_settings(controller: &str, directory: &Path, limits: &Limits) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut set =
        |name, file: &str, value| settings.push(Setting { name, file: directory.join(file), value });
    match controller {
        "memory" => {
            if let Some(memory) = limits.memory {
                set("cgroup memory", "memory.limit_in_bytes", pages(memory));
                // Buffers of TCP sockets, which the first version counts by themselves.
                if directory.join("memory.kmem.tcp.limit_in_bytes").exists() {
                    set("cgroup tcp buffers", "memory.kmem.tcp.limit_in_bytes", pages(memory));
                }
                // Memory and swap together; not there where the kernel does not account for swap.
                if directory.join("memory.memsw.limit_in_bytes").exists() {
                    set("cgroup swap", "memory.memsw.limit_in_bytes", pages(memory));
                }
            }
        }
        "cpu" => {
            if let Some(cpus) = limits.cpus {
                set("cgroup cpus period", "cpu.cfs_period_us", PERIOD.to_string());
                set("cgroup cpus", "cpu.cfs_quota_us", quota(cpus).to_string());
            }
        }
        _ => {
            if let Some(tasks) = limits.tasks {
                set("cgroup tasks", "pids.max", tasks.to_string());
            }
        }
    }
    settings
}

/// The scheduler's default period, in microseconds.
const PERIOD: u64 = 100_000;

/// Microseconds of processor time in each period; the kernel takes no less than a thousand.
#[expect(clippy::as_conversions, reason = "no other way from f64; the value is clamped to what fits")]
#[expect(clippy::cast_possible_truncation, reason = "clamped")]
#[expect(clippy::cast_sign_loss, reason = "clamped")]
fn quota(cpus: f64) -> u64 {
    (cpus * 100_000.0).clamp(1_000.0, 1e12) as u64
}

/// The kernel counts memory in pages; 4 KiB is the smallest of any machine, 64 KiB the largest.
fn pages(bytes: u64) -> String {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    (bytes / page * page).to_string()
}

fn refused(why: impl Into<String>) -> CellError {
    CellError::Limits {
        why: why.into(),
        remedy: "delegate control groups to this user (with systemd: `systemd-run --user --scope -p Delegate=yes wardroom ...`), \
                 or, to do with less, say limits = \"rlimits-only\" under [isolation]",
    }
}
