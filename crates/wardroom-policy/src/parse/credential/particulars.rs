//! The keys of a credential's kind. A key that belongs to another kind is a mistake, and says to which.

use std::collections::BTreeMap;

use wardroom_model::HostName;

use super::super::table::Table;
use crate::credential::{CredentialKind, GithubApp, Grant, Oauth2, Particulars};
use crate::diagnose::{At, Diagnostic, Report};

pub(super) fn read(kind: CredentialKind, table: &mut Table<'_>, report: &mut Report) -> Option<Particulars> {
    let word = kind.word();
    for (owner, keys) in KEYS.iter().filter(|(owner, _)| *owner != word) {
        for key in keys.iter().filter(|key| !keys_of(word).contains(key)) {
            if let (Some(span), Some(_)) = (table.key_span(key), table.take(key)) {
                let title = format!("`{key}` belongs to `kind = \"{owner}\"`");
                report.push(Diagnostic::new(title, span, format!("this is `kind = \"{word}\"`")));
            }
        }
    }
    match kind {
        CredentialKind::Header | CredentialKind::Bearer => Some(Particulars::Plain),
        CredentialKind::Basic => basic(table, report),
        CredentialKind::AwsSigv4 => aws(table, report),
        CredentialKind::GithubApp => github(table, report).map(Particulars::GithubApp),
        CredentialKind::Oauth2 => oauth2(table, report).map(Particulars::Oauth2),
    }
}

fn keys_of(word: &str) -> &'static [&'static str] {
    KEYS.iter().find(|(owner, _)| *owner == word).map_or(&[], |(_, keys)| keys)
}

fn basic(table: &mut Table<'_>, report: &mut Report) -> Option<Particulars> {
    let user = table.required_text("user", report)?;
    if user.value.contains(':') {
        let title = "a user of basic authentication has no colon";
        report.push(Diagnostic::new(title, user.span, "the colon ends it (RFC 7617)"));
        return None;
    }
    Some(Particulars::Basic { user: user.value })
}

fn aws(table: &mut Table<'_>, report: &mut Report) -> Option<Particulars> {
    let mut scope = |key| {
        let Some(text) = table.text(key, report) else { return Ok(None) };
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if text.value.bytes().all(plain) {
            return Ok(Some(text.value));
        }
        let title = format!("{:?} is no `{key}` of AWS", text.value);
        report.push(Diagnostic::new(title, text.span, "lower-case letters, digits and `-`"));
        Err(())
    };
    let (region, service) = (scope("region"), scope("service"));
    Some(Particulars::Aws { region: region.ok()?, service: service.ok()? })
}

fn github(table: &mut Table<'_>, report: &mut Report) -> Option<GithubApp> {
    const IDS: std::ops::Range<u64> = 1..9_007_199_254_740_992;
    let mut id = |key| {
        if table.key_span(key).is_none() {
            table.missing(key, report);
        }
        table.integer(key, IDS, report).map(|id| id.value)
    };
    let (app_id, installation_id) = (id("app_id"), id("installation_id"));
    let api = match table.text("api", report) {
        Some(text) => server(&text, report),
        None => Some("https://api.github.com".to_owned()),
    };
    let repositories = table.texts("repositories", report).map(|list| list.value).unwrap_or_default();
    let repositories: Vec<_> = repositories.into_iter().filter_map(|text| repository(text, report)).collect();
    let permissions = table.table("permissions", "`permissions`", report);
    let permissions = permissions.map(|table| self::permissions(table, report)).unwrap_or_default();
    Some(GithubApp {
        app_id: app_id?,
        installation_id: installation_id?,
        api: api?,
        repositories,
        permissions,
    })
}

fn repository(text: At<String>, report: &mut Report) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
    if text.value.bytes().all(plain) {
        return Some(text.value);
    }
    let title = format!("{:?} is no repository's name", text.value);
    let bare = text.value.rsplit('/').next().unwrap_or_default();
    let help = format!("an installation has one owner, so write the name alone: {bare:?}");
    report.push(Diagnostic::new(title, text.span, "letters, digits, `-`, `_` and `.`").help(help));
    None
}

