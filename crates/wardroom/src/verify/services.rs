//! Whether what the policy permits works: for every allow rule, the name resolves inside to an address of the gate's,
//! and where the service answers from this machine, a connection to it opens.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde::{Deserialize, Serialize};
use wardroom_kernel::cellnet::SYNTHETIC;
use wardroom_model::event::ConnectionPhase;
use wardroom_model::{Event, HostName, Outcome as Verdict};
use wardroom_policy::network::{HostTarget, NetworkPolicy, Target, TlsExpectation};

use super::judge::{Finding, Judged};
use super::outcome::{Outcome, Report};
use super::scene::{Place, Scene};
use super::trace::{Trace, describe};

/// Something that the policy permits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Service {
    /// The probe's id.
    pub(crate) id: String,
    /// The host; none for a literal address.
    pub(crate) host: Option<String>,
    /// The port.
    pub(crate) port: u16,
    /// Where it is dialled from outside, where the policy says.
    pub(crate) dialled: Option<SocketAddr>,
    /// Whether TLS is spoken first.
    pub(crate) tls: bool,
    /// Why it cannot be tried.
    pub(crate) untried: Option<String>,
}

/// Seconds that a service has to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Every permitted service, by the rules in their order.
pub(crate) fn permitted(network: &NetworkPolicy) -> Vec<Service> {
    let mut seen = BTreeSet::new();
    let mut services = Vec::new();
    for rule in network.allow() {
        let found = match rule.target() {
            Target::Literal(address) => vec![literal(*address)],
            Target::Host(host) => named(host),
        };
        for mut service in found {
            if !rule.apps().is_empty() {
                service.untried = Some(format!("the rule is for {} only", rule.apps().join(", ")));
            }
            if seen.insert(service.id.clone()) {
                services.push(service);
            }
        }
    }
    services
}

fn literal(address: SocketAddr) -> Service {
    let id = format!("S.{address}");
    Service { id, host: None, port: address.port(), dialled: Some(address), tls: false, untried: None }
}

fn named(target: &HostTarget) -> Vec<Service> {
    let name = target.pattern().to_string();
    let wildcard = HostName::parse(&name).is_err();
    let service = |port: &u16| Service {
        id: format!("S.{name}:{port}"),
        host: Some(name.clone()),
        port: *port,
        dialled: target.pin(),
        tls: target.tls() != TlsExpectation::Raw,
        untried: wildcard.then(|| "a wildcard names no single host".to_owned()),
    };
    target.ports().iter().map(service).collect()
}

/// Tries it: inside as the agent does, outside as the gate would.
pub(crate) fn attempt(service: &Service, scene: &Scene) -> Outcome {
    let address = match (scene.place, &service.host, service.dialled) {
        (Place::Cell, Some(host), _) => match synthetic(host, service.port) {
            Ok(address) => address,
            Err(why) => return Outcome::Blocked(why),
        },
        (Place::Outside | Place::Bare, Some(host), None) => match first_address(host, service.port) {
            Ok(address) => address,
            Err(error) => return Outcome::Blocked(error.to_string()),
        },
        (_, _, Some(dialled)) => dialled,
        (_, None, None) => return Outcome::Impossible("neither a name nor an address".to_owned()),
    };
    match opens(service, address) {
        Ok(()) => Outcome::Succeeded(format!("a connection opened by {address}")),
        Err(error) => Outcome::Reached(format!("{address} resolves, and does not answer: {error}")),
    }
}

