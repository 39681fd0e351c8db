//! What a credential of a policy means, in plain sentences.

use super::{size, span};
use crate::credential::{
    Credential, CredentialKind, CredentialLimits, Grant, Overdue, Particulars, SecretSource, VaultAuth,
};

/// Where it goes, where it comes from, how much of it may be used, how old it may be.
pub(super) fn sentences(credential: &Credential) -> Vec<String> {
    let mut said = vec![
        format!(
            "It sees a placeholder in {}; the real value, `{}`, goes to {} alone, {} ({}).",
            credential.env,
            credential.name,
            credential.host,
            how(credential),
            credential.at
        ),
        format!("The value of `{}` comes from {}.", credential.name, source(&credential.source)),
    ];
    said.extend(scope(&credential.particulars).map(|scope| format!("`{}` {scope}.", credential.name)));
    said.push(match limits(credential.limits) {
        Some(limits) => format!("With `{}` it may use at most {limits}.", credential.name),
        None => format!("Nothing limits how much it uses `{}`.", credential.name),
    });
    let then = match credential.overdue {
        Overdue::Alert => "it is then reported, and still used",
        Overdue::Refuse => "it is refused when that is overdue",
    };
    said.push(format!(
        "`{}` is due for rotation after {}; {then}.",
        credential.name,
        span(credential.lifetime())
    ));
    said
}

fn how(credential: &Credential) -> String {
    match credential.kind {
        CredentialKind::Header => format!("in the header {}", credential.header()),
        CredentialKind::Bearer => "as a bearer token".to_owned(),
        CredentialKind::Basic => "as a password of basic authentication".to_owned(),
        CredentialKind::AwsSigv4 => "as an AWS signature, never itself".to_owned(),
        CredentialKind::GithubApp => "as a GitHub App's token of one hour".to_owned(),
        CredentialKind::Oauth2 => "as an OAuth 2 token".to_owned(),
    }
}

/// How far it reaches, where its kind can say.
fn scope(particulars: &Particulars) -> Option<String> {
    match particulars {
        Particulars::Plain => None,
        Particulars::Basic { user } => Some(format!("is the password of the user {user:?}")),
        Particulars::Aws { region: None, service: None } => None,
        Particulars::Aws { region, service } => {
            let region = region.as_deref().unwrap_or("any region");
            Some(format!("signs only for {} in {region}", service.as_deref().unwrap_or("any service")))
        }
        Particulars::GithubApp(app) => {
            let repositories = match &*app.repositories {
                [] => "every repository of the installation".to_owned(),
                names => names.join(", "),
            };
            let may: Vec<_> =
                app.permissions.iter().map(|(what, level)| format!("{what}: {level}")).collect();
            let may =
                if may.is_empty() { "all that the installation may".to_owned() } else { may.join(", ") };
            Some(format!("reaches {repositories}, and may do there: {may}"))
        }
        Particulars::Oauth2(oauth2) => {
            let grant = match oauth2.grant {
                Grant::ClientCredentials => "the client's own right",
                Grant::Refresh => "a user's right, given earlier",
            };
            let ended = match &oauth2.revoke_url {
                Some(at) => format!("is ended at {at}"),
                None => "ends with its time".to_owned(),
            };
            Some(format!("is exchanged at {} by {grant}; what it gives {ended}", oauth2.token_url))
        }
    }
}

fn source(source: &SecretSource) -> String {
    match source {
        SecretSource::Store => "Wardroom's own encrypted store".to_owned(),
        SecretSource::Vault(vault) => {
            let by = match &vault.auth {
                VaultAuth::Token => "a token",
                VaultAuth::AppRole { .. } => "an AppRole",
            };
            format!("{} at {}, which is asked with {by} from the store", vault.path, vault.address)
        }
        SecretSource::Command(command) => {
            let again =
                command.every.map(|every| format!(", again every {}", span(every))).unwrap_or_default();
            let words: Vec<_> = command.argv.iter().map(|word| format!("{word:?}")).collect();
            format!("the output of {}, which has {}{again}", words.join(" "), span(command.timeout))
        }
    }
}

fn limits(limits: CredentialLimits) -> Option<String> {
    let CredentialLimits { requests_per_minute, bytes_per_day, tokens_per_day, usd_per_day } = limits;
    let said = [
        requests_per_minute.map(|count| format!("{count} requests a minute")),
        bytes_per_day.map(|bytes| format!("{} a day", size(bytes))),
        tokens_per_day.map(|count| format!("{count} tokens a day")),
        usd_per_day.map(|dollars| format!("{dollars} US dollars a day")),
    ];
    let said: Vec<_> = said.into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.join(", "))
}
