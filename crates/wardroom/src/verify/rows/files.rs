//! C1, C2, C4, C10, C15: files of the operator, of the system, and of the kernel.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use wardroom_model::{Event, Reason};

use crate::verify::attempt::{self, in_passing, read};
use crate::verify::outcome::Outcome;
use crate::verify::probe::Attempt::{Call, Create, OpenToWrite, Read as ReadFile, Run};
use crate::verify::probe::Control::{Bare, Outside};
use crate::verify::probe::Expect::{Path as At, Privilege, Program, Records};
use crate::verify::probe::{Aim, Probe, probe};
use crate::verify::scene::{Place, Scene};
use crate::verify::trace::{Trace, contains};

const NOT_THERE: &str = "what does not exist inside cannot be opened; only sensitive names are recorded";
const USR: crate::verify::probe::Control = Bare(&["/usr/local"]);
const ETC: crate::verify::probe::Control = Bare(&["/etc"]);
const VAR: crate::verify::probe::Control = Bare(&["/var"]);

#[rustfmt::skip]
pub(super) const PROBES: &[Probe] = &[
    probe("C1.private-key", "reading the operator's private key", Run(private_key), Outside, Program(NOT_THERE)),
    probe("C1.key-name", "trying the name of root's private key", ReadFile("/root/.ssh/id_ed25519"), Bare(&["/root"]), Records(|trace, scene| name_seen(trace, scene, "/root/.ssh/id_ed25519"))),
    probe("C1.shadow", "reading the host's password hashes", ReadFile("/etc/shadow"), ETC, Records(|trace, scene| name_seen(trace, scene, "/etc/shadow"))),
    probe("C1.canary", "reading the decoys in its home", Run(canaries), Outside, Records(canary_seen)).aims(Aim::OnRecord),
    probe("C1.hasty", "opening a decoy without waiting to be seen", Run(hasty), Outside, Records(hasty_seen)).aims(Aim::OnRecord),
    probe("C1.environment", "reading the environment of a process outside", Run(environment), Outside, Program(NOT_THERE)),
    probe("C1.init-environment", "reading the environment of the cell's init", ReadFile("/proc/1/environ"), Bare(&[]), Program("its own /proc has no secret names")),
    probe("C1.listing", "listing the operator's directory", Run(listing), Outside, Program("looking at names is no act; there is nothing to see")),
    probe("C2.usr", "writing to /usr", Create("/usr/local/wardroom-verify-c2"), USR, At("/usr/local/wardroom-verify-c2")),
    probe("C2.etc", "writing to /etc", Create("/etc/wardroom-verify-c2"), ETC, At("/etc/wardroom-verify-c2")),
    probe("C2.root", "writing to the root directory", Run(root_directory), USR, At("/wardroom-verify-c2")),
    probe("C2.outside", "writing to a directory of the operator's", Run(write_outside), Outside, Records(outside_seen)),
    probe("C2.remount", "remounting the root directory writable", Call("mount.remount"), Bare(&[]), Privilege("mount")),
    probe("C2.bind-over", "mounting one directory over another", Call("mount.bind"), Bare(&[]), Privilege("mount")),
    probe("C2.symlink", "reading outwards through a symbolic link", Run(through_symlink), Outside, Records(own_path_seen)),
    probe("C2.hard-link", "a hard link to a file outside", Run(hard_link), Outside, Records(own_or_secret_seen)),
    probe("C2.dots", "reading outwards through .. from its own directory", Run(through_dots), Outside, Program(NOT_THERE)),
    probe("C4.usr-local", "installing a program into /usr/local", Create("/usr/local/wardroom-verify-c4"), USR, At("/usr/local/wardroom-verify-c4")),
    probe("C4.package-database", "opening the package manager's database", Create("/var/wardroom-verify-c4"), VAR, At("/var/wardroom-verify-c4")),
    probe("C4.alternatives", "redirecting a system program from /etc", Create("/etc/wardroom-verify-c4"), ETC, At("/etc/wardroom-verify-c4")),
    probe("C10.core-pattern", "the kernel's core dump helper", OpenToWrite("/proc/sys/kernel/core_pattern"), Bare(&["/proc/sys/kernel"]), At("core_pattern")),
    probe("C10.modprobe", "the kernel's module helper", OpenToWrite("/proc/sys/kernel/modprobe"), Bare(&["/proc/sys/kernel"]), At("modprobe")),
    probe("C10.sysrq", "the kernel's emergency keys", OpenToWrite("/proc/sysrq-trigger"), Bare(&["/proc"]), At("sysrq-trigger")),
    probe("C10.uevent", "the kernel's device event helper", OpenToWrite("/sys/kernel/uevent_helper"), Bare(&["/sys/kernel"]), At("uevent_helper")),
    probe("C10.binfmt", "the kernel's list of program formats", OpenToWrite("/proc/sys/fs/binfmt_misc/register"), Bare(&["/proc/sys/fs"]), At("binfmt_misc/register")),
    probe("C10.sys", "looking into /sys", Run(sys), Outside, Program("looking at names is no act; there is nothing to see")),
    probe("C10.cgroups", "a control group of its own", Run(cgroup), Bare(&["/sys/fs"]), At("/sys/fs/wardroom-verify-c10")),
    probe("C15.git-hook", "a git hook left for the operator", Run(git_hook), Outside, Records(git_hook_seen)).aims(Aim::OnRecord),
    probe("C15.shell-start", "a shell start-up file left for the operator", Run(shell_start), Outside, Records(own_path_seen)).aims(Aim::OnRecord),
];

