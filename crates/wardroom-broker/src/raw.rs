//! What a source gives, and what a request takes: from bytes or named fields to the material of a credential's kind.

use std::collections::BTreeMap;

use serde::Deserialize;
use wardroom_model::{Material, Secret};
use wardroom_policy::Particulars;

use crate::fetch::FetchError;

/// What a source gave.
#[derive(Debug)]
pub(crate) enum Raw {
    /// One value.
    Bytes(Secret),
    /// Several, by name.
    Fields(BTreeMap<String, Secret>),
}

/// What `aws configure export-credentials` and its like print, and the names that Vault has for the same.
#[derive(Deserialize)]
struct AwsKeys {
    #[serde(alias = "AccessKeyId", alias = "access_key", alias = "aws_access_key_id")]
    access_key_id: String,
    #[serde(alias = "SecretAccessKey", alias = "secret_key", alias = "aws_secret_access_key")]
    secret_access_key: String,
    #[serde(alias = "SessionToken", alias = "security_token", alias = "aws_session_token")]
    session_token: Option<String>,
}

impl Raw {
    /// Bytes, less the line's end that every editor and `echo` puts there.
    pub(crate) fn bytes(secret: &Secret) -> Self {
        Self::Bytes(without_line_end(secret))
    }

    /// The one value that there is.
    pub(crate) fn single(self) -> Result<Secret, FetchError> {
        match self {
            Self::Bytes(secret) => Ok(secret),
            Self::Fields(fields) => {
                let mut values = fields.into_values();
                match (values.next(), values.next()) {
                    (Some(only), None) => Ok(only),
                    _ => Err(FetchError::Shape(
                        "the source gives several fields; name one with `field`".to_owned(),
                    )),
                }
            }
        }
    }

    /// What goes into requests, for the kinds that need no exchange.
    pub(crate) fn material(self, particulars: &Particulars) -> Result<Material, FetchError> {
        let material = match particulars {
            Particulars::Plain | Particulars::GithubApp(_) | Particulars::Oauth2(_) => {
                Material::Plain(self.single()?)
            }
            Particulars::Basic { user } => self.basic(user)?,
            Particulars::Aws { .. } => self.aws()?,
        };
        material.sendable()?;
        Ok(material)
    }

    fn basic(self, user: &str) -> Result<Material, FetchError> {
        if let Self::Fields(mut fields) = self {
            let password = fields.remove("password");
            // A dynamic secret has a user of its own.
            let user =
                fields.remove("username").and_then(|user| String::from_utf8(user.expose().to_vec()).ok());
            return match (user, password) {
                (Some(user), Some(password)) => Ok(Material::Basic { user, password }),
                _ => Err(FetchError::Shape("the source gives no `username` and `password`".to_owned())),
            };
        }
        Ok(Material::Basic { user: user.to_owned(), password: self.single()? })
    }

    fn aws(self) -> Result<Material, FetchError> {
        let wrong = || {
            let want = "an AWS key is two or three words (id, key, session token) or the JSON of `aws configure export-credentials`";
            FetchError::Shape(want.to_owned())
        };
        let keys = match self {
            Self::Fields(mut fields) => {
                let mut text = |names: &[&str]| {
                    let found = names.iter().find_map(|name| fields.remove(*name))?;
                    String::from_utf8(found.expose().to_vec()).ok()
                };
                AwsKeys {
                    access_key_id: text(&["access_key", "access_key_id"]).ok_or_else(wrong)?,
                    secret_access_key: text(&["secret_key", "secret_access_key"]).ok_or_else(wrong)?,
                    session_token: text(&["security_token", "session_token"])
                        .filter(|token| !token.is_empty()),
                }
            }
            Self::Bytes(secret) => aws_keys(&secret).ok_or_else(wrong)?,
        };
        Ok(Material::Aws {
            access_key_id: keys.access_key_id,
            secret_access_key: Secret::new(keys.secret_access_key.into_bytes()),
            session_token: keys.session_token.map(|token| Secret::new(token.into_bytes())),
        })
    }
}

fn aws_keys(secret: &Secret) -> Option<AwsKeys> {
    if secret.expose().starts_with(b"{") {
        return serde_json::from_slice(secret.expose()).ok();
    }
    let text = std::str::from_utf8(secret.expose()).ok()?;
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let (id, key, token) = match words[..] {
        [id, key] => (id, key, None),
        [id, key, token] => (id, key, Some(token.to_owned())),
        _ => return None,
    };
    Some(AwsKeys { access_key_id: id.to_owned(), secret_access_key: key.to_owned(), session_token: token })
}

/// Without one line's end at the end, where there is one.
#[must_use]
pub fn without_line_end(secret: &Secret) -> Secret {
    let bytes = secret.expose();
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    Secret::new(bytes.strip_suffix(b"\r").unwrap_or(bytes).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Raw {
        Raw::bytes(&Secret::new(text.as_bytes().to_vec()))
    }

    #[test]
    fn a_header_is_one_clean_value() {
        let plain = |text| raw(text).material(&Particulars::Plain);
        assert!(matches!(plain("sk-1\n").unwrap(), Material::Plain(key) if key.eq_ct(b"sk-1")));
        assert!(matches!(plain("sk-1\r\n").unwrap(), Material::Plain(key) if key.eq_ct(b"sk-1")));
        for bad in ["", "\n", "a\nb", "a\0b", "a\n\n", " a"] {
            assert!(plain(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn aws_keys_come_as_words_or_json() {
        let aws = Particulars::Aws { region: None, service: None };
        let json = r#"{"Version":1,"AccessKeyId":"AKIA1","SecretAccessKey":"k","SessionToken":"t","Expiration":"x"}"#;
        for (text, with_token) in [("AKIA1 k", false), ("AKIA1\nk\nt\n", true), (json, true)] {
            let Material::Aws { access_key_id, secret_access_key, session_token } =
                raw(text).material(&aws).unwrap()
            else {
                panic!("AWS keys");
            };
            assert!(access_key_id == "AKIA1" && secret_access_key.eq_ct(b"k"), "{text}");
            assert_eq!(session_token.is_some_and(|token| token.eq_ct(b"t")), with_token, "{text}");
        }
        for bad in ["AKIA1", "a b c d", "{}", ""] {
            assert!(raw(bad).material(&aws).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_has_the_policys_user_or_its_own() {
        let basic = Particulars::Basic { user: "scout".to_owned() };
        assert!(
            matches!(raw("pw").material(&basic).unwrap(), Material::Basic { user, .. } if user == "scout")
        );
        let field = |name: &str, value: &str| (name.to_owned(), Secret::new(value.as_bytes().to_vec()));
        let fields = Raw::Fields([field("username", "v-1"), field("password", "pw")].into());
        assert!(matches!(fields.material(&basic).unwrap(), Material::Basic { user, .. } if user == "v-1"));
        assert!(Raw::Fields([field("password", "pw")].into()).material(&basic).is_err());
    }
}
