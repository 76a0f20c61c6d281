//! A clock that was ahead and is set back: journal time is ahead of it.

use super::super::core::{Core, decide};
use super::{Body, NumericSeries, Rig, SPO2, now_us, publish};
use crate::engine::{Engine, Transition};
use crate::rules::Rules;
use std::sync::Arc;
use wardline_proto::v1::AlarmPhase;

const SECOND_US: i64 = 1_000_000;
const HOUR_US: i64 = 3600 * SECOND_US;
const T0_US: i64 = 1_700_000_000_000_000;

fn low(seq: u64, at_us: i64, accepted_us: i64) -> Vec<u8> {
    let series = NumericSeries {
        mdc_code: SPO2,
        ucum_unit: "%".into(),
        start_us: at_us,
        time_deltas_us: vec![0],
        values: vec![80.0],
        statuses: Vec::new(),
    };
    publish(seq, Body { numerics: vec![series], ..Body::default() }, accepted_us)
}

fn begun(out: &[Transition]) -> Vec<&str> {
    let starts = out.iter().filter(|told| told.phase == AlarmPhase::Start);
    starts.map(|told| told.alert.rule_id.as_str()).collect()
}

#[test]
fn limits_are_watched_by_the_records_own_stamps() {
    let told = |journal_leads_us: i64, front_lags_us: i64| {
        let (mut engine, mut out) = (Engine::new(Rules::defaults().unwrap()), Vec::new());
        for second in 0..10 {
            let at_us = T0_US + second * SECOND_US;
            let record = low(second as u64 + 1, at_us, at_us - front_lags_us);
            decide(&mut engine, record.into(), at_us.max(T0_US + journal_leads_us), &mut out);
        }
        out
    };
    assert_eq!(begun(&told(0, 0)), ["spo2-low"]);
    assert_eq!(
        begun(&told(HOUR_US, 0)),
        ["spo2-low"],
        "ahead, and set back: the stamp is right, the journal's time not"
    );
    assert_eq!(begun(&told(0, HOUR_US)), ["spo2-low"], "set back wrongly: the journal's time is nearer");
    assert_eq!(begun(&told(HOUR_US, HOUR_US)), [""; 0], "neither says that it is live");
}

#[tokio::test]
async fn a_journal_ahead_of_the_clock_is_told_of_until_the_clock_has_caught_up() {
    let rig = Rig::new().await;
    rig.spo2(1, &[97.0]);
    let stamped_us = rig.journal.promise_time(0);
    let told = |core: &mut Core, now_us: i64| {
        core.step(now_us, HOUR_US);
        core.step(now_us, HOUR_US);
        let of_clock = |t: &Transition| t.alert.rule_id == "system/clock";
        let told = core.take().events.into_iter().map(|d| d.transition).filter(of_clock);
        told.map(|t| t.phase).collect::<Vec<_>>()
    };
    let engine = Engine::new(Rules::defaults().unwrap());
    let mut core = Core::new(engine, Arc::new(rig.journal.clone()), None, Vec::new());
    core.know(None, i64::MAX);
    assert_eq!(told(&mut core, now_us()), []);
    // As if the clock had been ten seconds ahead when the record was stamped.
    assert_eq!(told(&mut core, stamped_us - 10 * SECOND_US), [AlarmPhase::Start]);
    assert_eq!(told(&mut core, stamped_us - 9 * SECOND_US), []);
    assert_eq!(told(&mut core, stamped_us - 3 * SECOND_US), [], "it does not flap at the bound");
    assert_eq!(told(&mut core, now_us()), [AlarmPhase::End]);
}

#[tokio::test]
async fn a_frame_of_alarms_that_does_not_open_is_told_of() {
    use prost::Message;
    use wardline_proto::v1::{Frame, Lane, PayloadFormat};
    let told = |lane: Lane, content: PayloadFormat| {
        let body = vec![0xFF; 9].into();
        let frame = Frame { epoch: 1, seq: 1, encoding: 1, lane: lane.into(), body, ..Frame::default() };
        let record = super::record(content, frame.encode_to_vec(), T0_US);
        let (mut engine, mut out) = (Engine::new(Rules::defaults().unwrap()), Vec::new());
        let caused = decide(&mut engine, record.into(), T0_US, &mut out);
        assert_eq!(caused, None, "it is counted as what does not decode");
        out
    };
    for (lane, content) in [(Lane::Alarm, PayloadFormat::Frame), (Lane::Numerics, PayloadFormat::Json)] {
        let out = told(lane, content);
        assert_eq!(begun(&out), ["system/alarm-lost"]);
        assert_eq!(out[0].alert.device, "mon-1");
    }
    assert!(told(Lane::Numerics, PayloadFormat::Frame).is_empty(), "no alarm was in it");
}
