//! What an outlet keeps of its relay: one small file beside the journal.
//!
//! ```text
//! at  bytes  little endian
//!  0      4  magic "WLR1"
//!  4     16  front: the name of the journal on the bus
//! 20      8  where the journal is read on
//! 28      2  partitions with records
//! 30  10 each  partition (2), number of its first record from there on (8); ascending
//!  -      4  CRC-32C of all before
//! ```
//!
//! Written whole beside the old one, synced, renamed. A journal that does not have the place is another journal: it
//! gets another name, and what it holds is numbered from 1.

use crate::flow::RelayCheckpoint;
use crate::record::{FrontId, Number};
use bytes::BufMut;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use wardline_journal::Offset;
use wardline_proto::PartitionId;
use wardline_proto::limits::PARTITIONS;

const MAGIC: &[u8; 4] = b"WLR1";
const HEAD_BYTES: usize = 30;
const LANE_BYTES: usize = 10;

/// Reads the checkpoint of a journal that holds `start` to `end`, or makes and saves one.
pub(super) fn load_or_begin(
    path: &Path,
    start: Offset,
    end: Offset,
) -> io::Result<(FrontId, RelayCheckpoint)> {
    match fs::read(path) {
        Ok(bytes) => {
            let (front, kept) = decode(&bytes).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "damaged: remove it to begin anew")
            })?;
            if start <= kept.from && kept.from <= end {
                return Ok((front, kept));
            }
            tracing::warn!(from = %kept.from, %start, %end, "the journal is another one: it gets a new name");
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let begun = RelayCheckpoint { from: start, ..RelayCheckpoint::default() };
    let front = FrontId::random()?;
    save(path, front, &begun)?;
    Ok((front, begun))
}

/// Writes a checkpoint; it is durable when this returns.
pub(super) fn save(path: &Path, front: FrontId, kept: &RelayCheckpoint) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&encode(front, kept))?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn encode(front: FrontId, kept: &RelayCheckpoint) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + kept.numbers.len() * LANE_BYTES + 4);
    out.put_slice(MAGIC);
    out.put_slice(front.bytes());
    out.put_u64_le(kept.from.get());
    // There are at most 64 partitions.
    out.put_u16_le(u16::try_from(kept.numbers.len()).unwrap_or(u16::MAX));
    for (partition, n) in &kept.numbers {
        out.put_u16_le(partition.get());
        out.put_u64_le(n.get());
    }
    let crc = crc32c::crc32c(&out);
    out.put_u32_le(crc);
    out
}

fn decode(bytes: &[u8]) -> Option<(FrontId, RelayCheckpoint)> {
    let (bytes, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(bytes) != u32::from_le_bytes(*crc) {
        return None;
    }
    let rest = bytes.strip_prefix(MAGIC)?;
    let (front, rest) = rest.split_first_chunk::<16>()?;
    let (from, rest) = rest.split_first_chunk::<8>()?;
    let (count, lanes) = rest.split_first_chunk::<2>()?;
    let count = u16::from_le_bytes(*count);
    if count > PARTITIONS || lanes.len() != usize::from(count) * LANE_BYTES {
        return None;
    }
    let lane = |bytes: &[u8]| {
        let (partition, n) = bytes.split_first_chunk::<2>()?;
        let n = Number::new(u64::from_le_bytes(*n.first_chunk::<8>()?))?;
        Some((PartitionId::new(u16::from_le_bytes(*partition))?, n))
    };
    let numbers = lanes.chunks_exact(LANE_BYTES).map(lane).collect::<Option<BTreeMap<_, _>>>()?;
    Some((FrontId::new(*front), RelayCheckpoint { from: Offset::new(u64::from_le_bytes(*from)), numbers }))
}
