//! Who waits for a change is told of it at once on PostgreSQL, also after the connection that hears it was lost.

use crate::rig::{change, key, name};
use std::time::Duration;
use tokio::time::timeout;
use wardline_store::Store;
use wardline_store::bell::Matter;
use wardline_store::catalog::StreamId;
use wardline_store::registry::{Model, NewBinding, NewDevice, NewOverride};
use wardline_store::resend::NewResend;
use wardline_store::testing::{TestPostgres, execute};

/// Long for a ring, short for nothing.
const SOON: Duration = Duration::from_secs(10);
const NEVER: Duration = Duration::from_millis(300);
const THROW_OUT: &str =
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'wardline-bell'";

async fn register(store: &Store, device: &str) {
    store.register_device(&change(), &NewDevice::bare(key(device))).await.unwrap();
}

async fn made(store: &Store, what: &str) {
    let (by, tenant) = (change(), key("mon-1").tenant);
    match what {
        "bind" => {
            let (device, subject) = (key("mon-1"), "p-1".to_owned());
            store.bind(&by, &NewBinding { device, subject, from_us: 1, until_us: None }).await.map(drop)
        }
        "override" => {
            let (site, subject, rule_id) = (String::new(), String::new(), "spo2-low".to_owned());
            let (setting, value, from_us, until_us, reason) = (1, 84.0, 0, None, "round".to_owned());
            let said =
                NewOverride { tenant, site, subject, rule_id, setting, value, from_us, until_us, reason };
            store.set_override(&by, &said).await.map(drop)
        }
        "end" => store.end_override(&by, &tenant, 1).await.map(drop),
        "erase" => store.ask_erasure(&by, &tenant, "p-1", false).await.map(drop),
        "model" => {
            let (model, maker) = (name("wd-1"), tenant);
            let (display_name, profile) = ("WD-1".to_owned(), "text".to_owned());
            let model = Model { model, maker, display_name, profile, profile_version: 1, created_at_us: 0 };
            store.put_model(&by, &model).await
        }
        _ => {
            let (tenant, device) = ("st-mary".to_owned(), "mon-1".to_owned());
            let stream = StreamId { tenant, device, epoch: 1, lane: 2 };
            let wish = NewResend { stream, ranges: vec![1..=2], life_us: 1_000_000 };
            store.ask_resend(&by, &wish).await.unwrap();
            Ok(())
        }
    }
    .unwrap();
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
    // What engines, the archive and fronts go by is told to them alone, besides to those who follow the registry.
    let told = [Matter::Orders, Matter::Profiles, Matter::Resends];
    let mut told = told.map(|matter| (matter, listener.bell(matter)));
    for (change, meant) in
        [("bind", 0), ("override", 0), ("end", 0), ("erase", 0), ("model", 1), ("resend", 2)]
    {
        made(&writer, change).await;
        let (matter, bell) = &mut told[meant];
        assert!(timeout(SOON, bell.rung()).await.is_ok(), "{change} rings for {matter:?}");
    }
    for (matter, bell) in &mut told {
        assert!(!bell.has_rung(), "{matter:?} rang for something else");
    }
    while timeout(NEVER, registry.rung()).await.is_ok() {}
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