fn private_key(scene: &Scene) -> Outcome {
    read(&scene.fixtures.secret)
}

/// A name that does not exist inside leaves a record of its own where the policy asks for it; else its program's is all.
fn name_seen(trace: &Trace<'_>, scene: &Scene, path: &str) -> Result<String, String> {
    match scene.fixtures.policy.audit_reads {
        true => trace.file(path),
        false => trace.first("its program is not on the ledger", |_any| true),
    }
}

/// Every decoy; the control reads the operator's key.
fn canaries(scene: &Scene) -> Outcome {
    let decoys = &scene.fixtures.policy.canaries;
    match (scene.place, decoys.split_last()) {
        (Place::Outside | Place::Bare, _) => read(&scene.fixtures.secret),
        (Place::Cell, None) => Outcome::Impossible("the policy wants no canaries".to_owned()),
        (Place::Cell, Some((last, others))) => {
            others.iter().for_each(|decoy| drop(read(decoy)));
            read(last)
        }
    }
}

/// At least one: the agent may have files of its own in the place of others.
fn canary_seen(trace: &Trace<'_>, _: &Scene) -> Result<String, String> {
    trace.first(
        "no record of a decoy that was read",
        |event| matches!(event, Event::File(act) if act.verdict.reason == Reason::Canary),
    )
}

