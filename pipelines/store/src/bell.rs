//! Telling who waits for a change at once, where the database can do that: PostgreSQL's LISTEN and NOTIFY.
//!
//! A ring is a hint and never the truth: whoever hears one looks, and looks from time to time without one. Rings are lost
//! while the connection that hears them is lost, and there are none on SQLite. One connection of a process hears them all.

use crate::db::{PgPlace, Pool, Tx, args};
use crate::{Store, StoreError};
use sqlx::Error;
use sqlx::postgres::{PgListener, PgPoolOptions};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

const CHANNEL: &str = "wardline";
/// What the connection is called in `pg_stat_activity`.
pub const LISTENER: &str = "wardline-bell";
/// After so much silence the connection is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(5);
/// How long it may take to answer, or to be made.
const PATIENCE: Duration = Duration::from_secs(5);
/// A pause before it is made again.
const AGAIN: Duration = Duration::from_secs(1);
/// Between two rings that one waiter hears: what rings meanwhile is one more.
const REST: Duration = Duration::from_millis(10);

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matter {
    /// The registry has another version.
    Registry,
    /// A worker wishes records again.
    Wishes,
    /// An override of an alarm rule, or who wears a device, is another one.
    Orders,
    /// A model has another profile.
    Profiles,
    /// A device is to send again.
    Resends,
}

impl Matter {
    const ALL: [Self; 5] = [Self::Registry, Self::Wishes, Self::Orders, Self::Profiles, Self::Resends];

    fn name(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Wishes => "wishes",
            Self::Orders => "orders",
            Self::Profiles => "profiles",
            Self::Resends => "resends",
        }
    }
}

/// Hears of changes of one matter.
#[derive(Debug)]
pub struct Bell {
    rings: watch::Receiver<u64>,
    rested: Instant,
}

impl Bell {
    /// Waits for a ring; for ever where there are none.
    pub async fn rung(&mut self) {
        sleep_until(self.rested).await;
        if self.rings.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.rested = Instant::now() + REST;
    }

    /// Says whether it rang since it was last asked, for who has something else to wait for.
    pub fn has_rung(&mut self) -> bool {
        let has_rung = self.rings.has_changed().unwrap_or_default();
        if has_rung {
            self.rings.mark_unchanged();
        }
        has_rung
    }
}

/// The bells of a process.
#[derive(Debug, Default)]
pub(crate) struct Bells {
    rings: [watch::Sender<u64>; Matter::ALL.len()],
    is_heard: AtomicBool,
}

impl Bells {
    pub(crate) fn ring(&self, is_meant: impl Fn(Matter) -> bool) {
        for (matter, rings) in Matter::ALL.into_iter().zip(&self.rings) {
            if is_meant(matter) {
                rings.send_modify(|times| *times = times.wrapping_add(1));
            }
        }
    }
}

impl Store {
    /// Returns what hears of changes of a matter. The first one begins to listen, in a task of the runtime that it is
    /// called in, until the database is closed.
    pub fn bell(&self, matter: Matter) -> Bell {
        if let Pool::Postgres(place) = self.db()
            && !self.bells.is_heard.swap(true, Ordering::AcqRel)
        {
            tokio::spawn(listen(place.clone(), Arc::downgrade(&self.bells)));
        }
        let rings = Matter::ALL.iter().zip(&self.bells.rings).find(|(one, _)| **one == matter);
        let rings = rings.map_or_else(|| watch::channel(0).1, |(_, rings)| rings.subscribe());
        Bell { rings, rested: Instant::now() }
    }
}

/// Rings when the transaction commits.
pub(crate) async fn ring(tx: &mut Tx, matter: Matter) -> Result<(), StoreError> {
    match tx {
        Tx::Sqlite(_) => Ok(()),
        Tx::Postgres(_) => tx.run("SELECT pg_notify($1, $2)", args![CHANNEL, matter.name()]).await.map(drop),
    }
}

/// Listens until the database is closed or nobody has it any more.
async fn listen(place: PgPlace, bells: Weak<Bells>) {
    let mut failing = false;
    while bells.strong_count() > 0 {
        let heard = tokio::select! {
            () = place.pool.close_event() => return,
            heard = hear(&place, &bells) => heard,
        };
        if let Err(error) = &heard
            && !failing
        {
            tracing::warn!(%error, "changes are not told of; they are looked for all the same");
        }
        failing = heard.is_err();
        tokio::select! {
            () = place.pool.close_event() => return,
            () = sleep(AGAIN) => {}
        }
    }
}

/// Hears over one connection, until it is lost.
async fn hear(place: &PgPlace, bells: &Weak<Bells>) -> Result<(), Error> {
    let options = (*place.pool.connect_options()).clone().application_name(LISTENER);
    let one = PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE).connect_with(options).await?;
    let mut listener = PgListener::connect_with(&one).await?;
    listener.eager_reconnect(false);
    within(listener.listen(CHANNEL)).await?;
    // What changed while nobody listened.
    let mut is_meant: Box<dyn Fn(Matter) -> bool + Send> = Box::new(|_| true);
    loop {
        let Some(bells) = bells.upgrade() else { return Ok(()) };
        bells.ring(&is_meant);
        drop(bells);
        is_meant = match timeout(SILENCE, listener.try_recv()).await {
            Ok(told) => {
                let Some(told) = told? else { return Err(Error::PoolClosed) };
                Box::new(move |matter| matter.name() == told.payload())
            }
            Err(_silence) => {
                within(sqlx::query("SELECT 1").execute(&mut listener)).await?;
                Box::new(|_| false)
            }
        };
    }
}

async fn within<T>(wait: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(PATIENCE, wait).await.unwrap_or(Err(Error::PoolTimedOut))
}
