//! The section `[archive.bucket]` of the settings: which bucket, where, and who asks.
//!
//! Credentials stand in the environment or in a file of their own that nobody else reads, never among the settings.

use crate::endpoint::{endpoint, private_text};
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The variables that go before `credentials_file`, as every S3 client has them.
const KEY_ENV: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
/// What a bucket lies in when nothing else is said; stores other than AWS take any.
const REGION: &str = "us-east-1";
/// A request that takes longer has failed; what it was about may have happened.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Longest time that the settings may allow a request. A drain waits for one.
const TIMEOUT_MAX: Duration = Duration::from_secs(300);
const PREFIX_BYTES_MAX: usize = 512;

/// What `[archive.bucket]` says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BucketSettings {
    url: String,
    endpoint: Option<String>,
    region: Option<String>,
    path_style: Option<bool>,
    plain_http: bool,
    ca_file: Option<PathBuf>,
    credentials_file: Option<PathBuf>,
    timeout_ms: Option<u64>,
}

/// Who asks.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(...)")
    }
}

/// A bucket, how it is reached, and who asks. Shows no secret.
#[derive(Debug, Clone)]
pub struct BucketOptions {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    /// Scheme, host and port; none: AWS by its region.
    pub(crate) endpoint: Option<String>,
    pub(crate) region: String,
    pub(crate) path_style: bool,
    pub(crate) is_http: bool,
    pub(crate) ca_pem: Option<Vec<u8>>,
    pub(crate) credentials: Credentials,
    pub(crate) timeout: Duration,
}

impl BucketSettings {
    /// Checks the settings and reads what they point to, relative to the data directory. Tells what is wrong, and no
    /// secret.
    pub fn resolve(&self, data_dir: &Path) -> Result<BucketOptions, String> {
        self.resolve_with(data_dir, |name| std::env::var(name).ok())
    }

