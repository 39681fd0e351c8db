//! A policy file's edit: shown as a diff, and put in the old text's place whole, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use anyhow::{Context, ensure};
use similar::TextDiff;
use wardroom_model::exit::Exit;
use wardroom_policy::Policy;

use super::policy::Source;
use crate::failure::{Failure, OrExit, let_go};
use crate::keeper::policy_file;
use crate::screen;

/// What changes, line by line, as `diff -u` shows it.
pub(super) fn diff(before: &Source, after: &str) -> String {
    let file = before.shown();
    let diff = TextDiff::from_lines(before.text.as_str(), after);
    diff.unified_diff().context_radius(3).header(&file, &file).to_string()
}

/// Shows what changes.
pub(super) fn show(before: &Source, after: &str) {
    screen::data(diff(before, after).trim_end());
}

/// When the new text is in force where the agent runs: hosts that were not looked at before wait for the next start, because
/// the agent's authority is made for those of its start.
pub(super) fn in_force(before: &Source, after: &str) -> String {
    let old = before.policy.network().inspected();
    let new = Policy::parse(before.policy.file(), after).map(|policy| policy.network().inspected());
    let more: Vec<_> = new.unwrap_or_default().into_iter().filter(|host| !old.contains(host)).collect();
    let within = "where the agent runs, it is in force within a second";
    if more.is_empty() {
        return within.to_owned();
    }
    let names: Vec<_> = more.iter().map(ToString::to_string).collect();
    format!("{within}; what is to be looked at ({}) is refused there until its next start", names.join(", "))
}

/// Replaces the file whole: a reader sees the old text or the new one, never half. Nothing is written when the file is no
/// longer what was read.
pub(super) fn replace(before: &Source, after: &str) -> Result<(), Failure> {
    let file = before.file.as_deref().context("this policy has no file").or_exit(Exit::Policy)?;
    let now = policy_file::read(file)?;
    if now != before.text {
        let why = format!("{} has changed meanwhile; nothing was written", file.display());
        return Err(Failure::new(Exit::Policy, why));
    }
    written(file, after).with_context(|| format!("cannot write {}", file.display())).or_exit(Exit::Internal)
}

fn written(file: &Path, text: &str) -> anyhow::Result<()> {
    let directory = file.parent().context("a policy file lies in a directory")?;
    let name = file.file_name().context("a policy file has a name")?.to_string_lossy();
    let beside = directory.join(format!(".{name}.{}.new", std::process::id()));
    let done = fill(&beside, file, text).and_then(|()| Ok(fs::rename(&beside, file)?));
    if done.is_err() {
        // The error that matters is the one that is returned.
        let_go(fs::remove_file(&beside));
    }
    done?;
    // A rename is on disk when its directory is.
    Ok(File::open(directory)?.sync_all()?)
}

/// Never through a link, never over something: the name is new, with the mode and the owner of the old file.
fn fill(beside: &Path, file: &Path, text: &str) -> anyhow::Result<()> {
    let old = fs::symlink_metadata(file)?;
    ensure!(old.is_file(), "it is not a regular file");
    let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    made.write_all(text.as_bytes())?;
    let now = made.metadata()?;
    if (now.uid(), now.gid()) != (old.uid(), old.gid()) {
        fchown(&made, Some(old.uid()), Some(old.gid())).context("it belongs to somebody else")?;
    }
    made.set_permissions(fs::Permissions::from_mode(old.mode() & 0o777))?;
    Ok(made.sync_all()?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const TEXT: &str = "[agent]\nname = \"scout\"\n[isolation]\nkind = \"cell\"\n";

    fn source(file: &Path) -> Source {
        Source::parse(Some(file.to_owned()), TEXT.to_owned()).unwrap_or_else(|failure| panic!("{failure}"))
    }

    #[test]
    fn an_edit_keeps_mode_and_owner_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("scout.toml");
        fs::write(&file, TEXT).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        replace(&source(&file), "# new\n").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "# new\n");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_changed_or_became_a_link_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("scout.toml");
        fs::write(&file, format!("{TEXT}# mine\n")).unwrap();
        assert!(replace(&source(&file), "x").unwrap_err().to_string().contains("changed meanwhile"));

        let elsewhere = dir.path().join("elsewhere");
        fs::rename(&file, &elsewhere).unwrap();
        fs::write(&elsewhere, TEXT).unwrap();
        symlink(&elsewhere, &file).unwrap();
        assert!(replace(&source(&file), "x").unwrap_err().to_string().contains("symbolic link"));
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), TEXT);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_host_that_is_to_be_looked_at_waits_for_the_next_start() {
        let source = source(Path::new("/a/scout.toml"));
        let rule = "[[network.allow]]\nhost = \"a.net\"\n";
        assert!(!in_force(&source, &format!("{TEXT}{rule}")).contains("next start"));
        let said = in_force(&source, &format!("{TEXT}{rule}inspect = true\n"));
        assert!(said.ends_with("(a.net) is refused there until its next start"), "{said}");
    }

    #[test]
    fn a_diff_shows_what_is_added_and_what_is_around_it() {
        let source = source(Path::new("/a/scout.toml"));
        let shown = diff(&source, &format!("{TEXT}tasks = 5\n"));
        assert!(shown.starts_with("--- /a/scout.toml\n+++ /a/scout.toml\n@@ "), "{shown}");
        assert!(shown.ends_with(" kind = \"cell\"\n+tasks = 5\n"), "{shown}");
    }
}
