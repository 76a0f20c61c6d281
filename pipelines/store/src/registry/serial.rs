//! A certificate's serial.

use std::borrow::Borrow;
use std::fmt;

/// Longest certificate serial, bytes (RFC 5280, 4.1.2.2).
pub const SERIAL_BYTES_MAX: usize = 20;

/// A certificate's serial, big endian, as it stands in the certificate.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(Box<[u8]>);

impl Serial {
    /// Takes a serial; `None` when it is empty or longer than a certificate may have.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (!bytes.is_empty() && bytes.len() <= SERIAL_BYTES_MAX).then(|| Self(bytes.into()))
    }

    /// Reads the hex form.
    pub fn from_hex(hex: &str) -> Option<Self> {
        if !hex.is_ascii() || !hex.len().is_multiple_of(2) {
            return None;
        }
        let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
        Self::new(&bytes?)
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Serial {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_round_trips_in_hex() {
        let serial = Serial::new(&[0x0f, 0xa0]).unwrap();
        assert_eq!(Serial::from_hex(&serial.to_string()), Some(serial));
        for bad in ["", "0", "0g", &"00".repeat(21)] {
            assert_eq!(Serial::from_hex(bad), None, "{bad}");
        }
    }
}
