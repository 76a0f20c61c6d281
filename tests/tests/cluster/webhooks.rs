//! One node sends to webhooks; when it is killed, another goes on, and every alert is handled once, in order.

use crate::archive::block_on;
use crate::frames::alarms;
use crate::process::eventually;
use crate::sink::Sink;
use crate::stand::free_ports;
use crate::tier::Tier;
use crate::ward::{Subscriber, runtime};
use anyhow::{Context, ensure};
use std::collections::BTreeSet;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wardline_store::Store;

const WAIT: Duration = Duration::from_secs(60);
const ALARMS: u64 = 6;
const ROLE: &str = "webhooks";
const TAKEN: &str = "lease taken role=\"webhooks\"";
const CONDITION: &str = "device/condition-";

/// A node that holds the lease and sends nothing.
struct Idler {
    leave: Sender<()>,
    idles: JoinHandle<anyhow::Result<()>>,
}

impl Idler {
    fn join(url: String) -> anyhow::Result<Self> {
        let (leave, told) = channel();
        let name = "idler/0";
        let (store, claim) = block_on(async {
            let store = Store::connect(&url).await?;
            store.make_leases(ROLE, 1).await?;
            let row = store.leases(ROLE).await?.pop().context("a lease")?;
            let claim = store.take_lease(ROLE, (&row, 1), name).await?.context("a free lease")?;
            store.close().await;
            Ok((url, claim))
        })?;
        let idles = std::thread::spawn(move || {
            block_on(async {
                let store = Store::connect(&store).await?;
                while told.recv_timeout(Duration::from_millis(200)).is_err() {
                    store.beat(ROLE, name).await?;
                }
                store.release_lease(&claim).await?;
                store.forget_member(ROLE, name, None).await?;
                store.close().await;
                Ok(())
            })
        });
        Ok(Self { leave, idles })
    }

    fn leave(self) -> anyhow::Result<()> {
        self.leave.send(())?;
        self.idles.join().map_err(|_panicked| anyhow::Error::msg("the idler panicked"))?
    }
}

#[test]
fn webhooks_of_a_killed_worker_are_served_by_another() -> anyhow::Result<()> {
    let mut tier = Tier::new(None, "")?;
    let [port] = free_ports()?;
    let sink = Sink::start(&tier.stand, port, &["503"])?;
    tier.add_settings(&sink.settings);
    // Whoever sends first begins late, and owes what was raised before it began.
    let idler = Idler::join(tier.store_url())?;
    let front = tier.node("front,api")?;
    let workers = [tier.node("archive,alert")?, tier.node("archive,alert")?];
    tier.ready()?;
    let certs = tier.stand.device("mon-1")?;
    let runtime = runtime()?;
    let ward = Subscriber::start(&runtime, tier.nodes[front].grpc, tier.stand.service("ward-7")?);
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
    eventually("every alert is stored", WAIT, || {
        Ok((ward.heard(CONDITION).len() as u64 >= ALARMS).then_some(()))
    })?;
    idler.leave()?;
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
