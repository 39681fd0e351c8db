//! Secrets that an agent uses and never holds, as a policy declares them: bound to one host, from one source, within limits.
//!
//! No value of a secret is ever here, nor in a policy's text.

use std::collections::BTreeMap;

use wardroom_model::{HostName, RuleRef};

use crate::network::PathPattern;

/// `[[credential]]`: a secret that the agent uses and never holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Credential {
    /// Its name in commands and records; one of a kind within the policy.
    pub name: String,
    /// The variable in which the agent sees a placeholder.
    pub env: String,
    /// The only host that it is sent to.
    pub host: HostName,
    /// How it is sent.
    pub kind: CredentialKind,
    /// The header that carries it, in lower case, for [`CredentialKind::Header`].
    pub header: Option<String>,
    /// What its kind needs besides the secret.
    pub particulars: Particulars,
    /// Where the secret comes from.
    pub source: SecretSource,
    /// What makes the next secret, where the operator has a program for that.
    pub rotate: Option<SecretCommand>,
    /// Seconds after which it is due for rotation, where the policy says; see [`Self::lifetime`].
    pub max_age: Option<u64>,
    /// What happens when it is overdue.
    pub overdue: Overdue,
    /// Limits on its use.
    pub limits: CredentialLimits,
    /// Where it stands.
    pub at: RuleRef,
}

impl Credential {
    /// Seconds after which a credential is due where the policy does not say: 30 days, the shortest period that the
    /// providers' own guides ask for with long-lived keys, and what the monthly care of an agent comes to.
    pub const LIFETIME: u64 = 30 * 86_400;

    /// Seconds after which it is due for rotation.
    #[must_use]
    pub fn lifetime(&self) -> u64 {
        self.max_age.unwrap_or(Self::LIFETIME)
    }

    /// Whether what the store holds is what is sent: its values are then the ones that are counted.
    #[must_use]
    pub fn is_sent_as_stored(&self) -> bool {
        let sent = match &self.particulars {
            Particulars::Plain | Particulars::Basic { .. } | Particulars::Aws { .. } => true,
            Particulars::GithubApp(_) | Particulars::Oauth2(_) => false,
        };
        sent && self.source == SecretSource::Store
    }

    /// The header that carries it, in lower case.
    #[must_use]
    pub fn header(&self) -> &str {
        self.header.as_deref().unwrap_or("authorization")
    }
}

/// How a credential is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// In a header of its own.
    Header,
    /// `Authorization: Bearer`.
    Bearer,
    /// `Authorization: Basic`.
    Basic,
    /// AWS Signature Version 4.
    AwsSigv4,
    /// A GitHub App's installation tokens.
    GithubApp,
    /// OAuth 2 client credentials or refresh.
    Oauth2,
}

impl CredentialKind {
    /// Every kind.
    pub(crate) const ALL: [Self; 6] =
        [Self::Header, Self::Bearer, Self::Basic, Self::AwsSigv4, Self::GithubApp, Self::Oauth2];

    /// The kind as a policy writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Bearer => "bearer",
            Self::Basic => "basic",
            Self::AwsSigv4 => "aws-sigv4",
            Self::GithubApp => "github-app",
            Self::Oauth2 => "oauth2",
        }
    }
}

/// What a kind needs besides the secret. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Particulars {
    /// Nothing: a header's value, or a bearer token.
    Plain,
    /// HTTP's basic authentication; the secret is the password.
    Basic {
        /// The user; has no colon.
        user: String,
    },
    /// AWS Signature Version 4; where the policy is silent, what the agent's own signature says.
    Aws {
        /// The only region that is signed for.
        region: Option<String>,
        /// The only service that is signed for.
        service: Option<String>,
    },
    /// A GitHub App; the secret is its private key.
    GithubApp(GithubApp),
    /// OAuth 2; the secret is the client's, or the refresh token.
    Oauth2(Oauth2),
}

