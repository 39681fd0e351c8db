//! N10, N11, N15, N20, N22, L2: what needs a permitted service. These run in a second cell, whose policy is the agent's
//! with a few rules more, for services of `verify`'s own (see [`rules`]).

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use wardroom_kernel::probe::process;
use wardroom_model::event::ConnectionPhase;
use wardroom_model::{Event, Outcome as Verdict};

use crate::verify::attempt::{PATIENCE, connect_and_hear, hear, in_passing};
use crate::verify::dns::{self, HTTPS};
use crate::verify::outcome::Outcome;
use crate::verify::probe::Attempt::Run;
use crate::verify::probe::Control::Outside;
use crate::verify::probe::Expect::Records;
use crate::verify::probe::{Aim, Probe, probe};
use crate::verify::scene::{Fixtures, Place, Scene};
use crate::verify::services::hello;
use crate::verify::trace::{Trace, describe};

const REFUSED: crate::verify::probe::Expect = Records(refused_seen);

#[rustfmt::skip]
pub(super) const PROBES: &[Probe] = &[
    probe("N10.exact-name", "the permitted name in the TLS handshake passes", Run(exact_name), Outside, Records(allowed_seen)).aims(Aim::Permitted),
    probe("N10.split", "the same, its first byte in a segment of its own", Run(split), Outside, Records(allowed_seen)).aims(Aim::Permitted),
    probe("N10.other-name", "another name in the TLS handshake", Run(other_name), Outside, REFUSED),
    probe("N10.no-name", "no name in the TLS handshake", Run(no_name), Outside, REFUSED),
    probe("N10.address", "an address as the name in the TLS handshake", Run(address_name), Outside, REFUSED),
    probe("N10.nul", "the permitted name, a NUL, and another name", Run(nul_name), Outside, REFUSED),
    probe("N10.not-tls", "no TLS at all, where TLS is expected", Run(not_tls), Outside, REFUSED),
    probe("N10.unfinished", "a TLS handshake that is never finished", Run(unfinished), Outside, REFUSED).aims(Aim::RefusedInTime).within(30),
    probe("N11.permitted", "the ECH keys (HTTPS record) of a permitted name", Run(ech_keys), Outside, Records(asked_seen)),
    probe("N15.leads-inwards", "a permitted name that leads to the machine itself", Run(leads_inwards), Outside, REFUSED).aims(Aim::RefusedInTime).within(30),
    probe("L2.killed", "the scribe killed in the middle of 1,000 files", Run(scribe_killed), Outside, Records(files_seen)).aims(Aim::OnRecord).within(60),
    probe("N22.killed", "the gate killed while a connection is open", Run(gate_killed), Outside, Records(restart_seen)).aims(Aim::OnRecord).within(30),
    // The last one: afterwards the services are no longer permitted.
    probe("N20.narrowed", "a connection that a new policy no longer permits", Run(narrowed), Outside, Records(ended_seen)).aims(Aim::RefusedInTime).within(20),
];

/// Names below `.test`, which nobody owns (RFC 6761).
const TLS_NAME: &str = "tls.wardroom-verify.test";
const RAW_NAME: &str = "raw.wardroom-verify.test";
/// As long as [`TLS_NAME`] with a NUL and another name behind it.
const NUL_LENGTH: &str = "tls.wardroom-verify.test-evil.test";

/// The rules of the second cell: a TLS service, a service of any protocol, and a name that leads inwards.
pub(crate) fn rules(fixtures: &Fixtures) -> String {
    let steward = fixtures.steward;
    let inwards = fixtures.inwards.as_ref().map(|(name, address)| {
        let port = address.port();
        format!("\n[[network.allow]]\nhost = \"{name}\"\nports = [{port}]\nprotocol = \"tcp\"\n")
    });
    format!(
        "\n\n# Services of `wardroom verify` itself, for this one run.\n\
         [[network.allow]]\nhost = \"{TLS_NAME}\"\naddress = \"{steward}\"\n\n\
         [[network.allow]]\nhost = \"{RAW_NAME}\"\nports = [{}]\nprotocol = \"tcp\"\naddress = \"{steward}\"\n{}",
        steward.port(),
        inwards.unwrap_or_default(),
    )
}

/// Connects to the TLS service: inside by its name, outside where it is.
fn to_tls(scene: &Scene) -> io::Result<TcpStream> {
    to(scene, TLS_NAME, 443, scene.fixtures.steward)
}

fn to_steward(scene: &Scene) -> io::Result<TcpStream> {
    to(scene, RAW_NAME, scene.fixtures.steward.port(), scene.fixtures.steward)
}

