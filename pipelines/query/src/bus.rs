//! The bus of a cluster, read behind what its workers have committed, so that a statement sees what is on its way there.
//!
//! A server has one reader for all its statements, a command one of its own. There is none on one machine, in a build
//! without the feature `cluster`, and where the settings of the data directory have no section `[cluster]`: answers are of
//! what is committed then, and say so.

#[cfg(feature = "cluster")]
mod settings;

#[cfg(not(feature = "cluster"))]
pub(crate) use none::BusReader;
#[cfg(feature = "cluster")]
pub(crate) use real::BusReader;

use std::time::Duration;

/// How long a statement of a server waits for what the bus has: it is read already, but for the newest.
pub(crate) const SERVED_WAIT: Duration = Duration::from_secs(1);
/// How long a command does, which connects first.
pub(crate) const ALONE_WAIT: Duration = Duration::from_secs(4);

#[cfg(not(feature = "cluster"))]
mod none {
    use std::path::Path;
    use std::time::Duration;
    use wardline_archive::tail::carried::OnTheWay;
    use wardline_store::Store;

    /// No reader.
    #[derive(Debug, Clone)]
    pub(crate) enum BusReader {}

    impl BusReader {
        pub(crate) fn begin(
            _data_dir: &Path,
            _store: &Store,
            _wait: Duration,
        ) -> anyhow::Result<Option<Self>> {
            Ok(None)
        }

        #[expect(clippy::unused_async, reason = "the same form as with the feature")]
        pub(crate) async fn read(&self) -> Option<OnTheWay> {
            match *self {}
        }
    }
}

#[cfg(feature = "cluster")]
mod real {
    use super::settings::servers;
    use anyhow::Context;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::sync::watch;
    use tokio::task::{JoinSet, spawn_blocking};
    use tokio::time::{Instant, sleep, timeout};
    use wardline_archive::place::Place;
    use wardline_archive::tail::carried::{Carried, OnTheWay};
    use wardline_bus::flow::Checkpoint;
    use wardline_bus::follow::{Bounds, Followed, Follower};
    use wardline_bus::{Bus, BusOptions, FrontId, Number, Position, Servers, Topic};
    use wardline_journal::{KeyPurpose, Sealer};
    use wardline_proto::PartitionId;
    use wardline_store::Store;
    use wardline_store::standings::Standings;

    /// How often what was committed is dropped.
    const TURN: Duration = Duration::from_secs(1);
    /// The pause before it begins anew.
    const AGAIN: Duration = Duration::from_secs(5);

    /// What is known of the bus.
    #[derive(Debug, Clone, Default)]
    enum Known {
        /// Nothing yet.
        #[default]
        Nothing,
        /// That there is none: one machine takes all records.
        None,
        /// It is followed.
        By(Arc<Follower>),
    }

    /// A reader, as long as one of its clones is there.
    #[derive(Debug, Clone)]
    pub(crate) struct BusReader {
        known: watch::Receiver<Known>,
        wait: Duration,
        _keeping: Arc<JoinSet<()>>,
    }

    impl BusReader {
        /// Begins to read the bus that the settings of a data directory name, if they name one.
        pub(crate) fn begin(data_dir: &Path, store: &Store, wait: Duration) -> anyhow::Result<Option<Self>> {
            let Some((servers, topic)) = servers(data_dir)? else { return Ok(None) };
            let keeper = Keeper { data_dir: data_dir.to_owned(), store: store.clone(), servers, topic };
            let (told, known) = watch::channel(Known::Nothing);
            let mut keeping = JoinSet::new();
            keeping.spawn(keeper.keep(told));
            Ok(Some(Self { known, wait, _keeping: Arc::new(keeping) }))
        }

        /// Reads what the bus has now behind what was committed before. None: there is no bus, or it is not known yet what
        /// was committed.
        pub(crate) async fn read(&self) -> Option<OnTheWay> {
            let until = Instant::now() + self.wait;
            let mut known = self.known.clone();
            let is_known = known.wait_for(|known| !matches!(known, Known::Nothing));
            let Known::By(follower) = timeout(self.wait, is_known).await.ok()?.ok()?.clone() else {
                return None;
            };
            let reading = follower.read(until.saturating_duration_since(Instant::now())).await;
            Some(OnTheWay {
                records: reading.records.into_iter().map(carried).collect(),
                is_whole: reading.is_whole,
            })
        }
    }

    fn carried(Followed { partition, front, n, entry }: Followed) -> Carried {
        Carried { partition: partition.get(), log: *front.bytes(), n: n.get(), entry }
    }

    /// What a follower is made of, and kept up to date by.
    struct Keeper {
        data_dir: PathBuf,
        store: Store,
        servers: Servers,
        topic: String,
    }

    impl Keeper {
        /// Follows until it is dropped, whatever fails meanwhile.
        async fn keep(self, told: watch::Sender<Known>) {
            loop {
                let pause = match self.turn(&told).await {
                    Ok(pause) => pause,
                    Err(error) => {
                        tracing::warn!(error = format!("{error:#}"), "what is on the bus is not read");
                        AGAIN
                    }
                };
                sleep(pause).await;
            }
        }

        /// Tells the follower what is committed, or begins with one.
        async fn turn(&self, told: &watch::Sender<Known>) -> anyhow::Result<Duration> {
            let standings = self.store.standings().await?;
            if standings.of == 0 {
                told.send_replace(Known::None);
                return Ok(TURN);
            }
            let checkpoints = checkpoints(&standings);
            let known = told.borrow().clone();
            let Known::By(follower) = known else {
                told.send_replace(Known::By(Arc::new(self.follow(&checkpoints).await?)));
                return Ok(TURN);
            };
            if follower.pass(&checkpoints) && !follower.has_ended() {
                return Ok(TURN);
            }
            tracing::warn!("the bus is read anew from what is committed");
            told.send_replace(Known::By(Arc::new(self.follow(&checkpoints).await?)));
            Ok(AGAIN)
        }

        async fn follow(&self, checkpoints: &[Checkpoint]) -> anyhow::Result<Follower> {
            let data_dir = self.data_dir.clone();
            // A key service is asked, and waited for.
            let opening = spawn_blocking(move || {
                let keyring = Arc::new(Place::of(&data_dir)?.keyring(&data_dir)?);
                anyhow::Ok(Sealer::new(keyring, KeyPurpose::Journal, None)?)
            });
            let sealer = Arc::new(opening.await?.context("the keys of the bus")?);
            let partitions = u16::try_from(checkpoints.len()).context("partitions")?;
            let topic = Topic { name: self.topic.clone(), partitions, ..Topic::default() };
            // Nothing is published: the service that would do it never runs.
            let (bus, _service) = Bus::new(self.servers.clone().engine(topic)?, BusOptions::default())?;
            Ok(Follower::start(&bus, checkpoints, &sealer, Bounds::default())?)
        }
    }

    fn checkpoints(standings: &Standings) -> Vec<Checkpoint> {
        let checkpoint = |partition: PartitionId| {
            let standing = standings.part(partition.get());
            let fronts = standing.logs.iter();
            let fronts = fronts.filter_map(|(log, next)| Some((FrontId::new(*log), Number::new(*next)?)));
            Checkpoint { partition, position: Position::new(standing.position), fronts: fronts.collect() }
        };
        (0..standings.of).map_while(PartitionId::new).map(checkpoint).collect()
    }
}
