//! Unix sockets: those of the cell's own programs work as anywhere, those of the host's are not reached.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test picks out the one kind that it is about")]

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use wardroom_model::event::SocketTarget;
use wardroom_model::{Event, Outcome, Reason};

use crate::guarded::guarded;
use crate::harness::{Case, World, run_in};

pub(crate) const CASES: &[Case] = &[
    ("the_cells_own_unix_sockets_work_wherever_their_files_are", own),
    ("a_full_queue_is_waited_for_by_who_waits_and_by_nobody_else", full),
    ("a_server_is_told_the_user_who_connected", peer),
    ("pythons_and_nodes_own_ways_work", runtimes),
    ("a_unix_socket_of_the_hosts_in_the_workspace_is_refused_and_seen", hosts),
    ("a_socket_that_the_operator_gave_connects_to_nothing", given),
    ("a_connect_that_is_made_to_wait_holds_nobody_else_up", held_up),
];

fn python(world: &World, script: &str) -> (u32, String, Vec<Event>) {
    let mut at = guarded(world);
    let (status, said) = run_in(&mut at.cell, &["python3", "-c", script]);
    (status, said, at.handoff.taken())
}

fn succeeds(world: &World, script: &str) {
    let (status, said, events) = python(world, script);
    assert_eq!(status, 0, "{said}\n{events:#?}");
}

fn own(world: &World) {
    succeeds(
        world,
        r#"
import array, os, socket, sys
S, Q = socket.SOCK_STREAM, socket.SOCK_SEQPACKET
def serve(path, kind=S):
    s = socket.socket(socket.AF_UNIX, kind); s.bind(path); s.listen(); return s
def talk(server, path, kind=S, timeout=None):
    c = socket.socket(socket.AF_UNIX, kind); c.settimeout(timeout); c.connect(path)
    a, _ = server.accept()
    r, w = os.pipe(); os.write(w, b"through")
    c.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [r]))])
    data, anc, _, _ = a.recvmsg(1, 64)
    fd = array.array("i", anc[0][2])[0]
    assert (data, os.read(fd, 9)) == (b"x", b"through")
    assert c.getpeername() == server.getsockname(), (c.getpeername(), server.getsockname())
for place in ["/workspace", "/home/agent", "/tmp", "/dev/shm"]:
    for kind in [S, Q]:
        path = f"{place}/s{kind}"
        server = serve(path, kind)
        talk(server, path, kind); talk(server, path, kind, 5)
        os.symlink(path, path + "-link"); talk(server, path + "-link", kind)
        os.rename(path, path + "-moved"); talk(server, path + "-moved", kind)
os.mkdir("/tmp/here"); os.chdir("/tmp/here")
talk(serve("relative"), "../here/./relative")
os.rename("relative", "/tmp/there"); again = serve("relative"); talk(again, "relative")
talk(serve("\0name"), "\0name")
gone = serve("/tmp/gone"); gone.close()
for path, want in [("/tmp/gone", 111), ("/tmp/none", 2), ("/etc/passwd", 111), ("/tmp/here/x/y", 2), ("/tmp/gone/x", 20), ("/proc/self/fd/0", 2)]:
    try: socket.socket(socket.AF_UNIX).connect(path); sys.exit(f"connected to {path}")
    except OSError as e: assert e.errno == want, (path, e)
c = socket.socket(socket.AF_UNIX); c.connect("relative")
try: c.connect("relative"); sys.exit("twice")
except OSError as e: assert e.errno == 106, e
"#,
    );
}

