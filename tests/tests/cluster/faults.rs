//! What becomes of the machines, and how it is done to their processes.

use crate::archive::block_on;
use crate::chaos::Chaos;
use crate::ledger::read_ledger;
use crate::process::{binary, eventually};
use anyhow::{Context, ensure};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The topic of the bus.
pub(crate) const TOPIC: &str = "wardline-records";
/// Longer than a lease.
const LONG: Duration = Duration::from_secs(6);
const SHORT: Duration = Duration::from_secs(2);
const TAKEN: &str = "taken by another worker";

/// What becomes of the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: load alone.
    Nothing,
    /// `kill -9` of a worker, back after 4 s.
    Worker,
    /// `kill -9` of a front, back after 1 s.
    Front,
    /// A worker hangs for longer than its leases, and goes on.
    Zombie,
    /// `kill -9` of the server that leads the bus, back after 2 s.
    BusLeader,
    /// A worker joins.
    Join,
    /// `kill -9` of all servers of the bus, back after 2 s.
    Bus,
    /// `kill -9` of PostgreSQL, back after 3 s.
    Database,
    /// A front is cut off from the bus for 6 s.
    FrontCut,
    /// A worker is cut off from PostgreSQL for 6 s; what it was committing arrives afterwards.
    WorkerCut,
    /// `kill -9` of a front whose folder goes to another machine.
    FrontMoved,
    /// Each sync of a front and of a worker takes 0.3 s, for 8 s.
    SlowDisk,
    /// The clock of a worker is an hour ahead for 6 s.
    ClockJump,
    /// Every process of ours is stopped in order and started again, one after the other.
    Rolling,
    /// `kill -9` of all servers of the bus, their disks deleted, back after 2 s.
    BusDisks,
    /// `kill -9` of the object store, back after 4 s. Has a suite of its own, with the archive in a bucket.
    ObjectStore,
    /// Every process becomes one of this release, workers first. Has a test of its own, from a release of before.
    Upgrade,
}

use Fault::{
    Bus, BusDisks, BusLeader, ClockJump, Database, Front, FrontCut, FrontMoved, Join, Nothing, ObjectStore,
    Rolling, SlowDisk, Upgrade, Worker, WorkerCut, Zombie,
};

/// Those that the suite runs always.
const ALWAYS: [Fault; 5] = [Nothing, Worker, Front, Zombie, BusLeader];
/// Those that take long. The last ones end what was before: a clock that was ahead, a bus that knew more.
const LONG_ONES: [Fault; 10] =
    [Join, Bus, Database, FrontCut, WorkerCut, FrontMoved, Rolling, SlowDisk, BusDisks, ClockJump];

/// Returns the faults that the environment asks for.
pub(crate) fn asked() -> anyhow::Result<Vec<Fault>> {
    match std::env::var("WARDLINE_CHAOS") {
        Err(_) => Ok(ALWAYS.to_vec()),
        Ok(all) if all == "all" => Ok(ALWAYS.into_iter().chain(LONG_ONES).collect()),
        Ok(names) => {
            let known = || ALWAYS.into_iter().chain(LONG_ONES).chain([ObjectStore]);
            let find = |name: &str| known().find(|fault| format!("{fault:?}") == name);
            names.split(',').map(|name| find(name).with_context(|| format!("no fault {name}"))).collect()
        }
    }
}

