//! The keyring file: master keys of a small installation, in one JSON file with mode 0600.
//!
//! ```json
//! {"version":1,"keys":[{"id":"k-0123456789abcdef","purpose":"identifiers","tenant":"demo","version":1,
//!                       "state":"active","created_at_us":0,"key":"base64 of 32 bytes"}]}
//! ```
//! `tenant` is null for keys of the installation. A wrapped data key is `nonce(12) | ciphertext | tag(16)`,
//! AES-256-GCM, with the master key's id as additional data: the data team's key client reads the same form.
//!
//! A change is written beside the file, synced, renamed over it, and the folder is synced. Processes that share the
//! file take `keyring.json.lock` around a change and read the file again first, so no key is lost. Every use looks
//! whether the file was replaced since it was read: a key that another process made, retired or destroyed is that here.

use crate::keys::{KEY_BYTES, cipher, fill_random, open_random, seal_random};
use crate::storage::{durable_replace, private_file};
use crate::{KeyError, KeyId, KeyProvider, KeyPurpose};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::LessSafeKey;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use wardline_proto::TenantId;
use zeroize::Zeroizing;

/// The only version of the file.
const VERSION: u32 = 1;
/// Largest keyring file that is read, bytes: some 20,000 keys.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Whether a key wraps new data keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Wraps and unwraps.
    Active,
    /// Unwraps only.
    Retired,
}

/// A key's description, without the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its id.
    pub id: KeyId,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// Whose data it protects; none for the installation's own.
    pub tenant: Option<TenantId>,
    /// Counts up per purpose and tenant.
    pub version: u32,
    /// Whether it wraps new data keys.
    pub state: KeyState,
    /// When it was made, unix microseconds.
    pub created_at_us: i64,
}

/// Master keys in a file.
pub struct Keyring {
    path: PathBuf,
    loaded: RwLock<Loaded>,
}

/// The file's keys, and which file it was.
#[derive(Default)]
struct Loaded {
    keys: Vec<MasterKey>,
    stamp: Option<Stamp>,
}

/// Tells one state of the file from another: inode, size, time of change. Every change is a new inode.
type Stamp = (u64, u64, i64, i64);

struct MasterKey {
    info: KeyInfo,
    cipher: LessSafeKey,
    bytes: Zeroizing<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
struct FileForm {
    version: u32,
    keys: Vec<KeyForm>,
}

#[derive(Serialize, Deserialize)]
struct KeyForm {
    id: String,
    purpose: KeyPurpose,
    tenant: Option<String>,
    version: u32,
    state: KeyState,
    created_at_us: i64,
    #[serde(with = "key_text")]
    key: Zeroizing<String>,
}

/// Keeps the text of a key zeroized on both ways.
mod key_text {
    use serde::{Deserialize, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(text: &Zeroizing<String>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(from).map(Zeroizing::new)
    }
}

impl Keyring {
    /// Opens an existing file.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        Ok(Self { path: path.to_owned(), loaded: RwLock::new(Loaded::read(path)?) })
    }

    /// Opens the file, or makes it with the installation's keys: journal, state and footer.
    pub fn create_or_open(path: &Path) -> Result<Self, KeyError> {
        let keyring = match Self::open(path) {
            Err(KeyError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                Self { path: path.to_owned(), loaded: RwLock::default() }
            }
            other => other?,
        };
        for purpose in [KeyPurpose::Journal, KeyPurpose::State, KeyPurpose::Footer] {
            keyring.ensure(purpose, None)?;
        }
        Ok(keyring)
    }

    /// Returns the active key of the purpose and tenant, making it durably when there is none.
    pub fn ensure(&self, purpose: KeyPurpose, tenant: Option<&TenantId>) -> Result<KeyId, KeyError> {
        if let Ok(id) = self.active(purpose, tenant) {
            return Ok(id);
        }
        self.change(|keys| {
            if let Some(known) = newest_active(keys, purpose, tenant) {
                return Ok(known.info.id.clone());
            }
            let version =
                keys.iter().filter(|k| k.is_for(purpose, tenant)).map(|k| k.info.version).max().unwrap_or(0)
                    + 1;
            let key = MasterKey::generate(purpose, tenant, version)?;
            let id = key.info.id.clone();
            keys.push(key);
            Ok(id)
        })
    }

    /// Makes a new active version; the earlier ones unwrap only from then on.
    pub fn rotate(&self, purpose: KeyPurpose, tenant: Option<&TenantId>) -> Result<KeyId, KeyError> {
        self.change(|keys| {
            let mut version = 0;
            for key in keys.iter_mut().filter(|k| k.is_for(purpose, tenant)) {
                key.info.state = KeyState::Retired;
                version = version.max(key.info.version);
            }
            let key = MasterKey::generate(purpose, tenant, version + 1)?;
            let id = key.info.id.clone();
            keys.push(key);
            Ok(id)
        })
    }

    /// Destroys every key of a tenant's archive: what they wrapped is unreadable from then on, for every process of this file
    /// and in every copy of what was written. Returns their ids. Keys that a copy of this file holds are not reached. Its
    /// `state` key stays: the alarm engine reads its own state by it, and must go on.
    pub fn shred(&self, tenant: &TenantId) -> Result<Vec<KeyId>, KeyError> {
        self.change(|keys| {
            let is_of = |key: &MasterKey| {
                key.info.tenant.as_ref() == Some(tenant) && key.info.purpose.is_of_archive()
            };
            let shredded = keys.iter().filter(|key| is_of(key)).map(|key| key.info.id.clone()).collect();
            keys.retain(|key| !is_of(key));
            Ok(shredded)
        })
    }

