//! A record on the bus: a header in the open, a body that is sealed.
//!
//! ```text
//! at  bytes  little endian
//!  0      4  magic "WLB1": the format and its version
//!  4      1  kind: 1 record, 2 mark
//!  5      1  zero
//!  6      2  partition, below 64
//!  8     16  front: the random name of one write-ahead log, made with it
//! 24      8  n: the record's number, from 1, in (front, partition); of a mark, the next number to be given
//! 32      4  length of the body, at most BODY_BYTES_MAX; 0 in a mark
//! 36      4  CRC-32C of the 36 bytes before and the body
//! 40      -  body, sealed by the front; opaque here
//! ```
//!
//! A decoder takes one whole record: a byte too many is as wrong as one too few. The checksum finds what an engine
//! cut or mixed up; that nobody forged the body is what its seal shows. A mark says how far a front has numbered, so
//! that the loss of the newest records is noticed as well.

use crate::limits::BODY_BYTES_MAX;
use bytes::{BufMut, Bytes, BytesMut};
use std::fmt;
use wardline_proto::PartitionId;
use wardline_proto::refusal::Refusal;

/// Bytes before the body.
pub const HEADER_BYTES: usize = 40;
const MAGIC: &[u8; 4] = b"WLB1";
const KIND_RECORD: u8 = 1;
const KIND_MARK: u8 = 2;
const CRC_AT: usize = 36;

/// Names one write-ahead log. A front whose log is gone is another front: its numbers begin again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrontId([u8; 16]);

impl FrontId {
    /// Makes an id from its stored bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Makes a name that nobody else has.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 16];
        std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
        Ok(Self(bytes))
    }

    /// Returns its bytes.
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for FrontId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for FrontId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrontId({self})")
    }
}

/// A record's number in its (front, partition): the first is 1, each next one is one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Number(u64);

impl Number {
    /// The first number.
    pub const FIRST: Self = Self(1);

    /// Makes a number; zero is none.
    pub const fn new(n: u64) -> Option<Self> {
        if n == 0 { None } else { Some(Self(n)) }
    }

    /// Returns it.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Returns the number `count` after this one.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a record is.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// A sealed body.
    Body(Bytes),
    /// The front has given every number below this record's.
    Mark,
}

/// A record with its place.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The write-ahead log it is from.
    pub front: FrontId,
    /// The partition it is in.
    pub partition: PartitionId,
    /// Its number there; of a mark, the next one to be given.
    pub n: Number,
    /// What it is.
    pub content: Content,
}

impl fmt::Debug for Record {
    /// Shows sizes only: a body may hold patient data, if sealed (SEC-3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = (self.front, self.partition.get(), self.n.get());
        match &self.content {
            Content::Body(body) => write!(f, "Record({place:?}, {} bytes)", body.len()),
            Content::Mark => write!(f, "Mark({place:?})"),
        }
    }
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than a header, or not as long as the header says.
    #[error("length")]
    Length,
    /// Another format.
    #[error("magic")]
    Magic,
    /// A version of ours that is not known here: it waits for a worker that reads it.
    #[error("{}: of a later version", Refusal::BusLater.code())]
    Later,
    /// A field outside its range.
    #[error("field {0}")]
    Field(&'static str),
    /// The checksum is that of other bytes.
    #[error("checksum")]
    Checksum,
}

