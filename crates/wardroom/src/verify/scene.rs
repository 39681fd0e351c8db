//! What an attempt needs to know: where it runs, and which fixtures `verify` has set up outside for it to reach.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::services::Service;

/// Where an attempt runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the cell, as the agent.
    Cell,
    /// Outside, as a plain process: a control.
    Outside,
    /// In bare namespaces, without any of the cell's walls: a control.
    Bare,
}

/// An attempt's surroundings.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    /// Where it runs.
    pub(crate) place: Place,
    /// The probe's id, which is part of every name and path that the attempt uses.
    pub(crate) id: String,
    /// What is set up outside.
    pub(crate) fixtures: Fixtures,
}

/// What is set up outside the cell. All of it works for a plain process, which the controls show.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Fixtures {
    /// Makes the names and paths of this run its own.
    pub(crate) nonce: String,
    /// A listener on the host's loopback that greets.
    pub(crate) loopback: SocketAddr,
    /// The same over IPv6, where the host has it.
    pub(crate) loopback6: Option<SocketAddr>,
    /// The same on an address of the host's that is not loopback, where it has one.
    pub(crate) outer: Option<SocketAddr>,
    /// A UDP socket on the host's loopback that answers.
    pub(crate) echo: SocketAddr,
    /// A DNS server on the host's loopback, UDP and TCP, that knows every name.
    pub(crate) resolver: SocketAddr,
    /// A Unix socket in the abstract namespace that greets.
    pub(crate) abstract_socket: String,
    /// A Unix socket in the file system that greets.
    pub(crate) file_socket: PathBuf,
    /// A directory of the operator's.
    pub(crate) directory: PathBuf,
    /// A private key of the operator's, in that directory.
    pub(crate) secret: PathBuf,
    /// A process of the operator's, whose memory is to be had from outside.
    pub(crate) victim: i32,
    /// A listener on the host's loopback that greets, keeps the connection, and does a few things when asked.
    pub(crate) steward: SocketAddr,
    /// A name that leads to an address of this machine, and a listener there that greets; where there is one.
    pub(crate) inwards: Option<(String, SocketAddr)>,
    /// What of the policy the attempts must know, to try more than it permits.
    #[serde(default)]
    pub(crate) policy: PolicyFacts,
    /// What the policy permits.
    #[serde(default)]
    pub(crate) services: Vec<Service>,
}

impl Fixtures {
    /// A directory that a cell sees, with a socket in it ([`SHARED_SOCKET`]) on which a service of the host's greets.
    pub(crate) fn shared(&self) -> PathBuf {
        self.directory.join("shared")
    }
}

/// What of the policy the attempts must know.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct PolicyFacts {
    /// The agent may trace its own children.
    pub(crate) may_trace: bool,
    /// Looks at sensitive names are recorded.
    pub(crate) audit_reads: bool,
    /// Decoys that lie in the agent's home.
    pub(crate) canaries: Vec<PathBuf>,
    /// Literal addresses that it permits.
    pub(crate) literals: Vec<SocketAddr>,
    /// The most processes and threads.
    pub(crate) tasks: Option<u64>,
    /// The most memory in bytes.
    pub(crate) memory: Option<u64>,
    /// The most descriptors of a process.
    pub(crate) descriptors: Option<u64>,
    /// How much memory may be used on this machine without harming others.
    pub(crate) room: u64,
}

/// A service's socket in the shared directory.
pub(crate) const SHARED_SOCKET: &str = "service.sock";

/// What the fixtures say when they are reached.
pub(crate) const GREETING: &str = "wardroom-verify was here\n";

impl Scene {
    /// A name that no policy can permit (RFC 6761), and that belongs to this probe of this run alone.
    pub(crate) fn unknown_name(&self) -> String {
        let probe = self.id.to_ascii_lowercase().replace('.', "-");
        format!("{probe}.{}.wardroom-verify.invalid", self.fixtures.nonce)
    }

    /// A path of the agent's own to work with, which belongs to this probe of this run alone.
    pub(crate) fn own_path(&self) -> PathBuf {
        PathBuf::from("/tmp").join(format!("wardroom-verify-{}-{}", self.id, self.fixtures.nonce))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn fixtures() -> Fixtures {
        Fixtures {
            nonce: "n0".to_owned(),
            loopback: SocketAddr::from(([127, 0, 0, 1], 1)),
            loopback6: None,
            outer: None,
            echo: SocketAddr::from(([127, 0, 0, 1], 2)),
            resolver: SocketAddr::from(([127, 0, 0, 1], 3)),
            abstract_socket: "n0".to_owned(),
            file_socket: PathBuf::from("/nowhere/socket"),
            directory: PathBuf::from("/nowhere"),
            secret: PathBuf::from("/nowhere/.ssh/id_ed25519"),
            victim: 1,
            inwards: None,
            steward: SocketAddr::from(([127, 0, 0, 1], 4)),
            policy: PolicyFacts::default(),
            services: Vec::new(),
        }
    }

    #[test]
    fn names_and_paths_belong_to_one_probe_of_one_run() {
        let scene = Scene { place: Place::Cell, id: "N7.a".to_owned(), fixtures: fixtures() };
        assert_eq!(scene.unknown_name(), "n7-a.n0.wardroom-verify.invalid");
        assert_eq!(scene.own_path(), PathBuf::from("/tmp/wardroom-verify-N7.a-n0"));
    }
}