fn first_address(host: &str, port: u16) -> io::Result<SocketAddr> {
    (host, port).to_socket_addrs()?.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The address that the cell's resolver gives, which must be one of the gate's own.
fn synthetic(host: &str, port: u16) -> Result<SocketAddr, String> {
    let address = first_address(host, port).map_err(|error| format!("{host} does not resolve: {error}"))?;
    let (network, bits) = SYNTHETIC;
    let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(u32::MAX);
    match address.ip() {
        IpAddr::V4(v4) if u32::from(v4) & mask == u32::from(network) & mask => Ok(address),
        other @ (IpAddr::V4(_) | IpAddr::V6(_)) => {
            Err(format!("{host} resolves to {other}, which is no address of the gate's"))
        }
    }
}

/// Over TLS, the service must answer the handshake's first message. Over anything else, it must not hang up at once.
fn opens(service: &Service, address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    let mut first = [0];
    if service.tls {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&hello(service.host.as_deref().unwrap_or_default())?)?;
        return stream.read_exact(&mut first);
    }
    stream.set_read_timeout(Some(Duration::from_millis(700)))?;
    match stream.read(&mut first) {
        Ok(0) => Err(io::ErrorKind::ConnectionReset.into()),
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A genuine ClientHello for this name. Nothing is believed of the answer, so no roots are needed.
pub(crate) fn hello(name: &str) -> io::Result<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions
        .map_err(io::Error::other)?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = rustls_pki_types::ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes)?;
    Ok(bytes)
}

/// Judges one: a name that does not resolve inside is a failure; a service that does not answer outside either is not.
pub(crate) fn judge(
    service: &Service,
    control: Option<&Report>,
    attempt: Option<&Report>,
    trace: &Trace<'_>,
) -> Judged {
    let record = record(service, trace);
    let (finding, because) = match (&service.untried, control, attempt) {
        (Some(why), _, _) => (Finding::CouldNotTest, why.clone()),
        (None, Some(control), Some(attempt)) => weigh(&control.outcome, &attempt.outcome, record.is_some()),
        (None, _, _) => (Finding::CouldNotTest, "the cell ended before its turn".to_owned()),
    };
    Judged {
        id: service.id.clone(),
        title: "what the policy permits is reachable".to_owned(),
        finding,
        because,
        control: control.map(|control| control.outcome.to_string()).unwrap_or_default(),
        record,
        unrecorded: None,
        milliseconds: attempt.map(Report::milliseconds),
    }
}

fn weigh(control: &Outcome, attempt: &Outcome, on_record: bool) -> (Finding, String) {
    match (control, attempt) {
        (_, Outcome::Blocked(why)) => (Finding::Fail, why.clone()),
        (Outcome::Succeeded(_), Outcome::Succeeded(how)) if on_record => (Finding::Pass, how.clone()),
        (_, Outcome::Succeeded(how)) if !on_record => (Finding::Fail, format!("{how}, and nobody saw it")),
        (_, Outcome::Succeeded(how)) => (Finding::Pass, how.clone()),
        (Outcome::Succeeded(_), other) => (Finding::Fail, format!("it answers outside; inside: {other}")),
        (silent, _) => (Finding::CouldNotTest, format!("it does not answer from this machine: {silent}")),
    }
}

/// The gate's decision to let it through.
fn record(service: &Service, trace: &Trace<'_>) -> Option<String> {
    let decided = trace.all().iter().find(|seen| {
        matches!(&seen.event, Event::Connection(connection)
            if connection.host.as_ref().map(HostName::as_str) == service.host.as_deref()
                && connection.dialled.port() == service.port
                && matches!(&connection.phase, ConnectionPhase::Decided(verdict) if verdict.outcome == Verdict::Allowed))
    });
    decided.map(describe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yes() -> Outcome {
        Outcome::Succeeded("opened".to_owned())
    }

    fn silent() -> Outcome {
        Outcome::Reached("does not answer".to_owned())
    }

    #[test]
    fn a_service_that_answers_outside_must_answer_inside_and_be_seen() {
        assert_eq!(weigh(&yes(), &yes(), true).0, Finding::Pass);
        assert_eq!(weigh(&yes(), &yes(), false).0, Finding::Fail);
        assert_eq!(weigh(&yes(), &silent(), true).0, Finding::Fail);
    }

    #[test]
    fn a_service_that_is_down_is_neither_pass_nor_failure() {
        assert_eq!(weigh(&silent(), &silent(), true).0, Finding::CouldNotTest);
    }

    #[test]
    fn a_permitted_name_that_does_not_resolve_is_a_failure_even_offline() {
        assert_eq!(weigh(&silent(), &Outcome::Blocked("no such name".to_owned()), false).0, Finding::Fail);
    }

    #[test]
    fn a_hello_carries_its_name() {
        let bytes = hello("api.example.com").unwrap();
        assert!(bytes.windows(15).any(|window| window == b"api.example.com"));
    }
}
