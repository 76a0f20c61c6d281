//! The spool on a disk that is small, that fails or that rots: what is kept gives way, what was never sent does not.

use super::tests::{MIB, close, key, numerics, open, put, wait, waveform};
use super::*;
use crate::clock::{ClockOptions, ClockState};
use bytes::Bytes;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;
use wardline_journal::fault::{Fault, FaultStorage};
use wardline_journal::{FileInfo, LogFile, StorageLock};
use wardline_proto::v1::{Body, NumericSeries};

const WAVEFORMS: LaneIndex = LaneIndex::WAVEFORMS;
const NUMERICS: LaneIndex = LaneIndex::NUMERICS;
const RESERVE: u64 = lane::RESERVE_BYTES;

type MakeStorage = fn(&Path) -> Arc<dyn Storage>;

/// Options that keep whatever there is room for.
fn keeping(dir: &Path, storage: MakeStorage) -> SpoolOptions {
    let keep = KeepOptions { time: Duration::from_secs(3_600_000_000), bytes_max: 64 * MIB };
    SpoolOptions { keep, storage, ..SpoolOptions::on_disk(dir, 256 * MIB) }
}

fn on_disk(dir: &Path) -> Arc<dyn Storage> {
    Arc::new(DiskStorage::new(dir))
}

fn opened(options: &SpoolOptions) -> Result<Spool, SpoolError> {
    Spool::open(options, &key(), Arc::new(Counters::default()))
}

