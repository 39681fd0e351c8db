//! `wardroom verify`: the containment, proven on the user's own machine. Attempts run as the agent in a cell of its own
//! policy; each has a positive control, and each must have left its record. What could not be tried is never a pass.

mod attempt;
mod clock;
mod dns;
mod fixtures;
mod judge;
mod ledger;
mod outcome;
mod probe;
mod report;
pub(crate) mod role;
mod rows;
mod scene;
mod services;
mod session;
mod trace;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use wardroom_model::bytes::Captured;
use wardroom_model::event::Probe as ProbeRecord;
use wardroom_model::exit::Exit;
use wardroom_model::{AgentName, Event};

use crate::commands::policy::{self, Source};
use crate::failure::{Done, Failure, OrExit};
use crate::places::{AgentPlaces, Places};
use crate::screen;
use crate::{cli, keeper, ledger_key};
use attempt::in_passing;
use fixtures::Outside;
use judge::Judged;
use ledger::Bench;
use outcome::Report;
use probe::Probe;
use report::Style;
use scene::{Place, PolicyFacts, Scene};
use services::Service;
pub(crate) use session::is_of_probes;
use trace::{Seen, Trace};

/// Proves the containment of one agent.
pub(crate) fn verify(places: &Places, asked: &cli::Verify) -> Done {
    let name = AgentName::parse(&asked.name).or_exit(Exit::Usage)?;
    let agent = places.agent(&name);
    let source = policy::load(&agent.policy)?;
    let wanted = |id: &str| asked.only.as_deref().is_none_or(|only| probe::is_meant(id, only));
    let results = Run::prepare(places, &agent, &source)?.results(source, &wanted)?;
    if results.is_empty() {
        let only = asked.only.as_deref().unwrap_or_default();
        return Err(Failure::new(Exit::Usage, format!("no probe's id starts with {only:?}")));
    }
    keeper::record(places, &name, &events(&results))?;
    tell(name.as_str(), &results, asked.json);
    Ok(report::exit(&results))
}

fn tell(agent: &str, results: &[Judged], as_json: bool) {
    if as_json {
        screen::data(&format!("{:#}", report::json(agent, results)));
        return;
    }
    let style = Style { width: screen::width(), colour: screen::data_has_colours() };
    for line in report::table(agent, results, style) {
        if !screen::data(&line) {
            break;
        }
    }
}

/// One run of `verify`.
struct Run<'a> {
    places: &'a Places,
    agent: &'a AgentPlaces,
    outside: Outside,
    /// Records from before.
    before: u64,
}

impl<'a> Run<'a> {
    fn prepare(places: &'a Places, agent: &'a AgentPlaces, source: &Source) -> Result<Self, Failure> {
        let mut outside = Outside::start(&role::nonce()).or_exit(Exit::Internal)?;
        outside.fixtures.policy = facts(source);
        outside.fixtures.services = services::permitted(source.policy.network());
        let before = session::size(agent)?;
        Ok(Self { places, agent, outside, before })
    }

