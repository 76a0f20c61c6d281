//! The whole gateway on PostgreSQL: acknowledged is archived, alerts are delivered, whoever is killed.

use crate::alerts::{raise, subscriber};
use crate::kill::{doubled, fleet, read_ledger};
use crate::process::{eventually, run};
use crate::random::Random;
use crate::sink::events;
use crate::stand::{Stand, files_below};
use anyhow::ensure;
use std::collections::BTreeSet;
use std::time::Duration;
use wardline_store::testing::TestPostgres;

const CYCLES: usize = 2;
const BEDS: usize = 8;
const FLEET: Duration = Duration::from_secs(60);
const ALARMS: u64 = 10;
const DRAIN: Duration = Duration::from_secs(120);
const ARCHIVE: Duration = Duration::from_secs(120);

/// Words of the password, which nothing may show. The server trusts whoever reaches its socket.
const PASSWORD: &str = "correct-horse";

fn failed(error: String) -> anyhow::Error {
    anyhow::Error::msg(error)
}

#[test]
fn gateway_and_database_killed_in_turn_lose_and_double_nothing() -> anyhow::Result<()> {
    let mut random = Random::seeded("gateway_and_database_killed_in_turn");
    let mut server = TestPostgres::start().map_err(failed)?;
    let url = server.database("wardline").map_err(failed)?;
    let url = url.replacen("wardline@", &format!("wardline:{PASSWORD}@"), 1);
    let mut stand = Stand::with(&format!("[store]\nurl = \"{url}\"\n"))?;
    for number in 0..BEDS {
        stand.device(&format!("bed-{number}"))?;
    }
    let (device, ward) = (stand.device("mon-1")?, stand.service("ward-7")?);
    stand.start()?;
    let ledger = stand.path("ledger");
    // The fleet takes every certificate of its folder; the device that raises alarms has no part in it.
    let alarmed = stand.path("alarmed");
    std::fs::rename(device, &alarmed)?;
    let mut fleet = fleet(&stand, &ledger, FLEET)?;
    for cycle in 0..CYCLES as u64 {
        std::thread::sleep(random.millis(300, 2000));
        stand.kill()?;
        stand.start()?;
        raise(&stand, &alarmed, cycle * 2, cycle * 2 + 1)?;
        std::thread::sleep(random.millis(300, 1500));
        server.kill().map_err(failed)?;
        // Devices go on meanwhile: what is acknowledged is in the journal.
        raise(&stand, &alarmed, cycle * 2 + 1, cycle * 2 + 2)?;
        std::thread::sleep(random.millis(300, 1500));
        server.start_again().map_err(failed)?;
    }
    raise(&stand, &alarmed, CYCLES as u64 * 2, ALARMS)?;
    stand.ready()?;
    fleet.interrupt(DRAIN)?;
    let acked = read_ledger(&ledger)?;
    let quarantined = stand.archived(&acked, ARCHIVE)?;
    let doubled = doubled(&stand)?;
    let devices: BTreeSet<_> = acked.iter().map(|position| &position.device).collect();
    ensure!(devices.len() == BEDS, "frames of {devices:?} alone");
    println!("{} frames acknowledged, {CYCLES} kills of each, 0 lost, {doubled} duplicated", acked.len());
    ensure!(acked.len() > 100 * CYCLES, "too little load to mean anything: {} frames", acked.len());
    ensure!(doubled == 0 && quarantined == 0, "{doubled} duplicated, {quarantined} quarantined");
    let alarms = eventually("every alarm is an alert", ARCHIVE, || {
        let heard = events(&run(&mut subscriber(&stand, &ward, ALARMS)?)?)?;
        Ok((heard.len() as u64 == ALARMS).then_some(heard))
    })?;
    ensure!(alarms.windows(2).all(|two| two[0].0 + 1 == two[1].0), "cursors with a hole: {alarms:?}");
    stand.stop()?;
    stand.verify()?;
    let files = files_below(&stand.data())?;
    ensure!(!files.iter().any(|path| path.ends_with("wardline.db")), "a database of its own: {files:?}");
    let log = stand.log()?;
    ensure!(!log.contains(PASSWORD), "the log tells the password");
    Ok(())
}
