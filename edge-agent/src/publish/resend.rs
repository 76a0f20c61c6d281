//! Sending again what the gateway asks for: read back from what is kept, under the same epoch and seq, so that the archive
//! stores it once however often it comes.
//!
//! One request after the other, slowly, a few frames in flight, and only when nothing that was never sent may go. A
//! request outlives a connection; what a killed agent was asked, the gateway asks again. At the end one frame of events
//! tells, together, which positions are not held any more and that the request is done: so a loss is told when the whole
//! answer is durable, and a request that is begun anew tells it anew only when it was never told.

use super::answer::Answer;
use super::feed::Item;
use super::repair::put_events;
use super::window::Flight;
use crate::clock::{ClockOptions, ClockState, now_us};
use crate::lanes::LaneIndex;
use crate::notices::Notices;
use crate::spool::record::{Content, Spooled};
use crate::spool::{Mark, Spool, SpoolError};
use crate::stats::Counters;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wardline_journal::{Entry, ReadError, Reader};
use wardline_proto::limits::{RESEND_FRAMES_MAX, RESEND_RANGES_MAX};
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::{DeviceEvent, Resend, ResendDone, SpoolGap};

/// Requests that wait their turn; the gateway has fewer open of one device.
pub(super) const RESENDS_MAX: usize = 32;
/// Requests that are remembered as done, so that none is done twice.
const DONE_MAX: usize = 64;
/// Bytes that are read back at once, and so the most that waits in memory.
const READ_BYTES: usize = 64 * 1024;
/// Least time between two frames: 200 a second leave a slow link and a gateway's budget to what is live.
const PACE: Duration = Duration::from_millis(5);
/// How long the gateway is left alone when it wants less, and how often an event that found no room is tried again.
const HOLD: Duration = Duration::from_secs(1);
/// Runs of lost positions that one frame of events tells.
const RUNS_MAX: usize = 256;

/// What is asked for.
pub(super) struct Resends {
    spool: Arc<Spool>,
    clock: ClockState,
    counters: Arc<Counters>,
    notices: Arc<Notices>,
    /// The first is worked on.
    jobs: VecDeque<Job>,
    done: VecDeque<Resend>,
    next_at: Instant,
}

/// A request.
struct Job {
    asked: Resend,
    lane: LaneIndex,
    /// Offsets that were not read yet, first and last, ascending.
    ranges: VecDeque<(u64, u64)>,
    reader: Option<Reader>,
    pending: VecDeque<Item>,
    flying: usize,
    told: ResendDone,
    /// Frames that the gateway refused.
    refused: u64,
    /// Positions that are not held and not told of, first and last.
    lost: Vec<(u64, u64)>,
    /// When the answer is written.
    mark: Option<Mark>,
}

impl Resends {
    pub(super) fn new(
        clock: ClockOptions,
        spool: Arc<Spool>,
        counters: Arc<Counters>,
        notices: Arc<Notices>,
    ) -> Self {
        let (jobs, done, clock) = (VecDeque::new(), VecDeque::new(), ClockState::new(clock));
        Self { spool, clock, counters, notices, jobs, done, next_at: Instant::now() }
    }

    /// Takes a request. One that is known is not taken twice, one that cannot be is said to the status.
    pub(super) fn take(&mut self, asked: Resend) {
        // The gateway asks each session anew, for what is then missing.
        let is_it = |known: &Resend| {
            (known.request, known.asked_at_us) == (asked.request, asked.asked_at_us)
                && (known.epoch, known.lane) == (asked.epoch, asked.lane)
        };
        if self.done.iter().any(is_it) || self.jobs.iter().any(|job| is_it(&job.asked)) {
            return;
        }
        let refusal = match Job::new(&self.spool, asked) {
            Some(job) if self.jobs.len() < RESENDS_MAX => {
                let Resend { request, epoch, .. } = job.asked;
                tracing::info!(request, epoch, lane = job.lane.name(), "asked to send again");
                return self.jobs.push_back(job);
            }
            Some(_) => Refusal::ResendOpen,
            None => Refusal::ResendRange,
        };
        tracing::warn!(code = refusal.code(), "a request to send again was not taken");
        self.notices.keep(format!("{}: request to send again not taken", refusal.code()).as_bytes());
    }

    /// Reads on when nothing is at hand; says whether it did. Not cancel safe.
    pub(super) async fn fill(&mut self) -> Result<bool, SpoolError> {
        let Some(job) = self.jobs.front_mut() else { return Ok(false) };
        if !job.pending.is_empty() || job.ranges.is_empty() || job.lost.len() >= RUNS_MAX {
            return Ok(false);
        }
        job.read(&self.spool).await?;
        Ok(true)
    }

