//! What every key provider must do. Each provider runs this one suite.
#![allow(clippy::unwrap_used, reason = "a suite fails by panicking")]

use crate::{KeyError, KeyId, KeyProvider, KeyPurpose, Keyring};
use wardline_proto::TenantId;

/// A provider whose keys a test can make, renew and destroy.
pub trait Managed: KeyProvider {
    /// Makes the key of a purpose where there is none.
    fn make(&self, purpose: KeyPurpose, tenant: Option<&TenantId>) -> KeyId;
    /// Makes a new version.
    fn renew(&self, purpose: KeyPurpose, tenant: Option<&TenantId>) -> KeyId;
    /// Destroys the keys of a tenant's archive.
    fn destroy(&self, tenant: &TenantId);
}

impl Managed for Keyring {
    fn make(&self, purpose: KeyPurpose, tenant: Option<&TenantId>) -> KeyId {
        self.ensure(purpose, tenant).unwrap()
    }

    fn renew(&self, purpose: KeyPurpose, tenant: Option<&TenantId>) -> KeyId {
        self.rotate(purpose, tenant).unwrap()
    }

    fn destroy(&self, tenant: &TenantId) {
        self.shred(tenant).unwrap();
    }
}

/// Runs the suite on an empty provider.
pub fn conforms(keys: &impl Managed) {
    let (one, other) = (TenantId::new("one").unwrap(), TenantId::new("other").unwrap());
    let data_key = [0x5A; 16];
    wraps(keys, &one, &other, &data_key);
    renews(keys, &one, &data_key);
    destroys(keys, &one, &other, &data_key);
}

fn wraps(keys: &impl Managed, one: &TenantId, other: &TenantId, data_key: &[u8]) {
    assert!(matches!(keys.active(KeyPurpose::Footer, Some(one)), Err(KeyError::Unknown)));
    let master = keys.make(KeyPurpose::Footer, Some(one));
    assert_eq!(keys.make(KeyPurpose::Footer, Some(one)), master, "made once");
    assert_eq!(keys.active(KeyPurpose::Footer, Some(one)).unwrap(), master);
    let apart = [keys.make(KeyPurpose::Identifiers, Some(one)), keys.make(KeyPurpose::Footer, Some(other))];
    let (first, second) = (keys.wrap(&master, data_key).unwrap(), keys.wrap(&master, data_key).unwrap());
    assert_ne!(first, second, "equal keys do not look equal");
    assert!(!first.windows(data_key.len()).any(|window| window == data_key));
    assert_eq!(*keys.unwrap_key(&master, &first).unwrap(), data_key);
    for wrong in apart {
        assert!(matches!(keys.unwrap_key(&wrong, &first), Err(KeyError::Unauthentic)), "granted apart");
    }
    let mut altered = first.clone();
    altered[first.len() / 2] ^= 1;
    assert!(matches!(keys.unwrap_key(&master, &altered), Err(KeyError::Unauthentic)));
    assert!(keys.unwrap_key(&master, &first[..3]).is_err(), "cut off");
    let unknown = KeyId::new("k-unknown").unwrap();
    assert!(matches!(keys.wrap(&unknown, data_key), Err(KeyError::Unknown)));
    assert!(matches!(keys.unwrap_key(&unknown, &first), Err(KeyError::Unknown)));
}

fn renews(keys: &impl Managed, one: &TenantId, data_key: &[u8]) {
    let old = keys.make(KeyPurpose::Measurements, Some(one));
    let wrapped = keys.wrap(&old, data_key).unwrap();
    let new = keys.renew(KeyPurpose::Measurements, Some(one));
    assert_ne!(old, new);
    assert_eq!(keys.active(KeyPurpose::Measurements, Some(one)).unwrap(), new, "new data, new key");
    assert_eq!(*keys.unwrap_key(&old, &wrapped).unwrap(), data_key, "old data, old key");
}

fn destroys(keys: &impl Managed, one: &TenantId, other: &TenantId, data_key: &[u8]) {
    let (mine, theirs) =
        (keys.make(KeyPurpose::Footer, Some(one)), keys.make(KeyPurpose::Footer, Some(other)));
    let (wrapped, kept) = (keys.wrap(&mine, data_key).unwrap(), keys.wrap(&theirs, data_key).unwrap());
    keys.destroy(one);
    assert!(matches!(keys.unwrap_key(&mine, &wrapped), Err(KeyError::Unknown)), "destroyed");
    assert!(matches!(keys.active(KeyPurpose::Footer, Some(one)), Err(KeyError::Unknown)));
    assert_eq!(*keys.unwrap_key(&theirs, &kept).unwrap(), data_key, "nobody else's");
    assert_ne!(keys.make(KeyPurpose::Footer, Some(one)), mine, "and never the same again");
}
