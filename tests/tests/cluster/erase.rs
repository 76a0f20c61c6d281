//! Where several workers archive, each takes what was erased out of the files of its own partitions, and removes there
//! what a crash left.

use crate::archive::block_on;
use crate::frames::{Publisher, frame, heart_rate, now_us};
use crate::process::{eventually, run};
use crate::rows::positions;
use crate::stand::TENANT;
use crate::tier::{PARTITIONS, Tier};
use anyhow::ensure;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use wardline_proto::{DeviceId, DeviceKey, TenantId};
use wardline_store::Store;
use wardline_store::cluster::Share;
use wardline_store::registry::{Change, NewBinding};

const WAIT: Duration = Duration::from_secs(60);
const EPOCH: u64 = 1_790_000_000_000_000;
const FRAMES: u64 = 6;
/// Of Ada, and of Bob.
const DEVICES: [(&str, &str); 6] = [
    ("mon-0", "p-ada"),
    ("mon-1", "p-ada"),
    ("mon-2", "p-ada"),
    ("mon-3", "p-ada"),
    ("mon-4", "p-bob"),
    ("mon-5", "p-bob"),
];

fn key(device: &str) -> anyhow::Result<DeviceKey> {
    Ok(DeviceKey { tenant: TenantId::new(TENANT)?, device: DeviceId::new(device)? })
}

/// Puts files where a worker that crashed would have left them.
fn strays(tier: &Tier) -> anyhow::Result<Vec<PathBuf>> {
    let stray = |partition: u16| {
        let folder = tier.stand.data().join(format!("archive/numerics/{TENANT}/2026-11-21/{partition}"));
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{partition:032x}.parquet"));
        std::fs::write(&path, b"PAR1 what a crash left")?;
        Ok(path)
    };
    (0..PARTITIONS * 2).map(stray).collect()
}

#[test]
fn every_worker_erases_and_sweeps_its_own_partitions() -> anyhow::Result<()> {
    let mut tier = Tier::new(None, "")?;
    let strays = strays(&tier)?;
    let front = tier.node("front,api")?;
    tier.node("archive,alert")?;
    tier.node("archive,alert")?;
    tier.ready()?;
    let url = tier.store_url();
    let mut partitions = BTreeSet::new();
    for (device, subject) in DEVICES {
        let certs = tier.stand.device(device)?;
        if subject == "p-ada" {
            partitions.insert(Share::holding(key(device)?.partition(), PARTITIONS).partition);
        }
        block_on(async {
            let store = Store::connect(&url).await?;
            let from_us = now_us() - 3_600_000_000;
            let binding =
                NewBinding { device: key(device)?, subject: subject.into(), from_us, until_us: None };
            store.bind(&Change::new("os:test@here", now_us()), &binding).await?;
            store.close().await;
            let mut publisher = Publisher::connect(tier.nodes[front].mqtt, TENANT, device, &certs).await?;
            for seq in 1..=FRAMES {
                publisher.publish(&frame(EPOCH, seq, &heart_rate(now_us(), &[60.0]))).await?;
            }
            Ok(())
        })?;
    }
    ensure!(partitions.len() > 1, "{partitions:?}: one worker could do all of it");
    let all = DEVICES.len() as u64 * FRAMES;
    eventually("all of it is archived", WAIT, || Ok((tier.stand.rows("numerics")? == all).then_some(())))?;
    eventually("what a crash left is removed", WAIT, || {
        let left = strays.iter().filter(|path| path.exists()).count();
        ensure!(left == 0, "{left} of {}", strays.len());
        Ok(Some(()))
    })?;
    let mut erase =
        tier.stand.offline(&["archive", "erase", "--tenant", TENANT, "--subject", "p-ada", "--now"])?;
    let told =
        run(erase.arg("--data-dir").arg(tier.stand.data()).arg("--out").arg(tier.stand.path("ada.json")))?;
    ensure!(told.contains("certified: "), "{told}");
    println!("{}", told.trim());
    let left = positions(&tier.stand.table("numerics")?)?;
    let of_bob = DEVICES.iter().filter(|(_, subject)| *subject == "p-bob").count() as u64 * FRAMES;
    ensure!(left.len() as u64 == of_bob, "{left:?}");
    ensure!(left.iter().all(|position| position.device.as_str() > "mon-3"), "{left:?}");
    tier.stop()?;
    let told = run(tier.stand.offline(&["archive", "verify", "--data-dir"])?.arg(tier.stand.data()))?;
    ensure!(told.trim_end().ends_with("clean") && !told.contains("stray"), "{told}");
    Ok(())
}
