//! Every device alarms at once while the gateway is killed, again and again: no alert is lost, none is told twice, and
//! the subscriber resumes by cursor (ACK-1, ALR-1).

use crate::frames::{alarm_frame, low_saturation};
use crate::process::eventually;
use crate::random::Random;
use crate::stand::Stand;
use crate::ward::{Downs, Subscriber, devices, number, runtime};
use anyhow::{Context, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use wardline_proto::v1::{AlarmPhase, AlertEvent, Body, Frame};

const EPOCH: u64 = 1_790_000_000_000_000;
const HEARD: Duration = Duration::from_secs(120);
const RULES: &str = "device/flood-";

/// Raises a condition of its own in each round.
fn alarm(round: usize) -> Frame {
    let alarms = vec![low_saturation(format!("flood-{round}"))];
    alarm_frame(EPOCH, round as u64 + 1, &Body { alarms, ..Body::default() })
}

#[test]
fn a_flood_of_alarms_outlives_kills_without_loss_and_without_doubles() -> anyhow::Result<()> {
    let (count, rounds) = (number("WARDLINE_FLOOD_DEVICES", 100), number("WARDLINE_KILL_CYCLES", 4));
    let mut random = Random::seeded("a_flood_of_alarms");
    let (mut stand, runtime) = (Stand::new()?, runtime()?);
    let ward = stand.service("ward-7")?;
    let mut senders = runtime.block_on(devices(&stand, count))?;
    stand.start()?;
    let subscriber = Subscriber::start(&runtime, stand.grpc, ward.clone());
    let (mut downs, mut slowest) = (Downs::default(), Duration::ZERO);
    for round in 0..rounds {
        senders = runtime.block_on(connected(senders))?;
        let frame = alarm(round);
        let begun = Instant::now();
        let sending: Vec<_> = senders
            .into_iter()
            .map(|mut sender| {
                let frame = frame.clone();
                runtime.spawn(async move { sender.deliver(&frame).await.map(|()| sender) })
            })
            .collect();
        // Somewhere in the flood, or soon after its end.
        std::thread::sleep(random.millis(1, 50 + 2 * count as u64));
        downs.restart(&mut stand, Stand::kill, Duration::ZERO)?;
        senders = runtime.block_on(joined(sending))?;
        slowest = slowest.max(begun.elapsed());
    }
    let wanted = count * rounds;
    let heard = eventually("every alarm is heard", HEARD, || {
        let heard = subscriber.heard(RULES);
        let found = names(&heard)?.len();
        ensure!(found >= wanted, "{found} of {wanted}");
        Ok(Some(heard))
    })?;
    // What the store says, to a subscriber without a past; time enough for one event too many.
    let again = Subscriber::start(&runtime, stand.grpc, ward);
    let stored = eventually("the log is read again", HEARD, || {
        Ok(Some(again.heard(RULES)).filter(|stored| stored.len() >= wanted))
    })?;
    std::thread::sleep(Duration::from_millis(500));
    ensure!(again.heard(RULES) == stored, "more events than alarms");
    let mut unique = heard.clone();
    unique.dedup_by_key(|event| event.cursor);
    let twice = heard.len() - unique.len();
    ensure!(unique == stored, "{} heard, {} stored", unique.len(), stored.len());
    let ids: BTreeSet<_> = stored.iter().filter_map(|e| Some(&e.alert.as_ref()?.alert_id)).collect();
    ensure!(stored.len() == wanted && ids.len() == wanted, "{} events of {} alerts", stored.len(), ids.len());
    ensure!(names(&stored)?.values().all(|times| *times == 1), "a condition was told twice");
    let connects: usize = senders.iter().map(|sender| sender.connects).sum();
    ensure!(connects > count, "nobody lost a session: the kills hit nothing");
    println!(
        "{count} devices alarmed at once, {rounds} times, each time under a kill -9: {wanted} alarms acknowledged, {} \
         alerts stored, 0 lost, 0 doubled; {connects} sessions; the subscriber subscribed {} times and heard {twice} \
         events twice; a round took {slowest:.1?} at most, {:.1} s of all was the gateway away",
        stored.len(),
        subscriber.subscriptions(),
        downs.within_us(0, i64::MAX) as f64 / 1e6,
    );
    stand.stop()?;
    stand.verify()
}

async fn connected(senders: Vec<crate::ward::Sender>) -> anyhow::Result<Vec<crate::ward::Sender>> {
    let mut back = Vec::with_capacity(senders.len());
    for mut sender in senders {
        sender.connect().await?;
        back.push(sender);
    }
    Ok(back)
}

async fn joined<T>(tasks: Vec<tokio::task::JoinHandle<anyhow::Result<T>>>) -> anyhow::Result<Vec<T>> {
    let mut done = Vec::with_capacity(tasks.len());
    for task in tasks {
        done.push(task.await??);
    }
    Ok(done)
}

/// Counts the starts of each condition of each device; an event that was heard again is the same event.
fn names(events: &[AlertEvent]) -> anyhow::Result<BTreeMap<(String, String), usize>> {
    let (mut names, mut cursors) = (BTreeMap::new(), BTreeSet::new());
    for event in events.iter().filter(|event| event.phase() == AlarmPhase::Start) {
        let alert = event.alert.as_ref().context("an alert")?;
        if cursors.insert(event.cursor) {
            *names.entry((alert.device.clone(), alert.rule_id.clone())).or_default() += 1;
        }
    }
    Ok(names)
}
