//! The command line: arguments as typed, before they mean anything.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

/// What a script wants to know, below the list of commands.
const AFTER_HELP: &str = "Exit codes from 200 up are Wardroom's own, one for each reason, which is said on standard error; `run` and `exec` otherwise \
                          return their command's. Colours are for terminals, and NO_COLOR leaves them out.";

/// Employ AI agents on your own machine, contained and on the record.
#[derive(Debug, Parser)]
#[command(name = "wardroom", version, max_term_width = 100, propagate_version = true, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// Keep policies, state and sockets below this directory instead of the usual places.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) base: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Reads the command line.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let matches = one_program(<Self as CommandFactory>::command()).try_get_matches()?;
        Self::from_arg_matches(&matches)
    }
}

/// `wardroom run --version` is the version of `wardroom`: there is no other program.
fn one_program(command: clap::Command) -> clap::Command {
    command.display_name("wardroom").mut_subcommands(one_program)
}

/// What can be asked of Wardroom.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See it work: a sample agent does its job, turns overeager, and is stopped, in under a minute.
    Demo(Demo),
    /// Write a policy for a new agent.
    New(New),
    /// Check a policy and say in plain sentences what it means.
    Check(Check),
    /// Run an agent in its cell.
    Run(Run),
    /// Run one more command inside a running cell, under the same walls and the same guard.
    Exec(Exec),
    /// List the agents and what runs.
    Ps(Ps),
    /// End a running agent.
    Stop(Named),
    /// Show what is on an agent's record.
    Log(Log),
    /// Say what the policy answers for a host, an address or a path, and which rule makes it so.
    Why(Why),
    /// Permit one more host or request, keeping the policy file's comments and layout; without a host, go through what was
    /// refused.
    Allow(Allow),
    /// Run an agent in its cell, then go through what was refused to it. Nothing is permitted but what you confirm.
    Learn(Learn),
    /// Prove the containment on this machine: attempts as the agent, each with its positive control.
    Verify(Verify),
    /// Verify or export the tamper-evident record itself.
    #[command(subcommand)]
    Ledger(Ledger),
    /// Prepare this machine: say who keeps the key of the credential store.
    Setup(Setup),
    /// Manage the credentials that agents use and never hold.
    #[command(subcommand)]
    Credential(Credential),
    /// List the prices that limits of dollars are counted by, and their date.
    Prices {
        /// Print the table that comes with Wardroom as it stands, to keep a corrected copy.
        #[arg(long, conflicts_with = "json")]
        built_in: bool,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// `wardroom __role NAME ARGUMENT...`: one of Wardroom's own processes, started by the keeper only.
#[derive(Debug)]
pub(crate) struct Role {
    /// Which.
    pub(crate) name: String,
    /// What it needs to know.
    pub(crate) arguments: Vec<String>,
}

impl Role {
    /// The role that a command line names, if it names one. Looked at before the operator's command line is even
    /// described, which takes a process longer than all that a role is told.
    pub(crate) fn of(arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut arguments = arguments.skip(1);
        arguments.next().filter(|word| word == "__role")?;
        let mut words = arguments.map(OsString::into_string).collect::<Result<Vec<_>, _>>().ok()?.into_iter();
        let name = words.next()?;
        Some(Self { name, arguments: words.collect() })
    }
}

/// A command about one agent.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The agent.
    pub(crate) name: String,
}

/// `demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Keep the demonstration's directory, to look around in it afterwards.
    #[arg(long)]
    pub(crate) keep: bool,
}

/// `new`.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// The agent's name: lower-case letters, digits, hyphens.
    pub(crate) name: String,
    /// What the policy starts from: claude-code, codex, open-interpreter, shell.
    #[arg(long, default_value = "shell")]
    pub(crate) template: String,
}

/// `check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// An agent, or the path of a policy file; all agents when left out.
    pub(crate) subject: Option<String>,
}