fn to(scene: &Scene, name: &str, port: u16, outside: SocketAddr) -> io::Result<TcpStream> {
    let address = match scene.place {
        Place::Cell => (name, port).to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?,
        Place::Outside | Place::Bare => outside,
    };
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends these bytes, and listens for the service's greeting.
fn say_to_tls(scene: &Scene, bytes: io::Result<Vec<u8>>) -> Outcome {
    let said = bytes.and_then(|bytes| {
        let mut stream = to_tls(scene)?;
        stream.write_all(&bytes)?;
        Ok(stream)
    });
    said.map_or_else(|error| Outcome::Blocked(error.to_string()), hear)
}

fn exact_name(scene: &Scene) -> Outcome {
    say_to_tls(scene, hello(TLS_NAME))
}

fn split(scene: &Scene) -> Outcome {
    let said = hello(TLS_NAME).and_then(|bytes| {
        let mut stream = to_tls(scene)?;
        stream.set_nodelay(true)?;
        let (first, rest) = bytes.split_at_checked(1).ok_or(io::ErrorKind::InvalidData)?;
        stream.write_all(first)?;
        std::thread::sleep(Duration::from_millis(50));
        stream.write_all(rest)?;
        Ok(stream)
    });
    said.map_or_else(|error| Outcome::Blocked(error.to_string()), hear)
}

fn other_name(scene: &Scene) -> Outcome {
    say_to_tls(scene, hello("other.wardroom-verify.test"))
}

/// A client that connects to an address sends no name.
fn no_name(scene: &Scene) -> Outcome {
    say_to_tls(scene, hello("203.0.113.1"))
}

fn address_name(scene: &Scene) -> Outcome {
    say_to_tls(scene, hello("aaaaaaa.aaa").map(|bytes| replaced(&bytes, b"aaaaaaa.aaa", b"203.0.113.1")))
}

fn nul_name(scene: &Scene) -> Outcome {
    let nul = format!("{TLS_NAME}\0evil.test");
    say_to_tls(scene, hello(NUL_LENGTH).map(|bytes| replaced(&bytes, NUL_LENGTH.as_bytes(), nul.as_bytes())))
}

/// Bytes in which one text stands in place of another of the same length.
fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = bytes.windows(old.len()).position(|window| window == old);
    let (before, after) = bytes.split_at(at.unwrap_or(bytes.len()));
    [before, new, after.get(old.len()..).unwrap_or_default()].concat()
}

fn not_tls(scene: &Scene) -> Outcome {
    say_to_tls(scene, Ok(format!("GET / HTTP/1.1\r\nHost: {TLS_NAME}\r\n\r\n").into_bytes()))
}

/// Half a handshake, and then silence: it must be over some time.
fn unfinished(scene: &Scene) -> Outcome {
    let said = hello(TLS_NAME).and_then(|bytes| {
        let mut stream = to_tls(scene)?;
        stream.set_read_timeout(Some(Duration::from_secs(25)))?;
        stream.write_all(bytes.get(..bytes.len() / 2).unwrap_or_default())?;
        Ok(stream)
    });
    said.map_or_else(|error| Outcome::Blocked(error.to_string()), hear)
}

fn ech_keys(scene: &Scene) -> Outcome {
    dns::ask(scene, TLS_NAME, HTTPS)
}

fn asked_seen(trace: &Trace<'_>, _: &Scene) -> Result<String, String> {
    let asked = trace.all().iter().find(|seen| {
        matches!(&seen.event, Event::Name(query)
            if query.rtype == HTTPS && query.name.shown() == TLS_NAME.as_bytes())
    });
    asked.map(describe).ok_or_else(|| "the question is not on record".to_owned())
}

fn leads_inwards(scene: &Scene) -> Outcome {
    let Some((name, address)) = &scene.fixtures.inwards else {
        return Outcome::Impossible("this machine's own name leads to no special address".to_owned());
    };
    match (name.as_str(), address.port()).to_socket_addrs().map(|mut all| all.next()) {
        Ok(Some(address)) => connect_and_hear(address),
        Ok(None) => Outcome::Blocked("no address".to_owned()),
        Err(error) => Outcome::Blocked(error.to_string()),
    }
}

/// A connection of this program's that was refused, at once or when it was dialled.
fn refused_seen(trace: &Trace<'_>, _: &Scene) -> Result<String, String> {
    trace.first("no refused connection", |event| {
        matches!(event, Event::Connection(connection) if match &connection.phase {
            ConnectionPhase::Decided(verdict) => verdict.outcome == Verdict::Refused,
            ConnectionPhase::Ended(end) => end.verdict.outcome == Verdict::Refused,
        })
    })
}

fn allowed_seen(trace: &Trace<'_>, _: &Scene) -> Result<String, String> {
    trace.first("no permitted connection", |event| {
        matches!(event, Event::Connection(connection)
            if matches!(&connection.phase, ConnectionPhase::Decided(verdict) if verdict.outcome == Verdict::Allowed))
    })
}

/// Asks the steward for something, on a connection that it greeted first.
fn ask_steward(scene: &Scene, what: &str) -> io::Result<TcpStream> {
    let mut stream = to_steward(scene)?;
    let mut greeting = vec![0; crate::verify::scene::GREETING.len()];
    stream.read_exact(&mut greeting)?;
    stream.write_all(what.as_bytes())?;
    Ok(stream)
}

