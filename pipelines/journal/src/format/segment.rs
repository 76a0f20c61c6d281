//! The segment header, and the key that it leads to.

use super::{BATCH_HEADER_BYTES, FormatError, SEGMENT_HEADER_BYTES, u16_at, u32_at, u64_at};
use crate::keys::{KEY_ID_BYTES_MAX, cipher};
use crate::{KeyError, KeyId, KeyProvider, Offset};
use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use std::sync::Arc;

const SEGMENT_MAGIC: &[u8; 8] = b"WLJRNL\r\n";
const VERSION: u16 = 1;
const WRAPPED_BYTES_MAX: usize = 384;
const ID_AT: usize = 37;
const WRAPPED_AT: usize = ID_AT + KEY_ID_BYTES_MAX;

const _: () = assert!(WRAPPED_AT + WRAPPED_BYTES_MAX <= SEGMENT_HEADER_BYTES);

/// A segment's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Offset of the first record.
    pub base: Offset,
    /// When the segment was made, unix microseconds.
    pub created_at_us: i64,
    /// The segment's number under its data key.
    pub nonce_prefix: u32,
    /// The master key that wraps the data key.
    pub master: KeyId,
    /// The wrapped data key.
    pub wrapped: Vec<u8>,
}

impl SegmentHeader {
    /// Writes the header.
    pub fn encode(&self) -> Result<[u8; SEGMENT_HEADER_BYTES], FormatError> {
        let id = self.master.as_str().as_bytes();
        if id.len() > KEY_ID_BYTES_MAX || self.wrapped.len() > WRAPPED_BYTES_MAX {
            return Err(FormatError::Length);
        }
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&(self.wrapped.len() as u16).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.base.get().to_le_bytes());
        bytes[24..32].copy_from_slice(&self.created_at_us.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.nonce_prefix.to_le_bytes());
        bytes[36] = id.len() as u8;
        bytes[ID_AT..ID_AT + id.len()].copy_from_slice(id);
        bytes[WRAPPED_AT..WRAPPED_AT + self.wrapped.len()].copy_from_slice(&self.wrapped);
        let checksum = crc32c::crc32c(&bytes);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        Ok(bytes)
    }

    /// Reads a header.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut bytes: [u8; SEGMENT_HEADER_BYTES] =
            bytes.get(..SEGMENT_HEADER_BYTES).and_then(|b| b.try_into().ok()).ok_or(FormatError::Short)?;
        if !bytes.starts_with(SEGMENT_MAGIC) {
            return Err(FormatError::Magic);
        }
        let version = u16_at(&bytes, 8);
        if version != VERSION {
            return Err(FormatError::Version(version));
        }
        let checksum = u32_at(&bytes, 12);
        bytes[12..16].fill(0);
        if crc32c::crc32c(&bytes) != checksum {
            return Err(FormatError::Checksum);
        }
        let wrapped_bytes = usize::from(u16_at(&bytes, 10));
        let id_bytes = usize::from(bytes[36]);
        if wrapped_bytes > WRAPPED_BYTES_MAX || id_bytes > KEY_ID_BYTES_MAX {
            return Err(FormatError::Length);
        }
        let id = std::str::from_utf8(&bytes[ID_AT..ID_AT + id_bytes]).map_err(|_utf8| FormatError::Length)?;
        Ok(Self {
            base: Offset::new(u64_at(&bytes, 16)),
            created_at_us: u64_at(&bytes, 24) as i64,
            nonce_prefix: u32_at(&bytes, 32),
            master: KeyId::new(id).map_err(|_id| FormatError::Length)?,
            wrapped: bytes[WRAPPED_AT..WRAPPED_AT + wrapped_bytes].to_vec(),
        })
    }

    /// Unwraps the data key.
    pub(crate) fn cipher(&self, keys: &dyn KeyProvider) -> Result<SegmentCipher, KeyError> {
        let key = cipher(&keys.unwrap_key(&self.master, &self.wrapped)?)?;
        Ok(SegmentCipher::new(Arc::new(key), self.base, self.nonce_prefix))
    }
}

/// Seals and opens the batches of one segment.
#[derive(Clone)]
pub struct SegmentCipher {
    pub(super) key: Arc<LessSafeKey>,
    base: Offset,
    nonce_prefix: u32,
}

impl SegmentCipher {
    /// Binds a data key to a segment.
    pub fn new(key: Arc<LessSafeKey>, base: Offset, nonce_prefix: u32) -> Self {
        Self { key, base, nonce_prefix }
    }

    pub(super) fn nonce(&self, counter: u64) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[..4].copy_from_slice(&self.nonce_prefix.to_le_bytes());
        nonce[4..].copy_from_slice(&counter.to_le_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    pub(super) fn aad(&self, header: &[u8]) -> Aad<[u8; BATCH_HEADER_BYTES]> {
        let mut aad = [0; BATCH_HEADER_BYTES];
        aad[..8].copy_from_slice(&self.base.get().to_le_bytes());
        aad[8..].copy_from_slice(&header[8..BATCH_HEADER_BYTES]);
        Aad::from(aad)
    }
}
