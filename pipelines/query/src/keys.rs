//! Keys that were asked for, kept for all statements of a server, so that a key service is not asked by each of them.
//!
//! **Invariant:** nothing outlives the keyring that it came by. The first statement that finds another keyring (a key
//! destroyed, a key made) or another key service forgets everything. What is destroyed at the service by another hand is
//! readable for [`AGE_MAX`] at most, as in every process of ours: keys of files by [`ArchiveKeys`], and those of
//! pseudonyms here.

use crate::mask::Mask;
use ring::digest::{SHA256, digest};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use wardline_archive::ArchiveKeys;
use wardline_archive::place::Place;
use wardline_archive::transit::TransitOptions;
use wardline_proto::TenantId;

/// How long a key of pseudonyms is kept.
const AGE_MAX: Duration = Duration::from_secs(600);
/// Tenants of which one is kept; with more they are asked for again.
const MASKS_MAX: usize = 1024;

/// What is kept, by the keyring and the service that it came by.
#[derive(Debug, Default)]
pub(crate) struct Keys(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by: Option<By>,
    files: Option<Arc<ArchiveKeys>>,
    masks: HashMap<TenantId, (Instant, Arc<Mask>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct By {
    keyring: Vec<u8>,
    service: Option<TransitOptions>,
}

impl Keys {
    /// Returns them for a statement that reads with the keyring of these bytes.
    pub(crate) fn under(self: &Arc<Self>, keyring: &[u8], place: &Place) -> KeysUnder {
        let keyring = digest(&SHA256, keyring).as_ref().to_vec();
        let by = By { keyring, service: place.key_service().cloned() };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.by.as_ref() != Some(&by) {
            *kept = Kept { by: Some(by.clone()), ..Kept::default() };
        }
        KeysUnder { keys: self.clone(), by }
    }
}

/// The keys that one keyring opens.
#[derive(Debug, Clone)]
pub(crate) struct KeysUnder {
    keys: Arc<Keys>,
    by: By,
}

impl KeysUnder {
    /// Looks at what is kept; none when it came by another keyring since.
    fn with<T>(&self, look: impl FnOnce(&mut Kept) -> T) -> Option<T> {
        let mut kept = self.keys.0.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.by.as_ref() == Some(&self.by)).then(|| look(&mut kept))
    }

    /// Returns the keys of files: those that are kept, or else these.
    pub(crate) fn files(&self, fresh: Arc<ArchiveKeys>) -> Arc<ArchiveKeys> {
        self.with(|kept| kept.files.get_or_insert_with(|| fresh.clone()).clone()).unwrap_or(fresh)
    }

    /// Returns a tenant's mask.
    pub(crate) fn mask(&self, tenant: &TenantId) -> Option<Arc<Mask>> {
        self.with(|kept| {
            let (since, mask) = kept.masks.get(tenant)?;
            (since.elapsed() < AGE_MAX).then(|| mask.clone())
        })?
    }

    /// Keeps a tenant's mask.
    pub(crate) fn keep_mask(&self, tenant: &TenantId, mask: &Arc<Mask>) {
        self.with(|kept| {
            if kept.masks.len() >= MASKS_MAX {
                kept.masks.clear();
            }
            kept.masks.insert(tenant.clone(), (Instant::now(), mask.clone()));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardline_journal::Keyring;

    #[test]
    fn what_came_by_one_keyring_is_not_there_under_another() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Arc::new(Keyring::create_or_open(&folder.path().join("keyring.json")).unwrap());
        let (place, kept) = (Place::of(folder.path()).unwrap(), Arc::new(Keys::default()));
        let fresh = || Arc::new(ArchiveKeys::new(keyring.clone()));
        let (tenant, mask) = (TenantId::new("demo").unwrap(), Arc::new(Mask::new(b"key", 1)));
        let before = kept.under(b"one", &place);
        let files = before.files(fresh());
        before.keep_mask(&tenant, &mask);
        let again = kept.under(b"one", &place);
        assert!(Arc::ptr_eq(&again.files(fresh()), &files) && again.mask(&tenant).is_some());
        let after = kept.under(b"two", &place);
        let others = after.files(fresh());
        assert!(!Arc::ptr_eq(&others, &files) && after.mask(&tenant).is_none());
        // A statement that began before brings nothing back.
        before.keep_mask(&tenant, &mask);
        assert!(after.mask(&tenant).is_none() && before.mask(&tenant).is_none());
        let own = fresh();
        assert!(Arc::ptr_eq(&before.files(own.clone()), &own), "and takes nothing of those that came later");
        // Another service, or none, is another owner of keys.
        std::fs::write(folder.path().join("token"), "t").unwrap();
        let settings = "[keys.transit]\nurl = \"https://bao.example\"\ntoken_file = \"token\"\n";
        std::fs::write(folder.path().join("wardline.toml"), settings).unwrap();
        let served = kept.under(b"two", &Place::of(folder.path()).unwrap());
        assert!(!Arc::ptr_eq(&served.files(fresh()), &others));
    }
}
