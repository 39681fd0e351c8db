//! What the guard records of a real cell: paths as they are inside, and who is who.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test picks out the one kind that it is about")]

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use wardroom_cell::filter::FilterOptions;
use wardroom_cell::guard::{Guard, GuardEnd, GuardError, GuardSetup};
use wardroom_cell::{BuildOptions, Cell, build};
use wardroom_kernel::landlock;
use wardroom_model::event::FileOp;
use wardroom_model::plan::CellPlan;
use wardroom_model::{Event, Outcome};
use wardroom_scribe::Handoff;

use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};

use crate::harness::{Case, Mode, World, run_in};

pub(crate) const CASES: &[Case] = &[
    ("the_ledger_sees_a_cell_as_it_is_inside", seen_from_inside),
    ("a_program_copied_into_the_workspace_is_not_trusted", copied),
    ("a_thread_is_answered_whose_first_thread_has_ended", leaderless),
    ("a_program_whose_path_is_too_long_to_be_told_is_nobody", deep),
    ("an_exec_through_proc_is_not_said_to_have_failed", through_proc),
    ("an_agent_changes_nothing_of_init_s", init_is_left_alone),
    ("the_operator_s_budgets_are_not_the_agent_s", budgets),
    ("the_machine_s_budgets_are_not_the_agent_s", machine),
    ("a_landlock_domain_takes_one_of_the_kernel_s_places", within_a_domain),
    ("without_a_landlock_domain_all_places_are_free", without_a_domain),
    ("who_says_to_be_the_operator_s_command_is_held_within_the_agent_s_budget", impostors),
    ("the_guard_ends_with_its_cell", ends),
];

pub(crate) struct Guarded {
    pub(crate) cell: Cell,
    pub(crate) handoff: Arc<Handoff>,
    thread: JoinHandle<Result<GuardEnd, GuardError>>,
    /// Closing it stops the guard.
    _stop: OwnedFd,
}

impl Guarded {
    /// Ends the cell, and says how its guard did.
    pub(crate) fn end(self) -> Result<GuardEnd, GuardError> {
        let Self { cell, thread, _stop: stop, .. } = self;
        drop(cell);
        let end = thread.join().unwrap();
        drop(stop);
        end
    }
}

pub(crate) fn guarded(world: &World) -> Guarded {
    guarded_as(&world.plan())
}

/// The same in a cell of this plan.
pub(crate) fn guarded_as(plan: &CellPlan) -> Guarded {
    let mut cell = build(plan, BuildOptions::for_this_kernel()).unwrap_or_else(|error| panic!("{error}"));
    let handoff = Arc::new(Handoff::in_memory());
    let (stopped, stop) = std::io::pipe().unwrap();
    let guard = Guard::new(GuardSetup {
        listener: cell.take_listener().unwrap(),
        handoff: Arc::clone(&handoff),
        filter: FilterOptions { audit_reads: plan.audit_reads, may_trace: plan.may_trace },
        sensitive: Vec::new(),
        trusted: vec!["/usr".into()],
        attribution: None,
        announcements: cell.announcements(),
    })
    .unwrap();
    let thread = std::thread::spawn(move || guard.run(stopped.as_fd()));
    Guarded { cell, handoff, thread, _stop: stop.into() }
}

fn seen_from_inside(world: &World) {
    let mut at = guarded(world);
    let (status, said) =
        run_in(&mut at.cell, &["/bin/sh", "-c", "echo x > report && /usr/bin/env true; exit 4"]);
    assert_eq!(status, 4, "{said}");
    let events = at.handoff.taken();
    let mut execs = Vec::new();
    for event in &events {
        match event {
            Event::Exec(exec) => {
                assert_eq!(exec.directory.shown(), b"/workspace", "{exec:?}");
                execs.push(exec.path.to_string());
            }
            Event::Image(image) => {
                assert!(image.announced.is_none() && image.actor.program.trusted, "{image:?}");
                assert!(image.actor.program.path.shown().starts_with(b"/usr/bin/"), "{image:?}");
            }
            _ => {}
        }
    }
    assert_eq!(execs[..2], ["/bin/sh", "/usr/bin/env"], "{events:#?}");
    let created = events.iter().any(|event| match event {
        Event::File(act) => act.op == FileOp::Create && act.path.shown() == b"/workspace/report",
        _ => false,
    });
    assert!(created, "{events:#?}");
    assert!(events.iter().any(|event| matches!(event, Event::Image(_))));
}

fn copied(world: &World) {
    let mut at = guarded(world);
    let (status, said) = run_in(&mut at.cell, &["/bin/sh", "-c", "cp /usr/bin/true git && ./git && rm git"]);
    assert_eq!(status, 0, "{said}");
    let events = at.handoff.taken();
    let image = events.iter().find_map(|event| match event {
        Event::Image(image) if image.actor.program.path.shown() == b"/workspace/git" => Some(image),
        _ => None,
    });
    assert!(!image.unwrap_or_else(|| panic!("{events:#?}")).actor.program.trusted);
}

