//! Leases of partitions, and what fronts and workers tell each other of records.
//!
//! A lease is a row with a holder and an epoch. Whoever takes it raises the epoch; every commit of a worker names its
//! epoch and fails when it is not the row's any more, whatever that worker believes ([`advance`], in the commit's own
//! transaction). A holder shows that it lives by raising `beats`; whoever sees the same beats for long enough by its
//! own clock takes the row, if nothing has moved meanwhile. So no two clocks are ever compared.
//!
//! | who | writes | reads |
//! |---|---|---|
//! | worker | lease, passage, member, resend | lease, passage, member |
//! | front | deletes resend | passage, resend |

use crate::bell::{Matter, ring};
use crate::db::{Record, Tx, args, signed};
use crate::{Store, StoreError};
use wardline_proto::PartitionId;

/// Names a log of a front: 16 bytes, hex in the database.
pub type LogName = [u8; 16];

/// The right to commit for a partition of a role, until somebody takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The role.
    pub role: &'static str,
    /// What is claimed.
    pub share: Share,
    /// Who holds it: unique for each start of a process.
    pub holder: String,
    /// The lease's epoch.
    pub epoch: i64,
}

/// One of several equal shares of the partitions that devices have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The partition of the bus.
    pub partition: u16,
    /// How many the bus has.
    pub of: u16,
}

impl Share {
    /// Returns the share that a device's partition is in.
    pub fn holding(partition: PartitionId, of: u16) -> Self {
        Self { partition: partition.get().checked_rem(of).unwrap_or_default(), of }
    }

    /// Says whether a device's partition is in this share.
    pub fn holds(self, partition: u16) -> bool {
        partition.checked_rem(self.of) == Some(self.partition)
    }
}

/// A lease as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// The partition.
    pub partition: u16,
    /// Who holds it; empty when nobody does.
    pub holder: String,
    /// How often it was taken.
    pub epoch: i64,
    /// Signs of life, of all holders together.
    pub beats: i64,
    /// Records worked on.
    pub next_offset: u64,
}

/// Where the work on a partition stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Records worked on.
    pub next_offset: u64,
    /// Where to read on, as the bus counts.
    pub position: u64,
    /// Of each front's log the number that comes next.
    pub logs: Vec<(LogName, u64)>,
}

/// What a commit moves its lease by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The lease that it is made under.
    pub claim: Claim,
    /// Where the work stands after it. Logs that have not moved may be left out.
    pub standing: Standing,
}

/// A worker's wish to have records again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The partition.
    pub partition: u16,
    /// Whose wish it is.
    pub role: String,
    /// First number that is missing.
    pub first: u64,
    /// Last number that is missing.
    pub last: u64,
}

/// How far a role has worked on the log of a front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    /// The role.
    pub role: String,
    /// The partition.
    pub partition: u16,
    /// The number that comes next.
    pub next: u64,
}

/// Finds a row where several machines share this database.
pub(crate) const IS_CLUSTER: &str = "SELECT partitions FROM cluster_topic WHERE id = 1";

impl Store {
    /// Says whether several machines share the work.
    pub async fn is_cluster(&self) -> Result<bool, StoreError> {
        Ok(self.db().one(IS_CLUSTER, args![]).await?.is_some())
    }

    /// Settles the number of partitions at the first call; returns the settled one.
    pub async fn cluster_partitions(&self, wanted: u16) -> Result<u16, StoreError> {
        let insert = "INSERT INTO cluster_topic (id, partitions) VALUES (1, $1) ON CONFLICT (id) DO NOTHING";
        self.db().run(insert, args![i64::from(wanted)]).await?;
        let row = self.db().one(IS_CLUSTER, args![]).await?;
        small(&row.ok_or(StoreError::Corrupt("cluster_topic"))?, "partitions")
    }

    /// Makes the leases of a role that are missing. They count on from where one machine's journal had come: an offset
    /// names a record of a partition for ever.
    pub async fn make_leases(&self, role: &str, partitions: u16) -> Result<(), StoreError> {
        let insert = "INSERT INTO cluster_lease (role, partition_id, holder, epoch, beats, next_offset, position) \
                      SELECT $1, $2, '', 0, 0, COALESCE(MAX(next_offset), 0), 0 FROM archive_position \
                      WHERE 1 = 1 ON CONFLICT (role, partition_id) DO NOTHING";
        let mut tx = self.db().begin().await?;
        for partition in 0..partitions {
            tx.run(insert, args![role, i64::from(partition)]).await?;
        }
        tx.commit().await
    }

    /// Returns the leases of a role, in order of partition.
    pub async fn leases(&self, role: &str) -> Result<Vec<LeaseRow>, StoreError> {
        let select = "SELECT partition_id, holder, epoch, beats, next_offset FROM cluster_lease \
                      WHERE role = $1 ORDER BY partition_id";
        self.db().all(select, args![role]).await?.iter().map(lease).collect()
    }

