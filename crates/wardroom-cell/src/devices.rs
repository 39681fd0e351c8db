//! `/proc` and `/dev` of a cell.
//!
//! `/proc` is fresh, of the cell's own pid namespace, read-only as a whole (no process writes another's memory through
//! it), and without the files that tell of or reach the machine. `/dev` holds six devices of the host's, which mean the same to everyone, and terminals of the cell's own.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{OFlags, symlinkat};
use rustix::io::Errno;
use wardroom_kernel::mount::{self, Follow, Protection};
use wardroom_model::plan::AGENT_ID;

use crate::error::{At, Fault, Step};
use crate::root::{Root, memory};

/// What is hidden in `/proc`, with the reason. Writing is refused everywhere in it, so `core_pattern`, `sysrq-trigger`
/// and the like need no line; what is left out of this list is what programs ask for (`meminfo`, `cpuinfo`, `sys`).
const HIDDEN: &[(&str, &str)] = &[
    ("kcore", "the machine's memory"),
    ("kmsg", "the kernel's log"),
    ("kallsyms", "addresses in the kernel"),
    ("keys", "keys of other sessions"),
    ("key-users", "users that hold keys"),
    ("timer_list", "addresses, and activity of others"),
    ("sched_debug", "processes of others"),
    ("latency_stats", "activity of others"),
    ("vmallocinfo", "addresses in the kernel"),
    ("slabinfo", "activity of the kernel"),
    ("modules", "addresses and what could be attacked"),
    ("cmdline", "the machine's start parameters, which may hold secrets"),
    ("config.gz", "what could be attacked"),
    ("sysrq-trigger", "restarts the machine"),
    ("interrupts", "keystroke timing of the operator"),
    ("softirqs", "the same"),
    ("acpi", "hardware"),
    ("asound", "hardware"),
    ("bus", "hardware"),
    ("driver", "hardware"),
    ("fs", "file systems of the host"),
    ("irq", "hardware"),
    ("scsi", "hardware"),
];

/// The devices, all of which mean the same in every process.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// Links that programs expect.
const LINKS: &[(&str, &str)] = &[
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// What `/dev/shm` may hold: what container engines give, which browsers and databases have learned to live with.
const SHARED_MEMORY: u64 = 64 << 20;

/// Terminals of one cell. The kernel has 4,096 for the machine and keeps 1,024 for the host's own mount (kernel.pty.max, reserve):
/// the rest is enough for 48 cells, and 64 for the largest wall of terminal windows.
const TERMINALS: &str = "64";

/// A device: readable and writable, but nothing that is executed, and no privilege by it.
const DEVICE: Protection = Protection { read_only: false, no_suid: true, no_dev: false, no_exec: true };

/// Mounts `/proc`. Init is not among what it shows, because init cannot be traced (`hidepid=invisible`).
pub(crate) fn proc(root: &mut Root) -> Result<(), Fault> {
    let step = Step::Proc;
    let options = [("hidepid", Some("invisible"))];
    let tree = mount::new_filesystem("proc", &options, Protection::INERT).at(
        step,
        "a fresh /proc (a host that hides parts of its own /proc, as container engines do, does not permit one)",
    )?;
    let place = root.directory(Path::new("/proc"))?;
    root.attach_at(&tree, &place, Path::new("/proc"), Protection::INERT)?;
    let mut covers = Covers::default();
    for (name, _why) in HIDDEN {
        hide(root, name, &mut covers)?;
    }
    Ok(())
}

/// What covers: made for the first that is covered, and a copy of its mount for each further one.
#[derive(Default)]
struct Covers {
    file: Option<OwnedFd>,
    directory: Option<OwnedFd>,
}

/// Covers a file with `/dev/null`, a directory with an empty one.
fn hide(root: &Root, name: &str, covers: &mut Covers) -> Result<(), Fault> {
    let step = Step::Proc;
    let relative = Path::new("proc").join(name);
    let place = match root.find(&relative, OFlags::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.at(step, relative.display().to_string())?,
    };
    let stat = rustix::fs::fstat(&place).at(step, name)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
        let options = [("mode", Some("0555")), ("size", Some("4k")), ("nr_inodes", Some("2"))];
        let new = || mount::new_filesystem("tmpfs", &options, Protection::INERT);
        cover(&place, &mut covers.directory, Protection::INERT, new).at(step, name)
    } else {
        let protection = Protection { read_only: true, ..DEVICE };
        let null = || {
            let null = mount::locate(Path::new("/dev/null"), Follow::SystemLinks)?;
            mount::take_tree(&null, protection, None)
        };
        cover(&place, &mut covers.file, protection, null).at(step, name)
    }
}

fn cover(
    place: &OwnedFd,
    attached: &mut Option<OwnedFd>,
    protection: Protection,
    new: impl FnOnce() -> io::Result<OwnedFd>,
) -> io::Result<()> {
    let cover = match attached {
        Some(attached) => mount::take_tree(attached, protection, None)?,
        None => new()?,
    };
    mount::attach(&cover, place)?;
    attached.get_or_insert(cover);
    Ok(())
}

/// Makes `/dev` and returns a descriptor of the cell's own terminals (`/dev/pts`).
pub(crate) fn dev(root: &mut Root) -> Result<OwnedFd, Fault> {
    let step = Step::Dev;
    for name in DEVICES {
        let path = Path::new("/dev").join(name);
        let source = mount::locate(&path, Follow::SystemLinks).at(step, path.display().to_string())?;
        let tree = mount::take_tree(&source, DEVICE, None).at(step, path.display().to_string())?;
        root.attach_to_file(&tree, &path, DEVICE)?;
    }
    let shm = memory(SHARED_MEMORY, 0o1777, Protection::DATA).at(step, "/dev/shm")?;
    let place = root.directory(Path::new("/dev/shm"))?;
    root.attach_at(&shm, &place, Path::new("/dev/shm"), Protection::DATA)?;
    for (name, to) in LINKS {
        let path = Path::new("/dev").join(name);
        let (parent, name) = root.parent(&path)?;
        symlinkat(*to, &parent, name).at(step, path.display().to_string())?;
    }
    terminals(root)
}

fn terminals(root: &mut Root) -> Result<OwnedFd, Fault> {
    let step = Step::Dev;
    let owner = AGENT_ID.to_string();
    let options = [
        ("newinstance", None),
        ("ptmxmode", Some("0666")),
        ("mode", Some("0620")),
        ("uid", Some(owner.as_str())),
        ("gid", Some(owner.as_str())),
        ("max", Some(TERMINALS)),
    ];
    let pts = mount::new_filesystem("devpts", &options, DEVICE).at(step, "/dev/pts")?;
    let place = root.directory(Path::new("/dev/pts"))?;
    root.attach_at(&pts, &place, Path::new("/dev/pts"), DEVICE)?;
    Ok(pts)
}
