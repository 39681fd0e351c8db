//! C14: programs that hide what they run. Nothing here is refused; all of it must be on record as what it was.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, memfd_create};
use wardroom_model::Event;

use crate::verify::outcome::Outcome;
use crate::verify::probe::Attempt::Run;
use crate::verify::probe::Control::Outside;
use crate::verify::probe::Expect::Records;
use crate::verify::probe::{Aim, Probe, probe};
use crate::verify::role::say;
use crate::verify::scene::Scene;
use crate::verify::trace::{Trace, contains};

#[rustfmt::skip]
pub(super) const PROBES: &[Probe] = &[
    probe("C14.memory", "a program executed from memory (memfd)", Run(from_memory), Outside, Records(from_memory_seen)).aims(Aim::OnRecord),
    probe("C14.deleted", "a program whose file is deleted already", Run(deleted), Outside, Records(deleted_seen)).aims(Aim::OnRecord),
    probe("C14.shared-memory", "a program executed from /dev/shm", Run(shared_memory), Outside, Records(shared_memory_seen)).aims(Aim::OnRecord),
    probe("C14.loader", "a program executed through the dynamic loader", Run(loader), Outside, Records(loader_seen)).aims(Aim::OnRecord),
    probe("C14.false-name", "a program that lies about its name (argv[0])", Run(false_name), Outside, Records(false_name_seen)).aims(Aim::OnRecord),
    probe("C14.script", "a script, run by its interpreter", Run(script), Outside, Records(script_seen)).aims(Aim::OnRecord),
];

const HARMLESS: &str = "/bin/true";

/// Becomes another program. Success has to be said before, for nothing of us is left afterwards.
#[expect(clippy::disallowed_methods, reason = "the attempt is the exec itself, of this very process")]
pub(super) fn become_program(image: &Path, name: &str, arguments: &[String]) -> Outcome {
    say(&Outcome::Succeeded("it was executed".to_owned()));
    let error = std::process::Command::new(image).arg0(name).args(arguments).exec();
    Outcome::Blocked(error.to_string())
}

fn from_memory(_: &Scene) -> Outcome {
    match in_memory() {
        Ok(file) => become_program(&by_descriptor(&file), "true", &[]),
        Err(error) => Outcome::Impossible(error.to_string()),
    }
}

fn in_memory() -> io::Result<File> {
    let mut file = File::from(memfd_create("wardroom-verify", MemfdFlags::empty())?);
    file.write_all(&fs::read(HARMLESS)?)?;
    Ok(file)
}

fn by_descriptor(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn from_memory_seen(trace: &Trace<'_>, _: &Scene) -> Result<String, String> {
    image_seen(trace, b"memfd:wardroom-verify")
}

/// The image that the kernel says it loaded, which must not count as a trusted program.
fn image_seen(trace: &Trace<'_>, path: &[u8]) -> Result<String, String> {
    trace.first("the image that was loaded is not on record", |event| {
        matches!(event, Event::Image(image)
            if contains(image.actor.program.path.shown(), path) && !image.actor.program.trusted)
    })
}

/// A copy of the harmless program, executable.
fn copy_to(path: &Path) -> io::Result<File> {
    fs::copy(HARMLESS, path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    File::open(path)
}

fn deleted(scene: &Scene) -> Outcome {
    let path = scene.own_path();
    let file = copy_to(&path).and_then(|file| fs::remove_file(&path).map(|()| file));
    match file {
        Ok(file) => become_program(&by_descriptor(&file), "true", &[]),
        Err(error) => Outcome::Impossible(error.to_string()),
    }
}

fn deleted_seen(trace: &Trace<'_>, scene: &Scene) -> Result<String, String> {
    image_seen(trace, scene.own_path().as_os_str().as_encoded_bytes())
}

fn shared_memory_path(scene: &Scene) -> PathBuf {
    PathBuf::from("/dev/shm").join(format!("wardroom-verify-{}", scene.fixtures.nonce))
}

/// Removed by a copy of ourselves that stays behind for the purpose.
fn shared_memory(scene: &Scene) -> Outcome {
    let path = shared_memory_path(scene);
    match copy_to(&path) {
        Ok(_closed_again) => {}
        Err(error) => return Outcome::Blocked(error.to_string()),
    }
    let child = match wardroom_kernel::probe::process::split() {
        Ok(child) => child,
        Err(error) => return Outcome::Impossible(error.to_string()),
    };
    match child {
        // The parent keeps the pid that the record will name, so it is the parent that becomes the program.
        Some(_) => become_program(&path, "true", &[]),
        None => {
            std::thread::sleep(std::time::Duration::from_millis(500));
            let code = i32::from(fs::remove_file(&path).is_err());
            wardroom_kernel::probe::process::end(code)
        }
    }
}

fn shared_memory_seen(trace: &Trace<'_>, scene: &Scene) -> Result<String, String> {
    let path = shared_memory_path(scene);
    exec_seen(trace, path.as_os_str().as_encoded_bytes(), b"")
        .or_else(|_never_executed| trace.file(&path.display().to_string()))
}

/// An exec of this path with these arguments among its own.
fn exec_seen(trace: &Trace<'_>, path: &[u8], arguments: &[u8]) -> Result<String, String> {
    trace.first("the exec is not on record", |event| {
        matches!(event, Event::Exec(exec) if contains(exec.path.shown(), path)
            && (arguments.is_empty() || contains(exec.arguments.shown(), arguments)))
    })
}

#[cfg(target_arch = "aarch64")]
const LOADER: &str = "/lib/ld-linux-aarch64.so.1";
#[cfg(not(target_arch = "aarch64"))]
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

fn loader(_: &Scene) -> Outcome {
    if !Path::new(LOADER).exists() {
        return Outcome::Impossible(format!("there is no {LOADER}"));
    }
    become_program(Path::new(LOADER), LOADER, &[HARMLESS.to_owned()])
}

fn loader_seen(trace: &Trace<'_>, _: &Scene) -> Result<String, String> {
    exec_seen(trace, LOADER.as_bytes(), HARMLESS.as_bytes())
}

const FALSE_NAME: &str = "/usr/bin/wardroom-verify-innocent";

fn false_name(_: &Scene) -> Outcome {
    become_program(Path::new(HARMLESS), FALSE_NAME, &[])
}

/// The path is the file's, and the lie is kept where it belongs: among the arguments.
fn false_name_seen(trace: &Trace<'_>, _: &Scene) -> Result<String, String> {
    exec_seen(trace, HARMLESS.as_bytes(), FALSE_NAME.as_bytes())
}

fn script(scene: &Scene) -> Outcome {
    let path = scene.own_path();
    let written = fs::write(&path, format!("#!/bin/sh\nrm -f '{}'\n", path.display()))
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)));
    match written {
        Ok(()) => become_program(&path, "script", &[]),
        Err(error) => Outcome::Impossible(error.to_string()),
    }
}

fn script_seen(trace: &Trace<'_>, scene: &Scene) -> Result<String, String> {
    let path = scene.own_path();
    trace.first("the script and its interpreter are not on record", |event| {
        matches!(event, Event::Exec(exec)
            if contains(exec.path.shown(), path.as_os_str().as_encoded_bytes())
                && exec.interpreter.as_ref().is_some_and(|shell| contains(shell.shown(), b"sh")))
    })
}
