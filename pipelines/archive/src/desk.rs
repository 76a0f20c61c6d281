//! Where arrivals are judged and sorted into rows, ahead of a commit. No IO.
//!
//! Everything here is derived from the journal and the last commit: after a failure it is dropped and derived again.

use crate::dedup::Verdict;
use crate::error::ArchiveError;
use crate::hours::{HourSlot, Hours, hour_of, hour_of_publish};
use crate::intake::{Arrival, Arrived, Content, Used};
use crate::notices::QuarantineNotice;
use crate::pending::Pending;
use crate::replay::Again;
use crate::rows::{Made, Origin};
use crate::streams::{Device, StreamSlot, Streams, partition_of};
use crate::table::Table;
use crate::telling::Untold;
use crate::tenant::{SYSTEM, tenant_of_actor};
use judgement::{Judgement, placeless};
use ring::hmac;
use std::collections::VecDeque;
use wardline_proto::refusal::Refusal;
use wardline_store::catalog::{Catalog, StreamRow};
use wardline_store::replay::Outcome;
use wardline_store::resend::ResendAnswer;

mod judgement;

const TAG_BYTES: usize = 8;
/// What becomes of a frame of the quarantine that was erased.
const ERASED: &str = "erased";

/// Where a publish counts in memory, until streams and hours are forgotten.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slots {
    device: Device,
    /// The stream of its position.
    own: Option<StreamSlot>,
    /// Where it is counted: its own stream, unless it has none or that is refused.
    counted: StreamSlot,
    /// The hour there.
    hour: HourSlot,
}

/// The desk.
#[derive(Debug)]
pub(crate) struct Desk {
    tag_key: hmac::Key,
    pub(crate) streams: Streams,
    pub(crate) hours: Hours,
    pub(crate) pending: Pending,
    /// The latest ingest time that was taken, unix microseconds.
    pub(crate) newest_us: i64,
    /// First offset that was not taken.
    pub(crate) next_offset: u64,
    /// Publishes that were taken: their memory is used again.
    pub(crate) used: Used,
}

impl Desk {
    pub(crate) fn new(tag_key: hmac::Key, next_offset: u64) -> Self {
        let (streams, hours, pending) = (Streams::default(), Hours::default(), Pending::default());
        Self { tag_key, streams, hours, pending, newest_us: 0, next_offset, used: Used::default() }
    }

    /// Finds where publishes count, and reads from the catalog what is not in memory. To be done again for what waits
    /// when anything was forgotten.
    pub(crate) async fn load(
        &mut self,
        arrivals: impl Iterator<Item = &mut Arrival>,
        catalog: &Catalog,
        epochs_max: u64,
    ) -> Result<(), ArchiveError> {
        for arrival in arrivals {
            let Content::Publish(arrived) = &mut arrival.content else { continue };
            let sent = hour_of_publish(arrived.sent_at_us, arrival.ingest_us);
            arrived.slots = match self.known(arrived, sent) {
                Some(slots) => Some(slots),
                None => Some(self.fetch(arrived, sent, catalog, epochs_max).await?),
            };
        }
        Ok(())
    }

    fn known(&mut self, arrived: &Arrived, sent_us: i64) -> Option<Slots> {
        let device = self.streams.device(&arrived.key, arrived.name)?;
        let own = match arrived.position {
            Some(position) => Some(self.streams.find(device, position)?),
            None => None,
        };
        let counted = own.filter(|own| !self.streams.is_refused(*own)).unwrap_or(device.outside);
        Some(Slots { device, own, counted, hour: self.hours.find(counted, sent_us)? })
    }

