//! How soon a node refuses what another has revoked: told by the database, and without that.

use crate::stand::TENANT;
use crate::tier::Tier;
use crate::ward::runtime;
use anyhow::{Context, ensure};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use wardline::operate::local_change;
use wardline_proto::{DeviceId, DeviceKey, Identity, TenantId};
use wardline_store::Store;
use wardline_store::testing::execute;
use wardline_tests::mqtt_client::{Connection, Session, Trust, client_config};

/// Devices that are revoked with the listener, and as many without.
const DEVICES: usize = 9;
/// Of the stand's authority.
const TRUST_DOMAIN: &str = "wardline.local";
/// SEC-2.
const CUT_MAX: Duration = Duration::from_secs(2);
/// Throws out whoever listens (`wardline_store::bell::LISTENER`).
const THROW_OUT: &str =
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'wardline-bell'";
/// Between two devices: no number of the polling's turns.
const PAUSE: Duration = Duration::from_millis(370);

/// Connects to a front as a device with certificates in a folder.
async fn connect(port: u16, device: &str, certs: &Path) -> anyhow::Result<Connection> {
    let read = |name: &str| std::fs::read_to_string(certs.join(name));
    let tls = client_config(&Trust::from_pem(&read("ca.pem")?)?, &read("cert.pem")?, &read("key.pem")?)?;
    Connection::connect(SocketAddr::from(([127, 0, 0, 1], port)), &tls, device, Session::Clean).await
}

/// Revokes a connected device as `wardline device revoke` does; returns after how long its front has cut it off.
async fn revoke(store: &Store, port: u16, device: &str, certs: &Path) -> anyhow::Result<Duration> {
    let mut connection = connect(port, device, certs).await?;
    let key = DeviceKey { tenant: TenantId::new(TENANT)?, device: DeviceId::new(device)? };
    let uri = Identity::Device(key).uri(TRUST_DOMAIN);
    let asked = Instant::now();
    ensure!(store.revoke_identity(&local_change(), &uri).await? > 0, "nothing to revoke");
    while connection.receive(Duration::from_millis(20)).await.is_ok() {
        ensure!(asked.elapsed() < CUT_MAX * 5, "{device} is not cut off");
    }
    let took = asked.elapsed();
    ensure!(connect(port, device, certs).await.is_err(), "{device} may connect again");
    Ok(took)
}

/// Revokes some devices, one after the other; returns the median and the longest time.
async fn median(
    store: &Store,
    tier: &Tier,
    front: usize,
    devices: &[String],
) -> anyhow::Result<(Duration, Duration)> {
    let mut took = Vec::new();
    for device in devices {
        let certs = tier.stand.certs().join(TENANT).join(device);
        took.push(revoke(store, tier.nodes[front].mqtt, device, &certs).await?);
        tokio::time::sleep(PAUSE).await;
    }
    took.sort_unstable();
    let longest = *took.last().context("devices")?;
    ensure!(longest <= CUT_MAX, "cut off after {longest:?}");
    Ok((took[took.len() / 2], longest))
}

#[test]
fn what_one_node_revokes_another_refuses_at_once_and_soon_without_being_told() -> anyhow::Result<()> {
    let mut tier = Tier::new(None, "")?;
    let front = tier.node("front,api")?;
    tier.ready()?;
    let devices: Vec<_> = (0..DEVICES * 2).map(|device| format!("mon-{device}")).collect();
    devices.iter().try_for_each(|device| tier.stand.device(device).map(drop))?;
    let (told, untold) = devices.split_at(DEVICES);
    let [with, without] = runtime()?.block_on(async {
        let store = Store::connect_existing(&tier.store_url()).await?;
        let with = median(&store, &tier, front, told).await?;
        let cutting = async {
            loop {
                execute(&store, THROW_OUT).await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let cut_off = async {
            tokio::time::sleep(CUT_MAX).await;
            median(&store, &tier, front, untold).await
        };
        let without = tokio::select! {
            without = cut_off => without?,
            cut = cutting => return cut,
        };
        store.close().await;
        anyhow::Ok([with, without])
    })?;
    println!(
        "from the revocation to the cut, median and longest of {DEVICES}: {:.0?} and {:.0?} with the listener, {:.0?} \
         and {:.0?} without",
        with.0, with.1, without.0, without.1
    );
    ensure!(with.0 < without.0, "being told is no faster than looking");
    tier.stop()
}