    /// Describes all keys.
    pub fn list(&self) -> Vec<KeyInfo> {
        self.refresh();
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        loaded.keys.iter().map(|key| key.info.clone()).collect()
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Applies `change` to the file's current content and writes it durably before anyone sees it.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<MasterKey>) -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        let lock = private_file(&self.path.with_extension("json.lock"))?;
        fs4::fs_std::FileExt::lock_exclusive(&lock)?;
        let mut fresh = match load(&self.path) {
            Err(KeyError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        let value = change(&mut fresh)?;
        let form = FileForm { version: VERSION, keys: fresh.iter().map(MasterKey::form).collect() };
        let text = Zeroizing::new(serde_json::to_vec_pretty(&form).map_err(|_form| KeyError::Malformed)?);
        durable_replace(&self.path, &text)?;
        *loaded = Loaded { keys: fresh, stamp: stamp(&self.path) };
        Ok(value)
    }

    /// Reads the file again when it was replaced. One that cannot be read changes nothing: a disk that fails must not
    /// take away keys that are in use.
    fn refresh(&self) {
        let found = stamp(&self.path);
        let known = self.loaded.read().unwrap_or_else(PoisonError::into_inner).stamp;
        if found.is_none() || found == known {
            return;
        }
        if let Ok(fresh) = Loaded::read(&self.path) {
            *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
    }

    fn with_key<T>(
        &self,
        id: &KeyId,
        then: impl Fn(&MasterKey) -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        self.refresh();
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        then(loaded.keys.iter().find(|key| key.info.id == *id).ok_or(KeyError::Unknown)?)
    }
}

impl KeyProvider for Keyring {
    fn wrap(&self, master: &KeyId, data_key: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.with_key(master, |key| seal_random(&key.cipher, master.as_str().as_bytes(), data_key))
    }

    fn unwrap_key(&self, master: &KeyId, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.with_key(master, |key| open_random(&key.cipher, master.as_str().as_bytes(), wrapped))
    }

    fn active(&self, purpose: KeyPurpose, tenant: Option<&TenantId>) -> Result<KeyId, KeyError> {
        self.refresh();
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        newest_active(&loaded.keys, purpose, tenant).map(|key| key.info.id.clone()).ok_or(KeyError::Unknown)
    }
}

impl Loaded {
    fn read(path: &Path) -> Result<Self, KeyError> {
        // Taken first: what is replaced meanwhile is read again.
        let stamp = stamp(path);
        Ok(Self { keys: load(path)?, stamp })
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

impl MasterKey {
    fn generate(purpose: KeyPurpose, tenant: Option<&TenantId>, version: u32) -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new(vec![0; KEY_BYTES]);
        fill_random(&mut bytes)?;
        let info = KeyInfo {
            id: KeyId::random()?,
            purpose,
            tenant: tenant.cloned(),
            version,
            state: KeyState::Active,
            created_at_us: crate::journal::now_us(),
        };
        Ok(Self { info, cipher: cipher(&bytes)?, bytes })
    }

    fn is_for(&self, purpose: KeyPurpose, tenant: Option<&TenantId>) -> bool {
        self.info.purpose == purpose && self.info.tenant.as_ref() == tenant
    }

    fn form(&self) -> KeyForm {
        let info = &self.info;
        KeyForm {
            id: info.id.as_str().to_owned(),
            purpose: info.purpose,
            tenant: info.tenant.as_ref().map(|t| t.as_str().to_owned()),
            version: info.version,
            state: info.state,
            created_at_us: info.created_at_us,
            key: Zeroizing::new(STANDARD.encode(&*self.bytes)),
        }
    }

    fn from_form(form: KeyForm) -> Result<Self, KeyError> {
        let bytes =
            Zeroizing::new(STANDARD.decode(form.key.as_bytes()).map_err(|_base64| KeyError::Malformed)?);
        let tenant = form.tenant.map(|t| TenantId::new(&t)).transpose();
        let info = KeyInfo {
            id: KeyId::new(&form.id)?,
            purpose: form.purpose,
            tenant: tenant.map_err(|_grammar| KeyError::Malformed)?,
            version: form.version,
            state: form.state,
            created_at_us: form.created_at_us,
        };
        Ok(Self { info, cipher: cipher(&bytes)?, bytes })
    }
}

fn newest_active<'a>(
    keys: &'a [MasterKey],
    purpose: KeyPurpose,
    tenant: Option<&TenantId>,
) -> Option<&'a MasterKey> {
    let active = |k: &&MasterKey| k.is_for(purpose, tenant) && k.info.state == KeyState::Active;
    keys.iter().filter(active).max_by_key(|key| key.info.version)
}

fn load(path: &Path) -> Result<Vec<MasterKey>, KeyError> {
    let metadata = fs::metadata(path)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(KeyError::Permissions);
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(KeyError::Malformed);
    }
    let text = Zeroizing::new(fs::read(path)?);
    let form: FileForm = serde_json::from_slice(&text).map_err(|_json| KeyError::Malformed)?;
    if form.version != VERSION {
        return Err(KeyError::Malformed);
    }
    form.keys.into_iter().map(MasterKey::from_form).collect()
}

#[cfg(test)]
mod tests;
