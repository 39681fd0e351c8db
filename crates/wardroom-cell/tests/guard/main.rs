//! The filter and the guard together, on real programs. A thread of the test takes the filter (it holds for the
//! thread and what it starts), and another answers; no privilege is needed.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of tests fail by panicking, as tests do"
)]
#![expect(clippy::wildcard_enum_match_arm, reason = "a test picks out the one kind that it is about")]

mod exec;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, mpsc};

use wardroom_cell::Announcements;
use wardroom_cell::filter::{Filter, FilterOptions};
use wardroom_cell::guard::{Guard, GuardEnd, GuardSetup};
use wardroom_kernel::seccomp;
use wardroom_model::event::{Exec, FileOp, Image, Privilege, ProcessExit, SocketTarget};
use wardroom_model::{Attribution, Event, Reason};
use wardroom_scribe::Handoff;

const PLAIN: FilterOptions = FilterOptions { audit_reads: false, may_trace: false };

/// What happened while something ran under the guard.
struct Watched<T> {
    result: T,
    events: Vec<Event>,
    attributions: Vec<Attribution>,
}

/// Runs `body` in a thread under the filter, and returns what was recorded.
fn watched<T: Send>(options: FilterOptions, body: impl FnOnce() -> T + Send) -> Watched<T> {
    let handoff = Arc::new(Handoff::in_memory());
    let (ours, gates) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let (_keep_running, stop) = std::io::pipe().map(|(reader, writer)| (writer, reader)).unwrap();
    let (send, receive) = mpsc::channel();
    let result = std::thread::scope(|scope| {
        let filtered = scope.spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            let program = Filter::new(options).compile().unwrap();
            send.send(seccomp::install_with_listener(&program).unwrap()).unwrap();
            body()
        });
        let guard = Guard::new(GuardSetup {
            listener: receive.recv().unwrap(),
            handoff: Arc::clone(&handoff),
            filter: options,
            sensitive: vec!["/etc/shadow".to_owned(), "/root/.ssh/".to_owned()],
            trusted: vec!["/usr".into(), "/bin".into(), "/lib".into(), "/lib64".into()],
            attribution: Some(ours),
            announcements: Announcements::default(),
        })
        .unwrap();
        let guarding = scope.spawn(move || guard.run(stop.as_fd()).unwrap());
        let result = filtered.join().unwrap();
        // A thread is under the filter, and its process, which is this one, goes on: where the guard knows it, that is no cell's end.
        let _either: GuardEnd = guarding.join().unwrap();
        result
    });
    let mut attributions = Vec::new();
    let mut buffer = vec![0; Attribution::BOUND];
    while let Ok((got, _)) = rustix::net::recv(&gates, &mut buffer, rustix::net::RecvFlags::empty()) {
        if got == 0 {
            break;
        }
        attributions.push(minicbor::decode(&buffer[..got]).unwrap());
    }
    Watched { result, events: handoff.taken(), attributions }
}

#[expect(clippy::disallowed_methods, reason = "a test starts the programs that it watches")]
fn command(program: &str) -> Command {
    Command::new(program)
}

