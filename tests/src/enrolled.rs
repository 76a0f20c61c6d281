//! Devices with certificates, many at once and without a process each.

use crate::mqtt_client::load::Client;
use crate::mqtt_client::{Trust, client_config};
use anyhow::Context;
use std::path::Path;
use wardline::operate::{DataDir, local_change};
use wardline::pki::{Authority, Issued, PkiDir, Profile};
use wardline_proto::v1::UpChannel;
use wardline_proto::{DeviceId, DeviceKey, Identity, TenantId, topic};

/// Registers devices of a tenant in the data folder of a gateway that does not run, and issues their certificates.
pub async fn enrol(data: &Path, tenant: &str, ids: &[String]) -> anyhow::Result<Vec<(Client, Issued)>> {
    let authority = Authority::load(&PkiDir::of(data))?;
    let trust = Trust::from_pem(&PkiDir::of(data).read("ca.pem")?)?;
    let store = DataDir::new(data).store()?.open().await?;
    let mut devices = Vec::with_capacity(ids.len());
    for id in ids {
        let key = DeviceKey { tenant: TenantId::new(tenant)?, device: DeviceId::new(id)? };
        let topic = topic::up(&key, UpChannel::Telemetry).context("no telemetry topic")?;
        let identity = Identity::Device(key);
        let issued = authority.issue(&Profile::Client(identity.clone()))?;
        store.enrol(&local_change(), &identity, &issued.certificate).await?;
        let tls = client_config(&trust, &issued.chain_pem, &issued.key_pem)?;
        devices.push((Client { id: id.clone(), topic, tls }, issued));
    }
    store.close().await;
    Ok(devices)
}