/// Which installation of a GitHub App, and how far its tokens reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GithubApp {
    /// The App's id.
    pub app_id: u64,
    /// The installation's id.
    pub installation_id: u64,
    /// Where tokens are asked for, without a slash at the end.
    pub api: String,
    /// The repositories that a token reaches, without their owner; empty means all of the installation.
    pub repositories: Vec<String>,
    /// What a token may do, as `contents` = `read`; empty means all that the installation may.
    pub permissions: BTreeMap<String, String>,
}

/// Where and how OAuth 2 tokens are had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oauth2 {
    /// The token endpoint.
    pub token_url: String,
    /// The revocation endpoint (RFC 7009). Without one, tokens end with their time.
    pub revoke_url: Option<String>,
    /// The client.
    pub client_id: String,
    /// What is asked for; empty means what the server gives by itself.
    pub scopes: Vec<String>,
    /// By what right.
    pub grant: Grant,
}

/// By what right an OAuth 2 token is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// The client's own (RFC 6749, 4.4): the secret is the client's secret.
    ClientCredentials,
    /// A user's, given earlier (RFC 6749, 6): the secret is the refresh token.
    Refresh,
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// Wardroom's own encrypted store.
    Store,
    /// A `HashiCorp` Vault or `OpenBao` server. What proves us to it is in the store, under the credential's name.
    Vault(Vault),
    /// The standard output of a program of the operator's.
    Command(SecretCommand),
}

/// A secret of a Vault server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vault {
    /// The server: `https`, or `http` to this machine; without a slash at the end.
    pub address: String,
    /// What is read, below `/v1/`, as `secret/data/scout`.
    pub path: String,
    /// Which of the fields is the secret; `None` where the kind takes several, or the answer has only one.
    pub field: Option<String>,
    /// Vault's namespace.
    pub namespace: Option<String>,
    /// A file with the certificate authority of the server, where it is not one of the machine's.
    pub ca: Option<String>,
    /// How we prove ourselves.
    pub auth: VaultAuth,
}

/// How we prove ourselves to a Vault server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VaultAuth {
    /// By a token, which is in the store.
    Token,
    /// By an `AppRole`, whose secret id is in the store.
    AppRole {
        /// The role's id.
        role_id: String,
        /// Where the method is mounted.
        mount: String,
    },
}

/// A program of the operator's that prints a secret. It runs outside, as the operator, without a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretCommand {
    /// The program by its absolute path, and its arguments.
    pub argv: Vec<String>,
    /// Seconds after which it is ended.
    pub timeout: u64,
    /// Seconds after which it is asked again; `None` means once at each start.
    pub every: Option<u64>,
}

/// What happens when a credential is overdue for rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// A record.
    Alert,
    /// It is no longer used.
    Refuse,
}

/// Limits on a credential's use. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CredentialLimits {
    /// Requests in any minute.
    pub requests_per_minute: Option<u64>,
    /// Bytes a day, both ways together.
    pub bytes_per_day: Option<u64>,
    /// Model tokens a day, in and out together.
    pub tokens_per_day: Option<u64>,
    /// US dollars a day.
    pub usd_per_day: Option<f64>,
}

/// `[[model_api]]`: a model's API besides the ones that are known, and where its answers say what was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelApi {
    /// The host.
    pub host: HostName,
    /// The requests that are counted.
    pub path: PathPattern,
    /// Where the numbers are.
    pub shape: ModelShape,
    /// Where it stands.
    pub at: RuleRef,
}

/// Where the answers of a model's API say what was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelShape {
    /// As Anthropic's `/v1/messages`.
    AnthropicMessages,
    /// As OpenAI's `/v1/chat/completions`.
    OpenaiChat,
    /// As OpenAI's `/v1/responses`.
    OpenaiResponses,
    /// In fields of its own.
    Fields(ModelFields),
}

/// JSON pointers (RFC 6901) into an answer, or into the events of a stream, of which the last one counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFields {
    /// The model's name.
    pub model: String,
    /// Tokens in.
    pub input: String,
    /// Tokens out.
    pub output: String,
    /// Tokens in that came from a cache.
    pub cached: Option<String>,
    /// Whether the tokens in include those from a cache.
    pub input_includes_cached: bool,
    /// In the request: the most tokens out that it asks for.
    pub max_output: Option<String>,
}