/// A shell command under the guard.
fn shell(options: FilterOptions, line: &str) -> Watched<Output> {
    watched(options, || command("/bin/sh").args(["-c", line]).output().unwrap())
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn execs(events: &[Event]) -> Vec<&Exec> {
    events.iter().filter_map(|event| if let Event::Exec(exec) = event { Some(exec) } else { None }).collect()
}

fn images(events: &[Event]) -> Vec<&Image> {
    events
        .iter()
        .filter_map(|event| if let Event::Image(image) = event { Some(image) } else { None })
        .collect()
}

fn exits(events: &[Event]) -> Vec<&ProcessExit> {
    events.iter().filter_map(|event| if let Event::Exit(exit) = event { Some(exit) } else { None }).collect()
}

fn privileges(events: &[Event]) -> Vec<&Privilege> {
    events.iter().filter_map(|e| if let Event::Privilege(p) = e { Some(p) } else { None }).collect()
}

/// The file events beneath a directory: what, and the path relative to it.
fn files(events: &[Event], beneath: &Path) -> Vec<(FileOp, String)> {
    let start = format!("{}/", beneath.display());
    let of = |event: &Event| match event {
        Event::File(act) => {
            Some((act.op, String::from_utf8_lossy(act.path.shown()).strip_prefix(&start)?.to_owned()))
        }
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

/// Compiles a C program; none, visibly, without a compiler.
#[expect(clippy::print_stderr, reason = "a skip is counted by xtask")]
fn compiled(test: &str, directory: &Path, source: &str, flags: &[&str]) -> Option<String> {
    let file = directory.join("program.c");
    std::fs::write(&file, source).unwrap();
    let program = directory.join("program");
    let built = command("cc").args(flags).arg("-o").arg(&program).arg(&file).output();
    match built {
        Ok(output) if output.status.success() => Some(program.display().to_string()),
        other => {
            eprintln!("SKIPPED: {test}: no C compiler ({other:?})");
            None
        }
    }
}

/// Whether a program is installed; says so if not.
#[expect(clippy::print_stderr, reason = "a skip is counted by xtask")]
fn installed(test: &str, program: &str) -> bool {
    let found = command(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("SKIPPED: {test}: no {program} here");
    }
    found
}

#[test]
fn changes_to_files_are_recorded_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    let seen = shell(
        PLAIN,
        &format!(
            "cd {at} && mkdir d && echo x > d/a && echo y >> d/a && mv d/a d/b && ln -s b d/c && ln d/b d/h && chmod 600 d/b && rm d/b d/c && truncate -s 0 d/h"
        ),
    );
    assert!(seen.result.status.success(), "{}", text(&seen.result));
    let expected: Vec<_> = [
        (FileOp::MakeDirectory, "d"),
        (FileOp::Create, "d/a"),
        (FileOp::Create, "d/a"),
        (FileOp::Rename, "d/a"),
        (FileOp::Symlink, "d/c"),
        (FileOp::Link, "d/b"),
        (FileOp::ChangeMode, "d/b"),
        (FileOp::Delete, "d/b"),
        (FileOp::Delete, "d/c"),
        (FileOp::Create, "d/h"),
    ]
    .into_iter()
    .map(|(op, path)| (op, path.to_owned()))
    .collect();
    assert_eq!(files(&seen.events, dir.path()), expected);
}

#[test]
fn a_file_that_is_opened_again_through_a_descriptor_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    let seen = shell(PLAIN, &format!("echo > {at}/f; exec 3< {at}/f; echo more > /proc/self/fd/3"));
    assert!(seen.result.status.success(), "{}", text(&seen.result));
    let reopened = seen.events.iter().find_map(|event| match event {
        Event::File(act) if act.path.shown() == b"/proc/self/fd/3" => act.other.clone(),
        _ => None,
    });
    assert_eq!(reopened.unwrap().shown(), format!("{at}/f").as_bytes());
}

#[test]
fn refused_calls_fail_with_their_errno_and_a_flood_is_counted_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
        #define _GNU_SOURCE
        #include <errno.h>
        #include <stdio.h>
        #include <sched.h>
        #include <sys/mount.h>
        #include <sys/socket.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        static void say(const char *what, long got) { printf("%s %d\n", what, got < 0 ? errno : 0); }
        int main(void) {
            for (int i = 0; i < 5000; i++) mount("none", "/mnt", "tmpfs", 0, 0);
            say("mount", mount("none", "/mnt", "tmpfs", 0, 0));
            say("unshare", unshare(CLONE_NEWUSER));
            say("raw", socket(AF_INET, SOCK_RAW, 1));
            say("vsock", socket(40, SOCK_STREAM, 0));
            say("unknown", syscall(999));
            say("bpf", syscall(SYS_bpf, 0, 0, 0));
            say("fork", fork() ? 0 : 0);
            return 0;
        }"#;
    let Some(program) = compiled("refused_calls", dir.path(), source, &[]) else { return };
    let seen = watched(PLAIN, || command(&program).output().unwrap());
    let told = text(&seen.result);
    for line in ["mount 1", "unshare 1", "raw 1", "vsock 97", "unknown 38", "bpf 1"] {
        assert!(told.lines().any(|told| told == line), "{line} in {told}");
    }
    let privileges = privileges(&seen.events);
    let mounts: Vec<_> = privileges.iter().filter(|privilege| privilege.call == "mount").collect();
    assert_eq!(mounts.iter().map(|privilege| privilege.count).sum::<u64>(), 5001);
    assert!(mounts.len() < 20, "{}", mounts.len());
    assert_eq!(mounts[0].detail.as_ref().unwrap().shown(), b"/mnt");
    for call in ["unshare", "socket", "number 999", "bpf"] {
        assert!(privileges.iter().any(|privilege| privilege.call == call), "{call}");
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn sockets_with_an_address_are_recorded_and_told_to_the_gate() {
    // Here the guard's cell is this machine's network, of which only root is told whose it is. Of a cell's own, its owner is.
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: sockets_with_an_address_are_recorded_and_told_to_the_gate: not root");
        return;
    }
    let seen = watched(PLAIN, || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(std::net::TcpStream::connect(address).unwrap());
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.send_to(b"x", address).unwrap();
        address
    });
    let targets: Vec<_> = seen
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Socket(act) => Some((act.op, act.address.clone())),
            _ => None,
        })
        .collect();
    let to = SocketTarget::Inet(seen.result);
    let connects = targets.iter().filter(|(_, target)| *target == to).count();
    assert_eq!((targets.len(), connects), (4, 2), "{targets:?}");
    assert_eq!(seen.attributions.len(), 2);
    assert_eq!(seen.attributions[0].actor.pid, std::process::id());
    assert_ne!(seen.attributions[0].inode, seen.attributions[1].inode);
    let told: Vec<_> = seen.attributions.iter().map(|told| (told.destination, told.protocol)).collect();
    assert_eq!(told, [(seen.result, Some(6)), (seen.result, Some(17))]);
}

