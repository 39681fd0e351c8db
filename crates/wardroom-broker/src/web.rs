//! Questions to token servers and vaults: over verified TLS with the host's trusted authorities, without redirects and
//! proxies, within bounds of time and size. Plain HTTP goes to this machine only.
//!
//! What a server says beyond its status and an error's code is in no message: it may repeat what it was sent.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use thiserror::Error;
use ureq::config::Config;
use ureq::http::{Request, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, RequestExt};
use wardroom_model::Secret;
use zeroize::Zeroizing;

/// For one question in all. Token servers answer within a second.
const TIME: Duration = Duration::from_secs(15);
/// The longest answer: a GitHub installation's token lists up to 500 repositories, some 5 KiB each.
const LONGEST: u64 = 4 << 20;

/// Why there was no answer.
#[derive(Debug, Error)]
pub enum WebError {
    /// The address is none that may be asked.
    #[error("{0} cannot be asked: it must be https, or http to this machine")]
    Address(String),
    /// The server was not reached, or is not who it should be.
    #[error("{host} cannot be asked: {why}")]
    Reach {
        /// The server.
        host: String,
        /// Why.
        why: String,
    },
    /// The server said no.
    #[error("{host} answered {status}{}", code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default())]
    Status {
        /// The server.
        host: String,
        /// The status.
        status: u16,
        /// The error's code, where it is a plain word (RFC 6749, 5.2).
        code: Option<String>,
    },
    /// The answer is not what it should be.
    #[error("the answer of {host} is not what it should be")]
    Answer {
        /// The server.
        host: String,
    },
    /// The file of authorities.
    #[error("{file} holds no certificate authority")]
    Authority {
        /// The file.
        file: String,
    },
}

impl WebError {
    /// Whether it may be another answer another time: the server was not reached, is not well, or has too much to do.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Reach { .. } => true,
            Self::Status { status, .. } => *status >= 500 || *status == 429,
            Self::Address(_) | Self::Answer { .. } | Self::Authority { .. } => false,
        }
    }
}

/// One question.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: String,
    /// Names, and values that may be secret.
    pub(crate) headers: Vec<(&'a str, Secret)>,
    pub(crate) body: Option<(&'a str, Zeroizing<Vec<u8>>)>,
}

/// The way to servers.
#[derive(Debug, Clone)]
pub struct Web {
    agent: Agent,
}

impl Web {
    /// With the authorities that the host trusts.
    #[must_use]
    pub fn with_host_authorities() -> Self {
        Self::trusting(hosts(), None)
    }

    /// With the authorities in a PEM file and no others.
    ///
    /// # Errors
    /// When there are none in it.
    pub fn with_authorities_of(file: &str) -> Result<Self, WebError> {
        let none = || WebError::Authority { file: file.to_owned() };
        let authorities = certificates(&fs::read(file).map_err(|_cause| none())?);
        if authorities.is_empty() { Err(none()) } else { Ok(Self::trusting(authorities, None)) }
    }

    /// As a rule of the policy's reaches its host: at its `address`, vouched for by its `ca` (PEM), each where it names one.
    ///
    /// # Errors
    /// When there is nothing in its `ca`.
    pub fn as_ruled(address: Option<SocketAddr>, ca: Option<&str>) -> Result<Self, WebError> {
        let authorities = ca.map_or_else(hosts, |pem| certificates(pem.as_bytes()));
        if ca.is_some() && authorities.is_empty() {
            return Err(WebError::Authority { file: "the rule's `ca`".to_owned() });
        }
        Ok(Self::trusting(authorities, address))
    }

    fn trusting(authorities: Vec<Certificate<'static>>, address: Option<SocketAddr>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(authorities)))
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(TIME))
            .max_idle_connections(0)
            .user_agent("wardroom")
            .build();
        let resolver = Pinned { address, else_asked: DefaultResolver::default() };
        Self { agent: Agent::with_parts(config, DefaultConnector::default(), resolver) }
    }

    /// Asks, and reads a JSON answer.
    pub(crate) fn ask<A: DeserializeOwned>(&self, question: Question<'_>) -> Result<A, WebError> {
        let (host, body) = self.say(question)?;
        serde_json::from_slice(&body).map_err(|_cause| WebError::Answer { host })
    }

    /// Asks, and wants nothing but to be heard.
    pub(crate) fn tell(&self, question: Question<'_>) -> Result<(), WebError> {
        self.say(question).map(|_answer| ())
    }

    fn say(&self, question: Question<'_>) -> Result<(String, Zeroizing<Vec<u8>>), WebError> {
        let host = checked(&question.url)?;
        let failed =
            |error: &dyn std::fmt::Display| WebError::Reach { host: host.clone(), why: error.to_string() };
        let Question { method, url, headers, body } = question;
        let mut request = Request::builder().method(method).uri(url).header("accept", "application/json");
        for (name, value) in &headers {
            let mut value = ureq::http::HeaderValue::from_bytes(value.expose()).map_err(|e| failed(&e))?;
            value.set_sensitive(true);
            request = request.header(*name, value);
        }
        let answer = match body {
            Some((kind, bytes)) => {
                let request =
                    request.header("content-type", kind).body(&bytes[..]).map_err(|e| failed(&e))?;
                request.with_agent(&self.agent).run()
            }
            None => {
                let request = request.body(()).map_err(|e| failed(&e))?;
                request.with_agent(&self.agent).run()
            }
        };
        let mut answer = answer.map_err(|e| failed(&e))?;
        let status = answer.status().as_u16();
        let body = bounded(answer.body_mut()).map_err(|e| failed(&e))?;
        if (200..300).contains(&status) {
            return Ok((host, body));
        }
        Err(WebError::Status { host, status, code: code(&body) })
    }
}

