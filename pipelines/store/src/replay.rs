//! Frames of the quarantine that are judged again: asked for by people, done by the archive worker.
//!
//! What became of a frame is written in the transaction that commits its rows (ARC-1), and only while it waits: so a
//! frame becomes rows once, however often it is asked for and whatever is killed.

use crate::db::{Record, Tx, args, signed};
use crate::outbox::Change;
use crate::{Store, StoreError};

/// Frames that one request may name.
pub const REPLAYS_MAX: usize = 100_000;

/// Names a frame of the quarantine: where its record stood in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameName {
    /// Whose, or `_system`.
    pub tenant: String,
    /// Partition of the record.
    pub partition: u16,
    /// Offset of the record.
    pub offset: u64,
}

/// What became of a frame that was judged again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is rows now.
    Replayed,
    /// Its place in the stream was filled since: the same frame was archived.
    Duplicate,
    /// It stays where it is: the code that it is refused under now, or why it could not be judged.
    Stays(String),
}

impl Outcome {
    /// Returns it in one word: `replayed`, `duplicate`, or the code.
    pub fn word(&self) -> &str {
        match self {
            Self::Replayed => "replayed",
            Self::Duplicate => "duplicate",
            Self::Stays(code) => code,
        }
    }

    fn of(word: &str) -> Self {
        match word {
            "replayed" => Self::Replayed,
            "duplicate" => Self::Duplicate,
            code => Self::Stays(code.to_owned()),
        }
    }
}

/// A frame that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Which.
    pub frame: FrameName,
    /// What became of it; none while it waits for the archive.
    pub outcome: Option<Outcome>,
}

impl Store {
    /// Asks that frames be judged again, audited. One that waits or is done for good is not asked for a second time;
    /// one that stayed is. Returns how many wait because of this.
    pub async fn ask_replay(&self, change: &Change, frames: &[FrameName]) -> Result<u64, StoreError> {
        let mut tx = self.db().begin().await?;
        let upsert = "INSERT INTO archive_replay (tenant, partition_id, journal_offset, asked_at_us, outcome) \
                      VALUES ($1, $2, $3, $4, '') ON CONFLICT (tenant, partition_id, journal_offset) DO UPDATE SET \
                      asked_at_us = excluded.asked_at_us, done_at_us = NULL, outcome = '' \
                      WHERE archive_replay.done_at_us IS NOT NULL \
                      AND archive_replay.outcome NOT IN ('replayed', 'duplicate')";
        let mut asked = 0;
        for frame in frames.iter().take(REPLAYS_MAX) {
            let (partition, offset) = (i64::from(frame.partition), signed(frame.offset)?);
            asked += tx.run(upsert, args![&frame.tenant, partition, offset, change.at_us]).await?;
        }
        let target = format!("{asked} of {} frames", frames.len());
        crate::outbox::insert(&mut tx, change, "quarantine_replay_asked", "ok", &target).await?;
        tx.commit().await?;
        Ok(asked)
    }

    /// Returns frames that wait, the longest first, at most `limit`; none of tenants that are held back.
    pub async fn waiting_replays(&self, limit: usize) -> Result<Vec<FrameName>, StoreError> {
        let select = "SELECT tenant, partition_id, journal_offset FROM archive_replay \
                      WHERE done_at_us IS NULL AND NOT EXISTS (SELECT 1 FROM archive_held_tenant h \
                      WHERE h.tenant = archive_replay.tenant) ORDER BY asked_at_us, partition_id, journal_offset LIMIT $1";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.db().all(select, args![limit]).await?.iter().map(frame).collect()
    }

    /// Returns every frame that was ever asked for: of a tenant, or of all.
    pub async fn replays(&self, tenant: Option<&str>) -> Result<Vec<Replay>, StoreError> {
        let select = "SELECT tenant, partition_id, journal_offset, done_at_us, outcome FROM archive_replay \
                      WHERE $1 = '' OR tenant = $1 ORDER BY tenant, partition_id, journal_offset";
        let replay = |row: &Record| {
            let outcome = row.text("outcome")?;
            let done = row.maybe_int("done_at_us")?.is_some();
            Ok(Replay { frame: frame(row)?, outcome: done.then(|| Outcome::of(&outcome)) })
        };
        self.db().all(select, args![tenant.unwrap_or_default()]).await?.iter().map(replay).collect()
    }
}

/// Writes what became of a frame that waits. `false`: it does not wait, and nothing is changed.
pub(crate) async fn mark(
    tx: &mut Tx,
    (frame, outcome): &(FrameName, Outcome),
    at_us: i64,
) -> Result<bool, StoreError> {
    let update = "UPDATE archive_replay SET done_at_us = $1, outcome = $2 WHERE tenant = $3 \
                  AND partition_id = $4 AND journal_offset = $5 AND done_at_us IS NULL";
    let (partition, offset) = (i64::from(frame.partition), signed(frame.offset)?);
    Ok(tx.run(update, args![at_us, outcome.word(), &frame.tenant, partition, offset]).await? == 1)
}

fn frame(row: &Record) -> Result<FrameName, StoreError> {
    Ok(FrameName {
        tenant: row.text("tenant")?,
        partition: u16::try_from(row.int("partition_id")?)
            .map_err(|_large| StoreError::Corrupt("archive_replay"))?,
        offset: row.unsigned("journal_offset")?,
    })
}
