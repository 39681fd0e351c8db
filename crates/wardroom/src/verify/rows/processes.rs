//! C3, C6, C9, C13: other identities, other processes, other terminals.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::process::Pid;
use wardroom_kernel::probe::{process, terminal};

use crate::verify::attempt;
use crate::verify::outcome::Outcome;
use crate::verify::probe::Attempt::{Call, Run};
use crate::verify::probe::Control::{Bare, Outside};
use crate::verify::probe::Expect::{Path as At, Privilege, Program};
use crate::verify::probe::{Probe, probe};
use crate::verify::scene::{Place, Scene};
use crate::verify::trace::contains;

const INVISIBLE: &str = "a process that is not visible inside cannot be acted on; there is nothing to refuse";

#[rustfmt::skip]
pub(super) const PROBES: &[Probe] = &[
    probe("C3.setuid", "becoming root by setuid", Call("setuid"), Bare(&[]), Privilege("setuid")),
    probe("C3.setgid", "becoming group root by setgid", Call("setgid"), Bare(&[]), Privilege("setgid")),
    probe("C3.setresuid", "becoming root by setresuid", Call("setresuid"), Bare(&[]), Privilege("setresuid")),
    probe("C3.capset", "taking every capability", Call("capset"), Bare(&[]), Program("capset can only take away, so it is not worth a record; see the filter's table")),
    probe("C3.unshare-user", "a new user namespace by unshare", Call("unshare.user"), Bare(&[]), Privilege("unshare")),
    probe("C3.unshare-mount", "a new mount namespace by unshare", Call("unshare.mount"), Bare(&[]), Privilege("unshare")),
    probe("C3.clone", "a new user namespace by clone", Run(clone), Bare(&[]), Privilege("clone")),
    probe("C3.clone3", "a new user namespace by clone3", Run(clone3), Bare(&[]), Privilege("clone3")),
    probe("C3.setns", "entering a mount namespace", Run(set_namespace), Bare(&[]), Privilege("setns")),
    probe("C3.hostname", "renaming the machine", Call("sethostname"), Bare(&[]), Privilege("sethostname")),
    probe("C6.attach", "tracing a process outside", Run(attach), Outside, Privilege("ptrace")),
    probe("C6.traceme", "being traced by its own parent", Run(traceme), Outside, Privilege("ptrace")),
    probe("C6.read-memory", "reading the memory of a process outside", Run(read_memory), Outside, Privilege("process_vm_readv")),
    probe("C6.write-memory", "writing the memory of a process outside", Run(write_memory), Outside, Privilege("process_vm_writev")),
    probe("C6.take-descriptor", "taking a descriptor of another process", Run(take_descriptor), Outside, Privilege("pidfd_getfd")),
    probe("C6.compare", "comparing itself with a process outside", Run(compare), Outside, Privilege("kcmp")),
    probe("C6.proc-mem", "the memory of a process outside, by /proc", Run(proc_mem), Outside, Program(INVISIBLE)),
    probe("C9.push-input", "pushing input into a terminal (TIOCSTI)", Run(push_input), Outside, Privilege("ioctl")),
    probe("C9.console", "asking the console to paste (TIOCLINUX)", Run(console), Outside, Privilege("ioctl")),
    probe("C9.operators-terminal", "opening the operator's terminal", Run(operators_terminal), Outside, At("/dev/tty")),
    probe("C13.signal", "signalling a process outside", Run(signal), Outside, Program(INVISIBLE)),
    probe("C13.visible", "finding a process outside in /proc", Run(visible), Outside, Program(INVISIBLE)),
];

fn clone(_: &Scene) -> Outcome {
    Outcome::of(process::clone_user_namespace(), "the namespace was made")
}

fn clone3(_: &Scene) -> Outcome {
    Outcome::of(process::clone3_user_namespace(), "the namespace was made")
}

fn set_namespace(_: &Scene) -> Outcome {
    match File::open("/proc/self/ns/uts") {
        Ok(file) => Outcome::of(process::enter_namespace(file.as_fd()), "the namespace was entered"),
        Err(error) => Outcome::Impossible(error.to_string()),
    }
}

/// The victim by the number that it has outside. Inside, no such process is to be seen.
fn victim(scene: &Scene) -> rustix::io::Result<Pid> {
    Pid::from_raw(scene.fixtures.victim).ok_or(Errno::SRCH)
}

/// Some process that is not one's own: inside, the cell's init is the only one in sight.
fn neighbour(scene: &Scene) -> rustix::io::Result<Pid> {
    match scene.place {
        Place::Cell => Ok(Pid::INIT),
        Place::Outside | Place::Bare => victim(scene),
    }
}