/// `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The agent.
    #[arg(required_unless_present = "here", conflicts_with = "here")]
    pub(crate) name: Option<String>,
    /// Without a policy file: the current directory is the workspace, and the agent is named after it.
    #[arg(long)]
    pub(crate) here: bool,
    /// With --here: a host that the agent may reach.
    #[arg(long, value_name = "HOST", requires = "here", conflicts_with = "name")]
    pub(crate) allow: Vec<String>,
    /// With --here: keep the policy that this makes.
    #[arg(long, requires = "here", conflicts_with = "name")]
    pub(crate) save: bool,
    /// Read the passphrase of the credential store from this descriptor.
    #[arg(long, value_name = "N")]
    pub(crate) passphrase_fd: Option<i32>,
    /// What to run instead of the policy's command. When it ends, so does what it left running.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// `exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// The running agent.
    pub(crate) name: String,
    /// What to run.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// `ps`.
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `log`.
#[derive(Debug, Args)]
pub(crate) struct Log {
    /// The agent.
    pub(crate) name: String,
    /// Go on showing what is recorded.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// From when: a duration back from now (90s, 15m, 24h, 7d) or a time (2026-01-31T08:00:00Z).
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// Until when, likewise.
    #[arg(long, value_name = "WHEN")]
    pub(crate) until: Option<String>,
    /// Only these kinds, separated by commas: operator, session, exec, image, exit, file, socket, net, dns, packet, privilege,
    /// policy, supervision, ledger, probe, http, credential.
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    pub(crate) kind: Vec<String>,
    /// Only what this program did: a path, or the last part of one.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) program: Option<String>,
    /// Only what concerns this host.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Only what concerns this path, or what lies beneath it.
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// Only this outcome: allowed, refused, seen or failed.
    #[arg(long, value_name = "OUTCOME")]
    pub(crate) outcome: Option<String>,
    /// One OCSF JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `why`.
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// The agent.
    pub(crate) name: String,
    /// A host (`api.example.com`, `api.example.com:22`), a URL, an address, or a path.
    pub(crate) subject: String,
    /// For a URL: the method of the request.
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    pub(crate) method: String,
}

/// `allow`.
#[derive(Debug, Args)]
pub(crate) struct Allow {
    /// The agent.
    pub(crate) name: String,
    /// The host, or `*.` and a host for everything below it; when left out, what was refused so far is asked about.
    pub(crate) host: Option<String>,
    /// A port other than 443; 22 and 80 are for any protocol, as with `--raw`.
    #[arg(long, requires = "host")]
    pub(crate) port: Option<u16>,
    #[command(flatten)]
    pub(crate) manner: Manner,
    /// Only requests with this method; may stand several times.
    #[arg(long, value_name = "METHOD", requires = "host")]
    pub(crate) method: Vec<String>,
    /// Only requests for this path; `*` is one part, `**` any number. May stand several times.
    #[arg(long, value_name = "PATH", requires = "host")]
    pub(crate) path: Vec<String>,
    /// Without a host: only what was refused since then, as for `log`.
    #[arg(long, value_name = "WHEN", conflicts_with = "host")]
    pub(crate) since: Option<String>,
    /// Without a host: list what was refused, one JSON object a line, and ask nothing.
    #[arg(long, conflicts_with = "host")]
    pub(crate) json: bool,
}

/// How a host may be used.
#[derive(Debug, Args)]
pub(crate) struct Manner {
    /// Any protocol over TCP, not only TLS.
    #[arg(long, requires = "host", conflicts_with_all = ["method", "path", "inspect"])]
    pub(crate) raw: bool,
    /// Every request, but looked at and on record.
    #[arg(long, requires = "host", conflicts_with_all = ["method", "path"])]
    pub(crate) inspect: bool,
}

/// `learn`.
#[derive(Debug, Args)]
pub(crate) struct Learn {
    /// The agent.
    pub(crate) name: String,
    /// What to run instead of the policy's command.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// `verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The agent.
    pub(crate) name: String,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Only probes whose id starts with this, such as `N2`.
    #[arg(long, value_name = "ID")]
    pub(crate) only: Option<String>,
}

