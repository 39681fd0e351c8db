//! What a cell does while it stands.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, waitpid};
use rustix::termios::Winsize;
use wardroom_cell::{Cell, CellEvent, Spawn};
use wardroom_kernel::process::{Forked, exit_now, fork_checked};

use crate::building::with_limits;
use crate::harness::{Case, World, run_in, spawn_of};

pub(crate) const CASES: &[Case] = &[
    ("what_cannot_be_executed_ends_with_the_status_of_a_shell", exec_failures),
    ("a_killed_command_ends_with_128_and_the_signal", killed),
    ("a_signal_reaches_the_command_and_its_group", signalled),
    ("orphans_are_reaped", orphans),
    ("a_second_command_shares_the_cell_and_its_walls", second_command),
    ("a_frozen_cell_does_nothing_until_it_is_thawed", frozen),
    ("ending_the_cell_ends_everything_in_it", ended),
    ("a_command_for_a_cell_that_is_gone_is_answered_by_its_end", gone),
    ("the_cell_dies_with_its_keeper", keeper_dies),
    ("a_terminal_is_the_cells_own", terminal),
    ("long_arguments_arrive_and_too_long_ones_are_refused", arguments),
    ("the_command_starts_clean", clean_start),
];

fn exec_failures(world: &World) {
    let mut cell = world.build();
    let (status, said) = run_in(&mut cell, &["no-such-program"]);
    assert_eq!(status, 127, "{said}");
    assert_eq!(run_in(&mut cell, &["/no/such/program"]).0, 127);
    assert_eq!(run_in(&mut cell, &["/etc/passwd"]).0, 126);
    assert_eq!(run_in(&mut cell, &["/usr"]).0, 126);
    assert_eq!(run_in(&mut cell, &["true"]).0, 0, "the cell goes on");
}

fn gone(world: &World) {
    let mut cell = world.build();
    rustix::process::kill_process(cell.pid(), Signal::KILL).unwrap();
    while !cell.is_gone().unwrap() {
        std::thread::yield_now();
    }
    let output = OwnedFd::from(File::options().write(true).open("/dev/null").unwrap());
    cell.spawn(spawn_of(&["true"], &output)).unwrap();
    assert_eq!(cell.next_event().unwrap(), CellEvent::Ended);
}

fn killed(world: &World) {
    assert_eq!(world.script("kill -9 $$").0, 137);
}

fn signalled(world: &World) {
    let mut cell = world.build();
    let (reader, writer) = std::io::pipe().unwrap();
    let output = OwnedFd::from(writer);
    let id = cell.spawn(spawn_of(&["sh", "-c", "echo ready; sleep 100; true"], &output)).unwrap();
    drop(output);
    let mut reader = File::from(OwnedFd::from(reader));
    assert_eq!(reader.read(&mut [0; 16]).unwrap(), 6);
    cell.signal(id, Signal::TERM).unwrap();
    assert_eq!(cell.next_event().unwrap(), CellEvent::Exited { id, status: 143 });
    // The sleep was in its group and is gone as well: nobody holds the pipe any more.
    assert_eq!(reader.read(&mut [0; 16]).unwrap(), 0);
    cell.signal(id, Signal::TERM).unwrap();
}

fn orphans(world: &World) {
    let script = "for i in 1 2 3 4 5; do (sh -c 'exit 3' &) ; done; sleep 0.3; \
                  for s in /proc/[0-9]*/stat; do cut -d' ' -f3 $s; done | grep -c Z";
    let (_, said) = world.script(script);
    assert_eq!(said.trim(), "0");
}

fn second_command(world: &World) {
    let mut cell = world.build();
    let (_reader, writer) = std::io::pipe().unwrap();
    let first = cell.spawn(spawn_of(&["sleep", "100"], &OwnedFd::from(writer))).unwrap();
    let (status, said) = run_in(
        &mut cell,
        &[
            "sh",
            "-c",
            "until pgrep -x sleep; do :; done; grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status",
        ],
    );
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("CapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2"), "{said}");
    // It shares the Landlock domain too, so it can stop what the first one started.
    assert_eq!(run_in(&mut cell, &["pkill", "-x", "sleep"]).0, 0);
    let _ = first;
}

fn frozen(world: &World) {
    // In system mode by the control group's freezer, in user mode by signals.
    let mut cell = world.start(&with_limits(world));
    let (reader, writer) = std::io::pipe().unwrap();
    let output = OwnedFd::from(writer);
    cell.spawn(spawn_of(&["sh", "-c", "while sleep 0.01; do echo .; done"], &output)).unwrap();
    let mut reader = File::from(OwnedFd::from(reader));
    assert!(reader.read(&mut [0; 64]).unwrap() > 0);
    cell.freeze().unwrap();
    settle();
    drain(&mut reader);
    settle();
    assert!(!readable(&reader), "something moves in a frozen cell");
    cell.thaw().unwrap();
    assert!(reader.read(&mut [0; 64]).unwrap() > 0);
    cell.freeze().unwrap();
    cell.end().unwrap();
}

fn settle() {
    std::thread::sleep(std::time::Duration::from_millis(100));
}

fn readable(file: &File) -> bool {
    poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
}

fn drain(file: &mut File) {
    while readable(file) {
        assert!(file.read(&mut [0; 4096]).unwrap() > 0);
    }
}

