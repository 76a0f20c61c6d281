//! The JSON form of a publish, for a device's first day: `docs/json.md` describes it for people.
//!
//! The same records come out as from a frame. What JSON leaves open is decided here: a time is RFC 3339 text or
//! unix microseconds, and one that is missing is the time of ingest; a metric is its reference id or its code; a
//! unit is never assumed. Unknown fields are refused, because a misspelt `value` is no reading without a value.

use crate::codes::by_ref_id;
use crate::frame::delta_encode;
use crate::limits::{BODY_ITEMS_MAX, PAYLOAD_BYTES_MAX, SAMPLES_MAX};
use crate::refusal::Refusal;
use crate::v1::{
    AlarmKind, AlarmPhase, Body, DeviceAlarm, DeviceEvent, NumericSeries, Priority, WaveformBlock,
};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A publish that was read from JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPublish {
    /// Epoch and position when the device numbers its messages; none: the record's place in the journal names it.
    pub position: Option<(u64, u64)>,
    /// When the device sent it, its clock, unix microseconds, when it says so.
    pub sent_at_us: Option<i64>,
    /// What it says. Items of several kinds may stand side by side.
    pub body: Body,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    epoch: Option<u64>,
    seq: Option<u64>,
    sent_at: Option<Time>,
    #[serde(default)]
    readings: Vec<Reading>,
    #[serde(default)]
    waveforms: Vec<Waveform>,
    #[serde(default)]
    alarms: Vec<Alarm>,
    #[serde(default)]
    events: Vec<Event>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Time {
    Micros(i64),
    Text(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Code {
    Number(u32),
    RefId(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reading {
    code: Code,
    value: f64,
    unit: String,
    time: Option<Time>,
    #[serde(default)]
    status: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Waveform {
    code: Code,
    unit: String,
    start: Option<Time>,
    interval_ns: u64,
    samples: Vec<i32>,
    #[serde(default = "one")]
    scale: f64,
    #[serde(default)]
    offset: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Alarm {
    condition: String,
    code: u32,
    source: Option<Code>,
    kind: Kind,
    priority: Level,
    phase: Phase,
    time: Option<Time>,
    value: Option<f64>,
    limit: Option<f64>,
    #[serde(default)]
    unit: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    name: String,
    #[serde(default)]
    detail: String,
    time: Option<Time>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Physiological,
    Technical,
    Advisory,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Level {
    Low,
    Medium,
    High,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Phase {
    Start,
    Continue,
    Update,
    End,
    Escalate,
    Deescalate,
}

fn one() -> f64 {
    1.0
}

/// Reads a JSON payload that was ingested at `ingested_at_us`.
///
/// Fails with `PayloadFormat` when it is not the form, `FrameHeader` when only one of epoch and seq is given or one
/// is out of range, `MetricUnknown` for a reference id that is not in the catalogue, and `BodyTooLarge`.
pub fn decode(payload: &[u8], ingested_at_us: i64) -> Result<JsonPublish, Refusal> {
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(Refusal::PayloadTooLarge);
    }
    let message: Message = serde_json::from_slice(payload).map_err(|_form| Refusal::PayloadFormat)?;
    let items =
        message.readings.len() + message.waveforms.len() + message.alarms.len() + message.events.len();
    if items > BODY_ITEMS_MAX || message.waveforms.iter().any(|w| w.samples.len() > SAMPLES_MAX) {
        return Err(Refusal::BodyTooLarge);
    }
    let position = match (message.epoch, message.seq) {
        (None, None) => None,
        (Some(epoch), Some(seq)) if in_range(epoch) && in_range(seq) => Some((epoch, seq)),
        _ => return Err(Refusal::FrameHeader),
    };
    let sent_at_us = message.sent_at.as_ref().map(micros).transpose()?;
    let at = |time: &Option<Time>| time.as_ref().map_or(Ok(sent_at_us.unwrap_or(ingested_at_us)), micros);
    let collect_body = || {
        Ok(Body {
            numerics: message.readings.iter().map(|r| reading(r, at(&r.time)?)).collect::<Result<_, _>>()?,
            waveforms: message
                .waveforms
                .iter()
                .map(|w| waveform(w, at(&w.start)?))
                .collect::<Result<_, _>>()?,
            alarms: message.alarms.iter().map(|a| alarm(a, at(&a.time)?)).collect::<Result<_, _>>()?,
            events: message.events.iter().map(|e| Ok(event(e, at(&e.time)?))).collect::<Result<_, _>>()?,
        })
    };
    Ok(JsonPublish { position, sent_at_us, body: collect_body()? })
}

fn in_range(number: u64) -> bool {
    number > 0 && i64::try_from(number).is_ok()
}

fn micros(time: &Time) -> Result<i64, Refusal> {
    match time {
        Time::Micros(micros) => Ok(*micros),
        Time::Text(text) => {
            let parsed = OffsetDateTime::parse(text, &Rfc3339).map_err(|_form| Refusal::PayloadFormat)?;
            i64::try_from(parsed.unix_timestamp_nanos() / 1000).map_err(|_range| Refusal::PayloadFormat)
        }
    }
}

fn code(code: &Code) -> Result<u32, Refusal> {
    match code {
        Code::Number(number) => Ok(*number),
        Code::RefId(ref_id) => by_ref_id(ref_id).map(|m| m.mdc_code).ok_or(Refusal::MetricUnknown),
    }
}

fn reading(reading: &Reading, start_us: i64) -> Result<NumericSeries, Refusal> {
    Ok(NumericSeries {
        mdc_code: code(&reading.code)?,
        ucum_unit: reading.unit.clone(),
        start_us,
        time_deltas_us: vec![0],
        values: vec![reading.value],
        statuses: vec![reading.status],
    })
}

fn waveform(block: &Waveform, start_us: i64) -> Result<WaveformBlock, Refusal> {
    Ok(WaveformBlock {
        mdc_code: code(&block.code)?,
        ucum_unit: block.unit.clone(),
        start_us,
        interval_ns: block.interval_ns,
        sample_deltas: delta_encode(&block.samples),
        scale: block.scale,
        offset: block.offset,
        gaps: Vec::new(),
    })
}

fn alarm(alarm: &Alarm, at_us: i64) -> Result<DeviceAlarm, Refusal> {
    let kind = match alarm.kind {
        Kind::Physiological => AlarmKind::Physiological,
        Kind::Technical => AlarmKind::Technical,
        Kind::Advisory => AlarmKind::Advisory,
    };
    let priority = match alarm.priority {
        Level::Low => Priority::Low,
        Level::Medium => Priority::Medium,
        Level::High => Priority::High,
    };
    let phase = match alarm.phase {
        Phase::Start => AlarmPhase::Start,
        Phase::Continue => AlarmPhase::Continue,
        Phase::Update => AlarmPhase::Update,
        Phase::End => AlarmPhase::End,
        Phase::Escalate => AlarmPhase::Escalate,
        Phase::Deescalate => AlarmPhase::Deescalate,
    };
    Ok(DeviceAlarm {
        condition_id: alarm.condition.clone(),
        mdc_code: alarm.code,
        source_mdc_code: alarm.source.as_ref().map_or(Ok(0), code)?,
        kind: kind.into(),
        priority: priority.into(),
        phase: phase.into(),
        at_us,
        value: alarm.value,
        limit: alarm.limit,
        ucum_unit: alarm.unit.clone(),
    })
}

fn event(event: &Event, at_us: i64) -> DeviceEvent {
    DeviceEvent { at_us, name: event.name.clone(), detail: event.detail.clone(), ..DeviceEvent::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_a_reading_now() {
        let line = br#"{"readings":[{"code":"MDC_PULS_OXIM_SAT_O2","value":97,"unit":"%"}]}"#;
        let publish = decode(line, 5).unwrap();
        assert_eq!(publish.position, None);
        let series = &publish.body.numerics[0];
        assert_eq!((series.mdc_code, series.start_us, series.values[0]), (150_456, 5, 97.0));
    }

    #[test]
    fn times_are_text_or_microseconds() {
        for (time, us) in [("\"1970-01-01T00:00:01.5Z\"", 1_500_000), ("7", 7)] {
            let text =
                format!("{{\"epoch\":1,\"seq\":2,\"events\":[{{\"name\":\"probe_off\",\"time\":{time}}}]}}");
            let publish = decode(text.as_bytes(), 0).unwrap();
            assert_eq!((publish.position, publish.body.events[0].at_us), (Some((1, 2)), us));
        }
    }

    #[test]
    fn what_is_not_the_form_is_refused() {
        for (text, refusal) in [
            ("{", Refusal::PayloadFormat),
            ("{\"reading\":[]}", Refusal::PayloadFormat),
            ("{\"readings\":[{\"code\":1,\"value\":1}]}", Refusal::PayloadFormat),
            (
                "{\"readings\":[{\"code\":1,\"value\":1,\"unit\":\"%\",\"time\":\"today\"}]}",
                Refusal::PayloadFormat,
            ),
            ("{\"seq\":1}", Refusal::FrameHeader),
            ("{\"epoch\":1,\"seq\":0}", Refusal::FrameHeader),
            ("{\"readings\":[{\"code\":\"MDC_X\",\"value\":1,\"unit\":\"%\"}]}", Refusal::MetricUnknown),
        ] {
            assert_eq!(decode(text.as_bytes(), 0), Err(refusal), "{text}");
        }
    }
}
