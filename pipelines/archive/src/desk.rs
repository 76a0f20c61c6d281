//! Where arrivals are judged and sorted into rows, ahead of a commit. No IO.
//!
//! Everything here is derived from the journal and the last commit: after a failure it is dropped and derived again.

use crate::dedup::Verdict;
use crate::heads::Heads;
use crate::hours::{Hours, hour_of, hour_of_publish};
use crate::intake::{Arrival, Arrived, Content};
use crate::notices::{Notices, QuarantineNotice};
use crate::replay::Again;
use crate::rows::{Added, Made, Origin, Rows};
use crate::streams::{Counts, Streams, outside, partition_of, stream_of};
use crate::table::{Day, Table};
use crate::telling::Untold;
use crate::tenant::{SYSTEM, tenant_of_actor};
use ring::hmac;
use std::collections::{BTreeMap, VecDeque};
use wardline_proto::DeviceKey;
use wardline_proto::refusal::Refusal;
use wardline_store::hours::Told;
use wardline_store::replay::{FrameName, Outcome};

const TAG_BYTES: usize = 8;
/// What becomes of a frame of the quarantine that was erased.
const ERASED: &str = "erased";

/// Which file a row goes to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupKey {
    pub(crate) table: Table,
    pub(crate) tenant: String,
    pub(crate) day: Day,
    pub(crate) partition: u16,
}

/// The rows of one file to be.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) rows: Rows,
    pub(crate) count: usize,
    pub(crate) time_us: (i64, i64),
    pub(crate) offsets: (u64, u64),
}

/// What waits for a commit.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) groups: BTreeMap<GroupKey, Group>,
    pub(crate) devices: BTreeMap<DeviceKey, Counts>,
    pub(crate) refusals: BTreeMap<Refusal, u64>,
    pub(crate) heads: Heads,
    pub(crate) notices: Notices,
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    pub(crate) replays: Vec<(FrameName, Outcome)>,
    pub(crate) told: Vec<Told>,
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
}

enum Judgement {
    Good { late: bool },
    Refused(Refusal),
    Duplicate,
    Erased { takes_place: bool },
}

impl Judgement {
    fn count(&self, counts: &mut Counts) {
        match self {
            Self::Good { late } => {
                counts.archived += 1;
                counts.late += u64::from(*late);
            }
            Self::Refused(_) => counts.quarantined += 1,
            Self::Duplicate => counts.duplicates += 1,
            Self::Erased { .. } => counts.erased += 1,
        }
    }

    /// Says whether a frame with a position takes it: also one that is not good, so that it is no hole.
    fn takes_place(&self) -> bool {
        match self {
            Self::Good { .. } => true,
            Self::Erased { takes_place } => *takes_place,
            Self::Refused(why) => !matches!(why, Refusal::SeqConflict | Refusal::StreamFragmented),
            Self::Duplicate => false,
        }
    }
}

impl Desk {
    pub(crate) fn new(tag_key: hmac::Key, next_offset: u64) -> Self {
        let (streams, hours, pending) = (Streams::default(), Hours::default(), Pending::default());
        Self { tag_key, streams, hours, pending, newest_us: 0, next_offset }
    }

    /// Takes arrivals, whose streams are loaded, until none is left or `is_full` says so.
    pub(crate) fn take(&mut self, arrivals: &mut VecDeque<Arrival>, is_full: impl Fn(&Pending) -> bool) {
        while !is_full(&self.pending) {
            let Some(arrival) = arrivals.pop_front() else { return };
            self.next_offset = arrival.offset + 1;
            self.newest_us = self.newest_us.max(arrival.ingest_us);
            match &arrival.content {
                Content::Publish(arrived) => self.take_publish(&arrival, arrived),
                Content::Unreadable(_) => self.refuse(&arrival, SYSTEM, Refusal::BodyUndecodable),
                Content::Audit(event) => {
                    let tenant = tenant_of_actor(&event.actor);
                    self.pending.heads.advance(event);
                    self.pending.add(arrival.place(), Table::Audit, tenant, |rows| {
                        rows.push_audit(&arrival, tenant, event)
                    });
                }
            }
        }
    }

