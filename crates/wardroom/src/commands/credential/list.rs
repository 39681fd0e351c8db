//! `credential list`: everything about an agent's credentials but their values. Nothing need be unlocked for that.

use serde_json::json;
use wardroom_broker::{State, clock, step};
use wardroom_policy::{Credential, SecretSource};

use crate::cli;
use crate::commands::{agent_name, policy};
use crate::failure::Done;
use crate::keeper;
use crate::places::Places;
use crate::screen;

pub(super) fn list(places: &Places, asked: &cli::CredentialList) -> Done {
    let name = agent_name(&asked.name)?;
    let source = policy::load(&places.agent(&name).policy)?;
    let store = keeper::store(places, &name)?;
    for credential in source.policy.credentials() {
        let state = match store.state(&credential.name) {
            Ok(state) => Shown::of(credential, &state),
            Err(error) => Shown { word: format!("unusable: {error}"), set_at: None, version: None },
        };
        let line = if asked.json { state.json(credential) } else { state.line(credential) };
        if !screen::data(&line) {
            break;
        }
    }
    if source.policy.credentials().is_empty() {
        screen::talk(&format!("the policy of {name} declares no credentials"));
    }
    Ok(0)
}

/// What is shown of one.
struct Shown {
    word: String,
    set_at: Option<u64>,
    version: Option<u64>,
}

impl Shown {
    fn of(credential: &Credential, state: &State) -> Self {
        let own = matches!(credential.source, SecretSource::Command(_));
        let (word, label) = match state {
            State::Missing if own => ("from its command", None),
            State::Missing => ("not set", None),
            State::Revoked => ("revoked", None),
            State::Damaged => ("damaged", None),
            State::Set(label) => {
                let age = clock::unix().saturating_sub(label.set_at);
                (
                    step(age, credential.lifetime())
                        .map_or("set", wardroom_model::credential::AgeStep::words),
                    Some(label),
                )
            }
        };
        Self { word: word.to_owned(), set_at: label.map(|l| l.set_at), version: label.map(|l| l.version) }
    }

    fn line(&self, credential: &Credential) -> String {
        let age = self.set_at.map_or_else(String::new, |set_at| {
            let days = clock::unix().saturating_sub(set_at) / 86_400;
            format!("  {} ({days} days ago, value {})", date(set_at), self.version.unwrap_or_default())
        });
        let Credential { name, host, .. } = credential;
        let (kind, source) = (credential.kind.word(), source(&credential.source));
        format!("{name:<20} {kind:<12} {host:<30} {source:<8} {}{age}", self.word)
    }

    fn json(&self, credential: &Credential) -> String {
        json!({
            "name": credential.name,
            "kind": credential.kind.word(),
            "host": credential.host.as_str(),
            "env": credential.env,
            "source": source(&credential.source),
            "state": self.word,
            "set_at": self.set_at.map(date),
            "age_seconds": self.set_at.map(|set_at| clock::unix().saturating_sub(set_at)),
            "max_age_seconds": credential.lifetime(),
            "version": self.version,
        })
        .to_string()
    }
}

fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| format!("{seconds} s"), |time| time.to_string())
}

fn source(source: &SecretSource) -> &'static str {
    match source {
        SecretSource::Store => "store",
        SecretSource::Vault(_) => "vault",
        SecretSource::Command(_) => "command",
    }
}