    fn resolve_with(
        &self,
        data_dir: &Path,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<BucketOptions, String> {
        let (bucket, prefix) = bucket_and_prefix(&self.url)?;
        let endpoint =
            self.endpoint.as_deref().map(|text| endpoint("endpoint", text, self.plain_http)).transpose()?;
        let is_http = endpoint.as_ref().is_some_and(|url| url.scheme() == "http");
        let timeout = self.timeout_ms.map_or(TIMEOUT, Duration::from_millis);
        if timeout.is_zero() || timeout > TIMEOUT_MAX {
            return Err(format!("timeout_ms: 1 to {}", TIMEOUT_MAX.as_millis()));
        }
        let ca_pem = self.ca_file.as_ref().map(|file| {
            let path = data_dir.join(file);
            std::fs::read(&path).map_err(|error| format!("ca_file {}: {error}", path.display()))
        });
        Ok(BucketOptions {
            bucket,
            prefix,
            // A store of one's own rarely has a name per bucket.
            path_style: self.path_style.unwrap_or(endpoint.is_some()),
            endpoint: endpoint.map(|url| url.as_str().trim_end_matches('/').to_owned()),
            region: self.region.clone().unwrap_or_else(|| REGION.to_owned()),
            is_http,
            ca_pem: ca_pem.transpose()?,
            credentials: self.credentials(data_dir, env)?,
            timeout,
        })
    }

    fn credentials(
        &self,
        data_dir: &Path,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Credentials, String> {
        let [id, secret, token] = KEY_ENV.map(|name| env(name).filter(|value| !value.is_empty()));
        if let (Some(access_key_id), Some(secret_access_key)) = (id, secret) {
            return Ok(Credentials { access_key_id, secret_access_key, session_token: token });
        }
        let Some(file) = &self.credentials_file else {
            return Err(format!("set {} and {}, or credentials_file", KEY_ENV[0], KEY_ENV[1]));
        };
        let path = data_dir.join(file);
        let text = private_text(&path).map_err(|error| format!("credentials_file {error}"))?;
        // Without what stands there: it is a secret.
        toml::from_str(&text).map_err(|_it_shows_values| {
            format!(
                "credentials_file {}: it has access_key_id, secret_access_key and perhaps session_token",
                path.display()
            )
        })
    }
}

/// Splits `s3://BUCKET/PREFIX`.
fn bucket_and_prefix(url: &str) -> Result<(String, String), String> {
    let wrong = || "url: s3://BUCKET or s3://BUCKET/PREFIX, of letters, digits, dots and dashes".to_owned();
    let rest = url.strip_prefix("s3://").ok_or_else(wrong)?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_end_matches('/');
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    let named = |part: &str| !part.is_empty() && !part.starts_with('.') && plain(part);
    let fits = (3..=63).contains(&bucket.len()) && prefix.len() <= PREFIX_BYTES_MAX;
    if !fits || !named(bucket) || !(prefix.is_empty() || prefix.split('/').all(named)) {
        return Err(wrong());
    }
    Ok((bucket.to_owned(), prefix.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn of(text: &str) -> Result<BucketOptions, String> {
        let settings: BucketSettings = toml::from_str(text).map_err(|error| error.to_string())?;
        settings.resolve_with(Path::new("/none"), |name| Some(format!("{name}-s3cret")))
    }

    #[test]
    fn http_is_for_this_machine_or_said_so() {
        let at = |endpoint: &str| of(&format!("url = \"s3://ward/a/b\"\n{endpoint}"));
        assert!(!at("endpoint = \"https://s3.example:8333\"").unwrap().is_http);
        for here in ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"] {
            assert!(at(&format!("endpoint = \"{here}\"")).unwrap().is_http);
        }
        let refused = at("endpoint = \"http://10.0.0.7:8333\"").unwrap_err();
        assert!(refused.contains("plain_http = true"), "{refused}");
        assert!(at("endpoint = \"http://10.0.0.7:8333\"\nplain_http = true").is_ok());
        for bad in ["https://u:s3cret@h", "ftp://h", "https://h/x", "https://h?a", "http://localhost.evil"] {
            let error = at(&format!("endpoint = \"{bad}\"")).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_url_names_a_bucket_and_a_plain_prefix() {
        let named = |url: &str| of(&format!("url = \"{url}\"")).map(|o| (o.bucket, o.prefix));
        assert_eq!(named("s3://ward").unwrap(), ("ward".into(), "".into()));
        assert_eq!(named("s3://ward/a/b/").unwrap(), ("ward".into(), "a/b".into()));
        for bad in
            ["", "ward", "s3://", "s3://a", "s3://ward/../x", "s3://ward//x", "s3://u:p@ward", "s3://ward/ä"]
        {
            assert!(named(bad).is_err(), "{bad}");
        }
        assert!(of("url = \"s3://ward\"\ntimeout_ms = 0").is_err());
    }

    #[test]
    fn credentials_are_read_from_a_file_of_ones_own_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("s3.toml");
        std::fs::write(&file, "access_key_id = \"ward\"\nsecret_access_key = \"s3cret\"\n").unwrap();
        let settings: BucketSettings =
            toml::from_str("url = \"s3://ward\"\ncredentials_file = \"s3.toml\"").unwrap();
        let read = |mode| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            settings.resolve_with(folder.path(), |_| None)
        };
        assert!(read(0o640).unwrap_err().contains("chmod 600"));
        let options = read(0o600).unwrap();
        assert_eq!(options.credentials.secret_access_key, "s3cret");
        assert!(!format!("{options:?}").contains("s3cret"));
        std::fs::write(&file, "secret = \"s3cret\"").unwrap();
        assert!(!read(0o600).unwrap_err().contains("s3cret"));
        let none = BucketSettings { url: "s3://ward".into(), ..BucketSettings::default() };
        assert!(none.resolve_with(folder.path(), |_| None).unwrap_err().contains("AWS_ACCESS_KEY_ID"));
    }
}
