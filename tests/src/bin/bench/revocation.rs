//! Revocation with many live sessions: how soon they are cut, what is taken after, who else notices; and what a large
//! revoked set costs each handshake.

use crate::connections::connect_cpu_us;
use crate::lab::Lab;
use crate::options::Revocation;
use crate::payload::{Template, epoch_now};
use crate::server::{Keeping, Kind, Server, wardline_data};
use crate::table::{number, times};
use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use wardline::operate::local_change;
use wardline_store::Store;
use wardline_store::testing::fill_revoked;
use wardline_tests::mqtt_client::{Connection, load};

const PAYLOAD_BYTES: usize = 200;
/// Each session publishes once in this time.
const PERIOD: Duration = Duration::from_millis(200);
const BEFORE: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_secs(6);
/// SEC-2.
const CUT_MAX: Duration = Duration::from_secs(2);

/// What became of one session.
struct Story {
    index: usize,
    acked: Vec<Instant>,
    /// When it ended by itself.
    ended: Option<Instant>,
}

/// Measures and prints.
pub(crate) async fn run(lab: &Lab, options: &Revocation) -> anyhow::Result<()> {
    cut(lab, options.sessions).await?;
    handshakes(lab, options).await
}

async fn cut(lab: &Lab, sessions: usize) -> anyhow::Result<()> {
    let place = lab.place(Kind::Wardline)?;
    let server = Server::start(lab, Kind::Wardline, &place, Keeping::Throughput).await?;
    let clients = lab.clients.get(..sessions).context("too few clients")?;
    let connections = load::connect_all(server.address, clients).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for (index, connection) in connections.into_iter().enumerate() {
        let (topic, stop) = (clients[index].topic.clone(), stop.clone());
        let template = Template::new(PAYLOAD_BYTES, epoch_now() + index as u64)?;
        tasks.spawn(publish(index, connection, topic, template, stop));
    }
    tokio::time::sleep(BEFORE).await;
    let store = Store::open(&wardline_data(&place).join("wardline.db")).await?;
    let mut revoked = HashMap::new();
    for index in (0..sessions).step_by(2) {
        let uri = format!("spiffe://wardline.local/tenant/bench/device/{}", clients[index].id);
        ensure!(store.revoke_identity(&local_change(), &uri).await? == 1, "{uri} had no certificate");
        revoked.insert(index, Instant::now());
    }
    tokio::time::sleep(AFTER).await;
    stop.store(true, Ordering::Relaxed);
    let mut stories = Vec::new();
    while let Some(story) = tasks.join_next().await {
        stories.push(story?);
    }
    report(&stories, &revoked)
}

async fn publish(
    index: usize,
    mut connection: Connection,
    topic: String,
    mut template: Template,
    stop: Arc<AtomicBool>,
) -> Story {
    let mut story = Story { index, acked: Vec::new(), ended: None };
    let mut turn = tokio::time::interval(PERIOD);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.load(Ordering::Relaxed) {
        turn.tick().await;
        match connection.publish(&topic, 1, 1, |payload| template.next(payload)).await {
            Ok(_latency) => story.acked.push(Instant::now()),
            Err(_closed) => {
                story.ended = Some(Instant::now());
                break;
            }
        }
    }
    story
}

fn report(stories: &[Story], revoked: &HashMap<usize, Instant>) -> anyhow::Result<()> {
    let mut cut_us = Histogram::<u64>::new(3)?;
    let (mut never, mut late, mut disturbed, mut others_acked) = (0, 0, 0, 0);
    for story in stories {
        let Some(revoked_at) = revoked.get(&story.index) else {
            disturbed += usize::from(story.ended.is_some());
            others_acked += story.acked.len();
            continue;
        };
        late += story.acked.iter().filter(|at| **at > *revoked_at + CUT_MAX).count();
        match story.ended {
            Some(ended) => {
                cut_us.record(ended.saturating_duration_since(*revoked_at).as_micros().max(1) as u64)?;
            }
            None => never += 1,
        }
    }
    let seconds = |us: u64| us as f64 / 1e6;
    println!(
        "{} live sessions, each publishing every {} ms; {} of them revoked one by one:\n\
         session seen ended after the revocation was committed: p50 {:.2} s, p99 {:.2} s, max {:.2} s (a session \
         looks once in {} ms)\n\
         revoked and never cut: {never}; publishes acknowledged more than {} s after their revocation: {late}; other \
         sessions that ended: {disturbed}, which had {others_acked} publishes acknowledged throughout\n",
        stories.len(),
        PERIOD.as_millis(),
        revoked.len(),
        seconds(cut_us.value_at_quantile(0.5)),
        seconds(cut_us.value_at_quantile(0.99)),
        seconds(cut_us.max()),
        PERIOD.as_millis(),
        CUT_MAX.as_secs(),
    );
    Ok(())
}

async fn handshakes(lab: &Lab, options: &Revocation) -> anyhow::Result<()> {
    let without = lab.place(Kind::Wardline)?;
    let with = lab.place(Kind::Wardline)?;
    let store = Store::open(&wardline_data(&with).join("wardline.db")).await?;
    let filled = fill_revoked(&store, options.revoked, i64::MAX).await?;
    store.close().await;
    let servers = [
        Server::start(lab, Kind::Wardline, &without, Keeping::Throughput).await?,
        Server::start(lab, Kind::Wardline, &with, Keeping::Throughput).await?,
    ];
    let [none, many] = [
        connect_cpu_us(lab, &servers[0], options.connects).await?,
        connect_cpu_us(lab, &servers[1], options.connects).await?,
    ];
    println!(
        "CPU of a connect (full handshake, CONNECT, DISCONNECT), {} connects each: {} us with no revoked certificate, \
         {} us with {filled}: {}\n",
        options.connects,
        number(none.median()),
        number(many.median()),
        times(many.median() / none.median()),
    );
    Ok(())
}