/// Where the policy lets the agent trace its children, the calls are permitted and other walls decide: success is a
/// failure all the same, and a refusal leaves no record to go by.
pub(super) fn unless_permitted(scene: &Scene, act: impl FnOnce() -> Outcome) -> Outcome {
    match act() {
        Outcome::Blocked(why) if scene.place == Place::Cell && scene.fixtures.policy.may_trace => {
            Outcome::Impossible(format!(
                "the policy permits tracing one's own, so nothing is recorded: {why}"
            ))
        }
        other @ (Outcome::Succeeded(_)
        | Outcome::Reached(_)
        | Outcome::Blocked(_)
        | Outcome::Impossible(_)
        | Outcome::Killed(_)
        | Outcome::Hung) => other,
    }
}

fn attach(scene: &Scene) -> Outcome {
    unless_permitted(scene, || Outcome::of(victim(scene).and_then(process::attach), "it is traced"))
}

fn traceme(scene: &Scene) -> Outcome {
    if scene.place == Place::Cell && scene.fixtures.policy.may_trace {
        return Outcome::Impossible("the policy lets the agent trace its children".to_owned());
    }
    attempt::make(Call("ptrace.traceme"), scene)
}

fn read_memory(scene: &Scene) -> Outcome {
    unless_permitted(scene, || permitted_but_unmapped(victim(scene).and_then(process::read_memory)))
}

fn write_memory(scene: &Scene) -> Outcome {
    unless_permitted(scene, || permitted_but_unmapped(victim(scene).and_then(process::write_memory)))
}

/// The address is never mapped: the fault shows that the access itself was permitted.
fn permitted_but_unmapped(result: rustix::io::Result<usize>) -> Outcome {
    match result {
        Ok(_) | Err(Errno::FAULT) => Outcome::Succeeded("the access was permitted".to_owned()),
        Err(error) => Outcome::Blocked(error.to_string()),
    }
}

fn take_descriptor(scene: &Scene) -> Outcome {
    Outcome::of(neighbour(scene).and_then(process::take_descriptor), "a descriptor was taken")
}

fn compare(scene: &Scene) -> Outcome {
    match neighbour(scene).and_then(process::compare) {
        Err(Errno::NOSYS) => Outcome::Reached("this kernel has no kcmp".to_owned()),
        other => Outcome::of(other, "they were compared"),
    }
}

fn proc_mem(scene: &Scene) -> Outcome {
    let path = format!("/proc/{}/mem", scene.fixtures.victim);
    Outcome::of(OpenOptions::new().read(true).open(path), "its memory is open")
}

fn push_input(_: &Scene) -> Outcome {
    match terminal::own_terminal() {
        Err(error) => Outcome::Impossible(format!("no terminal: {error}")),
        Ok(slave) => match terminal::push_input(slave) {
            Err(Errno::IO) => Outcome::Reached("this kernel has it switched off".to_owned()),
            other => Outcome::of(other, "input was pushed"),
        },
    }
}

fn console(_: &Scene) -> Outcome {
    match terminal::own_terminal() {
        Err(error) => Outcome::Impossible(format!("no terminal: {error}")),
        Ok(slave) => match terminal::console_request(slave) {
            Err(Errno::NOTTY | Errno::INVAL) => Outcome::Reached("this terminal is no console".to_owned()),
            other => Outcome::of(other, "the console answered"),
        },
    }
}

/// `/dev/tty` is the terminal of whoever started us; the control gives itself one first.
fn operators_terminal(scene: &Scene) -> Outcome {
    if scene.place == Place::Outside
        && let Err(error) = terminal::own_terminal()
    {
        return Outcome::Impossible(format!("no terminal: {error}"));
    }
    Outcome::of(OpenOptions::new().write(true).open("/dev/tty"), "the terminal is open")
}

fn signal(scene: &Scene) -> Outcome {
    Outcome::of(victim(scene).and_then(rustix::process::test_kill_process), "it can be signalled")
}

/// By its arguments, because numbers inside and outside may coincide.
fn visible(scene: &Scene) -> Outcome {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Outcome::Blocked("there is no /proc".to_owned());
    };
    // The arguments of the fixtures' process; ours, in which the directory stands as well, have no NUL before it.
    let wanted = [b"fixtures\0", scene.fixtures.directory.as_os_str().as_encoded_bytes()].concat();
    let found = entries
        .flatten()
        .any(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|line| contains(&line, &wanted)));
    if found {
        return Outcome::Succeeded("it is listed".to_owned());
    }
    Outcome::Blocked("only its own processes are listed".to_owned())
}
