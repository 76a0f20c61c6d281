//! Which waveforms had come around an onset: told once, in an event of its own, the same from every checkpoint.

use super::restart::Kept;
use super::{Engine, Input, defaults, feed, key, script, us};
use crate::engine::Transition;
use crate::limits::{STRIP_SPANS_MAX, STRIPS_MAX};
use crate::observation::Observation;
use proptest::prelude::*;
use wardline_proto::v1::{
    AlarmKind, AlarmPhase, AlertState, Body, DeviceAlarm, Priority, SampleGap, WaveformBlock, WaveformStream,
};

const ECG: u32 = 131_330;
const PLETH: u32 = 150_452;

/// One second of a waveform at 100 Hz, that comes half a second later.
fn block(mdc_code: u32, second: f64, gaps: &[(u32, u32)]) -> Input {
    block_in(mdc_code, second, second + 1.5, gaps)
}

fn block_in(mdc_code: u32, second: f64, ingested: f64, gaps: &[(u32, u32)]) -> Input {
    let block = WaveformBlock {
        mdc_code,
        start_us: us(second),
        interval_ns: 10_000_000,
        sample_deltas: vec![1; 100],
        scale: 1.0,
        gaps: gaps.iter().map(|(first, count)| SampleGap { first: *first, count: *count }).collect(),
        ..WaveformBlock::default()
    };
    seen(Body { waveforms: vec![block], ..Body::default() }, ingested)
}

fn alarm(id: &str, at: f64, phase: AlarmPhase) -> Input {
    let alarm = DeviceAlarm {
        condition_id: id.into(),
        kind: AlarmKind::Physiological.into(),
        priority: Priority::High.into(),
        phase: phase.into(),
        at_us: us(at),
        ..DeviceAlarm::default()
    };
    seen(Body { alarms: vec![alarm], ..Body::default() }, at)
}

fn seen(body: Body, at: f64) -> Input {
    let (key, ingested_at_us) = (key("mon-1"), us(at));
    Input::Seen(Box::new(Observation { key, header: None, ingested_at_us, device_offset_us: 0, body }))
}

/// Puts inputs in the order in which they come.
fn in_order(mut inputs: Vec<Input>) -> Vec<Input> {
    inputs.sort_by_key(|input| match input {
        Input::Seen(seen) => seen.ingested_at_us,
        Input::Tick(at_us) => *at_us,
    });
    inputs
}

fn run(inputs: &[Input]) -> Vec<Transition> {
    let (mut engine, mut out) = (Engine::new(defaults()), Vec::new());
    inputs.iter().for_each(|input| feed(&mut engine, input, &mut out));
    of_alarm(out)
}

fn of_alarm(mut out: Vec<Transition>) -> Vec<Transition> {
    out.retain(|t| t.alert.rule_id.starts_with("device/"));
    out
}

/// A lead that is whole, one that fell off for 0.3 s and lost the frames of seconds 33 and 34; an alarm at second 30.
fn story() -> Vec<Input> {
    let mut inputs: Vec<_> = (0..60).map(|second| block(PLETH, f64::from(second), &[])).collect();
    for second in (0..60).filter(|second| ![33, 34].contains(second)) {
        let gaps: &[_] = if second == 25 { &[(40, 30)] } else { &[] };
        inputs.push(block(ECG, f64::from(second), gaps));
    }
    inputs.push(alarm("vt", 30.0, AlarmPhase::Start));
    inputs.push(alarm("vt", 50.0, AlarmPhase::End));
    inputs.push(Input::Tick(us(90.0)));
    in_order(inputs)
}

fn gaps(stream: &WaveformStream) -> Vec<(f64, f64, &str)> {
    let second = |at_us: i64| (at_us - us(0.0)) as f64 / 1e6;
    stream.gaps.iter().map(|gap| (second(gap.from_us), second(gap.to_us), gap.why.as_str())).collect()
}

#[test]
fn what_is_missing_and_what_was_not_measured_is_told_once_it_should_have_come() {
    let out = run(&story());
    let phases: Vec<_> = out.iter().map(|t| (t.phase, t.reason, t.at_us)).collect();
    let all = [
        (AlarmPhase::Start, "device", us(30.0)),
        (AlarmPhase::Update, "strip", us(45.0)),
        (AlarmPhase::End, "device", us(50.0)),
    ];
    assert_eq!(phases.iter().map(|p| (p.0, p.2)).collect::<Vec<_>>(), all.map(|p| (p.0, p.2)), "{phases:?}");
    assert_eq!(out[1].reason, "strip");
    assert_eq!(out[0].alert.strip, None);
    let strip = out[1].alert.strip.as_ref().unwrap();
    assert_eq!((strip.from_us, strip.to_us, strip.as_of_us), (us(20.0), us(40.0), us(45.0)));
    let names: Vec<_> = strip.streams.iter().map(|s| s.mdc_ref_id.as_str()).collect();
    assert_eq!(names, ["MDC_ECG_ELEC_POTL_II", "MDC_PULS_OXIM_PLETH"]);
    assert_eq!(gaps(&strip.streams[0]), [(25.4, 25.7, "not_measured"), (33.0, 35.0, "missing")]);
    assert_eq!(gaps(&strip.streams[1]), []);
    assert_eq!(out[2].alert.strip, out[1].alert.strip, "its end says the same");
}

