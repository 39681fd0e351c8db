//! `credential set`: a value goes into the store. Nothing need be unlocked for that.

use std::time::Duration;

use wardroom_broker::{Keep, check, clock, run, without_line_end};
use wardroom_model::Secret;
use wardroom_model::exit::Exit;

use super::Subject;
use crate::cli;
use crate::commands::secret_input::Input;
use crate::failure::{Done, Failure, OrExit};
use crate::places::Places;
use crate::screen;

/// How long a command may take that prints a value: a person may have to touch a key for it.
const COMMAND_TIME: Duration = Duration::from_secs(120);

pub(super) fn set(places: &Places, asked: &cli::CredentialSet) -> Done {
    if asked.value.is_some() {
        let why = "a value is never an argument: this one is in your shell's history now, so take another one, and give it on standard input";
        return Err(Failure::new(Exit::Usage, why));
    }
    let subject = Subject::find(places, &asked.which)?;
    let setup = Keep::at(&places.custody()).setup().or_exit(Exit::Credentials)?;
    let secret = given(asked, &subject)?;
    check(&subject.credential, &secret).or_exit(Exit::Credentials)?;
    subject.record(places, "set")?;
    let name = &subject.credential.name;
    let label =
        subject.store.put(name, &secret, &setup.recipient, clock::unix()).or_exit(Exit::Credentials)?;
    screen::data(&format!("{name} of {} is set (value {})", subject.name, label.version));
    Ok(0)
}

fn given(asked: &cli::CredentialSet, subject: &Subject) -> Result<Secret, Failure> {
    if asked.command.is_empty() {
        let prompt = format!("Value of {} for {} (not shown): ", subject.credential.name, subject.name);
        return Input::of(asked.from_fd)?.secret(&prompt);
    }
    let printed = run::run(&asked.command, b"", COMMAND_TIME).or_exit(Exit::Credentials)?;
    Ok(without_line_end(&printed))
}
