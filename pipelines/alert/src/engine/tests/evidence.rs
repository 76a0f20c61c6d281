//! What the plethysmogram says beside an alarm that the heart has stopped.

use super::{Input, feed, key, rules_with, us};
use crate::engine::{Engine, Transition};
use crate::observation::Observation;
use wardline_proto::codes::EVT_LO;
use wardline_proto::v1::{AlarmKind, AlarmPhase, Body, DeviceAlarm, Priority, SignalEvidence, WaveformBlock};

const RATE_HZ: f64 = 125.0;

/// One second of a plethysmogram with so many beats a minute; none is a flat line with a little noise.
fn pleth(second: u32, beats_per_minute: f64) -> Input {
    let sample = |index: u32| {
        let noise = i64::from((second * 125 + index) * 7919 % 5);
        let at = f64::from(second) + f64::from(index) / RATE_HZ;
        let phase = (at * beats_per_minute / 60.0).fract();
        // A steep rise, a slow fall.
        let pulse = if phase < 0.15 { phase / 0.15 } else { (1.0 - phase) / 0.85 };
        noise + if beats_per_minute > 0.0 { (pulse * 2_000.0) as i64 } else { 0 }
    };
    let mut last = 0;
    let delta = |index| {
        let now = sample(index);
        i32::try_from(now - std::mem::replace(&mut last, now)).unwrap()
    };
    let block = WaveformBlock {
        mdc_code: 150_452,
        ucum_unit: "1".into(),
        start_us: us(f64::from(second)),
        interval_ns: 8_000_000,
        sample_deltas: (0..125).map(delta).collect(),
        scale: 1.0,
        ..WaveformBlock::default()
    };
    seen(Body { waveforms: vec![block], ..Body::default() }, f64::from(second) + 1.0)
}

fn asystole(at: f64, phase: AlarmPhase) -> Input {
    let alarm = DeviceAlarm {
        condition_id: "asystole".into(),
        mdc_code: EVT_LO,
        source_mdc_code: 147_842,
        kind: AlarmKind::Physiological.into(),
        priority: Priority::High.into(),
        phase: phase.into(),
        at_us: us(at),
        value: Some(0.0),
        ..DeviceAlarm::default()
    };
    seen(Body { alarms: vec![alarm], ..Body::default() }, at)
}

fn seen(body: Body, at: f64) -> Input {
    let ingested_at_us = us(at);
    Input::Seen(Box::new(Observation {
        key: key("mon-1"),
        header: None,
        ingested_at_us,
        device_offset_us: 0,
        body,
    }))
}

/// Runs half a minute of pulses, `after` seconds of others, and the alarm; it ends later.
fn told(beats: Option<f64>, then: Option<f64>, after: u32) -> (Vec<Transition>, SignalEvidence) {
    let (mut engine, mut out) = (Engine::new(rules_with("")), Vec::new());
    for second in 0..30 + after {
        let beats = if second < 30 { beats } else { then };
        if let Some(beats) = beats {
            feed(&mut engine, &pleth(second, beats), &mut out);
        }
    }
    let at = f64::from(30 + after);
    feed(&mut engine, &asystole(at, AlarmPhase::Start), &mut out);
    feed(&mut engine, &asystole(at + 5.0, AlarmPhase::End), &mut out);
    out.retain(|t| t.alert.rule_id == "device/asystole");
    let evidence = out[0].alert.evidence.clone().unwrap();
    (out, evidence)
}

#[test]
fn regular_pulses_contradict_and_never_silence() {
    for beats in [50.0, 75.0, 150.0] {
        let (out, evidence) = told(Some(beats), None, 0);
        assert_eq!(evidence.verdict, "contradicting", "{evidence:?}");
        assert!((evidence.rate_per_minute - beats).abs() < beats / 20.0, "{evidence:?}");
        assert_eq!(evidence.signal, "MDC_PULS_OXIM_PLETH");
        let phases: Vec<_> = out.iter().map(|t| (t.phase, t.alert.priority())).collect();
        let all = [(AlarmPhase::Start, Priority::High), (AlarmPhase::End, Priority::High)];
        assert_eq!(phases, all, "it is told like any other, at its priority");
        assert_eq!(out[1].alert.evidence.as_ref(), Some(&evidence), "its end says the same");
    }
}

#[test]
fn no_pulses_support() {
    let (_, evidence) = told(Some(75.0), Some(0.0), 12);
    assert_eq!((evidence.verdict.as_str(), evidence.pulses), ("supporting", 0), "{evidence:?}");
}

#[test]
fn slow_pulses_support() {
    let (_, evidence) = told(Some(30.0), None, 0);
    assert_eq!(evidence.verdict, "supporting", "{evidence:?}");
}

#[test]
fn what_is_not_there_says_nothing() {
    let (_, evidence) = told(None, None, 0);
    assert_eq!((evidence.verdict.as_str(), evidence.signal.as_str()), ("unavailable", ""));
    let (_, evidence) = told(Some(75.0), None, 8);
    assert_eq!(evidence.verdict, "unavailable", "eight seconds without samples: {evidence:?}");
}

#[test]
fn a_limit_of_ours_on_the_heart_rate_is_qualified_too() {
    let (mut engine, mut out) = (Engine::new(rules_with("")), Vec::new());
    for second in 0..20 {
        feed(&mut engine, &pleth(second, 80.0), &mut out);
    }
    for input in super::script("20-30 hr 20") {
        feed(&mut engine, &input, &mut out);
    }
    let start = out.iter().find(|t| t.alert.rule_id == "hr-low").unwrap();
    assert_eq!(start.alert.evidence.as_ref().unwrap().verdict, "contradicting", "{start:?}");
}
