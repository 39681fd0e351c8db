//! The probes of `wardroom verify` in cells of which one wall is missing: those that try this wall get through, or leave no record,
//! and either is a FAIL (`verify::judge`). There is no flag that takes a wall away, so the cells are built here from a plan.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test harness talks to people")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests"
)]

#[path = "../../wardroom-cell/tests/cell/guarded.rs"]
#[expect(dead_code, reason = "the guard is used, its cases are not")]
mod guarded;
#[path = "../../wardroom-cell/tests/cell/harness.rs"]
#[expect(dead_code, reason = "cells are used, their measurements are not")]
mod harness;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use guarded::guarded_as;
use harness::{Case, World, bind, run_in};
use serde_json::Value;
use wardroom_cell::{BuildOptions, build};
use wardroom_kernel::notify::{Listener, Reply};
use wardroom_model::Event;
use wardroom_model::plan::{Access, CellPlan, LandlockRule, Mount};

const CASES: &[Case] = &[
    ("no_wall_is_missing_and_no_probe_gets_through", intact),
    ("without_the_filter_and_the_guard_their_probes_get_through", without_a_filter),
    ("without_a_record_every_refusal_is_unseen", without_a_record),
    ("with_the_operators_directory_inside_landlock_alone_keeps_it", with_the_operators_directory),
    ("with_the_operators_directory_permitted_its_probes_get_through", with_the_operators_directory_permitted),
    ("with_a_writable_system_its_probes_get_through", with_a_writable_system),
    ("with_a_gate_that_permits_all_the_network_s_probes_get_through", with_a_lenient_gate),
];

fn main() -> ExitCode {
    harness::run(CASES)
}

/// Probes of the filter, and of the guard's connects.
const CALLS: &[&str] = &["C7.keyctl", "C7.add-key", "C7.personality"];
const CONNECT: &[&str] = &["N16.shared-socket"];
/// Probes of what is mounted, and what of it Landlock permits.
const PRIVATE: &[&str] = &["C1.private-key", "C1.listing"];
const SYSTEM: &[&str] = &["C2.usr", "C4.usr-local", "C16.path"];
/// Probes of the firewall and of the gate's resolver.
const NETWORK: &[&str] = &["N2.literal-v4", "N7.a", "N11.https"];
const PROBE: &str = "/run/wardroom/probe";

/// What the probes reach for, as `verify` sets it up.
struct Outside {
    process: Child,
    json: String,
    directory: PathBuf,
}

impl Outside {
    /// A machine under load may have no port for them: tried as often as `verify` does.
    fn start(world: &World) -> Self {
        (0..3).find_map(|attempt| Self::try_start(world, attempt)).expect("the fixtures")
    }

