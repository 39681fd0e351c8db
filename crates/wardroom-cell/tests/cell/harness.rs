//! Runs cases in forked processes, because a keeper has one thread when it builds a cell.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{DumpableBehavior, Gid, Uid, WaitOptions, geteuid, waitpid};
use wardroom_cell::filter::{Answer, Filter, FilterOptions};
use wardroom_cell::{BuildOptions, Cell, CellEvent, Spawn, build};
use wardroom_kernel::notify::{Listener, Reply};
use wardroom_kernel::process::{Forked, exit_now, fork_checked};
use wardroom_model::AgentName;
use wardroom_model::plan::{Access, CellPlan, Identity, LandlockRule, Limits, LimitsBy, Mount};

/// One test: its name says the outcome.
pub(crate) type Case = (&'static str, fn(&World));

/// Who builds the cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Root, with a range of ids for the agent.
    System,
    /// An unprivileged user.
    User,
}

/// Where a case runs.
pub(crate) struct World {
    pub(crate) mode: Mode,
    pub(crate) directory: PathBuf,
    /// The cell of [`World::script`].
    cell: RefCell<Option<Cell>>,
}

/// An id that no account has.
const NOBODY_IN_PARTICULAR: u32 = 12_345;
/// The agent's range in system mode.
pub(crate) const RANGE: u32 = 7_000_000;

pub(crate) fn run(cases: &[Case]) -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let modes = if geteuid().is_root() { vec![Mode::System, Mode::User] } else { vec![Mode::User] };
    if modes.len() == 1 {
        eprintln!("SKIPPED: system mode of every case: needs root");
    }
    if words.first().is_some_and(|word| word == "bench") {
        modes.into_iter().for_each(bench);
        return ExitCode::SUCCESS;
    }
    let (mut passed, mut failed) = (0, 0);
    for (name, case) in cases.iter().filter(|(name, _)| words.iter().all(|word| name.contains(word.as_str())))
    {
        for mode in &modes {
            let ok = in_a_process(*mode, *case);
            println!("test {name} ({mode:?}) ... {}", if ok { "ok" } else { "FAILED" });
            *(if ok { &mut passed } else { &mut failed }) += 1;
        }
    }
    // As Rust's own harness says it, so that `cargo xtask test` counts the cases.
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How long a cell takes: built, `/bin/true` run in it, ended. Each in a process of its own, like every case.
fn bench(mode: Mode) {
    let mut times: Vec<u64> = (0..200)
        .map(|_| {
            let before = now();
            let ok = in_a_process(mode, |world| {
                let (begin, mut cell) = (now(), world.build());
                let (built, status) = (now(), run_in(&mut cell, &["/bin/true"]).0);
                let ran = now();
                cell.end().unwrap();
                let ended = now();
                if std::env::var_os("VERBOSE").is_some() {
                    eprintln!("build {} run {} end {} us", built - begin, ran - built, ended - ran);
                }
                assert_eq!(status, 0);
            });
            assert!(ok);
            now() - before
        })
        .collect();
    times.sort_unstable();
    eprintln!("{mode:?}: median {} us, best {} us, p90 {} us", times[100], times[0], times[180]);
}

/// Microseconds of the monotonic clock.
fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(time.tv_sec * 1_000_000 + time.tv_nsec / 1000).unwrap()
}

fn in_a_process(mode: Mode, case: fn(&World)) -> bool {
    let directory = tempfile::Builder::new().prefix("wardroom-cell-").tempdir().unwrap();
    match fork_checked().unwrap() {
        Forked::Child => {
            let world = World { mode, directory: directory.path().to_owned(), cell: RefCell::default() };
            let ok = catch_unwind(AssertUnwindSafe(|| {
                become_user(&world);
                case(&world);
            }));
            exit_now(i32::from(ok.is_err()))
        }
        Forked::Parent(pid) => {
            let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
            status.exit_status() == Some(0)
        }
    }
}

fn become_user(world: &World) {
    for name in ["home", "workspace"] {
        std::fs::create_dir(world.directory.join(name)).unwrap();
    }
    let owner = match world.mode {
        Mode::System => RANGE + 1000,
        Mode::User => NOBODY_IN_PARTICULAR,
    };
    if geteuid().is_root() {
        for path in [world.directory.clone(), world.directory.join("home")] {
            std::os::unix::fs::chown(path, Some(owner), Some(owner)).unwrap();
        }
        if world.mode == Mode::User {
            std::os::unix::fs::chown(world.directory.join("workspace"), Some(owner), Some(owner)).unwrap();
            let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
        }
    }
}

