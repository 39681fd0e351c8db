//! L3 and L4: records under load, and records made to mislead. What concerns the ledger's own files is in
//! `crate::verify::ledger`, because it needs no agent.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::thread;

use wardroom_model::Event;

use crate::verify::attempt::in_passing;
use crate::verify::outcome::Outcome;
use crate::verify::probe::Attempt::Run;
use crate::verify::probe::Control::Outside;
use crate::verify::probe::Expect::Records;
use crate::verify::probe::{Aim, Probe, probe};
use crate::verify::scene::Scene;
use crate::verify::trace::{Trace, contains, describe};

#[rustfmt::skip]
pub(super) const PROBES: &[Probe] = &[
    probe("L3.flood", "4,000 files made as fast as it goes, by 8 threads", Run(flood), Outside, Records(flood_seen)).aims(Aim::OnRecord).within(60),
    probe("L4.control-characters", "a file name that would rewrite the screen", Run(control), Outside, Records(control_seen)).aims(Aim::OnRecord),
    probe("L4.invalid-text", "a file name that is no text", Run(invalid), Outside, Records(invalid_seen)).aims(Aim::OnRecord),
    probe("L4.long-arguments", "1 MiB of arguments", Run(long_arguments), Outside, Records(long_arguments_seen)).aims(Aim::OnRecord),
];

const THREADS: usize = 8;
const FILES_A_THREAD: usize = 500;

fn flood(scene: &Scene) -> Outcome {
    let directory = scene.own_path();
    if let Err(error) = fs::create_dir_all(&directory) {
        return Outcome::Impossible(error.to_string());
    }
    let made: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let directory = &directory;
                scope.spawn(move || {
                    (0..FILES_A_THREAD)
                        .filter(|file| {
                            fs::write(directory.join(format!("flood-{thread}-{file}")), "").is_ok()
                        })
                        .count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
    });
    in_passing(fs::remove_dir_all(&directory));
    if made == THREADS * FILES_A_THREAD {
        return Outcome::Succeeded(format!("{made} files"));
    }
    Outcome::Impossible(format!("only {made} files could be made"))
}

/// Each file once, and none missing: threads act under the pid of their process, which is not theirs, so every record
/// of the run is looked at.
fn flood_seen(trace: &Trace<'_>, scene: &Scene) -> Result<String, String> {
    let prefix = scene.own_path().join("flood-");
    let mut names = std::collections::BTreeSet::new();
    let mut last = None;
    for seen in trace.all() {
        if let Event::File(act) = &seen.event
            && act.path.shown().starts_with(prefix.as_os_str().as_encoded_bytes())
            && act.op != wardroom_model::event::FileOp::Delete
        {
            names.insert(act.path.shown());
            last = Some(seen);
        }
    }
    let wanted = THREADS * FILES_A_THREAD;
    match last {
        Some(last) if names.len() == wanted => {
            Ok(format!("{wanted} files on record, up to {}", describe(last)))
        }
        Some(_) | None => Err(format!("{} of {wanted} files are on record", names.len())),
    }
}

/// Clears the screen, sets the title, and forges a line.
const CONTROL: &[u8] = b"\x1b[2J\x1b]0;owned\x07\nforged";

fn control_path(scene: &Scene) -> PathBuf {
    with_suffix(scene, CONTROL)
}

fn with_suffix(scene: &Scene, suffix: &[u8]) -> PathBuf {
    let mut name = scene.own_path().into_os_string().into_vec();
    name.extend_from_slice(suffix);
    PathBuf::from(OsString::from_vec(name))
}

fn make_and_remove(path: &Path) -> Outcome {
    let outcome = Outcome::of(fs::write(path, ""), "it was made");
    in_passing(fs::remove_file(path));
    outcome
}

fn control(scene: &Scene) -> Outcome {
    make_and_remove(&control_path(scene))
}

/// Stored as it was, shown without a single control character.
fn control_seen(trace: &Trace<'_>, scene: &Scene) -> Result<String, String> {
    let path = control_path(scene);
    let wanted = path.as_os_str().as_encoded_bytes();
    let shown = trace.first(
        "the name is not on record as it was",
        |event| matches!(event, Event::File(act) if act.path.shown() == wanted),
    )?;
    if shown.chars().any(char::is_control) {
        return Err("control characters are shown as they are".to_owned());
    }
    Ok(shown)
}

fn invalid_path(scene: &Scene) -> PathBuf {
    with_suffix(scene, b"\xff\xfe\xc3")
}

fn invalid(scene: &Scene) -> Outcome {
    make_and_remove(&invalid_path(scene))
}

fn invalid_seen(trace: &Trace<'_>, scene: &Scene) -> Result<String, String> {
    let path = invalid_path(scene);
    let wanted = path.as_os_str().as_encoded_bytes();
    trace.first(
        "the name is not on record as it was",
        |event| matches!(event, Event::File(act) if act.path.shown() == wanted),
    )
}

/// A single argument may have 128 KiB (`MAX_ARG_STRLEN`), all of them a quarter of the stack.
const ARGUMENT: usize = 100 << 10;
const ARGUMENTS: usize = 10;

fn long_arguments(_: &Scene) -> Outcome {
    let arguments = vec!["x".repeat(ARGUMENT); ARGUMENTS];
    super::execution::become_program(Path::new("/bin/true"), "true", &arguments)
}

/// Cut, with the length and digest of the whole.
fn long_arguments_seen(trace: &Trace<'_>, _: &Scene) -> Result<String, String> {
    let wanted = u64::try_from(ARGUMENT * ARGUMENTS).unwrap_or(u64::MAX);
    trace.first("no cut arguments with the length of the whole", |event| {
        matches!(event, Event::Exec(exec)
            if contains(exec.path.shown(), b"true")
                && exec.arguments.whole().is_some_and(|whole| whole.length >= wanted))
    })
}