    fn take_publish(&mut self, arrival: &Arrival, arrived: &Arrived) {
        let judgement = self.judge(arrived);
        let counts = self.pending.devices.entry(arrived.key.clone()).or_default();
        let id = arrived.position.map(|p| stream_of(&arrived.key, p));
        let id = id.filter(|id| !self.streams.is_refused(id)).unwrap_or_else(|| outside(&arrived.key));
        let stream = &mut self.streams.change(&id).counts;
        let hour = self.hours.change((id, hour_of_publish(arrived.sent_at_us, arrival.ingest_us)));
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

    fn judge(&mut self, arrived: &Arrived) -> Judgement {
        let late = match arrived.position {
            None => false,
            Some(position) => {
                let id = stream_of(&arrived.key, position);
                if self.streams.is_refused(&id) {
                    return placeless(arrived, Refusal::StreamFragmented);
                }
                let tag = self.tag(&arrived.tagged);
                match self.streams.change(&id).state.offer(position.seq, tag) {
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
        !self.pending.replays.is_empty() || !self.pending.told.is_empty()
    }

    /// Takes a frame of the quarantine, whose streams are loaded, once more.
    pub(crate) fn take_again(&mut self, again: &Again) {
        let outcome = match &again.arrival.content {
            Content::Publish(arrived) => self.judge_again(again, arrived),
            // The chain of the audit is in the order of the journal: nothing is put into it later.
            Content::Audit(_) | Content::Unreadable(_) => Outcome::Stays(again.reason.clone()),
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
        if !again.holds_place {
            match self.judge(arrived) {
                Judgement::Good { .. } => {}
                Judgement::Refused(why) => return stays(why),
                Judgement::Duplicate => return Outcome::Duplicate,
                Judgement::Erased { .. } => return Outcome::Stays(ERASED.to_owned()),
            }
        }
        let ingest_us = again.arrival.ingest_us;
        let sent = hour_of_publish(arrived.sent_at_us, ingest_us);
        let id = arrived.position.map_or_else(|| outside(&arrived.key), |p| stream_of(&arrived.key, p));
        self.streams.change(&id).counts.archived += 1;
        let hour = self.hours.change((id.clone(), sent));
        hour.counts.archived += 1;
        if let Some(position) = arrived.position.filter(|_| !again.holds_place) {
            hour.place(position.seq);
        }
        // Where it was counted when it came: without a place, or refused one, outside any stream.
        let within = again.had_position && self.streams.change(&id).counts.quarantined > 0;
        let counted = if within { id } else { outside(&arrived.key) };
        let counted_hour = if again.had_position { sent } else { hour_of(ingest_us) };
        let of_hour = &mut self.hours.change((counted.clone(), counted_hour)).counts.quarantined;
        let of_stream = &mut self.streams.change(&counted).counts.quarantined;
        for quarantined in [of_hour, of_stream] {
            *quarantined = quarantined.saturating_sub(1);
        }
        self.store(&again.arrival, arrived);
        Outcome::Replayed
    }

    fn tag(&self, content: &[u8]) -> u64 {
        let tag = hmac::sign(&self.tag_key, content);
        let first = tag.as_ref().first_chunk::<TAG_BYTES>();
        first.map_or(0, |bytes| u64::from_le_bytes(*bytes))
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

/// Judges a frame that gets no place in its stream. The quarantine keeps a payload whole, so one with anything in it that
/// was erased is not kept at all.
fn placeless(arrived: &Arrived, why: Refusal) -> Judgement {
    if arrived.is_touched { Judgement::Erased { takes_place: false } } else { Judgement::Refused(why) }
}

impl Pending {
    /// Adds rows of what stood at a partition and offset and was ingested at a time.
    fn add(
        &mut self,
        (partition, offset, ingest_us): (u16, u64, i64),
        table: Table,
        tenant: &str,
        push: impl FnOnce(&mut Rows) -> Added,
    ) {
        let day = Day::of_micros(ingest_us);
        let key = GroupKey { table, tenant: tenant.to_owned(), day, partition };
        let group = self.groups.entry(key).or_insert_with(|| Group {
            rows: Rows::new(table),
            count: 0,
            time_us: (i64::MAX, i64::MIN),
            offsets: (offset, offset),
        });
        let added = push(&mut group.rows);
        group.count += added.rows;
        // What is replayed from the quarantine comes in any order.
        group.offsets = (group.offsets.0.min(offset), group.offsets.1.max(offset));
        if let Some((first, last)) = added.time_us {
            group.time_us = (group.time_us.0.min(first), group.time_us.1.max(last));
        }
        self.rows += added.rows;
        self.bytes += added.bytes;
    }
}

#[cfg(test)]
mod tests;
