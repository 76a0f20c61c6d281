//! What a crash between two steps of a renewal leaves, and what plain files become.

use super::*;
use rcgen::{CertificateParams, KeyPair, SanType};
use tempfile::{TempDir, tempdir};

/// A key and a certificate of it.
struct Pair {
    key: DeviceKeyPair,
    chain: Vec<Certificate>,
}

impl Pair {
    fn new() -> Self {
        let key = DeviceKeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let uri = "spiffe://wardline.test/tenant/demo/device/m-1";
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        let pair = KeyPair::from_pem(&key.pem()).unwrap();
        let chain = vec![Certificate::read(params.self_signed(&pair).unwrap().der()).unwrap()];
        Self { key, chain }
    }

    fn serial(&self) -> String {
        self.chain[0].serial()
    }
}

/// A folder as an operator fills it.
fn plain(pair: &Pair) -> (TempDir, Folder) {
    let dir = tempdir().unwrap();
    let folder = Folder::new(dir.path());
    fs::write(dir.path().join("key.pem"), pair.key.pem()).unwrap();
    folder.write_chain(&pair.chain).unwrap();
    folder.write_roots(&pair.chain).unwrap();
    (dir, folder)
}

/// Serial number in force; fails when key and certificate do not belong together.
fn in_force(folder: &Folder) -> String {
    folder.credentials(Identity::Current).unwrap().leaf.serial()
}

#[test]
fn plain_files_become_links_and_each_renewal_swaps_the_pair() {
    let pairs = [Pair::new(), Pair::new(), Pair::new()];
    let (dir, folder) = plain(&pairs[0]);
    for pair in &pairs[1..] {
        let before = in_force(&folder);
        folder.stage(&pair.key, &pair.chain).unwrap();
        assert_eq!(in_force(&folder), before);
        assert_eq!(folder.credentials(Identity::Next).unwrap().leaf.serial(), pair.serial());
        folder.promote().unwrap();
        assert_eq!((in_force(&folder), folder.has_next()), (pair.serial(), false));
    }
    assert_eq!(fs::read_to_string(dir.path().join("key.pem")).unwrap(), pairs[2].key.pem());
    let names = || fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names().filter(|name| name.to_string_lossy().starts_with("id-")).count(), 1);
}

#[test]
fn every_step_of_taking_over_leaves_a_pair_that_belongs_together() {
    let (old, new) = (Pair::new(), Pair::new());
    let (dir, folder) = plain(&old);
    folder.stage(&new.key, &new.chain).unwrap();
    // The steps of `promote`, one by one; after each the agent may have been killed.
    let name = folder.make_pair(&read(&dir, "cert.pem"), &read(&dir, "key.pem")).unwrap();
    assert_eq!(in_force(&folder), old.serial());
    folder.sweep();
    assert!(!dir.path().join(&name).exists() && folder.has_next(), "a start sweeps what has no link");
    let name = folder.make_pair(&read(&dir, "cert.pem"), &read(&dir, "key.pem")).unwrap();
    folder.link(CURRENT, &name).unwrap();
    assert_eq!(in_force(&folder), old.serial());
    folder.link("cert.pem", "current/cert.pem").unwrap();
    assert_eq!(in_force(&folder), old.serial());
    folder.sweep();
    // The next start goes on from here.
    folder.promote().unwrap();
    assert_eq!(in_force(&folder), new.serial());
}

#[test]
fn what_an_operator_puts_there_by_hand_is_in_force_and_survives_the_next_renewal() {
    let (first, second, by_hand, last) = (Pair::new(), Pair::new(), Pair::new(), Pair::new());
    let (dir, folder) = plain(&first);
    folder.stage(&second.key, &second.chain).unwrap();
    folder.promote().unwrap();
    // By rename, as careful tools write.
    for (file, text) in [("key.pem", by_hand.key.pem()), ("cert.pem", by_hand.pem())] {
        replace(&dir.path().join(file), text.as_bytes()).unwrap();
    }
    assert_eq!(in_force(&folder), by_hand.serial());
    folder.stage(&last.key, &last.chain).unwrap();
    assert_eq!(in_force(&folder), by_hand.serial());
    folder.promote().unwrap();
    assert_eq!(in_force(&folder), last.serial());
}

#[test]
fn a_discarded_identity_leaves_nothing() {
    let (old, new) = (Pair::new(), Pair::new());
    let (dir, folder) = plain(&old);
    folder.stage(&new.key, &new.chain).unwrap();
    folder.discard_next();
    assert_eq!((in_force(&folder), folder.has_next()), (old.serial(), false));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

fn read(dir: &TempDir, file: &str) -> Vec<u8> {
    fs::read(dir.path().join(file)).unwrap()
}

impl Pair {
    fn pem(&self) -> String {
        pem::certificates(self.chain.iter().map(Certificate::der))
    }
}
