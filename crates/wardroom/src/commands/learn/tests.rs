use wardroom_ledger::{Head, Record, facets};
use wardroom_model::event::{
    Actor, Connection, ConnectionPhase, Event, NameQuery, Packet, Program, Session, SessionEnd, SessionStart,
    SocketAct, SocketOp, SocketTarget,
};
use wardroom_model::request::{Request, RequestDecision, RequestPhase};
use wardroom_model::{AgentName, Captured, HostName, Reason, Stamp, Verdict};
use wardroom_policy::Policy;

use super::answer::{self, Answer};
use super::declined::Declined;
use super::shown;
use super::wanted::{Item, Thing, Wanted};

const POLICY: &str = "[agent]\nname = \"scout\"\n[isolation]\nkind = \"cell\"\n\n\
    [[network.allow]]\nhost = \"api.net\"\nmethods = [\"GET\"]\npaths = [\"/a\"]\napps = [\"/usr/bin/gh\", \"/usr/bin/curl\"]\n\n\
    [[network.allow]]\nhost = \"git.net\"\nports = [22]\nprotocol = \"tcp\"\napps = [\"/usr/bin/ssh\"]\n\n\
    [[network.deny]]\nhost = \"evil.net\"\n";

fn policy() -> Policy {
    Policy::parse("scout.toml", POLICY).unwrap()
}

fn actor(path: &str, trusted: bool) -> Actor {
    Actor { pid: 7, program: Program { path: Captured::from(path), trusted } }
}

fn record(second: u64, event: Event) -> Record {
    let stamp = Stamp { monotonic: 0, wall: second * 1_000_000_000 };
    let (kind, outcome) = (event.kind().number(), facets::outcome(&event));
    Record { head: Head { sequence: second, stamp, kind, producer: 0, outcome, ring: 0 }, event: Some(event) }
}

fn asks_resolver(path: &str) -> Event {
    Event::Socket(SocketAct {
        actor: actor(path, true),
        op: SocketOp::Connect,
        address: SocketTarget::Inet("127.0.0.53:53".parse().unwrap()),
        verdict: Verdict::observed(),
    })
}

fn name(text: &str, rtype: u16) -> Event {
    let name = Captured::from(text);
    Event::Name(NameQuery { name, rtype, count: 1, verdict: Verdict::refused(Reason::NoRule) })
}

fn request(method: &str, path: &str) -> Event {
    let verdict = Verdict::refused(Reason::PathNotNamed);
    Event::Request(Request {
        id: 1,
        connection: 1,
        actor: Some(actor("/usr/bin/curl", true)),
        host: HostName::parse("api.net").unwrap(),
        port: 443,
        method: method.to_owned(),
        path: Captured::path(path.as_bytes()),
        phase: RequestPhase::Decided(RequestDecision { verdict, credential: None }),
    })
}

fn connection(host: Option<&str>, dialled: &str, by: Actor) -> Event {
    Event::Connection(Connection {
        id: 1,
        actor: Some(by),
        host: host.map(|host| HostName::parse(host).unwrap()),
        dialled: dialled.parse().unwrap(),
        phase: ConnectionPhase::Decided(Verdict::refused(Reason::NoRule)),
    })
}

fn wanted(events: impl IntoIterator<Item = Event>) -> (Vec<Item>, u64) {
    let (policy, mut wanted) = (policy(), Wanted::default());
    for (second, event) in (1_u64..).zip(events) {
        wanted.take(&record(second, event), policy.network());
    }
    let left_out = wanted.left_out;
    (wanted.items(), left_out)
}

