//! What a cell will be, in full, before anything is done. The policy crate makes a plan, the cell crate carries it
//! out, and neither adds to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use minicbor::{Decode, Encode};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Identity {
    /// User mode: the operator's own uid and gid stand for the agent's, and there is no other.
    #[n(0)]
    Operator {
        /// The operator's uid.
        #[n(0)]
        uid: u32,
        /// The operator's gid.
        #[n(1)]
        gid: u32,
    },
    /// System mode: a range of unprivileged host ids of the agent's own, of 65,536 ids.
    #[n(1)]
    Range {
        /// The first host id; inside it is 0.
        #[n(0)]
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
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Mount {
    /// A part of the host's tree. Always nosuid and nodev.
    #[n(0)]
    Bind {
        /// The path outside.
        #[n(0)]
        #[cbor(with = "path")]
        source: PathBuf,
        /// The path inside.
        #[n(1)]
        #[cbor(with = "path")]
        target: PathBuf,
        /// Whether the agent may write there.
        #[n(2)]
        write: bool,
        /// Whether programs may be executed from there.
        #[n(3)]
        exec: bool,
        /// Map the source's owner to the agent (system mode; an id-mapped mount).
        #[n(4)]
        owned: bool,
        /// Leave it out when the source does not exist.
        #[n(5)]
        optional: bool,
    },
    /// A file of the host's as it is at the start: a copy in memory, for anybody inside to read. One that is too long for
    /// that, or that not everybody may read, is bound instead. Left out when it does not exist.
    #[n(1)]
    Copy {
        /// The path outside.
        #[n(0)]
        #[cbor(with = "path")]
        source: PathBuf,
        /// The path inside.
        #[n(1)]
        #[cbor(with = "path")]
        target: PathBuf,
    },
    /// An empty directory in memory, the agent's to write.
    #[n(2)]
    Tmpfs {
        /// The path inside.
        #[n(0)]
        #[cbor(with = "path")]
        target: PathBuf,
        /// The most it may hold, in bytes.
        #[n(1)]
        size: u64,
        /// Its permission bits.
        #[n(2)]
        mode: u32,
        /// Whether programs may be executed from there.
        #[n(3)]
        exec: bool,
    },
    /// A file with these contents, read-only for the agent.
    #[n(3)]
    File {
        /// The path inside.
        #[n(0)]
        #[cbor(with = "path")]
        target: PathBuf,
        /// What it says.
        #[n(1)]
        #[cbor(with = "minicbor::bytes")]
        contents: Vec<u8>,
        /// Its permission bits.
        #[n(2)]
        mode: u32,
    },
    /// An empty directory on the read-only root.
    #[n(4)]
    Directory {
        /// The path inside.
        #[n(0)]
        #[cbor(with = "path")]
        target: PathBuf,
        /// Its permission bits.
        #[n(1)]
        mode: u32,
    },
    /// A symbolic link.
    #[n(5)]
    Symlink {
        /// The link's path inside.
        #[n(0)]
        #[cbor(with = "path")]
        target: PathBuf,
        /// What it says.
        #[n(1)]
        #[cbor(with = "path")]
        to: PathBuf,
    },
    /// `/proc` of the cell's own pid namespace, dangerous files masked.
    #[n(6)]
    Proc,
    /// A minimal `/dev` (null, zero, full, random, urandom, tty, ptmx, pts, shm, fd links).
    #[n(7)]
    Dev,
}

/// What Landlock permits beneath a path inside.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LandlockRule {
    /// The path inside.
    #[n(0)]
    #[cbor(with = "path")]
    pub beneath: PathBuf,
    /// What is permitted.
    #[n(1)]
    pub access: Access,
}

/// Useful sets of Landlock's access rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Access {
    /// List directories, and read no file: `ls /` works and opens nothing.
    #[n(0)]
    List,
    /// Read files and list directories.
    #[n(1)]
    Read,
    /// And execute.
    #[n(2)]
    ReadExecute,
    /// Everything but device nodes.
    #[n(3)]
    ReadWriteExecute,
    /// Read and write existing device files, ioctl included.
    #[n(4)]
    Device,
}

/// Limits on a cell's use of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub struct Limits {
    /// How they are enforced.
    #[n(0)]
    pub by: LimitsBy,
    /// Bytes of memory.
    #[n(1)]
    pub memory: Option<u64>,
    /// Processors' worth of time.
    #[n(2)]
    pub cpus: Option<f64>,
    /// Processes and threads.
    #[n(3)]
    pub tasks: Option<u64>,
    /// Open descriptors per process (`RLIMIT_NOFILE`).
    #[n(4)]
    pub descriptors: u64,
    /// Largest file in bytes (`RLIMIT_FSIZE`).
    #[n(5)]
    pub file_size: Option<u64>,
}

/// What enforces the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum LimitsBy {
    /// A control group; if there is none, the cell does not start.
    #[n(0)]
    Cgroup,
    /// Resource limits only, because the policy says so.
    #[n(1)]
    RlimitsOnly,
}

/// A path as the bytes that it is, whatever they mean.
mod path {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use minicbor::encode::Write;
    use minicbor::{Decoder, Encoder};

    pub(super) fn encode<C, W: Write>(
        path: &Path,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.bytes(path.as_os_str().as_bytes())?.ok()
    }

    pub(super) fn decode<C>(
        decoder: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<PathBuf, minicbor::decode::Error> {
        Ok(OsString::from_vec(decoder.bytes()?.to_vec()).into())
    }
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