fn permissions(mut table: Table<'_>, report: &mut Report) -> BTreeMap<String, String> {
    let found = table.rest_as_texts(report);
    table.finish(report);
    for (key, value) in &found {
        // `check` shows the name as it stands.
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if key.value.is_empty() || !key.value.bytes().all(letter) {
            let title = format!("{:?} is no permission's name", key.value);
            report.push(Diagnostic::new(title, key.span.clone(), "`a` to `z`, `0` to `9` and `_`"));
        } else if !["read", "write", "admin"].contains(&value.value.as_str()) {
            let title = format!("{:?} is no level of `{}`", value.value, key.value);
            let label = "\"read\", \"write\" or \"admin\"";
            report.push(Diagnostic::new(title, value.span.clone(), label));
        }
    }
    found.into_iter().map(|(key, value)| (key.value, value.value)).collect()
}

fn oauth2(table: &mut Table<'_>, report: &mut Report) -> Option<Oauth2> {
    let token_url = table.required_text("token_url", report).and_then(|text| server(&text, report));
    let revoke_url = match table.text("revoke_url", report) {
        Some(text) => server(&text, report).map(Some),
        None => Some(None),
    };
    let client_id = table.required_text("client_id", report).map(|text| text.value);
    let scopes = table.texts("scopes", report).map(|list| list.value).unwrap_or_default();
    let grants = [("client_credentials", Grant::ClientCredentials), ("refresh", Grant::Refresh)];
    let grant = match table.key_span("grant") {
        Some(_) => table.word("grant", &grants, report).map(|word| word.value),
        None => Some(Grant::ClientCredentials),
    };
    for scope in &scopes {
        if scope.value.contains([' ', '"', '\\']) {
            let title = format!("{:?} is not one scope", scope.value);
            let help = "write each scope as a text of its own";
            report.push(Diagnostic::new(title, scope.span.clone(), "RFC 6749, 3.3").help(help));
        }
    }
    let scopes = scopes.into_iter().map(|scope| scope.value).collect();
    Some(Oauth2 {
        token_url: token_url?,
        revoke_url: revoke_url?,
        client_id: client_id?,
        scopes,
        grant: grant?,
    })
}

/// A server of the operator's own business: `https`, or `http` to this very machine; without a slash at the end.
pub(super) fn server(text: &At<String>, report: &mut Report) -> Option<String> {
    match complaint(&text.value) {
        None => Some(text.value.trim_end_matches('/').to_owned()),
        Some(label) => {
            let title = format!("{:?} is no address of a server", text.value);
            let help = "write it as \"https://vault.example.com:8200\"";
            report.push(Diagnostic::new(title, text.span.clone(), label).help(help));
            None
        }
    }
}

fn complaint(url: &str) -> Option<&'static str> {
    let Some((scheme, rest)) = url.split_once("://") else { return Some("it starts with `https://`") };
    let authority = rest.split('/').next().unwrap_or_default();
    if rest.contains(['?', '#', ' ', '\\', '@']) {
        return Some("no query, no fragment, no user");
    }
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        Some((_, _)) if !authority.ends_with(']') => return Some("what stands behind the colon is no port"),
        Some(_) | None => authority,
    };
    let local = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>().is_ok();
    match scheme {
        _ if HostName::parse(host).is_err() && !address => Some("this names no host"),
        "https" => None,
        "http" if local => None,
        "http" => Some("a secret travels only by `https`, but for this machine's own"),
        _ => Some("it starts with `https://`"),
    }
}

/// The keys of each kind.
const KEYS: [(&str, &[&str]); 4] = [
    ("basic", &["user"]),
    ("aws-sigv4", &["region", "service"]),
    ("github-app", &["app_id", "installation_id", "api", "repositories", "permissions"]),
    ("oauth2", &["token_url", "revoke_url", "client_id", "scopes", "grant"]),
];
