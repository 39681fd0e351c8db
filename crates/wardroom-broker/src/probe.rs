//! Trying a credential out: one harmless request to the host that it is bound to. Nothing of the answer but its status is
//! looked at.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use wardroom_model::{Material, Secret};
use wardroom_policy::{Credential, CredentialKind};
use zeroize::Zeroizing;

use crate::fetch::FetchError;
use crate::web::{Question, Web, WebError};

/// What is known of a provider.
#[derive(Debug)]
pub struct Provider {
    host: &'static str,
    /// What can be asked without effect.
    path: &'static str,
    /// Where its keys are made and deleted.
    pub console: &'static str,
}

/// How a try ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// The host took it.
    Accepted(u16),
    /// The host did not.
    Refused(u16),
    /// The host said neither.
    Unclear(u16),
    /// Nothing is known that could be asked without effect.
    NotTried,
}

const PROVIDERS: [Provider; 7] = [
    provider("api.anthropic.com", "/v1/models", "https://console.anthropic.com/settings/keys"),
    provider("api.openai.com", "/v1/models", "https://platform.openai.com/api-keys"),
    provider("api.github.com", "/user", "https://github.com/settings/tokens"),
    provider("gitlab.com", "/api/v4/user", "https://gitlab.com/-/user_settings/personal_access_tokens"),
    provider("huggingface.co", "/api/whoami-v2", "https://huggingface.co/settings/tokens"),
    provider("openrouter.ai", "/api/v1/key", "https://openrouter.ai/settings/keys"),
    provider("api.mistral.ai", "/v1/models", "https://console.mistral.ai/api-keys"),
];

const fn provider(host: &'static str, path: &'static str, console: &'static str) -> Provider {
    Provider { host, path, console }
}

/// What is known of the provider at a credential's host.
#[must_use]
pub fn known(credential: &Credential) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.host == credential.host.as_str())
}

/// Tries a value at a port of its host, by `path` or by what is known of the host.
///
/// # Errors
/// When the host cannot be asked.
pub fn probe(
    web: &Web,
    port: u16,
    credential: &Credential,
    material: &Material,
    path: Option<&str>,
) -> Result<Tried, FetchError> {
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    probe_at(web, &format!("https://{}{port}", credential.host), credential, (material, path))
}

fn probe_at(
    web: &Web,
    base: &str,
    credential: &Credential,
    (material, path): (&Material, Option<&str>),
) -> Result<Tried, FetchError> {
    let path = match (path, known(credential)) {
        (Some(path), _) => path,
        // An installation is no user.
        (None, Some(_)) if credential.kind == CredentialKind::GithubApp => {
            "/installation/repositories?per_page=1"
        }
        (None, Some(provider)) => provider.path,
        (None, None) => return Ok(Tried::NotTried),
    };
    let Some(own) = header(credential, material) else { return Ok(Tried::NotTried) };
    let mut headers = vec![own];
    if credential.host.as_str() == "api.anthropic.com" {
        headers.push(("anthropic-version", Secret::new(b"2023-06-01".to_vec())));
    }
    let separator = if path.starts_with('/') { "" } else { "/" };
    let url = format!("{base}{separator}{path}");
    match web.tell(Question { method: "GET", url, headers, body: None }) {
        Ok(()) => Ok(Tried::Accepted(200)),
        Err(WebError::Status { status: status @ (401 | 403), .. }) => Ok(Tried::Refused(status)),
        Err(WebError::Status { status, .. }) => Ok(Tried::Unclear(status)),
        Err(error) => Err(error.into()),
    }
}

/// As the gate would send it; none for what is signed.
fn header<'c>(credential: &'c Credential, material: &Material) -> Option<(&'c str, Secret)> {
    match (material, credential.kind) {
        (Material::Plain(value), CredentialKind::Header) => Some((credential.header(), value.duplicate())),
        (Material::Plain(value), _) => {
            Some(("authorization", Secret::new([b"Bearer ", value.expose()].concat())))
        }
        (Material::Basic { user, password }, _) => {
            let pair = Zeroizing::new([user.as_bytes(), b":", password.expose()].concat());
            let text = Zeroizing::new(STANDARD.encode(&*pair));
            Some(("authorization", Secret::new(format!("Basic {}", *text).into_bytes())))
        }
        (Material::Aws { .. }, _) => None,
    }
}
