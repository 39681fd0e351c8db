//! `credential rotate`, in two phases: the next value is had and tried while the old one works; then it takes the old
//! one's place at once, for all requests from the next on; then the old one is given up.

use std::time::Duration;

use wardroom_broker::{Keep, check, clock, run, without_line_end};
use wardroom_model::Secret;
use wardroom_model::exit::Exit;
use wardroom_policy::{Grant, Particulars, SecretSource};

use super::{Subject, test};
use crate::called::wardroom;
use crate::cli;
use crate::commands::secret_input::Input;
use crate::failure::{Done, Failure, OrExit};
use crate::places::Places;
use crate::screen;

pub(super) fn rotate(places: &Places, asked: &cli::CredentialRotate) -> Done {
    let subject = Subject::find(places, &asked.which)?;
    let refreshes = match &subject.credential.particulars {
        Particulars::Oauth2(of) => of.grant == Grant::Refresh && asked.from_fd.is_none(),
        Particulars::Plain
        | Particulars::Basic { .. }
        | Particulars::Aws { .. }
        | Particulars::GithubApp(_) => false,
    };
    match subject.credential.source {
        SecretSource::Store if !refreshes => replace(places, asked, &subject),
        SecretSource::Store | SecretSource::Vault(_) | SecretSource::Command(_) => {
            again(places, asked, &subject)
        }
    }
}

/// Has the source give another value: a running broker creates, switches and gives the old one back by itself.
fn again(places: &Places, asked: &cli::CredentialRotate, subject: &Subject) -> Done {
    let (name, agent) = (&subject.credential.name, &subject.name);
    if subject.store.is_revoked(name).or_exit(Exit::Credentials)? {
        // A command has nothing in the store that could be set anew. What a timer does must not take back what a person did.
        let by_command = matches!(subject.credential.source, SecretSource::Command(_));
        let remedy = if by_command { "rotate --restore" } else { "set" };
        if !(by_command && asked.restore) {
            let why = format!(
                "it was revoked; only `{} credential {remedy} {agent} {name}` takes that back",
                wardroom()
            );
            return Err(Failure::new(Exit::Credentials, why));
        }
        subject.record(places, "restore")?;
        subject.store.restore(name).or_exit(Exit::Credentials)?;
    } else {
        subject.record(places, "rotate")?;
    }
    subject.store.ask_again(&subject.credential.name).or_exit(Exit::Credentials)?;
    screen::data(&format!(
        "{} of {}: its source is asked for another value now; without a running agent, at its next start",
        subject.credential.name, subject.name
    ));
    Ok(0)
}

/// Puts a new value in the place of the old one.
fn replace(places: &Places, asked: &cli::CredentialRotate, subject: &Subject) -> Done {
    let setup = Keep::at(&places.custody()).setup().or_exit(Exit::Credentials)?;
    let secret = next(asked, subject)?;
    check(&subject.credential, &secret).or_exit(Exit::Credentials)?;
    subject.record(places, "rotate")?;
    let stored = if asked.no_test { None } else { try_out(places, asked, subject, &secret)? };
    let name = &subject.credential.name;
    if stored.is_none() {
        subject.store.put(name, &secret, &setup.recipient, clock::unix()).or_exit(Exit::Credentials)?;
    }
    screen::data(&format!(
        "{name} of {} is rotated; a running {} uses the new value within a second",
        subject.name, subject.name
    ));
    screen::talk(&format!("Now delete the old one, which still works until then: {}", subject.console()));
    Ok(0)
}

/// The next value: from the policy's own command, a descriptor, or the operator, who is told where to make it.
fn next(asked: &cli::CredentialRotate, subject: &Subject) -> Result<Secret, Failure> {
    if let (Some(command), None) = (&subject.credential.rotate, asked.from_fd) {
        let limit = Duration::from_secs(command.timeout);
        let printed = run::run(&command.argv, b"", limit).or_exit(Exit::Credentials)?;
        return Ok(without_line_end(&printed));
    }
    if asked.from_fd.is_none() {
        screen::talk(&format!("Make a new key, and leave the old one as it is: {}", subject.console()));
    }
    let prompt = format!("New value of {} (not shown): ", subject.credential.name);
    Input::of(asked.from_fd)?.secret(&prompt)
}

/// Tries the next value. Says which value of the store it is, where the try itself had to put it there.
fn try_out(
    places: &Places,
    asked: &cli::CredentialRotate,
    subject: &Subject,
    secret: &Secret,
) -> Result<Option<u64>, Failure> {
    let sources = match &subject.credential.particulars {
        // The server may give another secret at once, which is then stored by what only the store's key knows.
        Particulars::Oauth2(_) => subject.sources(places, &Input::of(asked.passphrase_fd)?),
        Particulars::Plain
        | Particulars::Basic { .. }
        | Particulars::Aws { .. }
        | Particulars::GithubApp(_) => subject.locked_sources(),
    };
    let got = sources.try_secret(&subject.credential, secret).or_exit(Exit::Credentials)?;
    let tried = test::tried(subject, &got, asked.path.as_deref());
    test::give_back(subject, &sources, &got);
    tried.map(|()| got.stored)
}
