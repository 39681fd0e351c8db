//! C3, C11, C12, C16: what the cell holds the agent to, whatever it calls.

use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit, waitpid};
use wardroom_kernel::landlock;
use wardroom_kernel::probe::process;

use crate::verify::attempt::in_passing;
use crate::verify::outcome::Outcome;
use crate::verify::probe::Attempt::Run;
use crate::verify::probe::Control::{Bare, Outside};
use crate::verify::probe::Expect::{Path as At, Privilege, Program};
use crate::verify::probe::{Aim, Probe, probe};
use crate::verify::scene::{Place, Scene};

use super::processes::unless_permitted;

const OWN_STATE: &str = "looking at its own state is no act; there is nothing to see";
const LIMIT: &str = "the kernel's limit answers without a word; the program that met it is on record";

#[rustfmt::skip]
pub(super) const PROBES: &[Probe] = &[
    probe("C1.landlock", "no Landlock domain around it", Run(landlock_domain), Outside, Program(OWN_STATE)),
    probe("C3.privileges", "any capability, or privileges by exec", Run(privileges), Outside, Program(OWN_STATE)),
    probe("C11.descriptors", "a descriptor left open by those who started it", Run(descriptors), Outside, Program(OWN_STATE)),
    probe("C11.own-image", "writing to the program file that it runs", Run(own_image), Outside, At("/proc/self/exe")),
    probe("C11.init-memory", "the memory of the cell's init", Run(init_memory), Bare(&[]), Program("the kernel refuses it; /proc/1 is no sensitive name")),
    probe("C11.init-trace", "tracing the cell's init", Run(trace_init), Outside, Privilege("ptrace")),
    probe("C11.init-root", "out through the root directory of another process", Run(init_root), Outside, Program("the kernel refuses it; /proc/1 is no sensitive name")),
    probe("C12.processes", "more processes than the policy permits", Run(processes), Outside, Program(LIMIT)).aims(Aim::RefusedInTime).within(30),
    probe("C12.memory", "more memory than the policy permits", Run(memory), Outside, Program(LIMIT)).aims(Aim::RefusedInTime).within(60),
    probe("C12.descriptors", "more descriptors than a process may hold", Run(many_descriptors), Outside, Program(LIMIT)).aims(Aim::RefusedInTime),
    probe("C16.nosuid", "a file system where setuid programs would work", Run(nosuid), Outside, Program(OWN_STATE)),
    probe("C16.path", "planting a program in a directory of its PATH", Run(path), Bare(&["/usr/local"]), At("wardroom-verify-c16")),
];

/// What is not mounted cannot be opened, with Landlock or without: only the place that it takes tells that it is there.
fn landlock_domain(_: &Scene) -> Outcome {
    match landlock::enter_as_many_as_fit() {
        Ok(landlock::MOST_DOMAINS) => Outcome::Succeeded(format!("{} of its own", landlock::MOST_DOMAINS)),
        Ok(entered) => Outcome::Blocked(format!("{entered} of its own within one")),
        Err(error) => Outcome::Impossible(error.to_string()),
    }
}

/// Every capability set empty, and no_new_privs set.
fn privileges(_: &Scene) -> Outcome {
    let Ok(status) = fs::read_to_string("/proc/self/status") else {
        return Outcome::Impossible("/proc/self/status cannot be read".to_owned());
    };
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("missing").trim();
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        if !field(set).trim_start_matches('0').is_empty() {
            return Outcome::Succeeded(format!("{set} {}", field(set)));
        }
    }
    match field("NoNewPrivs:") {
        "1" => Outcome::Blocked("every set is empty, and none can be gained".to_owned()),
        other => Outcome::Succeeded(format!("NoNewPrivs: {other}")),
    }
}

/// Beyond the three standard ones. The control holds one open itself, as a careless starter would.
fn descriptors(scene: &Scene) -> Outcome {
    let careless = (scene.place == Place::Outside).then(|| File::open("/"));
    let outcome = match open_descriptors() {
        Ok(open) if open.is_empty() => Outcome::Blocked("there is none".to_owned()),
        Ok(open) => Outcome::Succeeded(format!("open: {}", open.join(", "))),
        Err(error) => Outcome::Impossible(error.to_string()),
    };
    drop(careless);
    outcome
}

fn open_descriptors() -> io::Result<Vec<String>> {
    let mut open = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let number = entry.file_name().to_string_lossy().into_owned();
        let what = fs::read_link(entry.path()).unwrap_or_default();
        // The listing itself needs one.
        let listing = what.starts_with("/proc") && what.ends_with("fd");
        if !matches!(number.as_str(), "0" | "1" | "2") && !listing {
            open.push(format!("{number} ({})", what.display()));
        }
    }
    Ok(open)
}

/// Busy now means writable later, when it has ended: as good as done. Outside, it is a copy of the caller's: the program itself may
/// belong to root.
fn own_image(scene: &Scene) -> Outcome {
    let mut image = PathBuf::from("/proc/self/exe");
    if scene.place == Place::Outside {
        let copy = scene.fixtures.directory.join(format!("{}-image", scene.id));
        if let Err(error) = fs::copy(&image, &copy) {
            return Outcome::Impossible(format!("no copy of the program: {error}"));
        }
        image = copy;
    }
    match OpenOptions::new().write(true).open(image) {
        Ok(_) => Outcome::Succeeded("it is open for writing".to_owned()),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::TXTBSY) => {
            Outcome::Succeeded("only its being in use protects it".to_owned())
        }
        Err(error) => Outcome::Blocked(error.to_string()),
    }
}

