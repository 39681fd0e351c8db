//! Placeholders: what an agent holds in a credential's stead.
//!
//! Each is shaped like the real thing, so that the programs which check the shape of their key accept it, and carries a
//! tag that all placeholders of a host share: one search finds any agent's placeholder in anything. Nothing here draws
//! randomness, and a placeholder opens nothing: whoever has one has a text that this host's gates refuse everywhere but
//! in one place.

use sha2::{Digest, Sha256};
use wardroom_model::HostName;
use wardroom_policy::CredentialKind;

/// The mark of one host's placeholders: 10 characters of 62, some 59 bits, so that no other text has it by chance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    plain: String,
    upper: String,
}

impl Tag {
    /// How many characters a tag has, in either form.
    pub const LENGTH: usize = 10;

    /// Makes the tag of a host from randomness; done once, and kept.
    #[must_use]
    pub fn new(random: &[u8; 32]) -> Self {
        Self::marked(Letters::new(BASE62, &[b"tag", random]).take(Self::LENGTH).collect())
    }

    /// Reads a tag that was kept. None for what is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let whole = text.len() == Self::LENGTH && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        whole.then(|| Self::marked(text.to_owned()))
    }

    /// The form that stands in most placeholders.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.plain
    }

    /// The form for placeholders that have no lower case: the names of AWS keys.
    #[must_use]
    pub fn upper(&self) -> &str {
        &self.upper
    }

    fn marked(plain: String) -> Self {
        let upper = Letters::new(BASE32, &[b"upper", plain.as_bytes()]).take(Self::LENGTH).collect();
        Self { plain, upper }
    }
}

/// What a placeholder looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A prefix, a body of this many characters with the tag at its begin, a suffix.
    Text {
        /// What it begins with.
        prefix: &'static str,
        /// How many characters stand in between.
        body: usize,
        /// What it ends with.
        suffix: &'static str,
    },
    /// The name of an AWS key: `AKIA` and 16 of A-Z and 2-7.
    AwsKeyId,
}

impl Shape {
    /// The shape of the credentials that go to a host, or that a variable of this name holds.
    #[must_use]
    pub fn of(env: &str, host: &HostName, kind: CredentialKind) -> Self {
        match kind {
            CredentialKind::AwsSigv4 => return Self::AwsKeyId,
            CredentialKind::GithubApp => return text("ghs_", 36, ""),
            CredentialKind::Header
            | CredentialKind::Bearer
            | CredentialKind::Basic
            | CredentialKind::Oauth2 => {}
        }
        let at = |name: &&Known| env.contains(name.variable) || within(host.as_str(), name.host);
        KNOWN.iter().find(at).map_or(text("", 40, ""), |known| known.shape)
    }
}

/// Makes a placeholder: the same for the same three, and as unguessable as what is given.
#[must_use]
pub fn make(shape: Shape, tag: &Tag, random: &[u8; 32]) -> String {
    match shape {
        Shape::Text { prefix, body, suffix } => {
            let rest = body.saturating_sub(Tag::LENGTH);
            let rest: String = Letters::new(BASE62, &[b"placeholder", random]).take(rest).collect();
            format!("{prefix}{}{rest}{suffix}", tag.plain)
        }
        Shape::AwsKeyId => {
            let rest: String = Letters::new(BASE32, &[b"placeholder", random]).take(6).collect();
            format!("AKIA{}{rest}", tag.upper)
        }
    }
}

/// The variables in which an agent sees a placeholder: its own and, for an AWS key, that of the secret half. What an agent
/// signs with that is thrown away, so that it follows from the first half.
#[must_use]
pub fn variables(env: &str, kind: CredentialKind, tag: &Tag, placeholder: &str) -> Vec<(String, String)> {
    let mut variables = vec![(env.to_owned(), placeholder.to_owned())];
    if kind == CredentialKind::AwsSigv4 {
        let of_secret = match env.strip_suffix("ACCESS_KEY_ID") {
            Some(head) => format!("{head}SECRET_ACCESS_KEY"),
            None => format!("{env}_SECRET"),
        };
        let rest = Letters::new(BASE62, &[b"secret", placeholder.as_bytes()]).take(30);
        variables.push((of_secret, tag.plain.chars().chain(rest).collect()));
    }
    variables
}

/// The credentials whose look is known: by a part of the variable's name, or by the host.
struct Known {
    variable: &'static str,
    host: &'static str,
    shape: Shape,
}

const fn text(prefix: &'static str, body: usize, suffix: &'static str) -> Shape {
    Shape::Text { prefix, body, suffix }
}

const fn known(variable: &'static str, host: &'static str, shape: Shape) -> Known {
    Known { variable, host, shape }
}

