use super::*;
use crate::lint::lint;
use wardline_proto::frame::delta_encode;
use wardline_proto::v1::{DeviceAlarm, SampleGap};

fn profile() -> Profile {
    lint(include_str!("../../../../docs/profiles/bedside-monitor.toml")).profile.unwrap()
}

fn series(mdc_code: u32, unit: &str, values: &[f64]) -> Body {
    let series = NumericSeries {
        mdc_code,
        ucum_unit: unit.to_owned(),
        values: values.to_vec(),
        time_deltas_us: vec![0; values.len()],
        ..NumericSeries::default()
    };
    Body { numerics: vec![series], ..Body::default() }
}

fn block(interval_ns: u64, samples: &[i32]) -> Body {
    let block = WaveformBlock {
        mdc_code: 131_330,
        ucum_unit: "mV".to_owned(),
        interval_ns,
        sample_deltas: delta_encode(samples),
        scale: 0.01,
        ..WaveformBlock::default()
    };
    Body { waveforms: vec![block], ..Body::default() }
}

fn faults(body: &Body) -> Vec<Fault> {
    profile().judge(body).into_iter().map(|f| f.fault).collect()
}

#[test]
fn a_body_that_keeps_its_profile_has_no_finding() {
    assert_eq!(faults(&series(150_456, "%", &[97.0, 50.0, 100.0])), []);
    assert_eq!(faults(&block(4_000_000, &[0, 100, -500, 500])), []);
    let alarm = DeviceAlarm { mdc_code: 196_916, ..DeviceAlarm::default() };
    assert_eq!(faults(&Body { alarms: vec![alarm], ..Body::default() }), []);
}

#[test]
fn each_fault_is_found() {
    assert_eq!(faults(&series(151_594, "/min", &[12.0])), [Fault::Undeclared]);
    assert_eq!(faults(&series(131_330, "mV", &[0.0])), [Fault::Kind { declared: Kind::Waveform }]);
    let unit = Fault::Unit { found: "1".into(), declared: "%".into() };
    assert_eq!(faults(&series(150_456, "1", &[0.97])), [unit, Fault::Implausible { count: 1 }]);
    assert_eq!(faults(&series(150_456, "%", &[49.0, 97.0, f64::NAN])), [Fault::Implausible { count: 2 }]);
    let rate = Fault::SampleRate { found_hz: 500.0, declared_hz: 250.0 };
    assert_eq!(faults(&block(2_000_000, &[0])), [rate]);
    assert_eq!(faults(&block(4_000_000, &[0, 600, -600])), [Fault::Implausible { count: 2 }]);
    let alarm = DeviceAlarm { mdc_code: 150_456, ..DeviceAlarm::default() };
    let numeric = Fault::Kind { declared: Kind::Numeric };
    assert_eq!(faults(&Body { alarms: vec![alarm], ..Body::default() }), [numeric]);
}

#[test]
fn what_the_device_says_is_no_value_is_not_judged() {
    let mut body = series(150_456, "%", &[0.0, 0.0]);
    body.numerics[0].statuses = vec![status::INVALID | status::NOT_AVAILABLE, 0];
    assert_eq!(faults(&body), [Fault::Implausible { count: 1 }]);
    let mut body = block(4_000_000, &[600, 0, 600]);
    body.waveforms[0].gaps = vec![SampleGap { first: 0, count: 1 }];
    assert_eq!(faults(&body), [Fault::Implausible { count: 1 }]);
}