impl World {
    /// A plan as the policy crate makes it, in small.
    pub(crate) fn plan(&self) -> CellPlan {
        let identity = match self.mode {
            Mode::System => Identity::Range { first: RANGE },
            Mode::User => {
                Identity::Operator { uid: geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
            }
        };
        CellPlan {
            agent: AgentName::parse("scout").unwrap(),
            identity,
            mounts: self.mounts(),
            landlock: landlock(),
            limits: Limits {
                by: LimitsBy::RlimitsOnly,
                memory: None,
                cpus: None,
                tasks: None,
                descriptors: 1024,
                file_size: None,
            },
            environment: [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/home/agent")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            before: None,
            command: vec![b"true".to_vec()],
            directory: "/workspace".into(),
            sensitive: Vec::new(),
            audit_reads: false,
            canaries: Vec::new(),
            may_trace: false,
            literals: Vec::new(),
        }
    }

    fn mounts(&self) -> Vec<Mount> {
        let mut mounts =
            vec![bind("/usr", "/usr", false), Mount::Directory { target: "/run".into(), mode: 0o755 }];
        for name in ["bin", "sbin", "lib", "lib64"] {
            mounts.push(Mount::Symlink {
                target: PathBuf::from("/").join(name),
                to: PathBuf::from("usr").join(name),
            });
        }
        let passwd = b"agent:x:1000:1000::/home/agent:/bin/sh\n".to_vec();
        mounts.push(Mount::File { target: "/etc/passwd".into(), contents: passwd, mode: 0o644 });
        mounts.push(Mount::Tmpfs { target: "/tmp".into(), size: 16 << 20, mode: 0o1777, exec: true });
        mounts.extend([Mount::Proc, Mount::Dev]);
        mounts.push(bind(self.directory.join("home").to_str().unwrap(), "/home/agent", true));
        mounts.push(bind(self.directory.join("workspace").to_str().unwrap(), "/workspace", true));
        mounts
    }

    pub(crate) fn build(&self) -> Cell {
        self.start(&self.plan())
    }

    /// Builds a cell and answers for its filter.
    pub(crate) fn start(&self, plan: &CellPlan) -> Cell {
        let options = FilterOptions { audit_reads: plan.audit_reads, may_trace: plan.may_trace };
        let mut cell = build(plan, BuildOptions::for_this_kernel()).unwrap_or_else(|error| panic!("{error}"));
        guard(cell.take_listener().unwrap(), options);
        cell
    }

    /// Runs a shell script in this world's cell, which is built for the first one; its status and what it said.
    pub(crate) fn script(&self, script: &str) -> (u32, String) {
        let mut cell = self.cell.borrow_mut();
        run_in(cell.get_or_insert_with(|| self.build()), &["/bin/sh", "-c", script])
    }
}

pub(crate) fn bind(source: &str, target: &str, write: bool) -> Mount {
    let (source, target) = (source.into(), target.into());
    Mount::Bind { source, target, write, exec: true, owned: write, optional: false }
}

fn landlock() -> Vec<LandlockRule> {
    [
        ("/usr", Access::ReadExecute),
        ("/etc", Access::Read),
        ("/proc", Access::Read),
        ("/dev", Access::Device),
        ("/dev/shm", Access::ReadWriteExecute),
        ("/tmp", Access::ReadWriteExecute),
        ("/home/agent", Access::ReadWriteExecute),
        ("/workspace", Access::ReadWriteExecute),
    ]
    .map(|(beneath, access)| LandlockRule { beneath: beneath.into(), access })
    .into()
}

/// Answers as the guard does, without records.
pub(crate) fn guard(listener: OwnedFd, options: FilterOptions) -> Arc<AtomicBool> {
    let refused = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&refused);
    std::thread::spawn(move || {
        let filter = Filter::new(options);
        let listener = Listener::new(listener).unwrap();
        while let Ok(received) = listener.receive() {
            let Some(call) = received else { continue };
            let reply = match filter.rule(call.call, &call.arguments).map(|rule| rule.answer) {
                Some(Answer::Refuse(errno) | Answer::Absent(errno)) => {
                    seen.store(true, Ordering::SeqCst);
                    Reply::Errno(errno)
                }
                Some(Answer::Allow | Answer::Audit(_)) => Reply::Continue,
                Some(Answer::Moot) => Reply::Done,
                None => Reply::Errno(rustix::io::Errno::NOSYS),
            };
            if listener.answer(call.id, reply).is_err() {
                return;
            }
        }
    });
    refused
}

/// What a program gets to run with: output into a pipe.
pub(crate) fn spawn_of(argv: &[&str], output: &OwnedFd) -> Spawn {
    let null = || OwnedFd::from(File::open("/dev/null").unwrap());
    Spawn {
        argv: argv.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
        env: vec![b"PATH=/usr/local/bin:/usr/bin:/bin".to_vec(), b"HOME=/home/agent".to_vec()],
        directory: "/workspace".into(),
        stdio: [null(), output.try_clone().unwrap(), output.try_clone().unwrap()],
        terminal: false,
    }
}

pub(crate) fn run_in(cell: &mut Cell, argv: &[&str]) -> (u32, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    let writer = OwnedFd::from(writer);
    let id = cell.spawn(spawn_of(argv, &writer)).unwrap();
    drop(writer);
    let mut said = Vec::new();
    let mut reader = File::from(OwnedFd::from(reader));
    reader.read_to_end(&mut said).unwrap();
    loop {
        match cell.next_event().unwrap() {
            CellEvent::Exited { id: ended, status } if ended == id => {
                return (status, String::from_utf8_lossy(&said).into_owned());
            }
            CellEvent::SpawnFailed { errno, what, .. } => said.extend(format!("{what}: {errno}\n").bytes()),
            CellEvent::Exited { .. } => {}
            CellEvent::Ended => panic!("the cell ended: {}", String::from_utf8_lossy(&said)),
        }
    }
}