#[test]
fn sensitive_reads_are_recorded_and_others_are_not() {
    let options = FilterOptions { audit_reads: true, may_trace: false };
    let seen =
        shell(options, "cat /etc/../etc/shadow /etc/hostname; cd /etc; cat shadow; cat /root/.ssh/id; true");
    let read: Vec<_> = seen
        .events
        .iter()
        .filter_map(|event| match event {
            Event::File(act) if act.op == FileOp::ReadSensitive => {
                assert_eq!(act.verdict.reason, Reason::SensitivePath);
                Some(String::from_utf8_lossy(act.path.shown()).into_owned())
            }
            _ => None,
        })
        .collect();
    assert_eq!(read, ["/etc/../etc/shadow", "/etc/shadow", "/root/.ssh/id"]);
}

#[test]
fn unreadable_pointers_fail_as_the_kernel_would_and_are_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
        #include <errno.h>
        #include <stdio.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        int main(void) {
            long a = syscall(SYS_execve, 8, 0, 0); int x = errno;
            long b = syscall(SYS_unlinkat, -100, 8, 0); int y = errno;
            long c = syscall(SYS_connect, 0, 8, 16); int z = errno;
            printf("%ld %d %ld %d %ld %d\n", a, x, b, y, c, z);
        }"#;
    let Some(program) = compiled("unreadable_pointers", dir.path(), source, &[]) else { return };
    let seen = watched(PLAIN, || command(&program).output().unwrap());
    assert_eq!(text(&seen.result), "-1 14 -1 14 -1 14\n");
    let malformed = |event: &&Event| match event {
        Event::Exec(exec) => matches!(exec.verdict.reason, Reason::Malformed(_)),
        Event::File(act) => matches!(act.verdict.reason, Reason::Malformed(_)),
        Event::Socket(act) => act.address == SocketTarget::Unreadable,
        _ => false,
    };
    assert_eq!(seen.events.iter().filter(malformed).count(), 3, "{:?}", seen.events);
}