impl Chaos {
    /// Does it. What it does to a machine for a time is over when this returns.
    pub(crate) fn strike(&mut self, fault: Fault) -> anyhow::Result<()> {
        let (front, worker) = (self.fronts[0], self.workers[0]);
        match fault {
            Nothing => {}
            Worker => {
                self.tier.kill(worker)?;
                sleep(Duration::from_secs(4));
                self.tier.spawn(worker)?;
            }
            Front => {
                self.tier.kill(front)?;
                sleep(Duration::from_secs(1));
                self.tier.spawn(front)?;
            }
            Zombie => {
                let before = self.times_replaced()?;
                self.tier.signal(worker, "-STOP")?;
                sleep(Duration::from_secs(5));
                self.tier.signal(worker, "-CONT")?;
                self.is_replaced(before)?;
            }
            Join => {
                let joined = self.tier.node("archive,alert")?;
                self.workers.push(joined);
            }
            Database => {
                self.tier.postgres.kill().map_err(anyhow::Error::msg)?;
                sleep(Duration::from_secs(3));
                self.tier.postgres.start_again().map_err(anyhow::Error::msg)?;
            }
            Rolling => {
                let nodes = self.fronts.into_iter().chain(self.workers.clone());
                nodes.into_iter().try_for_each(|node| self.tier.restart(node))?;
            }
            Upgrade => {
                let nodes = self.workers.clone().into_iter().chain(self.fronts);
                let new = binary("wardline")?;
                nodes.into_iter().try_for_each(|node| {
                    self.tier.change(node, new.clone())?;
                    // Both releases side by side, under load.
                    sleep(SHORT);
                    self.raise()
                })?;
                self.tier.stand.program = new;
            }
            FrontMoved => self.tier.attach_elsewhere(front)?,
            BusLeader | Bus | BusDisks => self.strike_bus(fault)?,
            FrontCut | WorkerCut => self.cut_off(fault)?,
            SlowDisk => self.shim(&[front, worker], "300 0", Duration::from_secs(8))?,
            ClockJump => self.shim(&[worker], "0 3600", LONG)?,
            ObjectStore => {
                let store = self.store.as_mut().context("the archive is in no bucket")?;
                store.kill().map_err(anyhow::Error::msg)?;
                let killed = Instant::now();
                sleep(Duration::from_secs(4));
                store.start_again().map_err(anyhow::Error::msg)?;
                println!("ObjectStore: away for {:.1} s", killed.elapsed().as_secs_f64());
            }
        }
        Ok(())
    }

    fn strike_bus(&mut self, fault: Fault) -> anyhow::Result<()> {
        let nats = &mut self.tier.nats;
        let nodes = match fault {
            BusLeader => vec![block_on(async { Ok(nats.leader(TOPIC).await) })?],
            _ => vec![0, 1, 2],
        };
        nodes.iter().for_each(|node| nats.kill(*node));
        if fault == BusDisks {
            nodes.iter().for_each(|node| nats.wipe(*node));
        }
        sleep(SHORT);
        nodes.iter().for_each(|node| nats.start_node(*node));
        Ok(())
    }

    /// A front goes on acknowledging without the bus; a worker without its database is replaced.
    fn cut_off(&mut self, fault: Fault) -> anyhow::Result<()> {
        let wire = if fault == FrontCut { &self.tier.to_bus } else { &self.tier.to_database };
        let (before, replaced) = (read_ledger(&self.fleets[0].ledger)?.len(), self.times_replaced()?);
        wire.cut();
        sleep(LONG);
        let after = read_ledger(&self.fleets[0].ledger)?.len();
        wire.mend();
        println!("{fault:?}: {} frames acknowledged by the first front meanwhile", after - before);
        ensure!(after > before, "the front acknowledged nothing");
        if fault == WorkerCut { self.is_replaced(replaced) } else { Ok(()) }
    }

    fn times_replaced(&self) -> anyhow::Result<usize> {
        Ok(self.tier.log(self.workers[0])?.matches(TAKEN).count())
    }

    fn is_replaced(&self, before: usize) -> anyhow::Result<()> {
        eventually("the worker finds its leases taken", Duration::from_secs(30), || {
            Ok((self.times_replaced()? > before).then_some(()))
        })
    }

    fn shim(&mut self, nodes: &[usize], says: &str, length: Duration) -> anyhow::Result<()> {
        nodes.iter().try_for_each(|node| self.tier.shim(*node, says))?;
        sleep(length);
        nodes.iter().try_for_each(|node| self.tier.shim(*node, "0 0"))
    }
}
