//! Why a path is seen, written, or not there.

use std::path::{Path, PathBuf};

use wardroom_model::plan::sensitive_means;
use wardroom_model::{Outcome, Reason, Verdict};

use super::Answer;
use crate::plan::{HOME, WORKSPACE, is_generated, is_system, normal};
use crate::policy::{Files, PathRule, Policy};
use crate::{canary, sensitive};

pub(super) fn why(policy: &Policy, subject: &str) -> Answer {
    let inside = inside(policy, subject);
    let answer = match inside {
        Some(place) => place,
        None => outside(&policy.files, subject),
    };
    with_sensitivity(policy, subject, answer)
}

/// A path as the agent sees it; `None` where there is nothing by that name.
fn inside(policy: &Policy, subject: &str) -> Option<Answer> {
    let path = subject.starts_with('/').then(|| normal(Path::new(subject)))?;
    let files = &policy.files;
    if let Some(rule) = files.workspace.as_ref().filter(|_| path.starts_with(WORKSPACE)) {
        return Some(given(&path, WORKSPACE, rule, "read and write"));
    }
    for (rules, does) in [(&files.read_write, "read and write"), (&files.read_only, "read, not write")] {
        let hit = rules.iter().map(|rule| (rule, seen_as(rule))).find(|(_, seen)| path.starts_with(seen));
        if let Some((rule, seen)) = hit {
            return Some(given(&path, &seen.to_string_lossy(), rule, does));
        }
    }
    if path.starts_with("/run") && sensitive::why(&path.to_string_lossy()).is_some() {
        return None;
    }
    let sentence = of_the_cell(&path)?;
    let nature = Verdict { outcome: Outcome::Allowed, reason: Reason::WallsDecide, rule: None };
    Some(Answer::new(nature, format!("{} {sentence}.", path.display())))
}

/// What every cell has.
fn of_the_cell(path: &Path) -> Option<&'static str> {
    let masked = ["/proc/kcore", "/proc/kallsyms", "/proc/keys", "/proc/sysrq-trigger", "/proc/timer_list"];
    if path.starts_with(HOME) {
        return Some(
            "is the agent's own home: it may read and write there, and it is kept from start to start",
        );
    }
    if ["/tmp", "/var/tmp", "/run", "/dev/shm"].iter().any(|place| path.starts_with(place)) {
        return Some("is memory of the cell's own: the agent may write there, and it is gone at the end");
    }
    if is_generated(path) {
        return Some(
            "is made for the cell and says nothing about the host; the agent may read it, not write",
        );
    }
    if is_system(path) {
        return Some("is the system's, if it exists there: the agent may read it and run it, not write");
    }
    if masked.iter().any(|place| path.starts_with(place)) {
        return Some("is masked: it says nothing");
    }
    if path.starts_with("/proc") {
        return Some("shows the cell's own processes alone");
    }
    let devices = [
        "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "fd", "stdin", "stdout", "stderr",
    ];
    if path.strip_prefix("/dev").is_ok_and(|name| devices.iter().any(|device| name.starts_with(device))) {
        return Some("is one of the few devices that a cell has");
    }
    let parents = ["/", "/dev", "/etc", "/home", "/var", "/etc/ssl"];
    parents
        .iter()
        .any(|parent| Path::new(parent) == path)
        .then_some("is a directory; what is in it is another question")
}

fn given(path: &Path, seen: &str, rule: &PathRule, does: &str) -> Answer {
    let below = path.strip_prefix(seen).unwrap_or(Path::new(""));
    let outside = Path::new(&rule.path).join(below);
    let outside = outside.to_string_lossy();
    let sentence =
        format!("{} is your {}: the agent may {does} it.", path.display(), outside.trim_end_matches('/'));
    Answer::new(permitted(rule), sentence)
}

/// A path of the host's: seen under another name, or not there.
fn outside(files: &Files, subject: &str) -> Answer {
    let rules = files.workspace.iter().map(|rule| (rule, PathBuf::from(WORKSPACE), "read and write"));
    let rules = rules.chain(files.read_write.iter().map(|rule| (rule, seen_as(rule), "read and write")));
    let mut rules = rules.chain(files.read_only.iter().map(|rule| (rule, seen_as(rule), "read, not write")));
    let subject_path = Path::new(subject);
    let hit = rules.find_map(|(rule, seen, does)| {
        let below = subject_path.strip_prefix(rule.path.trim_end_matches('/')).ok()?;
        Some((rule, seen.join(below), does))
    });
    match hit {
        Some((rule, seen, does)) => {
            let seen = seen.to_string_lossy();
            let sentence = format!(
                "{subject} is seen inside as {}: the agent may {does} it.",
                seen.trim_end_matches('/')
            );
            Answer::new(permitted(rule), sentence)
        }
        None => {
            let sentence = format!("{subject} does not exist inside: no rule under `[files]` gives it.");
            Answer::new(Verdict::refused(Reason::NoRule), sentence)
        }
    }
}

fn permitted(rule: &PathRule) -> Verdict {
    Verdict { outcome: Outcome::Allowed, reason: Reason::RulePermits, rule: Some(rule.at.clone()) }
}

fn seen_as(rule: &PathRule) -> PathBuf {
    Path::new("/").join(Path::new(&rule.path).file_name().unwrap_or_default())
}

fn with_sensitivity(policy: &Policy, subject: &str, answer: Answer) -> Answer {
    let own = policy.files.sensitive.iter().any(|entry| sensitive_means(entry, subject.as_bytes()));
    let reason = sensitive::why(subject).or(own.then_some("named as sensitive by the policy"));
    match reason {
        Some(why) if policy.files.canaries && canary::is_one(subject) => answer
            .and(format!("A canary lies there ({why}; it opens nothing): whoever opens it is on record.")),
        Some(why) if policy.files.audit_reads => {
            answer.and(format!("It is sensitive ({why}): every attempt to open it is recorded."))
        }
        Some(why) => answer.and(format!(
            "It is sensitive ({why}): a change is recorded, and an attempt to read it is not (`audit_reads` is off)."
        )),
        None => answer,
    }
}