#[test]
fn a_name_is_asked_about_once_with_its_programs_and_times() {
    let (items, _) = wanted([
        asks_resolver("/usr/bin/curl"),
        name("wiki.net", 1),
        name("wiki.net", 28),
        asks_resolver("/usr/bin/pip"),
        name("wiki.net", 1),
        name("evil.net", 1),
        name("api.net", 1),
    ]);
    assert_eq!(items.len(), 1, "{items:#?}");
    assert_eq!(items[0].thing, Thing::Name(HostName::parse("wiki.net").unwrap()));
    assert_eq!(
        (items[0].seen.count, items[0].seen.first, items[0].seen.last),
        (2, 2_000_000_000, 5_000_000_000)
    );
    assert_eq!(items[0].seen.by(), "/usr/bin/curl, /usr/bin/pip");
}

#[test]
fn what_the_probes_of_verify_try_is_nothing_that_the_agent_wants() {
    let started = |command: &[u8]| {
        let (command, mechanisms) = (Captured::cut(command, 4096), Vec::new());
        Event::Session(Session::Started(SessionStart { command, policy: [0; 32], mechanisms }))
    };
    let ended = || Event::Session(Session::Ended(SessionEnd { status: 0, because: None }));
    let (items, left_out) = wanted([
        started(b"/run/wardroom/probe\0__role\0probe\0all\0/x\0N1"),
        name("other.wardroom-verify.test", 1),
        connection(None, "169.254.169.254:80", actor("/run/wardroom/probe", true)),
        request("POST", "/b"),
        ended(),
        started(b"/run/wardroom/probe"),
        name("wiki.net", 1),
        ended(),
    ]);
    assert_eq!((items.len(), left_out), (1, 0), "{items:#?}");
    assert_eq!(items[0].thing, Thing::Name(HostName::parse("wiki.net").unwrap()));
}

#[test]
fn a_flood_of_names_is_one_thing_and_buries_nothing() {
    let flood = (0..20_000).map(|n| name(&format!("x{n}.flood.net"), 1));
    let (items, left_out) =
        wanted([name("wiki.net", 1)].into_iter().chain(flood).chain([request("POST", "/b")]));
    let kinds: Vec<_> = items.iter().map(|item| item.thing.clone()).collect();
    assert!(matches!(kinds[..], [Thing::Requests(..), Thing::Name(_), Thing::Domain(_)]), "{kinds:?}");
    assert_eq!(shown::title(&items[2]), "64 and more hosts below flood.net");
    assert_eq!((shown::parts(&items[2]).len(), items[2].seen.count, left_out), (11, 20_000, 0));
    // Even many domains leave room for what concerns hosts that are permitted.
    let domains = (0..20_000).map(|n| name(&format!("x{n}.net"), 1));
    let (items, _) = wanted(domains.chain([request("POST", "/b")]));
    assert!(matches!(items[0].thing, Thing::Requests(..)), "{:?}", items[0]);
}

#[test]
fn requests_become_rules_as_they_were_seen_and_nothing_wider() {
    let hostile = ["/**", "/x/*", "/a//b", "/a%2fb", "/a\u{1b}[2J"].map(|path| request("POST", path));
    let events = [
        request("POST", "/b?q=*"),
        request("PUT", "/b"),
        request("POST", "/c"),
        request("POST", "/b"),
        request("BREW", "/c"),
    ];
    let (items, left_out) = wanted(events.into_iter().chain(hostile));
    assert_eq!((items.len(), left_out), (1, 6));
    let asked: Vec<_> = items[0].requests.keys().map(|(method, path)| format!("{method} {path}")).collect();
    assert_eq!(asked, ["POST /b", "POST /c", "PUT /b"]);
    let text = answer::edit("scout.toml", POLICY, &items[0], Answer::AsSeen).unwrap().unwrap();
    for rule in [
        "methods = [\"POST\"]\npaths = [\"/c\"]\napps = [\"/usr/bin/gh\", \"/usr/bin/curl\"]\n",
        "methods = [\"POST\", \"PUT\"]\npaths = [\"/b\"]\napps = [\"/usr/bin/gh\", \"/usr/bin/curl\"]\n",
    ] {
        assert!(text.contains(rule), "{text}");
    }
    assert!(!text.contains('*'));
}

