//! A PostgreSQL whose machine answers nothing: every wait ends, and nothing needs to be started again.

use sqlx::migrate::Migrate;
use sqlx::{Connection, PgConnection};
use std::time::{Duration, Instant};
use wardline_store::testing::{TestPostgres, connections, execute};
use wardline_store::{ErrorKind, Store, StoreError};

const PATIENCE: Duration = Duration::from_millis(700);
/// What a statement may take in all: patience, the wait for a connection (10 s), a loaded machine.
const BOUND: Duration = Duration::from_secs(25);
const CALLERS: usize = 12;

async fn beat(store: &Store) -> Result<(), StoreError> {
    store.beat("archive", "node").await.map(drop)
}

#[test]
fn a_server_that_answers_nothing_is_given_up_and_taken_again() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let postgres = TestPostgres::start().unwrap();
        let url = postgres.database("wardline").unwrap();
        let store = Store::connect(&url).await.unwrap().with_statement_timeout(PATIENCE);
        beat(&store).await.unwrap();
        postgres.freeze(true).unwrap();
        let began = Instant::now();
        // More callers than there are connections.
        let calls: Vec<_> = (0..CALLERS)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { beat(&store).await })
            })
            .collect();
        for call in calls {
            let error = call.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
        }
        assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
        postgres.freeze(false).unwrap();
        let until = Instant::now() + BOUND;
        while let Err(error) = beat(&store).await {
            assert!(Instant::now() < until, "{error}");
        }
        // All connections are there again.
        let calls: Vec<_> = (0..CALLERS)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { beat(&store).await })
            })
            .collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        store.close().await;
        a_caller_that_went_away_takes_no_place_with_it(&postgres, &url).await;
    });
}

async fn a_caller_that_went_away_takes_no_place_with_it(postgres: &TestPostgres, url: &str) {
    const PLACES: u32 = 4;
    let store = Store::connect(url).await.unwrap().with_statement_timeout(Duration::from_secs(5));
    let asked: Vec<_> = (0..PLACES)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { execute(&store, "SELECT pg_sleep(60)").await.map(drop) })
        })
        .collect();
    while connections(&store) < PLACES {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    postgres.freeze(true).unwrap();
    asked.iter().for_each(tokio::task::JoinHandle::abort);
    let until = Instant::now() + BOUND;
    while connections(&store) > 0 {
        assert!(Instant::now() < until, "{} places wait for an answer", connections(&store));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    postgres.freeze(false).unwrap();
    beat(&store).await.unwrap();
    store.close().await;
}

#[test]
fn a_start_does_not_wait_for_ever_for_another_that_migrates() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let url = TestPostgres::fresh().unwrap();
        let mut other = PgConnection::connect(&url).await.unwrap();
        other.lock().await.unwrap();
        let error = Store::connect_within(&url, Duration::from_millis(300)).await.unwrap_err();
        assert!(error.to_string().starts_with("WL-SRV-003"), "{error}");
        assert_eq!(error.kind(), ErrorKind::Retry);
        other.unlock().await.unwrap();
        Store::connect(&url).await.unwrap().close().await;
    });
}
