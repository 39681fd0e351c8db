//! Asking a ledger, while it is being written or not. Blocks that cannot hold an answer are passed over unread.
//!
//! A reader never writes and takes no lock. It does not check the tree: that is what `verify` does.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use wardroom_ledger::index::Block;
use wardroom_ledger::{Filter, Query, Record, frame};

use crate::place::Place;
use crate::seal;
use crate::segment::{self, SegmentError, Stream};

/// The records of a ledger that answer a question, in its order.
///
/// `next` returns `None` at the present end; later calls go on where it was, so that a live ledger can be followed:
/// call [`Records::wait`] in between.
#[derive(Debug)]
pub struct Records {
    place: Place,
    filter: Filter,
    /// The segment being read.
    stream: Option<Stream>,
    /// Blocks of it that can hold answers; `None` where all of it is read.
    blocks: Option<VecDeque<Block>>,
    /// The sequence behind the block or stream position that was read last.
    next: u64,
    /// The segment that was opened last.
    last: Option<u64>,
    /// Segments to come, as they were seen last.
    todo: VecDeque<u64>,
    failed: bool,
}

/// Asks the ledger in a directory.
///
/// # Errors
/// The directory cannot be read.
pub fn records(ledger_dir: &Path, query: Query) -> Result<Records, SegmentError> {
    let place = Place::open_for_reading(ledger_dir)?;
    let todo = segment::firsts(&place)?.into();
    let filter = Filter::from(query);
    Ok(Records { place, filter, stream: None, blocks: None, next: 0, last: None, todo, failed: false })
}

impl Iterator for Records {
    type Item = Result<Record, SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let found = self.find().transpose();
        self.failed = matches!(found, Some(Err(_)));
        found
    }
}

impl Records {
    /// Waits until the ledger may have grown, or the time is over.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&self, at_most: Duration) -> Result<(), SegmentError> {
        let failed = |doing| self.place.failed(doing, "");
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .map_err(failed("watch"))?;
        let events = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE;
        inotify::add_watch(&watch, self.place.path(), events).map_err(failed("watch"))?;
        // What came between the last look and the watch would go unnoticed for the whole time: look again soon.
        let at_most = at_most.min(LOOK_AGAIN);
        let timeout = Timespec {
            tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(at_most.subsec_nanos()),
        };
        match poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(failed("watch")(errno).into()),
        }
        let mut buffer = [MaybeUninit::uninit(); 512];
        while inotify::Reader::new(&watch, &mut buffer).next().is_ok() {}
        Ok(())
    }

    fn find(&mut self) -> Result<Option<Record>, SegmentError> {
        loop {
            if self.stream.is_none() && !self.next_segment()? {
                return Ok(None);
            }
            if let Some(record) = self.find_here()? {
                return Ok(Some(record));
            }
            if !self.leave_segment()? {
                return Ok(None);
            }
        }
    }

    /// The next answer in the present segment.
    fn find_here(&mut self) -> Result<Option<Record>, SegmentError> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        loop {
            if let Some(blocks) = &mut self.blocks {
                let next = self.next;
                while blocks.pop_front_if(|block| next >= block.first + u64::from(block.records)).is_some() {}
                let Some(block) = blocks.front() else { return Ok(None) };
                if next < block.first {
                    stream.seek(block.offset);
                    self.next = block.first;
                }
            }
            let Some(frame) = stream.next()? else { return Ok(None) };
            self.next = frame.head.sequence + 1;
            if self.filter.may_be(&frame.head) {
                let record = Record::decode(&frame);
                if self.filter.is(&record) {
                    return Ok(Some(record));
                }
            }
        }
    }

    fn next_segment(&mut self) -> Result<bool, SegmentError> {
        if self.todo.is_empty() {
            let behind = self.last;
            let later = segment::firsts(&self.place)?
                .into_iter()
                .filter(|first| behind.is_none_or(|last| *first > last));
            self.todo = later.collect();
        }
        let Some(first) = self.todo.pop_front() else { return Ok(false) };
        self.last = Some(first);
        let stream = match Stream::open(&self.place, first) {
            Ok(stream) => stream,
            // Retired while we were reading.
            Err(SegmentError::Missing(_)) => return Ok(true),
            Err(error) => return Err(error),
        };
        self.next = self.next.max(first);
        self.blocks = if stream.sealed {
            let blocks = match seal::read_index(&self.place, first)? {
                Some(blocks) => blocks,
                None => seal::survey(&self.place, first)?,
            };
            self.next = 0;
            Some(blocks.into_iter().filter(|block| self.filter.may_hold(block)).collect())
        } else {
            None
        };
        self.stream = Some(stream);
        Ok(true)
    }

    /// Whether there is a segment behind the present one, and goes there. The last one is never left.
    fn leave_segment(&mut self) -> Result<bool, SegmentError> {
        let Some(first) = self.stream.as_ref().map(|stream| stream.first) else { return Ok(true) };
        if self.todo.is_empty() {
            self.todo = segment::firsts(&self.place)?.into_iter().filter(|next| *next > first).collect();
        }
        if self.todo.is_empty() {
            return Ok(false);
        }
        // The scribe may have added to this segment before it began the next one.
        if let Some(stream) = self.stream.as_mut().filter(|stream| !stream.sealed) {
            let (file, offset) = (stream.name().to_owned(), stream.offset());
            let rest = stream.rest()?;
            if !rest.is_empty() {
                let whole = frame::read_unchecked(rest);
                return whole.map(|_| true).map_err(|what| SegmentError::Damaged { file, offset, what });
            }
        }
        self.stream = None;
        Ok(true)
    }
}

/// The longest wait between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