/// A process that the guard knows, and one that it does not.
fn leaderless(world: &World) {
    let script = r#"
import ctypes, os, sys, threading, time
libc = ctypes.CDLL(None)
def late():
    time.sleep(0.1)
    open(f"/workspace/{sys.argv[1]}", "w").close()
    os.execlp("sh", "sh", "-c", f"echo {sys.argv[1]}")
if sys.argv[1] == "child" and os.fork(): os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
threading.Thread(target=late).start()
own = os.getpid()
def ended(): return open(f"/proc/self/task/{own}/stat").read().rsplit(") ", 1)[1][0] == "Z"
threading.Thread(target=lambda: (time.sleep(0.05), ended() or os._exit(9))).start()
libc.syscall(60 if os.uname().machine == "x86_64" else 93, 0) # exit(2): of this thread alone
"#;
    let mut at = guarded(world);
    for who in ["known", "child"] {
        let (status, said) = run_in(&mut at.cell, &["timeout", "20", "python3", "-c", script, who]);
        assert_eq!((status, said.trim()), (0, who), "{:#?}", at.handoff.taken());
        let created =
            |event: &Event| matches!(event, Event::File(act) if act.path.shown().ends_with(who.as_bytes()));
        assert!(at.handoff.taken().iter().any(created), "{who}");
    }
}

fn deep(world: &World) {
    let script = r#"
import os, shutil, sys
for _ in range(25): os.mkdir("d" * 200); os.chdir("d" * 200)
shutil.copy("/usr/bin/env", "deep")
if os.fork() == 0: os.execv("./deep", ["env", "echo", "ran"])
os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
"#;
    let mut at = guarded(world);
    let (status, said) = run_in(&mut at.cell, &["python3", "-c", script]);
    assert_eq!((status, said.trim()), (0, "ran"));
    let nameless =
        |event: &Event| matches!(event, Event::Image(image) if image.actor.program.path.shown().is_empty());
    let events = at.handoff.taken();
    assert!(events.iter().any(nameless), "{events:#?}");
    assert!(matches!(at.end().unwrap(), GuardEnd::CellEnded(_)), "the guard goes on");
}

