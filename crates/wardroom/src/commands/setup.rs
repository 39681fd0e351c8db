//! `setup`: who keeps the key of the credential store. Done once for a host and user; done again, it changes who keeps it,
//! and never the key.

use wardroom_broker::{Custody, CustodyError, Keep, Setup};
use wardroom_model::Secret;
use wardroom_model::exit::Exit;

use super::secret_input::{self, Input};
use crate::called::wardroom;
use crate::cli;
use crate::failure::{Done, Failure};
use crate::keeper;
use crate::places::Places;
use crate::screen;

/// Makes the key, or gives the one that there is into another custody.
pub(super) fn setup(places: &Places, asked: &cli::Setup) -> Done {
    let keep = Keep::at(&places.custody());
    let before = match keep.setup() {
        Ok(setup) => Some(setup),
        Err(CustodyError::NotSetUp) => None,
        Err(error) => return Err(Failure::new(Exit::Credentials, error)),
    };
    let wanted = wanted(&asked.custody);
    if let (Some(before), None) = (&before, wanted) {
        say("as before", before);
        return Ok(0);
    }
    keeper::prepare_host(places)?;
    let (old, new) = (Input::of(asked.old_passphrase_fd)?, Input::of(asked.passphrase_fd)?);
    let mut mistyped = false;
    let made = keep
        .establish(
            wanted.unwrap_or(Custody::Keyring),
            &mut || old.passphrase("Passphrase of the credential store: "),
            &mut || twice(&new, &mut mistyped),
        )
        .map_err(|error| match mistyped {
            true => Failure::new(Exit::Credentials, "the two passphrases differ; nothing was changed"),
            false => Failure::new(Exit::Credentials, error),
        })?;
    say(if before.is_some() { "changed" } else { "made" }, &made);
    if before.is_none() {
        screen::talk(&format!(
            "Keep the passphrase: without it, what is stored can only be set again. Next: {} credential set NAME CREDENTIAL",
            wardroom()
        ));
    }
    Ok(0)
}

fn wanted(custody: &cli::Custody) -> Option<Custody> {
    let cli::Custody { keyring, systemd_creds, passphrase } = custody;
    let all = [
        (*keyring, Custody::Keyring),
        (*systemd_creds, Custody::SystemdCreds),
        (*passphrase, Custody::Passphrase),
    ];
    all.into_iter().find(|(given, _)| *given).map(|(_, custody)| custody)
}

/// A new passphrase is typed twice: one that was mistyped would open nothing again.
fn twice(input: &Input, mistyped: &mut bool) -> Result<Secret, CustodyError> {
    let first = input.passphrase("New passphrase for the credential store: ")?;
    if let Input::Given(_) = input {
        return Ok(first);
    }
    let second = secret_input::passphrase("Once more: ")?;
    *mistyped = !first.eq_ct(second.expose());
    if *mistyped { Err(CustodyError::WrongPassphrase) } else { Ok(first) }
}

fn say(what: &str, setup: &Setup) {
    screen::data(&format!("the key of the credential store, {what}: {}", setup.custody.words()));
    screen::data(&format!("values are encrypted to {}", setup.recipient));
}