#[test]
fn an_alarm_that_is_over_by_then_stays_over() {
    let mut inputs = vec![alarm("vt", 30.0, AlarmPhase::Start), alarm("vt", 32.0, AlarmPhase::End)];
    inputs.extend((20..33).map(|second| block(ECG, f64::from(second), &[])));
    inputs.push(Input::Tick(us(60.0)));
    let out = run(&in_order(inputs));
    let last = out.last().unwrap();
    assert_eq!((out.len(), last.phase, last.alert.state()), (3, AlarmPhase::Update, AlertState::Ended));
    assert_eq!(last.alert.ended_us, us(32.0));
    assert_eq!(gaps(&last.alert.strip.as_ref().unwrap().streams[0]), [(33.0, 40.0, "missing")]);
}

#[test]
fn without_waveforms_there_is_nothing_to_tell() {
    let inputs = [alarm("vt", 30.0, AlarmPhase::Start), Input::Tick(us(90.0))];
    assert_eq!(run(&inputs).len(), 1);
    // Nor of a lead that was taken off long before.
    let inputs = [block(ECG, 0.0, &[]), alarm("vt", 110.0, AlarmPhase::Start), Input::Tick(us(200.0))];
    assert_eq!(run(&inputs).len(), 1);
}

#[test]
fn technical_alarms_and_findings_have_no_strip() {
    let mut inputs = script("0-20 spo2 84 in400\n30 alarm c1 start");
    inputs.extend((20..60).map(|second| block(ECG, f64::from(second), &[])));
    inputs.push(Input::Tick(us(500.0)));
    assert!(run(&in_order(inputs)).iter().all(|t| t.reason != "strip"));
}

#[test]
fn a_restart_at_any_record_tells_the_same() {
    let inputs = story();
    let expected = run(&inputs);
    for stop in 0..=inputs.len() {
        let (mut engine, mut out, mut kept) = (Engine::new(defaults()), Vec::new(), Kept::default());
        for input in &inputs[..stop] {
            feed(&mut engine, input, &mut out);
            kept.commit(&mut engine);
        }
        let mut engine = kept.restore(defaults(), &mut out);
        inputs[stop..].iter().for_each(|input| feed(&mut engine, input, &mut out));
        assert_eq!(of_alarm(out), expected, "restarted after {stop} inputs");
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut inputs: Vec<_> = (0..3 * STRIPS_MAX)
        .map(|n| alarm(&format!("c{n}"), 30.0 + n as f64 / 100.0, AlarmPhase::Start))
        .collect();
    // Every other tenth of a second came: more spans than are remembered.
    inputs.extend(
        (0..600).map(|n| block_in(ECG, f64::from(n) * 1.1, f64::from(n) * 1.1 + 1.5, &[(0, 1), (50, 1)])),
    );
    let inputs = in_order(inputs);
    let (mut engine, mut out) = (Engine::new(defaults()), Vec::new());
    for input in &inputs {
        feed(&mut engine, input, &mut out);
        let state = engine.devices[&key("mon-1")].strip.clone().unwrap();
        assert!(state.open.len() <= STRIPS_MAX);
        assert!(state.streams.iter().all(|s| s.came.len().max(s.unmeasured.len()) <= STRIP_SPANS_MAX));
    }
    let strips = out.iter().filter(|t| t.reason == "strip").count();
    assert_eq!(strips, 3 * STRIPS_MAX, "of each alarm, and no more than once");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// In whatever order blocks come before they are looked at, and however often, the same is told.
    #[test]
    fn the_order_of_blocks_changes_nothing(
        order in Just((20..40).collect::<Vec<i32>>()).prop_shuffle(),
        lost in prop::collection::btree_set(20..40, 0..6),
        twice in prop::collection::vec(20..40, 0..10),
    ) {
        let mut expected: Vec<(f64, f64, &str)> = Vec::new();
        for second in &lost {
            let second = f64::from(*second);
            match expected.last_mut() {
                Some(last) if last.1 == second => last.1 = second + 1.0,
                _ => expected.push((second, second + 1.0, "missing")),
            }
        }
        let came = order.iter().chain(&twice).filter(|second| !lost.contains(*second));
        let mut inputs = vec![alarm("vt", 30.0, AlarmPhase::Start)];
        // Within the second before they are looked at, a millisecond apart.
        inputs.extend(came.enumerate().map(|(n, s)| block_in(ECG, f64::from(*s), 44.0 + n as f64 / 1e3, &[])));
        inputs.push(Input::Tick(us(46.0)));
        let out = run(&inputs);
        let strip = out.iter().find(|t| t.reason == "strip").and_then(|t| t.alert.strip.clone()).unwrap();
        prop_assert_eq!(gaps(&strip.streams[0]), expected);
    }
}
