//! The demo's stage: a gateway on embedded defaults, its authority, and the folder of it all.

use super::board::Row;
use super::cast;
use super::listener;
use super::vitals::VitalsTail;
use crate::node::{Node, NodeOptions};
use crate::operate;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use wardline_archive::ArchiveHandle;
use wardline_proto::v1::AlertEvent;
use wardline_proto::{DeviceId, DeviceKey, TenantId};

const TENANT: &str = "demo";
const TRUST_DOMAIN: &str = "demo.wardline.local";

/// A running gateway of its own.
pub(crate) struct Stage {
    dir: PathBuf,
    tenant: TenantId,
    node: Node,
    archive: ArchiveHandle,
    vitals: VitalsTail,
}

impl Stage {
    /// Makes the folder, the authority and all certificates, and starts the gateway on free ports of loopback.
    pub(crate) async fn open(dir: Option<&Path>, devices: usize) -> anyhow::Result<Self> {
        let dir = make_dir(dir)?;
        let tenant = TenantId::new(TENANT)?;
        operate::init(&dir, TRUST_DOMAIN, &["localhost".to_owned(), "127.0.0.1".to_owned()]).await?;
        for number in 0..devices {
            let name = cast::device_name(number);
            let key = DeviceKey { tenant: tenant.clone(), device: DeviceId::new(&name)? };
            operate::issue_device(&dir, &key, &cast::certs_dir(&dir.join("devices"), &name)).await?;
        }
        operate::issue_service(&dir, &tenant, &DeviceId::new("ward")?, &dir.join("ward")).await?;
        let node = Node::start(NodeOptions::on_loopback(&dir)).await.context("start the gateway")?;
        let archive = node.archive().context("the gateway runs no archive")?;
        let journal = node.journal();
        let vitals = VitalsTail::new(journal, journal.start())?;
        Ok(Self { dir, tenant, node, archive, vitals })
    }

    /// Returns the folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the folder of the devices.
    pub(crate) fn devices_dir(&self) -> PathBuf {
        self.dir.join("devices")
    }

    /// Returns the port of the MQTT listener.
    pub(crate) fn mqtt_port(&self) -> u16 {
        self.node.addrs().mqtt.port()
    }

    /// Subscribes to alerts over gRPC, as a ward would.
    pub(crate) fn listen(&self, events: mpsc::Sender<AlertEvent>) -> JoinHandle<()> {
        let (addr, certs) = (self.node.addrs().grpc, self.dir.join("ward"));
        tokio::spawn(async move {
            if let Err(error) = listener::listen(addr, &certs, events).await {
                tracing::error!(error = format!("{error:#}"), "the demo's alert subscription ended");
            }
        })
    }

    /// Brings the gateway's side of every row up to date.
    pub(crate) async fn refresh(&mut self, rows: &mut [Row]) -> anyhow::Result<()> {
        self.vitals.step().context("follow the journal")?;
        let progress = self.archive.progress();
        for row in rows {
            let key = DeviceKey { tenant: self.tenant.clone(), device: DeviceId::new(&row.device)? };
            let counts = progress.devices.get(&key).copied().unwrap_or_default();
            (row.archived, row.quarantined) = (counts.archived, counts.quarantined);
            let vitals = self.vitals.of(&row.device);
            (row.heart_rate, row.spo2) = (vitals.heart_rate, vitals.spo2);
        }
        Ok(())
    }

    /// Has everything that is durable committed to the archive.
    pub(crate) async fn flush(&self) -> anyhow::Result<()> {
        let end = self.node.journal().durable_end();
        self.archive.flush_to(end).await.context("commit the rest to the archive")
    }

    /// Stops the gateway.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        self.node.shutdown().await.context("stop the gateway")
    }
}

fn make_dir(dir: Option<&Path>) -> anyhow::Result<PathBuf> {
    let Some(dir) = dir else {
        return Ok(tempfile::Builder::new().prefix("wardline-demo-").tempdir()?.keep());
    };
    std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    if dir.read_dir()?.next().is_some() {
        bail!("{} is not empty; give a new folder, the demo overwrites nothing", dir.display());
    }
    Ok(dir.to_path_buf())
}
