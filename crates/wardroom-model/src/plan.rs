//! What a cell will be, in full, before anything is done. The policy crate makes a plan, the cell crate carries it
//! out, and neither adds to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::name::AgentName;

/// Everything that a cell is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct CellPlan {
    /// Whose cell.
    pub agent: AgentName,
    /// How users inside map to users outside.
    pub identity: Identity,
    /// What the file system is built from, in order.
    pub mounts: Vec<Mount>,
    /// What Landlock permits beneath which paths. Everything else is refused.
    pub landlock: Vec<LandlockRule>,
    /// Limits on the cell's use of the machine.
    pub limits: Limits,
    /// The agent's environment, complete.
    pub environment: BTreeMap<String, String>,
    /// What is run in the cell, as the agent, before its command: it makes ready what only a program of the system can.
    pub before: Option<Vec<Vec<u8>>>,
    /// The first command; never empty.
    pub command: Vec<Vec<u8>>,
    /// The working directory inside.
    pub directory: PathBuf,
    /// Paths whose opening, even for reading, is recorded; what an entry means is [`sensitive_means`]'s to say.
    pub sensitive: Vec<String>,
    /// Whether opens for reading go to the guard, to be compared with `sensitive`.
    pub audit_reads: bool,
    /// Decoys in the agent's home: whoever opens one is put on record. None where the policy wants none.
    pub canaries: Vec<Canary>,
    /// Whether the agent may trace its own children.
    pub may_trace: bool,
    /// Addresses that the firewall lets through to the gate besides the resolver's.
    pub literals: Vec<SocketAddr>,
}

/// Whether an entry of [`CellPlan::sensitive`] means a path: part for part, a `*` being any one part, and a trailing `/`
/// everything beneath as well.
#[must_use]
pub fn sensitive_means(entry: &str, path: &[u8]) -> bool {
    let (wanted, beneath) = entry.strip_suffix('/').map_or((entry, false), |wanted| (wanted, true));
    let mut parts = path.split(|byte| *byte == b'/');
    let same = |want: &str| parts.next().is_some_and(|part| want == "*" || want.as_bytes() == part);
    wanted.split('/').all(same) && (beneath || parts.next().is_none())
}

/// A decoy: a file that looks like a secret, opens nothing, and whose opening is an alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    /// The path inside, below the home.
    pub path: PathBuf,
    /// What it looks like.
    pub bait: Bait,
}

/// What a decoy looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bait {
    /// An OpenSSH private key.
    SshKey,
    /// Keys of the AWS command line.
    Aws,
    /// Google Cloud's application default credentials.
    GoogleCloud,
    /// A Kubernetes client's configuration.
    Kubernetes,
    /// A container registry's password.
    Registry,
    /// Git's stored passwords.
    Git,
    /// A Solana wallet.
    Wallet,
}

/// The users of a cell. The agent is uid and gid 1000 inside, in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// User mode: the operator's own uid and gid stand for the agent's, and there is no other.
    Operator {
        /// The operator's uid.
        uid: u32,
        /// The operator's gid.
        gid: u32,
    },
    /// System mode: a range of unprivileged host ids of the agent's own, of 65,536 ids.
    Range {
        /// The first host id; inside it is 0.
        first: u32,
    },
}

/// The uid and gid of the agent inside its cell.
pub const AGENT_ID: u32 = 1000;

impl Identity {
    /// The host uid that the agent's files have.
    #[must_use]
    pub fn agent_uid(self) -> u32 {
        match self {
            Self::Operator { uid, .. } => uid,
            Self::Range { first } => first.saturating_add(AGENT_ID),
        }
    }

    /// The host gid that the agent's files have.
    #[must_use]
    pub fn agent_gid(self) -> u32 {
        match self {
            Self::Operator { gid, .. } => gid,
            Self::Range { first } => first.saturating_add(AGENT_ID),
        }
    }
}

/// One step in building the file system. Targets are absolute paths inside; parents are made as needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// A part of the host's tree. Always nosuid and nodev.
    Bind {
        /// The path outside.
        source: PathBuf,
        /// The path inside.
        target: PathBuf,
        /// Whether the agent may write there.
        write: bool,
        /// Whether programs may be executed from there.
        exec: bool,
        /// Map the source's owner to the agent (system mode; an id-mapped mount).
        owned: bool,
        /// Leave it out when the source does not exist.
        optional: bool,
    },
    /// A file of the host's as it is at the start: a copy in memory, for anybody inside to read. One that is too long for
    /// that, or that not everybody may read, is bound instead. Left out when it does not exist.
    Copy {
        /// The path outside.
        source: PathBuf,
        /// The path inside.
        target: PathBuf,
    },
    /// An empty directory in memory, the agent's to write.
    Tmpfs {
        /// The path inside.
        target: PathBuf,
        /// The most it may hold, in bytes.
        size: u64,
        /// Its permission bits.
        mode: u32,
        /// Whether programs may be executed from there.
        exec: bool,
    },
    /// A file with these contents, read-only for the agent.
    File {
        /// The path inside.
        target: PathBuf,
        /// What it says.
        contents: Vec<u8>,
        /// Its permission bits.
        mode: u32,
    },
    /// An empty directory on the read-only root.
    Directory {
        /// The path inside.
        target: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A symbolic link.
    Symlink {
        /// The link's path inside.
        target: PathBuf,
        /// What it says.
        to: PathBuf,
    },
    /// `/proc` of the cell's own pid namespace, dangerous files masked.
    Proc,
    /// A minimal `/dev` (null, zero, full, random, urandom, tty, ptmx, pts, shm, fd links).
    Dev,
}

/// What Landlock permits beneath a path inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LandlockRule {
    /// The path inside.
    pub beneath: PathBuf,
    /// What is permitted.
    pub access: Access,
}

/// Useful sets of Landlock's access rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// List directories, and read no file: `ls /` works and opens nothing.
    List,
    /// Read files and list directories.
    Read,
    /// And execute.
    ReadExecute,
    /// Everything but device nodes.
    ReadWriteExecute,
    /// Read and write existing device files, ioctl included.
    Device,
}

/// Limits on a cell's use of the machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// How they are enforced.
    pub by: LimitsBy,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Processors' worth of time.
    pub cpus: Option<f64>,
    /// Processes and threads.
    pub tasks: Option<u64>,
    /// Open descriptors per process (`RLIMIT_NOFILE`).
    pub descriptors: u64,
    /// Largest file in bytes (`RLIMIT_FSIZE`).
    pub file_size: Option<u64>,
}

/// What enforces the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitsBy {
    /// A control group; if there is none, the cell does not start.
    Cgroup,
    /// Resource limits only, because the policy says so.
    RlimitsOnly,
}

#[cfg(test)]
mod tests {
    use super::sensitive_means;

    #[test]
    fn a_sensitive_entry_means_whole_parts() {
        assert!(sensitive_means("/etc/shadow", b"/etc/shadow"));
        assert!(
            !sensitive_means("/etc/shadow", b"/etc/shadow-")
                && !sensitive_means("/etc/shadow", b"/etc/shadow/x")
        );
        assert!(sensitive_means("/root/", b"/root") && sensitive_means("/root/", b"/root/.ssh/id_rsa"));
        assert!(!sensitive_means("/root/", b"/rootless"));
        assert!(sensitive_means("/proc/*/environ", b"/proc/1/environ"));
        assert!(!sensitive_means("/proc/*/environ", b"/proc/1/task/2/environ"));
    }
}
