//! The dialogue: one thing at a time, then the edit as a diff, then a last question. Nothing is permitted before that.

use std::io::{self, IsTerminal};

use super::answer::{self, Answer};
use super::declined::Declined;
use super::keyboard::Keyboard;
use super::shown;
use super::wanted::{Asked, Item, Thing};
use crate::commands::edited;
use crate::commands::policy::Source;
use crate::failure::{Failure, OrExit};
use crate::screen;
use wardroom_model::exit::Exit;
use wardroom_policy::EditError;

/// Things that are asked about at once at most. Who has answered these runs it again for the rest.
const AT_ONCE: usize = 50;

/// Whether somebody is there to answer.
pub(super) fn can_ask() -> bool {
    io::stdin().is_terminal()
}

/// Asks about each thing, and writes what was answered once it has been shown and confirmed.
pub(super) fn review(source: &Source, items: Vec<Item>, mut declined: Declined) -> Result<(), Failure> {
    let mut edit = Edit {
        keyboard: Keyboard::begin(),
        file: source.shown(),
        text: source.text.clone(),
        declined: &mut declined,
        changed: false,
    };
    let all = items.len();
    screen::talk("Nothing is permitted before you confirm it at the end.");
    let mut more = items.into_iter();
    for (index, item) in more.by_ref().take(AT_ONCE).enumerate() {
        screen::talk(&format!("\n{} of {all}: {}", index + 1, shown::title(&item)));
        if about(&item, &mut edit)? == Next::Quit {
            break;
        }
    }
    let Edit { mut keyboard, text, changed: answered, .. } = edit;
    if all > AT_ONCE {
        screen::talk(&format!("{} more can be asked about: run this again.", all - AT_ONCE));
    }
    if text != source.text {
        screen::talk("");
        edited::show(source, &text);
        if keyboard.has_ended() {
            screen::talk("The input ended before this was confirmed. Nothing was written.");
            return Ok(());
        }
        if !confirmed(&mut keyboard, &format!("Write this into {}? [y/N] ", source.shown()))? {
            screen::talk("Nothing was written.");
            return Ok(());
        }
        edited::replace(source, &text)?;
        screen::talk(&format!("Written; {}.", edited::in_force(source, &text)));
    } else if !answered {
        screen::talk("Nothing was changed.");
    }
    if answered { declined.save() } else { Ok(()) }
}

/// What has been answered so far.
#[derive(Debug)]
struct Edit<'a> {
    keyboard: Keyboard,
    file: String,
    text: String,
    declined: &'a mut Declined,
    /// Whether `declined` has grown.
    changed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Go,
    Quit,
}

/// Asks about one thing until there is an answer that holds.
fn about(item: &Item, edit: &mut Edit<'_>) -> Result<Next, Failure> {
    screen::talk(&format!("  {}", shown::when(&item.seen)));
    for part in shown::parts(item) {
        screen::talk(&format!("    {part}"));
    }
    loop {
        let answer = choose(&mut edit.keyboard, &Answer::choices(&item.thing))?;
        match (answer, &item.thing) {
            (Answer::Quit, _) => return Ok(Next::Quit),
            (Answer::Later, _) => return Ok(Next::Go),
            (Answer::OneByOne, Thing::Domain(_)) => return each_name(item, edit),
            (Answer::OneByOne, _) => return each_request(item, edit),
            _ => {}
        }
        let done = match answer::edit(&edit.file, &edit.text, item, answer) {
            Some(edited) => edit.take(edited),
            None => edit.decline(item),
        };
        if done {
            return Ok(Next::Go);
        }
    }
}