    /// Takes a lease, if nothing has moved since `seen`: every commit under an earlier epoch fails from here on.
    pub async fn take_lease(
        &self,
        role: &'static str,
        (seen, of): (&LeaseRow, u16),
        holder: &str,
    ) -> Result<Option<Claim>, StoreError> {
        let update = "UPDATE cluster_lease SET holder = $1, epoch = epoch + 1, beats = beats + 1 \
                      WHERE role = $2 AND partition_id = $3 AND epoch = $4 AND beats = $5";
        let values = args![holder, role, i64::from(seen.partition), seen.epoch, seen.beats];
        let taken = self.db().run(update, values).await? == 1;
        let share = Share { partition: seen.partition, of };
        let claim = Claim { role, share, holder: holder.to_owned(), epoch: seen.epoch + 1 };
        Ok(taken.then_some(claim))
    }

    /// Gives a lease back, so that the next one need not wait. One that was taken since is left alone.
    pub async fn release_lease(&self, claim: &Claim) -> Result<(), StoreError> {
        let update = "UPDATE cluster_lease SET holder = '', beats = beats + 1 \
                      WHERE role = $1 AND partition_id = $2 AND holder = $3 AND epoch = $4";
        let values = args![claim.role, i64::from(claim.share.partition), &claim.holder, claim.epoch];
        self.db().run(update, values).await.map(drop)
    }

    /// Shows that a holder lives, as a member of a role and in each of its leases.
    pub async fn beat(&self, role: &str, holder: &str) -> Result<(), StoreError> {
        let member = "INSERT INTO cluster_member (role, node, beats) VALUES ($1, $2, 1) \
                      ON CONFLICT (role, node) DO UPDATE SET beats = cluster_member.beats + 1";
        self.db().run(member, args![role, holder]).await?;
        let leases = "UPDATE cluster_lease SET beats = beats + 1 WHERE role = $1 AND holder = $2";
        self.db().run(leases, args![role, holder]).await.map(drop)
    }

    /// Returns the members of a role with their beats.
    pub async fn members(&self, role: &str) -> Result<Vec<(String, i64)>, StoreError> {
        let select = "SELECT node, beats FROM cluster_member WHERE role = $1 ORDER BY node";
        let rows = self.db().all(select, args![role]).await?;
        rows.iter().map(|row| Ok((row.text("node")?, row.int("beats")?))).collect()
    }

    /// Forgets a member that left, or that has not moved since it was seen with `beats`.
    pub async fn forget_member(&self, role: &str, node: &str, beats: Option<i64>) -> Result<(), StoreError> {
        let delete = "DELETE FROM cluster_member WHERE role = $1 AND node = $2 AND ($3 = 0 OR beats = $4)";
        let values = args![role, node, beats.is_some(), beats.unwrap_or_default()];
        self.db().run(delete, values).await.map(drop)
    }

    /// Returns where the work under a claim stands; none when somebody else has it.
    pub async fn standing(&self, claim: &Claim) -> Result<Option<Standing>, StoreError> {
        let mut tx = self.db().begin_read().await?;
        let select = "SELECT next_offset, position FROM cluster_lease \
                      WHERE role = $1 AND partition_id = $2 AND holder = $3 AND epoch = $4";
        let partition = i64::from(claim.share.partition);
        let values = args![claim.role, partition, &claim.holder, claim.epoch];
        let Some(row) = tx.one(select, values).await? else { return Ok(None) };
        let select = "SELECT front, next_number FROM cluster_passage WHERE role = $1 AND partition_id = $2";
        let rows = tx.all(select, args![claim.role, partition]).await?;
        let logs = rows.iter().map(|row| Ok((log_name(&row.text("front")?)?, row.unsigned("next_number")?)));
        Ok(Some(Standing {
            next_offset: row.unsigned("next_offset")?,
            position: row.unsigned("position")?,
            logs: logs.collect::<Result<_, StoreError>>()?,
        }))
    }

    /// Asks a front to publish records again. A wish takes the place of the one before it.
    pub async fn wish(
        &self,
        role: &str,
        partition: u16,
        log: &LogName,
        (first, last): (u64, u64),
    ) -> Result<(), StoreError> {
        let upsert = "INSERT INTO cluster_resend (front, partition_id, role, first_number, last_number) \
                      VALUES ($1, $2, $3, $4, $5) ON CONFLICT (front, partition_id, role) DO UPDATE SET \
                      first_number = excluded.first_number, last_number = excluded.last_number";
        let front = hex(log);
        let values = args![&front, i64::from(partition), role, signed(first)?, signed(last)?];
        let mut tx = self.db().begin().await?;
        tx.run(upsert, values).await?;
        ring(&mut tx, Matter::Wishes).await?;
        tx.commit().await
    }

    /// Takes the wishes of all workers to a front: each is returned once.
    pub async fn take_wishes(&self, log: &LogName) -> Result<Vec<Wish>, StoreError> {
        let delete = "DELETE FROM cluster_resend WHERE front = $1 \
                      RETURNING partition_id, role, first_number, last_number";
        let front = hex(log);
        let mut tx = self.db().begin().await?;
        let rows = tx.all(delete, args![&front]).await?;
        let wish = |row: &Record| {
            Ok(Wish {
                partition: small(row, "partition_id")?,
                role: row.text("role")?,
                first: row.unsigned("first_number")?,
                last: row.unsigned("last_number")?,
            })
        };
        let wishes = rows.iter().map(wish).collect::<Result<_, StoreError>>()?;
        tx.commit().await?;
        Ok(wishes)
    }

