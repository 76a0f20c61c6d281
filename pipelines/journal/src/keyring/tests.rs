//! The keyring as a provider, and as a file that several processes share.

use super::*;
use crate::provider_tests::conforms;

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

#[test]
fn the_keyring_conforms() {
    let folder = tempfile::tempdir().unwrap();
    conforms(&Keyring::create_or_open(&folder.path().join("keyring.json")).unwrap());
}

#[test]
fn what_another_process_does_to_the_file_holds_here() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keyring.json");
    let (ours, theirs) = (Keyring::create_or_open(&path).unwrap(), Keyring::open(&path).unwrap());
    let (purpose, demo) = (KeyPurpose::Measurements, tenant("demo"));
    let first = ours.ensure(purpose, Some(&demo)).unwrap();
    let wrapped = ours.wrap(&first, &[7; 32]).unwrap();
    let state = ours.ensure(KeyPurpose::State, Some(&demo)).unwrap();
    let second = theirs.rotate(purpose, Some(&demo)).unwrap();
    assert_eq!(ours.active(purpose, Some(&demo)).unwrap(), second, "rotated there, new here");
    assert_eq!(*ours.unwrap_key(&first, &wrapped).unwrap(), [7; 32]);
    assert_eq!(theirs.shred(&demo).unwrap(), [first.clone(), second]);
    assert!(
        matches!(ours.unwrap_key(&first, &wrapped), Err(KeyError::Unknown)),
        "destroyed there, gone here"
    );
    assert_eq!(ours.active(KeyPurpose::State, Some(&demo)).unwrap(), state, "the alarm engine goes on");
    let third = ours.ensure(purpose, Some(&demo)).unwrap();
    assert_ne!(third, first);
    assert!(!std::fs::read_to_string(&path).unwrap().contains(first.as_str()));
}

#[test]
fn a_file_that_does_not_read_takes_no_key_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keyring.json");
    let keyring = Keyring::create_or_open(&path).unwrap();
    let key = keyring.active(KeyPurpose::Journal, None).unwrap();
    std::fs::write(&path, b"half a change").unwrap();
    assert!(keyring.wrap(&key, &[1; 32]).is_ok());
    assert!(
        matches!(keyring.rotate(KeyPurpose::Journal, None), Err(KeyError::Malformed)),
        "nor is it overwritten"
    );
}
