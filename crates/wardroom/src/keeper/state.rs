//! An agent's directories on the host, its lock, and the host ids of its own. Everything is made with the narrowest
//! permissions that work, and what is found is checked before it is trusted.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, lchown};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::process::geteuid;
use wardroom_model::exit::Exit;
use wardroom_model::plan::Identity;

use crate::called::wardroom;
use crate::failure::{Failure, OrExit, let_go};
use crate::places::{AgentPlaces, Places};

/// The first host id of the first agent in system mode. systemd leaves 0x7000_0000 and up unused
/// (systemd.io/UIDS-GIDS); each agent has 65,536 ids.
const FIRST_ID: u32 = 0x7000_0000;
/// How many agents fit between the first id and the scribe's.
const SLOTS: u32 = 4094;
/// Host id of every scribe in system mode: outside every agent's range.
pub(super) const SCRIBE_ID: u32 = FIRST_ID + SLOTS * 0x1_0000;

/// Proof that this process, and no other, runs the agent. Released when it ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _held: File,
}

/// Takes the agent's lock.
pub(super) fn lock(places: &AgentPlaces, name: &str) -> Result<Lock, Failure> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(nofollow())
        .open(&places.lock)
        .with_context(|| format!("cannot open {}", places.lock.display()))
        .or_exit(Exit::Ledger)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { _held: file }),
        Err(TryLockError::WouldBlock) => Err(Failure::new(
            Exit::AlreadyRunning,
            format!(
                "{name} is already running; enter it with `{0} exec {name} -- COMMAND`, or end it with `{0} stop {name}`",
                wardroom()
            ),
        )),
        Err(TryLockError::Error(error)) => {
            Err(Failure::new(Exit::Internal, format!("cannot lock {}: {error}", places.lock.display())))
        }
    }
}

/// Gives up the name that a `run --here` took, of an agent that never ran.
pub(super) fn forget_directory(agent: &AgentPlaces) {
    // Where they cannot be removed, or there is more in it, they stay: the error that matters is the one behind this.
    let_go(fs::remove_file(agent.state.join("here")));
    let_go(fs::remove_dir(&agent.state));
}

/// Makes the agent's directories, and says which host ids it has.
pub(super) fn prepare(places: &Places, agent: &AgentPlaces) -> Result<Identity, Failure> {
    for directory in [places.state(), &agent.state] {
        make(directory, 0o711).or_exit(Exit::Ledger)?;
    }
    let identity = identify(places, agent).or_exit(Exit::CannotContain)?;
    make(&agent.rings, 0o700).or_exit(Exit::Ledger)?;
    // The agent may open its home to everybody, and then nobody of the host gets as far as there.
    if let Some(room) = agent.home.parent() {
        make(room, 0o700).or_exit(Exit::Ledger)?;
    }
    let private =
        [(&agent.ledger, scribe_id()), (&places.keys(), scribe_id()), (&agent.home, agent_id(identity))];
    for (directory, owner) in private {
        make(directory, 0o700).or_exit(Exit::Ledger)?;
        give(directory, owner).or_exit(Exit::Ledger)?;
    }
    make(&agent.credentials, 0o700).or_exit(Exit::Credentials)?;
    give(&agent.credentials, broker_id(identity)).or_exit(Exit::Credentials)?;
    if let Some(run) = agent.control.parent() {
        make(run, 0o700).or_exit(Exit::Internal)?;
    }
    Ok(identity)
}

/// The host id that the scribe runs under.
pub(super) fn scribe_id() -> Option<u32> {
    geteuid().is_root().then_some(SCRIBE_ID)
}

/// The host id that an agent's gate runs under.
pub(super) fn gate_id(identity: Identity) -> Option<u32> {
    match identity {
        Identity::Operator { .. } => None,
        Identity::Range { first } => Some(SCRIBE_ID + 1 + (first - FIRST_ID) / 0x1_0000),
    }
}

/// The host id that an agent's broker runs under.
pub(super) fn broker_id(identity: Identity) -> Option<u32> {
    gate_id(identity).map(|gate| gate + SLOTS)
}

/// The host id that an agent's files have, where that is not simply the operator's.
fn agent_id(identity: Identity) -> Option<u32> {
    match identity {
        Identity::Operator { .. } => None,
        Identity::Range { .. } => Some(identity.agent_uid()),
    }
}

/// Ids as an agent would have them, where it does not matter whose.
pub(super) fn any_identity() -> Identity {
    if geteuid().is_root() { Identity::Range { first: FIRST_ID } } else { own_identity() }
}

