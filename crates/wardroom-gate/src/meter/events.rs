//! Values out of a stream of server-sent events, as they flow by in whatever parts. Each event's data is a JSON text of its
//! own ([`Scan`]); no line and no event is kept.
//!
//! Format: <https://html.spec.whatwg.org/multipage/server-sent-events.html>. Lines end in LF, CR or CRLF; the data of an
//! event may stand in several lines; lines that begin with a colon are comments.

use memchr::memchr2;

use super::scan::{Found, Pointers, Scan};

const BOM: &[u8] = b"\xef\xbb\xbf";
const DATA: &[u8] = b"data";

/// Where in a line the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// So many bytes of a byte order mark were read: only at the very start.
    Mark(usize),
    /// So many bytes of `data` were read, and nothing else.
    Name(usize),
    /// Behind the colon: one space may follow.
    Colon,
    Data,
    /// A line that is not data.
    Other,
}

/// The reader.
#[derive(Debug)]
pub(crate) struct Events {
    pointers: Pointers,
    found: Found,
    line: Line,
    /// Whether the last byte was a CR: an LF then belongs to it.
    carriage: bool,
    data: Option<Scan>,
}

impl Events {
    pub(crate) fn new(pointers: &Pointers) -> Self {
        Self {
            pointers: Pointers::clone(pointers),
            found: Found::default(),
            line: Line::Mark(0),
            carriage: false,
            data: None,
        }
    }

    /// The next part, of any length.
    pub(crate) fn push(&mut self, part: &[u8]) {
        let mut left = part;
        while let Some((byte, rest)) = left.split_first() {
            if std::mem::take(&mut self.carriage) && *byte == b'\n' {
                left = rest;
                continue;
            }
            left = match (self.line, byte) {
                (_, b'\r' | b'\n') => {
                    self.carriage = *byte == b'\r';
                    self.end_line();
                    rest
                }
                (Line::Data, _) => self.data(left),
                (Line::Other, _) => skip(left),
                (Line::Mark(_) | Line::Name(_) | Line::Colon, _) => self.begin_line(left, *byte, rest),
            };
        }
    }

    /// What the events that are over said.
    pub(crate) fn found(&self) -> &Found {
        &self.found
    }

    /// The first bytes of a line, one at a time. Returns what is left.
    fn begin_line<'a>(&mut self, all: &'a [u8], byte: u8, rest: &'a [u8]) -> &'a [u8] {
        match self.line {
            Line::Mark(read) if BOM.get(read) == Some(&byte) => {
                self.line = if read + 1 == BOM.len() { Line::Name(0) } else { Line::Mark(read + 1) };
                rest
            }
            Line::Mark(0) => {
                self.line = Line::Name(0);
                all
            }
            Line::Name(read) if DATA.get(read) == Some(&byte) => {
                self.line = Line::Name(read + 1);
                rest
            }
            Line::Name(read) if read == DATA.len() && byte == b':' => {
                self.begin_data();
                self.line = Line::Colon;
                rest
            }
            Line::Colon => {
                self.line = Line::Data;
                if byte == b' ' { rest } else { all }
            }
            Line::Mark(_) | Line::Name(_) | Line::Data | Line::Other => {
                self.line = Line::Other;
                all
            }
        }
    }

    fn begin_data(&mut self) {
        match &mut self.data {
            Some(scan) => scan.push(b"\n"),
            None => self.data = Some(Scan::new(&self.pointers)),
        }
    }

    fn data<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let rest = skip(bytes);
        let length = bytes.len() - rest.len();
        if let (Some(scan), Some(data)) = (&mut self.data, bytes.get(..length)) {
            scan.push(data);
        }
        rest
    }

    /// An empty line ends the event.
    fn end_line(&mut self) {
        let empty = matches!(self.line, Line::Name(0) | Line::Mark(0));
        self.line = Line::Name(0);
        if let Some(found) = self.data.take_if(|_| empty).and_then(Scan::finish) {
            self.found.merge(found);
        }
    }
}

/// What is behind the rest of this line: its end, or nothing.
fn skip(bytes: &[u8]) -> &[u8] {
    memchr2(b'\r', b'\n', bytes).and_then(|at| bytes.get(at..)).unwrap_or_default()
}