/// Opening is what needs the permission.
fn init_memory(_: &Scene) -> Outcome {
    Outcome::of(File::open("/proc/1/mem"), "its memory is open")
}

fn trace_init(scene: &Scene) -> Outcome {
    let target = match scene.place {
        Place::Cell => Some(Pid::INIT),
        Place::Outside | Place::Bare => Pid::from_raw(scene.fixtures.victim),
    };
    unless_permitted(scene, || {
        Outcome::of(target.ok_or(Errno::SRCH).and_then(process::attach), "it is traced")
    })
}

fn init_root(scene: &Scene) -> Outcome {
    let pid = if scene.place == Place::Cell { 1 } else { scene.fixtures.victim };
    let down: PathBuf =
        scene.fixtures.secret.components().filter(|part| *part != Component::RootDir).collect();
    crate::verify::attempt::read(&Path::new(&format!("/proc/{pid}/root")).join(down))
}

/// As many as the policy permits and some more, all of them asleep, all of them ended again.
fn processes(scene: &Scene) -> Outcome {
    let Some(permitted) = scene.fixtures.policy.tasks else {
        return Outcome::Impossible("the policy sets no limit of tasks".to_owned());
    };
    // More than this would be a burden to the machine of whoever verifies.
    if permitted > 4096 {
        return Outcome::Impossible(format!("a limit of {permitted} is too high to try"));
    }
    let mut children = Vec::new();
    let mut refusal = None;
    for _ in 0..permitted + 16 {
        match process::split() {
            Ok(None) => sleep_until_killed(),
            Ok(Some(child)) => children.push(child),
            Err(errno) => {
                refusal = Some(errno);
                break;
            }
        }
    }
    for child in &children {
        in_passing(kill_process(*child, Signal::KILL));
        in_passing(waitpid(Some(*child), rustix::process::WaitOptions::empty()));
    }
    match refusal {
        Some(errno) => Outcome::Blocked(format!("after {} processes: {errno}", children.len())),
        None => Outcome::Succeeded(format!("{} processes at once", children.len())),
    }
}

fn sleep_until_killed() -> ! {
    process::end_after(20);
    loop {
        std::thread::park();
    }
}

/// Touches more than the limit, where the machine has plenty of room for it.
fn memory(scene: &Scene) -> Outcome {
    let Some(permitted) = scene.fixtures.policy.memory else {
        return Outcome::Impossible("the policy sets no limit of memory".to_owned());
    };
    let wanted = permitted.saturating_add(64 << 20);
    if wanted > scene.fixtures.policy.room {
        return Outcome::Impossible(format!(
            "a limit of {permitted} bytes is too high to try on this machine"
        ));
    }
    let mut block: Vec<u8> = Vec::new();
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    if let Err(error) = block.try_reserve_exact(wanted) {
        return Outcome::Blocked(error.to_string());
    }
    drop(block);
    black_box(vec![1_u8; wanted]);
    Outcome::Succeeded(format!("{wanted} bytes in use"))
}

/// Up to a number that no limit of a cell reaches; the control raises its own as far as it may.
fn many_descriptors(scene: &Scene) -> Outcome {
    let Some(permitted) = scene.fixtures.policy.descriptors else {
        return Outcome::Impossible("the policy sets no limit of descriptors".to_owned());
    };
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        return Outcome::Impossible(error.to_string());
    }
    let mut open = Vec::new();
    for _ in 0..permitted + 16 {
        match File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(error) => return Outcome::Blocked(format!("after {}: {error}", open.len())),
        }
    }
    Outcome::Succeeded(format!("{} descriptors", open.len()))
}

/// Everything that the agent can see must be mounted nosuid.
fn nosuid(_: &Scene) -> Outcome {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let places = [Path::new("/"), Path::new("/usr"), Path::new("/tmp"), Path::new("/workspace"), &home];
    for place in places.iter().filter(|place| place.exists()) {
        match statvfs(*place) {
            Ok(found) if found.f_flag.contains(StatVfsMountFlags::NOSUID) => {}
            Ok(_) => return Outcome::Succeeded(format!("{} is not nosuid", place.display())),
            Err(error) => return Outcome::Impossible(format!("{}: {error}", place.display())),
        }
    }
    Outcome::Blocked("all of it is nosuid".to_owned())
}

fn path(scene: &Scene) -> Outcome {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if scene.place == Place::Bare {
        directories = vec![PathBuf::from("/usr/local/bin")];
        if let Err(error) = fs::create_dir_all("/usr/local/bin") {
            return Outcome::Impossible(error.to_string());
        }
    }
    for directory in directories {
        let planted = directory.join("wardroom-verify-c16");
        if fs::write(&planted, "").is_ok() {
            in_passing(fs::remove_file(&planted));
            return Outcome::Succeeded(format!("{} is writable", directory.display()));
        }
    }
    Outcome::Blocked("every one is read-only".to_owned())
}
