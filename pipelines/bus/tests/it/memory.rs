//! An engine in memory, for tests only, with faults that have names.

use bytes::Bytes;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;
use wardline_bus::{
    BusError, Client, Delivery, Engine, PartitionHealth, PartitionStream, Position, Published, Wait,
};
use wardline_proto::PartitionId;

/// What goes wrong from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Nobody answers a connect.
    Unreachable,
    /// Every publish is stored, and its answer never comes.
    SilentPublish,
    /// A stream that is open now never delivers again.
    SilentStream,
    /// A stream takes so long to open.
    SlowOpen(Duration),
    /// A stream leaves out every tenth record, but for one that it begins at: as a client does whose fetch was cut.
    SkipsOnBacklog,
}

#[derive(Debug, Default)]
struct Shelf {
    names: Vec<String>,
    records: Vec<Bytes>,
    begin: usize,
}

#[derive(Debug)]
struct Shared {
    shelves: Mutex<Vec<Shelf>>,
    fault: Mutex<Fault>,
    grown: watch::Sender<u64>,
    connects: AtomicU32,
}

/// The engine; a clone is the same one.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    shared: Arc<Shared>,
    partitions: u16,
}

impl Memory {
    pub(crate) fn new(partitions: u16) -> Self {
        let shelves = (0..partitions).map(|_| Shelf::default()).collect();
        let shared = Shared {
            shelves: Mutex::new(shelves),
            fault: Mutex::default(),
            grown: watch::Sender::new(0),
            connects: AtomicU32::new(0),
        };
        Self { shared: Arc::new(shared), partitions }
    }

    pub(crate) fn fail(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
        self.shared.grown.send_modify(|grown| *grown += 1);
    }

    /// Forgets everything, as an engine does whose disks were replaced.
    pub(crate) fn wipe(&self) {
        self.shelves().iter_mut().for_each(|shelf| *shelf = Shelf::default());
    }

    pub(crate) fn connects(&self) -> u32 {
        self.shared.connects.load(Ordering::Relaxed)
    }

    fn fault(&self) -> Fault {
        *self.shared.fault.lock().unwrap()
    }

    fn shelves(&self) -> MutexGuard<'_, Vec<Shelf>> {
        self.shared.shelves.lock().unwrap()
    }
}

impl Engine for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn partitions(&self) -> u16 {
        self.partitions
    }

    fn is_contiguous(&self) -> bool {
        true
    }

    fn connections(&self) -> usize {
        2
    }

    fn connect(&self) -> Wait<'_, Arc<dyn Client>> {
        Box::pin(async {
            self.shared.connects.fetch_add(1, Ordering::Relaxed);
            if self.fault() == Fault::Unreachable {
                std::future::pending::<()>().await;
            }
            Ok(Arc::new(self.clone()) as Arc<dyn Client>)
        })
    }
}

impl Client for Memory {
    fn publish<'a>(
        &'a self,
        partition: PartitionId,
        batch: &'a [Published],
    ) -> Wait<'a, Vec<Result<Position, BusError>>> {
        Box::pin(async move {
            let mut positions = Vec::new();
            {
                let mut shelves = self.shelves();
                let shelf = &mut shelves[usize::from(partition.get())];
                for record in batch {
                    let known = shelf.names.iter().position(|name| *name == record.name);
                    let at = known.unwrap_or(shelf.records.len());
                    if known.is_none() {
                        shelf.names.push(record.name.clone());
                        shelf.records.push(record.bytes.clone());
                    }
                    positions.push(Ok(Position::new(at as u64)));
                }
            }
            self.shared.grown.send_modify(|grown| *grown += 1);
            if self.fault() == Fault::SilentPublish {
                std::future::pending::<()>().await;
            }
            Ok(positions)
        })
    }

    fn open(&self, partition: PartitionId, from: Position) -> Wait<'_, Box<dyn PartitionStream>> {
        Box::pin(async move {
            if let Fault::SlowOpen(wait) = self.fault() {
                tokio::time::sleep(wait).await;
            }
            let stream = Reader {
                memory: self.clone(),
                grown: self.shared.grown.subscribe(),
                partition,
                next: from.get() as usize,
                opened: from.get() as usize,
                is_silent: false,
            };
            Ok(Box::new(stream) as Box<dyn PartitionStream>)
        })
    }

    fn watermark(&self, partition: PartitionId) -> Wait<'_, Position> {
        let end = self.shelves()[usize::from(partition.get())].records.len();
        Box::pin(async move { Ok(Position::new(end as u64)) })
    }

    fn trim(&self, partition: PartitionId, below: Position) -> Wait<'_, ()> {
        let shelf = &mut self.shelves()[usize::from(partition.get())];
        shelf.begin = shelf.begin.max((below.get() as usize).saturating_sub(1)).min(shelf.records.len());
        Box::pin(async { Ok(()) })
    }

    fn health(&self) -> Wait<'_, Vec<PartitionHealth>> {
        let shelves = self.shelves();
        let look = |(p, shelf): (u16, &Shelf)| PartitionHealth {
            partition: PartitionId::new(p).unwrap(),
            led: true,
            replicas_current: 1,
            replicas: 1,
            committed: Position::new(shelf.records.len() as u64),
            end: Position::new(shelf.records.len() as u64),
        };
        let health = (0..).zip(shelves.iter()).map(look).collect();
        Box::pin(async { Ok(health) })
    }
}

struct Reader {
    memory: Memory,
    grown: watch::Receiver<u64>,
    partition: PartitionId,
    next: usize,
    opened: usize,
    is_silent: bool,
}

impl PartitionStream for Reader {
    fn next(&mut self) -> Wait<'_, Delivery> {
        Box::pin(async {
            loop {
                self.is_silent |= self.memory.fault() == Fault::SilentStream;
                if self.is_silent {
                    tokio::time::sleep(Duration::from_secs(3600)).await;
                }
                self.grown.mark_unchanged();
                {
                    let shelves = self.memory.shelves();
                    let shelf = &shelves[usize::from(self.partition.get())];
                    self.next = self.next.max(shelf.begin);
                    let skips = self.memory.fault() == Fault::SkipsOnBacklog;
                    if skips && self.next % 10 == 9 && self.next != self.opened {
                        self.next += 1;
                    }
                    if let Some(bytes) = shelf.records.get(self.next) {
                        let position = Position::new(self.next as u64);
                        self.next += 1;
                        return Ok(Delivery { position, bytes: bytes.clone() });
                    }
                }
                self.grown.changed().await.map_err(|_| BusError::Closed)?;
            }
        })
    }
}
