//! Where the database is, and how that is told: never with its password.

use crate::{Store, StoreError};
use sqlx::postgres::PgConnectOptions;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a database is. What it shows of itself has no password.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl(Where);

#[derive(Clone, PartialEq, Eq)]
enum Where {
    File(PathBuf),
    Postgres { url: String, shown: String },
}

impl StoreUrl {
    /// Names a file of SQLite.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Where::File(path.into()))
    }

    /// Reads `postgres://user:password@host:port/name`, with what libpq has behind `?`.
    pub fn postgres(url: &str) -> Result<Self, StoreError> {
        // The driver's error is not passed on: it may repeat what it could not read.
        let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let options = PgConnectOptions::from_str(url).ok().filter(|_| is_postgres).ok_or(StoreError::Url)?;
        let host = options.get_socket().map_or(options.get_host().into(), |socket| socket.to_string_lossy());
        let shown = format!(
            "postgres://{}@{host}:{}/{}",
            options.get_username(),
            options.get_port(),
            options.get_database().unwrap_or_default()
        );
        Ok(Self(Where::Postgres { url: url.to_owned(), shown }))
    }

    /// Returns the file when it is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Where::File(path) => Some(path),
            Where::Postgres { .. } => None,
        }
    }

    /// Opens or connects to it, and applies the migrations that it lacks; a missing file is made.
    pub async fn open(&self) -> Result<Store, StoreError> {
        match &self.0 {
            Where::File(path) => Store::open(path).await,
            Where::Postgres { url, .. } => Store::connect(url).await,
        }
    }

    /// Opens or connects to it as it is.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) async fn unmigrated(&self) -> Result<Store, StoreError> {
        match &self.0 {
            Where::File(path) => Store::sqlite(crate::created(path)).await,
            Where::Postgres { url, .. } => Store::postgres(sqlx::postgres::PgPoolOptions::new(), url).await,
        }
    }

    /// Opens or connects to it, to write into what is there: nothing is created or migrated.
    pub async fn open_existing(&self) -> Result<Store, StoreError> {
        match &self.0 {
            Where::File(path) => Store::open_existing(path).await,
            Where::Postgres { url, .. } => Store::connect_existing(url).await,
        }
    }

    /// Opens or connects to it, to read only.
    pub async fn open_read_only(&self) -> Result<Store, StoreError> {
        match &self.0 {
            Where::File(path) => Store::open_read_only(path).await,
            Where::Postgres { url, .. } => Store::connect_read_only(url).await,
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Where::File(path) => write!(f, "{}", path.display()),
            Where::Postgres { shown, .. } => f.write_str(shown),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let url = StoreUrl::postgres("postgres://ward:s3cret@db.example:5433/w?sslmode=require").unwrap();
        assert_eq!(url.to_string(), "postgres://ward@db.example:5433/w");
        assert!(!format!("{url:?}").contains("s3cret"));
        for bad in ["", "mysql://a:s3cret@b/c", "postgres://a:s3cret@b:port/c", "postgres//s3cret"] {
            let error = StoreUrl::postgres(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{bad}: {error:?}");
        }
    }

    #[tokio::test]
    async fn nor_when_nobody_is_there() {
        let url = StoreUrl::postgres("postgres://ward:s3cret@localhost/w?host=/no/such/folder").unwrap();
        let error = url.open_existing().await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }
}
