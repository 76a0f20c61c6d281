//! What came over the bus and is not committed is in an answer once, however the commits of its partitions fall.

use crate::rig::{NOW_US, Rig, frame, readings};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use wardline_archive::read::ArchiveReader;
use wardline_archive::tail::carried::{Carried, OnTheWay, snapshot_over};
use wardline_archive::tail::{Snapshot, TailBounds, TailState};
use wardline_archive::{ArchiveMetrics, ArchiveService, Asked, Coverage, Table};
use wardline_journal::{
    Class, DiskStorage, Entries, Growth, Journal, JournalOptions, Offset, Passage, ReadError, Record, Source,
};
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{JournalRecord, Lane, PayloadFormat, Publish, UpChannel};
use wardline_proto::{DeviceId, DeviceKey, TenantId};

const OF: u16 = 2;

/// A partition of the bus: a journal, whose only front has numbered its records from 1.
#[derive(Debug, Clone)]
struct Line {
    partition: u16,
    journal: Journal,
}

impl Source for Line {
    fn start(&self) -> Offset {
        Source::start(&self.journal)
    }

    fn end(&self) -> Offset {
        Source::end(&self.journal)
    }

    fn growth(&self) -> Growth {
        Source::growth(&self.journal)
    }

    fn is_failed(&self) -> bool {
        Source::is_failed(&self.journal)
    }

    fn promise_time(&self, reached_us: i64) -> Option<i64> {
        Source::promise_time(&self.journal, reached_us)
    }

    fn entries(&self, from: Offset) -> Result<Box<dyn Entries>, ReadError> {
        Source::entries(&self.journal, from)
    }

    fn passage(&self, next: Offset) -> Option<Passage> {
        Some(Passage { position: next.get(), logs: vec![(self.log(), next.get() + 1)] })
    }

    fn release(&self, _next: Offset) {}
}

impl Line {
    fn log(&self) -> [u8; 16] {
        [self.partition as u8 + 1; 16]
    }

    /// Reads what it has, as somebody who follows it.
    fn read(&self) -> Vec<Carried> {
        let mut entries = self.journal.reader(Offset::ZERO).unwrap();
        let mut found = Vec::new();
        loop {
            let batch = entries.next_batch(1 << 20).unwrap();
            if batch.is_empty() {
                return found;
            }
            found.extend(batch.into_iter().map(|entry| {
                let (partition, log, n) = (self.partition, self.log(), entry.offset.get() + 1);
                Carried { partition, log, n, entry }
            }));
        }
    }
}

struct Bus {
    rig: Rig,
    lines: Vec<Line>,
    /// A device of each partition.
    devices: Vec<DeviceKey>,
}

fn key(tenant: &str, device: &str) -> DeviceKey {
    DeviceKey { tenant: TenantId::new(tenant).unwrap(), device: DeviceId::new(device).unwrap() }
}

impl Bus {
    async fn new() -> Self {
        let rig = Rig::new().await;
        rig.store.cluster_partitions(OF).await.unwrap();
        rig.store.make_leases("archive", OF).await.unwrap();
        let line = |partition: u16| {
            let dir = rig.folder.path().join(format!("bus-{partition}"));
            let storage = Arc::new(DiskStorage::new(dir.clone()));
            let journal = Journal::open(JournalOptions::for_dir(dir), storage, rig.keyring.clone()).unwrap();
            Line { partition, journal }
        };
        let in_partition = |partition: u16| {
            let mut all = (0..).map(|n| key("demo", &format!("mon-{n}")));
            all.find(|key| key.partition().get() % OF == partition).unwrap()
        };
        let (lines, devices) = ((0..OF).map(line).collect(), (0..OF).map(in_partition).collect());
        Self { rig, lines, devices }
    }

    fn device(&self, partition: usize) -> &str {
        self.devices[partition].device.as_str()
    }

