//! A bus that has no room for the topic: a node that cannot publish is not ready, and says why and what to do; where
//! nobody said how large the topic shall be, it is made as large as there is room for.

use crate::process::eventually;
use crate::stand::get;
use crate::tier::Tier;
use anyhow::ensure;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(30);

#[test]
fn a_node_without_its_topic_is_not_ready_and_says_why() -> anyhow::Result<()> {
    let mut tier = Tier::new(None, "")?;
    // More than the servers have.
    let front = tier.node_with_topic("topic_bytes_max = 256_000_000_000")?;
    let http = tier.nodes[front].http;
    let told = eventually("not ready", WAIT, || {
        let (code, told) = get(http, "/readyz")?;
        ensure!(code == 503, "{code}: {told}");
        Ok(Some(told))
    })?;
    println!("{}", told.trim());
    ensure!(told.starts_with("WL-BUS-006: ") && told.contains("cluster.topic_bytes_max"), "{told}");
    ensure!(tier.log(front)?.contains("WL-BUS-006"), "the log does not say so");
    // A node that asks for less makes the topic; then this one finds it, and is ready.
    let other = tier.node("front,api")?;
    tier.ready()?;
    ensure!(get(tier.nodes[other].http, "/readyz")?.0 == 200 && get(http, "/readyz")?.0 == 200);
    tier.stop()
}

#[test]
fn a_topic_of_no_given_size_is_as_large_as_there_is_room_for() -> anyhow::Result<()> {
    let mut tier = Tier::new(None, "")?;
    let front = tier.node_with_topic("")?;
    // Each server has 2 GiB.
    eventually("a topic", WAIT, || {
        let told = tier.log(front)?;
        let made =
            told.lines().any(|line| line.contains("servers had room for") && line.contains("2147483648"));
        Ok(made.then_some(()))
    })?;
    tier.ready()?;
    tier.stop()
}
