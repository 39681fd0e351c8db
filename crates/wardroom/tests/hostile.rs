//! Runs every hostile program of `hostile/` twice: in a cell, where it must fail and be seen on the ledger, and as its positive
//! control without the protection, where it must succeed, or the attempt proves nothing.
//!
//! One entry of the manifest is one test. `WARDROOM_HOSTILE=C5`, or an argument, chooses those whose id contains it.

mod hostile {
    pub(crate) mod attempt;
    pub(crate) mod manifest;
    pub(crate) mod place;
    pub(crate) mod report;
    pub(crate) mod services;
    pub(crate) mod spawn;
}

#[path = "common/https.rs"]
mod https;

use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::Result;

use crate::hostile::attempt::{self, Machine};
use crate::hostile::manifest::{self, Program};
use crate::hostile::report::{self, Report};

/// Two at a time: each is a handful of processes that mostly wait.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .or_else(|| std::env::var("WARDROOM_HOSTILE").ok());
    match run(filter.as_deref()) {
        Ok(report) => report.finish(),
        Err(error) => {
            report::line(&format!("test hostile_programs ... FAILED\n{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(filter: Option<&str>) -> Result<Report> {
    let mut programs = manifest::read()?;
    programs.retain(|program| filter.is_none_or(|filter| program.id.contains(filter)));
    let machine = Machine::prepare(&programs)?;
    let queue = Mutex::new(programs.into_iter());
    let report = Mutex::new(Report::default());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| work(&machine, &queue, &report));
        }
    });
    Ok(report.into_inner().unwrap_or_default())
}

fn work(machine: &Machine, queue: &Mutex<std::vec::IntoIter<Program>>, report: &Mutex<Report>) {
    loop {
        let Some(program) = queue.lock().ok().and_then(|mut queue| queue.next()) else {
            return;
        };
        let end = attempt::attempt(machine, &program);
        if let Ok(mut report) = report.lock() {
            report.add(&program.id, end);
        }
    }
}