    /// Takes the next frame, when it is time for one.
    pub(super) fn next(&mut self, now: Instant) -> Option<(LaneIndex, Item)> {
        let job = self.jobs.front_mut().filter(|_| self.next_at <= now)?;
        let item = job.pending.pop_front()?;
        job.flying += 1;
        self.next_at = now + PACE;
        Some((job.lane, item))
    }

    /// Acts on the answer to a frame.
    pub(super) fn settle(&mut self, flight: Flight, answer: Answer, now: Instant) {
        let Some(job) = self.jobs.front_mut() else { return };
        job.flying = job.flying.saturating_sub(1);
        match answer {
            Answer::Acked => {
                job.told.sent += 1;
                self.counters.resent.add(1);
            }
            Answer::Later(_) => {
                job.put_back(flight.item);
                self.next_at = now + HOLD;
            }
            // Held here and not taken there: it is not lost. Its place stays a hole that may be asked for again.
            Answer::Refused(reason) => {
                let seq = flight.item.first + 1;
                tracing::warn!(lane = job.lane.name(), seq, reason, "what was asked for again is refused");
                job.refused += 1;
                self.counters.resend_refused.add(1);
            }
        }
    }

    /// Puts frames back in their places: their connection is gone.
    pub(super) fn give_back(&mut self, flights: Vec<Flight>) {
        let Some(job) = self.jobs.front_mut() else { return };
        job.flying = job.flying.saturating_sub(flights.len());
        flights.into_iter().for_each(|flight| job.put_back(flight.item));
    }

    /// Tells what is lost, and ends what is done when that is durable.
    pub(super) fn finish(&mut self) {
        while let Some(job) = self.jobs.front_mut() {
            if job.mark.is_none() {
                job.tell(&self.spool, &self.clock);
            }
            if job.mark.as_ref().and_then(|mark| self.spool.prove(mark)).is_none() {
                return;
            }
            let (ResendDone { request, sent, not_held, beyond }, refused) = (job.told, job.refused);
            tracing::info!(request, sent, not_held, beyond, refused, "sent again what was asked for");
            self.counters.not_held.add(not_held);
            if self.done.len() >= DONE_MAX {
                self.done.pop_front();
            }
            self.done.extend(self.jobs.pop_front().map(|job| job.asked));
        }
    }

    /// When there is something to do again by itself.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let job = self.jobs.front()?;
        if !job.pending.is_empty() {
            // Also when it was time a moment ago: nobody else may be there to wake it.
            return Some(self.next_at.max(now + PACE));
        }
        let is_owed = (job.is_read() && job.flying == 0) || job.lost.len() >= RUNS_MAX;
        (is_owed && job.mark.is_none()).then(|| now + HOLD)
    }
}

impl Job {
    /// Makes sense of a request; none when it makes none.
    fn new(spool: &Spool, asked: Resend) -> Option<Self> {
        let lane = LaneIndex::of(asked.lane())?;
        if asked.epoch == 0 || asked.ranges.len() > RESEND_RANGES_MAX {
            return None;
        }
        let mut told = ResendDone { request: asked.request, ..ResendDone::default() };
        let (mut ranges, mut next, mut frames) = (VecDeque::new(), 1, 0_u64);
        let end = spool.durable_end(lane);
        for range in &asked.ranges {
            if range.first < next || range.last < range.first || range.last == u64::MAX {
                return None;
            }
            next = range.last + 1;
            frames = frames.checked_add(next - range.first).filter(|frames| *frames <= RESEND_FRAMES_MAX)?;
            // A frame's offset is its position less one.
            let last = range.last.min(end);
            told.beyond += range.last - last.max(range.first - 1);
            if range.first <= last {
                ranges.push_back((range.first - 1, last - 1));
            }
        }
        if asked.epoch != spool.epoch() {
            // Of a spool that was moved away: nothing of it is here.
            (told.not_held, told.beyond) = (frames, 0);
            ranges.clear();
        }
        let (pending, lost) = (VecDeque::new(), Vec::new());
        let (reader, mark) = (None, None);
        Some(Self { asked, lane, ranges, reader, pending, flying: 0, told, refused: 0, lost, mark })
    }

    fn is_read(&self) -> bool {
        self.ranges.is_empty() && self.pending.is_empty()
    }

