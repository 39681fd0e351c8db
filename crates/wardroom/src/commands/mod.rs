//! The operator's commands, one file a family.

mod credential;
mod edited;
mod exec;
mod learn;
pub(crate) mod ledger;
mod log;
pub(crate) mod policy;
mod prices;
mod ps;
mod reach;
pub(crate) mod run;
pub(crate) mod secret_input;
mod setup;

use clap::CommandFactory;
use clap_complete::Shell;
use wardroom_model::AgentName;
use wardroom_model::exit::Exit;

use crate::cli::{Cli, Command};
use crate::failure::{Done, Failure, OrExit};
use crate::places::Places;
use crate::{called, demo, screen, verify};

/// Does what was asked.
pub(crate) fn perform(cli: Cli) -> Done {
    called::with_base(cli.base.as_deref());
    let places = || Places::find(cli.base.as_deref());
    match cli.command {
        Command::Setup(asked) => setup::setup(&places()?, &asked),
        Command::Credential(asked) => credential::credential(&places()?, &asked),
        Command::Prices { built_in: true, .. } => prices::built_in(),
        Command::Prices { built_in: false, json } => prices::prices(&places()?, json),
        Command::Completions { shell } => Ok(completions(shell)),
        Command::Demo(asked) => demo::show(&asked),
        Command::New(asked) => policy::new(&places()?, &asked),
        Command::Check(asked) => policy::check(&places()?, &asked),
        Command::Why(asked) => policy::why(&places()?, &asked),
        Command::Allow(asked) => policy::allow(&places()?, &asked),
        Command::Learn(asked) => learn::learn(&places()?, &asked),
        Command::Run(asked) => run::run(&places()?, &asked),
        Command::Exec(asked) => exec::exec(&places()?, &asked),
        Command::Ps(asked) => ps::ps(&places()?, &asked),
        Command::Stop(asked) => exec::stop(&places()?, &asked),
        Command::Log(asked) => log::log(&places()?, &asked),
        Command::Verify(asked) => verify::verify(&places()?, &asked),
        Command::Ledger(asked) => ledger::ledger(&places()?, &asked),
    }
}

/// The script is made in memory: its maker panics where it cannot write.
fn completions(shell: Shell) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "wardroom", &mut script);
    screen::data(String::from_utf8_lossy(&script).trim_end());
    0
}

/// An agent's name as typed.
pub(crate) fn agent_name(text: &str) -> Result<AgentName, Failure> {
    AgentName::parse(text).or_exit(Exit::Usage)
}
