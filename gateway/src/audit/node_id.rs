//! The node's id: random, made once, kept in the data directory as long as the directory lives.
//!
//! `node-id`: 32 lower case hex digits and a line feed. It names a chain; it is no secret. A data directory that was
//! copied must get a new one (delete the file) before it serves: two nodes of one id make a fork.

use super::AuditError;
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

const BYTES: usize = 16;

/// A node's id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeId(String);

impl NodeId {
    /// Takes 32 lower case hex digits.
    pub fn new(text: &str) -> Option<Self> {
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == 2 * BYTES && text.bytes().all(is_hex)).then(|| Self(text.to_owned()))
    }

    /// Returns the digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the file, or makes it, durably. The caller is the only one who may make it.
    pub fn ensure(path: &Path) -> Result<Self, AuditError> {
        let known = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => create(path),
            read => read.and_then(|text| Self::new(text.trim_end()).ok_or(ErrorKind::InvalidData.into())),
        };
        known.map_err(|error| AuditError::NodeId { path: path.display().to_string(), error })
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn create(path: &Path) -> io::Result<NodeId> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_unspecified| io::Error::other("no random bytes"))?;
    let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()?;
    Ok(NodeId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_once_and_a_damaged_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node-id");
        let id = NodeId::ensure(&path).unwrap();
        assert_eq!(NodeId::ensure(&path).unwrap(), id);
        fs::write(&path, "00112233445566778899AABBCCDDEEFF\n").unwrap();
        assert!(matches!(NodeId::ensure(&path), Err(AuditError::NodeId { .. })));
    }
}
