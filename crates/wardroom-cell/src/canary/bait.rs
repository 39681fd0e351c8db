//! What decoys say. A program takes them for what they look like, a person sees at once that they open nothing, and
//! each carries the mark of its cell, so that one that is found elsewhere tells where it was taken from.

use wardroom_model::AgentName;
use wardroom_model::plan::Bait;

/// What is a cell's own in all of its decoys: 64 random hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark(String);

impl Mark {
    /// From random bytes.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Self {
        Self(random.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// From its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == DIGITS && text.bytes().all(digit)).then(|| Self(text.to_owned()))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn first(&self, digits: usize) -> &str {
        self.0.get(..digits).unwrap_or(&self.0)
    }
}

/// The whole of a decoy. None of the hosts in it can exist (RFC 2606 keeps `.invalid` from everybody).
#[must_use]
pub(super) fn contents(bait: Bait, agent: &AgentName, mark: &Mark) -> String {
    let note = format!(
        "Decoy of the Wardroom cell {agent}, mark {}. It opens nothing; opening it is on record.",
        mark.first(32)
    );
    let whole = mark.as_str();
    match bait {
        // Programs see a key by its first line. OpenSSH cannot parse it, says so in one line, and goes on to the next.
        Bait::SshKey => format!(
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA{}\n{whole}\n-----END OPENSSH PRIVATE KEY-----\n# {note}\n",
            mark.first(40)
        ),
        // No `[default]`: what names no profile does not use it.
        Bait::Aws => format!(
            "# {note}\n[production]\naws_access_key_id = AKIA{}\naws_secret_access_key = {}\n",
            mark.first(16).to_uppercase(),
            mark.first(40)
        ),
        Bait::GoogleCloud => format!(
            "{{\n  \"_note\": \"{note}\",\n  \"type\": \"authorized_user\",\n  \"client_id\": \"{}.apps.invalid\",\n  \
             \"client_secret\": \"{}\",\n  \"refresh_token\": \"1//{whole}\"\n}}\n",
            mark.first(12),
            mark.first(24)
        ),
        // No current context: a client that is told of no other file behaves as if there were none.
        Bait::Kubernetes => format!(
            "# {note}\napiVersion: v1\nkind: Config\nclusters:\n- name: production\n  cluster:\n    server: https://production.invalid:6443\n\
             contexts:\n- name: production\n  context:\n    cluster: production\n    user: admin\n\
             users:\n- name: admin\n  user:\n    token: {whole}\n"
        ),
        Bait::Registry => format!(
            "{{\n  \"auths\": {{\n    \"registry.production.invalid\": {{ \"username\": \"deploy\", \"password\": \"{whole}\" }}\n  }},\n  \
             \"_note\": \"{note}\"\n}}\n"
        ),
        // Git takes no comments here, so the user's name says it.
        Bait::Git => {
            format!("https://decoy-of-wardroom-cell-{agent}:ghp_{}@git.production.invalid\n", mark.first(36))
        }
        // The format is an array of bytes and no more; the mark's digits are bytes as well as others.
        Bait::Wallet => {
            let bytes: Vec<_> = whole.bytes().map(|byte| byte.to_string()).collect();
            format!("[{}]\n", bytes.join(","))
        }
    }
}

/// 256 bits.
const DIGITS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_cells_have_different_decoys_and_one_cell_always_the_same() {
        let agent = AgentName::parse("scout").unwrap();
        let (one, other) = (Mark::new([0xa5; 32]), Mark::new([0x5a; 32]));
        for bait in [
            Bait::SshKey,
            Bait::Aws,
            Bait::GoogleCloud,
            Bait::Kubernetes,
            Bait::Registry,
            Bait::Git,
            Bait::Wallet,
        ] {
            let text = contents(bait, &agent, &one);
            assert_eq!(text, contents(bait, &agent, &Mark::parse(one.as_str()).unwrap()));
            assert_ne!(text, contents(bait, &agent, &other));
            assert!(bait == Bait::Wallet || text.contains("scout"), "{text}");
        }
    }

    #[test]
    fn only_64_digits_are_a_mark() {
        let good = "0123456789abcdef".repeat(4);
        assert!(Mark::parse(&good).is_some());
        for bad in ["", "abc", &good.to_uppercase(), &format!("{good}0"), &good.replace('0', "\n")] {
            assert_eq!(Mark::parse(bad), None, "{bad:?}");
        }
    }
}
