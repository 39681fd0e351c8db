//! `run`: an agent by its policy file, or `--here` by a policy that the command line makes.

use std::ffi::OsString;
use std::io::{IsTerminal, stdin};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::Context;
use wardroom_kernel::process::inherited;
use wardroom_model::AgentName;
use wardroom_model::exit::Exit;
use wardroom_policy::templates::here_policy;

use super::{agent_name, policy};
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
    let name = named_after(&workspace)?;
    let file = places.agent(&name).policy;
    if file.exists() {
        let why = format!(
            "{} exists already: run it with `wardroom run {name}`, or work in another directory",
            file.display()
        );
        return Err(Failure::new(Exit::Usage, why));
    }
    if asked.command.is_empty() {
        return Err(Failure::new(Exit::Usage, "--here needs a command: `wardroom run --here -- COMMAND`"));
    }
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

/// An agent's name from a directory's: what does not fit becomes a hyphen.
fn named_after(directory: &Path) -> Result<AgentName, Failure> {
    let base = directory.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let fitting: String =
        base.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(AgentName::MAX).collect();
    let trimmed = fitting.trim_matches(|c: char| c == '-' || c.is_ascii_digit());
    AgentName::parse(trimmed).map_err(|_unfit| {
        let why = format!(
            "an agent cannot be named after {}, whose name has no letter to begin with; make a policy with `wardroom new NAME`",
            directory.display()
        );
        Failure::new(Exit::Usage, why)
    })
}

fn words(command: &[OsString]) -> Vec<Vec<u8>> {
    command.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// How the operator called us, for the record.
pub(crate) fn command_line() -> Vec<u8> {
    let words: Vec<_> = std::env::args_os().skip(1).map(|word| word.as_bytes().to_vec()).collect();
    [b"wardroom".to_vec(), typed(&words)].join(&b' ')
}

/// A command's words in one line, so that one sees where each of them ends: as `log` shows those of a program.
pub(crate) fn typed(words: &[Vec<u8>]) -> Vec<u8> {
    let quoted = words.iter().map(|word| match word.is_empty() || word.contains(&b' ') {
        true => [b"'", word.as_slice(), b"'"].concat(),
        false => word.clone(),
    });
    quoted.collect::<Vec<_>>().join(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_shows_where_its_words_end() {
        let words = ["sh", "-c", "id; pwd", ""].map(|word| word.as_bytes().to_vec());
        assert_eq!(typed(&words), b"sh -c 'id; pwd' ''");
    }

    #[test]
    fn an_agent_is_named_after_its_directory() {
        for (directory, name) in
            [("/home/x/My Project", "my-project"), ("/srv/2024-triage", "triage"), ("/a/b_c.d", "b-c-d")]
        {
            assert_eq!(named_after(Path::new(directory)).unwrap().as_str(), name);
        }
        assert!(named_after(Path::new("/")).is_err());
    }
}