    /// Controls, attempts, records, and what they show together.
    fn results(self, source: Source, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Judged>, Failure> {
        let probes: Vec<&'static Probe> = rows::all().filter(|probe| wanted(probe.id)).collect();
        let governed: Vec<&'static Probe> = rows::governed().filter(|probe| wanted(probe.id)).collect();
        let services: Vec<&Service> =
            self.outside.fixtures.services.iter().filter(|service| wanted(&service.id)).collect();
        let tried =
            services.iter().filter(|service| service.untried.is_none()).map(|service| service.id.as_str());
        let ids: Vec<&str> = tried.chain(probes.iter().map(|probe| probe.id)).collect();
        let governed_ids: Vec<&str> = governed.iter().map(|probe| probe.id).collect();
        let made = self.make(source, &ids, &governed_ids)?;
        let mut results: Vec<Judged> = services.iter().map(|service| made.service(service)).collect();
        for probe in probes.into_iter().chain(governed) {
            results.extend(made.probe(probe, &self.scene(probe)));
        }
        if ledger::ids().any(wanted) {
            let verifier = ledger_key::verifier(self.places, &self.agent.ledger).or_exit(Exit::Ledger)?;
            let room = &self.outside.fixtures.directory;
            let bench = Bench { ledger: &self.agent.ledger, verifier, room, older: made.older };
            results.extend(ledger::all(&bench, wanted));
        }
        results.sort_by_key(|judged| (judged.layer(), probe::line_number(&judged.id)));
        Ok(results)
    }

    /// Makes the controls, then the attempts in the two cells, and reads their records.
    fn make(&self, source: Source, ids: &[&str], governed: &[&str]) -> Result<Made, Failure> {
        let fixtures = serde_json::to_string(&self.outside.fixtures).or_exit(Exit::Internal)?;
        let controlled = ids.iter().chain(governed);
        let count = ids.len() + governed.len();
        screen::talk(&format!(
            "wardroom: {count} attempts outside first, to see that each works, which takes the most time; then the same in a cell"
        ));
        let controls = by_id(controlled.map(|id| role::run("control", id, &fixtures)).collect());
        // After the controls, for one of which there must be no policy to replace.
        let with_services = self.with_services(&source);
        let shared = self.outside.fixtures.shared();
        let mut attempts = session::attempts(self.places, source, &shared, &fixtures, ids)?;
        let older = self.outside.fixtures.directory.join("older");
        let older = ledger::copy(&self.agent.ledger, &older).is_ok().then_some(older);
        match with_services {
            Ok(source) => {
                if !governed.is_empty() {
                    screen::talk(ON_PURPOSE);
                }
                attempts.extend(session::attempts(self.places, source, &shared, &fixtures, governed)?);
            }
            // A policy to which no rules can be added. What was not tried will say so.
            Err(failure) => in_passing::<u8, ()>(Ok(failure.tell())),
        }
        let records = session::since(self.agent, self.before)?;
        Ok(Made { controls, attempts: by_id(attempts), records, older })
    }

    /// The second cell's policy: the agent's, with rules for services of our own. A file, because one probe replaces it.
    fn with_services(&self, source: &Source) -> Result<Source, Failure> {
        let directory = &self.outside.fixtures.directory;
        let text = format!("{}{}", source.text, rows::governed::rules(&self.outside.fixtures));
        fs::write(directory.join(fixtures::NARROWED), &source.text).or_exit(Exit::Internal)?;
        let file = directory.join(fixtures::POLICY);
        fs::write(&file, &text).or_exit(Exit::Internal)?;
        Source::parse(Some(file), text)
    }

    fn scene(&self, probe: &Probe) -> Scene {
        Scene { place: Place::Cell, id: probe.id.to_owned(), fixtures: self.outside.fixtures.clone() }
    }
}

/// What was made, and what was seen of it.
struct Made {
    controls: BTreeMap<String, Report>,
    attempts: BTreeMap<String, Report>,
    records: Vec<Seen>,
    older: Option<PathBuf>,
}

impl Made {
    fn service(&self, service: &Service) -> Judged {
        let trace = Trace::of(&service.id, &self.records);
        services::judge(service, self.controls.get(&service.id), self.attempts.get(&service.id), &trace)
    }

    fn probe(&self, probe: &Probe, scene: &Scene) -> Option<Judged> {
        let trace = Trace::of(probe.id, &self.records);
        Some(judge::judge(probe, self.controls.get(probe.id)?, self.attempts.get(probe.id), &trace, scene))
    }
}

fn by_id(reports: Vec<Report>) -> BTreeMap<String, Report> {
    reports.into_iter().map(|report| (report.id.clone(), report)).collect()
}

/// What of the policy the attempts must know.
fn facts(source: &Source) -> PolicyFacts {
    let isolation = source.policy.isolation();
    PolicyFacts {
        may_trace: isolation.trace_children,
        audit_reads: source.policy.files().audit_reads,
        canaries: canaries(source),
        literals: source.policy.network().literals(),
        tasks: isolation.tasks,
        memory: isolation.memory,
        descriptors: Some(DESCRIPTORS),
        room: role::spare_memory(),
    }
}

/// Where decoys lie in the agent's home, unless the policy wants none.
fn canaries(source: &Source) -> Vec<PathBuf> {
    let all = source.policy.files().canaries.then(wardroom_policy::canary::all).unwrap_or_default();
    all.into_iter().map(|canary| canary.path).collect()
}

/// Said before a keeper tells what the probes of the second cell do to it.
const ON_PURPOSE: &str = "wardroom: some probes now kill a scribe and a gate and replace a policy, of a cell of their own, to see what follows:";

/// Descriptors of a process that every cell permits at most (see the policy crate's plan).
const DESCRIPTORS: u64 = 16_384;

/// The records of a result: one a probe, and the summary.
fn events(results: &[Judged]) -> Vec<Event> {
    let event = |id: &str, result: &str, evidence: &str| {
        Event::Probe(ProbeRecord {
            id: id.to_owned(),
            result: result.to_owned(),
            evidence: Captured::cut(evidence.as_bytes(), 1024),
        })
    };
    let mut events: Vec<Event> = results
        .iter()
        .map(|judged| {
            event(&judged.id, judged.finding.word(), judged.record.as_deref().unwrap_or(&judged.because))
        })
        .collect();
    events.push(event("summary", "verify", &report::summary(results)));
    events
}
