//! The two recordings that are labelled false alarms: what the device's alarm pages, and what the plethysmogram says.

use crate::records::{self, Recording};
use anyhow::{Context, ensure};
use wardline_alert::engine::{Engine, Transition};
use wardline_alert::observation::Observation;
use wardline_alert::rules::Rules;
use wardline_proto::codes::EVT_LO;
use wardline_proto::v1::{AlarmKind, AlarmPhase, Body, DeviceAlarm, Priority, SignalEvidence, WaveformBlock};
use wardline_proto::{DeviceId, DeviceKey, TenantId};

const START_US: i64 = 1_793_491_200_000_000;
/// The Challenge's alarms are five minutes into each record.
const ALARM_S: i64 = 300;
const EVT_HI: u32 = 196_648;

/// Feeds a record's plethysmogram second by second, and at its time the alarm as the monitor would have raised it.
fn alarm_in(record: &Recording, condition: &str, event: u32) -> anyhow::Result<Transition> {
    let mut engine = Engine::new(Rules::defaults()?);
    let mut out = Vec::new();
    let pleth = record.signals.iter().find(|signal| signal.name == "PLETH").context("a plethysmogram")?;
    let seconds = pleth.samples.chunks(record.rate_hz as usize).zip(0_i64..).take(ALARM_S as usize);
    for (samples, second) in seconds {
        let mut last = 0;
        let delta = |sample: &i32| sample - std::mem::replace(&mut last, *sample);
        let block = WaveformBlock {
            mdc_code: 150_452,
            ucum_unit: "1".into(),
            start_us: START_US + second * 1_000_000,
            interval_ns: (1e9 / record.rate_hz) as u64,
            sample_deltas: samples.iter().map(delta).collect(),
            scale: 1.0,
            ..WaveformBlock::default()
        };
        let body = Body { waveforms: vec![block], ..Body::default() };
        engine.observe(&seen(body, second + 1)?, &mut out);
    }
    let alarm = DeviceAlarm {
        condition_id: condition.into(),
        mdc_code: event,
        source_mdc_code: 147_842,
        kind: AlarmKind::Physiological.into(),
        priority: Priority::High.into(),
        phase: AlarmPhase::Start.into(),
        at_us: START_US + ALARM_S * 1_000_000,
        ..DeviceAlarm::default()
    };
    engine.observe(&seen(Body { alarms: vec![alarm], ..Body::default() }, ALARM_S)?, &mut out);
    let paged = out.into_iter().find(|t| t.alert.rule_id == format!("device/{condition}"));
    paged.context("the alarm is told, whatever the evidence says")
}

fn seen(body: Body, second: i64) -> anyhow::Result<Observation> {
    let key = DeviceKey { tenant: TenantId::new("demo")?, device: DeviceId::new("mon-1")? };
    let ingested_at_us = START_US + second * 1_000_000;
    Ok(Observation { key, header: None, ingested_at_us, device_offset_us: 0, body })
}

#[test]
fn false_alarms_are_told_with_what_the_pleth_says() -> anyhow::Result<()> {
    let Some(folder) = records::folder("false_alarms_are_told_with_what_the_pleth_says") else {
        return Ok(());
    };
    let table = [
        ("a103l", "asystole", EVT_LO, "contradicting", 127.0),
        // Its pulses are uneven, from motion or from the heart: nothing can be said, and nothing is.
        ("v102s", "ventricular-tachycardia", EVT_HI, "unavailable", 0.0),
    ];
    for (name, condition, event, verdict, rate) in table {
        let paged = alarm_in(&records::read(&folder.join(format!("{name}.hea")))?, condition, event)?;
        let evidence: SignalEvidence = paged.alert.evidence.clone().context("a qualifier")?;
        println!(
            "{name} (labelled a false alarm): pages device/{condition}, priority {:?}; {} over {} s says {}: {} pulses, \
             {:.0} /min",
            paged.alert.priority(),
            evidence.signal,
            (evidence.to_us - evidence.from_us) / 1_000_000,
            evidence.verdict,
            evidence.pulses,
            evidence.rate_per_minute,
        );
        ensure!(paged.phase == AlarmPhase::Start && paged.alert.priority() == Priority::High, "{paged:?}");
        ensure!(evidence.verdict == verdict && (evidence.rate_per_minute - rate).abs() < 3.0, "{evidence:?}");
        ensure!(evidence.signal == "MDC_PULS_OXIM_PLETH" && evidence.pulses > 10, "{evidence:?}");
    }
    Ok(())
}
