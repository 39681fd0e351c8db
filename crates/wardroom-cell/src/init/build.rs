//! The building of a cell from inside, a step a paragraph, in the only order in which each step still has the
//! privileges that it needs and no later one undoes it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Gid, Uid};
use wardroom_kernel::cellnet::{self, CellNetError, CellSockets};
use wardroom_kernel::idmap::{self, Extent};
use wardroom_kernel::{process, seccomp};
use wardroom_model::event::Mechanism;
use wardroom_model::plan::{AGENT_ID, Identity, Mount};

use super::Setup;
use crate::devices;
use crate::error::{At, Fault, Step};
use crate::filter::{Filter, FilterOptions};
use crate::privileges::{self, Status, chain};
use crate::root::{Root, Taken, take};
use crate::wire::{self, Blueprint, Reply, Request, Source};

/// Builds the cell and tells the keeper. Returns the descriptor that reports the ends of children.
pub(super) fn build(setup: &Setup, control: &OwnedFd) -> Result<OwnedFd, Fault> {
    let Setup { landlock, fail } = *setup;
    let children = let_go(control)?;

    // It needs nothing of the keeper, which makes the plan meanwhile.
    fail.at(Step::Network)?;
    process::unshare_network_namespace().at(Step::Network, "a network namespace")?;
    let sockets = cellnet::raise(&[]).map_err(|error| network_fault(&error))?;

    let plan = &await_plan(control)?;
    if !plan.literals.is_empty() {
        cellnet::replace_literals(sockets.firewall.as_fd(), &plan.literals)
            .map_err(|error| network_fault(&error))?;
    }
    let filter = compile(plan)?;

    fail.at(Step::Identity)?;
    let mut taken = await_go(control, plan)?;
    let cores = become_owner(plan.identity)?;
    let budgets = privileges::budget();

    let mut root = Root::new()?;
    let terminals = mounts(plan, &mut root, taken.as_mut(), fail)?;
    fail.at(Step::Root)?;
    let forbidden = root.forbidden_file()?;
    root.enter()?;
    drop(taken);

    fail.at(Step::Isolation)?;
    let mut mechanisms = vec![privileges::isolate(plan)?];
    mechanisms.push(cores);
    mechanisms.extend(budgets);
    fail.at(Step::Limits)?;
    mechanisms.extend(privileges::limit(plan)?);
    mechanisms.append(&mut root.mechanisms);
    drop(root);

    fail.at(Step::Privileges)?;
    privileges::drop_privileges()?;
    // Opened now, read at the end: Landlock or the filter may not let it be opened then.
    let status = Status::open().at(Step::Check, "/proc/self/status")?;
    mechanisms.extend(privileges::check_maps(plan.identity)?);
    mechanisms.extend(privileges::check_hold()?);
    fail.at(Step::Landlock)?;
    mechanisms.push(privileges::landlock(plan, landlock, &forbidden)?);

    fail.at(Step::Filter)?;
    let listener =
        seccomp::install_with_listener(&filter).map_err(|error| Fault::said(Step::Filter, chain(&error)))?;
    // From here on every call that the filter announces would wait for a guard that does not run yet.
    fail.at(Step::Check)?;
    mechanisms.extend(status.ask()?);
    fail.at(Step::Handover)?;
    hand_over(control, mechanisms, &terminals, &listener, sockets)?;
    Ok(children)
}

/// Closes what came with the copy of the keeper, and stands on /dev/null.
fn let_go(control: &OwnedFd) -> Result<OwnedFd, Fault> {
    let step = Step::Clone;
    privileges::hold_on()?;
    rustix::process::umask(Mode::empty());
    process::close_all_but(&mut [control.as_raw_fd()]).at(step, "close what was inherited")?;
    process::stand_on_null().at(step, "/dev/null")?;
    process::children_as_descriptor().at(step, "signals")
}

/// Waits for the plan.
fn await_plan(control: &OwnedFd) -> Result<Blueprint, Fault> {
    let step = Step::Clone;
    let said = wire::receive::<Request>(control, &mut [0; 64]).at(step, "the plan")?;
    let plan = match said {
        Some((Request::Plan, descriptors)) => descriptors.into_iter().next(),
        Some(_) | None => None,
    };
    wire::from_memory(plan.ok_or_else(|| Fault::said(step, "the keeper gave no plan"))?).at(step, "the plan")
}

fn compile(plan: &Blueprint) -> Result<seccomp::Program, Fault> {
    Filter::new(FilterOptions { audit_reads: plan.audit_reads, may_trace: plan.may_trace })
        .compile()
        .map_err(|error| Fault::said(Step::Filter, error.to_string()))
}

