//! A few values out of a JSON text that flows by, in whatever parts it comes: no part is kept, and no text is built.
//!
//! Every parser at hand builds a tree, or keeps whole strings: bodies of model APIs carry strings of many megabytes. What is
//! kept here is the path to where the reader is, one name or one value. Whatever is not plain JSON, or what two readers
//! could understand differently (a name twice, a number where text belongs), is said to be so: the caller assumes the worst.

use std::collections::BTreeMap;
use std::mem;
use std::rc::Rc;

use memchr::memchr2;

/// Objects and arrays in each other. Real requests have some ten; parsers commonly refuse more than 128.
const DEPTH: usize = 128;
/// The longest name or value that is kept: names are of a few words, and each letter may be written as six bytes.
const TOKEN: usize = 1_024;

/// What a value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Field {
    /// The model's name.
    Model,
    /// Tokens in.
    Input,
    /// Tokens out.
    Output,
    /// Tokens read from a cache.
    Cached,
    /// Tokens written to a cache.
    Written,
    /// Tokens written to a cache for an hour; part of [`Self::Written`].
    WrittenLong,
    /// The most tokens that may come out.
    MaxOutput,
    /// How many answers are asked for at once.
    Choices,
}

/// A value that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Number(u64),
    Text(String),
    /// Something that is neither, or two that differ.
    Odd,
}

/// Where values stand: for each, the names from the top. A number in a path is a place in an array.
pub(crate) type Pointers = Rc<[(Field, Vec<String>)]>;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found(BTreeMap<Field, Value>);

impl Found {
    /// Keeps the largest of several numbers: counts that come again and again are totals.
    fn put(&mut self, field: Field, value: Value) {
        let value = match (self.0.remove(&field), value) {
            (None, value) => value,
            (Some(Value::Number(one)), Value::Number(other)) => Value::Number(one.max(other)),
            (Some(Value::Text(one)), Value::Text(other)) if one == other => Value::Text(one),
            (Some(_), _) => Value::Odd,
        };
        self.0.insert(field, value);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (field, value) in other.0 {
            self.put(field, value);
        }
    }

    pub(crate) fn get(&self, field: Field) -> Option<&Value> {
        self.0.get(&field)
    }

    /// A number that was said without doubt.
    pub(crate) fn number(&self, field: Field) -> Option<u64> {
        match self.0.get(&field)? {
            Value::Number(number) => Some(*number),
            Value::Text(_) | Value::Odd => None,
        }
    }

    /// A text that was said without doubt.
    pub(crate) fn text(&self, field: Field) -> Option<&str> {
        match self.0.get(&field)? {
            Value::Text(text) => Some(text),
            Value::Number(_) | Value::Odd => None,
        }
    }
}

/// Whether a text is a whole JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whole {
    NotYet,
    Yes,
    /// It can never become one.
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A value must come.
    Value,
    /// A value or the end of an array that has just begun.
    ValueOrEnd,
    /// A name must come.
    Name,
    /// A name or the end of an object that has just begun.
    NameOrEnd,
    InName,
    Colon,
    InText,
    /// Numbers, `true`, `false`, `null`.
    InBare,
    /// A value is over.
    After,
    Done,
    Broken,
}

/// An object or array that the reader is in.
#[derive(Debug, Clone, Copy)]
struct Frame {
    object: bool,
    /// The pointers that lead here or beyond: a bit for each.
    live: u64,
    /// The place of the next value of an array.
    next: u64,
}

/// The reader.
#[derive(Debug)]
pub(crate) struct Scan {
    pointers: Pointers,
    found: Found,
    stack: Vec<Frame>,
    state: State,
    /// The pointers that lead to the value that comes next, or beyond.
    live: u64,
    escaped: bool,
    /// Whether the name or value that is read is wanted.
    wanted: bool,
    token: Vec<u8>,
}

impl Scan {
    /// At most 64 pointers count: there are a dozen.
    pub(crate) fn new(pointers: &Pointers) -> Self {
        let live = (0..pointers.len().min(64)).fold(0, |bits, at| bits | 1_u64 << at);
        Self {
            pointers: Rc::clone(pointers),
            found: Found::default(),
            stack: Vec::new(),
            state: State::Value,
            live,
            escaped: false,
            wanted: false,
            token: Vec::new(),
        }
    }

