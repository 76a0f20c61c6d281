//! PostgreSQL's connections, where no wait is without an end.
//!
//! The driver bounds the wait for a connection and nothing else: a server that loses its power after it took a
//! statement's bytes leaves the reader waiting for ever. Here each statement has a bound; a connection that passed it,
//! or broke, is closed and never goes back to the others.

use super::{Arg, bind_postgres};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use sqlx::{Connection, Error, Executor, Postgres};
use std::io::ErrorKind;
use std::time::Duration;
use tokio::time::timeout;

/// Connections of one server.
#[derive(Debug, Clone)]
pub(crate) struct PgPlace {
    pub(crate) pool: PgPool,
    /// How long one statement may take.
    pub(crate) patience: Duration,
}

impl PgPlace {
    async fn lend(&self) -> Result<Lent, Error> {
        let connection = Some(self.pool.acquire().await?);
        Ok(Lent { connection, patience: self.patience, is_open: false, is_asked: false })
    }

    /// Begins a transaction by a statement that says of which kind.
    pub(crate) async fn begin(&self, statement: &'static str) -> Result<Lent, Error> {
        let mut lent = self.lend().await?;
        // From here on a drop rolls back, also when the answer is lost.
        lent.is_open = true;
        lent.tell(statement).await?;
        Ok(lent)
    }

    pub(crate) async fn run(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<u64, Error> {
        self.lend().await?.run(sql, args).await
    }

    pub(crate) async fn all(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<PgRow>, Error> {
        self.lend().await?.all(sql, args).await
    }

    pub(crate) async fn one(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<Option<PgRow>, Error> {
        self.lend().await?.one(sql, args).await
    }
}

/// A connection of the pool, in a transaction or not.
#[derive(Debug)]
pub(crate) struct Lent {
    /// None once it was given up.
    connection: Option<PoolConnection<Postgres>>,
    patience: Duration,
    is_open: bool,
    /// A statement was sent and its answer is not read: its caller may have gone away.
    is_asked: bool,
}

impl Lent {
    pub(crate) async fn run(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<u64, Error> {
        let patience = self.patience;
        let connection = self.connection()?;
        let done = within(patience, bind_postgres(sql, args).execute(connection)).await;
        self.keep(done).map(|done| done.rows_affected())
    }

    pub(crate) async fn all(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<PgRow>, Error> {
        let patience = self.patience;
        let connection = self.connection()?;
        let done = within(patience, bind_postgres(sql, args).fetch_all(connection)).await;
        self.keep(done)
    }

    pub(crate) async fn one(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Option<PgRow>, Error> {
        let patience = self.patience;
        let connection = self.connection()?;
        let done = within(patience, bind_postgres(sql, args).fetch_optional(connection)).await;
        self.keep(done)
    }

    /// Commits. After an error nobody knows whether it did.
    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        self.tell("COMMIT").await?;
        self.is_open = false;
        Ok(())
    }

    async fn tell(&mut self, statement: &'static str) -> Result<(), Error> {
        let patience = self.patience;
        let connection = self.connection()?;
        let done = within(patience, connection.execute(statement)).await;
        self.keep(done).map(drop)
    }

    /// Returns the connection, to be asked something. [`keep`](Self::keep) is to be given the answer.
    fn connection(&mut self) -> Result<&mut PgConnection, Error> {
        self.is_asked = true;
        self.connection.as_deref_mut().ok_or(Error::PoolClosed)
    }

    /// Closes a connection that is of no more use.
    fn keep<T>(&mut self, done: Result<T, Error>) -> Result<T, Error> {
        self.is_asked = false;
        if matches!(done, Err(Error::Io(_) | Error::Protocol(_) | Error::Tls(_)))
            && let Some(connection) = self.connection.take()
        {
            drop(connection.detach());
        }
        done
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if !self.is_open && !self.is_asked {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            drop(connection.detach());
            return;
        };
        // The pool asks without an end whether what comes back is alive, and counts it as lent meanwhile.
        let (patience, is_open) = (self.patience, self.is_open);
        runtime.spawn(async move {
            let answer = async {
                if is_open {
                    (&mut *connection).execute("ROLLBACK").await.map(drop)
                } else {
                    connection.ping().await
                }
            };
            if within(patience, answer).await.is_err() {
                drop(connection.detach());
            }
        });
    }
}

/// Waits for an answer, and no longer than `patience`.
pub(crate) async fn within<T>(
    patience: Duration,
    wait: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let late = || Error::Io(std::io::Error::new(ErrorKind::TimedOut, "the database did not answer in time"));
    timeout(patience, wait).await.unwrap_or_else(|_elapsed| Err(late()))
}
