//! Every system call and every `unsafe` of the workspace: thin wrappers, one call each, that own their descriptors
//! and report errors. Nothing here decides what an agent may do.

pub mod call_list;
pub mod calls;
pub mod caps;
pub mod cellnet;
pub mod features;
pub mod foreign;
pub mod hostnet;
pub mod identity;
pub mod idmap;
pub mod landlock;
pub mod lease;
pub mod locked;
pub mod memory_file;
pub mod message;
pub mod mount;
mod netlink;
pub mod nflog;
mod nftables;
mod nftcheck;
pub mod notify;
pub mod pidfd;
pub mod probe;
pub mod process;
pub mod remote;
pub mod ring;
mod ruleset;
pub mod seccomp;
pub mod shared;
pub mod sockdiag;
pub mod splice;
pub mod terminal;