/// `ledger`.
#[derive(Debug, Subcommand)]
pub(crate) enum Ledger {
    /// Verify a ledger, offline: intact, tampered, truncated, incomplete or stale.
    Verify(LedgerVerify),
    /// Copy a ledger so that anyone with the public key can verify it.
    Export {
        /// The agent.
        name: String,
        /// A directory to make.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Print the public key with which an agent's ledger is verified.
    Key {
        /// The agent.
        name: String,
    },
}

/// `ledger verify`.
#[derive(Debug, Args)]
pub(crate) struct LedgerVerify {
    /// An agent, or the directory of a ledger or of an exported copy.
    pub(crate) subject: String,
    /// The public key as `ledger key` prints it; when left out, this host's own.
    #[arg(long, value_name = "VKEY")]
    pub(crate) key: Option<String>,
    /// A checkpoint kept elsewhere: finds a ledger that was replaced by an older copy of itself.
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `setup`.
#[derive(Debug, Args)]
pub(crate) struct Setup {
    /// Who keeps it.
    #[command(flatten)]
    pub(crate) custody: Custody,
    /// Read the new passphrase from this descriptor.
    #[arg(long, value_name = "N")]
    pub(crate) passphrase_fd: Option<i32>,
    /// Read the passphrase of before from this descriptor, where there is one already.
    #[arg(long, value_name = "N")]
    pub(crate) old_passphrase_fd: Option<i32>,
}

/// Who keeps the key of the credential store.
#[derive(Debug, Args)]
#[group(multiple = false)]
#[expect(clippy::struct_excessive_bools, reason = "one flag each, of which at most one is given")]
pub(crate) struct Custody {
    /// A passphrase at rest; once unlocked, the kernel's keyring until the machine is switched off. The default.
    #[arg(long)]
    pub(crate) keyring: bool,
    /// systemd-creds: sealed to this machine's TPM or host key; nothing is asked for.
    #[arg(long)]
    pub(crate) systemd_creds: bool,
    /// A passphrase at rest, which is asked for at each start of an agent.
    #[arg(long)]
    pub(crate) passphrase: bool,
}

/// `credential`.
#[derive(Debug, Subcommand)]
pub(crate) enum Credential {
    /// Set a credential's value: from stdin, a descriptor or a command, never from an argument.
    Set(CredentialSet),
    /// List an agent's credentials, never their values.
    List(CredentialList),
    /// Show what an agent's credentials have used of their limits, with what is reserved for open requests.
    Usage(CredentialList),
    /// Replace a value: the new one is tried first, and no request fails in between.
    Rotate(CredentialRotate),
    /// Revoke a credential: here at once, then at its source where that can be done.
    Revoke(CredentialNamed),
    /// Try a credential out, with one harmless request where one is known.
    Test(CredentialTest),
    /// Unlock the store: the kernel's keyring keeps its key until the machine is switched off.
    Unlock(CredentialUnlock),
    /// Lock the store again. Agents that run keep what they have.
    Lock,
}

/// A credential.
#[derive(Debug, Args)]
pub(crate) struct CredentialNamed {
    /// The agent.
    pub(crate) name: String,
    /// The credential, by its name in the policy.
    pub(crate) credential: String,
}

/// `credential set`.
#[derive(Debug, Args)]
pub(crate) struct CredentialSet {
    /// Which.
    #[command(flatten)]
    pub(crate) which: CredentialNamed,
    /// Never the value: what stands in a command line is in a shell's history. It is taken so that no message repeats it.
    #[arg(hide = true)]
    pub(crate) value: Option<String>,
    /// Read the value from this descriptor.
    #[arg(long, value_name = "N", conflicts_with = "command")]
    pub(crate) from_fd: Option<i32>,
    /// A command that prints the value.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// `credential list` and `credential usage`.
#[derive(Debug, Args)]
pub(crate) struct CredentialList {
    /// The agent.
    pub(crate) name: String,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `credential rotate`.
#[derive(Debug, Args)]
pub(crate) struct CredentialRotate {
    /// Which.
    #[command(flatten)]
    pub(crate) which: CredentialNamed,
    /// Read the new value from this descriptor.
    #[arg(long, value_name = "N")]
    pub(crate) from_fd: Option<i32>,
    /// A path of its host at which the new value is tried with a GET.
    #[arg(long, value_name = "PATH", conflicts_with = "no_test")]
    pub(crate) path: Option<String>,
    /// Do not try the new value out.
    #[arg(long)]
    pub(crate) no_test: bool,
    /// Take a revocation back where a command is the source: it is asked again.
    #[arg(long)]
    pub(crate) restore: bool,
    /// Read the passphrase of the credential store from this descriptor.
    #[arg(long, value_name = "N")]
    pub(crate) passphrase_fd: Option<i32>,
}

/// `credential test`.
#[derive(Debug, Args)]
pub(crate) struct CredentialTest {
    /// Which.
    #[command(flatten)]
    pub(crate) which: CredentialNamed,
    /// A path of its host that is asked with a GET.
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// Read the passphrase of the credential store from this descriptor.
    #[arg(long, value_name = "N")]
    pub(crate) passphrase_fd: Option<i32>,
}

/// `credential unlock`.
#[derive(Debug, Args)]
pub(crate) struct CredentialUnlock {
    /// Read the passphrase of the credential store from this descriptor.
    #[arg(long, value_name = "N")]
    pub(crate) passphrase_fd: Option<i32>,
}
