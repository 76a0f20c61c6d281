//! Seals small blobs at rest: alert rows, checkpoints (SEC-3).
//!
//! | bytes | field |
//! |---|---|
//! | 4 | `WLS1` |
//! | 1 | length of the master key's id |
//! | 2 | length of the wrapped data key, little endian |
//! | .. | master key's id, wrapped data key |
//! | 12 | nonce |
//! | .. | ciphertext and tag; AES-256-GCM, additional data = all fields before the nonce, then the caller's |
//!
//! A blob opens with the key provider alone, whoever sealed it. A sealer uses one data key for its lifetime, with
//! random nonces and a budget of 2^31 blobs; then it makes a new data key.

use crate::keys::{DataKey, cipher, open_random, seal_random};
use crate::{KeyError, KeyId, KeyProvider, KeyPurpose};
use ring::aead::LessSafeKey;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use wardline_proto::TenantId;

const MAGIC: &[u8; 4] = b"WLS1";
const FIXED_BYTES: usize = 7;
/// Blobs per data key: random 96-bit nonces allow 2^32 (NIST SP 800-38D, 8.3); half of it.
const BLOBS_PER_KEY_MAX: u32 = 1 << 31;
/// Unwrapped data keys kept: one per process that sealed what is read.
const OPENED_KEYS_MAX: usize = 64;

/// Seals and opens blobs under data keys that a master key wraps.
pub struct Sealer {
    keys: Arc<dyn KeyProvider>,
    purpose: KeyPurpose,
    tenant: Option<TenantId>,
    current: Mutex<Current>,
    opened: Mutex<HashMap<Vec<u8>, Arc<LessSafeKey>>>,
}

struct Current {
    header: Vec<u8>,
    cipher: Arc<LessSafeKey>,
    blobs_left: u32,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({:?}, {:?})", self.purpose, self.tenant)
    }
}

impl Sealer {
    /// Makes a sealer with a fresh data key.
    pub fn new(
        keys: Arc<dyn KeyProvider>,
        purpose: KeyPurpose,
        tenant: Option<&TenantId>,
    ) -> Result<Self, KeyError> {
        let current = Mutex::new(Current::generate(&*keys, purpose, tenant)?);
        Ok(Self { keys, purpose, tenant: tenant.cloned(), current, opened: Mutex::default() })
    }

    /// Seals `plain`; `aad` must be given again to open it (a row's id: so that rows cannot be swapped).
    pub fn seal(&self, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        let (header, cipher) = {
            let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            if current.blobs_left == 0 {
                *current = Current::generate(&*self.keys, self.purpose, self.tenant.as_ref())?;
            }
            current.blobs_left -= 1;
            (current.header.clone(), current.cipher.clone())
        };
        let sealed = seal_random(&cipher, &[&header, aad].concat(), plain)?;
        Ok([header, sealed].concat())
    }

    /// Opens a blob that was sealed with the same `aad`.
    pub fn open(&self, aad: &[u8], blob: &[u8]) -> Result<Vec<u8>, KeyError> {
        let (master, header_bytes) = parse(blob)?;
        let (header, sealed) = blob.split_at_checked(header_bytes).ok_or(KeyError::Malformed)?;
        let cipher = self.cipher_of(&master, header)?;
        open_random(&cipher, &[header, aad].concat(), sealed).map(|plain| plain.to_vec())
    }

    fn cipher_of(&self, master: &KeyId, header: &[u8]) -> Result<Arc<LessSafeKey>, KeyError> {
        {
            let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            if current.header == header {
                return Ok(current.cipher.clone());
            }
        }
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cipher) = opened.get(header) {
            return Ok(cipher.clone());
        }
        let wrapped = header.get(FIXED_BYTES + master.as_str().len()..).ok_or(KeyError::Malformed)?;
        let fresh = Arc::new(cipher(&self.keys.unwrap_key(master, wrapped)?)?);
        if opened.len() >= OPENED_KEYS_MAX {
            opened.clear();
        }
        opened.insert(header.to_vec(), fresh.clone());
        Ok(fresh)
    }
}

impl Current {
    fn generate(
        keys: &dyn KeyProvider,
        purpose: KeyPurpose,
        tenant: Option<&TenantId>,
    ) -> Result<Self, KeyError> {
        let key = DataKey::generate(keys, purpose, tenant)?;
        let id = key.master.as_str().as_bytes();
        let id_bytes = u8::try_from(id.len()).map_err(|_long| KeyError::Malformed)?;
        let wrapped_bytes = u16::try_from(key.wrapped.len()).map_err(|_long| KeyError::Malformed)?;
        let mut header = MAGIC.to_vec();
        header.push(id_bytes);
        header.extend(wrapped_bytes.to_le_bytes());
        header.extend(id);
        header.extend(&key.wrapped);
        Ok(Self { header, cipher: Arc::new(key.cipher), blobs_left: BLOBS_PER_KEY_MAX })
    }
}

/// Returns the master key's id and the length of the clear part.
fn parse(blob: &[u8]) -> Result<(KeyId, usize), KeyError> {
    let fixed = blob.get(..FIXED_BYTES).filter(|b| b.starts_with(MAGIC)).ok_or(KeyError::Malformed)?;
    let id_bytes = usize::from(fixed[4]);
    let wrapped_bytes = usize::from(u16::from_le_bytes([fixed[5], fixed[6]]));
    let id = blob.get(FIXED_BYTES..FIXED_BYTES + id_bytes).ok_or(KeyError::Malformed)?;
    let id = std::str::from_utf8(id).map_err(|_utf8| KeyError::Malformed)?;
    Ok((KeyId::new(id)?, FIXED_BYTES + id_bytes + wrapped_bytes))
}
