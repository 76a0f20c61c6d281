//! Where the next page goes on: sealed, so that it tells an analyst no time, and holds only for who was given it and
//! for the same question.
//!
//! The key is of the process: after a restart a search starts anew. A page goes on behind a row, in the order in which
//! rows were taken, so that what is archived meanwhile comes behind.

use super::rows::Row;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

const BYTES: usize = 1 + 8 + 2 + 8 + 4 + 8 + 4;

/// The last row of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which of the tables.
    pub(crate) table: u8,
    pub(crate) ingest_us: i64,
    pub(crate) partition: u16,
    pub(crate) offset: u64,
    pub(crate) mdc_code: u32,
    pub(crate) device_us: i64,
    /// Rows with all of these equal that were given.
    pub(crate) given: u32,
}

impl Place {
    /// Returns the place of a row, as the first of its equals.
    pub(crate) fn of(table: u8, row: &Row) -> Self {
        let Row { ingest_us, partition, offset, mdc_code, device_us, .. } = *row;
        Self { table, ingest_us, partition, offset, mdc_code, device_us, given: 1 }
    }

    /// Says whether a row stands at the same place.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        Self { given: 0, ..*self } == Self { given: 0, ..*other }
    }

    fn bytes(&self) -> Vec<u8> {
        let Self { table, ingest_us, partition, offset, mdc_code, device_us, given } = self;
        let mut bytes = vec![*table];
        bytes.extend(ingest_us.to_be_bytes());
        bytes.extend(partition.to_be_bytes());
        bytes.extend(offset.to_be_bytes());
        bytes.extend(mdc_code.to_be_bytes());
        bytes.extend(device_us.to_be_bytes());
        bytes.extend(given.to_be_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let (table, rest) = bytes.split_first()?;
        let (ingest_us, rest) = rest.split_first_chunk()?;
        let (partition, rest) = rest.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (mdc_code, rest) = rest.split_first_chunk()?;
        let (device_us, rest) = rest.split_first_chunk()?;
        Some(Self {
            table: *table,
            ingest_us: i64::from_be_bytes(*ingest_us),
            partition: u16::from_be_bytes(*partition),
            offset: u64::from_be_bytes(*offset),
            mdc_code: u32::from_be_bytes(*mdc_code),
            device_us: i64::from_be_bytes(*device_us),
            given: u32::from_be_bytes(*rest.first_chunk()?),
        })
    }
}

/// Seals and opens cursors.
pub(crate) struct Cursors {
    key: LessSafeKey,
    random: SystemRandom,
}

impl Cursors {
    /// Makes a key.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let (random, mut key) = (SystemRandom::new(), [0; 32]);
        random.fill(&mut key).map_err(|_unspecified| anyhow::anyhow!("no randomness"))?;
        let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_unspecified| anyhow::anyhow!("no key"))?;
        Ok(Self { key: LessSafeKey::new(key), random })
    }

    /// Writes a cursor for who asks what.
    pub(crate) fn seal(&self, asked: &str, place: &Place) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut bytes = place.bytes();
        let of = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(of, Aad::from(asked.as_bytes()), &mut bytes).ok()?;
        Some(URL_SAFE_NO_PAD.encode([&nonce[..], &bytes].concat()))
    }

    /// Reads a cursor; none when it is not of this process, this caller and this question.
    pub(crate) fn open(&self, asked: &str, cursor: &str) -> Option<Place> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let (nonce, mut sealed) = (Nonce::assume_unique_for_key(*nonce), sealed.to_vec());
        let plain = self.key.open_in_place(nonce, Aad::from(asked.as_bytes()), &mut sealed).ok()?;
        Place::read(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_of_its_caller_its_question_and_its_process() {
        let cursors = Cursors::new().unwrap();
        let place =
            Place { table: 1, ingest_us: -5, partition: 3, offset: 9, mdc_code: 7, device_us: 8, given: 2 };
        let cursor = cursors.seal("ann asks this", &place).unwrap();
        assert_eq!(cursors.open("ann asks this", &cursor), Some(place));
        assert_eq!(cursors.open("bob asks this", &cursor), None);
        assert_eq!(Cursors::new().unwrap().open("ann asks this", &cursor), None);
        assert_eq!(cursors.open("ann asks this", "x"), None);
        assert_ne!(cursors.seal("ann asks this", &place).unwrap(), cursor);
    }
}
