//! Small truth in SQL: registry, catalog, checkpoints, alerts.
//!
//! One SQLite file in the data directory. A commit is on disk when the call returns (`synchronous = FULL`).
//! Times are unix microseconds in `BIGINT`. Patient-bearing values are sealed before they come here (SEC-3).

pub mod alerts;
pub mod catalog;
pub mod outbox;
pub mod registry;
pub mod retired;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use std::path::Path;
use std::time::Duration;

/// Readers and the writer share this many connections.
const CONNECTIONS_MAX: u32 = 8;
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

/// Says what went wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or failed.
    #[error("database: {0}")]
    Sql(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("database migration: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A stored value is not one that this version writes.
    #[error("database holds an unexpected value in {0}")]
    Corrupt(&'static str),
}

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
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
        sqlx::migrate!("./migrations").run(&pool).await?;
        Ok(Self { pool })
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
        Ok(Self { pool })
    }

    /// Opens the database of a gateway that may be running, to read only: nothing is created, migrated or changed.
    pub async fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .pragma("query_only", "ON")
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX).connect_with(options).await?;
        Ok(Self { pool })
    }

    /// Returns the connections.
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Waits for running statements and closes.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
