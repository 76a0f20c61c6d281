//! The audit outbox: what must be audited is written in the same transaction as what it audits (AUD-1), and a relay
//! journals it into the gateway's audit chain.

use crate::db::{Record, Tx, args};
use crate::{Store, StoreError};

/// How long a relayed row is kept, microseconds: a day, for whoever looks into the database.
const KEEP_US: i64 = 24 * 3_600 * 1_000_000;

/// Who changes something, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// SPIFFE URI of a caller, or `os:USER@HOST` of a command on the machine of the data directory.
    pub actor: String,
    /// When, unix microseconds.
    pub at_us: i64,
}

impl Change {
    /// Names who changes what follows, and when.
    pub fn new(actor: impl Into<String>, at_us: i64) -> Self {
        Self { actor: actor.into(), at_us }
    }
}

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Rises in the order of commits.
    pub id: u64,
    /// When it was done, unix microseconds.
    pub at_us: i64,
    /// Stable name, lower snake case.
    pub action: String,
    /// Who did it.
    pub actor: String,
    /// `ok` or a code of docs/errors.
    pub outcome: String,
    /// What it was done to. Never patient data.
    pub target: String,
}

/// A master key to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMade {
    /// Its id.
    pub id: String,
    /// What it is, without the key.
    pub description: String,
    /// When it was made, unix microseconds.
    pub at_us: i64,
}

impl Store {
    /// Records an act that changes nothing else: a query, a command.
    pub async fn record_audit(
        &self,
        change: &Change,
        action: &str,
        outcome: &str,
        target: &str,
    ) -> Result<(), StoreError> {
        let mut tx = self.db().begin().await?;
        insert(&mut tx, change, action, outcome, target).await?;
        tx.commit().await
    }

    /// Returns rows that are not marked as relayed, in order of id, at most `limit`.
    pub async fn audit_outbox_pending(&self, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        let select = "SELECT id, at_us, action, actor, outcome, target FROM audit_outbox \
                      WHERE relayed_at_us IS NULL ORDER BY id LIMIT $1";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.db().all(select, args![limit]).await?.iter().map(entry).collect()
    }

    /// Marks every row up to and including `last` as relayed, and forgets those that were long ago: they are in the chain.
    pub async fn audit_outbox_relayed(&self, last: u64, at_us: i64) -> Result<(), StoreError> {
        let last = i64::try_from(last).map_err(|_large| StoreError::Corrupt("audit_outbox.id"))?;
        let update = "UPDATE audit_outbox SET relayed_at_us = $1 WHERE id <= $2 AND relayed_at_us IS NULL";
        let mut tx = self.db().begin().await?;
        tx.run(update, args![at_us, last]).await?;
        let delete = "DELETE FROM audit_outbox WHERE relayed_at_us < $1";
        tx.run(delete, args![at_us.saturating_sub(KEEP_US)]).await?;
        tx.commit().await
    }

    /// Records the making of each of these master keys that was not recorded before.
    pub async fn record_keys(&self, actor: &str, keys: &[KeyMade]) -> Result<(), StoreError> {
        let mut tx = self.db().begin().await?;
        for key in keys {
            let insert_key =
                "INSERT INTO audit_key (key_id, told_at_us) VALUES ($1, $2) ON CONFLICT (key_id) DO NOTHING";
            if tx.run(insert_key, args![&key.id, key.at_us]).await? == 1 {
                let change = Change { actor: actor.to_owned(), at_us: key.at_us };
                insert(&mut tx, &change, "master_key_created", "ok", &key.description).await?;
            }
        }
        tx.commit().await
    }
}

/// Writes a row in the transaction of what it audits.
pub(crate) async fn insert(
    tx: &mut Tx,
    change: &Change,
    action: &str,
    outcome: &str,
    target: &str,
) -> Result<(), StoreError> {
    let next = "UPDATE audit_outbox_counter SET last = last + 1 WHERE id = 1 RETURNING last";
    let id = tx.one(next, args![]).await?.ok_or(StoreError::Corrupt("audit_outbox_counter"))?.int("last")?;
    let insert = "INSERT INTO audit_outbox (id, at_us, action, actor, outcome, target) \
                  VALUES ($1, $2, $3, $4, $5, $6)";
    tx.run(insert, args![id, change.at_us, action, &change.actor, outcome, target]).await.map(drop)
}

fn entry(row: &Record) -> Result<OutboxEntry, StoreError> {
    Ok(OutboxEntry {
        id: u64::try_from(row.int("id")?).map_err(|_negative| StoreError::Corrupt("audit_outbox.id"))?,
        at_us: row.int("at_us")?,
        action: row.text("action")?,
        actor: row.text("actor")?,
        outcome: row.text("outcome")?,
        target: row.text("target")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(at_us: i64) -> Change {
        Change { actor: "os:alice@front".into(), at_us }
    }

    #[tokio::test]
    async fn rows_are_pending_in_order_until_they_are_marked_and_a_rollback_leaves_no_hole() {
        let dir = tempfile::tempdir().unwrap();
        in_order(Store::open(&dir.path().join("db")).await.unwrap()).await;
        if std::env::var_os("WARDLINE_NO_POSTGRES").is_none_or(|value| value != "1") {
            let url = crate::testing::TestPostgres::fresh().unwrap();
            in_order(Store::connect(&url).await.unwrap()).await;
        }
    }

    async fn in_order(store: Store) {
        store.record_audit(&change(5), "archive_read", "ok", "numerics").await.unwrap();
        let mut tx = store.db().begin().await.unwrap();
        insert(&mut tx, &change(6), "never", "ok", "").await.unwrap();
        drop(tx);
        let key = KeyMade { id: "k-1".into(), description: "key k-1".into(), at_us: 7 };
        for _again in 0..2 {
            store.record_keys("os:alice@front", std::slice::from_ref(&key)).await.unwrap();
        }
        let pending = store.audit_outbox_pending(10).await.unwrap();
        let seen: Vec<_> = pending.iter().map(|row| (row.id, row.at_us, row.action.as_str())).collect();
        assert_eq!(seen, [(1, 5, "archive_read"), (2, 7, "master_key_created")]);
        assert_eq!(store.audit_outbox_pending(1).await.unwrap(), pending[..1]);
        store.audit_outbox_relayed(1, 8).await.unwrap();
        assert_eq!(store.audit_outbox_pending(10).await.unwrap(), pending[1..]);
        store.audit_outbox_relayed(2, 9 + KEEP_US).await.unwrap();
        let left = store.db().all("SELECT id FROM audit_outbox", args![]).await.unwrap();
        assert_eq!(left.iter().map(|row| row.int("id").unwrap()).collect::<Vec<_>>(), [2]);
        store.record_audit(&change(10), "archive_read", "ok", "").await.unwrap();
        assert_eq!(store.audit_outbox_pending(10).await.unwrap()[0].id, 3, "a number is never given again");
    }
}
