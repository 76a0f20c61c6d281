//! Small truth in SQL: registry, catalog, checkpoints, alerts.
//!
//! One SQLite file in the data directory, or PostgreSQL. A commit is on disk when the call returns (SQLite:
//! `synchronous = FULL`). Times are unix microseconds in `BIGINT`. Patient-bearing values are sealed before they come
//! here (SEC-3). All of it runs on both databases by one SQL text.

pub mod alert_acts;
pub mod alert_erase;
pub mod alert_ledger;
mod alert_log;
pub mod alert_retention;
pub mod alert_signal;
pub mod alert_watch;
pub mod alerts;
pub mod bell;
pub mod catalog;
mod catalog_moment;
pub mod cluster;
mod db;
pub mod erasure;
pub mod holds;
pub mod hour_sums;
pub mod hours;
mod listed;
mod origin;
pub mod outbox;
pub mod registry;
pub mod replay;
pub mod resend;
pub mod retired;
mod schema;
pub mod standings;
#[cfg(feature = "testing")]
pub mod testing;
mod url;

pub use schema::newest as newest_migration;
pub use url::StoreUrl;

use bell::Bells;
use db::{PgPlace, Pool};
use listed::Listed;
use registry::Reject;
use sqlx::Executor;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Connections of PostgreSQL, and SQLite's connections that read.
const CONNECTIONS_MAX: u32 = 8;
/// How long a statement waits for a process beside this one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a caller waits for a connection while the server is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one statement may take on PostgreSQL before its connection counts as gone.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a start waits for another process that migrates the database, and for what holds a table.
const MIGRATION_WAIT: Duration = Duration::from_secs(60);

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
    /// Another process holds what the migrations need.
    #[error(
        "{}: another process migrates the database, or holds a table of it: it, or what it waits for, stands still",
        wardline_proto::refusal::Refusal::MigrationHeld.code()
    )]
    MigrationHeld,
    /// A later program has changed what this one would use.
    #[error(
        "{}: the database asks for a program that knows migration {least}; this one knows up to {newest}",
        wardline_proto::refusal::Refusal::SchemaLater.code()
    )]
    Later {
        /// What it asks for.
        least: i64,
        /// What this program knows.
        newest: i64,
    },
    /// A stored value is not one that this version writes.
    #[error("database holds an unexpected value in {0}")]
    Corrupt(&'static str),
    /// The URL does not read as one. It is not shown: it may hold a password.
    #[error("the database's URL is not of the form postgres://user@host/name")]
    Url,
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
            Self::MigrationHeld => ErrorKind::Retry,
            Self::Migrate(_) | Self::Later { .. } | Self::Corrupt(_) | Self::Url => ErrorKind::Fatal,
        }
    }
}

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: Pool,
    bells: Arc<Bells>,
    listed: Arc<Listed>,
}

impl Store {
    /// Opens the database file, creates it when missing, and applies the migrations that it lacks.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        Self::sqlite(created(path)).await?.migrated(MIGRATION_WAIT).await
    }

    /// Opens the database of a gateway that may be running, to write into what is there: nothing is created or migrated.
    pub async fn open_existing(path: &Path) -> Result<Self, StoreError> {
        Self::sqlite(writable(path)).await?.known().await
    }

    /// Opens the database of a gateway that may be running, to read only: nothing is created, migrated or changed.
    pub async fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        Self::sqlite(existing(path).pragma("query_only", "ON")).await?.known().await
    }

    /// Connects to `postgres://...`, or opens `sqlite:PATH`, and applies the migrations that the database lacks.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            return Self::open(Path::new(path)).await;
        }
        Self::connect_within(url, MIGRATION_WAIT).await
    }

    /// The same for a server, with another bound of the wait for whoever else migrates the database.
    #[doc(hidden)]
    pub async fn connect_within(url: &str, migration_wait: Duration) -> Result<Self, StoreError> {
        Self::postgres(PgPoolOptions::new(), url).await?.migrated(migration_wait).await
    }

    /// The same, to write into what is there: nothing is created or migrated.
    pub async fn connect_existing(url: &str) -> Result<Self, StoreError> {
        match url.strip_prefix("sqlite:") {
            Some(path) => Self::open_existing(Path::new(path)).await,
            None => Self::postgres(PgPoolOptions::new(), url).await?.known().await,
        }
    }

    /// The same, to read only.
    pub async fn connect_read_only(url: &str) -> Result<Self, StoreError> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            return Self::open_read_only(Path::new(path)).await;
        }
        let pool = PgPoolOptions::new().after_connect(|connection, _meta| {
            Box::pin(
                async move { connection.execute("SET default_transaction_read_only = on").await.map(drop) },
            )
        });
        Self::postgres(pool, url).await?.known().await
    }

    async fn sqlite(options: SqliteConnectOptions) -> Result<Self, StoreError> {
        // The writer first: it makes the file.
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .test_before_acquire(false)
            .connect_with(options.clone())
            .await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .test_before_acquire(false)
            .connect_lazy_with(options);
        Ok(Self { pool: Pool::Sqlite { readers, writer }, bells: Arc::default(), listed: Arc::default() })
    }

    async fn postgres(pool: PgPoolOptions, url: &str) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url).map_err(|_it_may_hold_a_password| StoreError::Url)?;
        let pool = pool.max_connections(CONNECTIONS_MAX).acquire_timeout(ACQUIRE_TIMEOUT);
        let pool = pool.connect_with(options).await?;
        let place = PgPlace { pool, patience: STATEMENT_TIMEOUT };
        Ok(Self { pool: Pool::Postgres(place), bells: Arc::default(), listed: Arc::default() })
    }

    /// Sets how long one statement may take on PostgreSQL; 30 s otherwise. What takes longer fails, to be tried again.
    #[must_use]
    pub fn with_statement_timeout(mut self, patience: Duration) -> Self {
        if let Pool::Postgres(place) = &mut self.pool {
            place.patience = patience;
        }
        self
    }

    /// Returns the connections.
    fn db(&self) -> &Pool {
        &self.pool
    }

    /// Returns the files that were listed last.
    fn listed(&self) -> &Listed {
        &self.listed
    }

    /// Waits for running statements and closes.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn existing(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).create_if_missing(false).busy_timeout(BUSY_TIMEOUT)
}

fn created(path: &Path) -> SqliteConnectOptions {
    writable(path).create_if_missing(true).journal_mode(SqliteJournalMode::Wal)
}

fn writable(path: &Path) -> SqliteConnectOptions {
    existing(path).synchronous(SqliteSynchronous::Full).foreign_keys(true)
}