fn full(world: &World) {
    succeeds(
        world,
        r#"
import os, socket, threading, time
server = socket.socket(socket.AF_UNIX); server.bind("/tmp/s"); server.listen(0)
first = socket.socket(socket.AF_UNIX); first.connect("/tmp/s")
c = socket.socket(socket.AF_UNIX); c.setblocking(False)
try: c.connect("/tmp/s"); raise SystemExit("not full")
except BlockingIOError: pass
waiters = [socket.socket(socket.AF_UNIX) for _ in range(20)]
threads = [threading.Thread(target=w.connect, args=("/tmp/s",), daemon=True) for w in waiters]
for t in threads: t.start()
time.sleep(0.3)
open("/tmp/the guard answers meanwhile", "w").close()
assert all(t.is_alive() for t in threads)
# The guard changes that for the microseconds of an attempt, every 10 ms.
assert all(any(os.get_blocking(w.fileno()) for _ in range(1000)) for w in waiters)
patient = socket.socket(socket.AF_UNIX)
patient.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, (0).to_bytes(8, "little") + (100000).to_bytes(8, "little"))
try: patient.connect("/tmp/s"); raise SystemExit("not full")
except BlockingIOError: pass
if os.fork() == 0:
    import signal; signal.alarm(1); signal.signal(signal.SIGALRM, signal.SIG_DFL)
    socket.socket(socket.AF_UNIX).connect("/tmp/s")
assert os.wait()[1] == 14
for _ in range(21): server.accept()
for t in threads: t.join()
"#,
    );
}

fn peer(world: &World) {
    succeeds(
        world,
        r#"
import os, socket, struct
server = socket.socket(socket.AF_UNIX); server.bind("s"); server.listen()
c = socket.socket(socket.AF_UNIX); c.connect("s")
a, _ = server.accept()
peer = lambda s: struct.unpack("3i", s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
assert peer(a)[1:] == (os.getuid(), os.getgid()) == (1000, 1000), peer(a)
assert peer(a)[0] == 0, peer(a)
assert peer(c) == (os.getpid(), 1000, 1000), peer(c)
try: a.getsockopt(socket.SOL_SOCKET, 77, 4); raise SystemExit("a pidfd of the keeper's")
except OSError as e: assert e.errno == 92, e
locked = socket.socket(socket.AF_UNIX); locked.bind("l"); locked.listen(); os.chmod("l", 0)
try: socket.socket(socket.AF_UNIX).connect("l"); raise SystemExit("past its mode")
except PermissionError: pass
"#,
    );
}

fn runtimes(world: &World) {
    let multiprocessing = r#"
import multiprocessing as m
from multiprocessing.connection import Client, Listener
def square(x): return x * x
if __name__ == "__main__":
    with m.Manager() as manager: assert dict(manager.dict(a=1)) == {"a": 1}
    m.set_start_method("forkserver", force=True)
    p = m.Process(target=print); p.start(); p.join(); assert p.exitcode == 0
    listener = Listener("/tmp/l", "AF_UNIX")
    import threading; t = threading.Thread(target=lambda: listener.accept().send(7)); t.start()
    assert Client("/tmp/l").recv() == 7
"#;
    let node = r#"
const net = require("net");
const server = net.createServer(c => c.end("hello")).listen("/home/agent/node", () =>
    net.connect("/home/agent/node").on("data", d => process.exit(String(d) == "hello" ? 0 : 3)));
setTimeout(() => process.exit(4), 20000);
"#;
    let mut at = guarded(world);
    let (status, said) = run_in(
        &mut at.cell,
        &["/bin/sh", "-c", "printf %s \"$1\" > m.py && python3 m.py", "sh", multiprocessing],
    );
    assert_eq!(status, 0, "{said}");
    if run_in(&mut at.cell, &["node", "--version"]).0 != 0 {
        eprintln!("SKIPPED: node's own way to a Unix socket: no node beneath /usr");
        return;
    }
    let (status, said) = run_in(&mut at.cell, &["node", "-e", node]);
    assert_eq!(status, 0, "{said}");
}

fn hosts(world: &World) {
    let path = world.directory.join("workspace/host");
    let listener = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    control(&path, &listener);
    let (status, said, events) = python(
        world,
        r#"
import os, socket
os.symlink("host", "link"); os.link("host", "hard")
for kind in [socket.SOCK_STREAM, socket.SOCK_SEQPACKET]:
    for path in ["host", "/workspace/host", "link", "hard", "/tmp/../workspace/host"]:
        s = socket.socket(socket.AF_UNIX, kind)
        assert s.connect_ex(path) == 111, path
for make in [socket.socket, socket.socketpair]:
    for kind in [socket.SOCK_DGRAM, socket.SOCK_RAW]:
        try: make(socket.AF_UNIX, kind); raise SystemExit("a datagram socket")
        except OSError as e: assert e.errno == 94, e
"#,
    );
    assert_eq!(status, 0, "{said}");
    let refused = |event: &&Event| match event {
        Event::Socket(act) => {
            act.verdict.outcome == Outcome::Refused
                && act.verdict.reason == Reason::ForeignSocket
                && matches!(act.address, SocketTarget::Unix(_))
                && act.actor.program.path.to_string().contains("python")
        }
        _ => false,
    };
    assert_eq!(events.iter().filter(refused).count(), 10, "{events:#?}");
    let sockets = events.iter().filter(|e| matches!(e, Event::Privilege(p) if p.call.starts_with("socket")));
    assert_eq!(sockets.count(), 4, "{events:#?}");
    control(&path, &listener);
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "somebody got through");
}

