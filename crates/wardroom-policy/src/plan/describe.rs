//! A plan as text, one fact a line: for the operator who wants to see all of it, and for golden files.

use std::fmt::Write;

use wardroom_model::Captured;
use wardroom_model::plan::{Access, CellPlan, Identity, Limits, LimitsBy, Mount};

/// The whole plan as text. Bytes that could mislead a terminal are escaped.
#[must_use]
pub fn describe(plan: &CellPlan) -> String {
    let mut lines = vec![format!("agent {}", plan.agent), identity(plan.identity)];
    lines.extend(plan.mounts.iter().map(mount));
    lines.extend(plan.landlock.iter().map(|rule| {
        let access = match rule.access {
            Access::List => "list",
            Access::Read => "read",
            Access::ReadExecute => "read, execute",
            Access::ReadWriteExecute => "read, write, execute",
            Access::Device => "read and write devices",
        };
        format!("landlock {}: {access}", rule.beneath.display())
    }));
    lines.push(limits(&plan.limits));
    lines.extend(plan.environment.iter().map(|(name, value)| format!("environment {name}={value}")));
    lines.extend(plan.before.as_deref().map(|before| format!("before the command {}", words(before))));
    lines.push(format!("command {}", words(&plan.command)));
    lines.push(format!("directory {}", plan.directory.display()));
    lines.push(format!("trace children: {}", if plan.may_trace { "yes" } else { "no" }));
    lines.extend(plan.literals.iter().map(|address| format!("literal {address}")));
    let reads = if plan.audit_reads { "watched" } else { "not watched" };
    lines.push(format!("reads of {} sensitive paths: {reads}", plan.sensitive.len()));
    lines.extend(plan.canaries.iter().map(|canary| format!("canary {}", canary.path.display())));
    lines.join("\n") + "\n"
}

fn words(command: &[Vec<u8>]) -> String {
    let words: Vec<_> = command.iter().map(|word| format!("\"{}\"", Captured::path(word))).collect();
    words.join(" ")
}

fn identity(identity: Identity) -> String {
    match identity {
        Identity::Operator { uid, gid } => format!("user mode: host uid {uid}, gid {gid}"),
        Identity::Range { first } => format!("system mode: host ids from {first}, 65536 of them"),
    }
}

fn mount(mount: &Mount) -> String {
    match mount {
        Mount::Bind { source, target, write, exec, owned, optional } => {
            let mut marks = vec![if *write { "read-write" } else { "read-only" }];
            marks.extend((!exec).then_some("noexec"));
            marks.extend(owned.then_some("owned"));
            marks.extend(optional.then_some("optional"));
            format!("bind {} from {} ({})", target.display(), source.display(), marks.join(", "))
        }
        Mount::Copy { source, target } => format!("copy {} from {}", target.display(), source.display()),
        Mount::Tmpfs { target, size, mode, exec } => {
            let exec = if *exec { "" } else { ", noexec" };
            format!("tmpfs {} of {} MiB, mode {mode:04o}{exec}", target.display(), size >> 20)
        }
        Mount::File { target, contents, mode } => {
            format!("file {} mode {mode:04o}: {}", target.display(), Captured::path(contents))
        }
        Mount::Directory { target, mode } => format!("directory {} mode {mode:04o}", target.display()),
        Mount::Symlink { target, to } => format!("link {} to {}", target.display(), to.display()),
        Mount::Proc => "proc".to_owned(),
        Mount::Dev => "dev".to_owned(),
    }
}

fn limits(limits: &Limits) -> String {
    let by = match limits.by {
        LimitsBy::Cgroup => "control group",
        LimitsBy::RlimitsOnly => "resource limits only",
    };
    let mut text = format!("limits by {by}: {} descriptors", limits.descriptors);
    let asked = [
        limits.memory.map(|memory| format!("memory {} MiB", memory >> 20)),
        limits.cpus.map(|cpus| format!("{cpus} processors")),
        limits.tasks.map(|tasks| format!("{tasks} tasks")),
        limits.file_size.map(|size| format!("files up to {} MiB", size >> 20)),
    ];
    for item in asked.into_iter().flatten() {
        // Writing to a String cannot fail.
        write!(text, ", {item}").unwrap_or_default();
    }
    text
}
