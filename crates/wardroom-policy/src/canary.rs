//! Where decoys lie: places that thieves of credentials read, and that no program reads by itself for its daily work.
//!
//! Left out on purpose, because a legitimate program reads them at every start or request, so that an alarm would say
//! nothing: `.netrc` (git, curl, Python's requests), `.npmrc`, `.config/pip/pip.conf`, `.pgpass`, `.config/gh/hosts.yml`.

use std::path::Path;

use wardroom_model::plan::{Bait, Canary};

use crate::plan::HOME;

/// Every decoy of a cell.
#[must_use]
pub fn all() -> Vec<Canary> {
    let canary = |(below, bait): &(&str, Bait)| Canary { path: Path::new(HOME).join(below), bait: *bait };
    PLACES.iter().map(canary).collect()
}

/// Whether a path inside is that of a decoy.
pub(crate) fn is_one(path: &str) -> bool {
    let below = Path::new(path).strip_prefix(HOME);
    below.is_ok_and(|below| PLACES.iter().any(|(place, _)| below == Path::new(place)))
}

/// Below the home. Who else reads them, and what becomes of it, stands in `docs/policy.md`.
const PLACES: [(&str, Bait); 8] = [
    (".ssh/id_ed25519", Bait::SshKey),
    (".ssh/id_rsa", Bait::SshKey),
    (".aws/credentials", Bait::Aws),
    (".config/gcloud/application_default_credentials.json", Bait::GoogleCloud),
    (".kube/config", Bait::Kubernetes),
    (".docker/config.json", Bait::Registry),
    (".git-credentials", Bait::Git),
    (".config/solana/id.json", Bait::Wallet),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_decoy_looks_like_something_worth_stealing() {
        for canary in all() {
            let path = canary.path.display().to_string();
            assert!(crate::sensitive::why(&path).is_some() && is_one(&path), "{path}");
        }
        assert!(!is_one("/home/agent/.ssh/known_hosts") && !is_one("/home/agent"));
    }
}
