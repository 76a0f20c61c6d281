//! The blocking half of the worker: read, decode, decide. It keeps what was decided until it is committed.

use crate::decode::{Decoded, decode};
use crate::engine::{Changes, Engine, EngineCounts, Noticed, SystemCondition, Transition};
use crate::limits::{CHECKPOINT_RECORDS_MAX, CLOCK_LEAD_MAX_US, CLOCK_LEAD_OVER_US, STEP_BYTES_MAX};
use crate::orders::Orders;
use bytes::Bytes;
use std::sync::Arc;
use wardline_journal::{Entries, Entry, Offset, ReadError, Source};

/// A transition and when the record that caused it was accepted.
#[derive(Debug, Clone)]
pub(super) struct Decision {
    pub(super) transition: Transition,
    pub(super) caused_us: i64,
}

/// What one commit stores.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) next: Offset,
    pub(super) events: Vec<Decision>,
    pub(super) changes: Changes,
}

/// What one step did.
#[derive(Debug, Default)]
pub(super) struct Stepped {
    pub(super) records: u64,
    pub(super) poison: u64,
    pub(super) caught_up: bool,
    /// The journal could not be read.
    pub(super) failed: bool,
    pub(super) before: EngineCounts,
    pub(super) after: EngineCounts,
}

pub(super) struct Core {
    engine: Engine,
    source: Arc<dyn Source>,
    reader: Option<Box<dyn Entries>>,
    next: Offset,
    events: Vec<Decision>,
    records_open: usize,
    last_entry_us: i64,
    caught_up_us: i64,
    /// Journal time up to which the overrides are known that are in force.
    good_until_us: i64,
    /// Whether it may have been told that the journal's time leads the clock: it may after a restart.
    clock_may_lead: bool,
}

impl Core {
    pub(super) fn new(
        engine: Engine,
        source: Arc<dyn Source>,
        next: Option<Offset>,
        raised: Vec<Transition>,
    ) -> Self {
        let caused_us = engine.watermark_us();
        let events = raised.into_iter().map(|transition| Decision { transition, caused_us }).collect();
        let next = next.unwrap_or_else(|| source.start());
        Self {
            engine,
            source,
            reader: None,
            next,
            events,
            records_open: 0,
            last_entry_us: caused_us,
            caught_up_us: 0,
            good_until_us: i64::MIN,
            clock_may_lead: true,
        }
    }

    /// Takes one batch; when there is none, moves time on. `now_us` is the wall clock.
    pub(super) fn step(&mut self, now_us: i64, lag_max_us: i64) -> Stepped {
        let mut stepped = Stepped { before: self.engine.counts(), ..Stepped::default() };
        match self.read() {
            Ok(batch) if batch.is_empty() => {
                stepped.caught_up = true;
                self.idle(now_us);
            }
            Ok(batch) => {
                for entry in batch {
                    if entry.time_us >= self.good_until_us {
                        // What is in force by then is not known yet: this record is read again.
                        self.reader = None;
                        break;
                    }
                    stepped.records += 1;
                    self.feed(entry, &mut stepped);
                }
                // It ends when the engine has caught up, so that it does not flap at the bound.
                if now_us - self.last_entry_us > lag_max_us {
                    self.say(SystemCondition::EngineLag, true, now_us);
                }
            }
            Err(error) => {
                stepped.failed = true;
                self.recover(&error, now_us);
            }
        }
        self.look_at_clock(now_us);
        stepped.after = self.engine.counts();
        stepped
    }

    /// Takes what the store says about rules. Nothing is decided that lies behind what is known.
    pub(super) fn know(&mut self, orders: Option<Arc<Orders>>, good_until_us: i64) {
        if let Some(orders) = orders {
            self.engine.set_orders(orders);
        }
        self.good_until_us = good_until_us;
    }

    /// Returns the first offset that is not decided.
    pub(super) fn next(&self) -> Offset {
        self.next
    }

    pub(super) fn devices(&self) -> usize {
        self.engine.devices()
    }

    /// Returns the time up to which all that is durable was decided.
    pub(super) fn decided_up_to_us(&self) -> i64 {
        self.last_entry_us.max(self.caught_up_us)
    }

    /// Says whether there are events to commit.
    pub(super) fn has_decided(&self) -> bool {
        !self.events.is_empty()
    }

    /// Says whether records were decided since the last commit.
    pub(super) fn is_dirty(&self) -> bool {
        self.records_open > 0
    }

