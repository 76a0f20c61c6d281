//! Holds leases of one role and works on what they name: takes, gives back, takes over, starts anew.
//!
//! On an error of the database it goes on with what it holds: whatever it does by mistake fails when it commits. Work
//! that ends while its lease is ours is started again after a pause, from what is committed. Work that does not move any
//! more is cut off and its lease given back: whoever takes it next does so with another epoch. So is a lease that is
//! ours without anybody here working under it, because the answer to taking it, or to giving it back, was lost.

use super::balance::{Balance, Plan};
use super::begun::Begun;
use super::pulse::Pulse;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use wardline_store::cluster::{Claim, LeaseRow, Share};
use wardline_store::{Store, StoreError};

/// Signs of life in the time that a lease lasts.
const BEATS_PER_LEASE: u32 = 5;
/// A pause before work that ended is started again.
const RESTART: Duration = Duration::from_secs(1);
/// How long work may take to end in order before it is cut off.
const END_MAX: Duration = Duration::from_secs(20);

/// What is done under a claim, until the flag turns true.
pub(super) type Work = Arc<
    dyn Fn(Claim, watch::Receiver<bool>, Pulse) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>>
        + Send
        + Sync,
>;

/// A role whose partitions this node takes part in.
pub(super) struct Leases {
    pub(super) store: Store,
    pub(super) role: &'static str,
    pub(super) partitions: u16,
    /// Unique for each start of a process.
    pub(super) holder: String,
    pub(super) lease: Duration,
    /// How long work may show no pulse before it counts as hanging; nothing for work that need not.
    pub(super) patience: Option<Duration>,
    pub(super) work: Work,
    /// Told when this node works on its part.
    pub(super) begun: Begun,
}

struct Held {
    claim: Claim,
    stop: watch::Sender<bool>,
    pulse: Pulse,
    task: Option<JoinHandle<Result<(), String>>>,
    restart_at: Instant,
    giving: bool,
}

