//! `ledger verify`, `ledger export` and `ledger key`: the record itself, and whether it can be believed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;
use wardroom_ledger::audit::Finding;
use wardroom_ledger::{Checkpoint, Verifier};
use wardroom_model::AgentName;
use wardroom_model::exit::Exit;
use wardroom_scribe::{Verification, export, verify};

use super::agent_name;
use crate::cli::{Ledger, LedgerVerify};
use crate::failure::{Done, Failure, OrExit};
use crate::ledger_key;
use crate::places::Places;
use crate::screen;

/// Does what was asked about a ledger.
pub(super) fn ledger(places: &Places, asked: &Ledger) -> Done {
    match asked {
        Ledger::Verify(asked) => say_finding(places, asked),
        Ledger::Export { name, to } => {
            let name = agent_name(name)?;
            let agent = places.agent(&name);
            let ledger = ledger_key::ledger(&agent, &name)?;
            let verifier = ledger_key::verifier(places, ledger).or_exit(Exit::NoSuchAgent)?;
            let checkpoint = export(ledger, &verifier, to).or_exit(Exit::Ledger)?;
            screen::data(&format!(
                "{} records of {} in {}",
                checkpoint.size,
                checkpoint.origin,
                to.display()
            ));
            screen::talk(&format!(
                "Verify the copy anywhere: wardroom ledger verify {} --key {verifier}",
                to.display()
            ));
            Ok(0)
        }
        Ledger::Key { name } => {
            let name = agent_name(name)?;
            let agent = places.agent(&name);
            let ledger = ledger_key::ledger(&agent, &name)?;
            screen::data(&ledger_key::verifier(places, ledger).or_exit(Exit::NoSuchAgent)?.to_string());
            Ok(0)
        }
    }
}

/// Verifies the ledger of an agent.
pub(crate) fn verify_agent(places: &Places, name: &AgentName) -> Result<Verification, Failure> {
    let ledger = places.agent(name).ledger;
    let verifier = ledger_key::verifier(places, &ledger).or_exit(Exit::NoSuchAgent)?;
    verify(&ledger, &verifier, None).or_exit(Exit::Ledger)
}

fn say_finding(places: &Places, asked: &LedgerVerify) -> Done {
    let ledger = directory(places, &asked.subject)?;
    let verifier = match &asked.key {
        Some(key) => Verifier::parse(key).context("--key is no public key").or_exit(Exit::Usage)?,
        None => own_key(places, asked, &ledger)?,
    };
    let kept = asked.checkpoint.as_deref().map(|file| checkpoint(file, &verifier)).transpose()?;
    let found = verify(&ledger, &verifier, kept.as_ref()).or_exit(Exit::Ledger)?;
    let shown = match asked.json {
        false => format!(
            "ledger verify: {} ({} records found, {} signed)",
            found.finding, found.records, found.covered
        ),
        true => json!({
            "finding": word(&found.finding),
            "detail": found.finding.to_string(),
            "records": found.records,
            "signed": found.covered,
            "retired_before": found.retired_before,
            "origin": verifier.name(),
        })
        .to_string(),
    };
    screen::data(&shown);
    Ok(exit(&found.finding))
}

/// This host's key. A copy that names another as its signer may be sound: it is not tampered with because it comes from elsewhere. Of an
/// agent's own ledger nothing but this host's key is believed.
fn own_key(places: &Places, asked: &LedgerVerify, ledger: &Path) -> Result<Verifier, Failure> {
    let verifier = ledger_key::verifier(places, ledger).or_exit(Exit::NoSuchAgent)?;
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_gone| path.to_owned());
    let is_own = AgentName::parse(&asked.subject).is_ok() || real(ledger).starts_with(real(places.state()));
    match ledger_key::claimed(ledger) {
        Some(other) if other != verifier && !is_own => {
            let why = format!(
                "{} names another key than this host's as its signer; if that is the one you expect: --key {other}",
                ledger.display()
            );
            Err(Failure::new(Exit::Usage, why))
        }
        Some(_) | None => Ok(verifier),
    }
}

/// A ledger by its agent's name, or by its directory.
fn directory(places: &Places, subject: &str) -> Result<PathBuf, Failure> {
    let named = AgentName::parse(subject).map(|name| {
        let agent = places.agent(&name);
        ledger_key::ledger(&agent, &name).map(Path::to_owned)
    });
    match named {
        Ok(Ok(ledger)) => Ok(ledger),
        Ok(Err(_)) | Err(_) if Path::new(subject).is_dir() => Ok(PathBuf::from(subject)),
        Ok(Err(failure)) => Err(failure),
        Err(_no_name) => Err(Failure::new(
            Exit::NoSuchAgent,
            format!("{subject} is neither an agent with a ledger nor a directory"),
        )),
    }
}

fn checkpoint(file: &Path, verifier: &Verifier) -> Result<Checkpoint, Failure> {
    let read =
        || -> anyhow::Result<Checkpoint> { Ok(Checkpoint::open(&fs::read_to_string(file)?, verifier)?) };
    read().with_context(|| format!("{} is no checkpoint of this ledger", file.display())).or_exit(Exit::Usage)
}

/// The finding as programs read it.
fn word(finding: &Finding) -> &'static str {
    match finding {
        Finding::Intact => "intact",
        Finding::Tampered(_) => "tampered",
        Finding::Truncated { .. } => "truncated",
        Finding::IncompleteTail { .. } => "incomplete",
        Finding::Stale { .. } => "stale",
    }
}

fn exit(finding: &Finding) -> u8 {
    match finding {
        Finding::Intact => 0,
        Finding::Tampered(_) => Exit::LedgerTampered.code(),
        Finding::Truncated { .. } => Exit::LedgerTruncated.code(),
        Finding::IncompleteTail { .. } => Exit::LedgerIncomplete.code(),
        Finding::Stale { .. } => Exit::LedgerStale.code(),
    }
}
