//! Every check passes on a good run and fails on a run in which one thing is wrong.

use super::*;
use crate::conform::hello::TlsVersion;
use crate::conform::proxy::Line;
use crate::conform::seen::{Archived, FrameSeen, Position, Session, Span};
use std::collections::BTreeSet;
use wardline_profile::lint::lint;
use wardline_proto::v1::{Lane, SpoolGap, SyncState};

const SECOND: i64 = 1_000_000;
/// When the good run starts.
const START: i64 = 1_700_000_000 * SECOND;
const SPO2: u32 = 150_456;
const ECG: u32 = 131_330;

fn at(seconds: f64) -> i64 {
    START + (seconds * 1e6) as i64
}

/// Arrival, device time and lane of each frame of the good run: a reading a second, a silence from 20 to 30 s after
/// which an alarm comes first, then what was measured meanwhile.
fn frames() -> Vec<(i64, i64, Lane)> {
    let mut frames = Vec::new();
    let backlog = |second: &i64| (20..30).contains(second);
    for second in (1..40).filter(|s| !backlog(s)) {
        if second == 31 {
            frames.push((at(30.5), at(25.0), Lane::Alarm));
            frames.extend((20..30).map(|s| (at(30.6), at(s as f64), Lane::Numerics)));
        }
        frames.push((at(second as f64 + 0.01), at(second as f64), Lane::Numerics));
    }
    frames.sort_by_key(|frame| frame.0);
    frames
}

fn good() -> Seen {
    let profile = lint(include_str!("../../../../docs/profiles/bedside-monitor.toml")).profile.unwrap();
    let mut seen = Seen::new(profile, "0a".to_owned(), false);
    let steps = [
        (Step::Connect, 0.0, 0.1),
        (Step::Measure, 0.1, 10.05),
        (Step::Cut, 10.05, 15.05),
        (Step::Slow, 15.05, 17.05),
        (Step::LostAck, 17.05, 20.0),
        (Step::Outage, 20.0, 30.0),
        (Step::Recover, 30.0, 40.0),
        (Step::Finish, 40.0, 41.0),
    ];
    seen.spans =
        steps.map(|(step, from, until)| Span { step, from_us: at(from), until_us: at(until) }).into();
    seen.cuts = vec![
        (at(10.1), Step::Cut),
        (at(12.0), Step::Cut),
        (at(14.0), Step::Cut),
        (at(18.5), Step::LostAck),
        (at(20.0), Step::Outage),
    ];
    for (from, until) in [(0.05, 10.1), (10.4, 12.0), (12.5, 14.0), (14.35, 18.5), (18.8, 20.0), (30.4, 40.0)]
    {
        connect(&mut seen, from, until, false);
    }
    for from in [20.5, 22.0, 26.0] {
        connect(&mut seen, from, from, true);
    }
    seen.lines.sort_by_key(|line| line.opened_us);
    for (arrived, device, lane) in frames() {
        frame(&mut seen, arrived, device, lane);
    }
    for again in seen.frames.clone().into_iter().filter(|f| (at(17.05)..at(18.5)).contains(&f.at_us)) {
        seen.frames.push(FrameSeen { at_us: at(19.0), first: false, ..again });
    }
    seen.frames.sort_by_key(|frame| frame.at_us);
    for (_, device, _) in frames().into_iter().filter(|frame| frame.2 == Lane::Numerics) {
        for metric in
            ["MDC_ECG_HEART_RATE", "MDC_PULS_OXIM_SAT_O2", "MDC_PULS_OXIM_PULS_RATE", "MDC_RESP_RATE"]
        {
            let measurement = seen.profile().measurements.iter().find(|m| m.ref_id == metric).unwrap();
            let (code, unit) = (measurement.mdc_code, measurement.signal.as_ref().unwrap().unit.clone());
            seen.tally.add_reading(code, &unit, device, 80.0, 0);
        }
        for (code, unit, interval_ms) in [(ECG, "mV", 4), (150_452, "1", 8), (151_780, "1", 16)] {
            wave(&mut seen, code, unit, device, interval_ms * 1_000_000);
        }
    }
    let repeats = seen.frames.iter().filter(|f| !f.first).count() as u64;
    seen.archived =
        Some(Archived { archived: seen.first.len() as u64, duplicates: repeats, ..Archived::default() });
    seen
}

fn wave(seen: &mut Seen, mdc_code: u32, unit: &str, start_us: i64, interval_ns: u64) {
    let (range, implausible) = (Some((0.0, 1.0)), 0);
    let block = wardline_profile::tally::Block { mdc_code, unit, start_us, interval_ns, range, implausible };
    seen.tally.add_block(&block);
}

