//! The frames of one device: real bodies of about the asked size, numbered per (epoch, lane) from 1.
//!
//! Bodies are not compressed, so that the size is the one asked for. **Does not** know sockets or clocks.

use bytes::Bytes;
use prost::Message;
use wardline_proto::codes::{self, EVT_LO};
use wardline_proto::frame::FrameHeader;
use wardline_proto::v1::{
    AlarmKind, AlarmPhase, Body, Clock, DeviceAlarm, Encoding, Frame, Lane, NumericSeries, Priority,
    SyncState,
};

const SPO2: &str = "MDC_PULS_OXIM_SAT_O2";
const HEART_RATE: &str = "MDC_ECG_HEART_RATE";
/// Bytes of a frame around its body, and of the first reading: measured, not exact.
const FRAME_OVERHEAD_BYTES: usize = 84;
/// Bytes of one more reading: a double and a time difference.
const READING_BYTES: usize = 10;
/// Time between readings within a frame: so short that a device at full rate does not run ahead of its clock.
const READING_STEP_US: i64 = 10;

/// A frame ready to be published.
#[derive(Debug, Clone)]
pub(super) struct Numbered {
    pub(super) header: FrameHeader,
    pub(super) payload: Bytes,
}

/// Numbers and makes the frames of one device.
#[derive(Debug)]
pub(super) struct Frames {
    epoch: u64,
    next_numerics: u64,
    next_alarm: u64,
    readings: usize,
    last_us: i64,
}

impl Frames {
    /// Starts both lanes at 1.
    pub(super) fn new(epoch: u64, payload_bytes: usize) -> Self {
        let more = payload_bytes.saturating_sub(FRAME_OVERHEAD_BYTES) / READING_BYTES;
        let readings = (1 + more).min(wardline_proto::limits::READINGS_MAX / 2);
        Self { epoch, next_numerics: 1, next_alarm: 1, readings, last_us: 0 }
    }

    /// Makes the next numerics frame, with readings up to `now_us`.
    pub(super) fn numerics(&mut self, now_us: i64) -> Numbered {
        let span_us = (self.readings as i64 - 1) * READING_STEP_US;
        // Times of one metric rise from frame to frame, even when frames come faster than readings.
        let start_us = (now_us - span_us).max(self.last_us + READING_STEP_US);
        self.last_us = start_us + span_us;
        let seq = self.next_numerics;
        let value = |i: usize| 95.0 + ((seq as usize + i) % 4) as f64;
        let mut time_deltas_us = vec![READING_STEP_US; self.readings];
        time_deltas_us[0] = 0;
        let series = NumericSeries {
            start_us,
            time_deltas_us,
            values: (0..self.readings).map(value).collect(),
            ..metric(SPO2)
        };
        self.next_numerics += 1;
        self.frame(Lane::Numerics, seq, now_us, &Body { numerics: vec![series], ..Body::default() })
    }

    /// Makes the next alarm frame: starts and ends of one condition in turn.
    pub(super) fn alarm(&mut self, now_us: i64) -> Numbered {
        let seq = self.next_alarm;
        let phase = if seq % 2 == 1 { AlarmPhase::Start } else { AlarmPhase::End };
        let source = metric(HEART_RATE);
        let alarm = DeviceAlarm {
            condition_id: format!("code-{}", seq.div_ceil(2)),
            mdc_code: EVT_LO,
            source_mdc_code: source.mdc_code,
            kind: AlarmKind::Physiological.into(),
            priority: Priority::High.into(),
            phase: phase.into(),
            at_us: now_us,
            value: Some(34.0),
            limit: Some(50.0),
            ucum_unit: source.ucum_unit,
        };
        self.next_alarm += 1;
        self.frame(Lane::Alarm, seq, now_us, &Body { alarms: vec![alarm], ..Body::default() })
    }

    fn frame(&self, lane: Lane, seq: u64, now_us: i64, body: &Body) -> Numbered {
        let clock = Clock { device_offset_us: 0, uncertainty_us: 50_000, sync_state: SyncState::Ntp.into() };
        let frame = Frame {
            epoch: self.epoch,
            seq,
            sent_at_us: now_us,
            clock: Some(clock),
            encoding: Encoding::Identity.into(),
            lane: lane.into(),
            body: body.encode_to_vec().into(),
        };
        let header = FrameHeader { epoch: self.epoch, seq, lane };
        Numbered { header, payload: frame.encode_to_vec().into() }
    }
}

fn metric(ref_id: &str) -> NumericSeries {
    let metric = codes::by_ref_id(ref_id);
    NumericSeries {
        mdc_code: metric.map_or(0, |m| m.mdc_code),
        ucum_unit: metric.map_or(String::new(), |m| m.ucum_unit.to_owned()),
        ..NumericSeries::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardline_proto::frame::{decode, decode_body, lane_of};

    #[test]
    fn frames_are_valid_numbered_and_of_about_the_asked_size() {
        for bytes in [100, 200, 1000, 16_000] {
            let mut frames = Frames::new(1_800_000_000_000_000, bytes);
            for seq in 1..=3 {
                let frame = frames.numerics(1_800_000_000_000_000);
                assert!(
                    frame.payload.len().abs_diff(bytes) <= 16 + bytes / 10,
                    "{bytes}: {}",
                    frame.payload.len()
                );
                let (header, decoded) = decode(frame.payload).unwrap();
                assert_eq!((header.seq, header.lane), (seq, Lane::Numerics));
                let body = decode_body(&decoded).unwrap();
                let series = &body.numerics[0];
                assert_eq!(
                    (series.values.len(), lane_of(&body)),
                    (series.time_deltas_us.len(), Lane::Numerics)
                );
            }
            let alarm = frames.alarm(1_800_000_000_000_000);
            assert_eq!((alarm.header.seq, alarm.header.lane), (1, Lane::Alarm));
        }
    }

    #[test]
    fn readings_of_a_metric_never_go_back_in_time() {
        let mut frames = Frames::new(1, 400);
        let mut last_us = 0;
        for _ in 0..10 {
            let (_, frame) = decode(frames.numerics(1_000_000).payload).unwrap();
            let body = decode_body(&frame).unwrap();
            assert!(body.numerics[0].start_us > last_us);
            last_us = body.numerics[0].start_us + body.numerics[0].time_deltas_us.iter().sum::<i64>();
        }
    }
}