    /// Finds where publishes count among the streams in memory, in hours that begin with nothing: for whoever reads
    /// what is not committed, and commits nothing. One whose stream is not in memory gets no place.
    pub(crate) fn place<'a>(&mut self, arrivals: impl Iterator<Item = &'a mut Arrival>) {
        for arrival in arrivals {
            let Content::Publish(arrived) = &mut arrival.content else { continue };
            let Some(device) = self.streams.device(&arrived.key, arrived.name) else { continue };
            let own = arrived.position.and_then(|position| self.streams.find(device, position));
            if own.is_none() && arrived.position.is_some() {
                continue;
            }
            let counted = own.filter(|own| !self.streams.is_refused(*own)).unwrap_or(device.outside);
            let hour = self.hours.make(counted, hour_of_publish(arrived.sent_at_us, arrival.ingest_us));
            arrived.slots = Some(Slots { device, own, counted, hour });
        }
    }

    async fn fetch(
        &mut self,
        arrived: &Arrived,
        sent_us: i64,
        catalog: &Catalog,
        epochs_max: u64,
    ) -> Result<Slots, ArchiveError> {
        let (device, own) = self.streams.load(arrived, catalog, epochs_max).await?;
        let counted = own.filter(|own| !self.streams.is_refused(*own)).unwrap_or(device.outside);
        let hour = self.hours.load((counted, self.streams.id(counted)), sent_us, catalog).await?;
        Ok(Slots { device, own, counted, hour })
    }

    /// Finds where frames of the quarantine count, and where they counted when they came.
    pub(crate) async fn load_again(
        &mut self,
        frames: &mut [Again],
        catalog: &Catalog,
        epochs_max: u64,
    ) -> Result<(), ArchiveError> {
        self.load(frames.iter_mut().map(|frame| &mut frame.arrival), catalog, epochs_max).await?;
        for frame in frames {
            let Content::Publish(arrived) = &frame.arrival.content else { continue };
            let Some(slots) = arrived.slots else { continue };
            let sent = hour_of_publish(arrived.sent_at_us, frame.arrival.ingest_us);
            for stream in [slots.own.unwrap_or(slots.device.outside), slots.device.outside] {
                for hour_us in [sent, hour_of(frame.arrival.ingest_us)] {
                    self.hours.load((stream, self.streams.id(stream)), hour_us, catalog).await?;
                }
            }
        }
        Ok(())
    }

    /// Marks all that waited as committed, and forgets streams and hours when they are more than `kept_max`.
    pub(crate) fn committed(&mut self, kept_max: usize) {
        if self.streams.len() > kept_max || self.hours.len() > kept_max {
            self.forget();
        }
        self.streams.committed();
        self.hours.committed();
    }

    /// Forgets all streams and hours, of which nothing may wait for a commit.
    pub(crate) fn forget(&mut self) {
        (self.streams, self.hours) = (Streams::default(), Hours::default());
    }

    /// Takes arrivals, whose streams are loaded, until none is left or `is_full` says so.
    pub(crate) fn take(&mut self, arrivals: &mut VecDeque<Arrival>, is_full: impl Fn(&Pending) -> bool) {
        while !is_full(&self.pending) {
            // One whose place is not loaded waits: it is not passed over.
            let Some(arrival) = arrivals.pop_front_if(|arrival| arrival.is_placed()) else { return };
            self.next_offset = arrival.offset + 1;
            self.newest_us = self.newest_us.max(arrival.ingest_us);
            match &arrival.content {
                Content::Publish(arrived) => self.take_publish(&arrival, arrived),
                Content::Unreadable(_) => self.refuse(&arrival, SYSTEM, Refusal::BodyUndecodable),
                Content::Held(held) => self.pending.hold(arrival.partition, held),
                Content::Audit(event) => {
                    let tenant = tenant_of_actor(&event.actor);
                    self.pending.heads.advance(event);
                    self.pending.add(arrival.place(), Table::Audit, tenant, |rows| {
                        rows.push_audit(&arrival, tenant, event)
                    });
                }
            }
            if let Content::Publish(arrived) = arrival.content {
                self.used.keep(arrived);
            }
        }
    }

    /// Takes arrivals that were held back, as [`take`](Self::take) does: the position has passed them already.
    pub(crate) fn take_back(&mut self, arrivals: &mut VecDeque<Arrival>, is_full: impl Fn(&Pending) -> bool) {
        let next_offset = self.next_offset;
        self.take(arrivals, is_full);
        self.next_offset = next_offset;
    }

    fn take_publish(&mut self, arrival: &Arrival, arrived: &Arrived) {
        let Some(slots) = arrived.slots else { return };
        // What was sent is remembered as it came until its tag is made, with the commit.
        self.pending.bytes += arrived.tagged.len();
        let judgement = self.judge(arrived, slots);
        let counts = self.pending.counts_of(slots.device.number, &arrived.key);
        let stream = &mut self.streams.change(slots.counted).counts;
        let hour = self.hours.change(slots.hour);
        for counts in [counts, stream, &mut hour.counts] {
            judgement.count(counts);
        }
        if let Some(position) = arrived.position.filter(|_| judgement.takes_place()) {
            hour.place(position.seq);
        }
        match judgement {
            Judgement::Good { .. } => self.store(arrival, arrived),
            Judgement::Refused(why) => {
                let position = arrived.position.map(|p| (p.lane, p.epoch, p.seq));
                self.pending.notices.add(QuarantineNotice { key: arrived.key.clone(), why, position });
                self.refuse(arrival, arrived.key.tenant.as_str(), why);
            }
            Judgement::Duplicate | Judgement::Erased { .. } => {}
        }
    }

    fn judge(&mut self, arrived: &Arrived, slots: Slots) -> Judgement {
        let late = match arrived.position.zip(slots.own) {
            None => false,
            Some((position, own)) => {
                if self.streams.is_refused(own) {
                    return placeless(arrived, Refusal::StreamFragmented);
                }
                let stream = self.streams.change(own);
                match stream.state.offer(position.seq, &arrived.tagged, |bytes| tag(&self.tag_key, bytes)) {
                    Verdict::New { late } => late,
                    Verdict::Duplicate => return Judgement::Duplicate,
                    Verdict::Conflict => return placeless(arrived, Refusal::SeqConflict),
                    Verdict::Fragmented => return placeless(arrived, Refusal::StreamFragmented),
                }
            }
        };
        match &arrived.body {
            _ if arrived.erased => Judgement::Erased { takes_place: true },
            Ok(_) => Judgement::Good { late },
            Err(why) => Judgement::Refused(*why),
        }
    }

    /// Says whether something waits for a commit that does not come from the journal.
    pub(crate) fn has_more_than_rows(&self) -> bool {
        let pending = &self.pending;
        !pending.replays.is_empty() || !pending.told.is_empty() || !pending.taken_back.is_empty()
    }

    /// Takes a frame of the quarantine, whose streams are loaded, once more.
    pub(crate) fn take_again(&mut self, again: &Again) {
        let outcome = match &again.arrival.content {
            Content::Publish(arrived) => self.judge_again(again, arrived),
            // The chain of the audit is in the order of the journal: nothing is put into it later.
            Content::Audit(_) | Content::Unreadable(_) | Content::Held(_) => {
                Outcome::Stays(again.reason.clone())
            }
        };
        self.pending.replays.push((again.frame.clone(), outcome));
    }

    fn judge_again(&mut self, again: &Again, arrived: &Arrived) -> Outcome {
        let stays = |why: Refusal| Outcome::Stays(why.code().to_owned());
        if arrived.erased {
            return Outcome::Stays(ERASED.to_owned());
        }
        if again.reason == Refusal::SeqConflict.code() {
            return stays(Refusal::SeqConflict);
        }
        if let Err(why) = &arrived.body {
            return stays(*why);
        }
        let Some(slots) = arrived.slots else { return Outcome::Stays(again.reason.clone()) };
        if !again.holds_place {
            match self.judge(arrived, slots) {
                Judgement::Good { .. } => {}
                Judgement::Refused(why) => return stays(why),
                Judgement::Duplicate => return Outcome::Duplicate,
                Judgement::Erased { .. } => return Outcome::Stays(ERASED.to_owned()),
            }
        }
        self.recount(again, arrived, slots);
        self.store(&again.arrival, arrived);
        Outcome::Replayed
    }

    /// Counts a frame as archived, and no more as quarantined where it was counted when it came.
    fn recount(&mut self, again: &Again, arrived: &Arrived, slots: Slots) {
        let ingest_us = again.arrival.ingest_us;
        let sent = hour_of_publish(arrived.sent_at_us, ingest_us);
        let own = slots.own.unwrap_or(slots.device.outside);
        self.streams.change(own).counts.archived += 1;
        if let Some(slot) = self.hours.find(own, sent) {
            let hour = self.hours.change(slot);
            hour.counts.archived += 1;
            if let Some(position) = arrived.position.filter(|_| !again.holds_place) {
                hour.place(position.seq);
            }
        }
        // Where it was counted when it came: without a place, or refused one, outside any stream.
        let within = again.had_position && self.streams.change(own).counts.quarantined > 0;
        let counted = if within { own } else { slots.device.outside };
        let of_stream = &mut self.streams.change(counted).counts.quarantined;
        *of_stream = of_stream.saturating_sub(1);
        let counted_us = if again.had_position { sent } else { hour_of(ingest_us) };
        if let Some(slot) = self.hours.find(counted, counted_us) {
            let of_hour = &mut self.hours.change(slot).counts.quarantined;
            *of_hour = of_hour.saturating_sub(1);
        }
    }

    /// Returns the rows of streams that changed.
    pub(crate) fn changed_streams(&mut self) -> Vec<StreamRow> {
        self.streams.changed(|content| tag(&self.tag_key, content))
    }

    /// Takes reports of hours, made of what is committed.
    pub(crate) fn tell(&mut self, untold: Untold) {
        for (report, revision) in &untold.reports {
            let made = Made {
                revision: *revision,
                as_of_us: self.newest_us,
                partition: partition_of(&report.id),
                offset: self.next_offset.saturating_sub(1),
            };
            let place = (made.partition, made.offset, made.as_of_us);
            self.pending
                .add(place, Table::Completeness, &report.id.tenant, |rows| rows.push_report(report, &made));
        }
        self.pending.told.extend(untold.told);
    }

    fn store(&mut self, arrival: &Arrival, arrived: &Arrived) {
        let Ok(body) = &arrived.body else { return };
        let tenant = arrived.key.tenant.as_str();
        let origin = Origin::of(arrival, arrived);
        self.pending.resends.extend(body.events.iter().filter_map(|event| {
            let done = event.resend_done?;
            let answer = ResendAnswer {
                id: done.request,
                resent: done.sent,
                not_held: done.not_held,
                beyond: done.beyond,
            };
            Some((tenant.to_owned(), arrived.key.device.to_string(), answer))
        }));
        let tables = [
            (Table::Numerics, body.numerics.is_empty()),
            (Table::Waveforms, body.waveforms.is_empty()),
            (Table::Alarms, body.alarms.is_empty()),
            (Table::Events, body.events.is_empty()),
        ];
        for (table, _) in tables.into_iter().filter(|(_, empty)| !empty) {
            self.pending.add(arrival.place(), table, tenant, |rows| rows.push_body(&origin, arrived));
        }
    }

    fn refuse(&mut self, arrival: &Arrival, tenant: &str, why: Refusal) {
        *self.pending.refusals.entry(why).or_default() += 1;
        self.pending.add(arrival.place(), Table::Quarantine, tenant, |rows| rows.push_refused(arrival, why));
    }
}

fn tag(key: &hmac::Key, content: &[u8]) -> u64 {
    let tag = hmac::sign(key, content);
    let first = tag.as_ref().first_chunk::<TAG_BYTES>();
    first.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests;
