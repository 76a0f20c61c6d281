//! Keys: names, purposes, and the provider that wraps data keys under master keys.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use wardline_proto::TenantId;
use zeroize::Zeroizing;

/// Bytes of a data key or a master key.
pub(crate) const KEY_BYTES: usize = 32;

/// Longest key id, bytes: other providers name keys in their own way.
pub(crate) const KEY_ID_BYTES_MAX: usize = 64;

/// Names a master key: random, so it carries no tenant's or person's name into a file's clear bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    /// Takes an id as it is stored: 1 to 64 printable ASCII characters.
    pub fn new(id: &str) -> Result<Self, KeyError> {
        let fits = !id.is_empty() && id.len() <= KEY_ID_BYTES_MAX && id.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(Self(id.to_owned())) } else { Err(KeyError::Malformed) }
    }

    /// Makes a new id: `k-` and 16 hex digits.
    pub fn random() -> Result<Self, KeyError> {
        let mut bytes = [0; 8];
        fill_random(&mut bytes)?;
        Ok(Self(format!("k-{:016x}", u64::from_be_bytes(bytes))))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a master key is for. Keys of different purposes are granted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPurpose {
    /// Journal and spool segments.
    Journal,
    /// Alert store and checkpoints.
    State,
    /// Identifier columns of the archive.
    Identifiers,
    /// Measurement columns of the archive.
    Measurements,
    /// Footers of the archive's files.
    Footer,
}

impl KeyPurpose {
    /// Says whether such a key protects files of the archive.
    pub fn is_of_archive(self) -> bool {
        matches!(self, Self::Identifiers | Self::Measurements | Self::Footer)
    }
}

/// Says why a key could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No key of that id, or no active key for that purpose.
    #[error("WL-KEY-003: no such key: it was destroyed, or is not in this keyring")]
    Unknown,
    /// The key service cannot be reached, or fails.
    #[error("WL-KEY-001: the key service is away: {0}")]
    Away(String),
    /// The key service answers that it will not.
    #[error("WL-KEY-002: the key service refuses: {0}")]
    Refused(String),
    /// The wrapped key or sealed blob was not made with this key, or was changed.
    #[error("the sealed bytes do not open with this key")]
    Unauthentic,
    /// The keyring, an id or a sealed blob does not read.
    #[error("malformed key material")]
    Malformed,
    /// The keyring file is readable by others than its owner.
    #[error("the keyring's permissions are open to others, they must be 0600")]
    Permissions,
    /// The system gave no randomness.
    #[error("no randomness from the system")]
    Random,
    /// The keyring file or the key service cannot be reached.
    #[error("key storage: {0}")]
    Io(#[from] io::Error),
}

/// Wraps data keys under master keys that never leave it.
pub trait KeyProvider: Send + Sync {
    /// Wraps `data_key` under the master key.
    fn wrap(&self, master: &KeyId, data_key: &[u8]) -> Result<Vec<u8>, KeyError>;

    /// Unwraps what [`wrap`](Self::wrap) made.
    fn unwrap_key(&self, master: &KeyId, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError>;

    /// Returns the newest active master key of the purpose, for the tenant or for the installation.
    fn active(&self, purpose: KeyPurpose, tenant: Option<&TenantId>) -> Result<KeyId, KeyError>;
}

/// Holds master keys elsewhere: they are made, used and destroyed there by their ids. What it holds for whom is known
/// to the [`Keyring`](crate::Keyring).
pub trait KeyService: Send + Sync {
    /// Returns where its keys are: two of the same name have the same keys.
    fn place(&self) -> &str;

    /// Makes the key of an id that nobody has used.
    fn create(&self, id: &KeyId) -> Result<(), KeyError>;

    /// Wraps `data_key` under the key.
    fn wrap(&self, id: &KeyId, data_key: &[u8]) -> Result<Vec<u8>, KeyError>;

    /// Unwraps what [`wrap`](Self::wrap) made. [`KeyError::Unknown`]: the key was destroyed.
    fn unwrap_key(&self, id: &KeyId, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError>;

    /// Destroys the key for good. [`KeyError::Unknown`]: there is none of that id.
    fn destroy(&self, id: &KeyId) -> Result<(), KeyError>;
}

/// Fills `bytes` from the system's generator.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), KeyError> {
    SystemRandom::new().fill(bytes).map_err(|_unspecified| KeyError::Random)
}

/// Makes a cipher from 32 key bytes.
pub(crate) fn cipher(key: &[u8]) -> Result<LessSafeKey, KeyError> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new).map_err(|_unspecified| KeyError::Malformed)
}

/// A fresh data key with the master key that wraps it.
pub(crate) struct DataKey {
    pub(crate) master: KeyId,
    pub(crate) wrapped: Vec<u8>,
    pub(crate) cipher: LessSafeKey,
}

impl DataKey {
    /// Makes a data key under the active master key of the purpose.
    pub(crate) fn generate(
        keys: &dyn KeyProvider,
        purpose: KeyPurpose,
        tenant: Option<&TenantId>,
    ) -> Result<Self, KeyError> {
        let master = keys.active(purpose, tenant)?;
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        fill_random(bytes.as_mut_slice())?;
        let wrapped = keys.wrap(&master, bytes.as_slice())?;
        Ok(Self { master, wrapped, cipher: cipher(bytes.as_slice())? })
    }
}

/// Seals `plain` as `nonce(12) | ciphertext | tag(16)` under a random nonce.
///
/// For master keys and blobs, whose number stays far below the 2^32 that a random nonce allows.
pub(crate) fn seal_random(cipher: &LessSafeKey, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut nonce = [0; NONCE_LEN];
    fill_random(&mut nonce)?;
    let mut body = plain.to_vec();
    cipher
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut body)
        .map_err(|_unspecified| KeyError::Malformed)?;
    Ok([nonce.as_slice(), &body].concat())
}

/// Opens what [`seal_random`] made.
pub(crate) fn open_random(
    cipher: &LessSafeKey,
    aad: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(KeyError::Malformed)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_unspecified| KeyError::Malformed)?;
    let mut body = Zeroizing::new(body.to_vec());
    let plain_bytes = cipher
        .open_in_place(nonce, Aad::from(aad), &mut body)
        .map_err(|_unspecified| KeyError::Unauthentic)?
        .len();
    body.truncate(plain_bytes);
    Ok(body)
}