impl Leases {
    /// Holds leases until it is told to stop; gives all back then.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) -> Result<(), String> {
        let mut balance = Balance::new(self.holder.clone(), self.lease);
        let mut held = BTreeMap::<u16, Held>::new();
        let mut beat = interval(self.lease / BEATS_PER_LEASE);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut failing, mut blind, mut looked) = (false, false, Instant::now());
        loop {
            tokio::select! {
                _gone = stop.wait_for(|stop| *stop) => break,
                _at = beat.tick() => {}
            }
            let stood_still = looked.elapsed() > self.lease;
            if blind || stood_still {
                // What waits for the same database does not hang, nor what was stopped together with this.
                held.values().for_each(|held| held.pulse.note());
            }
            self.tend(&mut held).await;
            let asked = Instant::now();
            let turned = self.turn(&mut balance, &mut held).await;
            blind = turned.is_err() || asked.elapsed() > self.lease / BEATS_PER_LEASE;
            match &turned {
                Err(error) if !failing => tracing::warn!(role = self.role, %error, "leases not looked at"),
                Ok(_looked) if failing => tracing::info!(role = self.role, "leases looked at again"),
                _ => {}
            }
            failing = turned.is_err();
            if turned.is_ok_and(|is_settled| is_settled) && held.values().all(|held| held.pulse.has_begun()) {
                self.begun.note();
            }
            looked = Instant::now();
        }
        self.leave(held).await;
        Ok(())
    }

    /// Takes, gives back and notes what was taken from us. Says whether there was nothing to take.
    async fn turn(&self, balance: &mut Balance, held: &mut BTreeMap<u16, Held>) -> Result<bool, StoreError> {
        self.store.beat(self.role, &self.holder).await?;
        let leases = self.store.leases(self.role).await?;
        if leases.is_empty() {
            return self.store.make_leases(self.role, self.partitions).await.map(|()| false);
        }
        let members = self.store.members(self.role).await?;
        let Plan { take, own, give, dead } = balance.look(Instant::now(), leases, &members);
        for (node, beats) in dead {
            tracing::warn!(role = self.role, node, "a worker shows no life");
            self.store.forget_member(self.role, &node, Some(beats)).await?;
        }
        held.retain(|partition, held| {
            let ours = own.iter().any(|row| row.partition == *partition && row.epoch == held.claim.epoch);
            if !ours {
                tracing::warn!(role = self.role, partition, "a lease was taken by another worker");
                if let Some(task) = &held.task {
                    task.abort();
                }
            }
            ours
        });
        for row in own.iter().filter(|row| !held.contains_key(&row.partition)) {
            tracing::warn!(
                role = self.role,
                partition = row.partition,
                "a lease of ours that nobody works under"
            );
            self.release(&self.claim(row)).await;
        }
        for partition in give {
            if let Some(held) = held.get_mut(&partition) {
                held.giving = true;
                held.stop.send_replace(true);
            }
        }
        let is_settled = take.is_empty();
        for row in take {
            let of = (&row, self.partitions);
            if let Some(claim) = self.store.take_lease(self.role, of, &self.holder).await? {
                let (partition, epoch) = (claim.share.partition, claim.epoch);
                tracing::info!(role = self.role, partition, epoch, from = row.holder, "lease taken");
                held.insert(partition, self.start(claim));
            }
        }
        Ok(is_settled)
    }

    /// Returns the claim of a row that is ours.
    fn claim(&self, row: &LeaseRow) -> Claim {
        let share = Share { partition: row.partition, of: self.partitions };
        Claim { role: self.role, share, holder: self.holder.clone(), epoch: row.epoch }
    }

    fn start(&self, claim: Claim) -> Held {
        let (stop, stopped) = watch::channel(false);
        let pulse = Pulse::new();
        let task = tokio::spawn((self.work)(claim.clone(), stopped, pulse.clone()));
        Held { claim, stop, pulse, task: Some(task), restart_at: Instant::now() + RESTART, giving: false }
    }

    /// Starts work again that ended, and gives back what has ended on purpose, or hangs.
    async fn tend(&self, held: &mut BTreeMap<u16, Held>) {
        let mut given = Vec::new();
        // Its lease is found without work at the next turn.
        held.retain(|_, held| !self.cut_off(held));
        for (partition, held) in held.iter_mut() {
            let Some(task) = held.task.take_if(|task| task.is_finished()) else {
                if held.task.is_none() && Instant::now() >= held.restart_at {
                    *held = self.start(held.claim.clone());
                }
                continue;
            };
            let role = self.role;
            match task.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(role, partition, %error, "work on a partition ended"),
                Err(error) => tracing::error!(role, partition, %error, "work on a partition panicked"),
            }
            if held.giving {
                given.push(*partition);
            } else {
                held.restart_at = Instant::now() + RESTART;
            }
        }
        for partition in given {
            if let Some(held) = held.remove(&partition) {
                self.release(&held.claim).await;
            }
        }
    }

    /// Cuts work off that hangs. What of it cannot be stopped commits nothing: that is done by what was cut off.
    fn cut_off(&self, held: &Held) -> bool {
        let Some(task) = held.task.as_ref().filter(|task| !task.is_finished()) else { return false };
        let (silent, partition) = (held.pulse.silent(), held.claim.share.partition);
        let hangs = self.patience.is_some_and(|patience| silent > patience);
        if hangs {
            tracing::error!(role = self.role, partition, ?silent, "work on a partition hangs and is cut off");
            task.abort();
        }
        hangs
    }

    async fn release(&self, claim: &Claim) {
        match self.store.release_lease(claim).await {
            Ok(()) => tracing::info!(role = self.role, partition = claim.share.partition, "lease given back"),
            // It is found without work, and given back then.
            Err(error) => tracing::warn!(role = self.role, %error, "lease not given back"),
        }
    }

    async fn leave(&self, held: BTreeMap<u16, Held>) {
        for held in held.values() {
            held.stop.send_replace(true);
        }
        let until = Instant::now() + END_MAX;
        for (partition, mut held) in held {
            if let Some(mut task) = held.task.take()
                && timeout(until.saturating_duration_since(Instant::now()), &mut task).await.is_err()
            {
                tracing::error!(role = self.role, partition, "work on a partition did not end in time");
                task.abort();
            }
            self.release(&held.claim).await;
        }
        if let Err(error) = self.store.forget_member(self.role, &self.holder, None).await {
            tracing::warn!(role = self.role, %error, "not taken off the members");
        }
    }
}

#[cfg(test)]
mod tests;
