//! One SQL text on two databases: what differs between SQLite and PostgreSQL is in this file and nowhere else.
//!
//! Statements use `$1`, integers of 64 bits, text and bytes. A writing transaction of SQLite begins as a writer, so
//! that it waits for its turn instead of failing later; in PostgreSQL, where writers run side by side, the registry's
//! transactions take the version's row first and so take turns too.

mod pg;

pub(crate) use pg::PgPlace;

use crate::{ErrorKind, StoreError};
use sqlx::migrate::{MigrateError, Migration, Migrator};
use sqlx::postgres::{PgArguments, PgDatabaseError, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, Executor, Postgres, Row, SqlSafeStr, Sqlite, Transaction};
use std::time::Duration;
use tokio::time::timeout;

/// Connections to one of the databases.
#[derive(Debug, Clone)]
pub(crate) enum Pool {
    /// SQLite has one writer at a time. Writers queue for the one connection of `writer`, each woken by the one before
    /// it; on connections of their own they would sleep and try again until the file is free.
    Sqlite {
        readers: SqlitePool,
        writer: SqlitePool,
    },
    Postgres(PgPlace),
}

/// Returns the migrations in PostgreSQL's words: bytes are `BYTEA` there.
pub(crate) fn postgres_migrations(migrations: &Migrator) -> Migrator {
    let translated = migrations.iter().map(|migration| {
        let sql = migration.sql.as_str().replace("BLOB", "BYTEA");
        Migration::new(
            migration.version,
            migration.description.clone(),
            migration.migration_type,
            AssertSqlSafe(sql).into_sql_str(),
            migration.no_tx,
        )
    });
    Migrator::with_migrations(translated.collect())
}

/// Applies the migrations that the database lacks, in its words. `waits`: for whoever holds what they need, and in all.
pub(crate) async fn migrate_postgres(
    migrations: &Migrator,
    place: &PgPlace,
    (held, all): (Duration, Duration),
) -> Result<(), StoreError> {
    let mut connection = place.pool.acquire().await?.detach();
    // The server ends the wait for the lock of migrations by this too.
    let bound = format!("SET lock_timeout = {}", held.as_millis());
    pg::within(place.patience, connection.execute(AssertSqlSafe(bound))).await?;
    match timeout(all, migrations.run(&mut connection)).await {
        Err(_elapsed) => Err(StoreError::MigrationHeld),
        Ok(Err(error)) if is_held(&error) => Err(StoreError::MigrationHeld),
        Ok(done) => {
            // Closed in order, or by the server when it hears of it.
            let _closed = pg::within(place.patience, connection.close()).await;
            Ok(done?)
        }
    }
}

/// Says whether a migration waited in vain: 55P03, lock not free.
fn is_held(error: &MigrateError) -> bool {
    let (MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) = error else {
        return false;
    };
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("55P03"))
}

