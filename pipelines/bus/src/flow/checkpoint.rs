//! What a worker keeps of a partition, in one transaction with what it made of the records.
//!
//! ```text
//! at  bytes  little endian
//!  0      4  magic "WLC1"
//!  4      2  partition
//!  6      2  fronts, at most FRONTS_KNOWN_MAX
//!  8      8  position to read on from
//! 16  24 each  front (16), number to be delivered next (8); by front, ascending
//!  -      4  CRC-32C of all before
//! ```

use crate::engine::Position;
use crate::limits::FRONTS_KNOWN_MAX;
use crate::record::{FrontId, Number};
use bytes::BufMut;
use std::collections::BTreeMap;
use wardline_proto::PartitionId;

const MAGIC: &[u8; 4] = b"WLC1";
const HEAD_BYTES: usize = 16;
const FRONT_BYTES: usize = 24;
const CRC_BYTES: usize = 4;

/// Where a partition's order stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The partition.
    pub partition: PartitionId,
    /// Where to read on. A hint: the numbers below decide.
    pub position: Position,
    /// Of each front the number to be delivered next.
    pub fronts: BTreeMap<FrontId, Number>,
}

/// The bytes are no checkpoint, or a damaged one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("checkpoint of a partition is damaged")]
pub struct Undecodable;

impl Checkpoint {
    /// Makes the checkpoint of a partition of which nothing was read.
    pub fn new(partition: PartitionId) -> Self {
        Self { partition, position: Position::EARLIEST, fronts: BTreeMap::new() }
    }

    /// Returns its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES + self.fronts.len() * FRONT_BYTES + CRC_BYTES);
        out.put_slice(MAGIC);
        out.put_u16_le(self.partition.get());
        // An order knows at most FRONTS_KNOWN_MAX fronts.
        out.put_u16_le(u16::try_from(self.fronts.len()).unwrap_or(u16::MAX));
        out.put_u64_le(self.position.get());
        for (front, next) in &self.fronts {
            out.put_slice(front.bytes());
            out.put_u64_le(next.get());
        }
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        out
    }

    /// Reads the bytes of a checkpoint.
    pub fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        let (head, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or(Undecodable)?;
        if crc32c::crc32c(head) != u32::from_le_bytes(*crc) {
            return Err(Undecodable);
        }
        let (head, fronts) = head.split_first_chunk::<HEAD_BYTES>().ok_or(Undecodable)?;
        let [m0, m1, m2, m3, p0, p1, c0, c1, position @ ..] = *head;
        let count = usize::from(u16::from_le_bytes([c0, c1]));
        if [m0, m1, m2, m3] != *MAGIC || count > FRONTS_KNOWN_MAX || fronts.len() != count * FRONT_BYTES {
            return Err(Undecodable);
        }
        let front = |chunk: &[u8]| {
            let (id, next) = chunk.split_first_chunk::<16>()?;
            let next = Number::new(u64::from_le_bytes(*next.first_chunk::<8>()?))?;
            Some((FrontId::new(*id), next))
        };
        let fronts: Option<BTreeMap<_, _>> = fronts.chunks_exact(FRONT_BYTES).map(front).collect();
        Ok(Self {
            partition: PartitionId::new(u16::from_le_bytes([p0, p1])).ok_or(Undecodable)?,
            position: Position::new(u64::from_le_bytes(position)),
            fronts: fronts.filter(|f| f.len() == count).ok_or(Undecodable)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_are_golden_and_damage_is_found() {
        let mut checkpoint = Checkpoint::new(PartitionId::new(5).unwrap());
        checkpoint.position = Position::new(0x0a0b);
        checkpoint.fronts.insert(FrontId::new([7; 16]), Number::new(9).unwrap());
        let bytes = checkpoint.encode();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, GOLDEN);
        for bit in 0..bytes.len() * 8 {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Checkpoint::decode(&wrong), Err(Undecodable), "bit {bit}");
        }
    }
    const GOLDEN: &str =
        "574c4331050001000b0a00000000000007070707070707070707070707070707090000000000000065b852bf";

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(partition in 0u16..64, position: u64, fronts: BTreeMap<[u8; 16], u64>) {
            let known = fronts.into_iter().filter_map(|(id, n)| Some((FrontId::new(id), Number::new(n)?)));
            let partition = PartitionId::new(partition).unwrap();
            let checkpoint =
                Checkpoint { partition, position: Position::new(position), fronts: known.collect() };
            prop_assert_eq!(Checkpoint::decode(&checkpoint.encode()), Ok(checkpoint));
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
            prop_assert_eq!(Checkpoint::decode(&bytes), Err(Undecodable));
        }
    }
}
