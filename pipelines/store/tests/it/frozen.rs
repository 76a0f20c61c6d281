//! A PostgreSQL whose machine answers nothing: every wait ends, and nothing needs to be started again.

use std::time::{Duration, Instant};
use wardline_store::testing::TestPostgres;
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
    });
}
