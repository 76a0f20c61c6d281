//! One file of records that are held back because their tenant's key is refused: sealed, and read once.
//!
//! | bytes | field |
//! |---|---|
//! | 4 | `WLH1` |
//! | .. | ciphertext and tag; AES-256-GCM, nonce 0, additional data = magic and path |
//!
//! In clear, for each record in the order of the journal:
//!
//! | bytes | field |
//! |---|---|
//! | 8 | offset, little endian |
//! | 8 | time of the journal, unix microseconds, little endian |
//! | 4 | length of the record, little endian |
//! | .. | the record, as it stood in the journal |
//!
//! The key is the file's own, made for it, used once, and kept sealed under the installation's `state` key in the
//! catalog's row of the file: when that row goes, no copy of the file can be read any more (SEC-3).

use crate::error::ArchiveError;
use bytes::{Buf, BufMut, Bytes};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::VecDeque;
use wardline_journal::{KeyError, Sealer};
use wardline_store::catalog::HeldFile;

const MAGIC: &[u8; 4] = b"WLH1";
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
/// Bytes before each record.
const HEAD_BYTES: usize = 20;

/// A record that is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeldRecord {
    pub(crate) offset: u64,
    pub(crate) time_us: i64,
    pub(crate) payload: Bytes,
}

/// Seals the records of a tenant and partition, at least one, as the file of a path. Returns its bytes and its row.
pub(crate) fn seal(
    records: &[HeldRecord],
    (path, tenant, partition): (String, String, u16),
    sealer: &Sealer,
) -> Result<(Vec<u8>, HeldFile), ArchiveError> {
    let mut key = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut key).map_err(|_unspecified| KeyError::Random)?;
    let length = records.iter().map(|record| HEAD_BYTES + record.payload.len()).sum();
    let mut body = Vec::with_capacity(length);
    for record in records {
        body.put_u64_le(record.offset);
        body.put_i64_le(record.time_us);
        body.put_u32_le(u32::try_from(record.payload.len()).map_err(|_long| KeyError::Malformed)?);
        body.put_slice(&record.payload);
    }
    let sealed = cipher(&key)?.seal_in_place_append_tag(nonce(), additional(&path), &mut body);
    sealed.map_err(|_unspecified| KeyError::Malformed)?;
    let bytes = [&MAGIC[..], &body].concat();
    let offsets = || records.iter().map(|record| record.offset);
    let file = HeldFile {
        sealed_key: sealer.seal(path.as_bytes(), &key)?,
        path,
        tenant,
        partition,
        offset_first: offsets().min().unwrap_or_default(),
        offset_last: offsets().max().unwrap_or_default(),
        records: records.len() as u64,
        taken: 0,
        bytes: bytes.len() as u64,
        sha256: digest(&SHA256, &bytes).as_ref().to_vec(),
    };
    Ok((bytes, file))
}

/// Opens a file that is byte for byte the committed one: all its records, those that became rows since too.
pub(crate) fn open(
    bytes: &[u8],
    file: &HeldFile,
    sealer: &Sealer,
) -> Result<VecDeque<HeldRecord>, ArchiveError> {
    let changed = || ArchiveError::FileChanged(file.path.clone());
    if digest(&SHA256, bytes).as_ref() != file.sha256 {
        return Err(changed());
    }
    let key = sealer.open(file.path.as_bytes(), &file.sealed_key)?;
    let mut body = bytes.strip_prefix(MAGIC).ok_or_else(changed)?.to_vec();
    let opened = cipher(&key)?.open_in_place(nonce(), additional(&file.path), &mut body);
    let length = opened.map_err(|_unspecified| KeyError::Unauthentic)?.len();
    body.truncate(length);
    let (mut left, mut records) = (Bytes::from(body), VecDeque::new());
    while left.remaining() >= HEAD_BYTES {
        let (offset, time_us) = (left.get_u64_le(), left.get_i64_le());
        let length = usize::try_from(left.get_u32_le()).map_err(|_long| changed())?;
        if length > left.remaining() {
            return Err(changed());
        }
        records.push_back(HeldRecord { offset, time_us, payload: left.split_to(length) });
    }
    if left.has_remaining() || records.len() as u64 != file.records || file.taken > file.records {
        return Err(changed());
    }
    Ok(records)
}

fn cipher(key: &[u8]) -> Result<LessSafeKey, KeyError> {
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_unspecified| KeyError::Malformed)?;
    Ok(LessSafeKey::new(key))
}

/// A key seals one file, once.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_BYTES])
}

fn additional(path: &str) -> Aad<Vec<u8>> {
    Aad::from([&MAGIC[..], path.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use wardline_journal::{KeyPurpose, Keyring};

    fn sealed(folder: &std::path::Path) -> (Sealer, Vec<HeldRecord>, Vec<u8>, HeldFile) {
        let keyring = Arc::new(Keyring::create_or_open(&folder.join("keyring.json")).unwrap());
        let sealer = Sealer::new(keyring, KeyPurpose::State, None).unwrap();
        let record = |offset: u64| HeldRecord {
            offset,
            time_us: -1,
            payload: Bytes::from(format!("heart rate {offset}")),
        };
        let records = vec![record(7), record(9)];
        let name = ("held/demo/2026-11-21/3/a.sealed".to_owned(), "demo".to_owned(), 3);
        let (bytes, file) = seal(&records, name, &sealer).unwrap();
        (sealer, records, bytes, file)
    }

    #[test]
    fn what_is_sealed_is_opened_whole_and_says_nothing_in_clear() {
        let folder = tempfile::tempdir().unwrap();
        let (sealer, records, bytes, file) = sealed(folder.path());
        assert_eq!(open(&bytes, &file, &sealer).unwrap(), records);
        assert_eq!((file.offset_first, file.offset_last, file.records, file.taken), (7, 9, 2, 0));
        assert!(!bytes.windows(5).any(|window| window == b"heart"));
    }

    #[test]
    fn a_file_that_is_another_or_elsewhere_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let (sealer, _, bytes, file) = sealed(folder.path());
        let mut other = bytes.clone();
        other[10] ^= 1;
        assert!(matches!(open(&other, &file, &sealer), Err(ArchiveError::FileChanged(_))));
        let again = HeldFile { sha256: digest(&SHA256, &other).as_ref().to_vec(), ..file.clone() };
        assert!(matches!(open(&other, &again, &sealer), Err(ArchiveError::Key(KeyError::Unauthentic))));
        let moved = HeldFile { path: "held/demo/2026-11-21/3/b.sealed".to_owned(), ..file.clone() };
        assert!(matches!(open(&bytes, &moved, &sealer), Err(ArchiveError::Key(KeyError::Unauthentic))));
        let fewer = HeldFile { records: 1, ..file };
        assert!(matches!(open(&bytes, &fewer, &sealer), Err(ArchiveError::FileChanged(_))));
    }
}