    /// The next part, of any length.
    pub(crate) fn push(&mut self, part: &[u8]) {
        let mut left = part;
        while let Some((byte, rest)) = left.split_first() {
            left = match self.state {
                State::InName | State::InText => self.quoted(left),
                State::InBare => self.bare(left),
                State::Broken => return,
                State::Value
                | State::ValueOrEnd
                | State::Name
                | State::NameOrEnd
                | State::Colon
                | State::After
                | State::Done => {
                    self.between(*byte);
                    rest
                }
            };
        }
    }

    pub(crate) fn whole(&self) -> Whole {
        match self.state {
            State::Done => Whole::Yes,
            State::Broken => Whole::Never,
            State::Value
            | State::ValueOrEnd
            | State::Name
            | State::NameOrEnd
            | State::InName
            | State::Colon
            | State::InText
            | State::InBare
            | State::After => Whole::NotYet,
        }
    }

    /// What was found up to now.
    pub(crate) fn found(&self) -> &Found {
        &self.found
    }

    /// What was found, where the text was whole; nothing otherwise.
    pub(crate) fn finish(self) -> Option<Found> {
        (self.whole() == Whole::Yes).then_some(self.found)
    }

    fn between(&mut self, byte: u8) {
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            return;
        }
        match (self.state, byte) {
            (State::Value | State::ValueOrEnd, _) if byte != b']' => self.value(byte),
            (State::ValueOrEnd, b']') | (State::NameOrEnd, b'}') => self.close(byte),
            (State::Name | State::NameOrEnd, b'"') => {
                self.wanted = self.stack.last().is_some_and(|frame| frame.live != 0);
                self.begin(State::InName);
            }
            (State::Colon, b':') => self.state = State::Value,
            (State::After, b',') => self.next(),
            (State::After, b'}' | b']') => self.close(byte),
            _ => self.state = State::Broken,
        }
    }

    /// A value begins.
    fn value(&mut self, byte: u8) {
        self.wanted = self.ends_here() != 0;
        match byte {
            b'{' | b'[' => self.open(byte == b'{'),
            b'"' => self.begin(State::InText),
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                self.wanted = true;
                self.begin(State::InBare);
                self.token.push(byte);
            }
            _ => self.state = State::Broken,
        }
    }

    fn begin(&mut self, state: State) {
        self.token.clear();
        self.escaped = false;
        self.state = state;
    }

    fn open(&mut self, object: bool) {
        if self.stack.len() >= DEPTH {
            self.state = State::Broken;
            return;
        }
        self.put(|| Value::Odd);
        self.stack.push(Frame { object, live: self.live, next: 0 });
        if object {
            self.state = State::NameOrEnd;
        } else {
            self.at_place();
            self.state = State::ValueOrEnd;
        }
    }

    fn close(&mut self, byte: u8) {
        match self.stack.pop() {
            Some(frame) if frame.object == (byte == b'}') => self.after(),
            Some(_) | None => self.state = State::Broken,
        }
    }

    fn next(&mut self) {
        match self.stack.last_mut() {
            Some(frame) if frame.object => self.state = State::Name,
            Some(frame) => {
                frame.next += 1;
                self.at_place();
                self.state = State::Value;
            }
            None => self.state = State::Broken,
        }
    }

    fn after(&mut self) {
        self.state = if self.stack.is_empty() { State::Done } else { State::After };
    }

    /// Reads on in a name or a text, and returns what is behind it.
    fn quoted<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let mut from = 0;
        loop {
            if mem::take(&mut self.escaped) {
                from += 1;
            }
            let rest = bytes.get(from..).unwrap_or_default();
            let Some(at) = memchr2(b'"', b'\\', rest) else {
                self.keep(bytes);
                return &[];
            };
            let end = from + at;
            if bytes.get(end) == Some(&b'"') {
                self.keep(bytes.get(..end).unwrap_or_default());
                self.unquoted();
                return bytes.get(end + 1..).unwrap_or_default();
            }
            from = end + 1;
            self.escaped = true;
            if from >= bytes.len() {
                self.keep(bytes);
                return &[];
            }
        }
    }

    /// Keeps what is wanted, up to a byte more than the bound.
    fn keep(&mut self, bytes: &[u8]) {
        if self.wanted {
            let room = (TOKEN + 1).saturating_sub(self.token.len());
            self.token.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
    }

    /// A name or a text is over.
    fn unquoted(&mut self) {
        let text = if self.wanted { decode(&self.token) } else { None };
        if self.state == State::InName {
            self.live = self.leads(text.as_deref(), self.wanted);
            self.state = State::Colon;
        } else {
            self.put(|| text.map_or(Value::Odd, Value::Text));
            self.after();
        }
    }

    /// Reads on in a number or a word, and returns what is behind it: the byte that ends it is not part of it.
    fn bare<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let inside = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let length = bytes.iter().take_while(|b| inside(b)).count();
        let (word, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
        self.keep(word);
        if rest.is_empty() {
            return rest;
        }
        match serde_json::from_slice(&self.token) {
            Err(_) => self.state = State::Broken,
            Ok(_) if self.token.len() > TOKEN => self.state = State::Broken,
            Ok(word) => {
                if let Some(value) = bare_value(&word) {
                    self.put(|| value);
                }
                self.after();
            }
        }
        rest
    }

    /// Which pointers lead through a name, or beyond it. Names are compared without regard to case, as some readers do.
    fn leads(&self, name: Option<&str>, wanted: bool) -> u64 {
        let Some(frame) = self.stack.last().filter(|_| wanted) else { return 0 };
        let Some(name) = name else { return 0 };
        self.through(frame.live, |step| step.eq_ignore_ascii_case(name))
    }

    /// The pointers to the next place of the array that the reader is in.
    fn at_place(&mut self) {
        let Some(frame) = self.stack.last() else { return };
        let (live, place) = (frame.live, frame.next);
        self.live = if live == 0 { 0 } else { self.through(live, |step| step.parse() == Ok(place)) };
    }

    fn through(&self, live: u64, leads: impl Fn(&str) -> bool) -> u64 {
        let depth = self.stack.len().saturating_sub(1);
        let steps = self.pointers.iter().take(64).map(|(_, path)| path.get(depth));
        (0_u32..).zip(steps).fold(0, |bits, (at, step)| {
            let lit = live & 1 << at != 0 && step.is_some_and(|step| leads(step));
            bits | u64::from(lit) << at
        })
    }

    /// The pointers that end at the value that comes now.
    fn ends_here(&self) -> u64 {
        if self.live == 0 {
            return 0;
        }
        let depth = self.stack.len();
        let ends = self.pointers.iter().take(64).map(|(_, path)| path.len() == depth);
        (0_u32..)
            .zip(ends)
            .fold(0, |bits, (at, ends)| bits | u64::from(ends && self.live & 1 << at != 0) << at)
    }

    fn put(&mut self, value: impl FnOnce() -> Value) {
        let here = self.ends_here();
        if here == 0 {
            return;
        }
        let value = value();
        let pointers = Rc::clone(&self.pointers);
        for ((field, _), at) in pointers.iter().zip(0_u32..64) {
            if here & 1 << at != 0 {
                self.found.put(*field, value.clone());
            }
        }
    }
}

/// The letters of a quoted name or text. None for what is too long, or no JSON.
fn decode(raw: &[u8]) -> Option<String> {
    if raw.len() > TOKEN {
        return None;
    }
    let quoted = [b"\"".as_slice(), raw, b"\"".as_slice()].concat();
    serde_json::from_slice(&quoted).ok()
}

/// `null` is as if nothing was said; a fraction is rounded up.
fn bare_value(word: &serde_json::Value) -> Option<Value> {
    match word {
        serde_json::Value::Null => None,
        serde_json::Value::Number(number) => {
            let whole = number.as_u64().or_else(|| {
                let fraction = number.as_f64().filter(|n| (0.0..9e15).contains(n))?;
                format!("{:.0}", fraction.ceil()).parse().ok()
            });
            Some(whole.map_or(Value::Odd, Value::Number))
        }
        serde_json::Value::Bool(_)
        | serde_json::Value::String(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_) => Some(Value::Odd),
    }
}

#[cfg(test)]
mod tests;
