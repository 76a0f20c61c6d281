//! Which programs may work on a database: those that know its floor.
//!
//! A database knows every migration that was ever applied, a program those that it was built with. A later program's
//! migrations add what earlier ones do not use, so both work on it; one that takes something away raises the floor,
//! and a program that does not know that migration refuses to open the database, before it reads or writes in it.

use crate::db::{self, Pool, args};
use crate::{Store, StoreError};
use sqlx::migrate::Migrator;
use std::time::Duration;

/// How long migrations may take before the server counts as gone.
const MIGRATION_MAX: Duration = Duration::from_secs(3600);

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Returns the newest migration that this program knows.
pub fn newest() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

impl Store {
    /// Applies what the database lacks. What it has beyond is a later program's, and above the floor no matter.
    /// `held`: how long it waits for whoever else migrates the database.
    pub(crate) async fn migrated(self, held: Duration) -> Result<Self, StoreError> {
        let store = self.known().await?;
        let migrations = migrations(store.db());
        match store.db() {
            Pool::Sqlite { writer, .. } => migrations.run(writer).await?,
            Pool::Postgres(place) => db::migrate_postgres(&migrations, place, (held, MIGRATION_MAX)).await?,
        }
        Ok(store)
    }

    /// Checks that this program knows what the database asks for. One without a floor is of before there was any.
    pub(crate) async fn known(self) -> Result<Self, StoreError> {
        let floor = self.db().one("SELECT least FROM schema_floor WHERE id = 1", args![]).await;
        let least = match floor {
            Ok(row) => row.map_or(Ok(0), |row| row.int("least"))?,
            Err(StoreError::Sql(error)) if db::has_no_table(&error) => 0,
            Err(error) => return Err(error),
        };
        if least <= newest() { Ok(self) } else { Err(StoreError::Later { least, newest: newest() }) }
    }
}

/// Returns the migrations in the words of a database.
pub(crate) fn migrations(pool: &Pool) -> Migrator {
    let mut migrations = match pool {
        Pool::Sqlite { .. } => Migrator::with_migrations(MIGRATIONS.iter().cloned().collect()),
        Pool::Postgres(_) => db::postgres_migrations(&MIGRATIONS),
    };
    migrations.set_ignore_missing(true);
    migrations
}
