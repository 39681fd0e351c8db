//! GitHub Apps: a JSON Web Token, signed with the App's private key, is exchanged for a token of one installation. It
//! lives one hour and reaches only the repositories and permissions that the policy names.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::{Deserialize, Serialize};
use wardroom_model::Secret;
use wardroom_policy::GithubApp;
use zeroize::Zeroizing;

use super::Token;
use crate::fetch::FetchError;
use crate::web::{Question, Web};

/// GitHub accepts at most ten minutes, and advises to begin a minute in the past against clocks that differ.
const BEFORE: u64 = 60;
const AFTER: u64 = 540;

#[derive(Serialize)]
struct Claims {
    iat: u64,
    exp: u64,
    iss: String,
}

#[derive(Deserialize)]
struct Answer {
    token: String,
    expires_at: String,
    #[serde(default)]
    repositories: Vec<Repository>,
}

#[derive(Deserialize)]
struct Repository {
    name: String,
}

/// Gets a token of the installation.
pub(crate) fn exchange(app: &GithubApp, key: &Secret, web: &Web, now: u64) -> Result<Token, FetchError> {
    let bearer = signed(app, key, now)?;
    let mut wanted = serde_json::Map::new();
    if !app.repositories.is_empty() {
        wanted.insert("repositories".to_owned(), app.repositories.clone().into());
    }
    if !app.permissions.is_empty() {
        let permissions: serde_json::Map<_, _> =
            app.permissions.iter().map(|(name, level)| (name.clone(), level.clone().into())).collect();
        wanted.insert("permissions".to_owned(), permissions.into());
    }
    let body = Zeroizing::new(serde_json::Value::from(wanted).to_string().into_bytes());
    let url = format!("{}/app/installations/{}/access_tokens", app.api, app.installation_id);
    let answer: Answer = web.ask(Question {
        method: "POST",
        url,
        headers: vec![("authorization", bearer), version()],
        body: Some(("application/json", body)),
    })?;
    let token = Secret::new(answer.token.into_bytes());
    // A server that gives more than was asked for is not believed.
    let asked = |name: &str| app.repositories.iter().any(|asked| asked.eq_ignore_ascii_case(name));
    if !app.repositories.is_empty() && !answer.repositories.iter().all(|repository| asked(&repository.name)) {
        return Err(FetchError::Shape(
            "GitHub gave a token for other repositories than were asked for".to_owned(),
        ));
    }
    let end: jiff::Timestamp = answer
        .expires_at
        .parse()
        .map_err(|_cause| FetchError::Shape("GitHub's token has no end".to_owned()))?;
    Ok(Token { token, expires: u64::try_from(end.as_second()).ok(), next: None, halves: None })
}

/// Gives a token back before its end.
pub(crate) fn revoke(app: &GithubApp, token: &Secret, web: &Web) -> Result<(), FetchError> {
    let headers = vec![("authorization", bearer(token.expose())), version()];
    let url = format!("{}/installation/token", app.api);
    Ok(web.tell(Question { method: "DELETE", url, headers, body: None })?)
}

/// Whether this is a private key of an App.
pub(crate) fn check(key: &Secret) -> Result<(), FetchError> {
    EncodingKey::from_rsa_pem(key.expose()).map(drop).map_err(no_key)
}

fn no_key(_cause: jsonwebtoken::errors::Error) -> FetchError {
    FetchError::Shape("the secret is no private key of an App: PEM, RSA".to_owned())
}

fn signed(app: &GithubApp, key: &Secret, now: u64) -> Result<Secret, FetchError> {
    let key = EncodingKey::from_rsa_pem(key.expose()).map_err(no_key)?;
    let claims = Claims { iat: now - BEFORE.min(now), exp: now + AFTER, iss: app.app_id.to_string() };
    let token = Zeroizing::new(encode(&Header::new(Algorithm::RS256), &claims, &key).map_err(no_key)?);
    Ok(bearer(token.as_bytes()))
}

fn bearer(token: &[u8]) -> Secret {
    Secret::new([b"Bearer ", token].concat())
}

fn version() -> (&'static str, Secret) {
    ("x-github-api-version", Secret::new(b"2022-11-28".to_vec()))
}
