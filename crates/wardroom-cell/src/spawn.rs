//! The child's side of starting a program: from a copy of init to the agent's command.
//!
//! Everything that confines is inherited from init and in force already; nothing here could loosen it.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;
use wardroom_kernel::process;

use crate::privileges::c_string;
use crate::wire::Program;

/// A program that could not be started, and at what.
pub(crate) type Failure = (Errno, &'static str);

/// Becomes the program. Returns only when that failed.
pub(crate) fn become_program(program: &Program, stdio: &[OwnedFd; 3]) -> Failure {
    match prepare(program, stdio) {
        Ok((argv, env)) => execute(&argv, &env, program.tag),
        Err(failure) => failure,
    }
}

fn prepare(program: &Program, stdio: &[OwnedFd; 3]) -> Result<(Vec<CString>, Vec<CString>), Failure> {
    let strings =
        |list: &[minicbor::bytes::ByteVec]| list.iter().map(|s| c_string(s)).collect::<Result<Vec<_>, _>>();
    let argv = strings(&program.argv).map_err(|errno| (errno, "the arguments"))?;
    let env = strings(&program.env).map_err(|errno| (errno, "the environment"))?;
    // A session of its own: no job control and no terminal are shared with another command of the cell.
    rustix::process::setsid().map_err(|errno| (errno, "a session"))?;
    for (number, fd) in (0..).zip(stdio) {
        process::place_descriptor(fd, number)
            .map_err(|error| (errno_of(&error), "standard input and output"))?;
    }
    if program.terminal {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()).map_err(|errno| (errno, "the terminal"))?;
    }
    process::close_at_exec().map_err(|error| (errno_of(&error), "descriptors"))?;
    let directory = c_string(&program.directory).map_err(|errno| (errno, "the directory"))?;
    rustix::process::chdir(directory.as_c_str()).map_err(|errno| (errno, "the working directory"))?;
    process::reset_dispositions();
    process::set_mask(false).map_err(|error| (errno_of(&error), "signals"))?;
    Ok((argv, env))
}

/// Finds the program along `PATH` as a shell would, asking before it executes, so that the ledger shows one exec and
/// not one for every directory.
fn execute(argv: &[CString], env: &[CString], tag: u64) -> Failure {
    let Some(name) = argv.first() else { return (Errno::INVAL, "no command") };
    if name.as_bytes().contains(&b'/') {
        return (process::exec(name, argv, env, tag), "the command");
    }
    let path = env.iter().find_map(|entry| entry.as_bytes().strip_prefix(b"PATH=")).unwrap_or_default();
    let mut worst = Errno::NOENT;
    for directory in path.split(|byte| *byte == b':').filter(|directory| directory.starts_with(b"/")) {
        let Ok(candidate) = c_string(&[directory, b"/", name.as_bytes()].concat()) else { continue };
        match rustix::fs::accessat(CWD, candidate.as_c_str(), Access::EXEC_OK, AtFlags::empty()) {
            Ok(()) => match process::exec(&candidate, argv, env, tag) {
                Errno::ACCESS => worst = Errno::ACCESS,
                other => return (other, "the command"),
            },
            Err(Errno::ACCESS) => worst = Errno::ACCESS,
            Err(_absent) => {}
        }
    }
    (worst, "the command")
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// The exit code that a shell gives to a command that could not be executed.
#[must_use]
pub(crate) fn status_of(errno: Errno) -> u32 {
    if errno == Errno::NOENT { 127 } else { 126 }
}