fn own_identity() -> Identity {
    Identity::Operator { uid: geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
}

/// The operator's own ids in user mode; in system mode a range that no other agent has, kept beside the state.
fn identify(places: &Places, agent: &AgentPlaces) -> anyhow::Result<Identity> {
    if !geteuid().is_root() {
        return Ok(own_identity());
    }
    anyhow::ensure!(
        has_all_ids()?,
        "this is root of a user namespace (a container?), which has no ids to give to an agent; run as an unprivileged user there"
    );
    let kept = agent.state.join("ids");
    if let Some(slot) = read_slot(&kept)? {
        return Ok(Identity::Range { first: FIRST_ID + slot * 0x1_0000 });
    }
    let registry = File::create(places.state().join("ids.lock"))?;
    registry.lock()?;
    let mut taken = Vec::new();
    for entry in fs::read_dir(places.state())? {
        taken.extend(read_slot(&entry?.path().join("ids"))?);
    }
    let slot = (0..SLOTS)
        .find(|slot| !taken.contains(slot))
        .context("no range of host ids is left for another agent")?;
    // Half of it would keep this agent, and every new one, from starting.
    whole(&kept, 0o644, |mut file| Ok(writeln!(file, "{slot}")?))?;
    Ok(Identity::Range { first: FIRST_ID + slot * 0x1_0000 })
}

/// Whether our user namespace has the whole range of ids, as the host's own has.
fn has_all_ids() -> anyhow::Result<bool> {
    let map = fs::read_to_string("/proc/self/uid_map")?;
    Ok(map.split_whitespace().eq(["0", "0", "4294967295"]))
}

/// The slot that a file names; none when there is no such file, an error when it names none.
fn read_slot(file: &Path) -> anyhow::Result<Option<u32>> {
    match fs::read_to_string(file) {
        Ok(text) => {
            let slot = text.trim().parse().ok().filter(|slot| *slot < SLOTS);
            slot.map(Some).with_context(|| format!("{} names no range of host ids", file.display()))
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// A new file, under its name only when it is whole: whoever is killed meanwhile, or finds the disk full, leaves none. The
/// agent's lock, or one of their own, keeps others from making it too.
pub(crate) fn whole(
    path: &Path,
    mode: u32,
    fill: impl FnOnce(&File) -> anyhow::Result<()>,
) -> anyhow::Result<File> {
    let beside = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).read(true).write(true).mode(mode).custom_flags(nofollow());
    let made = options.open(&beside).map_err(anyhow::Error::from).and_then(|file| {
        fill(&file)?;
        fs::rename(&beside, path)?;
        Ok(file)
    });
    made.with_context(|| format!("cannot make {}", path.display()))
}

/// Makes a directory, or checks that what is there is one, belongs to us, and is no symbolic link.
pub(super) fn make(directory: &Path, mode: u32) -> anyhow::Result<()> {
    let (mut one, mut all) = (DirBuilder::new(), DirBuilder::new());
    match one.mode(mode).create(directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => all.recursive(true).mode(mode).create(directory),
        made => made,
    }
    .with_context(|| format!("cannot make {}", directory.display()))?;
    let found = fs::symlink_metadata(directory)?;
    let ours = [Some(geteuid().as_raw()), scribe_id()];
    let system = geteuid().is_root() && found.uid() >= FIRST_ID;
    anyhow::ensure!(found.is_dir(), "{} must be a directory, and is something else", directory.display());
    anyhow::ensure!(
        ours.contains(&Some(found.uid())) || system,
        "{} belongs to user {}, not to you; run as that user, or choose another place with --base",
        directory.display(),
        found.uid()
    );
    Ok(())
}

/// Gives a directory to a host id of Wardroom's own, in system mode.
fn give(directory: &Path, owner: Option<u32>) -> anyhow::Result<()> {
    match owner {
        Some(id) => lchown(directory, Some(id), Some(id))
            .with_context(|| format!("cannot give {} to {id}", directory.display())),
        None => Ok(()),
    }
}

/// `O_NOFOLLOW` as the standard library wants it.
pub(super) fn nofollow() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default()
}

/// What nobody can guess.
pub(super) fn random() -> anyhow::Result<[u8; 32]> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).context("the kernel gives no randomness")?;
    Ok(random)
}

/// The policy files of all agents, by name.
pub(crate) fn known_agents(places: &Places) -> Result<Vec<PathBuf>, Failure> {
    let listed = match fs::read_dir(places.agents()) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries.and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect()),
    };
    let mut files: Vec<PathBuf> = listed
        .with_context(|| format!("the policies in {} cannot be listed", places.agents().display()))
        .or_exit(Exit::NoSuchAgent)?;
    files.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    files.sort();
    Ok(files)
}

/// Whether an agent's state is that of this directory, made for it now or by an earlier `run --here`. What was made for another
/// directory of the same name, or by a policy, is another agent's: its home, and its ledger.
pub(crate) fn is_of_directory(
    places: &Places,
    agent: &AgentPlaces,
    directory: &Path,
) -> anyhow::Result<bool> {
    let kept = agent.state.join("here");
    match fs::read(&kept) {
        Ok(bytes) => return Ok(bytes == directory.as_os_str().as_bytes()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| kept.display().to_string()),
    }
    if agent.state.exists() {
        return Ok(false);
    }
    make(places.state(), 0o711)?;
    make(&agent.state, 0o711)?;
    // Another run may do the same at this moment: whose text lies there whole first, has the name.
    let own = agent.state.join(format!("here.{}", std::process::id()));
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&own)?;
    let linked = file.write_all(directory.as_os_str().as_bytes()).and_then(|()| fs::hard_link(&own, &kept));
    fs::remove_file(&own)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| kept.display().to_string())
        }
        Ok(()) | Err(_) => Ok(fs::read(&kept)? == directory.as_os_str().as_bytes()),
    }
}
