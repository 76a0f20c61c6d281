//! A subject is erased beside a running gateway that is killed meanwhile: rows and alerts of one patient go, the other's
//! stay, and the certificate holds until a byte of it is changed.

use crate::archive::block_on;
use crate::frames::{HEART_RATE, Publisher, frame, heart_rate, now_us, series};
use crate::process::{eventually, run};
use crate::rows;
use crate::stand::{Stand, TENANT};
use anyhow::{Context, ensure};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;
use wardline_proto::v1::Body;
use wardline_proto::{DeviceId, DeviceKey, TenantId};
use wardline_store::registry::{Change, NewBinding};

const ARCHIVE: Duration = Duration::from_secs(60);
const EPOCH: u64 = 1_790_000_000_000_000;
const OXYGEN: u32 = 150_456;
const MINUTE_US: i64 = 60_000_000;
const FRAMES: u64 = 30;

async fn bind(stand: &Stand, subject: &str, from_us: i64) -> anyhow::Result<()> {
    let store = stand.store()?.open_existing().await?;
    let device = DeviceKey { tenant: TenantId::new(TENANT)?, device: DeviceId::new("mon-1")? };
    let binding = NewBinding { device, subject: subject.into(), from_us, until_us: None };
    store.bind(&Change::new("os:test@here", now_us()), &binding).await?;
    store.close().await;
    Ok(())
}

/// Alerts of the tenant in the database, seen or not.
fn alerts(stand: &Stand) -> anyhow::Result<usize> {
    block_on(async {
        let store = stand.store()?.open_read_only().await?;
        let alerts = store.alerts(&TenantId::new(TENANT)?, true, None, 1000).await?.len();
        store.close().await;
        Ok(alerts)
    })
}

/// Ada wears the monitor, and then Bob.
async fn two_patients(stand: &Stand, certs: &Path) -> anyhow::Result<()> {
    let turn_us = now_us() - 5 * MINUTE_US;
    bind(stand, "p-ada", turn_us - 60 * MINUTE_US).await?;
    bind(stand, "p-bob", turn_us).await?;
    let mut device = Publisher::connect(stand.mqtt, TENANT, "mon-1", certs).await?;
    for seq in 1..=FRAMES {
        // Ada's saturation is low for a while, a finding; Bob's is not.
        let (at_us, value) = if seq <= FRAMES / 2 {
            (turn_us - 8 * MINUTE_US + seq as i64 * 10_000_000, 70.0)
        } else {
            (turn_us + seq as i64 * 1_000_000, 97.0)
        };
        let low = series(OXYGEN, "%", at_us, &[value; 10]);
        let beat = series(HEART_RATE, "/min", at_us, &[60.0 + seq as f64]);
        let body = Body { numerics: vec![low, beat], ..Body::default() };
        device.publish(&frame(EPOCH, seq, &body)).await?;
    }
    Ok(())
}

/// Another device of the tenant, which sends all the while.
struct Sending {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<u64>>,
}

