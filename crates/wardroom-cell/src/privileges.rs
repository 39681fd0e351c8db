//! What a cell's init gives up before the first program of the agent's starts. The order matters; each step says why.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Gid, Resource, Rlimit, Signal, Uid};
use wardroom_kernel::{caps, landlock, process};
use wardroom_model::event::Mechanism;
use wardroom_model::plan::{AGENT_ID, Access, Identity, Limits, LimitsBy};

use crate::error::{At, Fault, Step};
use crate::wire::Blueprint;

/// Locked memory: half of what distributions give a user (8 MiB), enough for key agents; in shared memory it counts as the
/// operator's own.
const LOCKED_MEMORY: u64 = 4 << 20;
/// Signals that are queued or promised to timers: they count as the operator's own, who has some ten thousands.
const QUEUED_SIGNALS: u64 = 4096;
/// Bytes of a core. Of 1 no file comes, nor does the host's helper start; with 0 the kernel would start it, as the host's root
/// (core(5)). A host's socket for cores gets one whatever the limit: see [`empty_cores`].
const CORE: u64 = 1;
/// The most that one TCP socket's buffer grows to, each way. The loopback, on which a cell's traffic ends, is as fast as with the
/// kernel's 4 to 32 MiB: there is no way for a long window to fill.
const TCP_BUFFER: u64 = 1 << 20;
/// What most programs have everywhere: no cell has less.
const LEAST_DESCRIPTORS: u64 = 1024;
/// `PID_MAX_LIMIT`: no machine has more tasks.
const MOST_TASKS: u64 = 4 << 20;
/// Bytes in POSIX message queues and queued signals: the kernel's own defaults for a user.
const QUEUED_BYTES: u64 = 819_200;

/// Names and keys: nothing of the host's session is left.
pub(crate) fn isolate(plan: &Blueprint) -> Result<Mechanism, Fault> {
    let step = Step::Isolation;
    process::unshare_cgroup_namespace().at(step, "a control group namespace")?;
    rustix::system::sethostname(plan.host_name.as_bytes()).at(step, "the host name")?;
    rustix::process::setsid().at(step, "a session of its own")?;
    let got = match process::join_new_keyring().at(step, "a keyring of its own")? {
        true => "own",
        false => "own (this kernel has no keys)",
    };
    Ok(Mechanism { name: "keyring".into(), asked: "own".into(), got: got.into() })
}

/// Budgets of the kernel that count as the operator's own, and in system mode as those of the host's root, or as the machine's: a
/// part of them. They are those of the cell's user and network namespaces, and are reached through the host's `/proc`, so this
/// comes before its tree is let go of. A host whose `/proc/sys` cannot be written to, as within container engines, leaves what it
/// has; the record says so.
pub(crate) fn budget() -> Vec<Mechanism> {
    let watching = [("instances", 4), ("watches", 2)].map(|(of, part)| watching(of, part));
    watching.into_iter().chain(["tcp_rmem", "tcp_wmem"].map(buffers)).collect()
}

fn watching(of: &str, part: u64) -> Mechanism {
    let most = std::fs::read_to_string(format!("/proc/sys/fs/inotify/max_user_{of}"));
    let asked = most.ok().and_then(|text| text.trim().parse::<u64>().ok()).map(|most| (most / part).max(1));
    let text = asked.map_or_else(|| "a part of the host's".to_owned(), |asked| asked.to_string());
    set(format!("inotify {of}"), &format!("/proc/sys/user/max_inotify_{of}"), text)
}

/// Least, first and most bytes of a TCP socket's buffer: what a machine has for all of them (`net.ipv4.tcp_mem`) is everybody's.
fn buffers(of: &str) -> Mechanism {
    let own = format!("/proc/sys/net/ipv4/{of}");
    let now = std::fs::read_to_string(&own).unwrap_or_default();
    let sizes = now.split_whitespace().filter_map(|size| size.parse::<u64>().ok());
    let asked: Vec<String> = sizes.map(|size| size.min(TCP_BUFFER).to_string()).collect();
    set(of.to_owned(), &own, asked.join(" "))
}