    /// Returns how far each role has worked on the log of a front.
    pub async fn confirmed(&self, log: &LogName) -> Result<Vec<Confirmed>, StoreError> {
        let select = "SELECT role, partition_id, next_number FROM cluster_passage WHERE front = $1 \
                      ORDER BY partition_id, role";
        let front = hex(log);
        let confirmed = |row: &Record| {
            let partition = small(row, "partition_id")?;
            Ok(Confirmed { role: row.text("role")?, partition, next: row.unsigned("next_number")? })
        };
        self.db().all(select, args![&front]).await?.iter().map(confirmed).collect()
    }

    /// Returns for each partition the position that neither of two roles reads below any more; nothing of a partition
    /// that one of them has never had.
    pub async fn passed_positions(&self, [one, other]: &[&str; 2]) -> Result<Vec<(u16, u64)>, StoreError> {
        let select = "SELECT partition_id, MIN(position) AS position FROM cluster_lease \
                      WHERE role IN ($1, $2) AND epoch > 0 GROUP BY partition_id HAVING COUNT(*) = 2 \
                      ORDER BY partition_id";
        let rows = self.db().all(select, args![*one, *other]).await?;
        rows.iter().map(|row| Ok((small(row, "partition_id")?, row.unsigned("position")?))).collect()
    }
}

/// Returns where the archive of a partition stands; none before the first lease.
pub(crate) async fn archived(store: &Store, partition: PartitionId) -> Result<Option<u64>, StoreError> {
    let partitions = store.db().one("SELECT partitions FROM cluster_topic WHERE id = 1", args![]).await?;
    let Some(row) = partitions else { return Ok(None) };
    let share = Share::holding(partition, small(&row, "partitions")?);
    let select =
        "SELECT next_offset FROM cluster_lease WHERE role = 'archive' AND partition_id = $1 AND epoch > 0";
    let row = store.db().one(select, args![i64::from(share.partition)]).await?;
    row.map(|row| row.unsigned("next_offset")).transpose()
}

/// Moves a lease in the transaction of a commit. `from` is where the work stood, when that has to be checked too.
/// `false`: the lease is somebody else's, or stands elsewhere, and nothing may be committed.
pub(crate) async fn advance(tx: &mut Tx, step: &Step, from: Option<u64>) -> Result<bool, StoreError> {
    let Step { claim, standing } = step;
    // The row is taken first: whoever takes the lease waits for this commit, or this commit finds it taken.
    let update = "UPDATE cluster_lease SET next_offset = $1, position = $2, beats = beats + 1 WHERE role = $3 \
                  AND partition_id = $4 AND holder = $5 AND epoch = $6 AND ($7 < 0 OR next_offset = $7)";
    let from = from.map(signed).transpose()?.unwrap_or(-1);
    let (next, position) = (signed(standing.next_offset)?, signed(standing.position)?);
    let partition = i64::from(claim.share.partition);
    let values = args![next, position, claim.role, partition, &claim.holder, claim.epoch, from];
    if tx.run(update, values).await? != 1 {
        return Ok(false);
    }
    let upsert = "INSERT INTO cluster_passage (role, partition_id, front, next_number) VALUES ($1, $2, $3, $4) \
                  ON CONFLICT (role, partition_id, front) DO UPDATE SET next_number = excluded.next_number \
                  WHERE excluded.next_number > cluster_passage.next_number";
    for (log, next) in &standing.logs {
        tx.run(upsert, args![claim.role, partition, &hex(log), signed(*next)?]).await?;
    }
    Ok(true)
}

/// Says whether a claim still holds, and keeps it so until the transaction ends.
pub(crate) async fn holds(tx: &mut Tx, claim: &Claim) -> Result<bool, StoreError> {
    let update = "UPDATE cluster_lease SET beats = beats + 1 WHERE role = $1 AND partition_id = $2 \
                  AND holder = $3 AND epoch = $4";
    let values = args![claim.role, i64::from(claim.share.partition), &claim.holder, claim.epoch];
    Ok(tx.run(update, values).await? == 1)
}

fn lease(row: &Record) -> Result<LeaseRow, StoreError> {
    Ok(LeaseRow {
        partition: small(row, "partition_id")?,
        holder: row.text("holder")?,
        epoch: row.int("epoch")?,
        beats: row.int("beats")?,
        next_offset: row.unsigned("next_offset")?,
    })
}

pub(crate) fn small(row: &Record, column: &'static str) -> Result<u16, StoreError> {
    u16::try_from(row.int(column)?).map_err(|_large| StoreError::Corrupt(column))
}

fn hex(log: &LogName) -> String {
    format!("{:032x}", u128::from_be_bytes(*log))
}

pub(crate) fn log_name(hex: &str) -> Result<LogName, StoreError> {
    let number = u128::from_str_radix(hex, 16).map_err(|_bad| StoreError::Corrupt("front"))?;
    Ok(number.to_be_bytes())
}
