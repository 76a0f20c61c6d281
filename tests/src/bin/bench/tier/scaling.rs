//! One and two fronts, one and two workers, each with the same part of a core; and how long a partition pauses when it moves.

use super::ground::{Engine, Ground, LOCAL, Node, Part};
use super::nats::Nats;
use super::options::Scaling;
use super::policy::publish;
use crate::options::Shape;
use crate::stats::Rounds;
use crate::table::{number, times};
use anyhow::ensure;
use hdrhistogram::Histogram;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use wardline_store::Store;

/// Devices at a front.
const CONNECTIONS: usize = 20;
const FRONTS_MAX: usize = 2;
const WINDOW: u16 = 20;
const LOOK: Duration = Duration::from_millis(25);
/// How long a worker stays, and how long it is away.
const STAY: Duration = Duration::from_secs(6);
const ARCHIVED: Duration = Duration::from_secs(300);
/// How long nothing is committed when all is.
const STILL: Duration = Duration::from_secs(4);
/// Nodes that take less than this part of a core for so long do nothing.
const REST: Duration = Duration::from_millis(1_500);
const AT_REST_PART: u32 = 25;
/// Times the publishes of a round that are there before the workers begin.
const BACKLOG: usize = 4;

/// Measures and prints.
pub(crate) async fn run(options: &Scaling) -> anyhow::Result<()> {
    let mut ground = Ground::new(Engine::Jetstream(Nats::start()), CONNECTIONS * FRONTS_MAX).await?;
    let each = match options.share {
        0 => "a core".to_owned(),
        share => format!("{share} % of a core"),
    };
    println!("{}; each node {each}; JetStream x3, PostgreSQL and the load on the same cores", super::load());
    fronts(&mut ground, options).await?;
    for role in ["archive", "alert"] {
        workers(&mut ground, options, role).await?;
    }
    if options.moves > 0 {
        moves(&mut ground, options).await?;
    }
    println!("{}", super::load());
    Ok(())
}

async fn fronts(ground: &mut Ground, options: &Scaling) -> anyhow::Result<()> {
    let nodes = [ground.node("front", options.part(0))?, ground.node("front", options.part(1))?];
    let (mut one, mut two) = (Rounds::default(), Rounds::default());
    let before = at_rest(&nodes).await?;
    let mut acked = 0;
    for _ in 0..options.scaling_rounds {
        for (count, rounds) in [(1, &mut one), (2, &mut two)] {
            // What the bus has not taken yet is work of the round before.
            at_rest(&nodes).await?;
            let begun = Instant::now();
            let own = over(&nodes[..count], ground, options.publishes / FRONTS_MAX).await?;
            rounds.push(own as f64 / begun.elapsed().as_secs_f64());
            acked += own;
        }
    }
    let each = (at_rest(&nodes).await? - before).as_secs_f64() / acked as f64;
    say("fronts: acknowledged frames a second", &one, &two);
    println!(
        "a front: {} us of CPU an acknowledged frame, with what the bus takes of it",
        number(each * 1e6)
    );
    nodes.into_iter().try_for_each(Node::stop)
}

/// Publishes over all of some fronts at once, so often to each, with as many devices at each; returns what was
/// acknowledged.
async fn over(fronts: &[Node], ground: &Ground, publishes: usize) -> anyhow::Result<u64> {
    let shape = Shape { connections: CONNECTIONS, window: WINDOW, per_second: None };
    let clients = ground.clients(LOCAL).chunks(CONNECTIONS);
    let each =
        fronts.iter().zip(clients).map(|(front, clients)| publish(front.mqtt, clients, shape, publishes));
    let mut acked = 0;
    // All on one thread, as the devices of one front are.
    for report in futures(each).await {
        acked += report?.acked;
    }
    Ok(acked)
}

/// Returns the CPU that nodes have taken when they do nothing any more.
async fn at_rest(nodes: &[Node]) -> anyhow::Result<Duration> {
    let (begun, mut before) = (Instant::now(), taken(nodes)?);
    loop {
        tokio::time::sleep(REST).await;
        let now = taken(nodes)?;
        if now - before < REST / AT_REST_PART {
            return Ok(now);
        }
        ensure!(begun.elapsed() < ARCHIVED, "the fronts do not come to rest");
        before = now;
    }
}

fn taken(nodes: &[Node]) -> anyhow::Result<Duration> {
    nodes.iter().map(Node::cpu).sum()
}

/// Waits for at most two at once.
async fn futures<T>(each: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut each: Vec<_> = each.collect();
    match (each.pop(), each.pop()) {
        (Some(first), Some(second)) => {
            let (first, second) = tokio::join!(first, second);
            vec![first, second]
        }
        (Some(only), None) => vec![only.await],
        _none => Vec::new(),
    }
}