fn set(name: String, file: &str, asked: String) -> Mechanism {
    let set = std::fs::write(file, &asked).and_then(|()| std::fs::read_to_string(file));
    let words = |got: String| got.split_whitespace().collect::<Vec<_>>().join(" ");
    let got = set.map_or_else(|error| format!("the host's ({error})"), words);
    Mechanism { name, asked, got }
}

/// Takes all memory out of the cores that a host with a socket for them (`core_pattern` with `@`, Linux 6.16) gets whatever the
/// limit on them. Inherited by fork and exec, and nobody inside writes to `/proc`. Init is the file's owner here, and not later.
pub(crate) fn empty_cores() -> Result<Mechanism, Fault> {
    const FILTER: &str = "/proc/self/coredump_filter";
    const NOTHING: &str = "00000000";
    let got = match std::fs::write(FILTER, NOTHING) {
        Ok(()) => std::fs::read_to_string(FILTER).at(Step::Check, FILTER)?.trim().to_owned(),
        // A kernel without CONFIG_ELF_CORE makes no cores.
        Err(error) if error.kind() == io::ErrorKind::NotFound => NOTHING.into(),
        Err(error) => return Err(Fault::new(Step::Limits, FILTER, &error)),
    };
    same("memory in a core".into(), NOTHING.into(), got)
}

/// Resource limits. They hold for each process and are inherited.
pub(crate) fn limit(plan: &Blueprint) -> Result<Vec<Mechanism>, Fault> {
    let limits = &plan.limits;
    let mut wanted = vec![
        ("core", Resource::Core, CORE),
        ("nofile", Resource::Nofile, descriptors(limits)),
        ("memlock", Resource::Memlock, LOCKED_MEMORY),
        ("msgqueue", Resource::Msgqueue, QUEUED_BYTES),
        ("sigpending", Resource::Sigpending, QUEUED_SIGNALS),
    ];
    wanted.extend(limits.file_size.map(|size| ("fsize", Resource::Fsize, size)));
    if limits.by == LimitsBy::RlimitsOnly {
        // Data, not address space: runtimes reserve far more addresses than they use.
        wanted.extend(limits.memory.map(|memory| ("data", Resource::Data, memory)));
    }
    wanted.extend(tasks(plan).map(|tasks| ("nproc", Resource::Nproc, tasks)));
    wanted.into_iter().map(|(name, resource, value)| limit_one(name, resource, value)).collect()
}

/// Tasks, where a limit on them is a process's: counted within the cell's user namespace, so this is a bound of the cell (Linux
/// 5.14). In user mode each counts as the operator's own as well, so there is always one, where the operator has one.
fn tasks(plan: &Blueprint) -> Option<u64> {
    let own = match plan.limits.by {
        LimitsBy::Cgroup => None,
        LimitsBy::RlimitsOnly => plan.limits.tasks,
    };
    match plan.identity {
        Identity::Range { .. } => own,
        Identity::Operator { .. } => own.or_else(|| rustix::process::getrlimit(Resource::Nproc).current),
    }
}

/// Descriptors of one process, so that those of all tasks stay within a quarter of what the machine has (systemd makes that
/// boundless; else it is a tenth of memory in KiB). Threads can have a table each.
fn descriptors(limits: &Limits) -> u64 {
    let machine = std::fs::read_to_string("/proc/sys/fs/file-max").ok();
    share_of(machine.and_then(|text| text.trim().parse().ok()).unwrap_or(0), limits)
}

fn share_of(machine: u64, limits: &Limits) -> u64 {
    let tasks = limits.tasks.unwrap_or(MOST_TASKS).max(1);
    limits.descriptors.min((machine / 4 / tasks).max(LEAST_DESCRIPTORS))
}

/// Whether a limit counts what is the operator's own as well, so that half of the operator's must stay.
fn is_shared(resource: Resource) -> bool {
    matches!(resource, Resource::Memlock | Resource::Sigpending | Resource::Nproc)
}

