//! What a worker reads from: a journal of this machine, or records that came over a bus.
//!
//! Either way a record has an offset that rises by one, is read again from any offset that was not released, and is
//! followed by whoever asks. A journal's offsets are its own; those of a bus count what was delivered of a partition,
//! and what they stand for is told by [`Source::passage`], to be stored with what was made of the records.

use crate::{DurableState, DurableWatch, Entry, Journal, Lost, Offset, ReadError, Reader};
use std::fmt;
use tokio::sync::watch;

/// How far records that came from elsewhere are worked on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Passage {
    /// Where to read on, as the bus counts.
    pub position: u64,
    /// Of each log that records came from, by its name, the number that comes next.
    pub logs: Vec<([u8; 16], u64)>,
}

/// Records in order.
pub trait Source: fmt::Debug + Send + Sync {
    /// Returns the first offset that can be read.
    fn start(&self) -> Offset;

    /// Returns the offset after the last record.
    fn end(&self) -> Offset;

    /// Follows the end.
    fn growth(&self) -> Growth;

    /// Says whether no more records will ever come because something broke.
    fn is_failed(&self) -> bool;

    /// Returns a time, and promises that every entry behind the end as it is then has this time or a later one;
    /// [`Journal::promise_time`] says more. None: it is not known now whether there is more.
    fn promise_time(&self, reached_us: i64) -> Option<i64>;

    /// Makes a reader whose first entry has offset `from`.
    fn entries(&self, from: Offset) -> Result<Box<dyn Entries>, ReadError>;

    /// Returns what to store with all below `next`, and from which a successor goes on. None: the offset says it all.
    fn passage(&self, next: Offset) -> Option<Passage>;

    /// Notes that nothing below `next` will be read again.
    fn release(&self, next: Offset);
}

/// Reads a source in order. May block.
pub trait Entries: Send {
    /// Returns the next entries, as [`Reader::next_batch`] does.
    fn next_batch(&mut self, bytes_max: usize) -> Result<Vec<Entry>, ReadError>;
}

/// Follows the end of a source.
#[derive(Debug, Clone)]
pub enum Growth {
    /// Of a journal.
    Journal(DurableWatch),
    /// Of what is told by this watch: the offset after the last record.
    Told(watch::Receiver<Offset>),
}

impl Growth {
    /// Returns the offset after the last record.
    pub fn end(&self) -> Offset {
        match self {
            Self::Journal(durable) => durable.end(),
            Self::Told(end) => *end.borrow(),
        }
    }

    /// Waits until the end is another than was seen here. `Lost` when it never will be.
    pub async fn changed(&mut self) -> Result<(), Lost> {
        match self {
            Self::Journal(durable) => durable.changed().await.map(drop),
            Self::Told(end) => end.changed().await.map_err(|_gone| Lost),
        }
    }
}

impl From<DurableWatch> for Growth {
    fn from(durable: DurableWatch) -> Self {
        Self::Journal(durable)
    }
}

impl Source for Journal {
    fn start(&self) -> Offset {
        Self::start(self)
    }

    fn end(&self) -> Offset {
        self.durable_end()
    }

    fn growth(&self) -> Growth {
        Growth::Journal(self.durable())
    }

    fn is_failed(&self) -> bool {
        self.durable().current() == DurableState::Failed
    }

    fn promise_time(&self, reached_us: i64) -> Option<i64> {
        Some(Self::promise_time(self, reached_us))
    }

    fn entries(&self, from: Offset) -> Result<Box<dyn Entries>, ReadError> {
        Ok(Box::new(self.reader(from)?))
    }

    fn passage(&self, _next: Offset) -> Option<Passage> {
        None
    }

    fn release(&self, _next: Offset) {}
}

impl Entries for Reader {
    fn next_batch(&mut self, bytes_max: usize) -> Result<Vec<Entry>, ReadError> {
        Self::next_batch(self, bytes_max)
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Journal({} to {})", self.start(), self.durable_end())
    }
}
