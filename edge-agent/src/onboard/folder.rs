//! The folder of an identity, and how each change of it survives a crash at any instruction.
//!
//! ```text
//! cert.pem      leaf, then issuing certificate   ┐ plain files, or after the first renewal
//! key.pem       its private key, 0600            ┘ links to current/cert.pem and current/key.pem
//! ca.pem        the authorities to trust
//! services.json where the fronts are
//! current  ->   id-N   what is in force          ┐ each id-N holds cert.pem and key.pem that belong together,
//! next     ->   id-M   what will be tried next   ┘ and never changes
//! ```
//! Every file is written beside, fsynced and renamed. Enrolment writes `key.pem`, `ca.pem`, `cert.pem` and
//! `services.json` in this order, so that whatever is missing says where to go on, with the same key. A renewal makes
//! `id-M` whole, then the link `next`; taking it over is one rename of `next` over `current`. Key and certificate
//! therefore change together, whatever reads them. What no link names is swept.

use super::certificate::Certificate;
use super::error::{EdgeError, answer, folder};
use super::key::DeviceKeyPair;
use super::pem;
use super::services::ServiceList;
use crate::clock::now_us;
use crate::spool::replace;
use crate::tls::{self, Credentials, TlsError};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

const PAIR: [&str; 2] = ["cert.pem", "key.pem"];
const CURRENT: &str = "current";
const NEXT: &str = "next";
const SERVICES: &str = "services.json";

/// Which of the folder's identities is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The one in force.
    Current,
    /// The one that a renewal brought and no connection has proven yet.
    Next,
}

/// The folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// Makes the folder, for its owner alone.
    pub(super) fn create(&self) -> Result<(), EdgeError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(folder(self.0.display()))
    }

    /// Reads an identity and the authorities to trust.
    pub(crate) fn credentials(&self, identity: Identity) -> Result<Credentials, TlsError> {
        match identity {
            Identity::Current => tls::load(&self.0, &self.0),
            Identity::Next => tls::load(&self.0.join(NEXT), &self.0),
        }
    }

    /// Says whether there is an identity to try.
    pub(crate) fn has_next(&self) -> bool {
        self.0.join(NEXT).is_symlink()
    }

    /// Returns the roots of `ca.pem`.
    pub(super) fn roots(&self) -> Result<Vec<Certificate>, EdgeError> {
        let path = self.0.join("ca.pem");
        let text = fs::read_to_string(&path).map_err(folder(path.display()))?;
        let read =
            |ders: Vec<Vec<u8>>| ders.iter().map(|der| Certificate::read(der)).collect::<Option<Vec<_>>>();
        let all = pem::read(&text).and_then(read).ok_or_else(|| answer("ca.pem cannot be read"))?;
        Ok(all.into_iter().filter(Certificate::is_root).collect())
    }

    /// Says whether a file of an identity is there.
    pub(super) fn has(&self, file: &str) -> bool {
        self.0.join(file).exists()
    }

    /// Returns the key of an enrolment that was begun, or makes one. Durable before it is used.
    pub(super) fn key(&self) -> Result<DeviceKeyPair, EdgeError> {
        if self.has("key.pem") {
            let path = self.0.join("key.pem");
            return DeviceKeyPair::from_pem(&fs::read_to_string(&path).map_err(folder(path.display()))?);
        }
        let key = DeviceKeyPair::generate()?;
        self.write("key.pem", key.pem().as_bytes())?;
        Ok(key)
    }

    pub(super) fn write_roots(&self, roots: &[Certificate]) -> Result<(), EdgeError> {
        self.write("ca.pem", pem::certificates(roots.iter().map(Certificate::der)).as_bytes())
    }

    pub(super) fn write_chain(&self, chain: &[Certificate]) -> Result<(), EdgeError> {
        self.write("cert.pem", pem::certificates(chain.iter().map(Certificate::der)).as_bytes())
    }

    /// Reads the list of fronts; `None` when there is none.
    pub(crate) fn services(&self) -> Result<Option<ServiceList>, EdgeError> {
        match fs::read(self.0.join(SERVICES)) {
            Ok(bytes) => ServiceList::from_file(&bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(folder(SERVICES)(error)),
        }
    }

    pub(super) fn write_services(&self, list: &ServiceList) -> Result<(), EdgeError> {
        self.write(SERVICES, &list.to_file())
    }

    fn write(&self, file: &str, bytes: &[u8]) -> Result<(), EdgeError> {
        let path = self.0.join(file);
        replace(&path, bytes).map_err(folder(path.display()))
    }

    /// Puts a new key and its chain where the next connection will try them.
    pub(super) fn stage(&self, key: &DeviceKeyPair, chain: &[Certificate]) -> Result<(), EdgeError> {
        let chain = pem::certificates(chain.iter().map(Certificate::der));
        let staged = self.make_pair(chain.as_bytes(), key.pem().as_bytes());
        staged.and_then(|name| self.link(NEXT, &name)).map_err(folder(self.0.display()))
    }

    /// Takes the staged identity over: a connection has proven it.
    pub(crate) fn promote(&self) -> Result<(), EdgeError> {
        let promote = || {
            if !PAIR.iter().all(|file| self.is_linked(file)) {
                self.adopt_plain_files()?;
            }
            fs::rename(self.0.join(NEXT), self.0.join(CURRENT))?;
            self.sync()
        };
        promote().map_err(folder(self.0.display()))?;
        self.sweep();
        Ok(())
    }

    /// Forgets the staged identity: it did not connect.
    pub(crate) fn discard_next(&self) {
        let _was_there = fs::remove_file(self.0.join(NEXT));
        self.sweep();
    }

    /// Removes what a crash left: identities that no link names.
    pub(crate) fn sweep(&self) {
        let named = [CURRENT, NEXT].map(|link| fs::read_link(self.0.join(link)).ok());
        let Ok(entries) = fs::read_dir(&self.0) else { return };
        for entry in entries.flatten() {
            let name = PathBuf::from(entry.file_name());
            let is_identity = entry.file_name().to_str().is_some_and(|name| name.starts_with("id-"));
            if is_identity && !named.iter().any(|target| target.as_deref() == Some(&name)) {
                let _kept_until_the_next_sweep = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Makes `id-N` of what is in force and links the plain names to it. Each step leaves the same bytes under them.
    fn adopt_plain_files(&self) -> io::Result<()> {
        let [cert, key] = PAIR.map(|file| fs::read(self.0.join(file)));
        let name = self.make_pair(&cert?, &key?)?;
        self.link(CURRENT, &name)?;
        PAIR.iter().try_for_each(|file| self.link(file, &format!("{CURRENT}/{file}")))
    }

    fn is_linked(&self, file: &str) -> bool {
        let target = fs::read_link(self.0.join(file));
        target.is_ok_and(|target| target == Path::new(CURRENT).join(file))
    }

    /// Makes a folder of a pair, durably, and returns its name.
    fn make_pair(&self, cert: &[u8], key: &[u8]) -> io::Result<String> {
        let name = format!("id-{}", now_us());
        let dir = self.0.join(&name);
        DirBuilder::new().mode(0o700).create(&dir)?;
        replace(&dir.join("key.pem"), key)?;
        replace(&dir.join("cert.pem"), cert)?;
        self.sync()?;
        Ok(name)
    }

    fn link(&self, name: &str, target: &str) -> io::Result<()> {
        let beside = self.0.join(format!("{name}.link"));
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        symlink(target, &beside)?;
        fs::rename(&beside, self.0.join(name))?;
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
