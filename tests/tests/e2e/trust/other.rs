//! Another authority of the same trust domain, as another hospital has one.

use crate::process::run;
use crate::stand::{Stand, TENANT};
use anyhow::Context;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use wardline::operate;
use wardline::pki::{Authority, CRL_LIFE, PkiDir, RevokedSerial};
use wardline_proto::{DeviceId, DeviceKey, TenantId};
use wardline_store::registry::Serial;

pub(super) struct Other {
    folder: TempDir,
    authority: Authority,
}

impl Other {
    pub(super) async fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        operate::init(folder.path(), "wardline.local", &["localhost".to_owned()]).await?;
        let authority = Authority::load(&PkiDir::of(folder.path()))?;
        Ok(Self { folder, authority })
    }

    /// Returns its certificates, PEM.
    pub(super) fn ca_pem(&self) -> anyhow::Result<String> {
        Ok(PkiDir::of(self.folder.path()).read("ca.pem")?)
    }

    /// Certifies a device; the files in the folder trust the stand's server.
    pub(super) async fn certify(&self, stand: &Stand, device: &str) -> anyhow::Result<(PathBuf, Serial)> {
        let key = DeviceKey { tenant: TenantId::new(TENANT)?, device: DeviceId::new(device)? };
        let out = self.folder.path().join(device);
        let certificate = operate::issue_device(self.folder.path(), &key, &out).await?;
        std::fs::copy(stand.data().join("pki/ca.pem"), out.join("ca.pem"))?;
        Ok((out, certificate.serial))
    }

    /// Signs a list that may be relied on for `left` more.
    pub(super) fn list(&self, revoked: &[&Serial], left: Duration) -> anyhow::Result<Vec<u8>> {
        signed(&self.authority, revoked, left)
    }
}

/// Signs a list that may be relied on for `left` more.
pub(super) fn signed(authority: &Authority, revoked: &[&Serial], left: Duration) -> anyhow::Result<Vec<u8>> {
    let now_us = crate::frames::now_us();
    let entry = |serial: &&Serial| RevokedSerial {
        serial: (*serial).clone(),
        revoked_at_us: now_us,
        compromised_at_us: None,
    };
    let revoked: Vec<_> = revoked.iter().map(entry).collect();
    let life_us = i64::try_from(CRL_LIFE.whole_microseconds()).context("a life")?;
    let left_us = i64::try_from(left.as_micros()).context("a life")?;
    Ok(authority.crl(&revoked, now_us - life_us + left_us)?)
}

/// A whole life of a list.
pub(super) const FRESH: Duration = Duration::from_secs(24 * 3600);

/// Writes a list as PEM, with openssl.
pub(super) fn pem(stand: &Stand, list: &[u8]) -> anyhow::Result<String> {
    let der = stand.path("list.der");
    std::fs::write(&der, list)?;
    run(Command::new("openssl").args(["crl", "-inform", "DER", "-in"]).arg(der))
}