/// Lengths as the issuers give them, the host where it is not the variable alone; every body has at least 22 random characters, which is 131 bits.
const KNOWN: [Known; 12] = [
    known("CLAUDE_CODE_OAUTH_TOKEN", "claude.ai", text("sk-ant-oat01-", 93, "AA")),
    known("ANTHROPIC", "api.anthropic.com", text("sk-ant-api03-", 93, "AA")),
    known("OPENROUTER", "openrouter.ai", text("sk-or-v1-", 64, "")),
    known("OPENAI", "api.openai.com", text("sk-proj-", 156, "")),
    known("GITHUB", "github.com", text("ghp_", 36, "")),
    known("GH_TOKEN", "githubusercontent.com", text("ghp_", 36, "")),
    known("GITLAB", "gitlab.com", text("glpat-", 32, "")),
    known("GEMINI", "generativelanguage.googleapis.com", text("AIza", 35, "")),
    known("HF_TOKEN", "huggingface.co", text("hf_", 34, "")),
    known("NPM_TOKEN", "", text("npm_", 36, "")),
    known("GROQ", "api.groq.com", text("gsk_", 52, "")),
    known("SLACK", "slack.com", text("xoxb-", 51, "")),
];

fn within(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|head| head.is_empty() || head.ends_with('.'))
}

const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Letters of an alphabet without end, each as likely as any other: SHA-256 over a seed and a counter.
struct Letters {
    alphabet: &'static [u8],
    seed: [u8; 32],
    counter: u64,
    block: Vec<u8>,
}

impl Letters {
    fn new(alphabet: &'static [u8], seed: &[&[u8]]) -> Self {
        let seed = seed.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize().into();
        Self { alphabet, seed, counter: 0, block: Vec::new() }
    }
}

impl Iterator for Letters {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        // Bytes above the greatest multiple of the alphabet's length would make some letters likelier.
        let fair = 256 - 256 % self.alphabet.len();
        loop {
            let Some(byte) = self.block.pop().map(usize::from) else {
                let hash = Sha256::new().chain_update(self.seed).chain_update(self.counter.to_le_bytes());
                self.block = hash.finalize().to_vec();
                self.counter += 1;
                continue;
            };
            if byte < fair {
                return self.alphabet.get(byte % self.alphabet.len()).copied().map(char::from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(env: &str, host: &str, kind: CredentialKind) -> String {
        let shape = Shape::of(env, &HostName::parse(host).unwrap(), kind);
        make(shape, &Tag::new(&[1; 32]), &[2; 32])
    }

    #[test]
    fn placeholders_look_like_the_real_thing_and_carry_the_tag() {
        let tag = Tag::new(&[1; 32]);
        for (env, host, prefix, length) in [
            ("ANTHROPIC_API_KEY", "api.anthropic.com", "sk-ant-api03-", 108),
            ("KEY", "api.openai.com", "sk-proj-", 164),
            ("GITHUB_TOKEN", "api.github.com", "ghp_", 40),
            ("SOME_KEY", "internal.example.com", "", 40),
        ] {
            let placeholder = of(env, host, CredentialKind::Bearer);
            assert!(placeholder.starts_with(prefix) && placeholder.contains(tag.as_str()), "{placeholder}");
            assert_eq!(placeholder.len(), length, "{placeholder}");
        }
        let app = of("GH", "api.github.com", CredentialKind::GithubApp);
        assert!(app.starts_with("ghs_") && app.len() == 40, "{app}");
    }

    #[test]
    fn the_name_of_an_aws_key_has_the_upper_form_of_the_tag_and_a_secret_half() {
        let tag = Tag::new(&[1; 32]);
        let id = of("AWS_ACCESS_KEY_ID", "s3.amazonaws.com", CredentialKind::AwsSigv4);
        assert!(id.starts_with("AKIA") && id.len() == 20 && id.contains(tag.upper()), "{id}");
        assert!(id.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b)), "{id}");
        let variables = variables("AWS_ACCESS_KEY_ID", CredentialKind::AwsSigv4, &tag, &id);
        let [(_, first), (name, secret)] = variables.as_slice() else { panic!("two variables") };
        assert_eq!((first, name.as_str(), secret.len()), (&id, "AWS_SECRET_ACCESS_KEY", 40));
        assert!(secret.contains(tag.as_str()));
    }

    #[test]
    fn no_two_placeholders_are_alike_and_a_tag_is_kept_as_it_is() {
        let tag = Tag::new(&[1; 32]);
        let shape = text("", 40, "");
        assert_ne!(make(shape, &tag, &[3; 32]), make(shape, &tag, &[4; 32]));
        assert_eq!(make(shape, &tag, &[3; 32]), make(shape, &tag, &[3; 32]));
        assert_eq!(Tag::parse(tag.as_str()), Some(tag));
        for wrong in ["", "short", "elevenchars", "ten-chars!"] {
            assert_eq!(Tag::parse(wrong), None, "{wrong}");
        }
    }
}
