//! The body of a record: what a journal's entry is, sealed for the way over the bus (SEC-3).
//!
//! ```text
//! at  bytes  little endian, under the seal
//!  0      1  version 1
//!  1      1  class: 1 alarm, 2 audit, 3 telemetry
//!  2      2  the device's partition, below 64
//!  4      8  when the journal took it, unix microseconds
//! 12      -  what was appended
//! ```
//!
//! The seal binds the record's front, partition and number: a body that was put under another header does not open.

use crate::record::{Content, FrontId, Malformed, Number, Record};
use bytes::{BufMut, Bytes};
use wardline_journal::{Class, Entry, KeyError, Offset, Sealer};
use wardline_proto::PartitionId;
use wardline_proto::refusal::Refusal;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 12;

/// Why a body gave no entry.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It does not open: forged, moved, or of a key that is not here.
    #[error("body does not open: {0}")]
    Sealed(#[from] KeyError),
    /// What was sealed is no body that this version knows: it waits for a worker that reads it.
    #[error("{}: a body of a later version", Refusal::BusLater.code())]
    Form,
}

/// Why what was delivered gave no record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    /// It is no record that this version knows.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Its body gives no entry.
    #[error(transparent)]
    Body(#[from] BodyError),
}

/// Seals a journal's entry as the body of a record.
pub fn seal(
    sealer: &Sealer,
    place: (FrontId, PartitionId, Number),
    entry: &Entry,
) -> Result<Bytes, KeyError> {
    let mut plain = Vec::with_capacity(HEADER_BYTES + entry.payload.len());
    plain.put_u8(VERSION);
    plain.put_u8(match entry.class {
        Class::Alarm => 1,
        Class::Audit => 2,
        Class::Telemetry => 3,
    });
    plain.put_u16_le(entry.partition.get());
    plain.put_i64_le(entry.time_us);
    plain.put_slice(&entry.payload);
    Ok(sealer.seal(&aad(place), &plain)?.into())
}

/// Opens the body of a record; what comes out is read by [`entry`].
pub fn open(
    sealer: &Sealer,
    place: (FrontId, PartitionId, Number),
    sealed: &[u8],
) -> Result<Bytes, BodyError> {
    let plain = Bytes::from(sealer.open(&aad(place), sealed)?);
    entry(&plain, Offset::ZERO).ok_or(BodyError::Form)?;
    Ok(plain)
}

/// Decodes a record as it was delivered, and opens its body. What gives none is as good as lost: its number is missing.
pub(crate) fn delivered(sealer: &Sealer, bytes: &Bytes) -> Result<Record, Unread> {
    let record = Record::decode(bytes)?;
    let Content::Body(sealed) = &record.content else { return Ok(record) };
    let plain = open(sealer, (record.front, record.partition, record.n), sealed)?;
    Ok(Record { content: Content::Body(plain), ..record })
}

/// Reads an opened body as an entry with an offset; none when it has another form.
pub fn entry(plain: &Bytes, offset: Offset) -> Option<Entry> {
    let header: &[u8; HEADER_BYTES] = plain.first_chunk()?;
    let [version, class, p0, p1, time_us @ ..] = *header;
    if version != VERSION {
        return None;
    }
    let class = match class {
        1 => Class::Alarm,
        2 => Class::Audit,
        3 => Class::Telemetry,
        _unknown => return None,
    };
    let partition = PartitionId::new(u16::from_le_bytes([p0, p1]))?;
    let time_us = i64::from_le_bytes(time_us);
    Some(Entry { offset, time_us, partition, class, payload: plain.slice(HEADER_BYTES..) })
}

fn aad((front, partition, n): (FrontId, PartitionId, Number)) -> Vec<u8> {
    let mut aad = b"bus".to_vec();
    aad.put_slice(front.bytes());
    aad.put_u16_le(partition.get());
    aad.put_u64_le(n.get());
    aad
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use wardline_journal::{KeyPurpose, Keyring};

    #[test]
    fn a_body_opens_in_its_own_place_alone_and_shows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Arc::new(Keyring::create_or_open(&folder.path().join("keyring.json")).unwrap());
        let sealer = || Sealer::new(keyring.clone(), KeyPurpose::Journal, None).unwrap();
        let (partition, device) = (PartitionId::new(1).unwrap(), PartitionId::new(33).unwrap());
        let front = FrontId::new([7; 16]);
        let place = (front, partition, Number::FIRST);
        let payload = Bytes::from_static(b"a heart rate of somebody");
        let sent =
            Entry { offset: Offset::new(9), time_us: -5, partition: device, class: Class::Alarm, payload };
        let sealed = seal(&sealer(), place, &sent).unwrap();
        assert!(!sealed.windows(5).any(|window| window == b"heart"));
        // Another process with the same keys.
        let opened = entry(&open(&sealer(), place, &sealed).unwrap(), Offset::new(2)).unwrap();
        assert_eq!(opened, Entry { offset: Offset::new(2), ..sent });
        let others = [
            (FrontId::new([8; 16]), partition, Number::FIRST),
            (front, PartitionId::default(), Number::FIRST),
            (front, partition, Number::FIRST.next()),
        ];
        assert!(others.into_iter().all(|other| open(&sealer(), other, &sealed).is_err()));
        let form = sealer().seal(&aad(place), b"\x02 of a later version").unwrap();
        assert!(matches!(open(&sealer(), place, &form), Err(BodyError::Form)));
    }
}
