//! The keeper's side of making a cell: what can be known beforehand is checked beforehand, then the keeper clones itself, and
//! whatever fails after that takes all of it away again. The copy, the cell's init, is told the plan and builds by itself, and
//! the keeper has time for other things meanwhile.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit};
use wardroom_kernel::cellnet::CellSockets;
use wardroom_kernel::features::KernelFeatures;
use wardroom_kernel::idmap::{self, Extent};
use wardroom_kernel::process::{self, Cloned};
use wardroom_kernel::{landlock, message};
use wardroom_model::event::Mechanism;
use wardroom_model::plan::{AGENT_ID, CellPlan, Identity, Mount};

use crate::cell::{Cell, Init};
use crate::cgroup::Cgroup;
use crate::error::{CellError, Fault, Step};
use crate::init::{self, Setup};
use crate::require::{NamespaceSwitches, require};
use crate::root::{Taken, take};
use crate::wire::{self, Blueprint, Reply, Request, Source};

/// How a cell is built, apart from its plan.
#[derive(Debug, Clone, Copy)]
pub struct BuildOptions {
    features: KernelFeatures,
    fail: Fail,
}

impl BuildOptions {
    /// With what this kernel has.
    #[must_use]
    pub fn for_this_kernel() -> Self {
        Self { features: KernelFeatures::of_this_kernel(), fail: Fail(None) }
    }

    /// As if the kernel had only these features. It can only take from what is built: a feature that is named and not
    /// there fails when it is used.
    #[must_use]
    pub fn with_features(self, features: KernelFeatures) -> Self {
        Self { features, ..self }
    }

    /// Makes one step fail, to show that nothing is left behind.
    #[must_use]
    pub fn failing_at(self, step: Step) -> Self {
        Self { fail: Fail(Some(step)), ..self }
    }
}

/// The step that a test wants to fail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fail(Option<Step>);

impl Fail {
    pub(crate) fn at(self, step: Step) -> Result<(), Fault> {
        if self.0 == Some(step) { Err(Fault::said(step, "made to fail by a test")) } else { Ok(()) }
    }
}

/// Builds the cell of a plan: [`EmptyCell`], and nothing else until it stands.
///
/// # Errors
/// As [`EmptyCell::make`], [`EmptyCell::build`] and [`Building::finish`].
pub fn build(plan: &CellPlan, options: BuildOptions) -> Result<Cell, CellError> {
    EmptyCell::make(options)?.build(plan)?.finish()
}

/// Namespaces, and an init in them that waits for a plan. Dropping it ends it.
///
/// Init is a copy of the calling process, memory and all, for the whole life of the cell. So it is made before the caller
/// has read anything that is no business of the cell's.
#[derive(Debug)]
pub struct EmptyCell {
    init: Init,
    control: OwnedFd,
    fail: Fail,
}

impl EmptyCell {
    /// Makes one. The caller has one thread.
    ///
    /// # Errors
    /// The first thing that is missing or forbidden. Nothing is left behind.
    pub fn make(options: BuildOptions) -> Result<Self, CellError> {
        let BuildOptions { features, fail } = options;
        require(&features)?;
        if !process::is_single_threaded()? {
            return Err(Fault::said(Step::Clone, "the process has more than one thread").into());
        }
        fail.at(Step::Clone)?;
        permit_core_limit();
        let (control, theirs) = message::pair()?;
        let level = features.landlock.min(landlock::level());
        let init = match process::clone_into_namespaces().map_err(|error| refused_clone(&error))? {
            Cloned::Child => init::run(&Setup { landlock: level, fail }, &theirs),
            Cloned::Parent { pid, pidfd } => Init::new(pid, pidfd),
        };
        Ok(Self { init, control, fail })
    }

    /// Tells init the plan, and gives it all that it needs of the keeper to carry it out. The caller has one thread.
    ///
    /// # Errors
    /// A plan that cannot be, or the first thing that is missing or forbidden. Nothing is left behind.
    pub fn build(self, plan: &CellPlan) -> Result<Building, CellError> {
        check(plan)?;
        let Self { init, control, fail } = self;
        fail.at(Step::Cgroup)?;
        let cgroup = Cgroup::create(plan)?;
        let building = Building { init, control, cgroup };
        building.supply(plan, fail)?;
        Ok(building)
    }
}

