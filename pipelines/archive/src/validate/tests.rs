use super::*;
use wardline_proto::v1::SampleGap;

const NOW: i64 = 1_800_000_000_000_000;
const SECOND: i64 = 1_000_000;

fn time() -> TimeFrame {
    TimeFrame {
        ingested_at_us: NOW,
        sent_at_us: Some(NOW),
        device_offset_us: Some(0),
        clock_bound_us: 120 * SECOND,
        future_bound_us: 86_400 * SECOND,
    }
}

fn series() -> NumericSeries {
    NumericSeries {
        mdc_code: 150_456,
        ucum_unit: "%".into(),
        start_us: NOW,
        time_deltas_us: vec![0, SECOND],
        values: vec![97.0, 96.0],
        statuses: vec![],
    }
}

fn block() -> WaveformBlock {
    WaveformBlock {
        mdc_code: 131_330,
        ucum_unit: "mV".into(),
        start_us: NOW,
        interval_ns: 4_000_000,
        sample_deltas: vec![1; 10],
        scale: 0.005,
        offset: 0.0,
        gaps: vec![SampleGap { first: 2, count: 3 }, SampleGap { first: 5, count: 5 }],
    }
}

fn numerics(change: impl FnOnce(&mut NumericSeries)) -> Result<(), Refusal> {
    let mut series = series();
    change(&mut series);
    check(&Body { numerics: vec![series], ..Body::default() }, &time())
}

fn waveform(change: impl FnOnce(&mut WaveformBlock)) -> Result<(), Refusal> {
    let mut block = block();
    change(&mut block);
    check(&Body { waveforms: vec![block], ..Body::default() }, &time())
}

#[test]
fn good_bodies_pass() {
    assert_eq!((numerics(|_| {}), waveform(|_| {})), (Ok(()), Ok(())));
}

#[test]
fn each_rule_refuses_with_its_code() {
    let day_after = NOW + 86_401 * SECOND;
    for (found, expected) in [
        (check(&Body::default(), &time()), Refusal::BodyInconsistent),
        (numerics(|s| s.mdc_code = 7), Refusal::MetricUnknown),
        (numerics(|s| s.mdc_code = 131_330), Refusal::MetricUnknown),
        (numerics(|s| s.ucum_unit = "1".into()), Refusal::UnitMismatch),
        (numerics(|s| s.values.push(1.0)), Refusal::BodyInconsistent),
        (numerics(|s| s.statuses.push(0)), Refusal::BodyInconsistent),
        (numerics(|s| s.time_deltas_us[1] = -1), Refusal::BodyInconsistent),
        (numerics(|s| s.time_deltas_us[0] = 1), Refusal::BodyInconsistent),
        (numerics(|s| s.start_us = day_after), Refusal::TimeImplausible),
        (numerics(|s| s.start_us = -1), Refusal::TimeImplausible),
        (numerics(|s| s.time_deltas_us[1] = i64::MAX), Refusal::TimeImplausible),
        (waveform(|w| w.mdc_code = 150_456), Refusal::MetricUnknown),
        (waveform(|w| w.ucum_unit = "V".into()), Refusal::UnitMismatch),
        (waveform(|w| w.interval_ns = 0), Refusal::BodyInconsistent),
        (waveform(|w| w.sample_deltas.clear()), Refusal::BodyInconsistent),
        (waveform(|w| (w.start_us, w.interval_ns) = (0, 360_000_001_000)), Refusal::BodyInconsistent),
        (waveform(|w| w.scale = f64::NAN), Refusal::BodyInconsistent),
        (waveform(|w| w.gaps[1].count = 6), Refusal::BodyInconsistent),
        (waveform(|w| w.gaps[1].first = 4), Refusal::BodyInconsistent),
        (waveform(|w| w.interval_ns = i64::MAX as u64), Refusal::TimeImplausible),
    ] {
        assert_eq!(found, Err(expected));
    }
}

#[test]
fn alarms_and_events_are_bounded() {
    let alarm = DeviceAlarm {
        condition_id: "low".into(),
        kind: 1,
        priority: 3,
        phase: 1,
        at_us: NOW,
        ..DeviceAlarm::default()
    };
    let event = DeviceEvent { name: "probe_off".into(), at_us: NOW, ..DeviceEvent::default() };
    let alarms = |alarm| check(&Body { alarms: vec![alarm], ..Body::default() }, &time());
    let events = |event| check(&Body { events: vec![event], ..Body::default() }, &time());
    assert_eq!((alarms(alarm.clone()), events(event.clone())), (Ok(()), Ok(())));
    assert!(alarms(DeviceAlarm { priority: 9, ..alarm.clone() }).is_err());
    assert!(alarms(DeviceAlarm { condition_id: "x".repeat(65), ..alarm.clone() }).is_err());
    assert!(alarms(DeviceAlarm { condition_id: "\u{1b}[2J".into(), ..alarm.clone() }).is_err());
    assert!(alarms(DeviceAlarm { ucum_unit: "%\n".into(), ..alarm }).is_err());
    assert!(events(DeviceEvent { name: String::new(), ..event.clone() }).is_err());
    assert!(events(DeviceEvent { detail: "x".repeat(1025), ..event }).is_err());
}

#[test]
fn a_clock_is_suspect_by_measure_and_not_by_age() {
    let hour = 3600 * SECOND;
    assert_eq!(time().status_of(NOW - 24 * hour), 0, "an old reading is only old");
    assert_eq!(time().status_of(NOW + hour), status::CLOCK_SUSPECT);
    let slow = TimeFrame { device_offset_us: Some(hour), ..time() };
    assert_eq!(slow.status_of(NOW - hour), status::CLOCK_SUSPECT);
    let ahead = TimeFrame { sent_at_us: Some(NOW + hour), ..time() };
    assert_eq!(ahead.status_of(NOW), status::CLOCK_SUSPECT);
}

#[test]
fn implausible_values_and_no_numbers_are_flagged() {
    let Some(metric) = by_code(150_456) else { return };
    for (value, flagged) in [(97.0, false), (101.0, true), (f64::NAN, true), (f64::INFINITY, true)] {
        assert_eq!(status_of_value(metric, None, value) != 0, flagged);
    }
}
