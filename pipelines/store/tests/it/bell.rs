//! Who waits for a change is told of it at once on PostgreSQL, also after the connection that hears it was lost.

use crate::rig::{change, key};
use std::time::Duration;
use tokio::time::timeout;
use wardline_store::Store;
use wardline_store::bell::Matter;
use wardline_store::registry::NewDevice;
use wardline_store::testing::{TestPostgres, execute};

/// Long for a ring, short for nothing.
const SOON: Duration = Duration::from_secs(10);
const NEVER: Duration = Duration::from_millis(300);
const THROW_OUT: &str =
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'wardline-bell'";

async fn register(store: &Store, device: &str) {
    store.register_device(&change(), &NewDevice::bare(key(device))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_rings_its_own_bell_on_every_node_also_after_a_lost_connection() {
    let server = TestPostgres::start().unwrap();
    let url = server.database("bell").unwrap();
    let (writer, listener) = (Store::connect(&url).await.unwrap(), Store::connect(&url).await.unwrap());
    let (mut registry, mut wishes) = (listener.bell(Matter::Registry), listener.bell(Matter::Wishes));
    // One ring for what happened before.
    assert!(timeout(SOON, registry.rung()).await.is_ok());
    assert!(timeout(SOON, wishes.rung()).await.is_ok());
    register(&writer, "mon-1").await;
    assert!(timeout(SOON, registry.rung()).await.is_ok());
    assert!(timeout(NEVER, wishes.rung()).await.is_err(), "another matter");
    writer.wish("archive", 3, &[7; 16], (1, 2)).await.unwrap();
    assert!(timeout(SOON, wishes.rung()).await.is_ok());
    assert!(timeout(NEVER, registry.rung()).await.is_err());
    // A look changes nothing.
    let _version = writer.registry_version().await.unwrap();
    assert!(timeout(NEVER, registry.rung()).await.is_err());
    assert_eq!(execute(&writer, THROW_OUT).await.unwrap(), 1, "one connection hears all bells");
    // The next connection rings for what was missed, then as before.
    assert!(timeout(SOON, registry.rung()).await.is_ok());
    while timeout(NEVER, registry.rung()).await.is_ok() {}
    register(&writer, "mon-2").await;
    assert!(timeout(SOON, registry.rung()).await.is_ok());
    listener.close().await;
    writer.close().await;
}

#[tokio::test]
async fn where_the_database_cannot_tell_nobody_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("wardline.db")).await.unwrap();
    let mut bell = store.bell(Matter::Registry);
    register(&store, "mon-1").await;
    assert!(timeout(NEVER, bell.rung()).await.is_err(), "whoever waits looks from time to time");
}
