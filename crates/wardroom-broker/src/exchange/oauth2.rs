//! OAuth 2: client credentials (RFC 6749, 4.4) and refresh (RFC 6749, 6). A server may give another refresh token with
//! each answer and forget the old one; then the new one is what the store must hold. And the end of tokens before their
//! time (RFC 7009).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use wardroom_model::Secret;
use wardroom_policy::{Grant, Oauth2};
use zeroize::Zeroizing;

use super::Token;
use crate::fetch::FetchError;
use crate::web::{Question, Web};

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    token_type: String,
    expires_in: Option<u64>,
    refresh_token: Option<String>,
}

/// What the store holds: one secret, or for a confidential client that refreshes both, as JSON.
#[derive(Default, Deserialize)]
struct Both {
    client_secret: Option<String>,
    refresh_token: Option<String>,
}

/// The two halves of what the store holds.
pub(crate) struct Halves {
    client: Option<Zeroizing<String>>,
    pub(crate) refresh: Option<Zeroizing<String>>,
}

impl fmt::Debug for Halves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Halves(..)")
    }
}

/// What a token is (RFC 7009, 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hint {
    Access,
    Refresh,
}

/// Gets an access token.
pub(crate) fn exchange(of: &Oauth2, secret: &Secret, web: &Web, now: u64) -> Result<Token, FetchError> {
    let mut halves = halves(of.grant, secret)?;
    let mut form = Form::default();
    match of.grant {
        Grant::ClientCredentials => form.add("grant_type", "client_credentials"),
        Grant::Refresh => {
            let refresh = halves.refresh.as_ref();
            let missing = || FetchError::Shape("there is no refresh token".to_owned());
            form.add("grant_type", "refresh_token");
            form.add("refresh_token", refresh.ok_or_else(missing)?);
        }
    }
    if !of.scopes.is_empty() {
        form.add("scope", &of.scopes.join(" "));
    }
    let answer: Answer = web.ask(form.into_question(of, &halves, &of.token_url))?;
    let token = Secret::new(answer.access_token.into_bytes());
    if !answer.token_type.eq_ignore_ascii_case("bearer") {
        return Err(FetchError::Shape("the server gave a token that is no bearer token".to_owned()));
    }
    let next = answer.refresh_token.map(Zeroizing::new);
    let changed = next.filter(|next| halves.refresh.as_ref().is_some_and(|old| **old != **next));
    let next = changed.map(|next| {
        let stored = rewritten(halves.client.as_deref().map(String::as_str), &next);
        halves.refresh = Some(next);
        stored
    });
    let expires = answer.expires_in.map(|seconds| now.saturating_add(seconds));
    Ok(Token { token, expires, next, halves: Some(halves) })
}

/// Ends a token at the revocation endpoint. One that has ended already is no error there (RFC 7009, 2.2).
pub(crate) fn revoke(
    of: &Oauth2,
    (at, token, hint): (&str, &Secret, Hint),
    halves: &Halves,
    web: &Web,
) -> Result<(), FetchError> {
    let token = std::str::from_utf8(token.expose())
        .map_err(|_cause| FetchError::Shape("the token is no text".to_owned()))?;
    let mut form = Form::default();
    form.add("token", token);
    form.add(
        "token_type_hint",
        match hint {
            Hint::Access => "access_token",
            Hint::Refresh => "refresh_token",
        },
    );
    Ok(web.tell(form.into_question(of, halves, at))?)
}

/// Whether this is what the grant needs.
pub(crate) fn check(of: &Oauth2, secret: &Secret) -> Result<(), FetchError> {
    let Halves { client, refresh } = halves(of.grant, secret)?;
    let needed = match of.grant {
        Grant::ClientCredentials => client,
        Grant::Refresh => refresh,
    };
    let missing = || FetchError::Shape("the secret has not what the grant needs".to_owned());
    let needed = needed.ok_or_else(missing)?;
    Ok(Secret::new(needed.as_bytes().to_vec()).sendable()?)
}

