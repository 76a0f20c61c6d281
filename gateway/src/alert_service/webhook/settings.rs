//! What an operator says of a sink, and whether it may be so.

use crate::front::now_us;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wardline_alert::Selection;
use wardline_alert::limits::BEHIND_SECONDS;
use wardline_proto::v1::{AlarmKind, Priority};
use wardline_proto::{DeviceId, TenantId};
use wardline_store::alert_ledger::{Hearing, ListenerRow};

/// Sinks of one node.
pub(super) const SINKS_MAX: usize = 16;
/// Shortest and longest secret, bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 32..=4096;
/// Longest an answer may take, seconds.
const TIMEOUT_SECONDS: std::ops::RangeInclusive<u32> = 1..=30;
/// Between two questions whether a sink is there, seconds.
const HEARTBEAT_SECONDS: std::ops::RangeInclusive<u32> = 1..=60;
/// A sink is lost when it did not answer for this many heartbeats.
const LEASE_HEARTBEATS: u32 = 3;
/// What a listener of this kind is called in the ledger: no certificate can have the name.
const LISTENER: &str = "webhook:";

/// `[[alerts.webhook]]`: one sink.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Its name in the ledger; as a device's id.
    pub name: String,
    /// Where to: `https://`, or `http://` to this machine.
    pub url: String,
    /// Whose alerts.
    pub tenant: String,
    /// File with the secret that requests are signed with; nobody but its owner may read it.
    pub secret_file: PathBuf,
    /// Authority of the sink's certificate, PEM; the system's when it is not given.
    pub ca_file: Option<PathBuf>,
    /// Only devices of these wards; none means all.
    #[serde(default)]
    pub wards: Vec<String>,
    /// Only alerts of at least this priority: `low`, `medium`, `high`.
    pub min_priority: Option<String>,
    /// Only these kinds: `physiological`, `technical`, `advisory`; none means all.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// How long an answer may take, seconds.
    #[serde(default = "timeout_s")]
    pub timeout_s: u32,
    /// How often the sink is asked whether it is there, seconds.
    #[serde(default = "heartbeat_s")]
    pub heartbeat_s: u32,
}

fn timeout_s() -> u32 {
    10
}

fn heartbeat_s() -> u32 {
    20
}

/// Says why a sink cannot be served. Neither URL nor secret is told.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// More than a node serves.
    #[error("alerts.webhook: {SINKS_MAX} sinks at most")]
    TooMany,
    /// Two of a tenant have one name.
    #[error("alerts.webhook {0}: the name is taken")]
    Twice(String),
    /// A value is not usable.
    #[error("alerts.webhook {name}: {what}")]
    Value {
        /// Whose.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A file cannot be read.
    #[error("alerts.webhook {name}: {}: {error}", path.display())]
    File {
        /// Whose.
        name: String,
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// Settings that were checked.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) tenant: TenantId,
    /// As the ledger calls it.
    pub(super) listener: String,
    pub(super) selection: Selection,
    pub(super) timeout: Duration,
    pub(super) heartbeat: Duration,
    pub(super) lease: Duration,
}

impl Checked {
    /// Makes the sink's row of the ledger: it has taken everything up to a cursor.
    pub(super) fn row(&self, cursor: u64, state: Hearing) -> ListenerRow {
        let us = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        let (now_us, lease_us) = (now_us(), us(self.lease));
        ListenerRow {
            tenant: self.tenant.clone(),
            listener: self.listener.clone(),
            sites: self.selection.sites.clone(),
            state,
            lease_us,
            leased_until_us: now_us + lease_us,
            behind_us: i64::from(BEHIND_SECONDS) * 1_000_000,
            opened_at_us: now_us,
            sent: 0,
            confirmed: cursor,
            misses: self.selection.misses(),
        }
    }
}

impl WebhookSettings {
    /// Checks everything but the files.
    pub(super) fn check(&self) -> Result<Checked, WebhookError> {
        let bad = |what| WebhookError::Value { name: self.name.clone(), what };
        DeviceId::new(&self.name).map_err(|_| bad("name: as a device's id"))?;
        let tenant = TenantId::new(&self.tenant).map_err(|_| bad("tenant: not usable"))?;
        if !is_allowed(&self.url) {
            return Err(bad("url: https://, or http:// to 127.0.0.1, [::1] or localhost"));
        }
        if !TIMEOUT_SECONDS.contains(&self.timeout_s) {
            return Err(bad("timeout_s: 1 to 30"));
        }
        if !HEARTBEAT_SECONDS.contains(&self.heartbeat_s) {
            return Err(bad("heartbeat_s: 1 to 60"));
        }
        let selection = self.selection().ok_or_else(|| bad("filter: unknown or too much"))?;
        let heartbeat = Duration::from_secs(self.heartbeat_s.into());
        Ok(Checked {
            tenant,
            listener: format!("{LISTENER}{}", self.name),
            selection,
            timeout: Duration::from_secs(self.timeout_s.into()),
            heartbeat,
            lease: heartbeat * LEASE_HEARTBEATS + Duration::from_secs(self.timeout_s.into()),
        })
    }

    fn selection(&self) -> Option<Selection> {
        let min_priority = match self.min_priority.as_deref() {
            None | Some("low") => Priority::Low,
            Some("medium") => Priority::Medium,
            Some("high") => Priority::High,
            Some(_) => return None,
        };
        let kind = |name: &String| match name.as_str() {
            "physiological" => Some(AlarmKind::Physiological),
            "technical" => Some(AlarmKind::Technical),
            "advisory" => Some(AlarmKind::Advisory),
            _ => None,
        };
        let kinds = self.kinds.iter().map(kind).collect::<Option<_>>()?;
        let (min_priority, sites) = (min_priority.into(), self.wards.clone());
        let selection = Selection { min_priority, kinds, sites, ..Selection::default() };
        let usable = self.wards.iter().all(|ward| DeviceId::new(ward).is_ok());
        (usable && !selection.is_too_large()).then_some(selection)
    }

    /// Reads the secret: without the line end of the file.
    pub(super) fn secret(&self) -> Result<Vec<u8>, WebhookError> {
        let bad = |what| WebhookError::Value { name: self.name.clone(), what };
        let path = &self.secret_file;
        is_private(path)
            .map_err(|error| self.unreadable(path, error))?
            .then_some(())
            .ok_or_else(|| bad("secret_file: others may read it; chmod 600"))?;
        let mut secret = std::fs::read(path).map_err(|error| self.unreadable(path, error))?;
        while secret.last().is_some_and(u8::is_ascii_whitespace) {
            secret.pop();
        }
        if !SECRET_BYTES.contains(&secret.len()) {
            return Err(bad("secret_file: 32 to 4096 bytes, such as of `openssl rand -hex 32`"));
        }
        Ok(secret)
    }

    pub(super) fn unreadable(&self, path: &Path, error: std::io::Error) -> WebhookError {
        WebhookError::File { name: self.name.clone(), path: path.to_owned(), error }
    }
}

fn is_private(path: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o077 == 0)
}