/// Says what a caller does about an error of the driver or the database.
pub(crate) fn error_kind(error: &sqlx::Error) -> ErrorKind {
    use sqlx::Error as E;
    match error {
        E::Io(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed | E::BeginFailed => ErrorKind::Retry,
        E::Database(error) if error.is_unique_violation() => ErrorKind::Reject,
        E::Database(error) => {
            let code = error.code().unwrap_or_default();
            let passes = match error.try_downcast_ref::<PgDatabaseError>() {
                Some(_) => postgres_passes(&code),
                None => code.parse().is_ok_and(sqlite_passes),
            };
            if passes { ErrorKind::Retry } else { ErrorKind::Fatal }
        }
        _ => ErrorKind::Fatal,
    }
}

/// Says whether a statement named a table that is not there.
pub(crate) fn has_no_table(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    match error.try_downcast_ref::<PgDatabaseError>() {
        // undefined_table
        Some(error) => error.code() == "42P01",
        // SQLite has no code of its own for it.
        None => error.message().starts_with("no such table"),
    }
}

/// Connection lost (08), serialisation failure or deadlock (40), no resources (53), lock not free (55P03), server
/// going down or statement cancelled (57). PostgreSQL, appendix A.
fn postgres_passes(code: &str) -> bool {
    ["08", "40", "53", "55P03", "57"].iter().any(|class| code.starts_with(class))
}

/// BUSY, LOCKED, NOMEM, INTERRUPT and FULL pass. IOERR does not: after a failed sync nothing is known of the file.
fn sqlite_passes(extended_code: u32) -> bool {
    matches!(extended_code & 0xff, 5 | 6 | 7 | 9 | 13)
}

/// A value of a statement.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Arg<'a> {
    Int(i64),
    MaybeInt(Option<i64>),
    Text(&'a str),
    MaybeText(Option<&'a str>),
    Bytes(&'a [u8]),
}

impl From<i64> for Arg<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Arg<'_> {
    fn from(value: bool) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<Option<i64>> for Arg<'_> {
    fn from(value: Option<i64>) -> Self {
        Self::MaybeInt(value)
    }
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a String> for Arg<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<Option<&'a str>> for Arg<'a> {
    fn from(value: Option<&'a str>) -> Self {
        Self::MaybeText(value)
    }
}

impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(value)
    }
}

/// Makes the values of a statement.
macro_rules! args {
    ($($value:expr),* $(,)?) => { &[$($crate::db::Arg::from($value)),*] };
}
pub(crate) use args;

/// A row of either database.
#[derive(Debug)]
pub(crate) enum Record {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

macro_rules! getter {
    ($name:ident, $type:ty) => {
        pub(crate) fn $name(&self, column: &str) -> Result<$type, StoreError> {
            Ok(match self {
                Self::Sqlite(row) => row.try_get(column)?,
                Self::Postgres(row) => row.try_get(column)?,
            })
        }
    };
}

impl Record {
    getter!(int, i64);
    getter!(maybe_int, Option<i64>);
    getter!(text, String);
    getter!(maybe_text, Option<String>);
    getter!(bytes, Vec<u8>);
    getter!(maybe_bytes, Option<Vec<u8>>);

    /// Reads a number that is never negative.
    pub(crate) fn unsigned(&self, column: &'static str) -> Result<u64, StoreError> {
        u64::try_from(self.int(column)?).map_err(|_negative| StoreError::Corrupt(column))
    }

    pub(crate) fn flag(&self, column: &str) -> Result<bool, StoreError> {
        Ok(self.int(column)? != 0)
    }
}

/// Makes a number of the database: 63 bits.
pub(crate) fn signed(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_large| StoreError::Corrupt("a number past 63 bits"))
}

/// A transaction of either database.
pub(crate) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(pg::Lent),
}

fn bind_sqlite<'q>(sql: &'static str, args: &'q [Arg<'q>]) -> Query<'q, Sqlite, SqliteArguments> {
    args.iter().fold(sqlx::query(sql), |query, arg| match arg {
        Arg::Int(value) => query.bind(*value),
        Arg::MaybeInt(value) => query.bind(*value),
        Arg::Text(value) => query.bind(*value),
        Arg::MaybeText(value) => query.bind(*value),
        Arg::Bytes(value) => query.bind(*value),
    })
}

fn bind_postgres<'q>(sql: &'static str, args: &'q [Arg<'q>]) -> Query<'q, Postgres, PgArguments> {
    args.iter().fold(sqlx::query(sql), |query, arg| match arg {
        Arg::Int(value) => query.bind(*value),
        Arg::MaybeInt(value) => query.bind(*value),
        Arg::Text(value) => query.bind(*value),
        Arg::MaybeText(value) => query.bind(*value),
        Arg::Bytes(value) => query.bind(*value),
    })
}