/// How long a policy may take to come into force, with what the machine may be busy with besides: the promise is 1 s.
const IN_FORCE: Duration = Duration::from_secs(5);

/// Has the policy replaced by one without the services, and waits for the connection's end.
fn narrowed(scene: &Scene) -> Outcome {
    let began = process::boottime();
    let ended = ask_steward(scene, "narrow\n").and_then(|mut stream| {
        stream.set_read_timeout(Some(IN_FORCE))?;
        stream.read(&mut [0])
    });
    let after = process::boottime().saturating_sub(began) / 1_000_000;
    match ended {
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Outcome::Succeeded("the connection is still open".to_owned())
        }
        Ok(0) => Outcome::Blocked(format!("the connection ended after {after} ms")),
        Ok(_) => Outcome::Succeeded("the service still speaks".to_owned()),
        Err(error) => Outcome::Blocked(format!("the connection ended after {after} ms: {error}")),
    }
}

fn ended_seen(trace: &Trace<'_>, _: &Scene) -> Result<String, String> {
    trace.first("no end of the connection because of the policy", |event| {
        matches!(event, Event::Connection(connection)
            if matches!(&connection.phase, ConnectionPhase::Ended(end)
                if end.verdict.reason == wardroom_model::Reason::PolicyChanged))
    })
}

/// The open connection must be cut, and another must be served by the next gate.
fn gate_killed(scene: &Scene) -> Outcome {
    if scene.place != Place::Cell {
        return connect_and_hear(scene.fixtures.steward);
    }
    let cut = ask_steward(scene, "kill gate\n").and_then(|mut stream| stream.read(&mut [0]));
    if matches!(cut, Ok(1..)) || cut.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
        return Outcome::Hung;
    }
    let began = process::boottime();
    loop {
        if let Ok(stream) = to_steward(scene)
            && let Outcome::Succeeded(_) = hear(stream)
        {
            let after = process::boottime().saturating_sub(began) / 1_000_000;
            return Outcome::Succeeded(format!(
                "the connection was cut, and another was served after {after} ms"
            ));
        }
    }
}

fn restart_seen(trace: &Trace<'_>, _: &Scene) -> Result<String, String> {
    supervised(trace, "gate")
}

fn supervised(trace: &Trace<'_>, process: &str) -> Result<String, String> {
    let note = trace
        .all()
        .iter()
        .find(|seen| matches!(&seen.event, Event::Supervision(note) if note.process == process));
    note.map(describe).ok_or_else(|| format!("nothing of the {process}'s end is on record"))
}

const FILES: usize = 1000;

/// Files before, while and after the scribe is gone: each must wait for its record.
fn scribe_killed(scene: &Scene) -> Outcome {
    let directory = scene.own_path();
    if let Err(error) = fs::create_dir_all(&directory) {
        return Outcome::Impossible(error.to_string());
    }
    let mut made = 0;
    for number in 0..FILES {
        if number == FILES / 2
            && let Err(error) = ask_steward(scene, "kill scribe\n")
        {
            return Outcome::Impossible(format!("the steward cannot be asked: {error}"));
        }
        made += usize::from(fs::write(directory.join(format!("file-{number}")), "").is_ok());
    }
    in_passing(fs::remove_dir_all(&directory));
    if made == FILES { Outcome::Succeeded(format!("{made} files")) } else { Outcome::Hung }
}

fn files_seen(trace: &Trace<'_>, scene: &Scene) -> Result<String, String> {
    let prefix = scene.own_path().join("file-");
    let names: std::collections::BTreeSet<&[u8]> = trace
        .own()
        .filter_map(|seen| if let Event::File(act) = &seen.event { Some(act) } else { None })
        .filter(|act| act.op != wardroom_model::event::FileOp::Delete)
        .map(|act| act.path.shown())
        .filter(|path| path.starts_with(prefix.as_os_str().as_encoded_bytes()))
        .collect();
    if names.len() != FILES {
        return Err(format!("{} of {FILES} files are on record", names.len()));
    }
    supervised(trace, "scribe").map(|note| format!("{FILES} files on record; {note}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::scene::tests::fixtures;

    #[test]
    fn the_rules_are_a_policy_of_themselves() {
        let text = format!(
            "[agent]\nname = \"x\"\ncommand = [\"true\"]\n[isolation]\nkind = \"cell\"\n{}",
            rules(&fixtures())
        );
        let policy =
            wardroom_policy::Policy::parse("x.toml", &text).map_err(|errors| errors.to_string()).unwrap();
        assert_eq!(policy.network().allow().count(), 2);
    }

    #[test]
    fn a_name_is_replaced_by_another_of_its_length() {
        assert_eq!(replaced(b"xxabyy", b"ab", b"cd"), b"xxcdyy");
        assert_eq!(NUL_LENGTH.len(), format!("{TLS_NAME}\0evil.test").len());
    }
}