/// A cell whose init is building it. Dropping it ends all of it.
#[derive(Debug)]
pub struct Building {
    // In this order: everything in the cell ends before its control group is removed.
    init: Init,
    control: OwnedFd,
    cgroup: Option<Cgroup>,
}

impl Building {
    /// Tells init the plan, puts it into its control group, gives it its sources and its ids, and lets it go.
    fn supply(&self, plan: &CellPlan, fail: Fail) -> Result<(), CellError> {
        wire::tell(&self.control, &Request::Plan, &[wire::in_memory("plan", &Blueprint::of(plan))?.as_fd()])?;
        if let Some(cgroup) = &self.cgroup {
            cgroup.add(self.init.pid())?;
        }
        fail.at(Step::Source)?;
        if let Identity::Range { first } = plan.identity {
            give_sources(&self.control, &take_all(plan, first)?)?;
            let range = Extent { inside: 0, outside: first, count: RANGE };
            idmap::write(Some(self.init.pid()), range, range, false)
                .map_err(|error| Fault::new(Step::Identity, "the map of users", &error))?;
        }
        Ok(wire::tell(&self.control, &Request::Go, &[])?)
    }

    /// The process id of the cell's init, as the host sees it.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.init.pid()
    }

    /// Waits until the cell stands.
    ///
    /// The guard must answer on the cell's listener before the first [`Cell::spawn`].
    ///
    /// # Errors
    /// What init says: the first thing that is forbidden or different from what was asked. Nothing is left behind.
    pub fn finish(self) -> Result<Cell, CellError> {
        // They are dropped from the last to the first: everything in the cell ends before its control group is removed.
        let Self { cgroup, control, init } = self;
        let (mut mechanisms, descriptors) = match wire::receive(&control, &mut vec![0; wire::LONGEST])? {
            Some((Reply::Built(mechanisms), descriptors)) => (mechanisms, descriptors),
            Some((Reply::Failed(fault), _)) => return Err(explain(fault)),
            Some((Reply::SpawnFailed { .. } | Reply::Exited { .. }, _)) | None => {
                return Err(CellError::InitEnded);
            }
        };
        if let Some(cgroup) = &cgroup {
            mechanisms.extend(cgroup.check()?);
        }
        let Handed { terminals, listener, sockets } = Handed::from(descriptors)?;
        Ok(Cell::new(init, control, terminals, cgroup, Built { mechanisms, listener, sockets }))
    }
}

/// Where the host's hard limit is 0, root raises it to 1 for the cell, whose init may not: of 0 the kernel says nothing to a core
/// helper (core(5)). The soft limit stays. Without the right to it, the record of the cell's limits says what it has.
fn permit_core_limit() {
    let now = rustix::process::getrlimit(Resource::Core);
    if now.maximum == Some(0) {
        let _not_permitted = rustix::process::setrlimit(Resource::Core, Rlimit { maximum: Some(1), ..now });
    }
}

/// Gives init the sources that were taken for it.
fn give_sources(control: &OwnedFd, taken: &[Option<Taken>]) -> Result<(), CellError> {
    let lines = (0..).zip(taken).filter_map(|(mount, taken)| Some((mount, taken.as_ref()?)));
    let all: Vec<(u32, &Taken)> = lines.collect();
    for some in all.chunks(message::MOST_DESCRIPTORS) {
        let source = |(mount, taken): &(u32, &Taken)| Source { mount: *mount, kind: taken.kind() };
        let descriptors: Vec<_> = some.iter().map(|(_, taken)| taken.from()).collect();
        wire::tell(control, &Request::Sources(some.iter().map(source).collect()), &descriptors)?;
    }
    Ok(())
}

/// What a finished cell has for the guard, the gate and the ledger.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) mechanisms: Vec<Mechanism>,
    pub(crate) listener: OwnedFd,
    pub(crate) sockets: CellSockets,
}