impl Pool {
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(match self {
            Self::Sqlite { writer, .. } => Tx::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?),
            Self::Postgres(place) => Tx::Postgres(place.begin("BEGIN").await?),
        })
    }

    /// Runs one statement that changes something.
    pub(crate) async fn run(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<u64, StoreError> {
        Ok(match self {
            Self::Sqlite { writer, .. } => bind_sqlite(sql, args).execute(writer).await?.rows_affected(),
            Self::Postgres(place) => place.run(sql, args).await?,
        })
    }

    /// Waits for running statements and closes.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { readers, writer } => {
                readers.close().await;
                writer.close().await;
            }
            Self::Postgres(place) => place.pool.close().await,
        }
    }

    /// Begins a transaction that only reads, all of one moment.
    pub(crate) async fn begin_read(&self) -> Result<Tx, StoreError> {
        Ok(match self {
            Self::Sqlite { readers, .. } => Tx::Sqlite(readers.begin().await?),
            Self::Postgres(place) => {
                Tx::Postgres(place.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?)
            }
        })
    }

    pub(crate) async fn all(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Record>, StoreError> {
        Ok(match self {
            Self::Sqlite { readers, .. } => {
                bind_sqlite(sql, args).fetch_all(readers).await?.into_iter().map(Record::Sqlite).collect()
            }
            Self::Postgres(place) => place.all(sql, args).await?.into_iter().map(Record::Postgres).collect(),
        })
    }

    pub(crate) async fn one(
        &self,
        sql: &'static str,
        args: &[Arg<'_>],
    ) -> Result<Option<Record>, StoreError> {
        Ok(match self {
            Self::Sqlite { readers, .. } => {
                bind_sqlite(sql, args).fetch_optional(readers).await?.map(Record::Sqlite)
            }
            Self::Postgres(place) => place.one(sql, args).await?.map(Record::Postgres),
        })
    }
}

impl Tx {
    pub(crate) async fn all(
        &mut self,
        sql: &'static str,
        args: &[Arg<'_>],
    ) -> Result<Vec<Record>, StoreError> {
        Ok(match self {
            Self::Sqlite(tx) => {
                bind_sqlite(sql, args).fetch_all(&mut **tx).await?.into_iter().map(Record::Sqlite).collect()
            }
            Self::Postgres(tx) => tx.all(sql, args).await?.into_iter().map(Record::Postgres).collect(),
        })
    }

    pub(crate) async fn one(
        &mut self,
        sql: &'static str,
        args: &[Arg<'_>],
    ) -> Result<Option<Record>, StoreError> {
        Ok(match self {
            Self::Sqlite(tx) => bind_sqlite(sql, args).fetch_optional(&mut **tx).await?.map(Record::Sqlite),
            Self::Postgres(tx) => tx.one(sql, args).await?.map(Record::Postgres),
        })
    }

    pub(crate) async fn run(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<u64, StoreError> {
        Ok(match self {
            Self::Sqlite(tx) => bind_sqlite(sql, args).execute(&mut **tx).await?.rows_affected(),
            Self::Postgres(tx) => tx.run(sql, args).await?,
        })
    }

    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_tried_again_and_what_is_rotten_is_not() {
        for code in ["08006", "40001", "40P01", "53300", "55P03", "57P01"] {
            assert!(postgres_passes(code), "{code}");
        }
        for code in ["22021", "23502", "42601", "55000", "58030", "XX001"] {
            assert!(!postgres_passes(code), "{code}");
        }
        // SQLITE_BUSY, SQLITE_BUSY_SNAPSHOT, SQLITE_LOCKED, SQLITE_FULL.
        assert!([5, 517, 6, 13].into_iter().all(sqlite_passes));
        // SQLITE_ERROR, SQLITE_READONLY, SQLITE_IOERR_FSYNC, SQLITE_CORRUPT, SQLITE_NOTADB.
        assert!(![1, 8, 1034, 11, 26].into_iter().any(sqlite_passes));
    }
}
