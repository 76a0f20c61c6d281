//! The bus forgets what every role has committed, and nothing that one of them has still to read.

use crate::archive::block_on;
use crate::faults::TOPIC;
use crate::process::eventually;
use crate::tier::Tier;
use anyhow::ensure;
use std::time::Duration;

const LOAD: Duration = Duration::from_secs(120);
const WAIT: Duration = Duration::from_secs(60);
/// More than what is worth a trim, while a role hangs.
const UNREAD: u64 = 300;

/// Returns how many records the bus keeps, and the number of the newest.
fn kept(tier: &Tier) -> anyhow::Result<(u64, u64)> {
    block_on(async {
        let client = async_nats::connect(tier.nats.servers()).await?;
        let mut stream = async_nats::jetstream::new(client).get_stream(TOPIC).await?;
        let state = &stream.info().await?.state;
        Ok((state.messages, state.last_sequence))
    })
}

#[test]
fn a_slow_role_holds_back_what_the_bus_forgets() -> anyhow::Result<()> {
    let mut tier = Tier::new(None, "")?;
    let front = tier.node("front,api")?;
    tier.node("archive")?;
    let slow = tier.node("alert")?;
    tier.ready()?;
    let fleet = tier.fleet(front, 8, LOAD)?;
    eventually("the bus forgets what both have read", WAIT, || {
        let (messages, last) = kept(&tier)?;
        Ok((messages < last.saturating_sub(UNREAD / 2)).then_some(()))
    })?;
    tier.signal(slow, "-STOP")?;
    let (_, begun) = kept(&tier)?;
    let unread = eventually("more than a turn's worth", WAIT, || {
        let (messages, last) = kept(&tier)?;
        ensure!(messages >= last - begun, "{messages} of {} unread records are there", last - begun);
        Ok((last > begun + UNREAD).then_some(last - begun))
    })?;
    // Some turns of whoever trims; the archive goes on.
    std::thread::sleep(Duration::from_secs(6));
    let (messages, last) = kept(&tier)?;
    ensure!(messages >= last - begun, "{messages} of {} unread records are there", last - begun);
    tier.signal(slow, "-CONT")?;
    eventually("and then they go", WAIT, || {
        let (messages, last) = kept(&tier)?;
        Ok((messages < last - begun).then_some(()))
    })?;
    let (messages, last) = kept(&tier)?;
    println!("{unread} records kept for the role that hung; now {messages} of {last}");
    let acked = tier.whole(vec![fleet])?;
    println!("{acked} frames acknowledged and archived once");
    tier.stop()
}
