//! The section `[keys.transit]` of the settings: which key service, and by what token.
//!
//! The token stands in a file of its own that nobody else reads, never among the settings.

use crate::endpoint::{endpoint, private_text};
use reqwest::header::HeaderValue;
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const MOUNT: &str = "transit";
/// A request that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// What `[keys.transit]` says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransitSettings {
    url: String,
    mount: Option<String>,
    plain_http: bool,
    ca_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    timeout_ms: Option<u64>,
}

/// A key service, how it is reached, and by what token. Shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct TransitOptions {
    pub(super) url: String,
    pub(super) host: String,
    pub(super) mount: String,
    pub(super) is_http: bool,
    pub(super) ca_pem: Option<Vec<u8>>,
    pub(super) token: TokenFile,
    pub(super) timeout: Duration,
}

/// Where the token is. It is read when it is first needed, and again when the service refuses: an agent beside it may
/// come later than we, or have put a new one there.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct TokenFile(PathBuf);

impl fmt::Debug for TransitOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransitOptions")
            .field("url", &self.url)
            .field("mount", &self.mount)
            .finish_non_exhaustive()
    }
}

impl TokenFile {
    /// Reads the token as the value of a header that nothing shows.
    pub(super) fn read(&self) -> Result<HeaderValue, String> {
        let text = private_text(&self.0).map_err(|error| format!("token_file {error}"))?;
        let token = HeaderValue::from_str(text.trim());
        let mut token = token.map_err(|_would_show_it| "token_file: that is no token".to_owned())?;
        token.set_sensitive(true);
        Ok(token)
    }
}

impl TransitSettings {
    /// Checks the settings and reads what they point to, relative to the data directory, but for the token. Tells what
    /// is wrong, and no secret.
    pub fn resolve(&self, data_dir: &Path) -> Result<TransitOptions, String> {
        let url = endpoint("url", &self.url, self.plain_http)?;
        let mount = self.mount.clone().unwrap_or_else(|| MOUNT.to_owned());
        let plain = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        };
        if !mount.split('/').all(plain) {
            return Err("mount: letters, digits, dashes and slashes".to_owned());
        }
        let timeout = self.timeout_ms.map_or(TIMEOUT, Duration::from_millis);
        if timeout.is_zero() || timeout > TIMEOUT_MAX {
            return Err(format!("timeout_ms: 1 to {}", TIMEOUT_MAX.as_millis()));
        }
        let ca_pem = self.ca_file.as_ref().map(|file| {
            let path = data_dir.join(file);
            std::fs::read(&path).map_err(|error| format!("ca_file {}: {error}", path.display()))
        });
        let file = self.token_file.as_ref().ok_or("token_file: which file holds the token?")?;
        let token = TokenFile(data_dir.join(file));
        Ok(TransitOptions {
            is_http: url.scheme() == "http",
            host: url.host_str().unwrap_or_default().to_owned(),
            url: url.as_str().trim_end_matches('/').to_owned(),
            mount,
            ca_pem: ca_pem.transpose()?,
            token,
            timeout,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_is_read_from_a_file_of_ones_own_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "s3cret\n").unwrap();
        let of = |text: &str, mode| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let settings: TransitSettings = toml::from_str(text).unwrap();
            settings.resolve(folder.path())
        };
        let good = "url = \"https://bao.example:8200\"\ntoken_file = \"token\"";
        let options = of(good, 0o600).unwrap();
        assert_eq!(options.token.read().unwrap(), "s3cret");
        assert!(!format!("{options:?}").contains("s3cret"));
        assert!(of(good, 0o644).unwrap().token.read().unwrap_err().contains("chmod 600"));
        std::fs::remove_file(&file).unwrap();
        let settings: TransitSettings = toml::from_str(good).unwrap();
        let later = settings.resolve(folder.path()).unwrap();
        assert!(later.token.read().unwrap_err().starts_with("token_file"), "it may come later");
        std::fs::write(&file, "s3cret\n").unwrap();
        for bad in [
            "url = \"https://bao.example\"",
            "url = \"http://bao.example\"\ntoken_file = \"token\"",
            "url = \"https://bao.example\"\ntoken_file = \"token\"\nmount = \"../sys\"",
            "url = \"https://bao.example\"\ntoken_file = \"token\"\ntimeout_ms = 0",
        ] {
            assert!(!of(bad, 0o600).unwrap_err().contains("s3cret"), "{bad}");
        }
    }
}
