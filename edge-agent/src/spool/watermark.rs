//! `acked`: per lane the first offset that is not yet settled (acknowledged, or recorded as gap or refusal).
//!
//! ```text
//! offset  size  field     little endian
//! 0       8     magic     "WLACKED1"
//! 8       8     epoch     of the spool
//! 16      32    offsets   u64 per lane: alarm, events, numerics, waveforms
//! 48      4     check     CRC-32/ISO-HDLC of all before
//! ```
//! It is a hint that may be old but never too new: a missing, torn or foreign file only makes the agent send
//! again what the archive already has and stores once. So it is written in batches, not per acknowledgement.

use super::durable_file;
use std::fs;
use std::io;
use std::path::Path;

const FILE: &str = "acked";
const MAGIC: &[u8; 8] = b"WLACKED1";
const FILE_BYTES: usize = 52;
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// First unsettled offset per lane.
pub(crate) type Watermarks = [u64; crate::lanes::LANES];

pub(crate) fn save(dir: &Path, epoch: u64, marks: &Watermarks) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(FILE_BYTES);
    bytes.extend(MAGIC);
    bytes.extend(epoch.to_le_bytes());
    bytes.extend(marks.iter().flat_map(|mark| mark.to_le_bytes()));
    bytes.extend(CRC.checksum(&bytes).to_le_bytes());
    durable_file::replace(&dir.join(FILE), &bytes)
}

/// Returns the saved marks; `None` when there is no usable file.
pub(crate) fn load(dir: &Path, epoch: u64) -> Option<Watermarks> {
    let bytes: [u8; FILE_BYTES] = fs::read(dir.join(FILE)).ok()?.try_into().ok()?;
    let (content, check) = bytes.split_last_chunk::<4>()?;
    let (head, offsets) = content.split_at(16);
    let own = head[..8] == *MAGIC && head[8..] == epoch.to_le_bytes();
    if !own || CRC.checksum(content) != u32::from_le_bytes(*check) {
        return None;
    }
    let mut marks = Watermarks::default();
    for (mark, chunk) in marks.iter_mut().zip(offsets.chunks_exact(8)) {
        *mark = u64::from_le_bytes(chunk.try_into().ok()?);
    }
    Some(marks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_or_another_epoch_reads_as_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path(), 7), None);
        save(dir.path(), 7, &[1, 2, 3, 400]).unwrap();
        assert_eq!(load(dir.path(), 7), Some([1, 2, 3, 400]));
        assert_eq!(load(dir.path(), 8), None);
        let whole = fs::read(dir.path().join(FILE)).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(dir.path().join(FILE), damaged).unwrap();
            assert_eq!(load(dir.path(), 7), None, "bit {bit}");
        }
    }
}
