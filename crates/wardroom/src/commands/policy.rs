//! `new`, `check`, `why` and `allow`: the policy file, from its first line to its last edit.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::process::geteuid;
use wardroom_model::Outcome;
use wardroom_model::exit::Exit;
use wardroom_policy::edit::{self, Addition, What};
use wardroom_policy::plan::{self, PlanError};
use wardroom_policy::templates::{TEMPLATES, template_at};
use wardroom_policy::{EditError, Policy, PolicyErrors};

use super::{agent_name, edited, learn};
use crate::called::wardroom;
use crate::cli;
use crate::failure::{Done, Failure, OrExit, let_go};
use crate::keeper::{self, Obstacles, known_agents, policy_file};
use crate::layout::wrap;
use crate::places::Places;
use crate::screen;

/// A policy with where it came from.
#[derive(Debug)]
pub(crate) struct Source {
    /// The file; none for `--here`.
    pub(crate) file: Option<PathBuf>,
    /// The text, as read.
    pub(crate) text: String,
    /// What it says.
    pub(crate) policy: Policy,
}

impl Source {
    /// Parses a policy's text, with every mistake in one message.
    pub(crate) fn parse(file: Option<PathBuf>, text: String) -> Result<Self, Failure> {
        Self::read(file, text).map_err(|errors| has_mistakes(&errors))
    }

    /// The same, with the mistakes as they are.
    pub(crate) fn read(file: Option<PathBuf>, text: String) -> Result<Self, PolicyErrors> {
        let shown = file
            .as_ref()
            .map_or_else(|| "the policy of --here".to_owned(), |file| file.display().to_string());
        Policy::parse(&shown, &text).map(|policy| Self { file, text, policy })
    }

    /// The file as the records name it.
    pub(crate) fn shown(&self) -> String {
        self.policy.file().to_owned()
    }
}

/// Every mistake in one message.
fn has_mistakes(errors: &PolicyErrors) -> Failure {
    let rendered = errors.render(screen::talk_has_colours());
    Failure::new(Exit::Policy, format!("the policy has mistakes\n\n{}", rendered.trim_end()))
}

/// Reads and parses a policy file of any name.
fn draft(file: &Path) -> Result<Source, Failure> {
    Source::parse(Some(file.to_owned()), policy_file::read(file)?)
}

/// Reads and parses an agent's policy file.
pub(crate) fn load(file: &Path) -> Result<Source, Failure> {
    let source = draft(file)?;
    let named = source.policy.name().as_str();
    if file.file_stem().is_some_and(|stem| stem != named) {
        let why = format!(
            "{} is the policy of an agent called {named}; the file must be {named}.toml",
            file.display()
        );
        return Err(Failure::new(Exit::Policy, why));
    }
    Ok(source)
}

/// Writes a new policy file, never over an old one.
pub(crate) fn save(file: &Path, text: &str) -> Result<(), Failure> {
    let write = || -> anyhow::Result<()> {
        let directory = file.parent().context("a policy file lies in a directory")?;
        DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        let mut made = OpenOptions::new().write(true).create_new(true).mode(0o644).open(file)?;
        let written = made.write_all(text.as_bytes());
        if written.is_err() {
            // Half a policy is none, and would stand in the way of the next one. The error that matters is returned.
            let_go(fs::remove_file(file));
        }
        Ok(written?)
    };
    if file.exists() {
        let why = format!("{} exists already; edit it, or choose another name", file.display());
        return Err(Failure::new(Exit::Policy, why));
    }
    write().with_context(|| format!("cannot write {}", file.display())).or_exit(Exit::Internal)
}

/// Writes a policy from a template.
pub(super) fn new(places: &Places, asked: &cli::New) -> Done {
    let name = agent_name(&asked.name)?;
    let known = TEMPLATES.join(", ");
    // In system mode there is no operator's home for `~` to mean.
    let workspace = if geteuid().is_root() { format!("/srv/{name}") } else { format!("~/work/{name}") };
    let text = template_at(&asked.template, &name, &workspace).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("there is no template {:?}; there are: {known}", asked.template))
    })?;
    let file = places.agent(&name).policy;
    save(&file, &text)?;
    screen::data(&file.display().to_string());
    screen::talk(&format!(
        "Edit it, make its workspace ({workspace}), then: {0} check {name}, {0} run {name}",
        wardroom()
    ));
    Ok(0)
}

