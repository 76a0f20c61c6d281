//! The acknowledgement is the proof of durability: on a disk that is slow, full or broken.

use super::*;
use crate::spool::SpoolOptions;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use wardline_journal::Storage;
use wardline_journal::fault::{Fault, FaultStorage};
use wardline_proto::link::{self, Decoder};
use wardline_proto::v1::{Body, LinkDown, LinkHello, LinkUp, NumericSeries, link_up::Kind};
use wardline_proto::{DeviceId, DeviceKey, TenantId};

/// Disks by folder, so that a lane's disk can be made to fail.
static DISKS: Mutex<Vec<(std::path::PathBuf, FaultStorage)>> = Mutex::new(Vec::new());

fn storage(dir: &Path) -> Arc<dyn Storage> {
    let disk = FaultStorage::new(7, 1 << 30);
    let storage = disk.process();
    DISKS.lock().unwrap().push((dir.to_path_buf(), disk));
    storage
}

struct Bench {
    dir: tempfile::TempDir,
    stream: TcpStream,
    _stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), SpoolError>>,
}

impl Bench {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = SpoolOptions { storage, ..SpoolOptions::on_disk(dir.path(), 1 << 24) };
        let device =
            DeviceKey { tenant: TenantId::new("demo").unwrap(), device: DeviceId::new("m-1").unwrap() };
        let counters = Arc::new(Counters::default());
        let spool = Arc::new(Spool::open(&options, &device, Arc::clone(&counters)).unwrap());
        let addr = LinkAddr::Tcp((Ipv4Addr::LOCALHOST, 0).into());
        let server = LinkServer::bind(&addr, spool, counters, ClockOptions::default()).await.unwrap();
        let addr = server.addr().tcp().unwrap();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(server.run(stopped));
        let mut bench = Self { dir, stream: TcpStream::connect(addr).await.unwrap(), _stop: stop, task };
        bench.send(0, Kind::Hello(LinkHello { boot_id: 1, ..LinkHello::default() })).await;
        bench
    }

    fn disk(&self, lane: &str) -> FaultStorage {
        let (disks, dir) = (DISKS.lock().unwrap(), self.dir.path().join(lane));
        disks.iter().find(|(of, _)| *of == dir).unwrap().1.clone()
    }

    async fn send(&mut self, seq: u64, kind: Kind) {
        let mut bytes = Vec::new();
        link::encode(&LinkUp { seq, kind: Some(kind) }, &mut bytes).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    async fn send_reading(&mut self, seq: u64) {
        let series = NumericSeries { values: vec![1.0], ..NumericSeries::default() };
        self.send(seq, Kind::Body(Body { numerics: vec![series], ..Body::default() })).await;
    }

    /// Reads the next acknowledgement; `None` when the link is closed.
    async fn acked(&mut self) -> Option<u64> {
        let (mut decoder, mut bytes) = (Decoder::default(), [0; 256]);
        loop {
            if let Some(down) = decoder.next_message::<LinkDown>() {
                return Some(down.unwrap().acked_seq);
            }
            match self.stream.read(&mut bytes).await {
                Ok(n) if n > 0 => decoder.push(&bytes[..n]),
                _ => return None,
            }
        }
    }
}

#[tokio::test]
async fn an_acknowledgement_waits_for_the_sync() {
    let mut bench = Bench::start().await;
    let latency = Duration::from_millis(300);
    bench.disk("numerics").set_latency(latency);
    let sent_at = Instant::now();
    bench.send_reading(1).await;
    assert_eq!(bench.acked().await, Some(1));
    assert!(sent_at.elapsed() >= latency);
}

#[tokio::test]
async fn a_failed_sync_is_never_acknowledged_and_stops_the_agent() {
    let mut bench = Bench::start().await;
    bench.send_reading(1).await;
    assert_eq!(bench.acked().await, Some(1));
    bench.disk("numerics").inject(Fault::Sync, 0);
    bench.send_reading(2).await;
    assert_eq!(bench.acked().await, None);
    assert!(matches!(bench.task.await, Ok(Err(SpoolError::Failed))));
}

#[tokio::test]
async fn a_body_before_the_hello_ends_the_link() {
    let bench = Bench::start().await;
    let addr = bench.stream.peer_addr().unwrap();
    let mut bench = Bench { stream: TcpStream::connect(addr).await.unwrap(), ..bench };
    bench.send_reading(1).await;
    assert_eq!(timeout(Duration::from_secs(5), bench.acked()).await, Ok(None));
}