/// The authorities that the host trusts.
fn hosts() -> Vec<Certificate<'static>> {
    let found = rustls_native_certs::load_native_certs().certs;
    found.iter().map(|der| Certificate::from_der(der).to_owned()).collect()
}

fn certificates(pem: &[u8]) -> Vec<Certificate<'static>> {
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        Ok(_) | Err(_) => None,
    };
    parse_pem(pem).filter_map(certificate).collect()
}

/// Leads to one address, where there is one, whatever the name.
#[derive(Debug)]
struct Pinned {
    address: Option<SocketAddr>,
    else_asked: DefaultResolver,
}

impl Resolver for Pinned {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let Some(address) = self.address else { return self.else_asked.resolve(uri, config, timeout) };
        let mut found = self.empty();
        found.push(address);
        Ok(found)
    }
}

fn bounded(body: &mut Body) -> Result<Zeroizing<Vec<u8>>, ureq::Error> {
    Ok(Zeroizing::new(body.with_config().limit(LONGEST).read_to_vec()?))
}

/// The host of an address that may be asked.
fn checked(url: &str) -> Result<String, WebError> {
    let refused = || WebError::Address(url.to_owned());
    let uri: Uri = url.parse().map_err(|_cause| refused())?;
    let host = uri.host().ok_or_else(refused)?;
    let here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    match uri.scheme_str() {
        Some("https") => Ok(host.to_owned()),
        Some("http") if here => Ok(host.to_owned()),
        Some(_) | None => Err(refused()),
    }
}

/// The code of an OAuth 2 error, if it is one: a word that a server takes from a list.
fn code(body: &[u8]) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let code = answer.get("error")?.as_str()?;
    let word = code.len() <= 40 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    word.then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_or_this_machine_is_asked() {
        for good in
            ["https://token.example/x", "http://127.0.0.1:8200/v1", "http://localhost/", "http://[::1]:1/"]
        {
            assert!(checked(good).is_ok(), "{good}");
        }
        for bad in
            ["http://token.example/", "ftp://x/", "token.example", "", "http://127.0.0.1.evil.example/"]
        {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_errors_code_is_a_plain_word_or_nothing() {
        assert_eq!(code(br#"{"error":"invalid_grant"}"#).as_deref(), Some("invalid_grant"));
        for bad in [&br#"{"error":"sk-SECRET123"}"#[..], b"{}", b"<html>", br#"{"error":{"x":1}}"#] {
            assert_eq!(code(bad), None);
        }
    }
}