/// Waits for the keeper, which gives the sources of the plan's mounts where it took them (system mode).
fn await_go(control: &OwnedFd, plan: &Blueprint) -> Result<Option<Vec<Option<Taken>>>, Fault> {
    let step = Step::Identity;
    let mut taken = match plan.identity {
        Identity::Operator { .. } => None,
        Identity::Range { .. } => Some(plan.mounts.iter().map(|_| None).collect()),
    };
    loop {
        match wire::receive::<Request>(control, &mut [0; 1024]).at(step, "the keeper's word")? {
            Some((Request::Go, _)) => return Ok(taken),
            Some((Request::Sources(sources), from)) => keep(&mut taken, &sources, from)?,
            Some((Request::Plan | Request::Spawn(_) | Request::Signal { .. } | Request::SignalAll(_), _))
            | None => {
                return Err(Fault::said(step, "the keeper did not say go"));
            }
        }
    }
}

/// Puts each source to its mount; one that has no place is a fault.
fn keep(
    taken: &mut Option<Vec<Option<Taken>>>,
    sources: &[Source],
    descriptors: Vec<OwnedFd>,
) -> Result<(), Fault> {
    let wrong = || Fault::said(Step::Source, "a source that belongs to no mount");
    if sources.len() != descriptors.len() {
        return Err(wrong());
    }
    for (source, from) in sources.iter().zip(descriptors) {
        let at = usize::try_from(source.mount).map_err(|_wide| wrong())?;
        let place = taken.as_mut().and_then(|taken| taken.get_mut(at)).ok_or_else(wrong)?;
        *place = Some(Taken::new(from, source.kind));
    }
    Ok(())
}

/// Takes the identity that owns the cell's user namespace, and empties the cores while its own `/proc` belongs to it.
fn become_owner(identity: Identity) -> Result<Mechanism, Fault> {
    let step = Step::Identity;
    let cores = match identity {
        Identity::Operator { uid, gid } => {
            // The maps are written from inside, for which /proc/self must belong to us, so for a moment we are dumpable.
            // Nobody but the operator's own processes could look, and there is nothing to see yet.
            rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).at(step, "dumpable")?;
            let one = |outside| Extent { inside: AGENT_ID, outside, count: 1 };
            idmap::write(None, one(uid), one(gid), true).at(step, "the map of users")?;
            privileges::empty_cores()?
        }
        Identity::Range { .. } => {
            let cores = privileges::empty_cores()?;
            // Root of the range for the building: what is made belongs to it, and not to the agent.
            rustix::thread::set_thread_groups(&[]).at(step, "no groups")?;
            rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).at(step, "the group")?;
            rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).at(step, "the user")?;
            cores
        }
    };
    privileges::hold_on()?;
    rustix::process::umask(Mode::empty());
    Ok(cores)
}

/// Carries out the plan's mounts in order; returns the cell's terminals.
fn mounts(
    plan: &Blueprint,
    root: &mut Root,
    mut taken: Option<&mut Vec<Option<Taken>>>,
    fail: crate::build::Fail,
) -> Result<OwnedFd, Fault> {
    let mut terminals = None;
    for (index, mount) in plan.mounts.iter().enumerate() {
        match mount {
            Mount::Proc => {
                fail.at(Step::Proc)?;
                devices::proc(root)?;
            }
            Mount::Dev => {
                fail.at(Step::Dev)?;
                terminals = Some(devices::dev(root)?);
            }
            Mount::Bind { .. }
            | Mount::Copy { .. }
            | Mount::Tmpfs { .. }
            | Mount::File { .. }
            | Mount::Directory { .. }
            | Mount::Symlink { .. } => {
                fail.at(Step::Mount)?;
                let source = match taken.as_mut() {
                    Some(taken) => taken.get_mut(index).and_then(Option::take),
                    // In user mode the agent is the operator outside: its files are its own already, without a map.
                    None => take(mount, |_, _| Ok(None))?,
                };
                root.place(mount, source)?;
            }
        }
    }
    terminals.ok_or_else(|| Fault::said(Step::Dev, "the plan has no /dev, and a cell needs its terminals"))
}

fn network_fault(error: &CellNetError) -> Fault {
    match error {
        CellNetError::Kernel { step: _, source } => Fault::new(Step::Network, error.to_string(), source),
        CellNetError::NotInForce { difference: _ } => Fault::said(Step::Network, chain(error)),
    }
}

fn hand_over(
    control: &OwnedFd,
    mechanisms: Vec<Mechanism>,
    terminals: &OwnedFd,
    listener: &OwnedFd,
    sockets: CellSockets,
) -> Result<(), Fault> {
    let sockets = sockets.into_fds();
    let descriptors: Vec<_> =
        [terminals.as_fd(), listener.as_fd()].into_iter().chain(sockets.iter().map(AsFd::as_fd)).collect();
    wire::send(control, &Reply::Built(mechanisms), &descriptors).at(Step::Handover, "tell the keeper")
}