impl Record {
    /// Encodes the record, or tells the length of a body that is too long.
    pub fn encode(&self) -> Result<Bytes, usize> {
        let (kind, body) = match &self.content {
            Content::Body(body) => (KIND_RECORD, &body[..]),
            Content::Mark => (KIND_MARK, &[][..]),
        };
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= BODY_BYTES_MAX);
        let Some(length) = length else { return Err(body.len()) };
        let mut out = BytesMut::with_capacity(HEADER_BYTES + body.len());
        out.put_slice(MAGIC);
        out.put_u8(kind);
        out.put_u8(0);
        out.put_u16_le(self.partition.get());
        out.put_slice(self.front.bytes());
        out.put_u64_le(self.n.get());
        out.put_u32_le(length);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&out), body);
        out.put_u32_le(crc);
        out.put_slice(body);
        Ok(out.freeze())
    }

    /// Decodes one whole record; the body is a slice of `bytes`.
    pub fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(Malformed::Length)?;
        if header[..4] != *MAGIC {
            let is_later = header[..3] == MAGIC[..3] && header[3] > MAGIC[3];
            return Err(if is_later { Malformed::Later } else { Malformed::Magic });
        }
        let length = u32::from_le_bytes(field(header, 32)) as usize;
        if length > BODY_BYTES_MAX || bytes.len() != HEADER_BYTES + length {
            return Err(Malformed::Length);
        }
        let body = bytes.slice(HEADER_BYTES..);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..CRC_AT]), &body);
        if crc != u32::from_le_bytes(field(header, CRC_AT)) {
            return Err(Malformed::Checksum);
        }
        let content = match (header[4], header[5]) {
            (KIND_RECORD, 0) => Content::Body(body),
            (KIND_MARK, 0) if body.is_empty() => Content::Mark,
            _ => return Err(Malformed::Field("kind")),
        };
        let partition = PartitionId::new(u16::from_le_bytes(field(header, 6)));
        Ok(Self {
            front: FrontId(field(header, 8)),
            partition: partition.ok_or(Malformed::Field("partition"))?,
            n: Number::new(u64::from_le_bytes(field(header, 24))).ok_or(Malformed::Field("n"))?,
            content,
        })
    }
}

/// Copies a field out of a header; the places are constants below [`HEADER_BYTES`].
fn field<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&header[at..at + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(content: Content) -> Record {
        let front = FrontId::new(*b"0123456789abcdef");
        Record { front, partition: PartitionId::new(5).unwrap(), n: Number::new(0x0102).unwrap(), content }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Written down once; an engine may hold such bytes for as long as its retention.
    #[test]
    fn the_bytes_are_golden() {
        let body = record(Content::Body(Bytes::from_static(b"sealed")));
        assert_eq!(hex(&body.encode().unwrap()), GOLDEN_RECORD);
        assert_eq!(hex(&record(Content::Mark).encode().unwrap()), GOLDEN_MARK);
    }
    const GOLDEN_RECORD: &str =
        "574c4231010005003031323334353637383961626364656602010000000000000600000017cfd0cf7365616c6564";
    const GOLDEN_MARK: &str =
        "574c42310200050030313233343536373839616263646566020100000000000000000000eca42863";

    #[test]
    fn a_body_over_the_bound_is_not_encoded_and_one_at_the_bound_is() {
        let body = |bytes| record(Content::Body(Bytes::from(vec![7; bytes])));
        assert_eq!(body(BODY_BYTES_MAX + 1).encode(), Err(BODY_BYTES_MAX + 1));
        let longest = body(BODY_BYTES_MAX);
        assert_eq!(Record::decode(&longest.encode().unwrap()), Ok(longest));
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_found() {
        let bytes = record(Content::Body(Bytes::from_static(b"sealed"))).encode().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut wrong = bytes.to_vec();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(&Bytes::from(wrong)).is_err(), "bit {bit}");
        }
        assert!((0..bytes.len()).all(|cut| Record::decode(&bytes.slice(..cut)).is_err()));
        let longer = [&bytes[..], b"x"].concat();
        assert_eq!(Record::decode(&longer.into()), Err(Malformed::Length));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(front: [u8; 16], partition in 0u16..64, n in 1u64.., body: Option<Vec<u8>>) {
            let content = body.map_or(Content::Mark, |body| Content::Body(body.into()));
            let n = Number::new(n).unwrap();
            let partition = PartitionId::new(partition).unwrap();
            let record = Record { front: FrontId::new(front), partition, n, content };
            prop_assert_eq!(Record::decode(&record.encode().unwrap()), Ok(record));
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
            let framed = [&MAGIC[..], &bytes].concat();
            let _ = Record::decode(&framed.into());
            prop_assert!(Record::decode(&bytes.into()).is_err());
        }
    }
}
