//! Small truth in SQL: registry, catalog, checkpoints, alerts.
//!
//! One SQLite file in the data directory, or PostgreSQL. A commit is on disk when the call returns (SQLite:
//! `synchronous = FULL`). Times are unix microseconds in `BIGINT`. Patient-bearing values are sealed before they come
//! here (SEC-3). The registry runs on both databases; catalog and alerts on SQLite so far.

pub mod alerts;
pub mod catalog;
mod db;
pub mod outbox;
pub mod registry;
pub mod retired;
#[cfg(feature = "testing")]
pub mod testing;

use db::Pool;
use registry::Reject;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use std::path::Path;
use std::time::Duration;

/// Readers and the writer share this many connections.
const CONNECTIONS_MAX: u32 = 8;
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Says what went wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The registry does not do what it was asked.
    #[error(transparent)]
    Reject(#[from] Reject),
    /// The database refused or failed.
    #[error("database: {0}")]
    Sql(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("database migration: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A stored value is not one that this version writes.
    #[error("database holds an unexpected value in {0}")]
    Corrupt(&'static str),
    /// The part that was asked for runs on SQLite only.
    #[error("this part of the database is on SQLite only")]
    OnlySqlite,
}

/// Says what a caller does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Try again: the database is away or busy.
    Retry,
    /// Tell whoever asked: trying again changes nothing. A value that must be unique and is there counts as this.
    Reject,
    /// Stop: the database is not what it must be.
    Fatal,
}

impl StoreError {
    /// Says what to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Reject(_) => ErrorKind::Reject,
            Self::Sql(error) => db::error_kind(error),
            Self::Migrate(_) | Self::Corrupt(_) | Self::OnlySqlite => ErrorKind::Fatal,
        }
    }
}

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: Pool,
}

impl Store {
    /// Opens the database file, creates it when missing, and applies the migrations that it lacks.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX).connect_with(options).await?;
        MIGRATIONS.run(&pool).await?;
        Ok(Self { pool: Pool::Sqlite(pool) })
    }

    /// Opens the database of a gateway that may be running, to write into what is there: nothing is created or migrated.
    pub async fn open_existing(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX).connect_with(options).await?;
        Ok(Self { pool: Pool::Sqlite(pool) })
    }

    /// Opens the database of a gateway that may be running, to read only: nothing is created, migrated or changed.
    pub async fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .pragma("query_only", "ON")
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX).connect_with(options).await?;
        Ok(Self { pool: Pool::Sqlite(pool) })
    }

    /// Connects to `postgres://...`, or opens `sqlite:PATH`, and applies the migrations that the database lacks.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            return Self::open(Path::new(path)).await;
        }
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS_MAX).connect(url).await?;
        db::postgres_migrations(&MIGRATIONS).run(&pool).await?;
        Ok(Self { pool: Pool::Postgres(pool) })
    }

    /// Returns the connections of either database.
    fn db(&self) -> &Pool {
        &self.pool
    }

    /// Returns the connections to SQLite.
    fn sqlite(&self) -> Result<&SqlitePool, StoreError> {
        match &self.pool {
            Pool::Sqlite(pool) => Ok(pool),
            Pool::Postgres(_) => Err(StoreError::OnlySqlite),
        }
    }

    /// Waits for running statements and closes.
    pub async fn close(&self) {
        match &self.pool {
            Pool::Sqlite(pool) => pool.close().await,
            Pool::Postgres(pool) => pool.close().await,
        }
    }
}
