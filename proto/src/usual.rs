//! Reads messages of the usual form where they lie, and without taking memory for what is in them.
//!
//! Usual is how our own encoders write: known fields, each once, in the order of their numbers, lists packed, no number
//! longer than it must be. Of anything else each function here says `None`, and the caller asks prost, whose word on
//! what a message means is the only one: the tests hold the two together on whatever bytes. What is read here is a
//! publish of a device, its frame, and a body of numeric series: there is one of each for a second of a monitor, and what
//! it costs to take memory for its parts, and to give it back, is more than what it costs to read them.

use crate::v1::{Body, Clock, Frame, NumericSeries};
use bytes::Bytes;

/// A device's publish in a journal record, where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published<'a> {
    /// When the front accepted it, front clock, unix microseconds.
    pub ingested_at_us: i64,
    /// Who sent it. Not known to be text.
    pub tenant: &'a [u8],
    /// Who sent it. Not known to be text.
    pub device: &'a [u8],
    /// The channel, as a number.
    pub channel: i32,
    /// What was sent.
    pub payload: &'a [u8],
    /// What that is, as a number.
    pub content: i32,
    /// The certificate's serial.
    pub certificate_serial: &'a [u8],
}

/// Reads a journal record that holds a publish.
pub fn published(record: &[u8]) -> Option<Published<'_>> {
    let mut record = Wire(record);
    let ingested_at_us = record.number(1)? as i64;
    let mut publish = Wire(record.bytes(2)?.filter(|_| record.is_empty())?);
    let read = Published {
        ingested_at_us,
        tenant: publish.bytes(1)?.unwrap_or_default(),
        device: publish.bytes(2)?.unwrap_or_default(),
        channel: publish.number(3)? as i32,
        payload: publish.bytes(4)?.unwrap_or_default(),
        content: publish.number(5)? as i32,
        certificate_serial: publish.bytes(6)?.unwrap_or_default(),
    };
    let _for_test = publish.number(7)?;
    publish.is_empty().then_some(read)
}

/// Reads a frame. Its body is the payload's own memory.
pub fn frame(payload: &Bytes) -> Option<Frame> {
    let mut wire = Wire(payload);
    let (epoch, seq, sent_at_us) = (wire.number(1)?, wire.number(2)?, wire.number(3)? as i64);
    let clock = match wire.bytes(4)? {
        Some(bytes) => Some(clock(bytes)?),
        None => None,
    };
    let (encoding, lane) = (wire.number(5)? as i32, wire.number(6)? as i32);
    let body = wire.bytes(7)?.map_or_else(Bytes::new, |body| payload.slice_ref(body));
    wire.is_empty().then_some(Frame { epoch, seq, sent_at_us, clock, encoding, lane, body })
}

fn clock(bytes: &[u8]) -> Option<Clock> {
    let mut wire = Wire(bytes);
    let clock = Clock {
        device_offset_us: wire.number(1)? as i64,
        uncertainty_us: wire.number(2)? as u32,
        sync_state: wire.number(3)? as i32,
    };
    wire.is_empty().then_some(clock)
}

/// Says whether bytes begin as a body of numeric series does.
pub fn may_be_numerics(body: &[u8]) -> bool {
    Wire(body).is_next(1, 2)
}

/// Reads a body of numeric series into one that was used before, and uses its memory. After `None` what that holds means
/// nothing.
pub fn body(bytes: &[u8], into: &mut Body) -> Option<()> {
    into.waveforms.clear();
    into.alarms.clear();
    into.events.clear();
    let (mut wire, mut count) = (Wire(bytes), 0);
    while let Some(bytes) = wire.bytes(1)? {
        if count == into.numerics.len() {
            into.numerics.push(NumericSeries::default());
        }
        series(bytes, &mut into.numerics[count])?;
        count += 1;
    }
    into.numerics.truncate(count);
    wire.is_empty().then_some(())
}

fn series(bytes: &[u8], into: &mut NumericSeries) -> Option<()> {
    let mut wire = Wire(bytes);
    into.mdc_code = wire.number(1)? as u32;
    let unit = wire.bytes(2)?.unwrap_or_default();
    // Mostly it is that of the series that was here before.
    if into.ucum_unit.as_bytes() != unit {
        into.ucum_unit.clear();
        into.ucum_unit.push_str(std::str::from_utf8(unit).ok()?);
    }
    into.start_us = wire.number(3)? as i64;
    into.time_deltas_us.clear();
    let mut deltas = Wire(wire.bytes(4)?.unwrap_or_default());
    while !deltas.is_empty() {
        let zigzag = deltas.varint()?;
        into.time_deltas_us.push((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
    }
    into.values.clear();
    let mut values = wire.bytes(5)?.unwrap_or_default();
    while let Some((value, rest)) = values.split_first_chunk() {
        into.values.push(f64::from_le_bytes(*value));
        values = rest;
    }
    into.statuses.clear();
    let mut statuses = Wire(wire.bytes(6)?.unwrap_or_default());
    while !statuses.is_empty() {
        into.statuses.push(statuses.varint()? as u32);
    }
    (values.is_empty() && wire.is_empty()).then_some(())
}

/// What of a message was not read yet.
struct Wire<'a>(&'a [u8]);

/// Bits of a number in one byte of it.
const VARINT_BITS: u32 = 7;
/// A number's bytes at most.
const VARINT_BYTES_MAX: usize = 10;

impl<'a> Wire<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Moves over the key of a field of a number below 16, when that comes next.
    fn is_next(&mut self, field: u8, kind: u8) -> bool {
        match self.0.split_first() {
            Some((key, rest)) if *key == field << 3 | kind => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// Reads a field that is a number; 0 when it is not there.
    fn number(&mut self, field: u8) -> Option<u64> {
        if self.is_next(field, 0) { self.varint() } else { Some(0) }
    }

    /// Reads a field that is bytes, or says that it is not there.
    #[expect(clippy::option_option, reason = "the outer one says whether the message is of the usual form")]
    fn bytes(&mut self, field: u8) -> Option<Option<&'a [u8]>> {
        if !self.is_next(field, 2) {
            return Some(None);
        }
        let length = usize::try_from(self.varint()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Some(bytes))
    }

    fn varint(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first()?;
        if *first < 0x80 {
            self.0 = rest;
            return Some(u64::from(*first));
        }
        let mut number = u64::from(first & 0x7F);
        for (index, byte) in rest.iter().take(VARINT_BYTES_MAX - 1).enumerate() {
            let bits = u64::from(byte & 0x7F);
            let shift = (index as u32 + 1) * VARINT_BITS;
            // Bits that do not fit, or a last byte that adds none: not ours.
            if bits.leading_zeros() < shift || (*byte == 0) {
                return None;
            }
            number |= bits << shift;
            if *byte < 0x80 {
                self.0 = &rest[index + 1..];
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