impl Sending {
    fn start(stand: &Stand, device: &'static str) -> anyhow::Result<Self> {
        let (stop, port, certs) = (Arc::new(AtomicBool::new(false)), stand.mqtt, stand.device(device)?);
        let stopped = stop.clone();
        let send = async move {
            let mut publisher = Publisher::connect(port, TENANT, device, &certs).await?;
            let mut sent = 0;
            while !stopped.load(Relaxed) {
                sent += 1;
                publisher.publish(&frame(EPOCH, sent, &heart_rate(now_us(), &[60.0]))).await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(sent)
        };
        Ok(Self { stop, thread: std::thread::spawn(|| block_on(send)) })
    }

    /// Returns how many frames were acknowledged.
    fn stop(self) -> anyhow::Result<u64> {
        self.stop.store(true, Relaxed);
        self.thread.join().map_err(|_panicked| anyhow::anyhow!("the sender panicked"))?
    }
}

#[test]
fn a_subject_is_erased_and_certified_over_kills_and_the_next_wearer_stays() -> anyhow::Result<()> {
    let mut stand = Stand::new()?;
    let certs = stand.device("mon-1")?;
    stand.start()?;
    block_on(two_patients(&stand, &certs))?;
    eventually("all of it is archived", ARCHIVE, || {
        Ok((stand.rows("numerics")? == FRAMES * 11).then_some(()))
    })?;
    eventually("Ada's alert", ARCHIVE, || Ok((alerts(&stand)? > 0).then_some(())))?;
    let before = alerts(&stand)?;
    let bobs = rows::positions(&stand.table("numerics")?)?.iter().filter(|p| p.seq > FRAMES / 2).count();

    let erase = |words: &[&str]| {
        let mut command = stand.offline(&["archive", "erase", "--tenant", TENANT])?;
        command.args(["--subject", "p-ada"]).args(words).arg("--data-dir").arg(stand.data());
        anyhow::Ok(command)
    };
    let told = run(&mut erase(&["--dry-run"])?)?;
    ensure!(told.contains(&format!("numerics: {} rows", FRAMES / 2 * 11)), "{told}");
    ensure!(stand.rows("numerics")? == FRAMES * 11, "a dry run changes nothing");
    run(&mut stand.on_data(&["keys", "hold", "--tenant", TENANT, "--reason", "case 17"])?)?;
    let held = erase(&["--now"])?.output()?;
    ensure!(!held.status.success() && String::from_utf8_lossy(&held.stderr).contains("WL-ERA-001"));
    run(&mut stand.on_data(&["keys", "release", "--tenant", TENANT])?)?;
    // Nobody waits: the gateway is killed while it does what was asked.
    let told = erase(&["--wait-s", "0"])?.output()?;
    ensure!(!told.status.success(), "{}", String::from_utf8_lossy(&told.stdout));
    ensure!(stand.rows("numerics")? == FRAMES / 2 * 11, "no reader gets them from now on");
    ensure!(alerts(&stand)? < before, "the alerts are gone");
    stand.kill()?;
    stand.start()?;
    std::thread::sleep(Duration::from_millis(700));
    stand.kill()?;
    stand.start()?;
    let sending = Sending::start(&stand, "mon-2")?;
    let path = stand.path("ada.json");
    let path_text = path.display().to_string();
    let mut again =
        stand.offline(&["archive", "erase", "--tenant", TENANT, "--subject", "p-ada", "--now"])?;
    let told = run(again.args(["--out", &path_text]).arg("--data-dir").arg(stand.data()))?;
    ensure!(told.contains("certified: "), "{told}");
    println!("{}", std::fs::read_to_string(&path)?);
    let sent = sending.stop()?;
    ensure!(sent > 10, "it was proven beside {sent} frames");
    let mut left = rows::positions(&stand.table("numerics")?)?;
    left.retain(|position| position.device == "mon-1");
    ensure!(left.len() == bobs && left.iter().all(|p| p.seq > FRAMES / 2), "{bobs} of Bob: {left:?}");

    let certificate = ["archive", "certificate", "--verify", &path_text, "--subject", "p-ada"];
    eventually("the audit trail names it", ARCHIVE, || {
        Ok(stand.on_data(&certificate)?.output()?.status.success().then_some(()))
    })?;
    openssl(&stand, &path_text)?;
    let mut text = std::fs::read_to_string(&path)?;
    text = text.replacen("\"rows_in_ranges\": 0", "\"rows_in_ranges\": 9", 1);
    std::fs::write(&path, text)?;
    let forged = stand.on_data(&certificate)?.output()?;
    ensure!(String::from_utf8_lossy(&forged.stderr).contains("WL-ERA-004"), "{forged:?}");
    stand.stop()?;
    stand.verify()
}

/// Another implementation believes the signature too.
fn openssl(stand: &Stand, path: &str) -> anyhow::Result<()> {
    let public = stand.path("issuing.pub");
    let mut key = std::process::Command::new("openssl");
    key.args(["x509", "-pubkey", "-noout", "-in"]).arg(stand.data().join("pki/issuing.pem"));
    std::fs::write(&public, run(&mut key)?)?;
    let mut verify = std::process::Command::new("openssl");
    verify.args(["dgst", "-sha256", "-verify"]).arg(&public).args([
        "-signature",
        &format!("{path}.sig"),
        path,
    ]);
    let told = run(&mut verify).context("openssl dgst")?;
    ensure!(told.contains("Verified OK"), "{told}");
    Ok(())
}
