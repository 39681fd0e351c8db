//! `credential test`: gets the value as the broker would, and asks its host one harmless question with it.

use wardroom_broker::probe::{Tried, probe};
use wardroom_broker::{Got, Sources};
use wardroom_model::exit::Exit;

use super::Subject;
use crate::cli;
use crate::commands::secret_input::Input;
use crate::failure::{Done, Failure, OrExit};
use crate::places::Places;
use crate::screen;

pub(super) fn test(places: &Places, asked: &cli::CredentialTest) -> Done {
    let subject = Subject::find(places, &asked.which)?;
    let sources = subject.sources(places, &Input::of(asked.passphrase_fd)?);
    subject.record(places, "test")?;
    let got = sources.get(&subject.credential).or_exit(Exit::Credentials)?;
    screen::data(&format!("{} gave a value", got.source));
    let tried = tried(&subject, &sources, &got, asked.path.as_deref());
    // What was got for the test alone is given back; what cannot be ends with its time.
    let _ended = sources.end(&subject.credential, &got);
    tried?;
    Ok(0)
}

/// Tries a value at its host, and says how that ended. An error where the host does not take it.
pub(super) fn tried(
    subject: &Subject,
    sources: &Sources,
    got: &Got,
    path: Option<&str>,
) -> Result<(), Failure> {
    let host = &subject.credential.host;
    match probe(&sources.web, &subject.credential, &got.material, path).or_exit(Exit::Credentials)? {
        Tried::Accepted(_) => {
            screen::data(&format!("{host} takes it"));
        }
        Tried::Unclear(status) => {
            screen::data(&format!("{host} answered {status}: it neither took nor refused it"));
        }
        Tried::NotTried => {
            screen::data(&format!(
                "not tried at {host}: nothing harmless to ask is known; name it with --path"
            ));
        }
        Tried::Refused(status) => {
            return Err(Failure::new(Exit::Credentials, format!("{host} refuses it ({status})")));
        }
    }
    Ok(())
}
