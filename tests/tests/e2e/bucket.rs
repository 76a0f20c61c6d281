//! The archive in a real S3-compatible store, which dies as the gateway does: what was acknowledged is archived, once.

use crate::kill::{doubled, fleet, read_ledger};
use crate::process::{binary, eventually, run, run_to_fail};
use crate::python;
use crate::random::Random;
use crate::stand::{Stand, get};
use anyhow::{Context, ensure};
use std::process::Command;
use std::time::Duration;
use wardline_archive::testing::{ACCESS_KEY, SECRET_KEY, TestSeaweed};

const DEVICES: usize = 4;
const DRAIN: Duration = Duration::from_secs(60);
const WAIT: Duration = Duration::from_secs(60);

/// Rounds of three kills: the gateway, the store, both.
fn rounds() -> usize {
    let cycles = std::env::var("WARDLINE_KILL_CYCLES").ok().and_then(|text| text.parse::<usize>().ok());
    cycles.map_or(1, |cycles| cycles.div_ceil(3))
}

fn told<T>(result: Result<T, String>) -> anyhow::Result<T> {
    result.map_err(anyhow::Error::msg)
}

#[test]
fn gateway_and_store_killed_under_load_lose_and_double_nothing() -> anyhow::Result<()> {
    let mut random = Random::seeded("gateway_and_store_killed_under_load");
    let (secrets, mut store) = (tempfile::tempdir()?, told(TestSeaweed::start())?);
    let settings = told(TestSeaweed::settings(secrets.path(), store.port(), "e2e", ACCESS_KEY))?;
    let mut stand = Stand::with(&format!("[archive.bucket]\n{settings}timeout_ms = 3000\n"))?;
    for number in 0..DEVICES {
        stand.device(&format!("mon-{number}"))?;
    }
    stand.start()?;
    let ledger = stand.path("ledger");
    let mut fleet = fleet(&stand, &ledger, Duration::from_secs(60 * rounds() as u64))?;
    for _ in 0..rounds() {
        std::thread::sleep(random.millis(1000, 2000));
        stand.kill()?;
        stand.start()?;
        std::thread::sleep(random.millis(300, 1500));
        told(store.kill())?;
        waits_for_the_store(&stand, &ledger)?;
        told(store.start_again())?;
        std::thread::sleep(random.millis(100, 1000));
        stand.kill()?;
        told(store.kill())?;
        // The front does not wait for the store.
        stand.start()?;
        told(store.start_again())?;
    }
    std::thread::sleep(Duration::from_secs(1));
    fleet.interrupt(DRAIN)?;
    let acked = read_ledger(&ledger)?;
    let quarantined = stand.archived(&acked, WAIT)?;
    let doubled = doubled(&stand)?;
    println!(
        "bucket: {} frames acknowledged, {} kills, 0 lost, {doubled} doubled",
        acked.len(),
        4 * rounds()
    );
    ensure!(
        acked.len() > 100 && doubled == 0 && quarantined == 0,
        "{doubled} doubled, {quarantined} quarantined"
    );
    stand.stop()?;
    stand.verify()?;
    ensure!(!stand.data().join("archive").exists(), "nothing of the archive lies on this machine");
    same_counts(&stand)?;
    let settings = std::fs::read_to_string(stand.data().join("wardline.toml"))?;
    ensure!(!stand.log()?.contains(SECRET_KEY), "a log tells the secret");
    ensure!(!settings.contains(SECRET_KEY), "the settings tell the secret");
    Ok(())
}

/// While the store is away the front acknowledges, and the gateway tells of it.
fn waits_for_the_store(stand: &Stand, ledger: &std::path::Path) -> anyhow::Result<()> {
    let before = read_ledger(ledger)?.len();
    eventually("the gateway tells that the store is away", WAIT, || {
        let (_, metrics) = get(stand.http, "/metrics")?;
        Ok(metrics.contains("wardline_archive_store_away 1").then_some(()))
    })?;
    eventually("frames are acknowledged meanwhile", WAIT, || {
        Ok((read_ledger(ledger)?.len() > before).then_some(()))
    })?;
    eventually("the log has the code", WAIT, || {
        let log = stand.log()?;
        let last = log.lines().rfind(|line| line.contains("WL-ARC-")).unwrap_or_default().to_owned();
        ensure!(log.contains("WL-ARC-001: s3://ward/e2e"), "{last}");
        Ok(Some(()))
    })
}

/// Our reader, `wardline-query` and PyArrow with its own S3 client count the same.
fn same_counts(stand: &Stand) -> anyhow::Result<()> {
    let own = stand.rows("numerics")?;
    let mut query = Command::new(binary("wardline-query")?);
    query.args(["SELECT count(*) FROM numerics", "--format", "csv", "--data-dir"]).arg(stand.data());
    let queried = run(&mut query)?;
    let mut script = python::script("docs/examples/read_archive.py", None)?;
    let read = run(script.args(["--table", "numerics", "--newest", "1", "--data-dir"]).arg(stand.data()))?;
    println!(
        "rows: own reader {own}, wardline-query {}, PyArrow {}",
        queried.replace('\n', " "),
        read.trim()
    );
    ensure!(queried.lines().nth(1) == Some(&own.to_string()), "wardline-query: {queried}");
    ensure!(read.starts_with(&format!("numerics: {own} rows")), "PyArrow: {read}");
    Ok(())
}

#[test]
fn a_gateway_with_a_bucket_that_refuses_does_not_start_and_says_why() -> anyhow::Result<()> {
    let (secrets, store) = (tempfile::tempdir()?, told(TestSeaweed::start())?);
    let settings = told(TestSeaweed::settings(secrets.path(), store.port(), "e2e", "nobody"))?;
    let stand = Stand::with(&format!("[archive.bucket]\n{settings}"))?;
    let ports = ["--mqtt", "--grpc", "--http", "--est"].map(|name| [name, "127.0.0.1:0"]);
    let mut serve = stand.on_data(&["serve"])?;
    let error = run_to_fail(serve.args(ports.as_flattened()))?;
    ensure!(error.contains("WL-ARC-002: s3://ward/e2e refuses: InvalidAccessKeyId"), "{error}");
    let plain = settings.replace("127.0.0.1", "10.0.0.7");
    let stand = Stand::with(&format!("[archive.bucket]\n{plain}"));
    let error = stand.err().context("plain http to another machine was taken")?.to_string();
    ensure!(error.contains("plain_http = true"), "{error}");
    Ok(())
}