#[test]
fn every_open_of_eight_threads_is_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let each = 2_500;
    let seen = watched(PLAIN, || {
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let path = dir.path().join(format!("file{thread}"));
                scope.spawn(move || {
                    for _ in 0..each {
                        drop(std::fs::File::create(&path).unwrap());
                    }
                });
            }
        });
    });
    let mut counts = BTreeMap::new();
    for (_, path) in files(&seen.events, dir.path()) {
        *counts.entry(path).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 8);
    assert!(counts.values().all(|count| *count == each), "{counts:?}");
}

#[test]
fn a_ledger_that_takes_no_more_refuses_the_call() {
    // A handoff whose ring was given up cannot be had in memory; a guard that stops shows the same end: no answer
    // but a refusal.
    let handoff = Arc::new(Handoff::in_memory());
    let (send, receive) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::thread::scope(|scope| {
        let path = &path;
        let filtered = scope.spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            let program = Filter::new(PLAIN).compile().unwrap();
            send.send(seccomp::install_with_listener(&program).unwrap()).unwrap();
            wait.recv().unwrap();
            std::fs::File::create(path).is_ok()
        });
        let listener = receive.recv().unwrap();
        let guard = Guard::new(GuardSetup {
            listener,
            handoff,
            filter: PLAIN,
            sensitive: Vec::new(),
            trusted: Vec::new(),
            attribution: None,
            announcements: Announcements::default(),
        })
        .unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(writer); // hung up: readable at once
        assert!(matches!(guard.run(reader.as_fd()).unwrap(), GuardEnd::Stopped(_)));
        go.send(()).unwrap();
        assert!(!filtered.join().unwrap());
    });
    assert!(!path.exists());
}

/// Runs a shell line that must succeed under the guard.
fn works(test: &str, program: &str, line: &str) {
    if !installed(test, program) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let seen = shell(PLAIN, &format!("cd {} && {{ {line}\n}}", dir.path().display()));
    let mut refused: Vec<_> =
        privileges(&seen.events).iter().map(|privilege| privilege.call.clone()).collect();
    refused.dedup();
    assert!(seen.result.status.success(), "{}\nrefused: {refused:?}", text(&seen.result));
    let mismatches: Vec<_> = images(&seen.events)
        .into_iter()
        .filter(|image| image.announced.is_some() || image.arguments.is_some())
        .collect();
    assert!(mismatches.is_empty(), "{mismatches:?}");
}

#[test]
fn git_works() {
    works(
        "git",
        "git",
        "git init -q a && cd a && echo x > f && git add f && git -c user.name=a -c user.email=a@b commit -qm m && cd .. && git clone -q a b && cat b/f",
    );
}

#[test]
fn python_works() {
    works(
        "python",
        "python3",
        "python3 -c 'import threading, subprocess, multiprocessing as m
t=[threading.Thread(target=lambda: None) for _ in range(20)]
[x.start() for x in t]; [x.join() for x in t]
assert subprocess.check_output([\"echo\", \"hi\"]) == b\"hi\\n\"
p=m.Process(target=print); p.start(); p.join(); assert p.exitcode == 0'",
    );
}

#[test]
fn node_works() {
    works(
        "node",
        "node",
        "node -e 'const {Worker}=require(\"worker_threads\"); const c=require(\"child_process\"); new Worker(\"1\",{eval:true}).on(\"exit\",()=>{ if(c.execSync(\"echo hi\").toString()!=\"hi\\n\") process.exit(9) })'",
    );
}

#[test]
fn compilers_work() {
    works("gcc", "gcc", "echo 'int main(void){return 0;}' > a.c && gcc -o a a.c && ./a");
    works("cargo", "cargo", "cargo new -q --vcs none hello && cd hello && cargo run -q --offline");
}

#[test]
fn java_and_curl_work() {
    works("java", "java", "java -version");
    works(
        "curl",
        "curl",
        "curl -sS file:///etc/hostname > out && ! curl -s --max-time 2 http://127.0.0.1:9/",
    );
}
