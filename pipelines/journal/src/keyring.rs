//! The keyring file: master keys of a small installation, in one JSON file with mode 0600.
//!
//! ```json
//! {"version":1,"keys":[{"id":"k-0123456789abcdef","purpose":"identifiers","tenant":"demo","version":1,
//!                       "state":"active","created_at_us":0,"key":"base64 of 32 bytes"}]}
//! ```
//! `tenant` is null for keys of the installation. A wrapped data key is `nonce(12) | ciphertext | tag(16)`,
//! AES-256-GCM, with the master key's id as additional data: the data team's key client reads the same form.
//!
//! With a key service the keys of tenants' archives are made there: `"held": "service"` stands in the place of `key`,
//! `"at"` says where that is, and the file says beside it only whose they are. The installation's own keys, and those of alerts, stay in the file, so that
//! no acknowledgement ever waits for a service.
//!
//! A change is written beside the file, synced, renamed over it, and the folder is synced. Processes that share the
//! file take `keyring.json.lock` around a change and read the file again first, so no key is lost. Every use looks
//! whether the file was replaced since it was read: a key that another process made, retired or destroyed is that here.

mod form;

use crate::keys::{KEY_BYTES, cipher, fill_random, open_random, seal_random};
use crate::storage::{durable_replace, private_file};
use crate::{KeyError, KeyId, KeyProvider, KeyPurpose, KeyService};
use form::{load, text};
use ring::aead::LessSafeKey;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use wardline_proto::TenantId;
use zeroize::Zeroizing;

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
    service: Option<Arc<dyn KeyService>>,
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
    held: Held,
}

/// The place of the service at which a key was made, where the file says it.
type At = Option<String>;

/// Where a key is.
enum Held {
    Here { cipher: Box<LessSafeKey>, bytes: Zeroizing<Vec<u8>> },
    Service(At),
}

