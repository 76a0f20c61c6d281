//! Opening a spool: whose it is, its logs, and what they say about the device and about what is unsent.

use super::kept::Kept;
use super::lane::LaneLog;
use super::meta::Meta;
use super::policy::Policy;
use super::record::{Content, LinkPosition, Spooled};
use super::refused::RefusedLog;
use super::{Intake, Saved, Spool, SpoolError, SpoolOptions, watermark};
use crate::clock::now_us;
use crate::lanes::{LANES, LaneIndex};
use crate::stats::Counters;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use wardline_journal::{Entry, KeyProvider, KeyPurpose, Keyring};
use wardline_proto::DeviceKey;

/// Bytes that recovery reads at once.
const SCAN_BYTES: usize = 256 * 1024;

/// What a lane's log says.
#[derive(Debug, Default)]
struct Found {
    newest: LinkPosition,
    held_frames: u64,
    held_bytes: u64,
}

impl Spool {
    /// Opens the spool of `key`, or makes a new one. Reads all that is retained; blocks on IO.
    pub(crate) fn open(
        options: &SpoolOptions,
        key: &DeviceKey,
        counters: Arc<Counters>,
    ) -> Result<Self, SpoolError> {
        let dir = options.dir.clone();
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let holds_logs = LaneIndex::ALL.iter().any(|lane| dir.join(lane.name()).exists());
        let meta = Meta::open(&dir, key, now_us(), holds_logs)?;
        let keyring = Keyring::create_or_open(&dir.join("keyring.json"))?;
        keyring.ensure(KeyPurpose::Journal, None)?;
        let keys: Arc<dyn KeyProvider> = Arc::new(keyring);

        let saved = watermark::load(&dir, meta.epoch()).unwrap_or_default();
        let lanes = open_lanes(options, &keys, &saved)?;
        let mut intake = Intake::default();
        let mut settled = watermark::Watermarks::default();
        let mut held_bytes = 0;
        let mut kept = Kept::new(options.keep, options.bytes_max);
        for (lane, log) in LaneIndex::ALL.into_iter().zip(&lanes) {
            let place = lane.get();
            if saved[place] > log.durable_end() {
                return Err(SpoolError::Damaged("a log ends before what was acknowledged of it"));
            }
            settled[place] = saved[place].max(log.start());
            let found = scan(log, settled[place], |below, at_us| kept.note(place, below, at_us))?;
            intake.newest[place] = found.newest;
            intake.end[place] = log.durable_end();
            held_bytes += found.held_bytes;
            counters.lane(lane).spooled.set(found.held_frames);
        }
        Ok(Self {
            epoch: meta.epoch(),
            partition: key.partition(),
            policy: Policy::new(options.bytes_max),
            lanes,
            intake: Mutex::new(intake),
            settled: settled.map(AtomicU64::new),
            saved: Mutex::new(Saved { marks: saved, kept, refused: [0; LANES] }),
            held_bytes: AtomicU64::new(held_bytes),
            refused: RefusedLog::new(keys, options.storage),
            counters,
            dir,
        })
    }
}

fn open_lanes(
    options: &SpoolOptions,
    keys: &Arc<dyn KeyProvider>,
    settled: &watermark::Watermarks,
) -> Result<[LaneLog; LANES], SpoolError> {
    let mut lanes = Vec::with_capacity(LANES);
    for lane in LaneIndex::ALL {
        lanes.push(LaneLog::open(options, lane, keys, settled[lane.get()])?);
    }
    lanes.try_into().map_err(|_| SpoolError::Failed)
}

/// Reads all of a log. `kept` is told of settled records, when each was taken: it is not known any more when each was
/// acknowledged. One that cannot be read is passed over: the gateway has it. But for the newest: it says what the device
/// has given.
fn scan(log: &LaneLog, settled: u64, mut kept: impl FnMut(u64, i64)) -> Result<Found, SpoolError> {
    let (mut found, now_us) = (Found::default(), now_us());
    let needed = settled.min(log.durable_end().saturating_sub(1));
    let mut told = false;
    let mut pass = |offset: u64, error: SpoolError| {
        if offset >= needed {
            return Err(error);
        }
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(%error, lane = log.name(), offset, "kept records cannot be read; they are passed over");
        }
        Ok(())
    };
    let mut reader = log.reader(log.start())?;
    loop {
        let batch = match reader.next_batch(SCAN_BYTES) {
            Ok(batch) if batch.is_empty() => return Ok(found),
            Ok(batch) => batch,
            Err(error) => {
                pass(reader.position().get(), error.into())?;
                reader = log.reader(needed)?;
                continue;
            }
        };
        for entry in batch {
            let offset = entry.offset.get();
            match found.take(entry, settled) {
                Ok(taken_at_us) if offset < settled => kept(offset + 1, taken_at_us.min(now_us)),
                Ok(_unsettled) => {}
                Err(error) => pass(offset, error)?,
            }
        }
    }
}

impl Found {
    /// Counts a record; returns when it was taken.
    fn take(&mut self, entry: Entry, settled: u64) -> Result<i64, SpoolError> {
        let bytes = entry.payload.len() as u64;
        let record = Spooled::decode(entry.payload)
            .map_err(|_| SpoolError::Damaged("a record is of a later version of the agent"))?;
        if !record.origin.is_agents_own() {
            self.newest = record.origin;
        }
        if entry.offset.get() >= settled && record.content != Content::Tombstone {
            self.held_frames += 1;
            self.held_bytes += bytes;
        }
        Ok(record.taken_at_us)
    }
}
