//! The folder of certificates, as whoever serves TLS reads it.

use std::io;
use std::path::{Path, PathBuf};

/// Says why a file of the folder was not taken.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It could not be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It does not hold what its name says.
    #[error("pki/{0} does not decode, or does not fit the files beside it")]
    Decode(&'static str),
    /// The imported revocation list is not one that can be relied on.
    #[error("pki/crl.pem: {0}")]
    Crl(&'static str),
}

/// The `pki` folder of a data directory.
#[derive(Debug, Clone)]
pub struct PkiFiles(PathBuf);

impl PkiFiles {
    /// Names the `pki` folder of a data directory.
    pub fn of(data_dir: &Path) -> Self {
        Self(data_dir.join("pki"))
    }

    /// Returns the folder.
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// Returns the path of one of its files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Reads one of its files.
    pub fn read(&self, name: &str) -> Result<String, FileError> {
        let path = self.path(name);
        std::fs::read_to_string(&path).map_err(|error| FileError::Io { path, error })
    }

    /// Reads one of its files; `None` when there is none.
    pub fn read_optional(&self, name: &str) -> Result<Option<String>, FileError> {
        match self.read(name) {
            Ok(text) => Ok(Some(text)),
            Err(FileError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