impl Keyring {
    /// Opens an existing file.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        Ok(Self { path: path.to_owned(), loaded: RwLock::new(Loaded::read(path)?), service: None })
    }

    /// Makes keys of tenants' archives at a service from now on, and uses those that it holds.
    #[must_use]
    pub fn with_service(mut self, service: Arc<dyn KeyService>) -> Self {
        self.service = Some(service);
        self
    }

    /// Opens the file, or makes it with the installation's keys: journal, state and footer.
    pub fn create_or_open(path: &Path) -> Result<Self, KeyError> {
        let keyring = match Self::open(path) {
            Err(KeyError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                Self { path: path.to_owned(), loaded: RwLock::default(), service: None }
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
        let key = self.generate(purpose, tenant)?;
        self.change(|keys| {
            if let Some(known) = newest_active(keys, purpose, tenant) {
                return Ok(known.info.id.clone());
            }
            let version =
                keys.iter().filter(|k| k.is_for(purpose, tenant)).map(|k| k.info.version).max().unwrap_or(0)
                    + 1;
            let id = key.info.id.clone();
            keys.push(key.of_version(version));
            Ok(id)
        })
    }

    /// Makes a new active version; the earlier ones unwrap only from then on.
    pub fn rotate(&self, purpose: KeyPurpose, tenant: Option<&TenantId>) -> Result<KeyId, KeyError> {
        let key = self.generate(purpose, tenant)?;
        self.change(|keys| {
            let mut version = 0;
            for key in keys.iter_mut().filter(|k| k.is_for(purpose, tenant)) {
                key.info.state = KeyState::Retired;
                version = version.max(key.info.version);
            }
            let id = key.info.id.clone();
            keys.push(key.of_version(version + 1));
            Ok(id)
        })
    }

    /// Destroys every key that a tenant's archive has now: what they wrapped is unreadable from then on, for every
    /// process of this file and in every copy of what was written. Returns their ids. Keys that a copy of this file
    /// holds are not reached; a service destroys its keys before they leave the file. Its `state` key stays: the alarm
    /// engine reads its own state by it, and must go on.
    ///
    /// They are retired first, so whoever writes meanwhile, or after a run that was cut, makes new ones.
    pub fn shred(&self, tenant: &TenantId) -> Result<Vec<KeyId>, KeyError> {
        let is_of =
            |key: &MasterKey| key.info.tenant.as_ref() == Some(tenant) && key.info.purpose.is_of_archive();
        let going: Vec<KeyId> = self.change(|keys| {
            let retired = keys.iter_mut().filter(|key| is_of(key)).map(|key| {
                key.info.state = KeyState::Retired;
                key.info.id.clone()
            });
            Ok(retired.collect())
        })?;
        for (id, at) in self.held_elsewhere(|key| going.contains(&key.info.id)) {
            let service = self.service()?;
            match service.destroy(&id).map_err(|error| sorted(error, service, &at)) {
                // What is gone already was destroyed before.
                Ok(()) | Err(KeyError::Unknown) => {}
                Err(error) => return Err(error),
            }
        }
        self.change(|keys| {
            keys.retain(|key| !going.contains(&key.info.id));
            Ok(())
        })?;
        Ok(going)
    }

    /// Makes a key of a version to be told: at the service before the file names it.
    fn generate(&self, purpose: KeyPurpose, tenant: Option<&TenantId>) -> Result<MasterKey, KeyError> {
        let key = MasterKey::generate(purpose, tenant)?;
        match &self.service {
            Some(service) if tenant.is_some() && purpose.is_of_archive() => {
                service.create(&key.info.id)?;
                Ok(MasterKey { held: Held::Service(Some(service.place().to_owned())), ..key })
            }
            _ => Ok(key),
        }
    }

    fn held_elsewhere(&self, is_wanted: impl Fn(&MasterKey) -> bool) -> Vec<(KeyId, At)> {
        self.refresh();
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        let held = loaded.keys.iter().filter(|key| is_wanted(key)).filter_map(|key| match &key.held {
            Held::Here { .. } => None,
            Held::Service(at) => Some((key.info.id.clone(), at.clone())),
        });
        held.collect()
    }

    fn service(&self) -> Result<&dyn KeyService, KeyError> {
        let none = || KeyError::Refused("the key is at a service, and the settings name none".to_owned());
        self.service.as_deref().ok_or_else(none)
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
        durable_replace(&self.path, &text(&fresh)?)?;
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
        here: impl Fn(&LessSafeKey) -> Result<T, KeyError>,
        there: impl Fn(&dyn KeyService) -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        self.refresh();
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        match &loaded.keys.iter().find(|key| key.info.id == *id).ok_or(KeyError::Unknown)?.held {
            Held::Here { cipher, .. } => here(cipher),
            Held::Service(at) => {
                let at = at.clone();
                // Nobody else waits for the service.
                drop(loaded);
                let service = self.service()?;
                there(service).map_err(|error| sorted(error, service, &at))
            }
        }
    }
}

impl KeyProvider for Keyring {
    fn wrap(&self, master: &KeyId, data_key: &[u8]) -> Result<Vec<u8>, KeyError> {
        let aad = master.as_str().as_bytes();
        self.with_key(
            master,
            |cipher| seal_random(cipher, aad, data_key),
            |service| service.wrap(master, data_key),
        )
    }

    fn unwrap_key(&self, master: &KeyId, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let aad = master.as_str().as_bytes();
        self.with_key(
            master,
            |cipher| open_random(cipher, aad, wrapped),
            |service| service.unwrap_key(master, wrapped),
        )
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

/// Believes that a key is gone only where it was made: another service never had it.
fn sorted(error: KeyError, service: &dyn KeyService, at: &At) -> KeyError {
    match (error, at) {
        (KeyError::Unknown, Some(at)) if at != service.place() => KeyError::Refused(format!(
            "the key was made at {at}, and {}, which the settings name, has none of its id",
            service.place()
        )),
        (error, _) => error,
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

impl MasterKey {
    fn generate(purpose: KeyPurpose, tenant: Option<&TenantId>) -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new(vec![0; KEY_BYTES]);
        fill_random(&mut bytes)?;
        let info = KeyInfo {
            id: KeyId::random()?,
            purpose,
            tenant: tenant.cloned(),
            version: 1,
            state: KeyState::Active,
            created_at_us: crate::journal::now_us(),
        };
        Ok(Self { info, held: Held::Here { cipher: Box::new(cipher(&bytes)?), bytes } })
    }

    fn of_version(mut self, version: u32) -> Self {
        self.info.version = version;
        self
    }

    fn is_for(&self, purpose: KeyPurpose, tenant: Option<&TenantId>) -> bool {
        self.info.purpose == purpose && self.info.tenant.as_ref() == tenant
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

#[cfg(test)]
mod tests;