struct Handed {
    terminals: OwnedFd,
    listener: OwnedFd,
    sockets: CellSockets,
}

impl Handed {
    fn from(descriptors: Vec<OwnedFd>) -> Result<Self, CellError> {
        let mut each = descriptors.into_iter();
        let (Some(terminals), Some(listener)) = (each.next(), each.next()) else {
            return Err(CellError::InitEnded);
        };
        let sockets =
            <[OwnedFd; 7]>::try_from(each.collect::<Vec<_>>()).map_err(|_fds| CellError::InitEnded)?;
        Ok(Self { terminals, listener, sockets: CellSockets::from_fds(sockets) })
    }
}

/// How many ids a cell has in system mode: what every distribution gives a container.
const RANGE: u32 = 65_536;

/// What no plan may ask for, whoever made it.
fn check(plan: &CellPlan) -> Result<(), CellError> {
    let wrong = |what: &str| Err(CellError::Plan(what.to_owned()));
    match plan.identity {
        Identity::Operator { uid: 0, .. } | Identity::Operator { gid: 0, .. } => {
            wrong("the agent would be the host's root; started by root, it needs a range of ids of its own")
        }
        Identity::Range { first } if first < RANGE || first.checked_add(RANGE).is_none() => {
            wrong("the agent's range of ids would overlap the host's own users")
        }
        Identity::Operator { .. } | Identity::Range { .. } if plan.command.is_empty() => wrong("no command"),
        Identity::Operator { .. } | Identity::Range { .. } => Ok(()),
    }
}

/// System mode: root takes the sources, because the cell's own root could not reach them.
fn take_all(plan: &CellPlan, first: u32) -> Result<Vec<Option<Taken>>, Fault> {
    plan.mounts.iter().map(|mount| take_one(mount, first)).collect()
}

fn take_one(mount: &Mount, first: u32) -> Result<Option<Taken>, Fault> {
    let agent = first.saturating_add(AGENT_ID);
    take(mount, |uid, gid| {
        if (uid, gid) == (agent, agent) {
            return Ok(None);
        }
        let one = |inside| Extent { inside, outside: agent, count: 1 };
        idmap::namespace(one(uid), one(gid)).map(Some)
    })
}

fn refused_clone(error: &std::io::Error) -> CellError {
    let forbidden = matches!(
        Errno::from_io_error(error),
        Some(Errno::PERM | Errno::ACCESS | Errno::NOSPC | Errno::USERS | Errno::INVAL)
    );
    let explained = if forbidden { NamespaceSwitches::of_this_host().explain() } else { None };
    explained.unwrap_or_else(|| match Errno::from_io_error(error) {
        Some(errno) if is_limit(errno) => TOO_MANY,
        Some(_) | None => Fault::new(Step::Clone, "new namespaces", error).into(),
    })
}

/// clone(2), unshare(2): a limit of this or of an outer user namespace is reached.
fn is_limit(errno: Errno) -> bool {
    matches!(errno, Errno::NOSPC | Errno::USERS)
}

/// The kernel does not say which.
const TOO_MANY: CellError = CellError::NamespacesForbidden {
    why: "a limit on namespaces (user.max_user_namespaces, user.max_net_namespaces or another) is reached here or in an outer \
          namespace",
    remedy: "as the host's root: `sysctl user` shows the limits, and `sysctl -w user.max_user_namespaces=15000` raises one",
};

/// A refusal during the building may come from the same switches: Ubuntu's lets the namespace be made and takes its powers.
fn explain(fault: Fault) -> CellError {
    let refused = fault.errno.map(Errno::from_raw_os_error);
    let early = matches!(fault.step, Step::Network | Step::Identity | Step::Root | Step::Mount | Step::Proc);
    let explained = match refused {
        Some(Errno::PERM | Errno::ACCESS) if early => NamespaceSwitches::of_this_host().explain(),
        // Of these steps only the making of a namespace can have no room.
        Some(errno) if is_limit(errno) && matches!(fault.step, Step::Network | Step::Isolation) => {
            Some(TOO_MANY)
        }
        Some(_) | None => None,
    };
    explained.unwrap_or_else(|| fault.into())
}
