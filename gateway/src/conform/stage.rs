//! The run's own gateway, on a data directory that is thrown away, behind the proxy.

use super::ConformOptions;
use super::proxy::Proxy;
use super::seen::Archived;
use crate::node::{Node, NodeOptions};
use crate::operate;
use anyhow::Context;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use wardline_archive::read::ArchiveReader;
use wardline_proto::v1::Lane;
use wardline_proto::{DeviceKey, Identity, TenantId};
use wardline_store::registry::Serial;

const TENANT: &str = "conform";
const TRUST_DOMAIN: &str = "conform.wardline.local";

/// A running gateway with one device's identity.
pub(super) struct Stage {
    dir: TempDir,
    certs: PathBuf,
    key: DeviceKey,
    serial: String,
    continues: bool,
    node: Node,
    proxy: Proxy,
}

impl Stage {
    /// Makes the authority, issues the device's certificate and starts gateway and proxy. With a folder in
    /// `options.identity` both are made once and kept there, so that a device is set up once.
    pub(super) async fn open(options: &ConformOptions) -> anyhow::Result<Self> {
        let key = DeviceKey { tenant: TenantId::new(TENANT)?, device: options.device.clone() };
        let dir = tempfile::Builder::new().prefix("wardline-conform-").tempdir()?;
        let home = options.identity.clone().unwrap_or_else(|| dir.path().join("identity"));
        let (authority, certs) = (home.join("authority"), home.join(key.device.as_str()));
        if !authority.exists() {
            operate::init(&authority, TRUST_DOMAIN, &names(options)).await?;
        }
        let continues = certs.join("cert.pem").exists();
        if !continues {
            operate::issue_device(&authority, &key, &certs).await?;
        }
        let serial = serial(&certs.join("cert.pem"))?;
        // The gateway runs on a copy: what a run stores is thrown away, what it was told to trust is not.
        let data = dir.path().join("gateway");
        copy(&authority, &data).with_context(|| format!("copy {}", authority.display()))?;
        // A device that cannot do 1.3 is told so by a check, not by a failed handshake.
        let node = NodeOptions { tls12: true, ..NodeOptions::on_loopback(&data) };
        let node = Node::start(node).await.context("start the gateway")?;
        let proxy = Proxy::start(options.listen, node.addrs().mqtt).await;
        let proxy = proxy.with_context(|| format!("listen on {}", options.listen))?;
        Ok(Self { dir, certs, key, serial, continues, node, proxy })
    }

    /// Says whether the device's identity is from an earlier run.
    pub(super) fn continues(&self) -> bool {
        self.continues
    }

    /// Returns a folder for whatever else the run needs; it is thrown away too.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the folder with the device's certificates.
    pub(super) fn certs(&self) -> &Path {
        &self.certs
    }

    /// Returns the device's name.
    pub(super) fn key(&self) -> &DeviceKey {
        &self.key
    }

    /// Returns the device's SPIFFE URI.
    pub(super) fn actor(&self) -> String {
        Identity::Device(self.key.clone()).uri(TRUST_DOMAIN)
    }

    /// Returns the serial of the issued certificate.
    pub(super) fn serial(&self) -> &str {
        &self.serial
    }

    /// Returns the gateway.
    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// Returns the proxy, which is where the device connects.
    pub(super) fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Commits everything to the archive and returns what it holds of the device.
    pub(super) async fn archived(&self) -> anyhow::Result<Archived> {
        let archive = self.node.archive().context("the gateway runs no archive")?;
        archive.flush_to(self.node.journal().durable_end()).await.context("commit to the archive")?;
        let reader = ArchiveReader::open(&self.dir.path().join("gateway")).await?;
        let mut sum = Archived::default();
        for stream in reader.streams(Some(self.key.device.as_str())).await? {
            sum.archived += stream.counts.archived;
            sum.quarantined += stream.counts.quarantined;
            sum.duplicates += stream.counts.duplicates;
            let lane = Lane::try_from(stream.id.lane).unwrap_or_default().as_str_name();
            let lane = lane.trim_start_matches("LANE_").to_lowercase();
            sum.missing.extend(stream.missing.iter().map(|m| format!("{lane} {}-{}", m.start(), m.end())));
        }
        Ok(sum)
    }

    /// Stops the gateway and throws the folder away.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        self.node.shutdown().await.context("stop the gateway")
    }
}

/// Returns the names in the gateway's certificate.
fn names(options: &ConformOptions) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    let ip = options.listen.ip();
    if !ip.is_unspecified() && !ip.is_loopback() {
        names.push(ip.to_string());
    }
    names.extend(options.hosts.iter().cloned());
    names
}

/// Reads a certificate's serial as the gateway's audit writes it.
fn serial(path: &Path) -> anyhow::Result<String> {
    let der = CertificateDer::from_pem_file(path).with_context(|| format!("read {}", path.display()))?;
    let (_rest, certificate) = x509_parser::parse_x509_certificate(&der)?;
    let serial = Serial::new(certificate.raw_serial()).context("the certificate has no serial")?;
    Ok(serial.to_string())
}

/// Copies a folder of files and folders.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in from.read_dir()? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(std::fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}
