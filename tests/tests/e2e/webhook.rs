//! A webhook over real HTTPS hears every alert, in order, over errors, silence and a kill -9; Python checks each signature.

use crate::alerts::raise;
use crate::archive::block_on;
use crate::process::eventually;
use crate::sink::Sink;
use crate::stand::{Stand, TENANT, free_ports};
use anyhow::{Context, ensure};
use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;
use wardline_proto::TenantId;
use wardline_store::alert_ledger::{DeliveryFilter, DeliveryRow};

const ALARMS: u64 = 40;
const WAIT: Duration = Duration::from_secs(60);
/// Before anything is accepted.
const FAULTS: [&str; 3] = ["500", "hang", "503"];

fn ledger(stand: &Stand) -> anyhow::Result<Vec<DeliveryRow>> {
    block_on(async {
        let store = stand.store()?.open_read_only().await?;
        let filter = DeliveryFilter { listener: "webhook:paging".into(), ..DeliveryFilter::default() };
        Ok(store.deliveries(&TenantId::new(TENANT)?, &filter, 1000).await?)
    })
}

#[test]
fn a_webhook_hears_everything_in_order_over_errors_silence_and_a_kill() -> anyhow::Result<()> {
    let mut stand = Stand::new()?;
    let device = stand.device("mon-1")?;
    let [port] = free_ports()?;
    let sink = Sink::start(&stand, port, &FAULTS)?;
    let mut file = std::fs::File::options().append(true).open(stand.data().join("wardline.toml"))?;
    file.write_all(sink.settings.as_bytes())?;
    let heard = || sink.heard();
    stand.start()?;
    raise(&stand, &device, 0, ALARMS / 2)?;
    eventually("the first alert is accepted", WAIT, || Ok((!heard()?.is_empty()).then_some(())))?;
    raise(&stand, &device, ALARMS / 2, ALARMS - 5)?;
    stand.kill()?;
    stand.start()?;
    raise(&stand, &device, ALARMS - 5, ALARMS)?;
    eventually("every alert is accepted", WAIT, || Ok((heard()?.len() as u64 >= ALARMS).then_some(())))
        .with_context(|| sink.process.tail())?;
    let heard = heard()?;
    // The receiver handles an id once, so these are firsts; a hole or a turn would show here.
    ensure!(heard.windows(2).all(|w| w[0].0 < w[1].0), "out of order: {heard:?}");
    let alerts: BTreeSet<_> = heard.iter().map(|(_, alert)| alert).collect();
    ensure!(alerts.len() as u64 == ALARMS && heard.len() as u64 == ALARMS, "{heard:?}");
    let lines = eventually("the ledger says accepted", WAIT, || {
        let lines = ledger(&stand)?;
        ensure!(lines.iter().all(|line| line.accepted_at_us > 0), "{lines:?}");
        Ok((lines.len() as u64 == ALARMS).then_some(lines))
    })?;
    let tries = lines.iter().map(|line| line.times).max().unwrap_or(0);
    ensure!(tries as usize > FAULTS.len(), "the faults are in the ledger: {tries} at most");
    println!(
        "a webhook handled {ALARMS} alerts in order over {FAULTS:?} and a kill -9; one was sent {tries} times"
    );
    stand.stop()
}
