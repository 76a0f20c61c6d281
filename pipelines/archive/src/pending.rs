//! What waits for a commit: the rows of each file to be, and what is counted.

use crate::heads::Heads;
use crate::held::HeldRecord;
use crate::intake::Held;
use crate::notices::Notices;
use crate::rows::{Added, Rows};
use crate::streams::Counts;
use crate::table::{Day, Table};
use std::collections::BTreeMap;
use wardline_proto::DeviceKey;
use wardline_proto::refusal::Refusal;
use wardline_store::catalog::TakenBack;
use wardline_store::hours::Told;
use wardline_store::replay::{FrameName, Outcome};
use wardline_store::resend::ResendAnswer;

/// Which file a row goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupKey {
    pub(crate) table: Table,
    pub(crate) tenant: String,
    pub(crate) day: Day,
    pub(crate) partition: u16,
}

/// The rows of one file to be.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) rows: Rows,
    pub(crate) count: usize,
    pub(crate) time_us: (i64, i64),
    pub(crate) offsets: (u64, u64),
}

impl Group {
    fn new(table: Table) -> Self {
        Self { rows: Rows::new(table), count: 0, time_us: (i64::MAX, i64::MIN), offsets: (u64::MAX, 0) }
    }

    fn take(&mut self, offset: u64, added: Added) {
        self.count += added.rows;
        // What is replayed from the quarantine comes in any order.
        self.offsets = (self.offsets.0.min(offset), self.offsets.1.max(offset));
        if let Some((first, last)) = added.time_us {
            self.time_us = (self.time_us.0.min(first), self.time_us.1.max(last));
        }
    }
}

/// The files to be, by what is compared fast, and then by tenant.
#[derive(Debug, Default)]
pub(crate) struct Groups(BTreeMap<(Table, Day, u16), BTreeMap<String, Group>>);

impl Groups {
    /// Changes the file that a row goes to. A tenant's name is copied for the first row only.
    fn change<T>(
        &mut self,
        (table, day, partition): (Table, Day, u16),
        tenant: &str,
        change: impl FnOnce(&mut Group) -> T,
    ) -> T {
        let tenants = self.0.entry((table, day, partition)).or_default();
        if let Some(group) = tenants.get_mut(tenant) {
            return change(group);
        }
        let mut group = Group::new(table);
        let changed = change(&mut group);
        tenants.insert(tenant.to_owned(), group);
        changed
    }

    /// Returns how many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// Returns them in order.
    pub(crate) fn into_files(self) -> impl Iterator<Item = (GroupKey, Group)> {
        self.0.into_iter().flat_map(|((table, day, partition), tenants)| {
            let key = move |tenant| GroupKey { table, tenant, day, partition };
            tenants.into_iter().map(move |(tenant, group)| (key(tenant), group))
        })
    }
}

/// What waits for a commit.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) groups: Groups,
    /// By the device's number among the streams.
    pub(crate) devices: Vec<Option<(DeviceKey, Counts)>>,
    pub(crate) refusals: BTreeMap<Refusal, u64>,
    pub(crate) heads: Heads,
    pub(crate) notices: Notices,
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    pub(crate) replays: Vec<(FrameName, Outcome)>,
    pub(crate) told: Vec<Told>,
    /// What devices say of requests to send again: tenant, device, answer.
    pub(crate) resends: Vec<(String, String, ResendAnswer)>,
    /// Records of tenants that are held back, by tenant and partition.
    pub(crate) held: BTreeMap<(String, u16), Vec<HeldRecord>>,
    /// Records that were held back and are among the rows.
    pub(crate) taken_back: Vec<TakenBack>,
}

impl Pending {
    /// Adds a record of a tenant that is held back, of a partition.
    pub(crate) fn hold(&mut self, partition: u16, held: &Held) {
        // What is held is committed: a node finds its chain's end there when the journal was trimmed past it.
        held.audit.iter().for_each(|event| self.heads.advance(event));
        self.rows += 1;
        self.bytes += held.record.payload.len();
        self.held.entry((held.tenant.clone(), partition)).or_default().push(held.record.clone());
    }

    /// Returns the counts of a device, to be changed.
    pub(crate) fn counts_of(&mut self, number: usize, key: &DeviceKey) -> &mut Counts {
        if self.devices.len() <= number {
            self.devices.resize(number + 1, None);
        }
        &mut self.devices[number].get_or_insert_with(|| (key.clone(), Counts::default())).1
    }

    /// Adds rows of what stood at a partition and offset and was ingested at a time.
    pub(crate) fn add(
        &mut self,
        (partition, offset, ingest_us): (u16, u64, i64),
        table: Table,
        tenant: &str,
        push: impl FnOnce(&mut Rows) -> Added,
    ) {
        let day = Day::of_micros(ingest_us);
        let added = self.groups.change((table, day, partition), tenant, |group| {
            let added = push(&mut group.rows);
            group.take(offset, added);
            added
        });
        self.rows += added.rows;
        self.bytes += added.bytes;
    }
}
