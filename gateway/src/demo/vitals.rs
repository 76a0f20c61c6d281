//! The newest vital signs, read from the journal as any consumer does: what is shown is durable.

use prost::Message;
use std::collections::HashMap;
use wardline_journal::{Journal, Offset, ReadError, Reader};
use wardline_proto::frame;
use wardline_proto::v1::{JournalRecord, Lane, NumericSeries, journal_record::Kind};

/// Journal bytes looked at per step.
const STEP_BYTES_MAX: usize = 1024 * 1024;
const HEART_RATE: [u32; 2] = [147_842, 149_530];
const SPO2: u32 = 150_456;

/// Heart rate and saturation of one device.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Vitals {
    /// Per minute.
    pub(crate) heart_rate: Option<f64>,
    /// Percent.
    pub(crate) spo2: Option<f64>,
}

/// Follows the journal and keeps each device's newest vital signs.
pub(crate) struct VitalsTail {
    reader: Reader,
    latest: HashMap<String, Vitals>,
}

impl VitalsTail {
    /// Starts at `from`.
    pub(crate) fn new(journal: &Journal, from: Offset) -> Result<Self, ReadError> {
        Ok(Self { reader: journal.reader(from)?, latest: HashMap::new() })
    }

    /// Reads what became durable since the last step.
    pub(crate) fn step(&mut self) -> Result<(), ReadError> {
        loop {
            let entries = self.reader.next_batch(STEP_BYTES_MAX)?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in entries {
                self.take(entry.payload);
            }
        }
    }

    /// Returns the newest vital signs of `device`.
    pub(crate) fn of(&self, device: &str) -> Vitals {
        self.latest.get(device).copied().unwrap_or_default()
    }

    fn take(&mut self, payload: bytes::Bytes) {
        let Ok(record) = JournalRecord::decode(payload) else { return };
        let Some(Kind::Publish(publish)) = record.kind else { return };
        let Ok((header, frame)) = frame::decode(publish.payload) else { return };
        if header.lane != Lane::Numerics {
            return;
        }
        let Ok(body) = frame::decode_body(&frame) else { return };
        let vitals = self.latest.entry(publish.device).or_default();
        for series in &body.numerics {
            note(vitals, series);
        }
    }
}

fn note(vitals: &mut Vitals, series: &NumericSeries) {
    let newest = series.values.last().copied();
    if HEART_RATE.contains(&series.mdc_code) {
        vitals.heart_rate = newest.or(vitals.heart_rate);
    } else if series.mdc_code == SPO2 {
        vitals.spo2 = newest.or(vitals.spo2);
    }
}