/// Puts a message, with the keeper at work whenever there is no room; says whether room was found in time.
fn offer(spool: &Spool, seq: u64, body: Body) -> bool {
    let (clock, parts) = (ClockState::new(ClockOptions::default()).of_device(), Part::split(body));
    for _turn in 0..200 {
        match spool.put(LinkPosition { boot_id: 7, seq }, 5, &clock, &parts, Patience::Wait) {
            Ok(mark) => {
                wait(spool, &mark);
                return true;
            }
            Err(PutError::Full) => spool.save_progress().unwrap(),
            Err(PutError::Failed) => panic!("the spool failed"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

#[test]
fn what_is_kept_gives_way_as_soon_as_a_small_disk_refuses() {
    let dir = tempfile::tempdir().unwrap();
    // Room for three segments of a lane, the spare among them.
    let disk: MakeStorage = |_| FaultStorage::new(1, RESERVE + 6 * MIB).process();
    let spool = opened(&keeping(dir.path(), disk)).unwrap();
    for seq in 1..=300 {
        assert!(
            offer(&spool, seq, waveform(seq)),
            "no room for message {seq}, although all before it may go"
        );
        spool.settle(WAVEFORMS, seq, 20_000);
    }
    close(spool);
}

/// Free bytes of a disk that all lanes share, when it is full.
static SPACE: AtomicU64 = AtomicU64::new(u64::MAX);

/// A lane's folder on that disk: real files.
struct OnSharedDisk {
    folder: PathBuf,
    files: DiskStorage,
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().filter_map(Result::ok);
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => found.len(),
        Err(_gone) => 0,
    };
    entries.map(bytes).sum()
}

impl Storage for OnSharedDisk {
    fn lock(&self) -> io::Result<Box<dyn StorageLock>> {
        self.files.lock()
    }
    fn list(&self) -> io::Result<Vec<FileInfo>> {
        self.files.list()
    }
    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn LogFile>> {
        self.files.create(name, bytes)
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        self.files.open(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.files.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.files.sync_dir()
    }
    fn free_bytes(&self) -> io::Result<u64> {
        let used = bytes_below(self.folder.parent().unwrap());
        Ok(SPACE.load(Ordering::SeqCst).saturating_sub(used))
    }
}

/// Numerics that do not compress.
fn many_numerics(seed: u64) -> Body {
    let mut state = seed;
    let mut step = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from_bits(state >> 2)
    };
    let series = NumericSeries { values: (0..3_000).map(|_| step()).collect(), ..NumericSeries::default() };
    Body { numerics: vec![series], ..Body::default() }
}

#[test]
fn what_one_lane_keeps_gives_way_to_what_waits_in_another() {
    let dir = tempfile::tempdir().unwrap();
    let disk: MakeStorage =
        |dir| Arc::new(OnSharedDisk { folder: dir.to_owned(), files: DiskStorage::new(dir) });
    let spool = opened(&keeping(dir.path(), disk)).unwrap();
    for seq in 1..=300 {
        let mark = put(&spool, 7, seq, many_numerics(seq));
        wait(&spool, &mark);
    }
    spool.settle(NUMERICS, 300, 300 * 24_000);
    spool.save_progress().unwrap();
    assert_eq!(spool.lanes[NUMERICS.get()].start(), 0, "all of it is kept");
    SPACE.store(bytes_below(dir.path()) + RESERVE, Ordering::SeqCst);
    // More than the two segments that the lane has.
    for seq in 301..=520 {
        assert!(offer(&spool, seq, waveform(seq)), "no room for message {seq}");
    }
    assert!(spool.lanes[NUMERICS.get()].start() > 0, "what was kept went");
    SPACE.store(u64::MAX, Ordering::SeqCst);
    close(spool);
}

#[test]
fn a_disk_too_full_for_the_watermarks_still_lets_go_of_what_was_sent() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = open(dir.path(), 64 * MIB);
    for seq in 1..=200 {
        let mark = put(&spool, 7, seq, waveform(seq));
        wait(&spool, &mark);
    }
    // The file that they are written into first cannot be made.
    fs::create_dir(dir.path().join("acked.tmp")).unwrap();
    spool.settle(WAVEFORMS, 200, 200 * 20_000);
    assert!(matches!(spool.save_progress(), Err(SpoolError::Io(_))), "it is told");
    let start = spool.lanes[WAVEFORMS.get()].start();
    assert!(start > 0, "what was sent went");
    assert!(spool.close().is_err());
    drop(spool);
    fs::remove_dir(dir.path().join("acked.tmp")).unwrap();
    let (spool, counters) = open(dir.path(), 64 * MIB);
    assert_eq!(spool.settled_below(WAVEFORMS), start, "where the log begins is known without them");
    put(&spool, 7, 200, waveform(200));
    assert_eq!(counters.duplicates.get(), 1);
    close(spool);
}

#[test]
fn a_settled_record_that_does_not_decode_stops_no_start_and_one_that_waits_does() {
    let start = |settled: u64| {
        let dir = tempfile::tempdir().unwrap();
        let (spool, _) = open(dir.path(), 64 * MIB);
        put(&spool, 7, 1, numerics());
        put(&spool, 7, 2, numerics());
        spool.lanes[NUMERICS.get()].append(Bytes::from_static(b"junk"), spool.partition).unwrap();
        let mark = put(&spool, 7, 3, numerics());
        wait(&spool, &mark);
        spool.settle(NUMERICS, settled, 0);
        close(spool);
        let counters = Arc::new(Counters::default());
        let spool = Spool::open(&keeping(dir.path(), on_disk), &key(), Arc::clone(&counters))?;
        put(&spool, 7, 3, numerics());
        let known = (counters.duplicates.get(), counters.lane(NUMERICS).spooled.get());
        close(spool);
        Ok::<_, SpoolError>(known)
    };
    assert_eq!(start(4).unwrap(), (1, 0), "the newest still says what the device has given");
    assert_eq!(start(3).unwrap(), (1, 1));
    assert!(matches!(start(2), Err(SpoolError::Damaged(_))));
}

#[test]
fn a_kept_segment_that_rots_is_dropped_and_one_that_waits_stops_the_start() {
    let start = |settled: u64| {
        let dir = tempfile::tempdir().unwrap();
        let spool = opened(&keeping(dir.path(), on_disk))?;
        for seq in 1..=200 {
            let mark = put(&spool, 7, seq, waveform(seq));
            wait(&spool, &mark);
        }
        spool.settle(WAVEFORMS, settled, 0);
        close(spool);
        let folder = fs::read_dir(dir.path().join("waveforms")).unwrap();
        let mut logs: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
        logs.retain(|path| path.extension().is_some_and(|kind| kind == "wal"));
        logs.sort_unstable();
        assert!(logs.len() > 2, "{logs:?}");
        let mut bytes = fs::read(&logs[0]).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&logs[0], bytes).unwrap();
        let counters = Arc::new(Counters::default());
        let spool = Spool::open(&keeping(dir.path(), on_disk), &key(), Arc::clone(&counters))?;
        put(&spool, 7, 200, waveform(200));
        let (start, settled) = (spool.lanes[WAVEFORMS.get()].start(), spool.settled_below(WAVEFORMS));
        close(spool);
        assert!(start > 0 && !logs[0].exists() && logs[1].exists(), "{start}");
        Ok((settled, counters.duplicates.get(), counters.lane(WAVEFORMS).spooled.get()))
    };
    assert_eq!(start(200).unwrap(), (200, 1, 0));
    assert_eq!(start(199).unwrap(), (199, 1, 1));
    let error = start(10).unwrap_err();
    assert!(matches!(error, SpoolError::Open { error: OpenError::Corrupt { .. }, .. }), "{error}");
}

#[test]
fn a_read_that_fails_once_among_kept_records_stops_no_start() {
    static DISK: LazyLock<FaultStorage> = LazyLock::new(|| FaultStorage::new(1, 100 * MIB));
    let disk: MakeStorage = |dir| if dir.ends_with("numerics") { DISK.process() } else { on_disk(dir) };
    let dir = tempfile::tempdir().unwrap();
    let options = keeping(dir.path(), disk);
    let spool = opened(&options).unwrap();
    for seq in 1..=10 {
        let mark = put(&spool, 7, seq, numerics());
        wait(&spool, &mark);
    }
    spool.settle(NUMERICS, 10, 0);
    close(spool);
    let (mut refused, mut started) = (0, 0);
    for after in 0..60 {
        DISK.inject(Fault::Read, after);
        match opened(&options) {
            Ok(spool) => {
                started += 1;
                assert_eq!(spool.settled_below(NUMERICS), 10);
                close(spool);
            }
            // While the log itself is opened.
            Err(SpoolError::Open { .. }) => refused += 1,
            Err(error) => panic!("read {after}: {error}"),
        }
        DISK.kill();
    }
    assert!(refused > 10 && started > 10, "{refused} {started}");
}

#[test]
fn a_refused_frame_is_kept_as_long_as_the_lanes_take_frames() {
    let dir = tempfile::tempdir().unwrap();
    let disk: MakeStorage = |_| FaultStorage::new(1, 100 * MIB).process();
    let spool =
        opened(&SpoolOptions { storage: disk, ..SpoolOptions::on_disk(dir.path(), 64 * MIB) }).unwrap();
    wait(&spool, &put(&spool, 1, 1, numerics()));
    spool.keep_refused(NUMERICS, 0x99, &[7; 4096]).unwrap();
    close(spool);
}

#[test]
fn a_log_of_refused_frames_that_failed_is_opened_anew_for_the_next_one() {
    static DISK: LazyLock<FaultStorage> = LazyLock::new(|| FaultStorage::new(1, 100 * MIB));
    let disk: MakeStorage = |dir| if dir.ends_with("refused") { DISK.process() } else { on_disk(dir) };
    let dir = tempfile::tempdir().unwrap();
    let spool = opened(&keeping(dir.path(), disk)).unwrap();
    let keep = || spool.keep_refused(NUMERICS, 0x99, &[7; 4096]);
    keep().unwrap();
    DISK.inject(Fault::Sync, 0);
    assert!(keep().is_err(), "told of, and lost");
    keep().unwrap();
    close(spool);
}