    async fn publish(&self, partition: usize, tenant: &str, payload: Vec<u8>) {
        let publish = Publish {
            tenant: tenant.into(),
            device: self.device(partition).into(),
            channel: UpChannel::Telemetry.into(),
            payload: payload.into(),
            content: PayloadFormat::Frame.into(),
            certificate_serial: vec![7; 16],
            for_test: false,
        };
        let payload =
            JournalRecord { ingested_at_us: NOW_US, kind: Some(Kind::Publish(publish)) }.encode_to_vec();
        let (journal, device) = (&self.lines[partition].journal, self.devices[partition].partition());
        let record = Record { partition: device, class: Class::Telemetry, payload: payload.into() };
        let offset = journal.append(record).unwrap().offset();
        while journal.durable_end() <= offset {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn frames(&self, partition: usize, seqs: impl IntoIterator<Item = u64>) {
        for seq in seqs {
            self.publish(partition, "demo", frame(seq, &readings(&[seq as f64]))).await;
        }
    }

    /// Commits all that a partition has.
    async fn commit(&self, partition: usize) {
        let row = self.rig.store.leases("archive").await.unwrap().remove(partition);
        let claim = self.rig.store.take_lease("archive", (&row, OF), "worker").await.unwrap().unwrap();
        let (rig, line) = (&self.rig, self.lines[partition].clone());
        let metrics = Arc::new(ArchiveMetrics::default());
        let (journal, store) = (line.journal.clone(), rig.store.clone());
        let service = ArchiveService::new(rig.options(), journal, store, rig.keyring.clone(), metrics);
        let end = Source::end(&line);
        let service = service.for_partition(Arc::new(line), claim);
        let (handle, (stop, stopped)) = (service.handle(), watch::channel(false));
        let running = tokio::spawn(service.run(stopped));
        handle.flush_to(end).await.unwrap();
        stop.send(true).unwrap();
        running.await.unwrap().unwrap();
    }

    fn read(&self) -> OnTheWay {
        OnTheWay { records: self.lines.iter().flat_map(Line::read).collect(), is_whole: true }
    }

    fn reader(&self) -> ArchiveReader {
        self.rig.reader()
    }

    async fn look(&self, tenant: Option<&str>, bounds: TailBounds, read: OnTheWay) -> Snapshot {
        let tenant = tenant.map(|tenant| TenantId::new(tenant).unwrap());
        let erased = self.reader().learn_erased().await.unwrap();
        let (store, keys) = (&self.rig.store, self.reader().keys());
        snapshot_over((store, &erased, &keys), tenant.as_ref(), bounds, read).await.unwrap()
    }

    async fn count(&self, found: &Snapshot) -> Coverage {
        let lanes = [Lane::Numerics.into()].into();
        let asked = [Asked { devices: None, lanes, times_us: (i64::MIN, i64::MAX) }];
        self.reader().coverage(Some("demo"), &asked, &found.tail, |_, _| true).await.unwrap().unwrap()
    }

    /// Returns what files hold and what the tail does: of each row whose it is and its number.
    fn rows(&self, found: &Snapshot) -> [Vec<(String, u64)>; 2] {
        let numerics = found.files.iter().filter(|file| file.table == "numerics");
        let files = numerics.flat_map(|file| self.reader().read(file).unwrap()).map(Result::unwrap);
        let tail = found.tail.rows.get(&Table::Numerics).cloned().unwrap_or_default();
        [files.collect(), tail].map(|batches| named(&batches))
    }

    fn of(&self, partition: usize, seqs: impl IntoIterator<Item = u64>) -> Vec<(String, u64)> {
        seqs.into_iter().map(|seq| (self.device(partition).to_owned(), seq)).collect()
    }
}

fn named(batches: &[RecordBatch]) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for batch in batches {
        let devices = crate::rig::texts(std::slice::from_ref(batch), "device");
        found.extend(
            devices.into_iter().zip(batch["seq"].as_primitive::<UInt64Type>().values().iter().copied()),
        );
    }
    found.sort_unstable();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_between_the_bus_and_the_catalog_doubles_nothing_and_loses_nothing() {
    let bus = Bus::new().await;
    bus.frames(0, 1..=3).await;
    bus.frames(1, 1..=2).await;
    let before = bus.look(None, TailBounds::default(), bus.read()).await;
    assert_eq!(before.tail.state, TailState::Cluster, "no worker has begun");
    for partition in [0, 1] {
        bus.commit(partition).await;
    }
    // Sent again by its device, through the same front and with something missing between.
    bus.frames(0, [3, 5, 5]).await;
    bus.frames(1, [3]).await;
    bus.publish(1, "other", frame(1, &readings(&[1.0]))).await;
    let (read, late) = (bus.read(), bus.read());
    let found = bus.look(Some("demo"), TailBounds::default(), read).await;
    assert_eq!(found.tail.state, TailState::Whole);
    let committed = [bus.of(0, 1..=3), bus.of(1, 1..=2)].concat();
    let mut wanted = [committed.clone(), bus.of(0, [5]), bus.of(1, [3])];
    wanted[0].sort_unstable();
    let [files, tail] = bus.rows(&found);
    assert_eq!((files, tail), (wanted[0].clone(), sorted([&wanted[1][..], &wanted[2]].concat())));
    assert_eq!(found.tail.end, 10, "the sum of both partitions' ends");
    let counted = bus.count(&found).await;
    assert_eq!((counted.received, counted.missing, counted.duplicates), (7, 1, 2));

    bus.commit(0).await;
    let found = bus.look(Some("demo"), TailBounds::default(), late).await;
    let [files, tail] = bus.rows(&found);
    assert_eq!(files, sorted([committed, bus.of(0, [5])].concat()));
    assert_eq!(tail, bus.of(1, [3]), "of the partition that has not committed");
    assert_eq!(bus.count(&found).await, counted, "a commit changes where rows are and not what came");
    // The other one commits between the answer's rows and its sum.
    bus.commit(1).await;
    assert_eq!(bus.count(&found).await, counted);
    let found = bus.look(Some("other"), TailBounds::default(), bus.read()).await;
    assert!(found.tail.rows.is_empty(), "all of it is committed");
}

fn sorted(mut rows: Vec<(String, u64)>) -> Vec<(String, u64)> {
    rows.sort_unstable();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_cut_at_the_new_end_of_each_partition() {
    let bus = Bus::new().await;
    for partition in [0, 1] {
        bus.frames(partition, [1]).await;
        bus.commit(partition).await;
    }
    for seq in 2..=20 {
        bus.frames(0, [seq]).await;
        bus.frames(1, [seq]).await;
    }
    for bounds in [
        TailBounds { records_max: 12, ..TailBounds::default() },
        TailBounds { bytes_max: 1_800, ..TailBounds::default() },
        TailBounds { row_bytes_max: 900, ..TailBounds::default() },
    ] {
        let found = bus.look(None, bounds, bus.read()).await;
        assert_eq!(found.tail.state, TailState::Cut, "{bounds:?}");
        let [_files, tail] = bus.rows(&found);
        let mut of_each = Vec::new();
        for partition in [0, 1] {
            let own = tail.iter().filter(|(device, _)| device == bus.device(partition));
            let seqs: Vec<u64> = own.map(|(_, seq)| *seq).collect();
            assert_eq!(seqs, (2..2 + seqs.len() as u64).collect::<Vec<_>>(), "without a hole");
            of_each.push(seqs.len());
        }
        assert!(of_each[0].abs_diff(of_each[1]) <= 1 && (1..19).contains(&of_each[0]), "{of_each:?}");
    }
    let part = OnTheWay { is_whole: false, ..bus.read() };
    let found = bus.look(None, TailBounds::default(), part).await;
    assert_eq!((found.tail.state, bus.rows(&found)[1].len()), (TailState::Cut, 38), "what is there is shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_went_through_two_fronts_is_a_row_once() {
    let bus = Bus::new().await;
    bus.frames(0, [1]).await;
    bus.commit(0).await;
    bus.frames(0, [2, 3]).await;
    let mut read = bus.read();
    // Published again through another front, whose log is its own.
    let again: Vec<_> = read.records.iter().filter(|record| record.n == 2).cloned().collect();
    read.records.extend(again.into_iter().map(|record| Carried { log: [9; 16], n: 1, ..record }));
    let found = bus.look(Some("demo"), TailBounds::default(), read).await;
    assert_eq!(bus.rows(&found)[1], bus.of(0, [2, 3]));
    assert_eq!(bus.count(&found).await.duplicates, 1);
}
