//! Follows the gateway's journal and notes what the device did: what is seen is what was accepted and durable.

use super::limits::{BROKEN_MAX, FRAMES_MAX, STEP_BYTES_MAX};
use super::seen::{FrameSeen, Position, Seen, Session};
use anyhow::bail;
use bytes::Bytes;
use prost::Message;
use std::hash::{DefaultHasher, Hash, Hasher};
use wardline_archive::validate::{TimeFrame, check};
use wardline_journal::{Journal, Reader};
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{AuditEvent, Body, Frame, JournalRecord, PayloadFormat, Publish};
use wardline_proto::{frame, json};

/// The archive's own bound: past it a device time is no clock error (`WL-Q-006`).
const FUTURE_BOUND_US: i64 = 86_400_000_000;

/// Follows the journal.
pub(super) struct Tail {
    reader: Reader,
    actor: String,
}

impl Tail {
    /// Starts at the journal's beginning; `actor` is the device's SPIFFE URI.
    pub(super) fn new(journal: &Journal, actor: String) -> anyhow::Result<Self> {
        Ok(Self { reader: journal.reader(journal.start())?, actor })
    }

    /// Notes what became durable since the last step.
    pub(super) fn step(&mut self, seen: &mut Seen) -> anyhow::Result<()> {
        loop {
            let entries = self.reader.next_batch(STEP_BYTES_MAX)?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in entries {
                self.take(entry.payload, seen);
            }
            if seen.frames.len() > FRAMES_MAX {
                bail!("more than {FRAMES_MAX} frames: give a shorter --duration");
            }
        }
    }

    fn take(&self, payload: Bytes, seen: &mut Seen) {
        let Ok(record) = JournalRecord::decode(payload) else { return };
        match record.kind {
            Some(Kind::Audit(event)) => self.audit(event, seen),
            Some(Kind::Publish(publish)) => note(publish, record.ingested_at_us, seen),
            _ => {}
        }
    }

    fn audit(&self, event: AuditEvent, seen: &mut Seen) {
        match event.action.as_str() {
            "session_opened" if event.actor == self.actor => {
                let serial = event.target.trim_start_matches("serial ").to_owned();
                seen.sessions.push(Session { opened_us: event.at_us, serial, closed: None });
            }
            "session_closed" if event.actor == self.actor => {
                let open = seen.sessions.iter_mut().find(|s| s.closed.is_none());
                if let Some(session) = open {
                    session.closed = Some((event.at_us, event.outcome));
                }
            }
            "refused" => {
                // Equal refusals within a second are one event that ends in their number.
                let repeated = event.target.rsplit_once("repeated ").and_then(|(_, n)| n.parse().ok());
                *seen.refusals.entry(event.outcome).or_default() += repeated.unwrap_or(1);
            }
            _ => {}
        }
    }
}

fn note(publish: Publish, at_us: i64, seen: &mut Seen) {
    if publish.content() == PayloadFormat::Json {
        seen.json += 1;
        match json::decode(&publish.payload, at_us) {
            Ok(message) => judge(&message.body, at_us, seen),
            Err(refusal) => *seen.bad_bodies.entry(refusal.code().to_owned()).or_default() += 1,
        }
        return;
    }
    let Ok((header, frame)) = frame::decode(publish.payload) else { return };
    let position = Position { epoch: header.epoch, lane: header.lane.into(), seq: header.seq };
    let digest = digest(&frame);
    let first = !seen.first.contains_key(&position);
    seen.first.entry(position).or_insert(digest);
    let body = frame::decode_body(&frame);
    let clock = frame.clock.unwrap_or_default();
    seen.frames.push(FrameSeen {
        at_us,
        position,
        digest,
        first,
        sent_at_us: frame.sent_at_us,
        device_us: body.as_ref().ok().and_then(newest),
        clock_offset_us: clock.device_offset_us,
        sync: clock.sync_state(),
        gap: body.as_ref().ok().and_then(|b| b.events.iter().find_map(|e| e.spool_gap)),
    });
    if !first {
        return;
    }
    match body {
        Ok(body) => judge(&body, at_us, seen),
        Err(refusal) => *seen.bad_bodies.entry(refusal.code().to_owned()).or_default() += 1,
    }
}

/// Counts a body by the profile and by the archive's own rules.
fn judge(body: &Body, at_us: i64, seen: &mut Seen) {
    let time = TimeFrame {
        ingested_at_us: at_us,
        sent_at_us: None,
        device_offset_us: None,
        clock_bound_us: FUTURE_BOUND_US,
        future_bound_us: FUTURE_BOUND_US,
    };
    if let Err(refusal) = check(body, &time) {
        *seen.bad_bodies.entry(refusal.code().to_owned()).or_default() += 1;
    }
    for finding in seen.profile().judge(body) {
        let words = finding.to_string();
        let full = seen.broken.len() >= BROKEN_MAX && !seen.broken.contains_key(&words);
        *seen.broken.entry(if full { "others".to_owned() } else { words }).or_default() += 1;
    }
    seen.tally.add(body);
}

fn digest(frame: &Frame) -> u64 {
    let mut hasher = DefaultHasher::new();
    (frame.encoding, &frame.body).hash(&mut hasher);
    hasher.finish()
}

/// Returns the device time of a body's newest item.
fn newest(body: &Body) -> Option<i64> {
    let end = |start: i64, deltas: &[i64]| deltas.iter().fold(start, |at, delta| at.saturating_add(*delta));
    let readings = body.numerics.iter().map(|s| end(s.start_us, &s.time_deltas_us));
    let blocks = body.waveforms.iter().map(|w| {
        let length_ns = w.interval_ns.saturating_mul(w.sample_deltas.len() as u64);
        w.start_us.saturating_add(i64::try_from(length_ns / 1000).unwrap_or(i64::MAX))
    });
    let alarms = body.alarms.iter().map(|a| a.at_us);
    let events = body.events.iter().map(|e| e.at_us);
    readings.chain(blocks).chain(alarms).chain(events).max()
}