#[test]
fn connections_become_ports_programs_and_addresses() {
    let curl = || actor("/usr/bin/curl", true);
    let packet = |protocol, to: &str| {
        let verdict = Verdict::refused(Reason::LiteralAddress);
        Event::Packet(Packet {
            protocol,
            destination: to.parse().unwrap(),
            count: 2,
            actor: Some(curl()),
            verdict,
        })
    };
    let (items, left_out) = wanted([
        connection(Some("api.net"), "198.18.0.1:8443", curl()),
        connection(Some("git.net"), "198.18.0.2:22", curl()),
        connection(Some("git.net"), "198.18.0.2:22", actor("/workspace/x", false)),
        packet(6, "192.0.2.7:5432"),
        packet(17, "192.0.2.7:53"),
        packet(6, "127.0.0.1:80"),
        packet(6, "198.18.3.4:443"),
    ]);
    let mut texts: Vec<_> = items.iter().map(shown::title).collect();
    texts.sort();
    assert_eq!(
        texts,
        [
            "git.net:22, which is permitted to other programs than /usr/bin/curl",
            "port 8443 of api.net",
            "the address 192.0.2.7:5432, without a name",
        ]
    );
    assert_eq!(left_out, 7);
    for (item, wanted) in items.iter().map(|item| {
        (
            item,
            match item.thing {
                Thing::Program(..) => {
                    "host = \"git.net\"\nports = [22]\nprotocol = \"tcp\"\napps = [\"/usr/bin/curl\"]\n"
                }
                Thing::Address(_) => "address = \"192.0.2.7:5432\"\n",
                Thing::Requests(..) | Thing::Port(..) | Thing::Name(_) | Thing::Domain(_) => {
                    "host = \"api.net\"\nports = [8443]\n"
                }
            },
        )
    }) {
        let text = answer::edit("scout.toml", POLICY, item, Answer::Allow).unwrap().unwrap();
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn never_is_a_rule_where_a_rule_can_say_it_and_remembered_where_not() {
    let item = |thing| Item::new(thing);
    let host = || HostName::parse("wiki.net").unwrap();
    let edited = |thing| answer::edit("scout.toml", POLICY, &item(thing), Answer::Never);
    assert!(
        edited(Thing::Name(host())).unwrap().unwrap().ends_with("[[network.deny]]\nhost = \"wiki.net\"\n")
    );
    assert!(
        edited(Thing::Port(host(), 22)).unwrap().unwrap().ends_with("host = \"wiki.net\"\nports = [22]\n")
    );
    let domain = edited(Thing::Domain("flood.net".into())).unwrap().unwrap();
    assert!(
        domain.ends_with("host = \"flood.net\"\n\n[[network.deny]]\nhost = \"*.flood.net\"\n"),
        "{domain}"
    );
    assert!(edited(Thing::Address("192.0.2.7:5432".parse().unwrap())).is_none());

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("declined.json");
    let mut declined = Declined::read(file.clone()).unwrap();
    let (items, _) = wanted([request("POST", "/b")]);
    declined.add(&items[0]);
    declined.save().unwrap();
    let (items, _) = wanted([request("POST", "/b"), request("POST", "/c")]);
    let left = Declined::read(file.clone()).unwrap().without(items[0].clone()).unwrap();
    assert_eq!(left.requests.len(), 1);
    let (items, _) = wanted([request("POST", "/b")]);
    assert!(Declined::read(file).unwrap().without(items[0].clone()).is_none());
}

#[test]
fn programs_get_the_command_of_each_request() {
    let (items, _) = wanted([request("POST", "/it's")]);
    let agent = AgentName::parse("scout").unwrap();
    let json = shown::json(&agent, &items[0]);
    assert_eq!(
        json["requests"][0]["command"],
        "wardroom allow scout api.net --method POST --path '/it'\\''s'"
    );
    assert_eq!(json["seen"]["programs"][0], "/usr/bin/curl");
}