fn connect(seen: &mut Seen, from: f64, until: f64, refused: bool) {
    let (opened_us, closed_us) = (at(from), Some(at(until)));
    let tls = (!refused).then_some(TlsVersion::V13);
    seen.lines.push(Line { opened_us, closed_us, refused, tls, heard_us: at(until), silence_us: SECOND });
    if !refused {
        let outcome = if until == 40.0 { "ok" } else { "lost" };
        let closed = Some((at(until), outcome.to_owned()));
        seen.sessions.push(Session { opened_us: at(from + 0.01), serial: "0a".into(), closed });
    }
}

fn frame(seen: &mut Seen, at_us: i64, device_us: i64, lane: Lane) {
    let seq = seen.first.keys().filter(|p| p.lane == i32::from(lane)).count() as u64 + 1;
    let position = Position { epoch: 7, lane: lane.into(), seq };
    let digest = seq * 10 + lane as u64;
    seen.first.insert(position, digest);
    seen.frames.push(FrameSeen {
        at_us,
        position,
        digest,
        first: true,
        sent_at_us: at_us - 1000,
        device_us: Some(device_us),
        clock_offset_us: 0,
        sync: SyncState::Ntp,
        gap: None,
    });
}

fn refuse(seen: &mut Seen, code: &str) {
    *seen.refusals.entry(code.to_owned()).or_default() += 1;
}

fn outcome(seen: &Seen, id: &str) -> (Outcome, String) {
    let judged = judge(seen, None).into_iter().find(|judged| judged.id == id).unwrap();
    (judged.outcome, judged.evidence)
}

/// Rebuilds the tally with only the readings of SpO2 whose device time is kept.
fn only_spo2(seen: &mut Seen, keep: impl Fn(i64) -> bool) {
    let times: Vec<i64> = seen.tally.times_us(SPO2).iter().copied().filter(|us| keep(*us)).collect();
    seen.tally = wardline_profile::Tally::new(seen.profile().clone());
    times.iter().for_each(|us| seen.tally.add_reading(SPO2, "%", *us, 97.0, 0));
}

type Spoil = fn(&mut Seen);

/// One way, at least, in which each check fails.
const SPOILS: &[(&str, Spoil)] = &[
    ("identity.certificate", |s| s.sessions[1].serial = "0b".into()),
    ("identity.certificate", |s| refuse(s, "WL-ID-004")),
    ("identity.certificate", |s| s.sessions.clear()),
    ("identity.client-id", |s| refuse(s, "WL-ID-005")),
    ("identity.tls", |s| s.lines.iter_mut().for_each(|line| line.tls = None)),
    ("identity.tls13", |s| s.lines[0].tls = Some(TlsVersion::V12)),
    ("topics.own", |s| refuse(s, "WL-TOPIC-001")),
    ("topics.own", |s| refuse(s, "WL-PAY-003")),
    ("payload.decodes", |s| refuse(s, "WL-PAY-002")),
    ("payload.decodes", |s| *s.bad_bodies.entry("WL-Q-001".into()).or_default() += 1),
    ("payload.frames", |s| s.json = 1),
    ("payload.declared", |s| s.tally.add_reading(151_594, "/min", START, 12.0, 0)),
    ("payload.units", |s| s.tally.add_reading(SPO2, "1", START, 97.0, 0)),
    ("payload.sample-rate", |s| wave(s, ECG, "mV", START, 2_000_000)),
    ("payload.plausible", |s| s.tally.add_reading(SPO2, "%", START, 12.0, 0)),
    ("payload.cadence", |s| only_spo2(s, |us| us / SECOND % 2 == 0)),
    ("payload.complete", |s| only_spo2(s, |_| true)),
    ("clock.skew", |s| {
        s.frames.iter_mut().for_each(|f| f.device_us = f.device_us.map(|us| us + 60 * SECOND))
    }),
    ("clock.skew", |s| s.frames.iter_mut().for_each(|f| f.sent_at_us -= 60 * SECOND)),
    ("clock.skew", |s| s.frames.iter_mut().for_each(|f| f.clock_offset_us = 60 * SECOND)),
    ("clock.sync", |s| s.frames[0].sync = SyncState::None),
    ("clock.sync", |s| s.frames[0].sync = SyncState::Unspecified),
    ("session.reconnect", |s| s.sessions.truncate(2)),
    ("session.reconnect", |s| s.sessions.iter_mut().skip(3).for_each(|s| s.opened_us += 61 * SECOND)),
    ("session.jitter", |s| s.lines.extend(s.cuts.clone().into_iter().take(3).map(|(us, _)| at_once(us)))),
    ("session.slow", |s| s.sessions[3].closed = Some((at(16.0), "lost".into()))),
    ("delivery.resend", |s| s.frames.retain(|f| f.first)),
    ("delivery.resend", |s| s.frames.iter_mut().filter(|f| !f.first).for_each(|f| f.digest += 1)),
    ("session.in-flight", |s| refuse(s, "WL-MQTT-005")),
    ("session.in-flight", |s| (0..65).for_each(|_| frame(s, at(18.0), at(18.0), Lane::Numerics))),
    ("session.backoff", |s| (0..200).for_each(|n| connect(s, 20.0 + f64::from(n) * 0.05, 30.0, true))),
    ("delivery.spool", |s| only_spo2(s, |us| us != at(25.0))),
    ("delivery.spool", |s| only_spo2(s, |us| us < at(20.0))),
    ("delivery.alarms-first", |s| {
        s.frames.sort_by_key(|f| f.at_us + i64::from(f.lane() == Lane::Alarm) * SECOND)
    }),
    ("sequence.contiguous", |s| s.first.retain(|p, _| (p.lane, p.seq) != (2, 5))),
    ("sequence.epoch", |s| s.first.extend([(Position { epoch: 8, lane: 2, seq: 1 }, 0)])),
    ("sequence.content", |s| s.frames.iter_mut().filter(|f| !f.first).for_each(|f| f.digest += 1)),
    ("delivery.once", |s| s.archived.as_mut().unwrap().archived -= 1),
    ("delivery.once", |s| s.archived.as_mut().unwrap().duplicates += 1),
    ("session.keep-alive", |s| s.lines[0].silence_us = 46 * SECOND),
    ("session.keep-alive", |s| refuse(s, "WL-MQTT-004")),
    ("session.disconnect", |s| s.sessions[5].closed = Some((at(40.0), "lost".into()))),
];