    fn try_start(world: &World, attempt: u32) -> Option<Self> {
        // Its end is the nonce of names that the whole machine shares.
        let name = format!("wardroom-verify-b{}x{attempt}", std::process::id());
        let directory = world.directory.join(name);
        let process = Command::new(binary(world))
            .args(["__role", "probe", "fixtures", directory.to_str()?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut started = Self { process, json: String::new(), directory };
        let said = started.process.stdout.take()?;
        BufReader::new(said).read_line(&mut started.json).unwrap();
        (!started.json.is_empty()).then_some(started)
    }

    /// A plan with the probes' program and the shared directory in it, as `verify` adds them.
    fn plan(&self, world: &World) -> CellPlan {
        let mut plan = world.plan();
        plan.mounts.push(bind(binary(world).to_str().unwrap(), PROBE, false));
        plan.mounts.push(bind(self.directory.join("shared").to_str().unwrap(), "/wardroom-verify", false));
        let resolver = b"nameserver 127.0.0.53\n".to_vec();
        plan.mounts.push(Mount::File { target: "/etc/resolv.conf".into(), contents: resolver, mode: 0o644 });
        permit(&mut plan, "/run/wardroom", Access::ReadExecute);
        permit(&mut plan, "/wardroom-verify", Access::Read);
        plan
    }

    /// What the probes are told to do.
    fn words<'a>(&'a self, ids: &[&'a str]) -> Vec<&'a str> {
        [PROBE, "__role", "probe", "all", &self.json].into_iter().chain(ids.iter().copied()).collect()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ended = self.process.wait();
    }
}

/// Our binary where the users of a world find it.
fn binary(world: &World) -> PathBuf {
    world.directory.join("wardroom")
}

fn set_up(world: &World) -> Outside {
    std::fs::copy(env!("CARGO_BIN_EXE_wardroom"), binary(world)).unwrap();
    Outside::start(world)
}

fn permit(plan: &mut CellPlan, beneath: &str, access: Access) {
    plan.landlock.push(LandlockRule { beneath: beneath.into(), access });
}

/// What came of each probe: the outcome's kind.
fn outcomes(said: &str) -> BTreeMap<String, String> {
    let report = |line: &str| {
        let report: Value = serde_json::from_str(line).ok()?;
        let outcome = &report["outcome"];
        let kind = outcome.as_object().and_then(|kinds| kinds.keys().next().cloned());
        Some((report["id"].as_str()?.to_owned(), kind.unwrap_or_else(|| outcome.to_string())))
    };
    said.lines().filter_map(report).collect()
}

#[track_caller]
fn all(said: &str, ids: &[&str], kinds: &[&str]) {
    let outcomes = outcomes(said);
    for id in ids {
        let kind = outcomes.get(*id).map(String::as_str);
        assert!(kind.is_some_and(|kind| kinds.contains(&kind)), "{id}: {kind:?}\n{said}");
    }
}

fn intact(world: &World) {
    let outside = set_up(world);
    let mut at = guarded_as(&outside.plan(world));
    let ids = [CALLS, CONNECT, PRIVATE, SYSTEM, &NETWORK[..1], &["C1.landlock"]].concat();
    let (_, said) = run_in(&mut at.cell, &outside.words(&ids));
    all(&said, &ids, &["Blocked"]);
    let refused = at.handoff.taken().iter().filter(|event| matches!(event, Event::Privilege(_))).count();
    assert!(refused >= CALLS.len(), "each is on record: {refused}");
}

/// Every call that the filter asks about goes on, as if there were neither.
fn without_a_filter(world: &World) {
    let outside = set_up(world);
    let mut cell = build(&outside.plan(world), BuildOptions::for_this_kernel()).unwrap();
    let listener = Listener::new(cell.take_listener().unwrap()).unwrap();
    let asked = Arc::new(AtomicBool::new(false));
    let any = Arc::clone(&asked);
    std::thread::spawn(move || {
        while let Ok(call) = listener.receive() {
            any.store(true, Ordering::SeqCst);
            if call.is_some_and(|call| listener.answer(call.id, Reply::Continue).is_err()) {
                return;
            }
        }
    });
    let ids = [CALLS, CONNECT].concat();
    let (_, said) = run_in(&mut cell, &outside.words(&ids));
    assert!(asked.load(Ordering::SeqCst));
    all(&said, &ids, &["Succeeded", "Reached"]);
}

/// The walls hold, and nobody writes it down. `an_empty_ledger_convicts_every_probe` says what `verify` makes of that.
fn without_a_record(world: &World) {
    let outside = set_up(world);
    let mut cell = world.start(&outside.plan(world));
    let (_, said) = run_in(&mut cell, &outside.words(&[CALLS, CONNECT].concat()));
    all(&said, CALLS, &["Blocked"]);
    // Where the guard makes no connect itself, the one wall of a shared socket is gone.
    all(&said, CONNECT, &["Succeeded"]);
}

fn with_the_operators_directory(world: &World) {
    let outside = set_up(world);
    let mut plan = outside.plan(world);
    let directory = outside.directory.to_str().unwrap();
    plan.mounts.push(bind(directory, directory, false));
    // It lies beneath /tmp, which is the agent's.
    plan.landlock.retain(|rule| rule.beneath != Path::new("/tmp"));
    let (_, said) = run_in(&mut guarded_as(&plan).cell, &outside.words(PRIVATE));
    all(&said, PRIVATE, &["Blocked"]);
}

/// What is mounted and Landlock are two walls: only without both do these probes get through.
fn with_the_operators_directory_permitted(world: &World) {
    let outside = set_up(world);
    let mut plan = outside.plan(world);
    let directory = outside.directory.to_str().unwrap();
    plan.mounts.push(bind(directory, directory, false));
    permit(&mut plan, directory, Access::Read);
    // In system mode the users are a third wall.
    for (path, mode) in [("", 0o755), (".ssh", 0o755), (".ssh/id_ed25519", 0o644)] {
        let path = outside.directory.join(path);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let (_, said) = run_in(&mut guarded_as(&plan).cell, &outside.words(PRIVATE));
    all(&said, PRIVATE, &["Succeeded"]);
}

fn with_a_writable_system(world: &World) {
    let outside = set_up(world);
    let mut plan = outside.plan(world);
    for target in ["/usr/local", "/usr/local/bin"] {
        plan.mounts.push(Mount::Tmpfs { target: target.into(), size: 1 << 20, mode: 0o1777, exec: true });
    }
    permit(&mut plan, "/usr/local", Access::ReadWriteExecute);
    let mut at = guarded_as(&plan);
    let (_, said) = run_in(&mut at.cell, &outside.words(SYSTEM));
    all(&said, SYSTEM, &["Succeeded"]);
}

/// The firewall lets an address through, and who stands at the gate's sockets takes every connection and knows every name.
fn with_a_lenient_gate(world: &World) {
    let outside = set_up(world);
    let mut plan = outside.plan(world);
    plan.literals.push("203.0.113.1:443".parse().unwrap());
    let mut at = guarded_as(&plan);
    let (sockets, _firewall) = at.cell.take_sockets().unwrap().split();
    let (names, _connections) = (UdpSocket::from(sockets.dns_udp), sockets.tcp4);
    names.set_nonblocking(false).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = names.recv_from(&mut buffer) {
            let mut answer = buffer[..length].to_vec();
            // A response without an error, and one address in it (RFC 1035, 4.1).
            answer[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1]);
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 1]);
            let _asked_and_gone = names.send_to(&answer, from);
        }
    });
    let (_, said) = run_in(&mut at.cell, &outside.words(NETWORK));
    all(&said, NETWORK, &["Succeeded"]);
}
