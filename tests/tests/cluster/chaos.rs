//! Acknowledged is archived once, and an alarm is one alert, whoever is killed. Prints a table, a line for each fault.
//!
//! `WARDLINE_CHAOS=all` adds the faults that take long; `WARDLINE_CHAOS=BusLeader,BusLeader` names them, in order.

use crate::archive::block_on;
use crate::faults::{Fault, asked};
use crate::frames::alarms;
use crate::ledger::{doubled, read_ledger};
use crate::pause::Pause;
use crate::process::eventually;
use crate::rows::positions;
use crate::stand::TENANT;
use crate::tier::{Fleet, PARTITIONS, Tier, bed_name};
use crate::ward::{Subscriber, runtime};
use anyhow::{Context, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;
use wardline_archive::testing::TestSeaweed;
use wardline_proto::v1::AlarmPhase;
use wardline_proto::{DeviceId, DeviceKey, TenantId};
use wardline_store::cluster::Share;

/// Longer than all faults take on a busy machine; it is ended before.
const FLEET: Duration = Duration::from_secs(4 * 3600);
/// Devices of each front's fleet.
const BEDS: usize = 3;
/// Alarms raised before, in and after each fault.
const ALARMS: u64 = 4;
/// Alarms of one device, below what the engine keeps of it, and such devices.
const RAISED_MAX: u64 = 32;
const ALARMED: u64 = 5;
const SETTLE: Duration = Duration::from_secs(120);
/// What the rules of the alarms raised here begin with.
const CONDITION: &str = "device/condition-";

/// A tier under load. The first front and the first worker are those that faults happen to.
pub(crate) struct Chaos {
    pub(crate) tier: Tier,
    pub(crate) fronts: [usize; 2],
    pub(crate) workers: Vec<usize>,
    pub(crate) fleets: Vec<Fleet>,
    /// Where the archive is, if it is in a bucket.
    pub(crate) store: Option<TestSeaweed>,
    /// Devices that raise alarms: a device has a bound of conditions.
    alarmed: Vec<PathBuf>,
    raised: u64,
    acked: usize,
    ward: Subscriber,
    /// The subscriber lives in it.
    _runtime: tokio::runtime::Runtime,
}

impl Chaos {
    fn start(store: Option<TestSeaweed>) -> anyhow::Result<Self> {
        let tier = Tier::new(store.as_ref(), "")?;
        Self::on(tier, store)
    }

    pub(crate) fn on(mut tier: Tier, store: Option<TestSeaweed>) -> anyhow::Result<Self> {
        let fronts = [tier.node_on_wires("front,api")?, tier.node("front,api")?];
        let workers = vec![tier.node_on_wires("archive,alert")?, tier.node("archive,alert")?];
        tier.ready()?;
        let issue = |device: u64| {
            let certs = tier.stand.path(&format!("alarmed-{device}"));
            std::fs::rename(tier.stand.device(&format!("mon-{device}"))?, &certs)?;
            Ok(certs)
        };
        let alarmed = (0..ALARMED).map(issue).collect::<anyhow::Result<_>>()?;
        let fleets = fronts.iter().map(|front| tier.fleet(*front, BEDS, FLEET)).collect::<Result<_, _>>()?;
        // Asks the front that is never killed.
        let runtime = runtime()?;
        let ward = Subscriber::start(&runtime, tier.nodes[fronts[1]].grpc, tier.stand.service("ward-7")?);
        Ok(Self {
            tier,
            fronts,
            workers,
            fleets,
            store,
            alarmed,
            raised: 0,
            acked: 0,
            ward,
            _runtime: runtime,
        })
    }

    /// Raises alarms at the second front, which is never killed.
    pub(crate) fn raise(&mut self) -> anyhow::Result<()> {
        let port = self.tier.nodes[self.fronts[1]].mqtt;
        let device = self.raised / RAISED_MAX;
        let certs = self.alarmed.get(usize::try_from(device)?).context("too many alarms")?;
        let numbers = self.raised..self.raised + ALARMS;
        block_on(alarms(port, (&format!("mon-{device}"), certs), numbers))?;
        self.raised += ALARMS;
        Ok(())
    }

    /// Strikes under load and waits until everything that was acknowledged until then is archived.
    fn round(&mut self, fault: Fault) -> anyhow::Result<()> {
        self.raise()?;
        let pause = Pause::watch(self.tier.store_url(), busy(&self.fronts)?);
        self.strike(fault)?;
        self.raise()?;
        self.tier.ready()?;
        std::thread::sleep(Duration::from_secs(2));
        let mut acked = BTreeSet::new();
        for fleet in &self.fleets {
            acked.extend(read_ledger(&fleet.ledger)?);
        }
        // Fails with their number when some are missing.
        let quarantined = self.tier.stand.archived(&acked, SETTLE)?;
        let doubled = doubled(&self.tier.stand)?;
        let others = self.alerts()?;
        let raised = usize::try_from(self.raised)?;
        eventually("alarms are archived", SETTLE, || Ok((self.alarm_frames()?.0 >= raised).then_some(())))?;
        let (alarms, alarms_twice) = self.alarm_frames()?;
        let pause = pause.end()?;
        println!(
            "| {fault:?} | {} | {doubled} | {raised} | {alarms_twice} | {} | {:.1} s |",
            acked.len() - self.acked,
            others.iter().map(|(rule, times)| format!("{rule} {times}")).collect::<Vec<_>>().join(", "),
            pause.as_secs_f64(),
        );
        ensure!(quarantined == 0 && doubled == 0, "{quarantined} quarantined, {doubled} doubled");
        ensure!(alarms == raised && alarms_twice == 0, "{alarms} alarms archived, {alarms_twice} twice");
        ensure!(acked.len() > self.acked + 20, "too little load to mean anything");
        self.acked = acked.len();
        Ok(())
    }

    /// Waits until every alarm that was raised was told, once; returns what else was, by its rule.
    fn alerts(&self) -> anyhow::Result<BTreeMap<String, usize>> {
        let wanted = usize::try_from(self.raised)?;
        eventually("every alarm is an alert", SETTLE, || {
            // An alert that nobody answers is told again when it escalates.
            let told = self.ward.heard(CONDITION);
            let begun = told.iter().filter(|event| event.phase() == AlarmPhase::Start).count();
            ensure!(begun >= wanted, "{begun} of {wanted}");
            Ok(Some(()))
        })?;
        let mut told = self.ward.heard("");
        told.dedup_by_key(|event| event.cursor);
        ensure!(
            told.windows(2).all(|two| two[0].cursor + 1 == two[1].cursor),
            "the log of alerts has holes or is out of order"
        );
        let (mut conditions, mut others) = (BTreeMap::new(), BTreeMap::new());
        for event in told.iter().filter(|event| event.phase() == AlarmPhase::Start) {
            let rule = event.alert.as_ref().map(|alert| alert.rule_id.clone()).unwrap_or_default();
            let of = if rule.starts_with(CONDITION) { &mut conditions } else { &mut others };
            *of.entry(rule).or_insert(0_usize) += 1;
        }
        let twice: Vec<_> = conditions.iter().filter(|(_, times)| **times != 1).collect();
        ensure!(
            conditions.len() == wanted && twice.is_empty(),
            "{} of {wanted}; {twice:?}",
            conditions.len()
        );
        Ok(others)
    }

    /// Counts frames of alarms that stand in the archive, and those that stand there twice.
    fn alarm_frames(&self) -> anyhow::Result<(usize, usize)> {
        let all = positions(&self.tier.stand.table("alarms")?)?;
        let different: BTreeSet<_> = all.iter().cloned().collect();
        Ok((different.len(), all.len() - different.len()))
    }
}

/// Names the partitions of the bus that the fleets' devices are in.
fn busy(fronts: &[usize]) -> anyhow::Result<BTreeSet<u16>> {
    let tenant = TenantId::new(TENANT).ok().context("a tenant")?;
    let beds = fronts.iter().flat_map(|front| (0..BEDS).map(|bed| bed_name(*front, bed)));
    beds.map(|bed| {
        let device = DeviceId::new(&bed).ok().context("a device")?;
        let partition = DeviceKey { tenant: tenant.clone(), device }.partition();
        Ok(Share::holding(partition, PARTITIONS).partition)
    })
    .collect()
}

/// Strikes each in turn, prints the table, and holds the whole to what was acknowledged.
pub(crate) fn strike_all(mut chaos: Chaos, faults: &[Fault]) -> anyhow::Result<()> {
    println!("2 fronts, 2 workers of each role, 3 servers of JetStream, PostgreSQL, {PARTITIONS} partitions");
    println!(
        "| fault | acknowledged and archived | doubled | alarms, one alert each | doubled | other alerts so far | \
         longest pause of a partition |\n|---|---|---|---|---|---|---|"
    );
    for fault in faults {
        chaos.round(*fault).with_context(|| format!("{fault:?}"))?;
    }
    let fleets = std::mem::take(&mut chaos.fleets);
    let acked = chaos.tier.whole(fleets)?;
    println!("{acked} frames acknowledged in all, each archived once");
    chaos.tier.stop()?;
    chaos.tier.stand.verify()
}

#[test]
fn whoever_is_killed_acknowledged_is_archived_once_and_an_alarm_is_one_alert() -> anyhow::Result<()> {
    let mut faults = asked()?;
    faults.retain(|fault| *fault != Fault::ObjectStore);
    if faults.is_empty() { Ok(()) } else { strike_all(Chaos::start(None)?, &faults) }
}

#[test]
fn the_object_store_is_killed_and_nothing_is_lost_or_doubled() -> anyhow::Result<()> {
    if !asked()?.contains(&Fault::ObjectStore) && std::env::var("WARDLINE_CHAOS").as_deref() != Ok("all") {
        println!("SKIPPED: set WARDLINE_CHAOS=all");
        return Ok(());
    }
    let store = TestSeaweed::start().map_err(anyhow::Error::msg)?;
    strike_all(Chaos::start(Some(store))?, &[Fault::ObjectStore, Fault::Worker])
}

#[test]
fn a_tenant_may_have_acknowledgements_wait_for_the_bus() -> anyhow::Result<()> {
    let mut tier = Tier::new(None, &format!("replicated_tenants = [{TENANT:?}]\n"))?;
    let front = tier.node("front,api")?;
    tier.node("archive")?;
    tier.ready()?;
    let certs = tier.stand.device("mon-1")?;
    let port = tier.nodes[front].mqtt;
    let publish = |numbers| block_on(alarms(port, ("mon-1", &certs), numbers));
    publish(0..2)?;
    // Without a majority nothing is committed.
    tier.nats.kill(0);
    tier.nats.kill(1);
    let waited = publish(2..3);
    ensure!(waited.is_err(), "acknowledged without the bus");
    println!("without the bus: {:#}", waited.err().context("an error")?);
    tier.nats.start_node(0);
    tier.nats.start_node(1);
    eventually("acknowledged again", SETTLE, || publish(2..4).map(Some))?;
    tier.stop()
}