fn limit_one(name: &str, resource: Resource, asked: u64) -> Result<Mechanism, Fault> {
    // A host's hard limit that is lower stays: lowering is all that an unprivileged user may do.
    let now = rustix::process::getrlimit(resource);
    let most = now.maximum.unwrap_or(u64::MAX);
    // The operator's other programs live by the soft one.
    let value = asked.min(if is_shared(resource) { now.current.unwrap_or(most) / 2 } else { most });
    let limit = Rlimit { current: Some(value), maximum: Some(value) };
    rustix::process::setrlimit(resource, limit).at(Step::Limits, name)?;
    let got = rustix::process::getrlimit(resource);
    if got != limit {
        return Err(Fault::said(Step::Check, format!("rlimit {name}: asked {limit:?}, got {got:?}")));
    }
    let (text, core) = (value.to_string(), matches!(resource, Resource::Core));
    // Of a core alone less is not stricter.
    let asked = if core { asked.to_string() } else { text.clone() };
    Ok(Mechanism { name: format!("rlimit {name}"), asked, got: text })
}

/// Becomes the agent, without any capability, for good.
pub(crate) fn drop_privileges() -> Result<(), Fault> {
    let step = Step::Privileges;
    // Needs CAP_SETPCAP, so before the uid changes. The locked secure bits keep the capabilities over that change,
    // so that the last line drops them by name and not as a side effect.
    caps::close_bounding_set().at(step, "the bounding set")?;
    let (uid, gid) = (Uid::from_raw(AGENT_ID), Gid::from_raw(AGENT_ID));
    rustix::thread::set_thread_res_gid(gid, gid, gid).at(step, "the group")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).at(step, "the user")?;
    caps::drop_all().at(step, "the capabilities")?;
    rustix::thread::set_no_new_privs(true).at(step, "no_new_privs")?;
    hold_on()
}

/// Not traceable, and dead when the keeper is. Both are reset by a change of credentials, so this comes after the last.
pub(crate) fn hold_on() -> Result<(), Fault> {
    let step = Step::Privileges;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).at(step, "not dumpable")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at(step, "end with the keeper")?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok(())
}

/// Applies the plan's Landlock rules to init, so that everything it starts shares one domain.
///
/// The kernel has no question to ask it back with, so it is tried: `forbidden` is a file that its mode lets everybody read
/// and that no rule permits.
pub(crate) fn landlock(plan: &Blueprint, level: u32, forbidden: &OwnedFd) -> Result<Mechanism, Fault> {
    let step = Step::Landlock;
    let mut places = Vec::with_capacity(plan.landlock.len());
    for rule in &plan.landlock {
        match rustix::fs::open(&rule.beneath, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            // An optional mount that was left out: what is not there needs no permission.
            Err(Errno::NOENT) => {}
            other => places.push((other.at(step, rule.beneath.display().to_string())?, rights(rule.access))),
        }
    }
    let rules: Vec<landlock::Rule<'_, OwnedFd>> = places.iter().map(|(fd, rights)| (fd, *rights)).collect();
    landlock::restrict(&rules, level).map_err(|error| Fault::said(step, chain(&error)))?;
    let scopes = if level >= 6 { ", scoped signals and abstract sockets" } else { "" };
    let got = match reopen(forbidden) {
        Err(Errno::ACCESS) => format!("level {level}, every right of it{scopes}"),
        Err(errno) => format!("a forbidden file that answers {errno}"),
        Ok(_) => "a forbidden file that can be read".into(),
    };
    same("landlock".into(), format!("level {level}, every right of it{scopes}"), got)
}