/// Patient data leaves encrypted, or not this machine.
fn is_allowed(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    let is_loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    // Credentials in a URL end up in logs.
    let is_bare = url.username().is_empty() && url.password().is_none() && url.has_host();
    is_bare && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn settings(change: impl FnOnce(&mut WebhookSettings)) -> WebhookSettings {
        let mut settings: WebhookSettings = toml::from_str(
            "name = \"his\"\nurl = \"https://his.example/alerts\"\ntenant = \"demo\"\nsecret_file = \"s\"\n",
        )
        .unwrap();
        change(&mut settings);
        settings
    }

    #[test]
    fn what_is_not_usable_is_refused_by_name() {
        assert_eq!(settings(|_| {}).check().unwrap().listener, "webhook:his");
        for url in
            ["http://his.example/", "https://u:p@his.example/", "ftp://localhost/", "his.example", "https://"]
        {
            let told = settings(|s| s.url = url.into()).check().unwrap_err().to_string();
            assert!(
                told.starts_with("alerts.webhook his: url") && !told.contains("his.example"),
                "{url}: {told}"
            );
        }
        for url in ["http://127.0.0.1:1/", "http://[::1]:1/", "http://localhost/x"] {
            settings(|s| s.url = url.into()).check().unwrap();
        }
        let changes: [fn(&mut WebhookSettings); 6] = [
            |s| s.name = "a b".into(),
            |s| s.tenant = String::new(),
            |s| s.timeout_s = 0,
            |s| s.heartbeat_s = 61,
            |s| s.min_priority = Some("urgent".into()),
            |s| s.kinds = vec!["all".into()],
        ];
        for change in changes {
            settings(change).check().unwrap_err();
        }
    }

    #[test]
    fn a_secret_is_long_and_its_owners_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let with = |text: &str, mode| {
            std::fs::write(file.path(), text).unwrap();
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            settings(|s| s.secret_file = file.path().into()).secret()
        };
        let long = "0123456789abcdef0123456789abcdef";
        assert_eq!(with(&format!("{long}\n"), 0o600).unwrap(), long.as_bytes());
        assert!(with(long, 0o640).unwrap_err().to_string().contains("chmod 600"));
        with("short", 0o600).unwrap_err();
        settings(|s| s.secret_file = "/nowhere".into()).secret().unwrap_err();
    }
}