fn through_proc(world: &World) {
    let mut at = guarded(world);
    let script =
        "ln -s /proc/self/root/usr/bin/true here; ./here && /proc/self/root/usr/bin/true && exec /bin/none";
    let (status, said) = run_in(&mut at.cell, &["sh", "-c", script]);
    assert_eq!(status, 127, "{said}");
    let failed: Vec<String> = at
        .handoff
        .taken()
        .iter()
        .filter_map(|event| match event {
            Event::Exec(exec) if exec.verdict.outcome == Outcome::Failed => Some(exec.path.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(failed, ["/bin/none"]);
}

fn init_is_left_alone(world: &World) {
    let script = r#"
import os, resource
attempts = [lambda: resource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0)), lambda: os.sched_setaffinity(1, {0}),
            lambda: os.setpriority(os.PRIO_PROCESS, 1, 19), lambda: os.setpriority(os.PRIO_USER, 1000, 19)]
for attempt in attempts:
    try: attempt(); raise SystemExit("it was changed")
    except PermissionError: pass
resource.setrlimit(resource.RLIMIT_CORE, (0, 0)) # as programs do that hold secrets
try: resource.prlimit(0, resource.RLIMIT_CORE, (0, 0)); raise SystemExit("it hears an old limit that nobody wrote")
except PermissionError: pass
try: open("/proc/self/coredump_filter", "w").write("33"); raise SystemExit("cores have its memory")
except OSError: pass
assert open("/proc/self/coredump_filter").read() == "00000000\n"
print(resource.getrlimit(resource.RLIMIT_CORE))
"#;
    let mut at = guarded(world);
    let (status, said) = run_in(&mut at.cell, &["python3", "-c", script]);
    // A host's hard limit of 0 can be raised by root alone.
    let most = getrlimit(Resource::Core).maximum.unwrap_or(1).min(1);
    let core = if geteuid().is_root() { 1 } else { most };
    assert_eq!((status, said.trim()), (0, format!("({core}, {core})").as_str()));
    let refused = at.handoff.taken().iter().filter(|event| matches!(event, Event::Privilege(_))).count();
    assert_eq!(refused, 5);
    assert_eq!(run_in(&mut at.cell, &["true"]).0, 0, "commands are still started");
}

/// What a process inside can have of what counts as the operator's own.
fn budgets(world: &World) {
    let script = r#"
import ctypes, os, resource, signal
libc = ctypes.CDLL(None)
instances = 0
while libc.inotify_init1(0) >= 0: instances += 1
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
signals = 0
while libc.sigqueue(os.getpid(), signal.SIGRTMIN, None) == 0: signals += 1
print(instances, signals, *resource.getrlimit(resource.RLIMIT_NPROC))
"#;
    let mut at = guarded(world);
    let asked = at.cell.mechanisms().iter().find(|of| of.name == "inotify instances").unwrap();
    if asked.asked != asked.got {
        eprintln!("SKIPPED: the operator's budgets: /proc/sys cannot be written to here: {}", asked.got);
        return;
    }
    let wanted = asked.asked.clone();
    let (status, said) = run_in(&mut at.cell, &["python3", "-c", script]);
    let [instances, signals, soft, hard] =
        [0, 1, 2, 3].map(|at| said.split_whitespace().nth(at).unwrap().parse::<i64>().unwrap());
    assert_eq!(status, 0, "{said}");
    if world.mode == Mode::User
        && let Some(most) = getrlimit(Resource::Nproc).current
    {
        let half = i64::try_from(most / 2).unwrap();
        assert_eq!((soft, hard), (half, half), "processes");
    }
    assert_eq!(instances.to_string(), wanted);
    assert!((1..=4096).contains(&signals), "{said}");
}

/// What the kernel counts for the machine as a whole.
fn machine(world: &World) {
    let script = r#"
import ctypes, errno, os, socket
libc = ctypes.CDLL(None, use_errno=True)
context = ctypes.c_ulong()
assert libc.syscall(206 if os.uname().machine == "x86_64" else 0, 1, ctypes.byref(context)) < 0 # io_setup
assert ctypes.get_errno() == errno.ENOSYS
terminals = []
try:
    while True: terminals += os.openpty()
except OSError as error: assert error.errno == errno.ENOSPC, error
for option in [26, 50, 51, 52]: # SO_ATTACH_FILTER and its kin
    try: socket.socket().setsockopt(socket.SOL_SOCKET, option, bytes(16)); raise SystemExit("a program is attached")
    except OSError as error: assert error.errno == errno.ENOPROTOOPT, error
for buffers in ["tcp_rmem", "tcp_wmem"]:
    assert int(open(f"/proc/sys/net/ipv4/{buffers}").read().split()[2]) <= 1 << 20, buffers
print(len(terminals) // 2)
"#;
    let mut at = guarded(world);
    if at.cell.mechanisms().iter().any(|of| of.name == "tcp_wmem" && of.asked != of.got) {
        eprintln!("SKIPPED: the machine's budgets: /proc/sys cannot be written to here");
        return;
    }
    let (status, said) = run_in(&mut at.cell, &["python3", "-c", script]);
    assert_eq!((status, said.trim()), (0, "64"));
    let refused = at.handoff.taken().iter().filter(|event| matches!(event, Event::Privilege(_))).count();
    assert_eq!(refused, 4, "the programs of sockets; what programs ask for and do without is no attempt");
}

/// Eighty processes that execute something as the command of the cell did, by its number, and the room for sixty of them.
fn impostors(world: &World) {
    let script = r#"
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
execve = 59 if os.uname().machine == "x86_64" else 221
nothing = (ctypes.c_char_p * 2)(b"x", None)
reader, writer = os.pipe()
children = []
for _ in range(80):
    child = os.fork()
    if child == 0:
        libc.syscall(execve, b"/none", nothing, nothing, ctypes.c_ulong(1))
        os.write(writer, bytes([ctypes.get_errno()]))
        signal.pause()
    children.append(child)
    print(os.read(reader, 1)[0])
for child in children: os.kill(child, signal.SIGKILL)
"#;
    let mut plan = world.plan();
    plan.limits.descriptors = 256;
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), maximum: Some(256) }).unwrap();
    let mut at = guarded_as(&plan);
    let (status, said) = run_in(&mut at.cell, &["python3", "-c", script]);
    assert_eq!((status, said.lines().count()), (0, 80), "{said}");
    let refused = said.lines().filter(|errno| *errno == "1").count();
    assert!(refused >= 15, "{refused} of 80 were refused");
    assert_eq!(run_in(&mut at.cell, &["true"]).0, 0, "the operator's next command is not");
}

/// What `verify` tells a cell with Landlock from one without by. Each case is a process of its own.
fn within_a_domain(_: &World) {
    let nothing: [landlock::Rule<'_, std::fs::File>; 0] = [];
    landlock::restrict(&nothing, landlock::level()).unwrap();
    assert!(landlock::enter_as_many_as_fit().unwrap() < landlock::MOST_DOMAINS);
}

fn without_a_domain(_: &World) {
    let entered = landlock::enter_as_many_as_fit().unwrap();
    assert_eq!(entered, landlock::MOST_DOMAINS, "or these tests run within a domain themselves");
}

fn ends(world: &World) {
    let mut at = guarded(world);
    assert_eq!(run_in(&mut at.cell, &["true"]).0, 0);
    assert!(matches!(at.end().unwrap(), GuardEnd::CellEnded(_)));
}
