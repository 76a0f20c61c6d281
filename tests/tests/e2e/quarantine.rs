//! From the quarantine back into the archive: a profile is mended, a person asks, and kill -9 changes nothing (ARC-1).

use crate::archive::block_on;
use crate::frames::{Publisher, frame, heart_rate, now_us, series};
use crate::process::{eventually, run};
use crate::stand::{Stand, TENANT};
use anyhow::ensure;
use std::time::Duration;
use wardline_proto::v1::Body;

const ARCHIVE: Duration = Duration::from_secs(60);
const EPOCH: u64 = 1_790_000_000_000_000;
const OXYGEN: u32 = 150_456;
const FRAMES: u64 = 120;
const KILLS: u64 = 4;
const PROFILE: &str = include_str!("../../../docs/profiles/bedside-monitor.toml");

/// Returns the shipped profile as one of model `wm`, in a version, with or without oxygen saturation.
fn profile(version: u32, oxygen: bool) -> String {
    let text = PROFILE
        .replace("wardline-sim-monitor", "wm")
        .replace("version = 1\n", &format!("version = {version}\n"));
    let of_oxygen = |part: &&str| part.contains("MDC_PULS_OXIM_SAT_O2") && !oxygen;
    let mut parts = text.split("[[measurement]]");
    let head = parts.next().unwrap_or_default().to_owned();
    parts.filter(|part| !of_oxygen(part)).fold(head, |text, part| text + "[[measurement]]" + part)
}

fn put_profile(stand: &Stand, version: u32, oxygen: bool) -> anyhow::Result<()> {
    let path = stand.path("wm.toml");
    std::fs::write(&path, profile(version, oxygen))?;
    let (path, version) = (path.display().to_string(), version.to_string());
    let words =
        ["model", "create", "wm", "--maker", TENANT, "--profile", &path, "--profile-version", &version];
    run(&mut stand.operator(&words)?).map(drop)
}

#[test]
fn what_a_new_profile_declares_is_replayed_once_whatever_is_killed() -> anyhow::Result<()> {
    let mut stand = Stand::new()?;
    let certs = stand.device("mon-1")?;
    stand.start()?;
    run(&mut stand.operator(&["tenant", "create", TENANT])?)?;
    put_profile(&stand, 1, false)?;
    run(&mut stand
        .operator(&["device", "create", "--device", "mon-1", "--tenant", TENANT, "--model", "wm"])?)?;
    std::thread::sleep(Duration::from_millis(2500));
    block_on(async {
        let mut device = Publisher::connect(stand.mqtt, TENANT, "mon-1", &certs).await?;
        for seq in 1..=FRAMES {
            let numerics = vec![series(OXYGEN, "%", now_us(), &[90.0 + seq as f64 / 100.0])];
            device.publish(&frame(EPOCH, seq, &Body { numerics, ..Body::default() })).await?;
        }
        device.publish(&frame(EPOCH, FRAMES + 1, &heart_rate(now_us(), &[61.0]))).await
    })?;
    eventually("all of it is archived", ARCHIVE, || {
        Ok((stand.rows("numerics")? == 1 && stand.rows("quarantine")? == FRAMES).then_some(()))
    })?;
    let data = stand.data().display().to_string();
    let quarantine = |words: &[&str]| {
        let mut command = stand.offline(&["archive", "quarantine"])?;
        command.args(words).args(["--data-dir", &data]);
        anyhow::Ok(command)
    };
    let listed = run(&mut quarantine(&["list", "--reason", "WL-Q-009"])?)?;
    ensure!(listed.lines().count() as u64 == FRAMES && listed.contains("150456 is not declared"), "{listed}");
    let first = listed.lines().next().and_then(|line| line.split("  ").next()).unwrap_or_default().to_owned();
    ensure!(run(&mut quarantine(&["show", &first])?)?.contains("\"state\": \"held\""));
    put_profile(&stand, 2, true)?;
    // Nobody waits: the gateway is killed while it does what was asked.
    quarantine(&["replay", "--device", "mon-1", "--wait-s", "0"])?.output()?;
    for kill in 0..KILLS {
        std::thread::sleep(Duration::from_millis(600 * kill));
        stand.kill()?;
        let archived = stand.rows("numerics")?;
        ensure!(archived == 1 || archived == 1 + FRAMES, "all or nothing: {archived}");
        stand.start()?;
    }
    eventually("all of it is rows", ARCHIVE, || Ok((stand.rows("numerics")? == 1 + FRAMES).then_some(())))?;
    let mut again = stand.offline(&["archive", "quarantine", "replay", "--all", "--data-dir", &data])?;
    let told = run(&mut again)?;
    ensure!(
        told.contains(", 0 to be judged again") && told.contains(&format!("replayed: {FRAMES}")),
        "{told}"
    );
    std::thread::sleep(Duration::from_millis(2500));
    ensure!(stand.rows("numerics")? == 1 + FRAMES);
    let archive = |words: &[&str]| run(stand.offline(&["archive"])?.args(words).args(["--data-dir", &data]));
    let told = archive(&["reconcile", "--device", "mon-1"])?;
    ensure!(told.starts_with("0 frames never came"), "{told}");
    let told = archive(&["completeness", "--device", "mon-1", "--json"])?;
    ensure!(told.contains("\"lane\":\"numerics\"") && !told.contains("\"quarantined\":1"), "{told}");
    let (out, key) =
        (stand.path("export").display().to_string(), stand.path("export.key").display().to_string());
    let time = ["--from", "2020-01-01T00:00:00Z", "--to", "2100-01-01T00:00:00Z", "--tables", "numerics"];
    let told =
        archive(&[&["export", "--tenant", TENANT, "--out", &out, "--key-file", &key], &time[..]].concat())?;
    ensure!(told.contains(&format!("numerics-00000.parquet {} rows", 1 + FRAMES)), "{told}");
    println!("{FRAMES} frames replayed once over {KILLS} kills");
    stand.stop()?;
    stand.verify()
}