/// A connection that was opened in the moment of a cut.
fn at_once(cut_us: i64) -> Line {
    let opened_us = cut_us + 20_000;
    Line { opened_us, closed_us: None, refused: false, tls: None, heard_us: opened_us, silence_us: 0 }
}

#[test]
fn a_good_run_passes_every_check() {
    for judged in judge(&good(), None) {
        assert_eq!(judged.outcome, Outcome::Pass, "{}: {}", judged.id, judged.evidence);
    }
}

#[test]
fn every_check_can_fail() {
    for (id, spoil) in SPOILS {
        let mut seen = good();
        spoil(&mut seen);
        seen.lines.sort_by_key(|line| line.opened_us);
        let (outcome, evidence) = outcome(&seen, id);
        assert_eq!(outcome, Outcome::Fail, "{id}: {evidence}");
    }
    let spoiled: BTreeSet<&str> = SPOILS.iter().map(|(id, _)| *id).collect();
    let checks: BTreeSet<&str> = CHECKS.iter().map(|check| check.id).collect();
    assert_eq!(spoiled, checks, "each check has a run that fails it");
}

#[test]
fn where_nothing_was_seen_nothing_is_claimed() {
    let empty = Seen::new(good().profile().clone(), "0a".into(), false);
    for judged in judge(&empty, None) {
        let expected = if judged.id == "identity.certificate" { Outcome::Fail } else { Outcome::NotObserved };
        assert_eq!(judged.outcome, expected, "{}: {}", judged.id, judged.evidence);
    }
}

#[test]
fn a_hole_that_the_device_told_of_is_none() {
    let mut seen = good();
    seen.first.remove(&Position { epoch: 7, lane: 2, seq: 5 });
    assert_eq!(outcome(&seen, "sequence.contiguous").0, Outcome::Fail);
    seen.frames[0].gap = Some(SpoolGap { lane: Lane::Numerics.into(), first_seq: 5, last_seq: 5 });
    assert_eq!(outcome(&seen, "sequence.contiguous").0, Outcome::Pass);
}

#[test]
fn a_kept_identity_goes_on_where_it_was_and_a_new_one_starts_at_one() {
    let mut seen = good();
    for seq in 1..4 {
        seen.first.remove(&Position { epoch: 7, lane: 2, seq });
    }
    assert_eq!(outcome(&seen, "sequence.contiguous").0, Outcome::Fail);
    seen.continues = true;
    assert_eq!(outcome(&seen, "sequence.contiguous").0, Outcome::Pass);
}

#[test]
fn a_backlog_is_told_from_frames_as_they_are_made() {
    let mut seen = Seen::new(good().profile().clone(), "0a".to_owned(), true);
    (0..5).for_each(|n| frame(&mut seen, at(60.0), at(f64::from(n)), Lane::Numerics));
    assert!(!seen.is_paced(), "five seconds arrived at once");
    (0..2).for_each(|n| frame(&mut seen, at(61.0 + f64::from(n)), at(60.9 + f64::from(n)), Lane::Numerics));
    assert!(seen.is_paced());
}

#[test]
fn only_a_must_is_fatal() {
    let fails = |spoil: Spoil, id: &str| {
        let mut seen = good();
        spoil(&mut seen);
        judge(&seen, None).into_iter().find(|judged| judged.id == id).unwrap().is_fatal()
    };
    assert!(fails(|s| refuse(s, "WL-ID-005"), "identity.client-id"));
    assert!(!fails(|s| s.json = 1, "payload.frames"));
    assert!(judge(&good(), None).iter().all(|judged| !judged.is_fatal()));
}