/// Opens for reading what a descriptor is for, by way of `/proc`.
fn reopen(file: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Asks the kernel whether init can be traced and outlives its keeper.
pub(crate) fn check_hold() -> Result<[Mechanism; 2], Fault> {
    let step = Step::Check;
    let dumpable = match rustix::process::dumpable_behavior().at(step, "dumpable")? {
        DumpableBehavior::NotDumpable => "no",
        DumpableBehavior::Dumpable | DumpableBehavior::DumpableReadableOnlyByRoot => "yes",
    };
    let signal = rustix::process::parent_process_death_signal().at(step, "parent death signal")?;
    let dies = if signal == Some(Signal::KILL) { "yes" } else { "no" };
    Ok([
        same("init can be traced".into(), "no".into(), dumpable.into())?,
        same("init dies with its keeper".into(), "yes".into(), dies.into())?,
    ])
}

fn rights(access: Access) -> landlock::Rights {
    match access {
        Access::List => landlock::Rights::List,
        Access::Read => landlock::Rights::Read,
        Access::ReadExecute => landlock::Rights::ReadExecute,
        Access::ReadWriteExecute => landlock::Rights::ReadWriteExecute,
        Access::Device => landlock::Rights::Device,
    }
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

/// Asks the kernel how users inside map to users outside.
pub(crate) fn check_maps(identity: Identity) -> Result<Vec<Mechanism>, Fault> {
    let asked = match identity {
        Identity::Operator { uid, gid } => {
            [("user", uid), ("group", gid)].map(|(n, id)| (n, format!("{AGENT_ID} {id} 1")))
        }
        Identity::Range { first } => ["user", "group"].map(|name| (name, format!("0 {first} 65536"))),
    };
    let paths = ["/proc/self/uid_map", "/proc/self/gid_map"];
    let check = |((name, asked), path): ((&str, String), &str)| {
        let text = std::fs::read_to_string(path).at(Step::Check, path)?;
        let got = text.split_whitespace().collect::<Vec<_>>().join(" ");
        same(format!("{name} map"), asked, got)
    };
    asked.into_iter().zip(paths).map(check).collect()
}

/// A mechanism in force as asked, or a fault.
pub(crate) fn same(name: String, asked: String, got: String) -> Result<Mechanism, Fault> {
    if got == asked {
        Ok(Mechanism { name, asked, got })
    } else {
        Err(Fault::said(Step::Check, format!("{name}: asked {asked:?}, got {got:?}")))
    }
}

/// `/proc/self/status`, opened while it can be, to be read again when everything is in force.
#[derive(Debug)]
pub(crate) struct Status(OwnedFd);

impl Status {
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self(rustix::fs::open("/proc/self/status", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// Asks the kernel what is in force; any difference is a fault.
    pub(crate) fn ask(&self) -> Result<Vec<Mechanism>, Fault> {
        // The whole file is about 1.5 KiB.
        let mut buffer = [0_u8; 8192];
        let length =
            rustix::io::pread(self.0.as_fd(), &mut buffer, 0).at(Step::Check, "/proc/self/status")?;
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
        EXPECTED.iter().map(|(name, key, asked)| expect(&text, name, key, asked)).collect()
    }
}

const NO_CAPABILITY: &str = "0000000000000000";
const IDS: &str = "1000\t1000\t1000\t1000";
const EXPECTED: &[(&str, &str, &str)] = &[
    ("user", "Uid", IDS),
    ("group", "Gid", IDS),
    ("capabilities effective", "CapEff", NO_CAPABILITY),
    ("capabilities permitted", "CapPrm", NO_CAPABILITY),
    ("capabilities inheritable", "CapInh", NO_CAPABILITY),
    ("capabilities bounding", "CapBnd", NO_CAPABILITY),
    ("capabilities ambient", "CapAmb", NO_CAPABILITY),
    ("no_new_privs", "NoNewPrivs", "1"),
    ("seccomp", "Seccomp", "2"),
    ("pid 1", "NSpid", "1"),
];

fn expect(status: &str, name: &str, key: &str, asked: &str) -> Result<Mechanism, Fault> {
    let got = caps::status_line(status, key).unwrap_or("nothing");
    same(name.into(), asked.into(), got.into())
}

/// A NUL-terminated copy; bytes after a NUL could never reach the kernel anyway, so such a string is refused.
pub(crate) fn c_string(bytes: &[u8]) -> Result<CString, Errno> {
    CString::new(bytes).map_err(|_nul| Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptors_of_all_tasks_are_a_quarter_of_the_machine_s_at_most() {
        let limits = |tasks| Limits {
            by: LimitsBy::Cgroup,
            memory: None,
            cpus: None,
            tasks,
            descriptors: 16_384,
            file_size: None,
        };
        // 24 GiB without systemd, and any machine with.
        assert_eq!(share_of(2_466_165, &limits(Some(512))), 1204);
        assert_eq!(share_of(2_466_165, &limits(Some(20))), 16_384);
        assert_eq!(share_of(9_223_372_036_854_775_807, &limits(None)), 16_384);
        // What nobody bounds or says gets the least.
        assert_eq!(share_of(2_466_165, &limits(None)), 1024);
        assert_eq!(share_of(0, &limits(Some(2))), 1024);
    }
}