async fn workers(ground: &mut Ground, options: &Scaling, role: &str) -> anyhow::Result<()> {
    let store = ground.store().await?;
    let front = ground.node("front", Part::Any)?;
    // What is left of before goes first, and makes the leases.
    let first = ground.node(role, Part::Any)?;
    over(std::slice::from_ref(&front), ground, options.publishes).await?;
    all_worked(&store, role).await?;
    first.stop()?;
    let (mut one, mut two, mut cpu) = (Rounds::default(), Rounds::default(), Rounds::default());
    for _ in 0..options.scaling_rounds {
        for (count, rounds) in [(1, &mut one), (2, &mut two)] {
            let before = worked(&store, role).await?;
            for _ in 0..BACKLOG {
                over(std::slice::from_ref(&front), ground, options.publishes).await?;
            }
            let nodes = (0..count).map(|node| ground.node(role, options.part(node)));
            let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
            let until = before + (options.publishes * BACKLOG / 2) as u64;
            let (per_second, each) = rate((&store, role), &nodes, until).await?;
            eprintln!("{count} {role} workers: {per_second:.0} frames a second");
            rounds.push(per_second);
            cpu.push(each);
            all_worked(&store, role).await?;
            nodes.into_iter().try_for_each(Node::stop)?;
        }
    }
    store.close().await;
    say(&format!("{role} workers: frames a second of the first half of a backlog"), &one, &two);
    println!(
        "a worker of {role}: {} us of CPU a frame, with what the bus takes of it",
        number(cpu.median() * 1e6)
    );
    front.stop()
}

/// Returns how many frames a second are worked on from when each worker has its part of the leases, and the seconds of
/// CPU that one takes.
async fn rate((store, role): (&Store, &str), nodes: &[Node], until: u64) -> anyhow::Result<(f64, f64)> {
    let started = Instant::now();
    loop {
        let leases = store.leases(role).await?;
        let holders: BTreeSet<_> = leases.iter().map(|lease| &lease.holder).collect();
        if holders.len() == nodes.len() && !holders.contains(&String::new()) {
            break;
        }
        ensure!(started.elapsed() < ARCHIVED, "the leases were not shared");
        tokio::time::sleep(LOOK).await;
    }
    let (begun, from, before) = (Instant::now(), worked(store, role).await?, taken(nodes)?);
    ensure!(
        from < until,
        "the backlog was worked on before the leases were shared: more publishes are needed"
    );
    while worked(store, role).await? < until {
        ensure!(begun.elapsed() < ARCHIVED, "the backlog was not worked on");
        tokio::time::sleep(LOOK).await;
    }
    let frames = (worked(store, role).await? - from) as f64;
    Ok((frames / begun.elapsed().as_secs_f64(), (taken(nodes)? - before).as_secs_f64() / frames))
}

/// Waits until no frame is worked on any more.
async fn all_worked(store: &Store, role: &str) -> anyhow::Result<()> {
    let (begun, mut seen, mut at) = (Instant::now(), 0, Instant::now());
    while at.elapsed() < STILL || seen == 0 {
        ensure!(begun.elapsed() < ARCHIVED, "the backlog was not worked on");
        tokio::time::sleep(LOOK).await;
        let now = worked(store, role).await?;
        if now != seen {
            (seen, at) = (now, Instant::now());
        }
    }
    Ok(())
}

async fn worked(store: &Store, role: &str) -> anyhow::Result<u64> {
    Ok(store.leases(role).await?.iter().map(|lease| lease.next_offset).sum())
}

/// A worker joins and leaves while frames come: how long a partition that changes hands commits nothing.
async fn moves(ground: &mut Ground, options: &Scaling) -> anyhow::Result<()> {
    let store = ground.store().await?;
    let front = ground.node("front", Part::Any)?;
    let _stays = ground.node("archive", Part::Any)?;
    let [mut steady, mut moved] = [Histogram::<u64>::new(3)?, Histogram::new(3)?];
    let mut known = BTreeMap::<u16, (u64, String, Instant, bool)>::new();
    let mut guest = None;
    for turn in 0..options.moves * 2 {
        guest = match guest.take() {
            Some(node) => Node::stop(node).map(|()| None)?,
            None => Some(ground.node("archive", Part::Any)?),
        };
        let until = Instant::now() + STAY;
        while Instant::now() < until {
            // A trickle to every partition between two looks.
            let shape = Shape { connections: CONNECTIONS, window: 1, per_second: None };
            publish(front.mqtt, ground.clients(LOCAL), shape, CONNECTIONS).await?;
            for lease in store.leases("archive").await? {
                let now = (lease.next_offset, lease.holder.clone(), Instant::now(), false);
                let (offset, holder, at, is_moving) = known.entry(lease.partition).or_insert(now);
                *is_moving |= *holder != lease.holder;
                if lease.next_offset != *offset {
                    let pause = at.elapsed().as_millis() as u64;
                    if *is_moving { &mut moved } else { &mut steady }.record(pause)?;
                    (*offset, *at, *is_moving) = (lease.next_offset, Instant::now(), false);
                }
                *holder = lease.holder;
            }
        }
        eprintln!("turn {}: {} moves seen", turn + 1, moved.len());
    }
    for (what, seen) in [("no partition moved", &steady), ("a partition moved", &moved)] {
        let at = |part| number(seen.value_at_quantile(part) as f64 / 1000.0);
        println!(
            "from commit to commit where {what}: {} times, p50 {} s, p99 {} s, longest {} s",
            seen.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
    store.close().await;
    front.stop()
}

fn say(what: &str, one: &Rounds, two: &Rounds) {
    println!(
        "{what}: one {}, two {}, ratio {} (median of the rounds)",
        number(one.median()),
        number(two.median()),
        times(two.over(one).median())
    );
}