/// Reads what the store holds.
pub(crate) fn halves(grant: Grant, secret: &Secret) -> Result<Halves, FetchError> {
    if secret.expose().starts_with(b"{") {
        let wrong = |_cause| {
            FetchError::Shape("the secret is no JSON with `client_secret` and `refresh_token`".to_owned())
        };
        let both: Both = serde_json::from_slice(secret.expose()).map_err(wrong)?;
        let (client, refresh) =
            (both.client_secret.map(Zeroizing::new), both.refresh_token.map(Zeroizing::new));
        return Ok(Halves { client, refresh });
    }
    let text = std::str::from_utf8(secret.expose())
        .map_err(|_cause| FetchError::Shape("the secret is no text".to_owned()))?;
    let one = Some(Zeroizing::new(text.to_owned()));
    Ok(match grant {
        Grant::ClientCredentials => Halves { client: one, refresh: None },
        Grant::Refresh => Halves { client: None, refresh: one },
    })
}

/// What the store is to hold from now on, in the form that it held.
fn rewritten(client: Option<&str>, refresh: &str) -> Secret {
    let text = match client {
        Some(client) => serde_json::json!({"client_secret": client, "refresh_token": refresh}).to_string(),
        None => refresh.to_owned(),
    };
    Secret::new(text.into_bytes())
}

/// RFC 6749, 2.3.1: both are form-encoded first.
fn basic(id: &str, secret: &str) -> Secret {
    let mut pair = Zeroizing::new(encoded(id));
    pair.push(':');
    pair.push_str(&Zeroizing::new(encoded(secret)));
    Secret::new(format!("Basic {}", *Zeroizing::new(STANDARD.encode(pair.as_bytes()))).into_bytes())
}

/// `application/x-www-form-urlencoded`.
#[derive(Default)]
struct Form(Zeroizing<Vec<u8>>);

impl Form {
    fn add(&mut self, name: &str, value: &str) {
        let separator = if self.0.is_empty() { "" } else { "&" };
        let pair = Zeroizing::new(format!("{separator}{name}={}", *Zeroizing::new(encoded(value))));
        self.0.extend_from_slice(pair.as_bytes());
    }

    /// The form as the client sends it: with proof of who it is, where it has one (RFC 6749, 2.3).
    fn into_question(mut self, of: &Oauth2, halves: &Halves, url: &str) -> Question<'static> {
        let mut headers = Vec::new();
        match &halves.client {
            Some(client) => headers.push(("authorization", basic(&of.client_id, client))),
            None => self.add("client_id", &of.client_id),
        }
        let body = Some(("application/x-www-form-urlencoded", self.0));
        Question { method: "POST", url: url.to_owned(), headers, body }
    }
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => {
                let hex = |half: u8| {
                    char::from_digit(half.into(), 16).map_or('0', |digit| digit.to_ascii_uppercase())
                };
                out.extend(['%', hex(other >> 4), hex(other & 15)]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_basic_authentication_are_encoded() {
        let mut form = Form::default();
        form.add("a", "x y&z=1");
        form.add("b", "ü/~");
        assert_eq!(form.0.as_slice(), b"a=x+y%26z%3D1&b=%C3%BC%2F%7E");
        assert!(basic("a b", "c:d").eq_ct(format!("Basic {}", STANDARD.encode("a+b:c%3Ad")).as_bytes()));
    }

    #[test]
    fn a_rotated_refresh_token_keeps_the_form_of_what_was_stored() {
        assert!(rewritten(None, "r2").eq_ct(b"r2"));
        let both = rewritten(Some("c\"1"), "r2");
        let again = halves(Grant::Refresh, &both).unwrap();
        assert_eq!(again.client.unwrap().as_str(), "c\"1");
        assert_eq!(again.refresh.unwrap().as_str(), "r2");
    }
}