/// The server's side of a connection carries the file of its listener.
fn given(world: &World) {
    let path = world.directory.join("workspace/host");
    let listener = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let _client = UnixStream::connect(&path).unwrap();
    let (ours, _) = listener.accept().unwrap();
    let family = rustix::net::AddressFamily::UNIX;
    let loose = rustix::net::socket(family, rustix::net::SocketType::STREAM, None).unwrap();
    let mut at = guarded(world);
    let script = r#"
import socket
import sys; sys.stderr = sys.stdout
given, loose, own = socket.socket(fileno=0), socket.socket(fileno=2), socket.socket(socket.AF_UNIX)
try: given.listen()
except OSError: pass
for s, want in [(own, 111), (loose, 1), (given, 1)]:
    got = s.connect_ex("/workspace/host"); assert got == want, (s, got)
print("refused")
"#;
    let (reader, writer) = std::io::pipe().unwrap();
    let mut spawn = crate::harness::spawn_of(&["python3", "-c", script], &writer.into());
    let [input, _, error] = &mut spawn.stdio;
    (*input, *error) = (ours.into(), loose);
    at.cell.spawn(spawn).unwrap();
    let said = std::io::read_to_string(reader).unwrap();
    assert_eq!(said, "refused\n", "{:#?}", at.handoff.taken());
}

/// Another process shares the socket, and undoes what keeps the guard from waiting for a listener that never accepts.
fn held_up(world: &World) {
    let mut at = guarded(world);
    let script = r#"
import fcntl, os, socket
server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen(0)
keep = []
for _ in range(4):
    c = socket.socket(); c.setblocking(False); c.connect_ex(server.getsockname()); keep.append(c)
while True:
    c = socket.socket()
    undo = os.fork()
    if undo == 0:
        while True: fcntl.fcntl(c, fcntl.F_SETFL, 0)
    go = os.fork()
    if go == 0:
        c.connect_ex(server.getsockname()); os._exit(0)
    import time; time.sleep(0.02)
    for p in [go, undo]: os.kill(p, 9); os.waitpid(p, 0)
"#;
    let (_said, writer) = std::io::pipe().unwrap();
    at.cell.spawn(crate::harness::spawn_of(&["python3", "-c", script], &writer.into())).unwrap();
    let mut before = 1;
    for _ in 0..3 {
        before = await_another_thread(before);
        // Whoever is out is out: the cell's other calls are answered.
        assert_eq!(run_in(&mut at.cell, &["/bin/sh", "-c", "echo x > report"]).0, 0);
    }
    assert!(at.end().is_ok(), "the guard's end waits for nobody who is out");
}

/// Waits until more than `before` threads have answered for the guard.
fn await_another_thread(before: usize) -> usize {
    for _ in 0..6000 {
        let names = std::fs::read_dir("/proc/self/task")
            .unwrap()
            .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        let answering = names.filter(|name| name.trim_end() == "guard-answers").count();
        if answering > before {
            return answering;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("no connect was made to wait")
}

/// The service is there, and answers who is not in a cell.
fn control(path: &Path, listener: &UnixListener) {
    let _client = UnixStream::connect(path).unwrap();
    listener.accept().unwrap();
}
