//! What the guard costs, against the same work without it: `cargo run --release -p wardroom-cell --example guard_bench`.
//!
//! The bench starts itself again for each load, bare and under filter and guard, in turns, and prints the medians.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::unwrap_used, reason = "a bench that fails may say so by panicking")]
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock and starts its loads")]

use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use wardroom_cell::Announcements;
use wardroom_cell::filter::{Filter, FilterOptions};
use wardroom_cell::guard::{Figures, Guard, GuardEnd, GuardSetup};
use wardroom_kernel::seccomp;
use wardroom_scribe::Handoff;

const LOADS: &[(&str, &str)] = &[
    ("files", "create, write, close, rename, unlink x 20,000"),
    ("storm", "fork+exec x 2,000"),
    ("imports", "python imports"),
    ("opens", "opens for writing x 100,000 from 8 threads"),
    ("tcp", "TCP connects over loopback x 10,000"),
    ("unix", "connects to a Unix socket x 10,000"),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["load", load] = words.as_slice() {
        return run_load(load);
    }
    for (load, what) in LOADS.iter().filter(|(load, _)| words.is_empty() || words.contains(load)) {
        let (mut bare, mut plain, mut reads) = (Vec::new(), Vec::new(), Vec::new());
        let mut figures = Figures::default();
        for _ in 0..ROUNDS {
            bare.push(timed(load));
            let (time, done) = guarded(load, false);
            plain.push(time);
            figures = done;
            reads.push(guarded(load, true).0);
        }
        let (bare, plain, reads) = (median(bare), median(plain), median(reads));
        let ratio = |time: Duration| time.as_secs_f64() / bare.as_secs_f64();
        println!(
            "{what}: bare {bare:.1?}, guarded {plain:.1?} ({:.2}), with audit_reads {reads:.1?} ({:.2}); {} calls, {} records",
            ratio(plain),
            ratio(reads),
            figures.calls,
            figures.records,
        );
    }
}

const ROUNDS: usize = 5;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Starts one load and waits for it. The load itself says how long its work took.
fn timed(load: &str) -> Duration {
    let me = std::env::current_exe().unwrap();
    let output = Command::new(me).args(["load", load]).stderr(Stdio::inherit()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    Duration::from_nanos(text.trim().parse().unwrap())
}

fn guarded(load: &str, audit_reads: bool) -> (Duration, Figures) {
    let options = FilterOptions { audit_reads, may_trace: false };
    let (send, receive) = mpsc::channel();
    let (stop, _running) = std::io::pipe().unwrap();
    std::thread::scope(|scope| {
        let filtered = scope.spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            let program = Filter::new(options).compile().unwrap();
            send.send(seccomp::install_with_listener(&program).unwrap()).unwrap();
            timed(load)
        });
        let guard = Guard::new(GuardSetup {
            listener: receive.recv().unwrap(),
            handoff: Arc::new(Handoff::in_memory()),
            filter: options,
            sensitive: ["/etc/shadow", "/home/agent/.ssh/", "/home/agent/.aws/", ".env", "id_rsa"]
                .map(str::to_owned)
                .into(),
            trusted: vec!["/usr".into()],
            attribution: None,
            announcements: Announcements::default(),
        })
        .unwrap();
        let GuardEnd::CellEnded(figures) = guard.run(stop.as_fd()).unwrap() else {
            return Default::default();
        };
        (filtered.join().unwrap(), figures)
    })
}

fn run_load(load: &str) {
    let directory = tempfile::tempdir_in(std::env::temp_dir()).unwrap();
    let began = Instant::now();
    match load {
        "files" => files(directory.path()),
        "storm" => storm(),
        "imports" => imports(),
        "tcp" => tcp(),
        "unix" => unix(directory.path()),
        _ => opens(directory.path()),
    }
    println!("{}", began.elapsed().as_nanos());
}

fn files(directory: &Path) {
    let (one, two) = (directory.join("one"), directory.join("two"));
    for _ in 0..20_000 {
        std::fs::write(&one, b"some bytes").unwrap();
        std::fs::rename(&one, &two).unwrap();
        std::fs::remove_file(&two).unwrap();
    }
}

fn storm() {
    for _ in 0..2_000 {
        assert!(Command::new("/bin/true").status().unwrap().success());
    }
}

/// Imports most of the standard library: about 2,000 files opened and read.
fn imports() {
    let script = "import sys, importlib\nfor name in sorted(sys.stdlib_module_names):\n  if name.startswith('_') or name in ('antigravity','this','idlelib','tkinter','turtle','turtledemo'): continue\n  try: importlib.import_module(name)\n  except Exception: pass";
    assert!(Command::new("python3").args(["-c", script]).stdout(Stdio::null()).status().unwrap().success());
}

fn tcp() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for _ in 0..10_000 {
        let _client = std::net::TcpStream::connect(address).unwrap();
        drop(listener.accept().unwrap());
    }
}

fn unix(directory: &Path) {
    let path = directory.join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    for _ in 0..10_000 {
        let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        drop(listener.accept().unwrap());
    }
}

fn opens(directory: &Path) {
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let path = directory.join(format!("file{thread}"));
            scope.spawn(move || {
                for _ in 0..12_500 {
                    drop(std::fs::File::create(&path).unwrap());
                }
            });
        }
    });
}
