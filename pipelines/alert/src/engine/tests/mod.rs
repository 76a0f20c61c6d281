//! The engine against small scripts: what goes in, line by line, and what must come out.
//!
//! ```text
//! 0-10 spo2 97          one reading a second, each in a frame of its own, taken 0.2 s after it was measured
//! 5 spo2 84 s32         with status bits
//! 5 spo2 84 in400       taken at second 400
//! 5 alarm c1 start      a device alarm; in400 works here too
//! tick 60               time moves on
//! ```

mod changed;
mod contested;
mod device_alarms;
mod evidence;
mod kinds;
mod limits;
mod news2;
mod order;
mod orders;
mod pages;
mod restart;
mod rules;
mod silence;
mod strip;

use super::{Engine, Transition};
use crate::observation::Observation;
use crate::rules::Rules;
use wardline_proto::frame::FrameHeader;
use wardline_proto::v1::{AlarmKind, AlarmPhase, Body, DeviceAlarm, Lane, NumericSeries, Priority};
use wardline_proto::{DeviceId, DeviceKey, TenantId, codes};

/// Second 0 of a script.
pub(super) const T0_US: i64 = 1_700_000_000_000_000;

/// One step of a script.
#[derive(Debug, Clone)]
pub(super) enum Input {
    Seen(Box<Observation>),
    Tick(i64),
}

pub(super) fn key(device: &str) -> DeviceKey {
    DeviceKey { tenant: TenantId::new("demo").unwrap(), device: DeviceId::new(device).unwrap() }
}

pub(super) fn us(seconds: f64) -> i64 {
    T0_US + (seconds * 1e6) as i64
}

pub(super) fn defaults() -> Rules {
    Rules::defaults().unwrap()
}

/// Wardline's own rules, and more.
pub(super) fn rules_with(more: &str) -> Rules {
    Rules::parse(&format!("{}{more}", Rules::defaults_text())).unwrap()
}

/// Reads a script; frames are numbered as they stand.
pub(super) fn script(text: &str) -> Vec<Input> {
    let mut inputs = Vec::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let words: Vec<_> = line.split_whitespace().collect();
        if words[0] == "tick" {
            inputs.push(Input::Tick(us(words[1].parse().unwrap())));
            continue;
        }
        let (from, to) = words[0].split_once('-').unwrap_or((words[0], words[0]));
        let (from, to): (f64, f64) = (from.parse().unwrap(), to.parse().unwrap());
        let mut at = from;
        while at <= to {
            let seq = inputs.len() as u64 + 1;
            inputs.push(Input::Seen(Box::new(line_at(&words[1..], at, seq))));
            at += 1.0;
        }
    }
    inputs
}

fn line_at(words: &[&str], at: f64, seq: u64) -> Observation {
    let option = |mark: &str| words[2..].iter().find_map(|w| w.strip_prefix(mark)?.parse::<f64>().ok());
    let ingested_at_us = option("in").map_or(us(at) + 200_000, us);
    let device = words.iter().find_map(|w| w.strip_prefix("dev=")).unwrap_or("mon-1");
    let mut body = Body::default();
    let lane = if words[0] == "alarm" { Lane::Alarm } else { Lane::Numerics };
    match words[0] {
        "alarm" => body.alarms.push(alarm(words[1], words[2], us(at))),
        metric => {
            let status = option("s").unwrap_or(0.0) as u32;
            body.numerics.push(series(metric, words[1].parse().unwrap(), status, us(at)));
        }
    }
    let header = Some(FrameHeader { epoch: 1, seq, lane });
    Observation { key: key(device), header, ingested_at_us, device_offset_us: 0, body }
}

fn alarm(condition: &str, phase: &str, at_us: i64) -> DeviceAlarm {
    let phase = match phase {
        "start" => AlarmPhase::Start,
        "continue" => AlarmPhase::Continue,
        "escalate" => AlarmPhase::Escalate,
        "end" => AlarmPhase::End,
        other => panic!("unknown phase {other}"),
    };
    DeviceAlarm {
        condition_id: condition.into(),
        mdc_code: codes::EVT_LO,
        kind: AlarmKind::Technical.into(),
        priority: Priority::Medium.into(),
        phase: phase.into(),
        at_us,
        ..DeviceAlarm::default()
    }
}

fn series(metric: &str, value: f64, status: u32, start_us: i64) -> NumericSeries {
    let ref_id = match metric {
        "spo2" => "MDC_PULS_OXIM_SAT_O2",
        "hr" => "MDC_ECG_HEART_RATE",
        "rr" => "MDC_RESP_RATE",
        "sbp" => "MDC_PRESS_BLD_NONINV_SYS",
        "temp" => "MDC_TEMP_BODY",
        "fio2" => "MDC_CONC_AWAY_O2_INSP",
        other => panic!("unknown metric {other}"),
    };
    let metric = codes::by_ref_id(ref_id).unwrap();
    NumericSeries {
        mdc_code: metric.mdc_code,
        ucum_unit: metric.ucum_unit.into(),
        start_us,
        time_deltas_us: vec![0],
        values: vec![value],
        statuses: vec![status],
    }
}

pub(super) fn feed(engine: &mut Engine, input: &Input, out: &mut Vec<Transition>) {
    match input {
        Input::Seen(seen) => engine.observe(seen, out),
        Input::Tick(now_us) => engine.advance(*now_us, out),
    }
}

pub(super) fn run(inputs: &[Input]) -> Vec<Transition> {
    run_with(defaults(), inputs)
}

pub(super) fn run_with(rules: Rules, inputs: &[Input]) -> Vec<Transition> {
    let (mut engine, mut out) = (Engine::new(rules), Vec::new());
    inputs.iter().for_each(|input| feed(&mut engine, input, &mut out));
    out
}

/// One line per transition: phase, device when not mon-1, rule, onset, time, reason.
pub(super) fn told(transitions: &[Transition]) -> Vec<String> {
    let seconds = |at_us: i64| (at_us - T0_US) as f64 / 1e6;
    let line = |t: &Transition| {
        let phase = format!("{:?}", t.phase).to_lowercase();
        let device = if t.alert.device == "mon-1" { "" } else { &format!("{} ", t.alert.device) };
        let (onset, at) = (seconds(t.alert.onset_us), seconds(t.at_us));
        format!("{phase} {device}{} onset {onset} at {at} {}", t.alert.rule_id, t.reason)
    };
    transitions.iter().map(line).collect()
}

/// Runs a script against what must come out, one line each.
pub(super) fn check(text: &str, expected: &[&str]) {
    assert_eq!(told(&run(&script(text))), expected, "{text}");
}
