//! One node sends to webhooks; when it is killed, another goes on, and every alert is handled once, in order.

use crate::archive::block_on;
use crate::frames::alarms;
use crate::process::eventually;
use crate::sink::Sink;
use crate::stand::free_ports;
use crate::tier::Tier;
use anyhow::{Context, ensure};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(60);
const ALARMS: u64 = 6;
const TAKEN: &str = "lease taken role=\"webhooks\"";

#[test]
#[ignore = "not steady: of two runs of the suite one handled no alert within 60 s, and why is not known yet"]
fn webhooks_of_a_killed_worker_are_served_by_another() -> anyhow::Result<()> {
    let mut tier = Tier::new(None, "")?;
    let [port] = free_ports()?;
    let sink = Sink::start(&tier.stand, port, &["503"])?;
    tier.add_settings(&sink.settings);
    let front = tier.node("front,api")?;
    let workers = [tier.node("archive,alert")?, tier.node("archive,alert")?];
    tier.ready()?;
    let certs = tier.stand.device("mon-1")?;
    let port = tier.nodes[front].mqtt;
    let raise = |numbers| block_on(alarms(port, ("mon-1", &certs), numbers));
    let heard = |count: u64| {
        let heard = eventually("every alert is handled", WAIT, || {
            let heard = sink.heard()?;
            ensure!(heard.len() as u64 >= count, "{} of {count}", heard.len());
            Ok(Some(heard))
        });
        heard.with_context(|| sink.process.tail())
    };
    raise(0..ALARMS)?;
    heard(ALARMS)?;
    let sends = |worker: &usize| tier.log(*worker).is_ok_and(|log| log.contains(TAKEN));
    let [sender] = workers.into_iter().filter(sends).collect::<Vec<_>>()[..] else {
        anyhow::bail!("not one worker sends");
    };
    tier.kill(sender)?;
    let killed = Instant::now();
    raise(ALARMS..2 * ALARMS)?;
    let heard = heard(2 * ALARMS)?;
    println!("webhooks: the next worker sent {:.1} s after the kill", killed.elapsed().as_secs_f64());
    ensure!(heard.windows(2).all(|two| two[0].0 < two[1].0), "out of order: {heard:?}");
    let alerts: BTreeSet<_> = heard.iter().map(|(_, alert)| alert).collect();
    ensure!(alerts.len() as u64 == 2 * ALARMS && heard.len() as u64 == 2 * ALARMS, "{heard:?}");
    tier.stop()
}
