//! Signal files: bytes into one column of samples per signal.
//!
//! ```text
//! format 16:   sample i16 LE
//! format 212:  AAAAAAAA BBBBAAAA BBBBBBBB    two 12-bit samples, low byte of A first, high nibbles in the middle
//! ```

use super::WfdbError;
use super::header::{Format, SignalLine};

/// Returns the value that stands for "no sample".
pub(super) fn gap_sample(format: Format) -> i16 {
    match format {
        Format::F212 => -2048,
        Format::F16 => i16::MIN,
    }
}

/// Splits a file into its signals' samples. `samples` is per signal; `None` takes all that the file holds.
pub(super) fn columns(
    group: &[SignalLine],
    bytes: &[u8],
    samples: Option<usize>,
) -> Result<Vec<Vec<i16>>, WfdbError> {
    let (first, signals) = (&group[0], group.len());
    if group.iter().any(|l| l.format != first.format || l.byte_offset != first.byte_offset) {
        return Err(WfdbError::Unsupported("several formats in one file"));
    }
    let truncated = || WfdbError::Truncated { file: first.file.clone() };
    let data = bytes.get(first.byte_offset..).ok_or_else(truncated)?;
    let held = match first.format {
        Format::F16 => data.len() / 2,
        // A last pair may leave out its third byte, when the number of samples is odd.
        Format::F212 => data.len() / 3 * 2 + usize::from(data.len() % 3 == 2),
    };
    let rows = samples.unwrap_or(held / signals);
    let wanted = rows.checked_mul(signals).filter(|wanted| *wanted <= held).ok_or_else(truncated)?;
    let mut columns = vec![Vec::with_capacity(rows); signals];
    for index in 0..wanted {
        let sample = match first.format {
            Format::F16 => i16::from_le_bytes([data[index * 2], data[index * 2 + 1]]),
            Format::F212 => sample_212(data, index),
        };
        columns[index % signals].push(sample);
    }
    Ok(columns)
}

fn sample_212(data: &[u8], index: usize) -> i16 {
    let at = index / 2 * 3;
    let middle = u16::from(data[at + 1]);
    let raw = match index % 2 {
        0 => u16::from(data[at]) | (middle & 0x0F) << 8,
        _ => u16::from(data[at + 2]) | (middle & 0xF0) << 4,
    };
    // Sign extension of 12 bits.
    ((raw << 4) as i16) >> 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(format: Format, byte_offset: usize) -> SignalLine {
        let (file, units, name) = ("f".to_owned(), "mV".to_owned(), "s".to_owned());
        let (gain, baseline, initial, checksum) = (1.0, 0, None, None);
        SignalLine { file, format, byte_offset, gain, baseline, units, initial, checksum, name }
    }

    fn pack_212(samples: &[i16]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for pair in samples.chunks(2) {
            let (a, b) = (pair[0] as u16 & 0xFFF, *pair.get(1).unwrap_or(&0) as u16 & 0xFFF);
            bytes.extend([a as u8, (a >> 8) as u8 | (b >> 8 << 4) as u8]);
            if pair.len() == 2 {
                bytes.push(b as u8);
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn format_212_round_trips(samples in prop::collection::vec(-2048_i16..2048, 1..50)) {
            let read = columns(&[line(Format::F212, 0)], &pack_212(&samples), Some(samples.len())).unwrap();
            prop_assert_eq!(&read[0], &samples);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, rows in prop::option::of(0_usize..100), signals in 1_usize..5) {
            for format in [Format::F212, Format::F16] {
                let _ = columns(&vec![line(format, 3); signals], &bytes, rows);
            }
        }
    }

    #[test]
    fn signals_interleave_after_the_prefix() {
        let bytes = [9, 9, 1, 0, 2, 0, 3, 0, 0, 128];
        let group = [line(Format::F16, 2), line(Format::F16, 2)];
        assert_eq!(columns(&group, &bytes, None).unwrap(), [[1, 3], [2, i16::MIN]]);
        assert!(columns(&group, &bytes, Some(3)).is_err());
    }
}
