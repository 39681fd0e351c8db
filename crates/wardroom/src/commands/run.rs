//! `run`: an agent by its policy file, or `--here` by a policy that the command line makes.

use std::ffi::OsString;
use std::io::{IsTerminal, stdin};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use anyhow::Context;
use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;
use sha2::{Digest, Sha256};
use wardroom_kernel::process::inherited;
use wardroom_ledger::words::in_one_line;
use wardroom_model::AgentName;
use wardroom_model::exit::Exit;
use wardroom_policy::templates::here_policy;

use super::{agent_name, policy};
use crate::called::wardroom;
use crate::cli;
use crate::failure::{Done, Failure, OrExit};
use crate::keeper::{self, Passphrase, RunRequest, Streams};
use crate::places::Places;
use crate::screen;

/// Runs an agent until its command ends, and returns the command's exit status.
pub(super) fn run(places: &Places, asked: &cli::Run) -> Done {
    match &asked.name {
        Some(name) => with(places, load(places, &agent_name(name)?)?, &asked.command, asked.passphrase_fd),
        None => with(places, here(places, asked)?, &asked.command, asked.passphrase_fd),
    }
}

/// Runs an agent by its policy file.
pub(super) fn agent(places: &Places, name: &AgentName, command: &[OsString]) -> Done {
    with(places, load(places, name)?, command, None)
}

fn load(places: &Places, name: &AgentName) -> Result<policy::Source, Failure> {
    policy::load(&places.agent(name).policy)
}

fn with(places: &Places, source: policy::Source, command: &[OsString], descriptor: Option<i32>) -> Done {
    in_the_foreground()?;
    let request = RunRequest {
        passphrase: passphrase(descriptor)?,
        command: words(command),
        mounts: Vec::new(),
        streams: Streams::Operator,
        action: command_line(),
        source,
    };
    keeper::run(places, request)
}

/// A job in the background of a terminal is stopped by the kernel as soon as it touches that terminal, and says nothing any more.
fn in_the_foreground() -> Result<(), Failure> {
    match tcgetpgrp(stdin()) {
        Ok(foreground) if foreground != getpgrp() => {
            let why = "this terminal belongs to another job: run it in the foreground, or give it streams of its own \
                       (`< /dev/null > agent.log 2>&1 &`)";
            Err(Failure::new(Exit::Usage, why))
        }
        // There is no terminal, or none with jobs.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Who is asked, where the credential store needs it.
fn passphrase(descriptor: Option<i32>) -> Result<Passphrase, Failure> {
    match descriptor {
        Some(number) => {
            let given = inherited(number).with_context(|| format!("descriptor {number} cannot be read"));
            given.map(Passphrase::From).or_exit(Exit::Usage)
        }
        None if stdin().is_terminal() => Ok(Passphrase::Terminal),
        None => Ok(Passphrase::Never),
    }
}

/// The policy of `--here`: the current directory as workspace, an agent named after it.
fn here(places: &Places, asked: &cli::Run) -> Result<policy::Source, Failure> {
    let workspace =
        std::env::current_dir().context("the current directory cannot be found").or_exit(Exit::Usage)?;
    if asked.command.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            format!("--here needs a command: `{} run --here -- COMMAND`", wardroom()),
        ));
    }
    let name = of_directory(places, &workspace)?;
    let file = places.agent(&name).policy;
    let command: Vec<String> = asked.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let text = here_policy(&name, &workspace, &asked.allow, &command).or_exit(Exit::Policy)?;
    screen::talk(&format!(
        "wardroom: this directory's policy (keep it with --save):\n\n{}\n",
        text.trim_end()
    ));
    if !asked.save {
        return policy::Source::parse(None, text);
    }
    policy::save(&file, &text)?;
    screen::talk(&format!("wardroom: saved as {}", file.display()));
    policy::load(&file)
}

/// The agent of a directory: named after it, and where that name is another's, with a few digits of its path's digest.
fn of_directory(places: &Places, directory: &Path) -> Result<AgentName, Failure> {
    let digest = Sha256::digest(directory.as_os_str().as_bytes());
    let digits: String = digest.iter().take(3).map(|byte| format!("{byte:02x}")).collect();
    for suffix in [String::new(), format!("-{digits}")] {
        let name = named_after(directory, &suffix)?;
        let policy = places.agent(&name).policy;
        if policy.exists() {
            let why = format!(
                "{} exists already: run it with `{} run {name}`, or work in another directory",
                policy.display(),
                wardroom()
            );
            return Err(Failure::new(Exit::Usage, why));
        }
        if keeper::is_of_directory(places, &places.agent(&name), directory).or_exit(Exit::Ledger)? {
            return Ok(name);
        }
    }
    let why = format!(
        "every name for {} is another agent's; make a policy with `{} new NAME`",
        directory.display(),
        wardroom()
    );
    Err(Failure::new(Exit::Usage, why))
}

/// An agent's name from a directory's: what does not fit becomes a hyphen.
fn named_after(directory: &Path, suffix: &str) -> Result<AgentName, Failure> {
    let base = directory.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let fitting: String = base.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let from_letter = fitting.trim_start_matches(|c: char| c == '-' || c.is_ascii_digit());
    let short = from_letter.get(..AgentName::MAX - suffix.len()).unwrap_or(from_letter);
    AgentName::parse(&format!("{}{suffix}", short.trim_end_matches('-'))).map_err(|_unfit| {
        let why = format!(
            "an agent cannot be named after {}, whose name has no letter to begin with; make a policy with `{} new NAME`",
            directory.display(), wardroom()
        );
        Failure::new(Exit::Usage, why)
    })
}

fn words(command: &[OsString]) -> Vec<Vec<u8>> {
    command.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// How the operator called us, for the record.
pub(crate) fn command_line() -> Vec<u8> {
    let words = std::env::args_os().skip(1).map(OsStringExt::into_vec);
    in_one_line(std::iter::once(b"wardroom".to_vec()).chain(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_named_after_its_directory() {
        for (directory, name) in [
            ("/home/x/My Project", "my-project"),
            ("/srv/2024-triage", "triage"),
            ("/a/b_c.d", "b-c-d"),
            ("/a/proj1", "proj1"),
            ("/a/-x-", "x"),
        ] {
            assert_eq!(named_after(Path::new(directory), "").unwrap().as_str(), name);
        }
        let long = named_after(Path::new("/a/a-directory-whose-name-has-more-letters"), "-0a1b2c").unwrap();
        assert_eq!(long.as_str(), "a-directory-whose-name-ha-0a1b2c");
        assert!(named_after(Path::new("/"), "").is_err() && named_after(Path::new("/"), "-0a1b2c").is_err());
    }

    #[test]
    fn directories_of_one_name_are_different_agents() {
        let top = tempfile::tempdir().unwrap();
        let places = Places::find(Some(top.path())).unwrap();
        let agent = |directory: &str| of_directory(&places, Path::new(directory)).unwrap();
        assert_eq!(agent("/a/project").as_str(), "project");
        let other = agent("/b/project");
        assert!(other.as_str().starts_with("project-"), "{other}");
        assert_eq!((agent("/a/project").as_str(), agent("/b/project")), ("project", other));
        // Whose state it is, nobody knows.
        std::fs::create_dir_all(places.agent(&AgentName::parse("old").unwrap()).state).unwrap();
        assert!(agent("/c/old").as_str().starts_with("old-"));
    }
}