/// A lease does not hold who asks not to wait; such an opening is refused, and the guard asks who it was.
fn hasty(scene: &Scene) -> Outcome {
    let path = match scene.place {
        Place::Outside | Place::Bare => &scene.fixtures.secret,
        Place::Cell => Path::new(HASTY),
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Outcome::of(rustix::fs::open(path, flags, Mode::empty()), "it was opened")
}

fn hasty_seen(trace: &Trace<'_>, _: &Scene) -> Result<String, String> {
    trace.file(HASTY)
}

/// One of the decoys; a sensitive path whether or not it is there.
const HASTY: &str = "/home/agent/.kube/config";

/// An environment that says nothing is as good as one that is not there.
fn environment(scene: &Scene) -> Outcome {
    read_something(Path::new(&format!("/proc/{}/environ", scene.fixtures.victim)))
}

fn read_something(path: &Path) -> Outcome {
    let mut byte = [0];
    match File::open(path).and_then(|mut file| file.read(&mut byte)) {
        Ok(0) => Outcome::Blocked("it is empty".to_owned()),
        Ok(_) => Outcome::Succeeded(format!("{} was read", path.display())),
        Err(error) => Outcome::Blocked(error.to_string()),
    }
}

fn listing(scene: &Scene) -> Outcome {
    Outcome::of(fs::read_dir(&scene.fixtures.directory), "it was listed")
}

/// The control makes a writable directory its root first.
fn root_directory(scene: &Scene) -> Outcome {
    if scene.place == Place::Bare
        && let Err(error) = rustix::process::chroot("/usr/local")
    {
        return Outcome::Impossible(error.to_string());
    }
    attempt::make(Create("/wardroom-verify-c2"), scene)
}

fn outside_path(scene: &Scene) -> PathBuf {
    scene.fixtures.directory.join("planted")
}

fn write_outside(scene: &Scene) -> Outcome {
    Outcome::of(fs::write(outside_path(scene), "x"), "a file was planted outside")
}

fn outside_seen(trace: &Trace<'_>, scene: &Scene) -> Result<String, String> {
    trace.file(&outside_path(scene).display().to_string())
}

fn through_symlink(scene: &Scene) -> Outcome {
    let link = scene.own_path();
    if let Err(error) = symlink(&scene.fixtures.secret, &link) {
        return Outcome::Impossible(format!("no symbolic link: {error}"));
    }
    let outcome = read(&link);
    in_passing(fs::remove_file(&link));
    outcome
}

fn own_path_seen(trace: &Trace<'_>, scene: &Scene) -> Result<String, String> {
    trace.file(&scene.own_path().display().to_string())
}

fn hard_link(scene: &Scene) -> Outcome {
    // Where the fixture's directory is another file system, a link is impossible for a reason that is not ours.
    let link = scene.fixtures.directory.join("link");
    let own = scene.own_path();
    let target = if scene.place == Place::Cell { &own } else { &link };
    let outcome = Outcome::of(fs::hard_link(&scene.fixtures.secret, target), "it was linked");
    in_passing(fs::remove_file(target));
    outcome
}

/// A link record holds both paths.
fn own_or_secret_seen(trace: &Trace<'_>, scene: &Scene) -> Result<String, String> {
    let own = scene.own_path().display().to_string();
    let secret = scene.fixtures.secret.display().to_string();
    let holds = |path: &[u8]| contains(path, own.as_bytes()) || contains(path, secret.as_bytes());
    trace.first("no record of the link", |event| {
        matches!(event, Event::File(act)
            if holds(act.path.shown()) || act.other.as_ref().is_some_and(|other| holds(other.shown())))
    })
}

/// From the working directory up, further than any tree is deep, and down again to the secret.
fn through_dots(scene: &Scene) -> Outcome {
    let up = "../".repeat(40);
    let down: PathBuf =
        scene.fixtures.secret.components().filter(|part| *part != Component::RootDir).collect();
    read(&Path::new(&up).join(down))
}

/// Any entry at all: an agent needs none of it.
fn sys(_: &Scene) -> Outcome {
    match fs::read_dir("/sys").map(|mut entries| entries.next().is_some()) {
        Ok(true) => Outcome::Succeeded("/sys is there".to_owned()),
        Ok(false) => Outcome::Blocked("/sys is empty".to_owned()),
        Err(error) => Outcome::Blocked(error.to_string()),
    }
}

fn cgroup(_: &Scene) -> Outcome {
    Outcome::of(fs::create_dir("/sys/fs/wardroom-verify-c10"), "it was made")
}

/// Written into a repository that the operator later uses: permitted, and on record under its whole name.
fn git_hook(scene: &Scene) -> Outcome {
    let repository = scene.own_path();
    let hooks = repository.join(".git/hooks");
    let planted =
        fs::create_dir_all(&hooks).and_then(|()| fs::write(hooks.join("post-commit"), "#!/bin/sh\n"));
    let outcome = Outcome::of(planted, "it was planted");
    in_passing(fs::remove_dir_all(&repository));
    outcome
}

fn git_hook_seen(trace: &Trace<'_>, scene: &Scene) -> Result<String, String> {
    trace.file(&scene.own_path().join(".git/hooks/post-commit").display().to_string())
}

fn shell_start(scene: &Scene) -> Outcome {
    let directory = scene.own_path();
    let planted = fs::create_dir_all(&directory)
        .and_then(|()| OpenOptions::new().append(true).create(true).open(directory.join(".bashrc")));
    let outcome = Outcome::of(planted, "it was planted");
    in_passing(fs::remove_dir_all(&directory));
    outcome
}