    /// Reads some records of the first range.
    async fn read(&mut self, spool: &Arc<Spool>) -> Result<(), SpoolError> {
        let Some((first, last)) = self.ranges.front().copied() else { return Ok(()) };
        let reader = self.reader.take().filter(|reader| reader.position().get() == first);
        let (lane, keeper) = (self.lane, Arc::clone(spool));
        let read = move || -> Result<(Reader, Vec<Entry>), ReadError> {
            let mut reader = reader.map_or_else(|| keeper.reader_from(lane, first), Ok)?;
            let batch = reader.next_batch(READ_BYTES)?;
            Ok((reader, batch))
        };
        match tokio::task::spawn_blocking(read).await.map_err(|_| SpoolError::Failed)? {
            Ok((reader, batch)) if !batch.is_empty() => {
                self.reader = Some(reader);
                let read = batch.into_iter().take_while(|entry| entry.offset.get() <= last);
                let next = read.map(|entry| self.take(entry)).last().map_or(last, |offset| offset) + 1;
                self.go_on(next);
            }
            Ok(_nothing) => self.skip_to(last + 1),
            Err(ReadError::Dropped { start }) => self.skip_to(start.get().clamp(first + 1, last + 1)),
            Err(error) => {
                // What was acknowledged and rots here is lost here; what never was sent is not read by this.
                tracing::error!(%error, lane = self.lane.name(), "kept records cannot be read");
                self.skip_to(last + 1);
            }
        }
        Ok(())
    }

    /// Queues a record; returns its offset.
    fn take(&mut self, entry: Entry) -> u64 {
        let offset = entry.offset.get();
        match Spooled::decode(entry.payload.clone()) {
            Ok(Spooled { content: Content::Frame { .. }, taken_at_us, .. }) => {
                let payload = Some(entry.payload);
                self.pending.push_back(Item { first: offset, last: offset, taken_at_us, payload });
            }
            Ok(_) | Err(_) => self.lose(offset, offset),
        }
        offset
    }

    /// Gives up what the first range has before an offset.
    fn skip_to(&mut self, next: u64) {
        if let Some((first, _)) = self.ranges.front().copied() {
            self.lose(first, next - 1);
        }
        self.go_on(next);
    }

    fn go_on(&mut self, next: u64) {
        match self.ranges.front_mut() {
            Some((first, last)) if next <= *last => *first = next,
            _ => drop(self.ranges.pop_front()),
        }
    }

    /// Notes that offsets are not held.
    fn lose(&mut self, first: u64, last: u64) {
        self.told.not_held += last - first + 1;
        match self.lost.last_mut() {
            Some((_, end)) if *end == first => *end = last + 1,
            _ => self.lost.push((first + 1, last + 1)),
        }
    }

    fn put_back(&mut self, item: Item) {
        let place = self.pending.partition_point(|other| other.first < item.first);
        self.pending.insert(place, item);
    }

    /// Writes events of what is lost, when many runs are or all is done, and then of the end with them.
    fn tell(&mut self, spool: &Spool, clock: &ClockState) {
        let is_done = self.is_read() && self.flying == 0;
        while self.mark.is_none() && (is_done || self.lost.len() >= RUNS_MAX) {
            let at_us = now_us();
            let runs = self.lost.len().min(RUNS_MAX);
            let is_last = is_done && runs == self.lost.len();
            let told = self.lost.iter().take(runs).map(|run| lost(self.lane, *run, at_us));
            let end = is_last.then(|| done(&self.asked, self.told, self.refused, at_us));
            let Some(mark) = put_events(spool, clock, told.chain(end).collect()) else { return };
            self.lost.drain(..runs);
            self.mark = is_last.then_some(mark);
        }
    }
}

fn lost(lane: LaneIndex, (first_seq, last_seq): (u64, u64), at_us: i64) -> DeviceEvent {
    let gap = SpoolGap { lane: lane.lane().into(), first_seq, last_seq };
    DeviceEvent { at_us, name: "not_held".to_owned(), spool_gap: Some(gap), ..DeviceEvent::default() }
}

fn done(asked: &Resend, told: ResendDone, refused: u64, at_us: i64) -> DeviceEvent {
    let ResendDone { request, sent, not_held, beyond } = told;
    let detail = format!(
        "request={request} epoch={} lane={} sent={sent} not_held={not_held} beyond={beyond} refused={refused}",
        asked.epoch,
        asked.lane().as_str_name()
    );
    DeviceEvent {
        at_us,
        name: "resend_done".to_owned(),
        detail,
        resend_done: Some(told),
        ..DeviceEvent::default()
    }
}