fn ended(world: &World) {
    let mut cell = world.build();
    let (reader, writer) = std::io::pipe().unwrap();
    let output = OwnedFd::from(writer);
    cell.spawn(spawn_of(&["sh", "-c", "trap '' TERM INT; setsid sleep 100 & echo; wait"], &output)).unwrap();
    drop(output);
    let mut reader = File::from(OwnedFd::from(reader));
    assert_eq!(reader.read(&mut [0; 4]).unwrap(), 1);
    assert!(!cell.is_gone().unwrap());
    cell.end().unwrap();
    assert_eq!(reader.read(&mut [0; 4]).unwrap(), 0, "something still holds the pipe");
}

fn keeper_dies(world: &World) {
    let (reader, writer) = std::io::pipe().unwrap();
    let (mut reader, output) = (File::from(OwnedFd::from(reader)), OwnedFd::from(writer));
    match fork_checked().unwrap() {
        Forked::Child => {
            let mut cell = world.build();
            cell.spawn(spawn_of(&["sh", "-c", "sleep 100 & echo; wait"], &output)).unwrap();
            File::from(output.try_clone().unwrap())
                .write_all(&cell.pid().as_raw_nonzero().get().to_ne_bytes())
                .unwrap();
            settle();
            // As a crash does: no destructor runs.
            rustix::process::kill_process(rustix::process::getpid(), Signal::KILL).unwrap();
            exit_now(0)
        }
        Forked::Parent(keeper) => {
            drop(output);
            let mut pid = [0; 5];
            reader.read_exact(&mut pid).unwrap();
            waitpid(Some(keeper), WaitOptions::empty()).unwrap();
            // The end of the pipe is the end of the last process that held it.
            assert_eq!(reader.read(&mut [0; 4]).unwrap(), 0);
            let mut bytes = [0; 4];
            bytes.copy_from_slice(if pid[0] == b'\n' { &pid[1..] } else { &pid[..4] });
            let init = Pid::from_raw(i32::from_ne_bytes(bytes)).unwrap();
            settle();
            assert!(pidfd_open(init, PidfdFlags::empty()).is_err() || is_zombie(init));
        }
    }
}

fn is_zombie(pid: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
        .is_ok_and(|stat| stat.contains(") Z "))
}

fn terminal(world: &World) {
    let mut cell = world.build();
    let size = Winsize { ws_row: 33, ws_col: 111, ws_xpixel: 0, ws_ypixel: 0 };
    let pair = cell.open_terminal(Some(size)).unwrap();
    let script = "tty; stty size; test -t 0 && echo tty; ls /dev/pts; echo hello > /dev/tty; echo 2 > $(tty)";
    let argv = ["sh", "-c", script].map(|arg| arg.as_bytes().to_vec()).to_vec();
    let stdio = [(); 3].map(|()| pair.inside.try_clone().unwrap());
    let env = vec![b"PATH=/usr/bin".to_vec()];
    let id = cell.spawn(Spawn { argv, env, directory: "/".into(), stdio, terminal: true }).unwrap();
    assert_eq!(cell.next_event().unwrap(), CellEvent::Exited { id, status: 0 });
    drop(pair.inside);
    let said = shown(&cell, pair.outside);
    assert!(said.contains("/dev/pts/0\r\n33 111\r\ntty\r\n") && said.contains("hello\r\n2\r\n"), "{said:?}");
}

fn shown(cell: &Cell, outside: OwnedFd) -> String {
    assert!(!cell.is_gone().unwrap());
    let mut outside = File::from(outside);
    let mut said = Vec::new();
    // A terminal whose inner end is closed answers EIO after the last byte.
    assert_eq!(outside.read_to_end(&mut said).unwrap_err().raw_os_error(), Some(5));
    String::from_utf8_lossy(&said).into_owned()
}

fn arguments(world: &World) {
    let mut cell = world.build();
    let long = "x".repeat(100_000);
    let (status, said) = run_in(
        &mut cell,
        &["sh", "-c", "echo $(( ${#1} + ${#2} + ${#3} + ${#4} ))", "sh", &long, &long, &long, &long],
    );
    assert_eq!((status, said.trim()), (0, "400000"));
    let too_long = "x".repeat(200_000);
    let (status, said) = run_in(&mut cell, &["echo", &too_long]);
    assert_eq!(status, 126, "{said}");
    assert!(said.contains("E2BIG") || said.contains("too long"), "{said}");
    assert_eq!(run_in(&mut cell, &["true"]).0, 0);
}

fn clean_start(world: &World) {
    // Left open on purpose, without close-on-exec, as a careless caller might.
    let leak = File::open("/etc/hosts").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let secret = leak.as_fd().try_clone_to_owned().unwrap();
    rustix::io::fcntl_setfd(&secret, rustix::io::FdFlags::empty()).unwrap();
    let (status, said) =
        world.script("ls /proc/self/fd; grep -E 'SigBlk|SigIgn' /proc/self/status; env; pwd; umask");
    assert_eq!(status, 0, "{said}");
    // 3 is the directory that ls itself opened.
    assert!(said.starts_with("0\n1\n2\n3\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"), "{said}");
    assert!(
        said.contains("HOME=/home/agent") && !said.contains("CARGO") && said.contains("/workspace\n0022"),
        "{said}"
    );
}
