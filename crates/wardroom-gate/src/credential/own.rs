//! Credentials of the agent's own, on a host where Wardroom puts one in (attack S1a): with a key that somebody planted,
//! a model API's file upload is a way out. Such a request is refused, because one from which something was taken away
//! would fail in a way that nobody understands.
//!
//! Known by where they stand: header names and query names in wide use. What an agent puts into a body is not looked at.

use http::{HeaderName, HeaderValue, Uri};

use super::search::unescaped;

/// The name of the place, if this header carries a credential.
pub(crate) fn in_header<'a>(name: &'a HeaderName, value: &HeaderValue) -> Option<&'a str> {
    let name = name.as_str();
    // Gateway interfaces after CGI (RFC 3875, 4.1.18) cannot tell the two apart.
    let spelled = name.replace('_', "-");
    let protocol = spelled == "sec-websocket-protocol" && names_a_key(value.as_bytes());
    let ends = ENDINGS.iter().any(|end| {
        spelled.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('-'))
    });
    (HEADERS.contains(&spelled.as_str()) || ends || protocol).then_some(name)
}

/// How names of headers end that carry a credential, whoever's they are. A bare `token` does not: `x-csrf-token` is none.
const ENDINGS: [&str; 13] = [
    "api-key",
    "apikey",
    "api-token",
    "api-secret",
    "access-key",
    "access-token",
    "auth",
    "auth-token",
    "authorization",
    "admin-key",
    "admin-secret",
    "secret-key",
    "client-secret",
];

/// The name of the query's variable that carries a credential, as it is listed here. Servers read `key[]`, `API.Key` and
/// `api%5Fkey` as what they mean, so names are compared by their letters and digits alone, and without an index.
pub(crate) fn in_query(uri: &Uri) -> Option<&'static str> {
    let names = uri.query()?.split(['&', ';']).map(|pair| pair.split('=').next().unwrap_or_default());
    names.filter(|name| !name.is_empty()).find_map(|name| {
        let name = unescaped(name.as_bytes());
        let indexed = name.split(|byte| *byte == b'[').find(|part| !part.is_empty()).unwrap_or_default();
        let (whole, indexed) = (letters(&name), letters(indexed));
        let exact = QUERY.into_iter().find(|known| indexed == known.as_bytes() || whole == known.as_bytes());
        exact.or_else(|| QUERY_ENDINGS.into_iter().find(|end| whole.ends_with(end.as_bytes())))
    })
}

/// Letters and digits, in lower case.
fn letters(name: &[u8]) -> Vec<u8> {
    name.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase).collect()
}

/// Programs in a browser cannot set headers of a WebSocket, so some APIs take the key as a protocol's name.
fn names_a_key(value: &[u8]) -> bool {
    ["key", "token", "bearer", "auth"]
        .iter()
        .any(|word| value.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes())))
}

/// Headers that carry a credential, at services in wide use. Cookies count: those that a bound host sets are taken out of
/// its answers, so one that is sent was planted.
const HEADERS: [&str; 37] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "apikey",
    "x-apikey",
    "x-api-token",
    "api-token",
    "x-access-token",
    "x-auth-token",
    "x-auth-key",
    "x-auth-email",
    "x-authorization",
    "x-session-token",
    "x-token",
    "x-goog-api-key",
    "x-goog-iam-authorization-token",
    "x-amz-security-token",
    "x-amz-s3session-token",
    "x-functions-key",
    "ocp-apim-subscription-key",
    "x-subscription-token",
    "x-rapidapi-key",
    "xi-api-key",
    "dd-api-key",
    "dd-application-key",
    "x-honeycomb-team",
    "x-vault-token",
    "x-consul-token",
    "x-nomad-token",
    "private-token",
    "job-token",
    "deploy-token",
    "x-figma-token",
    "x-shopify-access-token",
    "x-github-token",
];

/// Names in a query, by their letters and digits.
const QUERY: [&str; 16] = [
    "key",
    "token",
    "secret",
    "password",
    "auth",
    "authorization",
    "bearer",
    "sig",
    "jwt",
    "jobtoken",
    "awsaccesskeyid",
    "xamzcredential",
    "xamzsecuritytoken",
    "xamzsignature",
    "xgoogcredential",
    "xgoogsignature",
];

/// How they end, whoever's they are. A bare `token` or `key` does not: `page_token` and `sort_key` are none.
const QUERY_ENDINGS: [&str; 10] = [
    "apikey",
    "apitoken",
    "apisecret",
    "accesskey",
    "accesstoken",
    "authtoken",
    "privatetoken",
    "clientsecret",
    "secretkey",
    "subscriptionkey",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_known_by_their_place() {
        let header = |name: &'static str, value| {
            in_header(&HeaderName::from_static(name), &HeaderValue::from_static(value)).is_some()
        };
        assert!(header("x-api-key", "sk-planted") && header("cookie", "session=1"));
        assert!(header("sec-websocket-protocol", "realtime, openai-insecure-api-key.sk-planted"));
        assert!(header("x_api_key", "planted") && header("x-new-service-api-key", "planted"));
        assert!(header("x-hasura-admin-secret", "planted") && !header("x-csrf-token", "1"));
        assert!(!header("content-type", "application/json") && !header("idempotency-key", "1"));
        assert!(!header("sec-websocket-protocol", "graphql-ws"));
    }

    #[test]
    fn keys_in_a_query_are_known_by_their_name() {
        let query = |uri: &'static str| in_query(&Uri::from_static(uri));
        assert_eq!(query("/v1/models?key=AIza"), Some("key"));
        assert_eq!(query("/v1?page=2&%41PI_key=AIza"), Some("apikey"));
        assert_eq!(query("/b/o?X-Amz-Credential=AKIA"), Some("xamzcredential"));
        for odd in [
            "key[]",
            "KEY%5B0%5D",
            "k%65y",
            "+key",
            "client_secret",
            "Client.Secret",
            "my-api-key",
            "auth[api_key]",
        ] {
            assert!(in_query(&format!("/v1?a=b&{odd}=planted").parse().unwrap()).is_some(), "{odd}");
        }
        assert_eq!(query("/v1?filter[key]=1&sort_key=2&keys=3&secrets=4"), None);
        assert_eq!(query("/v1?monkey=1&page_token=2"), None);
        assert_eq!(query("/v1"), None);
    }
}
