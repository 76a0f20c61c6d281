//! Ids of resources.
//!
//! An Observation is named by what it is of, so that its id is the same whoever asks, whatever files it was merged
//! into, and can be found again by its parts:
//!
//! ```text
//! tag of the device 12 | MDC code 4 | time 8 (us; cut down for who sees coarse times) | tag of the row 16
//! ```
//! 40 bytes as 54 characters of FHIR's alphabet. Tags are hashes; whoever may not know the device is given keyed ones,
//! which tell nothing.

use base64::Engine;
use base64::alphabet::Alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use std::sync::LazyLock;

const BYTES: usize = 40;

/// What FHIR allows in an id, as digits of base 64.
static DIGITS: LazyLock<Option<GeneralPurpose>> = LazyLock::new(|| {
    let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.";
    Alphabet::new(digits).ok().map(|alphabet| GeneralPurpose::new(&alphabet, NO_PAD))
});

/// The parts of an Observation's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObservationId {
    /// Names the device.
    pub device: [u8; 12],
    /// 32-bit MDC code of the metric.
    pub mdc_code: u32,
    /// The device's time, as exact as the reader may know it, unix microseconds.
    pub at_us: i64,
    /// Names the row among those of the device, metric and time.
    pub row: [u8; 16],
}

impl ObservationId {
    /// Writes the id.
    pub fn encode(&self) -> String {
        let mut bytes = [0; BYTES];
        bytes[..12].copy_from_slice(&self.device);
        bytes[12..16].copy_from_slice(&self.mdc_code.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.at_us.to_be_bytes());
        bytes[24..].copy_from_slice(&self.row);
        DIGITS.as_ref().map(|digits| digits.encode(bytes)).unwrap_or_default()
    }

    /// Reads an id; none when it is not one of ours.
    pub fn parse(id: &str) -> Option<Self> {
        let bytes = DIGITS.as_ref()?.decode(id).ok()?;
        let bytes: [u8; BYTES] = bytes.try_into().ok()?;
        let (device, rest) = bytes.split_first_chunk()?;
        let (mdc_code, rest) = rest.split_first_chunk()?;
        let (at_us, rest) = rest.split_first_chunk()?;
        let row = rest.first_chunk()?;
        let (mdc_code, at_us) = (u32::from_be_bytes(*mdc_code), i64::from_be_bytes(*at_us));
        Some(Self { device: *device, mdc_code, at_us, row: *row })
    }
}

/// Writes a device's name as a FHIR id: names have no capitals, so `U` stands for what ids may not have, `_`.
pub fn device(name: &str) -> String {
    name.replace('_', "U")
}

/// Reads a device's name from its FHIR id.
pub fn device_name(id: &str) -> String {
    id.replace('U', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_allowed_by_fhir_and_comes_back() {
        let id = ObservationId { device: [255; 12], mdc_code: 150_456, at_us: -1, row: [62; 16] };
        let text = id.encode();
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        assert!(text.len() <= 64 && text.chars().all(allowed), "{text}");
        assert_eq!(ObservationId::parse(&text), Some(id));
        assert_eq!(ObservationId::parse(&text[1..]), None);
        assert_eq!(ObservationId::parse("abc_"), None);
    }

    #[test]
    fn names_of_devices_come_back() {
        assert_eq!(device("mon_1-a.b"), "monU1-a.b");
        assert_eq!(device_name(&device("mon_1-a.b")), "mon_1-a.b");
    }
}
