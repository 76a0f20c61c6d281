//! Certificates on disk: names, permissions, and never overwriting a key.

use super::{Authority, Issued, PkiError, Profile};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use wardline_access::PkiFiles;

const KEY_MODE: u32 = 0o600;
const CERTIFICATE_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o700;

/// The `pki` folder of a data directory.
#[derive(Debug, Clone)]
pub struct PkiDir(PkiFiles);

impl From<PkiDir> for PkiFiles {
    fn from(dir: PkiDir) -> Self {
        dir.0
    }
}

impl PkiDir {
    /// Names the `pki` folder of a data directory.
    pub fn of(data_dir: &Path) -> Self {
        Self(PkiFiles::of(data_dir))
    }

    /// Returns the path of one of its files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    /// Reads one of its files.
    pub fn read(&self, name: &str) -> Result<String, PkiError> {
        Ok(self.0.read(name)?)
    }

    /// Says whether an authority was made here.
    pub fn exists(&self) -> bool {
        self.path("root.pem").exists()
    }

    /// Makes the authority and the gateway's own certificate for `hosts`. Refuses to overwrite an authority.
    ///
    /// The root certificate is written last: a run that was cut short can be repeated.
    pub fn create(&self, trust_domain: &str, hosts: &[String]) -> Result<Authority, PkiError> {
        if self.exists() {
            return Err(PkiError::Exists(self.0.dir().to_owned()));
        }
        make_dir(self.0.dir())?;
        let made = Authority::generate(trust_domain)?;
        for (name, pem) in made.keys {
            write(&self.path(name), &pem, KEY_MODE)?;
        }
        for (name, pem) in made.certificates.iter().filter(|(name, _)| *name != "root.pem") {
            write(&self.path(name), pem, CERTIFICATE_MODE)?;
        }
        let authority = Authority::load(self)?;
        let server = authority.issue(&Profile::Server(hosts.to_vec()))?;
        write(&self.path("server.key"), &server.key_pem, KEY_MODE)?;
        write(&self.path("server.pem"), &server.chain_pem, CERTIFICATE_MODE)?;
        for (name, pem) in made.certificates.iter().filter(|(name, _)| *name == "root.pem") {
            write(&self.path(name), pem, CERTIFICATE_MODE)?;
        }
        Ok(authority)
    }

    /// Replaces the gateway's own certificate and key.
    pub fn renew_server(&self, authority: &Authority, hosts: &[String]) -> Result<(), PkiError> {
        let server = authority.issue(&Profile::Server(hosts.to_vec()))?;
        write(&self.path("server.key"), &server.key_pem, KEY_MODE)?;
        write(&self.path("server.pem"), &server.chain_pem, CERTIFICATE_MODE)
    }
}

/// Writes `cert.pem`, `key.pem` and `ca.pem` of an issued certificate into a folder.
pub fn write_identity(out: &Path, issued: &Issued, ca_pem: &str) -> Result<(), PkiError> {
    make_dir(out)?;
    write(&out.join("key.pem"), &issued.key_pem, KEY_MODE)?;
    write(&out.join("cert.pem"), &issued.chain_pem, CERTIFICATE_MODE)?;
    write(&out.join("ca.pem"), ca_pem, CERTIFICATE_MODE)
}

fn make_dir(dir: &Path) -> Result<(), PkiError> {
    let made = fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir);
    made.map_err(|error| PkiError::Io { path: dir.to_owned(), error })
}

/// Writes beside, syncs, renames: a reader sees the old file or the new one.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    let io = |error| PkiError::Io { path: path.to_owned(), error };
    let beside = path.with_extension("new");
    // A leftover of a run that was cut short may have other permissions.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _gone => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside).map_err(io)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
    fs::rename(&beside, path).map_err(io)?;
    let parent = path.parent().unwrap_or(Path::new("."));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(io)
}