/// Says what is wrong with a policy, or what it means.
pub(super) fn check(places: &Places, asked: &cli::Check) -> Done {
    let files = match &asked.subject {
        Some(subject) if subject.contains('/') || Path::new(subject).extension().is_some() => {
            vec![PathBuf::from(subject)]
        }
        Some(name) => vec![places.agent(&agent_name(name)?).policy],
        None => known_agents(places)?,
    };
    if files.is_empty() {
        return Err(Failure::new(Exit::NoSuchAgent, format!("no policies in {}", places.agents().display())));
    }
    let mut code = 0;
    for file in files {
        // Only among the agents' own files does a name say whose policy it is.
        let checked = if file.parent() == Some(places.agents()) { load(&file) } else { draft(&file) };
        let meant = checked.and_then(|source| {
            let obstacles = keeper::rehearse(places, &source.policy)?;
            say_checked(&source, obstacles)
        });
        match meant.unwrap_or_else(|failure| failure.tell()) {
            0 => {}
            found => code = found,
        }
    }
    Ok(code)
}

/// Says what a policy means and what keeps it from being run here, and returns the code that `run` would. What no machine would
/// change is a mistake, and what has mistakes means nothing; what is missing here may come yet.
fn say_checked(source: &Source, obstacles: Obstacles) -> Done {
    let Obstacles { plan, mut here } = obstacles;
    let (mut mistakes, mut refused) = (Vec::new(), 0);
    for obstacle in plan {
        match obstacle {
            // A command may come with `run`.
            PlanError::NoCommand(_) => {}
            // Said with the meaning.
            PlanError::Unsupported(_) => refused = Exit::Policy.code(),
            PlanError::Path { .. } | PlanError::NoSystem(_) | PlanError::Landlock { .. } => {
                here.push(Failure::new(Exit::Policy, obstacle));
            }
            PlanError::NoHome { .. }
            | PlanError::Exposes { .. }
            | PlanError::Collision { .. }
            | PlanError::AppBehindLink { .. } => mistakes.push(obstacle),
        }
    }
    if !mistakes.is_empty() {
        return Err(has_mistakes(&plan::in_text(&source.shown(), &source.text, &mistakes)));
    }
    say_meaning(source);
    for missing in &here {
        say_sentence(&format!("on this machine `run` refuses it as it stands: {missing}"));
    }
    Ok(here.first().map_or(refused, Failure::code))
}

fn say_meaning(source: &Source) {
    screen::data(&format!("{}:", source.shown()));
    for sentence in wardroom_policy::explain(&source.policy) {
        say_sentence(&sentence);
    }
    for missing in source.policy.unsupported() {
        say_sentence(&format!("not yet supported, so `run` will refuse: {missing}"));
    }
}

/// One line for a program; for a person, as many as the terminal takes, the first of them further left.
fn say_sentence(sentence: &str) {
    let room = if screen::is_for_people() { screen::width().saturating_sub(4) } else { usize::MAX };
    for (index, line) in wrap(sentence, room).iter().enumerate() {
        screen::data(&format!("{}{line}", if index == 0 { "  " } else { "    " }));
    }
}

/// Answers for one host, address or path, with the rule that decides.
pub(super) fn why(places: &Places, asked: &cli::Why) -> Done {
    let source = load(&places.agent(&agent_name(&asked.name)?).policy)?;
    let answer = wardroom_policy::why(&source.policy, &asked.subject, &asked.method);
    screen::data(&answer.told(wardroom()));
    Ok(if answer.verdict().outcome == Outcome::Refused { Exit::Refused.code() } else { 0 })
}

/// Permits one more host or request: the file keeps its comments and layout, and the change is shown.
pub(super) fn allow(places: &Places, asked: &cli::Allow) -> Done {
    let Some(host) = &asked.host else { return learn::review(places, asked) };
    let name = agent_name(&asked.name)?;
    let before = load(&places.agent(&name).policy)?;
    let what = match (asked.manner.raw, asked.manner.inspect) {
        (true, _) => What::Raw,
        (false, true) => What::Inspected,
        (false, false) if asked.method.is_empty() && asked.path.is_empty() => What::Connection,
        (false, false) => What::Requests { methods: &asked.method, paths: &asked.path },
    };
    let addition = Addition { host, port: asked.port, what, apps: &[] };
    let text = match edit::allow(&before.shown(), &before.text, addition) {
        Err(already @ EditError::Already(_)) => {
            screen::talk(&format!("Nothing to change: {already}"));
            return Ok(0);
        }
        edited => edited.or_exit(Exit::Policy)?,
    };
    edited::replace(&before, &text)?;
    edited::show(&before, &text);
    screen::talk(&format!("{} is changed; {}", before.shown(), edited::in_force(&before, &text)));
    Ok(0)
}