/// Asks until the answer is one of the choices. Enter alone is `later`, and the end of input ends the asking.
fn choose(keyboard: &mut Keyboard, choices: &[(char, Answer, &'static str)]) -> Result<Answer, Failure> {
    let menu: Vec<_> = choices.iter().map(|(letter, _, does)| format!("  [{letter}] {does}")).collect();
    for line in wrapped(&menu, screen::talk_width()) {
        screen::talk(&line);
    }
    loop {
        let Some(word) = asked(keyboard, "  ? ")? else { return Ok(Answer::Quit) };
        if word.is_empty() {
            return Ok(Answer::Later);
        }
        let found = choices.iter().find(|(letter, _, _)| word.eq_ignore_ascii_case(&letter.to_string()));
        match found {
            Some((_, answer, _)) => return Ok(*answer),
            None => screen::talk("  One of these letters, please; Enter alone is `later`."),
        }
    }
}

/// As many choices in a line as fit.
fn wrapped(items: &[String], width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for item in items {
        match lines.last_mut() {
            // What is longer than a line has one of its own.
            Some(line) if line.is_empty() || line.len() + item.len() <= width => line.push_str(item),
            Some(_) | None => lines.push(item.clone()),
        }
    }
    lines
}

impl Edit<'_> {
    /// Remembers that something is refused for good, which no rule says.
    fn decline(&mut self, item: &Item) -> bool {
        self.declined.add(item);
        self.changed = true;
        true
    }

    /// Takes an edit over, or says why it cannot be made.
    fn take(&mut self, edited: Result<String, EditError>) -> bool {
        match edited {
            Ok(text) => {
                self.text = text;
                true
            }
            Err(error) => {
                screen::talk(&format!("  That cannot be written: {}", explained(&error)));
                false
            }
        }
    }
}

/// An error with what is behind it, in one line.
fn explained(error: &EditError) -> String {
    match error {
        EditError::Before(errors) | EditError::After(errors) => format!("{error}: {errors}"),
        EditError::Already(_)
        | EditError::Denied { .. }
        | EditError::InClear { .. }
        | EditError::Host { .. }
        | EditError::NoPort
        | EditError::NoName
        | EditError::Layout => error.to_string(),
    }
}

fn each_name(item: &Item, edit: &mut Edit<'_>) -> Result<Next, Failure> {
    for (name, seen) in &item.names {
        let mut one = Item::new(Thing::Name(name.clone()));
        one.seen = seen.clone();
        screen::talk(&format!("\n{} (of {})", shown::title(&one), shown::title(item)));
        if about(&one, edit)? == Next::Quit {
            return Ok(Next::Quit);
        }
    }
    Ok(Next::Go)
}

/// What can be answered about one request of several.
const EACH: [(char, Answer, &str); 4] = [
    ('a', Answer::Allow, "allow exactly this"),
    ('n', Answer::Never, "never, and do not ask again"),
    ('l', Answer::Later, "later"),
    ('q', Answer::Quit, "quit asking"),
];

/// Asks about each request, and makes rules of those that are allowed.
fn each_request(item: &Item, edit: &mut Edit<'_>) -> Result<Next, Failure> {
    let mut allowed: Vec<&Asked> = Vec::new();
    let mut next = Next::Go;
    for (request, seen) in &item.requests {
        let (method, path) = request;
        screen::talk(&format!("\n  {method} {}\n    {}", shown::short(path), shown::when(seen)));
        match choose(&mut edit.keyboard, &EACH)? {
            Answer::Allow => allowed.push(request),
            Answer::Never => {
                let mut one = Item::new(item.thing.clone());
                one.requests.insert(request.clone(), seen.clone());
                edit.decline(&one);
            }
            Answer::Quit => {
                next = Next::Quit;
                break;
            }
            Answer::Later | Answer::Inspect | Answer::Raw | Answer::AsSeen | Answer::OneByOne => {}
        }
    }
    if let Some(edited) = answer::as_seen(&edit.file, &edit.text, item, &allowed) {
        edit.take(edited);
    }
    Ok(next)
}

/// One line of the operator's; `None` at the end of input.
fn asked(keyboard: &mut Keyboard, question: &str) -> Result<Option<String>, Failure> {
    screen::prompt(question);
    let line = keyboard.line().or_exit(Exit::Usage)?;
    if line.is_none() {
        // The question's line has no Enter behind it.
        screen::talk("");
    }
    Ok(line)
}

fn confirmed(keyboard: &mut Keyboard, question: &str) -> Result<bool, Failure> {
    Ok(asked(keyboard, question)?.is_some_and(|word| ["y", "yes"].contains(&word.to_lowercase().as_str())))
}
