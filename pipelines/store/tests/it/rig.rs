//! Runs one test on each database.

use std::future::Future;
use tempfile::TempDir;
use wardline_proto::{DeviceId, DeviceKey, TenantId};
use wardline_store::Store;
use wardline_store::registry::{Change, IssuedCertificate, Serial};
use wardline_store::testing::TestPostgres;

pub(crate) const NOW_US: i64 = 1_790_000_000_000_000;
const YEAR_US: i64 = 365 * 24 * 3600 * 1_000_000;

/// Runs `test` on SQLite and on PostgreSQL, and says which.
pub(crate) fn on_both<F: Future<Output = ()>>(test: impl Fn(Store) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let folder: TempDir = tempfile::tempdir().unwrap();
        println!("on SQLite");
        let store = Store::open(&folder.path().join("db")).await.unwrap();
        test(store.clone()).await;
        store.close().await;
        if std::env::var_os("WARDLINE_NO_POSTGRES").is_some_and(|value| value == "1") {
            println!("skipped on PostgreSQL: WARDLINE_NO_POSTGRES=1");
            return;
        }
        println!("on PostgreSQL");
        let store = Store::connect(&TestPostgres::fresh().unwrap()).await.unwrap();
        test(store.clone()).await;
        store.close().await;
    });
}

pub(crate) fn change() -> Change {
    Change::new("spiffe://wardline.local/tenant/system/user/operator", NOW_US)
}

pub(crate) fn at(at_us: i64) -> Change {
    Change { at_us, ..change() }
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

pub(crate) fn name(name: &str) -> DeviceId {
    DeviceId::new(name).unwrap()
}

pub(crate) fn key(device: &str) -> DeviceKey {
    DeviceKey { tenant: tenant("st-mary"), device: name(device) }
}

/// A certificate whose serial begins with `number`, for a key that is named by `owner`.
pub(crate) fn certificate(number: u32, uri: &str, owner: &str) -> IssuedCertificate {
    let mut serial = [0x41; 16];
    serial[1..5].copy_from_slice(&number.to_be_bytes());
    IssuedCertificate {
        serial: Serial::new(&serial).unwrap(),
        spiffe_uri: uri.to_owned(),
        not_before_us: NOW_US,
        not_after_us: NOW_US + YEAR_US,
        der: number.to_be_bytes().to_vec(),
        key_sha256: format!("key-{owner}"),
    }
}

pub(crate) fn device_uri(device: &str) -> String {
    format!("spiffe://wardline.local/tenant/st-mary/device/{device}")
}

/// Returns what the outbox says was done, in order.
pub(crate) async fn audited(store: &Store) -> Vec<(String, String)> {
    let entries = store.audit_outbox_pending(100_000).await.unwrap();
    entries.into_iter().map(|entry| (entry.action, entry.target)).collect()
}
