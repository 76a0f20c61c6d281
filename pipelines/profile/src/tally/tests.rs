use super::*;
use crate::lint::lint;
use wardline_proto::frame::delta_encode;
use wardline_proto::v1::{DeviceAlarm, SampleGap};

const SPO2: u32 = 150_456;
const SECOND_US: i64 = 1_000_000;

fn tally() -> Tally {
    Tally::new(lint(include_str!("../../../../docs/profiles/bedside-monitor.toml")).profile.unwrap())
}

fn of(tally: &Tally, mdc_code: u32) -> Measured {
    tally.measured().into_iter().find(|m| m.mdc_code == mdc_code).unwrap()
}

#[test]
fn a_kept_profile_is_counted_as_kept() {
    let mut tally = tally();
    for second in 0..100 {
        tally.add_reading(SPO2, "%", second * SECOND_US, 97.0, 0);
    }
    let spo2 = of(&tally, SPO2);
    assert_eq!((spo2.rows, spo2.range, spo2.cadence_kept), (100, Some((97.0, 97.0)), Some(true)));
    assert_eq!(
        spo2.cadence.unwrap(),
        Intervals { count: 99, p50_ms: 1000.0, p95_ms: 1000.0, max_ms: 1000.0 }
    );
    assert!(spo2.is_good());
}

#[test]
fn each_way_to_break_it_is_counted() {
    let mut tally = tally();
    tally.add_reading(SPO2, "1", 0, 97.0, 0);
    tally.add_reading(SPO2, "%", 1, 12.0, 0);
    tally.add_reading(SPO2, "%", 2, 0.0, 1);
    let spo2 = of(&tally, SPO2);
    assert_eq!((spo2.wrong_unit, spo2.implausible, spo2.invalid), (1, 1, 1));
    assert!(!spo2.is_good());
    tally.add_reading(42, "%", 0, 1.0, 0);
    let strange = of(&tally, 42);
    assert!(!strange.declared && !strange.is_good());
}

#[test]
fn a_slow_and_a_jittering_device_break_their_cadence() {
    let mut slow = tally();
    (0..20).for_each(|n| slow.add_reading(SPO2, "%", n * 2 * SECOND_US, 97.0, 0));
    assert_eq!(of(&slow, SPO2).cadence_kept, Some(false));
    let mut jitter = tally();
    (0..20).for_each(|n| jitter.add_reading(SPO2, "%", n * SECOND_US + (n % 2) * 700_000, 97.0, 0));
    assert_eq!(of(&jitter, SPO2).cadence_kept, Some(false));
    let mut few = tally();
    (0..2).for_each(|n| few.add_reading(SPO2, "%", n * 9 * SECOND_US, 97.0, 0));
    assert_eq!(of(&few, SPO2).cadence_kept, None, "too few to say");
}

#[test]
fn order_of_arrival_and_repeats_do_not_matter() {
    let forward: Vec<i64> = (0..10).map(|n| n * SECOND_US).collect();
    let mut mixed: Vec<i64> = forward.iter().rev().copied().collect();
    mixed.extend(&forward);
    assert_eq!(Intervals::of(&mixed), Intervals::of(&forward));
    assert_eq!(Intervals::of(&[5]), None);
}

#[test]
fn samples_in_gaps_do_not_count_and_rates_do() {
    let mut tally = tally();
    let block = WaveformBlock {
        mdc_code: 131_330,
        ucum_unit: "mV".to_owned(),
        interval_ns: 5_000_000,
        sample_deltas: delta_encode(&[900, 100, -900]),
        scale: 0.01,
        gaps: vec![SampleGap { first: 0, count: 1 }],
        ..WaveformBlock::default()
    };
    let alarm = DeviceAlarm { mdc_code: 196_916, ..DeviceAlarm::default() };
    tally.add(&Body { waveforms: vec![block], alarms: vec![alarm], ..Body::default() });
    let ecg = of(&tally, 131_330);
    assert_eq!((ecg.implausible, ecg.range, ecg.wrong_rate), (1, Some((-9.0, 1.0)), 1));
    assert_eq!(of(&tally, 196_916).rows, 1);
}

#[test]
fn codes_past_the_bound_are_counted_together() {
    let mut tally = tally();
    for code in 0..2 * UNDECLARED_MAX as u32 {
        tally.add_reading(10 + code, "%", 0, 1.0, 0);
    }
    let strange: Vec<Measured> = tally.measured().into_iter().filter(|m| !m.declared).collect();
    assert_eq!(strange.len(), UNDECLARED_MAX + 1);
    assert_eq!(strange.iter().map(|m| m.rows).sum::<u64>(), 2 * UNDECLARED_MAX as u64);
}