    /// Says whether so many records are open that a crash would cost too much.
    pub(super) fn is_due(&self) -> bool {
        self.records_open >= CHECKPOINT_RECORDS_MAX
    }

    /// Takes what must be committed.
    pub(super) fn take(&mut self) -> Decided {
        self.records_open = 0;
        let events = std::mem::take(&mut self.events);
        Decided { next: self.next, events, changes: self.engine.take_changes() }
    }

    fn read(&mut self) -> Result<Vec<Entry>, ReadError> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.source.entries(self.next)?,
        };
        let batch = reader.next_batch(STEP_BYTES_MAX)?;
        self.reader = Some(reader);
        Ok(batch)
    }

    fn feed(&mut self, entry: Entry, stepped: &mut Stepped) {
        let mut out = Vec::new();
        let caused_us = decide(&mut self.engine, entry.payload, entry.time_us, &mut out);
        if caused_us.is_none() {
            stepped.poison += 1;
            let offset = entry.offset.get();
            tracing::warn!(offset, "journal record passed over: it does not decode");
        }
        let caused_us = caused_us.unwrap_or(entry.time_us);
        self.events.extend(out.into_iter().map(|transition| Decision { transition, caused_us }));
        self.next = entry.offset.next();
        self.last_entry_us = entry.time_us;
        self.records_open += 1;
    }

    fn idle(&mut self, now_us: i64) {
        let Some(tick_us) = self.source.promise_time(self.engine.watermark_us()) else { return };
        if self.source.end() > self.next {
            return;
        }
        let mut out = Vec::new();
        self.engine.advance(tick_us.min(self.good_until_us), &mut out);
        self.events.extend(out.into_iter().map(|transition| Decision { transition, caused_us: tick_us }));
        self.caught_up_us = now_us;
        self.say(SystemCondition::JournalFailed, self.source.is_failed(), now_us);
        for healed in
            [SystemCondition::EngineLag, SystemCondition::JournalUnreadable, SystemCondition::RecordsLost]
        {
            self.say(healed, false, now_us);
        }
    }

    /// Tells when the journal's time leads the clock: it goes slowly until the clock has caught up, and silence is noticed
    /// by it.
    fn look_at_clock(&mut self, now_us: i64) {
        let leads_us = self.engine.watermark_us().saturating_sub(now_us);
        if leads_us > CLOCK_LEAD_MAX_US {
            self.clock_may_lead = true;
            self.say(SystemCondition::Clock, true, now_us);
        } else if leads_us <= CLOCK_LEAD_OVER_US && std::mem::take(&mut self.clock_may_lead) {
            self.say(SystemCondition::Clock, false, now_us);
        }
    }

    fn recover(&mut self, error: &ReadError, now_us: i64) {
        let lost = match error {
            ReadError::Dropped { start } => Some(*start),
            ReadError::PastEnd { .. } => Some(self.source.start()),
            _ => None,
        };
        match lost {
            Some(start) => {
                let (from, to) = (self.next.get(), start.get());
                tracing::error!(from, to, "journal records were gone before alarms were decided on them");
                self.next = start;
                self.records_open += 1;
                self.say(SystemCondition::RecordsLost, true, now_us);
            }
            None => {
                tracing::error!(%error, "journal cannot be read, trying again");
                self.say(SystemCondition::JournalUnreadable, true, now_us);
            }
        }
    }

    fn say(&mut self, condition: SystemCondition, on: bool, at_us: i64) {
        let mut out = Vec::new();
        self.engine.system(condition, on, at_us, &mut out);
        self.events.extend(out.into_iter().map(|transition| Decision { transition, caused_us: at_us }));
    }
}

/// Feeds one record to the engine. Decisions are by the journal's time, which never falls; returned is when the front
/// accepted the record, from which latency counts. `None` for bytes that do not decode.
pub(super) fn decide(
    engine: &mut Engine,
    payload: Bytes,
    time_us: i64,
    out: &mut Vec<Transition>,
) -> Option<i64> {
    match decode(payload) {
        Decoded::Seen(seen) => {
            engine.observe_at(&seen, time_us, out);
            return Some(seen.ingested_at_us);
        }
        Decoded::Unread { key } => {
            engine.notice(Noticed::AlarmLost, &key, time_us, out);
            return None;
        }
        Decoded::Contested { key } => engine.contested(&key, time_us, out),
        Decoded::Other => engine.advance(time_us, out),
        Decoded::Poison => return None,
    }
    Some(time_us)
}

#[cfg(test)]
mod tests;
