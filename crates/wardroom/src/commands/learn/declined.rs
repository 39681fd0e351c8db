//! What the operator refused for good and no rule says: requests, programs and addresses that are refused anyway, by the
//! absence of a rule. Only so that they are not asked about again; nothing is decided by this file.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::Context;
use wardroom_model::exit::Exit;

use super::wanted::{Asked, Item, Thing};
use crate::failure::{Failure, OrExit};
use crate::keeper::whole;

/// The answers of before.
#[derive(Debug)]
pub(super) struct Declined {
    file: PathBuf,
    known: BTreeSet<String>,
}

impl Declined {
    /// Reads them.
    pub(super) fn read(file: PathBuf) -> Result<Self, Failure> {
        let known = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged: remove it, to be asked again", file.display()))
                .or_exit(Exit::Usage)?,
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(error).with_context(|| file.display().to_string()).or_exit(Exit::Usage),
        };
        Ok(Self { file, known })
    }

    /// Takes out of an item what was declined. None where nothing is left of it.
    pub(super) fn without(&self, mut item: Item) -> Option<Item> {
        let thing = item.thing.clone();
        item.requests.retain(|asked, _| !self.known.contains(&key(&thing, Some(asked))));
        let left = match thing {
            Thing::Requests(..) => !item.requests.is_empty(),
            Thing::Port(..) | Thing::Program(..) | Thing::Address(_) | Thing::Name(_) | Thing::Domain(_) => {
                !self.known.contains(&key(&thing, None))
            }
        };
        left.then_some(item)
    }

    /// Remembers that an item is refused for good.
    pub(super) fn add(&mut self, item: &Item) {
        if item.requests.is_empty() {
            self.known.insert(key(&item.thing, None));
        }
        self.known.extend(item.requests.keys().map(|asked| key(&item.thing, Some(asked))));
    }

    /// Writes them down, for the next time.
    pub(super) fn save(&self) -> Result<(), Failure> {
        // What an agent wanted is for nobody else to read.
        let written = whole(&self.file, 0o600, |mut file| {
            file.write_all(&serde_json::to_vec_pretty(&self.known)?)?;
            Ok(file.write_all(b"\n")?)
        });
        written.map(drop).or_exit(Exit::Internal)
    }
}

fn key(thing: &Thing, asked: Option<&Asked>) -> String {
    let request = asked.map(|(method, path)| format!(" {method} {path}")).unwrap_or_default();
    match thing {
        Thing::Requests(host, port) | Thing::Port(host, port) => format!("{host}:{port}{request}"),
        Thing::Program(host, port, program) => format!("{host}:{port} by {program}"),
        Thing::Address(address) => address.to_string(),
        Thing::Name(name) => name.to_string(),
        Thing::Domain(domain) => domain.clone(),
    }
}
