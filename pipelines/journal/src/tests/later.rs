//! What a later release wrote is refused and left as it is: a log that it took over goes on where it is read.

use super::*;
use crate::format::FormatError;
use std::path::{Path, PathBuf};

const RECORDS: u8 = 100;

fn open_in(folder: &Path) -> Result<Journal, OpenError> {
    let storage = Arc::new(DiskStorage::new(folder.to_path_buf()));
    Journal::open(JournalOptions { dir: folder.to_path_buf(), ..small() }, storage, keyring())
}

fn bytes_of(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn a_segment_of_a_later_version_is_refused_and_nothing_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_in(folder.path()).unwrap();
    for i in 0..RECORDS {
        append(&journal, vec![i; 300]);
    }
    journal.close();
    let written = bytes_of(folder.path());
    let segments =
        written.iter().map(|(path, _)| path).filter(|path| path.extension().is_some_and(|e| e == "wal"));
    let segments: Vec<_> = segments.collect();
    assert!(segments.len() > 1, "the oldest and the newest are two");
    for segment in [segments[0], segments[segments.len() - 1]] {
        let known = std::fs::read(segment).unwrap();
        let mut later = known.clone();
        later[8..10].copy_from_slice(&2_u16.to_le_bytes());
        std::fs::write(segment, &later).unwrap();
        let before = bytes_of(folder.path());
        let error = open_in(folder.path()).unwrap_err();
        assert!(
            matches!(error, OpenError::Corrupt { position: 0, reason: FormatError::Version(2), .. }),
            "{error}"
        );
        assert!(bytes_of(folder.path()) == before, "something was written");
        std::fs::write(segment, &known).unwrap();
    }
    let journal = open_in(folder.path()).unwrap();
    assert_eq!(payloads(&journal).len(), usize::from(RECORDS));
}

#[test]
fn a_keyring_of_a_later_version_is_refused_and_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keyring.json");
    Keyring::create_or_open(&path).unwrap().ensure(KeyPurpose::Journal, None).unwrap();
    let later = std::fs::read_to_string(&path).unwrap().replacen("\"version\": 1", "\"version\": 2", 1);
    std::fs::write(&path, &later).unwrap();
    assert!(Keyring::open(&path).is_err() && Keyring::create_or_open(&path).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), later);
}

#[test]
fn a_sealed_record_of_a_later_version_does_not_open() {
    let sealer = Sealer::new(keyring(), KeyPurpose::Journal, None).or_else(|_none_yet| {
        keyring().ensure(KeyPurpose::Journal, None)?;
        Sealer::new(keyring(), KeyPurpose::Journal, None)
    });
    let sealer = sealer.unwrap();
    let mut blob = sealer.seal(b"place", b"a heart rate").unwrap();
    assert_eq!(&blob[..4], b"WLS1");
    blob[3] = b'2';
    assert!(matches!(sealer.open(b"place", &blob), Err(KeyError::Malformed)));
}
