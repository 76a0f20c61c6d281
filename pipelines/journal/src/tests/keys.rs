//! The keyring file and the sealer.

use super::keyring;
use crate::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use wardline_proto::TenantId;

fn path() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring.json");
    (dir, path)
}

fn tenant() -> TenantId {
    TenantId::new("demo").unwrap()
}

#[test]
fn a_keyring_survives_and_is_private() {
    let (_dir, path) = path();
    let keyring = Keyring::create_or_open(&path).unwrap();
    let id = keyring.ensure(KeyPurpose::Identifiers, Some(&tenant())).unwrap();
    assert_eq!(keyring.ensure(KeyPurpose::Identifiers, Some(&tenant())).unwrap(), id);
    assert!(id.as_str().len() == 18 && id.as_str().starts_with("k-"), "{id}");
    let wrapped = keyring.wrap(&id, &[9; 32]).unwrap();
    assert_eq!(wrapped.len(), 12 + 32 + 16);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = Keyring::open(&path).unwrap();
    assert_eq!(again.list(), keyring.list());
    assert_eq!(*again.unwrap_key(&id, &wrapped).unwrap(), vec![9; 32]);
}

#[test]
fn the_file_has_the_documented_form() {
    let (_dir, path) = path();
    Keyring::create_or_open(&path).unwrap().ensure(KeyPurpose::Measurements, Some(&tenant())).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(json["version"], 1);
    let keys = json["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 4);
    assert_eq!((&keys[0]["purpose"], &keys[0]["tenant"]), (&"journal".into(), &serde_json::Value::Null));
    let key = &keys[3];
    assert_eq!((&key["purpose"], &key["tenant"]), (&"measurements".into(), &"demo".into()));
    assert_eq!((&key["state"], &key["version"]), (&"active".into(), &1.into()));
    assert_eq!(key["key"].as_str().unwrap().len(), 44);
    assert!(key["created_at_us"].is_i64() || key["created_at_us"].is_u64());
}

#[test]
fn rotation_wraps_under_the_new_key_and_unwraps_under_the_old() {
    let (_dir, path) = path();
    let keyring = Keyring::create_or_open(&path).unwrap();
    let old = keyring.active(KeyPurpose::Journal, None).unwrap();
    let wrapped = keyring.wrap(&old, &[1; 32]).unwrap();
    let new = keyring.rotate(KeyPurpose::Journal, None).unwrap();
    assert_ne!(old, new);
    assert_eq!(keyring.active(KeyPurpose::Journal, None).unwrap(), new);
    assert_eq!(*keyring.unwrap_key(&old, &wrapped).unwrap(), vec![1; 32]);
    assert!(matches!(keyring.unwrap_key(&new, &wrapped), Err(KeyError::Unauthentic)));
}

#[test]
fn two_processes_lose_no_key() {
    let (_dir, path) = path();
    let (one, other) = (Keyring::create_or_open(&path).unwrap(), Keyring::open(&path).unwrap());
    let tenants: Vec<_> = (0..6).map(|n| TenantId::new(&format!("t{n}")).unwrap()).collect();
    for (number, tenant) in tenants.iter().enumerate() {
        let keyring = if number % 2 == 0 { &one } else { &other };
        keyring.ensure(KeyPurpose::Identifiers, Some(tenant)).unwrap();
    }
    assert_eq!(Keyring::open(&path).unwrap().list().len(), 9);
    let id = other.ensure(KeyPurpose::Footer, Some(&tenants[1])).unwrap();
    one.wrap(&id, &[0; 32]).unwrap();
    assert_eq!(one.ensure(KeyPurpose::Footer, Some(&tenants[1])).unwrap(), id);
}

#[test]
fn an_open_or_damaged_keyring_is_refused() {
    let (_dir, path) = path();
    Keyring::create_or_open(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(Keyring::open(&path), Err(KeyError::Permissions)));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, b"").unwrap();
    assert!(matches!(Keyring::create_or_open(&path), Err(KeyError::Malformed)), "never taken for a new one");
}

#[test]
fn blobs_open_with_their_own_aad_in_any_process() {
    let keys: Arc<dyn KeyProvider> = keyring();
    let sealer = Sealer::new(keys.clone(), KeyPurpose::State, None).unwrap();
    let blob = sealer.seal(b"alert 1", b"heart rate 31").unwrap();
    assert_eq!(sealer.open(b"alert 1", &blob).unwrap(), b"heart rate 31");
    let later = Sealer::new(keys, KeyPurpose::State, None).unwrap();
    for _ in 0..2 {
        assert_eq!(later.open(b"alert 1", &blob).unwrap(), b"heart rate 31");
    }
    assert!(matches!(later.open(b"alert 2", &blob), Err(KeyError::Unauthentic)));
    assert_ne!(sealer.seal(b"", b"x").unwrap(), sealer.seal(b"", b"x").unwrap());
}

#[test]
fn a_changed_or_cut_blob_never_opens() {
    let sealer = Sealer::new(keyring(), KeyPurpose::State, None).unwrap();
    let blob = sealer.seal(b"", b"payload").unwrap();
    for byte in 0..blob.len() {
        let mut changed = blob.clone();
        changed[byte] ^= 1;
        assert!(sealer.open(b"", &changed).is_err(), "byte {byte}");
        assert!(sealer.open(b"", &blob[..byte]).is_err(), "cut at {byte}");
    }
}
